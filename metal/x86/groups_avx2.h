/* groups_avx2.h - affine_groups.h's groups along a vector with AVX2, in the scalar code's layout: codes in lanes (codes_avx2.h) become
 * floats by a look-up in the group's own levels, to 3 bits, or by a conversion and a fused multiply-add. For *_avx2.c only.
 *
 * A scale is a half, of 11 bits, and a code has 8: their product is exact in a float, so that scale * code + zero is rounded once,
 * fused or not, and decoded vectors have the scalar code's bits.
 *
 * Bound: arithmetic, at one query too: for eight coordinates 3 operations to 3 bits, 5 at 4 and 6 to 7 bits, 3 at 8, and 5 or 6 for
 * the head of a group in every 16. */
#ifndef KVANT_GROUPS_AVX2_H
#define KVANT_GROUPS_AVX2_H

#include "metal/x86/codes_avx2.h"
#include "metal/x86/groups.h"
#include "metal/x86/rows_avx2.h"

/* What `rows` call the state. Schemes differ in it alone: a head is read as two halves, and zero is the second; or the scale times a
 * constant, where a head is one half, and what is read behind it codes or the next head. */
typedef struct {
    const affine_vector *s;
    size_t part, heads, head;  /* bytes: of all groups, of one */
    __m256i zero;              /* lanes that it comes from */
    __m256 times;              /* what it is multiplied by */
    __m256 levels;             /* to 3 bits: all of a group's, in steps */
    codes_of codes;
} groups_of;

LANES_INLINE groups_of groups_begin(const affine_vector *s)
{
    const bool symmetric = s->scheme == AFFINE_SYMMETRIC;
    return (groups_of) {
        s, groups_part(s), groups_heads(s), groups_heads(s) / s->groups, _mm256_set1_epi32(symmetric ? 0 : 1),
        _mm256_set1_ps(symmetric ? -(float)((1u << (s->b - 1)) - 1) : 1), _mm256_cvtepi32_ps(codes_repeated(s->b)), codes_begin(s->b)
    };
}

LANES_INLINE rows groups_rows(const groups_of *of) { return (rows) { of, of->s->d, affine_code_bytes(of->s) }; }

LANES_INLINE float groups_floats(codes_width width, const groups_of *of, const uint8_t *code, size_t unit, size_t half, __m256 x[2])
{
    const uint8_t *packed = code + of->heads + unit * of->codes.bytes;
    int head;
    memcpy(&head, code + (unit * of->part >> 16) * of->head, sizeof head);
    const __m256 both = _mm256_cvtph_ps(_mm_set1_epi32(head)), scale = _mm256_moveldup_ps(both);
    const __m256 zero = _mm256_mul_ps(_mm256_permutevar_ps(both, of->zero), of->times);
    const __m256 levels = _mm256_fmadd_ps(scale, of->levels, zero);
    for (size_t k = 0; k < 2; k++) {
        if (width == CODES_NARROW)
            x[k] = _mm256_permutevar8x32_ps(levels, codes_load(width, &of->codes, packed, 2 * half + k));
        else
            x[k] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(codes_load_alone(width, &of->codes, packed, 2 * half + k)), zero);
    }
    return 1;
}

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* quantize_group of affine_groups.c; max and min have its comparisons, their second operand where those are false. */
LANES_INLINE __m256i groups_quantize(__m256 x, affine_grid grid, float levels)
{
    const __m256 divisor = _mm256_set1_ps(grid.scale != 0 ? grid.scale : INFINITY);
    const __m256 q = _mm256_div_ps(_mm256_sub_ps(x, _mm256_set1_ps(grid.zero)), divisor);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(q, _mm256_setzero_ps()), _mm256_set1_ps(levels)));
}

/* One group of x [g] to its head and codes. */
LANES_INLINE void groups_encode_group(unsigned b, const affine_vector *s, const float *x, uint8_t *code, size_t group)
{
    __m256 least = _mm256_loadu_ps(x), most = least, finite = _mm256_setzero_ps();
    for (size_t k = 0; k < s->g; k += 8) {
        const __m256 y = _mm256_loadu_ps(x + k);
        least = _mm256_min_ps(least, y), most = _mm256_max_ps(most, y);
        finite = _mm256_add_ps(finite, _mm256_mul_ps(y, _mm256_setzero_ps()));             /* NaN where y is not finite */
    }
    const bool good = !_mm256_movemask_ps(_mm256_cmp_ps(finite, finite, _CMP_UNORD_Q));
    const float min = -rows_most(_mm256_sub_ps(_mm256_setzero_ps(), least)), max = rows_most(most);
    const affine_grid grid = groups_head(s, b, x, good, min, max, code, group);
    const float levels = (float)((1u << b) - (s->scheme == AFFINE_SYMMETRIC ? 2u : 1u));
    uint8_t *packed = code + groups_heads(s) + group * s->g / 8 * b;
    for (size_t k = 0; k < s->g; k += 16) {
        const __m256i a = groups_quantize(_mm256_loadu_ps(x + k), grid, levels);
        const __m256i c = groups_quantize(_mm256_loadu_ps(x + k + 8), grid, levels);
        groups_pack(b, good ? rows_bytes(a, c) : _mm_setzero_si128(), packed + k / 8 * b);
    }
}

LANES_INLINE void groups_encode(unsigned b, const affine_vector *s, const float *x, size_t n, uint8_t *code)
{
    for (size_t v = 0; v < n; v++, code += affine_code_bytes(s))
        for (size_t i = 0; i < s->groups; i++, x += s->g)
            groups_encode_group(b, s, x, code, i);
}

/* ---- The ops ------------------------------------------------------------------------------------------- */

extern const groups_ops groups_avx2_of[9];         /* by bits, from 1 on */

#endif
