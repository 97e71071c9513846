/* stores.h - made-up stores for the tests of everything that reads or writes one: a folder of its own, cells, samples.
 * Values are chosen so that means and errors have closed forms; nothing here measures anything. */
#ifndef KVANT_TESTS_STORES_H
#define KVANT_TESTS_STORES_H

#include "harness/store/store.h"
#include "tests/scratch.h"

#include <math.h>

static inline store *open_store(const char *path)
{
    store *s = NULL;
    assert_ok(store_open(path, STORE_WRITE, &s, err));
    return s;
}

static inline int64_t put_run(store *s, const char *command)
{
    int64_t run = 0;
    store_run_info info = { "2026-01-02T03:04:05Z", "0.1.0", "c0ffee", "gcc", "-O3", "a processor", "", "libraries", "scalar",
                            command, false, 2 };
    assert_ok(store_run(s, &info, &run, err));
    return run;
}

/* A planned cell with the least that it needs; the config holds its label, so that other labels are other configs. */
static inline store_cell made_cell(const char *key, const char *label, double bits)
{
    static char configs[64][128];
    static size_t used;
    char *config = configs[used++ % 64], name[64];
    snprintf(name, sizeof name, "%s", label);
    for (char *c = name; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = '_';
    snprintf(config, sizeof configs[0], "{\"key\":{\"quantizer\":\"%s\"},\"seed\":0}", name);
    return (store_cell){ .key = key, .pairing = "pair", .config = config, .probe = "perplexity", .model = "tiny",
                         .data = "prose", .key_quantizer = label, .key_params = "{}", .value_quantizer = label,
                         .value_params = "{}", .label = label, .reference = !strcmp(label, "f16"), .bits_asked = bits,
                         .bits_stored = bits, .units = 4 };
}

static inline void put_unit(store *s, const char *cell, uint32_t unit, int64_t run, double value)
{
    probe_sample sample = { "nll", unit, 0, value, 10 };
    assert_ok(store_unit(s, cell, unit, run, 1, 0.5, err));
    assert_ok(store_sample(s, cell, unit, &sample, err));
}

static inline void put_result(store *s, const char *cell, const char *metric, int better, double value, double se)
{
    probe_result result = { metric, value, 4, se, value - 2 * se, value + 2 * se };
    assert_ok(store_measurement(s, cell, "nats", better, false, &result, err));
}

/* Finishes a cell of 4 units with these values of nll. */
static inline void finish_cell(store *s, const char *experiment, uint32_t ordinal, const store_cell *cell, int64_t run,
                               const double nll[4])
{
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, experiment, ordinal, cell, err));
    double mean = 0;
    for (uint32_t u = 0; u < 4; u++) {
        put_unit(s, cell->key, u, run, nll[u]);
        mean += nll[u] / 4;
    }
    put_result(s, cell->key, "nll", -1, mean, 0.01);
    put_result(s, cell->key, "perplexity", -1, exp(mean), 0.01 * exp(mean));
    assert_ok(store_cell_finish(s, cell->key, run, "2026-01-02T03:05:00Z", err));
    assert_ok(store_commit(s, err));
}

/* The first column of the first row as a number; NaN for NULL. Fails without a row. */
static inline double query_number(store *s, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store_sql(s), sql, -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(store_sql(s)));
    double value = sqlite3_column_type(statement, 0) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

#endif
