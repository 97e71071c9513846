/* test_stats.c - means, errors, intervals and medians against closed values and published tables.
 * The expected numbers are worked out by hand or taken from tables, never from the code under test. */
#include "harness/measure/stats.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static void means(void **state)
{
    (void)state;
    stats_mean m = stats_of((const double[]){ 1, 2, 3, 4 }, 4);
    assert_near(m.mean, 2.5, 0);
    assert_near(m.se, sqrt(5.0 / 3 / 4), 1e-15);
    assert_int_equal(m.n, 4);
    m = stats_of((const double[]){ 7 }, 1);
    assert_near(m.mean, 7, 0);
    assert_true(isnan(m.se));
    assert_true(isnan(stats_of(NULL, 0).mean));
    assert_true(isnan(stats_of((const double[]){ 1, NAN, 3 }, 3).mean));
}

static void clusters(void **state)
{
    (void)state;
    const double x[] = { 1, 2, 4, 9 }, equal[] = { 5, 5, 5, 5 };
    stats_mean plain = stats_of(x, 4), m = stats_clustered(x, equal, 4);
    assert_near(m.mean, plain.mean, 1e-15);
    assert_near(m.se, plain.se, 1e-15);

    /* Ratio (1*2 + 3*4) / 4 = 3.5; residuals 1*(2-3.5) = -1.5 and 3*(4-3.5) = 1.5; sqrt(2/1 * 4.5) / 4 = 0.75. */
    m = stats_clustered((const double[]){ 2, 4 }, (const double[]){ 1, 3 }, 2);
    assert_near(m.mean, 3.5, 1e-15);
    assert_near(m.se, 0.75, 1e-15);
    assert_int_equal(m.n, 2);

    assert_true(isnan(stats_clustered(x, equal, 1).se));
    assert_true(isnan(stats_clustered(NULL, NULL, 0).mean));
    assert_true(isnan(stats_clustered(x, (const double[]){ 0, 0, 0, 0 }, 4).mean));
    assert_true(isnan(stats_clustered((const double[]){ 1, NAN }, equal, 2).mean));
}

static void wilson(void **state)
{
    (void)state;
    /* Newcombe, Statistics in Medicine 17 (1998) 857, table I: method 3, four decimals. */
    const struct { double successes, n, lo, hi; } table[] = {
        { 81, 263, .2553, .3662 }, { 15, 148, .0624, .1605 }, { 0, 20, 0, .1611 }, { 1, 29, .0061, .1718 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        stats_interval w = stats_wilson(table[i].successes, table[i].n, 0.95);
        assert_near(w.lo, table[i].lo, 5e-5);
        assert_near(w.hi, table[i].hi, 5e-5);
    }
    assert_near(stats_wilson(0, 0, 0.95).lo, 0, 0);
    assert_near(stats_wilson(0, 0, 0.95).hi, 1, 0);
    for (double n = 1; n < 2000; n += 37) {
        stats_interval none = stats_wilson(0, n, 0.95), all = stats_wilson(n, n, 0.95);
        assert_near(none.lo, 0, 0);
        assert_near(all.hi, 1, 0);
        assert_near(none.hi, 1 - all.lo, 1e-14);
        assert_near(all.lo, n / (n + 1.959963984540054 * 1.959963984540054), 1e-14);
    }
    assert_true(isnan(stats_wilson(3, 2, 0.95).lo));
    assert_true(isnan(stats_wilson(-1, 2, 0.95).hi));
    assert_true(isnan(stats_wilson(1, 2, 1).hi));
    assert_true(isnan(stats_wilson(NAN, 2, 0.95).hi));
}

static void student(void **state)
{
    (void)state;
    /* Quantiles at .975: of 1 degree tan(.475 pi), of 2 closed, others from the usual table. */
    const struct { size_t n; double t, tolerance; } table[] = {
        { 2, 12.706204736174698, 1e-9 }, { 3, 4.302652729749464, 1e-9 }, { 6, 2.571, 5e-4 }, { 11, 2.228, 5e-4 },
        { 31, 2.042, 5e-4 }, { 1000000, 1.95996, 1e-4 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        stats_interval t = stats_t((stats_mean){ 10, 2, table[i].n }, 0.95);
        assert_near((t.hi - t.lo) / 4, table[i].t, table[i].tolerance);
        assert_near(t.hi + t.lo, 20, 1e-12);
    }
    assert_true(isnan(stats_t((stats_mean){ 10, NAN, 1 }, 0.95).lo));
    assert_true(isnan(stats_t((stats_mean){ 10, 1, 5 }, 1).hi));
}

static void medians(void **state)
{
    (void)state;
    double odd[] = { 9, -1, 4 }, even[] = { 8, 2, 4, 6 }, one[] = { 3 }, broken[] = { 1, NAN, 2 };
    assert_near(stats_median(odd, 3), 4, 0);
    assert_near(odd[0], -1, 0);
    assert_near(odd[2], 9, 0);
    assert_near(stats_median(even, 4), 5, 0);
    assert_near(stats_median(one, 1), 3, 0);
    assert_true(isnan(stats_median(broken, 3)));
    assert_true(isnan(stats_median(NULL, 0)));
}

static void quantiles(void **state)
{
    (void)state;
    double x[101];
    for (size_t i = 0; i < 101; i++)
        x[i] = (double)i;
    const stats_mean below = { .5, .05, 4 }, exact = { .5, 0, 4 }, alone = { .5, NAN, 1 };
    stats_quantile q = stats_quantile_of(x, 101, .5, below, .95);
    assert_near(q.value, 50, 1e-12);
    assert_near(q.se, 5, 1e-9);
    assert_near(q.interval.lo, 50 - 100 * .05 * 3.1824463053, 1e-6);       /* Student's t of 3 degrees */
    assert_near(q.interval.hi, 50 + 100 * .05 * 3.1824463053, 1e-6);
    q = stats_quantile_of(x, 101, .25, exact, .95);
    assert_near(q.value, 25, 1e-12);
    assert_true(q.se == 0 && q.interval.lo == q.value && q.interval.hi == q.value);
    q = stats_quantile_of(x, 101, .9, below, .95);                          /* .9 + .159 is of no sample */
    assert_near(q.value, 90, 1e-12);
    assert_true(isnan(q.se) && isnan(q.interval.lo) && isnan(q.interval.hi));
    assert_true(isnan(stats_quantile_of(x, 101, .5, alone, .95).se));
    assert_true(isnan(stats_quantile_of(x, 0, .5, below, .95).value));
    assert_true(isnan(stats_quantile_of(x, 101, 1.5, below, .95).value));
}

/* Values that share half of their variance within a cluster: the interval must hold the true quantile as often as it says. */
static void quantiles_hold_what_they_say(void **state)
{
    (void)state;
    enum { TRIALS = 1000, CLUSTERS = 40, SIZE = 25 };
    static const double f[] = { .5, .9 };
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    for (size_t k = 0; k < 2; k++) {
        const double truth = gsl_cdf_gaussian_Pinv(f[k], sqrt(2));
        size_t held = 0;
        for (size_t trial = 0; trial < TRIALS; trial++) {
            double x[CLUSTERS * SIZE], sorted[CLUSTERS * SIZE], share[CLUSTERS], w[CLUSTERS];
            for (size_t i = 0; i < CLUSTERS; i++) {
                const double common = gsl_ran_gaussian_ziggurat(rng, 1);
                for (size_t j = 0; j < SIZE; j++)
                    x[i * SIZE + j] = sorted[i * SIZE + j] = common + gsl_ran_gaussian_ziggurat(rng, 1);
            }
            gsl_sort(sorted, 1, CLUSTERS * SIZE);
            const double value = stats_quantile_of(sorted, CLUSTERS * SIZE, f[k], (stats_mean){ 0, NAN, 0 }, .95).value;
            for (size_t i = 0; i < CLUSTERS; i++) {
                share[i] = 0;
                w[i] = SIZE;
                for (size_t j = 0; j < SIZE; j++)
                    share[i] += x[i * SIZE + j] <= value ? 1.0 / SIZE : 0;
            }
            const stats_quantile q = stats_quantile_of(sorted, CLUSTERS * SIZE, f[k], stats_clustered(share, w, CLUSTERS), .95);
            held += q.interval.lo <= truth && truth <= q.interval.hi;
        }
        assert_near((double)held / TRIALS, .95, .03);      /* 4.4 standard errors of the trials */
    }
    gsl_rng_free(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means), cmocka_unit_test(clusters), cmocka_unit_test(wilson), cmocka_unit_test(student),
        cmocka_unit_test(medians), cmocka_unit_test(quantiles), cmocka_unit_test(quantiles_hold_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
