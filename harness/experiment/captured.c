/* captured.c - runs tokens through a model and keeps what an observer sees of them: see captured.h. */
#include "harness/experiment/captured.h"

#include "harness/process.h"
#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

kvant_status captured_open(captured *c, lm_model *model, uint32_t context, uint32_t batch, bool queries, const char *isa,
                           const char *name, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(model);
    *c = (captured){ .model = model, .shape = lm_cache_shape(shape), .context = context, .batch = batch };
    kvant_status status = kvcache_codecs_open_f16(&c->shape, isa, &c->f16, err);
    if (!status)
        status = kvcache_open(&c->f16, context, &c->cache, err);
    if (status)
        return status;
    c->row = (size_t)c->shape.n_kv_head * c->shape.head_dim;
    c->query_row = (size_t)shape->n_head * shape->head_dim;
    size_t tokens = (size_t)c->shape.n_layer * context;
    c->key = kvant_alloc(tokens * c->row * sizeof *c->key);
    c->value = kvant_alloc(tokens * c->row * sizeof *c->value);
    c->query = queries ? kvant_alloc(tokens * c->query_row * sizeof *c->query) : NULL;
    if (!c->key || !c->value || (queries && !c->query))
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for keys and values of %u tokens; take fewer", name, context);
    return KVANT_OK;
}

/* Where the rows of a step go, in key or value. */
static size_t place(const captured *c, uint32_t layer) { return ((size_t)layer * c->context + c->at) * c->row; }

static void keep_kv(void *user, uint32_t layer, const float *k, const float *v, size_t n_rows)
{
    captured *c = user;
    if (!c->unrotated)
        memcpy(c->key + place(c, layer), k, n_rows * c->row * sizeof *k);
    memcpy(c->value + place(c, layer), v, n_rows * c->row * sizeof *v);
}

static void keep_unrotated(void *user, uint32_t layer, const float *k, size_t n_rows)
{
    captured *c = user;
    memcpy(c->key + place(c, layer), k, n_rows * c->row * sizeof *k);
}

static void keep_queries(void *user, uint32_t layer, const float *q, size_t n_rows)
{
    captured *c = user;
    memcpy(c->query + ((size_t)layer * c->context + c->at) * c->query_row, q, n_rows * c->query_row * sizeof *q);
}

kvant_status captured_run(captured *c, const int32_t *ids, kvant_error *err)
{
    lm_observer observer = { .kv = keep_kv, .unrotated = c->unrotated ? keep_unrotated : NULL,
                             .queries = c->query ? keep_queries : NULL, .user = c };
    kvcache_reset(c->cache);
    for (c->at = 0; c->at < c->context;) {
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        size_t left = c->context - c->at;
        lm_segment segment = { c->cache, ids + c->at, (uint32_t)(left < c->batch ? left : c->batch), NULL };
        kvant_status status = lm_forward_hidden(c->model, LM_PREFILL, &segment, 1, NULL, &observer, err);
        if (status)
            return status;
        c->at += segment.n;
    }
    return KVANT_OK;
}

void captured_close(captured *c)
{
    kvcache_close(c->cache);
    kvcache_codecs_close(&c->f16);
    free(c->key);
    free(c->value);
    free(c->query);
    *c = (captured){ 0 };
}

kvant_status captured_codec(const captured *c, const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side,
                            kvant_codec *own, const kvant_codec **codec, kvant_error *err)
{
    const kvant_codec *shared = kvcache_codec(codecs, layer, head, side);
    const size_t dim = c->shape.head_dim, n = shared->plan.train_min;
    *own = (kvant_codec){ 0 };
    *codec = shared;
    if (!shared->plan.prompt)
        return KVANT_OK;
    if (n > c->context)
        return kvant_fail(err, KVANT_INVALID, "%s: a sequence trains on %zu tokens, and these have %u; raise context",
                          shared->quantizer->name, n, c->context);
    float *x = kvant_alloc(n * dim * sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the %zu vectors that it trains on", shared->quantizer->name, n);
    const float *from = captured_head(c, side == KVANT_KEY ? c->key : c->value, layer, head);
    for (size_t i = 0; i < n; i++)
        memcpy(x + i * dim, from + i * c->row, dim * sizeof *x);
    kvant_status status = kvant_copy(shared, own, err);
    if (status == KVANT_OK)
        status = kvant_train(own, x, n, err);
    free(x);
    *codec = own;
    return status;
}
