/* test_attended.c - figures of attention by hand, and the attention probe on vectors with codes whose effect is known.
 * What needs a model is in test_probes_model.c. */
#include "harness/measure/attended.h"
#include "tests/float_codes.h"

static const kvant_probe *probe(void)
{
    const kvant_probe *p = probe_find("attention", NULL);
    assert_non_null(p);
    return p;
}

/* ---- Codes that are the vectors times a factor: 1/2, or 0 ------------------------------------------- */

static kvant_status plan_blocks(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    return plan_float_blocks(24, shape, plan);
}

static void encode_times(float factor, const void *state, const float *x, size_t n, uint8_t *code)
{
    uint32_t dim;
    memcpy(&dim, state, sizeof dim);
    float *out = (float *)(void *)code;
    for (size_t i = 0; i < n * dim; i++)
        out[i] = factor * x[i];
}

static void encode_half(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    encode_times(.5f, state, x, n, code);
}

static void encode_zero(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    encode_times(0, state, x, n, code);
}

static void decode_floats(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    uint32_t dim;
    (void)first, (void)scratch;
    memcpy(&dim, state, sizeof dim);
    memcpy(x, code, n * dim * sizeof *x);
}

#define KNOWN(id, plan_of, encode_of) \
    static const kvant_quantizer id = { .name = #id, .summary = "", .source = "", .params = no_params, .plan = plan_of, \
                                        .init = init_dim, .ops = { .encode = encode_of, .decode = decode_floats } }
KNOWN(half, plan_floats, encode_half);
KNOWN(nothing, plan_floats, encode_zero);
KNOWN(blocks, plan_blocks, encode_half);

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

/* ---- One query --------------------------------------------------------------------------------------- */

static void compares_by_hand(void **state)
{
    (void)state;
    static const double weight[] = { .1, .5, .3, .1 }, estimate[] = { .2, .3, .4, .1 }, output[] = { 3, 4 };
    static const float got[] = { 3, 1 };
    attended sum = { 0 };
    attended_compare(weight, estimate, 4, output, got, 2, &sum);
    assert_near(sum.sum[ATTENDED_OUTPUT_ERROR], 3 / 5., 1e-15);
    assert_near(sum.sum[ATTENDED_WEIGHT_ERROR], sqrt(.06 / .36), 1e-15);
    assert_near(sum.sum[ATTENDED_WEIGHT_SHIFT], .2, 1e-15);
    assert_near(sum.sum[ATTENDED_TOP_1], 0, 0);
    assert_near(sum.sum[ATTENDED_TOP_8], 1, 0);         /* of four, all are the heaviest */
    attended_compare(weight, weight, 4, (const double[]){ 0, 0 }, got, 2, &sum);
    assert_near(sum.n[ATTENDED_OUTPUT_ERROR], 1, 0);    /* an error relative to 0 is none */
    assert_near(sum.n[ATTENDED_TOP_1], 2, 0);
    assert_near(sum.sum[ATTENDED_TOP_1], 1, 0);
}

static void heaviest_by_hand(void **state)
{
    (void)state;
    /* Weights fall with the place, estimates rise: places 0-7 against 4-11 of 12. */
    double falls[12], rises[12], same[12], spoilt[12], output = 1;
    float got = 1;
    for (int i = 0; i < 12; i++)
        falls[i] = 12 - i, rises[i] = i, same[i] = 1, spoilt[i] = i == 1 ? NAN : 12 - i;
    const struct { const double *estimate; double top_1, top_8; } cases[] = {
        { falls, 1, 1 }, { rises, 0, 4 / 8. }, { same, 1, 1 }, { spoilt, 1, 7 / 8. },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        attended sum = { 0 };
        attended_compare(falls, cases[i].estimate, 12, &output, &got, 1, &sum);
        assert_near(sum.sum[ATTENDED_TOP_1], cases[i].top_1, 0);
        assert_near(sum.sum[ATTENDED_TOP_8], cases[i].top_8, 0);
    }
    attended sum = { 0 };
    attended_compare(falls, spoilt, 12, &output, &got, 1, &sum);
    assert_true(isnan(sum.sum[ATTENDED_WEIGHT_SHIFT]));
}

static void exact_by_hand(void **state)
{
    (void)state;
    /* Products 0, ln 2 and ln 5 after the scale: weights 1/8, 2/8, 5/8. Rows are 3 floats apart. */
    const float q[] = { 2, 0 }, k[] = { 0, 9, 0, (float)log(2), -9, 0, (float)log(5), 1, 0 }, v[] = { 8, 0, 7, 0, 8, 7, 8, 8, 7 };
    double weight[3], output[2];
    attended_exact(q, .5, k, v, 3, 3, 2, weight, output);
    assert_near(weight[0], 1 / 8., 1e-7);
    assert_near(weight[1], 2 / 8., 1e-7);
    assert_near(weight[2], 5 / 8., 1e-7);
    assert_near(output[0], 6, 1e-6);
    assert_near(output[1], 7, 1e-6);
    attended_exact(q, .5, k, v, 3, 1, 2, weight, output);
    assert_near(weight[0], 1, 0);
    assert_near(output[0], 8, 0);
    attended_exact((const float[]){ 3e38f, 0 }, 1, k, v, 3, 3, 2, weight, output);      /* no overflow in the softmax */
    assert_near(weight[2], 1, 0);
}

/* ---- The probe ----------------------------------------------------------------------------------------- */

static void exact_codes_change_nothing(void **state)
{
    (void)state;
    kvant_data data = gaussian(3 * (2 * 96 + 5), 32, 0);
    probe_run r;
    run_well(kvant_find("f32", NULL), "", "context=96,chunks=3,queries=5", &data, &r);
    const cell_run *c = &r.cells[0];
    assert_near(value_of(c, "output_error"), 0, 1e-5);
    assert_near(value_of(c, "weight_error"), 0, 1e-5);
    assert_near(value_of(c, "weight_shift"), 0, 1e-6);
    assert_near(value_of(c, "top_1"), 1, 0);
    assert_near(value_of(c, "top_8"), 1, 0);
    assert_near(result_of(c, "top_1")->n, 3, 0);        /* chunks are the clusters */
    assert_int_equal(c->n, 3 * ATTENDED_N);
    run_free(&r);
    free(data.x);
}

static void zeros_leave_nothing(void **state)
{
    (void)state;
    kvant_data data = gaussian(2 * (2 * 64 + 8), 16, 0);
    probe_run r;
    run_well(&nothing, "", "context=64,chunks=2,queries=8", &data, &r);
    assert_near(value_of(&r.cells[0], "output_error"), 1, 0);
    assert_true(value_of(&r.cells[0], "weight_shift") > .2);
    run_free(&r);
    free(data.x);
}

/* Halved keys halve what the softmax gets, and halved values the output. */
static void halves_are_worked_out(void **state)
{
    (void)state;
    enum { N = 40, DIM = 8, QUERIES = 6 };
    kvant_data data = gaussian(2 * N + QUERIES, DIM, 0);
    probe_run r;
    run_well(&half, "", "context=40,chunks=1,queries=6,scale=0.7", &data, &r);
    double error = 0, shift = 0;
    for (size_t j = 0; j < QUERIES; j++) {
        const float *k = data.x, *v = k + N * DIM, *q = v + N * DIM + j * DIM;
        double w[N], h[N], w_sum = 0, h_sum = 0, e_sq = 0, o_sq = 0;
        for (size_t i = 0; i < N; i++) {
            double dot = 0;
            for (size_t t = 0; t < DIM; t++)
                dot += (double)q[t] * (double)k[i * DIM + t];
            w_sum += w[i] = exp(.7 * dot);
            h_sum += h[i] = exp(.35 * dot);
        }
        for (size_t t = 0; t < DIM; t++) {
            double o = 0, e = 0;
            for (size_t i = 0; i < N; i++) {
                o += w[i] / w_sum * (double)v[i * DIM + t];
                e += h[i] / h_sum * (double)v[i * DIM + t] / 2;
            }
            e_sq += (o - e) * (o - e);
            o_sq += o * o;
        }
        for (size_t i = 0; i < N; i++)
            shift += fabs(w[i] / w_sum - h[i] / h_sum) / 2 / QUERIES;
        error += sqrt(e_sq / o_sq) / QUERIES;
    }
    assert_near(value_of(&r.cells[0], "output_error"), error, 1e-5);
    assert_near(value_of(&r.cells[0], "weight_shift"), shift, 1e-5);
    assert_near(value_of(&r.cells[0], "top_1"), 1, 0);
    assert_near(value_of(&r.cells[0], "top_8"), 1, 0);
    run_free(&r);
    free(data.x);
}

static void broken_codes_attend_elsewhere(void **state)
{
    (void)state;
    kvant_data data = gaussian(4 * (2 * 128 + 16), 64, 0);
    const struct { const char *name, *args; } methods[] = { { "turboquant_mse", "bits=6" }, { "turboquant_mse", "bits=2" },
                                                            { "control_broken", "" } };
    double error = 0, agree = 1;
    for (size_t i = 0; i < 3; i++) {
        probe_run r;
        run_well(kvant_find(methods[i].name, NULL), methods[i].args, "context=128", &data, &r);
        assert_true(value_of(&r.cells[0], "output_error") > error && value_of(&r.cells[0], "top_8") < agree);
        error = value_of(&r.cells[0], "output_error");
        agree = value_of(&r.cells[0], "top_8");
        run_free(&r);
    }
    assert_near(agree, 0, .05);
    free(data.x);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    kvant_data data = gaussian(200, 8, 0);
    static const struct { const kvant_quantizer *q; const char *args, *says; } cases[] = {
        { &half, "context=48,chunks=2,queries=4", NULL }, { &half, "context=48,chunks=2,queries=5", "lower chunks" },
        { &half, "context=300,chunks=1", "lower chunks" }, { &blocks, "context=48,chunks=2,queries=4", NULL },
        { &blocks, "context=40,chunks=2,queries=4", "blocks of 24" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        probe_run r;
        kvant_error err = { "" };
        assert_int_equal(run(cases[i].q, "", cases[i].args, &data, &r, &err), cases[i].says ? KVANT_INVALID : KVANT_OK);
        if (cases[i].says)
            assert_non_null(strstr(err.text, cases[i].says));
        run_free(&r);
    }
    free(data.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_by_hand),
        cmocka_unit_test(heaviest_by_hand),
        cmocka_unit_test(exact_by_hand),
        cmocka_unit_test(exact_codes_change_nothing),
        cmocka_unit_test(zeros_leave_nothing),
        cmocka_unit_test(halves_are_worked_out),
        cmocka_unit_test(broken_codes_attend_elsewhere),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
