/* q4_0_avx512.c - llama.cpp's four-bit blocks in the scalar code's layout: a block's 16 values are a table, looked up 16 at a time.
 * Codes and decoded vectors have the scalar code's bits. Any dimension that q4_0 takes, any rotation (which stays the scalar code's).
 *
 * Bound: arithmetic, at one query too: 8 operations for 32 coordinates, of which look-ups ignore the bits above a nibble, so that none
 * is masked; 144 bytes a key-value pair at d = 128. */
#include "algorithms/shared/block.h"
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/rows_avx512.h"

enum { BYTES = 2 + NIBBLES };

LANES_INLINE void floats(const void *state, const uint8_t *code, size_t unit, __m512 x[2])
{
    const uint8_t *block = code + unit * BYTES;
    const __m512 steps = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m512 values = _mm512_mul_ps(rows_half(block), steps);
    const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 2)));
    (void)state;
    x[0] = _mm512_permutexvar_ps(pairs, values);
    x[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), values);
}

/* block_extreme, given the largest magnitude (or NaN): the first coordinate that has it. */
LANES_INLINE float extreme(const float *x, __m512 a, __m512 b, float largest)
{
    const __m512 m = _mm512_set1_ps(largest);
    const unsigned at = (unsigned)_mm512_cmp_ps_mask(_mm512_abs_ps(a), m, _CMP_EQ_OQ) |
                        (unsigned)_mm512_cmp_ps_mask(_mm512_abs_ps(b), m, _CMP_EQ_OQ) << 16;
    return largest > 0 ? x[__builtin_ctz(at)] : largest;
}

LANES_INLINE __m512i codes_of(__m512 x, __m512 inverse)
{
    const __m512 shifted = _mm512_add_ps(_mm512_mul_ps(x, inverse), _mm512_set1_ps(8.5f));
    return _mm512_min_epi32(_mm512_cvttps_epi32(shifted), _mm512_set1_epi32(15));
}

static void encode_block(const float *x, uint8_t *block)
{
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const float scale = extreme(x, a, b, rows_largest(a, b)) / -8;
    const __m512 inverse = _mm512_set1_ps(block_inverse(scale));
    const __m512i pairs = _mm512_or_si512(codes_of(a, inverse), _mm512_slli_epi32(codes_of(b, inverse), 4));
    half_store(block, float_to_half_finite(scale));
    _mm_storeu_si128((__m128i *)(void *)(block + 2), isnan(scale) ? _mm_set1_epi8((char)0x88) : _mm512_cvtepi32_epi8(pairs));
}

ROWS_BLOCK_OPS(floats, encode_block, BYTES)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    (void)shape, (void)args;
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx512();
}

const kvant_kernel kernel_q4_0_avx512 = {
    .quantizer = "q4_0", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
