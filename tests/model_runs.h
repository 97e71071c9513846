/* model_runs.h - runs probes on tiny models: opens a model from a file that is gone at once, codecs by name and arguments, a job.
 * Every text is the same prose, made by words_open. */
#ifndef KVANT_TESTS_MODEL_RUNS_H
#define KVANT_TESTS_MODEL_RUNS_H

#include "tests/probe_runs.h"
#include "tests/tiny_model.h"

#include <unistd.h>

static kvant_data words;           /* prose for all tests of a program */

/* Tests run between these. */
static inline void words_open(void)
{
    text t = { 0 };
    for (int i = 0; i < 200; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were %s on the table near the window. ", i, i * 37 % 11,
                 i * i % 17, i % 3 ? "left" : "found again");
    words = (kvant_data){ .text = t.data, .bytes = t.length };
}

static inline void words_close(void) { free((char *)words.text); }

static inline lm_model *open_model(tiny_options options)
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

static inline kvcache_codecs open_codecs(const lm_model *model, const char *key, const char *key_args, const char *value,
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

static inline probe_job job_of(const kvant_probe *p, const char *args, lm_model *model, const kvcache_codecs *codecs, size_t n_cells)
{
    probe_job job = { .args = kvant_defaults(p->params), .model = model, .data = &words, .n_cells = n_cells, .codecs = codecs };
    kvant_error err = { "" };
    if (kvant_parse(p->params, args, &job.args, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return job;
}

static inline void run_on(const char *name, const char *args, lm_model *model, const kvcache_codecs *codecs, size_t n_cells,
                          probe_run *run)
{
    probe_job job = job_of(probe_of(name), args, model, codecs, n_cells);
    run_ok(probe_of(name), &job, run);
}

#endif
