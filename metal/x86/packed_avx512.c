/* packed_avx512.c - see packed_avx512.h: the loops of scores and mixes, once for every width and number of queries.
 * They are here, and not in every kernel that calls them, because each is many instructions and takes compilers long. */
#include "metal/x86/packed_avx512.h"

/* Processors fetch ahead within a page of memory, and pages are short: what is needed `ahead` bytes later is asked for line by
 * line. A mix comes back to a unit row by row, so that it asks for what is as far again, too, into the second cache. */
LANES_INLINE void packed_ahead(const uint8_t *at, size_t ahead) { _mm_prefetch((const char *)((uintptr_t)at + ahead), _MM_HINT_T0); }
LANES_INLINE void packed_ahead_twice(const uint8_t *at, size_t ahead)
{
    packed_ahead(at, ahead);
    _mm_prefetch((const char *)((uintptr_t)at + 2 * ahead), _MM_HINT_T1);
}

/* See packed_score; everything is a constant but the pointers and dim. */
LANES_INLINE void score(const uint8_t *const *group, size_t n, size_t dim, unsigned b, __m512i table, size_t ahead,
                               const packed_query_head *const *q, size_t nq, size_t planes, __m512 (*out)[2])
{
    __m512i sum[8][2][2];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t p = 0; p < planes; p++)
            LANES_UNROLL
            for (size_t g = 0; g < n; g++)
                sum[i][p][g] = _mm512_set1_epi32(q[i]->bias[p]);
    for (size_t R = 0; R < dim / 32; R++) {
        LANES_UNROLL
        for (size_t g = 0; g < n; g++)
            LANES_UNROLL
            for (size_t row = 0; row < b; row++)
                packed_ahead(group[g] + (R * b + row) * 64, ahead);
        LANES_UNROLL
        for (unsigned k = 0; k < 8; k++) {
            __m512i level[2];
            LANES_UNROLL
            for (size_t g = 0; g < n; g++)
                level[g] = packed_level(table, packed_key(group[g], dim, b, R, k), b, 128);
            LANES_UNROLL
            for (size_t i = 0; i < nq; i++)
                LANES_UNROLL
                for (size_t p = 0; p < planes; p++) {
                    int32_t four;
                    memcpy(&four, packed_query_plane(q[i], dim, p) + 32 * R + 4 * k, sizeof four);
                    LANES_UNROLL
                    for (size_t g = 0; g < n; g++)
                        sum[i][p][g] = _mm512_dpbusd_epi32(sum[i][p][g], level[g], _mm512_set1_epi32(four));
                }
        }
    }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t g = 0; g < n; g++) {
            __m512 x = _mm512_cvtepi32_ps(sum[i][0][g]);
            if (planes == 2 && q[i]->planes == 2)
                x = _mm512_fmadd_ps(x, _mm512_set1_ps(256), _mm512_cvtepi32_ps(sum[i][1][g]));
            out[i][g] = _mm512_mul_ps(x, _mm512_set1_ps(q[i]->scale));
        }
}


/* ---- Mix ------------------------------------------------------------------------------------------------ */

/* `count` fields of a row from `field` on, for mix: sums of all of them are registers, so that a weight is loaded once for them. */
LANES_INLINE void mix_fields(const uint8_t *const planes[UNITS], size_t dim, unsigned b, packed_row row, unsigned field,
                                    unsigned count, __m512i table, float step, size_t ahead, const packed_weights *w, size_t nq,
                                        size_t n_planes, float *acc,
                                    size_t stride)
{
    const __mmask16 mask = (__mmask16)((1u << row.lanes) - 1);
    __m512i sum[8][2][4];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (unsigned k = 0; k < count; k++)
            sum[i][0][k] = sum[i][1][k] = _mm512_setzero_si512();
    for (size_t u = 0; u < UNITS && planes[u]; u++)
        LANES_UNROLL
        for (size_t g = 0; g < GROUPS; g++) {
            __m512i level[4];
            LANES_UNROLL
            for (unsigned k = 0; k < count; k++)
                level[k] = packed_level(table, packed_value(planes[u], dim, b, row, field + k, g), b, 0);
            if (field == 0)
                packed_ahead_twice(planes[u] + packed_bytes(row.base, b, UNIT) + g * packed_bytes(16 * packed_fields(b), b, 4), ahead);
            LANES_UNROLL
            for (size_t i = 0; i < nq; i++)
                LANES_UNROLL
                for (size_t p = 0; p < n_planes; p++) {
                    int32_t four;
                    memcpy(&four, (p ? w[i].low : w[i].high) + u * UNIT + 4 * g, sizeof four);
                    const __m512i weights = _mm512_set1_epi32(four);
                    LANES_UNROLL
                    for (unsigned k = 0; k < count; k++)
                        sum[i][p][k] = _mm512_dpbusd_epi32(sum[i][p][k], weights, level[k]);
                }
        }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (unsigned k = 0; k < count; k++) {
            __m512 x = _mm512_cvtepi32_ps(sum[i][0][k]);
            if (n_planes == 2 && w[i].planes == 2)
                x = _mm512_fmadd_ps(x, _mm512_set1_ps(256), _mm512_cvtepi32_ps(sum[i][1][k]));
            float *to = acc + i * stride + row.base + (field + k) * row.lanes;
            _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(x, _mm512_set1_ps(w[i].scale * step), _mm512_maskz_loadu_ps(mask, to)));
        }
}

/* A row's fields, as many at a time as there are registers for. */
LANES_INLINE void mix_row(const uint8_t *const planes[UNITS], size_t dim, unsigned b, packed_row row, __m512i table, float step,
                                 size_t ahead, const packed_weights *w, size_t nq, size_t n_planes, float *acc,
                                    size_t stride)
{
    const unsigned fields = (unsigned)packed_fields(b), room = (unsigned)(16 / (nq * n_planes)), count = fields < room ? fields : room;
    LANES_UNROLL
    for (unsigned k = 0; k < fields; k += count)
        mix_fields(planes, dim, b, row, k, count, table, step, ahead, w, nq, n_planes, acc, stride);
}

/* Adds to acc, nq rows of dim floats, `stride` apart, the sums over a chunk's units (`planes`: where their codes begin; NULL behind
 * the last) of weights times levels. */
LANES_INLINE void mix(const uint8_t *const planes[UNITS], size_t dim, unsigned b, __m512i table, float step, size_t ahead,
                             const packed_weights *w, size_t nq, size_t n_planes, float *acc,
                                    size_t stride)
{
    for (size_t d = 0; d < dim;) {
        const packed_row row = packed_row_of(dim, b, d);
        if (b == 1 || b == 4 || row.lanes == 16)               /* the only ones whose rows are always full */
            mix_row(planes, dim, b, (packed_row) { row.base, 16 }, table, step, ahead, w, nq, n_planes, acc, stride);
        else
            mix_row(planes, dim, b, (packed_row) { row.base, 8 }, table, step, ahead, w, nq, n_planes, acc, stride);
        d += row.lanes * packed_fields(b);
    }
}

/* See packed_add_op: a byte of a group's four is a vector's. */
LANES_INLINE void add(const uint8_t *planes, size_t dim, unsigned b, __m512i table, size_t v, float weight, float *acc)
{
    const __m128i up = _mm_cvtsi32_si128((int)(24 - v % 4 * 8));
    packed_row row;
    for (size_t d = 0; d < dim; d += row.lanes * packed_fields(b)) {
        row = packed_row_of(dim, b, d);
        for (unsigned k = 0; k < packed_fields(b); k++) {
            const __mmask16 mask = (__mmask16)((1u << row.lanes) - 1);
            const __m512i four = packed_level(table, packed_value(planes, dim, b, row, k, v / 4), b, 0);
            const __m512 level = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_sll_epi32(four, up), 24));
            float *to = acc + row.base + k * row.lanes;
            _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(level, _mm512_set1_ps(weight), _mm512_maskz_loadu_ps(mask, to)));
        }
    }
}

/* ---- Tables --------------------------------------------------------------------------------------------- */

#define SCORE(b, nq, planes) \
    static void score_##b##_##nq##_##planes(const uint8_t *const group[2], size_t dim, const packed_levels *levels, size_t ahead, \
                                            const packed_query_head *const *q, __m512 (*out)[2]) \
    { \
        score(group, 2, dim, b, packed_table(levels, 128), ahead, q, nq, planes, out); \
    }
#define MIX(b, nq, n_planes) \
    static void mix_##b##_##nq##_##n_planes(const uint8_t *const planes[UNITS], size_t dim, const packed_levels *levels, float step, \
                                            size_t ahead, const packed_weights *w, float *acc, size_t stride) \
    { \
        mix(planes, dim, b, packed_table(levels, 0), step, ahead, w, nq, n_planes, acc, stride); \
    }
#define ADD(b) \
    static void add_##b(const uint8_t *planes, size_t dim, const packed_levels *levels, size_t v, float weight, float *acc) \
    { \
        add(planes, dim, b, packed_table(levels, 0), v, weight, acc); \
    }
ADD(1) ADD(2) ADD(3) ADD(4) ADD(8)
#define ALL(b, OP) OP(b, 1, 1) OP(b, 1, 2) OP(b, 2, 1) OP(b, 2, 2) OP(b, 4, 1) OP(b, 4, 2) OP(b, 8, 1)
ALL(1, SCORE) ALL(2, SCORE) ALL(3, SCORE) ALL(4, SCORE) ALL(8, SCORE)
ALL(1, MIX) ALL(2, MIX) ALL(3, MIX) ALL(4, MIX) ALL(8, MIX)

/* By the logarithm of the number of queries, and planes; eight queries with two planes are two calls. */
#define ROW(name, b) \
    [b] = { { name##_##b##_1_1, name##_##b##_1_2 }, { name##_##b##_2_1, name##_##b##_2_2 }, { name##_##b##_4_1, name##_##b##_4_2 }, \
            { name##_##b##_8_1, NULL } }

packed_score_op *packed_score(unsigned b, size_t nq, size_t planes)
{
    static packed_score_op *const ops[9][4][2] = { ROW(score, 1), ROW(score, 2), ROW(score, 3), ROW(score, 4), ROW(score, 8) };
    return ops[b][__builtin_ctzl(nq)][planes - 1];
}

packed_mix_op *packed_mix(unsigned b, size_t nq, size_t n_planes)
{
    static packed_mix_op *const ops[9][4][2] = { ROW(mix, 1), ROW(mix, 2), ROW(mix, 3), ROW(mix, 4), ROW(mix, 8) };
    return ops[b][__builtin_ctzl(nq)][n_planes - 1];
}

packed_add_op *packed_add(unsigned b)
{
    static packed_add_op *const ops[9] = { [1] = add_1, [2] = add_2, [3] = add_3, [4] = add_4, [8] = add_8 };
    return ops[b];
}
