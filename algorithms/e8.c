/* e8.c - eight coordinates at a time to a point of the E8 lattice in a ball: QuIP#'s codebook E8P (Tseng, Chee, Sun, Kuleshov,
 * De Sa; arXiv 2402.04396, section 4), made for weights, here for vectors after a random rotation.
 * Idea: E8 packs spheres densest in 8 dimensions, so its cells are rounder than cubes, and a ball of it wastes no codes on
 * corners. E8P has 2^16 points, 2 bits per coordinate: the coset E8 + 1/4 is D^ - 1/4 and D^ + 1/4, where D^ are the vectors of
 * odd halves with even sum; a point is a pattern of magnitudes (8 bits), 7 signs (the eighth makes the sum even) and the
 * quarter's sign.
 *
 *   y = s sqrt(d) Pi x / |x|;  o = nearest point of E8P to y;  x^ = |x| / (s sqrt(d)) Pi^T o
 *
 * Patterns: the 227 of squared length at most 10, and the first 29, by key, of the 56 with five 3/2 (the original lists 29 of
 * squared length 12 of its own; only isotropy tells them apart). Three and four bits code the residual s2 (y - o) as well: by 256
 * points of E8 around 0 - 0, the 240 of squared length 2, and 15 of the 16 +-2 e_i - or by E8P again. s, s2 are those of
 * least error.
 *
 * Cost: bits + 16 / d per coordinate; a few comparisons per block where the nearest lattice point lies in the ball (two of three
 * at 2 bits), 512 dot products of 8 where it does not, 256 for a third bit; one table row to decode. The state is small.
 *
 * Where it loses: encoding is slow beside a scalar codebook; the error, .78 of Lloyd-Max's at 2 bits, is .85 and .87 of it at 3
 * and 4, because a residual in a lattice's cell is not what a ball is for; no bits below 2 or above 4.
 *
 * Defined: zeros decode to zeros. Norms are halves: beyond 65504 they saturate, below 2^-25 they become 0. A vector that is not
 * finite decodes to NaN. Equal distances: the nearest lattice point is that of rounding down with quarter +1/4 first; in the
 * search over the ball +1/4 comes first, then the lower pattern. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/vector.h"

#include <math.h>

enum { BITS, ROTATION };
enum { DIM = 8, POINTS = 256, INNER = 227 };

/* Patterns ascend by key: two bits per coordinate, magnitude (2 k + 1) / 2. */
typedef struct {
    rotated base;
    uint32_t bits;
    float s, s2;
    uint16_t key[POINTS];
    uint8_t odd[POINTS];           /* 1: the signs of a pattern must hold an odd number of minuses */
    float magnitude[POINTS][DIM], square[POINTS];
    float near[POINTS][DIM], near_square[POINTS];              /* the codebook of one bit */
} e8;

static const float quarter = .25f;

static e8 header_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t bits = (uint32_t)args->v[BITS];
    return (e8) { .base = { .d = shape->dim, .code = 2 + shape->dim / DIM * bits, .bytes = sizeof(e8),
                            .rotation = (uint32_t)args->v[ROTATION] },
                  .bits = bits, .s = bits == 2 ? 1.03f : bits == 3 ? .99f : .9f, .s2 = bits == 3 ? 2.05f : 3.9f };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    e8 s = header_of(shape, args);
    if (s.base.d % DIM)
        return kvant_fail(err, KVANT_SKIP, "e8: dim %u is not a multiple of %d", s.base.d, DIM);
    return direction_plan("e8", &s.base, s.bits, 0, plan, err);
}

/* ---- Codebooks ------------------------------------------------------------------------------------- */

static unsigned magnitude_at(unsigned key, size_t j) { return key >> 2 * j & 3; }

/* Keys in ascending order: squared length at most 10, or the first of those with five 3/2 and three 1/2. */
static void init_patterns(e8 *s)
{
    size_t n = 0, outer = 0;
    for (unsigned key = 0; key < 1u << 2 * DIM && n < POINTS; key++) {
        unsigned count[4] = { 0 }, sum = 0;
        float square = 0;
        for (size_t j = 0; j < DIM; j++) {
            float m = (float)magnitude_at(key, j) + .5f;
            count[magnitude_at(key, j)]++;
            sum += 2 * magnitude_at(key, j) + 1;
            square += m * m;
        }
        bool further = count[0] == 3 && count[1] == 5 && outer < POINTS - INNER;
        outer += further;
        if (square > 10 && !further)
            continue;
        s->key[n] = (uint16_t)key;
        s->odd[n] = sum / 2 % 2;
        s->square[n] = square;
        for (size_t j = 0; j < DIM; j++)
            s->magnitude[n][j] = (float)magnitude_at(key, j) + .5f;
        n++;
    }
}

/* 0; (+-1, +-1, 0 ...); halves with an even number of minuses; +-2 e_i but for the last. */
static void init_near(e8 *s)
{
    size_t n = 1;
    for (size_t i = 0; i < DIM; i++)
        for (size_t j = i + 1; j < DIM; j++)
            for (unsigned signs = 0; signs < 4; signs++, n++) {
                s->near[n][i] = signs & 1 ? -1 : 1;
                s->near[n][j] = signs & 2 ? -1 : 1;
            }
    for (unsigned signs = 0; signs < 1u << DIM; signs++) {
        unsigned minuses = 0;
        for (size_t j = 0; j < DIM; j++) {
            minuses += signs >> j & 1;
            s->near[n][j] = signs >> j & 1 ? -.5f : .5f;
        }
        n += minuses % 2 == 0;         /* an odd row is written over by the next */
    }
    for (size_t i = 0; n < POINTS; i++, n++) {
        memset(s->near[n], 0, sizeof s->near[n]);
        s->near[n][i / 2] = i % 2 ? -2 : 2;
    }
    for (size_t i = 0; i < POINTS; i++)
        s->near_square[i] = vector_dot(s->near[i], s->near[i], DIM);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    e8 *s = state;
    *s = header_of(shape, args);
    init_patterns(s);
    init_near(s);
    rotated base = s->base;
    return rotated_init(&base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    e8 *s = state;
    *s = header_of(shape, args);
    init_patterns(s);
    init_near(s);
    const rotated base = s->base;
    rotated_parts(&base, state, out);
}

/* ---- Nearest points --------------------------------------------------------------------------------- */

/* A candidate: a vector of odd halves, which quarter it belongs to, and its squared distance. */
typedef struct { float v[DIM], distance; unsigned minus; } candidate;

/* Nearest vector of D^: every coordinate to its nearest odd half; where their sum is odd, the worst one to its second nearest. */
static void round_to(const float *y, unsigned minus, candidate *c)
{
    float worst = -1, sum = 0, sign = 0;
    size_t at = 0;
    *c = (candidate) { .minus = minus };
    for (size_t j = 0; j < DIM; j++) {
        float z = y[j] + (minus ? quarter : -quarter), error;
        c->v[j] = floorf(z) + .5f;
        error = z - c->v[j];
        c->distance += error * error;
        sum += c->v[j];
        if (fabsf(error) > worst) {
            worst = fabsf(error), at = j;
            sign = error < 0 ? -1.f : 1.f;
        }
    }
    if (fmodf(sum, 2) != 0) {
        c->v[at] += sign;
        c->distance += 1 - 2 * worst;              /* (1 - e)^2 - e^2 */
    }
}

/* The pattern of v, or POINTS when it lies outside of the ball. */
static unsigned pattern_of(const e8 *s, const float *v)
{
    unsigned key = 0, low = 0;
    for (size_t j = 0; j < DIM; j++) {
        if (!(fabsf(v[j]) <= 3))
            return POINTS;
        key |= (unsigned)fabsf(v[j]) << 2 * j;
    }
    for (unsigned step = POINTS / 2; step; step /= 2)
        low += s->key[low + step - 1] < key ? step : 0;
    return s->key[low] == key ? low : POINTS;
}

/* Nearest of all 2^16: for each pattern the signs of y, less the cheapest flip where their number has the wrong parity. */
static unsigned search(const e8 *s, const float *y, candidate *c)
{
    unsigned best = 0;
    c->distance = INFINITY;
    for (unsigned minus = 0; minus < 2; minus++) {
        float z[DIM], size[DIM], square;
        unsigned minuses = 0;
        for (size_t j = 0; j < DIM; j++) {
            z[j] = y[j] + (minus ? quarter : -quarter);
            size[j] = fabsf(z[j]);
            minuses += z[j] < 0;
        }
        square = vector_dot(z, z, DIM);
        for (unsigned p = 0; p < POINTS; p++) {
            float product = vector_dot(s->magnitude[p], size, DIM), flip = INFINITY;
            size_t at = 0;
            bool wrong = (minuses + s->odd[p]) % 2;
            for (size_t j = 0; j < DIM && wrong; j++)
                if (s->magnitude[p][j] * size[j] < flip)
                    flip = s->magnitude[p][j] * size[j], at = j;
            float distance = square - 2 * (wrong ? product - 2 * flip : product) + s->square[p];
            if (distance < c->distance) {
                best = p;
                c->distance = distance;
                c->minus = minus;
                for (size_t j = 0; j < DIM; j++)
                    c->v[j] = copysignf(s->magnitude[p][j], z[j] < 0 ? -1.f : 1.f);
                c->v[at] = wrong ? -c->v[at] : c->v[at];
            }
        }
    }
    return best;
}

/* Code and point of the nearest of 2^16: the lattice's nearest point where the ball has it, else by search. */
static uint16_t nearest(const e8 *s, const float *y, float *o)
{
    candidate c, other;
    round_to(y, 0, &c);
    round_to(y, 1, &other);
    if (other.distance < c.distance)
        c = other;
    unsigned pattern = pattern_of(s, c.v), signs = 0;
    if (pattern == POINTS)
        pattern = search(s, y, &c);
    for (size_t j = 0; j < DIM; j++) {
        o[j] = c.v[j] + (c.minus ? -quarter : quarter);
        signs |= (c.v[j] < 0 ? 1u : 0) << j;
    }
    return (uint16_t)(pattern | (signs & 127) << 8 | c.minus << 15);
}

static void point_of(const e8 *s, uint16_t code, float *o)
{
    unsigned pattern = code & 255, signs = code >> 8 & 127, minuses = 0;
    for (size_t j = 0; j < DIM - 1; j++)
        minuses += signs >> j & 1;
    signs |= ((minuses + s->odd[pattern]) & 1) << (DIM - 1);
    for (size_t j = 0; j < DIM; j++)
        o[j] = (signs >> j & 1 ? -s->magnitude[pattern][j] : s->magnitude[pattern][j]) + (code >> 15 ? -quarter : quarter);
}

static uint8_t nearest_near(const e8 *s, const float *y)
{
    float best = INFINITY;
    unsigned at = 0;
    for (unsigned i = 0; i < POINTS; i++) {
        float distance = s->near_square[i] - 2 * vector_dot(s->near[i], y, DIM);
        if (distance < best)
            best = distance, at = i;
    }
    return (uint8_t)at;
}

/* ---- Vectors ------------------------------------------------------------------------------------------ */

/* One vector's code: the norm, then per block a word and, with more bits, the residual's byte or word. */
static void encode_direction(const void *state, double norm, const float *u, uint8_t *code, void *work)
{
    const e8 *s = state;
    float factor = s->s * sqrtf((float)s->base.d), y[DIM], o[DIM];
    (void)work;
    norm_store(NORM_F16, norm, code);
    code += norm_bytes(NORM_F16);
    for (size_t i = 0; i < s->base.d; i += DIM, code += s->bits) {
        for (size_t j = 0; j < DIM; j++)
            y[j] = factor * u[i + j];
        half_store(code, nearest(s, y, o));
        for (size_t j = 0; j < DIM; j++)
            y[j] = s->s2 * (y[j] - o[j]);
        if (s->bits == 3)
            code[2] = nearest_near(s, y);
        else if (s->bits == 4)
            half_store(code + 2, nearest(s, y, o));
    }
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const e8 *s = state;
    float factor = norm_load(NORM_F16, code) / (s->s * sqrtf((float)s->base.d)), o[DIM], rest[DIM] = { 0 };
    code += norm_bytes(NORM_F16);
    for (size_t i = 0; i < s->base.d; i += DIM, code += s->bits) {
        point_of(s, half_bits(code), o);
        if (s->bits == 3)
            memcpy(rest, s->near[code[2]], sizeof rest);
        else if (s->bits == 4)
            point_of(s, half_bits(code + 2), rest);
        for (size_t j = 0; j < DIM; j++)
            y[i + j] = factor * (o[j] + rest[j] / s->s2);
    }
}

DIRECTION_OPS(encode_direction, decode_vector)

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits per coordinate: 2 is E8P alone, 3 and 4 have a residual stage", .type = KVANT_INT,
               .def = 2, .min = 2, .max = 4 },
    [ROTATION] = ROTATION_PARAM(ROTATION_HAAR),
    { .name = NULL }
};

/* Own Monte Carlo by exhaustive search, 3 million coordinates: good to .25 %. */
#define NMSE(input, d, args, value) { input, d, args, "nmse", value, .0025 * value, "own Monte Carlo, exhaustive search" }
#define SLOPE(d, args, value) { "gaussian", d, args, "ip_slope", value, .0005, "own Monte Carlo, exhaustive search" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 64, "bits=2", .08845), SLOPE(64, "bits=2", .9178), NMSE("gaussian", 64, "bits=3", .02811),
    SLOPE(64, "bits=3", .9738), NMSE("gaussian", 64, "bits=4", .007832), SLOPE(64, "bits=4", .9932),
    NMSE("gaussian", 128, "bits=2", .08992), SLOPE(128, "bits=2", .9143), NMSE("gaussian", 128, "bits=3", .02880),
    SLOPE(128, "bits=3", .9714), NMSE("gaussian", 128, "bits=4", .008090), SLOPE(128, "bits=4", .9919),
    NMSE("sphere", 128, "bits=2,rotation=none", .08992), NMSE("sphere", 64, "bits=2,rotation=hadamard", .08845),
    NMSE("e1", 128, "bits=2", .08992), NMSE("sparse4", 128, "bits=3", .02880), NMSE("constant", 64, "bits=4", .007832),
    { .input = NULL }
};

const kvant_quantizer quantizer_e8 = {
    .name = "e8", .summary = "random rotation, then blocks of 8 to points of the E8 lattice in a ball",
    .source = "codebook E8P of QuIP#, arXiv 2402.04396, section 4; here for vectors", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish },
    .parts = parts
};
