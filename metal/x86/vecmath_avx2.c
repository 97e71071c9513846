/* vecmath_avx2.c - the engine's loops over float arrays, eight floats an instruction: the source of the portable ones, which by the flags of
 * this file's name becomes AVX2 code. The bits are the same. */
#define VEC_TABLE vec_avx2
#include "harness/lm/vecmath_loops.h"
