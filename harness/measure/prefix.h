/* prefix.h - a window of text run once, and again from any layer on: for candidates that differ from the first run from that layer on.
 * The first run keeps the residual stream that enters the layers, as far as memory is given; the others begin at the nearest kept. */
#ifndef KVANT_PREFIX_H
#define KVANT_PREFIX_H

#include "harness/lm/model.h"

typedef struct {
    lm_model *model;
    uint32_t length, batch;        /* tokens of a window, and of a prefill step */
    uint32_t step;                 /* every step-th layer's input is kept, but the first's, which is the embedding */
    float *kept;                   /* [(n_layer - 1) / step][length][n_embd] */
    uint8_t *want;                 /* [batch] ones */
    const int32_t *ids;            /* of the window at work */
    uint32_t at;                   /* tokens before the step at work */
} prefix;

/* Bytes that `prefix_open` takes for a model of this shape, given so many. */
uint64_t prefix_bytes(const lm_shape *shape, uint32_t length, uint64_t bytes);

/* bytes: the most that residual streams may take, length * n_embd floats each; with none of them every run begins at the first layer. */
kvant_status prefix_open(prefix *p, lm_model *model, uint32_t length, uint32_t batch, uint64_t bytes, kvant_error *err);
void prefix_close(prefix *p);      /* {0} is allowed */

/* hidden [length][n_embd] of all tokens, by prefill with a new cache of these codecs. ids [length] stays in use until the next such run. */
kvant_status prefix_run(prefix *p, const int32_t *ids, const kvcache_codecs *codecs, float *hidden, kvant_error *err);
/* The same for codecs that differ from those of prefix_run in `layer` and above only, bit for bit as a whole run would give it. */
kvant_status prefix_resume(prefix *p, uint32_t layer, const kvcache_codecs *codecs, float *hidden, kvant_error *err);

#endif
