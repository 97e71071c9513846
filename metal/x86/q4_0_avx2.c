/* q4_0_avx2.c - llama.cpp's four-bit blocks in the scalar code's layout with AVX2: nibbles become signed bytes, 16 an instruction, and
 * these floats. Codes and decoded vectors have the scalar code's bits. Any dimension that q4_0 takes, any rotation (which stays the
 * scalar code's).
 *
 * Bound: arithmetic, 19 operations to convert 32 coordinates; 144 bytes a key-value pair at d = 128. Two look-ups of eight levels and
 * a choice between them for every eight coordinates would be more. */
#include "algorithms/shared/block.h"
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/rows_avx2.h"

enum { BYTES = 2 + NIBBLES };

LANES_INLINE __m256 widened(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }

/* A block's low nibbles are its first half. */
LANES_INLINE float floats(const void *state, const uint8_t *code, size_t unit, size_t half, __m256 x[2])
{
    const uint8_t *block = code + unit * BYTES;
    const __m128i pairs = _mm_loadu_si128((const __m128i *)(const void *)(block + 2));
    const __m128i codes = _mm_and_si128(half ? _mm_srli_epi16(pairs, 4) : pairs, _mm_set1_epi8(15));
    const __m128i steps = _mm_sub_epi8(codes, _mm_set1_epi8(8));
    const __m256 scale = rows_half(block);
    (void)state;
    x[0] = _mm256_mul_ps(scale, widened(steps));
    x[1] = _mm256_mul_ps(scale, widened(_mm_unpackhi_epi64(steps, steps)));
    return 1;
}

/* block_extreme, given the largest magnitude (or NaN): the first coordinate that has it. */
LANES_INLINE float extreme(const float *x, const __m256 y[4], float largest)
{
    const __m256 m = _mm256_set1_ps(largest);
    unsigned at = 0;
    for (unsigned k = 0; k < 4; k++)
        at |= (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(rows_magnitude(y[k]), m, _CMP_EQ_OQ)) << 8 * k;
    return largest > 0 ? x[__builtin_ctz(at)] : largest;
}

LANES_INLINE __m256i codes_of(__m256 x, __m256 inverse)
{
    const __m256 shifted = _mm256_add_ps(_mm256_mul_ps(x, inverse), _mm256_set1_ps(8.5f));
    return _mm256_min_epi32(_mm256_cvttps_epi32(shifted), _mm256_set1_epi32(15));
}

static void encode_block(const float *x, uint8_t *block)
{
    __m256 y[4];
    for (size_t k = 0; k < 4; k++)
        y[k] = _mm256_loadu_ps(x + 8 * k);
    const float scale = extreme(x, y, rows_largest(y)) / -8;
    const __m256 inverse = _mm256_set1_ps(block_inverse(scale));
    __m256i pairs[2];
    for (size_t k = 0; k < 2; k++)
        pairs[k] = _mm256_or_si256(codes_of(y[k], inverse), _mm256_slli_epi32(codes_of(y[k + 2], inverse), 4));
    half_store(block, float_to_half_finite(scale));
    _mm_storeu_si128((__m128i *)(void *)(block + 2), isnan(scale) ? _mm_set1_epi8((char)0x88) : rows_bytes(pairs[0], pairs[1]));
}

ROWS_BLOCK_OPS(floats, encode_block, BYTES)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    (void)shape, (void)args;
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx2() && cpu_f16c();
}

const kvant_kernel kernel_q4_0_avx2 = {
    .quantizer = "q4_0", .target = "avx2", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
