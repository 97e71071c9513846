/* f16_avx512.c - half precision with AVX-512: the baseline that packed caches are compared with, so it must read as fast as memory
 * allows. Codes and decoded vectors have the scalar code's bits; sums differ by fused multiply-adds and by the order of addition. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/halves_avx512.h"

LANES_INLINE __m512 load(__m256i half) { return _mm512_cvtph_ps(half); }
LANES_INLINE __m256i store(__m512 x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

HALVES_OPS(load, store)

const kvant_kernel kernel_f16_avx512 = {
    .quantizer = "f16", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
