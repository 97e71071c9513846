/* turboquant_mse.c - TurboQuant for mean squared error (Zandieh, Daliri, Hadian, Mirrokni; arXiv 2504.19874, algorithm 1).
 * Idea: after a random rotation Pi every coordinate of x / |x| follows one known density, so a single Lloyd-Max codebook, solved
 * ahead for that density, serves every vector of every model: no training, no ranges, no outliers.
 *
 *   y = Pi x / |x|;  idx_j = nearest centroid of y_j;  x^ = |x| Pi^T c[idx]
 *
 * Cost: b bits per coordinate and a norm per vector (16 or 32 bits, counted); a rotation per vector to encode, d^2 (haar) or
 * d log d (hadamard) operations, and a table lookup per coordinate to score or mix: queries and outputs are rotated instead of
 * vectors, once each.
 *
 * Where it loses: x^ is too short, <q, x^> is on average (1 - D) <q, x>, which is 0.64 at one bit (algorithm 2 and rescaling mend
 * that); isotropic data is its worst case and its only case, so structure that a trained or a grouped method would use is
 * rotated away; the state is d^2 floats per rotation; `hadamard` is no uniform rotation and depends on where outliers are.
 *
 * Defined: a zero vector decodes to zero. With norm=f16 norms are rounded to half: beyond 65504 they saturate, below 2^-25 they
 * become 0; f32 keeps all. A vector that holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/rotation.h"
#include "algorithms/shared/vector.h"
#include "harness/kvant.h"

#include <math.h>

enum { BITS, ROTATION, CODEBOOK, NORM };
enum { NORM_F16, NORM_F32 };
enum { MAX_CENTROIDS = 1 << CODEBOOK_MAX_BITS, STEP = 16 /* vectors rotated at a time */ };

/* Centroids and thresholds are on the scale of the unit sphere: the codebook of unit variance over sqrt(d). */
typedef struct {
    uint32_t d, b, rotation, norm;
    float c[MAX_CENTROIDS], threshold[MAX_CENTROIDS];
    float pi[];                    /* the rotation's table */
} turboquant;

/* Per thread: indices of one vector, and two blocks of vectors for what comes and goes. */
typedef struct { float *in, *out; uint8_t *idx; } workspace;

static workspace workspace_of(const turboquant *s, void *scratch)
{
    float *in = scratch, *out = in + STEP * s->d;
    return (workspace) { in, out, (uint8_t *)(out + STEP * s->d) };
}

/* One vector's code: the norm, then b bits per coordinate. */
static size_t norm_bytes(const turboquant *s) { return s->norm == NORM_F16 ? sizeof(uint16_t) : sizeof(float); }
static size_t code_bytes(const turboquant *s) { return norm_bytes(s) + bits_bytes(s->d, s->b); }

static turboquant header_of(const kvant_shape *shape, const kvant_args *args)
{
    return (turboquant) { .d = shape->dim, .b = (uint32_t)args->v[BITS], .rotation = (uint32_t)args->v[ROTATION],
                          .norm = (uint32_t)args->v[NORM] };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    turboquant s = header_of(shape, args);
    plan->state = sizeof s;
    plan->code = code_bytes(&s);
    plan->query = s.d * sizeof(float);
    plan->acc = s.d;
    plan->scratch = 2 * STEP * s.d * sizeof(float) + s.d;
    plan->bits_asked = s.b;
    return rotation_plan("turboquant_mse", s.rotation, s.d, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    turboquant *s = state;
    double centroids[MAX_CENTROIDS];
    *s = header_of(shape, args);
    kvant_status status = codebook_solve((codebook_density)args->v[CODEBOOK], s->d, s->b, centroids, NULL, err);
    if (status)
        return status;
    for (size_t k = 0; k < (size_t)1 << s->b; k++)
        s->c[k] = (float)(centroids[k] / sqrt(s->d));
    codebook_thresholds(s->c, (size_t)1 << s->b, s->threshold);
    return rotation_init(s->rotation, s->d, shape->seed, s->pi, err);
}

/* ---- Norms --------------------------------------------------------------------------------------- */

static double norm_of(const float *x, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += (double)x[j] * (double)x[j];
    return sqrt(sum);
}

static void put_norm(const turboquant *s, double norm, uint8_t *code)
{
    if (!isfinite(norm))
        norm = NAN;
    float single = norm > 3.4028234663852886e38 ? 3.4028234663852886e38f : (float)norm;
    uint16_t half = float_to_half(single > 65504 ? 65504 : single);
    memcpy(code, s->norm == NORM_F16 ? (void *)&half : (void *)&single, norm_bytes(s));
}

static float get_norm(const turboquant *s, const uint8_t *code)
{
    uint16_t half;
    float single;
    if (s->norm == NORM_F16) {
        memcpy(&half, code, sizeof half);
        return half_to_float(half);
    }
    memcpy(&single, code, sizeof single);
    return single;
}

/* ---- Encoding and decoding ----------------------------------------------------------------------- */

/* x / |x| in double, so that neither denormals nor the largest floats leave the range on the way; 0 when there is no direction. */
static void normalise(const float *x, double norm, size_t d, float *unit)
{
    double inverse = norm > 0 && isfinite(norm) ? 1 / norm : 0;
    for (size_t j = 0; j < d; j++)
        unit[j] = inverse > 0 ? (float)(x[j] * inverse) : 0;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const turboquant *s = state;
    workspace w = workspace_of(s, scratch);
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        for (size_t i = 0; i < step; i++) {
            const float *xi = x + (done + i) * s->d;
            double norm = norm_of(xi, s->d);
            put_norm(s, norm, code + (done + i) * bytes);
            normalise(xi, norm, s->d, w.in + i * s->d);
        }
        rotation_forward(s->rotation, s->d, s->pi, w.in, step, w.out);
        for (size_t i = 0; i < step; i++) {
            const float *y = w.out + i * s->d;
            for (size_t j = 0; j < s->d; j++)
                w.idx[j] = codebook_index(s->threshold, s->b, y[j]);
            bits_pack(code + (done + i) * bytes + norm_bytes(s), w.idx, s->d, s->b);
        }
    }
}

/* c[idx] of one vector, without its norm, in the rotated domain. */
static void look_up(const turboquant *s, const uint8_t *code, uint8_t *idx, float *y)
{
    bits_unpack(idx, code + norm_bytes(s), s->d, s->b);
    for (size_t j = 0; j < s->d; j++)
        y[j] = s->c[idx[j]];
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const turboquant *s = state;
    workspace w = workspace_of(s, scratch);
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        for (size_t i = 0; i < step; i++) {
            const uint8_t *at = code + (done + i) * bytes;
            float norm = get_norm(s, at), *y = w.in + i * s->d;
            look_up(s, at, w.idx, y);
            for (size_t j = 0; j < s->d; j++)
                y[j] *= norm;
        }
        rotation_inverse(s->rotation, s->d, s->pi, w.in, step, x + done * s->d);
    }
}

/* ---- Scoring and mixing: <q, x^> = |x| <Pi q, c[idx]>, sum of w x^ = Pi^T (sum of w |x| c[idx]) ---- */

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const turboquant *s = state;
    (void)scratch;
    rotation_forward(s->rotation, s->d, s->pi, q, nq, prepared);
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const turboquant *s = state;
    workspace w = workspace_of(s, scratch);
    size_t bytes = code_bytes(s);
    const float *q = prepared;
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        float norm = get_norm(s, code);
        look_up(s, code, w.idx, w.in);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = norm * vector_dot(q + i * s->d, w.in, s->d);
    }
}

static void mix(const void *state, const float *weight, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const turboquant *s = state;
    workspace w = workspace_of(s, scratch);
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        float norm = get_norm(s, code);
        look_up(s, code, w.idx, w.in);
        for (size_t i = 0; i < nq; i++)
            vector_add(acc + i * s->d, weight[i * n + v] * norm, w.in, s->d);
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const turboquant *s = state;
    (void)scratch;
    rotation_inverse(s->rotation, s->d, s->pi, acc, nq, out);
}

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const turboquant *s = state;
    for (size_t v = 0; v < n; v++, code += code_bytes(s), sym += s->d)
        bits_unpack16(sym, code + norm_bytes(s), s->d, s->b);
}

/* ---- What it is ------------------------------------------------------------------------------------ */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate, the norm apart", .type = KVANT_INT, .def = 4, .min = 1,
               .max = CODEBOOK_MAX_BITS },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    [CODEBOOK] = { .name = "codebook", .help = "density it is solved for: exact on the sphere of this dimension, or the Gaussian limit",
                   .type = KVANT_CHOICE, .def = CODEBOOK_EXACT, .choices = (const char *const[]) { "exact", "gaussian", NULL } },
    [NORM] = { .name = "norm", .help = "format of the stored norm", .type = KVANT_CHOICE, .def = NORM_F16,
               .choices = (const char *const[]) { "f16", "f32", NULL } },
    { .name = NULL }
};

#define NMSE(input, d, b, rest, value, source) { input, d, "bits=" #b rest, "nmse", value, 5e-7, source }
#define NMSE4(input, d, rest, b1, b2, b3, b4, source) \
    NMSE(input, d, 1, rest, b1, source), NMSE(input, d, 2, rest, b2, source), NMSE(input, d, 3, rest, b3, source), \
    NMSE(input, d, 4, rest, b4, source)
#define SLOPE(d, b, D) { "sphere", d, "bits=" #b, "ip_slope", 1 - D, 5e-7, "1 - D: a centroid is the mean of its cell" }

#define EXACT "Lloyd-Max error of the exact density (section 3.1)"
#define LIMIT "error of the Gaussian codebook on the exact density, by quadrature"
#define UNIFORM "a uniform rotation leaves no trace of the input"
#define ISOTROPIC "any rotation of an isotropic input is isotropic"
#define SPIKE "H e_1 has equal magnitudes: (1 - c)^2 for the centroid c next to 1"

static const kvant_oracle oracles[] = {
    NMSE4("sphere", 64, "", .358387, .114526, .033391, .009132, EXACT),
    SLOPE(64, 1, .358387), SLOPE(64, 2, .114526), SLOPE(64, 3, .033391), SLOPE(64, 4, .009132),
    NMSE4("gaussian", 96, "", .360056, .115508, .033773, .009253, EXACT),
    NMSE4("gaussian", 128, "", .360889, .116000, .033966, .009315, EXACT),
    SLOPE(128, 1, .360889), SLOPE(128, 2, .116000), SLOPE(128, 3, .033966), SLOPE(128, 4, .009315),
    NMSE4("sphere", 256, "", .362136, .116740, .034256, .009408, EXACT),
    NMSE4("e1", 128, "", .360889, .116000, .033966, .009315, UNIFORM),
    NMSE4("constant", 128, "", .360889, .116000, .033966, .009315, UNIFORM),
    NMSE4("sparse4", 128, "", .360889, .116000, .033966, .009315, UNIFORM),
    NMSE4("sphere", 64, ",codebook=gaussian", .358397, .114546, .033444, .009171, LIMIT),
    NMSE4("sphere", 128, ",rotation=hadamard", .360889, .116000, .033966, .009315, ISOTROPIC),
    NMSE4("gaussian", 96, ",rotation=hadamard", .360056, .115508, .033773, .009253, ISOTROPIC),
    NMSE4("sphere", 128, ",rotation=none", .360889, .116000, .033966, .009315, ISOTROPIC),
    NMSE4("e1", 128, ",rotation=hadamard", .040223, .255220, .060846, .003957, SPIKE),
    { .input = NULL }
};

const kvant_quantizer quantizer_turboquant_mse = {
    .name = "turboquant_mse", .summary = "random rotation, then the Lloyd-Max codebook of a coordinate on the sphere",
    .source = "TurboQuant, arXiv 2504.19874, algorithm 1", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish, .symbols = symbols }
};
