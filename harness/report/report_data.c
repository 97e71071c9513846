/* report_data.c - reads an experiment from the store's views into one JSON document.
 * Queries become arrays of objects by column name, so that a column added to a view needs no code here. */
#include "harness/report/report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Rows to JSON ------------------------------------------------------------------------------------------------------- */

const char *member_text(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return value ? value : "";
}

double member_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

void add_number(cJSON *to, const char *name, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(to, name, value);
    else
        cJSON_AddNullToObject(to, name);
}

/* Columns that hold JSON become part of the document. */
static bool holds_json(const char *column)
{
    return !strcmp(column, "config") || !strcmp(column, "other_config") || !strcmp(column, "settings") ||
           !strcmp(column, "key_params") || !strcmp(column, "value_params");
}

static cJSON *value_of(sqlite3_stmt *row, int i)
{
    switch (sqlite3_column_type(row, i)) {
    case SQLITE_NULL: return cJSON_CreateNull();
    case SQLITE_INTEGER:
    case SQLITE_FLOAT: return cJSON_CreateNumber(sqlite3_column_double(row, i));
    }
    const char *value = (const char *)sqlite3_column_text(row, i);
    cJSON *parsed = value && holds_json(sqlite3_column_name(row, i)) ? cJSON_Parse(value) : NULL;
    return parsed ? parsed : cJSON_CreateString(value ? value : "");
}

static cJSON *object_of(sqlite3_stmt *row)
{
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; object && i < sqlite3_column_count(row); i++) {
        cJSON *value = value_of(row, i);
        if (!cJSON_AddItemToObject(object, sqlite3_column_name(row, i), value)) {
            cJSON_Delete(value);
            cJSON_Delete(object);
            return NULL;
        }
    }
    return object;
}

static cJSON *collect(store *s, sqlite3_stmt *statement, kvant_error *err)
{
    cJSON *array = cJSON_CreateArray();
    int rc = SQLITE_NOMEM;
    while (array && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        cJSON *object = object_of(statement);
        if (!cJSON_AddItemToArray(array, object)) {
            cJSON_Delete(object);
            rc = SQLITE_NOMEM;
            break;
        }
    }
    if (rc == SQLITE_DONE)
        return array;
    cJSON_Delete(array);
    if (rc == SQLITE_NOMEM)
        kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s));
    else
        kvant_fail(err, KVANT_IO, "%s: cannot read the store: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
    return NULL;
}

cJSON *report_rows(store *s, const char *sql, const char *parameter, kvant_error *err)
{
    sqlite3_stmt *statement = NULL;
    cJSON *array = NULL;
    if (sqlite3_prepare_v2(store_sql(s), sql, -1, &statement, NULL) != SQLITE_OK ||
        (parameter && sqlite3_bind_text(statement, 1, parameter, -1, SQLITE_STATIC) != SQLITE_OK))
        kvant_fail(err, KVANT_IO, "%s: cannot read the store: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
    else
        array = collect(s, statement, err);
    sqlite3_finalize(statement);
    return array;
}

/* ---- Settings ----------------------------------------------------------------------------------------------------------- */

/* Depth and length of needles are the axes of one grid, not settings that set blocks apart. */
static bool is_grid_axis(const char *probe, const char *name)
{
    return !strcmp(probe, "needle") && (!strcmp(name, "depth") || !strcmp(name, "length"));
}

/* Parameters of probe and data, in one object. */
static cJSON *settings_of(const cJSON *cell)
{
    cJSON *settings = cJSON_CreateObject();
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(cell, "config");
    static const char *const parts[] = { "probe", "data" };
    for (size_t i = 0; settings && i < sizeof parts / sizeof *parts; i++) {
        const cJSON *part = cJSON_GetObjectItemCaseSensitive(config, parts[i]), *param;
        cJSON_ArrayForEach(param, cJSON_GetObjectItemCaseSensitive(part, "params"))
            if (!is_grid_axis(member_text(cell, "probe"), param->string) && !cJSON_HasObjectItem(settings, param->string))
                cJSON_AddItemToObject(settings, param->string, cJSON_Duplicate(param, true));
    }
    return settings;
}

static bool same_subject(const cJSON *a, const cJSON *b)
{
    return !strcmp(member_text(a, "probe"), member_text(b, "probe")) && !strcmp(member_text(a, "model"), member_text(b, "model")) &&
           !strcmp(member_text(a, "data"), member_text(b, "data"));
}

/* Which settings set this block apart from others of the same probe, model and data; where none does, its pairing. */
static void add_differs(const cJSON *blocks, cJSON *block)
{
    text differs = { 0 };
    const cJSON *mine = cJSON_GetObjectItemCaseSensitive(block, "settings"), *param, *other;
    bool twin = false;
    cJSON_ArrayForEach(other, blocks)
        twin = twin || (other != block && same_subject(other, block) &&
                        cJSON_Compare(cJSON_GetObjectItemCaseSensitive(other, "settings"), mine, true));
    cJSON_ArrayForEach(param, mine) {
        bool differ = false;
        cJSON_ArrayForEach(other, blocks)
            differ = differ || (same_subject(other, block) && !cJSON_Compare(param, cJSON_GetObjectItemCaseSensitive(
                                cJSON_GetObjectItemCaseSensitive(other, "settings"), param->string), true));
        char *value = differ ? cJSON_PrintUnformatted(param) : NULL;
        if (value)
            text_add(&differs, "%s%s %s", differs.length ? ", " : "", param->string,
                     cJSON_IsString(param) ? param->valuestring : value);
        cJSON_free(value);
    }
    if (twin)
        text_add(&differs, "%scode %.8s", differs.length ? ", " : "", member_text(block, "pairing"));
    cJSON_AddStringToObject(block, "differs", differs.data ? differs.data : "");
    text_free(&differs);
}

/* ---- Blocks ------------------------------------------------------------------------------------------------------------- */

static cJSON *add_block(cJSON *blocks, const cJSON *cell, cJSON *settings)
{
    cJSON *block = cJSON_CreateObject();
    static const char *const copied[] = { "probe", "model", "data", "pairing" };
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        cJSON_AddItemToObject(block, copied[i], cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(cell, copied[i]), true));
    cJSON_AddItemToObject(block, "settings", settings);
    cJSON_AddArrayToObject(block, "cells");
    cJSON_AddItemToArray(blocks, block);
    return block;
}

/* The block that a cell belongs to: of its pairing, or of its settings where pairings are the points of a grid. */
static cJSON *block_of(cJSON *blocks, const cJSON *cell)
{
    cJSON *block, *settings = settings_of(cell);
    bool grid = !strcmp(member_text(cell, "probe"), "needle");
    cJSON_ArrayForEach(block, blocks) {
        bool same = grid ? cJSON_Compare(cJSON_GetObjectItemCaseSensitive(block, "settings"), settings, true)
                         : !strcmp(member_text(block, "pairing"), member_text(cell, "pairing"));
        if (same && same_subject(block, cell)) {
            cJSON_Delete(settings);
            return block;
        }
    }
    return add_block(blocks, cell, settings);
}

/* Moves the differences of a cell from the front of the list, which is in the order of the cells. */
static cJSON *take_differences(cJSON *differences, const char *cell)
{
    cJSON *mine = cJSON_CreateArray();
    while (differences->child && !strcmp(member_text(differences->child, "cell"), cell)) {
        cJSON *row = cJSON_DetachItemViaPointer(differences, differences->child);
        cJSON_DeleteItemFromObjectCaseSensitive(row, "cell");
        cJSON_AddItemToArray(mine, row);
    }
    return mine;
}

kvant_status report_blocks(store *s, const char *experiment, bool paired, cJSON *report, kvant_error *err)
{
    static const char cells_sql[] =
        "SELECT c.key AS cell, c.probe, c.model, c.data, c.pairing, c.label, c.reference, c.key_quantizer, c.key_params, "
        "c.value_quantizer, c.value_params, c.bits_asked, c.bits_stored, c.config, c.finished, c.run, "
        "e.ordinal + 1 AS number "
        "FROM experiment_cell e JOIN cell c ON c.key = e.cell WHERE e.experiment = ?1 AND c.finished IS NOT NULL ORDER BY c.reference "
        "DESC, c.bits_stored, e.ordinal, c.key";
    static const char paired_sql[] =
        "SELECT cell, metric, reference_value, difference, se, lo, hi, n, timing FROM paired WHERE experiment = ?1 "
        "ORDER BY reference DESC, bits_stored, ordinal, cell, metric";
    static const char measured_sql[] =
        "SELECT metric, value, se, lo, hi, n, unit, better, timing FROM measurement WHERE cell = ?1 ORDER BY metric";
    static const char order_sql[] =
        "SELECT c.pairing FROM experiment_cell e JOIN cell c ON c.key = e.cell WHERE e.experiment = ?1 GROUP BY c.pairing "
        "ORDER BY min(e.ordinal)";
    cJSON *cells = report_rows(s, cells_sql, experiment, err), *blocks = cJSON_AddArrayToObject(report, "blocks"), *block;
    cJSON *differences = !cells ? NULL : paired ? report_rows(s, paired_sql, experiment, err) : cJSON_CreateArray();
    cJSON *order = differences ? report_rows(s, order_sql, experiment, err) : NULL;
    kvant_status status = order ? KVANT_OK : KVANT_IO;
    /* Blocks come in the order of the plan, cells in that of their bits: make the blocks first. */
    const cJSON *pairing, *cell;
    cJSON_ArrayForEach(pairing, order)
        cJSON_ArrayForEach(cell, cells)
            if (!strcmp(member_text(cell, "pairing"), member_text(pairing, "pairing"))) {
                block_of(blocks, cell);
                break;
            }
    while (status == KVANT_OK && cells->child) {
        cJSON *row = cJSON_DetachItemViaPointer(cells, cells->child);
        cJSON *measurements = report_rows(s, measured_sql, member_text(row, "cell"), err);
        cJSON_AddItemToObject(row, "measurements", measurements);
        cJSON_AddItemToObject(row, "differences", take_differences(differences, member_text(row, "cell")));
        cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(block_of(blocks, row), "cells"), row);
        if (!measurements)
            status = KVANT_IO;
    }
    cJSON_ArrayForEach(block, blocks)
        add_differs(blocks, block);
    cJSON_Delete(cells);
    cJSON_Delete(differences);
    cJSON_Delete(order);
    return status;
}

/* ---- The document ------------------------------------------------------------------------------------------------------- */

kvant_status report_find(store *s, const char *experiment, kvant_error *err)
{
    cJSON *known = report_rows(s, "SELECT name FROM experiment ORDER BY name", NULL, err), *row;
    if (!known)
        return KVANT_IO;
    size_t n = 0;
    const char **names = calloc((size_t)cJSON_GetArraySize(known) + 1, sizeof *names);
    bool found = false;
    cJSON_ArrayForEach(row, known) {
        found = found || !strcmp(member_text(row, "name"), experiment);
        if (names)
            names[n++] = member_text(row, "name");
    }
    const char *near = names ? nearest_name(experiment, names) : NULL;
    kvant_status status = KVANT_OK;
    if (!found && near)
        status = kvant_fail(err, KVANT_INVALID, "%s: no experiment '%.100s': did you mean '%.100s'?", store_path(s), experiment, near);
    else if (!found)
        status = kvant_fail(err, KVANT_INVALID, "%s: no experiment '%.100s'; `kvant report` lists the experiments of a store",
                            store_path(s), experiment);
    free(names);
    cJSON_Delete(known);
    return status;
}

kvant_status report_load(store *s, const char *experiment, cJSON **out, kvant_error *err)
{
    *out = NULL;
    kvant_status status = report_find(s, experiment, err);
    if (status != KVANT_OK)
        return status;
    static const char head_sql[] =
        "SELECT x.name AS experiment, count(c.key) AS cells, count(c.finished) AS finished, x.spec FROM experiment x "
        "LEFT JOIN experiment_cell e ON e.experiment = x.name LEFT JOIN cell c ON c.key = e.cell WHERE x.name = ?1 GROUP BY x.name";
    static const char *const lists[][2] = {
        { "needle", "SELECT * FROM needle WHERE experiment = ?1 ORDER BY reference DESC, bits_stored, ordinal" },
        { "identical", "SELECT i.probe, i.metric, i.label, i.other_label, i.pairing, i.other_pairing, x.config, "
                       "y.config AS other_config FROM identical i JOIN cell x ON x.key = i.cell "
                       "JOIN cell y ON y.key = i.other_cell WHERE i.experiment = ?1" },
        { "skips", "SELECT label, reason, config FROM skip WHERE experiment = ?1 ORDER BY label, config" },
        { "runs", "SELECT r.id, r.started, r.version, r.commit_id AS \"commit\", r.dirty, r.compiler, r.flags, r.cpu, r.gpu, "
                  "r.libraries, r.isa, r.threads, r.command, "
                  "count(DISTINCT u.cell) AS cells, sum(u.seconds) AS seconds FROM experiment_cell e "
                  "JOIN unit u ON u.cell = e.cell JOIN run r ON r.id = u.run WHERE e.experiment = ?1 GROUP BY r.id ORDER BY r.id" },
        { "checks", "WITH used AS (SELECT g.quantizer AS name FROM experiment_cell e JOIN cell_group g ON g.cell = e.cell "
                    "WHERE e.experiment = ?1 UNION SELECT c.key_quantizer FROM experiment_cell e JOIN cell c ON c.key = e.cell "
                    "WHERE e.experiment = ?1 UNION SELECT c.value_quantizer FROM experiment_cell e JOIN cell c ON c.key = e.cell "
                    "WHERE e.experiment = ?1) SELECT u.name AS quantizer, k.code_version, sum(k.verdict IS 'pass') AS passed, "
                    "sum(k.verdict IS 'fail') AS failed, sum(k.verdict IS 'skip') AS skipped FROM used u LEFT JOIN \"check\" k "
                    "ON k.quantizer = u.name AND k.code_version = (SELECT l.code_version FROM \"check\" l WHERE l.quantizer = u.name "
                    "ORDER BY l.id DESC LIMIT 1) WHERE u.name IS NOT NULL GROUP BY u.name ORDER BY u.name" },
    };
    cJSON *head = report_rows(s, head_sql, experiment, err);
    if (!head)
        return KVANT_IO;
    cJSON *report = cJSON_DetachItemFromArray(head, 0), *spec = cJSON_DetachItemFromObjectCaseSensitive(report, "spec");
    cJSON_Delete(head);
    cJSON_AddNumberToObject(report, "schema_version", REPORT_SCHEMA);
    status = report_blocks(s, experiment, true, report, err);
    for (size_t i = 0; i < sizeof lists / sizeof *lists && status == KVANT_OK; i++) {
        cJSON *rows = report_rows(s, lists[i][1], experiment, err);
        if (!rows)
            status = KVANT_IO;
        cJSON_AddItemToObject(report, lists[i][0], rows);
    }
    if (status == KVANT_OK)
        status = report_controls(s, experiment, report, err);
    report_identical(report);
    if (status == KVANT_OK)
        status = report_expect(report, cJSON_GetStringValue(spec), err);
    if (status == KVANT_OK)
        cJSON_AddItemToObject(report, "spec", cJSON_Parse(cJSON_GetStringValue(spec)));
    cJSON_Delete(spec);
    if (status == KVANT_OK)
        *out = report;
    else
        cJSON_Delete(report);
    return status;
}

/* ---- Selection ---------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const char *const *metrics, const char *name)
{
    for (; *metrics; metrics++)
        if (!strcmp(*metrics, name))
            return true;
    return false;
}

static void keep_metrics(cJSON *list, const char *const *metrics)
{
    cJSON *row, *next;
    for (row = list ? list->child : NULL; row; row = next) {
        next = row->next;
        if (!is_wanted(metrics, member_text(row, "metric")))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, row));
    }
}

/* Every name of a kind that the report has: probes, or metrics. */
static size_t known_names(const cJSON *report, bool metrics, const char *names[REPORT_METRICS + 1])
{
    size_t n = 0;
    const cJSON *block;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        const char *of_block[REPORT_METRICS] = { member_text(block, "probe") };
        size_t count = metrics ? report_metrics(block, of_block) : 1;
        for (size_t i = 0; i < count && n < REPORT_METRICS; i++) {
            bool known = false;
            for (size_t k = 0; k < n; k++)
                known = known || !strcmp(names[k], of_block[i]);
            if (!known)
                names[n++] = of_block[i];
        }
    }
    names[n] = NULL;
    return n;
}

static kvant_status check_name(const cJSON *report, bool metric, const char *name, kvant_error *err)
{
    const char *known[REPORT_METRICS + 1], *what = metric ? "metric" : "probe";
    known_names(report, metric, known);
    if (is_wanted(known, name))
        return KVANT_OK;
    const char *near = nearest_name(name, known);
    text all = { 0 };
    for (size_t i = 0; known[i]; i++)
        text_add(&all, "%s%s", i ? ", " : "", known[i]);
    kvant_status status =
        near ? kvant_fail(err, KVANT_INVALID, "%s: no results of %s '%.100s': did you mean '%s'?", member_text(report, "experiment"),
                          what, name, near)
             : kvant_fail(err, KVANT_INVALID, "%s: no results of %s '%.100s'; it has %.600s", member_text(report, "experiment"), what,
                          name, all.data ? all.data : "none");
    text_free(&all);
    return status;
}

kvant_status report_select(cJSON *report, const report_options *options, kvant_error *err)
{
    kvant_status status = options->probe ? check_name(report, false, options->probe, err) : KVANT_OK;
    for (const char *const *m = options->metrics; m && *m && status == KVANT_OK; m++)
        status = check_name(report, true, *m, err);
    cJSON *blocks = cJSON_GetObjectItemCaseSensitive(report, "blocks"), *block, *next, *cell;
    for (block = blocks->child; block && status == KVANT_OK; block = next) {
        next = block->next;
        if (options->probe && strcmp(member_text(block, "probe"), options->probe)) {
            cJSON_Delete(cJSON_DetachItemViaPointer(blocks, block));
            continue;
        }
        const cJSON *lists[] = { cJSON_GetObjectItemCaseSensitive(block, "cells"),
                                 cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(block, "controls"), "cells") };
        for (size_t i = 0; options->metrics && i < sizeof lists / sizeof *lists; i++)
            cJSON_ArrayForEach(cell, lists[i]) {
                keep_metrics(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), options->metrics);
                keep_metrics(cJSON_GetObjectItemCaseSensitive(cell, "differences"), options->metrics);
            }
    }
    return status;
}
