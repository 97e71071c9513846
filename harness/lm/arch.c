/* arch.c - the table of architectures, and the shape of a model as the keys of its file give it.
 * A value that a row does not expect is an error: a model that is run in another way than it was trained gives wrong figures. */
#include "harness/lm/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const lm_arch architectures[] = {
    { .name = "llama", .pairing = KVANT_ROPE_INTERLEAVED, .factors = LM_FACTORS_ONE },
    { .name = "qwen2", .pairing = KVANT_ROPE_HALF, .qkv_bias = true },
    { .name = "qwen3", .pairing = KVANT_ROPE_HALF, .qk_norm = true },
    { .name = "qwen3moe", .pairing = KVANT_ROPE_HALF, .qk_norm = true, .experts = true },
    { .name = "granite", .pairing = KVANT_ROPE_INTERLEAVED, .factors = LM_FACTORS_ONE, .multipliers = true },
    { .name = "phi3", .pairing = KVANT_ROPE_HALF, .factors = LM_FACTORS_LONG_SHORT, .windows = true },
    { .name = "gemma3", .pairing = KVANT_ROPE_HALF, .activation = LM_GELU_GATED, .qk_norm = true, .post_norm = true,
      .scaled_embedding = true, .wide_layers = 62, .windows = true, .period = 6, .local_base = 10000, .caps = true },
    { .name = "gemma2", .pairing = KVANT_ROPE_HALF, .activation = LM_GELU_GATED, .post_norm = true, .scaled_embedding = true,
      .wide_layers = 46, .windows = true, .window = 4096, .period = 2, .caps = true, .attn_cap = 50, .logit_cap = 30 },
    { .name = "phi2", .pairing = KVANT_ROPE_HALF, .activation = LM_GELU, .layer_norm = true, .parallel = true, .qkv_bias = true,
      .other_bias = true },
    { .name = "olmo2", .pairing = KVANT_ROPE_HALF, .no_pre_norm = true, .wide_qk_norm = true, .post_norm = true },
};

enum { N_ARCH = sizeof architectures / sizeof *architectures };

const lm_arch *lm_arch_find(const gguf *file, const char *name, kvant_error *err)
{
    char known[256] = "";
    for (size_t i = 0, used = 0; i < N_ARCH; i++) {
        if (!strcmp(architectures[i].name, name))
            return &architectures[i];
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", architectures[i].name);
    }
    kvant_fail(err, KVANT_INVALID, "%s: architecture '%s' is not supported; supported: %s", gguf_path(file), name, known);
    return NULL;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static kvant_status missing(const gguf *file, const char *key, kvant_error *err)
{
    return kvant_fail(err, KVANT_INVALID, "%s: key %s is missing or no number; the file cannot be run", gguf_path(file), key);
}

kvant_status lm_key_u32(const gguf *file, const char *arch, const char *name, const uint32_t *fallback, uint32_t *value,
                        kvant_error *err)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (gguf_get_u32(file, key, value))
        return KVANT_OK;
    if (!fallback || gguf_find(file, key))
        return missing(file, key, err);
    *value = *fallback;
    return KVANT_OK;
}

kvant_status lm_key_f32(const gguf *file, const char *arch, const char *name, const float *fallback, float *value, kvant_error *err)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (gguf_get_f32(file, key, value) && isfinite(*value))
        return KVANT_OK;
    if (!fallback || gguf_find(file, key))
        return missing(file, key, err);
    *value = *fallback;
    return KVANT_OK;
}

/* ---- Shape ----------------------------------------------------------------------------------- */

static const char *norm_key(const lm_arch *a)
{
    return a->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
}

static const char *feed_forward_key(const lm_arch *a) { return a->experts ? "expert_feed_forward_length" : "feed_forward_length"; }

static kvant_status check_shape(const gguf *file, const lm_arch *a, const lm_shape *s, kvant_error *err)
{
    const char *wrong = s->n_layer == 0 || s->n_layer > KVCACHE_LAYERS             ? "block_count"
                        : s->n_embd == 0 || s->n_embd > 1u << 20         ? "embedding_length"
                        : s->n_head == 0 || s->n_head > 4096             ? "attention.head_count"
                        : s->n_kv_head == 0 || s->n_head % s->n_kv_head  ? "attention.head_count_kv"
                        : s->head_dim < 8 || s->head_dim > 512           ? "attention.key_length"
                        : s->n_ff == 0 || s->n_ff > 1u << 22             ? feed_forward_key(a)
                        : a->experts && (s->n_expert == 0 || s->n_expert > 4096) ? "expert_count"
                        : a->experts && (s->n_used == 0 || s->n_used > s->n_expert) ? "expert_used_count"
                        : s->n_context == 0                              ? "context_length"
                        : s->rope.width % 2 || s->rope.width > s->head_dim ? "rope.dimension_count"
                        : !(s->norm_eps > 0)                             ? norm_key(a)
                        : !(s->attn_scale > 0 && isfinite(s->attn_scale)) ? "attention.scale"
                        : !(s->logit_scale > 0 && isfinite(s->logit_scale)) ? "logit_scale"
                        : !(s->attn_cap >= 0)                            ? "attn_logit_softcapping"
                        : !(s->logit_cap >= 0)                           ? "final_logit_softcapping"
                                                                         : NULL;
    if (wrong)
        return kvant_fail(err, KVANT_INVALID, "%s: %s.%s has a value that this engine cannot run (head_dim 8...512, even RoPE width)",
                          gguf_path(file), s->arch, wrong);
    return KVANT_OK;
}

/* Factors and caps, where the architecture has them; needs n_embd, n_head, head_dim and n_layer. */
static kvant_status read_scales(const gguf *file, const lm_arch *a, lm_shape *s, kvant_error *err)
{
    const float one = 1;
    const bool wide = a->wide_layers && s->n_layer == a->wide_layers;
    s->attn_scale = (float)(1 / sqrt(wide ? (double)(s->n_embd / s->n_head) : (double)s->head_dim));
    s->embedding_scale = a->scaled_embedding ? sqrtf((float)s->n_embd) : 1;
    s->residual_scale = s->logit_scale = 1;
    s->attn_cap = a->attn_cap;
    s->logit_cap = a->logit_cap;
    kvant_status status = KVANT_OK;
    if (a->multipliers) {
        float divisor = 1;
        if ((status = lm_key_f32(file, s->arch, "attention.scale", &s->attn_scale, &s->attn_scale, err)) ||
            (status = lm_key_f32(file, s->arch, "embedding_scale", &one, &s->embedding_scale, err)) ||
            (status = lm_key_f32(file, s->arch, "residual_scale", &one, &s->residual_scale, err)) ||
            (status = lm_key_f32(file, s->arch, "logit_scale", &one, &divisor, err)))
            return status;
        s->logit_scale = 1 / divisor;
    }
    if (a->caps && !(status = lm_key_f32(file, s->arch, "attn_logit_softcapping", &a->attn_cap, &s->attn_cap, err)))
        status = lm_key_f32(file, s->arch, "final_logit_softcapping", &a->logit_cap, &s->logit_cap, err);
    return status;
}

/* Keys of variants that are not run, and would be run wrongly without a word. */
static kvant_status check_variants(const gguf *file, const lm_arch *a, const lm_shape *s, kvant_error *err)
{
    char key[128];
    bool rotated;
    snprintf(key, sizeof key, "%s.rope.scaling.finetuned", s->arch);
    if (a->multipliers && gguf_get_bool(file, key, &rotated) && !rotated)
        return kvant_fail(err, KVANT_INVALID, "%s: %s is false: models without RoPE are not supported", gguf_path(file), key);
    uint32_t n;
    snprintf(key, sizeof key, "%s.expert_count", s->arch);
    if (!a->experts && gguf_get_u32(file, key, &n) && n > 0)
        return kvant_fail(err, KVANT_INVALID, "%s: %s is %u: of mixtures of experts only qwen3moe is supported", gguf_path(file), key,
                          n);
    snprintf(key, sizeof key, "%s.attention.sliding_window", s->arch);
    if (!a->windows && gguf_get_u32(file, key, &n) && n > 0)
        return kvant_fail(err, KVANT_INVALID, "%s: %s is %u: a sliding window is not part of architecture %s as this engine knows it",
                          gguf_path(file), key, n, s->arch);
    return KVANT_OK;
}

/* Which layers attend to a sliding window of so many tokens; needs n_layer, checked. */
static kvant_status read_windows(const gguf *file, const lm_arch *a, uint32_t tokens, lm_shape *s, kvant_error *err)
{
    char key[128];
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", s->arch);
    const gguf_kv *pattern = a->windows ? gguf_find(file, key) : NULL;
    uint32_t period = a->period;
    if (pattern && pattern->type == GGUF_ARRAY && pattern->n != s->n_layer)
        return kvant_fail(err, KVANT_INVALID, "%s: %s has %llu values, and the model %u layers", gguf_path(file), key,
                          (unsigned long long)pattern->n, s->n_layer);
    if (pattern && pattern->type != GGUF_ARRAY && !gguf_get_u32(file, key, &period))
        return missing(file, key, err);
    s->sliding.tokens = tokens;
    for (uint32_t i = 0; i < s->n_layer && tokens > 0; i++) {
        int64_t local = period == 0 || i % period < period - 1;
        if (pattern && pattern->type == GGUF_ARRAY && !gguf_item_i64(pattern, i, &local))
            return missing(file, key, err);
        s->sliding.layers[i / 64] |= (uint64_t)(local != 0) << i % 64;
    }
    return KVANT_OK;
}

kvant_status lm_read_shape(const gguf *file, lm_shape *shape, kvant_error *err)
{
    lm_shape s = { 0 };
    gguf_string name = { 0 };
    if (!gguf_get_string(file, "general.architecture", &name))
        return missing(file, "general.architecture", err);
    snprintf(s.arch, sizeof s.arch, "%.*s", (int)(name.bytes < 31 ? name.bytes : 31), name.data);
    const lm_arch *a = lm_arch_find(file, s.arch, err);
    if (!a)
        return KVANT_INVALID;
    const gguf_tensor *embedding = gguf_tensor_find(file, "token_embd.weight");
    if (!embedding || embedding->n_dims != 2 || embedding->ne[1] > INT32_MAX || embedding->ne[1] == 0)
        return kvant_fail(err, KVANT_INVALID, "%s: tensor token_embd.weight is missing or no matrix", gguf_path(file));
    s.n_vocab = (uint32_t)embedding->ne[1];
    s.tied = !gguf_tensor_find(file, "output.weight");
    kvant_status status;
    if ((status = lm_key_u32(file, s.arch, "block_count", NULL, &s.n_layer, err)) ||
        (status = lm_key_u32(file, s.arch, "embedding_length", NULL, &s.n_embd, err)) ||
        (status = lm_key_u32(file, s.arch, "attention.head_count", NULL, &s.n_head, err)) ||
        (status = lm_key_u32(file, s.arch, "attention.head_count_kv", &s.n_head, &s.n_kv_head, err)) ||
        (status = lm_key_u32(file, s.arch, feed_forward_key(a), NULL, &s.n_ff, err)) ||
        (a->experts && (status = lm_key_u32(file, s.arch, "expert_count", NULL, &s.n_expert, err))) ||
        (a->experts && (status = lm_key_u32(file, s.arch, "expert_used_count", NULL, &s.n_used, err))) ||
        (status = lm_key_u32(file, s.arch, "context_length", NULL, &s.n_context, err)) ||
        (status = lm_key_f32(file, s.arch, norm_key(a), NULL, &s.norm_eps, err)))
        return status;
    const uint32_t head_dim = s.n_head ? s.n_embd / s.n_head : 0;
    uint32_t value_length = 0;
    if ((status = lm_key_u32(file, s.arch, "attention.key_length", &head_dim, &s.head_dim, err)) ||
        (status = lm_key_u32(file, s.arch, "attention.value_length", &s.head_dim, &value_length, err)) ||
        (status = lm_key_u32(file, s.arch, "rope.dimension_count", &s.head_dim, &s.rope.width, err)))
        return status;
    if (value_length != s.head_dim)
        return kvant_fail(err, KVANT_INVALID, "%s: keys of %u and values of %u coordinates: only equal ones are supported",
                          gguf_path(file), s.head_dim, value_length);
    s.rope.pairing = a->pairing;
    if (s.n_head > 0 && (status = read_scales(file, a, &s, err)))
        return status;
    uint32_t window = 0;
    if ((a->windows && (status = lm_key_u32(file, s.arch, "attention.sliding_window", &a->window, &window, err))) ||
        (status = check_variants(file, a, &s, err)) || (status = check_shape(file, a, &s, err)) ||
        (status = read_windows(file, a, window, &s, err)))
        return status;
    *shape = s;
    return KVANT_OK;
}
