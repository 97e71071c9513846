/* groups.h - affine_groups.h's groups along a vector for kernels of any instruction set: where they lie, their heads, the packing of
 * their codes, and affine's ops around them. For files *_avx2.c and *_avx512.c only. */
#ifndef KVANT_GROUPS_H
#define KVANT_GROUPS_H

#include "algorithms/shared/affine_groups.h"
#include "algorithms/shared/rotation.h"
#include "metal/x86/rows.h"

#include <math.h>

/* Groups are whole units of 32 coordinates. */
static inline bool groups_fit(uint32_t dim, uint32_t g) { return dim % ROWS_UNIT == 0 && g % ROWS_UNIT == 0 && dim % g == 0; }

LANES_INLINE size_t groups_heads(const affine_vector *s) { return s->groups * (s->scheme == AFFINE_SYMMETRIC ? 2u : 4u); }

/* A unit's group is unit * part >> 16, exactly, without a division for every unit. */
LANES_INLINE size_t groups_part(const affine_vector *s) { return (65536 * ROWS_UNIT + s->g - 1) / s->g; }

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* The first of the smallest, and of the largest, of n numbers: a zero has its sign. */
static inline affine_head groups_head_at_zero(affine_scheme scheme, unsigned b, const float *x, size_t n)
{
    float min = x[0], max = x[0];
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    return affine_head_of(scheme, b, min, max);
}

/* Writes the head of a group of a vector's code and returns its grid. x [g], its extremes and whether all of it is finite; where an
 * extreme is 0 it has the sign of the first that is. */
LANES_INLINE affine_grid groups_head(const affine_vector *s, unsigned b, const float *x, bool finite, float min, float max,
                                     uint8_t *code, size_t group)
{
    if (s->scheme == AFFINE_SYMMETRIC) {
        const uint16_t scale = finite ? affine_symmetric_scale(b, fabsf(min) > max ? fabsf(min) : fabsf(max)) : 0x7e00;
        memcpy(code + group * sizeof scale, &scale, sizeof scale);
        return affine_symmetric_grid(scale, b);
    }
    affine_head head = { 0x7e00, 0x7e00 };
    if (finite && (min == 0 || max == 0))
        head = groups_head_at_zero((affine_scheme)s->scheme, b, x, s->g);
    else if (finite)
        head = affine_head_of((affine_scheme)s->scheme, b, min, max);
    memcpy(code + group * sizeof head, &head, sizeof head);
    return (affine_grid) { half_to_float(head.scale), half_to_float(head.zero) };
}

/* Sixteen codes of b bits to 2 b bytes: neighbours are joined until eight codes are one number of b bytes. */
LANES_INLINE void groups_pack(unsigned b, __m128i bytes, uint8_t *packed)
{
    if (b == 8) {
        _mm_storeu_si128((__m128i *)(void *)packed, bytes);
        return;
    }
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi16((short)(1 | 1 << b << 8)), bytes);
    const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 | 1 << 2 * b << 16));
    for (int h = 0; h < 2; h++) {
        const uint64_t two = (uint64_t)(h ? _mm_extract_epi64(fours, 1) : _mm_cvtsi128_si64(fours));
        const uint64_t eight = (two & 0xffffffffu) | two >> 32 << 4 * b;
        memcpy(packed + (size_t)h * b, &eight, b);
    }
}

/* ---- The ops of one width, and of affine around them ---------------------------------------------------- */

typedef struct {
    void (*encode)(const affine_vector *s, const float *x, size_t n, uint8_t *code);
    void (*decode)(const affine_vector *s, const uint8_t *code, size_t n, float *x);
    void (*score)(const affine_vector *s, const float *prepared, size_t nq, const uint8_t *code, size_t n, float *dot);
    void (*mix)(const affine_vector *s, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc);
} groups_ops;

/* affine.c's state. */
typedef struct { affine_vector base; uint32_t rotation; float table[]; } groups_affine;

enum { GROUPS_STEP = 16 };         /* vectors that are rotated together */

static inline void groups_affine_encode(const groups_ops *ops, const groups_affine *s, const float *x, size_t n, uint8_t *code,
                                        float *scratch)
{
    if (s->rotation == ROTATION_NONE) {
        ops->encode(&s->base, x, n, code);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < GROUPS_STEP ? n - done : GROUPS_STEP;
        rotation_forward(s->rotation, s->base.d, s->table, x + done * s->base.d, step, scratch);
        ops->encode(&s->base, scratch, step, code + done * affine_code_bytes(&s->base));
    }
}

static inline void groups_affine_decode(const groups_ops *ops, const groups_affine *s, const uint8_t *code, size_t n, float *x,
                                        float *scratch)
{
    if (s->rotation == ROTATION_NONE) {
        ops->decode(&s->base, code, n, x);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < GROUPS_STEP ? n - done : GROUPS_STEP;
        ops->decode(&s->base, code + done * affine_code_bytes(&s->base), step, scratch);
        rotation_inverse(s->rotation, s->base.d, s->table, scratch, step, x + done * s->base.d);
    }
}

/* Defines the ops of a method whose state begins with an affine_vector, by a table of groups_ops for every width. */
#define GROUPS_READING_OPS(table) \
    static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot, \
                      void *scratch) \
    { \
        const affine_vector *s = state; \
        (void)first, (void)scratch; \
        (table)[s->b].score(s, prepared, nq, code, n, dot); \
    } \
    static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                    void *scratch) \
    { \
        const affine_vector *s = state; \
        (void)first, (void)scratch; \
        (table)[s->b].mix(s, w, nq, code, n, acc); \
    }

/* The same with affine's rotations, or without any as kivi has none, around encode and decode. */
#define GROUPS_AFFINE_OPS(table) \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first; \
        groups_affine_encode(&(table)[((const affine_vector *)state)->b], state, x, n, code, scratch); \
    } \
    static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first; \
        groups_affine_decode(&(table)[((const affine_vector *)state)->b], state, code, n, x, scratch); \
    } \
    GROUPS_READING_OPS(table)

#define GROUPS_PLAIN_OPS(table) \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        const affine_vector *s = state; \
        (void)first, (void)scratch; \
        (table)[s->b].encode(s, x, n, code); \
    } \
    static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        const affine_vector *s = state; \
        (void)first, (void)scratch; \
        (table)[s->b].decode(s, code, n, x); \
    } \
    GROUPS_READING_OPS(table)

/* KIVI's groups lie along a token: values' by default, and keys' that are asked for so. */
static inline bool groups_kivi_by_token(const kvant_quantizer *kivi, const kvant_shape *shape, const kvant_args *args)
{
    enum { AXIS_AUTO, AXIS_CHANNEL, AXIS_TOKEN };
    const int axis = (int)kvant_arg(kivi, "axis", args);
    return axis == AXIS_TOKEN || (axis == AXIS_AUTO && shape->side != KVANT_KEY);
}

#endif
