/* rope.c - RoPE's frequencies from a file's keys and tensors: bases, linear and YaRN scaling, divisors for short and long contexts.
 * Frequencies are doubles, since the angle of a late position needs more bits than a float has. */
#include "harness/lm/dequant.h"
#include "harness/lm/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

typedef struct { bool yarn, linear; float base, factor, attention_factor; uint32_t original; } scaling;

/* Pair index below which a dimension turns more than `turns` times within the original context (YaRN, 2309.00071 §3.2). */
static double yarn_bound(double turns, double width, double base, double context)
{
    return width * log(context / (turns * 2 * pi)) / (2 * log(base));
}

static kvant_status read_scaling(const lm_model *m, scaling *k, kvant_error *err)
{
    const gguf *file = m->file;
    const char *arch = m->shape.arch;
    const float base = 10000, one = 1;
    char key[128];
    kvant_status status;
    if ((status = lm_key_f32(file, arch, "rope.freq_base", &base, &k->base, err)) ||
        (status = lm_key_f32(file, arch, "rope.scaling.factor", &one, &k->factor, err)) ||
        (status = lm_key_f32(file, arch, "rope.scaling.attn_factor", &one, &k->attention_factor, err)) ||
        (status = lm_key_u32(file, arch, "rope.scaling.original_context_length", &m->shape.n_context, &k->original, err)))
        return status;
    gguf_string type = { "none", 4 };
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    if (gguf_find(file, key) && !gguf_get_string(file, key, &type))
        return kvant_fail(err, KVANT_INVALID, "%s: key %s is no text; the file cannot be run", gguf_path(file), key);
    k->yarn = type.bytes == 4 && !memcmp(type.data, "yarn", 4);
    k->linear = type.bytes == 6 && !memcmp(type.data, "linear", 6);
    /* The divisors are all of longrope. */
    const bool longrope = type.bytes == 8 && !memcmp(type.data, "longrope", 8) && m->arch->factors == LM_FACTORS_LONG_SHORT &&
                          !(k->factor < 1 || k->factor > 1);
    if (!k->yarn && !k->linear && !longrope && !(type.bytes == 4 && !memcmp(type.data, "none", 4)))
        return kvant_fail(err, KVANT_INVALID, "%s: %s is '%.*s'; supported: none, linear, yarn", gguf_path(file), key,
                          (int)(type.bytes < 64 ? type.bytes : 64), type.data);
    if (!(k->base > 1) || !(k->factor > 0))
        return kvant_fail(err, KVANT_INVALID, "%s: RoPE base %g and scaling factor %g make no sense", gguf_path(file), (double)k->base,
                          (double)k->factor);
    return KVANT_OK;
}

const gguf_tensor *lm_rope_factors_of(const lm_model *m)
{
    uint32_t original = m->shape.n_context;
    switch (m->arch->factors) {
    case LM_FACTORS_ONE: return gguf_tensor_find(m->file, "rope_freqs.weight");
    case LM_FACTORS_LONG_SHORT:
        if (lm_key_u32(m->file, m->shape.arch, "rope.scaling.original_context_length", &original, &original, NULL))
            return NULL;
        return gguf_tensor_find(m->file, m->context > original ? "rope_factors_long.weight" : "rope_factors_short.weight");
    case LM_FACTORS_NONE: break;
    }
    return NULL;
}

/* divide [pairs]: what the frequencies are divided by. */
static kvant_status read_factors(const lm_model *m, float *divide, uint32_t pairs, kvant_error *err)
{
    const gguf_tensor *factors = lm_rope_factors_of(m);
    for (uint32_t i = 0; i < pairs; i++)
        divide[i] = 1;
    if (!factors && m->arch->factors == LM_FACTORS_LONG_SHORT &&
        (gguf_tensor_find(m->file, "rope_factors_long.weight") || gguf_tensor_find(m->file, "rope_factors_short.weight")))
        return kvant_fail(err, KVANT_INVALID, "%s: of rope_factors_long.weight and rope_factors_short.weight one is missing",
                          gguf_path(m->file));
    if (factors && (factors->n_dims != 1 || factors->ne[0] != pairs))
        return kvant_fail(err, KVANT_INVALID, "%s: tensor %.*s does not have %u values", gguf_path(m->file),
                          (int)(factors->name.bytes < 64 ? factors->name.bytes : 64), factors->name.data, pairs);
    return factors ? dequant_rows(factors, 0, 1, divide, err) : KVANT_OK;
}

static kvant_status fill(const lm_model *m, const scaling *k, const float *divide, lm_rope *rope, kvant_error *err)
{
    const uint32_t pairs = m->shape.rope.width / 2;
    const double width = m->shape.rope.width, base = (double)k->base, factor = (double)k->factor;
    const double scale = k->linear || k->yarn ? 1.0 / factor : 1.0;
    const double low = fmax(0, floor(yarn_bound(32, width, base, k->original)));
    const double high = fmin(width - 1, ceil(yarn_bound(1, width, base, k->original)));
    for (uint32_t i = 0; i < pairs; i++) {
        const double extrapolated = pow(base, -2.0 * i / width) / (double)divide[i];
        /* YaRN keeps fast dimensions, interpolates slow ones, and goes linearly from one to the other between. */
        const double ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
        rope->frequency[i] = extrapolated * (k->yarn ? scale * ramp + (1 - ramp) : scale);
        if (!isfinite(rope->frequency[i]))
            return kvant_fail(err, KVANT_INVALID, "%s: the divisor of RoPE's frequency %u is %g", gguf_path(m->file), i,
                              (double)divide[i]);
    }
    rope->magnitude = k->attention_factor * (k->yarn ? (float)(1 + 0.1 * log(factor)) : 1);
    return KVANT_OK;
}

kvant_status lm_rope_init(lm_model *m, kvant_error *err)
{
    const uint32_t pairs = m->shape.rope.width / 2;
    scaling k = { 0 }, local = { .factor = 1, .attention_factor = 1, .original = m->shape.n_context };
    kvant_status status = read_scaling(m, &k, err);
    m->n_rope = m->shape.sliding.tokens > 0 && m->arch->local_base > 0 ? 2 : 1;
    if (status == KVANT_OK && m->n_rope == 2)
        status = lm_key_f32(m->file, m->shape.arch, "rope.freq_base_swa", &m->arch->local_base, &local.base, err);
    if (status == KVANT_OK && m->n_rope == 2 && !(local.base > 1))
        status = kvant_fail(err, KVANT_INVALID, "%s: RoPE base %g makes no sense", gguf_path(m->file), (double)local.base);
    float *divide = malloc((pairs + 1) * sizeof *divide);
    for (uint32_t i = 0; i < m->n_rope; i++)
        m->rope[i].frequency = calloc(pairs + 1, sizeof *m->rope[i].frequency);
    if (status == KVANT_OK && (!divide || !m->rope[0].frequency || !m->rope[m->n_rope - 1].frequency))
        status = kvant_fail(err, KVANT_NOMEM, "no memory for RoPE");
    if (status == KVANT_OK)
        status = read_factors(m, divide, pairs, err);
    for (uint32_t i = 0; i < m->n_rope && status == KVANT_OK; i++)
        status = fill(m, i ? &local : &k, divide, &m->rope[i], err);
    free(divide);
    return status;
}

kvant_status lm_rope_reach(lm_model *m, uint32_t positions, kvant_error *err)
{
    const size_t pairs = m->shape.rope.width / 2, had = m->rope_positions;
    if (positions <= had)
        return KVANT_OK;
    const size_t twice = 2 * had < m->context ? 2 * had : m->context, reach = twice > positions ? twice : positions;
    for (uint32_t r = 0; r < m->n_rope; r++) {
        lm_rope *rope = &m->rope[r];
        float *cosine = realloc(rope->cos, (reach * pairs + 1) * sizeof *cosine);
        rope->cos = cosine ? cosine : rope->cos;
        float *sine = realloc(rope->sin, (reach * pairs + 1) * sizeof *sine);
        rope->sin = sine ? sine : rope->sin;
        if (!cosine || !sine)
            return kvant_fail(err, KVANT_NOMEM, "no memory for RoPE's angles at %zu positions", reach);
#pragma omp parallel for schedule(static)
        for (size_t p = had; p < reach; p++)
            for (size_t j = 0; j < pairs; j++) {
                const double angle = (double)p * rope->frequency[j];
                rope->cos[p * pairs + j] = (float)cos(angle) * rope->magnitude;
                rope->sin[p * pairs + j] = (float)sin(angle) * rope->magnitude;
            }
    }
    m->rope_positions = (uint32_t)reach;
    return KVANT_OK;
}

void lm_rope_free(lm_model *m)
{
    for (uint32_t i = 0; i < LM_ROPES; i++) {
        free(m->rope[i].frequency);
        free(m->rope[i].cos);
        free(m->rope[i].sin);
    }
}
