/* rvq.c - scalar residual quantization, as the software package VeloxQuant does it: stage after stage on rotated coordinates.
 * Idea: what one Lloyd-Max codebook leaves of a coordinate is coded by a second small one, so that 2b bits need tables of 2^b.
 *
 *   u = Pi x / |x|;  r_0 = u;  idx_k = nearest centroids of r_(k-1) in codebook k;  r_k = r_(k-1) - c_k[idx_k]
 *   x^ = |x| Pi^T (c_1[idx_1] + c_2[idx_2] + ...)
 *
 * Codebook 1 is that of N(0, 1/d). `stage2` says what the others are. Two versions of the package have Laplacian codebooks whose
 * standard deviation is derived from the bound sqrt(3 pi)/2 4^-b on the error of stage 1: published_0_3 takes the bound, a
 * variance, for the deviation itself; published_0_94 takes its root. With true_scale the deviation is the residual's own, and
 * fitted is the Lloyd-Max codebook of the residual's own density. The published forms have two stages.
 *
 * `outlier_channels` are a stream of their own (streams.h); the package has them too. The codebooks know no dimension, so both streams
 * of equal bits have the same ones.
 *
 * Cost: stages times b bits per coordinate (`bits` is per stage, as the package counts) and a norm; one lookup and addition per
 * stage to decode, in tables that fit in registers.
 *
 * Where it loses: to one stage of the same bits, always, on what a rotation makes of any input: a residual is spread nearly evenly
 * between two thresholds, one codebook for all cells cannot follow each. At 1+1 bits nmse is .173 (0.3), .131 (0.94, true_scale) or
 * .129 (fitted) against .116, at 2+2 bits .047, .023, .025 or .019 against .0093 of turboquant_mse. A bit more for outliers is a bit
 * more per stage: two.
 *
 * Defined: a zero vector decodes to zero. With norm=f16 norms are rounded to half: beyond 65504 they saturate, below 2^-25 they
 * become 0. A vector that holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/streams.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort_vector.h>
#include <gsl/gsl_vector.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BITS, STAGES, STAGE2, ROTATION, NORM, OUTLIER_BITS, OUTLIERS };
enum { PUBLISHED_0_3, PUBLISHED_0_94, TRUE_SCALE, FITTED };
enum { BITS_MAX = 4, CELLS_MAX = 1 << BITS_MAX, STAGES_MAX = 4, DIM_MAX = 4096, POINTS = 1 << 14, ROUNDS = 20000 };

typedef struct { rotated base; uint32_t norm, stages; scalar_codebook book[STAGES_MAX]; } rvq;

/* One vector's code: the norm, then the packed indices of one stage after the other. */
static uint32_t stage_bytes(const rvq *s) { return (uint32_t)bits_bytes(s->base.d, s->book[0].bits); }

static rvq state_of(const kvant_shape *shape, const kvant_args *args)
{
    rvq s = { .base = { .d = shape->dim, .bytes = sizeof s, .rotation = (uint32_t)args->v[ROTATION] },
              .norm = (uint32_t)args->v[NORM], .stages = (uint32_t)args->v[STAGES], .book[0].bits = (uint32_t)args->v[BITS] };
    s.base.code = norm_bytes(s.norm) + s.stages * stage_bytes(&s);
    return s;
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    rvq s = state_of(shape, args);
    if (s.stages > 2 && args->v[STAGE2] < TRUE_SCALE)
        return kvant_fail(err, KVANT_SKIP, "rvq: stage2=%s has two stages, not %u: use true_scale or fitted for more",
                          args->v[STAGE2] > 0 ? "published_0_94" : "published_0_3", s.stages);
    return direction_plan("rvq", &s.base, s.stages * s.book[0].bits, s.base.d * sizeof(float), plan, err);
}

/* ---- Codebooks ----------------------------------------------------------------------------------- */

/* N(0,1), or what some stages leave of it, as points with weights. */
typedef struct { gsl_vector *x, *weight, *moment; } law;   /* moment: room for fit */

static void law_free(law *f)
{
    gsl_vector_free(f->x);
    gsl_vector_free(f->weight);
    gsl_vector_free(f->moment);
}

/* Midpoints of [-8, 8], beyond which nothing is left that counts. */
static kvant_status law_open(law *f, kvant_error *err)
{
    *f = (law) { gsl_vector_alloc(POINTS), gsl_vector_alloc(POINTS), gsl_vector_alloc(POINTS) };
    if (!f->x || !f->weight || !f->moment) {
        law_free(f);
        return kvant_fail(err, KVANT_NOMEM, "rvq: no memory for a density of %d points", POINTS);
    }
    for (size_t i = 0; i < POINTS; i++) {
        double u = 16 * ((double)i + .5) / POINTS - 8;
        gsl_vector_set(f->x, i, u);
        gsl_vector_set(f->weight, i, gsl_ran_ugaussian_pdf(u) * 16 / POINTS);
    }
    return KVANT_OK;
}

static size_t nearest(const double *c, size_t n, double x)
{
    size_t k = 0;
    while (k + 1 < n && x > (c[k] + c[k + 1]) / 2)
        k++;
    return k;
}

static void law_subtract(law *f, const double *c, size_t n)
{
    for (size_t i = 0; i < POINTS; i++) {
        double x = gsl_vector_get(f->x, i);
        gsl_vector_set(f->x, i, x - c[nearest(c, n, x)]);
    }
}

static double law_deviation(const law *f)
{
    double sum = 0;
    for (size_t i = 0; i < POINTS; i++)
        sum += gsl_vector_get(f->weight, i) * gsl_vector_get(f->x, i) * gsl_vector_get(f->x, i);
    return sqrt(sum);
}

/* How many of the sorted points are at most `edge`. */
static size_t count_up_to(const gsl_vector *x, double edge)
{
    size_t low = 0, high = x->size;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (gsl_vector_get(x, middle) <= edge)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Weights and weighted points become running sums, so that a cell's mass and moment are differences. */
static void accumulate(law *f)
{
    double mass = 0, moment = 0;
    for (size_t i = 0; i < POINTS; i++) {
        mass += gsl_vector_get(f->weight, i);
        moment += gsl_vector_get(f->weight, i) * gsl_vector_get(f->x, i);
        gsl_vector_set(f->weight, i, mass);
        gsl_vector_set(f->moment, i, moment);
    }
}

static double between(const gsl_vector *sum, size_t from, size_t to)
{
    return (to ? gsl_vector_get(sum, to - 1) : 0) - (from ? gsl_vector_get(sum, from - 1) : 0);
}

/* Lloyd's iteration from the centroids given, until none moves: each becomes the mean of its cell. Uses the law up. */
static kvant_status fit(law *f, double *c, size_t n, kvant_error *err)
{
    gsl_sort_vector2(f->x, f->weight);
    accumulate(f);
    for (int round = 0; round < ROUNDS; round++) {
        double moved = 0;
        for (size_t k = 0, from = 0, to; k < n; k++, from = to) {
            to = k + 1 < n ? count_up_to(f->x, (c[k] + c[k + 1]) / 2) : POINTS;
            double mass = between(f->weight, from, to);
            double mean = mass > 0 ? between(f->moment, from, to) / mass : c[k];
            moved = fmax(moved, fabs(mean - c[k]));
            c[k] = mean;
        }
        if (moved <= 1e-10)
            return KVANT_OK;
    }
    return kvant_fail(err, KVANT_FAILED, "rvq: Lloyd's iteration for %zu centroids did not converge", n);
}

/* What stage k has to code: N(0,1) less what stages 0 ... k-1 take. */
static kvant_status residual_law(double c[STAGES_MAX][CELLS_MAX], uint32_t k, size_t n, law *f, kvant_error *err)
{
    kvant_status status = law_open(f, err);
    for (uint32_t stage = 0; stage < k && !status; stage++)
        law_subtract(f, c[stage], n);
    return status;
}

static double deviation_of(uint32_t stage2, unsigned b, const law *f)
{
    double bound = sqrt(3 * M_PI) / 2 * pow(4, -(double)b);
    return stage2 == PUBLISHED_0_3 ? bound : stage2 == PUBLISHED_0_94 ? sqrt(bound) : law_deviation(f);
}

static kvant_status solve_stage(uint32_t stage2, unsigned b, double c[STAGES_MAX][CELLS_MAX], uint32_t k, kvant_error *err)
{
    size_t n = (size_t)1 << b;
    law f;
    kvant_status status = codebook_solve(k ? CODEBOOK_LAPLACIAN : CODEBOOK_GAUSSIAN, 0, b, c[k], NULL, err);
    if (status || !k)
        return status;
    status = residual_law(c, k, n, &f, err);
    if (status)
        return status;
    double deviation = deviation_of(stage2, b, &f);
    for (size_t i = 0; i < n; i++)
        c[k][i] *= deviation;
    if (stage2 == FITTED)
        status = fit(&f, c[k], n, err);
    law_free(&f);
    return status;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    rvq *s = state;
    double c[STAGES_MAX][CELLS_MAX];
    *s = state_of(shape, args);
    for (uint32_t k = 0; k < s->stages; k++) {
        kvant_status status = solve_stage((uint32_t)args->v[STAGE2], (unsigned)args->v[BITS], c, k, err);
        if (status)
            return status;
        scalar_set(&s->book[k], (unsigned)args->v[BITS], c[k], 1 / sqrt(s->base.d));
    }
    return rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    rvq *s = state, header = state_of(shape, args);
    *s = header;
    rotated_parts(&header.base, state, out);
    for (uint32_t k = 0; k < s->stages; k++) {
        char codebook[32], thresholds[32];
        snprintf(codebook, sizeof codebook, "codebook%u", k + 1);
        snprintf(thresholds, sizeof thresholds, "thresholds%u", k + 1);
        s->book[k].bits = s->book[0].bits;
        scalar_parts(&s->book[k], "", codebook, thresholds, state, out);
    }
}

/* ---- Codes --------------------------------------------------------------------------------------- */

static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const rvq *s = state;
    float *r = work;
    size_t at = norm_bytes(s->norm);
    norm_store(s->norm, norm, code);
    memcpy(r, u, s->base.d * sizeof *r);
    for (uint32_t k = 0; k < s->stages; k++, at += stage_bytes(s)) {
        scalar_encode(&s->book[k], r, s->base.d, code + at);
        scalar_add(&s->book[k], code + at, s->base.d, -1, r);
    }
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const rvq *s = state;
    float norm = norm_load(s->norm, code);
    code += norm_bytes(s->norm);
    scalar_decode(&s->book[0], code, s->base.d, norm, y);
    for (uint32_t k = 1; k < s->stages; k++)
        scalar_add(&s->book[k], code + k * stage_bytes(s), s->base.d, norm, y);
}

DIRECTION_OPS(encode_direction, decode_vector)

/* The indices of all stages, the first in the highest bits. */
static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const rvq *s = state;
    uint16_t index[DIM_MAX];
    for (size_t v = 0; v < n; v++, code += s->base.code, sym += s->base.d) {
        memset(sym, 0, s->base.d * sizeof *sym);
        for (uint32_t k = 0; k < s->stages; k++) {
            bits_unpack16(index, code + norm_bytes(s->norm) + k * stage_bytes(s), s->base.d, s->book[0].bits);
            for (size_t j = 0; j < s->base.d; j++)
                sym[j] = (uint16_t)(sym[j] << s->book[0].bits | index[j]);
        }
    }
}

/* The outliers' instance differs in its bits. */
static kvant_status outliers(kvant_args *args, kvant_error *err)
{
    return streams_bits("rvq", args->v[BITS], args->v[OUTLIER_BITS], BITS_MAX, &args->v[BITS], err);
}

static const streams_method method = {
    .name = "rvq", .params = OUTLIERS, .plan = plan, .init = init, .outliers = outliers,
    .parts = parts,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols }
};
STREAMS_QUANTIZER(method)
STREAMS_SYMBOLS(method)

/* ---- What it is ---------------------------------------------------------------------------------- */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate and stage, the norm apart", .type = KVANT_INT, .def = 2, .min = 1,
               .max = BITS_MAX },
    [STAGES] = { .name = "stages", .help = "codebooks that are added up; more than two with true_scale and fitted only",
                 .type = KVANT_INT, .def = 2, .min = 2, .max = STAGES_MAX },
    [STAGE2] = { .name = "stage2", .help = "codebooks after the first: Laplacian as versions 0.3 and 0.94 of the package scale "
                                           "them, or with the residual's own deviation, or fitted to the residual",
                 .type = KVANT_CHOICE, .def = PUBLISHED_0_94,
                 .choices = (const char *const[]) { "published_0_3", "published_0_94", "true_scale", "fitted", NULL } },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    [NORM] = NORM_PARAM(NORM_F16),
    [OUTLIER_BITS] = STREAMS_BITS_PARAM(BITS_MAX),
    [OUTLIERS] = STREAMS_PARAMS,
    { .name = NULL }
};

/* By quadrature over the density of a coordinate on the sphere. In the limit of many dimensions: .1751 .1324 .1336 .1305 at 1+1
 * bits, .0485 .0236 .0259 .0196 at 2+2, .0174 .0028 .0027 .0019 at 3+3. */
#define NMSE(input, d, b, rest, value) { input, d, "bits=" #b ",stage2=" rest, "nmse", value, 2e-4 * value, "quadrature" }
#define NMSE4(input, d, rest, b1, b2, b3, b4) \
    NMSE(input, d, 1, rest, b1), NMSE(input, d, 2, rest, b2), NMSE(input, d, 3, rest, b3), NMSE(input, d, 4, rest, b4)

/* Streams of 32 and 96 of 128 channels: each has its share of an isotropic input's energy. */
#define TWO_STREAMS(b, rest, D_rest, D_outliers) \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32,stage2=" rest, "nmse", (96 * (D_rest) + 32 * (D_outliers)) / 128, \
      2e-4 * ((D_rest) + (D_outliers)) / 2, "quadrature, by energy" }

static const kvant_oracle oracles[] = {
    NMSE4("sphere", 64, "published_0_3", .1709196, .0460125, .0164064, .0056771),
    NMSE4("sphere", 64, "published_0_94", .1287702, .0221523, .0023214, .00026295),
    NMSE4("sphere", 64, "true_scale", .1299245, .0246434, .0023403, .00022860),
    NMSE4("sphere", 64, "fitted", .1269153, .0179213, .0017688, .00015138),
    NMSE4("gaussian", 128, "published_0_3", .1730036, .0472289, .0168937, .0058238),
    NMSE4("gaussian", 128, "published_0_94", .1306023, .0228497, .0025387, .00032552),
    NMSE4("gaussian", 128, "true_scale", .1317744, .0252649, .0025116, .00027572),
    NMSE4("gaussian", 128, "fitted", .1286801, .0187688, .0018491, .00016707),
    NMSE("gaussian", 128, 1, "true_scale,stages=3", .0613442), NMSE("gaussian", 128, 2, "true_scale,stages=3", .0065907),
    NMSE("gaussian", 128, 1, "fitted,stages=3", .0569411), NMSE("gaussian", 128, 2, "fitted,stages=3", .0040137),
    NMSE("e1", 128, 2, "fitted", .0187688), NMSE("sparse4", 128, 1, "published_0_3", .1730036),
    TWO_STREAMS(1, "published_0_3", .1723089, .0436515), TWO_STREAMS(1, "published_0_94", .1299912, .0208519),
    TWO_STREAMS(1, "true_scale", .1311575, .0234956), TWO_STREAMS(2, "fitted", .0184837, .0016463),
    { .input = NULL }
};

const kvant_quantizer quantizer_rvq = {
    .name = "rvq", .summary = "scalar codebooks in stages on rotated coordinates, each for what the last one left",
    .source = "VeloxQuant-MLX, turboquant_rvq, versions 0.3 and 0.94", .params = params, .oracles = oracles,
    .plan = split_plan, .init = split_init, .train = split_train, .parts = split_parts,
    .ops = { SPLIT_OPS, .symbols = split_symbols }
};
