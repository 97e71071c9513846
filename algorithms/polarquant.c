/* polarquant.c - PolarQuant by recursive polar coordinates (Han, Kacham, Karbasi, Mirrokni, Zandieh; arXiv 2502.02617).
 * Two other methods carry the name: the RoPE pairs of 2502.00527 (polarquant_rope.c), and plain rotation with Lloyd-Max.
 * Idea: after a random rotation Pi, 16 coordinates are one radius and 15 angles. Level 1 turns pairs into (radius, angle), every
 * further level turns pairs of radii into the same; of a Gaussian all angles are independent and have known densities.
 *
 *   y = Pi x;  r^(0) = y;  psi^(l)_j = atan2(r^(l-1)_2j, r^(l-1)_2j-1),  r^(l)_j = |(r^(l-1)_2j-1, r^(l-1)_2j)|,  l = 1 ... 4
 *
 * psi^(1) is uniform on [0, 2 pi) and gets uniform cells. psi^(l), l >= 2, has density ~ sin(2 psi)^(2^(l-1) - 1) on [0, pi/2]
 * and gets the Lloyd-Max codebook of that density. The four radii that are left in 64 coordinates stay in half precision.
 *
 * Cost: (8 b1 + 4 b2 + 2 b3 + b4 + 16) / 16 bits per coordinate, 3.875 by default; an atan2 and a root per coordinate to encode,
 * two multiplications to decode; a rotation per vector to encode, and per query.
 *
 * Where it loses: half of all angles are of level 1, so its 4 bits are most of the code, and a pair at 4 bits of angle is worse
 * than two Lloyd-Max coordinates: turboquant_mse has a third of its error at 4.1 bits and its error at 3.1. A radius for every 16
 * coordinates is a whole bit per coordinate. On data that rotation does not make Gaussian, radii follow and angles do not.
 *
 * Defined: a zero group of 16 decodes to zero. Radii beyond 65504 saturate, below 2^-25 they become 0. A rotated group that holds
 * NaN or infinity decodes to NaN; without rotation its neighbours do not notice. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/parts.h"
#include "algorithms/shared/rotated.h"

#include <math.h>

enum { LEVEL1_BITS, LEVEL2_BITS, LEVEL3_BITS, LEVEL4_BITS, ROTATION };
enum { LEVELS = 4, GROUP = 1 << LEVELS, ANGLES = GROUP - 1, CELLS = 1 << CODEBOOK_MAX_BITS };

/* Angles as the vectors that they stand for; thresholds serve levels 2 and up. */
typedef struct {
    rotated base;
    uint32_t bits[LEVELS];
    float threshold[LEVELS][CELLS], cosine[LEVELS][CELLS], sine[LEVELS][CELLS];
} polarquant;

/* Angles of a group at a level (from 0): 8, 4, 2, 1. */
static size_t angles(size_t level) { return GROUP >> (level + 1); }

static polarquant header_of(const kvant_shape *shape, const kvant_args *args)
{
    polarquant s = { .base = { .d = shape->dim, .bytes = sizeof s, .rotation = (uint32_t)args->v[ROTATION] } };
    uint32_t bits = 0;
    for (size_t level = 0; level < LEVELS; level++) {
        s.bits[level] = (uint32_t)args->v[LEVEL1_BITS + level];
        bits += (uint32_t)angles(level) * s.bits[level];
    }
    s.base.code = shape->dim / GROUP * (uint32_t)sizeof(uint16_t) + (shape->dim / GROUP * bits + 7) / 8;
    return s;
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    polarquant s = header_of(shape, args);
    double bits = 0;
    if (s.base.d % GROUP)
        return kvant_fail(err, KVANT_SKIP, "polarquant: dim %u is not a multiple of %d, the coordinates that share a radius",
                          s.base.d, GROUP);
    for (size_t level = 0; level < LEVELS; level++)
        bits += (double)angles(level) * s.bits[level];
    return rotated_plan("polarquant", &s.base, bits / GROUP, plan, err);
}

/* Codebooks are solved for u = 2 psi - pi/2, of density ~ cos(u)^(2^(l-1) - 1). */
static kvant_status init_level(polarquant *s, size_t level, kvant_error *err)
{
    double centroids[CELLS];
    float psi[CELLS];
    size_t n = (size_t)1 << s->bits[level];
    kvant_status status = level == 0 ? KVANT_OK
        : codebook_solve(CODEBOOK_ANGLE, (1u << level) - 1, s->bits[level], centroids, NULL, err);
    if (status)
        return status;
    for (size_t k = 0; k < n; k++) {
        double angle = level == 0 ? ((double)k + .5) * 2 * M_PI / (double)n : (centroids[k] + M_PI_2) / 2;
        psi[k] = (float)angle;
        s->cosine[level][k] = (float)cos(angle);
        s->sine[level][k] = (float)sin(angle);
    }
    codebook_thresholds(psi, n, s->threshold[level]);
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    polarquant *s = state, header = header_of(shape, args);
    kvant_status status = KVANT_OK;
    memcpy(s->bits, header.bits, sizeof s->bits);
    for (size_t level = 0; level < LEVELS && !status; level++)
        status = init_level(s, level, err);
    return status ? status : rotated_init(&header.base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    polarquant *s = state, header = header_of(shape, args);
    memcpy(s->bits, header.bits, sizeof s->bits);
    rotated_parts(&header.base, state, out);
    for (size_t level = 0; level < LEVELS; level++) {
        const uint32_t n = 1u << s->bits[level];
        char name[32];
        snprintf(name, sizeof name, "thresholds%zu", level + 1);
        parts_add(out, "", name, KVANT_TABLE, state, s->threshold[level], 1, n - 1, n - 1);
        snprintf(name, sizeof name, "cosines%zu", level + 1);
        parts_add(out, "", name, KVANT_TABLE, state, s->cosine[level], 1, n, n);
        snprintf(name, sizeof name, "sines%zu", level + 1);
        parts_add(out, "", name, KVANT_TABLE, state, s->sine[level], 1, n, n);
    }
}

/* atan2 gives (-pi, pi], and cells are those of [0, 2 pi): without the wrap half of all pairs land in cell 0. */
static uint8_t cell_of(const polarquant *s, size_t level, double x, double y)
{
    double psi = atan2(y, x);
    if (psi < 0)
        psi += 2 * M_PI;
    return codebook_index(s->threshold[level], s->bits[level], (float)psi);
}

/* Radii replace coordinates, level by level, in the front of r. Doubles hold the square of every float. */
static uint16_t encode_group(const polarquant *s, const float *y, bits_writer *out)
{
    double r[GROUP];
    bool finite = true;
    for (size_t j = 0; j < GROUP; j++) {
        r[j] = y[j];
        finite = finite && isfinite(y[j]);
    }
    for (size_t level = 0; level < LEVELS; level++)
        for (size_t j = 0; j < angles(level); j++) {
            double a = finite ? r[2 * j] : 0, b = finite ? r[2 * j + 1] : 0;
            bits_put(out, cell_of(s, level, a, b), s->bits[level]);
            r[j] = sqrt(a * a + b * b);
        }
    return finite ? float_to_half_finite((float)fmin(r[0], 65504)) : 0x7e00;
}

/* One vector's code: the radii, then the angles of group after group, level by level, in one string of bits. */
static void encode_vector(const void *state, const float *y, uint8_t *code)
{
    const polarquant *s = state;
    size_t groups = s->base.d / GROUP;
    bits_writer out = { .at = code + groups * sizeof(uint16_t) };
    for (size_t i = 0; i < groups; i++)
        half_store(code + i * sizeof(uint16_t), encode_group(s, y + i * GROUP, &out));
    bits_flush(&out);
}

static void decode_group(const polarquant *s, float radius, bits_reader *in, float *y)
{
    uint8_t idx[ANGLES];
    size_t at = 0;
    for (size_t level = 0; level < LEVELS; level++)
        for (size_t j = 0; j < angles(level); j++)
            idx[at++] = (uint8_t)bits_get(in, s->bits[level]);
    y[0] = radius;
    for (size_t level = LEVELS; level-- > 0; )
        for (size_t j = angles(level); j-- > 0; ) {          /* from the back: 2 j and 2 j + 1 have been read, or are j */
            float r = y[j];
            uint8_t k = idx[--at];
            y[2 * j] = r * s->cosine[level][k];
            y[2 * j + 1] = r * s->sine[level][k];
        }
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const polarquant *s = state;
    size_t groups = s->base.d / GROUP;
    bits_reader in = { .at = code + groups * sizeof(uint16_t) };
    for (size_t i = 0; i < groups; i++)
        decode_group(s, half_load(code + i * sizeof(uint16_t)), &in, y + i * GROUP);
}

ROTATED_OPS(encode_vector, decode_vector)

#define LEVEL_PARAM(text, default_bits, angles_text) \
    { .name = text, .help = "bits of an angle of level " angles_text, .type = KVANT_INT, .def = default_bits, .min = 1, \
      .max = CODEBOOK_MAX_BITS }

static const kvant_param params[] = {
    [LEVEL1_BITS] = LEVEL_PARAM("level1_bits", 4, "1: 8 of them in 16 coordinates, uniform cells"),
    [LEVEL2_BITS] = LEVEL_PARAM("level2_bits", 2, "2: 4 in 16 coordinates, Lloyd-Max"),
    [LEVEL3_BITS] = LEVEL_PARAM("level3_bits", 2, "3: 2 in 16 coordinates, Lloyd-Max"),
    [LEVEL4_BITS] = LEVEL_PARAM("level4_bits", 2, "4: 1 in 16 coordinates, Lloyd-Max"),
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    { .name = NULL }
};

/* |x^| = |x| up to the rounding of radii, and the angles are independent: D = 2 - 2 P with P the product over the levels of
 * E cos(psi - psi^), which is the slope too. Level 1: sin(w) / w, w = pi / 2^b; others by quadrature. */
#define EXACT "2 - 2 prod E cos(psi - psi^): quadrature over the densities of section 3"
#define BOTH(input, d, args, value) \
    { input, d, args, "nmse", value, 1e-6, EXACT }, { input, d, args, "ip_slope", 1 - value / 2, 1e-6, EXACT }
#define ALL_BITS(b) "level1_bits=" #b ",level2_bits=" #b ",level3_bits=" #b ",level4_bits=" #b

static const kvant_oracle oracles[] = {
    BOTH("gaussian", 64, "", .032076), BOTH("gaussian", 64, ALL_BITS(2), .216811), BOTH("gaussian", 64, ALL_BITS(3), .056195),
    BOTH("gaussian", 64, ALL_BITS(4), .014218),
    BOTH("gaussian", 128, "", .032076), BOTH("gaussian", 128, ALL_BITS(2), .216811), BOTH("gaussian", 128, ALL_BITS(3), .056195),
    BOTH("gaussian", 128, ALL_BITS(4), .014218),
    BOTH("sphere", 96, "", .032076), BOTH("gaussian", 80, "rotation=hadamard", .032076),
    BOTH("gaussian", 256, "rotation=none", .032076), BOTH("gaussian", 64, "rotation=none," ALL_BITS(1), .768586),
    BOTH("gaussian", 64, "rotation=none,level1_bits=6,level2_bits=5,level3_bits=5,level4_bits=5", .001163),
    BOTH("sparse4", 128, "", .032076), BOTH("e1", 128, "", .032076), BOTH("constant", 128, "", .032076),
    { .input = NULL }
};

const kvant_quantizer quantizer_polarquant = {
    .name = "polarquant", .summary = "random rotation, then recursive polar coordinates: 15 angles and a radius for 16 coordinates",
    .source = "PolarQuant, arXiv 2502.02617", .params = params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish },
    .parts = parts
};
