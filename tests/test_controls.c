/* test_controls.c - controls from plan to verdict: who gets which, what makes them valid and what invalid, and that cells whose logits
 * are the same are found out. One experiment on a tiny model is really run; its store is then damaged in the ways that must show. */
#include "harness/measure/logits.h"
#include "harness/report/report.h"
#include "tests/experiments.h"
#include "tests/tiny_model.h"

static char *folder, *tiny, *narrow, *prose, *db, *whole;      /* narrow: heads of 16, too few for blocks of 32 */

/* The experiment is called as its first probe. On weights at random nll tells nothing, and kl a lot. */
#define SPEC(name, members) \
    "{ \"name\": \"" name "\", \"probe\": \"" name "\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 32, \"chunks\": 6, " \
                                                   "" members " }"
#define SWEEP "\"key\": [\"f16\", { \"quantizer\": \"affine\", \"bits\": [3, 4], \"group_size\": 16 }, \"q8_0\"], \"sink\": [0, 4]"

/* ---- Plans -------------------------------------------------------------------------------------- */

static void plan_text(const char *json, const char *model, spec *s, plan *p)
{
    char *text_ = text_format(json, model, prose);
    assert_ok(spec_parse("a test", text_, strlen(text_), NULL, 0, s, err));
    assert_ok(plan_open(s, NULL, NULL, 1, NULL, p, err));
    free(text_);
}

static void test_plans(void **state)
{
    (void)state;
    spec s, t;
    plan p, q;
    plan_text(SPEC("perplexity", SWEEP), tiny, &s, &p);
    static const struct { const char *label, *control; bool added; } wanted[] = {
        { "f16 again sink 0", "f16_again", true }, { "q4_0 sink 0", "q4_0", true }, { "q4_0 hadamard sink 0", "q4_0_hadamard", true },
        { "control_broken sink 0", "control_broken", true }, { "f16 sink 0", NULL, false }, { "f16 sink 4", NULL, false },
        { "affine 3b g16 sink 0", NULL, false }, { "affine 3b g16 sink 4", NULL, false }, { "affine 4b g16 sink 0", NULL, false },
        { "affine 4b g16 sink 4", NULL, false }, { "q8_0 sink 0", "q8_0", false }, { "q8_0 sink 4", NULL, false },
    };
    assert_int_equal(p.n_cells, sizeof wanted / sizeof *wanted);
    assert_int_equal(p.n_jobs, 1);
    double seconds = 0;
    for (size_t i = 0; i < p.n_cells; i++) {
        const plan_cell *c = &p.cells[i];
        assert_string_equal(c->label, wanted[i].label);
        assert_string_equal(c->control ? c->control : "none", wanted[i].control ? wanted[i].control : "none");
        assert_int_equal(c->added, wanted[i].added);
        assert_int_equal(c->reference, i == 4);
        assert_string_equal(c->pairing, p.cells[0].pairing);
        seconds += c->seconds;
    }
    assert_true(seconds > 0 && fabs(p.seconds - seconds) < 1e-9 * seconds);
    assert_non_null(strstr(p.cells[0].config, "\"repeat\":1"));
    assert_null(strstr(p.cells[4].config, "repeat"));
    /* A control is the cell that the spec would have named. */
    plan_text(SPEC("perplexity", "\"controls\": false, \"key\": [\"q4_0\", \"f16\"]"), tiny, &t, &q);
    assert_int_equal(q.n_cells, 2);
    assert_string_equal(q.cells[0].key, p.cells[1].key);
    assert_null(q.cells[0].control);
    plan_close(&q);
    spec_close(&t);
    plan_close(&p);
    spec_close(&s);
    /* divergence runs f16 twice itself; a needle's control is its floor. */
    plan_text("{ \"name\": \"e\", \"probe\": [\"divergence\", \"needle\"], \"model\": \"%s\", \"data\": \"%s\", \"context\": 32, "
              "\"length\": 640, \"key\": \"bf16\" }", tiny, &s, &p);
    size_t controls = 0;
    for (size_t i = 0; i < p.n_cells; i++) {
        controls += p.cells[i].control != NULL;
        assert_false(p.cells[i].again || (p.cells[i].control && strcmp(p.cells[i].probe->name, "divergence")));
    }
    assert_int_equal(controls, 4);
    plan_close(&p);
    spec_close(&s);
    /* What a format cannot take is a skip, and still a control. */
    plan_text(SPEC("divergence", "\"key\": \"bf16\""), narrow, &s, &p);
    assert_int_equal(p.n_cells, 2);
    assert_int_equal(p.n_skips, 4);
    for (size_t i = 0; i < p.n_skips; i++) {
        assert_non_null(p.skips[i].cell.control);
        assert_non_null(strstr(p.skips[i].reason, "is not a multiple of 32"));
    }
    plan_close(&p);
    spec_close(&s);
    kvant_error why = { "" };
    static const char number[] = "{ \"name\": \"e\", \"probe\": \"bytes\", \"controls\": 0 }";
    assert_int_equal(spec_parse("x", number, sizeof number - 1, NULL, 0, &s, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "must be true or false"));
}

/* ---- Verdicts ----------------------------------------------------------------------------------- */

static char *report(const char *path, report_format format, const char *experiment, bool *met)
{
    text out = { 0 };
    store *s;
    const report_options o = { .experiment = experiment, .format = format };
    assert_ok(store_open(path, STORE_READ, &s, err));
    assert_ok(report_write(s, &o, &out, met, err));
    store_close(s);
    return out.data;
}

static void assert_report(const char *path, const char *experiment, bool valid, const char *words)
{
    bool met = !valid;
    char *out = report(path, REPORT_TABLE, experiment, &met);
    if (!strstr(out, words))
        fail_msg("'%s' is not in\n%s", words, out);
    assert_int_equal(met, valid);
    free(out);
}

/* A copy of the experiment's store after some SQL. */
static char *changed(const char *name, const char *sql)
{
    char *path = in_folder(folder, name), *command = text_format("cp '%s' '%s'", db, path);
    assert_int_equal(system(command), 0);
    free(command);
    store *s = open_store(path);
    char *message = NULL;
    if (sqlite3_exec(store_sql(s), sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    store_close(s);
    return path;
}

static void assert_changed(const char *name, const char *sql, const char *experiment, bool valid, const char *words)
{
    char *path = changed(name, sql);
    assert_report(path, experiment, valid, words);
    free(path);
}

#define CELL(probe, role) "(SELECT cell FROM control k JOIN cell c ON c.key = k.cell WHERE c.probe = " \
                          "'" probe "' AND role = '" role "')"

static void test_valid(void **state)
{
    (void)state;
    bool met = false;
    char *out = report(db, REPORT_TABLE, "divergence", &met);
    assert_true(met);
    const char *controls = strstr(out, "controls\n"), *verdict = strstr(out, "prose.txt: valid\n"), *table = strstr(out, "label ");
    assert_true(controls && verdict && table && controls < verdict && verdict < table);
    assert_non_null(strstr(out, "\ncontrol_broken"));
    assert_null(strstr(table, "control_broken"));
    assert_null(strstr(table, "INVALID"));
    assert_non_null(strstr(table, "q8_0 sink 0"));         /* named by the spec, and so in its table too */
    free(out);
    out = report(db, REPORT_MARKDOWN, "divergence", &met);
    assert_non_null(strstr(out, "## controls\n"));
    free(out);
    out = report(db, REPORT_JSON, "divergence", &met);
    cJSON *parsed = cJSON_Parse(out), *block = cJSON_GetObjectItem(parsed, "blocks")->child,
        *of = cJSON_GetObjectItem(block, "controls");
    assert_string_equal(cJSON_GetObjectItem(of, "verdict")->valuestring, "valid");
    assert_string_equal(cJSON_GetObjectItem(of, "metric")->valuestring, "kl");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(of, "cells")), 5);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(of, "reasons")), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(block, "cells")), 8);
    cJSON_Delete(parsed);
    free(out);
    out = report(db, REPORT_CSV, "divergence", &met);
    assert_non_null(strstr(out, ",timing,control\r\n"));
    assert_non_null(strstr(out, ",control_broken\r\n"));
    assert_null(strstr(out, ",q8_0\r\n"));
    free(out);
    assert_true(ask(db, "SELECT count(*) FROM result WHERE control IS NOT NULL AND metric = 'kl'") == 3);
    assert_true(ask(db, "SELECT count(*) FROM pareto WHERE control IS NOT NULL") == 0);
    assert_true(ask(db, "SELECT count(*) FROM measurement WHERE metric = 'logits_digest'") == 0);
    assert_true(ask(db, "SELECT count(*) FROM paired WHERE metric = 'logits_digest'") == 0);
}

static void test_invalid(void **state)
{
    (void)state;
    assert_changed("last.db", "UPDATE sample SET value = value / 1e9 WHERE metric = 'kl' AND cell = " CELL("divergence",
                   "control_broken"),
                   "divergence", false, "INVALID: control_broken does not rank last, behind affine");
    assert_changed("below.db", "UPDATE sample SET value = value / 1e9 WHERE metric = 'kl' AND cell = " CELL("divergence",
                   "control_broken"),
                   "divergence", false, "INVALID, by its controls: control_broken does not rank last");
    assert_changed("nan.db", "UPDATE sample SET value = NULL WHERE metric = 'kl' AND chunk = 1 AND cell = "
                   CELL("divergence", "control_broken"), "divergence", false, "does not rank last");
    assert_changed("order.db", "UPDATE sample SET value = value + 0.5 WHERE metric = 'kl' AND cell = " CELL("divergence", "q8_0"),
                   "divergence", false, "INVALID: q8_0 is worse than q4_0 by");
    assert_changed("self.db", "UPDATE sample SET value = 1e-300 WHERE metric = 'kl' AND chunk = 2 AND idx = 20 AND cell IN "
                   "(SELECT key FROM cell WHERE reference AND probe = 'divergence')", "divergence", false,
                   "f16 sink 0 run twice differs from itself in 1 value\n");
    assert_changed("again.db", "UPDATE sample SET value = value + 1 WHERE metric = 'logits_digest' AND chunk < 2 AND cell = "
                   CELL("perplexity", "f16_again"), "perplexity", false, "f16 sink 0 run twice differs from itself in 2 values\n");
    assert_changed("gone.db", "DELETE FROM sample WHERE metric = 'nll' AND chunk = 2 AND cell = " CELL("perplexity", "f16_again"),
                   "perplexity", false, "f16 sink 0 run twice differs from itself in 1 value\n");
    assert_changed("open.db", "UPDATE cell SET finished = NULL WHERE key = " CELL("divergence", "q4_0"), "divergence", true,
                   "prose.txt: unfinished\n");
    assert_changed("late.db", "UPDATE cell SET finished = NULL WHERE key = " CELL("divergence",
                   "q4_0") "; INSERT INTO skip SELECT 'divergence', "
                   "config, label, 'it does not suit' FROM cell WHERE key = " CELL("divergence", "q4_0"), "divergence", true,
                   "q4_0 was skipped: it does not suit\n");
}

static void test_skipped_and_left_out(void **state)
{
    (void)state;
    char *path = in_folder(folder, "narrow.db");
    assert_ok(run_text(SPEC("perplexity", "\"key\": \"bf16\""), narrow, prose, path, err));
    assert_report(path, "perplexity", true, "prose.txt: incomplete\n");
    assert_report(path, "perplexity", true, "  control_broken was skipped: control_broken: dim 16 is not a multiple of 32");
    assert_ok(run_text(SPEC("perplexity", "\"key\": \"bf16\", \"controls\": false"), narrow, prose, path, err));
    assert_true(ask(path, "SELECT count(*) FROM control") == 0);
    assert_report(path, "perplexity", true, "left out: nothing shows that it tells good caches from bad ones here\n");
    free(path);
}

/* Each shard knows all controls; together they are the whole. */
static void test_shards(void **state)
{
    (void)state;
    char *paths[2], *again;
    bool met;
    for (unsigned i = 0; i < 2; i++) {
        paths[i] = changed(i ? "shard2.db" : "shard1.db", "PRAGMA foreign_keys = ON; DELETE FROM experiment; DELETE FROM cell");
        spec s;
        plan p;
        run_result result;
        const run_options options = { .shard = i + 1, .shards = 2, .threads = 1, .command = "a test" };
        store *out = open_store(paths[i]);
        plan_text(SPEC("divergence", SWEEP), tiny, &s, &p);
        assert_ok(run_plan(&p, out, &options, &result, err));
        plan_close(&p);
        spec_close(&s);
        store_close(out);
    }
    store *s = open_store(paths[0]);
    uint64_t taken;
    assert_ok(store_merge(s, paths[1], &taken, err));
    store_close(s);
    assert_true(ask(paths[0], "SELECT count(*) FROM control") == 4);
    again = report(paths[0], REPORT_TABLE, "divergence", &met);
    assert_string_equal(again, whole);
    free(again);
    free(paths[0]);
    free(paths[1]);
}

/* ---- Identical logits --------------------------------------------------------------------------- */

static void test_digests(void **state)
{
    (void)state;
    enum { N = 101 };
    float x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = y[i] = (float)(i * 37 % 19) - 9;
    const uint64_t hash = logits_hash(x, N);
    assert_true(logits_hash(y, N) == hash);
    for (int i = 0; i < N; i++) {          /* one bit, high or low, or two signs of one lane */
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (uint32_t flip = 1; flip; flip <<= 31) {
            const uint32_t other = bits ^ flip;
            memcpy(&y[i], &other, sizeof other);
            assert_true(logits_hash(y, N) != hash);
            if (flip != 1)
                break;
        }
        y[i] = x[i];
        y[i] = -y[i], y[(i + 8) % N] = -y[(i + 8) % N];
        assert_true(logits_hash(y, N) != hash || (x[i] == 0 && x[(i + 8) % N] == 0 && !signbit(x[i])));
        y[i] = x[i], y[(i + 8) % N] = x[(i + 8) % N];
    }
    assert_true(logits_hash(x, N - 1) != hash);
    const uint64_t other = logits_hash(x + 1, N - 1);
    assert_true(logits_fold(logits_fold(0, hash), other) != logits_fold(logits_fold(0, other), hash));
    const double digest = logits_digest(logits_fold(0, hash));
    assert_true(digest >= 0 && digest < 0x1p53 && digest == floor(digest));
    /* One per chunk and cell; f16 again has f16's, and f16 with sinks too. */
    assert_true(ask(db, "SELECT count(*) FROM sample WHERE metric = 'logits_digest'") == 6 * ask(db, "SELECT count(*) FROM cell"));
    assert_true(ask(db, "SELECT count(DISTINCT value) FROM sample s JOIN cell c ON c.key = s.cell WHERE metric = 'logits_digest' "
                        "AND c.key_quantizer = 'f16' AND c.probe = 'perplexity'") == 6);
    assert_true(ask(db, "SELECT count(DISTINCT value) FROM sample s JOIN cell c ON c.key = s.cell WHERE metric = 'logits_digest' "
                        "AND c.probe = 'perplexity'") == 6 * (ask(db, "SELECT count(*) FROM cell WHERE probe = 'perplexity'") - 2));
}

static void test_identical(void **state)
{
    (void)state;
    assert_true(ask(db, "SELECT count(*) FROM identical") == 0);
    /* 4 bits that were run with 3: the digests alone say so. */
    assert_changed("twins.db", "UPDATE sample SET value = (SELECT t.value FROM sample t JOIN cell c ON c.key = t.cell WHERE "
                   "c.label = 'affine 3b g16 sink 0' AND c.probe = 'divergence' AND t.metric = sample.metric AND t.chunk = "
                   "sample.chunk) WHERE metric = 'logits_digest' AND cell = (SELECT key FROM cell WHERE label = 'affine 4b g16 sink "
                   "0' AND probe = 'divergence')", "divergence", true,
                   "warning: affine 3b g16 sink 0 and affine 4b g16 sink 0 gave identical logits although they differ in key.bits, "
                   "value.bits: one of them was probably not applied\n");
    /* Equal nll alone is no news where logits are known to differ. */
    char *path = changed("chance.db", "UPDATE sample SET value = (SELECT t.value FROM sample t JOIN cell c ON c.key = t.cell WHERE "
                         "c.label = 'affine 3b g16 sink 0' AND c.probe = 'perplexity' AND t.metric = sample.metric AND t.chunk = "
                         "sample.chunk) WHERE metric = 'nll' AND cell = (SELECT key FROM cell WHERE label = 'affine 4b g16 sink 0' "
                         "AND probe = 'perplexity')");
    assert_true(ask(path, "SELECT count(*) FROM identical") == 0);
    free(path);
    /* Groups that have the same quantizers are equal by definition, however that was said. */
    path = in_folder(folder, "said.db");
    assert_ok(run_text(SPEC("perplexity", "\"controls\": false, \"key\": { \"quantizer\": \"affine\", \"group_size\": 16 }, "
                            "\"calibration\": { \"n\": 2, \"length\": 32 }, \"allocator\": [\"uniform\", { \"allocator\": "
                            "\"uniform\", \"budget\": 4, \"candidates\": \"4+5\" }]"), narrow, prose, path, err));
    assert_true(ask(path, "SELECT count(DISTINCT value) FROM sample WHERE metric = 'logits_digest' AND chunk = 0") == 2);
    assert_true(ask(path, "SELECT count(*) FROM cell") == 3);
    assert_true(ask(path, "SELECT count(*) FROM identical") == 0);
    free(path);
}

/* ---- Set-up ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    bool met;
    folder = scratch_make();
    tiny = in_folder(folder, "tiny.gguf");
    narrow = in_folder(folder, "narrow.gguf");
    prose = in_folder(folder, "prose.txt");
    db = in_folder(folder, "all.db");
    tiny_model_write(tiny, (tiny_options){ .head_dim = 32 });
    tiny_model_write(narrow, (tiny_options){ .uniform = false });
    write_prose(prose);
    input_settings(NULL, folder, NULL);
    assert_ok(run_text(SPEC("divergence", SWEEP), tiny, prose, db, err));
    assert_ok(run_text(SPEC("perplexity", SWEEP), tiny, prose, db, err));
    whole = report(db, REPORT_TABLE, "divergence", &met);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(whole);
    free(db);
    free(prose);
    free(narrow);
    free(tiny);
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans), cmocka_unit_test(test_valid), cmocka_unit_test(test_invalid),
            cmocka_unit_test(test_skipped_and_left_out),
        cmocka_unit_test(test_shards), cmocka_unit_test(test_digests), cmocka_unit_test(test_identical),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
