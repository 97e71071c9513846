/* groups_avx512.h - affine_groups.h's groups along a vector in the scalar code's layout: codes of b bits become 16 floats by a byte
 * shuffle, a shift and, to 4 bits, a look-up in the group's own levels, which repeat so that no bit needs masking. For *_avx512.c
 * only.
 *
 * Bound: arithmetic, at one query too: 4 operations for 16 coordinates to 4 bits, 6 beyond, and 6 for a group's levels in
 * every 32. */
#ifndef KVANT_GROUPS_AVX512_H
#define KVANT_GROUPS_AVX512_H

#include "algorithms/shared/affine_groups.h"
#include "algorithms/shared/bits.h"
#include "metal/x86/rows_avx512.h"

#include <math.h>

/* Groups are whole units of 32 coordinates. */
static inline bool groups_fit(uint32_t dim, uint32_t g) { return dim % ROWS_UNIT == 0 && g % ROWS_UNIT == 0 && dim % g == 0; }

LANES_INLINE size_t groups_heads(const affine_vector *s) { return s->groups * (s->scheme == AFFINE_SYMMETRIC ? 2u : 4u); }

/* Lane i: the 16 bits that begin in the byte where code i does. Shuffles work within 16 bytes, so all four have the same. */
LANES_INLINE __m512i groups_shuffle(unsigned b)
{
    int32_t at[16];
    for (unsigned i = 0; i < 16; i++) {
        const unsigned byte = i * b / 8, next = byte + 1 < 2 * b ? byte + 1 : 0x80;
        at[i] = (int32_t)(byte | next << 8 | 0x80800000u);
    }
    return _mm512_loadu_si512(at);
}

LANES_INLINE __m512i groups_shifts(unsigned b)
{
    int32_t by[16];
    for (unsigned i = 0; i < 16; i++)
        by[i] = (int32_t)(i * b % 8);
    return _mm512_loadu_si512(by);
}

/* 0 ... 2^b - 1, again and again: by what lies above a code's bits a look-up is not misled. */
LANES_INLINE __m512 groups_levels(unsigned b)
{
    float level[16];
    for (unsigned i = 0; i < 16; i++)
        level[i] = (float)(i & ((1u << b) - 1));
    return _mm512_loadu_ps(level);
}

/* 16 codes, in 2 b bytes, in the low bits of lanes; above b bits anything. */
LANES_INLINE __m512i groups_load(unsigned b, const uint8_t *packed)
{
    __m512i all;
    if (b == 8)
        return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)packed));
    if (b == 4) {
        long long eight;
        memcpy(&eight, packed, sizeof eight);
        all = _mm512_set1_epi64(eight);
    } else if (b == 2) {
        int four;
        memcpy(&four, packed, sizeof four);
        return _mm512_srlv_epi32(_mm512_set1_epi32(four),
                                 _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
    } else {
        all = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8((__mmask16)((1u << 2 * b) - 1), packed));
    }
    return _mm512_srlv_epi32(_mm512_shuffle_epi8(all, groups_shuffle(b)), groups_shifts(b));
}

LANES_INLINE __m512 groups_codes(unsigned b, const uint8_t *packed)
{
    const __m512i codes = groups_load(b, packed);
    return b <= 4 ? _mm512_permutexvar_ps(codes, groups_levels(b))
                  : _mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32((int)(1u << b) - 1)));
}

/* What `rows` call the state. A unit's group is unit * part >> 16, exactly, without a division for every unit. */
typedef struct { const affine_vector *s; size_t part; } groups_of;
LANES_INLINE groups_of groups_begin(const affine_vector *s) { return (groups_of) { s, (65536 * ROWS_UNIT + s->g - 1) / s->g }; }

/* scale * code + zero, rounded twice as in the scalar code. */
LANES_INLINE void groups_floats(unsigned b, const groups_of *of, const uint8_t *code, size_t unit, __m512 x[2])
{
    const affine_vector *s = of->s;
    const size_t group = unit * of->part >> 16;
    const uint8_t *packed = code + groups_heads(s) + unit * ROWS_UNIT / 8 * b;
    __m512 scale, zero;
    if (s->scheme == AFFINE_SYMMETRIC) {
        scale = rows_half(code + group * 2);
        zero = _mm512_mul_ps(scale, _mm512_set1_ps(-(float)((1u << (b - 1)) - 1)));
    } else {
        int head;
        memcpy(&head, code + group * sizeof head, sizeof head);
        const __m512 both = _mm512_cvtph_ps(_mm256_set1_epi32(head));
        scale = _mm512_moveldup_ps(both), zero = _mm512_movehdup_ps(both);
    }
    if (b <= 4) {
        const __m512 levels = _mm512_add_ps(_mm512_mul_ps(scale, groups_levels(b)), zero);
        for (size_t h = 0; h < 2; h++)
            x[h] = _mm512_permutexvar_ps(groups_load(b, packed + h * 2 * b), levels);
    } else {
        for (size_t h = 0; h < 2; h++)
            x[h] = _mm512_add_ps(_mm512_mul_ps(scale, groups_codes(b, packed + h * 2 * b)), zero);
    }
}

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* quantize_group of affine_groups.c; max and min have its comparisons, their second operand where those are false. */
LANES_INLINE __m512i groups_quantize(__m512 x, __m512 scale, __m512 zero, float levels)
{
    const __mmask16 none = _mm512_cmp_ps_mask(scale, _mm512_setzero_ps(), _CMP_EQ_OQ);
    const __m512 divisor = _mm512_mask_mov_ps(scale, none, _mm512_set1_ps(INFINITY));
    const __m512 q = _mm512_max_ps(_mm512_div_ps(_mm512_sub_ps(x, zero), divisor), _mm512_setzero_ps());
    return _mm512_cvtps_epi32(_mm512_min_ps(q, _mm512_set1_ps(levels)));
}

/* Sixteen codes, as bytes, to 2 b bytes: neighbours are joined until eight codes are one number of b bytes. */
LANES_INLINE void groups_pack(unsigned b, __m128i bytes, uint8_t *packed)
{
    if (b == 8) {
        _mm_storeu_si128((__m128i *)(void *)packed, bytes);
        return;
    }
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi16((short)(1 | 1 << b << 8)), bytes);
    const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 | 1 << 2 * b << 16));
    for (int h = 0; h < 2; h++) {
        const uint64_t two = (uint64_t)(h ? _mm_extract_epi64(fours, 1) : _mm_cvtsi128_si64(fours));
        const uint64_t eight = (two & 0xffffffffu) | two >> 32 << 4 * b;
        memcpy(packed + (size_t)h * b, &eight, b);
    }
}

/* The first of the smallest, and of the largest, of n numbers: a zero has its sign. */
static inline affine_head groups_head_at_zero(affine_scheme scheme, unsigned b, const float *x, size_t n)
{
    float min = x[0], max = x[0];
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    return affine_head_of(scheme, b, min, max);
}

/* n vectors; where an extreme is 0 it has the sign of the first that is. */
LANES_INLINE void groups_encode(unsigned b, const affine_vector *s, const float *x, size_t n, uint8_t *code)
{
    const float levels = (float)((1u << b) - 1);
    const size_t bytes = affine_code_bytes(s), heads = groups_heads(s);
    for (size_t v = 0; v < n; v++, code += bytes)
        for (size_t i = 0; i < s->groups; i++, x += s->g) {
            __m512 least = _mm512_loadu_ps(x), most = least;
            __m512i codes16 = _mm512_setzero_si512();
            uint8_t *packed = code + heads + i * s->g / 8 * b;
            __m512 finite = _mm512_mul_ps(least, _mm512_setzero_ps());        /* NaN where x is not finite */
            for (size_t k = 16; k < s->g; k += 16) {
                const __m512 y = _mm512_loadu_ps(x + k);
                least = _mm512_min_ps(least, y), most = _mm512_max_ps(most, y);
                finite = _mm512_add_ps(finite, _mm512_mul_ps(y, _mm512_setzero_ps()));
            }
            const bool good = !_mm512_cmp_ps_mask(finite, finite, _CMP_UNORD_Q);
            const float min = _mm512_reduce_min_ps(least), max = _mm512_reduce_max_ps(most);
            affine_grid grid;
            if (s->scheme == AFFINE_SYMMETRIC) {
                const uint16_t scale = good ? affine_symmetric_scale(b, fabsf(min) > max ? fabsf(min) : fabsf(max)) : 0x7e00;
                memcpy(code + i * sizeof scale, &scale, sizeof scale);
                grid = affine_symmetric_grid(scale, b);
            } else {
                affine_head head = { 0x7e00, 0x7e00 };
                if (good && (min == 0 || max == 0))
                    head = groups_head_at_zero((affine_scheme)s->scheme, b, x, s->g);
                else if (good)
                    head = affine_head_of((affine_scheme)s->scheme, b, min, max);
                memcpy(code + i * sizeof head, &head, sizeof head);
                grid = (affine_grid) { half_to_float(head.scale), half_to_float(head.zero) };
            }
            const float most_code = s->scheme == AFFINE_SYMMETRIC ? levels - 1 : levels;
            for (size_t k = 0; k < s->g; k += 16) {
                if (good)
                    codes16 = groups_quantize(_mm512_loadu_ps(x + k), _mm512_set1_ps(grid.scale), _mm512_set1_ps(grid.zero),
                                              most_code);
                groups_pack(b, _mm512_cvtepi32_epi8(codes16), packed + k / 8 * b);
            }
        }
}

/* ---- The ops, for every width -------------------------------------------------------------------------- */

LANES_INLINE rows groups_rows(const groups_of *of) { return (rows) { of, of->s->d, affine_code_bytes(of->s) }; }

typedef struct {
    void (*encode)(const affine_vector *s, const float *x, size_t n, uint8_t *code);
    void (*decode)(const affine_vector *s, const uint8_t *code, size_t n, float *x);
    void (*score)(const affine_vector *s, const float *prepared, size_t nq, const uint8_t *code, size_t n, float *dot);
    void (*mix)(const affine_vector *s, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc);
} groups_ops;

extern const groups_ops groups_ops_of[9];          /* by bits, from 1 on */

/* The ops score and mix of a method whose state begins with an affine_vector. */
void groups_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch);
void groups_mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, void *scratch);

#endif
