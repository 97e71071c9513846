/* groups_avx2.c - groups_avx2.h's ops compiled for four kinds of width, and encode, which packs, for each, for the two methods whose
 * groups lie along a vector. Prepared queries and accumulators are affine_groups.c's: of the former the sums are not used, of the
 * latter zeros' stay 0. */
#include "metal/x86/groups_avx2.h"

#define KIND(name, width) \
    LANES_INLINE float floats_##name(const void *state, const uint8_t *code, size_t unit, size_t half, __m256 x[2]) \
    { \
        return groups_floats(width, state, code, unit, half, x); \
    } \
    static void decode_##name(const affine_vector *s, const uint8_t *code, size_t n, float *x) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_decode(&r, floats_##name, code, n, x); \
    } \
    static void score_##name(const affine_vector *s, const float *prepared, size_t nq, const uint8_t *code, size_t n, float *dot) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_score(&r, floats_##name, prepared, s->d + s->groups, nq, code, n, dot); \
    } \
    static void mix_##name(const affine_vector *s, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_mix(&r, floats_##name, w, nq, code, n, acc, s->d + s->groups); \
    }

KIND(narrow, CODES_NARROW)
KIND(nibbles, CODES_NIBBLES)
KIND(wide, CODES_WIDE)
KIND(bytes, CODES_BYTES)

#define WIDTH(b) \
    static void encode_##b(const affine_vector *s, const float *x, size_t n, uint8_t *code) { groups_encode(b, s, x, n, code); }

WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(8)

#define ROW(b, name) [b] = { encode_##b, decode_##name, score_##name, mix_##name }
const groups_ops groups_avx2_of[9] = {
    ROW(1, narrow), ROW(2, narrow), ROW(3, narrow), ROW(4, nibbles), ROW(5, wide), ROW(6, wide), ROW(7, wide), ROW(8, bytes)
};
