/* test_perturbation.c - answers to changed prompts on tiny models: figures that a test computes by running the model itself, and prompts
 * that cannot be had. The changes: test_variant.c. */
#include "harness/lm/generate.h"
#include "harness/measure/sequence.h"
#include "harness/measure/variant.h"
#include "tests/model_runs.h"

#define FIRST "Many people said that the method was very simple, though different from others."
static const kvant_data two_sentences = { .text = FIRST " The second one is not looked at by anybody.", .bytes = sizeof FIRST - 1 + 44 };

/* A uniform model writes token 0 for ever, or, where that ends a text, nothing: whatever it is asked. */
static void nothing_moves_a_uniform_model(void **state)
{
    (void)state;
    static const char *const ones[] = { "answer_kept", "answer_kept_case", "answer_kept_spacing", "answer_kept_ending" };
    static const char *const zeros[] = { "answer_edits", "answer_kl", "answer_kl_case", "answer_edits_ending", "answer_kl_spacing" };
    for (int ends = 0; ends < 2; ends++) {
        lm_model *model = open_model((tiny_options){ .uniform = true, .ends = ends });
        kvcache_codecs codecs = open_codecs(model, "affine", "bits=2,group_size=16", "f16", "");
        probe_run run;
        run_on("perturbation", "prompts=3,prompt_tokens=160,tokens=8", model, &codecs, 1, &run);
        const cell_run *r = &run.cells[0];
        for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) {
            assert_near(value_of(r, ones[i]), 1, 0);
            assert_near(result_of(r, ones[i])->n, 3, 0);
        }
        for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
            assert_near(value_of(r, zeros[i]), 0, 0);
        assert_near(value_of(r, "answer_tokens"), ends ? 0 : 8, 0);
        for (size_t i = 0; i < r->n; i++)              /* the text has no word of the list */
            assert_null(strstr(r->samples[i].metric, "synonym"));
        run_free(&run);
        kvcache_codecs_close(&codecs);
        lm_close(model);
    }
}

/* Logits after a prompt whose bytes are tokens, and what is written behind it. */
static size_t answer(lm_model *model, const kvcache_codecs *codecs, const char *prompt, float *logits, int32_t *out, size_t n)
{
    const size_t bytes = strlen(prompt), vocab = lm_model_shape(model)->n_vocab;
    int32_t *ids = malloc(bytes * sizeof *ids);
    float *moving = malloc(vocab * sizeof *moving);
    kvcache *cache = NULL;
    assert_true(ids && moving);
    for (size_t i = 0; i < bytes; i++)
        ids[i] = (unsigned char)prompt[i];
    assert_int_equal(kvcache_open(codecs, (uint32_t)(bytes + n), &cache, NULL), KVANT_OK);
    assert_int_equal(lm_prefill(model, cache, ids, bytes, 512, logits, NULL), KVANT_OK);
    memcpy(moving, logits, vocab * sizeof *moving);
    size_t written = 0;
    assert_int_equal(lm_greedy(model, cache, moving, n, out, &written, NULL), KVANT_OK);
    kvcache_close(cache);
    free(moving);
    free(ids);
    return written;
}

static double divergence_of(const float *x, const float *y, size_t n)
{
    double zx = 0, zy = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        zx += exp((double)x[i]);
        zy += exp((double)y[i]);
    }
    for (size_t i = 0; i < n; i++)
        kl += exp((double)x[i]) / zx * ((double)x[i] - log(zx) - (double)y[i] + log(zy));
    return kl;
}

/* The text's first half is one sentence, so that the passage is known. */
static void figures_are_the_models(void **state)
{
    (void)state;
    enum { TOKENS = 12 };
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=2,group_size=16", "affine", "bits=3,group_size=16") };
    char args[128];
    snprintf(args, sizeof args, "prompts=1,prompt_tokens=%zu,tokens=%d,perturbation_task=continue,changes=2", sizeof FIRST - 1, TOKENS);
    probe_job job = job_of(probe_of("perturbation"), args, model, codecs, 2);
    job.data = &two_sentences;
    probe_run run;
    run_ok(probe_of("perturbation"), &job, &run);
    static float logits[2][TINY_VOCAB];
    double kept_all[2] = { 0, 0 };
    for (size_t c = 0; c < 2; c++) {
        int32_t a[TOKENS], b[TOKENS];
        const size_t na = answer(model, &codecs[c], FIRST, logits[0], a, TOKENS);
        assert_near(value_of(&run.cells[c], "answer_tokens"), (double)na, 0);
        assert_near(value_of(&run.cells[c], "prompt_tokens"), sizeof FIRST - 1, 0);
        for (int kind = 0; kind < VARIANT_KINDS; kind++) {
            char *variant = NULL, name[64];
            size_t changed = 0, work[TOKENS + 1];
            assert_int_equal(variant_make((variant_kind)kind, FIRST, 2, 0, &variant, &changed, NULL), KVANT_OK);
            assert_int_equal(changed, kind == VARIANT_ENDING ? 1 : 2);
            const size_t nb = answer(model, &codecs[c], variant, logits[1], b, TOKENS), longer = na > nb ? na : nb;
            const double edits = (double)sequence_edits(a, na, b, nb, work) / (double)longer;
            snprintf(name, sizeof name, "answer_edits_%s", variant_names[kind]);
            assert_near(value_of(&run.cells[c], name), edits, 1e-15);
            snprintf(name, sizeof name, "answer_kl_%s", variant_names[kind]);
            const double kl = divergence_of(logits[0], logits[1], TINY_VOCAB);
            assert_true(kl > 1e-6);
            assert_near(value_of(&run.cells[c], name), kl, 1e-9 + 1e-6 * kl);
            snprintf(name, sizeof name, "answer_kept_%s", variant_names[kind]);
            const double kept = value_of(&run.cells[c], name);
            if (!(edits > 0))
                assert_near(kept, 1, 0);
            kept_all[c] += kept / VARIANT_KINDS;
            free(variant);
        }
        assert_near(value_of(&run.cells[c], "answer_kept"), kept_all[c], 1e-15);
        assert_true(kept_all[c] < 1);
    }
    assert_true(value_of(&run.cells[0], "answer_kl") != value_of(&run.cells[1], "answer_kl"));
    run_free(&run);
    for (size_t c = 0; c < 2; c++)
        kvcache_codecs_close(&codecs[c]);
    lm_close(model);
}

static kvant_status refuse(probe_job *job, const int32_t *ids, size_t n, kvant_error *err)
{
    (void)job, (void)ids, (void)n;
    return kvant_fail(err, KVANT_INVALID, "learnt from it");
}

static void says_what_it_cannot_have(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    static const struct { const char *args, *says; bool refused; } cases[] = {
        { "prompts=2", "lower prompts", false }, { "prompts=1,prompt_tokens=40", "raise prompt_tokens", false },
        { "prompts=1", "learnt from it", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        probe_job job = job_of(probe_of("perturbation"), cases[i].args, model, &codecs, 1);
        job.data = &two_sentences;
        job.measures = cases[i].refused ? refuse : NULL;
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe_of("perturbation"), &job, &run, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void results_are_by_prompt(void **state)
{
    (void)state;
    static const probe_sample samples[] = {
        { "answer_kept", 0, 0, 1, 1 }, { "answer_kept", 0, 1, 1, 1 }, { "answer_kept_case", 0, 0, 1, 1 }, { "answer_kept_spacing", 0, 0, 1, 1 },
        { "answer_kept", 1, 0, 0, 1 }, { "answer_kept", 1, 1, 1, 1 }, { "answer_kept_case", 1, 0, 0, 1 }, { "answer_kept_spacing", 1, 0, 1, 1 },
        { "answer_kl", 0, 0, .1, 1 }, { "answer_kl", 1, 0, .3, 1 },
    };
    const kvant_probe *p = probe_of("perturbation");
    kvant_args args = kvant_defaults(p->params);
    cell_run r = { 0 };
    assert_int_equal(p->finish(&args, samples, sizeof samples / sizeof *samples, run_result, &r, NULL), KVANT_OK);
    assert_int_equal(r.n_results, 4);
    const kept_result *all = result_of(&r, "answer_kept"), *spacing = result_of(&r, "answer_kept_spacing"), *kl = result_of(&r, "answer_kl");
    assert_near(all->value, .75, 1e-15);
    assert_near(all->n, 2, 0);                             /* prompts, not variants */
    assert_near(all->se, .25, 1e-15);
    assert_near(all->hi, 1, 0);
    assert_near(spacing->value, 1, 0);
    assert_near(spacing->lo, 1 / (1 + 3.841458820694124 / 2), 1e-9);       /* Wilson, 2 of 2 */
    assert_near(kl->value, .2, 1e-15);
    assert_near(kl->se, .1, 1e-15);
    assert_near(kl->lo, 0, 0);
    assert_int_equal(p->finish(&args, samples, 0, run_result, &r, NULL), KVANT_FAILED);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_moves_a_uniform_model), cmocka_unit_test(figures_are_the_models),
        cmocka_unit_test(says_what_it_cannot_have), cmocka_unit_test(results_are_by_prompt),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
