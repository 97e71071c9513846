/* model.h - a transformer from a GGUF file: its weights in one of several forms, forward passes through packed caches.
 * A batch is a list of segments, each a run of tokens of one sequence with its own cache: prefill is one long segment,
 * lockstep decode many segments of one token, and the weights are read once for all of them. */
#ifndef KVANT_MODEL_H
#define KVANT_MODEL_H

#include "harness/lm/gguf.h"
#include "harness/lm/kvcache.h"
#include "harness/lm/tokenizer.h"

typedef struct {
    char arch[32];
    uint32_t n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_context;
    uint32_t n_expert, n_used;     /* MLPs of n_ff each, of which a token takes n_used; 0: one MLP, for every token */
    float norm_eps;
    kvant_rope rope;
    bool tied;                     /* the output matrix is the embedding */
    float attn_scale;              /* of scores, before the softmax */
    float embedding_scale, residual_scale, logit_scale;      /* factors on embeddings, on what a part adds, on logits; 1: none */
    float attn_cap, logit_cap;     /* a score or logit x becomes cap tanh(x / cap); 0: none */
    kvcache_sliding sliding;       /* layers that attend to a sliding window */
} lm_shape;

/* From the header alone. KVANT_INVALID: not a model that this engine can run. */
kvant_status lm_read_shape(const gguf *file, lm_shape *shape, kvant_error *err);
kvcache_shape lm_cache_shape(const lm_shape *shape);

typedef struct lm_model lm_model;

/* How the matrices of a model are held: as f32; as they are in the memory-mapped file, dequantised block by block whenever they are
 * multiplied, which gives the same logits, bit for bit, in less memory and more time; or as bf16, which gives others. */
typedef enum { LM_WEIGHTS_F32, LM_WEIGHTS_STREAM, LM_WEIGHTS_BF16 } lm_weights;
const char *lm_weights_name(lm_weights weights);       /* "f32", "stream", "bf16" */
bool lm_weights_find(const char *name, lm_weights *weights);           /* false: no such name */

/* context: positions that the caller will use at most (0: the model's); RoPE variants that depend on it look here. */
kvant_status lm_open_as(const char *path, uint32_t context, lm_weights weights, lm_model **model, kvant_error *err);
kvant_status lm_open(const char *path, uint32_t context, lm_model **model, kvant_error *err);     /* as f32 */
void lm_close(lm_model *model);
const lm_shape *lm_model_shape(const lm_model *model);
const gguf *lm_file(const lm_model *model);
const tokenizer *lm_tokenizer(const lm_model *model, kvant_error *err);   /* NULL: not supported, err says why */
uint64_t lm_weight_bytes(const lm_model *model);       /* of all weights as f32, in whatever form they are held */
lm_weights lm_weights_of(const lm_model *model);

/* How a segment attends to its cache. PREFILL decodes tiles of codes and multiplies; DECODE goes by score and mix, as a
 * server's decode step does, and takes segments of one token only. Same estimator, same codes. */
typedef enum { LM_PREFILL, LM_DECODE } lm_path;

typedef struct {
    kvcache *cache;                /* tokens are appended to it: its length is the position of the first */
    const int32_t *tokens;
    uint32_t n;
    const uint8_t *want;           /* [n] nonzero: this token's logits are wanted; NULL: none */
} lm_segment;

/* Seconds by part, added to by every forward pass, and what was computed: tokens, layers that each of them went through, rows of
 * logits. score and mix are what these took of attention on the decode path, by their shares in one head of each layer; prefill, which
 * multiplies decoded tiles, does not tell them apart. */
typedef struct { double matmul, encode, attention, rest; uint64_t tokens, layers, logits; double score, mix; } lm_times;

/* Runs the batch. logits [rows][n_vocab] holds the wanted rows in order of segments and tokens. Fails before any cache
 * changes: token ids out of range, a cache that would overflow, n > 1 with LM_DECODE. After KVANT_INTERRUPTED caches must
 * be reset. `observe`, when not NULL, is told what its functions ask for; those that are NULL are
 * not called. */
typedef struct {
    /* the residual stream x [n_rows][n_embd] that enters a layer; n_rows over all segments in order */
    void (*residual)(void *user, uint32_t layer, const float *x, size_t n_rows);
    /* k, v [n_rows][n_kv_head][head_dim] of one layer, post-RoPE, before they are coded */
    void (*kv)(void *user, uint32_t layer, const float *k, const float *v, size_t n_rows);
    /* the same keys before RoPE, told before kv */
    void (*unrotated)(void *user, uint32_t layer, const float *k, size_t n_rows);
    /* q [n_rows][n_head][head_dim], post-RoPE and times attn_scale, so that <q,k> is a score as it is before a cap */
    void (*queries)(void *user, uint32_t layer, const float *q, size_t n_rows);
    void *user;
} lm_observer;

kvant_status lm_forward(lm_model *model, lm_path path, const lm_segment *segments, size_t n_segments, float *logits,
                        const lm_observer *observe, kvant_error *err);
/* The same up to the final norm: hidden [rows][n_embd] of the wanted rows, for callers that take the logits piecewise. */
kvant_status lm_forward_hidden(lm_model *model, lm_path path, const lm_segment *segments, size_t n_segments, float *hidden,
                               const lm_observer *observe, kvant_error *err);
/* The same from a layer on, which all caches were opened from (kvcache_open_from): residual [n_rows][n_embd] is what an observer saw
 * enter it. The layers below are those of the pass that was observed, and the result is that of a whole pass over caches that agree
 * there with the observed ones, bit for bit. A pass from layer 0 is lm_forward_hidden. */
kvant_status lm_resume_hidden(lm_model *model, lm_path path, const lm_segment *segments, size_t n_segments, const float *residual,
                              float *hidden, const lm_observer *observe, kvant_error *err);
void lm_logits(lm_model *model, const float *hidden, size_t n, float *logits);      /* [n][n_embd] -> [n][n_vocab] */

lm_times lm_times_of(const lm_model *model);
void lm_forget_work(lm_model *model);                  /* frees the working memory of passes, which the next one makes anew */

#endif
