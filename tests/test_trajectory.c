/* test_trajectory.c - greedy continuations on tiny models: f16 never leaves itself, and others leave it where a test that runs the model
 * itself says so. The measures of two token runs: test_sequence.c. */
#include "harness/lm/generate.h"
#include "harness/measure/sequence.h"
#include "tests/model_runs.h"

#include <gsl/gsl_cdf.h>

static double sample_of(const cell_run *r, const char *metric, uint32_t chunk)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->samples[i].chunk == chunk && !strcmp(r->samples[i].metric, metric))
            return r->samples[i].value;
    fail_msg("no sample of %s, prompt %u", metric, chunk);
    return NAN;
}

static void assert_is_the_references(const cell_run *r)
{
    static const char *const ones[] = { "agreement_16", "agreement_32", "agreement_64" }, *const zeros[] = { "diverged", "edit_distance" };
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        assert_near(value_of(r, ones[i]), 1, 0);
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        assert_near(value_of(r, zeros[i]), 0, 0);
    assert_near(value_of(r, "first_divergence"), value_of(r, "tokens_produced"), 0);
}

static void f16_never_leaves_itself(void **state)
{
    (void)state;
    for (int bos = 0; bos < 2; bos++) {
        lm_model *model = open_model((tiny_options){ .bos = bos });
        kvcache_codecs codecs[2] = { open_codecs(model, "affine", "bits=1,group_size=16", "affine", "bits=1,group_size=16"),
                                     open_codecs(model, "f16", "", "f16", "") };
        probe_run run;
        run_on("trajectory", "prompts=4,prompt_tokens=64,tokens=100,batch=48", model, codecs, 2, &run);
        assert_is_the_references(&run.cells[1]);
        assert_near(result_of(&run.cells[1], "agreement_64")->n, 4, 0);
        assert_true(value_of(&run.cells[0], "diverged") > 0 && value_of(&run.cells[0], "agreement_64") < 1);
        run_free(&run);
        for (size_t i = 0; i < 2; i++)
            kvcache_codecs_close(&codecs[i]);
        lm_close(model);
    }
}

/* The model's greedy continuation, one token per step; bytes are tokens. */
static size_t write_on(lm_model *model, const kvcache_codecs *codecs, const char *prompt, size_t n_prompt, int32_t *out, size_t n)
{
    const size_t vocab = lm_model_shape(model)->n_vocab;
    const uint8_t want = 1;
    kvcache *cache = NULL;
    float *logits = malloc(vocab * sizeof *logits);
    int32_t *ids = malloc(n_prompt * sizeof *ids);
    assert_true(logits && ids);
    for (size_t i = 0; i < n_prompt; i++)
        ids[i] = (unsigned char)prompt[i];
    assert_int_equal(kvcache_open(codecs, (uint32_t)(n_prompt + n), &cache, NULL), KVANT_OK);
    assert_int_equal(lm_prefill(model, cache, ids, n_prompt, (uint32_t)n_prompt, logits, NULL), KVANT_OK);
    size_t written = 0;
    while (written < n) {
        const int32_t id = lm_argmax(logits, vocab);
        if (tokenizer_is_end(lm_tokenizer(model, NULL), id)) {
            out[written++] = -1;
            break;
        }
        out[written++] = id;
        const lm_segment segment = { cache, &id, 1, &want };
        assert_int_equal(lm_forward(model, LM_DECODE, &segment, 1, logits, NULL, NULL), KVANT_OK);
    }
    kvcache_close(cache);
    free(logits);
    free(ids);
    return written;
}

/* A text whose first half is exactly the prompts, so that where they lie is known. */
static void continuations_are_the_models(void **state)
{
    (void)state;
    enum { PROMPTS = 3, LENGTH = 40, TOKENS = 64 };
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=2,group_size=16", "affine", "bits=3,group_size=16") };
    const kvant_data short_text = { .text = words.text, .bytes = 2 * PROMPTS * LENGTH };
    probe_job job = job_of(probe_of("trajectory"), "prompts=3,prompt_tokens=40,tokens=64", model, codecs, 2);
    job.data = &short_text;
    probe_run run;
    run_ok(probe_of("trajectory"), &job, &run);
    assert_is_the_references(&run.cells[0]);
    const cell_run *r = &run.cells[1];
    for (uint32_t i = 0; i < PROMPTS; i++) {
        int32_t a[TOKENS], b[TOKENS];
        size_t work[TOKENS + 1], na = write_on(model, &codecs[1], words.text + i * LENGTH, LENGTH, a, TOKENS);
        size_t nb = write_on(model, &codecs[0], words.text + i * LENGTH, LENGTH, b, TOKENS), longer = na > nb ? na : nb;
        size_t equal = 0, ended = a[na - 1] == -1;
        for (size_t j = 0; j < 32 && j < na && j < nb; j++)
            equal += a[j] == b[j];
        assert_near(sample_of(r, "agreement_32", i), (double)equal / (double)(longer < 32 ? longer : 32), 1e-15);
        size_t common = sequence_common(a, na, b, nb);
        assert_near(sample_of(r, "first_divergence", i), (double)(common < na - ended ? common : na - ended), 0);
        assert_near(sample_of(r, "diverged", i), common < longer, 0);
        assert_near(sample_of(r, "edit_distance", i), (double)sequence_edits(a, na, b, nb, work) / (double)longer, 1e-15);
        assert_near(sample_of(r, "tokens_produced", i), (double)(na - ended), 0);
        assert_near(sample_of(r, "stop_end", i), (double)ended, 0);
        assert_near(sample_of(r, "longest_repeat", i), (double)sequence_repeat(a, na - ended, work), 0);
    }
    run_free(&run);

    job.data = &(kvant_data){ .text = words.text, .bytes = 2 * PROMPTS * LENGTH - 1 };
    kvant_error err = { "" };
    assert_int_equal(run_probe(probe_of("trajectory"), &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "lower prompts"));
    for (size_t i = 0; i < 2; i++)
        kvcache_codecs_close(&codecs[i]);
    lm_close(model);
}

/* A uniform model writes token 0 for ever, or, where that ends a text, nothing. */
static void stops_are_told_apart(void **state)
{
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        lm_model *model = open_model((tiny_options){ .uniform = true, .ends = ends });
        kvcache_codecs codecs = open_codecs(model, "affine", "bits=2,group_size=16", "f16", "");
        probe_run run;
        run_on("trajectory", "prompts=5,prompt_tokens=16,tokens=64", model, &codecs, 1, &run);
        const cell_run *r = &run.cells[0];
        assert_is_the_references(r);
        assert_near(value_of(r, "tokens_produced"), ends ? 0 : 64, 0);
        assert_near(value_of(r, "stop_end"), ends, 0);
        assert_near(value_of(r, "stop_loop"), !ends, 0);
        assert_near(value_of(r, "stop_limit"), 0, 0);
        assert_near(value_of(r, "longest_repeat"), ends ? 0 : 63, 0);
        for (size_t i = 0; i < r->n_results && ends; i++)      /* of no tokens there is no run of 4 */
            assert_string_not_equal(r->results[i].metric, "distinct_4");
        if (!ends)
            assert_near(value_of(r, "distinct_4"), 1. / 61, 1e-15);
        run_free(&run);
        run_on("trajectory", "prompts=5,prompt_tokens=16,tokens=31", model, &codecs, 1, &run);
        assert_near(value_of(&run.cells[0], "stop_limit"), !ends, 0);      /* too short to be called a loop */
        run_free(&run);
        kvcache_codecs_close(&codecs);
        lm_close(model);
    }
}

static void prompts_are_drawn_by_seed(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "affine", "bits=3,group_size=16", "affine", "bits=2,group_size=8");
    probe_run first, again, other;
    run_on("trajectory", "prompts=4,prompt_tokens=64,tokens=64", model, &codecs, 1, &first);
    run_on("trajectory", "prompts=4,prompt_tokens=64,tokens=64", model, &codecs, 1, &again);
    run_on("trajectory", "prompts=4,prompt_tokens=64,tokens=64,prompt_seed=1", model, &codecs, 1, &other);
    assert_same_samples(&first.cells[0], &again.cells[0]);
    bool differ = first.cells[0].n != other.cells[0].n;
    for (size_t i = 0; i < first.cells[0].n && !differ; i++)
        differ = first.cells[0].samples[i].value != other.cells[0].samples[i].value;
    assert_true(differ);
    run_free(&first);
    run_free(&again);
    run_free(&other);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void prompts_together_are_prompts_alone(void **state)
{
    (void)state;
    static const int widths[] = { 3, 12 };
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=2,group_size=16", "affine", "bits=2,group_size=8") };
    probe_run alone, together;
    run_on("trajectory", "prompts=5,prompt_tokens=40,tokens=32,lockstep=1", model, codecs, 2, &alone);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        char args[96];
        snprintf(args, sizeof args, "prompts=5,prompt_tokens=40,tokens=32,lockstep=%d", widths[w]);
        run_on("trajectory", args, model, codecs, 2, &together);
        assert_near(value_of(&together.cells[0], "diverged"), 0, 0);
        for (size_t c = 0; c < 2; c++) {                   /* units differ, samples do not */
            qsort(alone.cells[c].samples, alone.cells[c].n, sizeof(probe_sample), sample_order);
            qsort(together.cells[c].samples, together.cells[c].n, sizeof(probe_sample), sample_order);
            assert_same_samples(&together.cells[c], &alone.cells[c]);
        }
        run_free(&together);
    }
    assert_true(value_of(&alone.cells[1], "diverged") > 0);
    run_free(&alone);
    for (size_t c = 0; c < 2; c++)
        kvcache_codecs_close(&codecs[c]);
    lm_close(model);
}

static kvant_status refuse(probe_job *job, const int32_t *ids, size_t n, kvant_error *err)
{
    (void)job, (void)ids;
    return kvant_fail(err, KVANT_INVALID, "learnt from %zu", n);
}

static void what_was_learnt_from_is_refused(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    probe_job job = job_of(probe_of("trajectory"), "prompts=4,prompt_tokens=64,tokens=64", model, &codecs, 1);
    job.measures = refuse;
    probe_run run;
    kvant_error err = { "" };
    assert_int_equal(run_probe(probe_of("trajectory"), &job, &run, &err), KVANT_INVALID);
    assert_string_equal(err.text, "learnt from 256");
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void results_have_their_intervals(void **state)
{
    (void)state;
    static const probe_sample samples[] = {
        { "agreement_16", 0, 0, 1, 1 }, { "agreement_16", 1, 0, .5, 1 }, { "agreement_16", 2, 0, 0, 1 },
        { "diverged", 0, 0, 0, 1 }, { "diverged", 1, 0, 1, 1 }, { "diverged", 2, 0, 1, 1 },
    };
    const kvant_probe *p = probe_of("trajectory");
    kvant_args args = kvant_defaults(p->params);
    cell_run r = { 0 };
    assert_int_equal(p->finish(&args, samples, sizeof samples / sizeof *samples, run_result, &r, NULL), KVANT_OK);
    assert_int_equal(r.n_results, 2);
    const kept_result *agreement = result_of(&r, "agreement_16"), *diverged = result_of(&r, "diverged");
    assert_near(agreement->value, .5, 1e-15);
    assert_near(agreement->se, sqrt(.25 / 3), 1e-15);
    assert_near(agreement->hi, .5 + gsl_cdf_tdist_Pinv(.975, 2) * sqrt(.25 / 3), 1e-12);
    /* Wilson, 2 of 3. */
    double z = 1.9599639845400545, centre = (2. / 3 + z * z / 6) / (1 + z * z / 3);
    double half = z / (1 + z * z / 3) * sqrt(2. / 27 + z * z / 36);
    assert_near(diverged->value, 2. / 3, 1e-15);
    assert_true(isnan(diverged->se));
    assert_near(diverged->lo, centre - half, 1e-9);
    assert_near(diverged->hi, centre + half, 1e-9);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_never_leaves_itself),
        cmocka_unit_test(continuations_are_the_models),
        cmocka_unit_test(stops_are_told_apart),
        cmocka_unit_test(prompts_are_drawn_by_seed),
        cmocka_unit_test(prompts_together_are_prompts_alone),
        cmocka_unit_test(what_was_learnt_from_is_refused),
        cmocka_unit_test(results_have_their_intervals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
