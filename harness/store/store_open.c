/* store_open.c - opens the SQLite store: tells ours from other files, creates it once, and words what goes wrong.
 * Several processes may open, create and read one store at the same moment. */
#include "harness/store/store_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern const char schema_sql[];

enum { APPLICATION_ID = 0x4b56616e, SCHEMA_VERSION = 3, BUSY_MS = 30000, WAIT_MS = 20 };    /* the first two as in schema.sql */

sqlite3 *store_sql(store *s) { return s->db; }
const char *store_path(const store *s) { return s->path; }

kvant_status store_fail(store *s, const char *what, kvant_error *err)
{
    const char *remedy = "";
    switch (sqlite3_errcode(s->db) & 0xff) {
    case SQLITE_FULL: remedy = "; free some space on its disk"; break;
    case SQLITE_READONLY: remedy = "; make file and folder writable, or give another one by --store"; break;
    case SQLITE_CANTOPEN: remedy = "; check that its folder is there and writable"; break;
    case SQLITE_BUSY: remedy = "; another process holds it: try again when that is done"; break;
    case SQLITE_NOTADB: remedy = "; give a store made by kvant"; break;
    case SQLITE_CORRUPT: remedy = "; it is damaged: take a copy, or remove it and run again"; break;
    }
    return kvant_fail(err, KVANT_IO, "%s: %s: %s%s", s->path, what, sqlite3_errmsg(s->db), remedy);
}

/* Debian's SQLite has these, others are built without; the views and plots need them. */
static void sql_function(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    double (*const *function)(double) = sqlite3_user_data(context);
    double y = (*function)(sqlite3_value_double(values[0]));
    if (sqlite3_value_type(values[0]) == SQLITE_NULL || !isfinite(y))
        sqlite3_result_null(context);
    else
        sqlite3_result_double(context, y);
}

static bool add_functions(sqlite3 *db)
{
    static double (*const roots)(double) = sqrt, (*const exponential)(double) = exp;
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    return sqlite3_create_function(db, "sqrt", 1, flags, (void *)&roots, sql_function, NULL, NULL) == SQLITE_OK &&
           sqlite3_create_function(db, "exp", 1, flags, (void *)&exponential, sql_function, NULL, NULL) == SQLITE_OK;
}

/* The file's kind, its schema's version and number of tables: in one transaction, for another process may be creating them. */
static bool identity(store *s, int64_t id[3])
{
    static const char *const queries[3] = { "PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema" };
    bool good = sqlite3_exec(s->db, "SAVEPOINT identity", NULL, NULL, NULL) == SQLITE_OK;
    for (int i = 0; good && i < 3; i++) {
        sqlite3_stmt *row;
        good = sqlite3_prepare_v2(s->db, queries[i], -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW;
        if (good)
            id[i] = sqlite3_column_int64(row, 0);
        good = sqlite3_finalize(row) == SQLITE_OK && good;
    }
    return good && sqlite3_exec(s->db, "RELEASE identity", NULL, NULL, NULL) == SQLITE_OK;
}

char *store_uri(const char *path, const char *mode, bool immutable)
{
    text uri = { 0 };
    text_add(&uri, path[0] == '/' ? "file://" : "file:");
    for (const char *c = path; *c; c++)
        if (strchr("?#%", *c))
            text_add(&uri, "%%%02x", (unsigned)(unsigned char)*c);
        else
            text_add(&uri, "%c", *c);
    text_add(&uri, "?mode=%s%s", mode, immutable ? "&immutable=1" : "");
    if (uri.failed) {
        text_free(&uri);
        return NULL;
    }
    return uri.data;
}

/* Readers open for writing too where they may, and then refuse to: the last connection to close tidies -wal and -shm away, and one
 * that SQLite itself has read-only would leave them lying. */
static kvant_status connect(store *s, store_mode mode, kvant_error *err)
{
    char *uri = store_uri(s->path, s->immutable ? "ro" : mode == STORE_READ ? "rw" : "rwc", s->immutable);
    if (!uri)
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", s->path);
    int flags = s->immutable ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | (mode == STORE_READ ? 0 : SQLITE_OPEN_CREATE);
    int rc = sqlite3_open_v2(uri, &s->db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE, NULL);
    free(uri);
    if (!s->db)
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", s->path);
    if (rc != SQLITE_OK)
        return store_fail(s, "cannot open the store", err);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);      /* a store may come from elsewhere */
    if (!add_functions(s->db) ||
        (mode == STORE_READ && sqlite3_exec(s->db, "PRAGMA query_only = ON", NULL, NULL, NULL) != SQLITE_OK))
        return store_fail(s, "cannot open the store", err);
    return KVANT_OK;
}

/* Is it a store of this schema? *empty: a database without any table. */
static kvant_status identify(store *s, bool *empty, kvant_error *err)
{
    int64_t id[3];
    if (!identity(s, id))
        return store_fail(s, "cannot read the store", err);
    int64_t application = id[0], version = id[1], tables = id[2];
    *empty = tables == 0 && application == 0 && version == 0;
    if (*empty)
        return KVANT_OK;
    if (application != APPLICATION_ID)
        return kvant_fail(err, KVANT_INVALID, "%s: an SQLite file of another program; give another one by --store", s->path);
    if (version != SCHEMA_VERSION)
        return kvant_fail(err, KVANT_INVALID, "%s: a store of schema %lld, and this program knows %d; use the version of kvant "
                          "that made it, or give another one by --store", s->path, (long long)version, SCHEMA_VERSION);
    return KVANT_OK;
}

/* A store that others may be creating at the same moment: whoever gets the lock first writes the schema. */
static kvant_status create_schema(store *s, kvant_error *err)
{
    bool empty;
    kvant_status status = store_begin(s, err);
    if (status == KVANT_OK)
        status = identify(s, &empty, err);
    if (status == KVANT_OK && empty && sqlite3_exec(s->db, schema_sql, NULL, NULL, NULL) != SQLITE_OK)
        status = store_fail(s, "cannot write the schema", err);
    if (status == KVANT_OK)
        return store_commit(s, err);
    store_rollback(s);
    return status;
}

static kvant_status open_for_writing(store *s, kvant_error *err)
{
    bool empty;
    kvant_status status = make_folders(s->path, true, err);
    if (status == KVANT_OK)
        status = connect(s, STORE_WRITE, err);
    if (status == KVANT_OK)
        status = identify(s, &empty, err);
    if (status != KVANT_OK)
        return status;
    if (sqlite3_db_readonly(s->db, "main"))    /* SQLite falls back to reading without a word */
        return kvant_fail(err, KVANT_IO, "%s: the store is read-only; make file and folder writable, or give another one by "
                          "--store", s->path);
    if (empty && (status = create_schema(s, err)) != KVANT_OK)
        return status;
    /* WAL with NORMAL: a kill loses the open transaction, a power cut at most the last few, and neither breaks the file. */
    static const char setup[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";
    int rc = sqlite3_exec(s->db, setup, NULL, NULL, NULL);
    /* The change to WAL needs the file alone, and SQLite gives up at once when another process has it: wait here instead. */
    for (int waited = 0; (rc & 0xff) == SQLITE_BUSY && waited < BUSY_MS; waited += WAIT_MS) {
        sqlite3_sleep(WAIT_MS);
        rc = sqlite3_exec(s->db, setup, NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? KVANT_OK : store_fail(s, "cannot set up the store", err);
}

/* A WAL file with content must be read together with the store; without one the store alone is the whole truth. */
static bool has_wal(const store *s)
{
    struct stat info;
    char *wal = text_format("%s-wal", s->path);
    bool there = !wal || (stat(wal, &info) == 0 && info.st_size > 0);
    free(wal);
    return there;
}

static kvant_status open_for_reading(store *s, kvant_error *err)
{
    bool empty;
    kvant_status status = connect(s, STORE_READ, err);
    if (status == KVANT_OK)
        status = identify(s, &empty, err);
    int rc = sqlite3_errcode(s->db) & 0xff;
    if (status == KVANT_IO && (rc == SQLITE_CANTOPEN || rc == SQLITE_READONLY) && !has_wal(s)) {
        sqlite3_close(s->db);
        s->db = NULL;
        s->immutable = true;
        status = connect(s, STORE_READ, err);
        if (status == KVANT_OK)
            status = identify(s, &empty, err);
    }
    if (status == KVANT_OK && empty)
        return kvant_fail(err, KVANT_INVALID, "%s: the store is empty; `kvant run SPEC` fills it", s->path);
    return status;
}

kvant_status store_open(const char *path, store_mode mode, store **out, kvant_error *err)
{
    *out = NULL;
    struct stat info;
    int missing = stat(path, &info) ? errno : 0;
    if (!*path)
        return kvant_fail(err, KVANT_INVALID, "store: the path is empty");
    if (!missing && !S_ISREG(info.st_mode))
        return kvant_fail(err, KVANT_INVALID, "%s: not a file; give the store's file by --store", path);
    if (mode == STORE_READ && missing)
        return kvant_fail(err, KVANT_IO, "%s: cannot open the store: %s; `kvant run SPEC` makes one", path, strerror(missing));
    store *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", path);
    }
    kvant_status status = mode == STORE_READ ? open_for_reading(s, err) : open_for_writing(s, err);
    if (status != KVANT_OK)
        store_close(s);
    else
        *out = s;
    return status;
}

/* ---- Stores from elsewhere -------------------------------------------------------------------------------------------------- */

/* Tables, indices and views by name, with the text that made each; freed by the caller, NULL when it cannot be read. */
static char *form_of(sqlite3 *db)
{
    static const char sql[] = "SELECT group_concat(type || ' ' || name || ' ' || sql, char(10)) FROM (SELECT type, name, sql FROM "
                              "main.sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name)";
    sqlite3_stmt *query = NULL;
    char *form = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK && sqlite3_step(query) == SQLITE_ROW &&
        sqlite3_column_text(query, 0))
        form = strdup((const char *)sqlite3_column_text(query, 0));
    sqlite3_finalize(query);
    return form;
}

static bool has_our_form(sqlite3 *db)
{
    sqlite3 *fresh = NULL;
    bool good = sqlite3_open(":memory:", &fresh) == SQLITE_OK && sqlite3_exec(fresh, schema_sql, NULL, NULL, NULL) == SQLITE_OK;
    char *ours = good ? form_of(fresh) : NULL, *theirs = form_of(db);
    good = ours && theirs && !strcmp(ours, theirs);
    free(ours);
    free(theirs);
    sqlite3_close(fresh);
    return good;
}

/* The first row of a check, "" when there is none, NULL when it cannot be made; freed by the caller. */
static char *first_word(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *query = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK ? sqlite3_step(query) : SQLITE_ERROR;
    const char *word = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(query, 0) : "";
    char *copy = rc == SQLITE_ROW || rc == SQLITE_DONE ? strdup(word ? word : "?") : NULL;
    sqlite3_finalize(query);
    return copy;
}

kvant_status store_verify(store *s, kvant_error *err)
{
    if (!has_our_form(s->db))
        return kvant_fail(err, KVANT_INVALID, "%s: its tables and views are not those of this program's schema %d: made by another "
                          "version, or changed", s->path, SCHEMA_VERSION);
    char *sound = first_word(s->db, "PRAGMA main.quick_check(1)"), *orphan = first_word(s->db, "PRAGMA main.foreign_key_check");
    kvant_status status = KVANT_OK;
    if (!sound || !orphan)
        status = store_fail(s, "cannot be checked", err);
    else if (strcmp(sound, "ok"))
        status = kvant_fail(err, KVANT_INVALID, "%s: is damaged: %.200s", s->path, sound);
    else if (*orphan)
        status = kvant_fail(err, KVANT_INVALID, "%s: table %.64s has rows that belong to nothing", s->path, orphan);
    free(sound);
    free(orphan);
    return status;
}

void store_close(store *s)
{
    if (!s)
        return;
    for (int i = 0; i < STORE_STATEMENTS; i++)
        sqlite3_finalize(s->prepared[i]);
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}
