/* q4_0.c - llama.cpp's four-bit blocks of 32 (ggml, block_q4_0): x ~ scale * (code - 8), the scale in half precision.
 * Idea: the block's coordinate of largest magnitude, sign included, is -8 scale, so that the end of the grid which has no
 * counterpart is spent where it matters. After a Hadamard rotation this is the baseline that a vector quantizer for caches has to
 * beat.
 *
 * Cost: 4.5 bits per coordinate, 18 bytes per 32; one multiplication per coordinate to decode. Where it loses: an outlier
 * stretches the grid of its 31 neighbours (rotation spreads it); the side opposite to the extreme is clipped at 7 scale; and
 * Lloyd-Max codes of 4.5 bits would have two thirds of its error on Gaussian data.
 *
 * Codes and scales are bit for bit those of that engine's reference quantizer: scale = extreme / -8 in float, code = x (1 /
 * scale) + 8.5 truncated, at most 15, before the scale is rounded to half.
 *
 * Defined: a zero block decodes to zero, one below half's range (2^-22) too; scales beyond it saturate at 65504, where that
 * engine has infinity. A block that holds NaN or infinity decodes to NaN and its neighbours do not notice, unless a rotation
 * mixes them. */
#include "algorithms/shared/block.h"

enum { BYTES = 2 + NIBBLES };

static void encode_block(const float *x, uint8_t *block)
{
    uint8_t codes[BLOCK];
    half_store(block, float_to_half_finite(block_quantize(x, 8, codes)));
    block_pack_nibbles(block + 2, codes, BLOCK);
}

static void codes_of(const uint8_t *block, uint8_t *codes) { block_unpack_nibbles(codes, block + 2, BLOCK); }

static void decode_block(const uint8_t *block, float *x)
{
    uint8_t codes[BLOCK];
    codes_of(block, codes);
    block_dequantize(half_load(block), codes, 8, x);
}

static const block_format format = { "q4_0", BYTES, 4, encode_block, decode_block, codes_of };

BLOCK_OPS(format)

/* Of a Gaussian with every block's scale its own; a rotation of such data, or a uniform one of any, changes nothing. */
#define NMSE(input, d, args) { input, d, args, "nmse", .00737, .003 * .00737, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 64, ""),
    NMSE("gaussian", 128, ""),
    NMSE("gaussian", 96, "rotation=hadamard"),
    NMSE("gaussian", 128, "rotation=hadamard"),
    NMSE("sparse4", 128, "rotation=haar"),
    { .input = NULL }
};

const kvant_quantizer quantizer_q4_0 = {
    .name = "q4_0", .summary = "blocks of 32 on a grid of 16 steps, scale in half precision; llama.cpp's",
    .source = "ggml, quantize_row_q4_0_ref", .params = block_params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
