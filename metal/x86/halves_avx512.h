/* halves_avx512.h - caches of 16-bit floats as they should be attended to: scores and mixes over rows of halves, sixteen coordinates
 * an instruction. A vector is converted once for all queries of a call, up to four at a time, and a mix keeps its sums in registers
 * over the whole range. A format says how sixteen halves become floats (`load`) and floats halves (`store`). For files *_avx512.c
 * only. */
#ifndef KVANT_HALVES_AVX512_H
#define KVANT_HALVES_AVX512_H

#include "metal/x86/lanes_avx512.h"

typedef __m512 halves_load(__m256i half);
typedef __m256i halves_store(__m512 x);

/* The first n of sixteen. */
static inline __mmask16 halves_mask(size_t n) { return (__mmask16)(n < LANES ? (1u << n) - 1 : 0xffff); }

LANES_INLINE __m512 halves_at(halves_load load, const uint16_t *half, size_t left)
{
    return load(left < LANES ? _mm256_maskz_loadu_epi16(halves_mask(left), half)
                : _mm256_loadu_si256((const __m256i *)(const void *)half));
}

LANES_INLINE void halves_encode(halves_store store, const float *x, size_t n, uint16_t *half)
{
    for (size_t i = 0; i < n; i += LANES)
        _mm256_mask_storeu_epi16(half + i, halves_mask(n - i), store(_mm512_maskz_loadu_ps(halves_mask(n - i), x + i)));
}

LANES_INLINE void halves_decode(halves_load load, const uint16_t *half, size_t n, float *x)
{
    for (size_t i = 0; i < n; i += LANES)
        _mm512_mask_storeu_ps(x + i, halves_mask(n - i), halves_at(load, half + i, n - i));
}

/* Processors fetch ahead within a page of memory, and pages are short: the line a page further on is asked for. */
LANES_INLINE void halves_ahead(const uint16_t *at) { _mm_prefetch((const char *)((uintptr_t)at + 4096), _MM_HINT_T0); }

/* nq queries (1, 2 or 4) against four vectors; how a score is summed does not depend on the others. */
LANES_INLINE void halves_score_four(halves_load load, const float *q, size_t nq, const uint16_t *half, size_t nv, size_t d,
                                    float *dot, size_t n)
{
    __m512 sum[4][4];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t v = 0; v < 4; v++)
            sum[i][v] = _mm512_setzero_ps();
    for (size_t k = 0; k < d; k += LANES) {
        __m512 y[4];
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            y[i] = _mm512_maskz_loadu_ps(halves_mask(d - k), q + i * d + k);
        LANES_UNROLL
        for (size_t v = 0; v < 4; v++) {
            const __m512 x = halves_at(load, half + (v < nv ? v : 0) * d + k, d - k);
            halves_ahead(half + v * d + k);
            LANES_UNROLL
            for (size_t i = 0; i < nq; i++)
                sum[i][v] = _mm512_fmadd_ps(y[i], x, sum[i][v]);
        }
    }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        _mm_mask_storeu_ps(dot + i * n, (__mmask8)((1u << nv) - 1), lanes_sums(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
}

LANES_INLINE void halves_score_queries(halves_load load, const float *q, size_t nq, const uint16_t *half, size_t d, float *dot,
                                       size_t n)
{
    for (size_t v = 0; v < n; v += 4)
        halves_score_four(load, q, nq, half + v * d, n - v < 4 ? n - v : 4, d, dot + v, n);
}

LANES_INLINE void halves_score(halves_load load, const float *q, size_t nq, const uint16_t *half, size_t d, float *dot, size_t n)
{
    for (; nq >= 4; nq -= 4, q += 4 * d, dot += 4 * n)
        halves_score_queries(load, q, 4, half, d, dot, n);
    for (; nq >= 2; nq -= 2, q += 2 * d, dot += 2 * n)
        halves_score_queries(load, q, 2, half, d, dot, n);
    if (nq)
        halves_score_queries(load, q, 1, half, d, dot, n);
}

/* Adds to nq accumulators n vectors' coordinates from k on, `blocks` times sixteen of them; nq * blocks registers. */
LANES_INLINE void halves_mix_blocks(halves_load load, const float *w, size_t nq, const uint16_t *half, size_t n, size_t d, size_t k,
                                    size_t blocks, float *acc)
{
    __m512 sum[8][8];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t b = 0; b < blocks; b++)
            sum[i][b] = _mm512_maskz_loadu_ps(halves_mask(d - k - b * LANES), acc + i * d + k + b * LANES);
    for (size_t v = 0; v < n; v++) {
        LANES_UNROLL
        for (size_t b = 0; b < blocks; b++) {
            const __m512 x = halves_at(load, half + v * d + k + b * LANES, d - k - b * LANES);
            if (b % 2 == 0)
                halves_ahead(half + v * d + k + b * LANES);
            LANES_UNROLL
            for (size_t i = 0; i < nq; i++)
                sum[i][b] = _mm512_fmadd_ps(_mm512_set1_ps(w[i * n + v]), x, sum[i][b]);
        }
    }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t b = 0; b < blocks; b++)
            _mm512_mask_storeu_ps(acc + i * d + k + b * LANES, halves_mask(d - k - b * LANES), sum[i][b]);
}

/* From coordinate k on, as long as as many blocks are left; returns where it ends. */
LANES_INLINE size_t halves_mix_wide(halves_load load, const float *w, size_t nq, const uint16_t *half, size_t n, size_t d, size_t k,
                                    size_t blocks, float *acc)
{
    for (; k + blocks * LANES <= d; k += blocks * LANES)
        halves_mix_blocks(load, w, nq, half, n, d, k, blocks, acc);
    return k;
}

/* In few passes over the range, with sums in 16 registers at most. */
LANES_INLINE void halves_mix_queries(halves_load load, const float *w, size_t nq, const uint16_t *half, size_t n, size_t d, float *acc)
{
    size_t k = 0;
    if (nq <= 2)
        k = halves_mix_wide(load, w, nq, half, n, d, k, 8, acc);
    if (nq <= 4)
        k = halves_mix_wide(load, w, nq, half, n, d, k, 4, acc);
    k = halves_mix_wide(load, w, nq, half, n, d, k, 2, acc);
    for (; k < d; k += LANES)
        halves_mix_blocks(load, w, nq, half, n, d, k, 1, acc);
}

LANES_INLINE void halves_mix(halves_load load, const float *w, size_t nq, const uint16_t *half, size_t n, size_t d, float *acc)
{
    for (; nq >= 8; nq -= 8, w += 8 * n, acc += 8 * d)
        halves_mix_queries(load, w, 8, half, n, d, acc);
    for (; nq >= 4; nq -= 4, w += 4 * n, acc += 4 * d)
        halves_mix_queries(load, w, 4, half, n, d, acc);
    for (; nq >= 2; nq -= 2, w += 2 * n, acc += 2 * d)
        halves_mix_queries(load, w, 2, half, n, d, acc);
    if (nq)
        halves_mix_queries(load, w, 1, half, n, d, acc);
}

/* Defines the ops of a format whose scalar state is its dimension. */
#define HALVES_OPS(load, store) \
    static size_t dimension(const void *state) { return *(const uint32_t *)state; } \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first, (void)scratch; \
        halves_encode(store, x, n * dimension(state), (uint16_t *)(void *)code); \
    } \
    static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first, (void)scratch; \
        halves_decode(load, (const uint16_t *)(const void *)code, n * dimension(state), x); \
    } \
    static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot, \
                      void *scratch) \
    { \
        (void)first, (void)scratch; \
        halves_score(load, prepared, nq, (const uint16_t *)(const void *)code, dimension(state), dot, n); \
    } \
    static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                    void *scratch) \
    { \
        (void)first, (void)scratch; \
        halves_mix(load, w, nq, (const uint16_t *)(const void *)code, n, dimension(state), acc); \
    } \
    static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f) \
    { \
        (void)shape, (void)args; \
        f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix; \
        return cpu_avx512(); \
    }

#endif
