/* store.c - writes the store, and reads what the driver needs of it, by prepared statements.
 * What belongs together goes into one transaction, so that a kill at any moment loses the open one and nothing else. */
#include "harness/store/store_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    SQL_BEGIN, SQL_COMMIT, SQL_ROLLBACK, SQL_SAVEPOINT, SQL_RELEASE, SQL_BACK, SQL_RUN, SQL_EXPERIMENT, SQL_FORGET_CELLS,
    SQL_FORGET_SKIPS, SQL_FORGET_CONTROLS, SQL_CONTROL, SQL_CELL, SQL_EXPERIMENT_CELL, SQL_GROUP, SQL_SKIP, SQL_UNITS, SQL_CELL_DONE,
    SQL_UNIT_DELETE, SQL_UNIT, SQL_SAMPLE,
    SQL_SAMPLE_NAMES, SQL_SAMPLES, SQL_MEASUREMENT, SQL_FINISH, SQL_CHECK, SQL_CHECKED, N_STATEMENTS
} sql_id;

static const char *const sql[N_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT piece",
    [SQL_RELEASE] = "RELEASE piece",
    [SQL_BACK] = "ROLLBACK TO piece",
    [SQL_RUN] = "INSERT INTO run(started, version, commit_id, dirty, compiler, flags, cpu, gpu, libraries, isa, threads, command) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [SQL_EXPERIMENT] = "INSERT INTO experiment(name, spec) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET spec = excluded.spec",
    [SQL_FORGET_CELLS] = "DELETE FROM experiment_cell WHERE experiment = ?",
    [SQL_FORGET_SKIPS] = "DELETE FROM skip WHERE experiment = ?",
    [SQL_FORGET_CONTROLS] = "DELETE FROM control WHERE experiment = ?",
    [SQL_CONTROL] = "INSERT INTO control(experiment, pairing, role, cell, added, reason) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT(experiment, pairing, role) DO UPDATE SET cell = excluded.cell, added = excluded.added, "
                    "reason = excluded.reason",
    [SQL_CELL] = "INSERT INTO cell(key, pairing, config, probe, model, data, key_quantizer, key_params, value_quantizer, "
                 "value_params, label, reference, bits_asked, bits_stored, units) "
                 "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET units = excluded.units "
                 "WHERE finished IS NULL AND excluded.units > 0",
    [SQL_EXPERIMENT_CELL] = "INSERT INTO experiment_cell(experiment, ordinal, cell) VALUES (?, ?, ?) "
                            "ON CONFLICT(experiment, cell) DO UPDATE SET ordinal = excluded.ordinal",
    [SQL_GROUP] = "INSERT INTO cell_group(cell, layer, head, side, quantizer, params, bits_asked, bits_stored) "
                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    [SQL_SKIP] = "INSERT INTO skip(experiment, label, config, reason) VALUES (?, ?, ?, ?) "
                 "ON CONFLICT(experiment, config) DO UPDATE SET label = excluded.label, reason = excluded.reason",
    [SQL_UNITS] = "SELECT unit FROM unit WHERE cell = ?",
    [SQL_CELL_DONE] = "SELECT 1 FROM cell WHERE key = ? AND finished IS NOT NULL",
    [SQL_UNIT_DELETE] = "DELETE FROM unit WHERE cell = ? AND unit = ?",
    [SQL_UNIT] = "INSERT INTO unit(cell, unit, run, seconds, seconds_model) VALUES (?, ?, ?, ?, ?)",
    [SQL_SAMPLE] = "INSERT INTO sample(cell, unit, metric, chunk, idx, value, n) VALUES (?, ?, ?, ?, ?, ?, ?)",
    [SQL_SAMPLE_NAMES] = "SELECT metric, count(*) FROM sample WHERE cell = ? GROUP BY metric",
    [SQL_SAMPLES] = "SELECT metric, chunk, idx, value, n FROM sample WHERE cell = ? ORDER BY unit, metric, chunk, idx",
    [SQL_MEASUREMENT] = "INSERT OR REPLACE INTO measurement(cell, metric, unit, better, timing, value, n, se, lo, hi) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [SQL_FINISH] = "UPDATE cell SET finished = ?2, run = ?3 "
                   "WHERE key = ?1 AND units > 0 AND units = (SELECT count(*) FROM unit WHERE cell = ?1)",
    [SQL_CHECK] = "INSERT INTO \"check\"(run, quantizer, code_version, target, name, input, args, metric, source, measured, "
                  "expected, se, z, verdict) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [SQL_CHECKED] = "SELECT 1 WHERE EXISTS (SELECT 1 FROM \"check\" WHERE quantizer = ?1 AND code_version = ?2) AND NOT EXISTS "
                    "(SELECT 1 FROM \"check\" WHERE quantizer = ?1 AND code_version = ?2 AND verdict = 'fail')",
};

_Static_assert((int)N_STATEMENTS <= (int)STORE_STATEMENTS, "store_internal.h: room for every prepared statement");

/* ---- Statements --------------------------------------------------------------------------------------------------------- */

/* Prepared once, ready to bind; NULL on failure. */
static sqlite3_stmt *prepare(store *s, sql_id id)
{
    if (!s->prepared[id])
        sqlite3_prepare_v3(s->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT, &s->prepared[id], NULL);
    return s->prepared[id];
}

/* Binds by `types`, one letter a parameter: t const char * (NULL is NULL), i int64_t, r double (not finite is NULL).
 * The texts must live until the statement is reset. */
static int bind(sqlite3_stmt *statement, const char *types, va_list list)
{
    int rc = SQLITE_OK;
    for (int i = 0; types[i] && rc == SQLITE_OK; i++) {
        if (types[i] == 't') {
            rc = sqlite3_bind_text(statement, i + 1, va_arg(list, const char *), -1, SQLITE_STATIC);
        } else if (types[i] == 'i') {
            rc = sqlite3_bind_int64(statement, i + 1, va_arg(list, int64_t));
        } else {
            double value = va_arg(list, double);
            rc = isfinite(value) ? sqlite3_bind_double(statement, i + 1, value) : sqlite3_bind_null(statement, i + 1);
        }
    }
    return rc;
}

/* Runs a statement that returns no rows. */
static kvant_status execute(store *s, sql_id id, kvant_error *err, const char *what, const char *types, ...)
{
    sqlite3_stmt *statement = prepare(s, id);
    if (!statement)
        return store_fail(s, what, err);
    va_list list;
    va_start(list, types);
    int rc = bind(statement, types, list);
    va_end(list);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    kvant_status status = rc == SQLITE_DONE ? KVANT_OK : store_fail(s, what, err);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

/* True when the statement, bound to one or two texts, has a row. */
static bool ask(store *s, sql_id id, const char *first, const char *second)
{
    sqlite3_stmt *statement = prepare(s, id);
    if (!statement)
        return false;
    bool found = sqlite3_bind_text(statement, 1, first, -1, SQLITE_STATIC) == SQLITE_OK &&
                 (!second || sqlite3_bind_text(statement, 2, second, -1, SQLITE_STATIC) == SQLITE_OK) &&
                 sqlite3_step(statement) == SQLITE_ROW;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return found;
}

/* The statement bound to a cell, to be stepped by the caller and given to end_rows; NULL on failure. */
static sqlite3_stmt *rows_of(store *s, sql_id id, const char *cell)
{
    sqlite3_stmt *statement = prepare(s, id);
    return statement && sqlite3_bind_text(statement, 1, cell, -1, SQLITE_STATIC) == SQLITE_OK ? statement : NULL;
}

static void end_rows(sqlite3_stmt *statement)
{
    if (statement) {
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
}

/* A text column; the schema forbids NULL where it is used, a damaged file may not. */
static const char *column(sqlite3_stmt *rows, int i)
{
    const char *value = (const char *)sqlite3_column_text(rows, i);
    return value ? value : "";
}

/* ---- Transactions ------------------------------------------------------------------------------------------------------- */

kvant_status store_begin(store *s, kvant_error *err)
{
    return execute(s, SQL_BEGIN, err, "cannot begin a transaction", "");
}

kvant_status store_commit(store *s, kvant_error *err)
{
    kvant_status status = execute(s, SQL_COMMIT, err, "cannot commit", "");
    if (status != KVANT_OK)
        store_rollback(s);
    return status;
}

void store_rollback(store *s)
{
    if (!sqlite3_get_autocommit(s->db))     /* SQLite rolls back by itself when the disk is full */
        execute(s, SQL_ROLLBACK, NULL, "cannot roll back", "");
}

/* Ends a savepoint by `status`: several statements, all or none, inside the caller's transaction or not. */
static kvant_status end_piece(store *s, kvant_status status, kvant_error *err)
{
    if (status == KVANT_OK)
        status = execute(s, SQL_RELEASE, err, "cannot commit", "");
    if (status != KVANT_OK && !sqlite3_get_autocommit(s->db)) {
        execute(s, SQL_BACK, NULL, "cannot roll back", "");
        execute(s, SQL_RELEASE, NULL, "cannot roll back", "");
    }
    return status;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------------ */

kvant_status store_run(store *s, const store_run_info *info, int64_t *run, kvant_error *err)
{
    kvant_status status = execute(s, SQL_RUN, err, "cannot record the run", "tttittttttit", info->started, info->version,
                                  info->commit, (int64_t)info->dirty, info->compiler, info->flags, info->cpu, info->gpu,
                                  info->libraries, info->isa, (int64_t)info->threads, info->command);
    if (status == KVANT_OK)
        *run = sqlite3_last_insert_rowid(s->db);
    return status;
}

kvant_status store_experiment(store *s, const char *name, const char *spec_json, kvant_error *err)
{
    static const char what[] = "cannot record the experiment";
    kvant_status status = execute(s, SQL_SAVEPOINT, err, what, "");
    if (status != KVANT_OK)
        return status;
    status = execute(s, SQL_EXPERIMENT, err, what, "tt", name, spec_json);
    if (status == KVANT_OK)
        status = execute(s, SQL_FORGET_CELLS, err, what, "t", name);
    if (status == KVANT_OK)
        status = execute(s, SQL_FORGET_SKIPS, err, what, "t", name);
    if (status == KVANT_OK)
        status = execute(s, SQL_FORGET_CONTROLS, err, what, "t", name);
    return end_piece(s, status, err);
}

kvant_status store_cell_put(store *s, const char *experiment, uint32_t ordinal, const store_cell *cell, kvant_error *err)
{
    static const char what[] = "cannot record a cell";
    kvant_status status = execute(s, SQL_SAVEPOINT, err, what, "");
    if (status != KVANT_OK)
        return status;
    status = execute(s, SQL_CELL, err, what, "tttttttttttirri", cell->key, cell->pairing, cell->config, cell->probe, cell->model,
                     cell->data, cell->key_quantizer, cell->key_params, cell->value_quantizer, cell->value_params, cell->label,
                     (int64_t)cell->reference, cell->bits_asked, cell->bits_stored, (int64_t)cell->units);
    if (status == KVANT_OK)
        status = execute(s, SQL_EXPERIMENT_CELL, err, what, "tit", experiment, (int64_t)ordinal, cell->key);
    return end_piece(s, status, err);
}

kvant_status store_control_put(store *s, const char *experiment, const store_control *control, kvant_error *err)
{
    return execute(s, SQL_CONTROL, err, "cannot record a control", "ttttit", experiment, control->pairing, control->role, control->cell,
                   (int64_t)control->added, control->reason);
}

kvant_status store_group_put(store *s, const char *cell, const store_group *group, kvant_error *err)
{
    return execute(s, SQL_GROUP, err, "cannot record a group", "tiitttrr", cell, (int64_t)group->layer, (int64_t)group->head,
                   group->side, group->quantizer, group->params, group->bits_asked, group->bits_stored);
}

kvant_status store_skip(store *s, const char *experiment, const char *label, const char *config, const char *reason,
                        kvant_error *err)
{
    return execute(s, SQL_SKIP, err, "cannot record a skip", "tttt", experiment, label, config, reason);
}

kvant_status store_unit(store *s, const char *cell, uint32_t unit, int64_t run, double seconds, double seconds_model,
                        kvant_error *err)
{
    static const char what[] = "cannot store a unit";
    if (sqlite3_get_autocommit(s->db))
        return kvant_fail(err, KVANT_INVALID, "%s: a unit needs an open transaction", s->path);
    /* Another process may have stored the same unit meanwhile: the values are the same, so this one replaces it whole. */
    kvant_status status = execute(s, SQL_UNIT_DELETE, err, what, "ti", cell, (int64_t)unit);
    if (status == KVANT_OK)
        status = execute(s, SQL_UNIT, err, what, "tiirr", cell, (int64_t)unit, run, seconds, seconds_model);
    return status;
}

kvant_status store_sample(store *s, const char *cell, uint32_t unit, const probe_sample *sample, kvant_error *err)
{
    return execute(s, SQL_SAMPLE, err, "cannot store a sample", "titiirr", cell, (int64_t)unit, sample->metric,
                   (int64_t)sample->chunk, (int64_t)sample->idx, sample->value, sample->n);
}

kvant_status store_measurement(store *s, const char *cell, const char *unit, int better, bool timing, const probe_result *result,
                               kvant_error *err)
{
    return execute(s, SQL_MEASUREMENT, err, "cannot store a measurement", "tttiirrrrr", cell, result->metric, unit,
                   (int64_t)better, (int64_t)timing, result->value, result->n, result->se, result->lo, result->hi);
}

kvant_status store_cell_finish(store *s, const char *cell, int64_t run, const char *finished, kvant_error *err)
{
    kvant_status status = execute(s, SQL_FINISH, err, "cannot finish a cell", "tti", cell, finished, run);
    if (status == KVANT_OK && sqlite3_changes(s->db) != 1)
        return kvant_fail(err, KVANT_INVALID, "%s: cell %.12s is unknown or lacks units: not finished", s->path, cell);
    return status;
}

kvant_status store_check_put(store *s, int64_t run, const store_check *check, kvant_error *err)
{
    return execute(s, SQL_CHECK, err, "cannot store a check", "ittttttttrrrrt", run, check->quantizer, check->code_version,
                   check->target, check->name, check->input, check->args, check->metric, check->source, check->measured,
                   check->expected, check->se, check->z, check->verdict);
}

/* ---- Reading what the driver needs -------------------------------------------------------------------------------------- */

bool store_cell_done(store *s, const char *cell) { return ask(s, SQL_CELL_DONE, cell, NULL); }

bool store_checked(store *s, const char *quantizer, const char *code_version)
{
    return ask(s, SQL_CHECKED, quantizer, code_version);
}

kvant_status store_units_done(store *s, const char *cell, uint32_t units, uint8_t *done, kvant_error *err)
{
    memset(done, 0, units);
    sqlite3_stmt *rows = rows_of(s, SQL_UNITS, cell);
    int rc = SQLITE_ERROR;
    while (rows && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        int64_t unit = sqlite3_column_int64(rows, 0);
        if (unit >= 0 && unit < (int64_t)units)
            done[unit] = 1;
    }
    kvant_status status = rc == SQLITE_DONE ? KVANT_OK : store_fail(s, "cannot read units", err);
    end_rows(rows);
    return status;
}

/* How many samples a cell has, and the names of their metrics one after another, each with its NUL. */
static bool survey_samples(store *s, const char *cell, size_t *n, text *names)
{
    sqlite3_stmt *rows = rows_of(s, SQL_SAMPLE_NAMES, cell);
    int rc = SQLITE_ERROR;
    *n = 0;
    while (rows && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        text_add(names, "%s%c", column(rows, 0), '\0');
        *n += (size_t)sqlite3_column_int64(rows, 1);
    }
    end_rows(rows);
    return rc == SQLITE_DONE;
}

/* The samples with their names behind them in one allocation; needs a transaction, so that both readings see the same. */
static kvant_status read_samples(store *s, const char *cell, probe_sample **samples, size_t *n, kvant_error *err)
{
    size_t count;
    text names = { 0 };
    if (!survey_samples(s, cell, &count, &names)) {
        text_free(&names);
        return store_fail(s, "cannot read samples", err);
    }
    probe_sample *all = names.failed ? NULL : malloc(count * sizeof *all + names.length + 1);
    if (!all) {
        text_free(&names);
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory for %zu samples", s->path, count);
    }
    char *pool = (char *)(all + count);
    memcpy(pool, names.data ? names.data : "", names.length);
    pool[names.length] = '\0';
    text_free(&names);

    sqlite3_stmt *rows = rows_of(s, SQL_SAMPLES, cell);
    size_t i = 0;
    int rc = SQLITE_ERROR;
    while (rows && (rc = sqlite3_step(rows)) == SQLITE_ROW && i < count) {
        const char *metric = pool, *name = column(rows, 0);
        while (*metric && strcmp(metric, name))
            metric += strlen(metric) + 1;
        all[i++] = (probe_sample){
            .metric = metric,
            .chunk = (uint32_t)sqlite3_column_int64(rows, 1),
            .idx = (uint32_t)sqlite3_column_int64(rows, 2),
            .value = sqlite3_column_type(rows, 3) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(rows, 3),
            .n = sqlite3_column_double(rows, 4),
        };
    }
    kvant_status status = rc == SQLITE_DONE && i == count ? KVANT_OK : store_fail(s, "cannot read samples", err);
    end_rows(rows);
    if (status != KVANT_OK) {
        free(all);
        return status;
    }
    *samples = all;
    *n = count;
    return KVANT_OK;
}

kvant_status store_samples(store *s, const char *cell, probe_sample **samples, size_t *n, kvant_error *err)
{
    *samples = NULL;
    *n = 0;
    kvant_status status = execute(s, SQL_SAVEPOINT, err, "cannot read samples", "");
    return status == KVANT_OK ? end_piece(s, read_samples(s, cell, samples, n, err), err) : status;
}

void store_samples_free(probe_sample *samples, size_t n)
{
    (void)n;
    free(samples);
}
