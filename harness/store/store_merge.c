/* store_merge.c - joins another store into this one: how the shards of a sweep come together.
 * One transaction over an attached file; run ids are renumbered, everything else is known by content. */
#include "harness/store/store_internal.h"

#include <stdlib.h>
#include <sys/stat.h>

/* `taken` are the cells that come over whole: unknown here, or finished or begun only there. A run that is already here (merged
 * before) is recognised by all of its columns. */
static const char *const steps[] = {
    "CREATE TEMP TABLE taken(key TEXT PRIMARY KEY)",
    "INSERT INTO taken SELECT o.key FROM other.cell o LEFT JOIN main.cell c ON c.key = o.key "
    "WHERE c.key IS NULL OR (c.finished IS NULL AND (o.finished IS NOT NULL OR c.units < o.units))",

    "CREATE TEMP TABLE run_of(theirs INTEGER PRIMARY KEY, ours INTEGER)",
    "INSERT INTO run_of SELECT o.id, min(r.id) FROM other.run o LEFT JOIN main.run r ON (r.started, r.version, r.commit_id, r.dirty, "
    "r.compiler, r.flags, r.cpu, r.gpu, r.libraries, r.isa, r.threads, r.command) = (o.started, o.version, o.commit_id, o.dirty, "
    "o.compiler, o.flags, o.cpu, o.gpu, o.libraries, o.isa, o.threads, o.command) GROUP BY o.id",
    "UPDATE run_of SET ours = theirs + (SELECT coalesce(max(id), 0) FROM main.run) WHERE ours IS NULL",
    "INSERT INTO main.run SELECT m.ours, o.started, o.version, o.commit_id, o.dirty, o.compiler, o.flags, o.cpu, o.gpu, o.libraries, "
    "o.isa, o.threads, o.command FROM other.run o JOIN run_of m ON m.theirs = o.id "
    "WHERE m.ours NOT IN (SELECT id FROM main.run)",

    "INSERT INTO main.experiment(name, spec) SELECT name, spec FROM other.experiment WHERE true ON CONFLICT(name) DO NOTHING",

    "DELETE FROM main.measurement WHERE cell IN taken",
    "DELETE FROM main.unit WHERE cell IN taken",           /* and their samples by the foreign key */
    "INSERT INTO main.cell(key, pairing, config, probe, model, data, key_quantizer, key_params, value_quantizer, value_params, "
    "label, reference, bits_asked, bits_stored, units, finished, run) SELECT o.key, o.pairing, o.config, o.probe, o.model, o.data, "
    "o.key_quantizer, o.key_params, o.value_quantizer, o.value_params, o.label, o.reference, o.bits_asked, o.bits_stored, o.units, "
    "o.finished, m.ours FROM other.cell o LEFT JOIN run_of m ON m.theirs = o.run WHERE o.key IN taken "
    "ON CONFLICT(key) DO UPDATE SET units = excluded.units, finished = excluded.finished, run = excluded.run",
    "INSERT INTO main.cell_group(cell, layer, head, side, quantizer, params, bits_asked, bits_stored) SELECT cell, layer, head, side, "
    "quantizer, params, bits_asked, bits_stored FROM other.cell_group WHERE cell IN taken ON CONFLICT DO NOTHING",
    "INSERT INTO main.unit(cell, unit, run, seconds, seconds_model) SELECT o.cell, o.unit, m.ours, o.seconds, o.seconds_model "
    "FROM other.unit o JOIN run_of m ON m.theirs = o.run WHERE o.cell IN taken",
    "INSERT INTO main.sample(cell, unit, metric, chunk, idx, value, n) SELECT cell, unit, metric, chunk, idx, value, n "
    "FROM other.sample WHERE cell IN taken",
    "INSERT INTO main.measurement(cell, metric, unit, better, timing, value, n, se, lo, hi) SELECT cell, metric, unit, better, "
    "timing, value, n, se, lo, hi FROM other.measurement WHERE cell IN taken",

    "INSERT INTO main.experiment_cell(experiment, ordinal, cell) SELECT experiment, ordinal, cell FROM other.experiment_cell "
    "WHERE true ON CONFLICT DO NOTHING",
    "INSERT INTO main.control(experiment, pairing, role, cell, added, reason) SELECT experiment, pairing, role, cell, added, reason "
    "FROM other.control WHERE true ON CONFLICT DO NOTHING",
    "INSERT INTO main.skip(experiment, label, config, reason) SELECT experiment, label, config, reason FROM other.skip "
    "WHERE true ON CONFLICT DO NOTHING",

    "INSERT INTO main.\"check\"(run, quantizer, code_version, target, name, input, args, metric, source, measured, expected, se, z, "
    "verdict) SELECT m.ours, o.quantizer, o.code_version, o.target, o.name, o.input, o.args, o.metric, o.source, o.measured, "
    "o.expected, o.se, o.z, o.verdict FROM other.\"check\" o JOIN run_of m ON m.theirs = o.run WHERE NOT EXISTS ("
    "SELECT 1 FROM main.\"check\" c WHERE c.run = m.ours AND (c.quantizer, c.code_version, c.target, c.name, c.verdict) = "
    "(o.quantizer, o.code_version, o.target, o.name, o.verdict) AND c.input IS o.input AND c.args IS o.args "
    "AND c.metric IS o.metric)",
};

static kvant_status join(store *s, uint64_t *cells)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (sqlite3_exec(s->db, steps[i], NULL, NULL, NULL) != SQLITE_OK)
            return KVANT_IO;
    sqlite3_stmt *count;
    if (sqlite3_prepare_v2(s->db, "SELECT count(*) FROM taken", -1, &count, NULL) == SQLITE_OK && sqlite3_step(count) == SQLITE_ROW)
        *cells = (uint64_t)sqlite3_column_int64(count, 0);
    if (sqlite3_finalize(count) != SQLITE_OK ||
        sqlite3_exec(s->db, "DROP TABLE taken; DROP TABLE run_of", NULL, NULL, NULL) != SQLITE_OK)
        return KVANT_IO;
    return KVANT_OK;
}

/* join in a transaction of its own: nothing of the other store is seen until all of it is. */
static kvant_status join_whole(store *s, const char *path, uint64_t *cells, kvant_error *err)
{
    kvant_status status = store_begin(s, err);
    if (status != KVANT_OK)
        return status;
    if (join(s, cells) == KVANT_OK)
        return store_commit(s, err);
    char what[600];
    snprintf(what, sizeof what, "cannot take over %.500s", path);
    status = store_fail(s, what, err);
    store_rollback(s);
    return status;
}

static kvant_status attach(store *s, const char *path, bool immutable, kvant_error *err)
{
    char *uri = store_uri(path, immutable ? "ro" : "rw", immutable);
    if (!uri)
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", path);
    sqlite3_stmt *statement;
    bool attached = sqlite3_prepare_v2(s->db, "ATTACH ? AS other", -1, &statement, NULL) == SQLITE_OK &&
                    sqlite3_bind_text(statement, 1, uri, -1, SQLITE_STATIC) == SQLITE_OK &&
                    sqlite3_step(statement) == SQLITE_DONE;
    kvant_status status = attached ? KVANT_OK : kvant_fail(err, KVANT_IO, "%s: cannot open the store: %s", path,
                                                           sqlite3_errmsg(s->db));
    sqlite3_finalize(statement);
    free(uri);
    return status;
}

kvant_status store_attach(store *s, const char *other, kvant_error *err)
{
    store *theirs;
    kvant_status status = store_open(other, STORE_READ, &theirs, err);     /* it is one, and of this schema */
    if (status != KVANT_OK)
        return status;
    bool immutable = theirs->immutable;
    store_close(theirs);
    struct stat a, b;
    if (stat(s->path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return kvant_fail(err, KVANT_INVALID, "%s: the same file is given twice: the other store is one of them", other);
    return attach(s, other, immutable, err);
}

kvant_status store_detach(store *s, kvant_error *err)
{
    return sqlite3_exec(s->db, "DETACH other", NULL, NULL, NULL) == SQLITE_OK ? KVANT_OK
                                                                               : store_fail(s, "cannot close the other store", err);
}

kvant_status store_merge(store *s, const char *other, uint64_t *cells, kvant_error *err)
{
    *cells = 0;
    kvant_status status = store_attach(s, other, err);
    if (status != KVANT_OK)
        return status;
    status = join_whole(s, other, cells, err);
    kvant_error closing;
    kvant_status closed = store_detach(s, status ? &closing : err);
    return status ? status : closed;
}
