/* turboquant_mse_avx2.c - TurboQuant's packed codes in the scalar code's layout with AVX2: centroids are looked up in a register,
 * eight at a time, or in two at 4 bits. Rotations and encoding stay the scalar code's, and decoded vectors have its bits. Dimensions
 * are multiples of 32; no outlier channels; 1 to 4 bits, for at 8 gathering centroids took longer than the scalar code's loads.
 *
 * A norm is applied once to a sum, or to a weight, instead of to every centroid: two roundings that the scalar code has elsewhere.
 *
 * Bound: arithmetic, at one query too: for eight coordinates 2 operations to 3 bits, 5 at 4 bits. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/scalar.h"
#include "harness/kernels.h"
#include "metal/x86/codes_avx2.h"
#include "metal/x86/cpu.h"
#include "metal/x86/rows_avx2.h"

extern const kvant_quantizer quantizer_turboquant_mse;

/* The scalar code's state. */
typedef struct { rotated base; uint32_t norm, scale, trained; scalar_codebook book; } turboquant;

/* What `rows` call the state. */
typedef struct {
    const turboquant *s;
    size_t norm;                   /* bytes */
    __m256 low, high;              /* centroids: all, again and again, to 3 bits; 0 to 7 and 8 to 15 at 4 bits */
    codes_of codes;
} tables;

LANES_INLINE tables tables_of(const turboquant *s)
{
    const unsigned b = s->book.bits;
    const float *c = s->book.c;                    /* SCALAR_MAX of them, of which the first 2^b mean something */
    const __m256 low = b < 4 ? _mm256_i32gather_ps(c, codes_repeated(b), sizeof *c) : _mm256_loadu_ps(c);
    return (tables) { s, norm_bytes((norm_format)s->norm), low, _mm256_loadu_ps(c + 8), codes_begin(b) };
}

LANES_INLINE float norm_at(const tables *t, const uint8_t *code)
{
    float norm;
    if (t->norm == sizeof(uint16_t))
        return _cvtsh_ss(half_bits(code));
    memcpy(&norm, code, sizeof norm);
    return norm;
}

LANES_INLINE __m256 looked_up(codes_width width, const tables *t, const uint8_t *packed, size_t k)
{
    const __m256i codes = codes_load(width, &t->codes, packed, k);
    const __m256 low = _mm256_permutevar8x32_ps(t->low, codes);
    if (width == CODES_NARROW)
        return low;
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));        /* bit 3 chooses, as a sign */
    return _mm256_blendv_ps(low, _mm256_permutevar8x32_ps(t->high, codes), upper);
}

LANES_INLINE float floats(codes_width width, const tables *t, const uint8_t *code, size_t unit, size_t half, __m256 x[2])
{
    const uint8_t *packed = code + t->norm + unit * t->codes.bytes;
    x[0] = looked_up(width, t, packed, 2 * half);
    x[1] = looked_up(width, t, packed, 2 * half + 1);
    return norm_at(t, code);
}

#define KIND(name, width) \
    LANES_INLINE float floats_##name(const void *state, const uint8_t *code, size_t unit, size_t half, __m256 x[2]) \
    { \
        return floats(width, state, code, unit, half, x); \
    } \
    static void decode_vector_##name(const void *state, const uint8_t *code, float *y) \
    { \
        const tables t = tables_of(state); \
        const rows r = { &t, t.s->base.d, t.s->base.code }; \
        rows_decode(&r, floats_##name, code, 1, y); \
    } \
    static void decode_##name(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first; \
        rotated_decode(state, decode_vector_##name, code, n, x, scratch); \
    } \
    static void score_##name(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, \
                             float *dot, void *scratch) \
    { \
        const tables t = tables_of(state); \
        const rows r = { &t, t.s->base.d, t.s->base.code }; \
        (void)first, (void)scratch; \
        rows_score(&r, floats_##name, prepared, r.d, nq, code, n, dot); \
    } \
    static void mix_##name(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                           void *scratch) \
    { \
        const tables t = tables_of(state); \
        const rows r = { &t, t.s->base.d, t.s->base.code }; \
        (void)first, (void)scratch; \
        rows_mix(&r, floats_##name, w, nq, code, n, acc, r.d); \
    } \
    static void take_##name(kvant_ops *ops) { ops->decode = decode_##name, ops->score = score_##name, ops->mix = mix_##name; }

KIND(narrow, CODES_NARROW)
KIND(nibbles, CODES_NIBBLES)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const uint32_t b = (uint32_t)kvant_arg(&quantizer_turboquant_mse, "bits", args);
    if (shape->dim % ROWS_UNIT || b > 4 || kvant_arg(&quantizer_turboquant_mse, "outlier_channels", args) > 0)
        return false;
    if (b < 4)
        take_narrow(&f->ops);
    else
        take_nibbles(&f->ops);
    return cpu_avx2() && cpu_f16c();
}

const kvant_kernel kernel_turboquant_mse_avx2 = {
    .quantizer = "turboquant_mse", .target = "avx2", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds, norms applied to sums and weights, and another order of summation; decode is exact"
};
