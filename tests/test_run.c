/* test_run.c - runs: a killed, interrupted or sharded run ends with the rows of an undisturbed one, bit for bit.
 * What must die is this program again, as a child with a spec, a store and the step at which it kills itself. */
#include "harness/experiment/run.h"
#include "harness/process.h"
#include "tests/stores.h"
#include "tests/tiny_model.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static char *folder, *vectors_spec, *model_spec;

enum { CHILD_DONE = 0, CHILD_FAILED = 2, CHILD_INTERRUPTED = 130 };

/* ---- Running ---------------------------------------------------------------------------------- */

typedef struct { long steps, at; int signal; } trap;

static void step(void *user, const run_progress *p)
{
    trap *t = user;
    if (p->done > p->cells || !(p->left >= 0))
        abort();
    if (t->steps++ != t->at)
        return;
    kill(getpid(), t->signal);
    while (!interrupted())
        usleep(1000);
}

typedef struct { const char *spec, *store; unsigned shard, shards; trap trap; } order;

static kvant_status run_order(order *o, run_result *result, kvant_error *err)
{
    spec s = { .doc = NULL };
    store *db = NULL;
    plan p = { .spec = NULL };
    *result = (run_result){ .cells = 0 };
    kvant_status status = spec_read(o->spec, NULL, 0, &s, err);
    if (!status)
        status = store_open(o->store, STORE_WRITE, &db, err);
    if (!status)
        status = plan_open(&s, NULL, db, 2, NULL, &p, err);
    if (!status) {
        run_options options = { .shard = o->shard ? o->shard : 1, .shards = o->shards ? o->shards : 1, .threads = 2,
                                .command = "a test", .progress = step, .user = &o->trap };
        status = run_plan(&p, db, &options, result, err);
    }
    plan_close(&p);
    if (db)
        store_close(db);
    spec_close(&s);
    return status;
}

static run_result run_whole(const char *spec_path, const char *store_path_)
{
    run_result result;
    order o = { .spec = spec_path, .store = store_path_, .trap.at = -1 };
    assert_ok(run_order(&o, &result, err));
    assert_int_equal(result.already + result.done, result.cells);
    return result;
}

/* In a child: main with arguments FOLDER SPEC STORE STEP SIGNAL. */
static int run_as_child(char **argv)
{
    order o = { .spec = argv[2], .store = argv[3], .trap = { 0, atol(argv[4]), atoi(argv[5]) } };
    run_result result;
    kvant_error err = { "" };
    input_settings(NULL, argv[1], NULL);
    kvant_status status = interrupt_install(&err);
    if (!status)
        status = run_order(&o, &result, &err);
    if (status && status != KVANT_INTERRUPTED)
        fprintf(stderr, "child: %s\n", err.text);
    return status == KVANT_INTERRUPTED ? CHILD_INTERRUPTED : status ? CHILD_FAILED : CHILD_DONE;
}

/* Starts a child that sends itself `number` at step `at` (-1: never); milliseconds >= 0: it is killed then. Returns wait's status. */
static int spawn_child(const char *spec_path, const char *store_path_, long at, int number, long milliseconds)
{
    char step_text[24], signal_text[24], *arguments[] = { (char *)"/proc/self/exe", folder, (char *)spec_path, (char *)store_path_,
                                                          step_text, signal_text, NULL };
    pid_t pid;
    int status = 0;
    snprintf(step_text, sizeof step_text, "%ld", at);
    snprintf(signal_text, sizeof signal_text, "%d", number);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    if (milliseconds >= 0) {
        usleep((useconds_t)milliseconds * 1000);
        kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- What a store says -------------------------------------------------------------------------- */

static void dump(store *s, const char *sql, text *t)
{
    sqlite3_stmt *rows = NULL;
    assert_int_equal(sqlite3_prepare_v2(store_sql(s), sql, -1, &rows, NULL), SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(rows); i++)
            if (sqlite3_column_type(rows, i) == SQLITE_FLOAT)
                text_add(t, "%a ", sqlite3_column_double(rows, i));
            else
                text_add(t, "%s ", sqlite3_column_text(rows, i) ? (const char *)sqlite3_column_text(rows, i) : "NULL");
        text_add(t, "\n");
    }
    assert_int_equal(sqlite3_finalize(rows), SQLITE_OK);
}

/* All that must not depend on how the run went. */
static char *contents(const char *path)
{
    store *s = NULL;
    text t = { 0 };
    assert_ok(store_open(path, STORE_READ, &s, err));
    dump(s, "PRAGMA integrity_check", &t);
    dump(s, "SELECT experiment, ordinal, cell FROM experiment_cell ORDER BY 1, 2, 3", &t);
    dump(s, "SELECT key, pairing, config, label, reference, bits_asked, bits_stored, units FROM cell ORDER BY key", &t);
    dump(s, "SELECT cell, layer, head, side, quantizer, params, bits_asked, bits_stored FROM cell_group ORDER BY 1, 2, 3, 4", &t);
    dump(s, "SELECT cell, unit, metric, chunk, idx, value, n FROM sample ORDER BY 1, 2, 3, 4, 5", &t);
    dump(s, "SELECT cell, metric, unit, better, value, n, se, lo, hi FROM measurement WHERE NOT timing ORDER BY 1, 2", &t);
    dump(s, "SELECT experiment, ordinal, cell, metric, value FROM result WHERE NOT timing ORDER BY 1, 2, 3, 4", &t);
    dump(s, "SELECT experiment, pairing, role, cell, added, reason FROM control ORDER BY 1, 2, 3", &t);
    dump(s, "SELECT experiment, label, config, reason FROM skip ORDER BY 1, 2, 3", &t);
    dump(s, "SELECT DISTINCT quantizer, code_version, target, name, input, args, metric, measured, verdict FROM \"check\" "
            "ORDER BY 1, 2, 3, 4, 5, 6, 7, 8", &t);
    store_close(s);
    assert_false(t.failed);
    return t.data;
}

static double ask(const char *path, const char *sql)
{
    store *s = NULL;
    assert_ok(store_open(path, STORE_READ, &s, err));
    double value = query_number(s, sql);
    store_close(s);
    return value;
}

static void same_contents(const char *wanted, const char *path)
{
    char *have = contents(path);
    if (strcmp(have, wanted)) {
        size_t i = 0;
        while (have[i] == wanted[i])
            i++;
        size_t from = i < 80 ? 0 : i - 80;
        fail_msg("%s differs: '%.160s' instead of '%.160s'", path, have + from, wanted + from);
    }
    free(have);
}

static void remove_store(const char *path)
{
    static const char *const endings[] = { "", "-wal", "-shm" };
    for (int i = 0; i < 3; i++) {
        char *file = text_format("%s%s", path, endings[i]);
        unlink(file);
        free(file);
    }
}

/* The checks take a while and are the same for all: stores begin with them. */
static char *seeded_store(const char *name, const char *from)
{
    char *path = in_folder(folder, name), *command = text_format("cp '%s' '%s'", from, path);
    remove_store(path);
    assert_int_equal(system(command), 0);
    free(command);
    store *s = open_store(path);
    assert_int_equal(sqlite3_exec(store_sql(s), "DELETE FROM experiment; DELETE FROM cell", NULL, NULL, NULL), SQLITE_OK);
    store_close(s);
    return path;
}

/* ---- Tests ------------------------------------------------------------------------------------- */

typedef struct { const char *spec; char *store, *contents; run_result result; long steps; } undisturbed;
static undisturbed vectors, model;

static void run_undisturbed(undisturbed *u, const char *spec_path, const char *name)
{
    order o = { .spec = spec_path, .trap.at = -1 };
    u->spec = spec_path;
    u->store = in_folder(folder, name);
    o.store = u->store;
    run_result first;
    assert_ok(run_order(&o, &first, err));
    u->contents = contents(u->store);
    /* The steps that a run takes when the checks are there. */
    char *again = seeded_store("again.db", u->store);
    o = (order){ .spec = spec_path, .store = again, .trap.at = -1 };
    assert_ok(run_order(&o, &u->result, err));
    u->steps = o.trap.steps;
    same_contents(u->contents, again);
    remove_store(again);
    free(again);
}

static void test_runs_every_cell(void **state)
{
    (void)state;
    assert_int_equal(vectors.result.cells, 8);
    assert_int_equal(vectors.result.done, 8);
    assert_int_equal(vectors.result.skipped, 2);
    assert_int_equal(model.result.done, model.result.cells);
    assert_int_equal(model.result.cells, 10);          /* f16 again among them; the other controls code blocks of 32, and heads have 16 */
    assert_int_equal(model.result.skipped, 4);
    assert_true(model.result.times.model.tokens > 0);
    static const char *const whole = "SELECT count(*) FROM cell WHERE finished IS NULL OR units <> (SELECT count(*) FROM unit WHERE cell = key)";
    assert_true(ask(vectors.store, whole) == 0);
    assert_true(ask(model.store, whole) == 0);
    assert_true(ask(model.store, "SELECT count(*) FROM sample") > 0);
    assert_true(ask(model.store, "SELECT count(DISTINCT cell) FROM result WHERE metric = 'perplexity'") == 4);
    assert_true(ask(model.store, "SELECT count(DISTINCT cell) FROM result WHERE metric = 'needle_accuracy'") == 6);
    /* Every quantizer that ran was checked first. */
    assert_true(ask(model.store, "SELECT count(*) FROM cell WHERE key_quantizer NOT IN (SELECT quantizer FROM \"check\" WHERE verdict = "
                                 "'pass')") == 0);
    assert_true(ask(model.store, "SELECT count(*) FROM \"check\" WHERE verdict = 'fail'") == 0);
}

static void test_second_run_does_nothing(void **state)
{
    (void)state;
    static const undisturbed *const both[] = { &vectors, &model };
    for (int i = 0; i < 2; i++) {
        double checks = ask(both[i]->store, "SELECT count(*) FROM \"check\"");
        run_result again = run_whole(both[i]->spec, both[i]->store);
        assert_int_equal(again.done, 0);
        assert_int_equal(again.already, again.cells);
        assert_true(again.times.load == 0);
        assert_true(ask(both[i]->store, "SELECT count(*) FROM run") == 1);
        assert_true(ask(both[i]->store, "SELECT count(*) FROM \"check\"") == checks);
        same_contents(both[i]->contents, both[i]->store);
    }
}

static void test_killed_at_any_step(void **state)
{
    (void)state;
    static const undisturbed *const both[] = { &vectors, &model };
    for (int i = 0; i < 2; i++)
        for (long at = 0; at < both[i]->steps; at += 1 + both[i]->steps / 6) {
            char *path = seeded_store("killed.db", both[i]->store);
            int status = spawn_child(both[i]->spec, path, at, SIGKILL, -1);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            run_whole(both[i]->spec, path);
            same_contents(both[i]->contents, path);
            remove_store(path);
            free(path);
        }
}

static void test_killed_at_random_moments(void **state)
{
    (void)state;
    srand(7);
    int killed = 0;
    char *path = in_folder(folder, "random.db");
    remove_store(path);
    for (int i = 0; i < 8; i++) {              /* without a seeded store: checks are hit too */
        int status = spawn_child(model.spec, path, -1, 0, rand() % 1500);
        killed += WIFSIGNALED(status);
        if (WIFEXITED(status))
            assert_int_equal(WEXITSTATUS(status), CHILD_DONE);
    }
    run_whole(model.spec, path);
    same_contents(model.contents, path);
    if (!killed)
        fail_msg("no child was still running when it was killed");
    remove_store(path);
    free(path);
}

/* SIGINT keeps the units that are whole, within a job too. */
static void test_interrupted(void **state)
{
    (void)state;
    static const undisturbed *const both[] = { &vectors, &model };
    double partial = 0;
    for (int i = 0; i < 2; i++)
        for (long at = 0; at < both[i]->steps; at += 1 + both[i]->steps / 4) {
            char *path = seeded_store("interrupted.db", both[i]->store);
            int status = spawn_child(both[i]->spec, path, at, SIGINT, -1);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), CHILD_INTERRUPTED);
            partial += ask(path, "SELECT count(*) FROM unit WHERE cell IN (SELECT key FROM cell WHERE finished IS NULL)");
            assert_true(ask(path, "SELECT count(*) FROM measurement WHERE cell IN (SELECT key FROM cell WHERE finished IS NULL)") == 0);
            run_whole(both[i]->spec, path);
            same_contents(both[i]->contents, path);
            remove_store(path);
            free(path);
        }
    assert_true(partial > 0);
}

static void test_shards_merge_to_the_whole(void **state)
{
    (void)state;
    static const undisturbed *const both[] = { &vectors, &model };
    for (int i = 0; i < 2; i++) {
        char *paths[3];
        size_t cells = 0;
        for (unsigned shard = 1; shard <= 3; shard++) {
            char name[16];
            snprintf(name, sizeof name, "shard%u.db", shard);
            paths[shard - 1] = seeded_store(name, both[i]->store);
            order o = { .spec = both[i]->spec, .store = paths[shard - 1], .shard = shard, .shards = 3, .trap.at = -1 };
            run_result result;
            assert_ok(run_order(&o, &result, err));
            assert_true(result.cells > 0 && result.done == result.cells);
            cells += result.cells;
        }
        assert_int_equal(cells, both[i]->result.cells);
        store *s = open_store(paths[0]);
        uint64_t taken;
        assert_ok(store_merge(s, paths[1], &taken, err));
        assert_ok(store_merge(s, paths[2], &taken, err));
        store_close(s);
        same_contents(both[i]->contents, paths[0]);
        for (int shard = 0; shard < 3; shard++) {
            remove_store(paths[shard]);
            free(paths[shard]);
        }
    }
}

/* Shards may share a store as well: each keeps what the others have. */
static void test_shards_share_a_store(void **state)
{
    (void)state;
    char *path = seeded_store("shared.db", vectors.store);
    for (unsigned shard = 2; shard >= 1; shard--) {
        order o = { .spec = vectors.spec, .store = path, .shard = shard, .shards = 2, .trap.at = -1 };
        run_result result;
        assert_ok(run_order(&o, &result, err));
        assert_int_equal(result.done, 4);
    }
    same_contents(vectors.contents, path);
    remove_store(path);
    free(path);
}

static void test_estimate_learns_from_the_store(void **state)
{
    (void)state;
    spec s;
    plan p;
    store *db = open_store(model.store);
    static const char *const sets[] = { "chunks=4" };
    assert_ok(spec_read(model.spec, sets, 1, &s, err));
    assert_int_equal(sqlite3_exec(store_sql(db), "SAVEPOINT t; UPDATE unit SET seconds = 50", NULL, NULL, NULL), SQLITE_OK);
    assert_ok(plan_open(&s, NULL, db, 2, NULL, &p, err));
    assert_int_equal(p.n_done, 6);                     /* needles; 4 chunks are other cells than 2 */
    assert_string_equal(p.cells[0].probe->name, "perplexity");
    assert_false(p.cells[0].done);
    assert_true(fabs(p.cells[0].seconds - 4 * 50) < 1e-9);     /* 2 units of 1 chunk took 100 */
    assert_true(fabs(p.seconds - 4 * 4 * 50) < 1e-9);
    assert_int_equal(sqlite3_exec(store_sql(db), "ROLLBACK TO t; RELEASE t", NULL, NULL, NULL), SQLITE_OK);
    plan_close(&p);
    spec_close(&s);
    store_close(db);
}

/* The reference runs once for all cells, and the f16 cell is a pass of its own where there is one beside it. */
static void test_passes_are_counted(void **state)
{
    (void)state;
    char *path = seeded_store("passes.db", model.store), *path_of_spec = in_folder(folder, "passes.json");
    static const char format[] = "{ \"name\": \"passes\", \"probe\": \"%s\", \"model\": \"%s/tiny.gguf\", \"data\": \"%s/prose.txt\",\n"
                                 "%s, \"controls\": false, \"key\": { \"quantizer\": \"affine\", \"bits\": [3, 8], \"group_size\": 16 } }";
    static const struct { const char *probe, *args; run_passes passes[PASS_KINDS]; } cases[] = {
        /* tokens of a chunk but its last, and those of its second half */
        { "divergence", "\"context\": 64, \"chunks\": 3",
          { { 3, 189, 378, 378, 93 }, { 3, 189, 378, 378, 93 }, { 6, 378, 756, 756, 186 } } },
        { "perplexity", "\"context\": 64, \"chunks\": 3", { { 3, 189, 378, 378, 93 }, { 0 }, { 6, 378, 756, 756, 186 } } },
        /* a window is a reference; a unit is one of its two layers */
        { "sensitivity", "\"n\": 3, \"length\": 40",
          { { 3, 120, 240, 240, 120 }, { 6, 240, 360, 480, 240 }, { 12, 480, 720, 960, 480 } } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *json = text_format(format, cases[i].probe, folder, folder, cases[i].args);
        write_text(path_of_spec, json);
        order o = { .spec = path_of_spec, .store = path, .trap.at = -1 };
        run_result result;
        assert_ok(run_order(&o, &result, err));
        assert_memory_equal(result.passes, cases[i].passes, sizeof result.passes);
        assert_ok(run_order(&o, &result, err));
        assert_int_equal(result.passes[PASS_REFERENCE].passes + result.passes[PASS_CANDIDATE].passes, 0);
        free(json);
    }
    remove_store(path);
    free(path);
    free(path_of_spec);
}

static void test_failing_store_ends_the_run(void **state)
{
    (void)state;
    char *path = seeded_store("broken.db", vectors.store);
    store *s = open_store(path);
    assert_int_equal(sqlite3_exec(store_sql(s), "CREATE TRIGGER t BEFORE INSERT ON sample WHEN new.chunk = 1 BEGIN SELECT RAISE(ABORT, "
                                                "'no more'); END", NULL, NULL, NULL), SQLITE_OK);
    store_close(s);
    order o = { .spec = vectors.spec, .store = path, .trap.at = -1 };
    run_result result;
    assert_fails(run_order(&o, &result, err), KVANT_IO, "no more");
    assert_true(ask(path, "SELECT count(*) FROM unit") == 0);      /* the batch went with it */
    remove_store(path);
    free(path);
}

/* ---- Set-up ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    char *tiny = in_folder(folder, "tiny.gguf"), *prose = in_folder(folder, "prose.txt");
    vectors_spec = in_folder(folder, "vectors.json");
    model_spec = in_folder(folder, "model.json");
    tiny_model_write(tiny, (tiny_options){ .uniform = false });
    text t = { 0 };
    for (int i = 0; i < 400; i++)
        text_add(&t, "Sentence number %d says that %d stones lay in the river %s. ", i, i * 7919 % 1000, i % 3 ? "bed" : "again");
    write_text(prose, t.data);
    text_free(&t);
    write_text(vectors_spec, "{ \"name\": \"vectors\", \"probe\": \"distortion\", \"data\": { \"dataset\": \"synthetic\", \"n\": 9000,\n"
                             "\"dim\": [16, 32] }, \"vector\": [\"f16\", { \"quantizer\": \"affine\", \"bits\": [2, 3, 4], \"group_size\": 16 },\n"
                             "{ \"quantizer\": \"affine\", \"group_size\": 128 }] }");
    char *json = text_format("{ \"name\": \"model\", \"probe\": [\"perplexity\", \"needle\"], \"model\": \"%s\", \"data\": \"%s\",\n"
                             "\"context\": 64, \"chunks\": 2, \"length\": 640, \"depth\": [0, 1], \"trials\": 2,\n"
                             "\"key\": { \"quantizer\": \"affine\", \"bits\": [3, 8], \"group_size\": 16 } }", tiny, prose);
    write_text(model_spec, json);
    free(json);
    free(tiny);
    free(prose);
    input_settings(NULL, folder, NULL);
    run_undisturbed(&vectors, vectors_spec, "vectors.db");
    run_undisturbed(&model, model_spec, "model.db");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(vectors.store);
    free(vectors.contents);
    free(model.store);
    free(model.contents);
    free(vectors_spec);
    free(model_spec);
    scratch_remove(folder);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6)
        return run_as_child(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_every_cell),
        cmocka_unit_test(test_second_run_does_nothing),
        cmocka_unit_test(test_killed_at_any_step),
        cmocka_unit_test(test_killed_at_random_moments),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_shards_merge_to_the_whole),
        cmocka_unit_test(test_shards_share_a_store),
        cmocka_unit_test(test_estimate_learns_from_the_store),
        cmocka_unit_test(test_passes_are_counted),
        cmocka_unit_test(test_failing_store_ends_the_run),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
