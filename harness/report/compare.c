/* compare.c - differences between two cells, chunk by chunk, and what they come to.
 * Only what both measured counts; tokens of a chunk are no independent draws, so chunks (or trials) are the clusters of everything. */
#include "harness/measure/stats_paired.h"
#include "harness/report/compare_internal.h"
#include "harness/report/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { METRICS = 32 };
static const double LEVEL = 0.05;

/* Layers and heads of a text are measured chunk by chunk too: there the unit is the chunk. */
bool compare_by_unit(const cJSON *block)
{
    const char *probe = member_text(block, "probe");
    return (!strcmp(probe, "distortion") || !strcmp(probe, "attention")) && *member_text(block, "model");
}

static kvant_status store_trouble(store *s, kvant_error *err)
{
    return kvant_fail(err, KVANT_IO, "%s: cannot read the store: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
}

static sqlite3_stmt *ask(store *s, const char *sql, const char *a, const char *b, const char *metric, bool by_unit)
{
    sqlite3_stmt *query = NULL;
    if (sqlite3_prepare_v2(store_sql(s), sql, -1, &query, NULL) != SQLITE_OK)
        return NULL;
    sqlite3_bind_text(query, 1, a, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 2, b, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 3, metric, -1, SQLITE_STATIC);
    sqlite3_bind_int(query, 4, by_unit);
    return query;
}

kvant_status compare_clusters(store *s, const cJSON *a, const cJSON *b, bool other, const char *metric, bool by_unit, differences *d,
                              kvant_error *err)
{
    static const char *const pairs[] = {
#define PAIRS(schema) \
        "SELECT CASE WHEN ?4 THEN a.unit ELSE a.chunk END AS cluster, sum(a.n), sum(a.n * (a.value - b.value)) / sum(a.n), " \
        "sum(a.n * a.value) / sum(a.n), sum(a.n * b.value) / sum(a.n), count(*) - count(a.value - b.value) " \
        "FROM main.sample a JOIN " schema ".sample b ON b.cell = ?2 AND b.unit = a.unit AND b.metric = a.metric AND b.chunk = " \
        "a.chunk AND b.idx = a.idx WHERE a.cell = ?1 AND a.metric = ?3 GROUP BY cluster ORDER BY cluster"
        PAIRS("main"), PAIRS("other")
    };
    static const char *const counts[] = {
#define COUNTS(schema) \
        "SELECT (SELECT count(DISTINCT CASE WHEN ?4 THEN unit ELSE chunk END) FROM main.sample WHERE cell = ?1 AND metric = ?3), " \
        "(SELECT count(DISTINCT CASE WHEN ?4 THEN unit ELSE chunk END) FROM " schema ".sample WHERE cell = ?2 AND metric = ?3)"
        COUNTS("main"), COUNTS("other")
    };
    const char *key_a = member_text(a, "cell"), *key_b = member_text(b, "cell");
    sqlite3_stmt *query = ask(s, counts[other], key_a, key_b, metric, by_unit);
    if (!query || sqlite3_step(query) != SQLITE_ROW) {
        sqlite3_finalize(query);
        return store_trouble(s, err);
    }
    const size_t n_a = (size_t)sqlite3_column_int64(query, 0), n_b = (size_t)sqlite3_column_int64(query, 1);
    sqlite3_finalize(query);
    const size_t room = d->n + (n_a < n_b ? n_a : n_b), old = d->n;
    double *more = calloc(4 * room + 1, sizeof *more);
    if (!more)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for %zu differences", metric, room);
    for (size_t i = 0; i < 4 && old; i++)
        memcpy(more + i * room, d->x + i * old, old * sizeof *more);
    free(d->x);
    *d = (differences){ more, more + room, more + 2 * room, more + 3 * room, old, d->n_a + n_a, d->n_b + n_b };
    int rc = SQLITE_NOMEM;
    query = ask(s, pairs[other], key_a, key_b, metric, by_unit);
    while (query && (rc = sqlite3_step(query)) == SQLITE_ROW && d->n < room) {
        const bool broken = sqlite3_column_int64(query, 5) > 0;
        d->w[d->n] = sqlite3_column_double(query, 1);
        d->x[d->n] = broken ? (double)NAN : sqlite3_column_double(query, 2);
        d->a[d->n] = broken ? (double)NAN : sqlite3_column_double(query, 3);
        d->b[d->n++] = broken ? (double)NAN : sqlite3_column_double(query, 4);
    }
    sqlite3_finalize(query);
    /* The arrays lie `room` apart; where fewer clusters pair up they move together, for the next cells and for memcpy above. */
    for (size_t i = 1; i < 4; i++)
        memmove(more + i * d->n, more + i * room, d->n * sizeof *more);
    *d = (differences){ more, more + d->n, more + 2 * d->n, more + 3 * d->n, d->n, d->n_a, d->n_b };
    return rc == SQLITE_DONE ? KVANT_OK : store_trouble(s, err);
}

static void add_side(cJSON *row, const char *name, const char *bits, const cJSON *cell)
{
    cJSON_AddStringToObject(row, name, member_text(cell, "label"));
    add_number(row, bits, member_number(cell, "bits_stored"));
}

/* A over B, where both are above 0 in every cluster: the mean of a / b with weights w b is sum(w a) / sum(w b). */
static kvant_status add_ratio(cJSON *row, const differences *d, kvant_error *err)
{
    double *x = calloc(2 * d->n + 1, sizeof *x), *w = x + d->n;
    bool above = d->n > 0;
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu ratios", d->n);
    for (size_t i = 0; i < d->n; i++) {
        above = above && d->a[i] > 0 && d->b[i] > 0;
        x[i] = d->a[i] / d->b[i];
        w[i] = d->w[i] * d->b[i];
    }
    stats_interval bca = { NAN, NAN };
    kvant_status status = above ? stats_bca(x, w, d->n, 0.95, &bca, err) : KVANT_OK;
    add_number(row, "ratio", above ? stats_clustered(x, w, d->n).mean : (double)NAN);
    add_number(row, "ratio_lo", bca.lo);
    add_number(row, "ratio_hi", bca.hi);
    free(x);
    return status;
}

static kvant_status add_row(const cJSON *block, const char *question, const cJSON *a, const cJSON *b, const char *metric,
                            const differences *d, cJSON *rows, kvant_error *err)
{
    const kvant_probe *probe = probe_find(member_text(block, "probe"), NULL);
    const probe_metric *m = probe ? probe_metric_find(probe, metric) : NULL;
    stats_interval bca;
    kvant_status status = stats_bca(d->x, d->w, d->n, 0.95, &bca, err);
    cJSON *row = status ? NULL : cJSON_CreateObject();
    if (!row)
        return status ? status : kvant_fail(err, KVANT_NOMEM, "out of memory");
    const stats_mean mean = stats_clustered(d->x, d->w, d->n);
    const stats_sign sign = stats_sign_test(d->x, d->n);
    static const char *const copied[] = { "probe", "model", "data" };
    cJSON_AddStringToObject(row, "question", question);
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        cJSON_AddStringToObject(row, copied[i], member_text(block, copied[i]));
    cJSON_AddStringToObject(row, "setting", member_text(block, "differs"));
    cJSON_AddStringToObject(row, "metric", metric);
    cJSON_AddStringToObject(row, "unit", m ? m->unit : "");
    cJSON_AddNumberToObject(row, "better", m ? m->better : 0);
    add_side(row, "a", "bits_a", a);
    add_side(row, "b", "bits_b", b);
    add_number(row, "value_a", stats_clustered(d->a, d->w, d->n).mean);
    add_number(row, "value_b", stats_clustered(d->b, d->w, d->n).mean);
    add_number(row, "difference", mean.mean);
    add_number(row, "se", mean.se);
    add_number(row, "lo", bca.lo);
    add_number(row, "hi", bca.hi);
    const struct { const char *name; size_t count; } counts[] = {
        { "n", d->n }, { "n_a", d->n_a }, { "n_b", d->n_b }, { "above", sign.above }, { "below", sign.below }, { "ties", sign.ties },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        cJSON_AddNumberToObject(row, counts[i].name, (double)counts[i].count);
    add_number(row, "p", sign.p);
    cJSON_AddItemToArray(rows, row);
    return add_ratio(row, d, err);
}

/* One metric of A against B; a[n_a] and b[n_b] are one cell each, or the points of a grid. */
static kvant_status compare_metric(store *s, const cJSON *block, const char *question, const cJSON *const *a, size_t n_a,
                                   const cJSON *const *b, size_t n_b, const char *metric, cJSON *rows, kvant_error *err)
{
    differences d = { NULL, NULL, NULL, NULL, 0, 0, 0 };
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n_a; i++)
        for (size_t k = 0; k < n_b && !status; k++)
            if (!strcmp(member_text(a[i], "pairing"), member_text(b[k], "pairing")))
                status = compare_clusters(s, a[i], b[k], false, metric, compare_by_unit(block), &d, err);
    if (!status)
        status = add_row(block, question, a[0], b[0], metric, &d, rows, err);
    free(d.x);
    return status;
}

/* ---- Metrics ------------------------------------------------------------------------------------------------------------ */

/* Metrics that samples of both cells tell, by name; freed by the caller. NULL: *err says why. */
static cJSON *shared_metrics(store *s, const cJSON *a, const cJSON *b, kvant_error *err)
{
    static const char sql[] = "SELECT DISTINCT metric FROM sample WHERE cell = ?1 "
                              "INTERSECT SELECT DISTINCT metric FROM sample WHERE cell = ?2";
    cJSON *names = cJSON_CreateArray();
    sqlite3_stmt *query = ask(s, sql, member_text(a, "cell"), member_text(b, "cell"), NULL, false);
    int rc = SQLITE_NOMEM;
    while (names && query && (rc = sqlite3_step(query)) == SQLITE_ROW)
        cJSON_AddItemToArray(names, cJSON_CreateString((const char *)sqlite3_column_text(query, 0)));
    sqlite3_finalize(query);
    if (rc == SQLITE_DONE)
        return names;
    cJSON_Delete(names);
    store_trouble(s, err);
    return NULL;
}

static double last_number(const char *name)
{
    const char *digits = strrchr(name, '_');
    return digits ? strtod(digits + 1, NULL) : 0;
}

/* The probe's chief metric among those: the first of its table that says what is better and is no time; of NAME_N that of most
 * tokens. */
static const char *chief_of(const kvant_probe *probe, const cJSON *shared)
{
    const char *chief = NULL;
    for (const probe_metric *m = probe->metrics; m->name && !chief; m++) {
        const cJSON *name;
        cJSON_ArrayForEach(name, shared)
            if (m->better && !m->timing && probe_metric_find(probe, name->valuestring) == m &&
                (!chief || last_number(name->valuestring) > last_number(chief)))
                chief = name->valuestring;
    }
    return chief;
}

static bool has_name(const cJSON *shared, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, shared)
        if (!strcmp(item->valuestring, name))
            return true;
    return false;
}

/* Those asked for that are there, or the chief ones. */
static size_t choose_metrics(const cJSON *block, const cJSON *shared, const char *const *asked, const char *chosen[METRICS])
{
    size_t n = 0;
    for (; asked && *asked && n < METRICS; asked++)
        if (has_name(shared, *asked))
            chosen[n++] = *asked;
    if (asked)
        return n;
    const kvant_probe *probe = probe_find(member_text(block, "probe"), NULL);
    const char *chief = probe ? chief_of(probe, shared) : NULL;
    if (chief)
        chosen[n++] = chief;
    if (has_name(shared, "nll") && (!chief || strcmp(chief, "nll")))
        chosen[n++] = "nll";
    return n;
}

/* ---- Cells -------------------------------------------------------------------------------------------------------------- */

static kvant_status compare_all_metrics(store *s, const cJSON *block, const char *question, const cJSON *const *a, size_t n_a,
                                        const cJSON *const *b, size_t n_b, const report_options *options, text *known, cJSON *rows,
                                        kvant_error *err)
{
    const char *chosen[METRICS];
    cJSON *shared = shared_metrics(s, a[0], b[0], err), *name;
    size_t n = choose_metrics(block, shared, options->metrics, chosen);
    kvant_status status = shared ? KVANT_OK : KVANT_IO;
    cJSON_ArrayForEach(name, shared)
        if (known->length < 400 && !(known->data && strstr(known->data, name->valuestring)))
            text_add(known, "%s%s", known->length ? ", " : "", name->valuestring);
    for (size_t i = 0; i < n && !status; i++)
        status = compare_metric(s, block, question, a, n_a, b, n_b, chosen[i], rows, err);
    cJSON_Delete(shared);
    return status;
}

/* Room for the cells of the block with the most. */
static const cJSON **room_for(const cJSON *blocks)
{
    int most = 0;
    const cJSON *block;
    cJSON_ArrayForEach(block, blocks) {
        int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(block, "cells"));
        most = n > most ? n : most;
    }
    return calloc((size_t)most + 1, sizeof(const cJSON *));
}

/* A against every other label of the block. */
static kvant_status compare_with_others(store *s, const cJSON *block, const char *question, const cJSON *const *a, size_t n_a,
                                        const cJSON **b, const report_options *options, text *known, cJSON *rows, kvant_error *err)
{
    const cJSON *cell, *earlier, *other;
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
        bool seen = !strcmp(member_text(cell, "label"), member_text(a[0], "label"));
        cJSON_ArrayForEach(earlier, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
            if (earlier == cell)
                break;
            seen = seen || !strcmp(member_text(earlier, "label"), member_text(cell, "label"));
        }
        size_t n_b = 0;
        for (other = cell; other && !seen; other = other->next)
            if (!strcmp(member_text(other, "label"), member_text(cell, "label")))
                b[n_b++] = other;
        if (n_b && !status)
            status = compare_all_metrics(s, block, question, a, n_a, b, n_b, options, known, rows, err);
    }
    return status;
}

static kvant_status compare_block(store *s, const cJSON *block, const char *question, const selection *a, const selection *b,
                                  const cJSON **of_a, const cJSON **of_b, const report_options *options, text *known, cJSON *rows,
                                  kvant_error *err)
{
    size_t n_a, n_b = 0;
    kvant_status status = selection_cells(a, block, of_a, &n_a, err);
    if (!status && b)
        status = selection_cells(b, block, of_b, &n_b, err);
    if (status || !n_a || (b && !n_b))
        return status;
    if (!b)
        return compare_with_others(s, block, question, of_a, n_a, of_b, options, known, rows, err);
    if (of_a[0] == of_b[0])
        return kvant_fail(err, KVANT_INVALID, "'%.200s' and '%.200s' are the same cell, '%.200s'", a->words, b->words,
                          member_text(of_a[0], "label"));
    return compare_all_metrics(s, block, question, of_a, n_a, of_b, n_b, options, known, rows, err);
}

kvant_status compare_cells(store *s, const cJSON *blocks, const char *question, const char *a, const char *b,
                           const report_options *options, cJSON *rows, kvant_error *err)
{
    selection of_a = { .words = NULL }, of_b = { .words = NULL };
    const cJSON **cells_a = room_for(blocks), **cells_b = room_for(blocks), *block;
    text known = { 0 };
    const int before = cJSON_GetArraySize(rows);
    kvant_status status = cells_a && cells_b ? selection_parse(a, blocks, &of_a, err) : kvant_fail(err, KVANT_NOMEM, "out of memory");
    if (!status && b)
        status = selection_parse(b, blocks, &of_b, err);
    cJSON_ArrayForEach(block, blocks)
        if (!status && (!options->probe || !strcmp(options->probe, member_text(block, "probe"))))
            status = compare_block(s, block, question, &of_a, b ? &of_b : NULL, cells_a, cells_b, options, &known, rows, err);
    if (!status && cJSON_GetArraySize(rows) == before)
        status = known.data
            ? kvant_fail(err, KVANT_INVALID, "'%.100s' and '%.100s' share no such metric; chunk by chunk they have %.420s", a,
                         b ? b : "the others", known.data)
            : kvant_fail(err, KVANT_INVALID, "'%.100s' and '%.100s' are not in one setting (probe, model, data, parameters) together",
                         a, b ? b : "others");
    selection_free(&of_a);
    selection_free(&of_b);
    text_free(&known);
    free(cells_a);
    free(cells_b);
    return status;
}

/* ---- Verdicts ----------------------------------------------------------------------------------------------------------- */

/* What a reader must know of the bits before believing it. */
static const char *bits_words(const cJSON *row)
{
    const double a = member_number(row, "bits_a"), b = member_number(row, "bits_b");
    return fabs(a - b) <= 1e-6 * fmax(a, b) ? "at equal stored bits" : a < b ? "at fewer stored bits" : "at more stored bits";
}

static void judge(cJSON *row)
{
    const double difference = member_number(row, "difference"), lo = member_number(row, "lo"), hi = member_number(row, "hi");
    const double better = member_number(row, "better"), p = member_number(row, "p_holm");
    const char *verdict = "undecided", *why = bits_words(row);
    if (!(member_number(row, "n") >= STATS_PAIRS))
        why = "too few chunks or trials for an interval: 5 at least";
    else if (isnan(difference) || isnan(lo))
        why = "values that are not finite";
    else if (difference == 0 && lo == 0 && hi == 0)
        why = "equal throughout";
    else if (!better)
        why = "the metric does not say which way is better";
    else if (lo <= 0 && hi >= 0)
        why = "the interval holds 0";
    else if (!(p <= LEVEL))
        why = "the interval leaves out 0, but the sign test, corrected, does not";
    else
        verdict = difference * better > 0 ? "better" : "worse";
    cJSON_AddStringToObject(row, "verdict", verdict);
    cJSON_AddStringToObject(row, "words", why);
}

kvant_status compare_judge(cJSON *rows, kvant_error *err)
{
    size_t n = (size_t)cJSON_GetArraySize(rows), i = 0;
    double *p = calloc(n + 1, sizeof *p);
    cJSON *row;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu tests", n);
    cJSON_ArrayForEach(row, rows)
        p[i++] = member_number(row, "p");
    kvant_status status = stats_holm(p, n, p, err);
    i = 0;
    cJSON_ArrayForEach(row, rows) {
        add_number(row, "p_holm", p[i++]);
        judge(row);
    }
    free(p);
    return status;
}
