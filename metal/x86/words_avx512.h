/* words_avx512.h - centroids of 8 bits as words of 16: looked up from registers instead of memory, and multiplied by vpdpwssd.
 * Queries and weights are words too. Codes are laid out as packed_avx512.h says, each as a sign and a magnitude.
 *
 * A table is four quarters of 64 words, of which vpermi2w looks up one at a time. They are kept as differences (xor), so that
 * quarters are chosen by leaving some out: w = Q0, ^ D1 where bit 6 of the code is set, ^ D2 for bit 7, ^ D3 for both. Where
 * centroids are symmetric, as solved ones are, bit 7 complements, and two look-ups do.
 *
 * Errors. A word w stands for step * (w + 1/2), step = 1 / S, and is off its centroid by step / 2 at most. A table whose centroids are
 * not all step / .07 apart is gathered as floats, so that words add .07^2 = .5 % at most to the error of a cell, step^2 / 12 to
 * distance^2 / 12; to that of a solved codebook they add .02 % at 128 coordinates and .05 % at 512. A query of T = 32000 words' length
 * is off by 1/2 a coordinate, which adds |q|^2 / (12 T^2) to a score's squared error, D |q|^2 / dim: .03 % of it at 128 coordinates,
 * .1 % at 512. The magnitudes of 32 weights make 65530 words or more, unless the largest has 32767 of them, so that one is off by half
 * of s <= sqrt(32 sum w^2) / 65530: they add 32 s^2 / 12 to the quantizer's own D sum w^2, .05 % of it at most.
 *
 * Sums of 32 bits hold them: |q| is T + sqrt(dim) / 2 words at most, and a vector of centroids S * reach + sqrt(dim) / 2, where reach
 * is the length that a direction's centroids can have; S makes the product less than 2^31. Partial sums may be more: they wrap. For
 * files *_avx512.c only. */
#ifndef KVANT_WORDS_AVX512_H
#define KVANT_WORDS_AVX512_H

#include "metal/x86/packed_avx512.h"

enum { WORDS_SYMMETRIC, WORDS_ANY, WORDS_FLOATS, WORDS_FORMS };
enum { WORDS_QUERY = 32000, WORDS_MOST = 32767 };

typedef struct {
    _Alignas(64) uint16_t word[4][64];             /* Q0, D1, D2, D3 */
    _Alignas(64) uint32_t bits[4][32];             /* the same of the positive floats, for bits 5 and 6, where they are symmetric */
    _Alignas(64) float c[256];
    /* thresholds between eights of codes in their order, the last infinite, in the middle of eights, of fours, and of pairs */
    _Alignas(64) float eight[32], four[32], two[64], one[128];
    float step, most;                              /* most: the largest of |w + 1/2| */
    uint32_t form;
} words_book;

/* Which of the 256 codes is stored so: bit 7 is for those below the middle, the others count from there. */
static inline unsigned words_order(unsigned stored) { return stored < 128 ? stored + 128 : 255 - stored; }

/* From 256 ascending centroids and the 255 thresholds between them. */
static inline void words_thresholds(words_book *book, const float *threshold)
{
    for (size_t i = 0; i < 128; i++) {
        book->one[i] = threshold[2 * i];
        if (i < 64)
            book->two[i] = threshold[4 * i + 1];
        if (i < 32)
            book->four[i] = threshold[8 * i + 3], book->eight[i] = i < 31 ? threshold[8 * i + 7] : INFINITY;
    }
}

/* See `reach`: a centroid may be longer than the coordinate nearest to zero that it stands for. */
static inline double words_reach(const float *c, const float *threshold, size_t dim, double largest)
{
    double excess = 0;
    for (size_t k = 0; k < 256; k++) {
        const double low = k ? threshold[k - 1] : -INFINITY, high = k < 255 ? threshold[k] : INFINITY;
        excess = fmax(excess, fabs((double)c[k]) - (low <= 0 && high >= 0 ? 0 : fmin(fabs(low), fabs(high))));
    }
    const double root = sqrt((double)dim);
    return fmin(1 + root * excess, root * largest);
}

static inline void words_set(words_book *book, const float *c, const float *threshold, size_t dim)
{
    double largest = 0, gap = INFINITY;
    bool symmetric = true;
    uint16_t w[256];
    uint32_t bits[128];
    for (size_t k = 0; k < 256; k++) {
        const double next = k < 255 ? (double)c[k + 1] - c[k] : 0;
        largest = fmax(largest, fabs((double)c[k]));
        gap = next > 0 ? fmin(gap, next) : gap;
        symmetric = symmetric && c[k] == -c[255 - k] && (k < 128 || c[k] > 0);
    }
    const double half = sqrt((double)dim) / 2, length = .999 * 0x1p31 / (WORDS_QUERY + half) - half;
    const double levels = largest > 0 ? fmin(WORDS_MOST / largest, length / words_reach(c, threshold, dim, largest)) : 0;
    book->step = (float)(1 / levels);
    book->most = 0;
    book->form = !(levels * gap * .07 >= 1) || !isfinite(book->step) ? WORDS_FLOATS : symmetric ? WORDS_SYMMETRIC : WORDS_ANY;
    for (unsigned s = 0; s < 256; s++) {
        const float x = c[words_order(s)];
        const int magnitude = (int)(fabs((double)x) * levels);
        book->c[s] = x;
        book->most = fmaxf(book->most, (float)magnitude + .5f);
        w[s] = (uint16_t)(x >= 0 ? magnitude : ~magnitude);
        if (s < 128)
            memcpy(&bits[s], &x, sizeof x);
    }
    for (size_t j = 0; j < 64; j++) {
        const uint16_t q[4] = { w[j], w[64 + j], w[128 + j], w[192 + j] };
        book->word[0][j] = q[0], book->word[1][j] = q[0] ^ q[1], book->word[2][j] = q[0] ^ q[2];
        book->word[3][j] = q[0] ^ q[1] ^ q[2] ^ q[3];
    }
    for (size_t j = 0; j < 32; j++) {
        book->bits[0][j] = bits[j], book->bits[1][j] = bits[j] ^ bits[32 + j], book->bits[2][j] = bits[j] ^ bits[64 + j];
        book->bits[3][j] = bits[j] ^ bits[32 + j] ^ bits[64 + j] ^ bits[96 + j];
    }
    words_thresholds(book, threshold);
}

/* ---- Codes of sixteen coordinates -------------------------------------------------------------------- */

LANES_INLINE __m512 words_of_32(const float *table, __m512i at)
{
    return _mm512_permutex2var_ps(_mm512_load_ps(table), at, _mm512_load_ps(table + 16));
}

/* codebook_index, stored. Entries of longer tables are chosen by the first decisions, which are the index's first bits. */
LANES_INLINE __m512i words_index(const words_book *book, __m512 x)
{
    const __mmask16 upper = _mm512_cmp_ps_mask(x, _mm512_set1_ps(book->eight[15]), _CMP_GE_OQ);
    __m512i index = _mm512_maskz_set1_epi32(upper, 16);
    __mmask16 above = 0, second = 0;
    LANES_UNROLL
    for (int step = 8; step; step >>= 1) {
        above = _mm512_cmp_ps_mask(x, words_of_32(book->eight, _mm512_add_epi32(index, _mm512_set1_epi32(step - 1))), _CMP_GE_OQ);
        second = step == 8 ? above : second;
        index = _mm512_mask_add_epi32(index, above, index, _mm512_set1_epi32(step));
    }
    above = _mm512_cmp_ps_mask(x, words_of_32(book->four, index), _CMP_GE_OQ);
    index = _mm512_mask_add_epi32(_mm512_add_epi32(index, index), above, _mm512_add_epi32(index, index), _mm512_set1_epi32(1));
    const __m512 two = _mm512_mask_blend_ps(upper, words_of_32(book->two, index), words_of_32(book->two + 32, index));
    above = _mm512_cmp_ps_mask(x, two, _CMP_GE_OQ);
    index = _mm512_mask_add_epi32(_mm512_add_epi32(index, index), above, _mm512_add_epi32(index, index), _mm512_set1_epi32(1));
    const __m512 low = _mm512_mask_blend_ps(second, words_of_32(book->one, index), words_of_32(book->one + 32, index));
    const __m512 high = _mm512_mask_blend_ps(second, words_of_32(book->one + 64, index), words_of_32(book->one + 96, index));
    above = _mm512_cmp_ps_mask(x, _mm512_mask_blend_ps(upper, low, high), _CMP_GE_OQ);
    index = _mm512_mask_add_epi32(_mm512_add_epi32(index, index), above, _mm512_add_epi32(index, index), _mm512_set1_epi32(1));
    return _mm512_xor_si512(index, _mm512_mask_blend_epi32(upper, _mm512_set1_epi32(255), _mm512_set1_epi32(128)));
}

LANES_INLINE __m512i words_bits(const words_book *book, size_t i, __m512i index)
{
    return _mm512_permutex2var_epi32(_mm512_load_si512(book->bits[i]), index, _mm512_load_si512(book->bits[i] + 16));
}

/* Centroids of stored codes, which are less than 256. */
LANES_INLINE __m512 words_centroid(const words_book *book, __m512i index)
{
    if (book->form != WORDS_SYMMETRIC)
        return _mm512_i32gather_ps(index, book->c, 4);
    const __mmask16 a = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), b = _mm512_test_epi32_mask(index, _mm512_set1_epi32(64));
    const __m512i x = _mm512_ternarylogic_epi32(words_bits(book, 0, index), _mm512_maskz_mov_epi32(a, words_bits(book, 1, index)),
                                                _mm512_maskz_mov_epi32(b, words_bits(book, 2, index)), 0x96);
    const __m512i sign = _mm512_and_si512(_mm512_slli_epi32(index, 24), _mm512_set1_epi32(INT32_MIN));
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(x, _mm512_maskz_mov_epi32(a & b, words_bits(book, 3, index)), sign, 0x96));
}

/* ---- Queries ------------------------------------------------------------------------------------------- */

/* A query as words in the place of packed_query's bytes, of four coordinates the first, third, second and fourth. scale: of a word;
 * bias[0]: half of their sum. What is not finite is as there. dim: a multiple of 16. */
static inline void words_query(const float *y, size_t dim, packed_query_head *q)
{
    int16_t *word = (int16_t *)(void *)(q + 1);
    const packed_range r = packed_range_of(y, dim);
    const float length = sqrtf(r.square), levels = length > 0 ? WORDS_QUERY / length : 0;
    __m512i sum = _mm512_setzero_si512();
    for (size_t j = 0; j < dim; j += LANES) {
        const __m512i v = _mm512_maskz_cvtps_epi32(r.finite, _mm512_mul_ps(packed_unit(&r, y + j), _mm512_set1_ps(levels)));
        const __m256i words = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(_mm512_cvtepi32_epi16(v), 0xd8), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(word + j), words);
        sum = _mm512_add_epi32(sum, v);
    }
    q->planes = 1;
    q->scale = r.finite != 0xffff ? NAN : length > 0 ? r.most * (length / WORDS_QUERY) : 0;
    q->bias[0] = _mm512_reduce_add_epi32(sum) / 2;
    q->bias[1] = 0;
}

/* ---- Loops --------------------------------------------------------------------------------------------- */

/* As packed_score_op, of nq queries (1, 2, 4 or 8) as words_query makes them, with the query's floats behind packed_query_bytes. */
typedef void words_score_op(const uint8_t *const group[2], size_t dim, const words_book *book, size_t ahead,
                            const packed_query_head *const *q, __m512 (*out)[2]);
words_score_op *words_score(uint32_t form, size_t nq);

/* As packed_mix_op, of weights x, 128 floats of any sign for each of nq queries; one that is not finite makes all NaN. */
typedef void words_mix_op(const uint8_t *const planes[UNITS], size_t dim, const words_book *book, size_t ahead,
                          const __m512 (*x)[CHUNK / LANES], float *acc, size_t stride);
words_mix_op *words_mix(uint32_t form, size_t nq);

#endif
