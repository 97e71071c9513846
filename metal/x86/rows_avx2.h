/* rows_avx2.h - scores and mixes over codes that lie vector by vector, eight coordinates an instruction: a method only says how 16
 * coordinates become floats. A vector is converted once for up to four queries. For files *_avx2.c only.
 *
 * Bound: arithmetic. 16 registers hold eight sums and what one conversion needs; 16 coordinates take (conversion + 2 nq) / 2 cycles
 * or more, on two 256-bit ports for multiplications.
 *
 * What `products` has to allow, in units of u = 2^-24: a sum's own roundings are allowed for wherever sums are compared; a factor
 * that is applied late is 2 u; a rotated query or output is off by log2(d) u of its length after Hadamard, 8 at d = 256, and by about
 * sqrt(d / 8) u, 6 there, after Haar, where a row's products are added in eight sums, their signs at random.
 * 1e-5 is 168 u: room for all of that in any dimension, and little beside the error of the finest of these codes, 5e-3 at 8 bits.
 */
#ifndef KVANT_ROWS_AVX2_H
#define KVANT_ROWS_AVX2_H

#include "metal/x86/rows.h"

#include <math.h>
#include <string.h>

enum { ROWS_MIXED = 4 /* queries that a mix takes at once */ };

/* Coordinates 32 unit + 16 half ... 32 unit + 16 half + 15, half 0 or 1, of the vector whose code begins at `code`, all but for a
 * factor of the whole vector, which is returned: 1 where there is none. */
typedef float rows_floats(const void *state, const uint8_t *code, size_t unit, size_t half, __m256 x[2]);

/* The sums of four vectors of eight. */
LANES_INLINE __m128 rows_sums(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

LANES_INLINE float rows_factor(const rows *r, rows_floats *floats, const uint8_t *code)
{
    __m256 unused[2];
    return floats(r->state, code, 0, 0, unused);
}

/* nq queries, `stride` floats apart, against nv vectors, nq * nv = 4 or 8 but for the last ones: dot [nq][.], `n` floats apart, gets
 * the products. Inlined with constants, so that sums are registers; a score does not depend on its neighbours. */
LANES_INLINE void rows_score_tile(const rows *r, rows_floats *floats, const float *q, size_t stride, size_t nq, const uint8_t *code,
                                  size_t nv, float *dot, size_t n)
{
    __m256 sum[8];
    float out[8];
    for (size_t i = 0; i < 8; i++)
        sum[i] = _mm256_setzero_ps();
    for (size_t v = 0; v < nv; v++)
        rows_ahead(r, code + v * r->bytes);
    for (size_t u = 0; u < r->d / ROWS_UNIT; u++)
        for (size_t h = 0; h < 2; h++)
            for (size_t v = 0; v < nv; v++) {
                const float *at = q + u * ROWS_UNIT + 16 * h;
                __m256 x[2];
                floats(r->state, code + v * r->bytes, u, h, x);
                for (size_t i = 0; i < nq; i++)
                    for (size_t k = 0; k < 2; k++)
                        sum[i * nv + v] = _mm256_fmadd_ps(_mm256_loadu_ps(at + i * stride + 8 * k), x[k], sum[i * nv + v]);
            }
    _mm_storeu_ps(out, rows_sums(sum[0], sum[1], sum[2], sum[3]));
    if (nq * nv > 4)
        _mm_storeu_ps(out + 4, rows_sums(sum[4], sum[5], sum[6], sum[7]));
    for (size_t v = 0; v < nv; v++) {
        const float factor = rows_factor(r, floats, code + v * r->bytes);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = factor * out[i * nv + v];
    }
}

/* Adds `halves` halves of units, from half `half` of `unit` on, of n vectors to nq accumulators, `stride` floats apart; weights' rows
 * are `width` apart. nq * halves is at most 4. */
LANES_INLINE void rows_mix_slab(const rows *r, rows_floats *floats, const float *w, size_t width, size_t nq, const uint8_t *code,
                                size_t n, size_t unit, size_t half, size_t halves, float *acc, size_t stride)
{
    __m256 sum[8];
    float *at = acc + unit * ROWS_UNIT + 16 * half;
    for (size_t i = 0; i < nq; i++)
        for (size_t k = 0; k < 2 * halves; k++)
            sum[i * 2 * halves + k] = _mm256_loadu_ps(at + i * stride + 8 * k);
    for (size_t v = 0; v < n; v++, code += r->bytes) {
        const float factor = rows_factor(r, floats, code);
        if (unit == 0 && half == 0)
            rows_ahead(r, code);
        for (size_t h = 0; h < halves; h++) {
            __m256 x[2];
            floats(r->state, code, unit + (half + h) / 2, (half + h) % 2, x);
            for (size_t i = 0; i < nq; i++)
                for (size_t k = 0; k < 2; k++)
                    sum[(i * halves + h) * 2 + k] = _mm256_fmadd_ps(_mm256_set1_ps(w[i * width + v] * factor), x[k],
                                                                    sum[(i * halves + h) * 2 + k]);
        }
    }
    for (size_t i = 0; i < nq; i++)
        for (size_t k = 0; k < 2 * halves; k++)
            _mm256_storeu_ps(at + i * stride + 8 * k, sum[i * 2 * halves + k]);
}

/* All coordinates of a tile, for 1, 2 or 4 queries: eight accumulators. */
LANES_INLINE void rows_mix_few(const rows *r, rows_floats *floats, const float *w, size_t width, size_t nq, const uint8_t *code,
                               size_t n, float *acc, size_t stride)
{
    const size_t units = r->d / ROWS_UNIT;
    size_t unit = 0;
    for (; nq == 4 && unit < units; unit++) {
        rows_mix_slab(r, floats, w, width, 4, code, n, unit, 0, 1, acc, stride);
        rows_mix_slab(r, floats, w, width, 4, code, n, unit, 1, 1, acc, stride);
    }
    for (; nq == 1 && unit + 2 <= units; unit += 2)
        rows_mix_slab(r, floats, w, width, 1, code, n, unit, 0, 4, acc, stride);
    for (; unit < units; unit++)
        rows_mix_slab(r, floats, w, width, nq, code, n, unit, 0, 2, acc, stride);
}

#include "metal/x86/rows_loops.h"

/* The one half at an address, in all lanes. */
LANES_INLINE __m256 rows_half(const uint8_t *from)
{
    short half;
    memcpy(&half, from, sizeof half);
    return _mm256_cvtph_ps(_mm_set1_epi16(half));
}

LANES_INLINE __m256 rows_magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

LANES_INLINE float rows_most(__m256 x)
{
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

/* Magnitudes' largest, as a float; NaN when one of the 32 is not finite. */
LANES_INLINE float rows_largest(const __m256 x[4])
{
    __m256 most = _mm256_setzero_ps(), finite = most;
    for (size_t k = 0; k < 4; k++) {
        most = _mm256_max_ps(most, rows_magnitude(x[k]));
        finite = _mm256_add_ps(finite, _mm256_mul_ps(x[k], _mm256_setzero_ps()));         /* NaN as soon as one is not finite */
    }
    return _mm256_movemask_ps(_mm256_cmp_ps(finite, finite, _CMP_UNORD_Q)) ? NAN : rows_most(most);
}

/* Low bytes of sixteen numbers of 0 ... 255, in their order. */
LANES_INLINE __m128i rows_bytes(__m256i a, __m256i b)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* Decodes n vectors to x [n][d]. */
LANES_INLINE void rows_decode(const rows *r, rows_floats *floats, const uint8_t *code, size_t n, float *x)
{
    for (size_t v = 0; v < n; v++, code += r->bytes, x += r->d) {
        const __m256 factor = _mm256_set1_ps(rows_factor(r, floats, code));
        for (size_t u = 0; u < r->d / ROWS_UNIT; u++)
            for (size_t h = 0; h < 2; h++) {
                __m256 both[2];
                floats(r->state, code, u, h, both);
                _mm256_storeu_ps(x + u * ROWS_UNIT + 16 * h, _mm256_mul_ps(factor, both[0]));
                _mm256_storeu_ps(x + u * ROWS_UNIT + 16 * h + 8, _mm256_mul_ps(factor, both[1]));
            }
    }
}

#endif
