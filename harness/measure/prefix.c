/* prefix.c - runs a window from a kept residual stream on: see prefix.h. What is kept is the input of every step-th layer, so that the
 * memory given is never exceeded and no run redoes more than step - 1 layers that it could share. */
#include "harness/measure/prefix.h"

#include "harness/process.h"
#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

static uint64_t stream_bytes(const lm_shape *shape, uint32_t length) { return (uint64_t)length * shape->n_embd * sizeof(float); }

/* n_layer: none but the embedding. */
static uint32_t step_of(const lm_shape *shape, uint32_t length, uint64_t bytes)
{
    const uint64_t fit = bytes / stream_bytes(shape, length), inner = shape->n_layer - 1;
    return fit && inner ? (uint32_t)((inner + fit - 1) / fit) : shape->n_layer;
}

uint64_t prefix_bytes(const lm_shape *shape, uint32_t length, uint64_t bytes)
{
    return (shape->n_layer - 1) / step_of(shape, length, bytes) * stream_bytes(shape, length);
}

kvant_status prefix_open(prefix *p, lm_model *model, uint32_t length, uint32_t batch, uint64_t bytes, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(model);
    const uint64_t keep = prefix_bytes(shape, length, bytes);
    *p = (prefix){ .model = model, .length = length, .batch = batch, .step = step_of(shape, length, bytes) };
    p->want = malloc(batch);
    p->kept = keep ? kvant_alloc(keep) : NULL;
    if (!p->want || (keep && !p->kept)) {
        prefix_close(p);
        return kvant_fail(err, KVANT_NOMEM, "no memory for the residual streams of %u tokens (%.1f MiB)", length, (double)keep / 1048576);
    }
    memset(p->want, 1, batch);
    return KVANT_OK;
}

void prefix_close(prefix *p)
{
    free(p->want);
    free(p->kept);
    *p = (prefix){ .model = NULL };
}

/* Where the input of a layer above 0 is kept, from the step at work on. */
static float *kept_at(const prefix *p, uint32_t layer)
{
    return p->kept + ((size_t)(layer / p->step - 1) * p->length + p->at) * lm_model_shape(p->model)->n_embd;
}

static void keep(void *user, uint32_t layer, const float *x, size_t n_rows)
{
    const prefix *p = user;
    if (layer > 0 && layer % p->step == 0)
        memcpy(kept_at(p, layer), x, n_rows * lm_model_shape(p->model)->n_embd * sizeof *x);
}

/* From layer `first` on, which is kept or 0. */
static kvant_status run_from(prefix *p, uint32_t first, const kvcache_codecs *codecs, const lm_observer *observe, float *hidden,
                             kvant_error *err)
{
    const size_t n_embd = lm_model_shape(p->model)->n_embd;
    kvcache *cache = NULL;
    kvant_status status = kvcache_open_from(codecs, first, p->length, &cache, err);
    for (p->at = 0; p->at < p->length && !status;) {
        if (interrupted()) {
            status = kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
            break;
        }
        const uint32_t n = p->length - p->at < p->batch ? p->length - p->at : p->batch;
        const lm_segment segment = { cache, p->ids + p->at, n, p->want };
        status = lm_resume_hidden(p->model, LM_PREFILL, &segment, 1, first ? kept_at(p, first) : NULL, hidden + p->at * n_embd, observe, err);
        p->at += n;
    }
    kvcache_close(cache);
    return status;
}

kvant_status prefix_run(prefix *p, const int32_t *ids, const kvcache_codecs *codecs, float *hidden, kvant_error *err)
{
    const lm_observer observer = { .residual = keep, .user = p };
    p->ids = ids;
    return run_from(p, 0, codecs, &observer, hidden, err);
}

kvant_status prefix_resume(prefix *p, uint32_t layer, const kvcache_codecs *codecs, float *hidden, kvant_error *err)
{
    return run_from(p, layer / p->step * p->step, codecs, NULL, hidden, err);
}
