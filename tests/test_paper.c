/* test_paper.c - the list of published tables and its counts, and committed outcomes: what counts as the same, and what differs.
 * Stores are filled by hand; the counts are held against verdicts that each row was made for. */
#include "harness/experiment/spec.h"
#include "harness/report/golden.h"
#include "harness/report/paper.h"
#include "harness/report/report_internal.h"
#include "tests/scratch.h"

#include <math.h>

static const char spec_text[] =
    "{ \"name\": \"p\", \"title\": \"T\", \"paper\": \"arXiv 1\", \"minutes\": 20, \"golden\": 1e-9, \"probe\": \"distortion\",\n"
    "  \"data\": {\"dataset\": \"synthetic\", \"distribution\": \"sphere\", \"dim\": 64, \"n\": 8}, \"vector\": \"affine\",\n"
    "  \"quick\": { \"minutes\": 1 },\n"
    "  \"expect\": [ { \"metric\": \"nmse\", \"value\": 1, \"tolerance\": 0.5 }, { \"metric\": \"nmse\", \"value\": 2, "
    "\"tolerance\": 0.5 },\n"
    "    { \"metric\": \"nmse\", \"value\": 2, \"error\": \"e\", \"correct\": 1, \"tolerance\": 0.1 }, { \"metric\": \"x\", "
    "\"value\": 2, \"beside\": \"b\" },\n"
    "    { \"metric\": \"nil\", \"value\": 1, \"tolerance\": 1 }, { \"only\": \"quick\", \"metric\": \"nmse\", \"value\": 1, "
    "\"bound\": \"upper\" } ] }\n";

static void put(store *s, const char *experiment, const char *json, uint32_t ordinal, const char *config, double value,
                kvant_error *err)
{
    char key[SHA256_HEX];
    int64_t run;
    const store_run_info info = { "2026-01-01T00:00:00Z", "0", "c", "gcc", "-O3", "cpu", "", "l", "scalar", "kvant run", false, 1 };
    sha256_of(config, strlen(config), key);
    const store_cell cell = { key, "pairing", config, "distortion", NULL, "d, x", "affine", "{}", NULL, NULL, "affine \"4b\"", false,
                              4, 4.5, 1 };
    assert_int_equal(store_run(s, &info, &run, err), KVANT_OK);
    assert_int_equal(store_begin(s, err), KVANT_OK);
    if (json)
        assert_int_equal(store_experiment(s, experiment, json, err), KVANT_OK);
    assert_int_equal(store_cell_put(s, experiment, ordinal, &cell, err), KVANT_OK);
    const probe_sample sample = { "nmse", 0, 0, value, 1 };
    assert_int_equal(store_unit(s, key, 0, run, 1, 0, err), KVANT_OK);
    assert_int_equal(store_sample(s, key, 0, &sample, err), KVANT_OK);
    const probe_result results[] = { { "nmse", value, 1, 0.25, NAN, NAN }, { "seconds", value, 1, NAN, NAN, NAN } };
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_measurement(s, key, "", -1, i == 1, &results[i], err), KVANT_OK);
    assert_int_equal(store_cell_finish(s, key, run, "2026-01-01T00:00:00Z", err), KVANT_OK);
    assert_int_equal(store_commit(s, err), KVANT_OK);
}

static const cJSON *variant(const cJSON *papers, int i)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(papers->child, "variants"), i);
}

static void lists(void **state)
{
    char *folder = in_folder(*state, "papers"), *file = in_folder(*state, "papers/p.json"), *path = in_folder(*state, "papers.db");
    cJSON *papers;
    assert_fails(paper_load(NULL, folder, NULL, &papers, err), KVANT_INVALID, "there are no specs");
    assert_ok(make_folders(file, true, err));
    write_text(file, spec_text);
    assert_ok(paper_load(NULL, folder, NULL, &papers, err));
    assert_int_equal(cJSON_GetArraySize(papers), 1);
    assert_string_equal(member_text(papers->child, "title"), "T");
    assert_true(member_number(papers->child, "golden") == 1e-9);
    assert_string_equal(member_text(variant(papers, 0), "state"), "not run");
    assert_true(member_number(variant(papers, 0), "rows") == 5 && member_number(variant(papers, 0), "not computed") == 5);
    assert_string_equal(member_text(variant(papers, 1), "experiment"), "p-quick");
    assert_true(member_number(variant(papers, 1), "rows") == 6 && member_number(variant(papers, 1), "minutes") == 1);
    cJSON_Delete(papers);
    const char *const wrong[] = { "q", NULL };
    assert_fails(paper_load(NULL, folder, wrong, &papers, err), KVANT_INVALID, "no spec is named 'q'");

    spec s;
    store *db;
    kvant_error why;
    assert_ok(spec_read(file, NULL, 0, &s, err));
    assert_ok(store_open(path, STORE_WRITE, &db, err));
    put(db, "p", s.json, 0, "{\"a\":1,\"code\":{\"v\":1}}", 1, &why);
    put(db, "p-quick", "{\"name\":\"p-quick\"}", 0, "{\"a\":1,\"code\":{\"v\":1}}", 1, &why);
    spec_close(&s);
    assert_ok(paper_load(db, folder, NULL, &papers, err));
    static const struct { const char *name; double n; } counts[] = {
        { "rows", 5 }, { "met", 1 }, { "not met", 1 }, { "published error", 1 }, { "shown beside", 1 }, { "not computed", 1 },
            { "undecided", 0 },
    };
    assert_string_equal(member_text(variant(papers, 0), "state"), "finished");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (member_number(variant(papers, 0), counts[i].name) != counts[i].n)
            fail_msg("%s: %g", counts[i].name, member_number(variant(papers, 0), counts[i].name));
    /* What the store has under that name is no result of the spec as it is now. */
    assert_string_equal(member_text(variant(papers, 1), "state"), "changed");
    const report_options table = { .format = REPORT_TABLE };
    text out = { 0 };
    bool hold = true;
    paper_write(papers, &table, &out, &hold);
    assert_false(hold);
    assert_non_null(strstr(out.data, "p     full"));
    assert_non_null(strstr(out.data, "spec changed"));
    assert_non_null(strstr(out.data, "p: T (arXiv 1)"));
    text_free(&out);
    cJSON_Delete(papers);
    store_close(db);
    free(folder);
    free(file);
    free(path);
}

static void results(void **state)
{
    char *path = in_folder(*state, "golden.db");
    store *db;
    kvant_error why;
    text csv = { 0 };
    assert_ok(store_open(path, STORE_WRITE, &db, err));
    assert_fails(golden_results(db, "g", &csv, err), KVANT_INVALID, "no experiment");
    put(db, "g", "{\"name\":\"g\"}", 0, "{\"a\":1,\"code\":{\"v\":1},\"isa\":{\"vector\":\"avx2\"}}", 0.125, &why);
    text_free(&csv);
    assert_ok(golden_results(db, "g", &csv, err));
    char hash[SHA256_HEX];
    sha256_of("{\"a\":1}", 7, hash);
    char *wanted = text_format("cell,probe,data,label,metric,value,se\n%.12s,distortion,\"d, x\",\"affine "
                               "\"\"4b\"\"\",nmse,0.125,0.25\n", hash);
    assert_string_equal(csv.data, wanted);             /* times are not in it, nor is what it ran by */
    free(wanted);
    text_free(&csv);
    const store_cell open = { "k", "pairing", "{}", "distortion", NULL, "d", "affine", "{}", NULL, NULL, "l", false, 4, 4, 1 };
    assert_ok(store_cell_put(db, "g", 1, &open, err));
    assert_fails(golden_results(db, "g", &csv, err), KVANT_INVALID, "1 of 2 cells of 'g' are finished");
    text_free(&csv);
    store_close(db);
    free(path);
}

static void compares(void **state)
{
    (void)state;
#define HEAD "cell,probe,data,label,metric,value,se\n"
    static const struct { const char *committed, *computed; double tolerance; size_t n; const char *words; } cases[] = {
        { HEAD "a,p,d,l,m,1,2\n", HEAD "a,p,d,l,m,1,2\n", 0, 0, "" },
        { HEAD "a,p,d,l,m,1,2\n", HEAD "a,p,d,l,m,1,2.5\n", 0, 1, "a,p,d,l,m: committed 1,2, computed 1,2.5" },
        { HEAD "a,p,d,l,m,1,\n", HEAD "a,p,d,l,m,1.001,\n", 0.01, 0, "" },
        { HEAD "a,p,d,l,m,1,\n", HEAD "a,p,d,l,m,1.1,\n", 0.01, 1, "computed 1.1," },
        /* Near 0 the standard error is the scale. */
        { HEAD "a,p,d,l,m,1e-9,0.1\n", HEAD "a,p,d,l,m,-1e-9,0.1\n", 1e-6, 0, "" },
        { HEAD "a,p,d,l,m,1e-9,\n", HEAD "a,p,d,l,m,-1e-9,\n", 1e-6, 1, "a,p,d,l,m" },
        { HEAD "a,p,d,l,m,,\n", HEAD "a,p,d,l,m,,\n", 1e-6, 0, "" },
        { HEAD "a,p,d,l,m,,\n", HEAD "a,p,d,l,m,1,\n", 1e-6, 1, "committed ,, computed 1," },
        { HEAD "a,p,d,l,m,1,\n", HEAD "b,p,d,l,m,1,\n", 1, 2, "a,p,d,l,m: committed, not computed" },
        { HEAD "a,p,\"d,e\",l,m,1,\nb,p,d,l,m,2,\n", HEAD "b,p,d,l,m,2,\na,p,\"d,e\",l,m,1,\n", 0, 0, "" },
        { "", HEAD "a,p,d,l,m,1,\n", 0, 1, "not among the committed" },
        { HEAD "a,p,d,l,m,1,\na,p,d,l,m,1,\n", HEAD "a,p,d,l,m,1,\n", 0, 1, "not computed" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text changes = { 0 };
        size_t n;
        assert_ok(golden_compare(cases[i].committed, cases[i].computed, cases[i].tolerance, &changes, &n, err));
        if (n != cases[i].n || !strstr(changes.data ? changes.data : "", cases[i].words))
            fail_msg("case %zu: %zu differences: %s", i, n, changes.data ? changes.data : "");
        text_free(&changes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lists), cmocka_unit_test(results), cmocka_unit_test(compares) };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
