/* test_divergence.c - the probe `divergence` on a tiny model: every figure computed a second way from logits of passes of its own,
 * the control, both paths, what is kept of the reference, and statistics by hand. */
#include "harness/measure/logits.h"
#include "tests/probe_runs.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <omp.h>

static lm_model *model, *uniform;
static kvant_data words;
static int32_t *ids;               /* of all words */

/* ---- Running the probe ------------------------------------------------------------------------- */

static kvcache_codecs codecs_of(lm_model *of, const char *quantizer, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(quantizer, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_ok(kvant_parse(side.quantizer->params, args, &side.args, err));
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(of));
    kvcache_codecs codecs;
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    return codecs;
}

static void measure_on(lm_model *of, const char *args, const kvcache_codecs *codecs, size_t n, probe_run *run)
{
    const kvant_probe *probe = probe_of("divergence");
    probe_job job = { .args = kvant_defaults(probe->params), .model = of, .data = &words, .n_cells = n, .codecs = codecs };
    assert_ok(kvant_parse(probe->params, args, &job.args, err));
    run_ok(probe, &job, run);
}

static void measure(const char *args, const kvcache_codecs *codecs, size_t n, probe_run *run)
{
    measure_on(model, args, codecs, n, run);
}

static double sample_of(const cell_run *c, const char *metric, size_t chunk, size_t idx)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->samples[i].metric, metric) && c->samples[i].chunk == chunk && c->samples[i].idx == idx)
            return c->samples[i].value;
    fail_msg("no %s of chunk %zu at %zu", metric, chunk, idx);
    return 0;
}

static size_t count_of(const cell_run *c, const char *metric)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += !strcmp(c->samples[i].metric, metric);
    return n;
}

static const char *const quantiles[] = { "kl_median", "kl_p90", "kl_p95", "kl_p99", "kl_p99_9", "kl_max" };
enum { N_QUANTILES = sizeof quantiles / sizeof *quantiles };

/* Nothing differs, by not a bit. */
static void assert_no_divergence(const cell_run *c)
{
    static const char *const zero[] = { "kl", "delta_p", "delta_p_rms", "entropy_shift" }, *const one[] = { "same_top", "top5_overlap" };
    for (size_t i = 0; i < c->n; i++) {
        const bool share = !strcmp(c->samples[i].metric, one[0]) || !strcmp(c->samples[i].metric, one[1]);
        assert_true(c->samples[i].value == share || !strcmp(c->samples[i].metric, "nll") || !strcmp(c->samples[i].metric, "logits_digest"));
    }
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++) {
        assert_true(value_of(c, zero[i]) == 0);
        assert_true(result_of(c, zero[i])->se == 0);
    }
    for (size_t i = 0; i < N_QUANTILES; i++)
        assert_true(value_of(c, quantiles[i]) == 0);
    for (size_t i = 0; i < 2; i++)
        assert_true(value_of(c, one[i]) == 1);
}

/* ---- The model --------------------------------------------------------------------------------- */

static const char *const ways[] = {
    "context=64,chunks=3", "context=64,chunks=3,batch=7,convention=full", "context=300,chunks=2,convention=full,reference_mib=0",
    "context=64,chunks=3,path=decode,lockstep=1", "context=64,chunks=5,path=decode,lockstep=2",
    "context=300,chunks=9,path=decode,lockstep=8,reference_mib=1",
};
enum { N_WAYS = sizeof ways / sizeof *ways };

static void f16_diverges_by_exactly_nothing(void **state)
{
    (void)state;
    kvcache_codecs codecs[2] = { codecs_of(model, "affine", "bits=3,group_size=16"), codecs_of(model, "f16", "") };
    for (size_t i = 0; i < N_WAYS; i++) {
        probe_run run;
        measure(ways[i], codecs, 2, &run);
        assert_no_divergence(&run.cells[1]);
        assert_int_equal(run.cells[0].n, run.cells[1].n);
        for (size_t j = 0; j < run.cells[0].n; j++)
            assert_true(strcmp(run.cells[0].samples[j].metric, "kl") || run.cells[0].samples[j].value > 0);
        run_free(&run);
    }
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
}

/* One pass serves both: the likelihoods have the bits that the probe perplexity gives them. */
static void perplexity_is_that_of_its_own_probe(void **state)
{
    (void)state;
    static const char *const shapes[] = { "context=64,chunks=3", "context=300,chunks=2,convention=full",
                                          "context=64,chunks=3,path=decode,lockstep=3" };
    const kvant_probe *probe = probe_of("perplexity");
    kvcache_codecs codecs = codecs_of(model, "affine", "bits=3,group_size=16");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        probe_run run, own;
        measure(shapes[i], &codecs, 1, &run);
        probe_job job = { .args = kvant_defaults(probe->params), .model = model, .data = &words, .n_cells = 1, .codecs = &codecs };
        assert_ok(kvant_parse(probe->params, shapes[i], &job.args, err));
        run_ok(probe, &job, &own);
        for (uint32_t chunk = 0; chunk < (uint32_t)job.args.v[1]; chunk++)
            assert_true(sample_of(&run.cells[0], "nll", chunk, 0) == sample_of(&own.cells[0], "nll", chunk, 0));
        assert_true(value_of(&run.cells[0], "perplexity") == value_of(&own.cells[0], "perplexity"));
        assert_true(result_of(&run.cells[0], "perplexity")->se == result_of(&own.cells[0], "perplexity")->se);
        run_free(&run);
        run_free(&own);
    }
    kvcache_codecs_close(&codecs);
}

/* Logits [n][TINY_VOCAB] of a chunk. */
static float *logits_of(const kvcache_codecs *codecs, const int32_t *chunk, uint32_t n)
{
    kvcache *cache = NULL;
    float *logits = calloc((size_t)n * TINY_VOCAB, sizeof *logits);
    uint8_t *want = malloc(n);
    assert_true(logits && want);
    memset(want, 1, n);
    assert_ok(kvcache_open(codecs, n, &cache, err));
    const lm_segment segment = { cache, chunk, n, want };
    assert_ok(lm_forward(model, LM_PREFILL, &segment, 1, logits, NULL, err));
    kvcache_close(cache);
    free(want);
    return logits;
}

/* Probabilities of a row, straight from the definition. */
static void softmax(const float *x, long double p[TINY_VOCAB])
{
    long double sum = 0;
    for (size_t i = 0; i < TINY_VOCAB; i++)
        sum += p[i] = expl(x[i]);
    for (size_t i = 0; i < TINY_VOCAB; i++)
        p[i] /= sum;
}

/* How many tokens are likelier than token i. */
static size_t rank_of(const float *x, size_t i)
{
    size_t rank = 0;
    for (size_t j = 0; j < TINY_VOCAB; j++)
        rank += x[j] > x[i] || (x[j] == x[i] && j < i);
    return rank;
}

static void figures_are_those_of_two_passes(void **state)
{
    (void)state;
    enum { CONTEXT = 96, CHUNKS = 3, FIRST = CONTEXT / 2, SCORED = CONTEXT - 1 - FIRST };
    kvcache_codecs coarse = codecs_of(model, "affine", "bits=2,group_size=16"), f16 = codecs_of(model, "f16", "");
    probe_run run;
    measure("context=96,chunks=3", &coarse, 1, &run);
    const cell_run *c = &run.cells[0];
    assert_int_equal(count_of(c, "kl"), CHUNKS * SCORED);
    long double mean = 0;
    size_t all_same = 0;
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        int32_t row_ids[CONTEXT];
        memcpy(row_ids, ids + chunk * CONTEXT, sizeof row_ids);
        row_ids[0] = TINY_BOS;
        float *x = logits_of(&f16, row_ids, CONTEXT), *y = logits_of(&coarse, row_ids, CONTEXT);
        long double same = 0, overlap = 0, delta = 0, square = 0, shift = 0, nll = 0;
        for (size_t t = FIRST; t < CONTEXT - 1; t++) {
            const float *a = x + t * TINY_VOCAB, *b = y + t * TINY_VOCAB;
            long double p[TINY_VOCAB], q[TINY_VOCAB], kl = 0;
            softmax(a, p);
            softmax(b, q);
            for (size_t i = 0; i < TINY_VOCAB; i++) {
                kl += p[i] * logl(p[i] / q[i]);
                shift += p[i] * logl(p[i]) - q[i] * logl(q[i]);
                same += rank_of(a, i) == 0 && rank_of(b, i) == 0;
                overlap += rank_of(a, i) < 5 && rank_of(b, i) < 5 ? .2L : 0;
            }
            const long double d = q[row_ids[t + 1]] - p[row_ids[t + 1]];
            delta += d;
            nll -= logl(q[row_ids[t + 1]]);
            square += d * d;
            mean += kl / (CHUNKS * SCORED);
            assert_true(kl > 1e-5L);
            assert_near(sample_of(c, "kl", chunk, t), (double)kl, 2e-3 * (double)kl + 1e-9);   /* logits of other batches round otherwise */
        }
        all_same += (size_t)same;
        assert_near(sample_of(c, "same_top", chunk, 0), (double)same / SCORED, 1e-12);
        assert_near(sample_of(c, "top5_overlap", chunk, 0), (double)overlap / SCORED, 1e-12);
        assert_near(sample_of(c, "delta_p", chunk, 0), (double)delta / SCORED, 1e-6);
        assert_near(sample_of(c, "delta_p_rms", chunk, 0), sqrt((double)square / SCORED), 1e-6);
        assert_near(sample_of(c, "entropy_shift", chunk, 0), (double)shift / SCORED, 1e-5);
        assert_near(sample_of(c, "nll", chunk, 0), (double)nll / SCORED, 1e-5);
        free(x);
        free(y);
    }
    assert_true(all_same > 0 && all_same < CHUNKS * SCORED);       /* so that the shares can be wrong */
    assert_near(value_of(c, "kl"), (double)mean, 1e-3 * (double)mean);
    assert_near(value_of(c, "same_top"), (double)all_same / (CHUNKS * SCORED), 1e-12);
    assert_near(result_of(c, "kl")->n, CHUNKS, 0);
    assert_true(result_of(c, "kl")->se > 0);
    run_free(&run);
    kvcache_codecs_close(&coarse);
    kvcache_codecs_close(&f16);
}

static void uniform_model_has_nothing_to_lose(void **state)
{
    (void)state;
    kvcache_codecs codecs = codecs_of(uniform, "affine", "bits=1,group_size=16");
    for (size_t i = 0; i < N_WAYS; i++) {
        probe_run run;
        measure_on(uniform, ways[i], &codecs, 1, &run);
        assert_no_divergence(&run.cells[0]);
        assert_near(value_of(&run.cells[0], "nll"), log(TINY_VOCAB), 1e-12);
        run_free(&run);
    }
    kvcache_codecs_close(&codecs);
}

static void paths_and_steps_agree(void **state)
{
    (void)state;
    static const char *const others[] = {
        "context=80,chunks=7,batch=13", "context=80,chunks=7,path=decode,lockstep=1", "context=80,chunks=7,path=decode,lockstep=4",
    };
    kvcache_codecs codecs = codecs_of(model, "affine", "bits=3,group_size=16");
    probe_run run, other;
    measure("context=80,chunks=7", &codecs, 1, &run);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        measure(others[i], &codecs, 1, &other);
        assert_int_equal(other.cells[0].n, run.cells[0].n);
        /* A coordinate that rounds across a step moves a token's divergence, not the mean by much. */
        const double kl = value_of(&run.cells[0], "kl");
        assert_near(value_of(&other.cells[0], "kl"), kl, .03 * kl);
        assert_near(value_of(&other.cells[0], "kl_median"), value_of(&run.cells[0], "kl_median"), .05 * kl);
        assert_near(value_of(&other.cells[0], "delta_p_rms"), value_of(&run.cells[0], "delta_p_rms"), 1e-3);
        assert_near(value_of(&other.cells[0], "same_top"), value_of(&run.cells[0], "same_top"), .02);
        run_free(&other);
    }
    run_free(&run);
    kvcache_codecs_close(&codecs);
}

/* Nor do threads, or how much of the reference is kept: all, a part (1008 of 1192 rows, by pieces of 128) or nothing. */
static void other_cells_and_memory_do_not_matter(void **state)
{
    (void)state;
    static const char *const memory[] = { "", ",reference_mib=1", ",reference_mib=0" };
    static const char *const paths[] = { "context=300,chunks=9,path=decode,lockstep=8", "context=300,chunks=2,convention=full" };
    kvcache_codecs codecs[2] = { codecs_of(model, "affine", "bits=3,group_size=16"), codecs_of(model, "f16", "") };
    const int before = omp_get_max_threads();
    for (size_t path = 0; path < 2; path++) {
        probe_run first, other;
        measure(paths[path], codecs, 2, &first);
        omp_set_num_threads(3);
        for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
            char *args = text_format("%s%s", paths[path], memory[i]);
            assert_non_null(args);
            measure(args, codecs, 1, &other);
            assert_same_samples(&other.cells[0], &first.cells[0]);
            run_free(&other);
            free(args);
        }
        omp_set_num_threads(before);
        run_free(&first);
    }
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
}

static void short_text_is_refused(void **state)
{
    (void)state;
    const kvant_probe *probe = probe_of("divergence");
    kvcache_codecs codecs = codecs_of(model, "f16", "");
    probe_job job = { .args = kvant_defaults(probe->params), .model = model, .data = &words, .n_cells = 1, .codecs = &codecs };
    probe_run run;
    assert_ok(kvant_parse(probe->params, "context=1024,chunks=1000", &job.args, err));
    assert_fails(run_probe(probe, &job, &run, err), KVANT_INVALID, "chunks");
    kvcache_codecs_close(&codecs);
}

/* ---- Rows of logits ---------------------------------------------------------------------------- */

static void rows_by_hand(void **state)
{
    (void)state;
    const float p[4] = { 0, logf(2), logf(3), logf(4) }, q[4] = { 7, 7, 7, 7 };
    const logits_mass of_p = logits_mass_of(p, 4), of_q = logits_mass_of(q, 4);
    assert_near(of_p.log_sum, log(10), 1e-6);
    assert_near(of_q.log_sum, 7 + log(4), 1e-12);
    const double entropy = -(.1 * log(.1) + .2 * log(.2) + .3 * log(.3) + .4 * log(.4));
    assert_near(of_p.entropy, entropy, 1e-6);
    assert_near(of_q.entropy, log(4), 1e-12);
    assert_near(logits_divergence(p, of_p, q, of_q, 4), log(4) - entropy, 1e-6);
    assert_near(logits_divergence(q, of_q, p, of_p, 4), -log(4) - log(.1 * .2 * .3 * .4) / 4, 1e-6);
    assert_true(logits_divergence(p, of_p, p, of_p, 4) == 0);
}

static void top_by_hand(void **state)
{
    (void)state;
    const float x[7] = { 1, 5, 3, 5, -2, 4, 3 };
    static const uint32_t order[7] = { 1, 3, 5, 2, 6, 0, 4 };      /* of equal ones the lower id */
    for (size_t k = 1; k <= 7; k++) {
        uint32_t top[7];
        logits_top(x, 7, top, k);
        assert_memory_equal(top, order, k * sizeof *top);
    }
}

/* ---- Results from samples ---------------------------------------------------------------------- */

enum { TOKENS = 100 };

/* Chunks of 100 tokens with kl chunk, chunk + .01 ..., and one figure each of what is per chunk. */
static void results_of(size_t chunks, double broken, cell_run *run)
{
    static const char *const others[] = { "delta_p", "delta_p_rms", "entropy_shift", "same_top", "top5_overlap", "nll" };
    enum { N_OTHERS = sizeof others / sizeof *others };
    probe_sample *samples = calloc(chunks * (TOKENS + N_OTHERS), sizeof *samples);
    assert_non_null(samples);
    size_t n = 0;
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        for (size_t i = 0; i < N_OTHERS; i++)
            samples[n++] = (probe_sample){ others[i], chunk, 0, i == 3 ? .5 * (1 + chunk % 2) : i == 1 ? 3 + chunk : .1 * chunk, TOKENS };
        for (uint32_t t = 0; t < TOKENS; t++)
            samples[n++] = (probe_sample){ "kl", chunk, t, t == 7 && chunk == 0 ? broken : .01 * t * (double)(1 + chunk % 2), 1 };
    }
    *run = (cell_run){ .samples = NULL };
    assert_ok(probe_of("divergence")->finish(NULL, samples, n, run_result, run, err));
    free(samples);
}

static void statistics_by_hand(void **state)
{
    (void)state;
    cell_run run;
    results_of(2, .07, &run);      /* tokens 0, .01 ... .99 and 0, .02 ... 1.98 */
    assert_near(value_of(&run, "kl"), .7425, 1e-12);
    assert_near(result_of(&run, "kl")->se, .2475, 1e-12);          /* chunks with means .495 and .99 */
    assert_true(result_of(&run, "kl")->lo == 0);                    /* 12.7 errors below is below nothing */
    assert_near(value_of(&run, "kl_max"), 1.98, 1e-12);
    assert_true(isnan(result_of(&run, "kl_max")->se));
    assert_near(value_of(&run, "delta_p_rms"), sqrt(12.5), 1e-12);
    assert_near(result_of(&run, "delta_p_rms")->se, 3.5 / (2 * sqrt(12.5)), 1e-12);
    assert_near(value_of(&run, "same_top"), .75, 1e-12);
    assert_true(result_of(&run, "same_top")->lo == 0 && result_of(&run, "same_top")->hi == 1);
    assert_true(isnan(result_of(&run, "kl_median")->se));          /* two chunks: ± 12.7 errors of the share reach beyond 0 and 1 */

    results_of(40, .07, &run);
    const kept_result *median = result_of(&run, "kl_median");
    /* 40 times what two have: 100 of 200 values lie below .66, and a chunk's share not above is .67 or .34. */
    assert_near(median->value, .66, .005);
    const double se = .165 / sqrt(39), t = 2.0226909200367604;
    assert_near(median->lo, .66 - t * se / .75, .011);             /* .01 of kl holds .0075 of the tokens */
    assert_near(median->hi, .66 + t * se / .75, .011);
    assert_near(median->se, (median->hi - median->lo) / (2 * t), 1e-9);
    assert_near(value_of(&run, "kl_p90"), 1.6, .02);
    results_of(1, .07, &run);
    assert_near(value_of(&run, "kl_median"), .495, 1e-12);
    assert_true(isnan(result_of(&run, "kl_median")->se) && isnan(result_of(&run, "kl")->se));
}

static void what_is_not_finite_shows(void **state)
{
    (void)state;
    cell_run run;
    static const double broken[] = { NAN, INFINITY };
    for (size_t b = 0; b < 2; b++) {
        results_of(3, broken[b], &run);
        assert_true(isnan(value_of(&run, "kl")));
        for (size_t i = 0; i < N_QUANTILES; i++)
            assert_true(isnan(value_of(&run, quantiles[i])));
        assert_near(value_of(&run, "entropy_shift"), .1, 1e-12);
    }
}

/* ---- Set-up ------------------------------------------------------------------------------------ */

static lm_model *open_model(const char *folder, const char *name, tiny_options options)
{
    lm_model *m = NULL;
    char *path = in_folder(folder, name);
    tiny_model_write(path, options);
    assert_ok(lm_open(path, 0, &m, err));
    free(path);
    return m;
}

static int set_up(void **state)
{
    (void)state;
    omp_set_num_threads(1);        /* a tiny model has no work for more */
    char *folder = scratch_make();
    model = open_model(folder, "tiny.gguf", (tiny_options){ .bos = true });
    uniform = open_model(folder, "uniform.gguf", (tiny_options){ .uniform = true });
    scratch_remove(folder);        /* the models stay mapped */
    text t = { 0 };
    for (int i = 0; i < 60; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were %s on the table. ", i, i * 37 % 11, i * i % 17,
                 i % 3 ? "left" : "found again");
    assert_false(t.failed);
    words = (kvant_data){ .text = t.data, .bytes = t.length };
    size_t n;
    int32_t bos;
    assert_ok(probe_text(model, &words, &ids, &n, &bos, err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lm_close(model);
    lm_close(uniform);
    free(ids);
    free(words.text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_diverges_by_exactly_nothing),
        cmocka_unit_test(perplexity_is_that_of_its_own_probe),
        cmocka_unit_test(figures_are_those_of_two_passes),
        cmocka_unit_test(uniform_model_has_nothing_to_lose),
        cmocka_unit_test(paths_and_steps_agree),
        cmocka_unit_test(other_cells_and_memory_do_not_matter),
        cmocka_unit_test(short_text_is_refused),
        cmocka_unit_test(rows_by_hand),
        cmocka_unit_test(top_by_hand),
        cmocka_unit_test(statistics_by_hand),
        cmocka_unit_test(what_is_not_finite_shows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
