/* arch_reference.c - see arch_model.h: the plain forward pass, one token after another, every sum in double.
 * Written for reading; its only trust is that it has nothing in common with the engine. */
#include "tests/arch_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* y [rows] = W x + bias; bias NULL: none */
static void multiply(const float *w, const float *bias, const double *x, size_t columns, size_t rows, double *y)
{
    for (size_t r = 0; r < rows; r++) {
        y[r] = bias ? (double)bias[r] : 0;
        for (size_t c = 0; c < columns; c++)
            y[r] += (double)w[r * columns + c] * x[c];
    }
}

static void normalise(const double *x, const float *weight, const float *bias, bool centred, size_t n, double *y)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n && centred; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(square + norm_eps) * (double)weight[i] + (bias ? (double)bias[i] : 0);
}

static double capped(double x, bool is, double cap) { return is ? cap * tanh(x / cap) : x; }

static void turn(double *x, double position, double theta, const float *factors, size_t width, bool half)
{
    for (size_t j = 0; j < width / 2; j++) {
        const double angle = position * pow(theta, -2.0 * (double)j / (double)width) / (factors ? (double)factors[j] : 1);
        double *a = &x[half ? j : 2 * j], *b = half ? a + width / 2 : a + 1;
        const double was = *a;
        *a = was * cos(angle) - *b * sin(angle);
        *b = was * sin(angle) + *b * cos(angle);
    }
}

/* What a part reads: the stream, normed unless the model has no such norm. weight NULL: of ones. */
static void read_stream(const arch_model *m, unsigned steps, const double *x, const float *weight, const float *bias, double *in)
{
    static const float ones[EMBD] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    if (steps & NO_PRE_NORM)
        memcpy(in, x, EMBD * sizeof *in);
    else
        normalise(x, m->f->steps & NO_PRE_NORM ? ones : weight, bias, steps & CENTRED, EMBD, in);
}

/* x += what a part gave, after its norm and factor. */
static void add_part(const arch_model *m, int layer, const char *norm, unsigned steps, double *y, double *x)
{
    if (steps & POST_NORM)
        normalise(y, tensor_of(m, layer, norm), NULL, false, EMBD, y);
    for (size_t i = 0; i < EMBD; i++)
        x[i] += y[i] * (steps & RESIDUAL ? residual_scale : 1);
}

static double silu(double x) { return x / (1 + exp(-x)); }

/* All experts, weighted; those that are not chosen by 0. */
static void mix_experts(const arch_model *m, int layer, unsigned steps, const double *in, double *out)
{
    double worth[EXPERTS], weight[EXPERTS], all = 0, chosen = 0, up[FF], gate[FF], one[EMBD];
    multiply(tensor_of(m, layer, "ffn_gate_inp.weight"), NULL, in, EMBD, EXPERTS, worth);
    for (size_t i = 0; i < EXPERTS; i++)
        all += exp(worth[i]);
    for (size_t i = 0; i < EXPERTS; i++) {
        size_t better = 0;
        for (size_t j = 0; j < EXPERTS; j++)
            better += worth[j] > worth[i];
        const bool is_chosen = steps & CHOICE ? better < USED : i < USED;
        weight[i] = !is_chosen ? 0 : steps & WEIGHTS ? exp(worth[i]) / all : 1.0 / USED;
        chosen += weight[i];
    }
    for (size_t i = 0; i < EMBD; i++)
        out[i] = 0;
    for (size_t i = 0; i < EXPERTS; i++) {
        multiply(tensor_of(m, layer, "ffn_gate_exps.weight") + i * FF * EMBD, NULL, in, EMBD, FF, gate);
        multiply(tensor_of(m, layer, "ffn_up_exps.weight") + i * FF * EMBD, NULL, in, EMBD, FF, up);
        for (size_t j = 0; j < FF; j++)
            gate[j] = silu(gate[j]) * up[j];
        multiply(tensor_of(m, layer, "ffn_down_exps.weight") + i * FF * EMBD, NULL, gate, FF, EMBD, one);
        for (size_t j = 0; j < EMBD; j++)
            out[j] += one[j] * weight[i] / (steps & RENORM ? chosen : 1);
    }
}

static void feed_forward(const arch_model *m, int layer, unsigned steps, const double *in, double *out)
{
    if (m->f->steps & CHOICE) {
        mix_experts(m, layer, steps, in, out);
        return;
    }
    const size_t ups = m->f->gated && m->f->fused ? 2 * FF : FF;
    const bool bias = steps & OTHER_BIAS;
    double up[2 * FF], gate[FF];
    multiply(tensor_of(m, layer, "ffn_up.weight"), bias ? tensor_of(m, layer, "ffn_up.bias") : NULL, in, EMBD, ups, up);
    if (m->f->gated && !m->f->fused)
        multiply(tensor_of(m, layer, "ffn_gate.weight"), NULL, in, EMBD, FF, gate);
    else
        memcpy(gate, up, sizeof gate);                  /* the first half of both, or the only one */
    const double *factor = m->f->fused ? up + FF : up;
    for (size_t i = 0; i < FF; i++) {
        const double g = gate[i], z = sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g);
        gate[i] = (steps & GELU ? g * (1 + tanh(z)) / 2 : silu(g)) * (m->f->gated ? factor[i] : 1);
    }
    multiply(tensor_of(m, layer, "ffn_down.weight"), bias ? tensor_of(m, layer, "ffn_down.bias") : NULL, gate, FF, EMBD, out);
}

typedef struct { double k[LAYERS][TOKENS][KV], v[LAYERS][TOKENS][KV]; } memory;

static void attend(const arch_model *m, int layer, unsigned steps, const float *factors, const double *in, size_t t, memory *past,
                   double *out)
{
    double q[Q], *k = past->k[layer][t], *v = past->v[layer][t], o[Q] = { 0 };
    const bool fused = m->f->fused, bias = steps & QKV_BIAS, local = (steps & WINDOWS) && (m->f->local >> layer & 1);
    const struct { const char *weight, *bias; size_t first, n; double *out; } parts[] = {
        { "attn_q.weight", "attn_q.bias", 0, Q, q },
        { "attn_k.weight", "attn_k.bias", Q, KV, k },
        { "attn_v.weight", "attn_v.bias", Q + KV, KV, v },
    };
    for (size_t i = 0; i < 3; i++) {
        const float *w = fused ? tensor_of(m, layer, "attn_qkv.weight") + parts[i].first * EMBD : tensor_of(m, layer, parts[i].weight);
        const float *shift = !bias ? NULL : tensor_of(m, layer, fused ? "attn_qkv.bias" : parts[i].bias);
        multiply(w, shift && fused ? shift + parts[i].first : shift, in, EMBD, parts[i].n, parts[i].out);
    }
    if (steps & WIDE_QK_NORM) {
        normalise(q, tensor_of(m, layer, "attn_q_norm.weight"), NULL, false, Q, q);
        normalise(k, tensor_of(m, layer, "attn_k_norm.weight"), NULL, false, KV, k);
    }
    for (size_t h = 0; h < HEADS + KV_HEADS; h++) {
        double *x = h < HEADS ? q + h * DIM : k + (h - HEADS) * DIM;
        if (steps & QK_NORM)
            normalise(x, tensor_of(m, layer, h < HEADS ? "attn_q_norm.weight" : "attn_k_norm.weight"), NULL, false, DIM, x);
        turn(x, (double)t, (m->f->local >> layer & 1) && (steps & LOCAL_BASE) ? local_rope_base : rope_base, factors,
             steps & PARTIAL ? DIM / 2 : DIM, steps & HALF);
    }
    for (size_t h = 0; h < HEADS; h++) {
        double s[TOKENS], sum = 0;
        const size_t from = local && t + 1 > WINDOW ? t + 1 - WINDOW : 0, kv = h / (HEADS / KV_HEADS) * DIM;
        for (size_t i = from; i <= t; i++) {
            s[i] = 0;
            for (size_t j = 0; j < DIM; j++)
                s[i] += q[h * DIM + j] * past->k[layer][i][kv + j] * (steps & ATTENTION ? attn_scale : 1 / sqrt(DIM));
            sum += s[i] = exp(capped(s[i], steps & ATTN_CAP, attn_cap));
        }
        for (size_t i = from; i <= t; i++)
            for (size_t j = 0; j < DIM; j++)
                o[h * DIM + j] += s[i] / sum * past->v[layer][i][kv + j];
    }
    const float *b = steps & OTHER_BIAS ? tensor_of(m, layer, "attn_output.bias") : NULL;
    multiply(tensor_of(m, layer, "attn_output.weight"), b, o, Q, EMBD, out);
}

void arch_reference(const arch_model *m, unsigned steps, uint32_t context, const int32_t *ids, double *logits)
{
    memory *past = calloc(1, sizeof *past);
    if (!past)
        abort();
    const char *two = context > SHORT ? "rope_factors_long.weight" : "rope_factors_short.weight";
    const float *factors = steps & FACTORS ? tensor_of(m, -1, m->f->fused ? two : "rope_freqs.weight") : NULL;
    const bool centred = steps & CENTRED, other = m->f->steps & CENTRED;
    const double scale = !(steps & EMBEDDING) ? 1 : steps & POST_NORM || m->f->steps & POST_NORM ? sqrt(EMBD) : embedding_scale;
    for (size_t t = 0; t < TOKENS; t++) {
        double x[EMBD], in[EMBD], attended[EMBD], fed[EMBD];
        for (size_t i = 0; i < EMBD; i++)
            x[i] = (double)tensor_of(m, -1, "token_embd.weight")[(size_t)ids[t] * EMBD + i] * scale;
        for (int layer = 0; layer < LAYERS; layer++) {
            const bool pre = !(m->f->steps & NO_PRE_NORM);
            const float *first = pre ? tensor_of(m, layer, "attn_norm.weight") : NULL, *second = first;
            const float *shift = other ? tensor_of(m, layer, "attn_norm.bias") : NULL;
            if (pre && !(m->f->steps & PARALLEL))
                second = tensor_of(m, layer, "ffn_norm.weight");
            read_stream(m, steps, x, first, shift, in);
            attend(m, layer, steps, factors, in, t, past, attended);
            if (steps & PARALLEL)
                feed_forward(m, layer, steps, in, fed);
            add_part(m, layer, "post_attention_norm.weight", steps, attended, x);
            if (!(steps & PARALLEL)) {
                read_stream(m, steps, x, second, shift, in);
                feed_forward(m, layer, steps, in, fed);
            }
            add_part(m, layer, "post_ffw_norm.weight", steps, fed, x);
        }
        normalise(x, tensor_of(m, -1, "output_norm.weight"), other ? tensor_of(m, -1, "output_norm.bias") : NULL, centred, EMBD, in);
        double *y = logits + t * VOCAB;
        multiply(tensor_of(m, -1, "output.weight"), steps & OTHER_BIAS ? tensor_of(m, -1, "output.bias") : NULL, in, EMBD, VOCAB, y);
        for (size_t i = 0; i < VOCAB; i++)
            y[i] = capped(y[i] / (steps & LOGITS ? logit_divisor : 1), steps & LOGIT_CAP, logit_cap);
    }
    free(past);
}
