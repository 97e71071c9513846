/* peaks_avx512f.c - what AVX-512 does at most: multiply-adds of sixteen floats, and a sum over memory by 64 bytes an instruction.
 * See harness/measure/peaks.h. */
#include "harness/measure/peaks.h"
#include "metal/x86/peaks_loop.h"

#include <immintrin.h>

enum { LANES = 16, AHEAD = 1024 };     /* AHEAD: bytes that are fetched before they are summed */

static double fma_avx512f(size_t rounds)
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
const peak_loop peak_fma_avx512f = { fma_avx512f, PEAK_SUMS * LANES };

uint64_t peak_sum_avx512f(const uint64_t *x, size_t n)
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
