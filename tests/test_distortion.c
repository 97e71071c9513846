/* test_distortion.c - fidelity and the probes of vectors against quantizers whose error is known exactly, over seeds and threads.
 * No model here; what needs one is in test_probes_model.c. */
#include "harness/measure/fidelity.h"
#include "tests/float_codes.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <omp.h>

static const double pi = 3.14159265358979323846;

/* ---- Quantizers whose error is known --------------------------------------------------------- */

static kvant_status plan_blocks(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    return plan_float_blocks(48, shape, plan);
}

static void decode_floats(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)scratch, (void)first;     /* `code` is at the unit that holds `first`: one vector, or 48 */
    memcpy(x, code, n * dim_of(state) * sizeof *x);
}

static void decode_blocks(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)scratch;
    size_t dim = dim_of(state);
    memcpy(x, code + first % 48 * dim * sizeof *x, n * dim * sizeof *x);
}

static void encode_half(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    float *out = (float *)(void *)code;
    for (size_t i = 0; i < n * dim_of(state); i++)
        out[i] = x[i] / 2;
}

/* One bit: the centroid of N(0,1) on either side. */
static void encode_signs(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    float *out = (float *)(void *)code;
    for (size_t i = 0; i < n * dim_of(state); i++)
        out[i] = copysignf((float)sqrt(2 / pi), x[i]);
}

static void encode_zero(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)x, (void)first, (void)scratch;
    memset(code, 0, n * dim_of(state) * sizeof(float));
}

#define KNOWN(id, plan_of, encode_of, decode_of) \
    static const kvant_quantizer id = { .name = #id, .summary = "", .source = "", .params = no_params, .plan = plan_of, \
                                        .init = init_dim, .ops = { .encode = encode_of, .decode = decode_of } }
KNOWN(half, plan_floats, encode_half, decode_floats);
KNOWN(signs, plan_floats, encode_signs, decode_floats);
KNOWN(nothing, plan_floats, encode_zero, decode_floats);
KNOWN(blocks, plan_blocks, encode_half, decode_blocks);

static void run_vectors(const kvant_quantizer *q, const char *args, const kvant_data *data, probe_run *run)
{
    const kvant_probe *p = probe_of("distortion");
    kvant_shape shape = { .dim = (uint32_t)data->dim, .side = KVANT_VECTOR };
    kvant_args values = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, args, &values, NULL), KVANT_OK);
    kvant_codec codec = { 0 };
    assert_int_equal(kvant_open(q, &shape, &values, NULL, &codec, NULL), KVANT_OK);
    probe_job job = { .args = kvant_defaults(p->params), .data = data, .n_cells = 1, .vectors = &codec };
    run_ok(p, &job, run);
    kvant_close(&codec);
}

static void half_is_exact(void **state)
{
    (void)state;
    kvant_data data = gaussian(5000, 40, .3);
    probe_run run;
    run_vectors(&half, "", &data, &run);
    const cell_run *r = &run.cells[0];
    assert_near(value_of(r, "nmse"), .25, 1e-12);
    assert_near(result_of(r, "nmse")->se, 0, 1e-12);
    assert_near(value_of(r, "cosine"), 1, 1e-12);
    assert_near(value_of(r, "ip_slope"), .5, 1e-6);
    assert_near(value_of(r, "ip_variance"), 0, 1e-9);
    /* Half of the mean cosine of a pair, which the mean of the coordinates makes about .09 / 1.09. */
    assert_near(value_of(r, "ip_bias"), -.5 * .09 / 1.09, .005);
    assert_int_equal(result_of(r, "nmse")->n, 40);     /* clusters of 128 in units of 4096: 32 + 8 */
    run_free(&run);
    free(data.x);
}

static void signs_meet_closed_forms(void **state)
{
    (void)state;
    enum { DIM = 32 };
    kvant_data data = gaussian(60000, DIM, 0);
    probe_run run;
    run_vectors(&signs, "", &data, &run);
    const cell_run *r = &run.cells[0];
    /* For y uniform on the unit sphere across x: d E<y,x^>^2 = d/(d-1) (|x^|^2 - <x,x^>^2/|x|^2), here per |x|^2. */
    double across = 0, cosine = 0;
    for (size_t i = 0; i < data.n; i++) {
        double x_sq = 0, sum = 0, c = sqrt(2 / pi);
        for (size_t j = 0; j < DIM; j++) {
            double x = data.x[i * DIM + j];
            x_sq += x * x;
            sum += c * fabs(x);
        }
        across += (c * c * DIM - sum * sum / x_sq) / x_sq;
        cosine += sum / sqrt(x_sq * c * c * DIM);
    }
    const struct { const char *metric; double value; } known[] = {
        { "nmse", 1 - 2 / pi }, { "ip_slope", 2 / pi }, { "ip_bias", 0 },
        { "ip_variance", across / (double)data.n * DIM / (DIM - 1) },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const kept_result *k = result_of(r, known[i].metric);
        assert_true(k->se > 0 && k->se < .01);
        assert_near(k->value, known[i].value, 4.5 * k->se);
        assert_true(k->lo < k->value && k->value < k->hi);
    }
    assert_near(value_of(r, "cosine"), cosine / (double)data.n, 1e-6);
    run_free(&run);
    free(data.x);
}

static void library_quantizers_meet_theirs(void **state)
{
    (void)state;
    kvant_data data = gaussian(20000, 64, 0);
    /* Rounding to 11 bits: the error is uniform within a step, its square a twelfth of the step's. */
    double error = 0, norm = 0;
    for (size_t i = 0; i < data.n * data.dim; i++) {
        int exponent;
        double x = data.x[i];
        frexp(x, &exponent);
        error += pow(ldexp(1, (exponent < -13 ? -13 : exponent) - 11), 2) / 12;
        norm += x * x;
    }
    const struct { const char *name, *args; double value, relative; } known[] = {
        { "f32", "", 0, 0 },
        { "f16", "", error / norm, .01 },
        { "affine", "bits=4,group_size=32", .00611, .003 },
        { "affine", "bits=2,group_size=64", .202, .003 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        kvant_error err = { "" };
        const kvant_quantizer *q = kvant_find(known[i].name, &err);
        if (!q)
            fail_msg("%s", err.text);
        probe_run run;
        run_vectors(q, known[i].args, &data, &run);
        const kept_result *k = result_of(&run.cells[0], "nmse");
        assert_near(k->value, known[i].value, known[i].relative * known[i].value + 4.5 * k->se);
        run_free(&run);
    }
    free(data.x);
}

static void blocks_that_do_not_divide(void **state)
{
    (void)state;
    kvant_data data = gaussian(4096 + 100, 16, 0);
    probe_run run;
    run_vectors(&blocks, "", &data, &run);
    /* Clusters of 144; of each unit's last one whole blocks: 4096 = 28 * 144 + 48 + 16, 100 = 2 * 48 + 4. */
    double weight = 0, norm = 0;
    for (size_t i = 0; i < run.cells[0].n; i++)
        weight += !strcmp(run.cells[0].samples[i].metric, "nmse") ? run.cells[0].samples[i].n : 0;
    for (size_t i = 0; i < data.n; i++)
        for (size_t j = 0; j < 16 && (i < 4080 || (i >= 4096 && i < 4192)); j++)
            norm += (double)data.x[i * 16 + j] * (double)data.x[i * 16 + j];
    assert_near(weight, norm, 1e-8 * norm);
    assert_near(value_of(&run.cells[0], "nmse"), .25, 1e-12);
    assert_int_equal(result_of(&run.cells[0], "nmse")->n, 28 + 1 + 1);
    run_free(&run);

    data.n = 40;                   /* not even one block */
    kvant_shape shape = { .dim = 16, .side = KVANT_VECTOR };
    kvant_args none = kvant_defaults(no_params);
    kvant_codec codec = { 0 };
    assert_int_equal(kvant_open(&blocks, &shape, &none, NULL, &codec, NULL), KVANT_OK);
    const kvant_probe *p = probe_of("distortion");
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    kvant_error err = { "" };
    assert_int_equal(run_probe(p, &job, &run, &err), KVANT_FAILED);
    assert_non_null(strstr(err.text, "block"));
    run_free(&run);
    kvant_close(&codec);
    free(data.x);
}

static void zeros_and_nan(void **state)
{
    (void)state;
    kvant_data data = gaussian(384, 16, 0);
    memset(data.x, 0, 128 * 16 * sizeof(float));       /* the first cluster is all zeros */
    probe_run run;
    run_vectors(&nothing, "", &data, &run);
    assert_near(value_of(&run.cells[0], "nmse"), 1, 0);
    assert_near(value_of(&run.cells[0], "cosine"), 0, 0);
    assert_near(value_of(&run.cells[0], "ip_slope"), 0, 0);
    assert_int_equal(result_of(&run.cells[0], "nmse")->n, 2);
    run_free(&run);
    data.x[200 * 16] = NAN;
    run_vectors(&half, "", &data, &run);
    assert_true(isnan(value_of(&run.cells[0], "nmse")));
    run_free(&run);
    free(data.x);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    kvant_data data = gaussian(9000, 64, .1);
    probe_run one, more;
    omp_set_num_threads(1);
    run_vectors(kvant_find("affine", NULL), "bits=3,group_size=32", &data, &one);
    for (int threads = 2; threads <= 4; threads += 2) {
        omp_set_num_threads(threads);
        run_vectors(kvant_find("affine", NULL), "bits=3,group_size=32", &data, &more);
        assert_same_samples(&one.cells[0], &more.cells[0]);
        run_free(&more);
    }
    run_free(&one);
    free(data.x);
}

static void throughput_of_vectors(void **state)
{
    (void)state;
    kvant_data data = gaussian(10, 64, 0);
    const kvant_probe *p = probe_of("throughput");
    kvant_shape shape = { .dim = 64, .side = KVANT_VECTOR };
    const kvant_quantizer *q = kvant_find("f16", NULL);
    assert_non_null(q);
    kvant_args none = kvant_defaults(q->params);
    kvant_codec codec = { 0 };
    assert_int_equal(kvant_open(q, &shape, &none, NULL, &codec, NULL), KVANT_OK);
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    assert_int_equal(kvant_parse(p->params, "n=256,min_ms=0.5,repeats=3", &job.args, NULL), KVANT_OK);
    probe_run run;
    run_ok(p, &job, &run);
    const cell_run *r = &run.cells[0];
    static const char *const ops[] = { "encode", "decode", "score", "mix" };
    for (size_t i = 0; i < 4; i++) {
        char ns[32], least[32], rate[32];
        snprintf(ns, sizeof ns, "%s_ns", ops[i]);
        snprintf(least, sizeof least, "%s_ns_min", ops[i]);
        snprintf(rate, sizeof rate, "%s_gb_per_s", ops[i]);
        assert_true(value_of(r, least) > 0 && value_of(r, least) <= value_of(r, ns));
        assert_near(result_of(r, ns)->n, 3, 0);
        assert_near(value_of(r, rate) * value_of(r, ns), 64 * sizeof(float), 1e-6);
    }
    assert_int_equal(r->n, 3 * 8);
    run_free(&run);
    kvant_close(&codec);
    free(data.x);
}

static void no_vector_is_its_own_query(void **state)
{
    (void)state;
    /* Unit vectors along the axes: pairs of different ones have product 0, a vector with itself would have 1. */
    enum { DIM = 16 };
    float x[DIM * DIM] = { 0 };
    for (size_t i = 0; i < DIM; i++)
        x[i * DIM + i] = 1;
    static const ptrdiff_t self[] = { 0, 1, 2 }, others[] = { FIDELITY_NOT_CODED, FIDELITY_NOT_CODED, FIDELITY_NOT_CODED };
    kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR };
    kvant_args none = kvant_defaults(no_params);
    kvant_codec codec = { 0 };
    fidelity_work work;
    fidelity f;
    assert_int_equal(kvant_open(&half, &shape, &none, NULL, &codec, NULL), KVANT_OK);
    assert_int_equal(fidelity_open(&codec, 1, DIM, &work, NULL), KVANT_OK);
    fidelity_measure(&codec, x, DIM, x, self, 3, &work, &f);
    assert_near(f.weight[FIDELITY_IP_SLOPE], 0, 0);
    assert_near(f.weight[FIDELITY_IP_BIAS], 3 * (DIM - 1), 0);
    assert_near(f.value[FIDELITY_IP_BIAS], 0, 0);
    fidelity_measure(&codec, x, DIM, x, others, 3, &work, &f);
    assert_near(f.weight[FIDELITY_IP_SLOPE], 3, 0);
    assert_near(f.value[FIDELITY_IP_SLOPE], .5, 0);
    assert_near(f.weight[FIDELITY_IP_BIAS], 3 * DIM, 0);
    assert_near(f.value[FIDELITY_IP_BIAS], -.5 / DIM, 1e-15);
    assert_near(f.weight[FIDELITY_IP_VARIANCE], 3 * (DIM - 1), 0);     /* parallel pairs have no part across */
    fidelity_close(&work);
    kvant_close(&codec);
}

static void trained_methods_have_one_seed(void **state)
{
    (void)state;
    kvant_data data = gaussian(100, 16, 0);
    const kvant_probe *p = probe_of("distortion");
    kvant_codec trained = { .quantizer = kvant_find("pq", NULL), .plan.train_min = 256 };
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &trained };
    assert_int_equal(kvant_parse(p->params, "seeds=2", &job.args, NULL), KVANT_OK);
    probe_run run;
    kvant_error err = { "" };
    assert_int_equal(run_probe(p, &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "pq is trained"));
    free(data.x);
}

static void too_many_vectors(void **state)
{
    (void)state;
    kvant_data data = gaussian(100, 16, 0);
    const kvant_probe *p = probe_of("distortion");
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .vectors = &(kvant_codec){ 0 } };
    assert_int_equal(kvant_parse(p->params, "n=101", &job.args, NULL), KVANT_OK);
    probe_run run;
    kvant_error err = { "" };
    assert_int_equal(run_probe(p, &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "100"));
    free(data.x);
}

/* ---- Seeds ------------------------------------------------------------------------------------ */

/* Vectors that share a state are one draw of it. */
static void distortion_clusters_by_seed(void **state)
{
    (void)state;
    const kvant_quantizer *q = kvant_find("turboquant_prod", NULL);
    const kvant_probe *p = probe_of("distortion");
    kvant_data data = gaussian(4200, 16, 0);        /* two units of every seed */
    kvant_args args = kvant_defaults(q->params);
    kvant_codec codecs[3] = { { 0 } };
    probe_run all, one;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(kvant_open(q, &(kvant_shape){ .dim = 16, .side = KVANT_VECTOR, .seed = 7 + i }, &args, NULL, &codecs[i], NULL),
                         KVANT_OK);
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = codecs };
    assert_int_equal(kvant_parse(p->params, "seeds=3", &job.args, NULL), KVANT_OK);
    run_ok(p, &job, &all);
    assert_int_equal(job.n_units, 6);

    double nmse[3], sum = 0, square = 0;
    job.args = kvant_defaults(p->params);
    for (size_t i = 0; i < 3; i++) {
        job.vectors = &codecs[i];
        run_ok(p, &job, &one);
        nmse[i] = value_of(&one.cells[0], "nmse");
        run_free(&one);
        sum += nmse[i];
    }
    for (size_t i = 0; i < 3; i++)
        square += (nmse[i] - sum / 3) * (nmse[i] - sum / 3);
    const kept_result *r = result_of(&all.cells[0], "nmse");
    assert_near(r->value, sum / 3, 1e-12);
    assert_near(r->se, sqrt(square / 2 / 3), 1e-12);
    assert_near(r->n, 3, 0);
    run_free(&all);
    for (size_t i = 0; i < 3; i++)
        kvant_close(&codecs[i]);
    free(data.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distortion_clusters_by_seed),
        cmocka_unit_test(trained_methods_have_one_seed),
        cmocka_unit_test(half_is_exact),
        cmocka_unit_test(signs_meet_closed_forms),
        cmocka_unit_test(library_quantizers_meet_theirs),
        cmocka_unit_test(blocks_that_do_not_divide),
        cmocka_unit_test(zeros_and_nan),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(throughput_of_vectors),
        cmocka_unit_test(no_vector_is_its_own_query),
        cmocka_unit_test(too_many_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
