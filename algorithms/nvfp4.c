/* nvfp4.c - NVIDIA's four-bit format: blocks of 16 four-bit floats (E2M1) with an E4M3 scale each, under one float (NVIDIA,
 * "Pretraining Large Language Models with NVFP4", arXiv 2509.25149, section 2).
 * Idea: half of MXFP4's block and a scale with a mantissa, so that a block's largest magnitude lands on 6; as E4M3 ends at 448, a
 * second scale maps the largest scale there.
 *
 * Cost: 4.5 bits per coordinate and, with second_scale=vector, a float per vector: 4.75 at 128. Where it loses: E2M1 is coarse at
 * its upper end, between 4 and 6, where a block's largest coordinates are, so that q4_0 in less memory has a fifth less error on
 * Gaussian data. Without the second scale, blocks whose largest magnitude is below .094 are coarse, below .006 gone, and beyond
 * 2688 clipped.
 *
 * `second_scale`: vector is the paper's scale per tensor, taken and counted per vector, as a cache is written: largest magnitude
 * / (6 * 448). none is 1. trained is the paper's for the vectors that it was trained on, stored once, so that larger ones clip;
 * until it is trained it is 1.
 *
 * Rounding is to nearest, ties to even, of scales and of elements; elements are divided by the rounded scale.
 *
 * Defined: zero vectors decode to zero, and so do blocks below 2^-18 of the vector's largest magnitude; a vector below 2^-114,
 * whose second scale is no normal float, loses precision or decodes to zero. A block that holds NaN or infinity decodes to NaN
 * and its neighbours do not notice, unless a rotation mixes them. */
#include "algorithms/shared/block.h"
#include "algorithms/shared/minifloat.h"
#include "algorithms/shared/parts.h"

enum { SECOND_SCALE, ROTATION };
enum { SECOND_VECTOR, SECOND_NONE, SECOND_TRAINED };
enum { GROUP = 16, BYTES = 1 + GROUP / 2, DIM_MAX = 4096 };

static const float largest_element = 6, largest_scale = 448;

typedef struct { rotated base; uint32_t source; float second; } nvfp4_state;

static size_t head_bytes(const nvfp4_state *s) { return s->source == SECOND_VECTOR ? sizeof(float) : 0; }

static nvfp4_state state_of(const kvant_shape *shape, const kvant_args *args)
{
    nvfp4_state s = { .base = { .d = shape->dim, .bytes = sizeof(nvfp4_state), .rotation = (uint32_t)args->v[ROTATION] },
                      .source = (uint32_t)args->v[SECOND_SCALE], .second = 1 };
    s.base.code = (uint32_t)(head_bytes(&s) + s.base.d / GROUP * BYTES);
    return s;
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    nvfp4_state s = state_of(shape, args);
    if (s.base.d % GROUP)
        return kvant_fail(err, KVANT_SKIP, "nvfp4: dim %u is not a multiple of %d, the size of its blocks", s.base.d, GROUP);
    plan->train_min = s.source == SECOND_TRAINED;
    return rotated_plan("nvfp4", &s.base, 4, plan, err);
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    nvfp4_state *s = state;
    *s = state_of(shape, args);
    return rotated_init(&s->base, shape->seed, state, err);
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    nvfp4_state *s = state, header = state_of(shape, args);
    *s = header;
    rotated_parts(&header.base, state, out);
    if (s->source == SECOND_TRAINED)
        parts_add(out, "", "second_scale", KVANT_TABLE, state, &s->second, 1, 1, 1);
}

static float second_scale(float largest) { return largest / (largest_element * largest_scale); }

/* One vector at a time, as codes see it: rotated. */
static kvant_status train(void *state, const float *x, size_t n, kvant_error *err)
{
    nvfp4_state *s = state;
    float y[DIM_MAX], largest = 0;
    (void)err;
    for (size_t v = 0; v < n; v++) {
        rotated_query(s, x + v * s->base.d, 1, y, NULL);
        largest = fmaxf(largest, minifloat_largest(y, s->base.d));
    }
    if (s->source == SECOND_TRAINED)
        s->second = second_scale(largest);
    return KVANT_OK;
}

static void encode_vector(const void *state, const float *y, uint8_t *code)
{
    const nvfp4_state *s = state;
    uint8_t codes[GROUP];
    float second = s->second;
    if (s->source == SECOND_VECTOR) {
        second = second_scale(minifloat_largest(y, s->base.d));
        memcpy(code, &second, sizeof second);
    }
    code += head_bytes(s);
    for (size_t i = 0; i < s->base.d; i += GROUP, code += BYTES) {
        float extreme = fabsf(block_extreme(y + i, GROUP));
        code[0] = float_to_e4m3(extreme / largest_element * block_inverse(second));
        float inverse = block_inverse(e4m3_to_float(code[0]) * second);
        for (size_t k = 0; k < GROUP; k++)
            codes[k] = float_to_e2m1(y[i + k] * inverse);
        block_pack_nibbles(code + 1, codes, GROUP);
    }
}

static void decode_vector(const void *state, const uint8_t *code, float *y)
{
    const nvfp4_state *s = state;
    uint8_t codes[GROUP];
    float second = s->second;
    if (s->source == SECOND_VECTOR)
        memcpy(&second, code, sizeof second);
    code += head_bytes(s);
    for (size_t i = 0; i < s->base.d; i += GROUP, code += BYTES) {
        float scale = e4m3_to_float(code[0]) * second;
        block_unpack_nibbles(codes, code + 1, GROUP);
        for (size_t k = 0; k < GROUP; k++)
            y[i + k] = scale * e2m1_to_float(codes[k]);
    }
}

ROTATED_OPS(encode_vector, decode_vector)

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const nvfp4_state *s = state;
    uint8_t codes[GROUP];
    for (size_t v = 0; v < n; v++) {
        code += head_bytes(s);
        for (size_t i = 0; i < s->base.d; i += GROUP, code += BYTES) {
            block_unpack_nibbles(codes, code + 1, GROUP);
            for (size_t k = 0; k < GROUP; k++)
                *sym++ = codes[k];
        }
    }
}

static const kvant_param params[] = {
    [SECOND_SCALE] = { .name = "second_scale", .help = "over those of blocks; vector: a float per vector; none; trained: one float",
                       .type = KVANT_CHOICE, .def = SECOND_VECTOR,
                       .choices = (const char *const[]) { "vector", "none", "trained", NULL } },
    [ROTATION] = ROTATION_PARAM(ROTATION_NONE),
    { .name = NULL }
};

#define NMSE(input, d, args, value, tolerance) { input, d, args, "nmse", value, tolerance, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 128, "second_scale=none", .00906, .003 * .00906),
    NMSE("gaussian", 96, "second_scale=none,rotation=hadamard", .00906, .003 * .00906),
    NMSE("gaussian", 64, "", .008976, 5e-6),
    NMSE("gaussian", 128, "", .009008, 4e-6),
    NMSE("sphere", 128, "rotation=haar", .009008, 4e-6),
    NMSE("sphere", 128, "second_scale=none", .009058, 4e-6),
    { .input = NULL }
};

const kvant_quantizer quantizer_nvfp4 = {
    .name = "nvfp4", .summary = "blocks of 16 four-bit floats with E4M3 scales, under a float per vector",
    .source = "NVIDIA, arXiv 2509.25149, section 2", .params = params, .oracles = oracles, .plan = plan, .init = init,
    .train = train,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
