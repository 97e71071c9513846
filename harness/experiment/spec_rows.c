/* spec_rows.c - checks the rows of a spec that are no axes: values that it expects, and questions that its results shall answer.
 * What they mean is for the report to say; here they must be well formed, so that no row is silently passed over. */
#include "harness/experiment/spec_rows.h"

#include <string.h>

/* ---- Expected values ------------------------------------------------------------------------ */

static kvant_status check_expectation(const document *doc, const cJSON *row, kvant_error *err)
{
    static const char *const known[] = { "where", "metric", "value", "tolerance", "relative_tolerance", "sigma", "source", NULL };
    if (!cJSON_IsObject(row))
        return document_fail(doc, row, err, "must be an object {where, metric, value, tolerance, source}");
    const cJSON *metric = NULL, *value = NULL, *tolerance = NULL, *sigma = NULL;
    for (const cJSON *c = row->child; c; c = c->next) {
        bool number = false;
        if (!strcmp(c->string, "where")) {
            if (!cJSON_IsObject(c))
                return document_fail(doc, c, err, "must be an object of names and values, e.g. {\"path\": \"decode\"}");
            for (const cJSON *w = c->child; w; w = w->next)
                if (!cJSON_IsString(w) && !cJSON_IsNumber(w) && !cJSON_IsBool(w))
                    return document_fail(doc, w, err, "must be a number or a name");
        } else if (!strcmp(c->string, "metric") || !strcmp(c->string, "source")) {
            if (!cJSON_IsString(c) || !*c->valuestring)
                return document_fail(doc, c, err, "must be a text in quotes");
            if (!strcmp(c->string, "metric"))
                metric = c;
        } else if (!strcmp(c->string, "value")) {
            number = true;
            value = c;
        } else if (!strcmp(c->string, "tolerance") || !strcmp(c->string, "relative_tolerance")) {
            if (tolerance)
                return document_fail(doc, c, err, "a row has one tolerance, absolute or relative");
            number = true;
            tolerance = c;
        } else if (!strcmp(c->string, "sigma")) {
            number = true;
            sigma = c;
        } else {
            const char *near = nearest_name(c->string, known);
            return document_fail(doc, c, err, "unknown key%s%s%s", near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
        }
        if (number && (!cJSON_IsNumber(c) || (c != value && c->valuedouble < 0)))
            return document_fail(doc, c, err, "must be a number%s", c != value ? ", 0 or more" : "");
    }
    if (!metric || !value || (!tolerance && !sigma))
        return document_fail(doc, row, err, "`%s` is missing%s", !metric ? "metric" : !value ? "value" : "tolerance",
                             metric && value ? ", or `sigma`, how many standard errors of the measurement are allowed" : "");
    return KVANT_OK;
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
            status = document_fail(doc, c, err, "unknown key%s%s%s", near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
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
