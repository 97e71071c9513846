/* minifloat.h - the OCP floats of 4 and 8 bits to float and back: E2M1, E4M3 and E5M2.
 * Rounding is to nearest, ties to even, with subnormals; finite numbers beyond the range saturate. */
#ifndef KVANT_MINIFLOAT_H
#define KVANT_MINIFLOAT_H

#include "algorithms/shared/half.h"

#include <math.h>
#include <stddef.h>

/* |x| as an unsigned code of `mantissa` bits below an exponent of this bias, at most `max`, whatever x is. */
static inline uint8_t minifloat_magnitude(float x, unsigned mantissa, unsigned bias, uint32_t max)
{
    uint32_t bits = float_bits(x) & 0x7fffffffu, shift = 23 - mantissa;
    uint32_t normal = (bits + (1u << (shift - 1)) - 1 + (bits >> shift & 1u) - ((127 - bias) << 23)) >> shift;
    /* The last place of this power of two is the step of the subnormals: the addition does the rounding. */
    uint32_t round = (127 + 24 - bias - mantissa) << 23;
    uint32_t subnormal = float_bits(float_of_bits(bits) + float_of_bits(round)) - round;
    uint32_t code = bits < (128 - bias) << 23 ? subnormal : normal;
    return (uint8_t)(code < max ? code : max);
}

/* Exact. */
static inline float minifloat_value(uint32_t magnitude, unsigned mantissa, unsigned bias)
{
    float subnormal = (float)magnitude * float_of_bits((128 - bias - mantissa) << 23);
    float normal = float_of_bits((magnitude << (23 - mantissa)) + ((127 - bias) << 23));
    return magnitude >> mantissa ? normal : subnormal;
}

/* The largest finite magnitude of x [n]: what a scale maps to a format's largest number. */
static inline float minifloat_largest(const float *x, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        largest = magnitude > largest && magnitude < INFINITY ? magnitude : largest;
    }
    return largest;
}

/* Four bits: 0 .5 1 1.5 2 3 4 6 and their negatives; NaN and infinity become 6. */
static inline uint8_t float_to_e2m1(float x) { return (uint8_t)(minifloat_magnitude(x, 1, 1, 7) | (signbit(x) ? 8 : 0)); }
static inline float e2m1_to_float(uint8_t code) { return copysignf(minifloat_value(code & 7, 1, 1), code & 8 ? -1.f : 1.f); }

/* Up to 448, no infinity: that becomes NaN. */
static inline uint8_t float_to_e4m3(float x)
{
    uint8_t magnitude = isfinite(x) ? minifloat_magnitude(x, 3, 7, 0x7e) : 0x7f;
    return (uint8_t)(magnitude | (signbit(x) ? 0x80 : 0));
}

static inline float e4m3_to_float(uint8_t code)
{
    float magnitude = (code & 0x7f) == 0x7f ? NAN : minifloat_value(code & 0x7f, 3, 7);
    return copysignf(magnitude, code & 0x80 ? -1.f : 1.f);
}

/* Up to 57344, with infinity and NaN: the upper byte of a half. */
static inline uint8_t float_to_e5m2(float x)
{
    uint8_t magnitude = isfinite(x) ? minifloat_magnitude(x, 2, 15, 0x7b) : isnan(x) ? 0x7f : 0x7c;
    return (uint8_t)(magnitude | (signbit(x) ? 0x80 : 0));
}

static inline float e5m2_to_float(uint8_t code) { return half_to_float((uint16_t)(code << 8)); }

#endif
