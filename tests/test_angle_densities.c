/* test_angle_densities.c - the probe `angles`: every angle is counted in its level and bin, figures of agreement are those of the
 * definition, Gaussian vectors agree with the analytic densities and others do not, and codebooks are the state's. */
#include "tests/probe_runs.h"

#include <gsl/gsl_integration.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

enum { DIM = 64, N = 4096, BINS = 64 };

static void run_one(const char *name, const char *quantizer_args, const char *args, float *x, size_t n, size_t dim, probe_run *run)
{
    run_on_vectors("angles", args, name, quantizer_args, 5, x, n, dim, run);
}

/* Angles of a level in a bin; bin < 0: in all. */
static double counted(const cell_run *c, uint32_t level, int bin)
{
    double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->samples[i].metric, "angle_count") && c->samples[i].chunk == level &&
            (bin < 0 || c->samples[i].idx == (uint32_t)bin))
            sum += c->samples[i].value;
    return sum;
}

/* 16 coordinates of size 1 whose pairs lie in all four quadrants: radii are alike, so that all angles above level 1 are pi/4. */
static void angles_are_counted_where_they_lie(void **state)
{
    (void)state;
    enum { GROUPS = 3 };
    float x[GROUPS * 16];
    probe_run run;
    for (size_t i = 0; i < GROUPS * 16; i += 2) {
        x[i] = i / 2 % 4 == 1 || i / 2 % 4 == 2 ? -1 : 1;
        x[i + 1] = i / 2 % 4 >= 2 ? -1 : 1;
    }
    memset(x + 2 * 16, 0, 16 * sizeof *x);                 /* nothing there: no angles */
    run_one("polarquant", "rotation=none", "", x, GROUPS, 16, &run);
    const cell_run *c = &run.cells[0];
    for (int quadrant = 0; quadrant < 4; quadrant++)
        assert_near(counted(c, 1, 8 + 16 * quadrant), 4, 0);
    for (uint32_t level = 1; level <= 4; level++) {
        assert_near(counted(c, level, -1), 2 * (16 >> level), 0);
        if (level > 1)         /* pi/4 is the edge of two bins, and roots are rounded */
            assert_near(counted(c, level, BINS / 2) + counted(c, level, BINS / 2 - 1), 2 * (16 >> level), 0);
    }
    run_free(&run);
}

static double density(double psi, void *power) { return pow(sin(2 * psi), *(double *)power); }

/* The share below an edge by quadrature of the density, which knows nothing of beta functions. */
static double share_below(uint32_t level, int edge)
{
    double part, all, error, power = ldexp(1, (int)level - 1) - 1;
    size_t n;
    gsl_function f = { density, &power };
    if (level == 1)
        return (double)edge / BINS;
    gsl_integration_qng(&f, 0, M_PI_2 * edge / BINS, 0, 1e-10, &part, &error, &n);
    gsl_integration_qng(&f, 0, M_PI_2, 0, 1e-10, &all, &error, &n);
    return part / all;
}

static void gaussian_vectors_agree(void **state)
{
    (void)state;
    static float x[N * DIM];
    probe_run run;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(rng, 17);
    for (size_t i = 0; i < N * DIM; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
    run_one("polarquant", "", "", x, N, DIM, &run);
    const cell_run *c = &run.cells[0];
    for (uint32_t level = 1; level <= 4; level++) {
        char name[32];
        const double total = counted(c, level, -1);
        double below = 0, largest = 0;
        assert_near(total, (double)N * (DIM >> level), 0);
        for (int bin = 0; bin + 1 < BINS; bin++) {
            below += counted(c, level, bin);
            largest = fmax(largest, fabs(below / total - share_below(level, bin + 1)));
        }
        snprintf(name, sizeof name, "angle_ks_%u", level);
        assert_near(value_of(c, name), largest, 1e-9);
        assert_true(largest < 2.23 / sqrt(total));
        snprintf(name, sizeof name, "angle_chi2_%u", level);
        const kept_result *chi2 = result_of(c, name);
        assert_near(chi2->value, 1, 4.5 * chi2->se);
        assert_true(chi2->se < 0.3);
        if (level == 1) {                                  /* even bins, none of them rare */
            double sum = 0;
            for (int bin = 0; bin < BINS; bin++)
                sum += pow(counted(c, 1, bin) - total / BINS, 2) / (total / BINS);
            assert_near(chi2->value, sum / (BINS - 1), 1e-9);
            assert_near(chi2->se, sqrt(2.0 / (BINS - 1)), 1e-12);
        }
    }
    assert_near(value_of(c, "level4_centroid_1"), 0.524214, 1e-6);
    assert_near(value_of(c, "level2_centroid_4"), 1.261040, 1e-6);
    run_free(&run);
}

/* Large coordinates stand alone in their groups: without a rotation the angles say so, with one they do not. */
static void rotation_makes_the_difference(void **state)
{
    (void)state;
    static float x[N * DIM];
    static const char *const args[] = { "rotation=none", "rotation=haar", "rotation=hadamard" };
    double ks[3];
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(rng, 18);
    for (size_t i = 0; i < N * DIM; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, i % 4 == 1 ? 10 : 1);
    gsl_rng_free(rng);
    for (size_t i = 0; i < 3; i++) {
        probe_run run;
        run_one("polarquant", args[i], "n=2048", x, N, DIM, &run);
        assert_near(counted(&run.cells[0], 2, -1), 2048.0 * (DIM >> 2), 0);
        ks[i] = value_of(&run.cells[0], "angle_ks_2");
        run_free(&run);
    }
    assert_true(ks[0] > 0.2);
    assert_true(ks[1] < ks[0] / 3);
    assert_true(ks[2] < ks[0] / 3);
}

static void asks_for_levels_and_vectors(void **state)
{
    (void)state;
    float x[4 * DIM] = { 0 };
    kvant_data data = { .x = x, .n = 4, .dim = DIM };
    const kvant_probe *p = probe_of("angles");
    static const char *const names[] = { "turboquant_mse", "polarquant" }, *const says[] = { "name polarquant", "4 vectors, and 5" };
    for (size_t i = 0; i < 2; i++) {
        const kvant_quantizer *q = kvant_find(names[i], NULL);
        kvant_args given = kvant_defaults(q->params);
        kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR };
        kvant_codec codec;
        kvant_error err = { "" };
        probe_run run;
        assert_int_equal(kvant_open(q, &shape, &given, "scalar", &codec, NULL), KVANT_OK);
        probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
        assert_int_equal(kvant_parse(p->params, i ? "n=5" : "", &job.args, NULL), KVANT_OK);
        assert_int_equal(run_probe(p, &job, &run, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, says[i]));
        run_free(&run);
        if (i) {                                           /* vectors that are nothing have no angles */
            assert_int_equal(kvant_parse(p->params, "n=4", &job.args, NULL), KVANT_OK);
            assert_int_equal(run_probe(p, &job, &run, &err), KVANT_FAILED);
            run_free(&run);
        }
        kvant_close(&codec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles_are_counted_where_they_lie),
        cmocka_unit_test(gaussian_vectors_agree),
        cmocka_unit_test(rotation_makes_the_difference),
        cmocka_unit_test(asks_for_levels_and_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
