/* uniform_scalar.c - evenly spaced levels after a rotation, with the step that suits a Gaussian best (J. Max, "Quantizing for
 * minimum distortion", IRE Transactions on Information Theory, 1960, table II).
 * Idea: after a rotation coordinates are nearly Gaussian, so one step serves all, and unlike a codebook's its codes are integers
 * that hardware adds and multiplies. Plain it is what Lloyd-Max codes are measured against; entropy-coded it overtakes them: an
 * even grid with a variable-length code stays within a quarter of a bit of the rate-distortion bound.
 *
 *   y = Pi x;  sigma = |x| / sqrt(d);  code = floor(y / (sigma step)), clamped to -2^(b-1) ... 2^(b-1) - 1
 *   y^ = sigma step (code + 1/2)
 *
 * Cost: b bits per coordinate and a half float per vector for sigma; a multiplication and an addition per coordinate to decode.
 * Where it loses: with codes of fixed length to turboquant_mse, by 1 % of the error at 2 bits, a fifth at 4 and more above, as
 * the step must reach into the tails; 8 bits of it are worth 7.5. Without a rotation it loses to everything that looks at its
 * data.
 *
 * `symbols` are the codes, for the entropy that a variable-length code would reach; the bytes that are stored have fixed length.
 *
 * Defined: a zero vector decodes to zero, one whose sigma is below half's range (2^-25) too; beyond it sigma saturates at 65504.
 * A vector that holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/block.h"
#include "algorithms/shared/parts.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_roots.h>
#include <math.h>

enum { BITS, ROTATION };
enum { HEAD = sizeof(uint16_t) /* sigma */, DIM_MAX = 4096, ROUNDS = 100 };

typedef struct { rotated base; uint32_t b; float step; } uniform_state;

static uniform_state state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t b = (uint32_t)args->v[BITS];
    rotated base = { .d = shape->dim, .code = (uint32_t)(HEAD + bits_bytes(shape->dim, b)), .bytes = sizeof(uniform_state),
                     .rotation = (uint32_t)args->v[ROTATION] };
    return (uniform_state) { .base = base, .b = b };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    uniform_state s = state_of(shape, args);
    return rotated_plan("uniform_scalar", &s.base, s.b, plan, err);
}

/* ---- The step ------------------------------------------------------------------------------------ */

/* Derivative of E (u - u^)^2 / 4 by the step, u of N(0,1): over the cells k step ... (k+1) step of the positive half, the last one
 * open, of (k + 1/2) times the difference of the level and u. Edges are midpoints of levels, so that they add nothing. */
static double slope(double step, void *levels)
{
    size_t half = *(const size_t *)levels / 2;
    double sum = 0;
    for (size_t k = 0; k < half; k++) {
        double lower = (double)k * step, upper = k + 1 < half ? (double)(k + 1) * step : INFINITY, r = (double)k + .5;
        double mass = gsl_cdf_ugaussian_Q(lower) - gsl_cdf_ugaussian_Q(upper);
        double moment = gsl_ran_ugaussian_pdf(lower) - gsl_ran_ugaussian_pdf(upper);
        sum += r * (r * step * mass - moment);
    }
    return sum;
}

/* The grid is 4 sigma wide at 2 bits and 8 at 8, so 2 and 16 enclose it. */
static kvant_status solve_step(unsigned b, float *step, kvant_error *err)
{
    size_t levels = (size_t)1 << b;
    gsl_function f = { slope, &levels };
    gsl_root_fsolver *solver = gsl_root_fsolver_alloc(gsl_root_fsolver_brent);
    if (!solver)
        return kvant_fail(err, KVANT_NOMEM, "uniform_scalar: no memory for a solver");
    int status = gsl_root_fsolver_set(solver, &f, 2 / (double)levels, 16 / (double)levels);
    bool found = false;
    for (int round = 0; round < ROUNDS && !status && !found; round++) {
        status = gsl_root_fsolver_iterate(solver);
        found = !gsl_root_test_interval(gsl_root_fsolver_x_lower(solver), gsl_root_fsolver_x_upper(solver), 0, 1e-10);
    }
    *step = (float)gsl_root_fsolver_root(solver);
    gsl_root_fsolver_free(solver);
    if (!found)
        return kvant_fail(err, KVANT_FAILED, "uniform_scalar: the step of %u bits was not found: %s", b, gsl_strerror(status));
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    uniform_state *s = state;
    *s = state_of(shape, args);
    kvant_status status = solve_step(s->b, &s->step, err);
    return status ? status : rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    uniform_state *s = state, header = state_of(shape, args);
    *s = header;
    rotated_parts(&header.base, state, out);
    parts_add(out, "", "step", KVANT_TABLE, state, &s->step, 1, 1, 1);
}

/* ---- Codes --------------------------------------------------------------------------------------- */

static float sigma_of(const float *y, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += (double)y[j] * (double)y[j];
    return isfinite(sum) ? (float)sqrt(sum / (double)d) : NAN;
}

static void encode_vector(const void *state, const float *y, uint8_t *code)
{
    const uniform_state *s = state;
    uint8_t codes[DIM_MAX];
    half_store(code, float_to_half_finite(sigma_of(y, s->base.d)));
    float inverse = block_inverse(half_load(code) * s->step), zero = (float)(1u << s->b) / 2, last = 2 * zero - 1;
    for (size_t j = 0; j < s->base.d; j++) {
        float c = y[j] * inverse + zero;                 /* NaN fails both comparisons and becomes 0 */
        codes[j] = (uint8_t)(c > 0 ? c < last ? c : last : 0);
    }
    bits_pack(code + HEAD, codes, s->base.d, s->b);
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const uniform_state *s = state;
    uint8_t codes[DIM_MAX];
    float scale = half_load(code) * s->step, zero = (float)(1u << s->b) / 2;
    bits_unpack(codes, code + HEAD, s->base.d, s->b);
    for (size_t j = 0; j < s->base.d; j++)
        y[j] = scale * ((float)codes[j] + .5f - zero);
}

ROTATED_OPS(encode_vector, decode_vector)

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const uniform_state *s = state;
    for (size_t v = 0; v < n; v++)
        bits_unpack16(sym + v * s->base.d, code + v * s->base.code + HEAD, s->base.d, s->b);
}

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate, sigma apart", .type = KVANT_INT, .def = 4, .min = 2, .max = 8 },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    { .name = NULL }
};

/* By quadrature over the density of a coordinate on the sphere (sigma makes every vector one), with the step for the Gaussian
 * limit, where the errors are .118846, .037440, .011543, .003495, .001040, .000304 and .0000877. At 7 and 8 bits the
 * coordinates that are clipped are rarer than 1 in 3000 and carry a tenth of the error: too few of them are seen to tell their
 * spread. */
#define NMSE(input, d, b, rest, value) { input, d, "bits=" #b rest, "nmse", value, 1e-7, "quadrature" }
#define RARE(input, d, b, rest, value) { input, d, "bits=" #b rest, "nmse", value, .05 * value, "quadrature" }
#define NMSE7(input, d, rest, b2, b3, b4, b5, b6, b7, b8) \
    NMSE(input, d, 2, rest, b2), NMSE(input, d, 3, rest, b3), NMSE(input, d, 4, rest, b4), NMSE(input, d, 5, rest, b5), \
    NMSE(input, d, 6, rest, b6), RARE(input, d, 7, rest, b7), RARE(input, d, 8, rest, b8)
#define NMSE128(input, rest) NMSE7(input, 128, rest, .1172864, .0366895, .0112298, .0033764, .0009982, .0002905, .0000833)
#define SLOPE(d, b, value) { "sphere", d, "bits=" #b, "ip_slope", value, 1e-6, "quadrature" }

static const kvant_oracle oracles[] = {
    NMSE7("sphere", 64, "", .1157437, .0359705, .0109444, .0032759, .0009662, .0002812, .0000808),
    NMSE7("gaussian", 96, ",rotation=hadamard", .1167704, .0364464, .0111316, .0033409, .0009865, .0002869, .0000823),
    NMSE128("gaussian", ""),
    NMSE128("gaussian", ",rotation=none"),
    NMSE7("sphere", 256, "", .1180642, .0370607, .0113828, .0034335, .0010178, .0002967, .0000852),
    NMSE("sparse4", 128, 2, "", .1172864), NMSE("sparse4", 128, 3, "", .0366895), NMSE("sparse4", 128, 4, "", .0112298),
    NMSE("constant", 128, 2, "", .1172864), NMSE("constant", 128, 3, "", .0366895), NMSE("constant", 128, 4, "", .0112298),
    SLOPE(128, 2, .883827), SLOPE(128, 3, .964607), SLOPE(128, 4, .989645),
    { .input = NULL }
};

const kvant_quantizer quantizer_uniform_scalar = {
    .name = "uniform_scalar", .summary = "rotation, then evenly spaced levels with the best step for a Gaussian",
    .source = "J. Max, Quantizing for minimum distortion, 1960, table II", .params = params, .oracles = oracles, .plan = plan,
    .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
