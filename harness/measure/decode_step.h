/* decode_step.h - a filled cache, and decode attention over it timed as the engine does it: layer by layer, KV heads spread over
 * threads. For benchmarks on vectors; the cache has as many equal layers as it takes to be larger than the processor's. */
#ifndef KVANT_DECODE_STEP_H
#define KVANT_DECODE_STEP_H

#include "harness/input/dataset.h"
#include "harness/lm/kvcache.h"

typedef struct {
    uint32_t depth;                /* tokens in the cache; a step attends to one more */
    uint32_t queries;              /* of each KV head */
    uint32_t kv_heads;             /* of a layer */
    int threads;
    size_t bytes;                  /* that the cache takes at least: layers are added until it does */
} decode_shape;

typedef struct decode_step decode_step;

/* Bytes that the cache of decode_step_open will take, and its layers. KVANT_FAILED: the kernel does not take keys and values. */
kvant_status decode_step_size(const kvant_codec *codec, const decode_shape *shape, size_t *bytes, uint32_t *layers, kvant_error *err);

/* A cache whose keys and values are coded by the quantizer, parameters, seed and target of `codec` (of side KVANT_VECTOR), filled with
 * the vectors of the data over and over. KVANT_INVALID: a vector is zero or not finite, for nothing is timed on such. The data must
 * outlive the step. */
kvant_status decode_step_open(const kvant_codec *codec, const decode_shape *shape, const kvant_data *data, decode_step **out,
                              kvant_error *err);
void decode_step_close(decode_step *s);            /* NULL is allowed */

/* Attends over layers, going on where the last call stopped, until `seconds` are over, one layer at least: nanoseconds of wall time
 * per key-value pair, which all queries of its KV head attend to. */
double decode_step_time(decode_step *s, double seconds);

/* Bytes of a pair in the cache, by the quantizer's plan, and of all of it. */
double decode_step_bytes_per_pair(const decode_step *s);
double decode_step_bytes(const decode_step *s);

/* What the timed code computes, against attention in double precision over the decoded cache: the largest relative l2 distance of an
 * output among some layers, heads and queries. KVANT_FAILED where one is not finite, or zero. */
kvant_status decode_step_distance(decode_step *s, double *distance, kvant_error *err);

#endif
