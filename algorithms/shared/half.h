/* half.h - IEEE binary16 and bfloat16 to float and back, in plain integer arithmetic.
 * The same bits as the F16C instructions on every machine; every select is branch-free, so loops over them vectorise. */
#ifndef KVANT_HALF_H
#define KVANT_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exact. NaN keeps its sign and payload and becomes quiet. */
static inline float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    uint32_t normal = (magnitude << 13) + (112u << 23);                      /* exponent bias 15 -> 127 */
    uint32_t subnormal = float_bits((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t special = (magnitude << 13) | 0x7f800000u | (magnitude > 0x7c00u ? 0x00400000u : 0u);
    uint32_t bits = magnitude < 0x0400u ? subnormal : normal;
    return float_of_bits(sign | (magnitude >= 0x7c00u ? special : bits));
}

/* Rounds to nearest, ties to even. |x| >= 65520 becomes infinity, NaN stays NaN (quiet, upper payload bits kept). */
static inline uint16_t float_to_half(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
    /* In [.5, 1) a float's last place is 2^-24, the step of half's subnormals: the addition does the rounding. */
    uint32_t subnormal = float_bits(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t special = 0x7c00u | (magnitude > 0x7f800000u ? 0x0200u | (magnitude >> 13 & 0x03ffu) : 0u);
    uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
    return (uint16_t)(sign | (magnitude >= 0x477ff000u ? special : half));
}

/* The same, but finite numbers beyond the range become 65504, not infinity: for scales, which multiply zeros too. */
static inline uint16_t float_to_half_finite(float x)
{
    float clamped = x > 65504 ? 65504 : x < -65504 ? -65504 : x;
    return float_to_half(clamped);
}

/* The bits of a half, or of a bfloat16, to and from any address; and a half's value. */
static inline void half_store(uint8_t *to, uint16_t half) { memcpy(to, &half, sizeof half); }

static inline uint16_t half_bits(const uint8_t *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof half);
    return half;
}

static inline float half_load(const uint8_t *from) { return half_to_float(half_bits(from)); }

/* Exact. NaN becomes quiet. */
static inline float bf16_to_float(uint16_t bf16)
{
    return float_of_bits((uint32_t)(bf16 | ((bf16 & 0x7fffu) > 0x7f80u ? 0x0040u : 0u)) << 16);
}

/* Rounds to nearest, ties to even; beyond the range becomes infinity, NaN stays NaN (quiet). */
static inline uint16_t float_to_bf16(float x)
{
    uint32_t bits = float_bits(x);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x0040u : rounded);
}

#endif
