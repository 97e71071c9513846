/* bf16.c - a cast to bfloat16: the upper half of a float. Idea: the range of f32 in the memory of f16.
 * Cost: 16 bits per coordinate, no arithmetic. Where it loses: 8 bits of precision to f16's 11, at the same size; keys and values
 * seldom need the range.
 *
 * Defined: rounding is to nearest, ties to even, subnormals are kept; beyond 3.39e38 becomes infinity, NaN stays NaN. */
#include "algorithms/shared/half.h"
#include "algorithms/shared/rotated.h"

static rotated state_of(const kvant_shape *shape)
{
    return (rotated) { .d = shape->dim, .code = 2 * shape->dim, .bytes = sizeof(rotated), .rotation = ROTATION_NONE };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    rotated s = state_of(shape);
    (void)args;
    return rotated_plan("bf16", &s, 16, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    rotated s = state_of(shape);
    (void)args;
    return rotated_init(&s, shape->seed, state, err);
}

static void encode_vector(const void *state, const float *x, uint8_t *code)
{
    for (size_t j = 0; j < ((const rotated *)state)->d; j++)
        half_store(code + 2 * j, float_to_bf16(x[j]));
}

static void decode_vector(const void *state, const uint8_t *code, float *x)
{
    for (size_t j = 0; j < ((const rotated *)state)->d; j++)
        x[j] = bf16_to_float(half_bits(code + 2 * j));
}

ROTATED_OPS(encode_vector, decode_vector)

static const kvant_param params[] = { { .name = NULL } };

static const kvant_oracle oracles[] = {
    { "gaussian", 128, "", "nmse", 2.761088e-6, 1e-12, "closed form: the density N(0,1) over all rounding intervals" },
    { "gaussian", 128, "", "ip_slope", 1, 1e-6, "rounding to nearest has next to no bias" },
    { .input = NULL }
};

const kvant_quantizer quantizer_bf16 = {
    .name = "bf16", .summary = "a cast to bfloat16", .source = "bfloat16: IEEE 754 binary32 without its lower 16 bits",
    .params = params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish }
};
