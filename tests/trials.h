/* trials.h - for tests of registered quantizers: one of them, open, with a few vectors, their codes and what these decode to.
 * A trial is large: make it static, and zero it before it is opened. */
#ifndef KVANT_TESTS_TRIALS_H
#define KVANT_TESTS_TRIALS_H

#include "harness/kvant.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>

enum { N = 24, MAX_DIM = 128 };

typedef struct { kvant_codec codec; uint8_t code[N * MAX_DIM * 4]; float x[N * MAX_DIM], y[N * MAX_DIM]; void *scratch; } trial;

/* False when the quantizer does not take this shape. isa: as in kvant_open. */
static inline bool open_trial_on(trial *t, const char *name, uint32_t dim, const kvant_args *args, const char *isa)
{
    kvant_error err = { "" };
    kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = 3 };
    const kvant_quantizer *q = kvant_find(name, &err);
    assert_non_null(q);
    kvant_status status = kvant_open(q, &shape, args, isa, &t->codec, &err);
    if (status == KVANT_SKIP)
        return false;
    if (status)
        fail_msg("%s", err.text);
    assert_true(kvant_bytes(&t->codec, N) <= sizeof t->code);
    t->scratch = kvant_alloc(t->codec.scratch);
    assert_non_null(t->scratch);
    return true;
}

static inline bool open_trial(trial *t, const char *name, uint32_t dim, const kvant_args *args)
{
    return open_trial_on(t, name, dim, args, NULL);
}

/* By text: "bits=2,rotation=haar". */
static inline kvant_args args_given(const char *name, const char *given)
{
    const kvant_quantizer *q = kvant_find(name, NULL);
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    assert_ok(kvant_parse(q->params, given, &args, err));
    return args;
}

static inline bool open_given(trial *t, const char *name, uint32_t dim, const char *given)
{
    const kvant_args args = args_given(name, given);
    return open_trial(t, name, dim, &args);
}

static inline void close_trial(trial *t)
{
    kvant_close(&t->codec);
    free(t->scratch);
}

static inline void gaussian(float *x, size_t n, unsigned long seed)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    gsl_rng_set(rng, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
}

/* x [n] -> code -> y. */
static inline void code(trial *t, size_t n)
{
    kvant_encode(&t->codec, t->x, 0, n, t->code, t->scratch);
    kvant_decode(&t->codec, t->code, 0, n, t->y, t->scratch);
}

#endif
