/* compare_stores.c - matches the cells of two stores, and tests each metric of each pair.
 * The newer store is opened, the older attached beside it, so that differences are new minus old throughout. */
#include "harness/measure/stats_paired.h"
#include "harness/measure/stats_rank.h"
#include "harness/report/compare_internal.h"
#include "harness/report/compare_stores.h"

#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LEVEL = 0.05;

/* Finished cells of either store, by what was asked of them. ?1: an experiment, or NULL. */
#define CELLS(schema) \
    "SELECT c.key, " STORE_IDENTITY("c") " AS identity, json_extract(c.config, '$.isa') AS isa, c.probe, c.model, c.data, c.label, " \
    "c.pairing, c.finished, r.cpu, r.threads, min(e.experiment) AS experiment, min(e.ordinal) AS ordinal " \
    "FROM " schema ".cell c JOIN " schema ".experiment_cell e ON e.cell = c.key LEFT JOIN " schema ".run r ON r.id = c.run " \
    "WHERE c.finished IS NOT NULL AND (?1 IS NULL OR e.experiment = ?1) GROUP BY c.key"
#define BOTH "WITH new AS MATERIALIZED (" CELLS("main") "), old AS MATERIALIZED (" CELLS("other") ") "

/* Where a store has several cells that were asked the same, the one of equal instruction sets is meant, else the latest. */
static const char pairs_sql[] = BOTH
    "SELECT p.*, coalesce(s.setting, '') AS setting FROM ("
    "SELECT new.key AS cell, old.key AS old_cell, new.probe, new.model, new.data, new.label, new.pairing, new.experiment, "
    "new.ordinal, new.cpu IS old.cpu AND new.threads IS old.threads AS same_machine, "
    "row_number() OVER (PARTITION BY new.key ORDER BY new.isa IS old.isa DESC, old.finished DESC, old.key) AS of_new, "
    "row_number() OVER (PARTITION BY old.key ORDER BY new.isa IS old.isa DESC, new.finished DESC, new.key) AS of_old "
    "FROM new JOIN old ON old.identity = new.identity) p "
    "LEFT JOIN main.setting s ON s.experiment = p.experiment AND s.pairing = p.pairing AND s.probe = p.probe "
    "WHERE of_new = 1 AND of_old = 1 ORDER BY p.experiment, p.ordinal, p.cell";
static const char missing_sql[] = BOTH
    "SELECT experiment, probe, model, data, label FROM old WHERE identity NOT IN (SELECT identity FROM new) ORDER BY experiment, "
    "ordinal, key";
static const char new_sql[] = BOTH
    "SELECT experiment, probe, model, data, label FROM new WHERE identity NOT IN (SELECT identity FROM old) ORDER BY experiment, "
    "ordinal, key";

typedef struct { store *s; const compare_stores_options *options; cJSON *rows; double same; kvant_error *err; } job;

static kvant_status trouble(const job *j)
{
    return kvant_fail(j->err, KVANT_IO, "%s: cannot read the stores: %s", store_path(j->s), sqlite3_errmsg(store_sql(j->s)));
}

static sqlite3_stmt *ask(const job *j, const char *sql, const char *a, const char *b)
{
    sqlite3_stmt *query = NULL;
    if (sqlite3_prepare_v2(store_sql(j->s), sql, -1, &query, NULL) == SQLITE_OK) {
        sqlite3_bind_text(query, 1, a, -1, SQLITE_STATIC);
        sqlite3_bind_text(query, 2, b, -1, SQLITE_STATIC);
    }
    return query;
}

/* ---- One metric of one pair of cells ---------------------------------------------------------------------------------------- */

typedef struct { double value, se, n; } measured;
typedef struct { double difference, lo, hi, n, p; const char *test; bool same, exact; } tested;

/* All samples of a metric, freed by the caller; schema 0: new, 1: old. */
static kvant_status raw_values(const job *j, bool old, const char *cell, const char *metric, double **x, size_t *n)
{
    static const char *const sql[] = { "SELECT value FROM main.sample WHERE cell = ?1 AND metric = ?2 ORDER BY unit, chunk, idx",
                                       "SELECT value FROM other.sample WHERE cell = ?1 AND metric = ?2 ORDER BY unit, chunk, idx" };
    size_t room = 0;
    int rc = SQLITE_NOMEM;
    *x = NULL;
    *n = 0;
    sqlite3_stmt *query = ask(j, sql[old], cell, metric);
    while (query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
        if (*n == room) {
            room = room ? 2 * room : 64;
            double *more = realloc(*x, room * sizeof *more);
            if (!more)
                break;
            *x = more;
        }
        (*x)[(*n)++] = sqlite3_column_type(query, 0) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(query, 0);
    }
    sqlite3_finalize(query);
    if (rc == SQLITE_DONE)
        return KVANT_OK;
    return rc == SQLITE_ROW ? kvant_fail(j->err, KVANT_NOMEM, "%s: no memory for its samples", metric) : trouble(j);
}

/* Times: no chunk of one run belongs to one of the other. */
static kvant_status test_times(const job *j, const cJSON *pair, const char *metric, tested *t)
{
    double *x, *y = NULL;
    size_t n_x, n_y = 0;
    kvant_status status = raw_values(j, false, member_text(pair, "cell"), metric, &x, &n_x);
    if (!status)
        status = raw_values(j, true, member_text(pair, "old_cell"), metric, &y, &n_y);
    if (!status && n_x && n_y) {
        status = stats_rank_sum(x, n_x, y, n_y, &t->p, j->err);
        t->n = (double)(n_x < n_y ? n_x : n_y);
        t->test = "rank sum of all values";
    }
    free(x);
    free(y);
    return status;
}

static kvant_status test_chunks(const job *j, const cJSON *pair, const char *metric, tested *t)
{
    cJSON *new = cJSON_CreateObject(), *old = cJSON_CreateObject();
    cJSON_AddStringToObject(new, "cell", member_text(pair, "cell"));
    cJSON_AddStringToObject(old, "cell", member_text(pair, "old_cell"));
    differences d = { NULL, NULL, NULL, NULL, 0, 0, 0 };
    kvant_status status = compare_clusters(j->s, new, old, true, metric, compare_by_unit(pair), &d, j->err);
    cJSON_Delete(new);
    cJSON_Delete(old);
    if (!status && d.n) {
        const stats_mean mean = stats_clustered(d.x, d.w, d.n);
        stats_interval interval = stats_t(mean, 0.95);
        if (d.n >= STATS_PAIRS)
            status = stats_bca(d.x, d.w, d.n, 0.95, &interval, j->err);
        bool same = d.n == d.n_a && d.n == d.n_b;
        for (size_t i = 0; i < d.n; i++)
            same = same && d.x[i] == 0;
        *t = (tested){ mean.mean, interval.lo, interval.hi, (double)d.n, stats_t_test(mean), d.n > 1 ? "paired t" : "single value",
                       same, d.n == 1 && d.n_a == 1 && d.n_b == 1 };
    }
    free(d.x);
    return status;
}

/* What has no samples of its own: by the errors that its probe gave it. */
static void test_results(measured new, measured old, tested *t)
{
    const double se = hypot(new.se, old.se), z = 1.959963984540054;
    t->difference = new.value - old.value;
    t->n = fmin(new.n, old.n);
    t->exact = isnan(new.se) && isnan(old.se);
    t->same = (t->difference == 0 || (isnan(new.value) && isnan(old.value))) && (t->exact || new.se == old.se);
    t->test = t->exact ? "single value" : "standard errors";
    if (t->exact)
        return;
    t->lo = t->difference - z * se;
    t->hi = t->difference + z * se;
    t->p = se > 0 ? 2 * gsl_cdf_ugaussian_Q(fabs(t->difference) / se) : t->difference == 0;
}

static kvant_status add_row(job *j, const cJSON *pair, const cJSON *metric)
{
    static const char *const copied[] = { "experiment", "probe", "model", "data", "setting", "label" };
    const char *name = member_text(metric, "metric");
    const measured new = { member_number(metric, "value"), member_number(metric, "se"), member_number(metric, "n") };
    const measured old = { member_number(metric, "old_value"), member_number(metric, "old_se"), member_number(metric, "old_n") };
    const bool timing = member_number(metric, "timing") == 1;
    tested t = { NAN, NAN, NAN, 0, NAN, NULL, false, false };
    kvant_status status = timing ? test_times(j, pair, name, &t) : test_chunks(j, pair, name, &t);
    if (status)
        return status;
    if (!t.test)
        test_results(new, old, &t);
    else if (timing) {
        t.difference = new.value - old.value;
        t.same = t.difference == 0;
    }
    cJSON *row = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        cJSON_AddStringToObject(row, copied[i], member_text(pair, copied[i]));
    cJSON_AddStringToObject(row, "metric", name);
    cJSON_AddStringToObject(row, "unit", member_text(metric, "unit"));
    cJSON_AddNumberToObject(row, "better", member_number(metric, "better"));
    cJSON_AddBoolToObject(row, "timing", timing);
    add_number(row, "before", old.value);
    add_number(row, "after", new.value);
    add_number(row, "difference", t.difference);
    add_number(row, "percent", t.difference == 0 ? 0 : 100 * t.difference / fabs(old.value));
    add_number(row, "lo", t.lo);
    add_number(row, "hi", t.hi);
    add_number(row, "n", t.n);
    cJSON_AddStringToObject(row, "test", t.test);
    add_number(row, "p", t.same || !member_number(metric, "better") ? (double)NAN : t.p);
    cJSON_AddBoolToObject(row, "same", t.same);
    cJSON_AddBoolToObject(row, "exact", t.exact);
    cJSON_AddBoolToObject(row, "same_machine", member_number(pair, "same_machine") == 1);
    cJSON_AddItemToArray(j->rows, row);
    return KVANT_OK;
}

static bool is_wanted(const compare_stores_options *options, const char *metric)
{
    for (const char *const *name = options->metrics; name && *name; name++)
        if (!strcmp(*name, metric))
            return true;
    return !options->metrics;
}

static kvant_status compare_pair(job *j, const cJSON *pair)
{
    static const char sql[] =
        "SELECT n.metric, n.unit, n.better, n.timing, n.value, n.se, n.n, o.value AS old_value, o.se AS old_se, o.n AS old_n "
        "FROM main.measurement n JOIN other.measurement o ON o.metric = n.metric AND o.cell = ?2 WHERE n.cell = ?1 ORDER BY n.metric";
    kvant_status status = KVANT_OK;
    int rc = SQLITE_NOMEM;
    sqlite3_stmt *query = ask(j, sql, member_text(pair, "cell"), member_text(pair, "old_cell"));
    while (!status && query && (rc = sqlite3_step(query)) == SQLITE_ROW) {
        const char *metric = (const char *)sqlite3_column_text(query, 0);
        if (!metric || !is_wanted(j->options, metric))
            continue;
        cJSON *values = cJSON_CreateObject();
        for (int i = 0; i < sqlite3_column_count(query); i++)
            if (sqlite3_column_type(query, i) == SQLITE_TEXT)
                cJSON_AddStringToObject(values, sqlite3_column_name(query, i), (const char *)sqlite3_column_text(query, i));
            else if (sqlite3_column_type(query, i) != SQLITE_NULL)
                cJSON_AddNumberToObject(values, sqlite3_column_name(query, i), sqlite3_column_double(query, i));
        status = add_row(j, pair, values);
        cJSON_Delete(values);
    }
    sqlite3_finalize(query);
    return status ? status : rc == SQLITE_DONE ? KVANT_OK : trouble(j);
}

/* ---- Verdicts --------------------------------------------------------------------------------------------------------------- */

static bool is_true(const cJSON *row, const char *name) { return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, name)); }

static const char *judge(const cJSON *row, double threshold, const char **words, bool *regression)
{
    const double difference = member_number(row, "difference"), lo = member_number(row, "lo"), hi = member_number(row, "hi");
    const double better = member_number(row, "better"), p = member_number(row, "p_holm"), before = member_number(row, "before");
    *regression = false;
    *words = "";
    if (is_true(row, "same"))
        return "same";
    if (!better)
        return "changed";
    *words = "values that are not finite";
    if (isnan(difference)) {
        /* What was a number and is none has broken. */
        *regression = isfinite(before) && isnan(member_number(row, "after"));
        return *regression ? "worse" : "undecided";
    }
    *words = "measured on another processor or number of threads";
    if (is_true(row, "timing") && !is_true(row, "same_machine"))
        return "undecided";
    *words = "";
    if (!is_true(row, "exact")) {
        *words = "too few chunks for a test";
        if (isnan(p))
            return "undecided";
        *words = "not significant, corrected over all rows";
        if (!(p <= LEVEL))
            return "undecided";
        *words = "the interval holds 0";
        if (lo <= 0 && hi >= 0)
            return "undecided";
        *words = "";
    }
    if (difference * better > 0)
        return "better";
    *regression = !(fabs(difference) < threshold * fabs(before));
    *words = *regression ? "" : "below the threshold";
    return "worse";
}

static kvant_status judge_all(job *j, cJSON *answer)
{
    const size_t n = (size_t)cJSON_GetArraySize(j->rows);
    size_t i = 0, n_regressions = 0, n_same = 0;
    double *p = calloc(n + 1, sizeof *p);
    cJSON *row;
    if (!p)
        return kvant_fail(j->err, KVANT_NOMEM, "no memory for %zu tests", n);
    cJSON_ArrayForEach(row, j->rows)
        p[i++] = member_number(row, "p");
    const kvant_status status = stats_holm(p, n, p, j->err);
    i = 0;
    cJSON_ArrayForEach(row, j->rows) {
        const char *words;
        bool regression;
        add_number(row, "p_holm", p[i++]);
        const char *verdict = judge(row, j->options->threshold, &words, &regression);
        cJSON_AddStringToObject(row, "verdict", verdict);
        cJSON_AddBoolToObject(row, "regression", regression);
        cJSON_AddStringToObject(row, "words", words);
        n_same += is_true(row, "same");
        n_regressions += regression;
        static const char *const own[] = { "same", "exact", "same_machine" };
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            cJSON_DeleteItemFromObjectCaseSensitive(row, own[k]);
    }
    cJSON_AddNumberToObject(answer, "same", (double)n_same);
    cJSON_AddNumberToObject(answer, "regressions", (double)n_regressions);
    free(p);
    return status;
}

/* ---- The whole -------------------------------------------------------------------------------------------------------------- */

static kvant_status add_list(const job *j, cJSON *answer, const char *name, const char *sql)
{
    cJSON *list = report_rows(j->s, sql, j->options->experiment, j->err);
    if (!list)
        return KVANT_IO;
    cJSON_AddItemToObject(answer, name, list);
    return KVANT_OK;
}

/* By what the cells of a store were measured: each commit and machine once. */
static kvant_status add_side(const job *j, cJSON *answer, const char *name, const char *path, const char *schema)
{
    char *versions = text_format("SELECT DISTINCT r.version || ' ' || r.commit_id || CASE WHEN r.dirty THEN ' with changes' ELSE '' "
                                 "END AS it FROM %s.run r JOIN %s.cell c ON c.run = r.id ORDER BY it", schema, schema);
    char *machines = text_format("SELECT DISTINCT r.cpu || ', ' || r.threads || ' threads, ' || r.isa AS it FROM %s.run r "
                                 "JOIN %s.cell c ON c.run = r.id ORDER BY it", schema, schema);
    const char *const lists[][2] = { { "versions", versions }, { "machines", machines } };
    cJSON *side = cJSON_AddObjectToObject(answer, name), *row;
    kvant_status status = versions && machines ? KVANT_OK : kvant_fail(j->err, KVANT_NOMEM, "out of memory");
    cJSON_AddStringToObject(side, "store", path);
    for (size_t i = 0; i < 2 && !status; i++) {
        cJSON *rows = report_rows(j->s, lists[i][1], NULL, j->err), *list = cJSON_AddArrayToObject(side, lists[i][0]);
        status = rows ? KVANT_OK : KVANT_IO;
        cJSON_ArrayForEach(row, rows)
            cJSON_AddItemToArray(list, cJSON_CreateString(member_text(row, "it")));
        cJSON_Delete(rows);
    }
    free(versions);
    free(machines);
    return status;
}

static kvant_status compare_both(job *j, const char *before, const char *after, cJSON *answer)
{
    kvant_status status = add_side(j, answer, "before", before, "other");
    if (!status)
        status = add_side(j, answer, "after", after, "main");
    cJSON *pairs = status ? NULL : report_rows(j->s, pairs_sql, j->options->experiment, j->err), *pair;
    if (!status && !pairs)
        status = KVANT_IO;
    const int matched = cJSON_GetArraySize(pairs);
    if (!status && !matched)
        status = kvant_fail(j->err, KVANT_INVALID, "%s and %s share no finished cell%s%s; cells are the same when all that was asked "
                            "of them is, models' and data's hashes included", before, after, j->options->experiment ? " of " : "",
                            j->options->experiment ? j->options->experiment : "");
    cJSON_AddNumberToObject(answer, "matched", matched);
    j->rows = cJSON_AddArrayToObject(answer, "rows");
    cJSON_ArrayForEach(pair, pairs)
        if (!status)
            status = compare_pair(j, pair);
    cJSON_Delete(pairs);
    if (!status && j->options->metrics && !cJSON_GetArraySize(j->rows))
        status = kvant_fail(j->err, KVANT_INVALID, "%s and %s share no cell with a metric of that name; `kvant list metrics` shows "
                            "all", before, after);
    if (!status)
        status = judge_all(j, answer);
    if (!status)
        status = add_list(j, answer, "missing", missing_sql);
    if (!status)
        status = add_list(j, answer, "new", new_sql);
    return status;
}

kvant_status compare_stores(const char *before, const char *after, const compare_stores_options *options, cJSON **answer,
                            kvant_error *err)
{
    job j = { .options = options, .err = err };
    *answer = NULL;
    kvant_status status = store_open(after, STORE_READ, &j.s, err);
    if (status)
        return status;
    if (options->experiment)
        status = report_find(j.s, options->experiment, err);
    if (!status)
        status = store_attach(j.s, before, err);
    cJSON *all = status ? NULL : cJSON_CreateObject();
    if (!status)
        status = compare_both(&j, before, after, all);
    store_close(j.s);
    if (status)
        cJSON_Delete(all);
    else
        *answer = all;
    return status;
}
