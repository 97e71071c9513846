/* q8_0.c - llama.cpp's eight-bit blocks of 32 (ggml, block_q8_0): x ~ scale * code, code = -127 ... 127, the scale in half
 * precision.
 * Idea: the cache format that users call lossless; the control which shows what a measure makes of almost no error.
 *
 * Cost: 8.5 bits per coordinate, 34 bytes per 32; one multiplication per coordinate to decode. Where it loses: half the memory of
 * f16 is all that it can save.
 *
 * Codes and scales are bit for bit those of that engine's reference quantizer: scale = largest magnitude / 127 in float, code = x
 * (1 / scale) to the nearest integer, halves away from zero, before the scale is rounded to half. (Its vector code takes halves
 * to even, which moves a code by one where x (1 / scale) is exactly between two.)
 *
 * Defined: a zero block decodes to zero, one below half's range (2^-18) too; scales beyond it saturate at 65504, where that
 * engine has infinity. A block that holds NaN or infinity decodes to NaN and its neighbours do not notice, unless a rotation
 * mixes them. */
#include "algorithms/shared/block.h"

enum { BYTES = 2 + BLOCK };

static void encode_block(const float *x, uint8_t *block)
{
    float scale = fabsf(block_extreme(x, BLOCK)) / 127, inverse = block_inverse(scale);
    half_store(block, float_to_half_finite(scale));
    for (int i = 0; i < BLOCK; i++)
        block[2 + i] = isnan(scale) ? 0 : (uint8_t)(int8_t)roundf(x[i] * inverse);
}

static void decode_block(const uint8_t *block, float *x)
{
    float scale = half_load(block);
    for (int i = 0; i < BLOCK; i++)
        x[i] = scale * (float)(int8_t)block[2 + i];
}

/* Shifted by 128, to be positive. */
static void codes_of(const uint8_t *block, uint8_t *codes)
{
    for (int i = 0; i < BLOCK; i++)
        codes[i] = block[2 + i] ^ 0x80;
}

static const block_format format = { "q8_0", BYTES, 8, encode_block, decode_block, codes_of };

BLOCK_OPS(format)

#define NMSE(input, d, args) { input, d, args, "nmse", .0000286, .003 * .0000286, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 64, ""),
    NMSE("gaussian", 128, ""),
    NMSE("gaussian", 96, "rotation=hadamard"),
    NMSE("sparse4", 128, "rotation=haar"),
    { .input = NULL }
};

const kvant_quantizer quantizer_q8_0 = {
    .name = "q8_0", .summary = "blocks of 32 in eight bits, scale in half precision; llama.cpp's",
    .source = "ggml, quantize_row_q8_0_ref", .params = block_params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
