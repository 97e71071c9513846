/* rabitq_avx512.c - RaBitQ's codes sixteen vectors at a time, the search for the nearest grid vector included, and scores and mixes by
 * vpdpbusd: a grid's coordinates are small integers, so that bytes are exact levels at every width.
 *
 * The search to 4 bits: magnitudes are sorted once, by a network; the scales at which coordinates take their k-th step are then an
 * ascending list for each k, and the lists are merged, every lane at its own pace, with the sums that judge a rounding. Scales are
 * floats, and Haar products fused: of roundings that are equally good within that, another one may be taken than by the scalar code,
 * whose search is used as it is at 8 bits. A vector alone has the same lists and sums, merged one number at a time. Keys and values
 * have layouts of their own, so values have no score and keys no mix but by decode. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/units_ops_avx512.h"

#include "algorithms/shared/direction.h"
#include "algorithms/shared/grid.h"

/* The kernel's state; the rotation's table follows. */
typedef struct {
    lanes_rotation rotation;
    units units;
} tables;

static const float *table_of(const tables *t) { return (const float *)(const void *)(t + 1); }

/* ---- The search ---------------------------------------------------------------------------------------- */

/* Rows [n][16], every lane in descending order: Batcher's merge exchange. */
static void sort_lanes(float *rows, size_t n)
{
    size_t top = 1;
    while (2 * top < n)
        top *= 2;
    for (size_t p = top; p > 0; p /= 2)
        for (size_t q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (size_t i = 0; i + d < n; i++) {
                if ((i & p) != r)
                    continue;
                const __m512 a = _mm512_load_ps(rows + i * LANES), b = _mm512_load_ps(rows + (i + d) * LANES);
                _mm512_store_ps(rows + i * LANES, _mm512_max_ps(a, b));
                _mm512_store_ps(rows + (i + d) * LANES, _mm512_min_ps(a, b));
            }
            if (q == p)
                break;
        }
}

/* 1 / a of magnitudes, infinite where that is nearly beyond the floats. The search and the codes use the same. */
LANES_INLINE __m512 inverse_of(__m512 a)
{
    const __m512 r = _mm512_rcp14_ps(a), next = _mm512_fmadd_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(1)), r);
    return _mm512_mask_mov_ps(_mm512_set1_ps(INFINITY), _mm512_cmp_ps_mask(a, _mm512_set1_ps(0x1p-100f), _CMP_GT_OQ), next);
}

/* a b > c d, for sixteen doubles. */
LANES_INLINE __mmask16 exceeds(lanes_double a, lanes_double b, lanes_double c, lanes_double d)
{
    const __mmask8 low = _mm512_cmp_pd_mask(_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(c.low, d.low), _CMP_GT_OQ);
    const __mmask8 high = _mm512_cmp_pd_mask(_mm512_mul_pd(a.high, b.high), _mm512_mul_pd(c.high, d.high), _CMP_GT_OQ);
    return (__mmask16)(low | high << 8);
}

LANES_INLINE lanes_double replace(lanes_double x, __mmask16 where, lanes_double by)
{
    return (lanes_double) { _mm512_mask_mov_pd(x.low, (__mmask8)where, by.low),
                            _mm512_mask_mov_pd(x.high, (__mmask8)(where >> 8), by.high) };
}

/* The scale of the best rounding, as grid_best_scale has it, of magnitudes a [n + 1][16], the last row zeros, in descending order;
 * inverse [n + 1][16] belongs to them, and dot is half their sum. Of list k the head is the scale at which the next coordinate takes
 * step k + 1; steps, a constant, is their number. Coordinates that took the last one are `top`: with what others have at most, they
 * bound what later roundings can reach. */
LANES_INLINE __m512 best_scale(const float *a, const float *inverse, size_t n, unsigned steps, lanes_double dot)
{
    const __m512 zero = _mm512_setzero_ps();
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512 others = zero, square = _mm512_set1_ps((float)n / 4), top = zero, top_sum = zero;      /* square: integers, exact */
    for (size_t i = 0; i < n; i++) {
        const __m512 x = _mm512_load_ps(a + i * LANES);
        others = _mm512_fmadd_ps(x, x, others);
    }
    lanes_double best_dots = { _mm512_mul_pd(dot.low, dot.low), _mm512_mul_pd(dot.high, dot.high) }, best_square = lanes_widen(square);
    __m512 best = zero, t = zero, head[7], size[7];
    __m512i at[7];
    LANES_UNROLL
    for (unsigned k = 0; k < steps; k++) {
        head[k] = _mm512_mul_ps(_mm512_load_ps(inverse), _mm512_set1_ps((float)(k + 1)));
        size[k] = _mm512_load_ps(a);
        at[k] = lane;
    }
    for (;;) {
        __m512 next = head[0];
        LANES_UNROLL
        for (unsigned k = 1; k < steps; k++)
            next = _mm512_min_ps(next, head[k]);
        /* A rounding is complete when no coordinate is left that steps at the same scale. */
        const __mmask16 complete = _mm512_cmp_ps_mask(next, t, _CMP_GT_OQ),
            left = _mm512_cmp_ps_mask(next, _mm512_set1_ps(INFINITY), _CMP_LT_OQ);
        const lanes_double dots = { _mm512_mul_pd(dot.low, dot.low), _mm512_mul_pd(dot.high, dot.high) },
            squares = lanes_widen(square);
        const __mmask16 better = complete & exceeds(dots, best_square, best_dots, squares);
        best_dots = replace(best_dots, better, dots);
        best_square = replace(best_square, better, squares);
        best = _mm512_mask_mov_ps(best, better, t);
        const __m512 bound = _mm512_mul_ps(_mm512_fmadd_ps(top_sum, top_sum, _mm512_mul_ps(others, top)), lanes_narrow(best_square));
        const __m512 sure = _mm512_mul_ps(_mm512_mul_ps(lanes_narrow(best_dots), top), _mm512_set1_ps(1 - 0x1p-18f));
        if (!_mm512_mask_cmp_ps_mask(left, bound, sure, _CMP_NLT_UQ))
            return best;
        t = _mm512_mask_max_ps(t, left, t, next);
        __mmask16 rest = left, taken[7];
        __m512i from = lane;
        __m512 step = zero, by = zero;
        LANES_UNROLL
        for (unsigned k = 0; k < steps; k++) {
            taken[k] = _mm512_mask_cmp_ps_mask(rest, head[k], next, _CMP_EQ_OQ);
            rest = (__mmask16)(rest & ~taken[k]);
            step = _mm512_mask_mov_ps(step, taken[k], size[k]);
            by = _mm512_mask_mov_ps(by, taken[k], _mm512_set1_ps((float)(2 * k + 2)));
            from = _mm512_mask_mov_epi32(from, taken[k], at[k]);
        }
        const lanes_double wide = lanes_widen(step);
        dot = (lanes_double) { _mm512_add_pd(dot.low, wide.low), _mm512_add_pd(dot.high, wide.high) };
        square = _mm512_add_ps(square, by);
        top = _mm512_mask_add_ps(top, taken[steps - 1], top, _mm512_set1_ps(1));
        top_sum = _mm512_mask_add_ps(top_sum, taken[steps - 1], top_sum, step);
        others = _mm512_mask3_fnmadd_ps(step, step, others, taken[steps - 1]);
        from = _mm512_add_epi32(from, _mm512_set1_epi32(LANES));
        const __m512 new_size = _mm512_i32gather_ps(from, a, 4), new_inverse = _mm512_i32gather_ps(from, inverse, 4);
        LANES_UNROLL
        for (unsigned k = 0; k < steps; k++) {
            head[k] = _mm512_mask_mul_ps(head[k], taken[k], new_inverse, _mm512_set1_ps((float)(k + 1)));
            size[k] = _mm512_mask_mov_ps(size[k], taken[k], new_size);
            at[k] = _mm512_mask_mov_epi32(at[k], taken[k], from);
        }
    }
}

/* ---- The search for one vector -------------------------------------------------------------------------- */

/* In descending order; n is a multiple of 16. */
static void sort_row(const float *x, size_t n, float *sorted)
{
    for (size_t i = 0; i < n; i++) {
        const __m512 own = _mm512_set1_ps(x[i]);
        size_t place = 0;
        for (size_t j = 0; j < n; j += LANES) {
            const __m512 r = _mm512_loadu_ps(x + j);
            const __mmask16 before = j + LANES <= i ? 0xffff : j <= i ? lanes_mask(0, i - j) : 0;
            const __mmask16 first = _mm512_cmp_ps_mask(r, own, _CMP_GT_OQ) | _mm512_mask_cmp_ps_mask(before, r, own, _CMP_EQ_OQ);
            place += (size_t)__builtin_popcount(first);
        }
        sorted[place] = x[i];
    }
}

/* best_scale of one lane, with its bits: a [n + 1] and inverse [n + 1], as there. */
static float best_scale_row(const float *a, const float *inverse, size_t n, unsigned steps, double dot)
{
    float others = 0, square = (float)n / 4, top = 0, top_sum = 0, best = 0, t = 0, head[7];
    double best_dots = dot * dot, best_square = (double)square;
    size_t at[7] = { 0 };
    for (size_t i = 0; i < n; i++)
        others = fmaf(a[i], a[i], others);
    for (unsigned k = 0; k < 7; k++)
        head[k] = k < steps ? inverse[0] * (float)(k + 1) : INFINITY;
    for (;;) {
        float next = head[0];
        unsigned list = 0;
        for (unsigned k = 1; k < 7; k++)
            if (head[k] < next)
                next = head[k], list = k;
        if (next > t && dot * dot * best_square > best_dots * (double)square)
            best_dots = dot * dot, best_square = (double)square, best = t;
        const float bound = fmaf(top_sum, top_sum, others * top) * (float)best_square;
        if (!(next < INFINITY) || bound < (float)best_dots * top * (1 - 0x1p-18f))
            return best;
        t = next > t ? next : t;
        const float step = a[at[list]++];
        dot += (double)step;
        square += (float)(2 * list + 2);
        if (list == steps - 1)
            top += 1, top_sum += step, others = fmaf(-step, step, others);
        head[list] = inverse[at[list]] * (float)(list + 1);
    }
}

/* The best scale of y; work holds 3 dim + 32 floats. */
static float search_row(const float *y, size_t dim, unsigned b, float *work)
{
    float *sorted = work + dim, *inverse = sorted + dim + LANES;
    double dot = 0;
    for (size_t j = 0; j < dim; j++) {
        work[j] = fabsf(y[j]);
        dot += (double)(work[j] * .5f);
    }
    sort_row(work, dim, sorted);
    _mm512_storeu_ps(sorted + dim, _mm512_setzero_ps());
    for (size_t j = 0; j <= dim; j += LANES)
        _mm512_storeu_ps(inverse + j, inverse_of(_mm512_loadu_ps(sorted + j)));
    return best_scale_row(sorted, inverse, dim, (1u << (b - 1)) - 1, dot);
}

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* The best scales of a block; work holds 2 (dim + 1) rows. */
LANES_INLINE __m512 search(const float *block, size_t dim, unsigned b, float *work)
{
    float *inverse = work + (dim + 1) * LANES;
    if (b == 1)
        return _mm512_setzero_ps();
    lanes_double dot = { _mm512_setzero_pd(), _mm512_setzero_pd() };
    for (size_t j = 0; j < dim; j++) {
        const __m512 x = _mm512_abs_ps(_mm512_load_ps(block + j * LANES));
        const lanes_double half = lanes_widen(_mm512_mul_ps(x, _mm512_set1_ps(.5f)));
        dot = (lanes_double) { _mm512_add_pd(dot.low, half.low), _mm512_add_pd(dot.high, half.high) };
        _mm512_store_ps(work + j * LANES, x);
    }
    _mm512_store_ps(work + dim * LANES, _mm512_setzero_ps());
    sort_lanes(work, dim);
    for (size_t j = 0; j <= dim; j++)
        _mm512_store_ps(inverse + j * LANES, inverse_of(_mm512_load_ps(work + j * LANES)));
    return best_scale(work, inverse, dim, (1u << (b - 1)) - 1, dot);
}

/* Steps that magnitudes, of which these are the inverses, take at the scales t, and codes of sixteen coordinates that took k. */
LANES_INLINE __m512i steps_of(__m512 inverse, int half, __m512 t)
{
    __m512i k = _mm512_setzero_si512();
    LANES_UNROLL
    for (int i = 1; i < half; i++)
        k = _mm512_mask_add_epi32(k, _mm512_cmp_ps_mask(_mm512_mul_ps(inverse, _mm512_set1_ps((float)i)), t, _CMP_LE_OQ), k,
                                  _mm512_set1_epi32(1));
    return k;
}

LANES_INLINE __m512i codes_of(__m512 y, __m512i k, int half)
{
    const __m512i low = _mm512_sub_epi32(_mm512_set1_epi32(half - 1), k), high = _mm512_add_epi32(_mm512_set1_epi32(half), k);
    return _mm512_mask_mov_epi32(low, _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ), high);
}

/* What they stand for. */
LANES_INLINE __m512 centroids_of(__m512i code, int half, size_t dim)
{
    const __m512i level = _mm512_sub_epi32(_mm512_add_epi32(code, code), _mm512_set1_epi32(2 * half - 1));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(level), _mm512_set1_ps((float)(1 / sqrt((double)dim) / half)));
}

/* Codes of a block at its scales t, index [dim][16], and what norms are divided by. */
LANES_INLINE lanes_double quantize(const float *block, size_t dim, unsigned b, __m512 t, int32_t *index)
{
    const int half = 1 << (b - 1);
    lanes_double dot = { _mm512_setzero_pd(), _mm512_setzero_pd() };
    for (size_t j = 0; j < dim; j++) {
        const __m512 y = _mm512_load_ps(block + j * LANES);
        const __m512i code = codes_of(y, steps_of(inverse_of(_mm512_abs_ps(y)), half, t), half);
        dot = lanes_add_product(dot, lanes_widen(y), lanes_widen(centroids_of(code, half, dim)));
        _mm512_store_si512(index + j * LANES, code);
    }
    return dot;
}

/* The same of one vector y [dim] by the scalar code's search, in lane v. */
static double quantize_row(const float *y, size_t dim, unsigned b, size_t v, int32_t *index, grid_climber *heap)
{
    const int32_t half = 1 << (b - 1);
    const double step = 1 / sqrt((double)dim) / half, t = grid_best_scale(y, dim, (uint32_t)half - 1, heap);
    double dot = 0;
    for (size_t j = 0; j < dim; j++) {
        const int32_t k = (int32_t)grid_steps(fabs((double)y[j]), t, (uint32_t)half - 1), code = y[j] > 0 ? half + k : half - 1 - k;
        index[j * LANES + v] = code;
        dot += (double)y[j] * (double)(float)((2 * code - 2 * half + 1) * step);
    }
    return dot;
}

/* A block so, a vector after the other; rows [16][dim] is work, and a heap follows. */
static __attribute__((noinline)) lanes_double quantize_grid(const float *block, size_t dim, unsigned b, int32_t *index, float *rows)
{
    _Alignas(64) double sums[LANES];
    lanes_store(block, 0, LANES, dim, rows);
    for (size_t v = 0; v < LANES; v++)
        sums[v] = quantize_row(rows + v * dim, dim, b, v, index, (grid_climber *)(void *)(rows + dim * LANES));
    return (lanes_double) { _mm512_load_pd(sums), _mm512_load_pd(sums + 8) };
}

/* norm / dot, where dot is not 0. */
static __m512d factor_of(__m512d norm, __m512d dot)
{
    return _mm512_mask_div_pd(norm, _mm512_cmp_pd_mask(dot, _mm512_setzero_pd(), _CMP_GT_OQ), norm, dot);
}

static lanes_double factors_of(lanes_double norm, lanes_double dot)
{
    return (lanes_double) { factor_of(norm.low, dot.low), factor_of(norm.high, dot.high) };
}

/* Whether a half cannot hold one of the factors. Roundings of one direction and different lengths, which are equally good, then are
 * not. */
static bool beyond_half(lanes_double factor)
{
    const __m512 x = lanes_narrow(factor);
    return (_mm512_cmp_ps_mask(x, _mm512_set1_ps(65504), _CMP_GT_OQ) |
            (_mm512_cmp_ps_mask(x, _mm512_set1_ps(0x1p-14f), _CMP_LT_OQ) & _mm512_cmp_ps_mask(x, _mm512_setzero_ps(),
                                                                                              _CMP_GT_OQ))) != 0;
}

/* What a vector alone, which is what a decode step appends, is coded by: its codes are those that it has in a lane. In scratch are its
 * direction, that rotated, and what the search has; then its codes, and a heap. */
LANES_INLINE void encode_alone(const tables *t, unsigned b, bool values, const float *x, const span *s, float *scratch)
{
    const size_t dim = t->rotation.dim;
    const int half = 1 << (b - 1);
    float *y = scratch + dim, *work = y + dim;
    int32_t *index = (int32_t *)(void *)(scratch + dim * LANES), k[LANES];
    const __m512d norm = _mm512_set1_pd(norm_of(x, dim));
    double dot = 0;
    row_direction(x, dim, _mm512_cvtsd_f64(norm), scratch);
    lanes_rotate_few(&t->rotation, table_of(t), false, scratch, 1, y);
    const __m512 scale = _mm512_set1_ps(b > 1 && b < 8 ? search_row(y, dim, b, work) : 0);
    for (size_t j = 0; j < dim && b < 8; j += LANES) {
        float c[LANES];
        const __m512 r = _mm512_loadu_ps(y + j);
        const __m512i code = codes_of(r, steps_of(inverse_of(_mm512_abs_ps(r)), half, scale), half);
        _mm512_storeu_si512(k, code);
        _mm512_storeu_ps(c, centroids_of(code, half, dim));
        for (size_t l = 0; l < LANES; l++) {
            index[(j + l) * LANES + s->lane] = k[l];
            dot += (double)y[j + l] * (double)c[l];
        }
    }
    __m512d factor = factor_of(norm, _mm512_set1_pd(dot));
    if (b == 8 || (b > 1 && t->units.norm == 2 && beyond_half((lanes_double) { factor, factor })))
        factor = factor_of(norm, _mm512_set1_pd(quantize_row(y, dim, b, s->lane, index,
                                                             (grid_climber *)(void *)(scratch + 2 * dim * LANES))));
    lanes_store_norms((lanes_double) { factor, factor }, t->units.norm, lanes_mask(s->lane, 1), units_norms(&t->units, s, false));
    units_store(&t->units.part[0], b, values, s, index);
}

LANES_INLINE void encode(const tables *t, unsigned b, bool values, const float *x, size_t first, size_t n, uint8_t *code,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        if (s.n == 1) {
            encode_alone(t, b, values, x + done * dim, &s, scratch);
            continue;
        }
        float *other = scratch + dim * LANES, *work = other + dim * LANES;
        int32_t *index = (int32_t *)(void *)work;
        lanes_load(x + done * dim, s.lane, s.n, dim, scratch);
        const lanes_double norm = lanes_normalise(scratch, dim);
        const float *block = lanes_forward(&t->rotation, table_of(t), false, scratch, other);
        lanes_double factor = norm;
        if (b < 8)
            factor = factors_of(norm, quantize(block, dim, b, search(block, dim, b, work), index));
        if (b == 8 || (b > 1 && t->units.norm == 2 && beyond_half(factor)))
            factor = factors_of(norm, quantize_grid(block, dim, b, index, work + dim * LANES));
        lanes_store_norms(factor, t->units.norm, lanes_mask(s.lane, s.n), units_norms(&t->units, &s, false));
        units_store(&t->units.part[0], b, values, &s, index);
    }
}

/* ---- Decode ------------------------------------------------------------------------------------------- */

LANES_INLINE void decode(const tables *t, unsigned b, bool values, const uint8_t *code, size_t first, size_t n, float *x,
                         float *scratch)
{
    const size_t dim = t->rotation.dim;
    const __m512 step = _mm512_set1_ps((float)(2 / sqrt((double)dim) / (1 << b)));
    const bool past = lanes_past(x, n, dim);
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(&t->units, code, first, done, n);
        const int32_t *index = (const int32_t *)(void *)scratch;
        units_load(&t->units.part[0], b, values, &s, (int32_t *)(void *)scratch);
        const __m512 factor = lanes_load_norms(units_norms(&t->units, &s, false), t->units.norm);
        for (size_t j = 0; j < dim; j++) {
            const __m512i k = _mm512_load_si512(index + j * LANES),
                level = _mm512_sub_epi32(_mm512_add_epi32(k, k), _mm512_set1_epi32((1 << b) - 1));
            _mm512_store_ps(scratch + j * LANES, _mm512_mul_ps(factor, _mm512_mul_ps(_mm512_cvtepi32_ps(level), step)));
        }
        const float *rows = lanes_inverse_rotation(&t->rotation, table_of(t), scratch, scratch + dim * LANES);
        lanes_store_decoded(rows, s.lane, s.n, dim, past, x + done * dim);
    }
    lanes_past_end(past);
}

/* ---- The ops, for every width ------------------------------------------------------------------------- */

UNITS_ROTATED_OPS(false)

#define WIDTH(b) UNITS_OPS(b, b, ((units_form) { .bits0 = b }), NULL) UNITS_SYMBOLS(b, b)
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(8)
#define SIDES(b) UNITS_KEYS(b), UNITS_VALUES(b)

/* The least error that a dimension of at least 64 has at so many bits: what roundings are compared with. */
static const struct { kvant_ops keys, values; double error; } widths[] = {
    [1] = { SIDES(1), .5634 }, [2] = { SIDES(2), .1279 }, [3] = { SIDES(3), .0341 }, [4] = { SIDES(4), .00876 },
    [8] = { SIDES(8), 2.9e-5 }
};

/* ---- What it is ----------------------------------------------------------------------------------------- */

extern const kvant_quantizer quantizer_rabitq;

static uint32_t arg(const kvant_args *args, const char *name) { return (uint32_t)kvant_arg(&quantizer_rabitq, name, args); }

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    if (!cpu_avx512() || !packed_fits(dim, b))
        return false;
    f->ops = shape->side == KVANT_VALUE ? widths[b].values : widths[b].keys;
    f->tile = UNIT;
    f->query = units_query_bytes(dim, false);
    f->acc = dim;
    f->scratch = (4 * (size_t)dim + 2) * LANES * sizeof(float) + dim * sizeof(grid_climber);
    f->derived = sizeof(tables) + lanes_rotation_floats(kind, dim) * sizeof(float);
    return true;
}

/* Levels of the grid 2 c - 2^b + 1, which a step of 2 / (2^b sqrt(d)) makes coordinates; at 8 bits codes are half of them. */
static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    tables *t = derived;
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    t->rotation = lanes_rotation_of(kind, dim);
    t->units = (units) { .norm = norm_bytes(arg(args, "norm")) };
    t->units.bytes = UNIT * t->units.norm;
    units_part *part = units_add(&t->units, 0, dim, b, .0075 * widths[b].error, .005 * widths[b].error);
    t->units.query = units_query_bytes(dim, false);
    t->units.acc = dim;
    part->levels.step = (float)((b == 8 ? 4 : 2) / sqrt((double)dim) / (1 << b));
    for (int c = 0; c < 1 << b && b < 8; c++)
        part->levels.level[c] = (int8_t)(2 * c - (1 << b) + 1);
    lanes_rotation_derive(&t->rotation, units_table(parts, state, kind == ROTATION_HAAR ? "rotation" : "signs"),
                          (float *)(void *)(t + 1));
}

/* products: levels are exact, and a query may be off by .0147 of its length (UNITS_QUERY). Of a mix the weights' rounding is
 * bounded on average only: by 1 % of the squared error, which checkkernels measures. */
const kvant_kernel kernel_rabitq_avx512 = {
    .quantizer = "rabitq", .target = "avx512", .form = form, .derive = derive,
    .distance = 2e-5, .products = .015,
    .reason = "decode: fused Haar products. Scores and mixes: a query's and weights' rounding to bytes"
};
