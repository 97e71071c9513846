/* footprint.h - the bytes of a cache and of what its codecs need beside it, as metrics: one account for every probe that reports them.
 * Nothing here is estimated: sizes come from the plans, and from the memory that was allocated. */
#ifndef KVANT_FOOTPRINT_H
#define KVANT_FOOTPRINT_H

#include "harness/probe.h"

/* Rows of a probe's table for footprint_emit. */
#define FOOTPRINT_METRICS                                                                                                        \
    { "bytes_per_token_key", "bytes", "keys of a cached token, all layers and heads, by the quantizer's plan and the policy",    \
      -1, false },                                                                                                               \
    { "bytes_per_token_value", "bytes", "the same of values", -1, false },                                                       \
    { "bytes_per_token", "bytes", "keys and values of a cached token, all layers and heads", -1, false },                        \
    { "bytes_per_token_f16", "bytes", "what an f16 cache takes", 0, false },                                                     \
    { "resident_bytes_per_token", "bytes", "what was allocated for a chunk's cache, per token", -1, false },                     \
    { "compression_key", "x", "bytes of f16 keys over bytes of these", 1, false },                                               \
    { "compression_value", "x", "bytes of f16 values over bytes of these", 1, false },                                           \
    { "compression", "x", "bytes of an f16 cache over bytes of this one", 1, false }

/* Emits these as samples of chunk 0, idx 0, for a sequence that fills the cache. */
void footprint_emit(probe_job *job, size_t cell, const kvcache *cache);

/* Bytes of the codecs' states: as they are held, heads of a layer sharing what they can; and what would be left if those
 * that are equal byte for byte were held once. */
typedef struct { uint64_t held, distinct; } footprint_state;
footprint_state footprint_states(const kvcache_codecs *codecs);

#endif
