/* report_samples.c - the raw samples behind each cell of a report, for formats that carry or compute from them. */
#include "harness/report/format.h"

static kvant_status add_samples(store *s, cJSON *cell, kvant_error *err)
{
    static const char sql[] =
        "SELECT metric, unit, chunk, idx, value, n FROM sample WHERE cell = ?1 ORDER BY metric, unit, chunk, idx";
    cJSON *rows = report_rows(s, sql, member_text(cell, "cell"), err);
    if (!rows)
        return KVANT_IO;
    if (cJSON_AddItemToObject(cell, "samples", rows))
        return KVANT_OK;
    cJSON_Delete(rows);
    return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s));
}

kvant_status report_samples(store *s, cJSON *report, kvant_error *err)
{
    cJSON *block, *cell;
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
            status = status ? status : add_samples(s, cell, err);
        cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(block, "controls"), "cells"))
            if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cell, "added")))
                status = status ? status : add_samples(s, cell, err);
    }
    return status;
}
