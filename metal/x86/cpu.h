/* cpu.h - the instruction sets that kernels are written for, as this processor has them.
 * A name stands for what the Makefile compiles files of that suffix with, so a file that asks here for its own suffix is safe. */
#ifndef KVANT_CPU_H
#define KVANT_CPU_H

#include <cpuid.h>
#include <stdbool.h>

/* AVX2 and FMA: Haswell, Zen 1 and later. Cheap: what the compiler's runtime found out when the program began. */
static inline bool cpu_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

/* Conversions to and from half. Asks the processor, which takes long under a hypervisor: not for inner loops. */
static inline bool cpu_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

/* AVX-512 F, BW, VL, DQ and VNNI: Cascade Lake, Zen 4 and later. */
static inline bool cpu_avx512(void)
{
    return cpu_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

/* And bfloat16 products: Cooper Lake, Sapphire Rapids, Zen 4 and later. */
static inline bool cpu_avx512bf16(void) { return cpu_avx512() && __builtin_cpu_supports("avx512bf16"); }

#endif
