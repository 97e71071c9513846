/* peaks_loop.h - a multiply-add instruction over and over: twelve a round, each adding to a register of its own.
 * As assembly, for what a peak is must not depend on the copies and stores that a compiler puts between them. */
#ifndef KVANT_PEAKS_LOOP_H
#define KVANT_PEAKS_LOOP_H

enum { PEAK_SUMS = 12 };           /* more than latency times instructions per cycle, and no more than AVX2's registers hold */

/* `rounds` (a size_t variable above 0, which is 0 afterwards) times sum[j] += a * b, for vectors sum[PEAK_SUMS], a and b, by an
 * instruction "op b, a, sum". */
#define PEAK_LOOP(op, sum, a, b, rounds)                                                                                           \
    __asm__ volatile(".p2align 5\n"                                                                                                \
                     "1:\n\t" op " %14, %13, %0\n\t" op " %14, %13, %1\n\t" op " %14, %13, %2\n\t" op " %14, %13, %3\n\t"          \
                     op " %14, %13, %4\n\t" op " %14, %13, %5\n\t" op " %14, %13, %6\n\t" op " %14, %13, %7\n\t"                   \
                     op " %14, %13, %8\n\t" op " %14, %13, %9\n\t" op " %14, %13, %10\n\t" op " %14, %13, %11\n\t"                 \
                     "dec %12\n\t"                                                                                                 \
                     "jnz 1b"                                                                                                      \
                     : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "+v"(sum[3]), "+v"(sum[4]), "+v"(sum[5]), "+v"(sum[6]),           \
                       "+v"(sum[7]), "+v"(sum[8]), "+v"(sum[9]), "+v"(sum[10]), "+v"(sum[11]), "+r"(rounds)                        \
                     : "v"(a), "v"(b) : "cc")

#endif
