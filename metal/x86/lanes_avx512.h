/* lanes_avx512.h - sixteen vectors at a time, one in each lane: lengths, directions, rotations and codebooks, vertically.
 * A block is float [dim][16], aligned to 64: row j holds coordinate j of all sixteen. What the scalar code adds in a fixed order is
 * added in that order here, so that all but the faster of the Haar products have its bits. For files *_avx512.c only. */
#ifndef KVANT_LANES_AVX512_H
#define KVANT_LANES_AVX512_H

#include "algorithms/shared/rotation.h"
#include "metal/x86/inline.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* The lanes first ... first+n-1. */
static inline __mmask16 lanes_mask(size_t first, size_t n) { return (__mmask16)(((1u << n) - 1) << first); }

static inline void lanes_transpose(__m512 r[16])
{
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; k++) {
            const __m512d a = _mm512_castps_pd(t[i + k]), b = _mm512_castps_pd(t[i + 2 + k]);
            r[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 4; i++) {
        const __m512 a = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88), d = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
        t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

/* Rows of x, `stride` floats apart, dim of each, into lanes first ... first+n-1 of a block; the other lanes become zero. dim is a
 * multiple of 8. */
static inline void lanes_load_rows(const float *x, size_t stride, size_t first, size_t n, size_t dim, float *block)
{
    for (size_t j = 0; j < dim; j += LANES) {
        const __mmask16 columns = lanes_mask(0, dim - j < LANES ? dim - j : LANES);
        __m512 r[16];
        for (size_t i = 0; i < LANES; i++) {
            r[i] = i >= first && i < first + n ? _mm512_maskz_loadu_ps(columns, x + (i - first) * stride + j)
                                                   : _mm512_setzero_ps();
            _mm_prefetch((const char *)((uintptr_t)x + ((LANES + i) * stride + j) * sizeof *x), _MM_HINT_T0);
        }
        lanes_transpose(r);
        for (size_t k = 0; k < LANES && j + k < dim; k++)
            _mm512_store_ps(block + (j + k) * LANES, r[k]);
    }
}

/* The same of x [n][dim]. */
static inline void lanes_load(const float *x, size_t first, size_t n, size_t dim, float *block)
{
    lanes_load_rows(x, dim, first, n, dim, block);
}

/* The reverse: lanes first ... first+n-1 of a block to x [n][dim]; past: whole rows go past the caches, see lanes_past. */
LANES_INLINE void lanes_store_rows(const float *block, size_t first, size_t n, size_t dim, bool past, float *x)
{
    for (size_t j = 0; j < dim; j += LANES) {
        const __mmask16 columns = lanes_mask(0, dim - j < LANES ? dim - j : LANES);
        __m512 r[16];
        for (size_t k = 0; k < LANES; k++)
            r[k] = j + k < dim ? _mm512_load_ps(block + (j + k) * LANES) : _mm512_setzero_ps();
        lanes_transpose(r);
        for (size_t i = first; i < first + n; i++)
            if (past)
                _mm512_stream_ps(x + (i - first) * dim + j, r[i]);
            else
                _mm512_mask_storeu_ps(x + (i - first) * dim + j, columns, r[i]);
    }
}

static inline void lanes_store(const float *block, size_t first, size_t n, size_t dim, float *x)
{
    lanes_store_rows(block, first, n, dim, false, x);
}

/* Whether the op `decode` writes its n vectors x past the caches: so much has left a core's own when it is read again, and a store
 * through them would first read what it overwrites. Needs whole, aligned lines; lanes_past_end is its end. */
enum { LANES_PAST = 16 << 20 };    /* bytes */
static inline bool lanes_past(const float *x, size_t n, size_t dim)
{
    return n >= LANES_PAST / sizeof *x / dim && dim % LANES == 0 && (uintptr_t)x % 64 == 0;
}

/* Sixteen lanes of a range's vectors for the op `decode`; each way has a loop of its own. */
static inline void lanes_store_decoded(const float *block, size_t first, size_t n, size_t dim, bool past, float *x)
{
    if (past)
        lanes_store_rows(block, first, n, dim, true, x);
    else
        lanes_store_rows(block, first, n, dim, false, x);
}

/* Other threads see what follows after what went past the caches. */
static inline void lanes_past_end(bool past)
{
    if (past)
        _mm_sfence();
}

/* Sixteen doubles. */
typedef struct { __m512d low, high; } lanes_double;

static inline lanes_double lanes_widen(__m512 x)
{
    return (lanes_double) { _mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                            _mm512_cvtps_pd(_mm512_castps512_ps256(_mm512_shuffle_f32x4(x, x, 0x4e))) };
}

static inline __m512 lanes_narrow(lanes_double x)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.low)), _mm512_cvtpd_ps(x.high), 1);
}

/* sum + a b, of floats: their product is exact in double, so that this rounds as often as a product and a sum. */
static inline lanes_double lanes_add_product(lanes_double sum, lanes_double a, lanes_double b)
{
    return (lanes_double) { _mm512_fmadd_pd(a.low, b.low, sum.low), _mm512_fmadd_pd(a.high, b.high, sum.high) };
}

/* norm_of and normalise of direction.c: lengths, NaN where a coordinate is not finite, and for the latter the block becomes
 * directions. */
static inline __m512d lanes_root(__m512d square)
{
    const __mmask8 finite = _mm512_cmp_pd_mask(square, _mm512_set1_pd(INFINITY), _CMP_LT_OQ);
    return _mm512_mask_blend_pd(finite, _mm512_set1_pd((double)NAN), _mm512_sqrt_pd(square));
}

static inline __m512d lanes_inverse(__m512d norm)
{
    const __mmask8 some = _mm512_cmp_pd_mask(norm, _mm512_setzero_pd(), _CMP_GT_OQ);
    return _mm512_maskz_div_pd(some, _mm512_set1_pd(1), norm);
}

static inline lanes_double lanes_norm(const float *block, size_t dim)
{
    lanes_double square = { _mm512_setzero_pd(), _mm512_setzero_pd() };
    for (size_t j = 0; j < dim; j++) {
        const lanes_double x = lanes_widen(_mm512_load_ps(block + j * LANES));
        square = lanes_add_product(square, x, x);
    }
    return (lanes_double) { lanes_root(square.low), lanes_root(square.high) };
}

static inline lanes_double lanes_normalise(float *block, size_t dim)
{
    const lanes_double norm = lanes_norm(block, dim);
    const __m512d low = lanes_inverse(norm.low), high = lanes_inverse(norm.high);
    const __mmask16 some = (__mmask16)(_mm512_cmp_pd_mask(low, _mm512_setzero_pd(), _CMP_GT_OQ) |
                                       _mm512_cmp_pd_mask(high, _mm512_setzero_pd(), _CMP_GT_OQ) << 8);
    for (size_t j = 0; j < dim; j++) {
        const lanes_double x = lanes_widen(_mm512_load_ps(block + j * LANES));
        const lanes_double u = { _mm512_mul_pd(x.low, low), _mm512_mul_pd(x.high, high) };
        _mm512_store_ps(block + j * LANES, _mm512_maskz_mov_ps(some, lanes_narrow(u)));
    }
    return norm;
}

/* ---- Hadamard -------------------------------------------------------------------------------------- */

/* Two stages at once, of halves `half` and 2 half, on every four rows that they join. */
LANES_INLINE void lanes_hadamard_four(float *row, size_t half)
{
    __m512 r[4], s[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm512_load_ps(row + i * half * LANES);
    s[0] = _mm512_add_ps(r[0], r[1]), s[1] = _mm512_sub_ps(r[0], r[1]);
    s[2] = _mm512_add_ps(r[2], r[3]), s[3] = _mm512_sub_ps(r[2], r[3]);
    for (size_t i = 0; i < 2; i++) {
        _mm512_store_ps(row + i * half * LANES, _mm512_add_ps(s[i], s[i + 2]));
        _mm512_store_ps(row + (i + 2) * half * LANES, _mm512_sub_ps(s[i], s[i + 2]));
    }
}

/* x = H x without scaling, blocks of `width`, a power of two of at least 8, within dim. */
static inline void lanes_hadamard(float *block, size_t dim, size_t width)
{
    size_t half = 1;
    for (; half * 4 <= width; half *= 4)
        for (size_t i = 0; i < dim; i += 4 * half)
            for (size_t j = 0; j < half; j++)
                lanes_hadamard_four(block + (i + j) * LANES, half);
    if (half < width)
        for (size_t i = 0; i < dim; i += 2 * half)
            for (size_t j = 0; j < half; j++) {
                float *low = block + (i + j) * LANES, *high = low + half * LANES;
                const __m512 a = _mm512_load_ps(low), b = _mm512_load_ps(high);
                _mm512_store_ps(low, _mm512_add_ps(a, b));
                _mm512_store_ps(high, _mm512_sub_ps(a, b));
            }
}

static inline void lanes_sign(float *block, const float *signs, size_t dim)
{
    for (size_t j = 0; j < dim; j++)
        _mm512_store_ps(block + j * LANES, _mm512_mul_ps(_mm512_set1_ps(signs[j]), _mm512_load_ps(block + j * LANES)));
}

/* ---- Matrices --------------------------------------------------------------------------------------- */

enum { MATRIX_ROWS = 8 };          /* sums that are kept in registers */

/* A matrix P for the products below: eight rows at a time, column by column; rows is a multiple of 8. It comes row by row, or, where
 * it is transposed, P^T does. */
static inline void lanes_matrix_pack(const float *p, size_t rows, size_t cols, bool transposed, float *packed)
{
    for (size_t i = 0; i < rows; i += MATRIX_ROWS)
        for (size_t j = 0; j < cols; j++)
            for (size_t k = 0; k < MATRIX_ROWS; k++)
                *packed++ = transposed ? p[j * rows + i + k] : p[(i + k) * cols + j];
}

/* y [rows][16] = P x, by fused multiply-adds: within cols 2^-24 of the exact product, as the scalar code's is. */
static inline void lanes_matrix(const float *packed, size_t rows, size_t cols, const float *x, float *y)
{
    for (size_t i = 0; i < rows; i += MATRIX_ROWS, y += MATRIX_ROWS * LANES) {
        __m512 sum[MATRIX_ROWS];
        for (int k = 0; k < MATRIX_ROWS; k++)
            sum[k] = _mm512_setzero_ps();
        for (size_t j = 0; j < cols; j++, packed += MATRIX_ROWS) {
            const __m512 column = _mm512_load_ps(x + j * LANES);
            for (int k = 0; k < MATRIX_ROWS; k++)
                sum[k] = _mm512_fmadd_ps(_mm512_set1_ps(packed[k]), column, sum[k]);
        }
        for (int k = 0; k < MATRIX_ROWS; k++)
            _mm512_store_ps(y + k * LANES, sum[k]);
    }
}

/* Some eights of rows for one vector: 8 sums each, which wait for one another less than those of a single eight would. */
LANES_INLINE void lanes_eights(const float *packed, size_t eights, size_t cols, const float *x, float *y)
{
    __m256 sum[8];
    LANES_UNROLL
    for (size_t k = 0; k < eights; k++)
        sum[k] = _mm256_setzero_ps();
    for (size_t j = 0; j < cols; j++) {
        const __m256 column = _mm256_set1_ps(x[j]);
        LANES_UNROLL
        for (size_t k = 0; k < eights; k++)
            sum[k] = _mm256_fmadd_ps(_mm256_loadu_ps(packed + (k * cols + j) * MATRIX_ROWS), column, sum[k]);
    }
    LANES_UNROLL
    for (size_t k = 0; k < eights; k++)
        _mm256_storeu_ps(y + k * MATRIX_ROWS, sum[k]);
}

/* Up to so many vectors are multiplied one by one, as queries are: with the bits of sixteen at a time, a sixth of which one takes. */
enum { LANES_FEW = 6 };

/* x [n][cols], `stride` floats apart, to y [n][rows] = P x. */
static inline void lanes_matrix_few(const float *packed, size_t rows, size_t cols, const float *x, size_t stride, size_t n, float *y)
{
    for (size_t v = 0; v < n; v++, x += stride)
        for (size_t i = 0, eights; i < rows; i += eights * MATRIX_ROWS, y += eights * MATRIX_ROWS) {
            eights = rows - i >= 8 * MATRIX_ROWS ? 8 : rows - i >= 4 * MATRIX_ROWS ? 4 : 1;
            if (eights == 8)
                lanes_eights(packed + i * cols, 8, cols, x, y);
            else if (eights == 4)
                lanes_eights(packed + i * cols, 4, cols, x, y);
            else
                lanes_eights(packed + i * cols, 1, cols, x, y);
        }
}

/* Row i of the product with the bits of the scalar code: eight partial sums, as vector_dot has them, and no fusion. cols is a multiple
 * of 8. */
LANES_INLINE __m512 lanes_row_exact(const float *packed, size_t i, size_t cols, const float *x)
{
    const float *row = packed + i / MATRIX_ROWS * MATRIX_ROWS * cols + i % MATRIX_ROWS;
    __m512 sum[8];
    for (int k = 0; k < 8; k++)
        sum[k] = _mm512_setzero_ps();
    for (size_t j = 0; j < cols; j += 8)
        for (size_t k = 0; k < 8; k++)
            sum[k] = _mm512_add_ps(sum[k], _mm512_mul_ps(_mm512_set1_ps(row[(j + k) * MATRIX_ROWS]),
                                                         _mm512_load_ps(x + (j + k) * LANES)));
    const __m512 a = _mm512_add_ps(_mm512_add_ps(sum[0], sum[4]), _mm512_add_ps(sum[2], sum[6]));
    const __m512 b = _mm512_add_ps(_mm512_add_ps(sum[1], sum[5]), _mm512_add_ps(sum[3], sum[7]));
    return _mm512_add_ps(a, b);
}

/* All rows so. */
static inline void lanes_matrix_exact(const float *packed, size_t rows, size_t cols, const float *x, float *y)
{
    for (size_t i = 0; i < rows; i++)
        _mm512_store_ps(y + i * LANES, lanes_row_exact(packed, i, cols, x));
}

/* ---- Rotations --------------------------------------------------------------------------------------- */

/* What a kernel keeps of a rotation. `table`: for haar the packed P, then the packed P^T; for hadamard the signs. */
typedef struct { uint32_t kind, dim, width; } lanes_rotation;

static inline lanes_rotation lanes_rotation_of(uint32_t kind, uint32_t dim)
{
    return (lanes_rotation) { .kind = kind, .dim = dim, .width = dim & (~dim + 1) };
}

static inline size_t lanes_rotation_floats(uint32_t kind, size_t dim)
{
    return kind == ROTATION_HAAR ? 2 * dim * dim : kind == ROTATION_HADAMARD ? dim : 0;
}

/* From the scalar code's table (NULL where there is none). */
static inline void lanes_rotation_derive(const lanes_rotation *r, const float *from, float *table)
{
    if (r->kind == ROTATION_HAAR) {
        lanes_matrix_pack(from, r->dim, r->dim, false, table);
        lanes_matrix_pack(from, r->dim, r->dim, true, table + (size_t)r->dim * r->dim);
    } else if (r->kind == ROTATION_HADAMARD) {
        memcpy(table, from, r->dim * sizeof *table);
    }
}

/* Both return where the result is: `block` itself or `other`, two blocks that they may overwrite. */
LANES_INLINE float *lanes_forward(const lanes_rotation *r, const float *table, bool exact, float *block, float *other)
{
    if (r->kind == ROTATION_HAAR) {
        if (exact)
            lanes_matrix_exact(table, r->dim, r->dim, block, other);
        else
            lanes_matrix(table, r->dim, r->dim, block, other);
        return other;
    }
    if (r->kind == ROTATION_HADAMARD) {
        lanes_sign(block, table, r->dim);
        lanes_hadamard(block, r->dim, r->width);
    }
    return block;
}

LANES_INLINE float *lanes_inverse_rotation(const lanes_rotation *r, const float *table, float *block, float *other)
{
    if (r->kind == ROTATION_HAAR) {
        lanes_matrix(table + (size_t)r->dim * r->dim, r->dim, r->dim, block, other);
        return other;
    }
    if (r->kind == ROTATION_HADAMARD) {
        lanes_hadamard(block, r->dim, r->width);
        lanes_sign(block, table, r->dim);
    }
    return block;
}

/* ---- One vector --------------------------------------------------------------------------------------- */

/* u [dim] = x / norm, or 0 where there is no direction; the bits are lanes_normalise's. */
static inline void row_direction(const float *x, size_t dim, double norm, float *u)
{
    const double inverse = norm > 0 ? 1 / norm : 0;
    for (size_t j = 0; j < dim; j++)
        u[j] = inverse > 0 ? (float)(x[j] * inverse) : 0;
}

/* lanes_hadamard of one vector, with its bits: the stages within a register, then those between registers. width: 16 or more. */
static inline void row_hadamard(float *x, size_t dim, size_t width)
{
    for (size_t j = 0; j < dim; j += LANES) {
        __m512 r = _mm512_loadu_ps(x + j), other = _mm512_permute_ps(r, 0xb1);
        r = _mm512_mask_sub_ps(_mm512_add_ps(r, other), 0xaaaa, other, r);
        other = _mm512_permute_ps(r, 0x4e);
        r = _mm512_mask_sub_ps(_mm512_add_ps(r, other), 0xcccc, other, r);
        other = _mm512_shuffle_f32x4(r, r, 0xb1);
        r = _mm512_mask_sub_ps(_mm512_add_ps(r, other), 0xf0f0, other, r);
        other = _mm512_shuffle_f32x4(r, r, 0x4e);
        _mm512_storeu_ps(x + j, _mm512_mask_sub_ps(_mm512_add_ps(r, other), 0xff00, other, r));
    }
    for (size_t half = LANES; half < width; half *= 2)
        for (size_t i = 0; i < dim; i += 2 * half)
            for (size_t j = i; j < i + half; j += LANES) {
                const __m512 a = _mm512_loadu_ps(x + j), b = _mm512_loadu_ps(x + j + half);
                _mm512_storeu_ps(x + j, _mm512_add_ps(a, b));
                _mm512_storeu_ps(x + j + half, _mm512_sub_ps(a, b));
            }
}

static inline void row_sign(const float *x, const float *signs, size_t dim, float *y)
{
    for (size_t j = 0; j < dim; j += LANES)
        _mm512_storeu_ps(y + j, _mm512_mul_ps(_mm512_loadu_ps(signs + j), _mm512_loadu_ps(x + j)));
}

/* Few vectors [n][dim], one by one and with the bits of lanes_forward (not exact) and lanes_inverse_rotation. */
static inline void lanes_rotate_few(const lanes_rotation *r, const float *table, bool inverse, const float *x, size_t n, float *y)
{
    const size_t dim = r->dim;
    if (r->kind == ROTATION_HAAR) {
        lanes_matrix_few(table + (inverse ? dim * dim : 0), dim, dim, x, dim, n, y);
    } else if (r->kind == ROTATION_NONE || r->width % LANES) {
        (inverse ? rotation_inverse : rotation_forward)((rotation_kind)r->kind, r->dim, table, x, n, y);
    } else {
        for (; n; n--, x += dim, y += dim) {
            if (inverse)
                memcpy(y, x, dim * sizeof *y);
            else
                row_sign(x, table, dim, y);
            row_hadamard(y, dim, r->width);
            if (inverse)
                row_sign(y, table, dim, y);
        }
    }
}

/* The ops `query` and `finish` of a rotated method: n vectors [n][dim]; scratch holds two blocks. */
static inline void lanes_rotate(const lanes_rotation *r, const float *table, bool inverse, const float *x, size_t n, float *y,
                                float *scratch)
{
    const size_t dim = r->dim;
    for (size_t done = 0, step; done < n; done += step, x += step * dim, y += step * dim) {
        step = n - done < LANES ? n - done : LANES;
        if (step <= LANES_FEW) {
            lanes_rotate_few(r, table, inverse, x, step, y);
            continue;
        }
        lanes_load(x, 0, step, dim, scratch);
        float *other = scratch + dim * LANES;
        lanes_store(inverse ? lanes_inverse_rotation(r, table, scratch, other) : lanes_forward(r, table, false, scratch, other), 0,
                    step, dim, y);
    }
}

/* norm_store of direction.c, for sixteen: floats that the format holds, as bytes at `to` for the lanes of the mask. */
LANES_INLINE void lanes_store_norms(lanes_double norm, uint32_t bytes, __mmask16 lanes, uint8_t *to)
{
    __m512 x = lanes_narrow(norm);
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    const __m512 most = _mm512_set1_ps(bytes == 2 ? 65504 : FLT_MAX);
    x = _mm512_mask_min_ps(_mm512_set1_ps(NAN), number, x, most);
    if (bytes == 2)
        _mm256_mask_storeu_epi16(to, lanes, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    else
        _mm512_mask_storeu_ps(to, lanes, x);
}

LANES_INLINE __m512 lanes_load_norms(const uint8_t *from, uint32_t bytes)
{
    if (bytes == 4)
        return _mm512_loadu_ps(from);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)from));
}

/* ---- Codebooks --------------------------------------------------------------------------------------- */

/* Centroids of up to 4 bits, ascending, and the thresholds between them. */
typedef struct { _Alignas(64) float c[16], threshold[16]; } lanes_codebook;

static inline void lanes_codebook_set(lanes_codebook *book, unsigned b, const float *c, const float *threshold)
{
    memcpy(book->c, c, ((size_t)1 << b) * sizeof *c);
    memcpy(book->threshold, threshold, (((size_t)1 << b) - 1) * sizeof *threshold);
}

/* codebook_index of sixteen coordinates; b is a constant. */
LANES_INLINE __m512i lanes_index(const lanes_codebook *book, unsigned b, __m512 x)
{
    __m512i index = _mm512_setzero_si512();
    for (unsigned step = 1u << b >> 1; step; step >>= 1) {
        const __m512i at = _mm512_add_epi32(index, _mm512_set1_epi32((int)step - 1));
        const __m512 threshold = step == 1u << b >> 1 ? _mm512_set1_ps(book->threshold[step - 1])
                                                      : _mm512_permutexvar_ps(at, _mm512_load_ps(book->threshold));
        index = _mm512_mask_add_epi32(index, _mm512_cmp_ps_mask(x, threshold, _CMP_GE_OQ), index, _mm512_set1_epi32((int)step));
    }
    return index;
}

LANES_INLINE __m512 lanes_centroid(const lanes_codebook *book, __m512i index)
{
    return _mm512_permutexvar_ps(index, _mm512_load_ps(book->c));
}

/* ---- Four registers' lanes to four numbers --------------------------------------------------------------- */

#define LANES_FOUR(name, op) \
    LANES_INLINE __m128 name(__m512 a, __m512 b, __m512 c, __m512 d) \
    { \
        const __m512 ab = _mm512_##op##_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); \
        const __m512 cd = _mm512_##op##_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)); \
        const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd); \
        const __m512 four = _mm512_##op##_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y))); \
        const __m256 two = _mm256_##op##_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1)); \
        return _mm_##op##_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1)); \
    }
LANES_FOUR(lanes_sums, add)
LANES_FOUR(lanes_largest, max)

#endif
