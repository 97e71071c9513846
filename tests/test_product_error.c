/* test_product_error.c - the probe `product_error` against a quantizer whose error is known: each error, its bin and its moments; and
 * against theory on the sphere, where the root mean square is the root of D. */
#include "tests/probe_runs.h"

enum { DIM = 16, N = 200 };

/* 16 unit vectors along the axes, again and again: products are 0 or 1. */
static void axes(float x[N][DIM])
{
    memset(x, 0, N * sizeof *x);
    for (size_t i = 0; i < N; i++)
        x[i][i % DIM] = 1;
}

static void run_one(const char *name, const char *quantizer_args, const char *args, float *x, size_t n, size_t dim, probe_run *run)
{
    run_on_vectors("product_error", args, name, quantizer_args, 0, x, n, dim, run);
}

static double counted(const cell_run *c, int bin)
{
    double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->samples[i].metric, "product_error_count") && (bin < 0 || c->samples[i].idx == (uint32_t)bin))
            sum += c->samples[i].value;
    return sum;
}

static void what_is_exact_has_no_error(void **state)
{
    (void)state;
    float x[N][DIM];
    probe_run run;
    axes(x);
    run_one("f32", "", "", x[0], N, DIM, &run);
    assert_near(value_of(&run.cells[0], "product_error_mean"), 0, 0);
    assert_near(value_of(&run.cells[0], "product_error_rms"), 0, 0);
    /* Every vector with 8 queries, but for those that are themselves: the last cluster's queries are the first 8 of the data. */
    assert_near(counted(&run.cells[0], 50), N * 8.0, 0);
    assert_near(counted(&run.cells[0], -1), N * 8.0, 0);
    run_free(&run);
}

/* The mean and the root mean square are those of the bins, within their width. */
static void bins_agree_with_moments(void **state)
{
    (void)state;
    enum { DIMS = 64, MANY = 2000 };
    static float x[MANY * DIMS];
    uint32_t lcg = 1;
    for (size_t i = 0; i < MANY * DIMS; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++)
            sum += (lcg = lcg * 1664525u + 1013904223u) / 4294967296.0;
        x[i] = (float)sum;                                                  /* normal enough */
    }
    probe_run run;
    run_one("turboquant_mse", "bits=1", "seeds=8", x, MANY, DIMS, &run);
    const cell_run *c = &run.cells[0];
    double n = counted(c, -1), mean = 0, square = 0;
    for (int bin = 0; bin < 100; bin++) {
        const double centre = (bin - 50) / 10.0 + 0.05, share = counted(c, bin) / n;
        mean += centre * share;
        square += centre * centre * share;
    }
    assert_near(n, 8 * MANY * 8.0, 0);
    assert_near(value_of(c, "product_error_mean"), mean, 0.05);
    assert_near(value_of(c, "product_error_rms"), sqrt(square), 0.01);
    /* D of one bit on the sphere of 64 dimensions, by quadrature: .358387. */
    const kept_result *rms = result_of(c, "product_error_rms");
    assert_near(rms->value, sqrt(0.358387), 6 * rms->se + 0.003);
    assert_near(rms->n, 8, 0);
    assert_true(rms->lo < rms->value && rms->value < rms->hi);
    run_free(&run);
}

static void asks_for_vectors_that_are_there(void **state)
{
    (void)state;
    float x[N][DIM];
    kvant_data data = { .x = x[0], .n = N, .dim = DIM };
    const kvant_probe *p = probe_of("product_error");
    kvant_codec trained = { .quantizer = kvant_find("pq", NULL), .plan.train_min = 256 };
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &trained };
    probe_run run;
    kvant_error err = { "" };
    assert_int_equal(kvant_parse(p->params, "n=201", &job.args, NULL), KVANT_OK);
    assert_int_equal(run_probe(p, &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "200 vectors"));
    assert_int_equal(kvant_parse(p->params, "n=0,seeds=2", &job.args, NULL), KVANT_OK);
    assert_int_equal(run_probe(p, &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "pq is trained"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_exact_has_no_error),
        cmocka_unit_test(bins_agree_with_moments),
        cmocka_unit_test(asks_for_vectors_that_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
