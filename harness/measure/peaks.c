/* peaks.c - the portable loops, and the choice of the widest instruction set that this machine runs.
 * See peaks.h. */
#include "harness/measure/peaks.h"

#include "metal/x86/cpu.h"

enum { LANES = 32 };

static double fma_portable(size_t rounds)
{
    volatile float one = 1;                        /* not known to the compiler */
    const float a = one, b = one;
    float sum[LANES] = { 0 };
    double total = 0;
    for (size_t i = 0; i < rounds; i++)
        for (size_t j = 0; j < LANES; j++)
            sum[j] = sum[j] * a + b;
    for (size_t j = 0; j < LANES; j++)
        total += (double)sum[j];
    return total;
}
const peak_loop peak_fma_portable = { fma_portable, LANES };

uint64_t peak_sum_portable(const uint64_t *x, size_t n)
{
    uint64_t sum[8] = { 0 }, total = 0;
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += x[i + j];
    for (size_t j = 0; j < 8; j++)
        total += sum[j];
    return total;
}

const peak_loop *peak_fma(void) { return cpu_avx512() ? &peak_fma_avx512 : cpu_avx2() ? &peak_fma_avx2 : &peak_fma_portable; }
const peak_loop *peak_int8(void) { return cpu_avx512() ? &peak_int8_avx512 : NULL; }
const peak_loop *peak_bf16(void) { return cpu_avx512bf16() ? &peak_bf16_avx512bf16 : NULL; }
peak_sum *peak_reader(void) { return cpu_avx512() ? peak_sum_avx512 : cpu_avx2() ? peak_sum_avx2 : peak_sum_portable; }
