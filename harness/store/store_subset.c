/* store_subset.c - one experiment of a store as a store of its own, in one file, without a log beside it.
 * All of it or nothing: a file that was begun is the caller's to remove. */
#include "harness/store/store_internal.h"

#include <stdlib.h>

/* Checks are those of the quantizers that the cells use: they say why the results were let in. */
static const char *const steps[] = {
    "CREATE TEMP TABLE wanted(key TEXT PRIMARY KEY)",
    "INSERT INTO wanted SELECT cell FROM other.experiment_cell WHERE experiment = ?1",
    "CREATE TEMP TABLE coded(name TEXT PRIMARY KEY)",
    "INSERT OR IGNORE INTO coded SELECT key_quantizer FROM other.cell WHERE key IN wanted AND key_quantizer IS NOT NULL",
    "INSERT OR IGNORE INTO coded SELECT value_quantizer FROM other.cell WHERE key IN wanted AND value_quantizer IS NOT NULL",
    "INSERT OR IGNORE INTO coded SELECT quantizer FROM other.cell_group WHERE cell IN wanted",
    "CREATE TEMP TABLE ran(id INTEGER PRIMARY KEY)",
    "INSERT OR IGNORE INTO ran SELECT run FROM other.cell WHERE key IN wanted AND run IS NOT NULL",
    "INSERT OR IGNORE INTO ran SELECT run FROM other.unit WHERE cell IN wanted",
    "INSERT OR IGNORE INTO ran SELECT run FROM other.\"check\" WHERE quantizer IN coded",
    "INSERT INTO main.run SELECT * FROM other.run WHERE id IN ran",
    "INSERT INTO main.experiment SELECT * FROM other.experiment WHERE name = ?1",
    "INSERT INTO main.cell SELECT * FROM other.cell WHERE key IN wanted ORDER BY key",
    "INSERT INTO main.cell_group SELECT * FROM other.cell_group WHERE cell IN wanted",
    "INSERT INTO main.experiment_cell SELECT * FROM other.experiment_cell WHERE experiment = ?1",
    "INSERT INTO main.control SELECT * FROM other.control WHERE experiment = ?1",
    "INSERT INTO main.unit SELECT * FROM other.unit WHERE cell IN wanted",
    "INSERT INTO main.sample SELECT * FROM other.sample WHERE cell IN wanted",
    "INSERT INTO main.measurement SELECT * FROM other.measurement WHERE cell IN wanted",
    "INSERT INTO main.skip SELECT * FROM other.skip WHERE experiment = ?1",
    "INSERT INTO main.\"check\" SELECT * FROM other.\"check\" WHERE quantizer IN coded ORDER BY id",
    "DROP TABLE wanted", "DROP TABLE coded", "DROP TABLE ran",
};

static bool step(sqlite3 *db, const char *sql, const char *experiment)
{
    sqlite3_stmt *query = NULL;
    bool good = sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK;
    if (good && sqlite3_bind_parameter_count(query))
        good = sqlite3_bind_text(query, 1, experiment, -1, SQLITE_STATIC) == SQLITE_OK;
    good = good && sqlite3_step(query) == SQLITE_DONE;
    return sqlite3_finalize(query) == SQLITE_OK && good;
}

kvant_status store_subset(const char *from, const char *experiment, const char *path, kvant_error *err)
{
    store *s;
    kvant_status status = store_open(path, STORE_WRITE, &s, err);
    if (status)
        return status;
    status = store_attach(s, from, err);
    const bool attached = !status;
    if (!status)
        status = store_begin(s, err);
    const bool begun = !status;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !status; i++)
        if (!step(s->db, steps[i], experiment))
            status = store_fail(s, "cannot copy the experiment", err);
    if (!status)
        status = store_commit(s, err);
    else if (begun)
        store_rollback(s);
    if (!status)
        status = store_detach(s, err);
    else if (attached)
        sqlite3_exec(s->db, "DETACH other", NULL, NULL, NULL);
    /* A file alone holds everything, and one without a history has the same bytes for the same content. */
    if (!status && sqlite3_exec(s->db, "PRAGMA journal_mode = DELETE; VACUUM", NULL, NULL, NULL) != SQLITE_OK)
        status = store_fail(s, "cannot finish the copy", err);
    store_close(s);
    return status;
}
