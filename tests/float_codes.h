/* float_codes.h - for tests of probes: quantizers whose code is dim floats per vector, so that their effect is known exactly, and
 * Gaussian vectors to run them on. Included after probe_runs.h by one program each. */
#ifndef KVANT_TESTS_FLOAT_CODES_H
#define KVANT_TESTS_FLOAT_CODES_H

#include "tests/probe_runs.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

static const kvant_param no_params[] = { { .name = NULL } };

/* A query, where a method has one of its own, is dim floats too. */
static inline kvant_status plan_floats(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    *plan = (kvant_plan){ .state = 64, .code = shape->dim * sizeof(float), .query = shape->dim * sizeof(float), .bits_asked = 32 };
    return KVANT_OK;
}

/* The same, `block` vectors together. */
static inline kvant_status plan_float_blocks(size_t block, const kvant_shape *shape, kvant_plan *plan)
{
    *plan = (kvant_plan){ .state = 64, .code = block * shape->dim * sizeof(float), .bits_asked = 32, .block = block };
    return KVANT_OK;
}

static inline kvant_status init_dim(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)args, (void)err;
    memcpy(state, &shape->dim, sizeof shape->dim);
    return KVANT_OK;
}

static inline size_t dim_of(const void *state)
{
    uint32_t dim;
    memcpy(&dim, state, sizeof dim);
    return dim;
}

/* [n][dim] of N(mean, 1), always the same; x is freed by the caller. */
static inline kvant_data gaussian(size_t n, size_t dim, double mean)
{
    kvant_data data = { .n = n, .dim = dim, .x = malloc(n * dim * sizeof(float)) };
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(data.x);
    assert_non_null(rng);
    for (size_t i = 0; i < n * dim; i++)
        data.x[i] = (float)(mean + gsl_ran_gaussian_ziggurat(rng, 1));
    gsl_rng_free(rng);
    return data;
}

#endif
