/* inline.h - what loops over intrinsics ask of the compiler: to be inlined with the constants they are called with, and unrolled, so
 * that arrays of vectors become registers. Belongs to no instruction set. */
#ifndef KVANT_INLINE_H
#define KVANT_INLINE_H

#define LANES_INLINE static inline __attribute__((always_inline))

/* Loops whose counts are constants once they are inlined, and whose bodies want them so: what they index are registers. */
#ifdef __clang__
#define LANES_UNROLL _Pragma("unroll")
#else
#define LANES_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
