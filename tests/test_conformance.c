/* test_conformance.c - the engine against another engine's logits, model by model, by both paths and in uneven pieces.
 * Tolerances are the reference set's own; a model of an architecture that is not supported fails. */
#include "harness/input/input.h"
#include "harness/lm/generate.h"
#include "harness/lm/vecmath.h"
#include "tests/conformance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kvcache_side side_of(const char *name, const char *args)
{
    kvant_error err = { "" };
    kvcache_side side = { .quantizer = kvant_find(name, &err) };
    if (!side.quantizer)
        fail_msg("%s", err.text);
    side.args = kvant_defaults(side.quantizer->params);
    if (kvant_parse(side.quantizer->params, args, &side.args, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return side;
}

/* Logits [n][n_vocab] of all tokens, in segments of `piece` tokens (1: the decode path). */
static float *run_policy(lm_model *model, const kvcache_policy *policy, const int *ids, size_t n, uint32_t piece)
{
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    const size_t n_vocab = lm_model_shape(model)->n_vocab;
    kvant_error err = { "" };
    kvcache_codecs codecs;
    kvcache *cache;
    assert_int_equal(kvcache_codecs_open(policy, &shape, NULL, &codecs, &err), KVANT_OK);
    assert_int_equal(kvcache_open(&codecs, (uint32_t)n, &cache, &err), KVANT_OK);
    float *logits = calloc(n * n_vocab, sizeof *logits);
    uint8_t *want = malloc(n);
    assert_non_null(logits);
    assert_non_null(want);
    memset(want, 1, n);
    for (size_t done = 0; done < n;) {
        const uint32_t m = n - done < piece ? (uint32_t)(n - done) : piece;
        const lm_segment segment = { .cache = cache, .tokens = ids + done, .n = m, .want = want };
        if (lm_forward(model, piece == 1 ? LM_DECODE : LM_PREFILL, &segment, 1, logits + done * n_vocab, NULL, &err) != KVANT_OK)
            fail_msg("%s", err.text);
        done += m;
    }
    free(want);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return logits;
}

static float *run_model(lm_model *model, const char *quantizer, const int *ids, size_t n, uint32_t piece)
{
    const kvcache_side side = side_of(quantizer, "");
    const kvcache_policy policy = { .key = side, .value = side };
    return run_policy(model, &policy, ids, n, piece);
}

static double divergence(const float *reference, const float *logits, size_t n)
{
    const double zr = vec_log_sum_exp(reference, n), zl = vec_log_sum_exp(logits, n);
    double kl = 0;
    for (size_t i = 0; i < n; i++)
        kl += exp((double)reference[i] - zr) * ((double)reference[i] - zr - ((double)logits[i] - zl));
    return kl;
}

static double number(const cJSON *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* One reference file against one run. */
static void compare(const char *model, const cJSON *reference, const float *logits, size_t n_vocab, uint32_t piece)
{
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(reference, "rows");
    const size_t n = (size_t)cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(reference, "shape"), 0)->valueint;
    float *want = conformance_floats(cJSON_GetObjectItemCaseSensitive(reference, "file")->valuestring, n * n_vocab);
    double max_abs = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        const float *got = logits + (rows ? (size_t)cJSON_GetArrayItem(rows, (int)i)->valueint : i) * n_vocab;
        for (size_t j = 0; j < n_vocab; j++) {
            const double d = fabs((double)got[j] - (double)want[i * n_vocab + j]);
            max_abs = d <= max_abs ? max_abs : d;      /* NaN comes through */
        }
        const double row = divergence(want + i * n_vocab, got, n_vocab);
        kl = row <= kl ? kl : row;
    }
    free(want);
    print_message("%-26s %s cache, pieces of %3u: max |difference| %.2g (%.2g allowed), KL %.2g (%.2g)\n", model,
                  cJSON_GetObjectItemCaseSensitive(reference, "kv")->valuestring, piece, max_abs,
                  number(reference, "tolerance_max_abs"), kl, number(reference, "tolerance_kl"));
    if (!(max_abs <= number(reference, "tolerance_max_abs")) || !(kl <= number(reference, "tolerance_kl")))
        fail_msg("%s is beyond its tolerance", model);
}

static void check_model(const cJSON *entry)
{
    static const uint32_t pieces[] = { 512, 1, 7, 33 };
    char relative[256];
    snprintf(relative, sizeof relative, "conformance/%s", cJSON_GetObjectItemCaseSensitive(entry, "model")->valuestring);
    const char *name = cJSON_GetObjectItemCaseSensitive(entry, "name")->valuestring;
    size_t n;
    int *ids = conformance_ids(cJSON_GetObjectItemCaseSensitive(entry, "tokens"), &n);
    const cJSON *reference;
    cJSON_ArrayForEach(reference, cJSON_GetObjectItemCaseSensitive(entry, "references"))
    {
        const char *kv = cJSON_GetObjectItemCaseSensitive(reference, "kv")->valuestring;
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reference, "informative")) || (strcmp(kv, "f32") && strcmp(kv, "f16")))
            continue;
        lm_model *model;
        kvant_error err;
        const kvant_status status = lm_open(data_path(relative), (uint32_t)number(reference, "n_ctx"), &model, &err);
        if (status != KVANT_OK)
            fail_msg("%s", err.text);
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            float *logits = run_model(model, kv, ids, n, pieces[p]);
            compare(name, reference, logits, lm_model_shape(model)->n_vocab, pieces[p]);
            free(logits);
        }
        lm_close(model);
    }
    free(ids);
}

static void test_models(void **state)
{
    (void)state;
    cJSON *index = conformance_index();
    if (!index) {
        print_message("no folder of KVANT_DATA has conformance/index.json\n");
        skip();
    }
    size_t checked = 0;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "models"))
    {
        check_model(entry);
        checked++;
    }
    cJSON_Delete(index);
    assert_true(checked >= 6);
}

/* The real model: 64 largest logits and the logsumexp of each position, whole rows of some. */
static void test_real_model(void **state)
{
    (void)state;
    cJSON *index = conformance_index();
    const cJSON *entry = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(index, "real_models"), 0);
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(entry, "name");
    kvant_input input;
    kvant_error err = { "" };
    test_input_settings();
    if (!name || input_find(name->valuestring, &input, &err) != KVANT_OK) {
        print_message("no reference set, or: %s\n", err.text);
        cJSON_Delete(index);
        skip();
    }
    size_t n;
    int *ids = conformance_ids(cJSON_GetObjectItemCaseSensitive(entry, "tokens"), &n);
    lm_model *model;
    if (lm_open(input.path, 0, &model, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    const size_t n_vocab = lm_model_shape(model)->n_vocab;
    for (int r = 0; r < 2; r++) {
        const cJSON *reference = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(entry, "references"), r);
        const cJSON *full = cJSON_GetObjectItemCaseSensitive(reference, "full_rows");
        const double allowed = number(reference, "tolerance_max_abs");
        float *top_ids = conformance_floats(cJSON_GetObjectItemCaseSensitive(reference, "top_ids")->valuestring, n * 64);
        float *top = conformance_floats(cJSON_GetObjectItemCaseSensitive(reference, "top_logits")->valuestring, n * 64);
        float *lse = conformance_floats(cJSON_GetObjectItemCaseSensitive(reference, "logsumexp")->valuestring, n);
        const char *kv = cJSON_GetObjectItemCaseSensitive(reference, "kv")->valuestring;
        for (uint32_t piece = 1; piece <= 256; piece += 255) {
            float *logits = run_model(model, kv, ids, n, piece);
            double worst = 0, nll = 0;
            for (size_t i = 0; i < n; i++) {
                const double z = vec_log_sum_exp(logits + i * n_vocab, n_vocab);
                worst = fabs(z - (double)lse[i]) <= worst ? worst : fabs(z - (double)lse[i]);
                for (size_t j = 0; j < 64; j++) {
                    int32_t id;
                    memcpy(&id, &top_ids[i * 64 + j], sizeof id);
                    const double d = fabs((double)logits[i * n_vocab + (size_t)id] - (double)top[i * 64 + j]);
                    worst = d <= worst ? worst : d;
                }
                if (i + 1 < n)
                    nll += z - (double)logits[i * n_vocab + (size_t)ids[i + 1]];
            }
            if (full) {
                const cJSON *rows = cJSON_GetObjectItemCaseSensitive(reference, "rows"), *row;
                float *want = conformance_floats(full->valuestring, (size_t)cJSON_GetArraySize(rows) * n_vocab), *at = want;
                cJSON_ArrayForEach(row, rows)
                {
                    for (size_t j = 0; j < n_vocab; j++) {
                        const double d = fabs((double)logits[(size_t)row->valueint * n_vocab + j] - (double)at[j]);
                        worst = d <= worst ? worst : d;
                    }
                    at += n_vocab;
                }
                free(want);
            }
            nll /= (double)(n - 1);
            print_message("%s, %s cache, pieces of %u: max |difference| %.2g (%.2g allowed), mean nll %.6f (%.6f)\n",
                          name->valuestring, kv, piece, worst, allowed, nll, number(reference, "mean_nll"));
            assert_true(worst <= allowed);
            /* Between engines f16 rounds keys whose last float bits differ to different halves: a thousandth is the gate. */
            assert_true(fabs(nll - number(reference, "mean_nll")) <= (strcmp(kv, "f32") ? 1e-3 : 1e-5));
            free(logits);
        }
        free(top_ids);
        free(top);
        free(lse);
    }
    lm_close(model);
    free(ids);
    cJSON_Delete(index);
}

static double distance_of(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return sqrt(sum);
}

/* Quantized caches by both paths. The keys that the paths compute differ in their last bits, and where one lies on a code's
 * threshold the code flips: one coordinate moves by a step. So the bound is on the mean over all logits: the flips that a
 * relative error of 2^-20 makes likely are too few to move it by more than 2e-3 of the logits' spread. Kernels may approximate
 * what decode multiplies, by 1 % of the quantizer's own squared error, which is a tenth by length, and what is a little off in
 * one layer flips codes in the next: they are held to twice that of what quantizing does to the logits. */
static void test_quantized_paths(void **state)
{
    (void)state;
    static const char *const files[] = { "llama-tied-hd64", "llama-untied-mqa4-spm", "llama-yarn-hd64" };
    static const struct { const char *key, *key_args, *value, *value_args; uint32_t sink, window; } policies[] = {
        { "affine", "bits=4,group_size=32", "affine", "bits=4,group_size=32", 0, 0 },
        { "turboquant_mse", "bits=3", "affine", "bits=2,group_size=64", 0, 7 },
        { "turboquant_mse", "bits=4,rotation=haar", "turboquant_mse", "bits=2", 4, 0 },
        { "affine", "bits=3,group_size=64,scheme=mlx", "turboquant_mse", "bits=3", 2, 128 },
    };
    cJSON *index = conformance_index();
    if (!index) {
        print_message("no folder of KVANT_DATA has conformance/index.json\n");
        skip();
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "models")) for (size_t f = 0; f < 3; f++)
    {
        if (strcmp(cJSON_GetObjectItemCaseSensitive(entry, "name")->valuestring, files[f]))
            continue;
        char relative[256];
        size_t n;
        lm_model *model;
        snprintf(relative, sizeof relative, "conformance/models/%s.gguf", files[f]);
        int *ids = conformance_ids(cJSON_GetObjectItemCaseSensitive(entry, "tokens"), &n);
        assert_int_equal(lm_open(data_path(relative), 0, &model, NULL), KVANT_OK);
        const size_t values = n * lm_model_shape(model)->n_vocab;
        const kvcache_policy f16 = { .key = side_of("f16", ""), .value = side_of("f16", "") };
        float *reference = run_policy(model, &f16, ids, n, 96), *zero = calloc(values, sizeof *zero);
        assert_non_null(zero);
        for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
            kvcache_policy policy = { .key = side_of(policies[i].key, policies[i].key_args),
                                      .value = side_of(policies[i].value, policies[i].value_args),
                                      .sink = policies[i].sink, .window = policies[i].window, .isa = "scalar" };
            float *decode = run_policy(model, &policy, ids, n, 1);
            policy.isa = NULL;
            float *by_kernel = run_policy(model, &policy, ids, n, 1);
            const double size = distance_of(decode, zero, values), effect = distance_of(decode, reference, values) / size;
            for (uint32_t piece = 13; piece <= 96; piece += 83) {
                policy.isa = "scalar";
                float *prefill = run_policy(model, &policy, ids, n, piece);
                const double off = distance_of(prefill, decode, values) / size;
                const double kernel = distance_of(prefill, by_kernel, values) / size;
                print_message("%-22s %s / %s, sink %u, window %u, pieces of %u: relative difference %.2g, by kernels %.2g; what the "
                              "quantizers do: %.2g\n", files[f], policies[i].key, policies[i].value, policy.sink, policy.window, piece,
                              off, kernel, effect);
                assert_true(off <= 2e-3);
                assert_true(kernel <= 2e-3 + .2 * effect);
                free(prefill);
            }
            free(decode);
            free(by_kernel);
        }
        free(zero);
        free(reference);
        lm_close(model);
        free(ids);
    }
    cJSON_Delete(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_models), cmocka_unit_test(test_real_model),
                                        cmocka_unit_test(test_quantized_paths) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
