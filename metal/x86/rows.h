/* rows.h - codes that lie vector by vector, as the scalar code's do, whatever the instruction set that reads them: where they are, and
 * the ops of a method of blocks. rows_avx2.h and rows_avx512.h have the loops over them. */
#ifndef KVANT_ROWS_H
#define KVANT_ROWS_H

#include "metal/x86/inline.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS_UNIT = 32, ROWS_TILE = 64 /* vectors whose codes stay in L1 while a mix goes over their coordinates */ };

/* d: a multiple of 32; bytes: from one vector's code to the next. */
typedef struct { const void *state; size_t d, bytes; } rows;

/* Processors fetch ahead within a page of memory, and pages are short: a vector's lines a page further on are asked for. */
LANES_INLINE void rows_ahead(const rows *r, const uint8_t *code)
{
    for (size_t at = 0; at < r->bytes; at += 64)
        _mm_prefetch((const char *)((uintptr_t)code + 4096 + at), _MM_HINT_T0);
}

/* Defines the ops of a method whose state begins with `rotated` (rotated.h, to be included before); a block of 32 coordinates is coded
 * by encode_block(const float *x, uint8_t *block) in `block_bytes` bytes. */
#define ROWS_BLOCK_OPS(floats, encode_block, block_bytes) \
    static rows rows_of(const void *state) { return (rows) { state, ((const rotated *)state)->d, ((const rotated *)state)->code }; } \
    static void encode_vector(const void *state, const float *y, uint8_t *code) \
    { \
        for (size_t i = 0; i < ((const rotated *)state)->d; i += ROWS_UNIT, code += (block_bytes)) \
            encode_block(y + i, code); \
    } \
    static void decode_vector(const void *state, const uint8_t *code, float *y) \
    { \
        const rows r = rows_of(state); \
        rows_decode(&r, floats, code, 1, y); \
    } \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first; \
        rotated_encode(state, encode_vector, x, n, code, scratch); \
    } \
    static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first; \
        rotated_decode(state, decode_vector, code, n, x, scratch); \
    } \
    static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot, \
                      void *scratch) \
    { \
        const rows r = rows_of(state); \
        (void)first, (void)scratch; \
        rows_score(&r, floats, prepared, r.d, nq, code, n, dot); \
    } \
    static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                    void *scratch) \
    { \
        const rows r = rows_of(state); \
        (void)first, (void)scratch; \
        rows_mix(&r, floats, w, nq, code, n, acc, r.d); \
    }

#endif
