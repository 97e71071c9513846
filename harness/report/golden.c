/* golden.c - writes and compares committed outcomes, row by row.
 * Rows are known by all fields but the last two, value and standard error, which no CSV needs to quote. */
#include "harness/experiment/document.h"
#include "harness/report/golden.h"
#include "harness/report/report_internal.h"
#include "harness/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "cell,probe,data,label,metric,value,se\n";

static void add_field(text *out, const char *value, char end)
{
    csv_field(out, value);
    text_add(out, "%c", end);
}

static void add_value(text *out, double value, char end)
{
    char digits[32] = "";
    if (isfinite(value))
        number_text(value, digits);
    add_field(out, digits, end);
}

kvant_status golden_results(store *s, const char *experiment, text *csv, kvant_error *err)
{
    static const char missing[] =
        "SELECT count(*) AS cells, count(c.finished) AS finished FROM experiment_cell e JOIN cell c ON c.key = e.cell WHERE "
        "e.experiment = ?1";
    static const char results[] =
        "SELECT " STORE_IDENTITY("c") " AS identity, c.probe, c.data, c.label, m.metric, m.value, m.se "
        "FROM experiment_cell e JOIN cell c ON c.key = e.cell JOIN measurement m ON m.cell = c.key "
        "WHERE e.experiment = ?1 AND m.timing = 0 ORDER BY e.ordinal, c.key, m.metric";
    kvant_status status = report_find(s, experiment, err);
    cJSON *counts = status ? NULL : report_rows(s, missing, experiment, err);
    if (!status && !counts)
        status = KVANT_IO;
    const double cells = member_number(counts ? counts->child : NULL, "cells");
    const double done = member_number(counts ? counts->child : NULL, "finished");
    if (!status && !(cells > 0 && done >= cells))
        status = kvant_fail(err, KVANT_INVALID, "%s: %.0f of %.0f cells of '%s' are finished; run the rest of it first",
                            store_path(s), done, cells, experiment);
    cJSON_Delete(counts);
    cJSON *rows = status ? NULL : report_rows(s, results, experiment, err), *row;
    if (!status && !rows)
        status = KVANT_IO;
    text_add(csv, "%s", head);
    cJSON_ArrayForEach(row, rows) {
        char hash[SHA256_HEX];
        const char *identity = member_text(row, "identity");
        sha256_of(identity, strlen(identity), hash);
        hash[12] = '\0';
        add_field(csv, hash, ',');
        add_field(csv, member_text(row, "probe"), ',');
        add_field(csv, member_text(row, "data"), ',');
        add_field(csv, member_text(row, "label"), ',');
        add_field(csv, member_text(row, "metric"), ',');
        add_value(csv, member_number(row, "value"), ',');
        add_value(csv, member_number(row, "se"), '\n');
    }
    cJSON_Delete(rows);
    return status ? status : csv->failed ? kvant_fail(err, KVANT_NOMEM, "out of memory") : KVANT_OK;
}

/* ---- Comparison ------------------------------------------------------------------------------------------------------------- */

typedef struct { const char *line; size_t key, length; bool met; } row_of;      /* key: bytes up to the value's comma */

/* A label may hold a comma or, in quotes, even a line's end; the last two fields cannot, so rows are cut from behind. */
static row_of *cut(const char *csv, size_t *n)
{
    size_t lines = 1;
    for (const char *p = csv; *p; p++)
        lines += *p == '\n';
    row_of *rows = calloc(lines, sizeof *rows);
    *n = 0;
    const char *p = strncmp(csv, head, strlen(head)) ? csv : csv + strlen(head);
    for (size_t length; rows && *p; p += length + (p[length] == '\n')) {
        length = strcspn(p, "\n");
        row_of *r = &rows[(*n)++];
        *r = (row_of){ p, length, length, false };
        for (int commas = 0; r->key > 0 && commas < 2; )
            commas += p[--r->key] == ',';
    }
    return rows;
}

static double number_at(const char *p) { return *p == ',' || *p == '\n' || *p == '\r' || !*p ? (double)NAN : strtod(p, NULL); }

static bool close_enough(double a, double b, double scale, double tolerance)
{
    return (isnan(a) && isnan(b)) || fabs(a - b) <= tolerance * scale;
}

static bool same_row(const row_of *a, const row_of *b, double tolerance)
{
    if (a->length == b->length && !memcmp(a->line, b->line, a->length))
        return true;
    if (tolerance == 0)
        return false;
    double v[2], e[2];
    for (int i = 0; i < 2; i++) {
        const row_of *r = i ? b : a;
        const char *value = r->line + r->key + (r->key < r->length);
        v[i] = number_at(value);
        e[i] = number_at(value + strcspn(value, ",\n") + 1);
    }
    const double scale = fmax(fmax(fabs(v[0]), fabs(v[1])), fmax(e[0], e[1]));     /* fmax lets a NaN go */
    return close_enough(v[0], v[1], scale, tolerance) && close_enough(e[0], e[1], scale, tolerance);
}

static const char *rest(const row_of *r) { return r->line + r->key + (r->key < r->length); }
static int rest_length(const row_of *r) { return (int)(r->length - r->key - (r->key < r->length)); }

kvant_status golden_compare(const char *committed, const char *computed, double tolerance, text *changes, size_t *n, kvant_error *err)
{
    size_t n_old, n_new, at = 0;
    row_of *old = cut(committed, &n_old), *new = cut(computed, &n_new);
    *n = 0;
    if (!old || !new) {
        free(old);
        free(new);
        return kvant_fail(err, KVANT_NOMEM, "no memory to compare results");
    }
    for (size_t i = 0; i < n_new; i++) {
        row_of *found = NULL;
        for (size_t k = 0; k < n_old && !found; k++) {      /* most often it is the next one */
            row_of *o = &old[(at + k) % n_old];
            if (!o->met && o->key == new[i].key && !memcmp(o->line, new[i].line, o->key))
                found = o;
        }
        if (found) {
            found->met = true;
            at = (size_t)(found - old) + 1;
            if (same_row(found, &new[i], tolerance))
                continue;
            text_add(changes, "%.*s: committed %.*s, computed %.*s\n", (int)new[i].key, new[i].line, rest_length(found), rest(found),
                     rest_length(&new[i]), rest(&new[i]));
        } else
            text_add(changes, "%.*s: not among the committed\n", (int)new[i].key, new[i].line);
        ++*n;
    }
    for (size_t k = 0; k < n_old; k++)
        if (!old[k].met) {
            text_add(changes, "%.*s: committed, not computed\n", (int)old[k].key, old[k].line);
            ++*n;
        }
    free(old);
    free(new);
    return changes->failed ? kvant_fail(err, KVANT_NOMEM, "out of memory") : KVANT_OK;
}
