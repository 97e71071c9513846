/* planted_prod.c - turboquant_prod with a bug of choice (planted.h): in its sketch, its codebook, its norms.
 * Shared by the tests of the checks. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/sketch.h"
#include "algorithms/shared/streams.h"
#include "tests/planted.h"

#include <math.h>

static void planted_decode(const sketch *s, const float *table, const uint8_t *packed, float scale, float *y)
{
    sketch_decode(s, table, packed, planted == PLANTED_SKETCH_UNUSED ? 0 : scale, y);
}

static void planted_signs(const sketch *s, const uint8_t *packed, float scale, float *signs)
{
    sketch_signs(s, packed, planted == PLANTED_SKETCH_UNUSED ? 0 : scale, signs);
}

static float planted_factor(const sketch *s)
{
    return planted == PLANTED_FACTOR_OF_D ? (float)(sqrt(M_PI_2) / s->d) : sketch_factor(s);
}

static kvant_status planted_solve(codebook_density density, uint32_t d, unsigned bits, scalar_codebook *book, double *mse,
                                  kvant_error *err)
{
    if (planted != PLANTED_OTHER_DIMENSION)
        return scalar_solve(density, d, bits, book, mse, err);
    double c[SCALAR_MAX];
    kvant_status status = codebook_solve(density, 8, bits, c, mse, err);
    if (!status)
        scalar_set(book, bits, c, 1 / sqrt(d));
    return status;
}

static float planted_norm(norm_format format, const uint8_t *code)
{
    return planted == PLANTED_NORM_DROPPED ? 1 : norm_load(format, code);
}

#define sketch_decode planted_decode
#define sketch_signs planted_signs
#define sketch_factor planted_factor
#define scalar_solve planted_solve
#define norm_load planted_norm
#define quantizer_turboquant_prod planted_prod
#include "algorithms/turboquant_prod.c"
