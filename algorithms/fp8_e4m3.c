/* fp8_e4m3.c - eight bits with four of exponent and three of mantissa, as the OCP 8-bit floating point specification (OFP8, 1.0)
 * has it: up to 448, no infinity. Idea: the eight-bit cache of serving engines; relative precision, so that small coordinates
 * keep theirs beside large ones.
 *
 * Cost: 8 bits per coordinate and 32 per vector for the scale (none: 8 bits); a cast, which accelerators have in hardware. Where
 * it loses: on Gaussian data its error is that of six-bit Lloyd-Max codes, and q8_0 has a twentieth of it for 3 % more memory.
 * Without a scale, what lies beyond 448 is clipped and what lies below 2^-10 is gone.
 *
 * Defined: rounding is to nearest, ties to even, with subnormals; finite numbers saturate (the specification's SAT). With scales,
 * a vector's largest finite magnitude decodes to itself, up to rounding, from 2^-117 to the largest float; below, precision wears
 * off with the scale's, and what is too small to divide by 448 becomes 0. NaN and infinity decode to NaN; other coordinates do
 * not notice. */
#include "algorithms/shared/fp8.h"

static void encode_vector(const void *state, const float *x, uint8_t *code) { fp8_encode(state, 448, float_to_e4m3, x, code); }
static void decode_vector(const void *state, const uint8_t *code, float *x) { fp8_decode(state, e4m3_to_float, code, x); }

ROTATED_OPS(encode_vector, decode_vector)

static const kvant_oracle oracles[] = {
    { "gaussian", 128, "scale=none", "nmse", 7.045105e-4, 1e-10, "closed form: the density N(0,1) over all rounding intervals" },
    { "gaussian", 64, "", "nmse", 6.279e-4, 3e-7, "Monte Carlo" },
    { "gaussian", 128, "", "nmse", 6.614e-4, 3e-7, "Monte Carlo" },
    { "gaussian", 128, "", "ip_slope", .999476, 1e-5, "Monte Carlo" },
    { .input = NULL }
};

const kvant_quantizer quantizer_fp8_e4m3 = {
    .name = "fp8_e4m3", .summary = "8-bit floats with 3 bits of mantissa, with or without a scale per vector",
    .source = "OCP 8-bit Floating Point Specification (OFP8) 1.0, E4M3", .params = fp8_params, .oracles = oracles,
    .plan = fp8_plan, .init = fp8_init,
    .ops = { .encode = encode, .decode = decode, .query = rotated_query, .score = score, .mix = mix, .finish = rotated_finish,
             .symbols = fp8_symbols }
};
