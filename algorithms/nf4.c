/* nf4.c - NormalFloat: 16 values at quantiles of a Gaussian, times the largest magnitude of a group (QLoRA: Dettmers, Pagnoni,
 * Holtzman, Zettlemoyer; arXiv 2305.14314, section 3 and appendix E).
 * Idea: groups of a Gaussian divided by their largest magnitude fall into each cell about equally often; 0 and both ends are
 * exact, so there are 7 negative and 8 positive values beside 0.
 *
 * Cost: 4 + 16 / group_size bits per coordinate, 4.25 at 64; a table lookup and a multiplication per coordinate to decode. Where
 * it loses: equally filled cells waste no bits but do not minimise the squared error, for which values must lie further out:
 * beside both exact ends there are gaps of .3, and q4_0, which has as many bits as groups of 32, has 3 % less error; an outlier
 * stretches its whole group.
 *
 * Scales are half floats (the paper's are floats, themselves quantized to 8 bits in groups of 256: 4.127 bits at 64). They are
 * rounded first and the codes are taken for the rounded ones, ties to the lower value.
 *
 * Defined: a zero group decodes to zero, one below half's range (2^-25) too; scales beyond it saturate at 65504. A group that
 * holds NaN or infinity decodes to NaN and its neighbours do not notice, unless a rotation mixes them. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/block.h"
#include "algorithms/shared/codebook.h"

enum { GROUP_SIZE, ROTATION };
enum { BITS = 4, VALUES = 1 << BITS, GROUP_MAX = 4096, HEAD = sizeof(uint16_t) /* the scale */ };

/* Appendix E's, which are quantiles of equal distance in probability on each side, divided by the largest. */
static const float values[VALUES] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
};

typedef struct { rotated base; uint32_t g; float threshold[VALUES]; } nf4_state;

/* A group's code: its scale, then its values' indices. */
static uint32_t group_bytes(uint32_t g) { return (uint32_t)(HEAD + bits_bytes(g, BITS)); }

static nf4_state state_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t g = (uint32_t)args->v[GROUP_SIZE];
    rotated base = { .d = shape->dim, .code = shape->dim / g * group_bytes(g), .bytes = sizeof(nf4_state),
                     .rotation = (uint32_t)args->v[ROTATION] };
    return (nf4_state) { .base = base, .g = g };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    nf4_state s = state_of(shape, args);
    if (s.base.d % s.g)
        return kvant_fail(err, KVANT_SKIP, "nf4: dim %u is not a multiple of group_size %u", s.base.d, s.g);
    return rotated_plan("nf4", &s.base, BITS, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    nf4_state *s = state;
    *s = state_of(shape, args);
    codebook_thresholds(values, VALUES, s->threshold);
    return rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    nf4_state *s = state;
    *s = state_of(shape, args);
    codebook_thresholds(values, VALUES, s->threshold);
    const rotated base = s->base;
    rotated_parts(&base, state, out);
}

static void encode_vector(const void *state, const float *y, uint8_t *code)
{
    const nf4_state *s = state;
    uint8_t index[GROUP_MAX];
    for (size_t i = 0; i < s->base.d; i += s->g, code += group_bytes(s->g)) {
        half_store(code, float_to_half_finite(fabsf(block_extreme(y + i, s->g))));
        float inverse = block_inverse(half_load(code));
        for (size_t k = 0; k < s->g; k++)
            index[k] = codebook_index(s->threshold, BITS, y[i + k] * inverse);
        bits_pack(code + HEAD, index, s->g, BITS);
    }
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const nf4_state *s = state;
    uint8_t index[GROUP_MAX];
    for (size_t i = 0; i < s->base.d; i += s->g, code += group_bytes(s->g)) {
        float scale = half_load(code);
        bits_unpack(index, code + HEAD, s->g, BITS);
        for (size_t k = 0; k < s->g; k++)
            y[i + k] = scale * values[index[k]];
    }
}

ROTATED_OPS(encode_vector, decode_vector)

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const nf4_state *s = state;
    for (size_t i = 0; i < n * s->base.d; i += s->g, code += group_bytes(s->g))
        bits_unpack16(sym + i, code + HEAD, s->g, BITS);
}

static const kvant_param params[] = {
    [GROUP_SIZE] = { .name = "group_size", .help = "coordinates that share a scale; must divide the dimension", .type = KVANT_INT,
                     .def = 64, .min = 8, .max = GROUP_MAX },
    [ROTATION] = ROTATION_PARAM(ROTATION_NONE),
    { .name = NULL }
};

#define NMSE(d, args, value) { "gaussian", d, args, "nmse", value, .003 * value, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE(64, "group_size=32", .00762),
    NMSE(128, "group_size=32", .00762),
    NMSE(96, "group_size=32,rotation=hadamard", .00762),
    NMSE(64, "group_size=64", .00845),
    NMSE(128, "group_size=64", .00845),
    NMSE(128, "group_size=128", .009137),
    { "sparse4", 128, "group_size=64,rotation=haar", "nmse", .00845, .003 * .00845, "Monte Carlo" },
    { .input = NULL }
};

const kvant_quantizer quantizer_nf4 = {
    .name = "nf4", .summary = "groups divided by their largest magnitude, at 16 quantiles of a Gaussian",
    .source = "QLoRA, arXiv 2305.14314, section 3 and appendix E", .params = params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
