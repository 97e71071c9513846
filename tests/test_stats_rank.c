/* test_stats_rank.c - rank correlations against published and enumerated tables, and the interval against simulated normal pairs,
 * whose rank correlation has a closed form. */
#include "harness/measure/stats_rank.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <math.h>

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static stats_spearman spearman(const double *x, const double *y, size_t n)
{
    stats_spearman s;
    assert_ok(stats_spearman_of(x, y, n, 0.95, &s, err));
    assert_int_equal(s.n, n);
    return s;
}

static void ranks(void **state)
{
    (void)state;
    double rank[7];
    assert_ok(stats_ranks((const double[]){ 3, 1, 4, 1, 5, 9, 1 }, 7, rank, err));
    const double expected[] = { 4, 2, 5, 2, 6, 7, 2 };
    for (size_t i = 0; i < 7; i++)
        assert_near(rank[i], expected[i], 0);
    assert_ok(stats_ranks((const double[]){ INFINITY, -INFINITY }, 2, rank, err));
    assert_true(rank[0] == 2 && rank[1] == 1);
    assert_ok(stats_ranks(NULL, 0, rank, err));
}

static void tables(void **state)
{
    (void)state;
    /* Ten people's IQ and hours of television, the usual textbook example: rho = -29/165. */
    const double iq[] = { 106, 100, 86, 101, 99, 103, 97, 113, 112, 110 }, hours[] = { 7, 27, 2, 50, 28, 29, 20, 12, 6, 17 };
    stats_spearman s = spearman(iq, hours, 10);
    assert_near(s.rho, -29.0 / 165, 1e-15);
    assert_near(s.p, .632, .015);                  /* of all 10! permutations, by drawing: four of its errors */
    const double half = 1.959963984540054 * sqrt((1 + s.rho * s.rho / 2) / 7);
    assert_near(s.interval.lo, tanh(atanh(s.rho) - half), 1e-12);
    assert_near(s.interval.hi, tanh(atanh(s.rho) + half), 1e-12);
    /* Ties: ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4. */
    s = spearman((const double[]){ 1, 2, 2, 3 }, (const double[]){ 1, 3, 2, 4 }, 4);
    assert_near(s.rho, 4.5 / sqrt(4.5 * 5), 1e-15);
    assert_near(s.p, 4.0 / 24, 1e-15);             /* two of the 24 give it, as the tied two are one, and two its opposite */
    s = spearman((const double[]){ 1, 2, 2, 3, 5, 4, 7 }, (const double[]){ 2, 1, 3, 3, 6, 4, 5 }, 7);
    assert_near(s.rho, .8818181818181818, 1e-15);
    assert_near(s.p, 58.0 / 5040, 1e-15);          /* enumerated */
}

static void perfect_and_broken(void **state)
{
    (void)state;
    const double up[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, down[] = { 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 };
    const double curved[] = { 1, 4, 9, 16, 25, 36, 49, 64, 81, 1e300 }, equal[] = { 5, 5, 5, 5, 5, 5, 5, 5, 5, 5 };
    stats_spearman s = spearman(up, curved, 10);
    assert_true(s.rho == 1 && s.interval.hi == 1 && s.interval.lo > .9 && s.interval.lo < 1);
    assert_near(s.p, 1.0 / (STATS_SHUFFLES + 1), 1e-12);
    /* The inner end is that of one exchange of neighbours, Sum d^2 = 2. */
    const double swapped[] = { 1, 2, 3, 5, 4, 6, 7, 8, 9, 10 };
    assert_near(s.interval.lo, spearman(up, swapped, 10).interval.lo, 1e-12);
    s = spearman(up, down, 10);
    assert_true(s.rho == -1 && s.interval.lo == -1 && s.interval.hi < -.9);
    assert_near(spearman(up, up, 5).p, 2.0 / 120, 1e-15);
    assert_near(spearman(up, down, 4).p, 2.0 / 24, 1e-15);
    assert_true(isnan(spearman(up, down, 3).interval.lo) && spearman(up, down, 3).rho == -1);
    assert_true(isnan(spearman(up, equal, 10).rho) && isnan(spearman(up, equal, 10).p));
    const double broken[] = { 1, NAN, 3, 4, 5 };
    assert_true(isnan(spearman(up, broken, 5).rho) && isnan(spearman(broken, up, 5).interval.hi));
    assert_true(isnan(spearman(up, up, 1).rho) && isnan(spearman(NULL, NULL, 0).rho));
}

/* Pairs of normal variables with correlation r have Spearman's 6/pi asin(r/2). Without correlation p is uniform. */
static void interval_holds_what_it_says(void **state)
{
    (void)state;
    enum { TRIALS = 100, N = 24 };
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    const double error = sqrt(.95 * .05 / TRIALS);
    for (int k = 0; k < 3; k++) {
        const double r = k == 0 ? 0 : k == 1 ? .6 : .9, truth = 6 / M_PI * asin(r / 2);
        size_t held = 0, rejected = 0;
        for (size_t trial = 0; trial < TRIALS; trial++) {
            double x[N], y[N];
            for (size_t i = 0; i < N; i++)
                gsl_ran_bivariate_gaussian(rng, 1, 1, r, &x[i], &y[i]);
            const stats_spearman s = spearman(x, y, N);
            held += s.interval.lo <= truth && truth <= s.interval.hi;
            rejected += s.p <= .05;
        }
        assert_near((double)held / TRIALS, .95, 3 * error);
        if (k == 0)
            assert_near((double)rejected / TRIALS, .05, 3 * error);
        else
            assert_true((double)rejected / TRIALS > (k == 1 ? .75 : .98));
    }
    gsl_rng_free(rng);
}

static double rank_sum(const double *x, size_t n_x, const double *y, size_t n_y)
{
    double p = NAN, q = NAN;
    assert_ok(stats_rank_sum(x, n_x, y, n_y, &p, err));
    assert_ok(stats_rank_sum(y, n_y, x, n_x, &q, err));
    assert_true(p == q || (isnan(p) && isnan(q)));
    return p;
}

static void rank_sums(void **state)
{
    (void)state;
    /* Apart: 2 of the C(10, 5) deals are as extreme; one pair swapped: 4. */
    const double low[5] = { 1, 2, 3, 4, 5 }, high[5] = { 6, 7, 8, 9, 10 }, nearly[5] = { 4.5, 7, 8, 9, 10 };
    assert_near(rank_sum(low, 5, high, 5), 2. / 252, 1e-12);
    assert_near(rank_sum(low, 5, nearly, 5), 4. / 252, 1e-12);
    assert_near(rank_sum(low, 1, high, 5), 2. / 6, 1e-12);
    assert_near(rank_sum(low, 5, low, 5), 1, 1e-12);
    const double same[4] = { 3, 3, 3, 3 };
    assert_near(rank_sum(same, 4, same, 3), 1, 1e-12);
    assert_true(isnan(rank_sum(low, 0, high, 5)));
    const double broken[2] = { 1, NAN };
    assert_true(isnan(rank_sum(broken, 2, high, 5)));
    /* Both ways of finding p agree where the exact one ends, and either rejects as often as it says. */
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    enum { TRIALS = 400 };
    for (int n = 8; n <= 40; n += 32) {
        size_t rejected = 0, found = 0;
        for (size_t trial = 0; trial < TRIALS; trial++) {
            double x[40], y[40];
            for (int i = 0; i < n; i++) {
                x[i] = exp(gsl_ran_gaussian(rng, 1));
                y[i] = exp(gsl_ran_gaussian(rng, 1));
            }
            rejected += rank_sum(x, (size_t)n, y, (size_t)n) <= .05;
            for (int i = 0; i < n; i++)
                y[i] *= 20;
            found += rank_sum(x, (size_t)n, y, (size_t)n) <= .05;
        }
        assert_true((double)rejected / TRIALS <= .05 + 3 * sqrt(.05 * .95 / TRIALS));
        assert_true((double)rejected / TRIALS >= .02);
        assert_true((double)found / TRIALS > .99);
    }
    gsl_rng_free(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks), cmocka_unit_test(tables), cmocka_unit_test(perfect_and_broken),
        cmocka_unit_test(interval_holds_what_it_says), cmocka_unit_test(rank_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
