/* test_compare_stores.c - two made-up stores of two versions: which cells are the same, and what each kind of change comes to.
 * Values are chosen so that the mean difference and what is significant are known. */
#include "harness/report/compare_stores.h"
#include "harness/report/report_internal.h"
#include "tests/stores.h"

enum { CHUNKS = 8, REPEATS = 5 };

static int64_t run_of(store *s, const char *cpu)
{
    int64_t run = 0;
    const store_run_info info = { "2026-01-02T03:04:05Z", "0.1.0", "c0ffee", "gcc", "-O3", cpu, "", "libraries", "avx2", "kvant run",
                                  false, 2 };
    assert_ok(store_run(s, &info, &run, err));
    return run;
}

/* A cell of that code version: nll per chunk, a time per repeat, and bytes as a single figure without samples. */
typedef struct { const char *code, *isa, *label, *cpu; double nll[CHUNKS], ms[REPEATS], bytes; } made;

static void put(store *s, uint32_t ordinal, const made *m)
{
    char config[256], key[SHA256_HEX];
    snprintf(config, sizeof config, "{\"code\":{\"parts\":{\"a\":\"%s\"}},\"isa\":{\"key\":\"%s\"},\"key\":{\"quantizer\":\"%s\"},"
             "\"seed\":0}", m->code, m->isa, m->label);
    sha256_of(config, strlen(config), key);
    store_cell cell = made_cell(key, m->label, 4);
    cell.config = config;
    cell.units = CHUNKS;
    const int64_t run = run_of(s, m->cpu);
    double mean = 0, ms = 0;
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, "e", ordinal, &cell, err));
    for (uint32_t u = 0; u < CHUNKS; u++) {
        put_unit(s, key, u, run, m->nll[u]);
        mean += m->nll[u] / CHUNKS;
        const probe_sample time = { "step_ms", u, 0, u < REPEATS ? m->ms[u] : 0, 1 };
        if (u < REPEATS)
            assert_ok(store_sample(s, key, u, &time, err));
        ms += u < REPEATS ? m->ms[u] / REPEATS : 0;
    }
    put_result(s, key, "nll", -1, mean, 0.01);
    const probe_result time = { "step_ms", ms, REPEATS, NAN, NAN, NAN }, bytes = { "cache_bytes", m->bytes, 1, NAN, NAN, NAN };
    const probe_result hits = { "hits", 0.5 + mean / 100, 50, 0.02, NAN, NAN }, tokens = { "tokens", m->bytes, 1, NAN, NAN, NAN };
    assert_ok(store_measurement(s, key, "ms", -1, true, &time, err));
    assert_ok(store_measurement(s, key, "bytes", -1, false, &bytes, err));
    assert_ok(store_measurement(s, key, "", 1, false, &hits, err));
    assert_ok(store_measurement(s, key, "", 0, false, &tokens, err));
    assert_ok(store_cell_finish(s, key, run, "2026-01-02T03:05:00Z", err));
    assert_ok(store_commit(s, err));
}

static const made BASE = { "1", "avx2", "q", "cpu", { 2, 3, 1, 2.5, 4, 3.5, 1.5, 2 }, { 10, 10.2, 10.1, 10.4, 10.3 }, 1000 };

/* Stores of `before` and `after`, a cell each; NULL where that one has none. */
static cJSON *compare(void *folder, const made *const *before, const made *const *after, const compare_stores_options *options)
{
    static int count;
    char name[32], *paths[2];
    for (int side = 0; side < 2; side++) {
        snprintf(name, sizeof name, "side-%d.db", count++);
        paths[side] = in_folder(folder, name);
        store *s = open_store(paths[side]);
        assert_ok(store_begin(s, err));
        assert_ok(store_experiment(s, "e", "{}", err));
        assert_ok(store_commit(s, err));
        for (uint32_t i = 0; (side ? after : before)[i]; i++)
            put(s, i, (side ? after : before)[i]);
        store_close(s);
    }
    cJSON *answer = NULL;
    assert_ok(compare_stores(paths[0], paths[1], options, &answer, err));
    free(paths[0]);
    free(paths[1]);
    return answer;
}

static const cJSON *row_of(const cJSON *answer, const char *metric)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows"))
        if (!strcmp(member_text(row, "metric"), metric))
            return row;
    fail_msg("no row of %s", metric);
    return NULL;
}

static void expect(const cJSON *answer, const char *metric, const char *verdict, bool regression, const char *words)
{
    const cJSON *row = row_of(answer, metric);
    if (strcmp(member_text(row, "verdict"), verdict) || !strstr(member_text(row, "words"), words) ||
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "regression")) != regression) {
        char *printed = cJSON_Print(row);
        fail_msg("%s: not %s '%s': %s", metric, verdict, words, printed);
    }
}

static void changes(void **state)
{
    const compare_stores_options any = { .threshold = 0 }, five = { .threshold = 0.05 };
    made after = BASE;
    after.code = "2";
    after.isa = "avx512";
    cJSON *answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &after, NULL }, &any);
    assert_true(member_number(answer, "matched") == 1 && member_number(answer, "same") == 5 && member_number(answer,
            "regressions") == 0);
    expect(answer, "nll", "same", false, "");
    expect(answer, "step_ms", "same", false, "");
    cJSON_Delete(answer);

    /* All chunks worse by about 0.1: 4 % of the mean 2.4375. */
    for (int i = 0; i < CHUNKS; i++)
        after.nll[i] += 0.1 + 0.001 * i;
    for (int i = 0; i < REPEATS; i++)
        after.ms[i] *= 0.5;
    after.bytes = 1001;
    answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &after, NULL }, &any);
    expect(answer, "nll", "worse", true, "");
    expect(answer, "step_ms", "better", false, "");
    expect(answer, "cache_bytes", "worse", true, "");
    expect(answer, "hits", "undecided", false, "not significant");
    expect(answer, "tokens", "changed", false, "");
    assert_true(member_number(answer, "regressions") == 2);
    assert_true(fabs(member_number(row_of(answer, "nll"), "difference") - 0.1035) < 1e-12);
    assert_true(member_number(row_of(answer, "nll"), "lo") > 0.1 && member_number(row_of(answer, "nll"), "hi") < 0.107);
    assert_true(member_number(row_of(answer, "nll"), "p_holm") >= member_number(row_of(answer, "nll"), "p"));
    assert_null(cJSON_GetObjectItemCaseSensitive(row_of(answer, "nll"), "exact"));
    cJSON_Delete(answer);

    answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &after, NULL }, &five);
    expect(answer, "nll", "worse", false, "below the threshold");
    assert_true(member_number(answer, "regressions") == 0);
    const report_options table = { .format = REPORT_TABLE }, csv = { .format = REPORT_CSV };
    text out = { 0 };
    compare_stores_write(answer, false, &table, &out);
    assert_non_null(strstr(out.data, "cells in both: 1; values: 5, of them the same: 0, regressions: 0"));
    assert_non_null(strstr(out.data, "worse (below the threshold)"));
    text_free(&out);
    compare_stores_write(answer, false, &csv, &out);
    assert_non_null(strstr(out.data, "e,perplexity,tiny,prose,,q,nll,nats,-1,2.4375,"));
    text_free(&out);
    cJSON_Delete(answer);

    /* Slower by less than its spread; then clearly, but on another machine; then broken. */
    made slow = BASE;
    for (int i = 0; i < REPEATS; i++)
        slow.ms[i] += 0.1;
    answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &slow, NULL }, &any);
    expect(answer, "step_ms", "undecided", false, "not significant");
    cJSON_Delete(answer);
    for (int i = 0; i < REPEATS; i++)
        slow.ms[i] *= 2;
    answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &slow, NULL }, &any);
    expect(answer, "step_ms", "worse", true, "");
    cJSON_Delete(answer);
    slow.cpu = "another";
    slow.nll[3] = NAN;
    answer = compare(*state, (const made *[]){ &BASE, NULL }, (const made *[]){ &slow, NULL }, &any);
    expect(answer, "step_ms", "undecided", false, "another processor");
    expect(answer, "nll", "worse", true, "not finite");
    cJSON_Delete(answer);
}

static void matching(void **state)
{
    const compare_stores_options any = { .threshold = 0 };
    const char *const nil[] = { "nil", NULL }, *const nll[] = { "nll", NULL };
    made scalar = BASE, gone = BASE, new = BASE, fast = BASE;
    scalar.isa = "scalar";
    scalar.nll[0] = 5;
    gone.label = "gone";
    new.label = "new";
    fast.code = "2";
    made slow = scalar;
    slow.code = "2";
    /* Two cells that were asked the same are told apart by their instruction sets. */
    cJSON *answer = compare(*state, (const made *[]){ &scalar, &BASE, &gone, NULL }, (const made *[]){ &fast, &slow, &new, NULL },
                            &any);
    assert_true(member_number(answer, "matched") == 2 && member_number(answer, "same") == 10);
    const cJSON *missing = cJSON_GetObjectItemCaseSensitive(answer, "missing"), *added = cJSON_GetObjectItemCaseSensitive(answer,
            "new");
    assert_int_equal(cJSON_GetArraySize(missing), 1);
    assert_string_equal(member_text(missing->child, "label"), "gone");
    assert_int_equal(cJSON_GetArraySize(added), 1);
    assert_string_equal(member_text(added->child, "label"), "new");
    const report_options csv = { .format = REPORT_CSV };
    text out = { 0 };
    compare_stores_write(answer, false, &csv, &out);
    const char *line = strstr(out.data, "e,perplexity,tiny,prose,,gone,");
    assert_non_null(line);
    size_t commas = 0, heads = 0;
    for (const char *p = line; *p != '\r'; p++)
        commas += *p == ',';
    for (const char *p = out.data; *p != '\r'; p++)
        heads += *p == ',';
    assert_int_equal(commas, heads);
    assert_non_null(strstr(line, ",missing,0,"));
    text_free(&out);
    cJSON_Delete(answer);

    char *a = in_folder(*state, "a.db"), *b = in_folder(*state, "b.db"), *none = in_folder(*state, "none.db");
    const made *const sides[] = { &gone, &new };
    for (int i = 0; i < 2; i++) {
        store *s = open_store(i ? b : a);
        assert_ok(store_begin(s, err));
        assert_ok(store_experiment(s, "e", "{}", err));
        assert_ok(store_commit(s, err));
        put(s, 0, sides[i]);
        if (i)
            put(s, 1, &BASE);
        store_close(s);
    }
    cJSON *no = NULL;
    assert_fails(compare_stores(a, b, &any, &no, err), KVANT_INVALID, "share no finished cell");
    assert_fails(compare_stores(a, a, &any, &no, err), KVANT_INVALID, "the same file is given twice");
    assert_fails(compare_stores(a, none, &any, &no, err), KVANT_IO, "none.db");
    assert_fails(compare_stores(none, a, &any, &no, err), KVANT_IO, "none.db");
    const compare_stores_options other = { .experiment = "f" };
    assert_fails(compare_stores(a, b, &other, &no, err), KVANT_INVALID, "no experiment 'f'");
    store *s = open_store(a);
    put(s, 1, &BASE);
    store_close(s);
    const compare_stores_options wrong = { .metrics = nil }, right = { .metrics = nll };
    assert_fails(compare_stores(a, b, &wrong, &no, err), KVANT_INVALID, "no cell with a metric of that name");
    assert_null(no);
    assert_ok(compare_stores(a, b, &right, &answer, err));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(answer, "rows")), 1);
    cJSON_Delete(answer);
    free(a);
    free(b);
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes, make_scratch, drop_scratch),
        cmocka_unit_test_setup_teardown(matching, make_scratch, drop_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
