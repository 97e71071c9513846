/* test_sensitivity.c - the probe `sensitivity` on a tiny model: every figure computed a second way, the control, statistics.
 * The second way for a group alone is an allocation, which shares nothing with the probe's own. */
#include "harness/allocation/cache_group.h"
#include "harness/experiment/calibration.h"
#include "harness/experiment/captured.h"
#include "harness/measure/prefix.h"
#include "tests/probe_runs.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <omp.h>

enum { WINDOWS = 2, LENGTH = 40, GROUPS_MAX = TINY_LAYERS * TINY_KV_HEADS * 2 };

static lm_model *model, *deep;    /* deep: of TINY_LAYERS_MAX layers */
static kvant_data words;
static int32_t *ids;               /* [WINDOWS][LENGTH], drawn as the probe draws them */

/* ---- Running the probe ------------------------------------------------------------------------- */

static kvcache_side side_of(const char *given, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(given, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_ok(kvant_parse(side.quantizer->params, args, &side.args, err));
    return side;
}

static kvcache_codecs codecs_of(const kvcache_side *key, const kvcache_side *value, const kvcache_allocation *allocation)
{
    const kvcache_policy policy = { .key = *key, .value = *value, .allocation = allocation };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    return codecs;
}

static kvcache_codecs uniform_codecs(const char *quantizer, const char *args)
{
    const kvcache_side side = side_of(quantizer, args);
    return codecs_of(&side, &side, NULL);
}

static probe_job job_of(const char *args, const kvcache_codecs *codecs, size_t n)
{
    const kvant_probe *probe = probe_find("sensitivity", NULL);
    probe_job job = { .args = kvant_defaults(probe->params), .model = model, .data = &words, .n_cells = n, .codecs = codecs };
    char *all = text_format("n=%d,length=%d,batch=32,%s", WINDOWS, LENGTH, args);
    assert_ok(kvant_parse(probe->params, all, &job.args, err));
    free(all);
    return job;
}

static void measure(const char *args, const kvcache_codecs *codecs, size_t n, probe_run *run)
{
    probe_job job = job_of(args, codecs, n);
    run_ok(probe_find("sensitivity", NULL), &job, run);
}

static double sample_of(const cell_run *c, const char *metric, size_t window, size_t group)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->samples[i].metric, metric) && c->samples[i].chunk == window && c->samples[i].idx == group)
            return c->samples[i].value;
    fail_msg("no %s of window %zu and group %zu", metric, window, group);
    return 0;
}

static size_t count_of(const cell_run *c, const char *metric)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += !strcmp(c->samples[i].metric, metric);
    return n;
}

static const struct { const char *args; cache_groups groups; cache_sides sides; size_t n; } ways[] = {
    { "groups=layer,sides=together", GROUPS_LAYER, SIDES_TOGETHER, TINY_LAYERS },
    { "groups=layer,sides=apart", GROUPS_LAYER, SIDES_APART, TINY_LAYERS * 2 },
    { "groups=head,sides=together", GROUPS_HEAD, SIDES_TOGETHER, TINY_LAYERS * TINY_KV_HEADS },
    { "groups=head,sides=apart", GROUPS_HEAD, SIDES_APART, TINY_LAYERS * TINY_KV_HEADS * 2 },
};
enum { N_WAYS = sizeof ways / sizeof *ways };

/* ---- A second way ------------------------------------------------------------------------------ */

/* Logits [LENGTH][TINY_VOCAB] of a window with a quantizer in one group and f16 in all others, by an allocation; no group: NULL.
 * keys, when wanted, gets those of all layers [TINY_LAYERS][LENGTH][TINY_KV_HEADS * TINY_HEAD_DIM]. */
typedef struct { float *keys; size_t at; } seen_keys;

static void see(void *user, uint32_t layer, const float *k, const float *v, size_t n_rows)
{
    seen_keys *seen = user;
    (void)v, (void)layer;
    memcpy(seen->keys + seen->at, k, n_rows * TINY_KV_HEADS * TINY_HEAD_DIM * sizeof *k);
    seen->at += n_rows * TINY_KV_HEADS * TINY_HEAD_DIM;
}

static float *logits_alone(const kvcache_side *side, const cache_group *group, const int32_t *window, float *keys)
{
    const kvcache_side f16 = side_of("f16", "");
    kvcache_side all[GROUPS_MAX];
    const kvcache_allocation allocation = { TINY_LAYERS, TINY_KV_HEADS, all };
    for (uint32_t i = 0; i < GROUPS_MAX; i++)
        all[i] = group && cache_group_has(group, i / 2 / TINY_KV_HEADS, i / 2 % TINY_KV_HEADS, i % 2 ? KVANT_VALUE : KVANT_KEY) ? *side : f16;
    kvcache_codecs codecs = codecs_of(&f16, &f16, &allocation);
    kvcache *cache = NULL;
    float *logits = calloc(LENGTH * TINY_VOCAB, sizeof *logits);
    uint8_t want[LENGTH];
    assert_non_null(logits);
    memset(want, 1, sizeof want);
    assert_ok(kvcache_open(&codecs, LENGTH, &cache, err));
    seen_keys seen = { .keys = keys };
    const lm_observer observer = { .kv = see, .user = &seen };
    const lm_segment segment = { cache, window, LENGTH, want };
    assert_ok(lm_forward(model, LM_PREFILL, &segment, 1, logits, keys ? &observer : NULL, err));
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return logits;
}

static double divergence_of(const float *p, const float *q)
{
    long double mean = 0;
    for (size_t row = 0; row < LENGTH; row++, p += TINY_VOCAB, q += TINY_VOCAB) {
        long double zp = 0, zq = 0;
        for (size_t i = 0; i < TINY_VOCAB; i++) {
            zp += expl(p[i]);
            zq += expl(q[i]);
        }
        for (size_t i = 0; i < TINY_VOCAB; i++)
            mean += expl(p[i]) / zp * (p[i] - logl(zp) - q[i] + logl(zq)) / LENGTH;
    }
    return (double)mean;
}

/* kivi codes keys by blocks of tokens, which wait in f16. */
static void kl_is_that_of_an_allocation(void **state)
{
    (void)state;
    static const char *const quantizers[][2] = { { "affine", "bits=2,group_size=16" }, { "kivi", "bits=2,group_size=16" } };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    for (size_t w = 0; w < 2 * N_WAYS; w++) {
        const char *name = quantizers[w / N_WAYS][0], *args = quantizers[w / N_WAYS][1];
        const size_t way = w % N_WAYS, n = ways[way].n;
        const kvcache_side side = side_of(name, args);
        kvcache_codecs codecs = uniform_codecs(name, args);
        probe_run run;
        measure(ways[way].args, &codecs, 1, &run);
        assert_int_equal(cache_group_count(&shape, ways[way].groups, ways[way].sides), n);
        assert_int_equal(count_of(&run.cells[0], "kl"), WINDOWS * n);
        double total = 0;
        for (size_t window = 0; window < WINDOWS; window++) {
            float *f16 = logits_alone(NULL, NULL, ids + window * LENGTH, NULL);
            for (size_t g = 0; g < n; g++) {
                const cache_group group = cache_group_at(&shape, ways[way].groups, ways[way].sides, g);
                float *alone = logits_alone(&side, &group, ids + window * LENGTH, NULL);
                const double kl = divergence_of(f16, alone), got = sample_of(&run.cells[0], "kl", window, g);
                assert_true(kl > 1e-6);
                assert_near(got, kl, 1e-3 * kl);       /* logits of other batches round otherwise */
                total += got;
                free(alone);
            }
            free(f16);
        }
        assert_near(value_of(&run.cells[0], "kl"), total / (double)(WINDOWS * n), 1e-12);
        run_free(&run);
        kvcache_codecs_close(&codecs);
    }
}

static void f16_diverges_by_exactly_nothing(void **state)
{
    (void)state;
    kvcache_codecs codecs[2] = { uniform_codecs("affine", "bits=3,group_size=16"), uniform_codecs("f16", "") };
    for (size_t w = 0; w < N_WAYS; w++) {
        probe_run run;
        measure(ways[w].args, codecs, 2, &run);
        for (size_t window = 0; window < WINDOWS; window++)
            for (size_t g = 0; g < ways[w].n; g++) {
                assert_true(sample_of(&run.cells[1], "kl", window, g) == 0);
                assert_true(sample_of(&run.cells[0], "kl", window, g) > 0);
            }
        assert_true(value_of(&run.cells[1], "kl") == 0);
        for (size_t i = 0; i < run.cells[1].n_results; i++)
            assert_string_not_equal(run.cells[1].results[i].metric, "sensitivity_ratio");
        run_free(&run);
    }
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
}

/* A layer's keys are made before its cache is read: those up to the group's layer must not change by a bit, those behind it must. */
static void a_group_changes_what_comes_behind_it(void **state)
{
    (void)state;
    enum { LAYER = LENGTH * TINY_KV_HEADS * TINY_HEAD_DIM };
    const kvcache_side side = side_of("affine", "bits=2,group_size=16");
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    float *clean = calloc(2 * TINY_LAYERS * LAYER, sizeof *clean), *keys = clean + TINY_LAYERS * LAYER;
    assert_non_null(clean);
    float *f16 = logits_alone(NULL, NULL, ids, clean);
    for (uint32_t layer = 0; layer < TINY_LAYERS; layer++) {
        const cache_group group = cache_group_at(&shape, GROUPS_LAYER, SIDES_TOGETHER, layer);
        float *alone = logits_alone(&side, &group, ids, keys);
        for (uint32_t i = 0; i < TINY_LAYERS; i++)
            assert_int_equal(!memcmp(keys + i * LAYER, clean + i * LAYER, LAYER * sizeof *keys), i <= layer);
        assert_memory_not_equal(alone, f16, LENGTH * TINY_VOCAB * sizeof *f16);
        free(alone);
    }
    free(f16);
    free(clean);
}

static void threads_and_other_cells_do_not_matter(void **state)
{
    (void)state;
    static const char *const weights[] = { "weights=kl,groups=head", "weights=distortion,sides=apart", "weights=activation" };
    kvcache_codecs codecs[2] = { uniform_codecs("affine", "bits=3,group_size=16"), uniform_codecs("f16", "") };
    const int before = omp_get_max_threads();
    for (size_t i = 0; i < 3; i++) {
        probe_run both, one;
        omp_set_num_threads(3);
        measure(weights[i], codecs, 2, &both);
        omp_set_num_threads(1);
        measure(weights[i], codecs, 1, &one);
        assert_same_samples(&one.cells[0], &both.cells[0]);
        run_free(&both);
        run_free(&one);
    }
    omp_set_num_threads(before);
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
}

/* ---- What is shared ---------------------------------------------------------------------------- */

static void no_bit_depends_on_what_is_kept(void **state)
{
    (void)state;
    kvcache_codecs codecs[2] = { uniform_codecs("kivi", "bits=2,group_size=16"), uniform_codecs("f16", "") };
    for (size_t w = 0; w < N_WAYS; w++) {
        probe_run runs[2];
        for (int mib = 0; mib < 2; mib++) {
            char *args = text_format("%s,residual_mib=%d", ways[w].args, mib);
            measure(args, codecs, 2, &runs[mib]);
            free(args);
        }
        assert_same_samples(&runs[0].cells[0], &runs[1].cells[0]);
        assert_same_samples(&runs[0].cells[1], &runs[1].cells[1]);
        run_free(&runs[0]);
        run_free(&runs[1]);
    }
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
}

/* With room for 5 streams of 29 layers every sixth is kept, and what a run redoes is counted. */
static void fewer_streams_take_more_layers_and_no_more_memory(void **state)
{
    (void)state;
    enum { STREAM = LENGTH * TINY_EMBD * sizeof(float) };
    static const struct { uint64_t bytes; uint32_t step; } cases[] = { { 29 * STREAM, 1 }, { 29 * STREAM - 1, 2 }, { 5 * STREAM, 6 },
                                                                       { STREAM, 29 }, { STREAM - 1, 30 }, { 0, 30 } };
    lm_model *shallow = model;
    model = deep;
    kvcache_codecs codecs = uniform_codecs("f16", "");
    float wanted[LENGTH * TINY_EMBD], hidden[LENGTH * TINY_EMBD];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prefix p;
        assert_ok(prefix_open(&p, deep, LENGTH, 32, cases[i].bytes, err));
        assert_true(prefix_bytes(lm_model_shape(deep), LENGTH, cases[i].bytes) <= cases[i].bytes);
        assert_ok(prefix_run(&p, ids, &codecs, wanted, err));
        for (uint32_t layer = 0; layer < TINY_LAYERS_MAX; layer++) {
            const uint64_t before = lm_times_of(deep).layers;
            assert_ok(prefix_resume(&p, layer, &codecs, hidden, err));
            assert_memory_equal(hidden, wanted, sizeof wanted);
            assert_int_equal(lm_times_of(deep).layers - before, LENGTH * (TINY_LAYERS_MAX - layer / cases[i].step * cases[i].step));
        }
        prefix_close(&p);
    }
    model = shallow;
    kvcache_codecs_close(&codecs);
}

static void the_estimate_counts_streams_and_logits(void **state)
{
    (void)state;
    const kvant_probe *probe = probe_of("sensitivity");
    const probe_job all = job_of("residual_mib=1", NULL, 0), none = job_of("residual_mib=0", NULL, 0);
    const lm_shape *shape = lm_model_shape(deep);
    const double least = probe->memory(&none.args, shape), streams = 29.0 * LENGTH * TINY_EMBD * sizeof(float);
    assert_near(probe->memory(&all.args, shape) - least, streams, 0);
    assert_near(least, ((2 * LENGTH + 24.0) * TINY_VOCAB + LENGTH * TINY_EMBD) * sizeof(float), 0);      /* of them 64 at a time */
}

/* A pass must begin where its caches do. */
static void passes_from_another_layer_are_refused(void **state)
{
    (void)state;
    kvcache_codecs codecs = uniform_codecs("f16", "");
    kvcache *caches[2];
    float x[2 * TINY_EMBD] = { 0 };
    assert_ok(kvcache_open(&codecs, 4, &caches[0], err));
    assert_ok(kvcache_open_from(&codecs, 1, 4, &caches[1], err));
    const lm_segment segments[2] = { { caches[0], ids, 1, NULL }, { caches[1], ids, 1, NULL } };
    assert_fails(lm_resume_hidden(model, LM_PREFILL, &segments[0], 1, x, NULL, NULL, err), KVANT_INVALID, "begin at layer 0");
    assert_fails(lm_forward_hidden(model, LM_PREFILL, &segments[1], 1, NULL, NULL, err), KVANT_INVALID, "begin at layer 1");
    assert_fails(lm_resume_hidden(model, LM_PREFILL, segments, 2, x, NULL, NULL, err), KVANT_INVALID, "layers 0 and 1");
    assert_int_equal(kvcache_length(caches[0]) + kvcache_length(caches[1]), 0);
    kvcache_close(caches[0]);
    assert_fails(kvcache_open_from(&codecs, TINY_LAYERS, 4, &caches[0], err), KVANT_INVALID, "last is 1");
    kvcache_close(caches[1]);
    kvcache_codecs_close(&codecs);
}

/* Multiplications of a token's products in one layer: of queries, keys and values, and of the rest. */
enum { QKV_COST = TINY_EMBD * (TINY_HEADS + 2 * TINY_KV_HEADS) * TINY_HEAD_DIM,
       REST_COST = TINY_EMBD * TINY_HEADS * TINY_HEAD_DIM + 3 * TINY_EMBD * TINY_FF };

/* Of the group's layer queries, keys and values are the reference's too; that they are made again, and the reference, is the margin. */
static void thirty_layers_cost_little_more_than_they_must(void **state)
{
    (void)state;
    enum { LAYERS = TINY_LAYERS_MAX };
    lm_model *shallow = model;
    model = deep;
    kvcache_codecs codecs = uniform_codecs("affine", "bits=3,group_size=16");
    /* Everything kept; nothing kept. */
    static const struct { const char *args; double layers; } cases[] = { { "groups=layer", LAYERS + LAYERS * (LAYERS + 1) / 2 },
                                                                         { "groups=layer,residual_mib=0", LAYERS + LAYERS * LAYERS } };
    for (size_t i = 0; i < 2; i++) {
        const lm_times before = lm_times_of(deep);
        probe_run run;
        measure(cases[i].args, &codecs, 1, &run);
        run_free(&run);
        const lm_times after = lm_times_of(deep);
        const double tokens = WINDOWS * LENGTH, layers = (double)(after.layers - before.layers) / tokens,
                     logits = (double)(after.logits - before.logits) / tokens;
        assert_true(after.tokens - before.tokens == (LAYERS + 1) * WINDOWS * LENGTH);
        assert_near(layers, cases[i].layers, 0);
        assert_near(logits, LAYERS + 1, 0);
        const double head = TINY_EMBD * TINY_VOCAB, spent = layers * (QKV_COST + REST_COST) + logits * head;
        const double must = LAYERS * (LAYERS + 1) / 2 * (QKV_COST + REST_COST) - LAYERS * QKV_COST + LAYERS * head;
        assert_int_equal(spent <= 1.1 * must, i == 0);
    }
    model = shallow;
    kvcache_codecs_close(&codecs);
}

/* Squared norm and error of one side of a head over a window, and its tokens. */
typedef struct { double norm, error; } head_sums;

static void sum_heads(const kvcache_codecs *codecs, size_t window, head_sums sums[GROUPS_MAX])
{
    captured c = { 0 };
    assert_ok(captured_open(&c, model, LENGTH, LENGTH, false, NULL, "test", err));
    assert_ok(captured_run(&c, ids + window * LENGTH, err));
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        const uint32_t layer = i / 2 / TINY_KV_HEADS, head = i / 2 % TINY_KV_HEADS;
        const kvant_codec *codec = codecs->of[i];
        const float *x = captured_head(&c, i % 2 ? c.value : c.key, layer, head);
        uint8_t *code = kvant_alloc(kvant_bytes(codec, 1));
        void *scratch = kvant_alloc(codec->scratch + 1);
        assert_true(code && scratch);
        sums[i] = (head_sums){ 0, 0 };
        for (size_t t = 0; t < LENGTH; t++, x += c.row) {
            float back[TINY_HEAD_DIM];
            kvant_encode(codec, x, 0, 1, code, scratch);
            kvant_decode(codec, code, 0, 1, back, scratch);
            for (size_t j = 0; j < TINY_HEAD_DIM; j++) {
                sums[i].norm += (double)x[j] * x[j];
                sums[i].error += ((double)x[j] - back[j]) * ((double)x[j] - back[j]);
            }
        }
        free(code);
        free(scratch);
    }
    captured_close(&c);
}

static void norms_and_errors_are_those_of_the_keys_and_values(void **state)
{
    (void)state;
    kvcache_codecs codecs = uniform_codecs("affine", "bits=2,group_size=16");
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    for (size_t w = 0; w < N_WAYS; w++) {
        probe_run norms, errors;
        char *args = text_format("weights=activation,%s", ways[w].args);
        measure(args, &codecs, 1, &norms);
        free(args);
        args = text_format("weights=distortion,%s", ways[w].args);
        measure(args, &codecs, 1, &errors);
        free(args);
        assert_int_equal(count_of(&norms.cells[0], "activation"), WINDOWS * ways[w].n);
        for (size_t window = 0; window < WINDOWS; window++) {
            head_sums sums[GROUPS_MAX];
            sum_heads(&codecs, window, sums);
            for (size_t g = 0; g < ways[w].n; g++) {
                const cache_group group = cache_group_at(&shape, ways[w].groups, ways[w].sides, g);
                double keys = 0, values = 0, norm = 0, error = 0;
                for (uint32_t i = 0; i < GROUPS_MAX; i++)
                    if (cache_group_has(&group, i / 2 / TINY_KV_HEADS, i / 2 % TINY_KV_HEADS, i % 2 ? KVANT_VALUE : KVANT_KEY)) {
                        *(i % 2 ? &values : &keys) += sums[i].norm / (LENGTH * group.n_heads);
                        norm += sums[i].norm;
                        error += sums[i].error;
                    }
                const double activation = group.key ? keys : values;
                assert_near(sample_of(&norms.cells[0], "activation", window, g), activation, 1e-9 * activation);
                assert_near(sample_of(&errors.cells[0], "squared_error", window, g), error / LENGTH, 1e-9 * error);
                assert_near(sample_of(&errors.cells[0], "nmse", window, g), error / norm, 1e-9);
            }
        }
        run_free(&norms);
        run_free(&errors);
    }
    kvcache_codecs_close(&codecs);
}

/* ---- Results from samples ---------------------------------------------------------------------- */

static void results_of(const double *values, size_t windows, size_t groups, cell_run *run)
{
    const kvant_probe *probe = probe_find("sensitivity", NULL);
    kvant_args args = kvant_defaults(probe->params);
    char *text_args = text_format("n=%zu", windows);
    probe_sample samples[64];
    assert_ok(kvant_parse(probe->params, text_args, &args, err));
    for (size_t i = 0; i < windows * groups; i++)
        samples[i] = (probe_sample){ "kl", (uint32_t)(i / groups), (uint32_t)(i % groups), values[i], 10 };
    *run = (cell_run){ .samples = NULL };
    assert_ok(probe->finish(&args, samples, windows * groups, run_result, run, err));
    free(text_args);
}

static void ratio_is_of_the_means(void **state)
{
    (void)state;
    cell_run run;
    results_of((const double[]){ 1, 4, 2, 3, 6, 2 }, 2, 3, &run);
    assert_near(value_of(&run, "kl"), 3, 1e-12);
    assert_near(result_of(&run, "kl")->se, 2.0 / 3, 1e-12);        /* of windows with means 7/3 and 11/3 */
    assert_near(value_of(&run, "kl_group_0"), 2, 1e-12);
    assert_near(value_of(&run, "kl_group_1"), 5, 1e-12);
    assert_near(result_of(&run, "kl_group_1")->se, 1, 1e-12);
    const kept_result *ratio = result_of(&run, "sensitivity_ratio");
    assert_near(ratio->value, 2.5, 1e-12);
    /* Without a window the ratios are 6/2 and 4/1: the jackknife of two has half their logarithms' difference as its error. */
    assert_near(ratio->se, 2.5 * log(4.0 / 3) / 2, 1e-12);
    assert_true(ratio->lo < 2.5 && ratio->hi > 2.5);
    results_of((const double[]){ 1, 4, 2 }, 1, 3, &run);
    assert_near(value_of(&run, "sensitivity_ratio"), 4, 1e-12);
    assert_true(isnan(result_of(&run, "sensitivity_ratio")->se));
    results_of((const double[]){ 0, 4, 0, 4 }, 2, 2, &run);
    for (size_t i = 0; i < run.n_results; i++)
        assert_string_not_equal(run.results[i].metric, "sensitivity_ratio");
}

static void samples_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    const kvant_probe *probe = probe_find("sensitivity", NULL);
    const kvant_args args = kvant_defaults(probe->params);     /* 5 windows */
    probe_sample samples[10];
    cell_run run = { .samples = NULL };
    for (uint32_t i = 0; i < 10; i++)
        samples[i] = (probe_sample){ "kl", i / 2, i % 2, 1, 1 };
    assert_ok(probe->finish(&args, samples, 10, run_result, &run, err));
    assert_fails(probe->finish(&args, samples, 9, run_result, &run, err), KVANT_FAILED, "windows");
    samples[7].idx = 5;
    assert_fails(probe->finish(&args, samples, 10, run_result, &run, err), KVANT_FAILED, "sample 7");
    assert_fails(probe->finish(&args, samples, 0, run_result, &run, err), KVANT_FAILED, "windows");
}

/* ---- Set-up ------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    (void)state;
    omp_set_num_threads(1);        /* a tiny model has no work for more */
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf"), *deep_path = in_folder(folder, "deep.gguf");
    tiny_model_write(path, (tiny_options){ .bos = true });
    text t = { 0 };
    for (int i = 0; i < 40; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were %s on the table. ", i, i * 37 % 11, i * i % 17,
                 i % 3 ? "left" : "found again");
    assert_false(t.failed);
    words = (kvant_data){ .text = t.data, .bytes = t.length };
    assert_ok(lm_open(path, 0, &model, err));
    tiny_model_write(deep_path, (tiny_options){ .bos = true, .layers = TINY_LAYERS_MAX });
    assert_ok(lm_open(deep_path, 0, &deep, err));
    const kvant_args windows = { .v = { [CALIBRATION_N] = WINDOWS, [CALIBRATION_LENGTH] = LENGTH, [CALIBRATION_SEED] = 42 } };
    assert_ok(calibration_windows(model, &words, &windows, &ids, err));
    free(path);
    free(deep_path);
    scratch_remove(folder);        /* the models stay mapped */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lm_close(model);
    lm_close(deep);
    free(ids);
    free(words.text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kl_is_that_of_an_allocation),
        cmocka_unit_test(f16_diverges_by_exactly_nothing),
        cmocka_unit_test(a_group_changes_what_comes_behind_it),
        cmocka_unit_test(threads_and_other_cells_do_not_matter),
        cmocka_unit_test(no_bit_depends_on_what_is_kept),
        cmocka_unit_test(fewer_streams_take_more_layers_and_no_more_memory),
        cmocka_unit_test(the_estimate_counts_streams_and_logits),
        cmocka_unit_test(passes_from_another_layer_are_refused),
        cmocka_unit_test(thirty_layers_cost_little_more_than_they_must),
        cmocka_unit_test(norms_and_errors_are_those_of_the_keys_and_values),
        cmocka_unit_test(ratio_is_of_the_means),
        cmocka_unit_test(samples_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
