/* block.h - formats that code 32 coordinates at a time with a scale of their own: one block's method is all that they say.
 * Blocks are those of GGUF: scale first, then codes; in nibbles, low ones are codes 0...15 and high ones 16...31. */
#ifndef KVANT_BLOCK_H
#define KVANT_BLOCK_H

#include "algorithms/shared/half.h"
#include "algorithms/shared/rotated.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = 32, NIBBLES = BLOCK / 2 /* bytes */ };

typedef struct {
    const char *name;              /* the quantizer's */
    uint32_t bytes, bits_asked;    /* of a block; of a coordinate, the scale apart */
    void (*encode)(const float *x, uint8_t *block);          /* x [32] */
    void (*decode)(const uint8_t *block, float *x);
    void (*codes)(const uint8_t *block, uint8_t *codes);     /* [32], for entropy accounting */
} block_format;

/* The one parameter of these formats: rotation, none unless asked for. */
extern const kvant_param block_params[];

/* KVANT_SKIP when the dimension is no multiple of 32. */
kvant_status block_plan(const block_format *f, const kvant_shape *shape, const kvant_args *args, kvant_plan *plan,
                        kvant_error *err);
kvant_status block_init(const block_format *f, const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err);
void block_parts(const block_format *f, const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts);
void block_symbols(const block_format *f, const void *state, const uint8_t *code, size_t n, uint16_t *sym);

/* Defines plan, init, parts, encode, decode, score, mix and symbols of a format. */
#define BLOCK_OPS(format) \
    static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *out, kvant_error *err) \
    { \
        return block_plan(&format, shape, args, out, err); \
    } \
    static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err) \
    { \
        return block_init(&format, shape, args, state, err); \
    } \
    static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out) \
    { \
        block_parts(&format, shape, args, state, out); \
    } \
    static void encode_vector(const void *state, const float *y, uint8_t *code) \
    { \
        for (size_t i = 0; i < ((const rotated *)state)->d; i += BLOCK, code += format.bytes) \
            format.encode(y + i, code); \
    } \
    static void decode_vector(const void *state, const uint8_t *code, float *y) \
    { \
        for (size_t i = 0; i < ((const rotated *)state)->d; i += BLOCK, code += format.bytes) \
            format.decode(code, y + i); \
    } \
    static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym) \
    { \
        block_symbols(&format, state, code, n, sym); \
    } \
    ROTATED_OPS(encode_vector, decode_vector)

/* ---- Parts of a block ------------------------------------------------------------------------- */

/* The coordinate of largest magnitude with its sign, the first of equals; NaN when one of the n is not finite. */
static inline float block_extreme(const float *x, size_t n)
{
    float extreme = 0, largest = 0, finite = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        extreme = magnitude > largest ? x[i] : extreme;
        largest = magnitude > largest ? magnitude : largest;
        finite += x[i] * 0;                              /* NaN as soon as one is not finite */
    }
    return finite == 0 ? extreme : NAN;
}

/* 1 / scale, or 0 where that is no number: for 0, NaN, and denormals so small that the inverse overflows. */
static inline float block_inverse(float scale)
{
    float inverse = 1 / scale;
    return isfinite(inverse) ? inverse : 0;
}

/* Codes of x [32] on the grid scale * (code - half), code = 0 ... 2 half - 1, whose lower end is the block's extreme: the scale
 * takes its sign, and the other end is one step short. Returns the scale, for which the codes are taken before it is rounded to
 * half; NaN, with codes of zero, when a coordinate is not finite. */
static inline float block_quantize(const float *x, int half, uint8_t *codes)
{
    float scale = block_extreme(x, BLOCK) / (float)-half, inverse = block_inverse(scale), shift = (float)half + .5f;
    if (isnan(scale)) {
        memset(codes, half, BLOCK);
        return scale;
    }
    for (int i = 0; i < BLOCK; i++) {
        int code = (int)(x[i] * inverse + shift);
        codes[i] = (uint8_t)(code < 2 * half ? code : 2 * half - 1);
    }
    return scale;
}

static inline void block_dequantize(float scale, const uint8_t *codes, int half, float *x)
{
    for (int i = 0; i < BLOCK; i++)
        x[i] = scale * (float)(codes[i] - half);
}

/* codes [n] <-> packed [n/2], n even: the first half in low nibbles; bits above a code's lowest four are left out. */
static inline void block_pack_nibbles(uint8_t *packed, const uint8_t *codes, size_t n)
{
    for (size_t i = 0; i < n / 2; i++)
        packed[i] = (uint8_t)((codes[i] & 15) | codes[i + n / 2] << 4);
}

static inline void block_unpack_nibbles(uint8_t *codes, const uint8_t *packed, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        codes[i] = packed[i] & 15;
        codes[i + n / 2] = packed[i] >> 4;
    }
}

#endif
