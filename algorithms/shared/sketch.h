/* sketch.h - sign sketches: of a vector r, the signs of S r for a random m x d matrix S; with its length they are an estimator.
 * For r of length 1, sqrt(pi/2) / m * S^T sign(S r) has mean r (gaussian), or nearly so (orthogonal). The table of m d floats lies
 * in the quantizer's flat state. S is independent of any rotation: its law is that of S Pi^T, so a sketch of a rotated vector in
 * the rotated domain is the same method. */
#ifndef KVANT_SKETCH_H
#define KVANT_SKETCH_H

#include "algorithms/shared/bits.h"
#include "harness/kvant.h"

/* gaussian: independent N(0,1). orthogonal: chunks of d rows, each a Haar-distributed orthogonal matrix times sqrt(d), the last
 * one cut off where m is no multiple of d. */
typedef enum { SKETCH_GAUSSIAN, SKETCH_ORTHOGONAL } sketch_kind;

enum { SKETCH_MAX = 1 << 15 /* largest m */ };

/* A parameter of this name, for a quantizer's table. */
#define SKETCH_PARAM(default_kind) \
    { .name = "sketch", .help = "gaussian: independent entries; orthogonal: rows orthogonal in chunks of the dimension", \
      .type = KVANT_CHOICE, .def = default_kind, .choices = (const char *const[]) { "gaussian", "orthogonal", NULL } }

typedef struct { uint32_t kind, d, m; } sketch;

static inline size_t sketch_floats(const sketch *s) { return (size_t)s->m * s->d; }
static inline size_t sketch_bytes(const sketch *s) { return bits_bytes(s->m, 1); }      /* of a vector's signs */

/* sqrt(pi/2) / m, times which S^T sign(S r) estimates r. */
float sketch_factor(const sketch *s);

/* Fills the table from the seed. KVANT_NOMEM or KVANT_FAILED. */
kvant_status sketch_init(const sketch *s, uint32_t seed, float *table, kvant_error *err);

/* For a quantizer's parts(): lists the table as "sketch". */
void sketch_parts(const sketch *s, const char *prefix, const void *state, const float *table, kvant_parts *parts);

/* out [m] = S x. */
void sketch_project(const sketch *s, const float *table, const float *x, float *out);
/* Signs of S x, packed: bit i is set when <s_i, x> > 0. */
void sketch_encode(const sketch *s, const float *table, const float *x, uint8_t *packed);
/* signs [m] = +1 or -1, times scale. */
void sketch_signs(const sketch *s, const uint8_t *packed, float scale, float *signs);
/* y [d] += S^T a, for a [m]. */
void sketch_add_back(const sketch *s, const float *table, const float *a, float *y);
/* y [d] += scale S^T signs. */
void sketch_decode(const sketch *s, const float *table, const uint8_t *packed, float scale, float *y);

#endif
