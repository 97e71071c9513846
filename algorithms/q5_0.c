/* q5_0.c - llama.cpp's five-bit blocks of 32 (ggml, block_q5_0): x ~ scale * (code - 16), the scale in half precision.
 * Idea: q4_0 with twice the steps; the fifth bits of a block are one word of 32 bits, so that the rest are nibbles as before.
 *
 * Cost: 5.5 bits per coordinate, 22 bytes per 32. Where it loses: where q4_0 does; and its codes take the most work of the family
 * to unpack.
 *
 * Codes and scales are bit for bit those of that engine's reference quantizer: scale = extreme / -16 in float, code = x (1 /
 * scale) + 16.5 truncated, at most 31, before the scale is rounded to half.
 *
 * Defined: a zero block decodes to zero, one below half's range (2^-21) too; scales beyond it saturate at 65504, where that
 * engine has infinity. A block that holds NaN or infinity decodes to NaN and its neighbours do not notice, unless a rotation
 * mixes them. */
#include "algorithms/shared/block.h"

enum { HIGH = 2, LOW = 6, BYTES = LOW + NIBBLES };       /* where the fifth bits and the nibbles are */

static void encode_block(const float *x, uint8_t *block)
{
    uint8_t codes[BLOCK];
    uint32_t high = 0;
    half_store(block, float_to_half_finite(block_quantize(x, 16, codes)));
    for (int i = 0; i < BLOCK; i++)
        high |= (uint32_t)(codes[i] >> 4) << i;
    memcpy(block + HIGH, &high, sizeof high);
    block_pack_nibbles(block + LOW, codes, BLOCK);
}

static void codes_of(const uint8_t *block, uint8_t *codes)
{
    uint32_t high;
    memcpy(&high, block + HIGH, sizeof high);
    block_unpack_nibbles(codes, block + LOW, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        codes[i] |= (uint8_t)((high >> i & 1) << 4);
}

static void decode_block(const uint8_t *block, float *x)
{
    uint8_t codes[BLOCK];
    codes_of(block, codes);
    block_dequantize(half_load(block), codes, 16, x);
}

static const block_format format = { "q5_0", BYTES, 5, encode_block, decode_block, codes_of };

BLOCK_OPS(format)

#define NMSE(input, d, args) { input, d, args, "nmse", .001819, .003 * .001819, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 64, ""),
    NMSE("gaussian", 128, ""),
    NMSE("gaussian", 96, "rotation=hadamard"),
    NMSE("sparse4", 128, "rotation=haar"),
    { .input = NULL }
};

const kvant_quantizer quantizer_q5_0 = {
    .name = "q5_0", .summary = "blocks of 32 on a grid of 32 steps, scale in half precision; llama.cpp's",
    .source = "ggml, quantize_row_q5_0_ref", .params = block_params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
