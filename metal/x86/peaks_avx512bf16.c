/* peaks_avx512bf16.c - what vdpbf16ps does at most: 32 products of bfloat16 an instruction, summed by twos as floats.
 * See harness/measure/peaks.h. */
#include "harness/measure/peaks.h"
#include "metal/x86/peaks_loop.h"

#include <immintrin.h>

enum { PRODUCTS = 32 };

static double bf16_avx512bf16(size_t rounds)
{
    volatile float one = 1;                        /* not known to the compiler */
    const __m512 ones = _mm512_set1_ps(one);
    const __m512bh a = _mm512_cvtne2ps_pbh(ones, ones);
    __m512 sum[PEAK_SUMS];
    double total = 0;
    for (size_t j = 0; j < PEAK_SUMS; j++)
        sum[j] = _mm512_setzero_ps();
    PEAK_LOOP("vdpbf16ps", sum, a, a, rounds);
    for (size_t j = 0; j < PEAK_SUMS; j++)
        total += (double)_mm512_reduce_add_ps(sum[j]);
    return total;
}
const peak_loop peak_bf16_avx512bf16 = { bf16_avx512bf16, PEAK_SUMS * PRODUCTS };
