/* fp8_e5m2.c - eight bits with five of exponent and two of mantissa, as the OCP 8-bit floating point specification (OFP8, 1.0)
 * has it: the upper byte of a half, up to 57344. Idea: f16's range in half of its memory.
 *
 * Cost: 8 bits per coordinate and 32 per vector for the scale (none: 8 bits); a cast, which accelerators have in hardware. Where
 * it loses: to fp8_e4m3, by a factor of four in error at the same size, wherever the range is not needed; and a scale per vector
 * makes it unneeded.
 *
 * Defined: rounding is to nearest, ties to even, with subnormals; finite numbers saturate (the specification's SAT). With scales,
 * a vector's largest finite magnitude decodes to itself, up to rounding, from 2^-110 to the largest float; below, precision wears
 * off with the scale's, and what is too small to divide by 57344 becomes 0. NaN decodes to NaN, infinity to infinity; other
 * coordinates do not notice. */
#include "algorithms/shared/fp8.h"

static void encode_vector(const void *state, const float *x, uint8_t *code) { fp8_encode(state, 57344, float_to_e5m2, x, code); }
static void decode_vector(const void *state, const uint8_t *code, float *x) { fp8_decode(state, e5m2_to_float, code, x); }

ROTATED_OPS(encode_vector, decode_vector)

static const kvant_oracle oracles[] = {
    { "gaussian", 128, "scale=none", "nmse", 2.790596e-3, 1e-9, "closed form: the density N(0,1) over all rounding intervals" },
    { "gaussian", 64, "", "nmse", 2.5009e-3, 1e-6, "Monte Carlo" },
    { "gaussian", 128, "", "nmse", 2.6308e-3, 1e-6, "Monte Carlo" },
    { "gaussian", 128, "", "ip_slope", .997895, 2e-5, "Monte Carlo" },
    { .input = NULL }
};

const kvant_quantizer quantizer_fp8_e5m2 = {
    .name = "fp8_e5m2", .summary = "8-bit floats with 2 bits of mantissa, with or without a scale per vector",
    .source = "OCP 8-bit Floating Point Specification (OFP8) 1.0, E5M2", .params = fp8_params, .oracles = oracles,
    .plan = fp8_plan, .init = fp8_init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = fp8_symbols }
};
