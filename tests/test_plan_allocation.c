/* test_plan_allocation.c - a spec's `allocator`: what it waits for, what it comes to, and what of it is stored with each cell.
 * On a tiny model of 2 layers with 2 KV heads, whose sensitivities are measured here. */
#include "tests/experiments.h"
#include "tests/tiny_model.h"

static char *folder, *tiny, *prose;

#define SPEC(allocator) \
    "{ \"name\": \"spent\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64, \"chunks\": 2, " \
    "\"controls\": false, " \
    "\"key\": { \"quantizer\": \"affine\", \"group_size\": 16 }, \"calibration\": { \"n\": 2, \"length\": 64 }, " \
    "\"allocator\": " allocator " }"

/* The plan alone, without anything measured. */
static kvant_status plan_text(const char *json, spec *s, plan *p, kvant_error *err)
{
    char *whole = text_format(json, tiny, prose);
    kvant_status status = spec_parse("a test", whole, strlen(whole), NULL, 0, s, err);
    if (!status)
        status = plan_open(s, NULL, NULL, 1, NULL, p, err);
    free(whole);
    return status;
}

static void test_blind(void **state)
{
    (void)state;
    spec s;
    plan p;
    assert_ok(plan_text(SPEC("[ \"uniform\", { \"allocator\": \"uniform\", \"budget\": [2.5, 3], \"candidates\": \"2+3\" },"
                             "{ \"allocator\": \"uniform\", \"budget\": 2.5, \"candidates\": \"2+3\", \"groups\": \"head\", \"sides\": \"apart\" },"
                             "{ \"allocator\": \"boundary\", \"layers\": 1, \"budget\": 2 } ]"), &s, &p, err));
    /* The reference, 4 bits everywhere, and three budgets; boundary leaves no layer between, and 2 bits are no candidate. */
    assert_int_equal(p.n_cells, 5);
    assert_int_equal(p.n_skips, 1);
    assert_int_equal(p.n_waiting, 0);
    assert_string_equal(p.skips[0].cell.label, "affine g16, boundary 2b");
    const plan_cell *half = &p.cells[2], *three = &p.cells[3], *heads = &p.cells[4];
    assert_string_equal(p.cells[1].label, "affine 4b g16");
    assert_string_equal(half->label, "affine g16, uniform 2.5b");
    assert_string_equal(heads->label, "affine g16, uniform by head apart 2.5b");
    assert_true(half->bits_asked == 2.5 && three->bits_asked == 3 && heads->bits_asked == 2.5);
    assert_true(half->bits_stored == 2.5 + 2);
    /* One layer has 3 bits, the other 2; by head and side, half of the keys and half of the values. */
    for (int i = 1; i < 4; i++)
        assert_true(half->policy.allocation->side[i].args.v[0] == half->policy.allocation->side[0].args.v[0]);
    int more[2] = { 0, 0 };
    for (int i = 0; i < 8; i++)
        more[i % 2] += heads->policy.allocation->side[i].args.v[0] == 3;
    assert_int_equal(more[0], 2);
    assert_int_equal(more[1], 2);
    /* What groups do not have in common is not said of the cell; what it came to is part of what it is. */
    assert_null(strstr(half->key_params, "bits"));
    assert_non_null(strstr(half->key_params, "\"group_size\":16"));
    assert_non_null(strstr(three->key_params, "\"bits\":3"));
    assert_non_null(strstr(half->config, "\"sha256\""));
    assert_string_not_equal(half->key, heads->key);
    assert_string_equal(half->pairing, heads->pairing);
    plan_close(&p);
    spec_close(&s);
}

static void test_waits(void **state)
{
    (void)state;
    spec s;
    plan p;
    assert_ok(plan_text(SPEC("[ { \"allocator\": [ \"exact\", \"greedy\" ], \"budget\": 2.5, \"candidates\": \"2+3\" } ]"), &s, &p, err));
    assert_int_equal(p.n_cells, 0);
    assert_int_equal(p.n_waiting, 2);
    assert_int_equal(p.n_skips, 2);
    assert_non_null(strstr(p.skips[0].reason, "kvant sensitivity"));
    plan_close(&p);
    spec_close(&s);
}

static void test_spends(void **state)
{
    (void)state;
    char *db = in_folder(folder, "spent.db");
    static const char json[] = SPEC("{ \"allocator\": [ \"uniform\", \"exact\", \"greedy\", \"ratequant\", \"knapsack\" ], \"budget\": 2.5,"
                                    "\"candidates\": \"2+3+4\", \"weights\": [ \"distortion\", \"activation\", \"kl\" ], \"groups\": \"head\" }");
    assert_ok(run_text(json, tiny, prose, db, err));
    /* 15 requests and the reference, all within the budget; every group's bits are there, and average to it. */
    assert_int_equal(ask(db, "SELECT count(*) FROM result WHERE experiment = 'spent' AND metric = 'nll'"), 16);
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE json_extract(config, '$.allocation.budget.budget') = 2.5 "
                             "AND bits_asked > 2.5"), 0);
    assert_true(fabs(ask(db, "SELECT max(abs(asked - bits_asked)) FROM (SELECT c.bits_asked, avg(g.bits_asked) AS asked FROM cell c "
                             "JOIN cell_group g ON g.cell = c.key WHERE json_extract(config, '$.allocation') IS NOT NULL GROUP BY c.key)")) < 1e-12);
    assert_int_equal(ask(db, "SELECT min(n) FROM (SELECT count(*) AS n FROM cell_group GROUP BY cell)"), 8);
    /* Equal results of equal allocations are no sign of an ignored parameter. */
    assert_true(ask(db, "SELECT count(*) - count(DISTINCT json_extract(config, '$.allocation.sha256')) FROM cell "
                        "WHERE json_extract(config, '$.allocation') IS NOT NULL") > 0);
    assert_int_equal(ask(db, "SELECT count(*) FROM identical WHERE experiment = 'spent'"), 0);
    /* Nothing is measured again. */
    const double runs = ask(db, "SELECT count(*) FROM run");
    assert_ok(run_text(json, tiny, prose, db, err));
    assert_int_equal(ask(db, "SELECT count(*) FROM run"), runs);
    free(db);
}

/* The windows that sensitivities were measured on are not measured. */
static void test_windows_are_kept_apart(void **state)
{
    (void)state;
    char *db = in_folder(folder, "apart.db");
    kvant_error why = { "" };
    assert_int_equal(run_text("{ \"name\": \"met\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64,"
                              "\"chunks\": 200, \"key\": { \"quantizer\": \"affine\", \"group_size\": 16 }, \"calibration\": { \"n\": 20, \"length\": 64 },"
                              "\"allocator\": { \"allocator\": \"exact\", \"budget\": 6, \"weights\": \"activation\", \"curve\": \"constant\" } }",
                              tiny, prose, db, &why), KVANT_INVALID);
    if (!strstr(why.text, "it learnt from"))
        fail_msg("%s", why.text);
    free(db);
}

static void test_files(void **state)
{
    (void)state;
    char *db = in_folder(folder, "files.db"), *ours = in_folder(folder, "ours.json");
    write_text(ours, "{ \"kvant_allocation\": 1, \"model\": { \"name\": \"m\", \"n_layer\": 2, \"n_kv_head\": 2, \"head_dim\": 16 },\n\"groups\": [ { \"layer\": 0, \"key\": \"f16\", \"value\": \"q8_0\" },\n"
                     "{ \"layer\": 1, \"head\": 0, \"key\": \"bf16\", \"value\": { \"quantizer\": \"affine\", \"bits\": 3, \"group_size\": 16 } },\n"
                     "{ \"layer\": 1, \"head\": 1, \"key\": \"f16\", \"value\": \"same\" } ] }");
    char *json = text_format(SPEC("\"%s\""), "%s", "%s", ours);
    kvant_error why = { "" };
    const kvant_status status = run_text(json, tiny, prose, db, &why);
    free(json);
    /* q8_0 has blocks of 32, and the tiny model's heads 16 coordinates. */
    assert_int_equal(status, KVANT_INVALID);
    assert_non_null(strstr(why.text, "ours.json:2"));
    write_text(ours, "{ \"kvant_allocation\": 1, \"model\": { \"name\": \"m\", \"n_layer\": 2, \"n_kv_head\": 2, \"head_dim\": 16 },\n\"groups\": [ { \"layer\": 0, \"key\": \"f16\", \"value\": \"bf16\" },\n"
                     "{ \"layer\": 1, \"head\": 0, \"key\": \"bf16\", \"value\": { \"quantizer\": \"affine\", \"bits\": 3, \"group_size\": 16 } },\n"
                     "{ \"layer\": 1, \"head\": 1, \"key\": \"f16\", \"value\": \"same\" } ] }");
    json = text_format(SPEC("[ \"uniform\", \"%s\" ]"), "%s", "%s", ours);
    assert_ok(run_text(json, tiny, prose, db, err));
    free(json);
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE label = 'mixed, by ours.json' AND key_quantizer = 'mixed' "
                             "AND key_params = '{}' AND NOT reference"), 1);
    assert_true(fabs(ask(db, "SELECT bits_asked FROM cell WHERE label = 'mixed, by ours.json'") - (7 * 16 + 3) / 8.) < 1e-12);
    assert_int_equal(ask(db, "SELECT count(*) FROM cell_group g JOIN cell c ON c.key = g.cell WHERE label = 'mixed, by ours.json' "
                             "AND g.quantizer = 'affine' AND layer = 1 AND head = 0 AND side = 'value' AND g.bits_stored = 5"), 1);
    /* Who codes is part of what the cell is, and was checked. */
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE label = 'mixed, by ours.json' AND "
                             "json_extract(config, '$.code.parts.\"algorithms/bf16\"') IS NOT NULL"), 1);
    assert_true(ask(db, "SELECT count(*) FROM \"check\" WHERE quantizer = 'bf16'") > 0);
    free(db);
    free(ours);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct { const char *json, *says; } wrong[] = {
        { SPEC("{ \"budget\": 3 }"), "allocator: must name a `allocator`" },
        { SPEC("{ \"allocator\": \"exact\" }"), "must say a `budget`" },
        { SPEC("{ \"allocator\": \"exakt\", \"budget\": 3 }"), "did you mean 'exact'" },
        { SPEC("{ \"allocator\": \"exact\", \"budget\": 3, \"weights\": \"fisher\" }"), "backward pass" },
        { SPEC("{ \"allocator\": \"exact\", \"budget\": 3, \"protect\": \"0,x\" }"), "must be layers" },
        { SPEC("{ \"allocator\": \"exact\", \"budget\": 3, \"candidate\": \"2+3\" }"), "did you mean `candidates`" },
        { SPEC("{ \"allocator\": \"uniform\", \"budget\": 9 }"), "these candidates allow 4 to 8" },
        { SPEC("\"/nowhere/kv_config.json\""), "/nowhere/kv_config.json" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        spec s = { 0 };
        plan p = { 0 };
        kvant_error why = { "" };
        assert_int_not_equal(plan_text(wrong[i].json, &s, &p, &why), KVANT_OK);
        if (!strstr(why.text, wrong[i].says))
            fail_msg("'%s' does not say '%s'", why.text, wrong[i].says);
        spec_close(&s);
    }
}

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    tiny = in_folder(folder, "tiny.gguf");
    prose = in_folder(folder, "prose.txt");
    tiny_model_write(tiny, (tiny_options){ .uniform = false });
    write_prose(prose);
    input_settings(NULL, folder, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    free(tiny);
    free(prose);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blind), cmocka_unit_test(test_waits), cmocka_unit_test(test_spends),
        cmocka_unit_test(test_windows_are_kept_apart), cmocka_unit_test(test_files), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
