/* test_states_run.c - runs with states from a folder: bit for bit those without one, until other tables are imported.
 * Then cells are other cells, and a folder that changed or is damaged stops a run before anything is measured. */
#include "harness/experiment/run.h"
#include "harness/experiment/states.h"
#include "tests/stores.h"
#include "tests/tiny_model.h"

static char *folder, *kept;

static void make_specs(void)
{
    char *tiny = in_folder(folder, "tiny.gguf"), *prose = in_folder(folder, "prose.txt"), *path = in_folder(folder, "vectors.json");
    text t = { 0 };
    for (int i = 0; i < 100; i++)
        text_add(&t, "One hundred and %d ships went out. ", i);
    tiny_model_write(tiny, (tiny_options){ .bos = true });
    write_text(prose, t.data);
    write_text(path, "{ \"name\": \"vectors\", \"probe\": \"distortion\", \"data\": { \"dataset\": \"synthetic\", \"n\": 500,\n"
                     "\"dim\": 32 }, \"vector\": { \"quantizer\": \"affine\", \"rotation\": [\"haar\", \"hadamard\"], \"group_size\": 16 }, "
                     "\"seed\": [0, 1] }");
    free(path);
    path = in_folder(folder, "model.json");
    char *json = text_format("{ \"name\": \"model\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64, "
                             "\"chunks\": 2,\n\"key\": { \"quantizer\": \"affine\", \"rotation\": \"haar\", \"group_size\": 16 }, "
                             "\"seed_rule\": \"per_layer\" }", tiny, prose);
    write_text(path, json);
    free(json);
    free(path);
    path = in_folder(folder, "trained.json");
    json = text_format("{ \"name\": \"trained\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64, "
                       "\"chunks\": 2,\n\"key\": { \"quantizer\": \"kvquant\", \"bits\": 3 }, \"calibration\": { \"n\": 4, \"length\": 32 } }",
                       tiny, prose);
    write_text(path, json);
    free(json);
    free(path);
    free(tiny);
    free(prose);
    text_free(&t);
}

/* One run of a spec in the folder, with states (NULL: none). */
static kvant_status run_spec(const char *name, states *from, run_result *result, kvant_error *err)
{
    char *spec_path = text_format("%s/%s.json", folder, name), *db_path = in_folder(folder, "store.db");
    spec s = { .doc = NULL };
    store *db = NULL;
    plan p = { .spec = NULL };
    kvant_status status = spec_read(spec_path, NULL, 0, &s, err);
    if (!status)
        status = store_open(db_path, STORE_WRITE, &db, err);
    if (!status)
        status = plan_open(&s, from, db, 1, NULL, &p, err);
    if (!status) {
        run_options options = { .shard = 1, .shards = 1, .threads = 1, .command = "a test" };
        status = run_plan(&p, db, &options, result, err);
    }
    plan_close(&p);
    if (db)
        store_close(db);
    spec_close(&s);
    free(spec_path);
    free(db_path);
    return status;
}

/* All that was measured, with its cells; and no cells are left. */
static char *take_contents(void)
{
    char *path = in_folder(folder, "store.db");
    store *s = open_store(path);
    text t = { 0 };
    sqlite3_stmt *rows = NULL;
    assert_int_equal(sqlite3_prepare_v2(store_sql(s), "SELECT c.config, m.metric, m.value, m.se FROM measurement m JOIN cell c ON "
                                        "c.key = m.cell WHERE NOT m.timing ORDER BY 1, 2", -1, &rows, NULL), SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW)
        text_add(&t, "%s %s %a %a\n", (const char *)sqlite3_column_text(rows, 0), (const char *)sqlite3_column_text(rows, 1),
                 sqlite3_column_double(rows, 2), sqlite3_column_double(rows, 3));
    assert_int_equal(sqlite3_finalize(rows), SQLITE_OK);
    assert_int_equal(sqlite3_exec(store_sql(s), "DELETE FROM experiment; DELETE FROM cell", NULL, NULL, NULL), SQLITE_OK);
    store_close(s);
    free(path);
    assert_false(t.failed || !t.length);
    return t.data;
}

static states *open_states(const char *name, states_mode mode)
{
    char *path = in_folder(folder, name);
    states *s = NULL;
    assert_ok(states_open(path, mode, &s, err));
    free(path);
    return s;
}

static states *open_kept(states_mode mode) { return open_states("states", mode); }

/* Without states, then making and storing them, then from the folder. */
static void same_with_states(const char *spec_name, size_t n_states)
{
    run_result result;
    assert_ok(run_spec(spec_name, NULL, &result, err));
    char *plain = take_contents();
    for (int round = 0; round < 2; round++) {
        char name[64];
        snprintf(name, sizeof name, "states of %s", spec_name);
        states *s = open_states(name, round ? STATES_READ : STATES_WRITE);
        assert_ok(run_spec(spec_name, s, &result, err));
        assert_int_equal(result.done, result.cells);
        assert_int_equal(round ? states_counted(s).found : states_counted(s).made, n_states);
        assert_int_equal(round ? states_counted(s).made : states_counted(s).found, 0);
        char *with = take_contents();
        assert_string_equal(plain, with);
        free(with);
        states_close(s);
    }
    free(plain);
}

static void test_vectors(void **state)
{
    (void)state;
    same_with_states("vectors", 4);
}

static void test_model(void **state)
{
    (void)state;
    same_with_states("model", 2 * TINY_LAYERS + 2);        /* f16, the reference, has no layers' seeds, only sides */
}

enum { HEADS = 2 * TINY_LAYERS * TINY_KV_HEADS };     /* of keys and of values */

/* Each head's own state, learnt from calibration data. */
static void test_trained(void **state)
{
    (void)state;
    same_with_states("trained", HEADS + 2);
}

/* Training ahead of a run leaves it nothing to train: all that it makes is the reference's, which learns nothing. */
static void test_trained_ahead(void **state)
{
    (void)state;
    char *json = in_folder(folder, "trained.json");
    spec s = { .doc = NULL };
    plan p = { .spec = NULL };
    run_result result;
    states *into = open_states("ahead", STATES_WRITE);
    assert_ok(spec_read(json, NULL, 0, &s, err));
    assert_ok(plan_open(&s, into, NULL, 1, NULL, &p, err));
    assert_ok(run_train(&p, err));
    assert_int_equal(states_counted(into).made, HEADS);
    plan_close(&p);
    spec_close(&s);
    states_close(into);
    states *from = open_states("ahead", STATES_READ);
    assert_ok(run_spec("trained", from, &result, err));
    assert_int_equal(states_counted(from).found, HEADS);
    assert_int_equal(states_counted(from).made, 2);
    states_close(from);
    free(take_contents());
    free(json);
}

static states_source vectors_source(uint32_t seed)
{
    kvant_error err;
    states_source source = { .quantizer = kvant_find("affine", &err), .shape = { .dim = 32, .side = KVANT_VECTOR, .seed = seed } };
    source.args = kvant_defaults(source.quantizer->params);
    assert_int_equal(kvant_parse(source.quantizer->params, "rotation=haar,group_size=16", &source.args, &err), KVANT_OK);
    return source;
}

/* Seed 0's cell with the rotation of seed 1 has the values of seed 1's, and is another cell than without. */
static void test_imported(void **state)
{
    (void)state;
    const states_source zero = vectors_source(0), one = vectors_source(1);
    char *npy = in_folder(folder, "rotation.npy");
    kvant_codec codec;
    run_result result;
    assert_ok(kvant_open(one.quantizer, &one.shape, &one.args, NULL, &codec, err));
    assert_ok(states_export(&codec, "rotation", npy, err));
    kvant_close(&codec);
    assert_ok(run_spec("vectors", NULL, &result, err));
    states *s = open_kept(STATES_WRITE);
    assert_ok(states_import(s, &zero, "rotation", npy, err));
    assert_ok(run_spec("vectors", s, &result, err));
    assert_int_equal(result.already, 3);
    assert_int_equal(result.done, 1);
    states_close(s);

    char *path = in_folder(folder, "store.db");
    store *db = open_store(path);
    const char *const same = "SELECT count(*) FROM measurement a JOIN cell ca ON ca.key = a.cell JOIN measurement b ON b.metric = a.metric "
                             "JOIN cell cb ON cb.key = b.cell WHERE ca.config LIKE '%\"imported\":{\"rotation\":%' AND cb.config LIKE "
                             "'%\"rotation\":\"haar\"%' AND cb.config LIKE '%\"seed\":1,%' AND a.value IS b.value AND a.se IS b.se";
    double metrics = query_number(db, "SELECT count(*) FROM measurement m JOIN cell c ON c.key = m.cell WHERE c.config LIKE "
                                      "'%\"imported\":%'");
    assert_true(metrics > 0 && query_number(db, same) == metrics);
    store_close(db);
    free(take_contents());
    free(path);
    free(npy);
}

/* What was planned with is what must be run with; what is damaged is not even planned with. */
static void test_changed(void **state)
{
    (void)state;
    const states_source zero = vectors_source(0);
    kvant_codec codec;
    char *origin, *key, *data;
    size_t bytes;
    run_result result;
    assert_ok(states_key(&zero, &key, err));
    char *path = states_path(kept, &zero, key);
    states *s = open_kept(STATES_READ);
    assert_ok(states_imported(s, &zero, &origin, err));
    assert_non_null(origin);
    assert_ok(file_read(path, &data, &bytes, err));
    assert_int_equal(unlink(path), 0);
    assert_fails(states_codec(s, &zero, NULL, &codec, err), KVANT_INVALID, "meanwhile");
    states_close(s);
    data[bytes - 100] ^= 16;
    write_bytes(path, data, bytes);
    s = open_kept(STATES_READ);
    assert_fails(run_spec("vectors", s, &result, err), KVANT_INVALID, path);
    states_close(s);
    free(origin);
    free(key);
    free(path);
    free(data);
}

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    kept = in_folder(folder, "states");
    input_settings(NULL, folder, NULL);
    make_specs();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(kept);
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_model), cmocka_unit_test(test_trained),
        cmocka_unit_test(test_trained_ahead), cmocka_unit_test(test_imported), cmocka_unit_test(test_changed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
