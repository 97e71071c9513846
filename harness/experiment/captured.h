/* captured.h - the keys and values that a model makes of a run of tokens, and its queries if wanted, before anything was coded. The
 * cache of the forward passes is f16, and sees to nothing but attention. */
#ifndef KVANT_CAPTURED_H
#define KVANT_CAPTURED_H

#include "harness/lm/model.h"

/* {0} is closed; a failed opening leaves it to be closed all the same. */
typedef struct {
    lm_model *model;
    kvcache_shape shape;
    uint32_t context, batch;
    size_t row, query_row;         /* floats of a token in one layer: n_kv_head * head_dim, n_head * head_dim */
    float *key, *value;            /* [n_layer][context][row], keys post-RoPE unless */
    bool unrotated;                /* they are wanted as they are before RoPE: set between opening and running */
    float *query;                  /* [n_layer][context][query_row], post-RoPE, times 1/sqrt(head_dim); NULL: not wanted */
    kvcache_codecs f16;
    kvcache *cache;
    size_t at;                     /* tokens that earlier steps have left */
} captured;

/* For runs of `context` tokens, prefilled `batch` at a time. The model must outlive it; isa as in kvcache_policy. `name` is who
 * asks, for messages. */
kvant_status captured_open(captured *c, lm_model *model, uint32_t context, uint32_t batch, bool queries, const char *isa,
                           const char *name, kvant_error *err);
/* Runs ids [context] from an empty cache, and overwrites what an earlier run has left. */
kvant_status captured_run(captured *c, const int32_t *ids, kvant_error *err);
void captured_close(captured *c);

/* The codec that a head's tokens of this run are coded by: the policy's, or, where a sequence trains its own, *own, a copy trained
 * on the first of them. kvant_close(own) in any case. */
kvant_status captured_codec(const captured *c, const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side,
                            kvant_codec *own, const kvant_codec **codec, kvant_error *err);

/* First token's vector of one KV head of a layer, in c->key or c->value: the tokens follow each other by c->row floats. */
static inline const float *captured_head(const captured *c, const float *side, uint32_t layer, uint32_t head)
{
    return side + (size_t)layer * c->context * c->row + (size_t)head * c->shape.head_dim;
}

#endif
