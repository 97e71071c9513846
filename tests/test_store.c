/* test_store.c - the store keeps what it promises: whole units or nothing after a kill, clear errors, merges, true views.
 * Children are killed and disks filled for real. */
#include "tests/stores.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static const double NLL[4] = { 1.25, 2.5, 3.125, 2.0 };

/* Runs `body` in a child, as nobody when `drop` is set; returns its wait status. */
static int in_child(int (*body)(const char *path), const char *path, bool drop)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (drop && (setgid(65534) || setuid(65534)))
            _exit(99);
        _exit(body(path));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void expect_error(const char *path, store_mode mode, const char *words)
{
    kvant_error got = { "" };
    store *s = NULL;
    assert_int_not_equal(store_open(path, mode, &s, &got), KVANT_OK);
    assert_null(s);
    assert_non_null(strstr(got.text, path));
    if (!strstr(got.text, words))
        fail_msg("\"%s\" does not say \"%s\"", got.text, words);
    assert_null(strchr(got.text, '\n'));
}

/* ---- What comes in comes out --------------------------------------------------------------------------------------------- */

static void round_trip(void **state)
{
    char *path = in_folder(*state, "new/folder/50% # odd?.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    store_cell cell = made_cell("k1", "affine 4b", 4.5);
    cell.value_quantizer = NULL;
    cell.units = 2;
    assert_ok(store_begin(s, err));
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 3, &cell, err));
    assert_ok(store_unit(s, "k1", 1, run, 2, 1, err));
    const probe_sample samples[] = { { "nll", 7, 1, -INFINITY, 3 }, { "nll", 7, 0, 0.1, 3 }, { "bytes", 4294967295u, 0, 5, 1 } };
    for (size_t i = 0; i < 3; i++)
        assert_ok(store_sample(s, "k1", 1, &samples[i], err));
    assert_ok(store_commit(s, err));

    uint8_t done[2] = { 9, 9 };
    assert_ok(store_units_done(s, "k1", 2, done, err));
    assert_int_equal(done[0], 0);
    assert_int_equal(done[1], 1);
    assert_false(store_cell_done(s, "k1"));
    assert_int_not_equal(store_cell_finish(s, "k1", run, "now", NULL), KVANT_OK);      /* unit 0 is missing */
    assert_false(store_cell_done(s, "k1"));

    probe_sample *back = NULL;
    size_t n = 0;
    assert_ok(store_samples(s, "k1", &back, &n, err));
    assert_int_equal(n, 3);
    assert_string_equal(back[0].metric, "bytes");
    assert_int_equal(back[0].chunk, 4294967295u);
    assert_string_equal(back[1].metric, "nll");
    assert_true(back[1].value == 0.1 && back[1].n == 3 && back[1].chunk == 7 && back[1].idx == 0);
    assert_true(isnan(back[2].value));
    store_samples_free(back, n);
    assert_ok(store_samples(s, "unknown", &back, &n, err));
    assert_int_equal(n, 0);
    store_samples_free(back, n);
    store_close(s);

    assert_ok(store_open(path, STORE_READ, &s, err));
    assert_string_equal(store_path(s), path);
    assert_true(query_number(s, "SELECT value_quantizer IS NULL AND bits_stored = 4.5 FROM cell") == 1);
    assert_int_not_equal(store_skip(s, "e", "l", "{}", "r", NULL), KVANT_OK);
    store_close(s);
    free(path);
}

static void units_need_a_transaction(void **state)
{
    char *path = in_folder(*state, "t.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    store_cell cell = made_cell("k", "f16", 16);
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 0, &cell, err));
    assert_int_equal(store_unit(s, "k", 0, run, 1, 1, NULL), KVANT_INVALID);

    assert_ok(store_begin(s, err));
    put_unit(s, "k", 0, run, 1.5);
    store_rollback(s);
    store_rollback(s);
    assert_true(query_number(s, "SELECT count(*) FROM unit") == 0);
    assert_true(query_number(s, "SELECT count(*) FROM sample") == 0);

    /* The same unit again replaces the first, samples and all. */
    assert_ok(store_begin(s, err));
    put_unit(s, "k", 0, run, 1.5);
    put_unit(s, "k", 0, run, 2.5);
    assert_ok(store_commit(s, err));
    assert_true(query_number(s, "SELECT sum(value) FROM sample") == 2.5);

    /* A sample without its unit, a cell twice, a plan that shrinks. */
    probe_sample stray = { "nll", 0, 0, 1, 1 };
    assert_int_not_equal(store_sample(s, "k", 2, &stray, NULL), KVANT_OK);
    assert_ok(store_cell_put(s, "e", 5, &cell, err));
    assert_true(query_number(s, "SELECT ordinal FROM experiment_cell") == 5);
    assert_int_not_equal(store_experiment(s, "e", "no JSON", NULL), KVANT_OK);
    assert_ok(store_skip(s, "e", "odd", "{}", "96 is no power of two", err));
    assert_ok(store_experiment(s, "e", "{\"changed\":1}", err));
    assert_true(query_number(s, "SELECT count(*) FROM experiment_cell") == 0);
    assert_true(query_number(s, "SELECT count(*) FROM skip") == 0);
    assert_true(query_number(s, "SELECT count(*) FROM sample") == 1);
    store_close(s);
    free(path);
}

static void checks(void **state)
{
    char *path = in_folder(*state, "checks.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant check");
    store_check check = { "affine", "v1", "scalar", "oracle", "gaussian", "bits=2", "nmse", "closed form", 0.1, 0.1, NAN, 0, "pass" };
    assert_false(store_checked(s, "affine", "v1"));
    assert_ok(store_check_put(s, run, &check, err));
    assert_true(store_checked(s, "affine", "v1"));
    assert_false(store_checked(s, "affine", "v2"));
    check.verdict = "fail";
    assert_ok(store_check_put(s, run, &check, err));
    assert_false(store_checked(s, "affine", "v1"));
    check.verdict = "perhaps";
    assert_int_not_equal(store_check_put(s, run, &check, NULL), KVANT_OK);
    store_close(s);
    free(path);
}

/* ---- What goes wrong ------------------------------------------------------------------------------------------------------ */

static void foreign_files(void **state)
{
    char *text_file = in_folder(*state, "prose.txt"), *other = in_folder(*state, "other.db"), *empty = in_folder(*state, "empty.db");
    char *missing = in_folder(*state, "missing.db");
    write_text(text_file, "This is prose, and long enough that nobody takes it for the header of a database file. It goes on.\n");
    expect_error(text_file, STORE_READ, "not a database");
    expect_error(text_file, STORE_WRITE, "not a database");

    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(other, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    expect_error(other, STORE_WRITE, "another program");
    expect_error(other, STORE_READ, "another program");
    assert_int_equal(sqlite3_open(other, &db), SQLITE_OK);       /* and it was left as it was */
    assert_int_equal(sqlite3_exec(db, "SELECT * FROM cell", NULL, NULL, NULL), SQLITE_ERROR);
    sqlite3_close(db);

    store_close(open_store(empty));
    assert_int_equal(sqlite3_open(empty, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 4", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    expect_error(empty, STORE_READ, "schema 4");
    expect_error(empty, STORE_WRITE, "schema 4");

    expect_error(missing, STORE_READ, "kvant run");
    assert_int_not_equal(access(missing, F_OK), 0);
    write_text(missing, "");
    expect_error(missing, STORE_READ, "empty");
    expect_error(*state, STORE_READ, "not a file");
    expect_error(*state, STORE_WRITE, "not a file");
    free(text_file);
    free(other);
    free(empty);
    free(missing);
}

/* A store whose bytes are damaged behind the header ends in an error or in data, never in a crash. */
static void damaged_pages(void **state)
{
    char *path = in_folder(*state, "damaged.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    store_cell cell = made_cell("k", "f16", 16);
    assert_ok(store_experiment(s, "e", "{}", err));
    finish_cell(s, "e", 0, &cell, run, NLL);
    store_close(s);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long bytes = ftell(f);
    assert_int_equal(fseek(f, 4096, SEEK_SET), 0);
    for (long i = 4096; i < bytes; i++)
        fputc((int)(i * 37 % 251), f);
    fclose(f);
    kvant_error got = { "" };
    probe_sample *samples;
    size_t n;
    kvant_status status = store_open(path, STORE_READ, &s, &got);
    if (status == KVANT_OK)
        status = store_samples(s, "k", &samples, &n, &got);
    assert_int_equal(status, KVANT_IO);
    assert_non_null(strstr(got.text, "damaged"));
    store_close(s);
    free(path);
}

static bool beside(const char *path, const char *suffix)
{
    char *file = text_format("%s%s", path, suffix);
    bool there = access(file, F_OK) == 0;
    free(file);
    return there;
}

/* Readers leave the store alone in its folder, be they one, two, beside a writer, or a merge's other side; and they cannot write. */
static void readers_leave_nothing(void **state)
{
    char *path = in_folder(*state, "left.db"), *into = in_folder(*state, "into.db");
    store *s = open_store(path), *one, *two;
    store_cell cell = made_cell("k", "f16", 16);
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 0, &cell, err));
    assert_ok(store_open(path, STORE_READ, &one, err));
    assert_true(beside(path, "-wal"));                         /* the writer's */
    store_close(s);
    assert_ok(store_open(path, STORE_READ, &two, err));
    assert_true(query_number(one, "SELECT count(*) FROM cell") == 1 && query_number(two, "SELECT count(*) FROM cell") == 1);
    assert_int_equal(sqlite3_exec(store_sql(two), "DELETE FROM cell", NULL, NULL, NULL), SQLITE_READONLY);
    store_close(one);
    store_close(two);
    assert_false(beside(path, "-wal") || beside(path, "-shm") || beside(path, "-journal"));

    uint64_t cells;
    s = open_store(into);
    assert_ok(store_merge(s, path, &cells, err));
    store_close(s);
    assert_false(beside(path, "-wal") || beside(path, "-shm") || beside(into, "-wal") || beside(into, "-shm"));
    free(path);
    free(into);
}

static int open_read_only(const char *path)
{
    kvant_error got = { "" };
    store *s = NULL;
    if (store_open(path, STORE_WRITE, &s, &got) == KVANT_OK)
        return 1;
    return strstr(got.text, "read-only") || strstr(got.text, "readonly") || strstr(got.text, "Permission") || strstr(got.text, "unable to open") ? 0 : 2;
}

static int read_in_read_only_folder(const char *path)
{
    store *s = NULL;
    if (store_open(path, STORE_READ, &s, NULL) != KVANT_OK)
        return 1;
    int status = query_number(s, "SELECT count(*) FROM cell") == 1 ? 0 : 2;
    store_close(s);
    return status;
}

static void read_only(void **state)
{
    char *folder = in_folder(*state, "locked"), *path = text_format("%s/s.db", folder), *none = text_format("%s/none.db", folder);
    store *s = open_store(path);
    store_cell cell = made_cell("k", "f16", 16);
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 0, &cell, err));
    store_close(s);
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(chmod(path, 0444), 0);
    bool root = getuid() == 0;
    assert_int_equal(in_child(open_read_only, path, root), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(in_child(open_read_only, path, root), 0);
    assert_int_equal(in_child(open_read_only, none, root), 0);
    assert_int_equal(in_child(read_in_read_only_folder, path, root), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    free(folder);
    free(path);
    free(none);
}

/* Writes units until the disk (a limit on the file's size) is full; then the store must still hold whole units. */
static int fill_disk(const char *path)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = { 400 * 1024, 400 * 1024 };
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return 3;
    kvant_error got = { "" };
    store *s = NULL;
    if (store_open(path, STORE_WRITE, &s, &got) != KVANT_OK)
        return 4;
    kvant_status status = KVANT_OK;
    for (uint32_t unit = 1; status == KVANT_OK && unit < 100000; unit++) {
        status = store_begin(s, &got);
        if (status == KVANT_OK)
            status = store_unit(s, "k", unit, 1, 1, 1, &got);
        for (uint32_t i = 0; status == KVANT_OK && i < 20; i++)
            status = store_sample(s, "k", unit, &(probe_sample){ "nll", unit, i, 1.0 / (i + 1), 1 }, &got);
        if (status == KVANT_OK)
            status = store_commit(s, &got);
        else
            store_rollback(s);
    }
    bool clear = status == KVANT_IO && strstr(got.text, path) && !strchr(got.text, '\n') &&
                 (strstr(got.text, "full") || strstr(got.text, "I/O error"));
    store_close(s);
    return clear ? 0 : 5;
}

static void full_disk(void **state)
{
    char *path = in_folder(*state, "full.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_int_equal(run, 1);
    store_cell cell = made_cell("k", "f16", 16);
    cell.units = 100000;
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 0, &cell, err));
    store_close(s);
    assert_int_equal(in_child(fill_disk, path, false), 0);

    s = open_store(path);
    assert_true(query_number(s, "SELECT count(*) FROM unit") > 0);
    assert_true(query_number(s, "SELECT count(*) FROM unit u WHERE (SELECT count(*) FROM sample s WHERE s.unit = u.unit) <> 20") == 0);
    assert_true(query_number(s, "SELECT count(*) FROM sample") == 20 * query_number(s, "SELECT count(*) FROM unit"));

    /* The same by SQLite's own limit, which reports a full disk as such; and afterwards the store works. */
    assert_true(query_number(s, "PRAGMA max_page_count = 1") > 0);
    kvant_error got = { "" };
    kvant_status status = KVANT_OK;
    assert_ok(store_begin(s, err));
    for (uint32_t i = 0; status == KVANT_OK && i < 100000; i++) {
        char config[32];
        snprintf(config, sizeof config, "{\"i\":%u}", i);
        status = store_skip(s, "e", "label", config, "a reason", &got);
    }
    assert_int_equal(status, KVANT_IO);
    assert_non_null(strstr(got.text, "is full; free some space"));
    store_rollback(s);
    assert_true(query_number(s, "PRAGMA max_page_count = 1000000") > 0);
    assert_ok(store_skip(s, "e", "label", "{}", "a reason", err));
    assert_true(query_number(s, "SELECT count(*) FROM skip") == 1);
    store_close(s);
    free(path);
}

/* ---- Kill at any moment ---------------------------------------------------------------------------------------------------- */

enum { SAMPLES_OF_A_UNIT = 50 };

static int write_for_ever(const char *path)
{
    store *s = NULL;
    if (store_open(path, STORE_WRITE, &s, NULL) != KVANT_OK)
        return 1;
    uint32_t first = (uint32_t)query_number(s, "SELECT count(*) FROM unit");
    for (uint32_t unit = first;; unit++) {
        if (store_begin(s, NULL) || store_unit(s, "k", unit, 1, 1, 1, NULL))
            return 2;
        for (uint32_t i = 0; i < SAMPLES_OF_A_UNIT; i++)
            if (store_sample(s, "k", unit, &(probe_sample){ "nll", unit, i, unit + 0.25, 1 }, NULL))
                return 3;
        if (store_commit(s, NULL))
            return 4;
    }
}

static void killed(void **state)
{
    char *path = in_folder(*state, "killed.db");
    store *s = open_store(path);
    put_run(s, "kvant run");
    store_cell cell = made_cell("k", "f16", 16);
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_ok(store_cell_put(s, "e", 0, &cell, err));
    store_close(s);
    double before = 0;
    bool grew = false;
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(write_for_ever(path));
        nanosleep(&(struct timespec){ 0, (20 + 7 * round) * 1000000L + 137 * round }, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        s = open_store(path);
        double units = query_number(s, "SELECT count(*) FROM unit");
        assert_true(units >= before);
        grew = grew || units > before;
        before = units;
        assert_true(query_number(s, "SELECT count(*) FROM sample") == units * SAMPLES_OF_A_UNIT);
        assert_true(query_number(s, "SELECT count(*) FROM sample WHERE value <> unit + 0.25") == 0);
        assert_true(query_number(s, "SELECT integrity_check = 'ok' FROM pragma_integrity_check") == 1);
        store_close(s);
    }
    assert_true(grew);
    free(path);
}

static int create_at_once(const char *path)
{
    store *s = NULL;
    kvant_error why = { "" };
    if (store_open(path, STORE_WRITE, &s, &why) != KVANT_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    for (int i = 0; i < 20; i++)
        put_run(s, "kvant run");
    store_close(s);
    return 0;
}

static void many_processes(void **state)
{
    char *path = in_folder(*state, "shared.db");
    enum { PROCESSES = 8 };
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(create_at_once(path));
    }
    int failed = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        failed += waitpid(children[i], &status, 0) != children[i] || status != 0;
    }
    assert_int_equal(failed, 0);
    store *s = open_store(path);
    assert_true(query_number(s, "SELECT count(*) FROM run") == 20 * PROCESSES);
    store_close(s);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(units_need_a_transaction), cmocka_unit_test(checks),
        cmocka_unit_test(foreign_files), cmocka_unit_test(damaged_pages), cmocka_unit_test(readers_leave_nothing), cmocka_unit_test(read_only),
        cmocka_unit_test(full_disk), cmocka_unit_test(killed), cmocka_unit_test(many_processes),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
