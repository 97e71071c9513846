/* bf16_avx512.c - bfloat16 with AVX-512: a shift instead of a conversion, the other baseline that packed caches are compared with.
 * Codes and decoded vectors have the scalar code's bits; sums differ by fused multiply-adds and by the order of addition. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/halves_avx512.h"

/* A signalling NaN stays one here, which no code holds: store makes them quiet. */
LANES_INLINE __m512 load(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }

/* float_to_bf16 of half.h. */
LANES_INLINE __m256i store(__m512 x)
{
    const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet));
}

HALVES_OPS(load, store)

const kvant_kernel kernel_bf16_avx512 = {
    .quantizer = "bf16", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
