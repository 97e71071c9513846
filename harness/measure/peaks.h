/* peaks.h - the loops that show what a processor can do at most: reading memory, and multiply-adds from registers alone.
 * One table for each instruction set that metal/x86 compiles; roofs.c runs the widest that this machine has. */
#ifndef KVANT_PEAKS_H
#define KVANT_PEAKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* run multiplies ones by ones `rounds` times and adds the products up in as many registers as hide the latency. It returns the sum,
 * which is products * rounds as long as no lane exceeds PEAK_ROUNDS: proof that all of them were computed. */
typedef struct { double (*run)(size_t rounds); double products; /* of a round */ } peak_loop;
enum { PEAK_ROUNDS = 1 << 22 };

/* The sum of n 64-bit words modulo 2^64; n a multiple of PEAK_WORDS, x aligned to 64 bytes. */
typedef uint64_t peak_sum(const uint64_t *x, size_t n);
enum { PEAK_WORDS = 64 };

extern const peak_loop peak_fma_portable, peak_fma_avx2, peak_fma_avx512;      /* f32 */
extern const peak_loop peak_int8_avx512;                                       /* vpdpbusd: u8 by i8, sums of four in i32 */
extern const peak_loop peak_bf16_avx512bf16;                                   /* vdpbf16ps: bf16 by bf16, sums of two in f32 */
peak_sum peak_sum_portable, peak_sum_avx2, peak_sum_avx512;

/* The widest that this machine runs; NULL: it has no such instruction. */
const peak_loop *peak_fma(void);
const peak_loop *peak_int8(void);
const peak_loop *peak_bf16(void);
peak_sum *peak_reader(void);

#endif
