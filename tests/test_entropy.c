/* test_entropy.c - entropies of symbols: from counts by hand, of quantizers against tables, quadrature and the rate-distortion bound,
 * and of a model's own keys and values under one table for each side. */
#include "harness/measure/entropy.h"
#include "tests/probe_runs.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <omp.h>

static const kvant_probe *distortion(void)
{
    const kvant_probe *p = probe_find("distortion", NULL);
    assert_non_null(p);
    return p;
}

/* ---- From counts ------------------------------------------------------------------------------- */

static probe_result entropy_of(const probe_sample *samples, size_t n)
{
    probe_result r;
    bool found;
    assert_int_equal(entropy_result(samples, n, "symbol_count", "overhead_bits", "entropy_bits", &r, &found, NULL), KVANT_OK);
    assert_true(found);
    return r;
}

static void counts_become_bits(void **state)
{
    (void)state;
    /* 5 and 3 of 8 in two chunks of 4: code lengths 3 - lg 5 and 3 - lg 3; chunk 0 has only zeros. */
    static const probe_sample samples[] = {
        { "overhead_bits", 0, 0, .25, 1 }, { "symbol_count", 0, 0, 4, 1 }, { "symbol_count", 1, 0, 1, 1 }, { "symbol_count", 1, 7, 3, 1 },
    };
    double zero = 3 - log2(5), seven = 3 - log2(3), a = zero, b = zero / 4 + seven * 3 / 4;
    probe_result r = entropy_of(samples, 4);
    assert_near(r.value, (5 * zero + 3 * seven) / 8 + .25, 1e-12);
    assert_near(r.se, fabs(a - b) / 2, 1e-12);
    assert_near(r.n, 2, 0);
    assert_near(r.hi - r.value, gsl_cdf_tdist_Pinv(.975, 1) * r.se, 1e-9);

    /* Equally likely: a bit, and every chunk has the same length. */
    static const probe_sample fair[] = {
        { "symbol_count", 0, 0, 3, 1 }, { "symbol_count", 0, 1, 1, 1 }, { "symbol_count", 1, 0, 1, 1 }, { "symbol_count", 1, 1, 3, 1 },
    };
    r = entropy_of(fair, 4);
    assert_near(r.value, 1, 1e-15);
    assert_near(r.se, 0, 1e-15);

    /* One chunk has no error; a symbol beyond 16 bits is none. */
    static const probe_sample odd[] = { { "symbol_count", 0, 3, 5, 1 }, { "symbol_count", 0, 65536, 5, 1 } };
    r = entropy_of(odd, 2);
    assert_near(r.value, 0, 0);
    assert_true(isnan(r.se));
    bool found = true;
    assert_int_equal(entropy_result(odd, 0, "symbol_count", "overhead_bits", "entropy_bits", &r, &found, NULL), KVANT_OK);
    assert_false(found);
}

/* ---- Of quantizers on Gaussian vectors --------------------------------------------------------- */

enum { N = 2048, DIM = 256 };

static float gaussian[N * DIM];

static int fill(void **state)
{
    (void)state;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(rng, 5);
    for (size_t i = 0; i < N * DIM; i++)
        gaussian[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
    return 0;
}

static bool run_vectors(const kvant_quantizer *quantizer, const char *args, size_t n, probe_run *run)
{
    kvant_args given = kvant_defaults(quantizer->params);
    kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR, .seed = 1 };
    kvant_data data = { .x = gaussian, .n = n, .dim = DIM };
    kvant_codec codec;
    assert_int_equal(kvant_parse(quantizer->params, args, &given, NULL), KVANT_OK);
    assert_int_equal(kvant_open(quantizer, &shape, &given, "scalar", &codec, NULL), KVANT_OK);
    bool measured = !codec.plan.train_min;
    probe_job job = { .args = kvant_defaults(distortion()->params), .data = &data, .n_cells = 1, .vectors = &codec };
    if (measured)
        run_ok(distortion(), &job, run);
    kvant_close(&codec);
    return measured;
}

static const kvant_quantizer *found(const char *name)
{
    const kvant_quantizer *q = kvant_find(name, NULL);
    assert_non_null(q);
    return q;
}

/* Max (1960) and later tables, in the limit of long vectors: at 256 dimensions the norm that is divided out moves the third digit. */
static void centroids_have_the_tables_entropy(void **state)
{
    (void)state;
    static const double table[] = { 1.0000, 1.9111, 2.8249, 3.7653, 4.7298, 5.7101, 6.6996, 7.6941 };
    for (int b = 1; b <= 8; b++) {
        char args[64];
        probe_run run;
        snprintf(args, sizeof args, "bits=%d,rotation=none", b);
        run_vectors(found("turboquant_mse"), args, N, &run);
        const kept_result *bits = result_of(&run.cells[0], "entropy_bits");
        assert_near(bits->value - value_of(&run.cells[0], "overhead_bits"), table[b - 1], .006);
        assert_true(bits->se < .003 && (b == 1 || bits->se > 0));
        assert_near(bits->n, 8, 0);
        run_free(&run);
    }
}

/* Cells of a uniform grid of 2^b cells on a unit Gaussian, the outermost unbounded. */
static double uniform_entropy(int b, double step)
{
    double bits = 0;
    int half = 1 << (b - 1);
    for (int k = 0; k < half; k++) {
        double p = (k + 1 < half ? gsl_cdf_ugaussian_P((k + 1) * step) : 1) - gsl_cdf_ugaussian_P(k * step);
        bits -= 2 * p * log2(p);
    }
    return bits;
}

/* Max's best steps, to three digits: half a digit of them moves the entropy by .0005 / step / ln 2. */
static void uniform_grids_have_their_entropy(void **state)
{
    (void)state;
    static const struct { int b; double step; } best[] = { { 2, .9957 }, { 3, .5860 }, { 4, .3352 }, { 5, .1881 }, { 6, .1041 } };
    for (size_t i = 0; i < sizeof best / sizeof *best; i++) {
        char args[64];
        probe_run run;
        snprintf(args, sizeof args, "bits=%d,rotation=none", best[i].b);
        run_vectors(found("uniform_scalar"), args, N, &run);
        const cell_run *r = &run.cells[0];
        assert_near(value_of(r, "overhead_bits"), 16.0 / DIM, 1e-12);
        assert_near(value_of(r, "entropy_bits") - 16.0 / DIM, uniform_entropy(best[i].b, best[i].step), .006);
        /* An entropy code pays: less than stored, though no less than the bound. */
        assert_true(value_of(r, "entropy_bits") < best[i].b);
        run_free(&run);
    }
}

/* Without an end of its grid, a uniform quantizer of small steps is lg(2 pi e / 12) / 2 = .2546 bits above the bound. */
enum { CENTRE = 32768 };
static const float fine_step = .0625f;

static kvant_status fine_plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    plan->state = sizeof(uint32_t);
    plan->code = shape->dim * sizeof(uint16_t);
    plan->bits_asked = 12;         /* what is said of the symbols; the other 4 are overhead */
    return KVANT_OK;
}

static kvant_status fine_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)args, (void)err;
    *(uint32_t *)state = shape->dim;
    return KVANT_OK;
}

static void fine_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    for (size_t i = 0; i < n * *(const uint32_t *)state; i++) {
        uint16_t k = (uint16_t)(CENTRE + (int)lrintf(x[i] / fine_step));
        memcpy(code + i * sizeof k, &k, sizeof k);
    }
}

static void fine_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    memcpy(sym, code, n * *(const uint32_t *)state * sizeof *sym);
}

static void fine_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)first, (void)scratch;
    for (size_t i = 0; i < n * *(const uint32_t *)state; i++) {
        uint16_t k;
        memcpy(&k, code + i * sizeof k, sizeof k);
        x[i] = fine_step * (float)((int)k - CENTRE);
    }
}

static const kvant_param no_params[] = { { .name = NULL } };

static const kvant_quantizer fine = {
    .name = "fine", .summary = "uniform without end", .source = "here", .params = no_params,
    .plan = fine_plan, .init = fine_init, .ops = { .encode = fine_encode, .decode = fine_decode, .symbols = fine_symbols },
};

static void fine_grids_are_a_quarter_bit_above_the_bound(void **state)
{
    (void)state;
    probe_run run;
    run_vectors(&fine, "", N, &run);
    const cell_run *r = &run.cells[0];
    double bits = value_of(r, "entropy_bits") - 4;
    assert_near(value_of(r, "overhead_bits"), 4, 0);
    assert_near(bits, log2(2 * M_PI * M_E) / 2 - log2(fine_step), .006);             /* differential entropy less lg step */
    assert_near(bits + log2(value_of(r, "nmse")) / 2, log2(2 * M_PI * M_E / 12) / 2, .006);
    run_free(&run);
}

/* No code of a Gaussian source takes less than lg(1/D) / 2 bits, whatever it is. */
static void nobody_beats_the_bound(void **state)
{
    (void)state;
    size_t measured = 0;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        probe_run run;
        if (!(*q)->ops.symbols || !strcmp((*q)->name, "control_broken") || !run_vectors(*q, "", 512, &run))
            continue;
        const cell_run *r = &run.cells[0];
        double bits = value_of(r, "entropy_bits"), bound = -log2(value_of(r, "nmse")) / 2;
        if (!(bits >= bound + .05))
            fail_msg("%s: %.4f bits, and the bound is %.4f", (*q)->name, bits, bound);
        measured++;
        run_free(&run);
    }
    assert_true(measured >= 12);
}

static void threads_count_alike(void **state)
{
    (void)state;
    probe_run one, again;
    omp_set_num_threads(1);
    run_vectors(found("affine"), "bits=3", N, &one);
    omp_set_num_threads(3);
    run_vectors(found("affine"), "bits=3", N, &again);
    omp_set_num_threads(1);
    assert_same_samples(&one.cells[0], &again.cells[0]);
    double counted = 0;
    for (size_t i = 0; i < one.cells[0].n; i++)
        counted += strcmp(one.cells[0].samples[i].metric, "symbol_count") ? 0 : one.cells[0].samples[i].value;
    assert_near(counted, (double)N * DIM, 0);
    run_free(&one);
    run_free(&again);
}

/* ---- Of a model's keys and values ---------------------------------------------------------------- */

static void sides_have_tables_of_their_own(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf"), prose[1024];
    lm_model *model = NULL;
    tiny_model_write(path, (tiny_options) { 0 });
    assert_ok(lm_open(path, 0, &model, err));
    for (size_t i = 0; i < sizeof prose; i++)
        prose[i] = (char)('a' + i * i % 23);
    kvant_data words = { .text = prose, .bytes = sizeof prose - 1 };
    prose[sizeof prose - 1] = '\0';

    kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_policy policy = { .key.quantizer = found("affine"), .value.quantizer = found("f16") };
    policy.key.args = kvant_defaults(policy.key.quantizer->params);
    assert_ok(kvant_parse(policy.key.quantizer->params, "bits=3,group_size=16", &policy.key.args, err));
    policy.value.args = kvant_defaults(policy.value.quantizer->params);
    kvcache_codecs codecs;
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));

    probe_job job = { .args = kvant_defaults(distortion()->params), .model = model, .data = &words, .n_cells = 1, .codecs = &codecs };
    assert_ok(kvant_parse(distortion()->params, "context=64,chunks=3", &job.args, err));
    probe_run run;
    run_ok(distortion(), &job, &run);
    const cell_run *r = &run.cells[0];
    assert_near(value_of(r, "overhead_bits_key"), 2, 1e-12);                /* 32 bits per 16 coordinates */
    assert_true(value_of(r, "entropy_bits_key") > 4 && value_of(r, "entropy_bits_key") <= 5);
    assert_near(result_of(r, "entropy_bits_key")->n, 3, 0);
    double counted = 0;
    for (size_t i = 0; i < r->n; i++) {
        assert_string_not_equal(r->samples[i].metric, "symbol_count_value");         /* f16 names none */
        counted += strcmp(r->samples[i].metric, "symbol_count_key") ? 0 : r->samples[i].value;
    }
    assert_near(counted, 3 * 64.0 * TINY_LAYERS * TINY_KV_HEADS * TINY_HEAD_DIM, 0);
    run_free(&run);
    kvcache_codecs_close(&codecs);
    lm_close(model);
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_become_bits),
        cmocka_unit_test(centroids_have_the_tables_entropy),
        cmocka_unit_test(uniform_grids_have_their_entropy),
        cmocka_unit_test(fine_grids_are_a_quarter_bit_above_the_bound),
        cmocka_unit_test(nobody_beats_the_bound),
        cmocka_unit_test(threads_count_alike),
        cmocka_unit_test(sides_have_tables_of_their_own),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
