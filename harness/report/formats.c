/* formats.c - the table of formats, and what is done in each of them: a report, answers to comparisons, the list of experiments.
 * A new format is a file with its functions, a name in report.h and a line here. */
#include "harness/report/compare_internal.h"
#include "harness/report/format.h"
#include "harness/report/report_text.h"

#include <string.h>

static const report_kind *const kinds[] = {
    [REPORT_TABLE] = &format_table, [REPORT_MARKDOWN] = &format_md, [REPORT_CSV] = &format_csv, [REPORT_JSON] = &format_json,
    [REPORT_LATEX] = &format_latex, [REPORT_HTML] = &format_html, [REPORT_SQL] = &format_sql,
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const report_kind *report_kind_of(report_format format) { return kinds[format]; }

bool report_format_find(const char *name, report_format *format, kvant_error *err)
{
    const char *names[KINDS + 1] = { NULL };
    for (size_t i = 0; i < KINDS; i++) {
        names[i] = kinds[i]->name;
        if (!strcmp(name, names[i])) {
            *format = (report_format)i;
            return true;
        }
    }
    text all = { 0 };
    for (size_t i = 0; i < KINDS; i++)
        text_add(&all, "%s%s", i == 0 ? "" : i + 1 == KINDS ? " or " : ", ", names[i]);
    const char *near = nearest_name(name, names);
    kvant_fail(err, KVANT_INVALID, "must be %s%s%s%s", all.data ? all.data : "", near ? "; did you mean " : "", near ? near : "",
               near ? "?" : "");
    text_free(&all);
    return false;
}

static kvant_status lacks(const report_kind *kind, const char *what, kvant_error *err)
{
    return kvant_fail(err, KVANT_INVALID, "--format %s holds no %s; take table, md, csv, json, latex or html", kind->name, what);
}

static kvant_status finished(const text *out, const char *what, kvant_error *err)
{
    return out->failed ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", what) : KVANT_OK;
}

static void begin(const report_pen *pen, const char *title, const report_options *options, text *out)
{
    if (pen->begin)
        pen->begin(title, options, out);
}

static void end(const report_pen *pen, const cJSON *report, const report_options *options, text *out)
{
    if (pen->end)
        pen->end(report, options, out);
}

kvant_status report_put(store *s, cJSON *report, const report_options *options, text *out, kvant_error *err)
{
    const report_kind *kind = kinds[options->format];
    kvant_status status = kind->prepare ? kind->prepare(s, report, options, err) : KVANT_OK;
    if (!status && kind->report)
        status = kind->report(report, options, out, err);
    else if (!status && kind->pen) {
        begin(kind->pen, options->experiment, options, out);
        report_text(report, options, out);
        end(kind->pen, report, options, out);
    } else if (!status)
        status = lacks(kind, "reports", err);
    return status ? status : finished(out, options->experiment, err);
}

kvant_status report_put_answer(cJSON *answer, const report_options *options, text *out, kvant_error *err)
{
    const report_kind *kind = kinds[options->format];
    kvant_status status = KVANT_OK;
    if (kind->answer)
        status = kind->answer(answer, options, out, err);
    else if (kind->pen) {
        begin(kind->pen, options->experiment, options, out);
        compare_text(answer, options, out);
        end(kind->pen, NULL, options, out);
    } else
        status = lacks(kind, "comparisons", err);
    return status ? status : finished(out, options->experiment, err);
}

kvant_status report_put_list(cJSON *rows, const report_options *options, text *out, kvant_error *err)
{
    static const char *const columns[] = { "experiment", "finished", "cells", "skips" };
    const report_kind *kind = kinds[options->format];
    if (kind->list)
        return kind->list(rows, out, err);
    if (!kind->pen)
        return lacks(kind, "list of experiments", err);
    table t = { .n_columns = sizeof columns / sizeof *columns };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", columns[i]);
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        table_cell(&t, "%s", member_text(row, columns[0]));
        for (size_t i = 1; i < t.n_columns; i++)
            table_cell(&t, "%.0f", member_number(row, columns[i]));
    }
    begin(kind->pen, "experiments", options, out);
    kind->pen->table(&t, options, out);
    end(kind->pen, NULL, options, out);
    table_free(&t);
    return KVANT_OK;
}
