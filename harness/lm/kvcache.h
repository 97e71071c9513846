/* kvcache.h - the packed cache: codes of keys and values per layer and KV head, and f16 only where the policy says so.
 * Who sees what is defined by decode: see kvcache_coded. */
#ifndef KVANT_KVCACHE_H
#define KVANT_KVCACHE_H

#include "harness/kvant.h"

typedef enum { SEED_SHARED, SEED_PER_LAYER } kvcache_seed_rule;       /* effective seed: seed, or seed + layer */

/* What the tokens of one forward pass attend to of each other: what the cache holds of them afterwards; or the tokens themselves as
 * f16, as engines do that append after attention, earlier tokens being what the cache holds. A decode step is a pass of one token. */
typedef enum { PREFILL_PACKED, PREFILL_RAW } kvcache_prefill;
/* Keys are stored rotated by RoPE; or as they are before, sinks and window too, and are rotated whenever they are read. */
typedef enum { KEYS_POST_ROPE, KEYS_PRE_ROPE } kvcache_key_stage;
/* Layers with a sliding window are coded as all others, or are f16. */
typedef enum { SLIDING_QUANTIZED, SLIDING_F16 } kvcache_sliding_layers;
/* How a decode step reads what is in codes: inner products and sums from the codes; or decoded, tile by tile, in every step, and
 * multiplied; or from an f16 copy that the cache keeps beside the codes, to which each token is added when it is coded. What is f16
 * anyway (sinks, window, what waits, an f16 quantizer) is read as f16 in all of them, and nothing is kept of it twice. */
typedef enum { READS_CODES, READS_DECODED, READS_COPY } kvcache_reads;

typedef struct { const kvant_quantizer *quantizer; kvant_args args; } kvcache_side;

/* A quantizer for every group, where a policy's sides are not the same everywhere. */
typedef struct { uint32_t n_layer, n_kv_head; kvcache_side *side; /* [n_layer][n_kv_head][2], keys before values; owned */ }
    kvcache_allocation;

/* Where codecs come from that somebody keeps: opens one as kvant_open would, and with vectors [n][shape->dim] as kvant_train would
 * leave it. Several threads may ask at a time. */
typedef struct {
    kvant_status (*open)(void *user, const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args,
                         const char *isa, const float *vectors, size_t n, kvant_codec *codec, kvant_error *err);
    void *user;
} kvcache_states;

typedef struct {
    kvcache_side key, value;
    const kvcache_allocation *allocation;      /* NULL: key and value for every layer and head; else it says; not owned */
    uint32_t sink;                 /* first tokens kept in f16 */
    uint32_t window;               /* last tokens kept in f16 */
    uint32_t seed;
    kvcache_seed_rule seed_rule;
    kvcache_prefill prefill;
    kvcache_key_stage key_stage;
    kvcache_sliding_layers sliding;
    kvcache_reads decode_reads;
    const char *isa;               /* NULL: the best */
    const kvcache_states *states;  /* NULL: all are made when they are opened; not owned */
} kvcache_policy;

/* Layers whose queries see no more than the last `tokens`, their own included; 0: there are none. */
enum { KVCACHE_LAYERS = 4096 };    /* the most that a model may have */
typedef struct { uint32_t tokens; uint64_t layers[KVCACHE_LAYERS / 64]; /* bit by bit */ } kvcache_sliding;

/* Shape of a model's cache. */
typedef struct { uint32_t n_layer, n_kv_head, head_dim; kvant_rope rope; kvcache_sliding sliding; } kvcache_shape;

/* Tokens that a layer's queries see, their own included; 0: all. */
static inline uint32_t kvcache_sliding_of(const kvcache_sliding *sliding, uint32_t layer)
{
    return sliding->layers[layer / 64] >> layer % 64 & 1 ? sliding->tokens : 0;
}

/* What a policy says of one layer, head and side. */
const kvcache_side *kvcache_side_of(const kvcache_policy *policy, uint32_t layer, uint32_t head, kvant_side side);

/* Keys and values that trained quantizers learn from: n tokens of every layer and KV head, as the model made them, keys at the
 * policy's stage. */
typedef struct { size_t n; const float *key, *value; /* [n_layer][n][n_kv_head][head_dim] */ } kvcache_calibration;

/* The codecs of a policy, shared by every cache that follows it. One serves all heads of a layer and side that have the same
 * quantizer and learn nothing ahead; a trained one serves its own head. Read-only after opening. A copy of the struct whose `of` is
 * another table of the same pointers, or of f16, is a policy of its own; only what was opened is closed. */
typedef struct {
    kvcache_policy policy;
    kvcache_shape shape;
    const kvant_codec **of;        /* [n_layer][n_kv_head][2], keys before values: into own */
    const kvant_codec *f16;        /* stores what the policy keeps out of the codes: own[0] */
    kvant_codec *own;              /* [n_own] */
    size_t n_own;
    size_t scratch;                /* the largest scratch of all of them */
} kvcache_codecs;

/* calibration may be NULL. KVANT_SKIP with the reason when the shape does not suit a quantizer, or when one must be trained ahead
 * and there is no calibration, or not enough; KVANT_INVALID when an allocation is of another shape. */
kvant_status kvcache_codecs_open(const kvcache_policy *policy, const kvcache_shape *shape, const kvcache_calibration *calibration,
                                 kvcache_codecs *codecs, kvant_error *err);
/* The same without states, as kvant_describe: for planning and accounting. */
kvant_status kvcache_codecs_describe(const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs,
                                     kvant_error *err);
/* Of the cache that others are compared with: f16 everywhere. isa as in a policy. */
kvant_status kvcache_codecs_open_f16(const kvcache_shape *shape, const char *isa, kvcache_codecs *codecs, kvant_error *err);
void kvcache_codecs_close(kvcache_codecs *codecs);

/* Index of a layer, head and side in such tables. */
static inline size_t kvcache_group(const kvcache_shape *shape, uint32_t layer, uint32_t head, kvant_side side)
{
    return ((size_t)layer * shape->n_kv_head + head) * 2 + (side == KVANT_VALUE);
}
static inline const kvant_codec *kvcache_codec(const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side)
{
    return codecs->of[kvcache_group(&codecs->shape, layer, head, side)];
}

/* One sequence's cache. */
typedef struct kvcache kvcache;
kvant_status kvcache_open(const kvcache_codecs *codecs, uint32_t capacity, kvcache **cache, kvant_error *err);
/* The same with memory for layers first_layer and on only, for passes that resume there (lm_resume_hidden). */
kvant_status kvcache_open_from(const kvcache_codecs *codecs, uint32_t first_layer, uint32_t capacity, kvcache **cache,
                               kvant_error *err);
void kvcache_close(kvcache *cache);
void kvcache_reset(kvcache *cache);                                    /* back to length 0, memory kept */
/* Copies what the first layer holds to all others, which must have the very same codecs and no sliding window, or KVANT_INVALID. For
 * benchmarks: a cache larger than the processor's costs one layer's coding. */
kvant_status kvcache_repeat(kvcache *cache, kvant_error *err);
uint32_t kvcache_length(const kvcache *cache);
uint32_t kvcache_capacity(const kvcache *cache);
uint32_t kvcache_first_layer(const kvcache *cache);                    /* 0 unless opened from another */
const kvcache_codecs *kvcache_codecs_of(const kvcache *cache);

/* Bytes for `length` tokens of all layers and heads: accounted from plan(), codes and f16 parts, and f16's own. Layers with a sliding
 * window count what the last token sees, codes by whole blocks, and what still waits to be coded. A copy counts with its codes. */
typedef struct { uint64_t key, value, f16_key, f16_value; } kvcache_bytes;
kvcache_bytes kvcache_accounted(const kvcache_codecs *codecs, uint32_t length);
kvcache_bytes kvcache_resident(const kvcache *cache);                  /* what was allocated; f16_* as above, at capacity */

/* ---- For the forward pass -------------------------------------------------------------------- */

/* One side of one head: whose codec, and what of it is in codes. In a layer with a sliding window, sinks are f16 for as long as they
 * are seen; where the policy says so, or its window covers the layer's, all that is seen is f16, and so is the codec. */
typedef struct {
    const kvant_codec *codec;
    uint32_t sink, window;
    uint32_t sliding;              /* tokens that a query sees, its own included; 0: all */
    uint32_t least;                /* tokens that are coded first, all at once: those that the sequence trains on, or a block */
    bool staged;                   /* tokens wait in f16 before they are coded: window + least > 1 */
    bool all_f16;                  /* by the policy: the codes are f16 */
    bool raw;                      /* tokens of a pass see each other as f16 */
    bool unrotated;                /* keys before RoPE: what is read has to be rotated */
    bool decoded;                  /* decode steps decode codes to multiply them */
    bool copied;                   /* codes have an f16 copy beside them, which decode steps read */
} kvcache_rule;
kvcache_rule kvcache_rule_of(const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side);
/* The same with the sequence's own codec, where it trains one. */
kvcache_rule kvcache_rule_in(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side);

/* Who sees what: with `length` tokens in the cache, the last of them being the query's own, tokens sink ... sink + coded - 1 are
 * codes and all others f16. This is what decode does, and what batched prefill reproduces query by query. */
uint32_t kvcache_coded(const kvcache_rule *rule, uint32_t length);
/* The first position that the query of the last of `length` tokens sees. */
static inline uint32_t kvcache_first_seen(const kvcache_rule *rule, uint32_t length)
{
    return rule->sliding > 0 && length > rule->sliding ? length - rule->sliding : 0;
}
/* Of `length` tokens, those whose bytes count: in codes, whole blocks, and in f16; a copy of codes is of as many as these. */
typedef struct { uint32_t coded, kept; } kvcache_counts;
kvcache_counts kvcache_count(const kvcache_rule *rule, uint32_t length);

/* Appends n tokens of one layer, head and side: x [n] vectors, `stride` floats apart. The length is unchanged until
 * kvcache_advance, after the last layer. waiting: room for kvcache_waiting_max(n) vectors; gets the f16 forms of the tokens that were
 * not in codes before, then of the new ones behind the sinks - when all_waiting, else what it pleases, and it may then be NULL unless
 * staged. stored (may be NULL): gets what is decoded of all that this call stores for good, sinks and codes, in order of position from
 * kvcache_covered(length) on; codes of a sliding window may be overwritten by later ones of the same call.
 * scratch: kvcache_scratch bytes. */
enum { KVCACHE_TILE = 128 };
size_t kvcache_scratch(const kvcache_codecs *codecs);
void kvcache_append(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, size_t stride, uint32_t n,
                    bool all_waiting, float *waiting, float *stored, void *scratch);
/* Positions that sinks and codes cover when `length` tokens are there. */
uint32_t kvcache_covered(const kvcache_rule *rule, uint32_t length);
void kvcache_advance(kvcache *cache, uint32_t n);
/* KVANT_OK, or what went wrong when the sequence trained a codec on its first tokens; until the next reset. */
kvant_status kvcache_trained(const kvcache *cache, kvant_error *err);

/* Rows that `waiting` may get when n tokens are appended. */
uint32_t kvcache_waiting_max(const kvcache_rule *rule, uint32_t n);

/* A stretch of stored tokens of one codec: vectors first ... first+n-1 of `code`, at positions `position` and on. */
typedef struct { const kvant_codec *codec; const uint8_t *code; uint32_t first, n, position; } kvcache_run;
enum { KVCACHE_RUNS = 6 };         /* sinks, codes and what waits, each a ring and so in up to two pieces */
/* The runs that hold what the last of `length` tokens (appended, whether advanced over or not) sees, in order of position; returns how
 * many. */
size_t kvcache_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length,
                    kvcache_run runs[KVCACHE_RUNS]);
/* The same as decode steps read it: where codes have a copy, the copy. */
size_t kvcache_decode_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length,
                           kvcache_run runs[KVCACHE_RUNS]);

#endif
