/* test_report_formats.c - reports as LaTeX, SQL and JSON: names that would be commands stay text, numbers come out as they went in,
 * and what is called best is told from the rest by paired differences, not by luck. */
#include "harness/report/compare.h"
#include "harness/report/format.h"
#include "tests/json_schema.h"
#include "tests/stores.h"

static const char EVIL[] = "a\\b{c}$d&e#f_g%h^i~j<k>'l'\"m\"[n]*o--p|q`r` \xff\xc3\xa9\xe2\x89\xa4\xf0\x9f\x98\x80\n\x1b[31m";
static const double NLL[4] = { 1.25, 2.5, 3.125, 2.0 };

static void put(store *s, int64_t run, uint32_t ordinal, const char *label, double asked, const double nll[4])
{
    char key[32];
    snprintf(key, sizeof key, "cell-%u", ordinal);
    store_cell cell = made_cell(key, label, asked);
    finish_cell(s, "e", ordinal, &cell, run, nll);
}

/* f16, two of 4 bits that differ from chunk to chunk only, one that is worse in every chunk, one of 2 bits. */
static store *made_store(const char *path)
{
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{\"name\":\"e\",\"expect\":[{\"where\":{},\"metric\":\"nll\",\"value\":2,\"tolerance\":9,"
                               "\"source\":\"50 % & more\"}]}", err));
    put(s, run, 0, "f16", 16, NLL);
    put(s, run, 1, "best", 4, (const double[4]){ 1.26, 2.52, 3.13, 2.02 });
    put(s, run, 2, "like it", 4, (const double[4]){ 1.28, 2.51, 3.14, 2.01 });
    put(s, run, 3, "worse", 4, (const double[4]){ 1.275, 2.535, 3.145, 2.035 });
    put(s, run, 4, "alone", 2, (const double[4]){ 2.25, 3.5, 4.125, 3.0 });
    return s;
}

static char *written(store *s, report_format format, bool whole)
{
    text out = { 0 };
    bool met;
    assert_ok(report_write(s, &(report_options){ .experiment = "e", .format = format, .whole = whole }, &out, &met, err));
    return out.data;
}

static void assert_has(const char *out, const char *words)
{
    if (!strstr(out, words))
        fail_msg("\"%s\" is not in:\n%s", words, out);
}

/* ---- The table of formats -------------------------------------------------------------------------------------------------- */

static void formats(void **state)
{
    (void)state;
    report_format format = REPORT_TABLE;
    kvant_error why = { "" };
    for (int i = REPORT_TABLE; i <= REPORT_SQL; i++) {
        assert_true(report_format_find(report_kind_of((report_format)i)->name, &format, &why));
        assert_int_equal(format, i);
    }
    assert_false(report_format_find("latx", &format, &why));
    assert_has(why.text, "did you mean latex?");
    assert_has(why.text, "table, md, csv, json, latex, html or sql");
}

/* Every format has comparisons and lists, or says which others do. */
static void documents(void **state)
{
    char *path = in_folder(*state, "documents.db");
    store *s = made_store(path);
    const compare_what what = { .a = "worse", .b = "best" };
    for (int i = REPORT_TABLE; i <= REPORT_SQL; i++) {
        text out = { 0 };
        const report_options o = { .experiment = "e", .format = (report_format)i };
        if (i == REPORT_SQL) {
            assert_fails(compare_write(s, &o, &what, &out, err), KVANT_INVALID, "holds no comparisons");
            assert_fails(report_list(s, REPORT_SQL, &out, err), KVANT_INVALID, "holds no list of experiments");
        } else {
            assert_ok(compare_write(s, &o, &what, &out, err));
            assert_has(out.data, "worse");
            text_free(&out);
            assert_ok(report_list(s, (report_format)i, &out, err));
            assert_has(out.data, "finished");
        }
        text_free(&out);
    }
    store_close(s);
    free(path);
}

/* ---- The best within error ------------------------------------------------------------------------------------------------- */

static bool is_best(const cJSON *report, const char *label, const char *metric)
{
    const cJSON *cell, *row;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItem(cJSON_GetObjectItem(report, "blocks")->child, "cells"))
        if (!strcmp(member_text(cell, "label"), label))
            cJSON_ArrayForEach(row, cJSON_GetObjectItem(cell, "measurements"))
                if (!strcmp(member_text(row, "metric"), metric))
                    return cJSON_IsTrue(cJSON_GetObjectItem(row, "best"));
    fail_msg("no %s of %s", metric, label);
    return false;
}

static void best(void **state)
{
    char *path = in_folder(*state, "best.db");
    store *s = made_store(path);
    cJSON *report;
    assert_ok(report_load(s, "e", &report, err));
    assert_ok(report_best(s, report, err));
    static const char *const metrics[] = { "nll", "perplexity" };
    for (size_t i = 0; i < 2; i++) {
        assert_true(is_best(report, "best", metrics[i]));
        assert_true(is_best(report, "like it", metrics[i]));       /* 0.02, -0.01, 0.01, -0.01: not told apart */
        assert_false(is_best(report, "worse", metrics[i]));        /* 0.015 in every chunk, though its own error is as large */
        assert_false(is_best(report, "alone", metrics[i]));        /* nobody of its bits to be better than */
        assert_false(is_best(report, "f16", metrics[i]));
    }
    cJSON_Delete(report);
    char *out = written(s, REPORT_LATEX, false);
    assert_has(out, "best & 4 & 4.0000 & \\bfseries 2.2");
    assert_has(out, "\nworse & 4 & 4.0000 & 2.2");
    free(out);
    store_close(s);
    free(path);
}

/* ---- LaTeX ----------------------------------------------------------------------------------------------------------------- */

/* Braces and environments close, every row of a table has its columns, and but for commands of our own there is no backslash. */
static void assert_latex(const char *out)
{
    static const char *const commands[] = {
        "begin{", "end{", "toprule\n", "midrule\n", "bottomrule\n", "endhead\n", "endfoot\n", "section*{", "subsection*{", "noindent{",
        "footnotesize", "par}", "bfseries ", "pm ", "\\\n", "textbackslash{}", "{", "}", "$", "&", "#", "_", "%", "textasciicircum{}",
        "textasciitilde{}", "textless{}", "textgreater{}", "textbar{}", "textquotedbl{}", "textquotesingle{}", "textasciigrave{}",
        "texttt{U+", "leq$", "linewidth}",
    };
    int depth = 0;
    bool comment = false;
    for (const char *c = out; *c; c++) {
        if (comment || *c == '%') {
            comment = *c != '\n';
            continue;
        }
        if (*c == '\\') {
            size_t i = 0, n = sizeof commands / sizeof *commands;
            while (i < n && strncmp(c + 1, commands[i], strlen(commands[i])))
                i++;
            if (i == n)
                fail_msg("no command of ours: %.40s", c);
            if (strchr("{}$&#_%\\", c[1]))
                c++;               /* an escaped character, or the end of a row */
            continue;
        }
        depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
        assert_true(depth >= 0);
        assert_false(strchr("#~^\"<>`|", *c) && !strstr("~", (char[]){ *c, 0 }));
        assert_true((unsigned char)*c >= ' ' || *c == '\n');
    }
    assert_int_equal(depth, 0);
}

static void latex_escapes(void **state)
{
    char *path = in_folder(*state, "latex.db");
    store *s = made_store(path);
    int64_t run = put_run(s, "kvant run");
    put(s, run, 5, EVIL, 3, NLL);
    assert_ok(store_skip(s, "e", EVIL, "{}", EVIL, err));
    char *out = written(s, REPORT_LATEX, false);
    assert_has(out, "a\\textbackslash{}b\\{c\\}\\$d\\&e\\#f\\_g\\%h\\textasciicircum{}i\\textasciitilde{}j\\textless{}k\\textgreater{}"
                    "\\textquotesingle{}l\\textquotesingle{}\\textquotedbl{}m\\textquotedbl{}{[}n{]}{*}o-{}-{}p\\textbar{}q"
                    "\\textasciigrave{}r\\textasciigrave{} \\texttt{U+FFFD}\xc3\xa9$\\leq$\\texttt{U+1F600}??{[}31m");
    assert_has(out, "% Put it into a document by \\input");
    assert_has(out, "%   \\usepackage{siunitx}\n");
    assert_null(strstr(out, "\\documentclass"));
    assert_latex(out);
    free(out);
    store_close(s);
    free(path);
}

/* The column's room is that of its widest parts; what is no number stands in braces. */
static void latex_columns(void **state)
{
    (void)state;
    static const char *const cells[] = { "name", "value", "interval", "x", "-1.25 ± 0.50", "0.5 [0.1, 0.9]", "y", "310.5 ± 12.5",
                                        "-1 [-2, +3]", "z", "not finite", "" };
    table t = { .n_columns = 3 };
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        table_cell(&t, "%s", cells[i]);
    text out = { 0 };
    report_kind_of(REPORT_LATEX)->pen->table(&t, &(report_options){ .format = REPORT_LATEX }, &out);
    assert_has(out.data, "{@{}lS[table-format = +3.2(3)]r@{}}");
    assert_has(out.data, "name & {value} & interval \\\\\n\\midrule\n");
    assert_has(out.data, "x & -1.25 \\pm 0.50 & 0.5~{[}0.1,~0.9{]} \\\\\n");
    assert_has(out.data, "y & 310.5 \\pm 12.5 & $-$1~{[}$-$2,~$+$3{]} \\\\\n");
    assert_has(out.data, "z & {not finite} &  \\\\\n");
    text_free(&out);
    table_free(&t);
}

static void latex_compiles(void **state)
{
    if (system("pdflatex --version > /dev/null 2>&1 && kpsewhich siunitx.sty booktabs.sty > /dev/null 2>&1") != 0) {
        print_message("pdflatex with siunitx and booktabs is not installed\n");
        skip();
    }
    char *path = in_folder(*state, "compiles.db"), *file = in_folder(*state, "report.tex");
    store *s = made_store(path);
    int64_t run = put_run(s, "kvant run");
    put(s, run, 5, EVIL, 3, NLL);
    assert_ok(store_skip(s, "e", EVIL, "{}", EVIL, err));
    char *out = written(s, REPORT_LATEX, true);
    assert_ok(file_write(file, out, strlen(out), err));
    char *command = text_format("cd '%s' && pdflatex -halt-on-error -interaction=nonstopmode report.tex > report.out 2>&1",
                                (char *)*state);
    const int rc = system(command);
    if (rc != 0) {
        char *log = in_folder(*state, "report.out"), *said;
        size_t bytes;
        assert_ok(file_read(log, &said, &bytes, err));
        fail_msg("%s", bytes > 1500 ? said + bytes - 1500 : said);
    }
    free(command);
    free(out);
    store_close(s);
    free(path);
    free(file);
}

/* ---- SQL ------------------------------------------------------------------------------------------------------------------- */

/* A cell of throughput: three repeats of a prefill to 100 tokens at 100, 50 and 25 tokens/s, and of 10 steps at 10, 5 and 2. */
static void put_speeds(store *s, int64_t run, uint32_t ordinal, const char *key, const char *label, const char *model)
{
    static const double rates[2][3] = { { 100, 50, 25 }, { 10, 5, 2 } };
    char *config = text_format("{\"probe\":{\"name\":\"throughput\",\"params\":{\"batch\":64,\"depth\":100,\"steps\":10}},\"n\":%u}",
                               ordinal);
    store_cell cell = made_cell(key, label, 4);
    cell.config = config, cell.probe = "throughput", cell.units = 3, cell.key_quantizer = "affine", cell.value_quantizer = "f16";
    cell.key_params = "{\"bits\":2,\"scheme\":\"minmax\",\"group_size\":64}";
    cell.model = model;
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, "e", ordinal, &cell, err));
    for (uint32_t u = 0; u < 3; u++) {
        assert_ok(store_unit(s, key, u, run, 1, 1, err));
        assert_ok(store_sample(s, key, u, &(probe_sample){ "prefill_tokens_per_s", u, 0, rates[0][u], 1 }, err));
        assert_ok(store_sample(s, key, u, &(probe_sample){ "decode_tokens_per_s", u, 0, rates[1][u], 1 }, err));
    }
    assert_ok(store_measurement(s, key, "tokens/s", 1, true, &(probe_result){ "decode_tokens_per_s", 5, 3, NAN, NAN, NAN }, err));
    assert_ok(store_cell_finish(s, key, run, "2026-01-02T03:05:00Z", err));
    assert_ok(store_commit(s, err));
    free(config);
}

/* The table as llama-bench -o sql creates it now; of the columns of 2025, use_mmap went and four came. */
static const char LLAMA_BENCH[] =
    "CREATE TABLE llama_bench (build_commit TEXT, build_number INTEGER, cpu_info TEXT, gpu_info TEXT, backends TEXT, "
    "model_filename TEXT, model_type TEXT, model_size INTEGER, model_n_params INTEGER, n_batch INTEGER, n_ubatch INTEGER, "
    "n_threads INTEGER, cpu_mask TEXT, cpu_strict INTEGER, "
    "poll INTEGER, type_k TEXT, type_v TEXT, n_gpu_layers INTEGER, n_cpu_moe INTEGER, split_mode TEXT, "
    "main_gpu INTEGER, no_kv_offload INTEGER, flash_attn INTEGER, devices TEXT, tensor_split TEXT, tensor_buft_overrides TEXT, "
    "load_mode TEXT, embeddings INTEGER, no_op_offload INTEGER, no_host INTEGER, fit_target INTEGER, fit_min_ctx INTEGER, "
    "n_prompt INTEGER, n_gen INTEGER, n_depth INTEGER, test_time TEXT, avg_ns INTEGER, stddev_ns INTEGER, "
    "avg_ts REAL, stddev_ts REAL);";

static double number_in(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *query = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &query, NULL) != SQLITE_OK || sqlite3_step(query) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const double value = sqlite3_column_double(query, 0);
    sqlite3_finalize(query);
    return value;
}

static void sql(void **state)
{
    char *path = in_folder(*state, "sql.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    text out = { 0 };
    bool met;
    assert_fails(report_write(s, &(report_options){ .experiment = "e", .format = REPORT_SQL }, &out, &met, err), KVANT_INVALID,
                 "holds no speeds of a model");
    text_free(&out);
    put_speeds(s, run, 0, "k0", "x'); DROP TABLE llama_bench; --\nSELECT 1", "it's; \n--");
    put_speeds(s, run, 1, "k1", "vectors", NULL);
    char *script = written(s, REPORT_SQL, false);
    assert_has(script, "-- Left out: 1 cells");
    for (int theirs = 0; theirs < 2; theirs++) {
        sqlite3 *db;
        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        if (theirs)
            assert_int_equal(sqlite3_exec(db, LLAMA_BENCH, NULL, NULL, NULL), SQLITE_OK);
        if (sqlite3_exec(db, script, NULL, NULL, NULL) != SQLITE_OK)
            fail_msg("%s in:\n%s", sqlite3_errmsg(db), script);
        assert_int_equal((int)number_in(db, "SELECT count(*) FROM llama_bench"), 2);
        /* 1, 2 and 4 s; 100, 50 and 25 tokens/s: mean 58.33, deviation 38.19. */
        static const char prompt[] = " FROM llama_bench WHERE n_prompt = 100 AND n_gen = 0 AND n_depth = 0", step[] =
            " FROM llama_bench WHERE n_prompt = 0 AND n_gen = 10 AND n_depth = 100 AND n_batch = 64 AND n_threads = 2 AND "
            "build_commit = 'c0ffee'";
        static const struct { const char *column, *where; double value, tolerance; } cases[] = {
            { "avg_ns", prompt, 7e9 / 3, 1 }, { "stddev_ns", prompt, 1527525231.65, 1 }, { "avg_ts", prompt, 175.0 / 3, 1e-9 },
            { "stddev_ts", prompt, 38.188130791298, 1e-9 }, { "avg_ts", step, 17.0 / 3, 1e-9 }, { "avg_ns", step, 8e9 / 3, 1 },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char *query = text_format("SELECT %s%s", cases[i].column, cases[i].where);
            assert_true(fabs(number_in(db, query) - cases[i].value) <= cases[i].tolerance);
            free(query);
        }
        assert_int_equal((int)number_in(db, "SELECT count(*) FROM llama_bench WHERE type_k = 'affine:bits=2' AND type_v = 'f16' AND "
                                            "model_type = 'it''s;  --' AND build_number IS NULL AND poll IS NULL"), 2);
        sqlite3_close(db);
    }
    free(script);
    store_close(s);
    free(path);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static void json_schema(void **state)
{
    char *path = in_folder(*state, "schema.db"), why[512];
    store *s = made_store(path);
    int64_t run = put_run(s, "kvant run");
    put(s, run, 5, "twin", 4, (const double[4]){ 1.26, 2.52, 3.13, 2.02 });
    put(s, run, 6, "broken", 4, (const double[4]){ 1, NAN, 2, 3 });
    assert_ok(store_skip(s, "e", "left out", "{}", "why not", err));
    assert_ok(store_check_put(s, run, &(store_check){ .quantizer = "best", .code_version = "v", .target = "scalar", .name = "gate",
                                                      .verdict = "pass" }, err));
    assert_ok(store_control_put(s, "e", &(store_control){ "pair", "control_broken", "cell-3", true, NULL }, err));
    char *out = written(s, REPORT_JSON, false);
    cJSON *schema = cJSON_Parse(report_schema()), *report = cJSON_Parse(out);
    assert_non_null(schema);
    assert_non_null(report);
    if (!json_schema_holds(schema, schema, report, why))
        fail_msg("%s", why);
    /* It speaks of something: every list of the document has an item here, but those of needles. */
    static const char *const lists[] = { "blocks", "identical", "skips", "runs", "checks", "expect" };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(report, lists[i])) > 0);
    assert_int_equal((int)member_number(report, "schema_version"), REPORT_SCHEMA);

    cJSON *cell = cJSON_GetObjectItem(cJSON_GetObjectItem(report, "blocks")->child, "cells")->child;
    cJSON_ReplaceItemInObject(cell, "bits_stored", cJSON_CreateString("4"));
    assert_false(json_schema_holds(schema, schema, report, why));
    assert_string_equal(why, ".blocks[0].cells[0].bits_stored: is not of the type it should be");
    cJSON_ReplaceItemInObject(cell, "bits_stored", cJSON_CreateNumber(4));
    assert_true(json_schema_holds(schema, schema, report, why));
    cJSON_DeleteItemFromObject(report, "runs");
    assert_false(json_schema_holds(schema, schema, report, why));
    assert_string_equal(why, "the document: lacks runs");
    cJSON_Delete(report);
    cJSON_Delete(schema);
    free(out);
    store_close(s);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats), cmocka_unit_test(documents), cmocka_unit_test(best), cmocka_unit_test(latex_escapes),
        cmocka_unit_test(latex_columns), cmocka_unit_test(latex_compiles), cmocka_unit_test(sql), cmocka_unit_test(json_schema),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
