/* test_conformance.c - the engine against another engine's logits, model by model, by both paths and in uneven pieces.
 * Tolerances are the reference set's own; a model of an architecture that is not supported yet is counted and named. */
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

/* Logits [n][n_vocab] of all tokens, in segments of `piece` tokens (1: the decode path). */
static float *run_model(lm_model *model, const char *quantizer, const int *ids, size_t n, uint32_t piece)
{
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    const size_t n_vocab = lm_model_shape(model)->n_vocab;
    kvant_error err = { "" };
    const kvant_quantizer *q = kvant_find(quantizer, &err);
    const kvcache_side side = { q, kvant_defaults(q->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    kvcache_codecs codecs;
    kvcache *cache;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, &codecs, &err), KVANT_OK);
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
        if (strcmp(cJSON_GetObjectItemCaseSensitive(entry, "arch")->valuestring, "llama")) {
            print_message("%-26s not run: its architecture is not supported yet\n",
                          cJSON_GetObjectItemCaseSensitive(entry, "name")->valuestring);
            continue;
        }
        check_model(entry);
        checked++;
    }
    cJSON_Delete(index);
    assert_true(checked >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_models) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
