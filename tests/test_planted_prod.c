/* test_planted_prod.c - published bugs of TurboQuant's second algorithm, planted: each is turned down by the method's own oracles.
 * The method's file is compiled again on top of shared functions of which one at a time can be wrong. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/sketch.h"
#include "tests/planted.h"

#include <gsl/gsl_errno.h>
#include <math.h>

static enum { NO_BUG, SKETCH_UNUSED, FACTOR_OF_D, OTHER_DIMENSION, NORM_DROPPED } bug;

/* The residual's signs are stored, and neither decode nor score looks at them. */
static void planted_decode(const sketch *s, const float *table, const uint8_t *packed, float scale, float *y)
{
    sketch_decode(s, table, packed, bug == SKETCH_UNUSED ? 0 : scale, y);
}

static void planted_signs(const sketch *s, const uint8_t *packed, float scale, float *signs)
{
    sketch_signs(s, packed, bug == SKETCH_UNUSED ? 0 : scale, signs);
}

/* sqrt(pi/2) / d whatever m is. */
static float planted_factor(const sketch *s)
{
    return bug == FACTOR_OF_D ? (float)(sqrt(M_PI_2) / s->d) : sketch_factor(s);
}

/* The codebook of 8 dimensions, scaled to the right ones. */
static kvant_status planted_solve(codebook_density density, uint32_t d, unsigned bits, scalar_codebook *book, double *mse,
                                  kvant_error *err)
{
    if (bug != OTHER_DIMENSION)
        return scalar_solve(density, d, bits, book, mse, err);
    double c[SCALAR_MAX];
    kvant_status status = codebook_solve(density, 8, bits, c, mse, err);
    if (!status)
        scalar_set(book, bits, c, 1 / sqrt(d));
    return status;
}

/* |x| and the residual's norm are taken for 1, as they are on normalised input. */
static float planted_norm(norm_format format, const uint8_t *code) { return bug == NORM_DROPPED ? 1 : norm_load(format, code); }

#define sketch_decode planted_decode
#define sketch_signs planted_signs
#define sketch_factor planted_factor
#define scalar_solve planted_solve
#define norm_load planted_norm
#define quantizer_turboquant_prod planted
#include "algorithms/turboquant_prod.c"

static void expect(int planted_bug, const char *metric, const char *args, bool found)
{
    bug = planted_bug;
    size_t failed = planted_failures(&planted, metric, args);
    bug = NO_BUG;
    if ((failed > 0) != found)
        fail_msg("bug %d: %zu rows of %s with %s fail", planted_bug, failed, metric, args);
}

static void test_without_bug(void **state)
{
    (void)state;
    expect(NO_BUG, "", "bits=2,m=64", false);
    expect(NO_BUG, "", "bits=2,m=100", false);
    expect(NO_BUG, "", "bits=4,m=100", false);
}

static void test_sketch_unused(void **state)
{
    (void)state;
    expect(SKETCH_UNUSED, "nmse", "bits=2,m=64", true);        /* smaller than it should be: too good is wrong too */
    expect(SKETCH_UNUSED, "ip_slope", "bits=2,m=64", true);
    expect(SKETCH_UNUSED, "ip_variance", "bits=2,m=64", true);
}

/* Invisible as long as m is d. */
static void test_factor_of_d(void **state)
{
    (void)state;
    expect(FACTOR_OF_D, "", "bits=4,residual_norm=constant,m=128", false);
    expect(FACTOR_OF_D, "nmse", "bits=2,m=64", true);
    expect(FACTOR_OF_D, "nmse", "bits=2,m=100", true);
    expect(FACTOR_OF_D, "ip_slope", "bits=2,m=100", true);
}

static void test_codebook_of_another_dimension(void **state)
{
    (void)state;
    expect(OTHER_DIMENSION, "nmse", "bits=4,m=100", true);
}

static void test_norm_dropped(void **state)
{
    (void)state;
    expect(NORM_DROPPED, "nmse", "bits=2,m=100", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_bug), cmocka_unit_test(test_sketch_unused), cmocka_unit_test(test_factor_of_d),
        cmocka_unit_test(test_codebook_of_another_dimension), cmocka_unit_test(test_norm_dropped),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
