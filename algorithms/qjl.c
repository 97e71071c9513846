/* qjl.c - quantized Johnson-Lindenstrauss transform (Zandieh, Daliri, Han; arXiv 2406.03482, section 3).
 * Idea: of a random projection of k only the signs are kept. With the query projected but not quantized, inner products keep their
 * mean: no codebook, no ranges, and no scale but |k|.
 *
 *   store |k|, sign(S k);   <q, k> ~ sqrt(pi/2) / m |k| <S q, sign(S k)>;   k^ = sqrt(pi/2) / m |k| S^T sign(S k)
 *
 * `sketch=gaussian` is what the paper analyses, `orthogonal` what its authors' code does: chunks of d orthogonal rows scaled to
 * length sqrt(d), which have 2.8 times less variance when m is a multiple of d, and a slope of kappa = 1.002 at d = 128.
 *
 * Cost: m/d bits per coordinate and a norm; m d operations per vector and per query, m d floats of state; scores and mixes are sums
 * of m signed numbers. The paper's "3 bits" have m = 2d (4d in the first 15 layers), outlier channels, a window in half precision and
 * values at 2 bits; windows and values are the harness's affair.
 *
 * `outlier_channels` have a sketch and a norm of their own (streams.h): 8 channels and outlier_m = 256 in the authors' code for most
 * layers. There they are the largest of each group of 32 tokens, and both sketches are rows of one matrix with the other channels set
 * to zero; here they are chosen once, and each sketch is drawn in its stream's own dimension. For Gaussian rows that is the same law.
 *
 * Where it loses: error falls as 1/m, linear in the bits, where a codebook's falls as 4^-bits. At 2 bits its nmse is .78 (gaussian)
 * or .28 (orthogonal) against .116 of turboquant_mse, and at one bit .57 at best. It is meant for keys: a decoded vector is mostly
 * noise. Orthogonal rows of few channels are biased: the slope of 8 outliers is 1.03, of 4 1.06.
 *
 * Defined: a zero vector decodes to zero; sign(0) = -1. With norm=f16 norms saturate at 65504 and are 0 below 2^-25. A vector that
 * holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/sketch.h"
#include "algorithms/shared/streams.h"
#include "algorithms/shared/vector.h"

#include <math.h>
#include <string.h>

enum { M, SKETCH, NORM, OUTLIER_M, OUTLIERS };

/* Not rotated; the sketch's table follows. */
typedef struct { rotated base; uint32_t norm; sketch sketch; } qjl;

static const float *table_of(const qjl *s) { return rotated_table(&s->base); }

/* One vector's code: the norm, then m signs. */
static qjl state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t m = (uint32_t)args->v[M], d = shape->dim;
    qjl s = { .base = { .d = d, .bytes = sizeof s, .rotation = ROTATION_NONE }, .norm = (uint32_t)args->v[NORM],
              .sketch = { (uint32_t)args->v[SKETCH], d, m ? m : 2 * d } };
    s.base.code = norm_bytes(s.norm) + (uint32_t)sketch_bytes(&s.sketch);
    return s;
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    qjl s = state_of(shape, args);
    kvant_status status = direction_plan("qjl", &s.base, (double)s.sketch.m / s.base.d, 0, plan, err);
    size_t projected = s.sketch.m * sizeof(float);
    plan->state += sketch_floats(&s.sketch) * sizeof(float);
    plan->query = projected;
    plan->acc = s.sketch.m;
    plan->scratch = plan->scratch > projected ? plan->scratch : projected;
    return status;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    qjl *s = state;
    *s = state_of(shape, args);
    return sketch_init(&s->sketch, shape->seed, (float *)(void *)((char *)state + s->base.bytes), err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    qjl *s = state;
    *s = state_of(shape, args);
    sketch_parts(&s->sketch, "", state, table_of(s), out);
}

static float scale_of(const qjl *s, const uint8_t *code) { return norm_load(s->norm, code) * sketch_factor(&s->sketch); }

static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const qjl *s = state;
    (void)work;
    norm_store(s->norm, norm, code);
    sketch_encode(&s->sketch, table_of(s), u, code + norm_bytes(s->norm));
}

static void decode_vector(const void *state, const uint8_t *code, float *x)
{
    const qjl *s = state;
    memset(x, 0, s->base.d * sizeof *x);
    sketch_decode(&s->sketch, table_of(s), code + norm_bytes(s->norm), scale_of(s, code), x);
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

/* ---- Scoring and mixing: in the domain of the m signs ------------------------------------------------ */

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const qjl *s = state;
    float *out = prepared;
    (void)scratch;
    for (size_t i = 0; i < nq; i++)
        sketch_project(&s->sketch, table_of(s), q + i * s->base.d, out + i * s->sketch.m);
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const qjl *s = state;
    const float *q = prepared;
    (void)first;
    for (size_t v = 0; v < n; v++, code += s->base.code) {
        float scale = scale_of(s, code);
        sketch_signs(&s->sketch, code + norm_bytes(s->norm), 1, scratch);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = scale * vector_dot(q + i * s->sketch.m, scratch, s->sketch.m);
    }
}

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const qjl *s = state;
    (void)first;
    for (size_t v = 0; v < n; v++, code += s->base.code) {
        float scale = scale_of(s, code);
        sketch_signs(&s->sketch, code + norm_bytes(s->norm), 1, scratch);
        for (size_t i = 0; i < nq; i++)
            vector_add(acc + i * s->sketch.m, w[i * n + v] * scale, scratch, s->sketch.m);
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const qjl *s = state;
    (void)scratch;
    memset(out, 0, nq * s->base.d * sizeof *out);
    for (size_t i = 0; i < nq; i++)
        sketch_add_back(&s->sketch, table_of(s), acc + i * s->sketch.m, out + i * s->base.d);
}

/* The outliers' instance differs in its sketch. */
static kvant_status outliers(kvant_args *args, kvant_error *err)
{
    (void)err;
    args->v[M] = args->v[OUTLIER_M];
    return KVANT_OK;
}

static const streams_method method = {
    .name = "qjl", .params = OUTLIERS, .plan = plan, .init = init, .outliers = outliers,
    .parts = parts,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish }
};
STREAMS_QUANTIZER(method)

/* ---- What it is ------------------------------------------------------------------------------------ */

static const kvant_param params[] = {
    [M] = { .name = "m", .help = "signs of the sketch; 0: twice the dimension, as for most layers in the paper", .type = KVANT_INT,
            .def = 0, .min = 0, .max = SKETCH_MAX },
    [SKETCH] = SKETCH_PARAM(SKETCH_ORTHOGONAL),
    [NORM] = NORM_PARAM(NORM_F16),
    [OUTLIER_M] = { .name = "outlier_m", .help = "signs of the outliers' sketch", .type = KVANT_INT, .def = 256, .min = 1,
                    .max = SKETCH_MAX },
    [OUTLIERS] = STREAMS_PARAMS,
    { .name = NULL }
};

#define ROWS(d, args, nmse, slope, variance, source) \
    { "gaussian", d, args, "nmse", nmse, 1e-3 * (nmse), source }, \
    { "gaussian", d, args, "ip_slope", slope, 1e-4, source }, \
    { "gaussian", d, args, "ip_variance", variance, 1e-3 * (variance), source }
#define GAUSSIAN(d, m) \
    ROWS(d, "sketch=gaussian,m=" #m, (M_PI_2 * d - 1) / m, 1, M_PI_2 * d / m, "closed form for Gaussian rows")
/* kappa = sqrt(d/2) Gamma(d/2) / Gamma((d+1)/2). A part of a chunk, m <= d, by E|u_1 u_2| = 2/(pi d) on the sphere. */
#define PART(d, m, kappa) \
    ROWS(d, "m=" #m, 1 - 2 * kappa + M_PI_2 * d / m, kappa, d * (M_PI_2 - (m - 1.) / (d - 1)) / m, \
         "closed form for orthogonal rows")
/* Chunks are independent: each has mean kappa k, and errors across k that add up as squares. */
#define CHUNKS(d, n, m, kappa) \
    ROWS(d, "m=" #m, M_PI_2 / n + kappa * kappa * (n - 1) / n - 2 * kappa + 1, kappa, (M_PI_2 - 1) / n, \
         "closed form for independent orthogonal chunks")
#define KAPPA_64 1.0039137
#define KAPPA_128 1.0019550

/* Streams of 8 and 120 of 128 channels, 8 and 240 signs: each has its share of an isotropic input's energy. */
#define MIXED(rest, outliers) ((120 * (rest) + 8 * (outliers)) / 128)
#define TWO_STREAMS(sketch, source, nmse, slope) \
    { "gaussian", 128, "m=240,outlier_m=8,outlier_channels=8,sketch=" sketch, "nmse", nmse, 1e-3 * (nmse), source ", by energy" }, \
    { "gaussian", 128, "m=240,outlier_m=8,outlier_channels=8,sketch=" sketch, "ip_slope", slope, 1e-4, source ", by energy" }
#define KAPPA_8 1.0316610
#define KAPPA_120 1.0020855

static const kvant_oracle oracles[] = {
    GAUSSIAN(64, 64), GAUSSIAN(64, 100), GAUSSIAN(128, 64), GAUSSIAN(128, 256), GAUSSIAN(128, 512),
    PART(64, 16, KAPPA_64), PART(128, 64, KAPPA_128), PART(128, 128, KAPPA_128),
    CHUNKS(64, 2, 128, KAPPA_64), CHUNKS(128, 2, 256, KAPPA_128), CHUNKS(128, 4, 512, KAPPA_128),
    TWO_STREAMS("gaussian", "closed form for Gaussian rows", MIXED((M_PI_2 * 120 - 1) / 240, M_PI_2 - 1. / 8), 1),
    TWO_STREAMS("orthogonal", "closed form for independent orthogonal chunks",
                MIXED(M_PI_2 / 2 + KAPPA_120 * KAPPA_120 / 2 - 2 * KAPPA_120 + 1, 1 - 2 * KAPPA_8 + M_PI_2),
                MIXED(KAPPA_120, KAPPA_8)),
    { .input = NULL }
};

const kvant_quantizer quantizer_qjl = {
    .name = "qjl", .summary = "signs of a random projection: unbiased inner products at one bit per row",
    .source = "QJL, arXiv 2406.03482, section 3", .params = params, .oracles = oracles,
    .plan = split_plan, .init = split_init, .train = split_train, .parts = split_parts,
    .ops = { SPLIT_OPS }
};
