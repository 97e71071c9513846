/* affine_groups.h - groups on an evenly spaced grid of their own, x ~ scale * code + zero, both in half precision: one group, for
 * every method that has them, and the ops of those whose groups are neighbouring coordinates of one vector. */
#ifndef KVANT_AFFINE_GROUPS_H
#define KVANT_AFFINE_GROUPS_H

#include "algorithms/shared/half.h"
#include "harness/kvant.h"

/* minmax: scale = (max - min) / (2^b - 1), zero = min. mlx: the edge of larger magnitude e stays exact and 0 falls on the grid,
 * because with q0 = round(e / s) the scale becomes e / q0. symmetric: b >= 2 bits, scale = max |x| / L with L = 2^(b-1) - 1; the
 * levels are -L ... L times scale, code 2^b - 1 is not used, and zero is -L * scale, which nobody stores. */
typedef enum { AFFINE_MINMAX, AFFINE_MLX, AFFINE_SYMMETRIC } affine_scheme;

typedef struct { uint16_t scale, zero; } affine_head;        /* as stored */
typedef struct { float scale, zero; } affine_grid;

static inline affine_grid affine_grid_at(const uint8_t *heads, size_t group)
{
    affine_head head;
    memcpy(&head, heads + group * sizeof head, sizeof head);
    return (affine_grid) { half_to_float(head.scale), half_to_float(head.zero) };
}

/* Codes of x [n], n >= 1, at b = 1...8 bits, minmax or mlx. Scale and zero are rounded to half first, saturating at 65504, and the
 * codes are taken for the rounded ones; a tie goes to the even code. A group that is not finite has a head of NaN and codes of 0; a
 * scale that underflows leaves every code 0. */
affine_head affine_encode_group(affine_scheme scheme, uint32_t b, const float *x, size_t n, uint8_t *codes);

/* What such a group stores, of its smallest and largest number, both finite. */
affine_head affine_head_of(affine_scheme scheme, uint32_t b, float min, float max);

/* The same of a symmetric group, of its largest magnitude; and the grid that it stands for. */
uint16_t affine_symmetric_scale(uint32_t b, float largest);
affine_grid affine_symmetric_grid(uint16_t scale, uint32_t b);

/* sum over i of q[i] * codes[i]. */
float affine_dot(const float *q, const uint8_t *codes, size_t n);

/* ---- Groups along a vector ----------------------------------------------------------------------- */

/* First member of the method's state. One vector's code: the head of every group (symmetric: its scale
 * alone), then all codes, packed tightly. */
typedef struct { uint32_t d, b, g, groups, scheme; } affine_vector;

affine_vector affine_vector_of(uint32_t d, uint32_t b, uint32_t g, affine_scheme scheme);
size_t affine_code_bytes(const affine_vector *s);            /* of one vector */

/* Sets every size but plan->state. KVANT_SKIP when g does not divide d; `name` is the quantizer's. */
kvant_status affine_plan(const char *name, const affine_vector *s, kvant_plan *plan, kvant_error *err);

/* Ops as they are. */
void affine_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch);
void affine_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch);
void affine_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch);
void affine_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch);
void affine_mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch);
void affine_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch);
void affine_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym);

#endif
