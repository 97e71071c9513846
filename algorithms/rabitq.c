/* rabitq.c - RaBitQ (Gao, Long; arXiv 2405.12497) at one bit, extended RaBitQ (Gao, Gou, Xu, Yang, Long, Wong; 2409.09913) above.
 * Idea: of all vectors of an evenly spaced grid, keep the one whose direction is nearest to that of the rotated vector, and store
 * the factor that makes <o, q> = <o', q> / <o', o> exact along o; errors across it are random by the rotation and average out.
 *
 *   u = Pi x / |x|;  u' = the vector of the grid (2 c - 2^b + 1) 2 / (2^b sqrt(d)), c = 0 ... 2^b - 1, of largest <u', u> / |u'|
 *   x^ = |x| / <u', u> Pi^T u';   at one bit u' = sign(u) / sqrt(d)
 *
 * The search is exact: the best vector of the grid is a rounding of t |u| for some t > 0 (2409.09913, section 3), and as t grows
 * one coordinate at a time steps up, at t = k / |u_j|: roundings are visited in order of t, with running sums, until those
 * coordinates that are at the grid's edge leave no room for a better one.
 *
 * Cost: b bits per coordinate and one factor per vector; up to d (2^(b-1) - 1) steps of log d each to encode, tens of times a table
 * search at 8 bits; decoding is integers times the factor, so that scores can be sums of small integers. Of the papers' other
 * parts nothing is here: the query keeps its floats, and no centroid of a cluster is subtracted.
 *
 * Where it loses: to codebooks of the same bits on Gaussian coordinates, which a rotation makes of any: even with the best scale
 * for each vector, at d = 128 an even grid has 5 % more error at 3 bits and 8 % more at 4 than Lloyd-Max codes rescaled to the same
 * slope (turboquant_mse, scale=unbiased, which at one bit is the same code); at d = 64, where one scale fits fewer coordinates,
 * they are level. For a slope of 1 vectors are a little too long: at one bit nmse is half as much again as the least.
 *
 * Defined: a zero vector decodes to zero. With norm=f16 factors saturate at 65504 and are 0 below 2^-25. A vector that holds NaN or
 * infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/grid.h"
#include "algorithms/shared/scalar.h"

#include <math.h>

enum { BITS, ROTATION, NORM };

typedef struct { rotated base; uint32_t norm; scalar_codebook grid; } rabitq;

/* One vector's code: the factor, then b bits per coordinate. */
static rabitq state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t norm = (uint32_t)args->v[NORM], b = (uint32_t)args->v[BITS];
    rotated base = { .d = shape->dim, .code = norm_bytes(norm) + (uint32_t)bits_bytes(shape->dim, b), .bytes = sizeof(rabitq),
                     .rotation = (uint32_t)args->v[ROTATION] };
    return (rabitq) { .base = base, .norm = norm, .grid.bits = b };
}

/* ---- Codes --------------------------------------------------------------------------------------- */

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    rabitq s = state_of(shape, args);
    return direction_plan("rabitq", &s.base, s.grid.bits, s.base.d * (sizeof(grid_climber) + 1), plan, err);
}

/* The state but for the rotation's table. */
static void set_header(const kvant_shape *shape, const kvant_args *args, rabitq *s)
{
    double grid[SCALAR_MAX];
    *s = state_of(shape, args);
    double cells = (double)(1u << s->grid.bits);
    for (size_t c = 0; c < (size_t)1 << s->grid.bits; c++)
        grid[c] = (2 * (double)c - cells + 1) * 2 / cells;
    scalar_set(&s->grid, s->grid.bits, grid, 1 / sqrt(s->base.d));
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    rabitq *s = state;
    set_header(shape, args, s);
    return rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    rabitq *s = state;
    set_header(shape, args, s);
    const rotated base = s->base;
    rotated_parts(&base, state, out);
}

static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const rabitq *s = state;
    grid_climber *heap = work;
    uint8_t *codes = (uint8_t *)(heap + s->base.d), *packed = code + norm_bytes(s->norm);
    uint32_t half = 1u << (s->grid.bits - 1);
    double t = grid_best_scale(u, s->base.d, half - 1, heap);
    for (size_t j = 0; j < s->base.d; j++) {
        uint32_t k = grid_steps(fabs((double)u[j]), t, half - 1);
        codes[j] = (uint8_t)(u[j] > 0 ? half + k : half - 1 - k);
    }
    bits_pack(packed, codes, s->base.d, s->grid.bits);
    double dot = scalar_compare(&s->grid, packed, u, s->base.d).dot;
    norm_store(s->norm, dot > 0 ? norm / dot : norm, code);
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const rabitq *s = state;
    scalar_decode(&s->grid, code + norm_bytes(s->norm), s->base.d, norm_load(s->norm, code), y);
}

DIRECTION_OPS(encode_direction, decode_vector)

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const rabitq *s = state;
    for (size_t v = 0; v < n; v++, code += s->base.code, sym += s->base.d)
        bits_unpack16(sym, code + norm_bytes(s->norm), s->base.d, s->grid.bits);
}

/* ---- What it is ---------------------------------------------------------------------------------- */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate, the factor apart; 1 is RaBitQ, more is extended RaBitQ",
               .type = KVANT_INT, .def = 4, .min = 1, .max = CODEBOOK_MAX_BITS },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    [NORM] = NORM_PARAM(NORM_F16),
    { .name = NULL }
};

/* E |u'|^2/<u',u>^2 - 1 over directions u, by another way to search (all roundings sorted), 1e3 to 4e5 vectors; across u the error
 * spreads evenly over d - 1 dimensions. At one bit <u',u> is E|u|_1 / sqrt(d), and its inverse square about pi/2. */
#define DRAWN "Monte Carlo on the sphere"
#define ROWS(d, b, value, tolerance) \
    { "gaussian", d, "bits=" #b, "nmse", value, tolerance * value, DRAWN }, \
    { "gaussian", d, "bits=" #b, "ip_variance", value * d / (d - 1), tolerance * value, DRAWN }, \
    { "gaussian", d, "bits=" #b, "ip_slope", 1, 5e-4, "unbiased but for the factor's rounding" }

static const kvant_oracle oracles[] = {
    ROWS(64, 1, .563437, .001), ROWS(64, 2, .127885, .002), ROWS(64, 3, .0340837, .003), ROWS(64, 4, .0087585, .004),
    ROWS(64, 6, .00051692, .01), ROWS(64, 8, .00002926, .02),
    ROWS(128, 1, .567221, .001), ROWS(128, 2, .131304, .002), ROWS(128, 3, .0363381, .002), ROWS(128, 4, .0099732, .003),
    ROWS(128, 6, .00063442, .01), ROWS(128, 8, .00003732, .02),
    { "e1", 128, "bits=2", "nmse", .131304, .0003, "a uniform rotation leaves no trace of the input" },
    { "sparse4", 128, "bits=4", "nmse", .0099732, .00003, "a uniform rotation leaves no trace of the input" },
    { .input = NULL }
};

const kvant_quantizer quantizer_rabitq = {
    .name = "rabitq", .summary = "the grid vector nearest in direction after a random rotation, rescaled to be unbiased",
    .source = "RaBitQ, arXiv 2405.12497 (1 bit); extended, arXiv 2409.09913 (2 to 8 bits)", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
