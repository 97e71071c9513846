/* format_csv.c - every measurement and difference as a row of CSV by RFC 4180, or comparisons, or the list of experiments.
 * Numbers have the fewest digits that read back as the same double. */
#include "harness/experiment/document.h"
#include "harness/report/compare_internal.h"
#include "harness/report/format.h"

#include <math.h>
#include <string.h>

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

void csv_rows(const cJSON *rows, const char *const *columns, text *out)
{
    const cJSON *row;
    for (size_t i = 0; columns[i]; i++)
        csv_text(out, columns[i], columns[i + 1] ? ',' : '\n');
    cJSON_ArrayForEach(row, rows)
        for (size_t i = 0; columns[i]; i++)
            if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(row, columns[i])))
                csv_text(out, member_text(row, columns[i]), columns[i + 1] ? ',' : '\n');
            else
                csv_number(out, member_number(row, columns[i]), columns[i + 1] ? ',' : '\n');
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

static kvant_status write_csv(cJSON *report, const report_options *options, text *out, kvant_error *err)
{
    (void)options, (void)err;
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
    return KVANT_OK;
}

static kvant_status write_list(cJSON *rows, text *out, kvant_error *err)
{
    static const char *const columns[] = { "experiment", "finished", "cells", "skips", NULL };
    (void)err;
    csv_rows(rows, columns, out);
    return KVANT_OK;
}

const report_kind format_csv = {
    .name = "csv", .summary = "every metric, a row each", .report = write_csv, .answer = compare_csv, .list = write_list,
};
