/* format_sql.c - speeds of a model as rows of the table that llama-bench writes with -o sql, to compare the two in one file.
 * That table has no place for quality or for how a cache is laid out: a comment before each row says which cell it is, and the head
 * says which columns stay empty. */
#include "harness/experiment/document.h"
#include "harness/measure/stats.h"
#include "harness/report/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The columns that all its versions since n_depth (2025) share, in its order; those that are not filled are NULL. */
static const struct { const char *name, *type; bool filled; } columns[] = {
    { "build_commit", "TEXT", true }, { "build_number", "INTEGER", false }, { "cpu_info", "TEXT", true }, { "gpu_info", "TEXT", true },
    { "backends", "TEXT", true }, { "model_filename", "TEXT", true }, { "model_type", "TEXT", true },
    { "model_size", "INTEGER", false }, { "model_n_params", "INTEGER", false }, { "n_batch", "INTEGER", true },
    { "n_ubatch", "INTEGER", true },
    { "n_threads", "INTEGER", true }, { "cpu_mask", "TEXT", false }, { "cpu_strict", "INTEGER", false }, { "poll", "INTEGER", false },
    { "type_k", "TEXT", true }, { "type_v", "TEXT", true }, { "n_gpu_layers", "INTEGER", true }, { "split_mode", "TEXT", false },
    { "main_gpu", "INTEGER", false }, { "no_kv_offload", "INTEGER", false }, { "flash_attn", "INTEGER", false },
    { "tensor_split", "TEXT", false }, { "tensor_buft_overrides", "TEXT", false }, { "embeddings", "INTEGER", false },
    { "no_op_offload", "INTEGER", false }, { "n_prompt", "INTEGER", true }, { "n_gen", "INTEGER", true },
    { "n_depth", "INTEGER", true }, { "test_time", "TEXT", true }, { "avg_ns", "INTEGER", true },
    { "stddev_ns", "INTEGER", true }, { "avg_ts", "REAL", true },
    { "stddev_ts", "REAL", true },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* What is timed: a prompt from nothing to the depth, and steps from there on. */
static const struct { const char *metric, *tokens; bool decodes; } tests[] = {
    { "prefill_tokens_per_s", "depth", false }, { "decode_tokens_per_s", "steps", true },
};

static void add_string(text *out, const char *words)
{
    text_add(out, "'");
    for (const char *c = words; *c; c++)
        text_add(out, *c == '\'' ? "''" : "%c", (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
    text_add(out, "'");
}

/* A comment that no text can end. */
static void add_comment(text *out, const char *before, const char *words)
{
    text_add(out, "-- %s", before);
    for (const char *c = words; *c; c++)
        text_add(out, "%c", (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
    text_add(out, "\n");
}

/* Is a parameter what it is by default, so that naming it says nothing? */
static bool is_default(const kvant_quantizer *quantizer, const cJSON *value)
{
    const kvant_param *param = quantizer ? param_find(quantizer->params, value->string) : NULL;
    if (!param)
        return false;
    if (param->type == KVANT_CHOICE)
        return cJSON_IsString(value) && !strcmp(value->valuestring, param->choices[(size_t)param->def]);
    if (param->type == KVANT_LIST)
        return cJSON_IsString(value) && !strcmp(value->valuestring, "none");
    return cJSON_IsNumber(value) && value->valuedouble >= param->def && value->valuedouble <= param->def;
}

/* "affine:bits=4", as other commands take it; of a cell whose groups have bits of their own its label. */
static void add_quantizer(text *out, const cJSON *cell, const char *name, const cJSON *params)
{
    const kvant_quantizer *quantizer = NULL;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++)
        quantizer = !strcmp((*q)->name, name) ? *q : quantizer;
    const bool mixed = cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(cell, "config"), "allocation");
    text words = { 0 };
    const cJSON *param;
    char gap = ':';
    text_add(&words, "%s", mixed ? member_text(cell, "label") : name);
    cJSON_ArrayForEach(param, params) {
        if (mixed || is_default(quantizer, param))
            continue;
        char *value = cJSON_PrintUnformatted(param);
        text_add(&words, "%c%s=%s", gap, param->string, cJSON_IsString(param) ? param->valuestring : value ? value : "");
        cJSON_free(value);
        gap = ',';
    }
    if (words.failed)
        out->failed = true;
    else
        add_string(out, words.data);
    text_free(&words);
}

static const cJSON *run_of(const cJSON *report, const cJSON *cell)
{
    const cJSON *run;
    cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(report, "runs"))
        if (member_number(run, "id") == member_number(cell, "run"))
            return run;
    return NULL;
}

typedef struct { double ns, ns_sd, rate, rate_sd; } speeds;

/* Means and deviations over repeats of what took ns for so many tokens, from rates [n]; a single one deviates by 0 there. */
static kvant_status speeds_of(const cJSON *samples, const char *metric, double tokens, speeds *out, size_t *n, kvant_error *err)
{
    double *x = calloc(2 * (size_t)cJSON_GetArraySize(samples) + 1, sizeof *x), *ns = x ? x + cJSON_GetArraySize(samples) : NULL;
    const cJSON *sample;
    *n = 0;
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %d samples", cJSON_GetArraySize(samples));
    cJSON_ArrayForEach(sample, samples)
        if (!strcmp(member_text(sample, "metric"), metric) && member_number(sample, "value") > 0) {
            x[*n] = member_number(sample, "value");
            ns[*n] = 1e9 * tokens / x[*n];
            ++*n;
        }
    if (*n) {
        const stats_mean rate = stats_of(x, *n), time = stats_of(ns, *n);
        const double root = sqrt((double)*n);
        *out = (speeds){ time.mean, *n > 1 ? time.se * root : 0, rate.mean, *n > 1 ? rate.se * root : 0 };
    }
    free(x);
    return KVANT_OK;
}

static void add_insert(const cJSON *report, const cJSON *cell, bool decodes, double tokens, const speeds *timed, text *out)
{
    const cJSON *run = run_of(report, cell), *config = cJSON_GetObjectItemCaseSensitive(cell, "config");
    const cJSON *params = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "probe"), "params");
    const char *commit = member_text(run, "commit"), *gpu = member_text(run, "gpu");
    char digits[32];
    bool first = true;
    text_add(out, "INSERT INTO llama_bench (");
    for (size_t i = 0; i < COLUMNS; i++)
        if (columns[i].filled) {
            text_add(out, "%s%s", first ? "" : ", ", columns[i].name);
            first = false;
        }
    text_add(out, ") VALUES (");
    add_string(out, commit);
    text_add(out, ", ");
    add_string(out, member_text(run, "cpu"));
    text_add(out, ", ");
    add_string(out, gpu);
    text_add(out, ", 'kvant', ");
    add_string(out, member_text(cell, "model"));
    text_add(out, ", ");
    add_string(out, member_text(cell, "model"));
    const double batch = member_number(params, "batch");
    text_add(out, ", %.0f, %.0f, %.0f, ", batch, batch, member_number(run, "threads"));
    add_quantizer(out, cell, member_text(cell, "key_quantizer"), cJSON_GetObjectItemCaseSensitive(cell, "key_params"));
    text_add(out, ", ");
    add_quantizer(out, cell, member_text(cell, "value_quantizer"), cJSON_GetObjectItemCaseSensitive(cell, "value_params"));
    text_add(out, ", 0, %.0f, %.0f, %.0f, ", decodes ? 0 : tokens, decodes ? tokens : 0, decodes ? member_number(params, "depth") : 0);
    add_string(out, member_text(cell, "finished"));
    text_add(out, ", %.0f, %.0f, ", timed->ns, timed->ns_sd);
    number_text(timed->rate, digits);
    text_add(out, "%s, ", digits);
    number_text(timed->rate_sd, digits);
    text_add(out, "%s);\n", digits);
}

static kvant_status add_cell(const cJSON *report, const cJSON *cell, text *out, size_t *rows, kvant_error *err)
{
    const cJSON *params = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(cell, "config"), "probe"), "params");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        const double tokens = member_number(params, tests[i].tokens);
        speeds timed;
        size_t n = 0;
        const cJSON *samples = cJSON_GetObjectItemCaseSensitive(cell, "samples");
        kvant_status status = tokens > 0 ? speeds_of(samples, tests[i].metric, tokens, &timed, &n, err) : KVANT_OK;
        if (status)
            return status;
        if (!n)
            continue;
        add_comment(out, "", member_text(cell, "label"));
        add_insert(report, cell, tests[i].decodes, tokens, &timed, out);
        ++*rows;
    }
    return KVANT_OK;
}

static void add_head(const cJSON *report, text *out)
{
    size_t empty = 0;
    add_comment(out, "speeds of experiment ", member_text(report, "experiment"));
    text_add(out, "-- by kvant, in the table of llama-bench -o sql (before 2025 it was named test and had no n_depth).\n"
                  "-- avg_ns and avg_ts are means over repeats, stddev_ns and stddev_ts their deviations, as there.\n"
                  "-- backends is kvant and n_gpu_layers 0: everything ran on the processor. model_type is the model's name again.\n"
                  "-- type_k and type_v are quantizers with the parameters that are not at their defaults. Empty:");
    for (size_t i = 0; i < COLUMNS; i++)
        if (!columns[i].filled) {
            text_add(out, "%s%s %s", empty ? "," : "", empty && empty % 8 == 0 ? "\n--" : "", columns[i].name);
            empty++;
        }
    text_add(out, ".\nCREATE TABLE IF NOT EXISTS llama_bench (\n");
    for (size_t i = 0; i < COLUMNS; i++)
        text_add(out, "  %s %s%s\n", columns[i].name, columns[i].type, i + 1 == COLUMNS ? "" : ",");
    text_add(out, ");\n");
}

static kvant_status write_sql(cJSON *report, const report_options *options, text *out, kvant_error *err)
{
    const cJSON *block, *cell;
    size_t rows = 0, others = 0;
    add_head(report, out);
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks"))
        cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
            const size_t before = rows;
            kvant_status status = *member_text(cell, "model") ? add_cell(report, cell, out, &rows, err) : KVANT_OK;
            if (status)
                return status;
            others += rows == before;
        }
    if (!rows)
        return kvant_fail(err, KVANT_INVALID, "%s: holds no speeds of a model, which is all that llama-bench's table has room for: "
                          "run the probe throughput, or take --format csv", options->experiment);
    if (others)
        text_add(out, "-- Left out: %zu cells without speeds of a model; --format csv has them.\n", others);
    return KVANT_OK;
}

static kvant_status prepare(store *s, cJSON *report, const report_options *options, kvant_error *err)
{
    (void)options;
    return report_samples(s, report, err);
}

const report_kind format_sql = {
    .name = "sql", .summary = "a model's speeds as llama-bench -o sql writes them", .prepare = prepare, .report = write_sql,
};
