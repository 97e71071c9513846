/* report_controls.c - whether the controls of an experiment came out as they must: f16 twice alike, control_broken last, 4 bits no
 * better than 8. Where they did not, no figure of that table is to be believed, and the verdict says why; where one could not run,
 * which. */
#include "harness/experiment/controls.h"
#include "harness/measure/stats.h"
#include "harness/report/compare_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One block at work, and what its controls are judged by. */
typedef struct {
    store *s;
    const cJSON *reference;        /* NULL: not finished */
    const probe_metric *metric;
    cJSON *reasons;
} judge;

static void object(judge *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void object(judge *j, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    cJSON_AddItemToArray(j->reasons, cJSON_CreateString(reason));
}

/* ---- Numbers of the store ------------------------------------------------------------------------------------------------- */

/* The one number that a query on two texts comes to. */
static kvant_status count(store *s, const char *sql, const char *first, const char *second, size_t *n, kvant_error *err)
{
    sqlite3_stmt *row = NULL;
    const bool ok = sqlite3_prepare_v2(store_sql(s), sql, -1, &row, NULL) == SQLITE_OK &&
                    sqlite3_bind_text(row, 1, first, -1, SQLITE_STATIC) == SQLITE_OK &&
                    sqlite3_bind_text(row, 2, second, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW;
    if (ok)
        *n = (size_t)sqlite3_column_int64(row, 0);
    else
        kvant_fail(err, KVANT_IO, "%s: cannot read the store: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
    sqlite3_finalize(row);
    return ok ? KVANT_OK : KVANT_IO;
}

/* By how much the second cell is worse than the first, paired by chunk; NaN where their chunks are not the same. */
typedef struct { double mean; stats_interval interval; } worse;

static kvant_status worse_by(const judge *j, const cJSON *first, const cJSON *second, worse *out, kvant_error *err)
{
    differences d = { 0 };
    kvant_status status = compare_clusters(j->s, second, first, false, j->metric->name, false, &d, err);
    *out = (worse){ NAN, { NAN, NAN } };
    if (!status && d.n && d.n == d.n_a && d.n == d.n_b) {
        for (size_t i = 0; i < d.n; i++)
            d.x[i] *= -j->metric->better;
        const stats_mean mean = stats_clustered(d.x, d.w, d.n);
        *out = (worse){ mean.mean, stats_t(mean, .95) };
    }
    free(d.x);
    return status;
}

/* ---- What must hold ------------------------------------------------------------------------------------------------------- */

static const cJSON *control_of(const cJSON *controls, const char *role)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, controls)
        if (!strcmp(member_text(cell, "role"), role))
            return cell;
    return NULL;
}

/* All samples alike, digests of logits too; or, where the probe itself runs f16 twice, no distance between the two. */
static kvant_status judge_again(judge *j, const kvant_probe *probe, const cJSON *controls, kvant_error *err)
{
    static const char differ[] =
        "SELECT count(*) FROM sample a LEFT JOIN sample b ON b.cell = ?2 AND b.unit = a.unit AND b.metric = a.metric "
        "AND b.chunk = a.chunk AND b.idx = a.idx WHERE a.cell = ?1 AND (b.cell IS NULL OR a.value IS NOT b.value OR a.n IS NOT b.n)";
    static const char far[] = "SELECT count(*) FROM sample WHERE cell = ?1 AND metric = ?2 AND value IS NOT 0.0";
    const cJSON *again = control_of(controls, CONTROL_AGAIN);
    size_t n = 0, back = 0;
    if (!j->reference || !(probe->repeats_reference || again))
        return KVANT_OK;
    const char *first = member_text(j->reference, "cell"), *second = member_text(again, "cell");
    kvant_status status = probe->repeats_reference ? count(j->s, far, first, j->metric->name, &n, err)
                                                   : count(j->s, differ, first, second, &n, err);
    if (!status && again)
        status = count(j->s, differ, second, first, &back, err);
    n = n > back ? n : back;
    if (!status && n)
        object(j, "%s run twice differs from itself in %zu value%s", member_text(j->reference, "label"), n, n == 1 ? "" : "s");
    return status;
}

static void not_last(judge *j, const cJSON *cell, worse w, const char *why)
{
    object(j, CONTROL_BROKEN " %s %s: it is worse by %.4g [%.4g, %.4g] in %s", why, member_text(cell, "label"), w.mean, w.interval.lo,
           w.interval.hi, j->metric->name);
}

/* Worse than every cell, and beyond doubt than the reference: else the measure tells nothing here. Of the controls, those that the
 * spec names stand among its cells. */
static kvant_status judge_broken(judge *j, const cJSON *broken, const cJSON *cells, kvant_error *err)
{
    const cJSON *cell;
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(cell, cells) {
        worse w;
        if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(cell, "added")))
            continue;
        if (!strcmp(member_text(cell, "key_quantizer"), CONTROL_BROKEN) ||
            !strcmp(member_text(cell, "value_quantizer"), CONTROL_BROKEN))
            continue;              /* with sinks, say, or on one side: as good as it pleases */
        status = worse_by(j, cell, broken, &w, err);
        if (status)
            return status;
        if (!(w.mean > 0))
            not_last(j, cell, w, "does not rank last, behind");
        else if (cell == j->reference && w.interval.lo <= 0)
            not_last(j, cell, w, "is not told from");
    }
    return status;
}

static kvant_status judge_order(judge *j, const cJSON *controls, const cJSON *cells, kvant_error *err)
{
    const cJSON *eight = control_of(controls, CONTROL_Q8_0), *four = control_of(controls, CONTROL_Q4_0);
    const cJSON *broken = control_of(controls, CONTROL_BROKEN);
    worse w = { NAN, { NAN, NAN } };
    kvant_status status = eight && four ? worse_by(j, eight, four, &w, err) : KVANT_OK;
    if (!status && w.interval.hi < 0)
        object(j, CONTROL_Q8_0 " is worse than " CONTROL_Q4_0 " by %.4g [%.4g, %.4g] in %s", -w.mean, -w.interval.hi, -w.interval.lo,
               j->metric->name);
    if (!status && broken)
        status = judge_broken(j, broken, cells, err);
    return !status && broken ? judge_broken(j, broken, controls, err) : status;
}

/* ---- The controls of a block ---------------------------------------------------------------------------------------------- */

/* The finished cell of a control, out of the block's cells if the spec does not name it, else a copy of it; NULL: not finished. */
static cJSON *take_cell(cJSON *cells, const char *key, bool added)
{
    cJSON *cell;
    cJSON_ArrayForEach(cell, cells)
        if (!strcmp(member_text(cell, "cell"), key))
            return added ? cJSON_DetachItemViaPointer(cells, cell) : cJSON_Duplicate(cell, true);
    return NULL;
}

static const cJSON *find_metric(const cJSON *cell, const char *list, const char *metric)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, list))
        if (!strcmp(member_text(row, "metric"), metric))
            return row;
    return NULL;
}

/* Puts a cell among the controls with what it is judged by, which stays when a report is asked for other metrics. */
static void put_control(cJSON *controls, cJSON *cell, const char *role, bool added, const char *metric)
{
    const cJSON *measured = find_metric(cell, "measurements", metric), *difference = find_metric(cell, "differences", metric);
    cJSON_AddStringToObject(cell, "role", role);
    cJSON_AddBoolToObject(cell, "added", added);
    cJSON_AddItemToObject(cell, "judged", measured ? cJSON_Duplicate(measured, true) : cJSON_CreateNull());
    cJSON_AddItemToObject(cell, "judged_difference", difference ? cJSON_Duplicate(difference, true) : cJSON_CreateNull());
    cJSON_AddItemToArray(controls, cell);
}

static const cJSON *reference_of(const cJSON *block)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        if (member_number(cell, "reference") == 1)
            return cell;
    return NULL;
}

/* rows: the experiment's controls, in their order. */
static kvant_status judge_block(store *s, const cJSON *rows, const kvant_probe *probe, cJSON *block, kvant_error *err)
{
    cJSON *report = cJSON_AddObjectToObject(block, "controls"), *cells = cJSON_GetObjectItemCaseSensitive(block, "cells");
    judge j = { .s = s, .reference = reference_of(block), .metric = probe_metric_find(probe, probe->control_metric) };
    bool asked = false, missing = !j.reference;
    cJSON *verdict = cJSON_AddStringToObject(report, "verdict", ""), *controls, *skipped;
    cJSON_AddStringToObject(report, "metric", probe->control_metric);
    j.reasons = cJSON_AddArrayToObject(report, "reasons");
    controls = cJSON_AddArrayToObject(report, "cells");
    skipped = cJSON_AddArrayToObject(report, "skips");
    if (!verdict || !j.reasons || !controls || !skipped)
        return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s));
    if (j.reference)
        put_control(controls, cJSON_Duplicate(j.reference, true), "reference", false, probe->control_metric);
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        if (strcmp(member_text(row, "pairing"), member_text(block, "pairing")))
            continue;
        const char *role = member_text(row, "role"), *why = member_text(row, "reason");
        const bool added = member_number(row, "added") == 1;
        cJSON *cell = take_cell(cells, member_text(row, "cell"), added);
        asked = true;
        if (cell) {
            put_control(controls, cell, role, added, probe->control_metric);
        } else if (*why) {
            cJSON_AddItemToArray(skipped, cJSON_Duplicate(row, true));
        } else
            missing = true;
    }
    kvant_status status = asked ? judge_again(&j, probe, controls, err) : KVANT_OK;
    if (!status && asked)
        status = judge_order(&j, controls, cells, err);
    const char *word = !asked ? "left out" : cJSON_GetArraySize(j.reasons) ? "invalid" : missing ? "unfinished"
                       : cJSON_GetArraySize(skipped) ? "incomplete" : "valid";
    if (!cJSON_SetValuestring(verdict, word) && !status)
        status = kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s));
    return status;
}

kvant_status report_controls(store *s, const char *experiment, cJSON *report, kvant_error *err)
{
    static const char sql[] =
        "SELECT k.pairing, k.role, k.cell, k.added, coalesce(k.reason, (SELECT x.reason FROM skip x JOIN cell c ON c.config = "
        "x.config "
        "WHERE x.experiment = k.experiment AND c.key = k.cell)) AS reason FROM control k WHERE k.experiment = ?1 "
        "ORDER BY k.pairing, "
        "instr('" CONTROL_AGAIN " " CONTROL_Q8_0 " " CONTROL_Q4_0 " " CONTROL_HADAMARD " " CONTROL_BROKEN "', k.role)";
    cJSON *rows = report_rows(s, sql, experiment, err), *block;
    kvant_status status = rows ? KVANT_OK : KVANT_IO;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        const kvant_probe *probe = probe_find(member_text(block, "probe"), NULL);
        if (!status && probe && probe->control_metric)
            status = judge_block(s, rows, probe, block, err);
    }
    cJSON_Delete(rows);
    return status;
}

bool report_controlled(const cJSON *report)
{
    const cJSON *block;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks"))
        if (!strcmp(member_text(cJSON_GetObjectItemCaseSensitive(block, "controls"), "verdict"), "invalid"))
            return false;
    return true;
}
