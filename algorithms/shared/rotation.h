/* rotation.h - random rotations: y = P x and back, for blocks of vectors. The table of floats lies in the quantizer's flat state.
 * `haar` is uniform over all orthogonal matrices; `hadamard` is H D / sqrt(d), cheap in time and memory, but no uniform rotation:
 * it spreads a single spike to equal magnitudes, and what it does to a few large channels depends on where they are. */
#ifndef KVANT_ROTATION_H
#define KVANT_ROTATION_H

#include "harness/kvant.h"

typedef enum { ROTATION_HAAR, ROTATION_HADAMARD } rotation_kind;

/* Floats of the table: d^2 (the matrix, row by row) or d (signs over sqrt(d)); 0 when this kind has no rotation of d dimensions. */
size_t rotation_floats(rotation_kind kind, uint32_t d);

/* Fills the table from the seed. KVANT_NOMEM or KVANT_FAILED; d must be one that rotation_floats takes. */
kvant_status rotation_init(rotation_kind kind, uint32_t d, uint32_t seed, float *table, kvant_error *err);

/* forward: y = P x; inverse: x = P^T y. Both [n][d]; the arrays must not overlap. */
void rotation_forward(rotation_kind kind, uint32_t d, const float *table, const float *x, size_t n, float *y);
void rotation_inverse(rotation_kind kind, uint32_t d, const float *table, const float *y, size_t n, float *x);

#endif
