/* test_probes_model.c - the probes on a tiny model written here: known logits, both paths, one figure computed a second way.
 * The model's weights are random or, where the answer must be known, its output is uniform. */
#include "harness/lm/generate.h"
#include "harness/lm/vecmath.h"
#include "harness/measure/attended.h"
#include "tests/model_runs.h"

#include <omp.h>

/* ---- Cells, bytes, texts -------------------------------------------------------------------------- */

static void cells_do_not_mix(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=1,group_size=16", "affine", "bits=8,group_size=8") };
    static const char *const probes[][2] = {
        { "perplexity", "context=64,chunks=4" }, { "perplexity", "context=64,chunks=4,path=decode,lockstep=3" },
        { "distortion", "context=64,chunks=2" }, { "attention", "context=64,chunks=2" }, { "needle", "length=900,trials=2" },
        { "needle", "length=900,trials=1,needle_kind=multi_value,needle_count=2" },
        { "trajectory", "prompts=2,prompt_tokens=32,tokens=48" },
        { "perturbation", "prompts=2,prompt_tokens=110,tokens=4" },
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
        probe_job job = job_of(probe_of(names[i]), "context=1024,chunks=1000", model, &codecs, 1);
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe_of(names[i]), &job, &run, &err), KVANT_INVALID);
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

/* Of several values all tokens count, of what is given none does. */
static void needle_of_every_kind(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .uniform = true });
    kvcache_codecs codecs = open_codecs(model, "affine", "bits=4,group_size=16", "f16", "");
    static const struct { const char *kind; double values, asked; } kinds[] = {
        { "single", 1, 0 }, { "multi_key", 1, 0 }, { "multi_value", 3, 3 }, { "multi_query", 3, 3 }
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char args[128];
        const bool of_words = i % 3 == 0;
        snprintf(args, sizeof args, "length=900,trials=1,digits=5,needle_count=3,needle_kind=%s,needle_of=%s", kinds[i].kind,
                 of_words ? "words" : "numbers");
        probe_run run;
        run_on("needle", args, model, &codecs, 1, &run);
        const cell_run *r = &run.cells[0];
        assert_near(value_of(r, "needle_accuracy"), 0, 0);
        assert_near(value_of(r, "needle_log_prob"), -log(TINY_VOCAB), 1e-6);
        size_t found = 0;
        for (size_t j = 0; j < r->n; j++) {
            const probe_sample *s = &r->samples[j];
            if (!strcmp(s->metric, "needle_log_prob"))
                assert_near(s->n, kinds[i].values * (of_words ? 8 : 5), 0);
            found += !strcmp(s->metric, "needle_found") && s->n <= kinds[i].asked && s->n >= kinds[i].asked;
        }
        assert_int_equal(found, kinds[i].asked > 0);
        run_free(&run);
    }
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
        probe_job job = job_of(probe_of("needle"), cases[i].args, model, &codecs, 1);
        probe_run run;
        kvant_error err = { "" };
        assert_int_equal(run_probe(probe_of("needle"), &job, &run, &err), KVANT_INVALID);
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
    assert_near(value_of(exact, "nmse_kv"), value_of(exact, "nmse_value") / 2, 1e-3);      /* by chunk and over all, nearly the same */
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

    probe_job job = job_of(probe_of("attention"), "context=64,queries=33", model, codecs, 1);
    kvant_error err = { "" };
    assert_int_equal(run_probe(probe_of("attention"), &job, &run, &err), KVANT_INVALID);
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
        { "trajectory", "prompts=2,prompt_tokens=32,tokens=48" },
        { "perturbation", "prompts=2,prompt_tokens=110,tokens=4" },
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

static bool was_timed(const cell_run *c, const char *metric)
{
    for (size_t i = 0; i < c->n_results; i++)
        if (!strcmp(c->results[i].metric, metric))
            return true;
    return false;
}

enum { TIMED = 8 };

/* A metric as one repeat measured it. */
static double repeat_of(const cell_run *c, const char *metric, uint32_t repeat)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->samples[i].metric, metric) && c->samples[i].chunk == repeat)
            return c->samples[i].value;
    fail_msg("no sample of %s", metric);
    return NAN;
}

/* Parts are never more than all of it, and most of it in a repeat that nothing disturbed. */
static void check_parts(const cell_run *c, const char *rate, const char *const *parts, size_t n)
{
    double most = 0;
    for (uint32_t repeat = 0; repeat < TIMED; repeat++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += repeat_of(c, parts[i], repeat);
        const double share = sum * repeat_of(c, rate, repeat) / 1e3;
        most = share > most ? share : most;
    }
    if (!(most > .5 && most < 1.001))
        fail_msg("%s: parts take %g of it", rate, most);
}

static void throughput_of_a_model(void **state)
{
    (void)state;
    static const char *const decode[] = { "decode_matmul_ms", "decode_encode_ms", "decode_score_ms", "decode_mix_ms", "decode_rest_ms" };
    static const char *const prefill[] = { "prefill_matmul_ms", "prefill_encode_ms", "prefill_attention_ms", "prefill_rest_ms" };
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "affine", "bits=4,group_size=16"),
                                 open_codecs(model, "affine", "bits=4,group_size=16", "affine", "bits=8,group_size=16") };
    /* A policy of its own in which one layer's keys are coded as values are: mixed, between the two. */
    kvcache_codecs mixed = codecs[1];
    const kvant_codec *of[TINY_LAYERS * TINY_KV_HEADS * 2];
    memcpy(of, mixed.of, sizeof of);
    for (uint32_t head = 0; head < TINY_KV_HEADS; head++)
        of[2 * head] = of[2 * head + 1];
    mixed.of = of;
    const kvcache_codecs cells[] = { codecs[0], codecs[1], mixed };
    probe_run run;
    run_on("throughput", "n=128,min_ms=0.2,repeats=8,depth=64,steps=4,batch=48", model, cells, 3, &run);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < run.cells[c].n_results; i++)
            assert_true(isfinite(run.cells[c].results[i].value) && run.cells[c].results[i].value > 0);
    for (const probe_metric *m = probe_of("throughput")->metrics; m->name; m++) {
        assert_non_null(result_of(&run.cells[0], m->name));
        assert_non_null(result_of(&run.cells[1], m->name));
    }
    for (size_t c = 0; c < 3; c++) {
        check_parts(&run.cells[c], "decode_tokens_per_s", decode, 5);
        check_parts(&run.cells[c], "prefill_tokens_per_s", prefill, 4);
    }
    assert_false(was_timed(&run.cells[2], "encode_ns"));
    assert_true(was_timed(&run.cells[2], "decode_score_ms"));
    assert_true(value_of(&run.cells[2], "bytes_per_token_key") > value_of(&run.cells[1], "bytes_per_token_key"));
    assert_true(value_of(&run.cells[2], "bytes_per_token_key") < value_of(&run.cells[1], "bytes_per_token_value"));
    run_free(&run);
    run_on("throughput", "n=128,min_ms=0.2,repeats=1,depth=0,steps=20,batch=32", model, cells, 1, &run);
    assert_false(was_timed(&run.cells[0], "prefill_tokens_per_s"));
    assert_true(value_of(&run.cells[0], "decode_tokens_per_s") > 0);
    run_free(&run);
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
    lm_close(model);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_do_not_mix),
        cmocka_unit_test(bytes_follow_the_policy),
        cmocka_unit_test(short_text_says_how_many_chunks),
        cmocka_unit_test(needle_on_a_uniform_model),
        cmocka_unit_test(needle_of_every_kind),
        cmocka_unit_test(needle_says_what_is_too_long),
        cmocka_unit_test(distortion_of_the_models_own),
        cmocka_unit_test(observed_queries_are_those_of_attention),
        cmocka_unit_test(attention_of_the_models_own),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(throughput_of_a_model),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
