/* roofs.h - what the machine can do at most while something else is timed: reading and copying memory that no cache holds, and
 * multiply-adds. Measured in the same process, on as many threads, between the timings that are held against them. */
#ifndef KVANT_ROOFS_H
#define KVANT_ROOFS_H

#include "harness/util.h"

/* Per second, all threads together. read, copy: bytes read, bytes copied. fma: multiply-adds of f32; int8, bf16: of 8-bit integers and
 * of bfloat16 by the instructions for sums of products, 0 where the processor has none. */
typedef struct { double read, copy, fma, int8, bf16; } roofs;

/* Two areas, each twice as large as the processor's last cache, filled with words that are not zero. */
typedef struct { uint64_t *x, *copy; size_t words; uint64_t sum; /* of x */ } roofs_memory;

/* 64 MiB where the system does not say how large that cache is. */
size_t roofs_last_cache(void);
size_t roofs_bytes(void);          /* that roofs_open takes */
kvant_status roofs_open(roofs_memory *m, kvant_error *err);
void roofs_close(roofs_memory *m);                 /* {0} is closed */
/* About 30 ms. KVANT_FAILED: a sum came out wrong. */
kvant_status roofs_measure(const roofs_memory *m, int threads, roofs *out, kvant_error *err);

#endif
