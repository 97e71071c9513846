/* sketch.c - see sketch.h.
 * A product with S or S^T goes row by row; signs are packed in runs of whole bytes. */
#include "algorithms/shared/parts.h"
#include "algorithms/shared/random.h"
#include "algorithms/shared/rotation.h"
#include "algorithms/shared/sketch.h"
#include "algorithms/shared/vector.h"

#include <gsl/gsl_randist.h>
#include <math.h>

enum { RUN = 64 };

float sketch_factor(const sketch *s) { return (float)(sqrt(M_PI_2) / s->m); }

static kvant_status init_orthogonal(const sketch *s, gsl_rng *rng, float *table, kvant_error *err)
{
    for (uint32_t first = 0; first < s->m; first += s->d) {
        uint32_t rows = s->m - first < s->d ? s->m - first : s->d;
        kvant_status status = rotation_draw_haar(s->d, rows, rng, table + (size_t)first * s->d, err);
        if (status)
            return status;
    }
    for (size_t i = 0; i < sketch_floats(s); i++)
        table[i] *= (float)sqrt(s->d);
    return KVANT_OK;
}

kvant_status sketch_init(const sketch *s, uint32_t seed, float *table, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    gsl_rng *rng = random_open(seed, RANDOM_SKETCH);
    if (!rng)
        return kvant_fail(err, KVANT_NOMEM, "sketch: no memory for a generator");
    if (s->kind == SKETCH_ORTHOGONAL)
        status = init_orthogonal(s, rng, table, err);
    else
        for (size_t i = 0; i < sketch_floats(s); i++)
            table[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
    return status;
}

void sketch_parts(const sketch *s, const char *prefix, const void *state, const float *table, kvant_parts *parts)
{
    parts_add(parts, prefix, "sketch", KVANT_SKETCH, state, table, s->m, s->d, s->d);
}

void sketch_project(const sketch *s, const float *table, const float *x, float *out)
{
    for (size_t i = 0; i < s->m; i++)
        out[i] = vector_dot(table + i * s->d, x, s->d);
}

void sketch_encode(const sketch *s, const float *table, const float *x, uint8_t *packed)
{
    uint8_t positive[RUN];
    for (size_t first = 0; first < s->m; first += RUN) {
        size_t run = s->m - first < RUN ? s->m - first : RUN;
        for (size_t i = 0; i < run; i++)
            positive[i] = vector_dot(table + (first + i) * s->d, x, s->d) > 0;
        bits_pack(packed + first / 8, positive, run, 1);
    }
}

void sketch_signs(const sketch *s, const uint8_t *packed, float scale, float *signs)
{
    for (size_t i = 0; i < s->m; i++)
        signs[i] = packed[i / 8] >> i % 8 & 1 ? scale : -scale;
}

void sketch_add_back(const sketch *s, const float *table, const float *a, float *y)
{
    for (size_t i = 0; i < s->m; i++)
        vector_add(y, a[i], table + i * s->d, s->d);
}

void sketch_decode(const sketch *s, const float *table, const uint8_t *packed, float scale, float *y)
{
    for (size_t i = 0; i < s->m; i++)
        vector_add(y, packed[i / 8] >> i % 8 & 1 ? scale : -scale, table + i * s->d, s->d);
}
