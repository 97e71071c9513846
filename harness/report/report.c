/* report.c - writes a report in the format asked for; CSV and JSON carry everything, tables what can be read.
 * Numbers for programs have the fewest digits that read back as the same double. */
#include "harness/experiment/document.h"
#include "harness/report/report_internal.h"
#include "harness/table.h"

#include <math.h>
#include <string.h>

/* ---- JSON --------------------------------------------------------------------------------------------------------------- */

/* cJSON prints numbers with 15 digits where that is close; here they must read back as they were. */
static bool exact_numbers(cJSON *item)
{
    for (cJSON *child = item->child; child; child = child->next)
        if (!exact_numbers(child))
            return false;
    if (!cJSON_IsNumber(item))
        return true;
    char digits[32];
    number_text(item->valuedouble, digits);
    item->valuestring = cJSON_malloc(strlen(digits) + 1);
    if (!item->valuestring)
        return false;
    strcpy(item->valuestring, digits);
    item->type = cJSON_Raw;
    return true;
}

void report_json(cJSON *json, text *out)
{
    char *printed = exact_numbers(json) ? cJSON_Print(json) : NULL;
    if (printed)
        text_add(out, "%s\n", printed);
    else
        out->failed = true;
    cJSON_free(printed);
}

/* ---- CSV ---------------------------------------------------------------------------------------------------------------- */

void csv_text(text *out, const char *value, char end)
{
    csv_field(out, value);
    text_add(out, end == '\n' ? "\r\n" : "%c", end);
}

void csv_number(text *out, double value, char end)
{
    char digits[32] = "";
    if (isfinite(value))
        number_text(value, digits);
    csv_text(out, digits, end);
}

static void csv_json(text *out, const cJSON *object)
{
    char *printed = object ? cJSON_PrintUnformatted(object) : NULL;
    csv_text(out, printed && !cJSON_IsNull(object) ? printed : "", ',');
    cJSON_free(printed);
}

/* A measurement, or the difference to a reference when `against` is not empty. */
static void csv_row(const cJSON *report, const cJSON *cell, const cJSON *row, const char *against, text *out)
{
    static const char *const texts[] = { "probe", "model", "data" };
    const cJSON *probe = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(cell, "config"), "probe");
    csv_text(out, member_text(report, "experiment"), ',');
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        csv_text(out, member_text(cell, texts[i]), ',');
    csv_json(out, cJSON_GetObjectItemCaseSensitive(probe, "params"));
    csv_text(out, member_text(cell, "label"), ',');
    csv_text(out, member_text(cell, "key_quantizer"), ',');
    csv_json(out, cJSON_GetObjectItemCaseSensitive(cell, "key_params"));
    csv_text(out, member_text(cell, "value_quantizer"), ',');
    csv_json(out, cJSON_GetObjectItemCaseSensitive(cell, "value_params"));
    csv_number(out, member_number(cell, "reference"), ',');
    csv_number(out, member_number(cell, "bits_asked"), ',');
    csv_number(out, member_number(cell, "bits_stored"), ',');
    csv_text(out, member_text(row, "metric"), ',');
    csv_text(out, against, ',');
    csv_number(out, member_number(row, *against ? "difference" : "value"), ',');
    csv_number(out, member_number(row, "se"), ',');
    csv_number(out, member_number(row, "lo"), ',');
    csv_number(out, member_number(row, "hi"), ',');
    csv_number(out, member_number(row, "n"), ',');
    csv_text(out, member_text(row, "unit"), ',');
    csv_number(out, member_number(row, "better"), ',');
    csv_number(out, member_number(row, "timing"), ',');
    csv_text(out, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cell, "added")) ? member_text(cell, "role") : "", '\n');
}

static void csv_cell(const cJSON *report, const cJSON *cell, text *out)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements"))
        csv_row(report, cell, row, "", out);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "differences"))
        csv_row(report, cell, row, "reference", out);
}

void report_csv(const cJSON *report, text *out)
{
    text_add(out, "experiment,probe,model,data,settings,label,key_quantizer,key_params,value_quantizer,value_params,reference,"
             "bits_asked,bits_stored,metric,against,value,se,lo,hi,n,unit,better,timing,control\r\n");
    const cJSON *block, *cell;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(block, "controls"), "cells"))
            if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cell, "added")))     /* the others stand among the block's cells */
                csv_cell(report, cell, out);
        cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
            csv_cell(report, cell, out);
    }
}

/* ---- Entry -------------------------------------------------------------------------------------------------------------- */

kvant_status report_write(store *s, const report_options *options, text *out, bool *met, kvant_error *err)
{
    cJSON *report;
    kvant_status status = report_load(s, options->experiment, &report, err);
    if (status != KVANT_OK)
        return status;
    *met = report_met(report) && report_controlled(report);
    status = report_select(report, options, err);
    if (status == KVANT_OK && options->format == REPORT_JSON)
        report_json(report, out);
    else if (status == KVANT_OK && options->format == REPORT_CSV)
        report_csv(report, out);
    else if (status == KVANT_OK)
        report_text(report, options, out);
    cJSON_Delete(report);
    return status == KVANT_OK && out->failed ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", options->experiment) : status;
}

static void list_table(const cJSON *rows, report_format format, text *out)
{
    static const char *const columns[] = { "experiment", "finished", "cells", "skips" };
    table t = { .n_columns = sizeof columns / sizeof *columns };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", columns[i]);
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        table_cell(&t, "%s", member_text(row, columns[0]));
        for (size_t i = 1; i < t.n_columns; i++)
            table_cell(&t, "%.0f", member_number(row, columns[i]));
    }
    if (format == REPORT_MARKDOWN)
        table_markdown(&t, out);
    else if (format == REPORT_TABLE)
        table_print(&t, 0, out);
    else
        for (size_t i = 0; i < t.n_cells; i++)
            csv_text(out, t.cells[i], (i + 1) % t.n_columns ? ',' : '\n');
    table_free(&t);
}

kvant_status report_list(store *s, report_format format, text *out, kvant_error *err)
{
    static const char sql[] =
        "SELECT x.name AS experiment, count(c.finished) AS finished, count(c.key) AS cells, "
        "(SELECT count(*) FROM skip k WHERE k.experiment = x.name) AS skips FROM experiment x "
        "LEFT JOIN experiment_cell e ON e.experiment = x.name LEFT JOIN cell c ON c.key = e.cell GROUP BY x.name ORDER BY x.name";
    cJSON *rows = report_rows(s, sql, NULL, err);
    if (!rows)
        return KVANT_IO;
    if (format == REPORT_JSON)
        report_json(rows, out);
    else
        list_table(rows, format, out);
    cJSON_Delete(rows);
    return out->failed ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s)) : KVANT_OK;
}
