/* test_recall.c - recall of exact codes is 1, of codes that say nothing k/n, and ranks, ties and intervals are those worked out
 * by hand. */
#include "tests/float_codes.h"

static const kvant_probe *probe(void)
{
    const kvant_probe *p = probe_find("recall", NULL);
    assert_non_null(p);
    return p;
}

/* ---- Quantizers whose ranks are known: the code is the vector, and score is what the name says ---- */

static kvant_status plan_blocks(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    return plan_float_blocks(48, shape, plan);
}

static void encode_floats(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    memcpy(code, x, n * dim_of(state) * sizeof *x);
}

static void decode_floats(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)first, (void)scratch;
    memcpy(x, code, n * dim_of(state) * sizeof *x);
}

static void query_floats(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    (void)scratch;
    memcpy(prepared, q, nq * dim_of(state) * sizeof *q);
}

static void fill(float value, size_t nq, size_t n, float *dot)
{
    for (size_t i = 0; i < nq * n; i++)
        dot[i] = value;
}

static void score_equal(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n,
                        float *dot, void *scratch)
{
    (void)state, (void)prepared, (void)code, (void)first, (void)scratch;
    fill(1, nq, n, dot);
}

static void score_nan(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                      void *scratch)
{
    (void)state, (void)prepared, (void)code, (void)first, (void)scratch;
    fill(NAN, nq, n, dot);
}

/* Hashes of query and vector: estimates that have nothing to do with the products. */
static uint32_t hash(const uint8_t *bytes, size_t n, uint32_t h)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return h ^ h >> 15;
}

static void score_random(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n,
                         float *dot, void *scratch)
{
    (void)first, (void)scratch;
    size_t bytes = dim_of(state) * sizeof(float);
    for (size_t i = 0; i < nq; i++)
        for (size_t j = 0; j < n; j++)
            dot[i * n + j] = (float)hash(code + j * bytes, bytes, hash((const uint8_t *)prepared + i * bytes, bytes, 2166136261u));
}

#define KNOWN(id, plan_of, query_of, score_of) \
    static const kvant_quantizer id = { .name = #id, .summary = "", .source = "", .params = no_params, .plan = plan_of, \
                                        .init = init_dim, .ops = { .encode = encode_floats, .decode = decode_floats, \
                                                                   .query = query_of, .score = score_of } }
KNOWN(equal, plan_floats, query_floats, score_equal);
KNOWN(nothing, plan_floats, query_floats, score_nan);
KNOWN(unrelated, plan_floats, query_floats, score_random);
KNOWN(blocks, plan_blocks, NULL, NULL);

static kvant_status run(const kvant_quantizer *q, const char *args, const char *probe_args, const kvant_data *data,
                        probe_run *result, kvant_error *err)
{
    assert_non_null(q);
    kvant_shape shape = { .dim = (uint32_t)data->dim, .side = KVANT_VECTOR };
    kvant_args values = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, args, &values, NULL), KVANT_OK);
    kvant_codec codec = { 0 };
    assert_int_equal(kvant_open(q, &shape, &values, NULL, &codec, NULL), KVANT_OK);
    probe_job job = { .args = kvant_defaults(probe()->params), .data = data, .n_cells = 1, .vectors = &codec };
    assert_int_equal(kvant_parse(probe()->params, probe_args, &job.args, NULL), KVANT_OK);
    kvant_status status = run_probe(probe(), &job, result, err);
    kvant_close(&codec);
    return status;
}

static void run_well(const kvant_quantizer *q, const char *args, const char *probe_args, const kvant_data *data, probe_run *result)
{
    kvant_error err = { "" };
    if (run(q, args, probe_args, data, result, &err))
        fail_msg("%s", err.text);
}

static double recall_at(const probe_run *r, int k)
{
    char name[32];
    snprintf(name, sizeof name, "recall_at_%d", k);
    return value_of(&r->cells[0], name);
}

/* ---- Tests ----------------------------------------------------------------------------------------- */

static void results_from_ranks(void **state)
{
    (void)state;
    static const double ranks[] = { 1, 1, 2, 3, 4, 64, 65, 1000 };
    probe_sample samples[8];
    for (uint32_t i = 0; i < 8; i++)
        samples[i] = (probe_sample){ "rank", i, 0, ranks[i], 1 };
    cell_run r = { 0 };
    kvant_args args = kvant_defaults(probe()->params);
    assert_int_equal(probe()->finish(&args, samples, 8, run_result, &r, NULL), KVANT_OK);
    static const struct { const char *metric; double value; } known[] = {
        { "recall_at_1", 2 / 8. }, { "recall_at_2", 3 / 8. }, { "recall_at_4", 5 / 8. }, { "recall_at_8", 5 / 8. },
        { "recall_at_16", 5 / 8. }, { "recall_at_32", 5 / 8. }, { "recall_at_64", 6 / 8. }, { "rank", 1140 / 8. },
    };
    assert_int_equal(r.n_results, 8);
    for (size_t i = 0; i < 8; i++)
        assert_near(value_of(&r, known[i].metric), known[i].value, 1e-15 * known[i].value);
    /* Wilson, 2 of 8. */
    const kept_result *one = result_of(&r, "recall_at_1");
    double z = 1.9599639845400545, c = (.25 + z * z / 16) / (1 + z * z / 8);
    double h = z * sqrt(.25 * .75 / 8 + z * z / 256) / (1 + z * z / 8);
    assert_near(one->n, 8, 0);
    assert_near(one->se, sqrt(.25 * .75 / 8), 1e-15);
    assert_near(one->lo, c - h, 1e-9);
    assert_near(one->hi, c + h, 1e-9);
}

static void exact_codes_find_all(void **state)
{
    (void)state;
    kvant_data data = gaussian(1000, 24, 0);
    memcpy(data.x + 500 * 24, data.x, 300 * 24 * sizeof(float));       /* equal vectors: the first counts in both searches */
    probe_run r;
    run_well(kvant_find("f32", NULL), "", "queries=300", &data, &r);
    assert_near(recall_at(&r, 1), 1, 0);
    assert_near(value_of(&r.cells[0], "rank"), 1, 0);
    assert_near(result_of(&r.cells[0], "recall_at_1")->n, 300, 0);
    assert_int_equal(r.cells[0].n, 300);
    run_free(&r);
    free(data.x);
}

static void unrelated_estimates_find_by_chance(void **state)
{
    (void)state;
    kvant_data data = gaussian(4000 + 256, 8, 0);
    probe_run r;
    run_well(&unrelated, "", "queries=4000", &data, &r);               /* 256 to search */
    for (int k = 1; k <= 64; k *= 2) {
        double p = k / 256.;
        assert_near(recall_at(&r, k), p, 4.5 * sqrt(p * (1 - p) / 4000));
    }
    assert_near(value_of(&r.cells[0], "rank"), 257 / 2., 4.5 * 256 / sqrt(12. * 4000));
    run_free(&r);
    free(data.x);
}

/* Vectors (1 + place mod 100, 0 ...): for every query the nearest is the first of the longest ones in the base. */
static void ties_go_by_place(void **state)
{
    (void)state;
    kvant_data data = { .n = 400, .dim = 8, .x = calloc(400 * 8, sizeof(float)) };
    assert_non_null(data.x);
    for (size_t i = 0; i < data.n; i++)
        data.x[i * 8] = (float)(1 + i % 100);
    probe_run r;
    run_well(kvant_find("f32", NULL), "", "queries=2", &data, &r);
    assert_near(recall_at(&r, 1), 1, 0);
    run_free(&r);
    run_well(&equal, "", "queries=2", &data, &r);
    double place = value_of(&r.cells[0], "rank");                      /* place 99, less the queries before it */
    assert_true(place == 100 || place == 99 || place == 98);
    run_free(&r);
    run_well(&nothing, "", "queries=2", &data, &r);
    assert_near(value_of(&r.cells[0], "rank"), 384, 0);                /* 398, in multiples of 64 */
    assert_near(recall_at(&r, 64), 0, 0);
    run_free(&r);
    free(data.x);
}

static void more_bits_find_more(void **state)
{
    (void)state;
    kvant_data data = gaussian(1500, 64, 0);
    double last = 0;
    for (int bits = 1; bits <= 7; bits += 2) {
        char args[40];
        snprintf(args, sizeof args, "bits=%d", bits);
        probe_run r;
        run_well(kvant_find("turboquant_mse", NULL), args, "", &data, &r);
        assert_true(recall_at(&r, 1) > last && recall_at(&r, 2) >= recall_at(&r, 1));
        last = recall_at(&r, 1);
        run_free(&r);
    }
    assert_true(last > .9);
    free(data.x);
}

static void queries_follow_their_seed(void **state)
{
    (void)state;
    kvant_data data = gaussian(600, 16, 0);
    const kvant_quantizer *q = kvant_find("affine", NULL);
    probe_run a, b, c;
    run_well(q, "bits=2,group_size=16", "queries=300", &data, &a);
    run_well(q, "bits=2,group_size=16", "queries=300", &data, &b);
    run_well(q, "bits=2,group_size=16", "queries=300,query_seed=7", &data, &c);
    assert_same_samples(&a.cells[0], &b.cells[0]);
    double differ = 0;
    for (size_t i = 0; i < 300; i++)
        differ += a.cells[0].samples[i].value != c.cells[0].samples[i].value;
    assert_true(differ > 0);
    run_free(&a);
    run_free(&b);
    run_free(&c);
    free(data.x);
}

static void refuses_what_it_cannot_search(void **state)
{
    (void)state;
    kvant_data data = gaussian(400, 16, 0);
    static const struct { const kvant_quantizer *q; const char *args, *says; } cases[] = {
        { &equal, "queries=272", NULL }, { &equal, "queries=273", "at least 128" }, { &equal, "queries=400", "at least 128" },
        { &equal, "queries=16,n=401", "400" }, { &blocks, "queries=16", NULL }, { &blocks, "queries=80", "blocks of 48" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        probe_run r;
        kvant_error err = { "" };
        kvant_status status = run(cases[i].q, "", cases[i].args, &data, &r, &err);
        assert_int_equal(status, cases[i].says ? KVANT_INVALID : KVANT_OK);
        if (cases[i].says)
            assert_non_null(strstr(err.text, cases[i].says));
        run_free(&r);
    }
    free(data.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_from_ranks),
        cmocka_unit_test(exact_codes_find_all),
        cmocka_unit_test(unrelated_estimates_find_by_chance),
        cmocka_unit_test(ties_go_by_place),
        cmocka_unit_test(more_bits_find_more),
        cmocka_unit_test(queries_follow_their_seed),
        cmocka_unit_test(refuses_what_it_cannot_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
