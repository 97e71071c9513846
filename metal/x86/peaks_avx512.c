/* peaks_avx512.c - what AVX-512 does at most: multiply-adds of sixteen floats, 64 products of bytes by vpdpbusd, and a sum over memory
 * by 64 bytes an instruction. See harness/measure/peaks.h. */
#include "harness/measure/peaks.h"
#include "metal/x86/peaks_loop.h"

#include <immintrin.h>

enum { LANES = 16, PRODUCTS = 64, AHEAD = 1024 };     /* AHEAD: bytes that are fetched before they are summed */

static double fma_avx512(size_t rounds)
{
    volatile float one = 1;                        /* not known to the compiler */
    const __m512 a = _mm512_set1_ps(one), b = _mm512_set1_ps(one);
    __m512 sum[PEAK_SUMS];
    double total = 0;
    for (size_t j = 0; j < PEAK_SUMS; j++)
        sum[j] = _mm512_setzero_ps();
    PEAK_LOOP("vfmadd231ps", sum, a, b, rounds);
    for (size_t j = 0; j < PEAK_SUMS; j++)
        total += (double)_mm512_reduce_add_ps(sum[j]);
    return total;
}
const peak_loop peak_fma_avx512 = { fma_avx512, PEAK_SUMS * LANES };

/* Sums of four in each lane, as unsigned integers. */
static double int8_avx512(size_t rounds)
{
    volatile char one = 1;                         /* not known to the compiler */
    const __m512i a = _mm512_set1_epi8(one), b = _mm512_set1_epi8(one);
    __m512i sum[PEAK_SUMS];
    double total = 0;
    for (size_t j = 0; j < PEAK_SUMS; j++)
        sum[j] = _mm512_setzero_si512();
    PEAK_LOOP("vpdpbusd", sum, a, b, rounds);
    for (size_t j = 0; j < PEAK_SUMS; j++)
        total += (double)_mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_and_si512(sum[j], _mm512_set1_epi64(UINT32_MAX)),
                                                                  _mm512_srli_epi64(sum[j], 32)));
    return total;
}
const peak_loop peak_int8_avx512 = { int8_avx512, PEAK_SUMS * PRODUCTS };

uint64_t peak_sum_avx512(const uint64_t *x, size_t n)
{
    __m512i sum[4] = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512() };
    const char *at = (const char *)x, *end = at + n * sizeof *x;
    uint64_t lanes[8], total = 0;
    for (; at < end; at += 256)
        for (size_t j = 0; j < 4; j++) {
            _mm_prefetch(at + AHEAD + 64 * j, _MM_HINT_T0);
            sum[j] = _mm512_add_epi64(sum[j], _mm512_load_si512(at + 64 * j));
        }
    for (size_t j = 0; j < 4; j++) {
        _mm512_storeu_si512(lanes, sum[j]);            /* sums wrap around: the intrinsic that reduces is signed */
        for (size_t k = 0; k < 8; k++)
            total += lanes[k];
    }
    return total;
}
