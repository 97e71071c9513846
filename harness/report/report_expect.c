/* report_expect.c - holds an experiment's results against the values that its spec expects: published, computed, verdict.
 * A row speaks of every cell whose config agrees with its `where`; names are those of the spec, and paths into the config do too. */
#include "harness/experiment/spec.h"
#include "harness/formula.h"
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

/* A cache's policy at its default, which the config leaves out. */
static bool left_out_agrees(const cJSON *config, const cJSON *wanted)
{
    const char *meant = cJSON_GetObjectItemCaseSensitive(config, "key") ? spec_left_out(wanted->string) : NULL;
    return meant && cJSON_IsString(wanted) && !strcmp(wanted->valuestring, meant);
}

bool report_agrees(const cJSON *where, const cJSON *cell)
{
    const cJSON *wanted, *config = cJSON_GetObjectItemCaseSensitive(cell, "config");
    cJSON_ArrayForEach(wanted, where) {
        const cJSON *found = resolve(config, wanted->string);
        if (found ? !cJSON_Compare(wanted, found, true) : !left_out_agrees(config, wanted) && !sides_agree(config, wanted))
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

/* Its paired difference to the reference. */
static computed difference_of(const cJSON *cell, const char *metric)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "differences"))
        if (!strcmp(member_text(row, "metric"), metric))
            return (computed){ true, member_number(row, "difference"), member_number(row, "se") };
    return (computed){ false, NAN, NAN };
}

/* ---- Formulas ------------------------------------------------------------------------------- */

/* Where the names of a row's formula are looked up: a cell, and all blocks, of which one is its own. */
typedef struct { const cJSON *report, *expected, *block, *cell; } place;

static const cJSON *reference_of(const cJSON *block)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cell, "reference")) || member_number(cell, "reference") == 1)
            return cell;
    return NULL;
}

/* The one cell of the block that agrees with `against`; NULL: none, or several. */
static const cJSON *only_cell(const cJSON *block, const cJSON *against, const char *metric, size_t *n)
{
    const cJSON *cell, *found = NULL;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        if (computed_of(cell, metric).there && report_agrees(against, cell)) {
            found = cell;
            ++*n;
        }
    return *n == 1 ? found : NULL;
}

/* What a row is held against: in the cell's own block, where there is one such cell, or else the only one of the experiment. */
static const cJSON *other_cell(const place *p, const char *metric)
{
    const cJSON *against = cJSON_GetObjectItemCaseSensitive(p->expected, "against"), *block, *found;
    size_t n = 0;
    if (!against)
        return NULL;
    found = only_cell(p->block, against, metric, &n);
    if (n)
        return found;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(p->report, "blocks")) {
        const cJSON *one = only_cell(block, against, metric, &n);
        found = one ? one : found;
    }
    return n == 1 ? found : NULL;
}

static bool look_up(const void *user, const char *name, double *value)
{
    static const char *const owners[] = { "reference.", "difference.", "other." };
    const place *p = user;
    computed c;
    if (!strncmp(name, owners[0], strlen(owners[0])))
        c = computed_of(reference_of(p->block), name + strlen(owners[0]));
    else if (!strncmp(name, owners[1], strlen(owners[1])))
        c = difference_of(p->cell, name + strlen(owners[1]));
    else if (!strncmp(name, owners[2], strlen(owners[2])))
        c = computed_of(other_cell(p, name + strlen(owners[2])), name + strlen(owners[2]));
    else
        c = computed_of(p->cell, name);
    *value = c.value;
    return c.there;
}

/* What a row asks of a cell. A formula that names what the cell lacks is not there. */
static computed computed_for(const place *p)
{
    const char *formula = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(p->expected, "formula"));
    const char *metric = member_text(p->expected, "metric");
    static const char paired[] = "difference.";
    kvant_error why;
    computed c = { false, NAN, NAN };
    if (formula)
        c.there = formula_value(formula, p->cell ? look_up : NULL, p, &c.value, &why) == KVANT_OK;
    else if (!strncmp(metric, paired, strlen(paired)))
        c = difference_of(p->cell, metric + strlen(paired));
    else
        c = computed_of(p->cell, metric);
    return c;
}

static void add_copy(cJSON *to, const cJSON *from, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);
    if (item)
        cJSON_AddItemToObject(to, name, cJSON_Duplicate(item, true));
}

/* ---- Verdicts ------------------------------------------------------------------------------- */

/* What the row allows: the rounding of the value, and a multiple of the measurement's own error. */
static double allowed(const cJSON *expected, double value, double se)
{
    double tolerance = member_number(expected, "tolerance"), relative = member_number(expected, "relative_tolerance");
    double sigma = member_number(expected, "sigma");
    double rounding = !isnan(tolerance) ? tolerance : !isnan(relative) ? relative * fabs(value) : 0;
    return isnan(sigma) ? rounding : rounding + sigma * se;
}

/* The bound is kept, broken, or within the measurement's error. over: by how much it is exceeded. */
static const char *bound_verdict(const cJSON *expected, double published, computed c)
{
    const double over = !strcmp(member_text(expected, "bound"), "upper") ? c.value - published : published - c.value;
    const double sigma = member_number(expected, "sigma"), noise = isnan(sigma) ? 0 : sigma * c.se;
    const double rounding = allowed(expected, published, c.se) - noise;
    if (over + noise <= rounding)
        return "met";
    return over - noise <= rounding ? "undecided" : "not met";
}

static const char *verdict_of(const cJSON *expected, double published, computed c)
{
    const cJSON *correct = cJSON_GetObjectItemCaseSensitive(expected, "correct");
    if (!c.there)
        return "not computed";
    if (cJSON_GetObjectItemCaseSensitive(expected, "bound"))
        return bound_verdict(expected, published, c);
    const bool as_published = fabs(c.value - published) <= allowed(expected, published, c.se);
    if (!correct)
        return as_published ? "met" : "not met";
    /* That a paper errs must be shown: what is right comes out, and what it prints does not. */
    const double right = member_number(expected, "correct");
    return fabs(c.value - right) <= allowed(expected, right, c.se) && !as_published ? "published error" : "not met";
}

/* p->cell NULL: no cell's. */
static void add_row(cJSON *rows, const place *p, computed c)
{
    static const char *const said[] = { "where", "metric", "bound", "formula", "against", "correct" };
    const cJSON *expected = p->expected;
    const bool beside = cJSON_GetObjectItemCaseSensitive(expected, "beside");
    cJSON *row = cJSON_CreateObject();
    double published = member_number(expected, "value"), correct = member_number(expected, "correct");
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        add_copy(row, expected, said[i]);
    if (p->cell) {
        add_copy(row, p->block, "probe");
        add_copy(row, p->cell, "label");
    }
    add_number(row, "published", published);
    add_number(row, "computed", c.value);
    add_number(row, "se", c.se);
    add_number(row, "difference", c.value - published);
    add_number(row, "tolerance", beside ? NAN : allowed(expected, isnan(correct) ? published : correct, c.se));
    /* Without a where there is nothing that could have been computed. */
    const bool nothing = beside && !cJSON_GetObjectItemCaseSensitive(expected, "where");
    cJSON_AddStringToObject(row, "verdict", beside && (c.there || nothing) ? "shown beside" : verdict_of(expected, published, c));
    add_copy(row, expected, "source");
    const char *note = member_text(expected, beside ? "beside" : "error");
    if (*note)
        cJSON_AddStringToObject(row, "note", note);
    cJSON_AddItemToArray(rows, row);
}

/* A formula over printed figures alone has no cell. */
static bool of_no_cell(const cJSON *expected)
{
    const char *formula = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(expected, "formula"));
    bool names = false;
    kvant_error why;
    if (!formula)
        return cJSON_GetObjectItemCaseSensitive(expected, "beside") && !cJSON_GetObjectItemCaseSensitive(expected, "where");
    return formula_check(formula, &names, &why) == KVANT_OK && !names;
}

static void add_rows(cJSON *rows, const cJSON *report, const cJSON *expected)
{
    place p = { .report = report, .expected = expected };
    bool found = false;
    if (of_no_cell(expected)) {
        add_row(rows, &p, computed_for(&p));
        return;
    }
    cJSON_ArrayForEach(p.block, cJSON_GetObjectItemCaseSensitive(report, "blocks"))
        cJSON_ArrayForEach(p.cell, cJSON_GetObjectItemCaseSensitive(p.block, "cells")) {
            computed c = { false, NAN, NAN };
            if (report_agrees(cJSON_GetObjectItemCaseSensitive(expected, "where"), p.cell))
                c = computed_for(&p);
            if (!c.there)
                continue;
            add_row(rows, &p, c);
            found = true;
        }
    p.block = p.cell = NULL;
    if (!found)
        add_row(rows, &p, (computed){ false, NAN, NAN });
}

kvant_status report_expect(cJSON *report, const char *json, kvant_error *err)
{
    cJSON *parsed = cJSON_Parse(json ? json : ""), *rows = cJSON_AddArrayToObject(report, "expect");
    if (!parsed || !rows) {
        cJSON_Delete(parsed);
        return kvant_fail(err, KVANT_INVALID, "%s: its spec in the store is no JSON; run the experiment again",
                          member_text(report, "experiment"));
    }
    const cJSON *expected;
    cJSON_ArrayForEach(expected, cJSON_GetObjectItemCaseSensitive(parsed, "expect"))
        add_rows(rows, report, expected);
    cJSON_Delete(parsed);
    return KVANT_OK;
}

bool report_met(const cJSON *report)
{
    bool complete = member_number(report, "finished") >= member_number(report, "cells");
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "expect")) {
        const char *verdict = member_text(row, "verdict");
        if (!strcmp(verdict, "not met") || (complete && !strcmp(verdict, "not computed")))
            return false;
    }
    return true;
}
