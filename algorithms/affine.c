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
 *
 * Defined: a constant group decodes to its value rounded to half. Scales and zeros beyond half's range saturate at 65504, so finite
 * input decodes to finite output; a scale that underflows leaves every code 0. A group that holds NaN or infinity decodes to NaN,
 * as a cast to half would spoil it too, and leaves its neighbours alone. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/vector.h"
#include "harness/kvant.h"

#include <math.h>

enum { BITS, GROUP_SIZE, SCHEME };
enum { MINMAX, MLX };

typedef struct { uint32_t d, b, g, groups, scheme; } affine_state;

/* One vector's code: scale and zero of every group, then all codes, packed tightly. */
typedef struct { uint16_t scale, zero; } group_head;

static size_t code_bytes(const affine_state *s) { return s->groups * sizeof(group_head) + bits_bytes((size_t)s->d, s->b); }

static affine_state state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t g = (uint32_t)args->v[GROUP_SIZE];
    return (affine_state) { shape->dim, (uint32_t)args->v[BITS], g, shape->dim / g, (uint32_t)args->v[SCHEME] };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    affine_state s = state_of(shape, args);
    if (s.d % s.g)
        return kvant_fail(err, KVANT_SKIP, "affine: dim %u is not a multiple of group_size %u", s.d, s.g);
    plan->state = sizeof s;
    plan->code = code_bytes(&s);
    plan->query = (s.d + s.groups) * sizeof(float);      /* the query and its sum over each group */
    plan->acc = s.d + s.groups;                          /* sums of w * scale * code, and of w * zero per group */
    plan->scratch = s.d;                                 /* unpacked codes */
    plan->bits_asked = s.b;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(affine_state *)state = state_of(shape, args);
    return KVANT_OK;
}

/* ---- Encoding ---------------------------------------------------------------------------------- */

typedef struct { float scale, zero; } affine_grid;

/* To half and back, saturating where a cast would give infinity. */
static uint16_t half_of(float x) { return float_to_half(fminf(fmaxf(x, -65504), 65504)); }

/* In double: the difference of two floats may be no float. */
static float step_of(float min, float max, float levels) { return (float)(((double)max - min) / levels); }

static affine_grid grid_minmax(float min, float max, float levels) { return (affine_grid) { step_of(min, max, levels), min }; }

static affine_grid grid_mlx(float min, float max, float levels)
{
    bool negative = fabsf(min) > fabsf(max);             /* the edge of larger magnitude gets code 0, whichever it is */
    float e = negative ? min : max, s = negative ? step_of(min, max, levels) : -step_of(min, max, levels);
    if (s == 0)
        return (affine_grid) { 0, e };
    float q0 = rintf(e / s);
    return q0 != 0 ? (affine_grid) { e / q0, e } : (affine_grid) { s, 0 };
}

/* Nearest code by the rounding of an addition (ties to even), after the clamp that keeps it exact; no branch, no call. */
static void quantize_group(const float *x, size_t g, group_head head, float levels, uint8_t *codes)
{
    const float shift = 0x1.8p23f;
    float scale = half_to_float(head.scale), zero = half_to_float(head.zero), divisor = scale != 0 ? scale : INFINITY;
    for (size_t i = 0; i < g; i++) {
        float q = (x[i] - zero) / divisor;
        q = q > 0 ? q : 0;
        q = q < levels ? q : levels;
        codes[i] = (uint8_t)(int32_t)((q + shift) - shift);
    }
}

static group_head encode_group(const affine_state *s, const float *x, uint8_t *codes)
{
    float min = x[0], max = x[0], levels = (float)((1u << s->b) - 1), finite = 0;
    for (size_t i = 0; i < s->g; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        finite += x[i] * 0;                              /* NaN as soon as one is not finite */
    }
    if (finite != 0) {
        memset(codes, 0, s->g);
        return (group_head) { 0x7e00, 0x7e00 };
    }
    affine_grid grid = s->scheme == MLX ? grid_mlx(min, max, levels) : grid_minmax(min, max, levels);
    group_head head = { half_of(grid.scale), half_of(grid.zero) };
    quantize_group(x, s->g, head, levels, codes);
    return head;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const affine_state *s = state;
    size_t bytes = code_bytes(s);
    uint8_t *codes = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, x += s->d, code += bytes) {
        for (size_t i = 0; i < s->groups; i++) {
            group_head head = encode_group(s, x + i * s->g, codes + i * s->g);
            memcpy(code + i * sizeof head, &head, sizeof head);
        }
        bits_pack(code + s->groups * sizeof(group_head), codes, s->d, s->b);
    }
}

/* ---- Decoding ---------------------------------------------------------------------------------- */

/* Unpacks a vector's codes into scratch and returns them. */
static const uint8_t *unpacked(const affine_state *s, const uint8_t *code, void *scratch)
{
    bits_unpack(scratch, code + s->groups * sizeof(group_head), s->d, s->b);
    return scratch;
}

static affine_grid grid_of(const uint8_t *code, size_t group)
{
    group_head head;
    memcpy(&head, code + group * sizeof head, sizeof head);
    return (affine_grid) { half_to_float(head.scale), half_to_float(head.zero) };
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const affine_state *s = state;
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        for (size_t i = 0; i < s->groups; i++, codes += s->g, x += s->g) {
            affine_grid grid = grid_of(code, i);
            for (size_t k = 0; k < s->g; k++)
                x[k] = grid.scale * codes[k] + grid.zero;
        }
    }
}

/* ---- Scoring: <q, x> = sum over groups of scale <q, code> + zero * sum(q) ------------------------ */

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const affine_state *s = state;
    float *out = prepared;
    (void)scratch;
    for (size_t i = 0; i < nq; i++, q += s->d, out += s->d + s->groups) {
        memcpy(out, q, s->d * sizeof *q);
        for (size_t j = 0; j < s->groups; j++) {
            double sum = 0;
            for (size_t k = 0; k < s->g; k++)
                sum += q[j * s->g + k];
            out[s->d + j] = (float)sum;
        }
    }
}

static float dot_codes(const float *q, const uint8_t *codes, size_t g)
{
    float sum[8] = { 0 };
    size_t k = 0;
    for (; k + 8 <= g; k += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += q[k + lane] * codes[k + lane];
    for (; k < g; k++)
        sum[k % 8] += q[k] * codes[k];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const affine_state *s = state;
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        const float *q = prepared;
        for (size_t i = 0; i < nq; i++, q += s->d + s->groups) {
            float sum = 0;
            for (size_t j = 0; j < s->groups; j++) {
                affine_grid grid = grid_of(code, j);
                sum += grid.scale * dot_codes(q + j * s->g, codes + j * s->g, s->g) + grid.zero * q[s->d + j];
            }
            dot[i * n + v] = sum;
        }
    }
}

/* ---- Mixing: the zeros of a group are summed once for all its coordinates ------------------------ */

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const affine_state *s = state;
    size_t bytes = code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        for (size_t i = 0; i < nq; i++) {
            float *sum = acc + i * (s->d + s->groups), weight = w[i * n + v];
            for (size_t j = 0; j < s->groups; j++) {
                affine_grid grid = grid_of(code, j);
                float scaled = weight * grid.scale;
                for (size_t k = j * s->g; k < (j + 1) * s->g; k++)
                    sum[k] += scaled * codes[k];
                sum[s->d + j] += weight * grid.zero;
            }
        }
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const affine_state *s = state;
    (void)scratch;
    for (size_t i = 0; i < nq; i++, acc += s->d + s->groups, out += s->d)
        for (size_t k = 0; k < s->d; k++)
            out[k] = acc[k] + acc[s->d + k / s->g];
}

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const affine_state *s = state;
    for (size_t v = 0; v < n; v++, code += code_bytes(s), sym += s->d)
        bits_unpack16(sym, code + s->groups * sizeof(group_head), s->d, s->b);
}

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = 4, .min = 1, .max = 8 },
    [GROUP_SIZE] = { .name = "group_size", .help = "coordinates that share scale and zero; must divide the dimension",
                     .type = KVANT_INT, .def = 64, .min = 8, .max = 4096 },
    [SCHEME] = { .name = "scheme", .help = "minmax: grid from minimum to maximum (KIVI); mlx: exact larger edge, 0 on the grid",
                 .type = KVANT_CHOICE, .def = MINMAX, .choices = (const char *const[]) { "minmax", "mlx", NULL } },
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
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish, .symbols = symbols }
};
