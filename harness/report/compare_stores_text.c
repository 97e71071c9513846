/* compare_stores_text.c - writes what changed between two stores: for people what is not the same, for programs everything. */
#include "harness/report/compare_stores.h"
#include "harness/report/report_internal.h"
#include "harness/report/report_text.h"

#include <math.h>
#include <string.h>

static void write_csv(const cJSON *answer, text *out)
{
    static const char *const texts[] = { "experiment", "probe", "model", "data", "setting", "label", "metric", "unit" };
    static const char *const numbers[] = { "better", "before", "after", "difference", "percent", "lo", "hi", "n", "p", "p_holm" };
    static const char *const lists[][2] = { { "missing", "missing" }, { "new", "new" } };
    text_add(out, "experiment,probe,model,data,setting,label,metric,unit,better,before,after,difference,percent,lo,hi,n,p,p_holm,"
                  "timing,test,verdict,regression,words\r\n");
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows")) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            csv_text(out, member_text(row, texts[i]), ',');
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            csv_number(out, member_number(row, numbers[i]), ',');
        csv_number(out, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "timing")), ',');
        csv_text(out, member_text(row, "test"), ',');
        csv_text(out, member_text(row, "verdict"), ',');
        csv_number(out, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "regression")), ',');
        csv_text(out, member_text(row, "words"), '\n');
    }
    /* Cells that only one store has, a row each without a metric. */
    for (size_t k = 0; k < 2; k++)
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, lists[k][0])) {
            for (size_t i = 0; i < 6; i++)
                csv_text(out, member_text(row, texts[i]), ',');
            text_add(out, ",,,,,,,,,,,,,,%s,0,\r\n", lists[k][1]);
        }
}

static void side_line(const cJSON *answer, const char *name, const report_options *options, text *out)
{
    const cJSON *side = cJSON_GetObjectItemCaseSensitive(answer, name), *item;
    text line = { 0 };
    static const char *const lists[] = { "versions", "machines" };
    for (size_t i = 0; i < 2; i++)
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(side, lists[i]))
            text_add(&line, "; %s", item->valuestring);
    report_note(options, out, "%s: %s%s", name, member_text(side, "store"), line.data ? line.data : "");
    text_free(&line);
}

static void number_cell(table *t, const char *format, double value, const char *none)
{
    char digits[64];
    snprintf(digits, sizeof digits, format, value);
    table_cell(t, "%s", isnan(value) ? none : digits);
}

static void row_cells(table *t, const cJSON *row)
{
    const char *model = member_text(row, "model"), *setting = member_text(row, "setting"), *words = member_text(row, "words");
    const double lo = member_number(row, "lo"), hi = member_number(row, "hi");
    table_cell(t, "%s", member_text(row, "experiment"));
    table_cell(t, "%s", member_text(row, "label"));
    table_cell(t, "%s%s%s on %s%s%s", member_text(row, "probe"), *model ? " of " : "", model, member_text(row, "data"),
               *setting ? ", " : "", setting);
    table_cell(t, "%s", member_text(row, "metric"));
    number_cell(t, "%.6g", member_number(row, "before"), "none");
    number_cell(t, "%.6g", member_number(row, "after"), "none");
    number_cell(t, "%+.3g %%", member_number(row, "percent"), "");
    if (isnan(lo))
        number_cell(t, "%+.3g", member_number(row, "difference"), "");
    else
        table_cell(t, "%+.3g [%+.3g, %+.3g]", member_number(row, "difference"), lo, hi);
    number_cell(t, "%.0f", member_number(row, "n"), "");
    number_cell(t, "%.2g", member_number(row, "p_holm"), "");
    const bool regression = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "regression"));
    table_cell(t, "%s%s%s%s%s", member_text(row, "verdict"), regression ? ": regression" : "", *words ? " (" : "", words,
               *words ? ")" : "");
}

static void cells_of_one(const cJSON *answer, const char *list, const char *words, const report_options *options, text *out)
{
    const cJSON *row, *rows = cJSON_GetObjectItemCaseSensitive(answer, list);
    if (cJSON_GetArraySize(rows))
        text_add(out, "\n%s\n", words);
    cJSON_ArrayForEach(row, rows)
        report_note(options, out, "%s: %s: %s%s%s on %s", member_text(row, "experiment"), member_text(row, "label"),
                    member_text(row, "probe"), *member_text(row, "model") ? " of " : "", member_text(row, "model"), member_text(row,
                            "data"));
}

static void write_table(const cJSON *answer, bool all, const report_options *options, text *out)
{
    static const char *const heads[] = { "experiment", "label", "measured", "metric", "before", "after", "change",
                                         "after - before, 95 %", "n", "p, Holm", "verdict" };
    const cJSON *row, *rows = cJSON_GetObjectItemCaseSensitive(answer, "rows");
    table t = { .n_columns = sizeof heads / sizeof *heads };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    int shown = 0;
    cJSON_ArrayForEach(row, rows)
        if (all || strcmp(member_text(row, "verdict"), "same")) {
            row_cells(&t, row);
            shown++;
        }
    side_line(answer, "before", options, out);
    side_line(answer, "after", options, out);
    text_add(out, "\ncells in both: %.0f; values: %d, of them the same: %.0f, regressions: %.0f\n", member_number(answer, "matched"),
             cJSON_GetArraySize(rows), member_number(answer, "same"), member_number(answer, "regressions"));
    if (shown) {
        text_add(out, "\n");
        report_print_table(&t, options, out);
    }
    table_free(&t);
    cells_of_one(answer, "missing", "only in the store before", options, out);
    cells_of_one(answer, "new", "only in the store after", options, out);
}

void compare_stores_write(cJSON *answer, bool all, const report_options *options, text *out)
{
    if (options->format == REPORT_JSON)
        report_json(answer, out);
    else if (options->format == REPORT_CSV)
        write_csv(answer, out);
    else
        write_table(answer, all, options, out);
}
