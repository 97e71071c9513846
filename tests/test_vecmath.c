/* test_vecmath.c - the engine's loops: every instruction set that this machine runs against the portable code, bit for bit, and exps,
 * masses and divergences against long double. */
#include "harness/lm/vecmath.h"
#include "harness/lm/vecmath_table.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <math.h>

enum { MOST = 1603 };
static const size_t sizes[] = { 0, 1, 7, 8, 9, 31, 64, 511, 512, 513, 1024, MOST };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static gsl_rng *rng;

static void normal(float *x, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * gsl_ran_gaussian_ziggurat(rng, 1));
}

/* ---- One result, whatever the instruction set ------------------------------------------------- */

typedef struct { float x[MOST]; double sum; } outcome;

/* Applies function `which` of a table to a copy of the inputs; false: there is no such function. */
static bool apply(const vec_table *t, int which, const float *a, const float *b, const float *c, size_t n, outcome *o)
{
    memset(o, 0, sizeof *o);
    memcpy(o->x, a, n * sizeof *a);
    switch (which) {
    case 0: o->sum = (double)t->max(a, n); break;
    case 1: o->sum = t->exp_sum(o->x, n, .5f); break;
    case 2: {
        double moment;
        o->sum = t->mass(a, n, 3, &moment);
        memcpy(o->x, &moment, n ? sizeof(float) : 0);
        o->sum += moment;
        break;
    }
    case 3: o->sum = t->divergence(a, 3, b, 2.5, n); break;
    case 4: o->sum = t->dot(a, b, n); break;
    case 5: t->silu_mul(o->x, b, n); break;
    case 6: t->gelu_mul(o->x, b, n); break;
    case 7: t->gelu_mul(o->x, NULL, n); break;
    case 8: t->soft_cap(o->x, n, 2.5f); break;
    case 9: t->rms_norm(o->x, a, b, n, 1e-5f); break;
    case 10: t->layer_norm(o->x, a, b, c, n, 1e-5f); break;
    case 11: t->rotate(o->x, b, c, n / 4 * 2, n, true, .3f); break;
    case 13: t->max_rows(a, 3, n / 3, o->x); break;
    case 14: {
        const float shift[3] = { .5f, 2, -1 };
        double sum[3];
        t->exp_rows(o->x, 3, n / 3, shift, sum);
        o->sum = sum[0] + 2 * sum[1] + 4 * sum[2];
        break;
    }
    case 12: t->rotate(o->x, b, c, n / 4 * 2, n, false, .3f); break;
    default: return false;
    }
    return true;
}

static void instruction_sets_give_the_same_bits(void **state)
{
    (void)state;
    static const char *const targets[] = { "avx2", "avx512" };
    static const float odd[] = { 0.0f, -0.0f, 1e-42f, -1e-42f, 1e30f, -1e30f, 88.8f, -103.9f, -104.1f, 1.0f };
    static float a[MOST], b[MOST], c[MOST];
    static outcome portable, wide;
    size_t compared = 0;
    for (size_t t = 0; t < 2; t++) {
        const vec_table *table = vec_table_of(targets[t]);
        if (!table)
            continue;
        for (size_t s = 0; s < N_SIZES; s++) {
            normal(a, MOST, s % 2 ? 1 : 20);
            normal(b, MOST, 1);
            normal(c, MOST, 1);
            for (size_t i = 0; s == N_SIZES - 1 && i < MOST; i += 3)
                a[i] = odd[i / 3 % 10];
            for (int which = 0; apply(&vec_portable, which, a, b, c, sizes[s], &portable); which++) {
                assert_true(apply(table, which, a, b, c, sizes[s], &wide));
                if (memcmp(&portable, &wide, sizeof wide))
                    fail_msg("%s: function %d on %zu floats", targets[t], which, sizes[s]);
                compared++;
            }
        }
    }
    if (!compared) {
        print_message("this machine has neither AVX2 nor AVX-512\n");
        skip();
    }
    assert_true(compared % (15 * N_SIZES) == 0);
    assert_null(vec_table_of("avx"));
}

/* What is not finite stays so. */
static void nothing_hides_what_is_not_a_number(void **state)
{
    (void)state;
    static const char *const targets[] = { "portable", "avx2", "avx512" };
    for (size_t t = 0; t < 3; t++) {
        const vec_table *table = vec_table_of(targets[t]);
        for (size_t at = 0; table && at < 40; at++) {
            float x[40], y[40];
            double moment;
            normal(x, 40, 1);
            memcpy(y, x, sizeof y);
            x[at] = NAN;
            assert_true(isnan(table->max(x, 40)));
            assert_true(isnan(table->mass(x, 40, 5, &moment)) && isnan(moment));
            assert_true(isnan(table->divergence(x, 5, y, 5, 40)) && isnan(table->divergence(y, 5, x, 5, 40)));
            assert_true(isnan(table->exp_sum(x, 40, 0)));
            x[at] = -INFINITY;
            assert_true(isfinite(table->mass(x, 40, 5, &moment)));
            assert_true(isfinite(table->exp_sum(x, 40, 0)) && x[at] == 0);
        }
    }
}

/* ---- Exactness --------------------------------------------------------------------------------- */

static void exps_are_as_exact_as_stated(void **state)
{
    (void)state;
    long double most = 0, most_float = 0;
    for (size_t i = 0; i < 200000; i++) {
        float x = (float)(-gsl_rng_uniform(rng) * (i % 2 ? 1 : 690));
        double moment;
        const double shift = gsl_rng_uniform(rng) * 1e-3, e = vec_mass(&x, 1, shift, &moment);
        const long double wanted = expl((long double)x - (long double)shift);
        /* shift and x are rounded to their difference first, which is the caller's */
        const long double rounded = expl((long double)((double)x - shift)), off = fabsl((long double)e - rounded) / rounded;
        most = off > most ? off : most;
        assert_true(fabsl((long double)moment - (long double)e * ((long double)x - (long double)shift)) <= 1e-12L * fabsl(wanted) * 700);
        float y = x > -87 ? x : x / 8;
        const long double wanted_float = expl((long double)y);
        vec_exp_sum(&y, 1, 0);
        const long double off_float = fabsl((long double)y - wanted_float) / wanted_float;
        most_float = off_float > most_float ? off_float : most_float;
    }
    if (!(most < 1e-15L && most > 0))
        fail_msg("exp in double is off by %Lg", most);
    if (!(most_float < 2e-7L && most_float > 0))
        fail_msg("exp in float is off by %Lg", most_float);
}

/* Rows that hardly differ: what is left of sums that all but cancel must still be right. */
static void divergences_are_exact_even_when_small(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float p[N], q[N];
    for (double step = 1e-5; step <= 1; step *= 10) {
        normal(p, N, 3);
        for (size_t i = 0; i < N; i++)
            q[i] = (float)(p[i] + step * gsl_ran_gaussian_ziggurat(rng, 1));
        long double zp = 0, zq = 0, wanted = 0;
        for (size_t i = 0; i < N; i++) {
            zp += expl((long double)p[i]);
            zq += expl((long double)q[i]);
        }
        for (size_t i = 0; i < N; i++)
            wanted += expl((long double)p[i]) / zp * ((long double)p[i] - logl(zp) - (long double)q[i] + logl(zq));
        const double log_p = vec_log_sum_exp(p, N), log_q = vec_log_sum_exp(q, N), got = vec_divergence(p, log_p, q, log_q, N);
        if (!(fabsl((long double)got - wanted) <= 1e-14L + 1e-11L * wanted))
            fail_msg("a divergence of %Lg came out as %g", wanted, got);
        assert_true(vec_divergence(p, log_p, p, log_p, N) == 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gsl_rng_free(rng);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instruction_sets_give_the_same_bits),
        cmocka_unit_test(nothing_hides_what_is_not_a_number),
        cmocka_unit_test(exps_are_as_exact_as_stated),
        cmocka_unit_test(divergences_are_exact_even_when_small),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
