/* attention.h - attention of one KV head's queries over the packed cache, in the two ways of lm_path.
 * Both see the same codes and the same f16 tokens; both append the new keys and values themselves. */
#ifndef KVANT_ATTENTION_H
#define KVANT_ATTENTION_H

#include "harness/lm/kvcache.h"

/* How keys are rotated that a cache holds as they are before RoPE. */
typedef struct {
    const float *cos, *sin;        /* [position][width / 2] */
    uint32_t width;                /* first coordinates of a head that are rotated */
    bool half;                     /* pairs are half a width apart; else neighbours */
} attention_rope;

/* What a layer does with keys and scores: a score s becomes cap * tanh(s / cap) (0: stays); rope is read only where the cache's keys
 * are unrotated. What a query sees is the cache's own affair (kvcache_rule). */
typedef struct attention_split attention_split;
typedef struct {
    float cap;
    attention_rope rope;
    attention_split *split;        /* attention_decode adds to it; NULL: nobody asks */
} attention_layer;

/* Seconds of a decode step by part, what a part decodes and copies included; all: softmaxes and the like too. */
struct attention_split { double encode, score, mix, all; };

/* One token: k, v [head_dim] of KV head `head`, q [group][head_dim] already scaled, out [group][head_dim]. Codes are read in the way
 * of the policy (kvcache_reads), which prefill knows nothing of: it decodes codes.
 * scratch: attention_decode_scratch bytes, 64-byte aligned. */
size_t attention_decode_scratch(const kvcache_codecs *codecs, uint32_t group);
void attention_decode(kvcache *cache, uint32_t layer, uint32_t head, const float *k, const float *v, const float *q, uint32_t group,
                      const attention_layer *of, float *out, void *scratch);

/* A run of n new tokens, in two steps. First each side is appended and expanded to float32: `coded` holds the sinks and everything
 * that is codes after the run, from the first position on that one of its queries sees; `waiting` what was or became f16
 * (kvcache_append). Keys are rotated there, at the latest. Then any block of queries attends to what each of them sees. */
typedef struct {
    kvcache_rule rule;
    float *coded;                  /* [attention_side_rows(...)][head_dim], coded rows first, then waiting */
    float *waiting;
    uint32_t coded_first, waiting_first;       /* positions of their first rows */
    uint32_t packed_end;           /* positions from here on are seen as f16, whatever the cache holds of them */
} attention_side;

/* Rows of memory that a side needs for n tokens appended to a cache of `length`. */
size_t attention_side_rows(const kvcache_rule *rule, uint32_t length, uint32_t n);
/* x: [n] vectors, stride floats apart. rows: memory for the side. scratch: kvcache_scratch bytes. */
void attention_extend(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, size_t stride, uint32_t n,
                      const attention_rope *rope, float *rows, attention_side *out, void *scratch);

enum { ATTENTION_QUERIES = 32 };   /* tokens of a block of queries */
size_t attention_block_scratch(const kvcache_rule *key, const kvcache_rule *value, uint32_t length, uint32_t n, uint32_t group,
                               uint32_t head_dim);
/* Queries of tokens at positions first ... first+n-1, n <= ATTENTION_QUERIES: q and out are [n] tokens, so many floats apart,
 * each [group][head_dim]; q is already scaled. Called inside a parallel region. */
void attention_block(const attention_side *key, const attention_side *value, uint32_t first, uint32_t n, uint32_t group,
                     float cap, const float *q, size_t q_stride, float *out, size_t out_stride, void *scratch);

#endif
