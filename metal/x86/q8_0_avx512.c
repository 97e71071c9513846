/* q8_0_avx512.c - llama.cpp's eight-bit blocks in the scalar code's layout: bytes are widened, converted and scaled, 16 an
 * instruction. Codes and decoded vectors have the scalar code's bits. Any dimension that q8_0 takes, any rotation (which stays the
 * scalar code's).
 *
 * Bound: 9 operations to convert 32 coordinates, and 272 bytes a key-value pair at d = 128: a mix of one query came near memory's
 * speed on a Cascade Lake core that reads 10 GB/s. A query in bytes would add more than 1 % of this
 * quantizer's error, which is as small as that of such a query, so products are of floats. */
#include "algorithms/shared/block.h"
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/rows_avx512.h"

enum { BYTES = 2 + BLOCK };

LANES_INLINE __m512 widened(const uint8_t *codes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes)));
}

LANES_INLINE void floats(const void *state, const uint8_t *code, size_t unit, __m512 x[2])
{
    const uint8_t *block = code + unit * BYTES;
    const __m512 scale = rows_half(block);
    (void)state;
    x[0] = _mm512_mul_ps(scale, widened(block + 2));
    x[1] = _mm512_mul_ps(scale, widened(block + 18));
}

/* roundf: to the nearest integer, halves away from zero. What truncation leaves is exact. */
LANES_INLINE __m128i rounded(__m512 x)
{
    __m512i whole = _mm512_cvttps_epi32(x);
    const __m512 rest = _mm512_sub_ps(x, _mm512_cvtepi32_ps(whole)), half = _mm512_set1_ps(.5f);
    const __m512i one = _mm512_set1_epi32(1);
    whole = _mm512_mask_add_epi32(whole, _mm512_cmp_ps_mask(rest, half, _CMP_GE_OQ), whole, one);
    whole = _mm512_mask_sub_epi32(whole, _mm512_cmp_ps_mask(rest, _mm512_set1_ps(-.5f), _CMP_LE_OQ), whole, one);
    return _mm512_cvtepi32_epi8(whole);
}

static void encode_block(const float *x, uint8_t *block)
{
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const float scale = rows_largest(a, b) / 127;
    const __m512 inverse = _mm512_set1_ps(block_inverse(scale));
    const __mmask16 number = isnan(scale) ? 0 : 0xffff;
    half_store(block, float_to_half_finite(scale));
    _mm_storeu_si128((__m128i *)(void *)(block + 2), _mm_maskz_mov_epi8(number, rounded(_mm512_mul_ps(a, inverse))));
    _mm_storeu_si128((__m128i *)(void *)(block + 18), _mm_maskz_mov_epi8(number, rounded(_mm512_mul_ps(b, inverse))));
}

ROWS_BLOCK_OPS(floats, encode_block, BYTES)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    (void)shape, (void)args;
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx512();
}

const kvant_kernel kernel_q8_0_avx512 = {
    .quantizer = "q8_0", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
