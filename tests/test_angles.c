/* test_angles.c - bias and variance of inner products by the angle between query and vector, against closed forms: sign sketches,
 * shrinking and unbiased codebooks, and a check by queries that really stand at an angle. */
#include "harness/measure/fidelity.h"
#include "tests/probe_runs.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

enum { N = 4096, DIM = 64 };

static float gaussian[N * DIM];

static int fill(void **state)
{
    (void)state;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(rng, 9);
    for (size_t i = 0; i < N * DIM; i++)
        gaussian[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
    return 0;
}

static void open_codec(const char *name, const char *args, kvant_codec *codec)
{
    const kvant_quantizer *q = kvant_find(name, NULL);
    assert_non_null(q);
    kvant_args given = kvant_defaults(q->params);
    kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR, .seed = 3 };
    assert_int_equal(kvant_parse(q->params, args, &given, NULL), KVANT_OK);
    assert_int_equal(kvant_open(q, &shape, &given, "scalar", codec, NULL), KVANT_OK);
}

static void run_on(const char *name, const char *args, const char *probe_args, probe_run *run)
{
    const kvant_probe *p = probe_find("distortion", NULL);
    kvant_data data = { .x = gaussian, .n = N, .dim = DIM };
    kvant_codec codec;
    assert_non_null(p);
    open_codec(name, args, &codec);
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    assert_int_equal(kvant_parse(p->params, probe_args, &job.args, NULL), KVANT_OK);
    run_ok(p, &job, run);
    kvant_close(&codec);
}

static const kept_result *at(const probe_run *run, const char *metric, int degrees)
{
    char name[32];
    snprintf(name, sizeof name, "%s_at_%d", metric, degrees);
    return result_of(&run->cells[0], name);
}

static void assert_within(const kept_result *r, double want, double tolerance)
{
    if (!(fabs(r->value - want) <= tolerance + 5 * r->se))
        fail_msg("%s: %.6g is not %.6g within %.2g and 5 errors of %.2g", r->metric, r->value, want, tolerance, r->se);
}

/* Zandieh et al. (2406.03482): unbiased, d var = pi/2 |q|^2 |k|^2 - <q,k>^2 for m = d and a Gaussian sketch. */
static void sign_sketches(void **state)
{
    (void)state;
    probe_run run;
    run_on("qjl", "m=64,sketch=gaussian", "n=1024,seeds=48", &run);
    for (int degrees = 0; degrees <= 90; degrees += 15) {
        double cosine = cos(degrees * M_PI / 180);
        assert_within(at(&run, "ip_variance", degrees), M_PI / 2 - cosine * cosine, .002);
        assert_true(at(&run, "ip_variance", degrees)->se < .03);
        if (degrees < 90)
            assert_within(at(&run, "ip_bias", degrees), 0, 1e-4);
    }
    run_free(&run);
}

/* Centroids shrink: the bias is -D cos, with D of oracle tables at 64 dimensions; and what is 0 along x is so at every angle. */
static void codebooks(void **state)
{
    (void)state;
    probe_run run;
    run_on("turboquant_mse", "bits=2,rotation=haar", "", &run);
    for (int degrees = 0; degrees < 90; degrees += 15)
        assert_within(at(&run, "ip_bias", degrees), -.114526 * cos(degrees * M_PI / 180), 1e-5);
    assert_true(at(&run, "ip_bias", 0)->se > 0);
    assert_near(at(&run, "ip_variance", 90)->value, value_of(&run.cells[0], "ip_variance"), 1e-12);
    assert_near(at(&run, "ip_variance", 90)->se, result_of(&run.cells[0], "ip_variance")->se, 1e-12);
    run_free(&run);
    run_on("turboquant_mse", "bits=2,rotation=haar,scale=unbiased", "", &run);
    for (int degrees = 0; degrees < 90; degrees += 15)
        assert_near(at(&run, "ip_bias", degrees)->value, 0, 1e-5);     /* the scale's rounding to half */
    assert_near(at(&run, "ip_variance", 0)->value, 0, 1e-5);
    assert_near(at(&run, "ip_variance", 30)->value, .25 * at(&run, "ip_variance", 90)->value, 1e-5);
    run_free(&run);
}

/* The same by hand: queries at 60 degrees to each vector, in the plane of it and another, on both of its sides. */
static void queries_that_stand_at_an_angle(void **state)
{
    (void)state;
    enum { PAIRS = 2048 };
    static float decoded[N * DIM];
    kvant_codec codec;
    open_codec("affine", "bits=2,group_size=32", &codec);
    uint8_t *code = kvant_alloc(kvant_bytes(&codec, N));
    void *scratch = kvant_alloc(codec.scratch);
    assert_true(code && scratch);
    kvant_encode(&codec, gaussian, 0, N, code, scratch);
    kvant_decode(&codec, code, 0, N, decoded, scratch);
    double sum = 0, sum_sq = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        const float *x = gaussian + i * DIM, *other = gaussian + (i + PAIRS) * DIM;
        double xx = 0, xo = 0, oo = 0, along = 0, across = 0;
        for (size_t j = 0; j < DIM; j++)
            xx += (double)x[j] * x[j], xo += (double)x[j] * other[j], oo += (double)other[j] * other[j];
        double length = sqrt(oo - xo * xo / xx);
        for (size_t j = 0; j < DIM; j++) {
            double e = ((double)decoded[i * DIM + j] - x[j]) / sqrt(xx);
            along += e * x[j] / sqrt(xx);
            across += e * (other[j] - xo / xx * x[j]) / length;
        }
        for (int side = -1; side <= 1; side += 2) {
            double error = .5 * along + side * sqrt(.75) * across;
            sum += error / (2 * PAIRS);
            sum_sq += error * error / (2 * PAIRS);
        }
    }
    probe_run run;
    run_on("affine", "bits=2,group_size=32", "", &run);
    assert_within(at(&run, "ip_bias", 60), sum, .002);
    assert_within(at(&run, "ip_variance", 60), DIM * (sum_sq - sum * sum), .05 * DIM * sum_sq);
    run_free(&run);
    free(code);
    free(scratch);
    kvant_close(&codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sign_sketches), cmocka_unit_test(codebooks), cmocka_unit_test(queries_that_stand_at_an_angle),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
