/* turboquant_prod.c - TurboQuant for inner products (Zandieh, Daliri, Hadian, Mirrokni; arXiv 2504.19874, algorithm 2).
 * Idea: algorithm 1 at one bit less leaves a residual r whose length is known; a sketch of its signs (QJL) estimates <q, r>
 * without bias, and so <q, x> as a whole.
 *
 *   u = Pi x / |x|;  idx_j = nearest centroid of u_j, b - 1 bits;  r = u - c[idx];  store |x|, idx, gamma = |r|, sign(S r)
 *   x~ = |x| Pi^T (c[idx] + gamma sqrt(pi/2) / m S^T sign(S r))
 *
 * At b = 1 there is no first stage: r = u and gamma = 1, which is not stored. S acts in the rotated domain, which changes nothing:
 * S Pi^T has the law of S.
 *
 * Two versions go by this name. `sketch=gaussian` is the paper's, unbiased over seeds. `sketch=orthogonal` is that of its
 * authors' code: 2.8 times less variance when m = d, and a slope of 1 + D (kappa - 1), kappa = 1.002 at d = 128.
 * `residual_norm=constant` is that code too: gamma is not stored but the root of the first codebook's error, which leaves a bias
 * of some 1e-3. `m=64` and rotation=hadamard resemble other software: at d = 128, 28, 44 and 60 bytes for 2, 3 and 4 bits.
 *
 * `outlier_channels` are a stream of their own, with its first stage, sketch (outlier_m) and norms: streams.h and turboquant_mse.
 *
 * Cost: b - 1 + m/d bits per coordinate and two norms, |x| and gamma relative to it; m d operations per vector to encode beyond
 * algorithm 1, and as many per query; the state has m d floats more. Codes are scored and mixed in two domains, d coordinates and
 * m signs, and no vector is decoded for it.
 *
 * Where it loses: the bit that the sketch takes is worth a factor of 3 to 4 of the first stage's error, and what it gives back is
 * a larger error. Vectors have an nmse of pi/2 D(b-1) (gaussian) or (pi/2 - 1) D(b-1) (orthogonal), the inner product's variance
 * follows; turboquant_mse with scale=unbiased has no bias either, and D(b) / (1 - D(b)): a quarter at 2 bits of what gaussian has,
 * two thirds of what orthogonal has. At one bit gaussian is worse than zeros, in nmse. Two streams store four norms, .5 bits at
 * d = 128 instead of .25.
 *
 * Defined: a zero vector decodes to zero; sign(0) = -1. With norm=f16 norms saturate at 65504 and are 0 below 2^-25; gamma is at
 * most 1. A vector that holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/parts.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/sketch.h"
#include "algorithms/shared/streams.h"
#include "algorithms/shared/vector.h"

#include <math.h>
#include <string.h>

enum { BITS, ROTATION, CODEBOOK, NORM, SKETCH, M, RESIDUAL_NORM, OUTLIER_BITS, OUTLIER_M, OUTLIERS };
enum { STORED, CONSTANT };

typedef struct {
    rotated base;
    uint32_t norm, residual_norm;
    sketch sketch;
    float gamma;                   /* constant; 1 when there is no first stage */
    scalar_codebook book;          /* of b - 1 bits: 0 when there is no first stage */
} prod;

/* Where things are in one vector's code. */
static size_t gamma_at(const prod *s) { return norm_bytes(s->norm); }
static size_t index_at(const prod *s) { return gamma_at(s) + (s->residual_norm == STORED ? norm_bytes(s->norm) : 0); }
static size_t signs_at(const prod *s) { return index_at(s) + bits_bytes(s->base.d, s->book.bits); }

/* The rotation's table follows the state, and the sketch's follows that. */
static size_t sketch_at(const prod *s)
{
    return s->base.bytes + rotation_floats(s->base.rotation, s->base.d) * sizeof(float);
}
static const float *sketch_table(const prod *s) { return (const float *)(const void *)((const char *)s + sketch_at(s)); }

static prod state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t d = shape->dim, m = (uint32_t)args->v[M], first = (uint32_t)args->v[BITS] - 1;
    prod s = { .base = { .d = d, .bytes = sizeof s, .rotation = (uint32_t)args->v[ROTATION] }, .norm = (uint32_t)args->v[NORM],
               .residual_norm = first ? (uint32_t)args->v[RESIDUAL_NORM] : CONSTANT, .gamma = 1, .book.bits = first,
               .sketch = { (uint32_t)args->v[SKETCH], d, m ? m : d } };
    s.base.code = (uint32_t)(signs_at(&s) + sketch_bytes(&s.sketch));
    return s;
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    prod s = state_of(shape, args);
    kvant_status status = direction_plan("turboquant_prod", &s.base, s.book.bits + 1, s.base.d * sizeof(float), plan, err);
    size_t both = (size_t)s.base.d + s.sketch.m;
    plan->state += sketch_floats(&s.sketch) * sizeof(float);
    plan->query = both * sizeof(float);
    plan->acc = both;
    plan->scratch = plan->scratch > both * sizeof(float) ? plan->scratch : both * sizeof(float);
    return status;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    prod *s = state;
    double mse = 1;
    kvant_status status = KVANT_OK;
    *s = state_of(shape, args);
    if (s->book.bits)
        status = scalar_solve((codebook_density)args->v[CODEBOOK], s->base.d, s->book.bits, &s->book, &mse, err);
    s->gamma = (float)sqrt(mse);
    if (!status)
        status = rotated_init(&s->base, shape->seed, state, err);
    return status ? status : sketch_init(&s->sketch, shape->seed, (float *)(void *)((char *)state + sketch_at(s)), err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    prod *s = state, header = state_of(shape, args);
    *s = header;
    rotated_parts(&header.base, state, out);
    sketch_parts(&s->sketch, "", state, sketch_table(s), out);
    parts_add(out, "", "residual_norm", KVANT_TABLE, state, &s->gamma, 1, 1, 1);
    if (s->book.bits)
        scalar_parts(&s->book, "", "codebook", "thresholds", state, out);
}

/* ---- Encoding and decoding ------------------------------------------------------------------------- */

static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const prod *s = state;
    float *r = work;
    norm_store(s->norm, norm, code);
    memcpy(r, u, s->base.d * sizeof *r);
    if (s->book.bits) {
        scalar_encode(&s->book, u, s->base.d, code + index_at(s));
        scalar_add(&s->book, code + index_at(s), s->base.d, -1, r);
    }
    if (s->residual_norm == STORED)
        norm_store(s->norm, norm_of(r, s->base.d), code + gamma_at(s));
    sketch_encode(&s->sketch, sketch_table(s), r, code + signs_at(s));
}

/* What the centroids are multiplied by, and the signs. */
typedef struct { float centroid, sign; } scales;

static scales scales_of(const prod *s, const uint8_t *code)
{
    float norm = norm_load(s->norm, code);
    float gamma = s->residual_norm == STORED ? norm_load(s->norm, code + gamma_at(s)) : s->gamma;
    return (scales) { norm, norm * gamma * sketch_factor(&s->sketch) };
}

/* Centroids times `scale`, which are zeros when there is no first stage. */
static void first_stage(const prod *s, const uint8_t *code, float scale, float *y)
{
    if (s->book.bits)
        scalar_decode(&s->book, code + index_at(s), s->base.d, scale, y);
    else
        memset(y, 0, s->base.d * sizeof *y);
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const prod *s = state;
    scales by = scales_of(s, code);
    first_stage(s, code, by.centroid, y);
    sketch_decode(&s->sketch, sketch_table(s), code + signs_at(s), by.sign, y);
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first;
    direction_encode(state, encode_direction, x, n, code, scratch);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)first;
    rotated_decode(state, decode_vector, code, n, x, scratch);
}

/* ---- Scoring and mixing: in the domain [d + m] of centroids and signs, where queries are Pi q and S Pi q --- */

static void both_domains(const prod *s, const uint8_t *code, float *y)
{
    scales by = scales_of(s, code);
    first_stage(s, code, by.centroid, y);
    sketch_signs(&s->sketch, code + signs_at(s), by.sign, y + s->base.d);
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const prod *s = state;
    float *out = prepared;
    (void)scratch;
    for (size_t i = 0; i < nq; i++, q += s->base.d, out += s->base.d + s->sketch.m) {
        rotation_forward(s->base.rotation, s->base.d, rotated_table(&s->base), q, 1, out);
        sketch_project(&s->sketch, sketch_table(s), out, out + s->base.d);
    }
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const prod *s = state;
    const float *q = prepared;
    size_t both = s->base.d + s->sketch.m;
    (void)first;
    for (size_t v = 0; v < n; v++, code += s->base.code) {
        both_domains(s, code, scratch);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = vector_dot(q + i * both, scratch, both);
    }
}

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const prod *s = state;
    size_t both = s->base.d + s->sketch.m;
    (void)first;
    for (size_t v = 0; v < n; v++, code += s->base.code) {
        both_domains(s, code, scratch);
        for (size_t i = 0; i < nq; i++)
            vector_add(acc + i * both, w[i * n + v], scratch, both);
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const prod *s = state;
    float *y = scratch;
    for (size_t i = 0; i < nq; i++, acc += s->base.d + s->sketch.m, out += s->base.d) {
        memcpy(y, acc, s->base.d * sizeof *y);
        sketch_add_back(&s->sketch, sketch_table(s), acc + s->base.d, y);
        rotation_inverse(s->base.rotation, s->base.d, rotated_table(&s->base), y, 1, out);
    }
}

/* The outliers' instance differs in its bits and its sketch. */
static kvant_status outliers(kvant_args *args, kvant_error *err)
{
    args->v[M] = args->v[OUTLIER_M];
    return streams_bits("turboquant_prod", args->v[BITS], args->v[OUTLIER_BITS], CODEBOOK_MAX_BITS, &args->v[BITS], err);
}

static const streams_method method = {
    .name = "turboquant_prod", .params = OUTLIERS, .plan = plan, .init = init, .outliers = outliers,
    .parts = parts,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish }
};
STREAMS_QUANTIZER(method)

/* ---- What it is ------------------------------------------------------------------------------------ */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate, norms apart: one for the sketch if m is the dimension, the others first",
               .type = KVANT_INT, .def = 4, .min = 1, .max = CODEBOOK_MAX_BITS },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    [CODEBOOK] = { .name = "codebook", .help = "density it is solved for: exact on the sphere of this dimension, or the Gaussian limit",
                   .type = KVANT_CHOICE, .def = CODEBOOK_EXACT, .choices = (const char *const[]) { "exact", "gaussian", NULL } },
    [NORM] = NORM_PARAM(NORM_F16),
    [SKETCH] = SKETCH_PARAM(SKETCH_GAUSSIAN),
    [M] = { .name = "m", .help = "signs of the residual's sketch; 0: as many as coordinates", .type = KVANT_INT, .def = 0, .min = 0,
            .max = SKETCH_MAX },
    [RESIDUAL_NORM] = { .name = "residual_norm", .help = "stored per vector, or the constant that the codebook's error predicts",
                        .type = KVANT_CHOICE, .def = STORED, .choices = (const char *const[]) { "stored", "constant", NULL } },
    [OUTLIER_BITS] = STREAMS_BITS_PARAM(CODEBOOK_MAX_BITS),
    [OUTLIER_M] = { .name = "outlier_m", .help = "signs of the outliers' sketch; 0: as many as outlier channels", .type = KVANT_INT,
                    .max = SKETCH_MAX },
    [OUTLIERS] = STREAMS_PARAMS,
    { .name = NULL }
};

/* Closed forms, given the first stage: its error D and V = E(1 - <u,c>)^2 over directions u. The residual has energy P in any one
 * direction across u. For a unit r the estimator e of the sketch has <e,r> = t with E t = 1 (gaussian) or kappa (orthogonal, m
 * at most d), E t^2 = (pi/2 + m - 1) / m, and the rest of |e|^2, E|e|^2 = pi/2 d/m (and 1 - 1/m more if gaussian), spread evenly
 * across r. D and V are Monte Carlo's beyond the first five digits of D. */
#define TWO_ROWS(metrics, d, b, args, nmse, variance) \
    { "gaussian", d, "bits=" #b args, "nmse", nmse, 1e-3 * (nmse), metrics }, \
    { "gaussian", d, "bits=" #b args, "ip_variance", variance, 1e-3 * (variance), metrics }
#define ACROSS(d, D, V) (((D) - (V)) / ((d) - 1))
#define GAUSSIAN(d, m, b, args, D, V) \
    TWO_ROWS("closed form given D", d, b, args, (D) * (M_PI_2 * d - 1) / m, d * (M_PI_2 * (D) - ACROSS(d, D, V)) / m), \
    { "gaussian", d, "bits=" #b args, "ip_slope", 1, 1e-4, "unbiased over sketches" }
#define ORTHOGONAL(d, m, b, args, D, V) \
    TWO_ROWS("closed form given D", d, b, ",sketch=orthogonal" args, (D) * (1 - 2 * KAPPA_##d + M_PI_2 * d / m), \
        d * ACROSS(d, D, V) * ((M_PI_2 + m - 1) / m - 2 * KAPPA_##d + 1) + \
        d * ((D) - ACROSS(d, D, V)) * (M_PI_2 - (m - 1.) / (d - 1)) / m), \
    { "gaussian", d, "bits=" #b ",sketch=orthogonal" args, "ip_slope", 1 + (D) * (KAPPA_##d - 1), 1e-4, "kappa" }
/* R is the constant, sqrt(D); G = E|r| and A = E<r,u>/|r| are what it gets wrong. */
#define CONSTANT_NORM(d, m, b, R, G, A) \
    { "gaussian", d, "bits=" #b ",residual_norm=constant,m=" #m, "nmse", \
      R * R - 2 * R * G + R * R * (M_PI_2 * d / m + 1 - 1. / m), 2e-3 * R * R, "Monte Carlo of the first stage" }, \
    { "gaussian", d, "bits=" #b ",residual_norm=constant,m=" #m, "ip_slope", 1 - R * R + R * A, 3e-4, \
      "Monte Carlo of the first stage" }
/* kappa = sqrt(d/2) Gamma(d/2) / Gamma((d+1)/2) = E|u|_1 sqrt(pi/2) / sqrt(d). */
#define KAPPA_64 1.0039137
#define KAPPA_128 1.0019550

#define ALL(sketch, d, m, args) \
    sketch(d, m, 1, args, 1., 1.), sketch(d, m, 2, args, D1_##d, V1_##d), sketch(d, m, 3, args, D2_##d, V2_##d), \
    sketch(d, m, 4, args, D3_##d, V3_##d)
#define D1_64 .358387
#define V1_64 .128883
#define D2_64 .114526
#define V2_64 .015367
#define D3_64 .033391
#define V3_64 .002249
#define D1_128 .360889
#define V1_128 .130456
#define D2_128 .116000
#define V2_128 .014597
#define D3_128 .033966
#define V3_128 .001743

/* Streams of 32 and 96 of 128 channels: each has its share of an isotropic input's energy. P, R: errors of the first stages. */
#define MIXED(rest, outliers) ((96 * (rest) + 32 * (outliers)) / 128)
#define TWO_STREAMS(b, R, P) \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32", "nmse", MIXED((R) * (M_PI_2 - 1. / 96), (P) * (M_PI_2 - 1. / 32)), \
      1e-3 * MIXED(R, P), "closed form given D, by energy" }, \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32", "ip_slope", 1, 1e-4, "unbiased over sketches" }, \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32,outlier_m=64,sketch=orthogonal", "nmse", \
      MIXED((R) * (1 - 2 * KAPPA_96 + M_PI_2), (P) * (M_PI_2 / 2 + KAPPA_32 * KAPPA_32 / 2 - 2 * KAPPA_32 + 1)), \
      1e-3 * MIXED(R, P), "closed form given D, by energy" }, \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32,outlier_m=64,sketch=orthogonal", "ip_slope", \
      1 + MIXED((R) * (KAPPA_96 - 1), (P) * (KAPPA_32 - 1)), 1e-4, "kappa, by energy" }
#define KAPPA_32 1.0078418
#define KAPPA_96 1.0026075

static const kvant_oracle oracles[] = {
    ALL(GAUSSIAN, 64, 64, ""), ALL(GAUSSIAN, 128, 128, ""), ALL(GAUSSIAN, 128, 64, ",m=64"), ALL(GAUSSIAN, 64, 100, ",m=100"),
    ALL(ORTHOGONAL, 64, 64, ""), ALL(ORTHOGONAL, 128, 128, ""), ALL(ORTHOGONAL, 128, 64, ",m=64"),
    CONSTANT_NORM(128, 128, 2, .6007404, .600198, .601258), CONSTANT_NORM(128, 128, 3, .3405877, .339809, .338156),
    CONSTANT_NORM(128, 128, 4, .1842987, .183526, .178950), CONSTANT_NORM(128, 64, 2, .6007404, .600198, .601258),
    TWO_STREAMS(1, 1., .353357), TWO_STREAMS(2, .360056, .111600), TWO_STREAMS(3, .115508, .032261),
    { .input = NULL }
};

const kvant_quantizer quantizer_turboquant_prod = {
    .name = "turboquant_prod", .summary = "turboquant_mse at one bit less and a sign sketch of the residual, for inner products",
    .source = "TurboQuant, arXiv 2504.19874, algorithm 2", .params = params, .oracles = oracles,
    .plan = split_plan, .init = split_init, .train = split_train, .parts = split_parts,
    .ops = { SPLIT_OPS }
};
