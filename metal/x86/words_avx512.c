/* words_avx512.c - see words_avx512.h: the loops of scores and mixes, once for every form of a table and number of queries.
 * They are here, and not in every kernel that calls them, because each is many instructions and takes compilers long. */
#include "metal/x86/words_avx512.h"

/* ---- Look-ups ------------------------------------------------------------------------------------------- */

/* A quarter, or a difference, of words whose lower six bits are the place in it; zero where the mask says so. */
LANES_INLINE __m512i quarter(const words_book *book, size_t i, __m512i at, __mmask32 where)
{
    return _mm512_maskz_permutex2var_epi16(where, _mm512_load_si512(book->word[i]), at, _mm512_load_si512(book->word[i] + 32));
}

/* Words of the codes in the upper (lower) bytes of each 16 bits. */
LANES_INLINE __m512i look_up(const words_book *book, uint32_t form, __m512i row, bool upper)
{
    const __m512i at = upper ? _mm512_srli_epi16(row, 8) : row;
    const __mmask32 a = _mm512_test_epi16_mask(row, _mm512_set1_epi16(upper ? 0x4000 : 0x40));
    const __m512i first = _mm512_permutex2var_epi16(_mm512_load_si512(book->word[0]), at, _mm512_load_si512(book->word[0] + 32));
    if (form == WORDS_SYMMETRIC) {
        const __m512i sign = _mm512_srai_epi16(upper ? row : _mm512_slli_epi16(row, 8), 15);
        return _mm512_ternarylogic_epi32(first, quarter(book, 1, at, a), sign, 0x96);
    }
    const __mmask32 b = _mm512_test_epi16_mask(row, _mm512_set1_epi16((short)(upper ? 0x8000 : 0x80)));
    const __m512i x = _mm512_ternarylogic_epi32(first, quarter(book, 1, at, a), quarter(book, 2, at, b), 0x96);
    return _mm512_xor_si512(x, quarter(book, 3, at, a & b));
}

/* Of four codes a lane: the words of the first and third, and of the second and fourth. */
LANES_INLINE void expand(const words_book *book, uint32_t form, const uint8_t *row, size_t ahead, __m512i out[2])
{
    const __m512i codes = _mm512_loadu_si512(row);
    _mm_prefetch((const char *)((uintptr_t)row + ahead), _MM_HINT_T0);
    out[0] = look_up(book, form, codes, false);
    out[1] = look_up(book, form, codes, true);
}

LANES_INLINE __m512i two_words(const int16_t *at)
{
    int32_t two;
    memcpy(&two, at, sizeof two);
    return _mm512_set1_epi32(two);
}

/* Centroids of byte j of a row's lanes. */
LANES_INLINE __m512 gathered(const words_book *book, __m512i row, unsigned j)
{
    const __m512i k = _mm512_and_si512(_mm512_srl_epi32(row, _mm_cvtsi32_si128((int)(8 * j))), _mm512_set1_epi32(255));
    return _mm512_i32gather_ps(k, book->c, 4);
}

/* ---- Score ---------------------------------------------------------------------------------------------- */

LANES_INLINE void score(const uint8_t *const group[2], size_t dim, const words_book *book, uint32_t form, size_t ahead,
                        const packed_query_head *const *q, size_t nq, __m512 (*out)[2])
{
    __m512i sum[8][2];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        sum[i][0] = sum[i][1] = _mm512_set1_epi32(q[i]->bias[0]);
    for (size_t r = 0; r < dim / 4; r++) {
        __m512i word[2][2];
        LANES_UNROLL
        for (size_t g = 0; g < 2; g++)
            expand(book, form, group[g] + r * 64, ahead, word[g]);
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            LANES_UNROLL
            for (size_t p = 0; p < 2; p++) {
                const __m512i two = two_words((const int16_t *)(const void *)(q[i] + 1) + 4 * r + 2 * p);
                LANES_UNROLL
                for (size_t g = 0; g < 2; g++)
                    sum[i][g] = _mm512_dpwssd_epi32(sum[i][g], word[g][p], two);
            }
    }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t g = 0; g < 2; g++)
            out[i][g] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][g]), _mm512_set1_ps(q[i]->scale * book->step));
}

LANES_INLINE void score_floats(const uint8_t *const group[2], size_t dim, const words_book *book,
                               const packed_query_head *const *q, size_t nq, __m512 (*out)[2])
{
    for (size_t i = 0; i < nq; i++)
        out[i][0] = out[i][1] = _mm512_setzero_ps();
    for (size_t r = 0; r < dim / 4; r++)
        for (size_t g = 0; g < 2; g++)
            for (unsigned j = 0; j < 4; j++) {
                const __m512 x = gathered(book, _mm512_loadu_si512(group[g] + r * 64), j);
                for (size_t i = 0; i < nq; i++) {
                    const float *y = (const float *)(const void *)((const char *)q[i] + packed_query_bytes(dim));
                    out[i][g] = _mm512_fmadd_ps(_mm512_set1_ps(y[4 * r + j]), x, out[i][g]);
                }
            }
}

/* ---- Mix ------------------------------------------------------------------------------------------------ */

/* The weights of a chunk's units, of four vectors the first, third, second and fourth; scale and bias as of a query. */
typedef struct { int16_t word[UNITS][UNIT]; float scale[UNITS]; int32_t bias[UNITS]; } weights;

LANES_INLINE __m256i in_pairs(__m512i v)
{
    return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(_mm512_cvtepi32_epi16(v), 0xd8), 0xd8);
}

LANES_INLINE void weigh(const __m512 x[CHUNK / LANES], const words_book *book, weights *out)
{
    __m512 sum[UNITS], top[UNITS];
    LANES_UNROLL
    for (int u = 0; u < UNITS; u++) {
        const __m512 a = _mm512_abs_ps(x[2 * u]), b = _mm512_abs_ps(x[2 * u + 1]);
        sum[u] = _mm512_add_ps(a, b);
        top[u] = _mm512_max_ps(a, b);
    }
    const __m128 all = lanes_sums(sum[0], sum[1], sum[2], sum[3]), most = lanes_largest(top[0], top[1], top[2], top[3]);
    const __mmask8 finite = _mm_cmp_ps_mask(all, _mm_set1_ps(FLT_MAX), _CMP_LE_OQ);
    const __mmask8 some = finite & _mm_cmp_ps_mask(most, _mm_set1_ps(0x1p-100f), _CMP_GT_OQ);      /* less than that is nothing */
    const __m128 room = _mm_set1_ps(.9999f * 0x1p31f / book->most - UNIT / 2);
    const __m128 levels = _mm_maskz_min_ps(some, _mm_div_ps(room, all), _mm_div_ps(_mm_set1_ps(WORDS_MOST), most));
    const __m128 scale = _mm_maskz_div_ps(some, _mm_set1_ps(book->step), levels);
    float by[UNITS];
    _mm_storeu_ps(by, levels);
    _mm_storeu_ps(out->scale, _mm_mask_mov_ps(_mm_set1_ps(NAN), finite, scale));
    LANES_UNROLL
    for (int u = 0; u < UNITS; u++) {
        const __mmask16 used = some >> u & 1 ? 0xffff : 0;
        const __m512i a = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(x[2 * u], _mm512_set1_ps(by[u])));
        const __m512i b = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(x[2 * u + 1], _mm512_set1_ps(by[u])));
        _mm256_storeu_si256((__m256i *)(void *)out->word[u], in_pairs(a));
        _mm256_storeu_si256((__m256i *)(void *)(out->word[u] + LANES), in_pairs(b));
        sum[u] = _mm512_cvtepi32_ps(_mm512_add_epi32(a, b));
    }
    const __m128 half = _mm_mul_ps(lanes_sums(sum[0], sum[1], sum[2], sum[3]), _mm_set1_ps(.5f));
    _mm_storeu_si128((__m128i *)(void *)out->bias, _mm_cvtps_epi32(half));
}

/* Sixteen coordinates of a unit; few queries have two sums each, which wait for one another less. */
LANES_INLINE void mix_unit(const uint8_t *rows, const words_book *book, uint32_t form, size_t ahead, const weights *w, size_t u,
                           size_t nq, __m512 *to)
{
    const size_t sums = nq <= 4 ? 2 : 1;
    __m512i sum[8][2];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        sum[i][0] = _mm512_set1_epi32(w[i].bias[u]), sum[i][1] = _mm512_setzero_si512();
    LANES_UNROLL
    for (size_t g = 0; g < GROUPS; g++) {
        __m512i word[2];
        expand(book, form, rows + g * 64, ahead, word);
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            LANES_UNROLL
            for (size_t p = 0; p < 2; p++)
                sum[i][p % sums] = _mm512_dpwssd_epi32(sum[i][p % sums], word[p], two_words(w[i].word[u] + 4 * g + 2 * p));
    }
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++) {
        const __m512i all = sums == 2 ? _mm512_add_epi32(sum[i][0], sum[i][1]) : sum[i][0];
        to[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), _mm512_set1_ps(w[i].scale[u]), to[i]);
    }
}

LANES_INLINE void mix(const uint8_t *const planes[UNITS], size_t dim, const words_book *book, uint32_t form, size_t ahead,
                      const __m512 (*x)[CHUNK / LANES], size_t nq, float *acc, size_t stride)
{
    weights w[8];
    for (size_t i = 0; i < nq; i++)
        weigh(x[i], book, &w[i]);
    for (size_t d = 0; d < dim; d += LANES) {
        __m512 to[8];
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            to[i] = _mm512_loadu_ps(acc + i * stride + d);
        for (size_t u = 0; u < UNITS && planes[u]; u++)
            mix_unit(planes[u] + packed_bytes(d, 8, UNIT), book, form, ahead, w, u, nq, to);
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            _mm512_storeu_ps(acc + i * stride + d, to[i]);
    }
}

/* Four vectors of a unit at a time, sixteen coordinates each. */
LANES_INLINE void mix_floats(const uint8_t *const planes[UNITS], size_t dim, const words_book *book,
                             const __m512 (*x)[CHUNK / LANES], size_t nq, float *acc, size_t stride)
{
    float w[8][CHUNK];
    for (size_t i = 0; i < nq; i++)
        for (int k = 0; k < CHUNK / LANES; k++)
            _mm512_storeu_ps(w[i] + k * LANES, x[i][k]);
    for (size_t d = 0; d < dim; d += LANES) {
        __m512 sum[8];
        for (size_t i = 0; i < nq; i++)
            sum[i] = _mm512_loadu_ps(acc + i * stride + d);
        for (size_t u = 0; u < UNITS && planes[u]; u++)
            for (size_t v = 0; v < UNIT; v++) {
                const __m512i row = _mm512_loadu_si512(planes[u] + packed_bytes(d, 8, UNIT) + v / 4 * 64);
                const __m512 y = gathered(book, row, v % 4);
                for (size_t i = 0; i < nq; i++)
                    sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(w[i][u * UNIT + v]), y, sum[i]);
            }
        for (size_t i = 0; i < nq; i++)
            _mm512_storeu_ps(acc + i * stride + d, sum[i]);
    }
}

/* ---- Tables --------------------------------------------------------------------------------------------- */

#define OPS(name, form, nq) \
    static void score_##name##_##nq(const uint8_t *const group[2], size_t dim, const words_book *book, size_t ahead, \
                                    const packed_query_head *const *q, __m512 (*out)[2]) \
    { \
        score(group, dim, book, form, ahead, q, nq, out); \
    } \
    static void mix_##name##_##nq(const uint8_t *const planes[UNITS], size_t dim, const words_book *book, size_t ahead, \
                                  const __m512 (*x)[CHUNK / LANES], float *acc, size_t stride) \
    { \
        mix(planes, dim, book, form, ahead, x, nq, acc, stride); \
    }
#define FLOAT_OPS(nq) \
    static void score_floats_##nq(const uint8_t *const group[2], size_t dim, const words_book *book, size_t ahead, \
                                  const packed_query_head *const *q, __m512 (*out)[2]) \
    { \
        (void)ahead; \
        score_floats(group, dim, book, q, nq, out); \
    } \
    static void mix_floats_##nq(const uint8_t *const planes[UNITS], size_t dim, const words_book *book, size_t ahead, \
                                const __m512 (*x)[CHUNK / LANES], float *acc, size_t stride) \
    { \
        (void)ahead; \
        mix_floats(planes, dim, book, x, nq, acc, stride); \
    }
#define ALL(name, form) OPS(name, form, 1) OPS(name, form, 2) OPS(name, form, 4) OPS(name, form, 8)
ALL(symmetric, WORDS_SYMMETRIC)
ALL(any, WORDS_ANY)
FLOAT_OPS(1) FLOAT_OPS(2) FLOAT_OPS(4) FLOAT_OPS(8)

/* By the logarithm of the number of queries. */
#define ROW(op, name) { op##_##name##_1, op##_##name##_2, op##_##name##_4, op##_##name##_8 }
#define FORMS(op) \
    { [WORDS_SYMMETRIC] = ROW(op, symmetric), [WORDS_ANY] = ROW(op, any), [WORDS_FLOATS] = ROW(op, floats) }

words_score_op *words_score(uint32_t form, size_t nq)
{
    static words_score_op *const ops[WORDS_FORMS][4] = FORMS(score);
    return ops[form][__builtin_ctzl(nq)];
}

words_mix_op *words_mix(uint32_t form, size_t nq)
{
    static words_mix_op *const ops[WORDS_FORMS][4] = FORMS(mix);
    return ops[form][__builtin_ctzl(nq)];
}
