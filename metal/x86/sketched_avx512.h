/* sketched_avx512.h - codes that end in a sketch's signs, by themselves (qjl) or behind a first stage of centroids (turboquant_prod).
 * Sixteen vectors are coded at a time; scores and mixes go over bytes, first stage and signs as two parts (units_avx512.h).
 *
 * Signs are levels of -1 and 1, which bytes hold exactly; the sketched query S q goes to bytes as a rotated one does. A mix adds up
 * signs of all vectors, and S^T multiplies the sums once per row, in `finish`. Codes are the scalar code's: a rotation keeps its order
 * of sums, and so does a row of S where another order might have another sign. For files *_avx512.c only, each of which gets its
 * own. */
#ifndef KVANT_SKETCHED_AVX512_H
#define KVANT_SKETCHED_AVX512_H

#include "metal/x86/units_ops_avx512.h"

#include "algorithms/shared/direction.h"
#include "algorithms/shared/sketch.h"

/* What a kernel of these codes: `first` bits of a first stage, 0 where there is none, rows of S, bytes of a norm, whether a residual's
 * norm is stored too, and what it is if not. own: least squared error of a vector of length 1, which roundings are compared with. */
typedef struct {
    uint32_t first, rotation, dim, m, norm;
    bool second;
    float gamma;
    double own;
} sketched;

/* The kernel's state. The rotation's table follows, then S and S^T, both packed. */
typedef struct {
    sketched form;
    lanes_rotation rotation;
    float factor;                          /* sqrt(pi/2) / m, times which and a residual's norm S^T sign(S r) stands for r */
    float doubt;                           /* sums within this times |r| of 0 may have the wrong sign */
    units units;
    lanes_codebook book;
} tables;

static inline const float *table_of(const tables *t) { return (const float *)(const void *)(t + 1); }
static inline const float *sketch_of(const tables *t)
{
    return table_of(t) + lanes_rotation_floats(t->form.rotation, t->form.dim);
}
static inline const float *transposed_of(const tables *t) { return sketch_of(t) + (size_t)t->form.m * t->form.dim; }
static inline const units_part *signs_of(const tables *t) { return &t->units.part[t->form.first ? 1 : 0]; }

/* ---- Encode and decode --------------------------------------------------------------------------------- */

/* Signs of S r as codes, index [m][16], for r of these lengths. */
LANES_INLINE void sketched_signs(const tables *t, const float *r, __m512 length, int32_t *index)
{
    float *y = (float *)(void *)index;                         /* a code takes its sum's place */
    const __m512 doubt = _mm512_mul_ps(length, _mm512_set1_ps(t->doubt));
    lanes_matrix(sketch_of(t), t->form.m, t->form.dim, r, y);
    for (size_t i = 0; i < t->form.m; i++) {
        __m512 x = _mm512_load_ps(y + i * LANES);
        if (_mm512_cmp_ps_mask(_mm512_abs_ps(x), doubt, _CMP_LT_OQ))
            x = lanes_row_exact(sketch_of(t), i, t->form.dim, r);
        const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
        _mm512_store_si512(index + i * LANES, _mm512_maskz_set1_epi32(positive, 1));
    }
}

LANES_INLINE void encode(const tables *t, unsigned first_bits, bool values, const float *x, size_t first, size_t n, uint8_t *code,
                         float *scratch)
{
    const size_t dim = t->form.dim;
    int32_t *signs = (int32_t *)(void *)(scratch + 2 * dim * LANES);
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        const __mmask16 lanes = lanes_mask(s.lane, s.n);
        lanes_load(x + done * dim, s.lane, s.n, dim, scratch);
        lanes_store_norms(lanes_normalise(scratch, dim), t->units.norm, lanes, units_norms(&t->units, &s, false));
        float *r = lanes_forward(&t->rotation, table_of(t), true, scratch, scratch + dim * LANES);
        int32_t *index = (int32_t *)(void *)(r == scratch ? scratch + dim * LANES : scratch);
        for (size_t j = 0; j < dim && first_bits; j++) {
            const __m512 u = _mm512_load_ps(r + j * LANES);
            const __m512i k = lanes_index(&t->book, first_bits, u);
            _mm512_store_si512(index + j * LANES, k);
            _mm512_store_ps(r + j * LANES, _mm512_sub_ps(u, lanes_centroid(&t->book, k)));
        }
        const lanes_double length = lanes_norm(r, dim);
        if (t->form.second)
            lanes_store_norms(length, t->units.norm, lanes, units_norms(&t->units, &s, true));
        if (first_bits)
            units_store(&t->units.part[0], first_bits, values, &s, index);
        sketched_signs(t, r, lanes_narrow(length), signs);
        units_store(signs_of(t), 1, values, &s, signs);
    }
}

LANES_INLINE void decode(const tables *t, unsigned first_bits, bool values, const uint8_t *code, size_t first, size_t n, float *x,
                         float *scratch)
{
    const size_t dim = t->form.dim, m = t->form.m;
    float *y = scratch, *other = y + dim * LANES, *signs = other + dim * LANES;
    const bool past = lanes_past(x, n, dim);
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        const __m512 norm = lanes_load_norms(units_norms(&t->units, &s, false), t->units.norm);
        const __m512 gamma = t->form.second ? lanes_load_norms(units_norms(&t->units, &s, true), t->units.norm)
                                            : _mm512_set1_ps(t->form.gamma);
        const __m512 scale = _mm512_mul_ps(_mm512_mul_ps(norm, gamma), _mm512_set1_ps(t->factor)),
            opposite = _mm512_sub_ps(_mm512_setzero_ps(), scale);
        units_load(signs_of(t), 1, values, &s, (int32_t *)(void *)signs);
        for (size_t i = 0; i < m; i++) {
            const __m512i bit = _mm512_load_si512(signs + i * LANES);
            _mm512_store_ps(signs + i * LANES, _mm512_mask_mov_ps(opposite, _mm512_test_epi32_mask(bit, bit), scale));
        }
        lanes_matrix(transposed_of(t), dim, m, signs, y);
        if (first_bits)
            units_load(&t->units.part[0], first_bits, values, &s, (int32_t *)(void *)other);
        for (size_t j = 0; j < dim && first_bits; j++) {
            const __m512 c = lanes_centroid(&t->book, _mm512_load_si512(other + j * LANES));
            _mm512_store_ps(y + j * LANES, _mm512_fmadd_ps(norm, c, _mm512_load_ps(y + j * LANES)));
        }
        const float *rows = lanes_inverse_rotation(&t->rotation, table_of(t), y, other);
        lanes_store_decoded(rows, s.lane, s.n, dim, past, x + done * dim);
    }
    lanes_past_end(past);
}

/* ---- Queries and sums ----------------------------------------------------------------------------------- */

/* A packed matrix times up to 16 vectors, x [n][cols], `stride` floats apart: y [n][rows]. work holds a block of each. */
static inline void sketched_multiply(const float *packed, size_t rows, size_t cols, const float *x, size_t stride, size_t n, float *y,
                                     float *work)
{
    if (n <= LANES_FEW) {
        lanes_matrix_few(packed, rows, cols, x, stride, n, y);
        return;
    }
    lanes_load_rows(x, stride, 0, n, cols, work);
    lanes_matrix(packed, rows, cols, work, work + cols * LANES);
    lanes_store(work + cols * LANES, 0, n, rows, y);
}

/* Pi q as bytes, where there is a first stage, and S Pi q. */
static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const tables *t = state;
    const size_t dim = t->form.dim, m = t->form.m;
    float *both = scratch, *projected = both + 2 * dim * LANES, *work = projected + m * LANES;
    for (size_t i = 0, step; i < nq; i += step) {
        char *to = (char *)prepared + i * t->units.query;
        step = nq - i < LANES ? nq - i : LANES;
        const float *rows = units_rotate(&t->rotation, table_of(t), q + i * dim, step, both);
        sketched_multiply(sketch_of(t), m, dim, rows, dim, step, projected, work);
        units_prepare(&t->units, signs_of(t), false, projected, step, to);
        if (t->form.first)
            units_prepare(&t->units, &t->units.part[0], false, rows, step, to);
    }
}

/* What was mixed of both parts, in the scalar code's domains [d + m]: S^T takes the second to the first. */
static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const tables *t = state;
    const size_t dim = t->form.dim, stride = t->units.acc;
    float *both = scratch, *y = both + 2 * dim * LANES, *work = y + dim * LANES;
    for (size_t i = 0, step; i < nq; i += step, acc += step * stride) {
        step = nq - i < LANES ? nq - i : LANES;
        sketched_multiply(transposed_of(t), dim, t->form.m, acc + signs_of(t)->acc, stride, step, y, work);
        for (size_t v = 0; v < step && t->form.first; v++)
            for (size_t j = 0; j < dim; j++)
                y[v * dim + j] += acc[v * stride + j];
        lanes_rotate(&t->rotation, table_of(t), true, y, step, out + i * dim, both);
    }
}

/* ---- Setting up ------------------------------------------------------------------------------------------ */

/* Whether codes can be laid out so: signs in runs of 32, and centroids as packed_fits has it. */
static inline bool sketched_fits(const sketched *s)
{
    return s->dim % 8 == 0 && s->m % 32 == 0 && (!s->first || packed_fits(s->dim, s->first));
}

/* A form's sizes. */
static inline void sketched_form(const sketched *s, kvant_form *f)
{
    f->tile = UNIT;
    f->query = (s->first ? units_query_bytes(s->dim, false) : 0) + units_query_bytes(s->m, false);
    f->acc = (s->first ? s->dim : 0) + s->m;
    f->scratch = (4 * (size_t)s->dim + 2 * (size_t)s->m) * LANES * sizeof(float);
    f->derived = sizeof(tables) + (lanes_rotation_floats(s->rotation, s->dim) + 2 * (size_t)s->m * s->dim) * sizeof(float);
}

/* Sums of dim products: in any order they are within g times the sum of magnitudes of the exact one, with g = dim 2^-24 / (1 - dim
 * 2^-24), and magnitudes sum up to |s_i| |r| at most. Two orders have one sign where one is further from 0 than 2 g |s_i| |r|. */
static inline float sketched_doubt(const float *s, size_t rows, size_t dim)
{
    const double g = (double)dim * 0x1p-24 / (1 - (double)dim * 0x1p-24);
    double longest = 0;
    for (size_t i = 0; i < rows; i++, s += dim) {
        double square = 0;
        for (size_t j = 0; j < dim; j++)
            square += (double)s[j] * (double)s[j];
        longest = fmax(longest, sqrt(square));
    }
    return (float)(2 * g * longest * (1 + 0x1p-20));           /* and a few roundings of |r| and of this */
}

/* Bytes of first-stage queries may add .5 % of the quantizer's error to a score's, .2 % at 4 bits, where centroids as bytes add .6 %;
 * of signs it is pi/2 / (pi/2 - 1) times UNITS_QUERY at most, nothing. A mix is as long as the decoded vectors, whose square is
 * 1 + own. */
static inline void sketched_derive(const sketched *s, const void *state, const kvant_parts *parts, tables *t)
{
    float *table = (float *)(void *)(t + 1);
    const float *from = units_table(parts, state, "sketch");
    const double weights = .005 * s->own / (1 + s->own);
    t->form = *s;
    t->rotation = lanes_rotation_of(s->rotation, s->dim);
    t->factor = sketch_factor(&(sketch) { .d = s->dim, .m = s->m });
    t->doubt = sketched_doubt(from, s->m, s->dim);
    t->units = (units) { .norm = s->norm };
    t->units.bytes = UNIT * s->norm * (s->second ? 2 : 1);
    if (s->first) {
        const float *c = units_table(parts, state, "codebook"), *threshold = units_table(parts, state, "thresholds");
        lanes_codebook_set(&t->book, s->first, c, threshold);
        units_add(&t->units, 0, s->dim, s->first, (s->first < 4 ? .005 : .002) * s->own, weights)->levels =
            packed_levels_of(c, threshold, s->first, s->dim);
        t->units.query = units_query_bytes(s->dim, false);
        t->units.acc = s->dim;
    }
    units_part *signs = units_add(&t->units, s->first ? 1 : 0, s->m, 1, UNITS_QUERY, weights);
    signs->levels = (packed_levels) { .step = 1, .level = { -1, 1 } };
    signs->factor = s->second ? t->factor : t->factor * s->gamma;
    t->units.query += units_query_bytes(s->m, false);
    t->units.acc += s->m;
    lanes_rotation_derive(&t->rotation, units_table(parts, state, s->rotation == ROTATION_HAAR ? "rotation" : "signs"), table);
    table += lanes_rotation_floats(s->rotation, s->dim);
    lanes_matrix_pack(from, s->m, s->dim, false, table);
    lanes_matrix_pack(from, s->dim, s->m, true, table + (size_t)s->m * s->dim);
}

#endif
