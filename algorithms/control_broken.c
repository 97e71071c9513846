/* control_broken.c - q4_0 whose reconstruction is negated: a control, not a method.
 * Idea: a measure that can tell good caches from bad ones puts this last; where it does not, the measure has no signal there.
 *
 * Cost: that of q4_0. Where it loses: everywhere, which is what it is for. Its error is about 4 times the energy of the data
 * (twice the vector, squared), its inner products have slope -1, and code, sizes and arithmetic are otherwise those of a working
 * method.
 *
 * Defined: as q4_0, negated. */
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
    block_dequantize(-half_load(block), codes, 8, x);    /* broken on purpose */
}

static const block_format format = { "control_broken", BYTES, 4, encode_block, decode_block, codes_of };

BLOCK_OPS(format)

/* If q4_0 has error D and slope s, this has error D + 4 s and slope -s. */
static const kvant_oracle oracles[] = {
    { "gaussian", 128, "", "nmse", 3.99773, 1e-4, "Monte Carlo" },
    { "gaussian", 128, "", "ip_slope", -.99759, 2e-5, "Monte Carlo" },
    { "sparse4", 128, "rotation=haar", "nmse", 3.99773, 1e-4, "Monte Carlo" },
    { .input = NULL }
};

const kvant_quantizer quantizer_control_broken = {
    .name = "control_broken",
    .summary = "a control that must rank last: q4_0 with its reconstruction negated",
    .source = "none: it shows that a measure tells good from bad", .params = block_params, .oracles = oracles, .plan = plan,
    .init = init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = symbols },
    .parts = parts
};
