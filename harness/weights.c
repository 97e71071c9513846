/* weights.c - chooses the form of a model's weights and measures what bf16 does to its logits.
 * Sizes come from the file's table of tensors; nothing is loaded for them. */
#include "harness/weights.h"

#include "harness/lm/dequant.h"
#include "harness/lm/gemm.h"
#include "harness/measure/logits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

kvant_status weights_find(const char *name, int *choice, kvant_error *err)
{
    lm_weights weights;
    *choice = WEIGHTS_BY_MEMORY;
    if (!name || !strcmp(name, "auto"))
        return KVANT_OK;
    if (!lm_weights_find(name, &weights))
        return kvant_fail(err, KVANT_INVALID, "'%.40s' is no form of weights; use auto, f32, stream or bf16", name);
    *choice = (int)weights;
    return KVANT_OK;
}

weights_size weights_size_of(const gguf *file, const lm_shape *shape)
{
    weights_size size = { .file = 0 };
    uint64_t widest = 0;
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        const ggml_type *type = ggml_type_find(t->type);
        const uint64_t values = type ? t->bytes / type->bytes * type->block : 0;
        size.values += values;
        size.file += t->bytes;
        if (!shape->tied && t == gguf_tensor_find(file, "token_embd.weight"))
            continue;
        const bool vector = t->n_dims == 1;
        size.held[LM_WEIGHTS_F32] += 4 * values;
        size.held[LM_WEIGHTS_BF16] += (vector ? 4 : 2) * values;
        size.held[LM_WEIGHTS_STREAM] += vector ? 4 * values : 0;
        widest = !vector && t->ne[0] > widest ? t->ne[0] : widest;
    }
    size.unpacked = gemm_unpack_bytes(&(gemm_matrix){ .n_in = (size_t)widest });
    size.held[LM_WEIGHTS_STREAM] += size.unpacked;
    return size;
}

lm_weights weights_choose(int choice, const weights_size *size, uint64_t available)
{
    if (choice != WEIGHTS_BY_MEMORY)
        return (lm_weights)choice;
    return available == 0 || size->held[LM_WEIGHTS_F32] <= available / 2 ? LM_WEIGHTS_F32 : LM_WEIGHTS_STREAM;
}

/* ---- What bf16 does -------------------------------------------------------------------------- */

enum { ROWS = 16 };                /* of logits at a time: streamed, each time takes the whole output matrix */

/* Hidden states [n][n_embd] of all tokens. */
static kvant_status run_hidden(lm_model *model, const int32_t *ids, size_t n, float *hidden, kvant_error *err)
{
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    kvcache *cache = NULL;
    uint8_t want[WEIGHTS_TOKENS];
    memset(want, 1, sizeof want);
    kvant_status status = kvcache_codecs_open_f16(&shape, NULL, &codecs, err);
    if (status)
        return status;
    status = kvcache_open(&codecs, (uint32_t)n, &cache, err);
    const lm_segment segment = { .cache = cache, .tokens = ids, .n = (uint32_t)n, .want = want };
    if (!status)
        status = lm_forward_hidden(model, LM_PREFILL, &segment, 1, hidden, NULL, err);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return status;
}

/* Adds up what rows of logits p, q [n][n_vocab] differ by. */
static void compare(const float *p, const float *q, size_t n, size_t n_vocab, weights_effect *effect)
{
    for (size_t row = 0; row < n; row++, p += n_vocab, q += n_vocab) {
        effect->kl += logits_divergence(p, logits_mass_of(p, n_vocab), q, logits_mass_of(q, n_vocab), n_vocab);
        for (size_t i = 0; i < n_vocab; i++) {
            const double d = fabs((double)p[i] - (double)q[i]);
            effect->most = d <= effect->most ? effect->most : d;      /* a NaN shows */
        }
    }
}

kvant_status weights_measure(lm_model *rounded, const char *path, uint32_t context, const int32_t *ids, size_t n,
                             weights_effect *effect, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(rounded);
    const size_t tokens = n < WEIGHTS_TOKENS ? n : WEIGHTS_TOKENS, n_embd = shape->n_embd, n_vocab = shape->n_vocab;
    *effect = (weights_effect){ .tokens = tokens };
    if (!n)
        return kvant_fail(err, KVANT_INVALID, "there is no token to compare forms of weights on");
    float *hidden = kvant_alloc(2 * tokens * n_embd * sizeof *hidden), *logits = kvant_alloc(2 * ROWS * n_vocab * sizeof *logits);
    lm_model *exact = NULL;
    kvant_status status = hidden && logits ? lm_open_as(path, context, LM_WEIGHTS_STREAM, &exact, err)
                                           : kvant_fail(err, KVANT_NOMEM, "no memory to compare forms of weights");
    if (!status)
        status = run_hidden(exact, ids, tokens, hidden, err);
    if (!status)
        status = run_hidden(rounded, ids, tokens, hidden + tokens * n_embd, err);
    for (size_t at = 0; at < tokens && !status; at += ROWS) {
        const size_t rows = tokens - at < ROWS ? tokens - at : ROWS;
        lm_logits(exact, hidden + at * n_embd, rows, logits);
        lm_logits(rounded, hidden + (tokens + at) * n_embd, rows, logits + ROWS * n_vocab);
        compare(logits, logits + ROWS * n_vocab, rows, n_vocab, effect);
    }
    effect->kl /= (double)tokens;
    lm_close(exact);
    free(hidden);
    free(logits);
    return status;
}
