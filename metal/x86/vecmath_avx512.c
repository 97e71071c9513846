/* vecmath_avx512.c - the engine's loops over float arrays, sixteen floats an instruction: the source of the portable ones, which by the flags of
 * this file's name becomes AVX-512 code. The bits are the same. */
#define VEC_TABLE vec_avx512
#include "harness/lm/vecmath_loops.h"
