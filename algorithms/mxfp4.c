/* mxfp4.c - blocks of 32 four-bit floats (E2M1) that share a power of two (OCP Microscaling Formats, MX, 1.0, section 6.3).
 * Idea: a scale that hardware applies by an addition to exponents. X = 2^(floor(log2 max|V|) - 2), so that the block's largest
 * magnitude lies in [4, 8) times X, where E2M1 ends at 6; P = V / X to the nearest of 0 .5 1 1.5 2 3 4 6.
 *
 * Cost: 4.25 bits per coordinate, 17 bytes per 32. Where it loses: a power of two fits few blocks; on Gaussian data three of ten
 * have something to clip at 6, which shortens vectors by 2 %, and nvfp4 and q4_0, with finer scales, have two thirds and five
 * ninths of the error for a quarter of a bit more.
 *
 * Blocks are those of GGUF (type MXFP4), which its reader decodes to the same numbers. Rounding is to nearest, ties to even, as
 * the specification wants it; llama.cpp's reference quantizer gives ties to the smaller magnitude.
 *
 * Defined: X is at least 2^-127, so denormals keep what precision is left; zeros keep their sign. A block that holds NaN or
 * infinity has the scale NaN and decodes to NaN; its neighbours do not notice, unless a rotation mixes them. */
#include "algorithms/shared/block.h"
#include "algorithms/shared/minifloat.h"

enum { BYTES = 1 + NIBBLES, BIAS = 127, E2M1_EXPONENT = 2 /* of its largest number */, NOT_A_NUMBER = 0xff };

/* E8M0: a biased exponent and nothing else. */
static uint8_t scale_of(float extreme)
{
    if (!(extreme < INFINITY))
        return NOT_A_NUMBER;
    int e = extreme > 0 ? ilogbf(extreme) - E2M1_EXPONENT + BIAS : 0;
    return (uint8_t)(e > 0 ? e : 0);
}

/* 2^(e - 127), of which the least is a denormal float. */
static float scale_value(uint32_t e)
{
    return e == NOT_A_NUMBER ? NAN : float_of_bits(e ? e << 23 : 0x00400000u);
}

static void encode_block(const float *x, uint8_t *block)
{
    uint8_t codes[BLOCK];
    block[0] = scale_of(fabsf(block_extreme(x, BLOCK)));
    float inverse = scale_value(2 * BIAS - (block[0] < 2 * BIAS ? block[0] : 2 * BIAS));
    for (int i = 0; i < BLOCK; i++)
        codes[i] = float_to_e2m1(x[i] * inverse);
    block_pack_nibbles(block + 1, codes, BLOCK);
}

static void codes_of(const uint8_t *block, uint8_t *codes) { block_unpack_nibbles(codes, block + 1, BLOCK); }

static void decode_block(const uint8_t *block, float *x)
{
    uint8_t codes[BLOCK];
    float scale = scale_value(block[0]);
    codes_of(block, codes);
    for (int i = 0; i < BLOCK; i++)
        x[i] = scale * e2m1_to_float(codes[i]);
}

static const block_format format = { "mxfp4", BYTES, 4, encode_block, decode_block, codes_of };

BLOCK_OPS(format)

/* Of standard deviation 1: a block's error depends on where its extreme lies between two powers of two. */
#define NMSE(d, args) { "gaussian", d, args, "nmse", .0132, .003 * .0132, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE(64, ""),
    NMSE(128, ""),
    NMSE(96, "rotation=hadamard"),
    NMSE(128, "rotation=haar"),
    { .input = NULL }
};

const kvant_quantizer quantizer_mxfp4 = {
    .name = "mxfp4", .summary = "blocks of 32 four-bit floats that share a power of two",
    .source = "OCP Microscaling Formats (MX) 1.0, section 6.3", .params = block_params, .oracles = oracles, .plan = plan,
    .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
