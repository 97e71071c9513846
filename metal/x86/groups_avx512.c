/* groups_avx512.c - groups_avx512.h's ops compiled for every width of code, for the two methods whose groups lie along a vector.
 * Prepared queries and accumulators are affine_groups.c's: of the former the sums are not used, of the latter zeros' stay 0. */
#include "metal/x86/groups_avx512.h"

#define WIDTH(b) \
    LANES_INLINE void floats_##b(const void *state, const uint8_t *code, size_t unit, __m512 x[2]) \
    { \
        groups_floats(b, state, code, unit, x); \
    } \
    static void encode_##b(const affine_vector *s, const float *x, size_t n, uint8_t *code) { groups_encode(b, s, x, n, code); } \
    static void decode_##b(const affine_vector *s, const uint8_t *code, size_t n, float *x) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_decode(&r, floats_##b, code, n, x); \
    } \
    static void score_##b(const affine_vector *s, const float *prepared, size_t nq, const uint8_t *code, size_t n, float *dot) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_score(&r, floats_##b, prepared, s->d + s->groups, nq, code, n, dot); \
    } \
    static void mix_##b(const affine_vector *s, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc) \
    { \
        const groups_of of = groups_begin(s); \
        const rows r = groups_rows(&of); \
        rows_mix(&r, floats_##b, w, nq, code, n, acc, s->d + s->groups); \
    }

WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(8)

#define ROW(b) [b] = { encode_##b, decode_##b, score_##b, mix_##b }
const groups_ops groups_ops_of[9] = { ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8) };
