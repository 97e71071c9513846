/* q8_0_avx2.c - llama.cpp's eight-bit blocks in the scalar code's layout with AVX2: bytes are widened, converted and scaled, 8 an
 * instruction. Codes and decoded vectors have the scalar code's bits. Any dimension that q8_0 takes, any rotation (which stays the
 * scalar code's).
 *
 * Bound: arithmetic, 14 operations to convert 32 coordinates; 272 bytes a key-value pair at d = 128. */
#include "algorithms/shared/block.h"
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/rows_avx2.h"

enum { BYTES = 2 + BLOCK };

LANES_INLINE __m256 widened(const uint8_t *codes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes)));
}

LANES_INLINE float floats(const void *state, const uint8_t *code, size_t unit, size_t half, __m256 x[2])
{
    const uint8_t *block = code + unit * BYTES, *codes = block + 2 + 16 * half;
    const __m256 scale = rows_half(block);
    (void)state;
    x[0] = _mm256_mul_ps(scale, widened(codes));
    x[1] = _mm256_mul_ps(scale, widened(codes + 8));
    return 1;
}

/* roundf: to the nearest integer, halves away from zero. What truncation leaves is exact; a comparison that holds is -1. */
LANES_INLINE __m256i rounded(__m256 x)
{
    const __m256i whole = _mm256_cvttps_epi32(x);
    const __m256 rest = _mm256_sub_ps(x, _mm256_cvtepi32_ps(whole));
    const __m256i up = _mm256_castps_si256(_mm256_cmp_ps(rest, _mm256_set1_ps(.5f), _CMP_GE_OQ));
    const __m256i down = _mm256_castps_si256(_mm256_cmp_ps(rest, _mm256_set1_ps(-.5f), _CMP_LE_OQ));
    return _mm256_add_epi32(_mm256_sub_epi32(whole, up), down);
}

static void encode_block(const float *x, uint8_t *block)
{
    __m256 y[4];
    for (size_t k = 0; k < 4; k++)
        y[k] = _mm256_loadu_ps(x + 8 * k);
    const float scale = rows_largest(y) / 127;
    const __m256 inverse = _mm256_set1_ps(block_inverse(scale));
    half_store(block, float_to_half_finite(scale));
    for (size_t h = 0; h < 2; h++) {
        const __m256i low = _mm256_set1_epi32(255);
        const __m256i a = rounded(_mm256_mul_ps(y[2 * h], inverse)), b = rounded(_mm256_mul_ps(y[2 * h + 1], inverse));
        const __m128i bytes = rows_bytes(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        _mm_storeu_si128((__m128i *)(void *)(block + 2 + 16 * h), isnan(scale) ? _mm_setzero_si128() : bytes);
    }
}

ROWS_BLOCK_OPS(floats, encode_block, BYTES)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    (void)shape, (void)args;
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx2() && cpu_f16c();
}

const kvant_kernel kernel_q8_0_avx2 = {
    .quantizer = "q8_0", .target = "avx2", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
