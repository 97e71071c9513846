/* test_probes_model.c - the probes on a tiny model written here: known logits, both paths, one figure computed a second way.
 * The model's weights are random or, where the answer must be known, its output is uniform. */
#include "harness/attended.h"
#include "harness/lm/generate.h"
#include "harness/lm/vecmath.h"
#include "tests/probe_runs.h"
#include "tests/tiny_model.h"

#include <omp.h>
#include <unistd.h>

static kvant_data words;           /* prose for all tests */

/* ---- Models and policies --------------------------------------------------------------------- */

static lm_model *open_model(tiny_options options)
{
    const char *base = getenv("TMPDIR");
    char *path = text_format("%s/kvant-test-XXXXXX", base && *base ? base : P_tmpdir);
    assert_non_null(path);
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    tiny_model_write(path, options);
    lm_model *model = NULL;
    kvant_error err = { "" };
    kvant_status status = lm_open(path, 0, &model, &err);
    unlink(path);                  /* stays mapped */
    free(path);
    if (status)
        fail_msg("%s", err.text);
    return model;
}

static kvcache_codecs open_codecs(const lm_model *model, const char *key, const char *key_args, const char *value,
                                  const char *value_args)
{
    kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_policy policy = { .key.quantizer = kvant_find(key, NULL), .value.quantizer = kvant_find(value, NULL) };
    assert_non_null(policy.key.quantizer);
    assert_non_null(policy.value.quantizer);
    policy.key.args = kvant_defaults(policy.key.quantizer->params);
    policy.value.args = kvant_defaults(policy.value.quantizer->params);
    assert_int_equal(kvant_parse(policy.key.quantizer->params, key_args, &policy.key.args, NULL), KVANT_OK);
    assert_int_equal(kvant_parse(policy.value.quantizer->params, value_args, &policy.value.args, NULL), KVANT_OK);
    kvcache_codecs codecs;
    kvant_error err = { "" };
    if (kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return codecs;
}

static const kvant_probe *probe(const char *name)
{
    const kvant_probe *p = probe_find(name, NULL);
    assert_non_null(p);
    return p;
}

static probe_job job_of(const kvant_probe *p, const char *args, lm_model *model, const kvcache_codecs *codecs, size_t n_cells)
{
    probe_job job = { .args = kvant_defaults(p->params), .model = model, .data = &words, .n_cells = n_cells, .codecs = codecs };
    kvant_error err = { "" };
    if (kvant_parse(p->params, args, &job.args, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return job;
}

static void run_on(const char *name, const char *args, lm_model *model, const kvcache_codecs *codecs, size_t n_cells,
                   probe_run *run)
{
    probe_job job = job_of(probe(name), args, model, codecs, n_cells);
    run_ok(probe(name), &job, run);
}

static double nll_of(lm_model *model, const kvcache_codecs *codecs, const char *args)
{
    probe_run run;
    run_on("perplexity", args, model, codecs, 1, &run);
    double nll = value_of(&run.cells[0], "nll");
    run_free(&run);
    return nll;
}

/* ---- Perplexity ------------------------------------------------------------------------------ */

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

static void cells_do_not_mix(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=1,group_size=16", "affine", "bits=8,group_size=8") };
    static const char *const probes[][2] = {
        { "perplexity", "context=64,chunks=4" }, { "perplexity", "context=64,chunks=4,path=decode,lockstep=3" },
        { "distortion", "context=64,chunks=2" }, { "attention", "context=64,chunks=2" }, { "needle", "length=900,trials=2" },
    };
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        probe_run both, one;
        run_on(probes[i][0], probes[i][1], model, codecs, 2, &both);
        for (size_t c = 0; c < 2; c++) {
            run_on(probes[i][0], probes[i][1], model, &codecs[c], 1, &one);
            assert_same_samples(&both.cells[c], &one.cells[0]);
            run_free(&one);
        }
        run_free(&both);
    }
    for (size_t c = 0; c < 2; c++)
        kvcache_codecs_close(&codecs[c]);
    lm_close(model);
}

static void bytes_follow_the_policy(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    double f16 = TINY_LAYERS * TINY_KV_HEADS * TINY_HEAD_DIM * 2.0;            /* of one side */
    kvcache_codecs codecs = open_codecs(model, "f16", "", "affine", "bits=4,group_size=16");
    probe_run run;
    run_on("perplexity", "context=64,chunks=1", model, &codecs, 1, &run);
    const cell_run *r = &run.cells[0];
    assert_near(value_of(r, "bytes_per_token_key"), f16, 1e-9);
    assert_near(value_of(r, "bytes_per_token_value"), f16 * 6 / 16, 1e-9);     /* 4 bits and 32 bits per group of 16 */
    assert_near(value_of(r, "bytes_per_token"), f16 * 22 / 16, 1e-9);
    assert_near(value_of(r, "bytes_per_token_f16"), 2 * f16, 1e-9);
    assert_near(value_of(r, "compression_key"), 1, 1e-12);
    assert_near(value_of(r, "compression_value"), 16.0 / 6, 1e-12);
    assert_near(value_of(r, "compression"), 32.0 / 22, 1e-12);
    assert_true(value_of(r, "resident_bytes_per_token") >= value_of(r, "bytes_per_token"));
    run_free(&run);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void short_text_says_how_many_chunks(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    static const char *const names[] = { "perplexity", "distortion" };
    for (size_t i = 0; i < 2; i++) {
        probe_job job = job_of(probe(names[i]), "context=1024,chunks=1000", model, &codecs, 1);
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe(names[i]), &job, &run, &err), KVANT_INVALID);
        char *chunks = text_format("%zu chunks", words.bytes / 1024);
        assert_non_null(strstr(err.text, chunks));
        free(chunks);
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

/* ---- Needle ---------------------------------------------------------------------------------- */

static void needle_on_a_uniform_model(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    probe_run run, again;
    run_on("needle", "length=1000,trials=3,depth=0.25,digits=6", model, &codecs, 1, &run);
    const cell_run *r = &run.cells[0];
    /* Ties go to token 0, which is no digit. */
    assert_near(value_of(r, "needle_accuracy"), 0, 0);
    assert_near(result_of(r, "needle_accuracy")->n, 3, 0);
    assert_true(result_of(r, "needle_accuracy")->hi > .5);
    assert_near(value_of(r, "needle_log_prob"), -log(TINY_VOCAB), 1e-6);
    for (size_t i = 0; i < r->n; i++) {
        const probe_sample *s = &r->samples[i];
        if (!strcmp(s->metric, "prompt_tokens"))
            assert_true(s->value <= 1000 && s->value > 800);       /* bytes are tokens; sentences have up to 150 */
        else if (!strcmp(s->metric, "needle_depth"))
            assert_near(s->value, .25, .2);
        else if (!strcmp(s->metric, "needle_log_prob"))
            assert_near(s->n, 6, 0);
    }
    run_on("needle", "length=1000,trials=3,depth=0.25,digits=6", model, &codecs, 1, &again);
    assert_same_samples(r, &again.cells[0]);
    run_free(&run);
    run_free(&again);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void needle_says_what_is_too_long(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    static const struct { const char *args, *says; } cases[] = {
        { "length=200", "greater length" }, { "length=1000000", "longer text" },
    };
    for (size_t i = 0; i < 2; i++) {
        probe_job job = job_of(probe("needle"), cases[i].args, model, &codecs, 1);
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe("needle"), &job, &run, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

/* ---- Distortion ------------------------------------------------------------------------------ */

typedef struct { double key_sq[TINY_LAYERS][TINY_KV_HEADS], value_sq[TINY_LAYERS][TINY_KV_HEADS]; } norms;

static void add_norms(void *user, uint32_t layer, const float *k, const float *v, size_t n_rows)
{
    norms *s = user;
    for (size_t row = 0; row < n_rows; row++)
        for (size_t i = 0; i < TINY_KV_HEADS * TINY_HEAD_DIM; i++) {
            const size_t at = row * TINY_KV_HEADS * TINY_HEAD_DIM + i;
            s->key_sq[layer][i / TINY_HEAD_DIM] += (double)k[at] * k[at];
            s->value_sq[layer][i / TINY_HEAD_DIM] += (double)v[at] * v[at];
        }
}

static void distortion_of_the_models_own(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f32", "", "affine", "bits=2,group_size=16"),
                                 open_codecs(model, "affine", "bits=2,group_size=16", "f16", "") };
    probe_run run;
    run_on("distortion", "context=64,chunks=3,batch=17", model, codecs, 2, &run);
    const cell_run *exact = &run.cells[0], *coarse = &run.cells[1];
    assert_near(value_of(exact, "nmse_key"), 0, 0);
    assert_near(value_of(exact, "cosine_key"), 1, 1e-12);
    assert_near(value_of(exact, "ip_slope_key"), 1, 1e-6);
    assert_near(value_of(exact, "ip_variance_key"), 0, 1e-9);
    assert_true(value_of(coarse, "nmse_key") > .03 && value_of(coarse, "nmse_key") < .3);
    assert_true(value_of(exact, "nmse_value") > .03 && value_of(exact, "nmse_value") < .3);
    assert_true(value_of(coarse, "nmse_value") > 0 && value_of(coarse, "nmse_value") < 1e-6);
    assert_near(result_of(coarse, "nmse_key")->n, 3, 0);
    assert_true(result_of(coarse, "nmse_key")->se > 0);

    /* Norms of the first text, per layer and head, seen by an observer of the test's own. */
    int32_t ids[64];
    for (int i = 0; i < 64; i++)
        ids[i] = (unsigned char)words.text[i];
    norms direct = { 0 };
    lm_observer observer = { .kv = add_norms, .user = &direct };
    kvcache *cache = NULL;
    kvcache_codecs f16 = open_codecs(model, "f16", "", "f16", "");
    assert_int_equal(kvcache_open(&f16, 64, &cache, NULL), KVANT_OK);
    lm_segment segment = { cache, ids, 64, NULL };
    assert_int_equal(lm_forward_hidden(model, LM_PREFILL, &segment, 1, NULL, &observer, NULL), KVANT_OK);
    size_t seen = 0;
    for (size_t i = 0; i < exact->n && seen < 2 * TINY_LAYERS * TINY_KV_HEADS; i++) {
        const probe_sample *s = &exact->samples[i];
        const bool key = !strcmp(s->metric, "key_norm_sq");
        if (key || !strcmp(s->metric, "value_norm_sq")) {
            double want = (key ? direct.key_sq : direct.value_sq)[s->chunk][s->idx] / 64;
            assert_near(s->value, want, 1e-4 * want);
            assert_near(s->n, 64, 0);
            seen++;
        }
    }
    assert_int_equal(seen, 2 * TINY_LAYERS * TINY_KV_HEADS);
    kvcache_close(cache);
    kvcache_codecs_close(&f16);
    run_free(&run);
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
    lm_close(model);
}

/* ---- Attention ------------------------------------------------------------------------------- */

/* A cache whose key codec remembers the queries that decode gives it, one thread being at work. */
static float asked[TINY_LAYERS * TINY_HEADS * TINY_HEAD_DIM];
static size_t n_asked;

static void remember_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const kvant_quantizer *f32 = kvant_find("f32", NULL);
    assert_true(n_asked + nq * TINY_HEAD_DIM <= sizeof asked / sizeof *asked);
    memcpy(asked + n_asked, q, nq * TINY_HEAD_DIM * sizeof *q);
    n_asked += nq * TINY_HEAD_DIM;
    f32->ops.query(state, q, nq, prepared, scratch);
}

static void keep_queries(void *user, uint32_t layer, const float *q, size_t n_rows)
{
    assert_int_equal(n_rows, 1);
    memcpy((float *)user + layer * TINY_HEADS * TINY_HEAD_DIM, q, TINY_HEADS * TINY_HEAD_DIM * sizeof *q);
}

static void ignore_kv(void *user, uint32_t layer, const float *k, const float *v, size_t n_rows)
{
    (void)user, (void)layer, (void)k, (void)v, (void)n_rows;
}

static void observed_queries_are_those_of_attention(void **state)
{
    (void)state;
    omp_set_num_threads(1);
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvant_quantizer spy = *kvant_find("f32", NULL);
    spy.ops.query = remember_query;
    kvcache_policy policy = { .key = { &spy, kvant_defaults(spy.params) }, .value = { &spy, kvant_defaults(spy.params) } };
    kvcache_codecs codecs;
    kvcache *cache = NULL;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    assert_int_equal(kvcache_open(&codecs, 8, &cache, NULL), KVANT_OK);
    for (int32_t position = 0; position < 8; position++) {
        float seen[TINY_LAYERS * TINY_HEADS * TINY_HEAD_DIM];
        lm_observer observer = { .kv = ignore_kv, .queries = keep_queries, .user = seen };
        lm_segment segment = { cache, &(int32_t){ 'a' + position }, 1, NULL };
        n_asked = 0;
        assert_int_equal(lm_forward_hidden(model, LM_DECODE, &segment, 1, NULL, &observer, NULL), KVANT_OK);
        assert_int_equal(n_asked, sizeof seen / sizeof *seen);
        assert_memory_equal(seen, asked, sizeof seen);
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void attention_of_the_models_own(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[3] = { open_codecs(model, "f32", "", "f32", ""), open_codecs(model, "f32", "", "affine", "bits=2,group_size=16"),
                                 open_codecs(model, "affine", "bits=2,group_size=16", "f32", "") };
    probe_run run;
    run_on("attention", "context=64,chunks=3,queries=8,batch=17", model, codecs, 3, &run);
    const cell_run *exact = &run.cells[0], *values = &run.cells[1], *keys = &run.cells[2];
    assert_near(value_of(exact, "output_error"), 0, 1e-5);
    assert_near(value_of(exact, "top_8"), 1, 0);
    assert_true(value_of(values, "output_error") > .01 && value_of(keys, "output_error") > .01);
    assert_near(value_of(values, "weight_shift"), 0, 1e-6);         /* keys alone move the weights */
    assert_true(value_of(keys, "weight_shift") > .001 && value_of(keys, "top_8") < 1);
    assert_near(result_of(keys, "top_1")->n, 3, 0);
    assert_int_equal(keys->n, 3 * TINY_LAYERS * TINY_KV_HEADS * ATTENDED_N);
    for (size_t i = 0; i < keys->n; i++)
        assert_near(keys->samples[i].n, 8 * TINY_HEADS / TINY_KV_HEADS, 0);
    run_free(&run);

    probe_job job = job_of(probe("attention"), "context=64,queries=33", model, codecs, 1);
    kvant_error err = { "" };
    assert_int_equal(run_probe(probe("attention"), &job, &run, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "lower queries"));
    for (size_t i = 0; i < 3; i++)
        kvcache_codecs_close(&codecs[i]);
    lm_close(model);
}

/* ---- All ------------------------------------------------------------------------------------- */

static void threads_do_not_matter(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "affine", "bits=3,group_size=16", "affine", "bits=2,group_size=8");
    static const char *const probes[][2] = {
        { "perplexity", "context=300,chunks=3,convention=full" }, { "perplexity", "context=64,chunks=5,path=decode,lockstep=3" },
        { "distortion", "context=64,chunks=2" }, { "attention", "context=64,chunks=2" }, { "needle", "length=700,trials=2" },
    };
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        probe_run one, more;
        omp_set_num_threads(1);
        run_on(probes[i][0], probes[i][1], model, &codecs, 1, &one);
        for (int threads = 2; threads <= 4; threads += 2) {
            omp_set_num_threads(threads);
            run_on(probes[i][0], probes[i][1], model, &codecs, 1, &more);
            assert_same_samples(&one.cells[0], &more.cells[0]);
            run_free(&more);
        }
        run_free(&one);
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void throughput_of_a_model(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "affine", "bits=4,group_size=16");
    probe_run run;
    run_on("throughput", "n=128,min_ms=0.2,repeats=2,depth=64,steps=4,batch=32", model, &codecs, 1, &run);
    const cell_run *r = &run.cells[0];
    assert_int_equal(r->n, 2 * 10);
    for (size_t i = 0; i < r->n_results; i++)
        assert_true(isfinite(r->results[i].value) && r->results[i].value > 0);
    for (const probe_metric *m = probe("throughput")->metrics; m->name; m++)
        assert_non_null(result_of(r, m->name));
    run_free(&run);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

int main(void)
{
    text t = { 0 };
    for (int i = 0; i < 200; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were %s on the table near the window. ", i, i * 37 % 11,
                 i * i % 17, i % 3 ? "left" : "found again");
    words = (kvant_data){ .text = t.data, .bytes = t.length };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_model_has_perplexity_of_its_vocabulary),
        cmocka_unit_test(perplexity_is_what_logits_say),
        cmocka_unit_test(paths_and_steps_agree),
        cmocka_unit_test(cells_do_not_mix),
        cmocka_unit_test(bytes_follow_the_policy),
        cmocka_unit_test(short_text_says_how_many_chunks),
        cmocka_unit_test(needle_on_a_uniform_model),
        cmocka_unit_test(needle_says_what_is_too_long),
        cmocka_unit_test(distortion_of_the_models_own),
        cmocka_unit_test(observed_queries_are_those_of_attention),
        cmocka_unit_test(attention_of_the_models_own),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(throughput_of_a_model),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    text_free(&t);
    return failed;
}
