/* test_stats_paired.c - bootstrap intervals, sign tests and Holm's correction against closed values, full enumeration, and their own
 * promise: simulated data with fixed seeds must be covered as often as the interval says. */
#include "harness/measure/stats_paired.h"
#include "tests/scratch.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static stats_interval bca(const double *x, const double *w, size_t n)
{
    stats_interval interval;
    assert_ok(stats_bca(x, w, n, 0.95, &interval, err));
    return interval;
}

/* All 6^6 resamples instead of a draw of them, written down as in Efron and Tibshirani (1993), 14.3; and the shares of them that lie
 * below the ends, between which ends found by drawing must lie. */
static void every_resample(const double *x, const double *w, double shares[2], double *sorted)
{
    enum { N = 6, ALL = 46656 };
    double sum = 0, weight = 0, below = 0, left_out[N], mean_left = 0, squares = 0, cubes = 0;
    for (size_t i = 0; i < N; i++) {
        sum += w[i] * x[i];
        weight += w[i];
    }
    for (size_t i = 0; i < ALL; i++) {
        double s = 0, t = 0;
        for (size_t k = 0, digits = i; k < N; k++, digits /= N) {
            s += w[digits % N] * x[digits % N];
            t += w[digits % N];
        }
        sorted[i] = s / t;
        below += fabs(s / t - sum / weight) < 1e-9 ? 0.5 : s / t < sum / weight;
    }
    for (size_t i = 0; i < N; i++) {
        left_out[i] = (sum - w[i] * x[i]) / (weight - w[i]);
        mean_left += left_out[i] / N;
    }
    for (size_t i = 0; i < N; i++) {
        squares += pow(mean_left - left_out[i], 2);
        cubes += pow(mean_left - left_out[i], 3);
    }
    gsl_sort(sorted, 1, ALL);
    const double z0 = gsl_cdf_ugaussian_Pinv(below / ALL), a = cubes / 6 / pow(squares, 1.5);
    for (size_t k = 0; k < 2; k++) {
        const double z = z0 + (k ? 1.959963984540054 : -1.959963984540054);
        shares[k] = gsl_cdf_ugaussian_P(z0 + z / (1 - a * z));
    }
}

static void bootstrap_is_that_of_all_resamples(void **state)
{
    (void)state;
    static double sorted[46656];
    const double x[] = { 1, 2.5, 4, 4.5, 7.25, 30 }, weights[2][6] = { { 1, 1, 1, 1, 1, 1 }, { 1, 2, 3, 1, 2, 5 } };
    for (size_t k = 0; k < 2; k++) {
        double shares[2];
        every_resample(x, weights[k], shares, sorted);
        const stats_interval interval = bca(x, weights[k], 6);
        const double ends[2] = { interval.lo, interval.hi };
        for (size_t e = 0; e < 2; e++) {           /* five binomial errors of the draws, in the tail and in z0 */
            const double slack = 5 * (sqrt(shares[e] * (1 - shares[e]) / STATS_DRAWS) + 0.0025 * (e ? 0.06 : 0.15));
            assert_true(ends[e] >= gsl_stats_quantile_from_sorted_data(sorted, 1, 46656, fmax(shares[e] - slack, 0)));
            assert_true(ends[e] <= gsl_stats_quantile_from_sorted_data(sorted, 1, 46656, fmin(shares[e] + slack, 1)));
        }
    }
    assert_true(bca(x, weights[0], 6).hi > 2 * 8.2 - bca(x, weights[0], 6).lo);     /* the long tail is to the right */
}

static void bootstrap_depends_on_the_set_alone(void **state)
{
    (void)state;
    const double x[] = { .25, -.5, .125, 1, .75, -.25, .5 }, w[] = { 1, 2, 1, 3, 1, 2, 1 };
    const double turned[] = { .5, -.25, .75, 1, .125, -.5, .25 }, turned_w[] = { 1, 2, 1, 3, 1, 2, 1 };
    const stats_interval first = bca(x, w, 7), again = bca(x, w, 7), other = bca(turned, turned_w, 7);
    assert_true(first.lo == again.lo && first.hi == again.hi && first.lo == other.lo && first.hi == other.hi);
    assert_true(first.lo < first.hi);
    double scaled[7], heavy[7];
    for (size_t i = 0; i < 7; i++) {
        scaled[i] = 4 * x[i];
        heavy[i] = 8 * w[i];
    }
    assert_near(bca(scaled, heavy, 7).lo, 4 * first.lo, 1e-12);
    assert_near(bca(scaled, heavy, 7).hi, 4 * first.hi, 1e-12);
}

static void bootstrap_at_its_limits(void **state)
{
    (void)state;
    const double equal[] = { .1, .1, .1, .1, .1, .1 }, w[] = { 1, 3, 1, 7, 1, 1 }, none[] = { 0, 0, 0, 0, 0, 0 };
    const double broken[] = { 1, 2, NAN, 4, 5, 6 }, endless[] = { 1, 2, INFINITY, 4, 5, 6 }, weightless[] = { 1, 1, 0, 1, 1, 1 };
    assert_true(bca(equal, w, 6).lo == .1 && bca(equal, w, 6).hi == .1);
    assert_true(bca(none, w, 6).lo == 0 && bca(none, w, 6).hi == 0);
    assert_true(isnan(bca(broken, w, 6).lo) && isnan(bca(broken, w, 6).hi));
    assert_true(isnan(bca(endless, w, 6).lo) && isnan(bca(equal, weightless, 6).hi));
    const double steps[] = { 1, 2, 3, 4, 5, 6 };
    for (size_t n = 0; n < STATS_PAIRS; n++)
        assert_true(isnan(bca(steps, w, n).lo) && isnan(bca(steps, w, n).hi));
    const stats_interval five = bca(steps, w, STATS_PAIRS);
    assert_true(five.lo >= 1 && five.lo < five.hi && five.hi <= 5);
    stats_interval none_such;
    assert_ok(stats_bca(steps, w, 6, 1, &none_such, err));
    assert_true(isnan(none_such.lo));

    /* One cluster that is everything, and two values whose means tie with most resamples. */
    const double spike[] = { 0, 0, 0, 0, 0, 1 }, two[] = { 0, 1, 0, 1, 0, 1 };
    assert_true(bca(spike, w, 6).lo >= 0 && bca(spike, w, 6).hi <= 1 && bca(spike, w, 6).hi > 1.0 / 14);
    const double even[] = { 1, 1, 1, 1, 1, 1 };
    assert_near(bca(two, even, 6).lo + bca(two, even, 6).hi, 1, .2);
}

/* How often an interval of n draws holds the truth, and how often it leaves out 0. */
static void simulate(gsl_rng *rng, size_t n, bool skewed, double shift, size_t trials, double *held, double *found)
{
    size_t holds = 0, finds = 0;
    for (size_t trial = 0; trial < trials; trial++) {
        double x[64], w[64];
        for (size_t i = 0; i < n; i++) {
            x[i] = shift + (skewed ? gsl_ran_exponential(rng, 1) - 1 : gsl_ran_gaussian_ziggurat(rng, 1));
            w[i] = 1 + (double)(i % 3);
        }
        const stats_interval interval = bca(x, w, n);
        holds += interval.lo <= shift && shift <= interval.hi;
        finds += interval.lo > 0 || interval.hi < 0;
    }
    *held = (double)holds / (double)trials;
    *found = (double)finds / (double)trials;
}

static void bootstrap_holds_what_it_says(void **state)
{
    (void)state;
    enum { TRIALS = 160 };
    double held, found;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    const double error = sqrt(.95 * .05 / TRIALS);
    for (int skewed = 0; skewed < 2; skewed++) {
        simulate(rng, 48, skewed, 0, TRIALS, &held, &found);
        assert_near(held, .95, 3 * error);
        assert_near(found, .05, 3 * error);
    }
    /* A dozen chunks are few: known to fall short by some percent, never by ten. */
    simulate(rng, 12, false, 0, TRIALS, &held, &found);
    assert_true(held > .85 && held < .99);
    /* A difference of one standard deviation is found in a dozen chunks, one of two errors in about half of all trials. */
    simulate(rng, 12, false, 1, TRIALS, &held, &found);
    assert_true(found > .85);
    simulate(rng, 48, false, 2 / sqrt(48 * 36.0 / 42), TRIALS, &held, &found);       /* weights 1, 2, 3: their square sum is 42/36 */
    assert_near(found, .5160, 3 * sqrt(.25 / TRIALS));
    gsl_rng_free(rng);
}

static void signs(void **state)
{
    (void)state;
    stats_sign s = stats_sign_test((const double[]){ 1, 2, 3, -1, 5, 6, 7, 8, 9, 10 }, 10);
    assert_int_equal(s.above, 9);
    assert_int_equal(s.below, 1);
    assert_near(s.p, 22.0 / 1024, 1e-15);          /* 2 (1 + 10) / 2^10 */
    s = stats_sign_test((const double[]){ -1, -2, 0, -1, 0, -3, -4 }, 7);
    assert_int_equal(s.ties, 2);
    assert_int_equal(s.below, 5);
    assert_near(s.p, 2.0 / 32, 1e-15);
    assert_near(stats_sign_test((const double[]){ 1, -1, 2, -2 }, 4).p, 1, 0);
    assert_near(stats_sign_test((const double[]){ 0, 0, 0 }, 3).p, 1, 0);
    assert_near(stats_sign_test(NULL, 0).p, 1, 0);
    assert_near(stats_sign_test((const double[]){ 3 }, 1).p, 1, 0);
    s = stats_sign_test((const double[]){ 1, NAN, 2 }, 3);
    assert_true(isnan(s.p) && s.above == 2 && s.below == 0 && s.ties == 0);
    double many[600];
    for (size_t i = 0; i < 600; i++)
        many[i] = i < 250 ? -1 : 1;
    assert_near(stats_sign_test(many, 600).p, 5.114064866353935e-05, 1e-12);       /* scipy.stats.binomtest(250, 600) */
}

static void families(void **state)
{
    (void)state;
    double adjusted[5];
    assert_ok(stats_holm((const double[]){ .01, .04, .03, .005 }, 4, adjusted, err));
    const double expected[] = { .03, .06, .06, .02 };
    for (size_t i = 0; i < 4; i++)
        assert_near(adjusted[i], expected[i], 1e-15);
    assert_ok(stats_holm((const double[]){ .4, NAN, .02, .7 }, 4, adjusted, err));
    assert_near(adjusted[0], .8, 1e-15);
    assert_true(isnan(adjusted[1]));
    assert_near(adjusted[2], .06, 1e-15);
    assert_near(adjusted[3], .8, 1e-15);           /* no less than the one before it */
    double own[] = { .6, .6 };
    assert_ok(stats_holm(own, 2, own, err));
    assert_true(own[0] == 1 && own[1] == 1);
    assert_ok(stats_holm(NULL, 0, adjusted, err));
}

static void t_tests(void **state)
{
    (void)state;
    /* t = 2.776445105 leaves 2.5 % on either side with 4 degrees; 12.7062 with 1. */
    assert_true(fabs(stats_t_test((stats_mean){ 2.7764451052, 1, 5 }) - 0.05) < 1e-9);
    assert_true(fabs(stats_t_test((stats_mean){ -12.706204736, 1, 2 }) - 0.05) < 1e-9);
    assert_true(stats_t_test((stats_mean){ 0, 1, 5 }) == 1);
    assert_true(stats_t_test((stats_mean){ 0, 0, 5 }) == 1);
    assert_true(stats_t_test((stats_mean){ 1, 0, 5 }) == 0);
    assert_true(isnan(stats_t_test((stats_mean){ 1, NAN, 1 })));
    assert_true(isnan(stats_t_test((stats_mean){ NAN, 1, 5 })));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap_is_that_of_all_resamples), cmocka_unit_test(bootstrap_depends_on_the_set_alone),
        cmocka_unit_test(bootstrap_at_its_limits), cmocka_unit_test(bootstrap_holds_what_it_says), cmocka_unit_test(signs),
        cmocka_unit_test(families),
        cmocka_unit_test(t_tests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
