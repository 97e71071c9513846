/* spec_rows.c - checks the rows of a spec that are no axes: values that it expects, and questions that its results shall answer.
 * What they mean is for the report to say; here they must be well formed, so that no row is silently passed over. */
#include "harness/experiment/spec_rows.h"
#include "harness/formula.h"

#include <string.h>

/* ---- Expected values ------------------------------------------------------------------------ */

/* What a row may say, and the form of each. */
typedef enum { ROW_TEXT, ROW_NUMBER, ROW_SIZE /* a number, 0 or more */, ROW_WHERE, ROW_BOUND, ROW_ONLY, ROW_FORMULA } row_form;
enum { WHERE, METRIC, VALUE, TOLERANCE, RELATIVE, SIGMA, SOURCE, BOUND, FORMULA, AGAINST, ERROR, CORRECT, BESIDE, ONLY, ROW_KEYS };
static const struct { const char *name; row_form form; } row_keys[ROW_KEYS] = {
    [WHERE] = { "where", ROW_WHERE }, [METRIC] = { "metric", ROW_TEXT }, [VALUE] = { "value", ROW_NUMBER },
    [TOLERANCE] = { "tolerance", ROW_SIZE }, [RELATIVE] = { "relative_tolerance", ROW_SIZE }, [SIGMA] = { "sigma", ROW_SIZE },
    [SOURCE] = { "source", ROW_TEXT }, [BOUND] = { "bound", ROW_BOUND }, [FORMULA] = { "formula", ROW_FORMULA },
    [AGAINST] = { "against", ROW_WHERE }, [ERROR] = { "error", ROW_TEXT }, [CORRECT] = { "correct", ROW_NUMBER },
    [BESIDE] = { "beside", ROW_TEXT }, [ONLY] = { "only", ROW_ONLY },
};

static bool one_of(const cJSON *item, const char *a, const char *b)
{
    return cJSON_IsString(item) && (!strcmp(item->valuestring, a) || !strcmp(item->valuestring, b));
}

static kvant_status check_form(const document *doc, const cJSON *c, row_form form, kvant_error *err)
{
    kvant_error why;
    bool names;
    switch (form) {
    case ROW_TEXT:
        return cJSON_IsString(c) && *c->valuestring ? KVANT_OK : document_fail(doc, c, err, "must be a text in quotes");
    case ROW_NUMBER:
        return cJSON_IsNumber(c) ? KVANT_OK : document_fail(doc, c, err, "must be a number");
    case ROW_SIZE:
        return cJSON_IsNumber(c) && c->valuedouble >= 0 ? KVANT_OK : document_fail(doc, c, err, "must be a number, 0 or more");
    case ROW_WHERE:
        if (!cJSON_IsObject(c))
            return document_fail(doc, c, err, "must be an object of names and values, e.g. {\"path\": \"decode\"}");
        for (const cJSON *w = c->child; w; w = w->next)
            if (!cJSON_IsString(w) && !cJSON_IsNumber(w) && !cJSON_IsBool(w))
                return document_fail(doc, w, err, "must be a number or a name");
        return KVANT_OK;
    case ROW_BOUND:
        return one_of(c, "upper", "lower") ? KVANT_OK : document_fail(doc, c, err, "must be \"upper\" or \"lower\"");
    case ROW_ONLY:
        return one_of(c, "full", "quick") ? KVANT_OK : document_fail(doc, c, err, "must be \"full\" or \"quick\"");
    case ROW_FORMULA:
        if (!cJSON_IsString(c))
            return document_fail(doc, c, err, "must be arithmetic in quotes, e.g. \"16 / bits_stored\"");
        return formula_check(c->valuestring, &names, &why) ? document_fail(doc, c, err, "%s", why.text) : KVANT_OK;
    }
    return KVANT_OK;
}

/* Which keys go together. */
static kvant_status check_together(const document *doc, const cJSON *row, const cJSON *const has[ROW_KEYS], kvant_error *err)
{
    bool names = false;
    kvant_error why;
    if (has[TOLERANCE] && has[RELATIVE])
        return document_fail(doc, has[RELATIVE], err, "a row has one tolerance, absolute or relative");
    if (!has[METRIC] || !has[VALUE])
        return document_fail(doc, row, err, "`%s` is missing", !has[METRIC] ? "metric" : "value");
    if (has[BESIDE] && (has[TOLERANCE] || has[RELATIVE] || has[SIGMA] || has[BOUND] || has[ERROR]))
        return document_fail(doc, has[BESIDE], err, "what is shown beside is not judged: it has no tolerance, sigma, bound or error");
    if (!has[BESIDE] && !has[TOLERANCE] && !has[RELATIVE] && !has[SIGMA] && !has[BOUND])
        return document_fail(doc, row, err, "`tolerance` is missing, or `sigma`, how many standard errors of the measurement are "
                                            "allowed");
    if (!has[ERROR] != !has[CORRECT])
        return document_fail(doc, row, err, "`error`, the evidence against a published value, and `correct`, the value in its place, "
                                            "go together");
    if (has[ERROR] && has[BOUND])
        return document_fail(doc, has[BOUND], err, "goes with a value that is expected, not with an `error`");
    if (has[FORMULA] && formula_check(has[FORMULA]->valuestring, &names, &why))
        return document_fail(doc, has[FORMULA], err, "%s", why.text);
    if (has[FORMULA] && has[SIGMA])
        return document_fail(doc, has[SIGMA], err, "what a formula gives has no standard error; say a tolerance");
    if (has[AGAINST] && !names)
        return document_fail(doc, has[AGAINST], err, "names the cell that a formula calls `other`");
    if (has[FORMULA] && !names && has[WHERE])
        return document_fail(doc, has[WHERE], err, "the formula has no names, so it is no cell's: remove it");
    return KVANT_OK;
}

static kvant_status check_expectation(const document *doc, const cJSON *row, kvant_error *err)
{
    const cJSON *has[ROW_KEYS] = { NULL };
    if (!cJSON_IsObject(row))
        return document_fail(doc, row, err, "must be an object {where, metric, value, tolerance, source}");
    for (const cJSON *c = row->child; c; c = c->next) {
        size_t i = 0;
        while (i < ROW_KEYS && strcmp(row_keys[i].name, c->string))
            i++;
        if (i == ROW_KEYS) {
            const char *names[ROW_KEYS + 1] = { NULL };
            for (size_t k = 0; k < ROW_KEYS; k++)
                names[k] = row_keys[k].name;
            const char *near = nearest_name(c->string, names);
            return document_fail(doc, c, err, "unknown key%s%s%s", near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
        }
        const kvant_status status = check_form(doc, c, row_keys[i].form, err);
        if (status)
            return status;
        has[i] = c;
    }
    return check_together(doc, row, has, err);
}

kvant_status spec_check_expect(const document *doc, const cJSON *expect, kvant_error *err)
{
    if (!cJSON_IsArray(expect))
        return document_fail(doc, expect, err, "must be an array of rows {where, metric, value, tolerance, source}");
    kvant_status status = KVANT_OK;
    for (const cJSON *row = expect->child; row && !status; row = row->next)
        status = check_expectation(doc, row, err);
    return status;
}

/* ---- Questions ------------------------------------------------------------------------------ */

static bool is_text(const cJSON *item) { return cJSON_IsString(item) && *item->valuestring; }

static kvant_status check_pairs(const document *doc, const cJSON *pairs, const char *what, kvant_error *err)
{
    const cJSON *pair;
    if (!cJSON_IsArray(pairs))
        return document_fail(doc, pairs, err, "must be an array of pairs of %s", what);
    cJSON_ArrayForEach(pair, pairs)
        if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !is_text(pair->child) || !is_text(pair->child->next))
            return document_fail(doc, pair, err, "must be a pair of %s in quotes", what);
    return KVANT_OK;
}

static kvant_status check_metrics(const document *doc, const cJSON *metric, kvant_error *err)
{
    const cJSON *item;
    bool ok = is_text(metric) || cJSON_IsArray(metric);
    if (cJSON_IsArray(metric))
        cJSON_ArrayForEach(item, metric)
            ok = ok && is_text(item);
    return ok ? KVANT_OK : document_fail(doc, metric, err, "must be a metric's name in quotes, or an array of them");
}

static kvant_status check_question(const document *doc, const cJSON *row, kvant_error *err)
{
    static const char *const known[] = { "name", "question", "metric", "compare", "correlate", NULL };
    if (!cJSON_IsObject(row))
        return document_fail(doc, row, err, "must be an object {name, question, compare} or {name, question, correlate}");
    kvant_status status = KVANT_OK;
    for (const cJSON *c = row->child; c && !status; c = c->next) {
        const char *near = nearest_name(c->string, known);
        if (!strcmp(c->string, "name") || !strcmp(c->string, "question"))
            status = is_text(c) ? KVANT_OK : document_fail(doc, c, err, "must be a text in quotes");
        else if (!strcmp(c->string, "metric"))
            status = check_metrics(doc, c, err);
        else if (!strcmp(c->string, "compare"))
            status = check_pairs(doc, c, "cells", err);
        else if (!strcmp(c->string, "correlate"))
            status = check_pairs(doc, c, "metrics", err);
        else
            status = document_fail(doc, c, err, "unknown key%s%s%s", near ? "; did you mean `" : "", near ? near : "",
                                   near ? "`?" : "");
    }
    const bool compares = cJSON_HasObjectItem(row, "compare"), correlates = cJSON_HasObjectItem(row, "correlate");
    if (!status && !cJSON_HasObjectItem(row, "name"))
        status = document_fail(doc, row, err, "`name` is missing: what `kvant report --question` calls it by");
    if (!status && compares == correlates)
        status = document_fail(doc, row, err, "must have `compare`, pairs of cells, or `correlate`, pairs of metrics");
    if (!status && correlates && cJSON_HasObjectItem(row, "metric"))
        status = document_fail(doc, row, err, "`metric` goes with `compare`; `correlate` names its own");
    return status;
}

kvant_status spec_check_questions(const document *doc, const cJSON *questions, kvant_error *err)
{
    if (!cJSON_IsArray(questions))
        return document_fail(doc, questions, err, "must be an array of {name, question, compare} or {name, question, correlate}");
    kvant_status status = KVANT_OK;
    const cJSON *row, *earlier;
    cJSON_ArrayForEach(row, questions) {
        if (!status)
            status = check_question(doc, row, err);
        for (earlier = questions->child; earlier != row && !status; earlier = earlier->next)
            if (!strcmp(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(earlier, "name")),
                        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "name"))))
                status = document_fail(doc, row, err, "two questions of one name");
    }
    return status;
}
