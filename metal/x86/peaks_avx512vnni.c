/* peaks_avx512vnni.c - what vpdpbusd does at most: 64 products of an unsigned and a signed byte an instruction, summed by fours.
 * See harness/measure/peaks.h. */
#include "harness/measure/peaks.h"
#include "metal/x86/peaks_loop.h"

#include <immintrin.h>

enum { PRODUCTS = 64 };

static double int8_avx512vnni(size_t rounds)
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
const peak_loop peak_int8_avx512vnni = { int8_avx512vnni, PEAK_SUMS * PRODUCTS };
