/* questions.c - answers what is asked of an experiment, on the command line or by its spec, and hands the answer to tables, programs
 * and pictures. All of an answer's comparisons are one family of tests. */
#include "harness/report/compare_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const comparison_columns[] = {
    "question", "probe", "model", "data", "setting", "metric", "unit", "better", "a", "b", "bits_a", "bits_b", "value_a", "value_b",
    "difference", "se", "lo", "hi", "n", "n_a", "n_b", "above", "below", "ties", "p", "ratio", "ratio_lo", "ratio_hi", "p_holm",
    "verdict",
    "words", NULL
};
static const char *const correlation_columns[] = {
    "question", "x", "y", "model", "data", "setting", "stored_bits", "n", "rho", "lo", "hi", "p", "left_out", NULL
};

/* ---- Questions of the spec ------------------------------------------------------------------------------------------------ */

/* Metrics of a question: one, several or none, in a NULL-terminated list that is freed by the caller. */
static const char **metrics_of(const cJSON *question)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(question, "metric"), *item;
    const char **metrics = calloc((size_t)cJSON_GetArraySize(given) + 2, sizeof *metrics);
    size_t n = 0;
    if (metrics && cJSON_IsString(given))
        metrics[n++] = given->valuestring;
    else if (metrics)
        cJSON_ArrayForEach(item, given)
            if (cJSON_IsString(item))
                metrics[n++] = item->valuestring;
    return metrics;
}

static const char *word_at(const cJSON *array, int index) { return cJSON_GetStringValue(cJSON_GetArrayItem(array, index)); }

static kvant_status answer_question(store *s, const cJSON *blocks, const cJSON *question, const report_options *options,
                                    cJSON *compared, cJSON *correlated, kvant_error *err)
{
    const char *name = member_text(question, "name");
    const cJSON *pair, *pairs = cJSON_GetObjectItemCaseSensitive(question, "compare");
    const cJSON *measures = cJSON_GetObjectItemCaseSensitive(question, "correlate");
    const char *words = member_text(question, "question");
    const char **own = metrics_of(question), *text_of_it = *words ? words : name;
    report_options o = *options;
    kvant_status status = own ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
    if (!o.metrics && own && own[0])
        o.metrics = own;
    cJSON_ArrayForEach(pair, pairs)
        if (!status && word_at(pair, 0) && word_at(pair, 1))
            status = compare_cells(s, blocks, text_of_it, word_at(pair, 0), word_at(pair, 1), &o, compared, err);
    cJSON_ArrayForEach(pair, measures)
        if (!status && word_at(pair, 0) && word_at(pair, 1))
            status = correlate_cells(blocks, text_of_it, word_at(pair, 0), word_at(pair, 1), correlated, err);
    free(own);
    if (status) {
        kvant_error why = *err;
        kvant_fail(err, status, "question %.60s: %s", name, why.text);
    }
    return status;
}

/* The spec's questions that are asked for; KVANT_INVALID lists those that it has. */
static kvant_status answer_questions(store *s, const cJSON *blocks, const report_options *options, const char *wanted, cJSON *compared,
                                     cJSON *correlated, kvant_error *err)
{
    cJSON *rows = report_rows(s, "SELECT spec FROM experiment WHERE name = ?1", options->experiment, err);
    if (!rows)
        return KVANT_IO;
    cJSON *spec = cJSON_Parse(member_text(rows->child, "spec"));
    const cJSON *question;
    text names = { 0 };
    bool found = false;
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(question, cJSON_GetObjectItemCaseSensitive(spec, "questions")) {
        const char *name = member_text(question, "name");
        text_add(&names, "%s%.60s", names.length ? ", " : "", name);
        if (status || (strcmp(wanted, "all") && strcmp(wanted, name)))
            continue;
        found = true;
        status = answer_question(s, blocks, question, options, compared, correlated, err);
    }
    if (!status && !found)
        status = kvant_fail(err, KVANT_INVALID, "the spec of '%.100s' has no question '%.60s'; it has %.400s", options->experiment,
                            wanted, names.data ? names.data : "none: its key `questions` would hold them");
    text_free(&names);
    cJSON_Delete(spec);
    cJSON_Delete(rows);
    return status;
}

/* ---- Answers -------------------------------------------------------------------------------------------------------------- */

kvant_status compare_answer(store *s, const report_options *options, const compare_what *what, cJSON **answer, kvant_error *err)
{
    *answer = NULL;
    kvant_status status = report_find(s, options->experiment, err);
    if (status)
        return status;
    cJSON *work = cJSON_CreateObject(), *out = cJSON_CreateObject();
    cJSON_AddStringToObject(out, "experiment", options->experiment);
    cJSON *compared = cJSON_AddArrayToObject(out, "comparisons"), *correlated = cJSON_AddArrayToObject(out, "correlations");
    status = work && compared && correlated ? report_blocks(s, options->experiment, false, work, err)
                                            : kvant_fail(err, KVANT_NOMEM, "out of memory");
    const cJSON *blocks = cJSON_GetObjectItemCaseSensitive(work, "blocks");
    if (!status && what->a)
        status = compare_cells(s, blocks, "", what->a, what->b, options, compared, err);
    if (!status && what->x)
        status = correlate_cells(blocks, "", what->x, what->y, correlated, err);
    if (!status && what->question)
        status = answer_questions(s, blocks, options, what->question, compared, correlated, err);
    if (!status)
        status = compare_judge(compared, err);
    cJSON_Delete(work);
    if (status)
        cJSON_Delete(out);
    else
        *answer = out;
    return status;
}

kvant_status compare_csv(cJSON *answer, const report_options *options, text *out, kvant_error *err)
{
    (void)options;
    const cJSON *compared = cJSON_GetObjectItemCaseSensitive(answer, "comparisons");
    const cJSON *correlated = cJSON_GetObjectItemCaseSensitive(answer, "correlations");
    if (compared->child && correlated->child)
        return kvant_fail(err, KVANT_INVALID, "CSV holds one table, and these are comparisons and correlations: name one question, or "
                          "take --format json");
    csv_rows(correlated->child ? correlated : compared, correlated->child ? correlation_columns : comparison_columns, out);
    return KVANT_OK;
}

kvant_status compare_write(store *s, const report_options *options, const compare_what *what, text *out, kvant_error *err)
{
    cJSON *answer;
    kvant_status status = compare_answer(s, options, what, &answer, err);
    if (status)
        return status;
    status = report_put_answer(answer, options, out, err);
    cJSON_Delete(answer);
    return status;
}
