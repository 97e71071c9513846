/* dequant.c - ggml tensor types and their rows as float32.
 * Each function follows the bytes of one block; products and sums are rounded in the order that defines the format. */
#include "harness/lm/dequant.h"

#include "algorithms/shared/half.h"

#include <string.h>

enum { K_BLOCK = 256 };

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t load_u32(const uint8_t *p) { return load_u16(p) | (uint32_t)load_u16(p + 2) << 16; }
static float load_half(const uint8_t *p) { return half_to_float(load_u16(p)); }

/* ---- Floats ------------------------------------------------------------------------------------ */

static void row_f32(const uint8_t *data, size_t n, float *out) { memcpy(out, data, n * sizeof *out); }

static void row_f16(const uint8_t *data, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = load_half(data + 2 * i);
}

static void row_bf16(const uint8_t *data, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_to_float(load_u16(data + 2 * i));
}

/* ---- Blocks of 32: a scale, perhaps an offset, low nibbles first ----------------------------------- */

static void row_q4_0(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 18, out += 32) {
        float d = load_half(b);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((b[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
        }
    }
}

static void row_q4_1(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 20, out += 32) {
        float d = load_half(b), m = load_half(b + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(b[4 + i] & 15) + m;
            out[i + 16] = d * (float)(b[4 + i] >> 4) + m;
        }
    }
}

/* The fifth bits of a block's 32 values lie in one word, value i in bit i. */
static int five_bits(const uint8_t *nibbles, uint32_t high, int i)
{
    int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
    return low | (int)(high >> i & 1) << 4;
}

static void row_q5_0(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 22, out += 32) {
        float d = load_half(b);
        uint32_t high = load_u32(b + 2);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(five_bits(b + 6, high, i) - 16);
    }
}

static void row_q5_1(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 24, out += 32) {
        float d = load_half(b), m = load_half(b + 2);
        uint32_t high = load_u32(b + 4);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)five_bits(b + 8, high, i) + m;
    }
}

static void row_q8_0(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 34, out += 32) {
        float d = load_half(b);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(int8_t)b[2 + i];
    }
}

/* ---- Blocks of 32 or 256 with a fixed table of values --------------------------------------------------- */

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};   /* twice E2M1 */

static void table_values(const int8_t *table, float scale, const uint8_t *nibbles, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)table[nibbles[i] & 15];
        out[i + 16] = scale * (float)table[nibbles[i] >> 4];
    }
}

static void row_iq4_nl(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 18, out += 32)
        table_values(iq4_values, load_half(b), b + 2, out);
}

/* d, high bits of 8 scales in 16 bits, low bits in 4 bytes, nibbles. */
static void row_iq4_xs(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 136) {
        float d = load_half(b);
        unsigned high = load_u16(b + 2);
        for (int g = 0; g < 8; g++, out += 32) {
            int scale = (b[4 + g / 2] >> 4 * (g % 2) & 15) | (int)(high >> 2 * g & 3) << 4;
            table_values(iq4_values, d * (float)(scale - 32), b + 8 + 16 * g, out);
        }
    }
}

/* The table holds twice the values, so the scale is 2^(e - 128); its two least ones are subnormal floats. */
static void row_mxfp4(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= 32, b += 17, out += 32) {
        uint32_t bits = b[0] < 2 ? 0x00200000u << b[0] : (uint32_t)(b[0] - 1) << 23;
        table_values(fp4_values, float_of_bits(bits), b + 1, out);
    }
}

/* ---- Blocks of 256: scales of scales ------------------------------------------------------------------ */

/* 16 scales and minima (a nibble each), 2-bit values in 64 bytes, d, dmin. */
static void row_q2_k(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 84) {
        float d = load_half(b + 80), dmin = load_half(b + 82);
        for (int g = 0; g < 16; g++, out += 16) {                /* g: half of the block, shift, half of 32 */
            float scale = d * (float)(b[g] & 15), minimum = dmin * (float)(b[g] >> 4);
            const uint8_t *q = b + 16 + 32 * (g / 8) + 16 * (g % 2);
            for (int i = 0; i < 16; i++)
                out[i] = scale * (float)(q[i] >> 2 * (g / 2 % 4) & 3) - minimum;
        }
    }
}

/* High bits (inverted: absent means -4) in 32 bytes, 2-bit values in 64, 16 six-bit scales in 12, d. */
static void row_q3_k(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 110) {
        const uint8_t *s = b + 96;
        float d = load_half(b + 108);
        for (int g = 0; g < 16; g++, out += 16) {
            int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + g % 4] >> 2 * (g / 4) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *q = b + 32 + 32 * (g / 8) + 16 * (g % 2), *h = b + 16 * (g % 2);
            for (int i = 0; i < 16; i++) {
                int value = (q[i] >> 2 * (g / 2 % 4) & 3) - (h[i] >> g / 2 & 1 ? 0 : 4);
                out[i] = scale * (float)value;
            }
        }
    }
}

/* Scale and minimum, six bits each, of group g of 8: the last four groups' upper bits lie on top of the first four's bytes. */
static void six_bit_pair(const uint8_t *s, int g, int *scale, int *minimum)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *minimum = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *minimum = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

/* d, dmin, 8 pairs in 12 bytes, then per 64 values 32 bytes: low nibbles are the first 32. */
static void row_q4_k(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 144) {
        float d = load_half(b), dmin = load_half(b + 2);
        for (int g = 0; g < 8; g++, out += 32) {
            int s, m;
            six_bit_pair(b + 4, g, &s, &m);
            float scale = d * (float)s, minimum = dmin * (float)m;
            const uint8_t *q = b + 16 + 32 * (g / 2);
            for (int i = 0; i < 32; i++)
                out[i] = scale * (float)(q[i] >> 4 * (g % 2) & 15) - minimum;
        }
    }
}

/* As q4_k, with the fifth bit of group g in bit g of 32 bytes. */
static void row_q5_k(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 176) {
        float d = load_half(b), dmin = load_half(b + 2);
        for (int g = 0; g < 8; g++, out += 32) {
            int s, m;
            six_bit_pair(b + 4, g, &s, &m);
            float scale = d * (float)s, minimum = dmin * (float)m;
            const uint8_t *high = b + 16, *q = b + 48 + 32 * (g / 2);
            for (int i = 0; i < 32; i++)
                out[i] = scale * (float)((q[i] >> 4 * (g % 2) & 15) | (high[i] >> g & 1) << 4) - minimum;
        }
    }
}

/* Low nibbles in 128 bytes, two high bits in 64, 16 int8 scales, d. Per 128 values: four runs of 32. */
static void row_q6_k(const uint8_t *b, size_t n, float *out)
{
    for (; n; n -= K_BLOCK, b += 210) {
        float d = load_half(b + 208);
        for (int g = 0; g < 16; g++, out += 16) {
            int run = g / 2 % 4, at = 16 * (g % 2);
            const uint8_t *low = b + 64 * (g / 8) + 32 * (run % 2) + at, *high = b + 128 + 32 * (g / 8) + at;
            float scale = d * (float)(int8_t)b[192 + g];
            for (int i = 0; i < 16; i++) {
                int value = (low[i] >> 4 * (run / 2) & 15) | (high[i] >> 2 * run & 3) << 4;
                out[i] = scale * (float)(value - 32);
            }
        }
    }
}

/* ---- The table ------------------------------------------------------------------------------------------ */

static const ggml_type types[] = {
    {0, "F32", 1, 4, row_f32},        {1, "F16", 1, 2, row_f16},        {2, "Q4_0", 32, 18, row_q4_0},
    {3, "Q4_1", 32, 20, row_q4_1},    {6, "Q5_0", 32, 22, row_q5_0},    {7, "Q5_1", 32, 24, row_q5_1},
    {8, "Q8_0", 32, 34, row_q8_0},    {9, "Q8_1", 32, 36, NULL},        {10, "Q2_K", 256, 84, row_q2_k},
    {11, "Q3_K", 256, 110, row_q3_k}, {12, "Q4_K", 256, 144, row_q4_k}, {13, "Q5_K", 256, 176, row_q5_k},
    {14, "Q6_K", 256, 210, row_q6_k}, {15, "Q8_K", 256, 292, NULL},     {16, "IQ2_XXS", 256, 66, NULL},
    {17, "IQ2_XS", 256, 74, NULL},    {18, "IQ3_XXS", 256, 98, NULL},   {19, "IQ1_S", 256, 50, NULL},
    {20, "IQ4_NL", 32, 18, row_iq4_nl}, {21, "IQ3_S", 256, 110, NULL},  {22, "IQ2_S", 256, 82, NULL},
    {23, "IQ4_XS", 256, 136, row_iq4_xs}, {24, "I8", 1, 1, NULL},       {25, "I16", 1, 2, NULL},
    {26, "I32", 1, 4, NULL},          {27, "I64", 1, 8, NULL},          {28, "F64", 1, 8, NULL},
    {29, "IQ1_M", 256, 56, NULL},     {30, "BF16", 1, 2, row_bf16},     {34, "TQ1_0", 256, 54, NULL},
    {35, "TQ2_0", 256, 66, NULL},     {39, "MXFP4", 32, 17, row_mxfp4}, {40, "NVFP4", 64, 36, NULL},
    {41, "Q1_0", 128, 18, NULL},      {42, "Q2_0", 64, 18, NULL},
};

const ggml_type *ggml_type_find(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return &types[i];
    return NULL;
}

kvant_status dequant_rows(const gguf_tensor *t, size_t row0, size_t n, float *out, kvant_error *err)
{
    int name_bytes = t->name.bytes < 200 ? (int)t->name.bytes : 200;
    const ggml_type *type = ggml_type_find(t->type);
    if (!type || !type->row)
        return kvant_fail(err, KVANT_INVALID, "tensor '%.*s': type %s cannot be read; convert the model to F16, Q8_0, Q4_K or "
                          "the like", name_bytes, t->name.data, type ? type->name : "unknown");
    uint64_t rows = t->ne[1] * t->ne[2] * t->ne[3];
    if (row0 > rows || n > rows - row0)
        return kvant_fail(err, KVANT_INVALID, "tensor '%.*s': rows %zu to %zu are asked for, there are %llu", name_bytes,
                          t->name.data, row0, row0 + n, (unsigned long long)rows);
    size_t row_bytes = (size_t)t->ne[0] / type->block * type->bytes;
    for (size_t i = 0; i < n; i++)
        type->row(t->data + (row0 + i) * row_bytes, (size_t)t->ne[0], out + i * (size_t)t->ne[0]);
    return KVANT_OK;
}
