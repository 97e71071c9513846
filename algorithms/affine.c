/* affine.c - groups of coordinates on an evenly spaced grid of their own: x ~ scale * code + zero, both in half precision.
 * Idea: a few neighbouring coordinates share a range; nothing is rotated, trained or looked up.
 *
 * Cost: b + 32 / group_size bits per coordinate; one multiplication and one addition per coordinate to decode. Where it loses:
 * one outlier stretches the grid of its whole group, and even on Gaussian data the grid's ends are spent on rare values: at 2 bits
 * and groups of 64, 2.5 bits in all, its error is 1.7 times that of turboquant_mse at 2.1; at 1 bit minmax is worse than zeros.
 *
 * `scheme`: minmax is KIVI's form for values (Liu et al., arXiv 2402.02750, section 3): scale = (max - min) / (2^b - 1), zero = min.
 * mlx is the rounding of Apple's MLX: the edge of larger magnitude e stays exact and 0 falls on the grid, because with
 * q0 = round(e / s) the scale becomes e / q0. Scale and zero are rounded to half first and the codes are taken for the rounded ones.
 * The arithmetic is that of shared/affine_groups.c, which kivi.c shares.
 *
 * Defined: a constant group decodes to its value rounded to half. Scales and zeros beyond half's range saturate at 65504, so finite
 * input decodes to finite output; a scale that underflows leaves every code 0. A group that holds NaN or infinity decodes to NaN,
 * as a cast to half would spoil it too, and leaves its neighbours alone. */
#include "algorithms/shared/affine_groups.h"

enum { BITS, GROUP_SIZE, SCHEME };

static affine_vector state_of(const kvant_shape *shape, const kvant_args *args)
{
    return affine_vector_of(shape->dim, (uint32_t)args->v[BITS], (uint32_t)args->v[GROUP_SIZE], (affine_scheme)args->v[SCHEME]);
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    affine_vector s = state_of(shape, args);
    plan->state = sizeof s;
    return affine_plan("affine", &s, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(affine_vector *)state = state_of(shape, args);
    return KVANT_OK;
}

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = 4, .min = 1, .max = 8 },
    [GROUP_SIZE] = { .name = "group_size", .help = "coordinates that share scale and zero; must divide the dimension",
                     .type = KVANT_INT, .def = 64, .min = 8, .max = 4096 },
    [SCHEME] = { .name = "scheme", .help = "minmax: grid from minimum to maximum (KIVI); mlx: exact larger edge, 0 on the grid",
                 .type = KVANT_CHOICE, .def = AFFINE_MINMAX, .choices = (const char *const[]) { "minmax", "mlx", NULL } },
    { .name = NULL }
};

/* Monte Carlo values for N(0,1), good to .3 %, of another implementation. At one bit minmax has only the two extremes of a group
 * to offer, and is worse than storing nothing. */
#define ORACLES(scheme, b, g32, g64, g128) \
    { "gaussian", 128, "bits=" #b ",group_size=32,scheme=" scheme, "nmse", g32, .003 * g32, "Monte Carlo" }, \
    { "gaussian", 128, "bits=" #b ",group_size=64,scheme=" scheme, "nmse", g64, .003 * g64, "Monte Carlo" }, \
    { "gaussian", 128, "bits=" #b ",group_size=128,scheme=" scheme, "nmse", g128, .003 * g128, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    ORACLES("minmax", 1, 1.961, 2.732, 3.566),
    ORACLES("minmax", 2, .154, .202, .250),
    ORACLES("minmax", 3, .0281, .0369, .0457),
    ORACLES("minmax", 4, .00611, .00802, .00994),
    ORACLES("mlx", 1, .6272, .7034, .7619),
    ORACLES("mlx", 2, .131, .155, .179),
    ORACLES("mlx", 3, .0293, .0362, .0428),
    ORACLES("mlx", 4, .00655, .00825, .00999),
    { .input = NULL }
};

const kvant_quantizer quantizer_affine = {
    .name = "affine", .summary = "groups on an evenly spaced grid: scale and zero in half precision",
    .source = "KIVI, arXiv 2402.02750, section 3 (minmax); MLX quantize (mlx)", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = affine_encode, .decode = affine_decode, .query = affine_query, .score = affine_score, .mix = affine_mix,
             .finish = affine_finish, .symbols = affine_symbols }
};
