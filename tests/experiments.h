/* experiments.h - whole experiments from a spec's text: planned, allocated, run into a store, and asked by SQL.
 * As `kvant run` does it, without the command line. */
#ifndef KVANT_TESTS_EXPERIMENTS_H
#define KVANT_TESTS_EXPERIMENTS_H

#include "harness/experiment/run.h"
#include "tests/stores.h"

/* A text in which no 64 bytes stand twice. */
static inline void write_prose(const char *path)
{
    text t = { 0 };
    for (int i = 0; i < 300; i++)
        text_add(&t, "In year %d no less than %d stones of %d lay in river %d. ", i * 6733 % 9973, i * 7919 % 1009, i * 31 % 211, i);
    assert_false(t.failed);
    write_text(path, t.data);
    text_free(&t);
}

/* `json` gets the model's and the text's path for its %s. */
static inline kvant_status run_text(const char *json, const char *model, const char *data, const char *db, kvant_error *err)
{
    spec s = { 0 };
    plan p = { 0 };
    store *out = NULL;
    run_result result;
    const run_options options = { .shard = 1, .shards = 1, .threads = 1, .command = "a test" };
    char *whole = text_format(json, model, data);
    kvant_status status = spec_parse("a test", whole, strlen(whole), NULL, 0, &s, err);
    if (!status)
        status = store_open(db, STORE_WRITE, &out, err);
    if (!status)
        status = plan_open(&s, NULL, out, 1, &options, &p, err);
    if (!status)
        status = run_plan(&p, out, &options, &result, err);
    plan_close(&p);
    if (out)
        store_close(out);
    spec_close(&s);
    free(whole);
    return status;
}

static inline double ask(const char *db, const char *sql)
{
    store *s = NULL;
    assert_ok(store_open(db, STORE_READ, &s, err));
    const double value = query_number(s, sql);
    store_close(s);
    return value;
}

#endif
