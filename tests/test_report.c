/* test_report.c - reports of a made-up store, word for word, and as programs read them: CSV field by field, JSON by cJSON.
 * Covers what must not go unseen: undecided differences, equal outputs, perplexities below the reference, unmet expectations. */
#include "harness/report/report.h"
#include "harness/report/report_internal.h"
#include "harness/table.h"
#include "tests/stores.h"

#include <cjson/cJSON.h>

static const double REFERENCE_NLL[4] = { 1.25, 2.5, 3.125, 2.0 }, WORSE_NLL[4] = { 1.5, 2.625, 3.625, 2.0 },
                    NEAR_NLL[4] = { 1.3125, 2.5, 3.0625, 2.0625 }, BELOW_NLL[4] = { 1.125, 2.375, 3.0, 1.75 };

static void config_of(char config[256], const char *quantizer, int bits, const char *path)
{
    snprintf(config, 256, "{\"data\":{\"name\":\"prose\",\"params\":{}},\"key\":{\"params\":{\"bits\":%d},\"quantizer\":\"%s\"},"
             "\"model\":{\"name\":\"tiny\"},\"probe\":{\"name\":\"perplexity\",\"params\":{\"context\":8,\"path\":\"%s\"}},\"seed\":0}",
             bits, quantizer, path);
}

/* A finished cell of affine, or the reference (0 bits). */
static void put_cell(store *s, int64_t run, uint32_t ordinal, int bits, const char *path, const double nll[4])
{
    char key[64], label[64], config[256], params[32];
    const char *quantizer = bits ? "affine" : "f16";
    snprintf(key, sizeof key, "%s-%d-%s", quantizer, bits, path);
    snprintf(label, sizeof label, bits ? "affine %db" : "f16", bits);
    snprintf(params, sizeof params, bits ? "{\"bits\":%d}" : "{}", bits);
    config_of(config, quantizer, bits, path);
    store_cell cell = made_cell(key, label, bits ? bits : 16);
    cell.pairing = path;
    cell.config = config;
    cell.key_quantizer = cell.value_quantizer = quantizer;
    cell.key_params = cell.value_params = params;
    cell.reference = !bits;
    cell.bits_stored = bits ? bits + 0.5 : 16;
    finish_cell(s, "e", ordinal, &cell, run, nll);
}

static store *made_store(const char *path, const char *spec)
{
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", spec, err));
    put_cell(s, run, 0, 2, "prefill", WORSE_NLL);
    put_cell(s, run, 1, 4, "prefill", NEAR_NLL);
    put_cell(s, run, 2, 0, "prefill", REFERENCE_NLL);
    return s;
}

static char *report(store *s, report_format format, const char *probe, const char *const *metrics, bool *met)
{
    text out = { 0 };
    const report_options o = { .experiment = "e", .probe = probe, .metrics = metrics, .format = format };
    assert_ok(report_write(s, &o, &out, met, err));
    assert_non_null(out.data);
    return out.data;
}

static void assert_has(const char *out, const char *words)
{
    if (!strstr(out, words))
        fail_msg("\"%s\" is not in:\n%s", words, out);
}

/* ---- Golden --------------------------------------------------------------------------------------------------------------- */

static void golden_table(void **state)
{
    char *path = in_folder(*state, "table.db");
    store *s = made_store(path, "{}");
    assert_ok(store_skip(s, "e", "affine 3b", "{}", "96 is not divided by 64", err));
    bool met = false;
    char *out = report(s, REPORT_TABLE, NULL, NULL, &met);
    assert_true(met);
    assert_string_equal(out,
        "e\n"
        "3 of 3 cells finished\n"
        "\n"
        "controls\n"
        "  perplexity of tiny on prose: left out: nothing shows that it tells good caches from bad ones here\n"
        "\n"
        "perplexity of tiny on prose\n"
        "  context 8, path prefill\n"
        "\n"
        "label            bits asked  bits stored     nll (nats)  perplexity (nats)                      nll minus f16  n\n"
        "f16 (reference)          16      16.0000  2.219 ± 0.010      9.196 ± 0.092                                     4\n"
        "affine 2b                 2       2.5000  2.438 ± 0.010       11.44 ± 0.11     +0.22 [-0.12, +0.56] undecided  4\n"
        "affine 4b                 4       4.5000  2.234 ± 0.010      9.341 ± 0.093  +0.016 [-0.080, +0.111] undecided  4\n"
        "\n"
        "skipped\n"
        "  affine 3b: 96 is not divided by 64\n");
    free(out);
    store_close(s);
    free(path);
}

static void golden_markdown(void **state)
{
    char *path = in_folder(*state, "markdown.db");
    store *s = made_store(path, "{\"expect\":[{\"where\":{\"key\":\"f16\"},\"metric\":\"nll\",\"value\":2.25,\"tolerance\":0.0625,"
                                "\"source\":\"a|b\"}]}");
    static const char *const metrics[] = { "perplexity", NULL };
    bool met = false;
    char *out = report(s, REPORT_MARKDOWN, "perplexity", metrics, &met);
    assert_true(met);
    assert_string_equal(out,
        "# e\n"
        "\n"
        "3 of 3 cells finished\n"
        "\n"
        "## controls\n"
        "\n"
        "- perplexity of tiny on prose: left out: nothing shows that it tells good caches from bad ones here\n"
        "\n"
        "## perplexity of tiny on prose\n"
        "\n"
        "- context 8, path prefill\n"
        "\n"
        "| label | bits asked | bits stored | perplexity (nats) | n |\n"
        "|---|---:|---:|---:|---:|\n"
        "| f16 (reference) | 16 | 16.0000 | 9.196 ± 0.092 | 4 |\n"
        "| affine 2b | 2 | 2.5000 | 11.44 ± 0.11 | 4 |\n"
        "| affine 4b | 4 | 4.5000 | 9.341 ± 0.093 | 4 |\n"
        "\n"
        "## expectations\n"
        "\n"
        "| metric | where | label | published | computed | se | difference | tolerance | verdict | source |\n"
        "|---|---|---|---:|---:|---:|---:|---:|---|---|\n"
        "| nll | key f16 | f16 | 2.25 | 2.21875 | 0.01 | -0.0312 | 0.0625 | met | a\\|b |\n");
    free(out);
    store_close(s);
    free(path);
}

/* ---- For programs --------------------------------------------------------------------------------------------------------- */

/* Splits RFC 4180 text into fields; returns how many, and the number of rows. */
static size_t parse_csv(const char *csv, char fields[][256], size_t most, size_t *rows)
{
    size_t n = 0, at = 0;
    bool quoted = false;
    *rows = 0;
    for (const char *c = csv; *c; c++) {
        assert_true(n < most && at < 255);
        if (quoted && *c == '"' && c[1] == '"')
            fields[n][at++] = *c++;
        else if (*c == '"') {
            assert_true(quoted || at == 0);
            quoted = !quoted;
        } else if (!quoted && (*c == ',' || *c == '\r')) {
            fields[n++][at] = '\0';
            at = 0;
            if (*c == '\r') {
                assert_int_equal(*++c, '\n');
                ++*rows;
            }
        } else {
            assert_true(quoted || *c != '\n');
            fields[n][at++] = *c;
        }
    }
    assert_false(quoted);
    assert_int_equal(at, 0);
    return n;
}

static void csv(void **state)
{
    enum { COLUMNS = 24 };
    char *path = in_folder(*state, "csv.db");
    store *s = made_store(path, "{}");
    bool met;
    char *out = report(s, REPORT_CSV, NULL, NULL, &met);
    static char fields[400][256];
    size_t rows, n = parse_csv(out, fields, 400, &rows);
    assert_int_equal(rows, 1 + 3 * 2 + 2);          /* the head, two metrics of three cells, two differences */
    assert_int_equal(n, rows * COLUMNS);
    assert_string_equal(fields[0], "experiment");
    assert_string_equal(fields[COLUMNS - 1], "control");
    const char *wanted[COLUMNS] = { "e", "perplexity", "tiny", "prose", "{\"context\":8,\"path\":\"prefill\"}", "f16", "f16", "{}",
                                    "f16",
                                    "{}", "1", "16", "16", "nll", "", "2.21875", "0.01", NULL, NULL, "4", "nats", "-1", "0", "" };
    for (size_t i = 0; i < COLUMNS; i++)
        if (wanted[i])
            assert_string_equal(fields[COLUMNS + i], wanted[i]);
    size_t differences = 0;
    for (size_t row = 1; row < rows; row++)
        if (!strcmp(fields[row * COLUMNS + 14], "reference")) {
            differences++;
            assert_string_equal(fields[row * COLUMNS + 13], "nll");
            assert_string_equal(fields[row * COLUMNS + 15], strcmp(fields[row * COLUMNS + 5], "affine 2b") ? "0.015625" : "0.21875");
        }
    assert_int_equal(differences, 2);
    free(out);
    store_close(s);
    free(path);
}

static void json(void **state)
{
    char *path = in_folder(*state, "json.db");
    store *s = made_store(path, "{}");
    int64_t run = put_run(s, "kvant run");
    put_cell(s, run, 3, 3, "prefill", (const double[4]){ 1, 0.1, 1.0 / 3, NAN });
    bool met;
    char *out = report(s, REPORT_JSON, NULL, NULL, &met);
    cJSON *parsed = cJSON_Parse(out);
    assert_non_null(parsed);
    assert_string_equal(member_text(parsed, "experiment"), "e");
    const cJSON *block = cJSON_GetObjectItem(parsed, "blocks")->child, *cells = cJSON_GetObjectItem(block, "cells");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(parsed, "blocks")), 1);
    assert_int_equal(cJSON_GetArraySize(cells), 4);
    assert_string_equal(member_text(cells->child, "label"), "f16");
    const cJSON *perplexity = cJSON_GetArrayItem(cJSON_GetObjectItem(cells->child, "measurements"), 1);
    assert_string_equal(member_text(perplexity, "metric"), "perplexity");
    assert_true(member_number(perplexity, "value") == exp(2.21875));     /* to the last bit */
    const cJSON *broken = cJSON_GetArrayItem(cells, 2), *nll = cJSON_GetObjectItem(broken, "measurements")->child;
    assert_string_equal(member_text(broken, "label"), "affine 3b");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(nll, "value")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(broken, "differences")->child, "difference")));
    assert_int_equal((int)member_number(cJSON_GetObjectItem(cJSON_GetObjectItem(broken, "key_params"), "bits") ? cJSON_GetObjectItem(
                                        broken, "key_params") : NULL, "bits"), 3);
    cJSON_Delete(parsed);
    free(out);

    out = report(s, REPORT_TABLE, NULL, NULL, &met);
    assert_has(out, "not finite");
    free(out);
    store_close(s);
    free(path);
}

/* ---- What must not go unseen ---------------------------------------------------------------------------------------------- */

static void warnings(void **state)
{
    char *path = in_folder(*state, "warnings.db");
    store *s = made_store(path, "{}");
    int64_t run = put_run(s, "kvant run");
    put_cell(s, run, 3, 5, "prefill", BELOW_NLL);
    put_cell(s, run, 4, 6, "prefill", WORSE_NLL);          /* as 2 bits, bit for bit */
    put_cell(s, run, 5, 0, "decode", REFERENCE_NLL);
    store_cell open = made_cell("open", "affine 8b", 8);
    assert_ok(store_cell_put(s, "e", 9, &open, err));
    bool met;
    char *out = report(s, REPORT_TABLE, NULL, NULL, &met);
    assert_has(out, "e\n6 of 7 cells finished\n");
    assert_has(out, "perplexity of tiny on prose, path prefill\n");
    assert_has(out, "perplexity of tiny on prose, path decode\n");
    assert_has(out, "warning: perplexity of affine 5b is below that of f16 (nll minus f16: -0.156 [-0.256, -0.057]): noise or a "
                    "fault, not a gain\n");
    assert_has(out, "warning: affine 2b and affine 6b gave bit for bit the same nll although they differ in key.bits: one of them was "
                    "probably not applied\n");
    assert_null(strstr(out, "perplexity of affine 4b is below"));
    assert_null(strstr(out, "affine 8b"));
    assert_null(strstr(out, "no oracle"));
    /* -0.15625 of chunks -.125 -.125 -.125 -.25: an interval that leaves 0 out is decided. */
    assert_has(out, "-0.156 [-0.256, -0.057]  4\n");
    free(out);
    store_close(s);
    free(path);
}

static void expectations(void **state)
{
    static const struct { const char *row; bool met; const char *words; } cases[] = {
        { "{\"where\":{\"key.quantizer\":\"affine\",\"key.bits\":2,\"path\":\"prefill\"},\"metric\":\"nll\",\"value\":2.4,\"tolerance\":0.04,"
          "\"source\":\"s\"}", true, "key.quantizer affine, key.bits 2, path prefill  affine 2b        2.4    2.4375  0.01     "
                                     "+0.0375       0.04  met  " },
        { "{\"where\":{\"model\":\"tiny\",\"data\":\"prose\",\"probe\":\"perplexity\",\"key.params.bits\":2},\"metric\":\"nll\",\"value\":2.4,"
          "\"relative_tolerance\":0.01,\"source\":\"s\"}", false, "not met" },
        { "{\"where\":{\"path\":\"decode\"},\"metric\":\"nll\",\"value\":2.4,\"tolerance\":9,\"source\":\"s\"}", false,
          "not computed" },
        { "{\"where\":{\"key\":\"f16\"},\"metric\":\"nil\",\"value\":2.4,\"tolerance\":9,\"source\":\"s\"}", false, "not computed" },
        { "{\"where\":{\"seed\":1},\"metric\":\"nll\",\"value\":2.4,\"tolerance\":9,\"source\":\"s\"}", false, "not computed" },
        { "{\"where\":{\"seed\":0,\"context\":8},\"metric\":\"nll\",\"value\":2.3,\"tolerance\":1,\"source\":\"s\"}", true,
          "affine 4b" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.4,\"tolerance\":0.01,\"sigma\":3,\"source\":\"s\"}", true,
          "0.01     +0.0375       0.04  met" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.4,\"sigma\":3,\"source\":\"s\"}", false, "0.03  not met" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"bits_stored\",\"value\":2.5,\"tolerance\":0,\"source\":\"s\"}", true,
          "affine 2b        2.5       2.5              +0          0  met" },
        /* Bounds: kept, broken, or within the measurement's own error (2.4375 +- 0.01). */
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.5,\"bound\":\"upper\",\"source\":\"s\"}", true, "  met  " },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.5,\"bound\":\"lower\",\"source\":\"s\"}", false, "not met" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.45,\"bound\":\"lower\",\"tolerance\":0.013,\"source\":\"s\"}",
          true, "  met  " },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.43,\"bound\":\"upper\",\"sigma\":2,\"source\":\"s\"}", true,
          "undecided" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.4,\"bound\":\"upper\",\"sigma\":2,\"source\":\"s\"}", false,
          "not met" },
        /* A published error is one only when what is right comes out, and what was printed does not. */
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.7,\"error\":\"rounded\",\"correct\":2.44,"
          "\"tolerance\":0.01,\"source\":\"s\"}",
          true, "published error  s; rounded" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.7,\"error\":\"rounded\",\"correct\":2.5,"
          "\"tolerance\":0.01,\"source\":\"s\"}",
          false, "not met" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":2.43,\"error\":\"rounded\",\"correct\":2.44,"
          "\"tolerance\":0.01,\"source\":\"s\"}",
          false, "not met" },
        { "{\"metric\":\"speed-up\",\"formula\":\"12 / 4\",\"value\":5,\"error\":\"its table\","
          "\"correct\":3,\"tolerance\":0,\"source\":\"s\"}",
          true, "published error" },
        { "{\"metric\":\"speed-up\",\"formula\":\"12 / 4\",\"value\":5,\"tolerance\":0,\"source\":\"s\"}", false, "not met" },
        /* Beside: not judged, but of a cell that there is; without where, of none. */
        { "{\"metric\":\"gsm8k\",\"value\":5,\"beside\":\"a model of 7B\",\"source\":\"s\"}", true, "shown beside  s; a model of 7B" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"nll\",\"value\":5,\"beside\":\"b\",\"source\":\"s\"}", true, "2.4375  0.01       "
          "-2.56             shown beside" },
        { "{\"where\":{\"key.bits\":9},\"metric\":\"nll\",\"value\":5,\"beside\":\"b\",\"source\":\"s\"}", false, "not computed" },
        /* Formulas over a cell, its reference, the paired difference, and another cell. */
        { "{\"where\":{\"key.bits\":2},\"metric\":\"r\",\"formula\":\"16 / "
          "bits_stored\",\"value\":6.4,\"tolerance\":1e-9,\"source\":\"s\"}", true, "  met  " },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"r\",\"formula\":\"nll - reference.nll - "
          "difference.nll\",\"value\":0,\"tolerance\":1e-9,\"source\":\"s\"}",
          true, "  met  " },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"r\",\"formula\":\"bits_asked / "
          "other.bits_asked\",\"against\":{\"key.bits\":4},\"value\":0.5,"
          "\"tolerance\":0,\"source\":\"s\"}", true, "  met  " },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"r\",\"formula\":\"nll / "
          "other.nll\",\"against\":{\"key.bits\":9},\"value\":1,\"tolerance\":9,\"source\":\"s\"}",
          false, "not computed" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"r\",\"formula\":\"nil * 2\",\"value\":1,\"tolerance\":9,\"source\":\"s\"}", false,
          "not computed" },
        { "{\"where\":{\"key.bits\":2},\"metric\":\"difference.nll\",\"value\":0,\"tolerance\":9,\"source\":\"s\"}", true, "  met  " },
        /* What has no error is not within any number of errors. */
        { "{\"where\":{\"key.bits\":2},\"metric\":\"bits_asked\",\"value\":2,\"sigma\":9,\"source\":\"s\"}", false, "not met" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32], *spec = text_format("{\"expect\":[%s]}", cases[i].row);
        snprintf(name, sizeof name, "expect-%zu.db", i);
        char *path = in_folder(*state, name);
        store *s = made_store(path, spec);
        bool met = !cases[i].met;
        char *out = report(s, REPORT_TABLE, NULL, NULL, &met);
        assert_has(out, cases[i].words);
        if (met != cases[i].met)
            fail_msg("%s:\n%s", cases[i].row, out);
        free(out);
        if (strstr(cases[i].words, "not computed")) {       /* no failure while cells are missing */
            store_cell open = made_cell("open", "affine 8b", 8);
            assert_ok(store_cell_put(s, "e", 9, &open, err));
            out = report(s, REPORT_JSON, NULL, NULL, &met);
            assert_true(met);
            free(out);
        }
        store_close(s);
        free(path);
        free(spec);
    }
    /* A value that is not finite meets nothing, whatever the tolerance. */
    char *path = in_folder(*state, "expect-nan.db");
    store *s = made_store(path, "{\"expect\":[{\"where\":{\"key.bits\":3},\"metric\":\"nll\",\"value\":1,\"tolerance\":1e9,\"source\":\"s\"}]}");
    int64_t run = put_run(s, "kvant run");
    put_cell(s, run, 3, 3, "prefill", (const double[4]){ 1, 2, NAN, 3 });
    bool met = true;
    char *out = report(s, REPORT_TABLE, NULL, NULL, &met);
    assert_has(out, "not met");
    assert_false(met);
    free(out);
    store_close(s);
    free(path);
}

static void needles(void **state)
{
    char *path = in_folder(*state, "needle.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    static const double found[2][4] = { { 4, 0, 4, 4 }, { 3, 1, 4, 0 } };        /* of 4: the reference, affine; depth by length */
    assert_ok(store_begin(s, err));
    for (uint32_t q = 0; q < 2; q++)
        for (uint32_t i = 0; i < 4; i++) {
            char key[32], pairing[32], config[256];
            snprintf(key, sizeof key, "%u-%u", q, i);
            snprintf(pairing, sizeof pairing, "p%u", i);
            snprintf(config, sizeof config, "{\"key\":{\"quantizer\":\"%s\"},\"probe\":{\"name\":\"needle\",\"params\":{\"depth\":%s,"
                     "\"length\":%d,\"trials\":4}}}", q ? "affine" : "f16", i / 2 ? "1" : "0.5", i % 2 ? 512 : 256);
            store_cell cell = made_cell(key, q ? "affine 4b" : "f16", q ? 4 : 16);
            cell.pairing = pairing, cell.config = config, cell.probe = "needle", cell.units = 1;
            assert_ok(store_cell_put(s, "e", q * 4 + i, &cell, err));
            assert_ok(store_unit(s, key, 0, run, 1, 1, err));
            probe_result accuracy = { "needle_accuracy", found[q][i] / 4, 4, NAN, 0.1, 0.9 },
                log_prob = { "needle_log_prob", -0.5, 4, 0.1, -1, 0 };
            assert_ok(store_measurement(s, key, "", 1, false, &accuracy, err));
            assert_ok(store_measurement(s, key, "nats", 1, false, &log_prob, err));
            assert_ok(store_cell_finish(s, key, run, "now", err));
        }
    assert_ok(store_commit(s, err));
    bool met;
    char *out = report(s, REPORT_TABLE, NULL, NULL, &met);
    /* Wilson for 12 and 8 of 16: [.505, .898] and [.280, .720]. */
    assert_has(out,
        "label            bits asked  bits stored     found        all needles  log-probability of a token\n"
        "f16 (reference)          16      16.0000  12 of 16  0.75 [0.51, 0.90]                     -0.5000\n"
        "affine 4b                 4       4.0000   8 of 16  0.50 [0.28, 0.72]                     -0.5000\n"
        "\n"
        "needle_accuracy  depth  length 256  length 512\n"
        "f16 (reference)    0.5          1^          0v\n"
        "                     1          1^          1^\n"
        "affine 4b          0.5   0.75 (1^)   0.25 (0v)\n"
        "                     1      1 (1^)      0 (1^)\n");
    assert_has(out, "off both in 0 of 4\n");
    assert_null(strstr(out, "needle_found"));              /* nobody measured it */
    free(out);
    static const char *const metrics[] = { "needle_log_prob", NULL };
    out = report(s, REPORT_TABLE, NULL, metrics, &met);
    assert_has(out, "affine 4b          0.5  -0.5 (-0.5)  -0.5 (-0.5)\n");
    free(out);
    store_close(s);
    free(path);
}

static void errors_and_lists(void **state)
{
    char *path = in_folder(*state, "errors.db");
    store *s = made_store(path, "{}");
    assert_ok(store_experiment(s, "other, \"quoted\"", "{}", err));
    text out = { 0 };
    bool met;
    report_options o = { .experiment = "f" };
    assert_fails(report_write(s, &o, &out, &met, err), KVANT_INVALID, "did you mean 'e'?");
    o.experiment = "something else";
    assert_fails(report_write(s, &o, &out, &met, err), KVANT_INVALID, "kvant report");
    o = (report_options){ .experiment = "e", .probe = "perplexty" };
    assert_fails(report_write(s, &o, &out, &met, err), KVANT_INVALID, "did you mean 'perplexity'?");
    static const char *const metrics[] = { "nll", "perpelxity", NULL };
    o = (report_options){ .experiment = "e", .metrics = metrics };
    assert_fails(report_write(s, &o, &out, &met, err), KVANT_INVALID, "did you mean 'perplexity'?");
    text_free(&out);

    assert_ok(report_list(s, REPORT_TABLE, &out, err));
    assert_string_equal(out.data, "experiment       finished  cells  skips\n"
                                  "e                       3      3      0\n"
                                  "other, \"quoted\"         0      0      0\n");
    text_free(&out);
    assert_ok(report_list(s, REPORT_CSV, &out, err));
    assert_string_equal(out.data, "experiment,finished,cells,skips\r\ne,3,3,0\r\n\"other, \"\"quoted\"\"\",0,0,0\r\n");
    text_free(&out);
    assert_ok(report_list(s, REPORT_JSON, &out, err));
    cJSON *parsed = cJSON_Parse(out.data);
    assert_int_equal(cJSON_GetArraySize(parsed), 2);
    cJSON_Delete(parsed);
    text_free(&out);
    store_close(s);
    free(path);
}

/* A store from elsewhere may hold any text: no control character reaches a terminal, no cell breaks a table. */
static void hostile(void **state)
{
    static const char evil[] = "\x1b[31mred\r\n|x|`y`<b>\x7f";
    char *path = in_folder(*state, "hostile.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    store_cell cell = made_cell("k", evil, 4);
    cell.config = "[\"no object\"]";
    cell.model = cell.data = cell.key_params = evil;
    finish_cell(s, "e", 0, &cell, run, WORSE_NLL);
    assert_ok(store_skip(s, "e", evil, "{}", evil, err));
    bool met;
    for (int format = REPORT_TABLE; format <= REPORT_MARKDOWN; format++) {
        char *out = report(s, (report_format)format, NULL, NULL, &met);
        for (const char *c = out; *c; c++)
            assert_true((unsigned char)*c >= ' ' ? *c != 0x7f : *c == '\n');
        free(out);
    }
    char *out = report(s, REPORT_JSON, NULL, NULL, &met);
    cJSON *parsed = cJSON_Parse(out);
    assert_string_equal(member_text(cJSON_GetObjectItem(cJSON_GetObjectItem(parsed, "blocks")->child, "cells")->child, "label"), evil);
    cJSON_Delete(parsed);
    free(out);
    static char fields[100][256];
    size_t rows;
    out = report(s, REPORT_CSV, NULL, NULL, &met);
    parse_csv(out, fields, 100, &rows);
    assert_int_equal(rows, 3);
    assert_string_equal(fields[24 + 5], evil);
    free(out);
    store_close(s);
    free(path);
}

static void numbers(void **state)
{
    (void)state;
    char out[96];
    static const struct { double value, se, lo, hi; const char *text; } cases[] = {
        { 22.4998, 0.681, 0, 0, "22.50 ± 0.68" }, { 22.4998, 6.81, 0, 0, "22.5 ± 6.8" }, { 1234.5, 68, 0, 0, "1234 ± 68" },
        { 3.25, 0, 0, 0, "3.25" }, { 0.75, NAN, 0.505, 0.898, "0.75 [0.51, 0.90]" }, { 1.2e-12, 3e-14, 0, 0, "1.200e-12 ± 3.0e-14" },
        { NAN, 1, 0, 1, "not finite" }, { 5, NAN, NAN, NAN, "5" }, { 0.1, 1e-18, 0, 0, "0.1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        report_estimate(cases[i].value, cases[i].se, cases[i].lo, cases[i].hi, out);
        assert_string_equal(out, cases[i].text);
    }
}

/* Columns that do not fit go on below, with the first one again. */
static void narrow(void **state)
{
    (void)state;
    table t = { .n_columns = 4 };
    static const char *const cells[] = { "name", "first", "second", "third", "±", "1", "22", "x" };
    for (size_t i = 0; i < 8; i++)
        table_cell(&t, "%s", cells[i]);
    text out = { 0 };
    table_print(&t, 20, &out);
    assert_string_equal(out.data, "name  first  second\n±         1      22\n\nname  third\n±     x\n");
    text_free(&out);
    table_print(&t, 3, &out);
    assert_string_equal(out.data, "name  first\n±         1\n\nname  second\n±         22\n\nname  third\n±     x\n");
    text_free(&out);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_table), cmocka_unit_test(golden_markdown), cmocka_unit_test(csv), cmocka_unit_test(json),
        cmocka_unit_test(warnings), cmocka_unit_test(expectations), cmocka_unit_test(needles), cmocka_unit_test(errors_and_lists),
        cmocka_unit_test(hostile), cmocka_unit_test(numbers), cmocka_unit_test(narrow),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
