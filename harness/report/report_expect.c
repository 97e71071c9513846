/* report_expect.c - holds an experiment's results against the values that its spec expects: published, computed, verdict.
 * A row speaks of every cell whose config agrees with its `where`; names are those of the spec, and paths into the config do too. */
#include "harness/report/report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A member by name, or by the name that the spec knows it under: parameters lie one level deeper in a config. */
static const cJSON *step(const cJSON *object, const char *name, size_t length)
{
    const cJSON *lists[] = { object, cJSON_GetObjectItemCaseSensitive(object, "params") }, *item;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        cJSON_ArrayForEach(item, lists[i])
            if (item->string && strlen(item->string) == length && !memcmp(item->string, name, length))
                return item;
    return NULL;
}

static const cJSON *resolve(const cJSON *config, const char *path)
{
    const cJSON *at = config;
    for (const char *name = path; at;) {
        size_t length = strcspn(name, ".");
        const cJSON *next = step(at, name, length);
        if (!next && at == config)
            next = step(cJSON_GetObjectItemCaseSensitive(config, "probe"), name, length);
        if (!next && at == config)
            next = step(cJSON_GetObjectItemCaseSensitive(config, "data"), name, length);
        at = next;
        if (!name[length])
            break;
        name += length + 1;
    }
    /* "model": "NAME", "key": "f16" name a thing by one of its members. */
    const cJSON *quantizer = cJSON_GetObjectItemCaseSensitive(at, "quantizer"), *named = cJSON_GetObjectItemCaseSensitive(at, "name");
    return quantizer ? quantizer : named ? named : at;
}

/* A parameter named without its side must be the same on all that there are. */
static bool sides_agree(const cJSON *config, const cJSON *wanted)
{
    static const char *const sides[] = { "key", "value", "vector" };
    bool any = false;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        const cJSON *side = cJSON_GetObjectItemCaseSensitive(config, sides[i]);
        if (side && !cJSON_Compare(wanted, step(side, wanted->string, strlen(wanted->string)), true))
            return false;
        any = any || side;
    }
    return any;
}

bool report_agrees(const cJSON *where, const cJSON *cell)
{
    const cJSON *wanted, *config = cJSON_GetObjectItemCaseSensitive(cell, "config");
    cJSON_ArrayForEach(wanted, where) {
        const cJSON *found = resolve(config, wanted->string);
        if (found ? !cJSON_Compare(wanted, found, true) : !sides_agree(config, wanted))
            return false;
    }
    return true;
}

/* What a cell has of a metric; se is NaN where there is none. */
typedef struct { bool there; double value, se; } computed;

/* A metric that the cell's probe measured, or the bits that the cell itself knows. */
static computed computed_of(const cJSON *cell, const char *metric)
{
    const cJSON *row;
    if (!strcmp(metric, "bits_stored") || !strcmp(metric, "bits_asked"))
        return (computed){ true, member_number(cell, metric), NAN };
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements"))
        if (!strcmp(member_text(row, "metric"), metric))
            return (computed){ true, member_number(row, "value"), member_number(row, "se") };
    return (computed){ false, NAN, NAN };
}

static void add_copy(cJSON *to, const cJSON *from, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);
    if (item)
        cJSON_AddItemToObject(to, name, cJSON_Duplicate(item, true));
}

/* What the row allows: the rounding of the published value, and a multiple of the measurement's own error. */
static double allowed(const cJSON *expected, double published, double se)
{
    double tolerance = member_number(expected, "tolerance"), relative = member_number(expected, "relative_tolerance");
    double sigma = member_number(expected, "sigma"), rounding = !isnan(tolerance) ? tolerance : !isnan(relative) ? relative * fabs(published) : 0;
    return isnan(sigma) ? rounding : rounding + sigma * se;
}

/* cell NULL: nothing was computed. */
static void add_row(cJSON *rows, const cJSON *expected, const cJSON *block, const cJSON *cell, computed c)
{
    cJSON *row = cJSON_CreateObject();
    double published = member_number(expected, "value"), tolerance = allowed(expected, published, c.se);
    add_copy(row, expected, "where");
    add_copy(row, expected, "metric");
    if (cell) {
        add_copy(row, block, "probe");
        add_copy(row, cell, "label");
    }
    add_number(row, "published", published);
    add_number(row, "computed", c.value);
    add_number(row, "se", c.se);
    add_number(row, "difference", c.value - published);
    add_number(row, "tolerance", tolerance);
    const char *verdict = !c.there ? "not computed" : fabs(c.value - published) <= tolerance ? "met" : "not met";
    cJSON_AddStringToObject(row, "verdict", verdict);
    add_copy(row, expected, "source");
    cJSON_AddItemToArray(rows, row);
}

kvant_status report_expect(cJSON *report, const char *spec, kvant_error *err)
{
    cJSON *parsed = cJSON_Parse(spec ? spec : ""), *rows = cJSON_AddArrayToObject(report, "expect");
    if (!parsed || !rows) {
        cJSON_Delete(parsed);
        return kvant_fail(err, KVANT_INVALID, "%s: its spec in the store is no JSON; run the experiment again",
                          member_text(report, "experiment"));
    }
    const cJSON *expected, *block, *cell;
    cJSON_ArrayForEach(expected, cJSON_GetObjectItemCaseSensitive(parsed, "expect")) {
        bool found = false;
        cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks"))
            cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
                computed c = computed_of(cell, member_text(expected, "metric"));
                if (!c.there || !report_agrees(cJSON_GetObjectItemCaseSensitive(expected, "where"), cell))
                    continue;
                add_row(rows, expected, block, cell, c);
                found = true;
            }
        if (!found)
            add_row(rows, expected, NULL, NULL, (computed){ false, NAN, NAN });
    }
    cJSON_Delete(parsed);
    return KVANT_OK;
}

bool report_met(const cJSON *report)
{
    bool complete = member_number(report, "finished") >= member_number(report, "cells");
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "expect")) {
        const char *verdict = member_text(row, "verdict");
        if (strcmp(verdict, "met") && (complete || strcmp(verdict, "not computed")))
            return false;
    }
    return true;
}
