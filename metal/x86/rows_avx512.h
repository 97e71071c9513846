/* rows_avx512.h - scores and mixes over codes that lie vector by vector, as the scalar code's do: a method only says how 32
 * coordinates become floats. A vector is converted once for up to four (scores) or eight (mixes) queries. For files *_avx512.c only.
 *
 * Bound: (conversion + 2 nq fused multiply-adds) / 2 cycles per 32 coordinates, on two 512-bit ports. Of these methods only q8_0's mix
 * of one query came near memory's speed, on a Cascade Lake core that reads 10 GB/s. */
#ifndef KVANT_ROWS_AVX512_H
#define KVANT_ROWS_AVX512_H

#include "metal/x86/lanes_avx512.h"
#include "metal/x86/rows.h"

enum { ROWS_MIXED = 8 /* queries that a mix takes at once */ };

/* Coordinates 32 unit ... 32 unit + 31 of the vector whose code begins at `code`. */
typedef void rows_floats(const void *state, const uint8_t *code, size_t unit, __m512 x[2]);

/* nq queries, `stride` floats apart, against nv vectors, nq * nv = 4 or 8 but for the last ones: dot [nq][.], `n` floats apart, gets
 * the products. Inlined with constants, so that sums are registers; a score does not depend on its neighbours. */
LANES_INLINE void rows_score_tile(const rows *r, rows_floats *floats, const float *q, size_t stride, size_t nq,
                                 const uint8_t *code, size_t nv, float *dot, size_t n)
{
    __m512 sum[8];
    float out[8];
    for (size_t i = 0; i < 8; i++)
        sum[i] = _mm512_setzero_ps();
    for (size_t v = 0; v < nv; v++)
        rows_ahead(r, code + v * r->bytes);
    for (size_t u = 0; u < r->d / ROWS_UNIT; u++)
        for (size_t v = 0; v < nv; v++) {
            __m512 x[2];
            floats(r->state, code + v * r->bytes, u, x);
            for (size_t i = 0; i < nq; i++)
                for (size_t h = 0; h < 2; h++)
                    sum[i * nv + v] = _mm512_fmadd_ps(_mm512_loadu_ps(q + i * stride + u * ROWS_UNIT + 16 * h), x[h], sum[i * nv + v]);
        }
    _mm_storeu_ps(out, lanes_sums(sum[0], sum[1], sum[2], sum[3]));
    if (nq * nv > 4)
        _mm_storeu_ps(out + 4, lanes_sums(sum[4], sum[5], sum[6], sum[7]));
    for (size_t i = 0; i < nq; i++)
        for (size_t v = 0; v < nv; v++)
            dot[i * n + v] = out[i * nv + v];
}

/* Adds `units` units from `unit` on of n vectors to nq accumulators, `stride` floats apart; weights' rows are `width` apart. */
LANES_INLINE void rows_mix_slab(const rows *r, rows_floats *floats, const float *w, size_t width, size_t nq, const uint8_t *code,
                               size_t n, size_t unit, size_t units, float *acc, size_t stride)
{
    __m512 sum[16];
    for (size_t i = 0; i < nq; i++)
        for (size_t h = 0; h < 2 * units; h++)
            sum[i * 2 * units + h] = _mm512_loadu_ps(acc + i * stride + unit * ROWS_UNIT + 16 * h);
    for (size_t v = 0; v < n; v++) {
        if (unit == 0)
            rows_ahead(r, code + v * r->bytes);
        for (size_t u = 0; u < units; u++) {
            __m512 x[2];
            floats(r->state, code + v * r->bytes, unit + u, x);
            for (size_t i = 0; i < nq; i++)
                for (size_t h = 0; h < 2; h++)
                    sum[(i * units + u) * 2 + h] = _mm512_fmadd_ps(_mm512_set1_ps(w[i * width + v]), x[h],
                                                                   sum[(i * units + u) * 2 + h]);
        }
    }
    for (size_t i = 0; i < nq; i++)
        for (size_t h = 0; h < 2 * units; h++)
            _mm512_storeu_ps(acc + i * stride + unit * ROWS_UNIT + 16 * h, sum[i * 2 * units + h]);
}

/* All coordinates of a tile, for 1, 2, 4 or 8 queries: 8 (1 query) or 16 accumulators. */
LANES_INLINE void rows_mix_few(const rows *r, rows_floats *floats, const float *w, size_t width, size_t nq, const uint8_t *code,
                              size_t n, float *acc, size_t stride)
{
    const size_t wide = nq <= 2 ? 4 : nq == 4 ? 2 : 1;
    size_t unit = 0;
    for (; unit + wide <= r->d / ROWS_UNIT; unit += wide)
        rows_mix_slab(r, floats, w, width, nq, code, n, unit, wide, acc, stride);
    for (; unit < r->d / ROWS_UNIT; unit++)
        rows_mix_slab(r, floats, w, width, nq, code, n, unit, 1, acc, stride);
}

#include "metal/x86/rows_loops.h"

/* The one half at an address, in all lanes. */
LANES_INLINE __m512 rows_half(const uint8_t *from)
{
    short half;
    memcpy(&half, from, sizeof half);
    return _mm512_cvtph_ps(_mm256_set1_epi16(half));
}

/* Magnitudes' largest, as a float; NaN when one of the 32 is not finite. */
LANES_INLINE float rows_largest(__m512 a, __m512 b)
{
    const __m512 x = _mm512_abs_ps(a), y = _mm512_abs_ps(b), infinite = _mm512_castsi512_ps(_mm512_set1_epi32(0x7f800000));
    if (_mm512_cmp_ps_mask(x, infinite, _CMP_NLT_UQ) | _mm512_cmp_ps_mask(y, infinite, _CMP_NLT_UQ))
        return __builtin_nanf("");
    return _mm512_reduce_max_ps(_mm512_max_ps(x, y));
}

/* Decodes n vectors to x [n][d]. */
LANES_INLINE void rows_decode(const rows *r, rows_floats *floats, const uint8_t *code, size_t n, float *x)
{
    for (size_t v = 0; v < n; v++, code += r->bytes, x += r->d)
        for (size_t u = 0; u < r->d / ROWS_UNIT; u++) {
            __m512 both[2];
            floats(r->state, code, u, both);
            _mm512_storeu_ps(x + u * ROWS_UNIT, both[0]);
            _mm512_storeu_ps(x + u * ROWS_UNIT + 16, both[1]);
        }
}

#endif
