/* kvcache.h - the packed cache: codes of keys and values per layer and KV head, and f16 only where the policy says so.
 * Who sees what is defined by decode: see kvcache_coded. */
#ifndef KVANT_KVCACHE_H
#define KVANT_KVCACHE_H

#include "harness/kvant.h"

typedef enum { SEED_SHARED, SEED_PER_LAYER } kvcache_seed_rule;       /* effective seed: seed, or seed + layer */

typedef struct { const kvant_quantizer *quantizer; kvant_args args; } kvcache_side;

typedef struct {
    kvcache_side key, value;
    uint32_t sink;                 /* first tokens kept in f16 */
    uint32_t window;               /* last tokens kept in f16 */
    uint32_t seed;
    kvcache_seed_rule seed_rule;
    const char *isa;               /* NULL: the best */
} kvcache_policy;

/* Shape of a model's cache. */
typedef struct { uint32_t n_layer, n_kv_head, head_dim; kvant_rope rope; } kvcache_shape;

/* The codecs of a policy: one per layer and side, shared by every cache that follows the policy. Read-only after opening. */
typedef struct {
    kvcache_policy policy;
    kvcache_shape shape;
    kvant_codec *key, *value;      /* [n_layer] */
    size_t scratch;                /* bytes per thread that attention and append need for any of them */
} kvcache_codecs;

/* KVANT_SKIP with the quantizer's reason when the shape does not suit it. */
kvant_status kvcache_codecs_open(const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs,
                                 kvant_error *err);
void kvcache_codecs_close(kvcache_codecs *codecs);

/* One sequence's cache. */
typedef struct kvcache kvcache;
kvant_status kvcache_open(const kvcache_codecs *codecs, uint32_t capacity, kvcache **cache, kvant_error *err);
void kvcache_close(kvcache *cache);
void kvcache_reset(kvcache *cache);                                    /* back to length 0, memory kept */
uint32_t kvcache_length(const kvcache *cache);
const kvcache_codecs *kvcache_codecs_of(const kvcache *cache);

/* Bytes for `length` tokens of all layers and heads: accounted from plan(), codes and f16 parts, and f16's own. */
typedef struct { uint64_t key, value, f16_key, f16_value; } kvcache_bytes;
kvcache_bytes kvcache_accounted(const kvcache_codecs *codecs, uint32_t length);
kvcache_bytes kvcache_resident(const kvcache *cache);                  /* what was allocated; f16_* as above, at capacity */

#endif
