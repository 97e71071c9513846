/* plot_data.c - asks a plot's query and writes its rows as blocks that gnuplot reads.
 * Labels may hold anything: what would end a field, a line or a string is replaced, and nothing is left for gnuplot to expand. */
#include "harness/report/compare.h"
#include "harness/report/plot_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void gnuplot_string(text *t, const char *value)
{
    text_add(t, "'");
    for (const char *c = value; *c; c++)
        if (*c == '\'')
            text_add(t, "''");
        else
            text_add(t, "%c", (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
    text_add(t, "'");
}

/* A field of the data file. gnuplot reads backslashes as escapes there and quotes as a field's ends; a field of nothing at all
 * would be a missing one. */
static void add_field(text *t, const char *value)
{
    if (!*value)
        text_add(t, " ");
    for (const char *c = value; *c; c++)
        if (*c == '\\')
            text_add(t, "\\\\");
        else if (*c == '"')
            text_add(t, "”");
        else
            text_add(t, "%c", (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
}

static void add_value(text *t, sqlite3_stmt *row, int column)
{
    switch (sqlite3_column_type(row, column)) {
    case SQLITE_NULL: text_add(t, "NaN"); break;
    case SQLITE_INTEGER: text_add(t, "%lld", (long long)sqlite3_column_int64(row, column)); break;
    case SQLITE_FLOAT: text_add(t, "%.17g", sqlite3_column_double(row, column)); break;
    default: add_field(t, (const char *)sqlite3_column_text(row, column));
    }
}

static const char *text_of(sqlite3_stmt *row, int column)
{
    const char *value = (const char *)sqlite3_column_text(row, column);
    return value ? value : "";
}

/* ---- The query's head and parameters ------------------------------------------------------------------------------------- */

/* The value of ":NAME" in the query's head, "-- :NAME = VALUE  ...", copied; NULL: it has none. */
static char *default_of(const char *sql, const char *parameter)
{
    size_t length = strlen(parameter);
    for (const char *line = sql; !strncmp(line, "--", 2); line += strcspn(line, "\n"), line += *line == '\n') {
        const char *c = line + 2 + strspn(line + 2, " ");
        if (strncmp(c, parameter, length) || !strchr(" =", c[length]))
            continue;
        c += length;
        c += strspn(c, " ");
        if (*c != '=')
            continue;
        c += 1 + strspn(c + 1, " ");
        return strndup(c, strcspn(c, " \n"));
    }
    return NULL;
}

char *plot_title(const char *sql)
{
    const char *c = sql;
    if (!strncmp(c, "--", 2))
        c += 2 + strspn(c + 2, " ");
    return strndup(c, strcspn(c, "\n"));
}

/* The value that --set gives a parameter; the last one counts. */
static const char *given_value(const char *const *sets, const char *name)
{
    const char *value = NULL;
    size_t length = strlen(name);
    for (; sets && *sets; sets++)
        if (!strncmp(*sets, name, length) && (*sets)[length] == '=')
            value = *sets + length + 1;
    return value;
}

/* Numbers as numbers: SQLite holds the text '3' to be no 3. */
static int bind_value(sqlite3_stmt *query, int index, const char *value)
{
    char *end;
    errno = 0;
    double number = strtod(value, &end);
    if (*value && !*end && !errno && isfinite(number))
        return sqlite3_bind_double(query, index, number);
    return sqlite3_bind_text(query, index, value, -1, SQLITE_TRANSIENT);
}

/* What a query may be handed beside parameters of its own: answers of compare.h, as JSON. What is asked comes by these sets. */
static const char *const answers[] = { "comparisons", "correlations" };
static const char *const asked[] = { "question", "a", "b", "x", "y", "metric", NULL };

static bool is_answer(const char *name) { return !strcmp(name, answers[0]) || !strcmp(name, answers[1]); }

static kvant_status check_sets(sqlite3_stmt *query, const plot_options *o, kvant_error *err)
{
    const char *known[40];
    size_t n = 0;
    for (int i = 1; i <= sqlite3_bind_parameter_count(query) && n < 32; i++) {
        const char *name = sqlite3_bind_parameter_name(query, i);
        if (name && is_answer(name + 1))
            for (const char *const *a = asked; *a; a++)
                known[n++] = *a;
        else if (name && strcmp(name, ":experiment"))
            known[n++] = name + 1;
    }
    known[n] = NULL;
    for (const char *const *set = o->sets; set && *set; set++) {
        char name[64];
        size_t length = strcspn(*set, "=");
        if (!(*set)[length])
            return kvant_fail(err, KVANT_INVALID, "--set %.60s: must be KEY=VALUE", *set);
        snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), *set);
        bool found = false;
        for (size_t i = 0; i < n; i++)
            found = found || !strcmp(known[i], name);
        const char *near = nearest_name(name, known);
        if (!found)
            return kvant_fail(err, KVANT_INVALID, "plot %s has no parameter '%s'%s%s%s", o->name, name, near ? ": did you mean '" : "",
                              near ? near : "", near ? "'?" : "");
    }
    return KVANT_OK;
}

/* The answer of that name to what the sets ask, or to all questions of the spec. */
static kvant_status bind_answer(store *s, sqlite3_stmt *query, int index, const char *name, const plot_options *o,
                                const char *experiment, kvant_error *err)
{
    const char *metric = given_value(o->sets, "metric"), *metrics[] = { metric, NULL };
    const report_options options = { .experiment = experiment, .metrics = metric ? metrics : NULL };
    compare_what what = { given_value(o->sets, "a"), given_value(o->sets, "b"), given_value(o->sets, "x"), given_value(o->sets, "y"),
                          given_value(o->sets, "question") };
    if (!what.x != !what.y || (what.b && !what.a))
        return kvant_fail(err, KVANT_INVALID, "plot %s: --set x goes with --set y, and --set b with --set a", o->name);
    if (!what.a && !what.x && !what.question)
        what.question = "all";
    cJSON *answer;
    kvant_status status = compare_answer(s, &options, &what, &answer, err);
    if (status)
        return status;
    char *json = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(answer, name));
    if (!json || sqlite3_bind_text(query, index, json, -1, SQLITE_TRANSIENT) != SQLITE_OK)
        status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
    cJSON_free(json);
    cJSON_Delete(answer);
    return status;
}

static kvant_status bind_parameters(store *s, sqlite3_stmt *query, const char *sql, const plot_options *o, const char *experiment,
                                    plot_data *out, kvant_error *err)
{
    kvant_status status = check_sets(query, o, err);
    for (int i = 1; i <= sqlite3_bind_parameter_count(query) && status == KVANT_OK; i++) {
        const char *name = sqlite3_bind_parameter_name(query, i);
        if (!name || *name != ':')
            return kvant_fail(err, KVANT_INVALID, "plot %s: parameters of a query are named, as :metric is", o->name);
        if (is_answer(name + 1)) {
            const char *question = given_value(o->sets, "question");
            status = bind_answer(s, query, i, name + 1, o, experiment, err);
            if (question && !out->metric && !(out->metric = strdup(question)))
                status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
            continue;
        }
        char *fallback = default_of(sql, name);
        const char *value = !strcmp(name, ":experiment") ? experiment : given_value(o->sets, name + 1);
        value = value ? value : fallback;
        int rc = !value ? SQLITE_OK : !strcmp(name, ":experiment") ? sqlite3_bind_text(query, i, value, -1, SQLITE_TRANSIENT)
                                                                    : bind_value(query, i, value);
        if (rc != SQLITE_OK)
            status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
        if (!strcmp(name, ":metric") && value && !(out->metric = strdup(value)))
            status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
        free(fallback);
    }
    return status;
}

/* ---- Rows ---------------------------------------------------------------------------------------------------------------- */

static void add_array(text *t, const char *name, size_t n, const text *items)
{
    text_add(t, "array %s[%zu] = [%s]\n", name, n, items->data ? items->data : "''");
}

/* Writes the rows as blocks. */
static int read_rows(sqlite3_stmt *query, plot_data *out, size_t *n_rows)
{
    int rc, n_columns = sqlite3_column_count(query);
    size_t n_series = 0;
    char *series = NULL;
    text names = { 0 }, columns = { 0 }, first = { 0 };
    for (int i = 0; i < n_columns; i++) {
        text_add(&columns, "%s", i ? ", " : "");
        gnuplot_string(&columns, sqlite3_column_name(query, i));
    }
    while ((rc = sqlite3_step(query)) == SQLITE_ROW) {
        const char *name = text_of(query, 0);
        if (!series || strcmp(series, name)) {
            free(series);
            series = strdup(name);
            text_add(&out->data, "%s", n_series ? "\n\n" : "");
            add_field(&out->data, name);
            text_add(&out->data, "\n");
            text_add(&names, "%s", n_series++ ? ", " : "");
            gnuplot_string(&names, name);
        }
        for (int i = 0; i < n_columns; i++) {
            text_add(&out->data, "%s", i ? "\t" : "");
            add_value(&out->data, query, i);
            if (*n_rows == 0) {
                text_add(&first, "%s", i ? ", " : "");
                gnuplot_string(&first, text_of(query, i));
            }
        }
        text_add(&out->data, "\n");
        ++*n_rows;
    }
    text_add(&out->variables, "N = %zu\n", n_series);
    add_array(&out->variables, "SERIES", n_series ? n_series : 1, &names);
    add_array(&out->variables, "COLUMNS", (size_t)n_columns, &columns);
    add_array(&out->variables, "FIRST", (size_t)n_columns, &first);
    bool failed = names.failed || columns.failed || first.failed || out->data.failed || out->variables.failed;
    text_free(&names);
    text_free(&columns);
    text_free(&first);
    free(series);
    return failed ? SQLITE_NOMEM : rc;
}

void plot_data_free(plot_data *d)
{
    text_free(&d->data);
    text_free(&d->variables);
    free(d->title);
    free(d->metric);
}

kvant_status plot_query(store *s, const plot_options *o, const char *experiment, plot_data *out, kvant_error *err)
{
    *out = (plot_data){ .title = NULL };
    char *path = text_format("%s/%s.sql", o->folder, o->name), *sql = NULL;
    size_t bytes, n_rows = 0;
    if (!path)
        return kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
    kvant_status status = file_read(path, &sql, &bytes, err);
    sqlite3_stmt *query = NULL;
    if (status == KVANT_OK && sqlite3_prepare_v2(store_sql(s), sql, -1, &query, NULL) != SQLITE_OK)
        status = kvant_fail(err, KVANT_INVALID, "%s: %s", path, sqlite3_errmsg(store_sql(s)));
    if (status == KVANT_OK && !query)
        status = kvant_fail(err, KVANT_INVALID, "%s: holds no query", path);
    if (status == KVANT_OK && !(out->title = plot_title(sql)))
        status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name);
    if (status == KVANT_OK)
        status = bind_parameters(s, query, sql, o, experiment, out, err);
    if (status == KVANT_OK) {
        int rc = read_rows(query, out, &n_rows);
        if (rc != SQLITE_DONE)
            status = kvant_fail(err, rc == SQLITE_NOMEM ? KVANT_NOMEM : KVANT_IO, "%s: %s", path,
                                rc == SQLITE_NOMEM ? "out of memory" : sqlite3_errmsg(store_sql(s)));
        else if (n_rows == 0)
            status = kvant_fail(err, KVANT_INVALID, "plot %s: experiment '%.100s' has nothing to draw%s%s; `kvant report` shows what "
                                                    "it has",
                                o->name, experiment, out->metric ? " for metric " : "", out->metric ? out->metric : "");
    }
    sqlite3_finalize(query);
    free(sql);
    free(path);
    return status;
}
