/* test_bundle.c - an experiment goes out as a bundle and comes in again the same; and no bundle that was changed, or made to do harm,
 * does. Every file has a byte flipped; what no hash can tell (paths, schemas, keys) is changed together with its hash. */
#include "harness/bundle/bundle.h"
#include "harness/bundle/bundle_files.h"
#include "tests/stores.h"

#include <cjson/cJSON.h>

/* Cells of experiment "e", and one of another that must not come along. */
static char *made_store(const char *folder, const char *name)
{
    static const char *const labels[] = { "f16", "affine 2b", "affine 4b" };
    char *path = in_folder(folder, name);
    store *s = open_store(path);
    const int64_t run = put_run(s, "kvant run e.json");
    assert_ok(store_begin(s, err));
    assert_ok(store_experiment(s, "e", "{\"name\":\"e\",\"probe\":\"perplexity\"}", err));
    assert_ok(store_experiment(s, "other", "{\"name\":\"other\"}", err));
    assert_ok(store_commit(s, err));
    for (uint32_t i = 0; i < 4; i++) {
        char key[SHA256_HEX];
        store_cell cell = made_cell(key, i < 3 ? labels[i] : "nf4", i ? 2 * i : 16);
        sha256_of(cell.config, strlen(cell.config), key);
        const double nll[4] = { 2 + 0.1 * i, 2.5, 1.5 + 0.2 * i, 2 };
        finish_cell(s, i < 3 ? "e" : "other", i, &cell, run, nll);
    }
    store_close(s);
    return path;
}

static kvant_status write_bundle(const char *store_path, const char *folder, char hash[SHA256_HEX], kvant_error *err)
{
    const bundle_options o = { store_path, "e", folder, NULL };
    return bundle_write(&o, hash, err);
}

static void round_trip(void **state)
{
    char *from = made_store(*state, "from.db"), *folder = in_folder(*state, "deep/bundle"), *into = in_folder(*state, "into.db");
    char hash[SHA256_HEX], again[SHA256_HEX];
    bundle_info info;
    assert_ok(write_bundle(from, folder, hash, err));
    bundle_list *list;
    assert_ok(bundle_files(folder, &list, err));
    static const char *const names[] = { "commands.txt", "manifest.json", "report.html", "report.md", "results.csv", "spec.json",
                                         "store.db" };
    assert_int_equal(list->n, sizeof names / sizeof *names);
    for (size_t i = 0; i < list->n; i++)
        assert_string_equal(list->path[i], names[i]);
    bundle_list_free(list);
    assert_ok(bundle_read(folder, NULL, &info, err));
    assert_string_equal(info.experiment, "e");
    assert_string_equal(info.hash, hash);
    assert_true(info.files == 6 && info.cells == 0);
    assert_int_equal(access(into, F_OK), -1);
    assert_ok(bundle_read(folder, into, &info, err));
    assert_int_equal(info.cells, 3);
    assert_ok(bundle_read(folder, into, &info, err));      /* twice changes nothing */
    assert_int_equal(info.cells, 0);

    /* All rows of the experiment, and none of the other. */
    store *s = open_store(from);
    assert_ok(store_attach(s, into, err));
    assert_true(query_number(s, "SELECT count(*) FROM other.experiment") == 1 && query_number(s, "SELECT count(*) FROM "
                                                                                                 "other.cell") == 3);
    static const char *const tables[] = { "sample", "measurement", "unit" };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char *sql = text_format("SELECT count(*) FROM (SELECT * FROM main.%s WHERE cell IN (SELECT cell FROM main.experiment_cell "
                                "WHERE experiment = 'e') EXCEPT SELECT * FROM other.%s)", tables[i], tables[i]);
        assert_true(query_number(s, sql) == 0);
        free(sql);
    }
    assert_true(query_number(s, "SELECT count(*) FROM other.sample") == 12);
    store_close(s);

    /* The same content has the same hash. */
    char *second = in_folder(*state, "second/");
    assert_ok(write_bundle(from, second, again, err));
    assert_string_equal(hash, again);
    assert_fails(write_bundle(from, folder, hash, err), KVANT_INVALID, "is there already, and not empty");
    assert_fails(write_bundle(from, from, hash, err), KVANT_INVALID, "is there already");
    char *third = in_folder(*state, "third");
    const bundle_options nothing = { from, "f", third, NULL };
    assert_fails(bundle_write(&nothing, hash, err), KVANT_INVALID, "no experiment 'f'");
    assert_int_equal(access(third, F_OK), -1);
    free(third);
    free(second);
    free(from);
    free(folder);
    free(into);
}

/* Neither an unfinished experiment nor a failure leaves anything. */
static void nothing_half(void **state)
{
    char *from = made_store(*state, "from.db"), *folder = in_folder(*state, "bundle"), hash[SHA256_HEX];
    store *s = open_store(from);
    store_cell open = made_cell("open", "affine 8b", 8);
    assert_ok(store_cell_put(s, "e", 9, &open, err));
    store_close(s);
    size_t before = count_files(*state);
    assert_fails(write_bundle(from, folder, hash, err), KVANT_INVALID, "3 of 4 cells of 'e' are finished");
    assert_int_equal(count_files(*state), before);
    assert_int_equal(mkdir(folder, 0755), 0);              /* an empty folder may be there */
    s = open_store(from);
    assert_int_equal(sqlite3_exec(store_sql(s), "DELETE FROM cell WHERE key = 'open'", NULL, NULL, NULL), SQLITE_OK);
    store_close(s);
    before = count_files(*state);
    const bundle_options no_plots_there = { from, "e", folder, "/nonexistent/plots" };
    assert_fails(bundle_write(&no_plots_there, hash, err), KVANT_IO, "/nonexistent/plots");
    assert_int_equal(count_files(*state), before);
    assert_ok(write_bundle(from, folder, hash, err));
    assert_int_equal(count_files(*state), before);
    free(from);
    free(folder);
}

static void flip(const char *path)
{
    char *data;
    size_t bytes;
    assert_ok(file_read(path, &data, &bytes, err));
    data[bytes / 2] ^= 1;
    write_bytes(path, data, bytes);
    free(data);
}

/* Gives the manifest the hash and size that a file has now. */
static void reseal(const char *folder, const char *name)
{
    char *path = text_format("%s/manifest.json", folder), *file = text_format("%s/%s", folder, name), *data, hex[SHA256_HEX];
    size_t bytes;
    assert_ok(file_read(path, &data, &bytes, err));
    cJSON *manifest = cJSON_Parse(data), *row;
    free(data);
    assert_ok(file_read(file, &data, &bytes, err));
    sha256_of(data, bytes, hex);
    free(data);
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(manifest, "files"))
        if (!strcmp(cJSON_GetObjectItem(row, "path")->valuestring, name)) {
            cJSON_ReplaceItemInObject(row, "sha256", cJSON_CreateString(hex));
            cJSON_ReplaceItemInObject(row, "bytes", cJSON_CreateNumber((double)bytes));
        }
    data = cJSON_Print(manifest);
    write_text(path, data);
    cJSON_free(data);
    cJSON_Delete(manifest);
    free(path);
    free(file);
}

/* A new bundle for every way to spoil it; its folder. */
static char *fresh(void *scratch, const char *from)
{
    static int count;
    char name[32], hash[SHA256_HEX];
    snprintf(name, sizeof name, "bundle-%d", count++);
    char *folder = in_folder(scratch, name);
    assert_ok(write_bundle(from, folder, hash, err));
    return folder;
}

static void refuses(void *scratch, char *folder, kvant_status wanted, const char *words)
{
    bundle_info info;
    char *into = in_folder(scratch, "untouched.db");
    assert_fails(bundle_read(folder, into, &info, err), wanted, words);
    assert_int_equal(access(into, F_OK), -1);
    free(into);
    free(folder);
}

static void changed_files(void **state)
{
    static const char *const names[] = { "commands.txt", "report.html", "report.md", "results.csv", "spec.json", "store.db" };
    char *from = made_store(*state, "from.db"), *path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = fresh(*state, from), *words = text_format("/%s: its sha256 is", names[i]);
        flip(path = text_format("%s/%s", folder, names[i]));
        refuses(*state, folder, KVANT_FAILED, words);
        free(words);
        free(path);
        folder = fresh(*state, from);
        words = text_format("/%s: is missing", names[i]);
        assert_int_equal(unlink(path = text_format("%s/%s", folder, names[i])), 0);
        refuses(*state, folder, KVANT_FAILED, words);
        free(words);
        free(path);
    }
    /* What the manifest does not know: a log beside the store would be read with it. */
    char *folder = fresh(*state, from);
    write_text(path = text_format("%s/store.db-wal", folder), "");
    refuses(*state, folder, KVANT_FAILED, "store.db-wal: the manifest does not name it");
    free(path);
    folder = fresh(*state, from);
    path = text_format("%s/link", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    refuses(*state, folder, KVANT_INVALID, "/link: is a link");
    free(path);
    folder = fresh(*state, from);
    path = text_format("%s/report.md", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("spec.json", path), 0);
    refuses(*state, folder, KVANT_INVALID, "/report.md: is a link");
    free(path);
    refuses(*state, in_folder(*state, "nowhere"), KVANT_INVALID, "has no manifest.json");
    free(from);
}

/* Replaces the first `old` of the manifest. */
static void edit_manifest(const char *folder, const char *old, const char *new)
{
    char *path = text_format("%s/manifest.json", folder), *data;
    size_t bytes;
    assert_ok(file_read(path, &data, &bytes, err));
    char *at = strstr(data, old);
    if (!at)
        fail_msg("no '%s' in %s", old, data);
    char *whole = text_format("%.*s%s%s", (int)(at - data), data, new, at + strlen(old));
    write_text(path, whole);
    free(whole);
    free(data);
    free(path);
}

static void hostile_manifests(void **state)
{
    static const struct { const char *old, *new; kvant_status status; const char *words; } cases[] = {
        { "\"commands.txt\"", "\"../from.db\"", KVANT_INVALID, "'../from.db' is no path of a file below the bundle" },
        { "\"commands.txt\"", "\"/etc/passwd\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"plots/../../from.db\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"./commands.txt\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"a//b\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"a\\nb\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"a\\\\b\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"manifest.json\"", KVANT_INVALID, "is no path of a file below" },
        { "\"commands.txt\"", "\"report.md\"", KVANT_INVALID, "'report.md' is there twice" },
        { "\"commands.txt\"", "\"absent.txt\"", KVANT_FAILED, "commands.txt: the manifest does not name it; and 1 more" },
        { "\"store.db\"", "\"store.sqlite\"", KVANT_INVALID, "must name store.db" },
        { "\"spec.json\"", "\"spec.js\"", KVANT_INVALID, "must name spec.json" },
        { "\"bundle\":\t1", "\"bundle\":\t2", KVANT_INVALID, "`bundle` must be 1" },
        { "\"experiment\":\t\"e\"", "\"experiment\":\t\"other\"", KVANT_FAILED, "must hold the experiment 'other' and no other" },
        { "\"experiment\":\t\"e\"", "\"experiment\":\t3", KVANT_INVALID, "`experiment` must be its name" },
        { "\"sha256\":\t\"", "\"sha256\":\t\"0", KVANT_INVALID, "must be a file's {path, bytes, sha256}" },
        { "\"bytes\":\t", "\"bytes\":\t9", KVANT_FAILED, "commands.txt: has " },
        { "\"bytes\":\t", "\"bytes\":\t-", KVANT_INVALID, "must be a file's {path, bytes, sha256}" },
        { "\"files\":", "\"file\":", KVANT_INVALID, "`files` must be an array" },
        { "{", "[", KVANT_INVALID, "manifest.json" },
    };
    char *from = made_store(*state, "from.db");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = fresh(*state, from);
        edit_manifest(folder, cases[i].old, cases[i].new);
        refuses(*state, folder, cases[i].status, cases[i].words);
    }
    static const char *const good[] = { "a", "plots/a-b_c.svg", "x/y/z.1" }, *const bad[] = { "", ".", "..", "a/", "/a", "a/./b",
            ".a", "a b", "a:b" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(bundle_path_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (bundle_path_ok(bad[i]))
            fail_msg("'%s' is taken for a path", bad[i]);
    free(from);
}

static void hostile_stores(void **state)
{
    static const struct { const char *sql; kvant_status status; const char *words; } cases[] = {
        { "CREATE TRIGGER t AFTER INSERT ON cell BEGIN DELETE FROM cell; END", KVANT_INVALID, "store.db: its tables and views are "
                                                                                              "not those" },
        { "DROP VIEW result; CREATE VIEW result AS SELECT 1", KVANT_INVALID, "its tables and views are not those" },
        { "ALTER TABLE skip ADD COLUMN more TEXT", KVANT_INVALID, "its tables and views are not those" },
        { "PRAGMA user_version = 2", KVANT_INVALID, "store.db: a store of schema 2" },
        { "PRAGMA application_id = 7", KVANT_INVALID, "an SQLite file of another program" },
        { "INSERT INTO experiment VALUES ('more', '{}')", KVANT_FAILED, "must hold the experiment 'e' and no other" },
        { "UPDATE experiment SET spec = '{\"name\":\"e\"}'", KVANT_FAILED, "spec.json: is not the spec that its store has" },
        { "UPDATE cell SET config = '{}' WHERE label = 'affine 2b'", KVANT_FAILED, "the key of cell 'affine 2b' is not the hash" },
        { "PRAGMA foreign_keys = OFF; DELETE FROM run", KVANT_INVALID, "rows that belong to nothing" },
    };
    char *from = made_store(*state, "from.db");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = fresh(*state, from), *path = text_format("%s/store.db", folder), *message = NULL;
        sqlite3 *db;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        if (sqlite3_exec(db, cases[i].sql, NULL, NULL, &message) != SQLITE_OK)
            fail_msg("%s: %s", cases[i].sql, message);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        reseal(folder, "store.db");
        refuses(*state, folder, cases[i].status, cases[i].words);
        free(path);
    }
    char *folder = fresh(*state, from), *path = text_format("%s/store.db", folder);
    write_text(path, "no database");
    reseal(folder, "store.db");
    refuses(*state, folder, KVANT_IO, "store.db: cannot read the store");
    free(path);
    free(from);
}

/* Another experiment of that name is not mixed with it. */
static void names_that_clash(void **state)
{
    char *from = made_store(*state, "from.db"), *folder = fresh(*state, from), *into = in_folder(*state, "into.db");
    store *s = open_store(into);
    bundle_info info;
    assert_ok(store_begin(s, err));
    assert_ok(store_experiment(s, "e", "{\"name\":\"e\",\"probe\":\"needle\"}", err));
    assert_ok(store_commit(s, err));
    assert_fails(bundle_read(folder, into, &info, err), KVANT_INVALID, "has another experiment of the name 'e'");
    assert_true(query_number(s, "SELECT count(*) FROM cell") == 0);
    store_close(s);
    free(from);
    free(folder);
    free(into);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(nothing_half, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(changed_files, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(hostile_manifests, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(hostile_stores, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(names_that_clash, make_scratch, drop_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
