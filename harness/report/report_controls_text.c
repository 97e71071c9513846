/* report_controls_text.c - the controls as people read them: before all else a verdict for each table, and the controls' own figures.
 * A table whose controls are invalid carries that below it, too. */
#include "harness/report/report_text.h"

#include <math.h>
#include <string.h>

static const cJSON *controls_of(const cJSON *block) { return cJSON_GetObjectItemCaseSensitive(block, "controls"); }

static void print_cells(const cJSON *controls, const report_options *options, text *out)
{
    const char *metric = member_text(controls, "metric"), *reference = "f16";
    const cJSON *cells = cJSON_GetObjectItemCaseSensitive(controls, "cells"), *cell;
    if (!strcmp(member_text(cells->child, "role"), "reference"))
        reference = member_text(cells->child, "label");
    table t = { .n_columns = 4 };
    table_cell(&t, "control");
    table_cell(&t, "bits stored");
    table_cell(&t, "%s", metric);
    table_cell(&t, "%s minus %s", metric, reference);
    cJSON_ArrayForEach(cell, cells) {
        const cJSON *row = cJSON_GetObjectItemCaseSensitive(cell, "judged");
        const cJSON *difference = cJSON_GetObjectItemCaseSensitive(cell, "judged_difference");
        char value[96] = "", against[96] = "";
        report_estimate(member_number(row, "value"), member_number(row, "se"), member_number(row, "lo"), member_number(row, "hi"),
                        value);
        if (cJSON_IsObject(difference))
            report_difference(difference, against);
        report_label(&t, cell);
        table_number(&t, member_number(cell, "number"));
        table_cell(&t, "%.4f", member_number(cell, "bits_stored"));
        table_cell(&t, "%s", value);
        table_cell(&t, "%s", against);
    }
    report_print_table(&t, options, out);
    table_free(&t);
}

void report_print_controls(const cJSON *report, const report_options *options, text *out)
{
    const cJSON *block, *reason, *skip;
    bool any = false;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        const cJSON *controls = controls_of(block);
        const char *verdict = member_text(controls, "verdict");
        if (!controls)
            continue;
        if (any)
            text_add(out, "\n");
        else
            report_heading(options, 2, "controls", out);
        any = true;
        text title = { 0 };
        report_title(block, &title);
        const char *word = !strcmp(verdict, "invalid") ? "INVALID" : verdict;
        report_note(options, out, "%s: %s%s", title.data ? title.data : "", word,
                    !strcmp(verdict, "left out") ? ": nothing shows that it tells good caches from bad ones here" : "");
        cJSON_ArrayForEach(reason, cJSON_GetObjectItemCaseSensitive(controls, "reasons"))
            report_note(options, out, "INVALID: %s", cJSON_GetStringValue(reason));
        cJSON_ArrayForEach(skip, cJSON_GetObjectItemCaseSensitive(controls, "skips"))
            report_note(options, out, "%s was skipped: %s", member_text(skip, "role"), member_text(skip, "reason"));
        out->failed = out->failed || title.failed;
        text_free(&title);
        if (strcmp(verdict, "left out") && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(controls, "cells"))) {
            text_add(out, "\n");
            print_cells(controls, options, out);
        }
    }
}

void report_warn_controls(const cJSON *block, const report_options *options, text *out)
{
    const cJSON *controls = controls_of(block), *reasons = cJSON_GetObjectItemCaseSensitive(controls, "reasons");
    if (!strcmp(member_text(controls, "verdict"), "invalid"))
        report_note(options, out, "INVALID, by its controls: %s%s", cJSON_GetStringValue(cJSON_GetArrayItem(reasons, 0)),
                    cJSON_GetArraySize(reasons) > 1 ? "; and more, above" : "");
}
