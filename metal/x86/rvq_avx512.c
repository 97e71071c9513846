/* rvq_avx512.c - residual codes sixteen vectors at a time, and scores and mixes by vpdpbusd on bytes. A table of up to 4 bits in all
 * stages is one: a joint index looks up the sum of its centroids. Two stages of 3 or 4 bits are two parts that are added up.
 *
 * Codes are the scalar code's, so products of Haar matrices keep its order: what a later stage codes depends on how the first one
 * decided, and not continuously. At 4 + 4 bits the first stage's centroids need more than a byte: a second table of the same codes
 * holds what the first leaves. Keys and values have layouts of their own, so values have no score and keys no mix but by decode. Other
 * numbers of stages and bits, and streams of outliers, are the scalar code's. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/units_ops_avx512.h"

#include "algorithms/shared/direction.h"

#include <stdio.h>

enum { STAGES = 4 };

/* The kernel's state; the rotation's table follows. */
typedef struct {
    lanes_rotation rotation;
    units units;
    lanes_codebook book[STAGES];
} tables;

/* Bits and number of stages, and where their codes are: all in part 0, or the second stage's in part `second`. */
typedef struct { unsigned bits, stages, second; } rvq_width;

static const float *table_of(const tables *t) { return (const float *)(const void *)(t + 1); }

/* ---- Encode and decode --------------------------------------------------------------------------------- */

/* lanes_matrix_exact of one vector, eight rows at a time and with its bits: y [rows] = P x. */
static inline void matrix_exact_one(const float *packed, size_t rows, size_t cols, const float *x, float *y)
{
    for (size_t i = 0; i < rows; i += MATRIX_ROWS, packed += cols * MATRIX_ROWS) {
        __m256 sum[8];
        for (int k = 0; k < 8; k++)
            sum[k] = _mm256_setzero_ps();
        for (size_t j = 0; j < cols; j += 8)
            for (size_t k = 0; k < 8; k++)
                sum[k] = _mm256_add_ps(sum[k], _mm256_mul_ps(_mm256_loadu_ps(packed + (j + k) * MATRIX_ROWS),
                                                             _mm256_set1_ps(x[j + k])));
        const __m256 a = _mm256_add_ps(_mm256_add_ps(sum[0], sum[4]), _mm256_add_ps(sum[2], sum[6]));
        const __m256 b = _mm256_add_ps(_mm256_add_ps(sum[1], sum[5]), _mm256_add_ps(sum[3], sum[7]));
        _mm256_storeu_ps(y + i, _mm256_add_ps(a, b));
    }
}

/* Sixteen coordinates by all stages: their codes joined, the first stage's alone where the second is a part of its own, and the last. */
typedef struct { __m512i joint, last; } staged;
LANES_INLINE staged stages_of(const tables *t, rvq_width w, __m512 r)
{
    staged s;
    s.joint = s.last = lanes_index(&t->book[0], w.bits, r);
    LANES_UNROLL
    for (unsigned i = 1; i < w.stages; i++) {
        r = _mm512_sub_ps(r, lanes_centroid(&t->book[i - 1], s.last));
        s.last = lanes_index(&t->book[i], w.bits, r);
        s.joint = w.second ? s.joint : _mm512_or_si512(_mm512_slli_epi32(s.joint, w.bits), s.last);
    }
    return s;
}

/* A vector's codes by all stages, of its rotated direction y in `lane` of blocks of coordinates. */
LANES_INLINE void stages_alone(const tables *t, rvq_width w, const float *y, size_t lane, int32_t *index, int32_t *other)
{
    int32_t codes[LANES], seconds[LANES];
    for (size_t j = 0; j < t->rotation.dim; j += LANES) {
        const staged k = stages_of(t, w, _mm512_loadu_ps(y + j));
        _mm512_storeu_si512(codes, k.joint);
        _mm512_storeu_si512(seconds, k.last);
        for (size_t l = 0; l < LANES; l++) {
            index[(j + l) * LANES + lane] = codes[l];
            if (w.second)
                other[(j + l) * LANES + lane] = seconds[l];
        }
    }
}

/* A vector alone, which is what a decode step appends, has the codes that it has in a lane. */
LANES_INLINE void encode_alone(const tables *t, rvq_width w, bool values, const float *x, const span *s, float *scratch)
{
    const size_t dim = t->rotation.dim;
    int32_t *index = (int32_t *)(void *)scratch, *other = index + dim * LANES;
    float *u = scratch + 2 * dim * LANES, *y = u + dim;
    const double norm = norm_of(x, dim);
    const __m512d all = _mm512_set1_pd(norm);
    row_direction(x, dim, norm, u);
    if (t->rotation.kind == ROTATION_HAAR)
        matrix_exact_one(table_of(t), dim, dim, u, y);
    else
        lanes_rotate_few(&t->rotation, table_of(t), false, u, 1, y);
    stages_alone(t, w, y, s->lane, index, other);
    lanes_store_norms((lanes_double) { all, all }, t->units.norm, lanes_mask(s->lane, 1), units_norms(&t->units, s, false));
    units_store(&t->units.part[0], w.second ? w.bits : w.bits * w.stages, values, s, index);
    if (w.second)
        units_store(&t->units.part[w.second], w.bits, values, s, other);
}

LANES_INLINE void encode(const tables *t, rvq_width w, bool values, const float *x, size_t first, size_t n, uint8_t *code,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        if (s.n == 1) {
            encode_alone(t, w, values, x + done * dim, &s, scratch);
            continue;
        }
        lanes_load(x + done * dim, s.lane, s.n, dim, scratch);
        lanes_store_norms(lanes_normalise(scratch, dim), t->units.norm, lanes_mask(s.lane, s.n), units_norms(&t->units, &s, false));
        float *block = lanes_forward(&t->rotation, table_of(t), true, scratch, scratch + dim * LANES);
        int32_t *index = (int32_t *)(void *)block;             /* a code takes its coordinate's place */
        int32_t *other = (int32_t *)(void *)(block == scratch ? scratch + dim * LANES : scratch);
        for (size_t j = 0; j < dim; j++) {
            const staged k = stages_of(t, w, _mm512_load_ps(block + j * LANES));
            _mm512_store_si512(index + j * LANES, k.joint);
            if (w.second)
                _mm512_store_si512(other + j * LANES, k.last);
        }
        units_store(&t->units.part[0], w.second ? w.bits : w.bits * w.stages, values, &s, index);
        if (w.second)
            units_store(&t->units.part[w.second], w.bits, values, &s, other);
    }
}

LANES_INLINE void decode(const tables *t, rvq_width w, bool values, const uint8_t *code, size_t first, size_t n, float *x,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    const __m512i mask = _mm512_set1_epi32((1 << w.bits) - 1);
    const bool past = lanes_past(x, n, dim);
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        int32_t *index = (int32_t *)(void *)scratch, *other = index + dim * LANES;
        units_load(&t->units.part[0], w.second ? w.bits : w.bits * w.stages, values, &s, index);
        if (w.second)
            units_load(&t->units.part[w.second], w.bits, values, &s, other);
        const __m512 norm = lanes_load_norms(units_norms(&t->units, &s, false), t->units.norm);
        for (size_t j = 0; j < dim; j++) {
            const __m512i joint = _mm512_load_si512(index + j * LANES);
            __m512 y = _mm512_setzero_ps();
            LANES_UNROLL
            for (unsigned i = 0; i < w.stages; i++) {
                const __m512i k = w.second ? (i ? _mm512_load_si512(other + j * LANES) : joint)
                                           : _mm512_and_si512(_mm512_srli_epi32(joint, w.bits * (w.stages - 1 - i)), mask);
                const __m512 c = _mm512_mul_ps(norm, lanes_centroid(&t->book[i], k));
                y = i ? _mm512_add_ps(y, c) : c;
            }
            _mm512_store_ps(scratch + j * LANES, y);
        }
        const float *rows = lanes_inverse_rotation(&t->rotation, table_of(t), scratch, scratch + dim * LANES);
        lanes_store_decoded(rows, s.lane, s.n, dim, past, x + done * dim);
    }
    lanes_past_end(past);
}

LANES_INLINE void symbols(const tables *t, rvq_width w, bool values, const uint8_t *code, size_t n, uint16_t *sym)
{
    memset(sym, 0, n * t->rotation.dim * sizeof *sym);
    units_symbols(&t->units, &t->units.part[0], w.second ? w.bits : w.bits * w.stages, values, code, n, sym);
    if (w.second)
        units_symbols(&t->units, &t->units.part[w.second], w.bits, values, code, n, sym);
}

/* ---- The ops, for every width ------------------------------------------------------------------------- */

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const tables *t = state;
    units_query(&t->units, &t->rotation, table_of(t), false, q, nq, prepared, scratch);
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const tables *t = state;
    lanes_rotate(&t->rotation, table_of(t), true, acc, nq, out, scratch);
}

#define WIDTH(tag, bits, stages, second, ...) \
    UNITS_OPS(tag, ((rvq_width) { bits, stages, second }), ((units_form) { __VA_ARGS__ }), NULL) \
    UNITS_SYMBOLS(tag, ((rvq_width) { bits, stages, second }))
WIDTH(1x2, 1, 2, 0, .bits0 = 2)
WIDTH(1x3, 1, 3, 0, .bits0 = 3)
WIDTH(1x4, 1, 4, 0, .bits0 = 4)
WIDTH(2x2, 2, 2, 0, .bits0 = 4)
WIDTH(3x2, 3, 2, 1, .bits0 = 3, .bits1 = 3)
WIDTH(4x2, 4, 2, 2, .bits0 = 4, .bits1 = 4, .bits2 = 4)
#define SIDES(tag) UNITS_KEYS(tag), UNITS_VALUES(tag)

/* By bits and stages; error: the least that any `stage2` has in 64 dimensions, what roundings are compared with. */
static const struct { uint32_t bits, stages; kvant_ops keys, values; double error; } widths[] = {
    { 1, 2, SIDES(1x2), .1269 }, { 1, 3, SIDES(1x3), .0560 }, { 1, 4, SIDES(1x4), .0230 }, { 2, 2, SIDES(2x2), .0179 },
    { 3, 2, SIDES(3x2), .00176 }, { 4, 2, SIDES(4x2), .000151 }
};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* ---- What it is ----------------------------------------------------------------------------------------- */

extern const kvant_quantizer quantizer_rvq;

static uint32_t arg(const kvant_args *args, const char *name) { return (uint32_t)kvant_arg(&quantizer_rvq, name, args); }

/* The index in `widths`, or WIDTHS. */
static size_t width_of(const kvant_args *args)
{
    size_t i = 0;
    while (i < WIDTHS && !(widths[i].bits == arg(args, "bits") && widths[i].stages == arg(args, "stages")))
        i++;
    return i;
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const uint32_t kind = arg(args, "rotation"), dim = shape->dim;
    const size_t w = width_of(args);
    if (!cpu_avx512() || arg(args, "outlier_channels") || w == WIDTHS || !packed_fits(dim, 4))
        return false;
    f->ops = shape->side == KVANT_VALUE ? widths[w].values : widths[w].keys;
    f->tile = UNIT;
    f->query = units_query_bytes(dim, false);
    f->acc = dim;
    f->scratch = 2 * dim * (LANES + 1) * sizeof(float);
    f->derived = sizeof(tables) + lanes_rotation_floats(kind, dim) * sizeof(float);
    return true;
}

/* One table of the sums of all stages' centroids; a cell of the first has its share, in equal parts. */
static packed_levels joint_levels(const tables *t, unsigned b, unsigned stages, size_t dim)
{
    float c[16];
    double share[16], cell[16];
    packed_shares(t->book[0].threshold, b, dim, cell);
    for (unsigned k = 0; k < 1u << b * stages; k++) {
        c[k] = 0;
        for (unsigned i = 0; i < stages; i++)
            c[k] += t->book[i].c[k >> b * (stages - 1 - i) & ((1u << b) - 1)];
        share[k] = cell[k >> b * (stages - 1)] / (double)(1u << b * (stages - 1));
    }
    return packed_levels_fit(c, share, (size_t)1 << b * stages);
}

/* Stage 2, of equal shares. */
static packed_levels second_levels(const float *c, size_t n)
{
    double share[16];
    for (size_t k = 0; k < n; k++)
        share[k] = 1;
    return packed_levels_fit(c, share, n);
}

/* What levels leave of centroids. */
static packed_levels rest_levels(const float *c, const packed_levels *p, size_t n)
{
    float rest[16];
    for (size_t k = 0; k < n; k++)
        rest[k] = c[k] - p->step * p->level[k];
    return second_levels(rest, n);
}

static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    tables *t = derived;
    const uint32_t b = arg(args, "bits"), stages = arg(args, "stages"), kind = arg(args, "rotation"), dim = shape->dim;
    const double allowed = .005 * widths[width_of(args)].error;
    t->rotation = lanes_rotation_of(kind, dim);
    for (uint32_t k = 0; k < stages; k++) {
        char codebook[32], thresholds[32];
        snprintf(codebook, sizeof codebook, "codebook%u", k + 1);
        snprintf(thresholds, sizeof thresholds, "thresholds%u", k + 1);
        lanes_codebook_set(&t->book[k], b, units_table(parts, state, codebook), units_table(parts, state, thresholds));
    }
    t->units = (units) { .norm = norm_bytes(arg(args, "norm")) };
    t->units.bytes = UNIT * t->units.norm;
    units_part *p = units_add(&t->units, 0, dim, b > 2 ? b : b * stages, allowed, allowed);
    if (b <= 2) {
        p[0].levels = joint_levels(t, b, stages, dim);
    } else {
        p[0].levels = packed_levels_of(t->book[0].c, t->book[0].threshold, b, dim);
        if (b == 4) {
            p[1] = p[0];
            p[1].levels = rest_levels(t->book[0].c, &p[0].levels, 16);
        }
        units_add(&t->units, b == 4 ? 2 : 1, dim, b, allowed, allowed)->levels = second_levels(t->book[1].c, (size_t)1 << b);
    }
    t->units.query = units_query_bytes(dim, false);
    t->units.acc = dim;
    lanes_rotation_derive(&t->rotation, units_table(parts, state, kind == ROTATION_HAAR ? "rotation" : "signs"),
                          (float *)(void *)(t + 1));
}

/* products: a query may be off by .0147 of its length (UNITS_QUERY), a centroid as a byte by half of 1/96 of the largest, which
 * is .0143 of a vector's length where that is 2.74 / sqrt(dim). Of a mix the weights' rounding is bounded on average only: by 1 %
 * of the squared error, which checkkernels measures. */
const kvant_kernel kernel_rvq_avx512 = {
    .quantizer = "rvq", .target = "avx512", .form = form, .derive = derive, .codes = true,
    .distance = 2e-5, .products = .03,
    .reason = "decode: fused Haar products. Scores and mixes: centroids, queries and weights as bytes"
};
