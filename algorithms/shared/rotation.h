/* rotation.h - random rotations: y = P x and back, for blocks of vectors. The table of floats lies in the quantizer's flat state.
 * `haar` is uniform over all orthogonal matrices; `hadamard` is H D / sqrt(d), cheap in time and memory, but no uniform rotation:
 * it spreads a single spike to equal magnitudes, and what it does to a few large channels depends on where they are. In a
 * dimension that is no power of two, H is block-diagonal: each block is the largest power of two that divides the dimension. */
#ifndef KVANT_ROTATION_H
#define KVANT_ROTATION_H

#include "harness/kvant.h"

#include <gsl/gsl_rng.h>

typedef enum { ROTATION_HAAR, ROTATION_HADAMARD, ROTATION_NONE } rotation_kind;

/* A parameter of this name, for a quantizer's table. */
#define ROTATION_PARAM(default_kind) \
    { .name = "rotation", .help = "haar: uniform over all rotations; hadamard: signs and a fast transform, by blocks; none", \
      .type = KVANT_CHOICE, .def = default_kind, .choices = (const char *const[]) { "haar", "hadamard", "none", NULL } }

/* Floats of the table: d^2 (the matrix, row by row), d (signs over the root of the block) or, for none, 0. */
size_t rotation_floats(rotation_kind kind, uint32_t d);

/* For a quantizer's plan(): adds the table to plan->state and says in plan->note when Hadamard goes by blocks. KVANT_SKIP when they
 * would be smaller than 8 and spread nothing; `name` is the quantizer's. */
kvant_status rotation_plan(const char *name, rotation_kind kind, uint32_t d, kvant_plan *plan, kvant_error *err);

/* Fills the table from the seed. KVANT_NOMEM or KVANT_FAILED; d must be one that rotation_plan takes. */
kvant_status rotation_init(rotation_kind kind, uint32_t d, uint32_t seed, float *table, kvant_error *err);

/* For a quantizer's parts(): lists the table as "rotation" (haar) or "signs" (hadamard), if there is one. */
void rotation_parts(rotation_kind kind, uint32_t d, const char *prefix, const void *state, const float *table, kvant_parts *parts);

/* The first rows of a matrix from a generator: table [rows][d], rows <= d. KVANT_NOMEM or KVANT_FAILED. */
kvant_status rotation_draw_haar(uint32_t d, uint32_t rows, gsl_rng *rng, float *table, kvant_error *err);

/* forward: y = P x; inverse: x = P^T y; none copies. Both [n][d]; the arrays must not overlap. */
void rotation_forward(rotation_kind kind, uint32_t d, const float *table, const float *x, size_t n, float *y);
void rotation_inverse(rotation_kind kind, uint32_t d, const float *table, const float *y, size_t n, float *x);

#endif
