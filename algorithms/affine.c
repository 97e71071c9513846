/* affine.c - groups of coordinates on an evenly spaced grid of their own: x ~ scale * code + zero, both in half precision.
 * Idea: a few neighbouring coordinates share a range; nothing is trained or looked up, and nothing rotated unless asked for.
 *
 * Cost: b + 32 / group_size bits per coordinate; one multiplication and one addition per coordinate to decode. Where it loses:
 * one outlier stretches the grid of its whole group (a rotation shares it out among all groups), and even on Gaussian data the
 * grid's ends are spent on rare values: at 2 bits and groups of 64, 2.5 bits in all, its error is 1.7 times that of turboquant_mse
 * at 2.1; at 1 bit minmax is worse than zeros.
 *
 * `scheme`: minmax is KIVI's form for values (Liu et al., arXiv 2402.02750, section 3): scale = (max - min) / (2^b - 1), zero = min.
 * mlx is the rounding of Apple's MLX: the edge of larger magnitude e stays exact and 0 falls on the grid, because with
 * q0 = round(e / s) the scale becomes e / q0. Scale and zero are rounded to half first and the codes are taken for the rounded ones.
 * `symmetric` stores no zero, and so 16 / group_size bits less: levels -L ... L times scale, scale = max |x| / L, L = 2^(b-1) - 1, the
 * restricted range: 0 is a level, no sign has one more, and one code of 2^b is given up. On Gaussian groups of 32 the error per bit
 * gains by it from 3 bits on, in groups of 128 never; a group that lies on one side of 0 loses half of its levels.
 * The arithmetic is that of shared/affine_groups.c, which kivi.c shares; with a rotation, scores and mixes stay behind it.
 *
 * Defined: a constant group decodes to its value rounded to half. Scales and zeros beyond half's range saturate at 65504, so finite
 * input decodes to finite output; a scale that underflows leaves every code 0. A group that holds NaN or infinity decodes to NaN,
 * as a cast to half would spoil it too, and leaves its neighbours alone, unless a rotation mixes them. */
#include "algorithms/shared/affine_groups.h"
#include "algorithms/shared/rotation.h"

enum { BITS, GROUP_SIZE, SCHEME, ROTATION, SYMMETRIC };

enum { STEP = 16 };                /* vectors that are rotated together */

/* Whole state: the rotation's table follows. */
typedef struct { affine_vector base; uint32_t rotation; float table[]; } affine;

static affine_vector base_of(const kvant_shape *shape, const kvant_args *args)
{
    affine_scheme scheme = args->v[SYMMETRIC] > 0 ? AFFINE_SYMMETRIC : (affine_scheme)args->v[SCHEME];
    return affine_vector_of(shape->dim, (uint32_t)args->v[BITS], (uint32_t)args->v[GROUP_SIZE], scheme);
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    affine_vector base = base_of(shape, args);
    if (base.scheme == AFFINE_SYMMETRIC && base.b < 2)
        return kvant_fail(err, KVANT_SKIP, "affine: symmetric levels of 1 bit would be 0 alone; use 2 bits or more");
    if (base.scheme == AFFINE_SYMMETRIC && args->v[SCHEME] != AFFINE_MINMAX)
        return kvant_fail(err, KVANT_SKIP, "affine: symmetric is a scheme of its own; leave scheme at minmax");
    kvant_status status = affine_plan("affine", &base, plan, err);
    if (status)
        return status;
    plan->state = sizeof(affine);
    plan->scratch += STEP * shape->dim * sizeof(float);      /* rotated vectors, then what the groups need */
    return rotation_plan("affine", (rotation_kind)args->v[ROTATION], shape->dim, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    affine *s = state;
    s->base = base_of(shape, args);
    s->rotation = (uint32_t)args->v[ROTATION];
    return rotation_init(s->rotation, s->base.d, shape->seed, s->table, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    affine *s = state;
    s->base = base_of(shape, args);
    s->rotation = (uint32_t)args->v[ROTATION];
    rotation_parts(s->rotation, s->base.d, "", state, s->table, out);
}

/* ---- The groups' ops, behind the rotation -------------------------------------------------------- */

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const affine *s = state;
    float *y = scratch, *rest = y + STEP * s->base.d;
    if (s->rotation == ROTATION_NONE) {
        affine_encode(state, x, first, n, code, scratch);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        rotation_forward(s->rotation, s->base.d, s->table, x + done * s->base.d, step, y);
        affine_encode(state, y, first + done, step, code + done * affine_code_bytes(&s->base), rest);
    }
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const affine *s = state;
    float *y = scratch, *rest = y + STEP * s->base.d;
    if (s->rotation == ROTATION_NONE) {
        affine_decode(state, code, first, n, x, scratch);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        affine_decode(state, code + done * affine_code_bytes(&s->base), first + done, step, y, rest);
        rotation_inverse(s->rotation, s->base.d, s->table, y, step, x + done * s->base.d);
    }
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const affine *s = state;
    float *out = prepared, *y = scratch;
    for (size_t i = 0; i < nq; i++, q += s->base.d, out += s->base.d + s->base.groups) {
        rotation_forward(s->rotation, s->base.d, s->table, q, 1, y);
        affine_query(state, y, 1, out, NULL);
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const affine *s = state;
    float *y = scratch;
    for (size_t i = 0; i < nq; i++, acc += s->base.d + s->base.groups, out += s->base.d) {
        affine_finish(state, acc, 1, y, NULL);
        rotation_inverse(s->rotation, s->base.d, s->table, y, 1, out);
    }
}

/* ---- Tables -------------------------------------------------------------------------------------- */

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = 4, .min = 1, .max = 8 },
    [GROUP_SIZE] = { .name = "group_size", .help = "coordinates that share scale and zero; must divide the dimension",
                     .type = KVANT_INT, .def = 64, .min = 8, .max = 4096 },
    [SCHEME] = { .name = "scheme", .help = "minmax: grid from minimum to maximum (KIVI); mlx: exact larger edge, 0 on the grid",
                 .type = KVANT_CHOICE, .def = AFFINE_MINMAX, .choices = (const char *const[]) { "minmax", "mlx", NULL } },
    [ROTATION] = ROTATION_PARAM(ROTATION_NONE),
    [SYMMETRIC] = { .name = "symmetric", .help = "yes: a scale and no zero, as many levels on both sides of 0; from 2 bits on",
                    .type = KVANT_CHOICE, .def = 0, .choices = (const char *const[]) { "no", "yes", NULL } },
    { .name = NULL }
};

/* Monte Carlo values for N(0,1), good to .3 %, of another implementation. At one bit minmax has only the two extremes of a group
 * to offer, and is worse than storing nothing. */
#define ORACLES(scheme, b, g32, g64, g128) \
    { "gaussian", 128, "bits=" #b ",group_size=32,scheme=" scheme, "nmse", g32, .003 * g32, "Monte Carlo" }, \
    { "gaussian", 128, "bits=" #b ",group_size=64,scheme=" scheme, "nmse", g64, .003 * g64, "Monte Carlo" }, \
    { "gaussian", 128, "bits=" #b ",group_size=128,scheme=" scheme, "nmse", g128, .003 * g128, "Monte Carlo" }

/* The scale's rounding to half moves the eighth bit's error by a thousandth. */
#define SYMMETRIC1(b, g, value) \
    { "gaussian", 128, "bits=" #b ",group_size=" #g ",symmetric=yes", "nmse", value, .002 * value, "quadrature" }
#define SYMMETRIC3(b, g32, g64, g128) SYMMETRIC1(b, 32, g32), SYMMETRIC1(b, 64, g64), SYMMETRIC1(b, 128, g128)

static const kvant_oracle oracles[] = {
    ORACLES("minmax", 1, 1.961, 2.732, 3.566),
    ORACLES("minmax", 2, .154, .202, .250),
    ORACLES("minmax", 3, .0281, .0369, .0457),
    ORACLES("minmax", 4, .00611, .00802, .00994),
    ORACLES("mlx", 1, .6272, .7034, .7619),
    ORACLES("mlx", 2, .131, .155, .179),
    ORACLES("mlx", 3, .0293, .0362, .0428),
    ORACLES("mlx", 4, .00655, .00825, .00999),
    /* Quadrature over the largest of g half-normal magnitudes, M, and over the g - 1 others below it: with s = M / L,
     * D = (g - 1) / g * E int_0^M (x - s round(x / s))^2 phi(x) dx / (Phi(M) - 1/2). */
    SYMMETRIC3(2, .4326417, .5147738, .5876995),
    SYMMETRIC3(3, .0513026, .0631001, .0749270),
    SYMMETRIC3(4, .0094097, .0115776, .0137519),
    SYMMETRIC3(6, .0004796, .0005902, .0007011),
    SYMMETRIC3(8, .0000286, .0000352, .0000418),
    /* A rotation makes any direction uniform, which is what the Gaussian's is. */
    { "gaussian", 128, "bits=2,rotation=hadamard", "nmse", .202, .003 * .202, "Monte Carlo" },
    { "sparse4", 128, "bits=2,rotation=haar", "nmse", .202, .003 * .202, "Monte Carlo" },
    { "sparse4", 128, "bits=4,scheme=mlx,rotation=haar", "nmse", .00825, .003 * .00825, "Monte Carlo" },
    { .input = NULL }
};

const kvant_quantizer quantizer_affine = {
    .name = "affine", .summary = "groups on an evenly spaced grid: scale and zero in half precision",
    .source = "KIVI, arXiv 2402.02750, section 3 (minmax); MLX quantize (mlx)", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = affine_score, .mix = affine_mix, .finish = finish,
             .symbols = affine_symbols },
    .parts = parts
};
