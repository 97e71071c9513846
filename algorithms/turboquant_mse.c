/* turboquant_mse.c - TurboQuant for mean squared error (Zandieh, Daliri, Hadian, Mirrokni; arXiv 2504.19874, algorithm 1).
 * Idea: after a random rotation Pi every coordinate of x / |x| follows one known density, so a single Lloyd-Max codebook, solved
 * ahead for that density, serves every vector of every model: no training, no ranges, no outliers.
 *
 *   y = Pi x / |x|;  idx_j = nearest centroid of y_j;  x^ = |x| Pi^T c[idx]
 *
 * `scale` says what is stored for the norm, at no extra bits: |x|, as in the paper; norm_corrected, |x| / |c[idx]|, which gives x^
 * the length of x; unbiased, |x| / <y, c[idx]>, which gives <q, x^> the slope 1 (the rescaling of EDEN, arXiv 2108.08842).
 * `codebook=laplacian` is no part of the paper: other software uses it, and on unrotated keys tails can be that heavy. Nor is
 * `trained`: Lloyd-Max on the rotated coordinates of calibration vectors, at least 256 per centroid.
 *
 * `outlier_channels` is the recipe for the paper's 2.5 and 3.5 bits: channels that are large on all vectors form a stream
 * of their own (streams.h), by default with one bit more. 32 of 128 channels at 3 bits and 96 at 2 ask for 2.25 bits per coordinate;
 * they store 2.5, for each stream has its norm. The authors choose channels by their norm over the prompt, per KV head:
 * outlier_source=prompt does so on the first train_min vectors.
 *
 * Cost: b bits per coordinate and a norm per vector (16 or 32 bits, counted); a rotation per vector to encode, d^2 (haar) or
 * d log d (hadamard) operations, and a table lookup per coordinate to score or mix: queries and outputs are rotated instead of
 * vectors, once each.
 *
 * Where it loses: x^ is too short, <q, x^> is on average (1 - D) <q, x>, which is 0.64 at one bit (algorithm 2 and scale=unbiased
 * mend that, the latter at an nmse of D / (1 - D)); isotropic data is its worst case and its only case, so structure that a trained
 * or a grouped method would use is rotated away; the state is d^2 floats per rotation; `hadamard` is no uniform rotation and depends
 * on where outliers are. A trained codebook cannot beat the exact one after a uniform rotation, only come near it. Two streams gain
 * what the energy of few channels gives: on isotropic vectors a bit for a quarter of the channels lowers the error by a quarter of
 * what it would for all, and each further stream costs a norm; with several large channels, they pay.
 *
 * Defined: a zero vector decodes to zero. With norm=f16 stored norms are rounded to half: beyond 65504 they saturate, below 2^-25
 * they become 0; f32 keeps all. A vector that holds NaN or infinity decodes to NaN, and no other vector notices. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/kmeans.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/streams.h"
#include "algorithms/shared/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BITS, ROTATION, CODEBOOK, NORM, SCALE, OUTLIER_BITS, OUTLIERS };
enum { TRAINED = CODEBOOK_LAPLACIAN + 1, PER_CENTROID = 256 /* training coordinates */ };
enum { SCALE_NORM, SCALE_NORM_CORRECTED, SCALE_UNBIASED };

typedef struct { rotated base; uint32_t norm, scale, trained; scalar_codebook book; } turboquant;

/* One vector's code: the norm, then b bits per coordinate. */
static turboquant state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t norm = (uint32_t)args->v[NORM], b = (uint32_t)args->v[BITS];
    rotated base = { .d = shape->dim, .code = norm_bytes(norm) + (uint32_t)bits_bytes(shape->dim, b), .bytes = sizeof(turboquant),
                     .rotation = (uint32_t)args->v[ROTATION] };
    return (turboquant) { .base = base, .norm = norm, .scale = (uint32_t)args->v[SCALE],
                         .trained = args->v[CODEBOOK] == TRAINED, .book.bits = b };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    turboquant s = state_of(shape, args);
    if (s.trained)
        plan->train_min = (((size_t)PER_CENTROID << s.book.bits) + shape->dim - 1) / shape->dim;
    return direction_plan("turboquant_mse", &s.base, s.book.bits, 0, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    turboquant *s = state;
    *s = state_of(shape, args);
    codebook_density density = s->trained ? CODEBOOK_EXACT : (codebook_density)args->v[CODEBOOK];      /* until train */
    kvant_status status = scalar_solve(density, s->base.d, s->book.bits, &s->book, NULL, err);
    return status ? status : rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    turboquant *s = state, header = state_of(shape, args);
    *s = header;
    rotated_parts(&header.base, state, out);
    scalar_parts(&s->book, "", "codebook", "thresholds", state, out);
}

/* Rotated coordinates of training vectors' directions; zero vectors have none. */
static size_t gather(const turboquant *s, const float *x, size_t n, float *u, float *y)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++, x += s->base.d) {
        double norm;
        direction_rotate(&s->base, x, 1, &norm, u, y + count);
        count += norm > 0 ? s->base.d : 0;
    }
    return count;
}

static kvant_status train(void *state, const float *x, size_t n, kvant_error *err)
{
    turboquant *s = state;
    float c[SCALAR_MAX];
    double centroids[SCALAR_MAX];
    size_t cells = (size_t)1 << s->book.bits;
    if (!s->trained)
        return kvant_fail(err, KVANT_INVALID, "turboquant_mse: there is nothing to train: codebook=trained is not set");
    kvant_status status = training_finite("turboquant_mse", x, n, s->base.d, err);
    if (status)
        return status;
    float *u = malloc(s->base.d * sizeof *u), *y = malloc(n * s->base.d * sizeof *y);
    size_t count = u && y ? gather(s, x, n, u, y) : 0;
    if (!u || !y)
        status = kvant_fail(err, KVANT_NOMEM, "turboquant_mse: no memory to train on %zu vectors", n);
    else if (!count)
        status = kvant_fail(err, KVANT_INVALID, "turboquant_mse: all %zu training vectors are zero", n);
    else
        status = kmeans_numbers(y, count, cells, c, err);
    free(u);
    free(y);
    for (size_t k = 0; k < cells && !status; k++)
        centroids[k] = c[k];
    if (!status)
        scalar_set(&s->book, s->book.bits, centroids, 1);
    return status;
}

/* Centroids that are solved have the sign of their coordinate, so <u, c> = 0 for u = 0 only; trained ones may all have one sign, and
 * then a direction that they do not know is not rescaled. */
static double correction(const turboquant *s, const float *u, const uint8_t *packed)
{
    if (s->scale == SCALE_NORM)
        return 1;
    scalar_products p = scalar_compare(&s->book, packed, u, s->base.d);
    if (!(p.dot > 0))
        return 1;
    return s->scale == SCALE_UNBIASED ? 1 / p.dot : 1 / sqrt(p.square);
}

static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const turboquant *s = state;
    uint8_t *packed = code + norm_bytes(s->norm);
    (void)work;
    scalar_encode(&s->book, u, s->base.d, packed);
    norm_store(s->norm, norm * correction(s, u, packed), code);
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const turboquant *s = state;
    scalar_decode(&s->book, code + norm_bytes(s->norm), s->base.d, norm_load(s->norm, code), y);
}

DIRECTION_OPS(encode_direction, decode_vector)

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const turboquant *s = state;
    for (size_t v = 0; v < n; v++, code += s->base.code, sym += s->base.d)
        bits_unpack16(sym, code + norm_bytes(s->norm), s->base.d, s->book.bits);
}

/* The outliers' instance differs in its bits. */
static kvant_status outliers(kvant_args *args, kvant_error *err)
{
    return streams_bits("turboquant_mse", args->v[BITS], args->v[OUTLIER_BITS], CODEBOOK_MAX_BITS, &args->v[BITS], err);
}

static const streams_method method = {
    .name = "turboquant_mse", .params = OUTLIERS, .plan = plan, .init = init, .train = train, .outliers = outliers,
    .parts = parts,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols }
};
STREAMS_QUANTIZER(method)
STREAMS_SYMBOLS(method)

/* ---- What it is ------------------------------------------------------------------------------------ */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate, the norm apart", .type = KVANT_INT, .def = 4, .min = 1,
               .max = CODEBOOK_MAX_BITS },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    [CODEBOOK] = { .name = "codebook", .help = "density it is solved for: exact on the sphere of this dimension, its Gaussian "
                                               "limit, or a Laplacian, for coordinates that are not rotated; trained: on "
                                               "the coordinates of calibration vectors",
                   .type = KVANT_CHOICE, .def = CODEBOOK_EXACT,
                   .choices = (const char *const[]) { "exact", "gaussian", "laplacian", "trained", NULL } },
    [NORM] = NORM_PARAM(NORM_F16),
    [SCALE] = { .name = "scale", .help = "what the stored norm is: |x|; norm_corrected: times 1/|c|, so that |x^| = |x|; "
                                         "unbiased: times 1/<u,c>, so that <x,x^> = |x|^2",
                .type = KVANT_CHOICE, .def = SCALE_NORM,
                .choices = (const char *const[]) { "norm", "norm_corrected", "unbiased", NULL } },
    [OUTLIER_BITS] = STREAMS_BITS_PARAM(CODEBOOK_MAX_BITS),
    [OUTLIERS] = STREAMS_PARAMS,
    { .name = NULL }
};

#define NMSE(input, d, b, rest, value, source) { input, d, "bits=" #b rest, "nmse", value, 5e-7, source }
#define NMSE4(input, d, rest, b1, b2, b3, b4, source) \
    NMSE(input, d, 1, rest, b1, source), NMSE(input, d, 2, rest, b2, source), NMSE(input, d, 3, rest, b3, source), \
    NMSE(input, d, 4, rest, b4, source)
#define SLOPE(d, b, D) { "sphere", d, "bits=" #b, "ip_slope", 1 - D, 5e-7, "1 - D: a centroid is the mean of its cell" }

#define EXACT "Lloyd-Max error of the exact density (section 3.1)"
#define LIMIT "error of the Gaussian codebook on the exact density, by quadrature"
#define LAPLACE "error of the Laplacian codebook on the exact density, by quadrature"
#define UNIFORM "a uniform rotation leaves no trace of the input"
#define ISOTROPIC "any rotation of an isotropic input is isotropic"
#define DRAWN "Monte Carlo on the sphere, 4e5 vectors (d = 64) or 2e5"
#define SCALED(d, b, scale, metric, value) \
    { "gaussian", d, "bits=" #b ",scale=" scale, metric, value, .002 * value, DRAWN }
/* corrected is E<u,c>/|c|, rescaled is E|c|^2/<u,c>^2 - 1 for directions u and their centroids c; across a direction the error of
 * the rescaled one spreads evenly over d - 1 dimensions. */
#define SCALES(d, b, corrected, rescaled) \
    SCALED(d, b, "norm_corrected", "nmse", 2 * (1 - corrected)), SCALED(d, b, "norm_corrected", "ip_slope", corrected), \
    SCALED(d, b, "unbiased", "nmse", rescaled), SCALED(d, b, "unbiased", "ip_variance", rescaled * d / (d - 1)), \
    { "gaussian", d, "bits=" #b ",scale=unbiased", "ip_slope", 1, 5e-4, "unbiased but for the norm's rounding" }
#define SPIKE "H e_1 has equal magnitudes: (1 - c)^2 for the centroid c next to 1"

/* Streams of 32 and 96 of 128 channels: each has its share of an isotropic input's energy. */
#define MIXED(rest, outliers) ((96 * (rest) + 32 * (outliers)) / 128)
#define TWO_STREAMS(b, args, rest, outliers) \
    NMSE("gaussian", 128, b, ",outlier_channels=32" args, MIXED(rest, outliers), "by energy: " EXACT), \
    { "gaussian", 128, "bits=" #b ",outlier_channels=32" args, "ip_slope", 1 - MIXED(rest, outliers), 5e-7, "1 - D, by energy" }
/* Nearly all of the error is that of 8 channels, whose density is far from that of the other 56. */
#define EIGHT(b, D) \
    { "gaussian", 64, "bits=8,outlier_bits=" #b ",outlier_channels=8,outlier_select=list,outlier_list=0+5+9+17+33+40+41+63", "nmse", \
      (8 * (D) + 56 * .00003906) / 64, 5e-7, "by energy: " EXACT }
/* A minimum found on N samples lies above the least error by about tr(H^-1 G) / 2N or less, of its Hessian H in the centroids and
 * the covariance G of one sample's gradient. `excess` is that over D, at 256 coordinates per centroid. */
#define TRAINED_ROW(b, D, excess) \
    { "sphere", 128, "bits=" #b ",codebook=trained", "nmse", D, (excess) * (D), EXACT ", and what training leaves above it" }

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
    NMSE4("sphere", 64, ",codebook=laplacian", .3672047, .1370771, .0464978, .0131441, LAPLACE),
    NMSE4("laplacian", 128, ",codebook=laplacian", .3694148, .1377048, .0464819, .0131625, LAPLACE),
    SCALES(64, 1, .8010034, .563646), SCALES(64, 2, .9417606, .127990), SCALES(64, 3, .9836135, .033653),
    SCALES(64, 4, .9955841, .0088966),
    SCALES(128, 1, .7994544, .567191), SCALES(128, 2, .9405788, .130598), SCALES(128, 3, .9830886, .034733),
    SCALES(128, 4, .9954140, .0092393),
    NMSE4("sphere", 128, ",rotation=hadamard", .360889, .116000, .033966, .009315, ISOTROPIC),
    NMSE4("gaussian", 96, ",rotation=hadamard", .360056, .115508, .033773, .009253, ISOTROPIC),
    NMSE4("sphere", 128, ",rotation=none", .360889, .116000, .033966, .009315, ISOTROPIC),
    TWO_STREAMS(1, "", .360056, .111600), TWO_STREAMS(2, "", .115508, .032261), TWO_STREAMS(3, "", .033773, .008774),
    TWO_STREAMS(2, ",rotation=hadamard", .115508, .032261), TWO_STREAMS(2, ",outlier_source=prompt", .115508, .032261),
    TWO_STREAMS(2, ",outlier_select=variance,outlier_bits=4", .115508, .008774), EIGHT(3, .0260630), EIGHT(4, .0068704),
    TRAINED_ROW(1, .360889, .0056), TRAINED_ROW(2, .116000, .0124), TRAINED_ROW(3, .033966, .0264), TRAINED_ROW(4, .009315, .0547),
    NMSE4("e1", 128, ",rotation=hadamard", .040223, .255220, .060846, .003957, SPIKE),
    { .input = NULL }
};

const kvant_quantizer quantizer_turboquant_mse = {
    .name = "turboquant_mse", .summary = "random rotation, then the Lloyd-Max codebook of a coordinate on the sphere",
    .source = "TurboQuant, arXiv 2504.19874, algorithm 1", .params = params, .oracles = oracles,
    .plan = split_plan, .init = split_init, .train = split_train, .parts = split_parts,
    .ops = { SPLIT_OPS, .symbols = split_symbols }
};
