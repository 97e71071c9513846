/* test_perplexity.c - perplexity on a tiny model: of uniform output it is the vocabulary, else what logits taken at once say, for every
 * convention, by either path and in any steps. What finish makes of samples: test_probes.c. */
#include "harness/lm/generate.h"
#include "tests/model_runs.h"

static double nll_of(lm_model *model, const kvcache_codecs *codecs, const char *args)
{
    probe_run run;
    run_on("perplexity", args, model, codecs, 1, &run);
    double nll = value_of(&run.cells[0], "nll");
    run_free(&run);
    return nll;
}

static void uniform_model_has_perplexity_of_its_vocabulary(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    static const char *const settings[] = {
        "context=64,chunks=5", "context=64,chunks=5,path=decode,lockstep=3", "context=65,chunks=4,convention=full,batch=7",
        "context=300,chunks=3,convention=full,batch=300", "context=48,chunks=20,convention=full,path=decode,lockstep=16",
    };
    static const double predicted[] = { 31, 31, 64, 299, 47 }, chunks[] = { 5, 5, 4, 3, 20 };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        probe_run run;
        run_on("perplexity", settings[i], model, &codecs, 1, &run);
        const cell_run *r = &run.cells[0];
        assert_near(value_of(r, "perplexity"), TINY_VOCAB, 1e-4);
        assert_near(result_of(r, "perplexity")->n, chunks[i], 0);
        size_t seen = 0;
        for (size_t s = 0; s < r->n; s++)
            if (!strcmp(r->samples[s].metric, "nll")) {
                assert_int_equal(r->samples[s].chunk, seen++);
                assert_near(r->samples[s].n, predicted[i], 0);
                assert_near(r->samples[s].value, log(TINY_VOCAB), 1e-6);
            }
        assert_near((double)seen, chunks[i], 0);
        run_free(&run);
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

/* Mean negative log-likelihood of one chunk from all its logits at once. */
static double direct_nll(lm_model *model, const kvcache_codecs *codecs, const int32_t *ids, uint32_t n, uint32_t first)
{
    size_t vocab = lm_model_shape(model)->n_vocab;
    kvcache *cache = NULL;
    float *logits = malloc(n * vocab * sizeof *logits);
    uint8_t *want = malloc(n);
    assert_int_equal(kvcache_open(codecs, n, &cache, NULL), KVANT_OK);
    assert_true(logits && want);
    memset(want, 1, n);
    lm_segment segment = { cache, ids, n, want };
    assert_int_equal(lm_forward(model, LM_PREFILL, &segment, 1, logits, NULL, NULL), KVANT_OK);
    double sum = 0;
    for (uint32_t i = first; i + 1 < n; i++)
        sum -= lm_log_prob(logits + i * vocab, vocab, ids[i + 1]);
    kvcache_close(cache);
    free(logits);
    free(want);
    return sum / (n - 1 - first);
}

static void perplexity_is_what_logits_say(void **state)
{
    (void)state;
    for (int bos = 0; bos < 2; bos++) {
        lm_model *model = open_model((tiny_options){ .bos = bos });
        kvcache_codecs codecs = open_codecs(model, "f32", "", "f32", "");
        int32_t *ids = NULL;
        size_t n = 0;
        const tokenizer *tok = lm_tokenizer(model, NULL);
        assert_int_equal(tokenizer_encode(tok, words.text, words.bytes, true, false, &ids, &n, NULL), KVANT_OK);
        assert_int_equal(ids[0] == TINY_BOS, bos);
        assert_int_equal(n, words.bytes + (size_t)bos);
        for (int chunk = 0; chunk < 3 && bos; chunk++)
            ids[chunk * 96] = TINY_BOS;

        probe_run run;
        run_on("perplexity", "context=96,chunks=3", model, &codecs, 1, &run);
        for (size_t i = 0, chunk = 0; i < run.cells[0].n; i++)
            if (!strcmp(run.cells[0].samples[i].metric, "nll")) {
                assert_near(run.cells[0].samples[i].value, direct_nll(model, &codecs, ids + chunk * 96, 96, 48), 1e-5);
                chunk++;
            }
        run_free(&run);
        double full = nll_of(model, &codecs, "context=96,chunks=1,convention=full");
        assert_near(full, direct_nll(model, &codecs, ids, 96, 0), 1e-5);
        free(ids);
        kvcache_codecs_close(&codecs);
        lm_close(model);
    }
}

/* Every chunk's mean and weight, by both paths and with a BOS at the text's beginning alone. */
static void strides_score_each_token_once(void **state)
{
    (void)state;
    enum { LENGTH = 96, CHUNKS = 4 };
    static const struct { const char *args; uint32_t stride, first; } cases[] = {
        { "stride=40", 40, 55 }, { "stride=1,batch=13", 1, 94 }, { "stride=96", 96, 0 }, { "stride=95", 95, 0 },
        { "stride=40,path=decode,lockstep=3", 40, 55 }, { "stride=40,path=decode,lockstep=16", 40, 55 },
    };
    for (int bos = 0; bos < 2; bos++) {
        lm_model *model = open_model((tiny_options){ .bos = bos });
        kvcache_codecs codecs = open_codecs(model, "f32", "", "f32", "");
        int32_t *ids = NULL;
        size_t n = 0;
        assert_int_equal(tokenizer_encode(lm_tokenizer(model, NULL), words.text, words.bytes, true, false, &ids, &n, NULL), KVANT_OK);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char *args = text_format("context=%d,chunks=%d,convention=stride,%s", LENGTH, CHUNKS, cases[i].args);
            probe_run run;
            run_on("perplexity", args, model, &codecs, 1, &run);
            double sum = 0, weight = 0;
            uint32_t chunk = 0;
            for (size_t s = 0; s < run.cells[0].n; s++) {
                const probe_sample *sample = &run.cells[0].samples[s];
                if (strcmp(sample->metric, "nll"))
                    continue;
                const uint32_t first = chunk ? cases[i].first : 0;
                const double nll = direct_nll(model, &codecs, ids + chunk * cases[i].stride, LENGTH, first);
                assert_int_equal(sample->chunk, chunk++);
                assert_near(sample->n, LENGTH - 1 - first, 0);
                assert_near(sample->value, nll, 1e-5);
                sum += nll * sample->n;
                weight += sample->n;
            }
            assert_int_equal(chunk, CHUNKS);
            if (cases[i].stride < LENGTH)      /* all tokens of the stretch but its first are predicted, each once */
                assert_near(weight, LENGTH + (CHUNKS - 1) * cases[i].stride - 1, 0);
            assert_near(value_of(&run.cells[0], "nll"), sum / weight, 1e-5);
            run_free(&run);
            free(args);
        }
        free(ids);
        kvcache_codecs_close(&codecs);
        lm_close(model);
    }
}

static void strides_that_cannot_be_are_refused(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    static const struct { const char *args, *says; } cases[] = {
        { "context=64,convention=stride,stride=65", "lower stride" },
        { "context=1048576,chunks=1048576,convention=stride,stride=1048576", "lower chunks" },
        { "context=64,chunks=1048576,convention=stride,stride=64", "longer text" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        probe_job job = job_of(probe_of("perplexity"), cases[i].args, model, &codecs, 1);
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe_of("perplexity"), &job, &run, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void paths_and_steps_agree(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f32", "", "f32", ""),
                                 open_codecs(model, "affine", "bits=4,group_size=16", "affine", "bits=4,group_size=16") };
    for (size_t i = 0; i < 2; i++) {
        double nll = nll_of(model, &codecs[i], "context=80,chunks=7");
        static const char *const others[] = {
            "context=80,chunks=7,batch=13", "context=80,chunks=7,path=decode,lockstep=1",
            "context=80,chunks=7,path=decode,lockstep=4", "context=80,chunks=7,path=decode,lockstep=16",
        };
        /* Codes are the same wherever a coordinate does not round across a step; one that does moves a chunk's mean by little. */
        for (size_t j = 0; j < sizeof others / sizeof *others; j++)
            assert_near(nll_of(model, &codecs[i], others[j]), nll, i == 0 ? 1e-5 : 2e-3);
        kvcache_codecs_close(&codecs[i]);
    }
    lm_close(model);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_model_has_perplexity_of_its_vocabulary),
        cmocka_unit_test(perplexity_is_what_logits_say),
        cmocka_unit_test(strides_score_each_token_once),
        cmocka_unit_test(strides_that_cannot_be_are_refused),
        cmocka_unit_test(paths_and_steps_agree),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
