/* kvcodecs.c - opens the codecs of a policy: as few as its groups need, and the trained ones each from its own head's vectors.
 * See kvcache.h. */
#include "harness/lm/kvcache.h"

#include <stdlib.h>
#include <string.h>

const kvcache_side *kvcache_side_of(const kvcache_policy *policy, uint32_t layer, uint32_t head, kvant_side side)
{
    const kvcache_allocation *a = policy->allocation;
    if (!a)
        return side == KVANT_KEY ? &policy->key : &policy->value;
    return &a->side[((size_t)layer * a->n_kv_head + head) * 2 + (side == KVANT_VALUE)];
}

static bool trained_ahead(const kvant_codec *codec) { return codec->plan.train_min && !codec->plan.prompt; }

/* One that stands for the group already: a head before it in its layer, of the same side and quantizer. */
static const kvant_codec *shared_codec(const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side)
{
    const kvcache_side *wanted = kvcache_side_of(&codecs->policy, layer, head, side);
    for (uint32_t other = 0; other < head; other++) {
        const kvcache_side *has = kvcache_side_of(&codecs->policy, layer, other, side);
        const kvant_codec *codec = kvcache_codec(codecs, layer, other, side);
        if (has->quantizer == wanted->quantizer && !memcmp(&has->args, &wanted->args, sizeof has->args) && !trained_ahead(codec))
            return codec;
    }
    return NULL;
}

typedef kvant_status opener(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                            kvant_codec *codec, kvant_error *err);

static kvant_status open_f16(opener *open, const kvcache_shape *shape, kvcache_codecs *codecs, kvant_error *err)
{
    const kvant_quantizer *f16 = kvant_find("f16", err);
    if (!f16)
        return KVANT_INVALID;
    const kvant_args none = kvant_defaults(f16->params);
    const kvant_shape s = { .dim = shape->head_dim, .side = KVANT_VECTOR, .rope = shape->rope };
    kvant_status status = open(f16, &s, &none, codecs->policy.isa, &codecs->own[0], err);
    if (status == KVANT_OK)
        codecs->n_own = 1;
    codecs->f16 = &codecs->own[0];
    return status;
}

/* States that are kept may spare init; a codec that is trained ahead is asked for once its vectors are there. */
static kvant_status open_codec(opener *open, const kvcache_policy *policy, const kvcache_side *side, const kvant_shape *s,
                               kvant_codec *codec, kvant_error *err)
{
    const kvcache_states *kept = open == kvant_open ? policy->states : NULL;
    const kvant_status status = kept ? kvant_describe(side->quantizer, s, &side->args, policy->isa, codec, err) : KVANT_OK;
    if (status != KVANT_OK)
        return status;
    if (kept && !trained_ahead(codec))
        return kept->open(kept->user, side->quantizer, s, &side->args, policy->isa, NULL, 0, codec, err);
    return open(side->quantizer, s, &side->args, policy->isa, codec, err);
}

static kvant_status open_group(opener *open, uint32_t layer, uint32_t head, kvant_side side, kvcache_codecs *codecs, kvant_error *err)
{
    const kvcache_policy *policy = &codecs->policy;
    const kvcache_side *wanted = kvcache_side_of(policy, layer, head, side);
    const kvant_codec **of = &codecs->of[kvcache_group(&codecs->shape, layer, head, side)];
    if (policy->sliding == SLIDING_F16 && kvcache_sliding_of(&codecs->shape.sliding, layer)) {
        *of = codecs->f16;
        return KVANT_OK;
    }
    *of = shared_codec(codecs, layer, head, side);
    if (*of)
        return KVANT_OK;
    const kvant_shape s = { .dim = codecs->shape.head_dim, .side = side, .layer = layer, .head = head,
                            .seed = policy->seed + (policy->seed_rule == SEED_PER_LAYER ? layer : 0), .rope = codecs->shape.rope };
    kvant_codec *codec = &codecs->own[codecs->n_own];
    kvant_status status = open_codec(open, policy, wanted, &s, codec, err);
    if (status == KVANT_OK) {
        codecs->n_own++;
        *of = codec;
    }
    return status;
}

static kvant_status open_all(opener *open, const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs,
                             kvant_error *err)
{
    const kvcache_allocation *a = policy->allocation;
    const size_t groups = (size_t)shape->n_layer * shape->n_kv_head * 2;
    *codecs = (kvcache_codecs){ .policy = *policy, .shape = *shape };
    if (a && (a->n_layer != shape->n_layer || a->n_kv_head != shape->n_kv_head))
        return kvant_fail(err, KVANT_INVALID, "the allocation is for %u layers of %u KV heads, and the model has %u of %u", a->n_layer,
                          a->n_kv_head, shape->n_layer, shape->n_kv_head);
    codecs->own = calloc(groups + 1, sizeof *codecs->own);
    codecs->of = calloc(groups, sizeof *codecs->of);
    if (!codecs->own || !codecs->of)
        return kvant_fail(err, KVANT_NOMEM, "no memory for the codecs of %u layers", shape->n_layer);
    kvant_status status = open_f16(open, shape, codecs, err);
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (uint32_t head = 0; head < shape->n_kv_head; head++)
            for (int side = 0; side < 2 && status == KVANT_OK; side++)
                status = open_group(open, layer, head, side ? KVANT_VALUE : KVANT_KEY, codecs, err);
    for (size_t i = 0; i < codecs->n_own; i++)
        codecs->scratch = codecs->own[i].scratch > codecs->scratch ? codecs->own[i].scratch : codecs->scratch;
    return status;
}

kvant_status kvcache_codecs_describe(const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs,
                                     kvant_error *err)
{
    const kvant_status status = open_all(kvant_describe, policy, shape, codecs, err);
    if (status != KVANT_OK)
        kvcache_codecs_close(codecs);
    return status;
}

/* ---- Training -------------------------------------------------------------------------------- */

/* kvant_train, or the state that it left an earlier time. */
static kvant_status train_codec(const kvcache_policy *policy, const float *x, size_t n, kvant_codec *codec, kvant_error *err)
{
    const kvcache_states *kept = policy->states;
    kvant_codec trained;
    if (!kept)
        return kvant_train(codec, x, n, err);
    const kvant_status status = kept->open(kept->user, codec->quantizer, &codec->shape, &codec->args, policy->isa, x, n, &trained, err);
    if (status == KVANT_OK) {
        kvant_close(codec);
        *codec = trained;
    }
    return status;
}

static kvant_status train(const kvcache_codecs *codecs, const kvcache_calibration *calibration, kvant_codec *codec, kvant_error *err)
{
    const kvcache_shape *shape = &codecs->shape;
    const size_t dim = shape->head_dim, row = shape->n_kv_head * dim, n = calibration ? calibration->n : 0;
    const char *name = codec->quantizer->name;
    if (n < codec->plan.train_min)
        return kvant_fail(err, KVANT_SKIP, calibration ? "%s: learns from %zu tokens at least, and `calibration` gives %zu"
                                                       : "%s: learns from %zu tokens, and there is no calibration data here",
                          name, codec->plan.train_min, n);
    const float *from = (codec->shape.side == KVANT_KEY ? calibration->key : calibration->value) +
                        codec->shape.layer * n * row + codec->shape.head * dim;
    float *x = kvant_alloc(n * dim * sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to learn from %zu tokens", name, n);
    for (size_t i = 0; i < n; i++)
        memcpy(x + i * dim, from + i * row, dim * sizeof *x);
    kvant_error why = { "" };
    const kvant_status status = train_codec(&codecs->policy, x, n, codec, &why);
    free(x);
    return status == KVANT_OK ? status : kvant_fail(err, status, "%s, layer %u, KV head %u: %s",
                                                    codec->shape.side == KVANT_KEY ? "keys" : "values", codec->shape.layer,
                                                    codec->shape.head, why.text);
}

/* Each codec from its own vectors; of several failures the first codec's is told, whichever thread was faster. */
static kvant_status train_all(const kvcache_calibration *calibration, kvcache_codecs *codecs, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    size_t failed = codecs->n_own;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < codecs->n_own; i++) {
        kvant_error why;
        kvant_status s = trained_ahead(&codecs->own[i]) ? train(codecs, calibration, &codecs->own[i], &why) : KVANT_OK;
        if (s != KVANT_OK)
#pragma omp critical(kvcodecs_failed)
            if (i < failed) {
                failed = i;
                status = kvant_fail(err, s, "%s", why.text);
            }
    }
    return status;
}

kvant_status kvcache_codecs_open(const kvcache_policy *policy, const kvcache_shape *shape, const kvcache_calibration *calibration,
                                 kvcache_codecs *codecs, kvant_error *err)
{
    kvant_status status = open_all(kvant_open, policy, shape, codecs, err);
    if (status == KVANT_OK)
        status = train_all(calibration, codecs, err);
    if (status != KVANT_OK)
        kvcache_codecs_close(codecs);
    return status;
}

kvant_status kvcache_codecs_open_f16(const kvcache_shape *shape, const char *isa, kvcache_codecs *codecs, kvant_error *err)
{
    const kvant_quantizer *f16 = kvant_find("f16", err);
    if (!f16)
        return KVANT_INVALID;
    const kvcache_side side = { f16, kvant_defaults(f16->params) };
    const kvcache_policy policy = { .key = side, .value = side, .isa = isa };
    return kvcache_codecs_open(&policy, shape, NULL, codecs, err);
}

void kvcache_codecs_close(kvcache_codecs *codecs)
{
    for (size_t i = 0; i < codecs->n_own; i++)
        kvant_close(&codecs->own[i]);
    free(codecs->own);
    free(codecs->of);
    *codecs = (kvcache_codecs){ 0 };
}
