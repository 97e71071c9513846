/* test_arch.c - a generated tiny model of every architecture against a plain forward pass in double, by both paths.
 * Each step that an architecture has is then left out of the reference, once: the logits must move far beyond the tolerance. */
#include "harness/lm/model.h"
#include "tests/gguf_writer.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <math.h>

enum { LAYERS = 3, EMBD = 24, HEADS = 4, KV_HEADS = 2, DIM = 8, FF = 20, VOCAB = 40, TOKENS = 21, WINDOW = 6, CONTEXT = 64, SHORT = 32 };
enum { Q = HEADS * DIM, KV = KV_HEADS * DIM };

/* What may be left out. */
enum {
    HALF = 1, GELU = 2, CENTRED = 4, QKV_BIAS = 8, OTHER_BIAS = 16, QK_NORM = 32, POST_NORM = 64, PARALLEL = 128, EMBEDDING = 256,
    ATTENTION = 512, RESIDUAL = 1024, LOGITS = 2048, ATTN_CAP = 4096, LOGIT_CAP = 8192, WINDOWS = 16384, LOCAL_BASE = 32768,
    FACTORS = 65536, PARTIAL = 131072, ALL = 262143
};

typedef struct {
    const char *name;
    unsigned steps;
    bool fused, gated, pattern;    /* pattern: which layers are local is said by the file */
    unsigned local;                /* bit i: layer i has a window */
} family;

static const family families[] = {
    { "llama", FACTORS, false, true, false, 0 },
    { "qwen2", HALF | QKV_BIAS, false, true, false, 0 },
    { "qwen3", HALF | QK_NORM, false, true, false, 0 },
    { "granite", EMBEDDING | ATTENTION | RESIDUAL | LOGITS, false, true, false, 0 },
    { "phi3", HALF | FACTORS | WINDOWS, true, true, false, 7 },
    { "gemma3", HALF | GELU | QK_NORM | POST_NORM | EMBEDDING | WINDOWS | LOCAL_BASE, false, true, true, 5 },
    { "gemma3", HALF | GELU | QK_NORM | POST_NORM | EMBEDDING | WINDOWS | LOCAL_BASE | LOGIT_CAP, false, true, false, 7 },
    { "gemma2", HALF | GELU | POST_NORM | EMBEDDING | WINDOWS | ATTN_CAP | LOGIT_CAP, false, true, false, 5 },
    { "phi2", HALF | GELU | CENTRED | QKV_BIAS | OTHER_BIAS | PARALLEL | PARTIAL, false, false, false, 0 },
    { "phi2", HALF | GELU | CENTRED | QKV_BIAS | OTHER_BIAS | PARALLEL | PARTIAL, true, false, false, 0 },
};

static const double norm_eps = 1e-5, base = 1e4, local_base = 100, attn_cap = .7, logit_cap = 3, attn_scale = .2, residual_scale = .6,
                    logit_divisor = 2.5, embedding_scale = 3;

/* ---- The file -------------------------------------------------------------------------------- */

typedef struct { char name[64]; float *x; } tensor;
typedef struct {
    const family *f;
    gguf_writer w;
    gsl_rng *rng;
    tensor tensors[96];
    size_t n;
} tiny;

/* layer -1: a tensor of the whole model. */
static void name_tensor(int layer, const char *name, char out[64])
{
    if (layer < 0)
        snprintf(out, 64, "%s", name);
    else
        snprintf(out, 64, "blk.%d.%s", layer, name);
}

static const float *get(const tiny *m, int layer, const char *name)
{
    char full[64];
    name_tensor(layer, name, full);
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->tensors[i].name, full))
            return m->tensors[i].x;
    fail_msg("no tensor %s", full);
    return NULL;
}

/* Adds a tensor of normal values around `mean`. rows 0: a vector. */
static void add(tiny *m, int layer, const char *name, uint64_t columns, uint64_t rows, double mean, double scale)
{
    tensor *t = &m->tensors[m->n++];
    const uint64_t ne[2] = { columns, rows }, n = columns * (rows ? rows : 1);
    name_tensor(layer, name, t->name);
    t->x = calloc(n, sizeof *t->x);
    assert_non_null(t->x);
    for (uint64_t i = 0; i < n; i++)
        t->x[i] = (float)(mean + scale * gsl_ran_gaussian_ziggurat(m->rng, 1));
    writer_tensor(&m->w, t->name, 0, rows ? 2 : 1, ne, t->x, n * sizeof *t->x);
}

static void add_layer(tiny *m, int i)
{
    const unsigned steps = m->f->steps;
    const uint64_t ups = m->f->gated && m->f->fused ? 2 * FF : FF;
    const struct { bool there; const char *name; uint64_t columns, rows; double mean; } parts[] = {
        { true, "attn_norm.weight", EMBD, 0, 1 },                      { steps & CENTRED, "attn_norm.bias", EMBD, 0, 0 },
        { !(steps & PARALLEL), "ffn_norm.weight", EMBD, 0, 1 },        { steps & POST_NORM, "post_attention_norm.weight", EMBD, 0, 1 },
        { steps & POST_NORM, "post_ffw_norm.weight", EMBD, 0, 1 },     { steps & QK_NORM, "attn_q_norm.weight", DIM, 0, 1 },
        { steps & QK_NORM, "attn_k_norm.weight", DIM, 0, 1 },          { m->f->fused, "attn_qkv.weight", EMBD, Q + 2 * KV, 0 },
        { !m->f->fused, "attn_q.weight", EMBD, Q, 0 },                 { !m->f->fused, "attn_k.weight", EMBD, KV, 0 },
        { !m->f->fused, "attn_v.weight", EMBD, KV, 0 },                { true, "attn_output.weight", Q, EMBD, 0 },
        { m->f->gated && !m->f->fused, "ffn_gate.weight", EMBD, FF, 0 }, { true, "ffn_up.weight", EMBD, ups, 0 },
        { true, "ffn_down.weight", FF, EMBD, 0 },                      { steps & OTHER_BIAS, "attn_output.bias", EMBD, 0, 0 },
        { steps & OTHER_BIAS, "ffn_up.bias", ups, 0, 0 },              { steps & OTHER_BIAS, "ffn_down.bias", EMBD, 0, 0 },
        { (steps & QKV_BIAS) && m->f->fused, "attn_qkv.bias", Q + 2 * KV, 0, 0 },
        { (steps & QKV_BIAS) && !m->f->fused, "attn_q.bias", Q, 0, 0 },
        { (steps & QKV_BIAS) && !m->f->fused, "attn_k.bias", KV, 0, 0 },
        { (steps & QKV_BIAS) && !m->f->fused, "attn_v.bias", KV, 0, 0 },
    };
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++)
        if (parts[j].there)
            add(m, i, parts[j].name, parts[j].columns, parts[j].rows, parts[j].mean, .3);
}

static void key(const tiny *m, const char *name, char out[96]) { snprintf(out, 96, "%s.%s", m->f->name, name); }

static void put_u32(tiny *m, const char *name, uint32_t value)
{
    char full[96];
    key(m, name, full);
    writer_u32(&m->w, full, value);
}

static void put_f32(tiny *m, bool there, const char *name, double value)
{
    char full[96];
    key(m, name, full);
    if (there)
        writer_f32(&m->w, full, (float)value);
}

static void put_keys(tiny *m)
{
    const unsigned steps = m->f->steps;
    const bool gemma = steps & POST_NORM;
    writer_string(&m->w, "general.architecture", m->f->name);
    put_u32(m, "block_count", LAYERS);
    put_u32(m, "embedding_length", EMBD);
    put_u32(m, "attention.head_count", HEADS);
    put_u32(m, "attention.head_count_kv", KV_HEADS);
    put_u32(m, "attention.key_length", DIM);
    put_u32(m, "attention.value_length", DIM);
    put_u32(m, "feed_forward_length", FF);
    put_u32(m, "context_length", CONTEXT);
    put_u32(m, "rope.dimension_count", steps & PARTIAL ? DIM / 2 : DIM);
    put_u32(m, "rope.scaling.original_context_length", SHORT);
    if (steps & WINDOWS)
        put_u32(m, "attention.sliding_window", WINDOW);
    put_f32(m, true, steps & CENTRED ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", norm_eps);
    put_f32(m, true, "rope.freq_base", base);
    put_f32(m, steps & LOCAL_BASE, "rope.freq_base_swa", local_base);
    put_f32(m, (steps & EMBEDDING) && !gemma, "embedding_scale", embedding_scale);
    put_f32(m, steps & ATTENTION, "attention.scale", attn_scale);
    put_f32(m, steps & RESIDUAL, "residual_scale", residual_scale);
    put_f32(m, steps & LOGITS, "logit_scale", logit_divisor);
    put_f32(m, steps & ATTN_CAP, "attn_logit_softcapping", attn_cap);
    put_f32(m, steps & LOGIT_CAP, "final_logit_softcapping", logit_cap);
    if (m->f->pattern) {
        char full[96];
        const uint8_t local[LAYERS] = { m->f->local & 1, m->f->local >> 1 & 1, m->f->local >> 2 & 1 };
        key(m, "attention.sliding_window_pattern", full);
        writer_array(&m->w, full, GGUF_BOOL, local, LAYERS, sizeof local);
    }
}

/* extra: a tensor that no architecture has, or NULL. */
static void write_model(tiny *m, const family *f, const char *path, const char *extra)
{
    *m = (tiny){ .f = f, .w = writer_begin(), .rng = gsl_rng_alloc(gsl_rng_mt19937) };
    assert_non_null(m->rng);
    put_keys(m);
    add(m, -1, "token_embd.weight", EMBD, VOCAB, 0, 1);
    add(m, -1, "output_norm.weight", EMBD, 0, 1, .3);
    add(m, -1, "output.weight", EMBD, VOCAB, 0, .5);
    if (f->steps & CENTRED)
        add(m, -1, "output_norm.bias", EMBD, 0, 0, .3);
    if (f->steps & OTHER_BIAS)
        add(m, -1, "output.bias", VOCAB, 0, 0, .3);
    if ((f->steps & FACTORS) && !f->fused)
        add(m, -1, "rope_freqs.weight", DIM / 2, 0, 3, .3);
    if ((f->steps & FACTORS) && f->fused) {
        add(m, -1, "rope_factors_long.weight", DIM / 2, 0, 5, .3);
        add(m, -1, "rope_factors_short.weight", DIM / 2, 0, 2, .3);
    }
    for (int i = 0; i < LAYERS; i++)
        add_layer(m, i);
    if (extra)
        add(m, 0, extra, EMBD, 0, 0, 1);
    byte_buffer bytes = writer_end(&m->w);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.bytes, file), bytes.bytes);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
}

static void free_model(tiny *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->tensors[i].x);
    gsl_rng_free(m->rng);
}

/* ---- The reference --------------------------------------------------------------------------- */

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

/* x += what a part gave, after its norm and factor. */
static void add_part(const tiny *m, int layer, const char *norm, unsigned steps, double *y, double *x)
{
    if (steps & POST_NORM)
        normalise(y, get(m, layer, norm), NULL, false, EMBD, y);
    for (size_t i = 0; i < EMBD; i++)
        x[i] += y[i] * (steps & RESIDUAL ? residual_scale : 1);
}

static void feed_forward(const tiny *m, int layer, unsigned steps, const double *in, double *out)
{
    const size_t ups = m->f->gated && m->f->fused ? 2 * FF : FF;
    const bool bias = steps & OTHER_BIAS;
    double up[2 * FF], gate[FF];
    multiply(get(m, layer, "ffn_up.weight"), bias ? get(m, layer, "ffn_up.bias") : NULL, in, EMBD, ups, up);
    if (m->f->gated && !m->f->fused)
        multiply(get(m, layer, "ffn_gate.weight"), NULL, in, EMBD, FF, gate);
    else
        memcpy(gate, up, sizeof gate);                  /* the first half of both, or the only one */
    const double *factor = m->f->fused ? up + FF : up;
    for (size_t i = 0; i < FF; i++) {
        const double g = gate[i], z = sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g);
        gate[i] = (steps & GELU ? g * (1 + tanh(z)) / 2 : g / (1 + exp(-g))) * (m->f->gated ? factor[i] : 1);
    }
    multiply(get(m, layer, "ffn_down.weight"), bias ? get(m, layer, "ffn_down.bias") : NULL, gate, FF, EMBD, out);
}

typedef struct { double k[LAYERS][TOKENS][KV], v[LAYERS][TOKENS][KV]; } memory;

static void attend(const tiny *m, int layer, unsigned steps, const float *factors, const double *in, size_t t, memory *past, double *out)
{
    double q[Q], *k = past->k[layer][t], *v = past->v[layer][t], o[Q] = { 0 };
    const bool fused = m->f->fused, bias = steps & QKV_BIAS, local = (steps & WINDOWS) && (m->f->local >> layer & 1);
    const float *w = fused ? get(m, layer, "attn_qkv.weight") : NULL, *b = fused && bias ? get(m, layer, "attn_qkv.bias") : NULL;
    multiply(w ? w : get(m, layer, "attn_q.weight"), b ? b : bias ? get(m, layer, "attn_q.bias") : NULL, in, EMBD, Q, q);
    multiply(w ? w + Q * EMBD : get(m, layer, "attn_k.weight"), b ? b + Q : bias ? get(m, layer, "attn_k.bias") : NULL, in, EMBD, KV, k);
    multiply(w ? w + (Q + KV) * EMBD : get(m, layer, "attn_v.weight"), b ? b + Q + KV : bias ? get(m, layer, "attn_v.bias") : NULL, in,
             EMBD, KV, v);
    for (size_t h = 0; h < HEADS + KV_HEADS; h++) {
        double *x = h < HEADS ? q + h * DIM : k + (h - HEADS) * DIM;
        if (steps & QK_NORM)
            normalise(x, get(m, layer, h < HEADS ? "attn_q_norm.weight" : "attn_k_norm.weight"), NULL, false, DIM, x);
        turn(x, (double)t, (m->f->local >> layer & 1) && (steps & LOCAL_BASE) ? local_base : base, factors,
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
    multiply(get(m, layer, "attn_output.weight"), steps & OTHER_BIAS ? get(m, layer, "attn_output.bias") : NULL, o, Q, EMBD, out);
}

/* logits [TOKENS][VOCAB] with the given steps only, for a model opened for `context` positions. */
static void reference(const tiny *m, unsigned steps, uint32_t context, const int32_t *ids, double *logits)
{
    memory *past = calloc(1, sizeof *past);
    assert_non_null(past);
    const char *divisors = !m->f->fused ? "rope_freqs.weight" : context > SHORT ? "rope_factors_long.weight" : "rope_factors_short.weight";
    const float *factors = steps & FACTORS ? get(m, -1, divisors) : NULL;
    const bool centred = steps & CENTRED, other = m->f->steps & CENTRED;
    const double scale = !(steps & EMBEDDING) ? 1 : steps & POST_NORM || m->f->steps & POST_NORM ? sqrt(EMBD) : embedding_scale;
    for (size_t t = 0; t < TOKENS; t++) {
        double x[EMBD], in[EMBD], attended[EMBD], fed[EMBD];
        for (size_t i = 0; i < EMBD; i++)
            x[i] = (double)get(m, -1, "token_embd.weight")[(size_t)ids[t] * EMBD + i] * scale;
        for (int layer = 0; layer < LAYERS; layer++) {
            const float *first = get(m, layer, "attn_norm.weight"), *shift = other ? get(m, layer, "attn_norm.bias") : NULL;
            normalise(x, first, shift, centred, EMBD, in);
            attend(m, layer, steps, factors, in, t, past, attended);
            if (steps & PARALLEL)
                feed_forward(m, layer, steps, in, fed);
            add_part(m, layer, "post_attention_norm.weight", steps, attended, x);
            if (!(steps & PARALLEL)) {
                normalise(x, m->f->steps & PARALLEL ? first : get(m, layer, "ffn_norm.weight"), shift, centred, EMBD, in);
                feed_forward(m, layer, steps, in, fed);
            }
            add_part(m, layer, "post_ffw_norm.weight", steps, fed, x);
        }
        normalise(x, get(m, -1, "output_norm.weight"), other ? get(m, -1, "output_norm.bias") : NULL, centred, EMBD, in);
        double *y = logits + t * VOCAB;
        multiply(get(m, -1, "output.weight"), steps & OTHER_BIAS ? get(m, -1, "output.bias") : NULL, in, EMBD, VOCAB, y);
        for (size_t i = 0; i < VOCAB; i++)
            y[i] = capped(y[i] / (steps & LOGITS ? logit_divisor : 1), steps & LOGIT_CAP, logit_cap);
    }
    free(past);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void run(lm_model *model, const int32_t *ids, uint32_t piece, float *logits)
{
    const kvant_quantizer *f32 = kvant_find("f32", NULL);
    const kvcache_side side = { f32, kvant_defaults(f32->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    kvcache *cache;
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    assert_ok(kvcache_open(&codecs, TOKENS, &cache, err));
    for (uint32_t at = 0; at < TOKENS; at += piece) {
        const lm_segment s = { cache, ids + at, TOKENS - at < piece ? TOKENS - at : piece, want };
        assert_ok(lm_forward(model, piece == 1 ? LM_DECODE : LM_PREFILL, &s, 1, logits + at * VOCAB, NULL, err));
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

static double distance(const double *a, const float *b)
{
    double most = 0;
    for (size_t i = 0; i < TOKENS * VOCAB; i++) {
        const double d = fabs(a[i] - (double)b[i]);
        most = d <= most ? most : d;
    }
    return most;
}

/* Floats of 24 bits through three layers: some 2^-24 times the terms of a sum, on logits of about 10. */
static const double tolerance = 1e-4;

/* Weights that stay in the file give the same bits. */
static void check_streamed(const char *path, uint32_t context, const int32_t *ids, const float *wanted, uint32_t piece)
{
    float logits[TOKENS * VOCAB];
    lm_model *model;
    assert_ok(lm_open_as(path, context, LM_WEIGHTS_STREAM, &model, err));
    run(model, ids, piece, logits);
    assert_memory_equal(logits, wanted, sizeof logits);
    lm_close(model);
}

typedef struct { float x[LAYERS][TOKENS * EMBD]; size_t at; } streams;

static void keep_stream(void *user, uint32_t layer, const float *x, size_t n_rows)
{
    streams *s = user;
    memcpy(s->x[layer] + s->at * EMBD, x, n_rows * EMBD * sizeof *x);
}

/* Hidden states of all tokens by a cache whose layers `coded` and above are in codes: from layer `first` on. */
static void run_from(lm_model *model, const kvcache_codecs *codecs, uint32_t coded, uint32_t first, const int32_t *ids, uint32_t piece,
                     streams *kept, float *hidden)
{
    const lm_observer observer = { .residual = keep_stream, .user = kept };
    const kvant_codec *of[LAYERS * KV_HEADS * 2];
    kvcache_codecs view = *codecs;
    kvcache *cache;
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    for (size_t i = 0; i < LAYERS * KV_HEADS * 2; i++)
        of[i] = i / (KV_HEADS * 2) >= coded ? codecs->of[i] : codecs->f16;
    view.of = of;
    assert_ok(kvcache_open_from(&view, first, TOKENS, &cache, err));
    for (uint32_t at = kept->at = 0; at < TOKENS; kept->at = at += piece) {
        const lm_segment s = { cache, ids + at, TOKENS - at < piece ? TOKENS - at : piece, want };
        assert_ok(lm_resume_hidden(model, piece == 1 ? LM_DECODE : LM_PREFILL, &s, 1, first ? kept->x[first] + at * EMBD : NULL,
                                   hidden + at * EMBD, coded == LAYERS ? &observer : NULL, err));
    }
    kvcache_close(cache);
}

/* What a pass with f16 alone let enter a layer, and coded caches from there on, make the bits of a whole pass. */
static void check_resumed(lm_model *model, const int32_t *ids, uint32_t piece)
{
    const kvant_quantizer *q = kvant_find("affine", NULL);
    kvcache_side side = { q, kvant_defaults(q->params) };
    assert_ok(kvant_parse(q->params, "bits=3,group_size=8", &side.args, err));
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    float f16[TOKENS * EMBD], whole[TOKENS * EMBD], resumed[TOKENS * EMBD];
    kvcache_codecs codecs;
    streams kept;
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    run_from(model, &codecs, LAYERS, 0, ids, piece, &kept, f16);
    for (uint32_t layer = 1; layer < LAYERS; layer++) {
        run_from(model, &codecs, layer, 0, ids, piece, &kept, whole);
        run_from(model, &codecs, layer, layer, ids, piece, &kept, resumed);
        assert_memory_not_equal(whole, f16, sizeof whole);
        assert_memory_equal(whole, resumed, sizeof whole);
    }
    kvcache_codecs_close(&codecs);
}

static void check_family(const family *f, const char *path, uint32_t context)
{
    static const uint32_t pieces[] = { TOKENS, 5, 1 };
    int32_t ids[TOKENS];
    double wanted[TOKENS * VOCAB], other[TOKENS * VOCAB];
    float logits[TOKENS * VOCAB];
    tiny m;
    lm_model *model;
    write_model(&m, f, path, NULL);
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)gsl_rng_uniform_int(m.rng, VOCAB);
    reference(&m, f->steps, context, ids, wanted);
    assert_ok(lm_open(path, context, &model, err));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run(model, ids, pieces[i], logits);
        const double off = distance(wanted, logits);
        if (!(off <= tolerance))
            fail_msg("%s, context %u, pieces of %u: logits are off by %g", f->name, context, pieces[i], off);
        check_resumed(model, ids, pieces[i]);
    }
    check_streamed(path, context, ids, logits, pieces[sizeof pieces / sizeof *pieces - 1]);
    for (unsigned step = 1; step <= ALL; step *= 2)
        if (f->steps & step) {
            reference(&m, f->steps & ~step, context, ids, other);
            const double moved = distance(other, logits);
            if (!(moved >= 100 * tolerance))
                fail_msg("%s: without step %u logits move by %g only", f->name, step, moved);
        }
    lm_close(model);
    free_model(&m);
}

static void test_families(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = text_format("%s/tiny.gguf", folder);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        check_family(&families[i], path, SHORT);
        check_family(&families[i], path, CONTEXT);
    }
    free(path);
    scratch_remove(folder);
}

/* What is not known is refused by name, never left out. */
static void test_refused(void **state)
{
    (void)state;
    static const family mamba = { "mamba", 0, false, true, false, 0 }, biased = { "llama", QKV_BIAS, false, true, false, 0 },
                        plain = { "qwen2", HALF, false, true, false, 0 };
    static const struct { const family *f; const char *extra, *says; } cases[] = {
        { &mamba, NULL, "supported: llama, qwen2, qwen3, granite, phi3, gemma3, gemma2, phi2" },
        { &families[2], "attn_gate.weight", "blk.0.attn_gate.weight is not part of architecture qwen3" },
        { &biased, NULL, "attn_q.bias is not part of architecture llama" },
        { &plain, NULL, "blk.0.attn_q.bias is missing" },
    };
    char *folder = scratch_make(), *path = text_format("%s/tiny.gguf", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny m;
        lm_model *model;
        kvant_error err = { "" };
        write_model(&m, cases[i].f, path, cases[i].extra);
        assert_int_equal(lm_open(path, 0, &model, &err), KVANT_INVALID);
        if (!strstr(err.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
        free_model(&m);
    }
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_families), cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
