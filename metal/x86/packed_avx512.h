/* packed_avx512.h - codes of 1 to 4 or 8 bits in units of 32 vectors, laid out so that vpdpbusd sums whole registers of them.
 * A unit is the norms of its vectors, then one or two planes of codes; its bytes per vector are the scalar code's.
 *
 * Keys: a group of 16 vectors after the other, a vector a lane. A row is 64 bytes: lane v holds a dword of vector v, field k of byte j
 * the code of coordinate 4 (F r + k) + j, where F = 8 / bits fields are a byte. A score is then a sum down the rows.
 * Values: a coordinate a lane, four vectors the bytes of its dword, fields of 16 coordinates: field k of a row's lane l and byte j is
 * coordinate D + 16 k + l of vector 4 g + j; the eight groups g of a unit follow each other. A mix is then a sum over groups. A row
 * that the dimension does not fill has 8 lanes instead of 16 (2 bits only). One-bit planes are masks: a bit per coordinate and vector.
 * Three bits are a plane of two and a plane of one. The dimension is a multiple of 32. For files *_avx512.c only. */
#ifndef KVANT_PACKED_AVX512_H
#define KVANT_PACKED_AVX512_H

#include "metal/x86/lanes_avx512.h"

/* a chunk is what a mix takes at once */
enum { UNIT = 32, GROUPS = UNIT / 4, UNITS = 4, CHUNK = UNITS * UNIT, PACKED_DIM_MAX = 512 };

/* A codebook as bytes: centroid k is about step * level[k]. */
typedef struct { float step; int8_t level[16]; } packed_levels;

/* Bytes of a plane of b bits for n vectors. */
static inline size_t packed_bytes(size_t dim, unsigned b, size_t n) { return dim * b * n / 8; }

/* Whether codes of so many bits can be laid out so. */
static inline bool packed_fits(size_t dim, unsigned b) { return dim % 32 == 0 && dim <= PACKED_DIM_MAX && (b <= 4 || b == 8); }

/* Level 127 at the largest centroid leaves rounding errors of up to half a step; other steps meet the centroids better. Of 32
 * steps, up to 1/96 of the largest, the one of the least error, each of n centroids by the share of coordinates that it has. */
static inline packed_levels packed_levels_fit(const float *c, const double *share, size_t n)
{
    double largest = 0, least = INFINITY;
    packed_levels best = { 1, { 0 } };
    for (size_t k = 0; k < n; k++)
        largest = fmax(largest, fabs((double)c[k]));
    for (int top = 127; top > 95 && largest > 0; top--) {
        packed_levels p = { (float)(largest / top), { 0 } };
        double error = 0;
        for (size_t k = 0; k < n; k++) {
            p.level[k] = (int8_t)lrint(c[k] / (double)p.step);
            const double e = c[k] - (double)p.step * p.level[k];
            error += share[k] * e * e;
        }
        if (error < least)
            least = error, best = p;
    }
    return best;
}

/* Shares of the 2^b cells between thresholds, of a Gaussian of the variance 1 / dim. */
static inline void packed_shares(const float *threshold, unsigned b, size_t dim, double *share)
{
    const size_t n = (size_t)1 << b;
    const double root = sqrt((double)dim / 2);
    for (size_t k = 0; k < n; k++)
        share[k] = ((k + 1 < n ? erf(threshold[k] * root) : 1) - (k ? erf(threshold[k - 1] * root) : -1)) / 2;
}

static inline packed_levels packed_levels_of(const float *c, const float *threshold, unsigned b, size_t dim)
{
    double share[16];
    packed_shares(threshold, b, dim, share);
    return packed_levels_fit(c, share, (size_t)1 << b);
}

static inline __m512i packed_table(const packed_levels *p, int offset)
{
    __m128i level = _mm_loadu_si128((const __m128i *)(const void *)p->level);
    return _mm512_broadcast_i32x4(_mm_add_epi8(level, _mm_set1_epi8((char)offset)));
}

/* Field k of b bits of every byte; the compiler knows both. */
LANES_INLINE __m512i packed_field(__m512i row, unsigned b, unsigned k)
{
    if (b == 8)
        return row;
    return _mm512_and_si512(k ? _mm512_srli_epi16(row, b * k) : row, _mm512_set1_epi8((char)((1u << b) - 1)));
}

/* Levels of codes as bytes, by a table, or, at 8 bits, the codes themselves: from 0 (less 128: `offset` 128), or with a sign (0). */
LANES_INLINE __m512i packed_level(__m512i table, __m512i codes, unsigned b, int offset)
{
    if (b < 8)
        return _mm512_shuffle_epi8(table, codes);
    return offset ? codes : _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80));
}

/* ---- Keys ------------------------------------------------------------------------------------------- */

/* Rows of a group's plane, 64 bytes each. */
LANES_INLINE size_t packed_rows(size_t dim, unsigned b) { return dim * b / 32; }

/* Fields of coordinates 32 R + 4 k ... 32 R + 4 k + 3 of a plane's vectors, k = 0 ... 7, as bytes: such 32 coordinates are b rows. */
LANES_INLINE __m512i packed_key_field(const uint8_t *plane, unsigned b, size_t R, unsigned k)
{
    return packed_field(_mm512_loadu_si512(plane + (R * b + k * b / 8) * 64), b, k % (8 / b));
}

/* Their codes: 3 bits are a plane of 2 and one of 1. */
LANES_INLINE __m512i packed_key(const uint8_t *group, size_t dim, unsigned b, size_t R, unsigned k)
{
    if (b != 3)
        return packed_key_field(group, b, R, k);
    const __m512i high = packed_key_field(group + packed_rows(dim, 2) * 64, 1, R, k);
    return _mm512_or_si512(packed_key_field(group, 2, R, k), _mm512_slli_epi16(high, 2));
}

/* Writes codes index [dim][16] of a group's lanes in the mask. */
LANES_INLINE void packed_key_plane(uint8_t *group, const int32_t *index, size_t dim, unsigned b, unsigned shift, __mmask16 lanes)
{
    const size_t fields = 8 / b, rows = packed_rows(dim, b);
    const __m512i mask = _mm512_set1_epi32((1 << b) - 1);
    for (size_t r = 0; r < rows; r++) {
        __m512i word = _mm512_setzero_si512();
        for (size_t k = 0; k < fields; k++)
            for (size_t j = 0; j < 4; j++) {
                __m512i code = _mm512_load_si512(index + (4 * (fields * r + k) + j) * LANES);
                code = _mm512_and_si512(_mm512_srli_epi32(code, shift), mask);
                word = _mm512_or_si512(word, _mm512_slli_epi32(code, (unsigned)(8 * j + b * k)));
            }
        _mm512_mask_storeu_epi32(group + r * 64, lanes, word);
    }
}

LANES_INLINE void packed_key_store(uint8_t *group, const int32_t *index, size_t dim, unsigned b, __mmask16 lanes)
{
    packed_key_plane(group, index, dim, b == 3 ? 2 : b, 0, lanes);
    if (b == 3)
        packed_key_plane(group + packed_rows(dim, 2) * 64, index, dim, 1, 2, lanes);
}

/* The reverse, of all lanes. */
LANES_INLINE void packed_key_load(const uint8_t *group, size_t dim, unsigned b, int32_t *index)
{
    const __m512i mask = _mm512_set1_epi32(255);
    for (size_t R = 0; R < dim / 32; R++)
        LANES_UNROLL
        for (unsigned k = 0; k < 8; k++) {
            const __m512i codes = packed_key(group, dim, b, R, k);
            LANES_UNROLL
            for (unsigned j = 0; j < 4; j++)
                _mm512_store_si512(index + (32 * R + 4 * k + j) * LANES, _mm512_and_si512(_mm512_srli_epi32(codes, 8 * j), mask));
        }
}

/* A query as bytes: y is about scale * (256 high + low) (two planes) or scale * high. bias: -128 times the sums of both. */
typedef struct { float scale; uint32_t planes; int32_t bias[2]; int8_t pad[48]; } packed_query_head;
static inline size_t packed_query_bytes(size_t dim) { return sizeof(packed_query_head) + 2 * dim; }
static inline const int8_t *packed_query_plane(const packed_query_head *q, size_t dim, size_t plane)
{
    return (const int8_t *)(q + 1) + plane * dim;
}

/* What makes a query's coordinates numbers up to 1, y times up times inverse, and their sum of squares; `up` is for coordinates so
 * small that 1 / most is no float. finite: lanes of which all coordinates are. dim: a multiple of 16. */
typedef struct { float most, up, inverse, square; __mmask16 finite; } packed_range;
LANES_INLINE __m512 packed_unit(const packed_range *r, const float *y)
{
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(y), _mm512_set1_ps(r->up)), _mm512_set1_ps(r->inverse));
}
LANES_INLINE packed_range packed_range_of(const float *y, size_t dim)
{
    packed_range r = { .finite = 0xffff };
    __m512 top = _mm512_setzero_ps(), square = top;
    for (size_t j = 0; j < dim; j += LANES) {
        const __m512 x = _mm512_abs_ps(_mm512_loadu_ps(y + j));
        r.finite &= _mm512_cmp_ps_mask(x, _mm512_set1_ps(FLT_MAX), _CMP_LE_OQ);
        top = _mm512_max_ps(top, x);
    }
    r.most = _mm512_reduce_max_ps(top);
    r.up = r.most < 0x1p-60f ? 0x1p80f : 1;
    r.inverse = r.most > 0 ? 1 / (r.most * r.up) : 0;
    for (size_t j = 0; j < dim; j += LANES) {
        const __m512 x = packed_unit(&r, y + j);
        square = _mm512_fmadd_ps(x, x, square);
    }
    r.square = _mm512_reduce_add_ps(square);
    return r;
}

/* One plane's rounding adds (2 max / 254)^2 / 12 per coordinate to what a score's error is, D |q|^2 / dim, on average. It is enough
 * where that is within `allowed` (a share of |q|^2); otherwise two planes are, whose own is 65536 times less. A query that is not
 * finite gets the scale NaN, and so do its scores. dim: a multiple of 16. */
static inline void packed_query(const float *y, size_t dim, double allowed, packed_query_head *q)
{
    int8_t *high = (int8_t *)(q + 1), *low = high + dim;
    const packed_range r = packed_range_of(y, dim);
    q->planes = 4. / (254 * 254) / 12 * (double)dim <= allowed * (double)r.square ? 1 : 2;
    const float levels = q->planes == 1 ? 127 : 32512;
    __m512i sum[2] = { _mm512_setzero_si512(), _mm512_setzero_si512() };
    for (size_t j = 0; j < dim; j += LANES) {
        const __m512i v = _mm512_maskz_cvtps_epi32(r.finite, _mm512_mul_ps(packed_unit(&r, y + j), _mm512_set1_ps(levels)));
        __m512i h = v, l = _mm512_setzero_si512();
        if (q->planes == 2) {
            h = _mm512_srai_epi32(_mm512_add_epi32(v, _mm512_set1_epi32(128)), 8);
            l = _mm512_sub_epi32(v, _mm512_slli_epi32(h, 8));
        }
        _mm_storeu_si128((__m128i *)(void *)(high + j), _mm512_cvtepi32_epi8(h));
        _mm_storeu_si128((__m128i *)(void *)(low + j), _mm512_cvtepi32_epi8(l));
        sum[0] = _mm512_add_epi32(sum[0], h);
        sum[1] = _mm512_add_epi32(sum[1], l);
    }
    q->scale = r.finite == 0xffff ? r.most / levels : NAN;
    for (int p = 0; p < 2; p++)
        q->bias[p] = -128 * _mm512_reduce_add_epi32(sum[p]);
}

/* Products of nq queries (1, 2, 4 or 8) with two groups of 16 keys of b bits, norms and step apart: levels are bytes from 0 to 255,
 * the queries' bytes have signs, and the bias takes the levels' offset of 128 away. planes: of any of the queries; eight have one.
 * ahead: bytes from here to what is read next. `out` [nq][2] of sixteen products each. */
typedef void packed_score_op(const uint8_t *const group[2], size_t dim, const packed_levels *levels, size_t ahead,
                             const packed_query_head *const *q, __m512 (*out)[2]);
packed_score_op *packed_score(unsigned b, size_t nq, size_t planes);

/* ---- Values ------------------------------------------------------------------------------------------ */

/* A unit's rows of b bits: coordinates `base` and on, `lanes` to a field. Three bits go by the rows of two, one bit by sixteens. */
typedef struct { size_t base, lanes; } packed_row;
LANES_INLINE size_t packed_fields(unsigned b) { return b == 1 ? 1 : b == 3 ? 4 : 8 / b; }
LANES_INLINE packed_row packed_row_of(size_t dim, unsigned b, size_t d)
{
    const size_t fields = packed_fields(b), wide = 16 * fields, base = d / wide * wide;
    return (packed_row) { base, dim - base < wide ? (dim - base) / fields : 16 };
}

/* A mask of four vectors' bits for the coordinates of field k. */
LANES_INLINE __mmask64 packed_bits(const uint8_t *masks, packed_row row, unsigned k, size_t g)
{
    const size_t d = row.base + k * row.lanes;
    uint64_t bits = 0;
    memcpy(&bits, masks + d / 16 * 64 + g * 8 + d % 16 / 2, row.lanes == 16 ? 8 : 4);
    return bits;
}

/* Codes of field k of a row, four vectors each, as bytes: group g of a unit. */
LANES_INLINE __m512i packed_value(const uint8_t *planes, size_t dim, unsigned b, packed_row row, unsigned k, size_t g)
{
    if (b == 1)
        return _mm512_maskz_set1_epi8(packed_bits(planes, row, k, g), 1);
    const unsigned width = b == 3 ? 2 : b;
    const uint8_t *from = planes + packed_bytes(row.base, width, UNIT) + g * 4 * row.lanes;
    const __m512i codes = row.lanes == 16 ? _mm512_loadu_si512(from)
        : _mm512_maskz_loadu_epi32((__mmask16)((1u << row.lanes) - 1), from);
    const __m512i low = packed_field(codes, width, k);
    if (b != 3)
        return low;
    const __mmask64 high = packed_bits(planes + packed_bytes(dim, 2, UNIT), row, k, g);
    return _mm512_or_si512(low, _mm512_maskz_set1_epi8(high, 4));
}

/* Turns around four registers of dwords [g][16 l] and [4 q + i][g], a quarter of a register each: what 16 coordinates of 16 vectors
 * are by groups of four vectors, and by coordinates. It is its own reverse. */
LANES_INLINE void packed_turn(__m512i r[4], bool by_group)
{
    const __m512i within = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    if (!by_group)
        LANES_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = _mm512_permutexvar_epi32(within, r[i]);
    const __m512i a = _mm512_shuffle_i32x4(r[0], r[1], 0x88), b = _mm512_shuffle_i32x4(r[0], r[1], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(r[2], r[3], 0x88), d = _mm512_shuffle_i32x4(r[2], r[3], 0xdd);
    r[0] = _mm512_shuffle_i32x4(a, c, 0x88), r[1] = _mm512_shuffle_i32x4(b, d, 0x88);
    r[2] = _mm512_shuffle_i32x4(a, c, 0xdd), r[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
    if (by_group)
        LANES_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = _mm512_permutexvar_epi32(within, r[i]);
}

/* Codes index [dim][16] of half a unit's vectors from what it holds; `half` is 0 or 1. */
LANES_INLINE void packed_value_load(const uint8_t *planes, size_t dim, unsigned b, size_t half, int32_t *index)
{
    packed_row row;
    for (size_t d = 0; d < dim; d += row.lanes * packed_fields(b)) {
        row = packed_row_of(dim, b, d);
        LANES_UNROLL
        for (unsigned k = 0; k < packed_fields(b); k++) {
            __m512i r[4];
            LANES_UNROLL
            for (size_t g = 0; g < 4; g++)
                r[g] = packed_value(planes, dim, b, row, k, 4 * half + g);
            packed_turn(r, true);
            for (size_t l = 0; l < row.lanes; l++) {
                uint8_t codes[64];
                _mm512_storeu_si512(codes, r[l / 4]);
                _mm512_store_si512(index + (d + k * row.lanes + l) * LANES,
                                   _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + l % 4 * 16))));
            }
        }
    }
}

/* The lanes of a mask as bits or bytes of group g. */
static inline __mmask64 packed_nibbles(__mmask16 lanes, size_t g) { return (lanes >> 4 * g & 15) * 0x1111111111111111u; }

/* Bit `bit` of codes index [dim][16] into a plane of masks, for the lanes of the mask. */
static inline void packed_mask_store(uint8_t *masks, const int32_t *index, size_t dim, unsigned bit, size_t half, __mmask16 lanes)
{
    for (size_t d = 0; d < dim; d += 16) {
        uint64_t bits[4] = { 0, 0, 0, 0 };
        for (size_t l = 0; l < 16; l++) {
            const uint32_t set = _mm512_test_epi32_mask(_mm512_load_si512(index + (d + l) * LANES), _mm512_set1_epi32(1 << bit));
            for (size_t g = 0; g < 4; g++)
                bits[g] |= (uint64_t)(set >> 4 * g & 15) << 4 * l;
        }
        for (size_t g = 0; g < 4; g++) {
            uint8_t *to = masks + d / 16 * 64 + (4 * half + g) * 8;
            uint64_t old;
            memcpy(&old, to, sizeof old);
            old = (old & ~packed_nibbles(lanes, g)) | (bits[g] & packed_nibbles(lanes, g));
            memcpy(to, &old, sizeof old);
        }
    }
}

/* Writes codes index [dim][16] of half a unit's lanes in the mask. */
LANES_INLINE void packed_value_store(uint8_t *planes, const int32_t *index, size_t dim, unsigned b, size_t half, __mmask16 lanes)
{
    if (b == 1 || b == 3)
        packed_mask_store(planes + (b == 3 ? packed_bytes(dim, 2, UNIT) : 0), index, dim, b - 1, half, lanes);
    if (b == 1)
        return;
    const unsigned width = b == 3 ? 2 : b;
    const __m512i mask = _mm512_set1_epi32((1 << width) - 1);
    packed_row row;
    for (size_t d = 0; d < dim; d += row.lanes * packed_fields(b)) {
        uint8_t codes[4][64] = { { 0 } };
        __m512i r[4];
        row = packed_row_of(dim, b, d);
        for (size_t l = 0; l < row.lanes; l++) {
            __m512i byte = _mm512_setzero_si512();
            LANES_UNROLL
            for (unsigned k = 0; k < packed_fields(b); k++) {
                const __m512i code = _mm512_and_si512(_mm512_load_si512(index + (d + k * row.lanes + l) * LANES), mask);
                byte = _mm512_or_si512(byte, _mm512_slli_epi32(code, width * k));
            }
            _mm_storeu_si128((__m128i *)(void *)(codes[l / 4] + l % 4 * 16), _mm512_cvtepi32_epi8(byte));
        }
        LANES_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = _mm512_loadu_si512(codes[i]);
        packed_turn(r, false);
        LANES_UNROLL
        for (size_t g = 0; g < 4; g++)
            _mm512_mask_storeu_epi8(planes + packed_bytes(d, width, UNIT) + (4 * half + g) * 4 * row.lanes,
                                    packed_nibbles(lanes, g) & (row.lanes == 16 ? ~0ull : (1ull << 4 * row.lanes) - 1), r[g]);
    }
}

/* Weights of a chunk's 128 vectors as bytes without sign: w is about scale * (256 high + low) (two planes) or scale * high, and of the
 * few vectors at[] `more` than that. */
enum { PACKED_MORE = 4 };
typedef struct {
    _Alignas(64) uint8_t high[CHUNK], low[CHUNK];
    float scale, more[PACKED_MORE];
    uint8_t at[PACKED_MORE];
    uint32_t planes, n_more;
} packed_weights;

/* What stands out above `clip`; false: more than PACKED_MORE do. */
static inline bool packed_stand_out(const __m512 x[CHUNK / LANES], float clip, packed_weights *out)
{
    uint32_t n = 0;
    for (int i = 0; i < CHUNK / LANES; i++) {
        uint32_t above = _mm512_cmp_ps_mask(x[i], _mm512_set1_ps(clip), _CMP_GT_OQ);
        if (n + (uint32_t)__builtin_popcount(above) > PACKED_MORE)
            return false;
        if (!above)
            continue;
        float w[LANES];
        _mm512_storeu_ps(w, x[i]);
        for (; above; above &= above - 1, n++) {
            const int lane = __builtin_ctz(above);
            out->at[n] = (uint8_t)(i * LANES + lane);
            out->more[n] = w[lane] - clip;
        }
    }
    out->n_more = n;
    return true;
}

/* Numbers from 0 to 255 as bytes. */
LANES_INLINE void packed_bytes_of(const __m512i v[CHUNK / LANES], uint8_t *bytes)
{
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    LANES_UNROLL
    for (int i = 0; i < CHUNK / LANES; i += 4) {
        const __m512i a = _mm512_packus_epi32(v[i], v[i + 1]), b = _mm512_packus_epi32(v[i + 2], v[i + 3]);
        _mm512_store_si512(bytes + i * LANES, _mm512_permutexvar_epi32(in_order, _mm512_packus_epi16(a, b)));
    }
}

/* The largest of 128 weights, and the sum of their squares, of up to four queries. */
LANES_INLINE void packed_survey(const __m512 (*x)[CHUNK / LANES], size_t nq, float top[4], float sum[4])
{
    __m512 most[4], square[4];
    LANES_UNROLL
    for (size_t i = 0; i < 4; i++)
        most[i] = square[i] = _mm512_setzero_ps();
    LANES_UNROLL
    for (int k = 0; k < CHUNK / LANES; k++)
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++) {
            most[i] = _mm512_max_ps(most[i], x[i][k]);
            square[i] = _mm512_fmadd_ps(x[i][k], x[i][k], square[i]);
        }
    _mm_storeu_ps(top, lanes_largest(most[0], most[1], most[2], most[3]));
    _mm_storeu_ps(sum, lanes_sums(square[0], square[1], square[2], square[3]));
}

/* x: 128 weights, 0 or more and finite, their largest and the sum of their squares. Rounding to steps of s adds 128 s^2 / 12 to the
 * squared length of an error that is D times that sum, and `allowed`, a share of it, says how large s may be. Weights above 255 s, of
 * which there are 128 / (12 * 255^2 allowed) at most (3 at 4 bits), have the rest apart; where they are many, as at 8 bits, two planes
 * are taken, whose own rounding is 65536 times less. */
LANES_INLINE void packed_weigh_one(const __m512 x[CHUNK / LANES], float top, float sum, float allowed, packed_weights *out)
{
    __m512i v[CHUNK / LANES];
    const float clip = 255 * sqrtf((float)(12.0 / CHUNK) * allowed * sum);     /* where squares underflow, 0: two planes will do */
    out->n_more = 0;
    out->planes = top <= clip || packed_stand_out(x, clip, out) ? 1 : 2;
    const float largest = out->n_more ? clip : top, levels = out->planes == 1 ? 255 : 65535;
    out->scale = largest / levels;
    const __m512 by = _mm512_set1_ps(largest > 0x1p-100f ? levels / largest : 0);      /* less than that is nothing */
    LANES_UNROLL
    for (int i = 0; i < CHUNK / LANES; i++)
        v[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_min_ps(x[i], _mm512_set1_ps(largest)), by));
    if (out->planes == 1) {
        packed_bytes_of(v, out->high);
        return;
    }
    __m512i low[CHUNK / LANES];
    LANES_UNROLL
    for (int i = 0; i < CHUNK / LANES; i++) {
        low[i] = _mm512_and_si512(v[i], _mm512_set1_epi32(255));
        v[i] = _mm512_srli_epi32(v[i], 8);
    }
    packed_bytes_of(v, out->high);
    packed_bytes_of(low, out->low);
}

/* Those of nq queries, a constant. */
LANES_INLINE void packed_weigh(const __m512 (*x)[CHUNK / LANES], size_t nq, float allowed, packed_weights *out)
{
    for (size_t first = 0; first < nq; first += 4) {
        float top[4], sum[4];
        const size_t n = nq < 4 ? nq : 4;
        packed_survey(x + first, n, top, sum);
        for (size_t i = 0; i < n; i++)
            packed_weigh_one(x[first + i], top[i], sum[i], allowed, &out[first + i]);
    }
}

/* Adds to acc [dim] one vector of a unit, the v-th of 32, times weight. */
typedef void packed_add_op(const uint8_t *planes, size_t dim, const packed_levels *levels, size_t v, float weight, float *acc);
packed_add_op *packed_add(unsigned b);

/* Adds to acc, nq rows (1, 2, 4 or 8) of dim floats, `stride` apart, the sums over a chunk's units (`planes`: where their codes of b
 * bits begin; NULL behind the last) of weights times levels times step. n_planes: of any of the weights; eight have one. ahead: as
 * above. */
typedef void packed_mix_op(const uint8_t *const planes[UNITS], size_t dim, const packed_levels *levels, float step, size_t ahead,
                           const packed_weights *w, float *acc, size_t stride);
packed_mix_op *packed_mix(unsigned b, size_t nq, size_t n_planes);

#endif
