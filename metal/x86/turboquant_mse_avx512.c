/* turboquant_mse_avx512.c - TurboQuant's codes sixteen vectors at a time, and scores and mixes by vpdpbusd and vpdpwssd.
 * Keys and values have layouts of their own (packed_avx512.h), so values have no score and keys no mix but by decode.
 *
 * To 4 bits, centroids become bytes, and queries and weights one or two bytes, whichever keeps what that adds to the quantizer's error
 * below 1 % of it. At 8 bits all of them are words (words_avx512.h). Encoding after Hadamard or without a rotation gives the scalar
 * code's codes; after Haar, where the codes' scale is the norm alone, it multiplies by fused multiply-adds, so that a coordinate
 * within rounding of a threshold may go to the centroid beyond it. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/units_ops_avx512.h"

#include "algorithms/shared/direction.h"

enum { SCALE_NORM, SCALE_NORM_CORRECTED, SCALE_UNBIASED };

/* The kernel's state; the rotation's table follows. */
typedef struct {
    lanes_rotation rotation;
    uint32_t bits, scale, exact;           /* exact: products as the scalar code's */
    units units;
    lanes_codebook book;                   /* to 4 bits */
    words_book words;                      /* 8 bits */
} tables;

static const float *table_of(const tables *t) { return (const float *)(const void *)(t + 1); }

/* Codes of sixteen coordinates, as they are stored, and their centroids. */
LANES_INLINE __m512i index_of(const tables *t, unsigned b, __m512 y)
{
    return b == 8 ? words_index(&t->words, y) : lanes_index(&t->book, b, y);
}

LANES_INLINE __m512 centroid_of(const tables *t, unsigned b, __m512i index)
{
    return b == 8 ? words_centroid(&t->words, index) : lanes_centroid(&t->book, index);
}

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* What turboquant_mse.c multiplies the norm by: `dot` <u, c> and `square` <c, c>. */
static __m512d correction(uint32_t scale, __m512d dot, __m512d square)
{
    const __mmask8 some = _mm512_cmp_pd_mask(dot, _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m512d by = scale == SCALE_UNBIASED ? dot : _mm512_sqrt_pd(square);
    return _mm512_mask_div_pd(_mm512_set1_pd(1), some, _mm512_set1_pd(1), by);
}

/* Codes of a block of directions, and what their norms are multiplied by. */
LANES_INLINE lanes_double quantize(const tables *t, unsigned b, const float *block, int32_t *index)
{
    lanes_double dot = { _mm512_setzero_pd(), _mm512_setzero_pd() }, square = dot;
    const lanes_double one = { _mm512_set1_pd(1), _mm512_set1_pd(1) };
    for (size_t j = 0; j < t->rotation.dim; j++) {
        const __m512 y = _mm512_load_ps(block + j * LANES);
        const __m512i k = index_of(t, b, y);
        _mm512_store_si512(index + j * LANES, k);
        if (t->scale != SCALE_NORM) {
            const lanes_double u = lanes_widen(y), c = lanes_widen(centroid_of(t, b, k));
            dot = lanes_add_product(dot, u, c);
            square = lanes_add_product(square, c, c);
        }
    }
    if (t->scale == SCALE_NORM)
        return one;
    return (lanes_double) { correction(t->scale, dot.low, square.low), correction(t->scale, dot.high, square.high) };
}

/* What a vector alone, which is what a decode step appends, is coded by: its codes are those that it has in a lane. */
static bool codes_alone(const tables *t) { return t->rotation.dim % LANES == 0 && !(t->exact && t->rotation.kind == ROTATION_HAAR); }

LANES_INLINE void encode_alone(const tables *t, unsigned b, bool values, const float *x, const span *s, float *scratch)
{
    const size_t dim = t->rotation.dim;
    int32_t *index = (int32_t *)(void *)scratch, k[LANES];
    float *u = scratch + dim * LANES, *y = u + dim;
    double norm = norm_of(x, dim), dot = 0, square = 0;
    row_direction(x, dim, norm, u);
    lanes_rotate_few(&t->rotation, table_of(t), false, u, 1, y);
    for (size_t j = 0; j < dim; j += LANES) {
        _mm512_storeu_si512(k, index_of(t, b, _mm512_loadu_ps(y + j)));
        for (size_t l = 0; l < LANES; l++)
            index[(j + l) * LANES + s->lane] = k[l];
        for (size_t l = 0; l < LANES && t->scale != SCALE_NORM; l++) {
            const double c = (double)(b == 8 ? t->words.c : t->book.c)[k[l]];
            dot += (double)y[j + l] * c;
            square += c * c;
        }
    }
    if (t->scale != SCALE_NORM)
        norm *= _mm512_cvtsd_f64(correction(t->scale, _mm512_set1_pd(dot), _mm512_set1_pd(square)));
    const __m512d all = _mm512_set1_pd(norm);
    lanes_store_norms((lanes_double) { all, all }, t->units.norm, lanes_mask(s->lane, 1), units_norms(&t->units, s, false));
    units_store(&t->units.part[0], b, values, s, index);
}

LANES_INLINE void encode(const tables *t, unsigned b, bool values, const float *x, size_t first, size_t n, uint8_t *code,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        if (s.n == 1 && codes_alone(t)) {
            encode_alone(t, b, values, x + done * dim, &s, scratch);
            continue;
        }
        lanes_load(x + done * dim, s.lane, s.n, dim, scratch);
        lanes_double norm = lanes_normalise(scratch, dim);
        float *block = lanes_forward(&t->rotation, table_of(t), t->exact, scratch, scratch + dim * LANES);
        int32_t *index = (int32_t *)(void *)block;             /* a code takes its coordinate's place */
        const lanes_double by = quantize(t, b, block, index);
        norm.low = _mm512_mul_pd(norm.low, by.low), norm.high = _mm512_mul_pd(norm.high, by.high);
        lanes_store_norms(norm, t->units.norm, lanes_mask(s.lane, s.n), units_norms(&t->units, &s, false));
        units_store(&t->units.part[0], b, values, &s, index);
    }
}

/* ---- Decode ------------------------------------------------------------------------------------------- */

LANES_INLINE void decode(const tables *t, unsigned b, bool values, const uint8_t *code, size_t first, size_t n, float *x,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    const bool past = lanes_past(x, n, dim);
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        int32_t *index = (int32_t *)(void *)scratch;
        units_load(&t->units.part[0], b, values, &s, index);
        const __m512 norm = lanes_load_norms(units_norms(&t->units, &s, false), t->units.norm);
        for (size_t j = 0; j < dim; j++)
            _mm512_store_ps(scratch + j * LANES, _mm512_mul_ps(norm, centroid_of(t, b, _mm512_load_si512(index + j * LANES))));
        const float *rows = lanes_inverse_rotation(&t->rotation, table_of(t), scratch, scratch + dim * LANES);
        lanes_store_decoded(rows, s.lane, s.n, dim, past, x + done * dim);
    }
    lanes_past_end(past);
}

/* ---- The ops, for every width ------------------------------------------------------------------------- */

UNITS_ROTATED_OPS(t->bits == 8)

#define OF_BYTES(b) UNITS_OPS(b, b, ((units_form) { .bits0 = b }), NULL) UNITS_SYMBOLS(b, b)
OF_BYTES(1)
OF_BYTES(2)
OF_BYTES(3)
OF_BYTES(4)
UNITS_OPS(8, 8, ((units_form) { .bits0 = 8 }), &t->words)

static void symbols_8(const tables *t, bool values, const uint8_t *code, size_t n, uint16_t *sym)
{
    symbols(t, 8, values, code, n, sym);
    for (size_t i = 0; i < n * t->rotation.dim; i++)
        sym[i] = (uint16_t)words_order(sym[i]);
}

static void symbols_keys_8(const void *state, const uint8_t *code, size_t n, uint16_t *sym) { symbols_8(state, false, code, n, sym); }
static void symbols_values_8(const void *state, const uint8_t *code, size_t n, uint16_t *sym) { symbols_8(state, true, code, n, sym); }
#define SIDES(b) UNITS_KEYS(b), UNITS_VALUES(b)

/* Error of a Gaussian at so many bits (Lloyd-Max): what roundings are compared with. */
static const struct { kvant_ops keys, values; double error; } widths[] = {
    [1] = { SIDES(1), .3634 }, [2] = { SIDES(2), .1175 }, [3] = { SIDES(3), .03454 }, [4] = { SIDES(4), .009497 },
    [8] = { SIDES(8), 4.1e-5 }
};

/* ---- What it is ----------------------------------------------------------------------------------------- */

extern const kvant_quantizer quantizer_turboquant_mse;

static uint32_t arg(const kvant_args *args, const char *name)
{
    return (uint32_t)kvant_arg(&quantizer_turboquant_mse, name, args);
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    if (!cpu_avx512() || arg(args, "outlier_channels") || !packed_fits(dim, b))
        return false;
    f->ops = shape->side == KVANT_VALUE ? widths[b].values : widths[b].keys;
    f->tile = UNIT;
    f->query = units_query_bytes(dim, b == 8);
    f->acc = dim;
    f->scratch = 2 * dim * LANES * sizeof(float);
    f->derived = sizeof(tables) + lanes_rotation_floats(kind, dim) * sizeof(float);
    return true;
}

static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    tables *t = derived;
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    t->rotation = lanes_rotation_of(kind, dim);
    t->bits = b;
    t->scale = arg(args, "scale");
    t->exact = t->scale != SCALE_NORM;
    t->units = (units) { .norm = norm_bytes(arg(args, "norm")) };
    t->units.bytes = UNIT * t->units.norm;
    units_part *part = units_add(&t->units, 0, dim, b, .0075 * widths[b].error, .005 * widths[b].error);
    t->units.query = units_query_bytes(dim, b == 8);
    t->units.acc = dim;
    const float *c = units_table(parts, state, "codebook"), *threshold = units_table(parts, state, "thresholds");
    if (b == 8) {
        words_set(&t->words, c, threshold, dim);
    } else {
        lanes_codebook_set(&t->book, b, c, threshold);
        part->levels = packed_levels_of(c, threshold, b, dim);
    }
    lanes_rotation_derive(&t->rotation, units_table(parts, state, kind == ROTATION_HAAR ? "rotation" : "signs"),
                          (float *)(void *)(t + 1));
}

/* products: a query may be off by .0147 of its length (UNITS_QUERY), a centroid as a byte by half of 1/96 of the largest, 2.74 /
 * sqrt(dim) at 4 bits: .0143 of a vector's length. Of a mix the weights' rounding is bounded on average only: by 1 % of the
 * squared error, which checkkernels measures. */
const kvant_kernel kernel_turboquant_mse_avx512 = {
    .quantizer = "turboquant_mse", .target = "avx512", .form = form, .derive = derive,
    .distance = 2e-5, .products = .03,
    .reason = "decode: fused Haar products. Scores and mixes: centroids as bytes, queries and weights as one or two; at 8 bits, words"
};
