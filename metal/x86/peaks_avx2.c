/* peaks_avx2.c - what AVX2 and FMA do at most: multiply-adds of eight floats, and a sum over memory by 32 bytes an instruction.
 * See harness/measure/peaks.h. */
#include "harness/measure/peaks.h"
#include "metal/x86/peaks_loop.h"

#include <immintrin.h>

enum { LANES = 8, AHEAD = 1024 };      /* AHEAD: bytes that are fetched before they are summed */

static double fma_avx2(size_t rounds)
{
    volatile float one = 1;                        /* not known to the compiler */
    const __m256 a = _mm256_set1_ps(one), b = _mm256_set1_ps(one);
    __m256 sum[PEAK_SUMS];
    float lanes[LANES];
    double total = 0;
    for (size_t j = 0; j < PEAK_SUMS; j++)
        sum[j] = _mm256_setzero_ps();
    PEAK_LOOP("vfmadd231ps", sum, a, b, rounds);
    for (size_t j = 0; j < PEAK_SUMS; j++) {
        _mm256_storeu_ps(lanes, sum[j]);
        for (size_t k = 0; k < LANES; k++)
            total += (double)lanes[k];
    }
    return total;
}
const peak_loop peak_fma_avx2 = { fma_avx2, PEAK_SUMS * LANES };

uint64_t peak_sum_avx2(const uint64_t *x, size_t n)
{
    __m256i sum[4] = { _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256() };
    const char *at = (const char *)x, *end = at + n * sizeof *x;
    uint64_t lanes[4], total = 0;
    for (; at < end; at += 128) {
        _mm_prefetch(at + AHEAD, _MM_HINT_T0);
        _mm_prefetch(at + AHEAD + 64, _MM_HINT_T0);
        for (size_t j = 0; j < 4; j++)
            sum[j] = _mm256_add_epi64(sum[j], _mm256_load_si256((const __m256i *)(const void *)(at + 32 * j)));
    }
    for (size_t j = 0; j < 4; j++) {
        _mm256_storeu_si256((__m256i *)(void *)lanes, sum[j]);
        total += lanes[0] + lanes[1] + lanes[2] + lanes[3];
    }
    return total;
}
