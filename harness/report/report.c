/* report.c - writes a report, or the list of a store's experiments, in the format asked for. */
#include "harness/report/report_internal.h"

kvant_status report_write(store *s, const report_options *options, text *out, bool *met, kvant_error *err)
{
    cJSON *report;
    kvant_status status = report_load(s, options->experiment, &report, err);
    if (status != KVANT_OK)
        return status;
    *met = report_met(report) && report_controlled(report);
    status = report_select(report, options, err);
    if (status == KVANT_OK)
        status = report_put(s, report, options, out, err);
    cJSON_Delete(report);
    return status;
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
    kvant_status status = report_put_list(rows, &(report_options){ .format = format }, out, err);
    cJSON_Delete(rows);
    return !status && out->failed ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s)) : status;
}
