/* report_needle.c - the needle's part of a report: all needles of a label together, then depth by length, the reference beside.
 * Where the reference finds everything or nothing a cell says little, and is marked so. */
#include "harness/report/format.h"
#include "harness/report/report_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AXIS_MAX = 64 };

static double coordinate(const cJSON *cell, const char *axis)
{
    const cJSON *probe = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(cell, "config"), "probe");
    return member_number(cJSON_GetObjectItemCaseSensitive(probe, "params"), axis);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different values of an axis among a block's cells, ascending. */
static size_t axis_values(const cJSON *cells, const char *axis, double values[AXIS_MAX])
{
    size_t n = 0;
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cells) {
        double value = coordinate(cell, axis);
        size_t i = 0;
        while (i < n && values[i] != value)
            i++;
        if (i == n && n < AXIS_MAX && !isnan(value))
            values[n++] = value;
    }
    qsort(values, n, sizeof *values, by_value);
    return n;
}

static const cJSON *find(const cJSON *cells, const char *label, double depth, double length)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cells)
        if (coordinate(cell, "depth") == depth && coordinate(cell, "length") == length &&
            (label ? !strcmp(member_text(cell, "label"), label) : member_number(cell, "reference") == 1))
            return cell;
    return NULL;
}

static double number_of(const cJSON *cell, const char *metric, const char *member)
{
    return member_number(report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), metric), member);
}

/* What the reference's share of a cell lets others show. The interval of a mean share may end at 0 where a count's does not. */
static report_tells telling_of(const cJSON *reference, const char *metric)
{
    const bool counts = !strcmp(metric, "needle_accuracy");
    return report_telling(number_of(reference, metric, "value"), number_of(reference, metric, counts ? "lo" : "value"), 0);
}

/* One value of the grid; of other labels than the reference with the reference's beside. */
static void grid_cell(table *t, const cJSON *cell, const cJSON *reference, const char *metric, bool is_share, bool in_words)
{
    static const char *const signs[] = { [REPORT_TELLS] = "", [REPORT_LOSSES] = "^", [REPORT_NOTHING] = "v" };
    static const char *const words[] = { [REPORT_TELLS] = "", [REPORT_LOSSES] = ", losses only", [REPORT_NOTHING] = ", no signal" };
    const char *const *marks = in_words ? words : signs;
    double value = number_of(cell, metric, "value"), beside = number_of(reference, metric, "value");
    const char *mark = is_share ? marks[telling_of(reference, metric)] : "";
    if (isnan(value))
        table_cell(t, "%s", cell ? "not finite" : "");
    else if (cell == reference || !reference)
        table_cell(t, "%.3g%s", value, reference ? mark : "");
    else
        table_cell(t, "%.3g (%.3g%s)", value, beside, mark);
    table_number(t, member_number(cell, "number"));
}

static void print_grid(const cJSON *block, const char *metric, const report_options *options, text *out)
{
    const cJSON *cells = cJSON_GetObjectItemCaseSensitive(block, "cells"), *cell, *earlier;
    double depths[AXIS_MAX], lengths[AXIS_MAX];
    size_t n_depths = axis_values(cells, "depth", depths), n_lengths = axis_values(cells, "length", lengths);
    const bool is_share = !strcmp(metric, "needle_accuracy") || !strcmp(metric, "needle_found");
    const bool words = report_kind_of(options->format)->pen->words;
    size_t told = 0, asked = 0;
    table t = { .n_columns = 2 + n_lengths };
    table_cell(&t, "%s", metric);
    table_cell(&t, "depth");
    for (size_t i = 0; i < n_lengths; i++)
        table_cell(&t, "length %.0f", lengths[i]);
    cJSON_ArrayForEach(cell, cells) {
        bool seen = false;
        for (earlier = cells->child; earlier != cell && !seen; earlier = earlier->next)
            seen = !strcmp(member_text(earlier, "label"), member_text(cell, "label"));
        for (size_t d = 0; d < n_depths && !seen; d++) {
            if (d == 0 || words)   /* where rows can be sorted each says whose it is */
                report_label(&t, cell);
            else
                table_cell(&t, "%s", "");
            table_cell(&t, "%.3g", depths[d]);
            for (size_t i = 0; i < n_lengths; i++)
                grid_cell(&t, find(cells, member_text(cell, "label"), depths[d], lengths[i]), find(cells, NULL, depths[d], lengths[i]),
                          metric, is_share, words);
        }
        const bool of_reference = member_number(cell, "reference") == 1 && !isnan(number_of(cell, metric, "value"));
        asked += of_reference;
        told += of_reference && telling_of(cell, metric) == REPORT_TELLS;
    }
    text_add(out, "\n");
    report_print_table(&t, options, out);
    table_free(&t);
    if (is_share)
        report_note(options, out, words ? "in brackets the reference; losses only: it finds all, so that nothing else can show; no "
                    "signal: it finds none, and the cell tells nothing; off both in %zu of %zu"
                    : "in brackets the reference; ^ it finds all, so that only losses can show; v it finds none, and the "
                    "cell tells nothing; off both in %zu of %zu", told, asked);
}

/* Rows of the view `needle` whose settings are the block's. */
static bool belongs(const cJSON *row, const cJSON *block)
{
    const cJSON *param;
    if (strcmp(member_text(row, "model"), member_text(block, "model")) || strcmp(member_text(row, "data"), member_text(block, "data")))
        return false;
    cJSON_ArrayForEach(param, cJSON_GetObjectItemCaseSensitive(row, "settings"))
        if (!cJSON_Compare(param, cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(block, "settings"), param->string),
                           true))
            return false;
    return true;
}

static bool has_metric(const cJSON *block, const char *metric)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        if (report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), metric))
            return true;
    return false;
}

static void print_pooled(const cJSON *report, const cJSON *block, const report_options *options, text *out)
{
    static const char *const heads[] = { "label", "bits asked", "bits stored", "found", "all needles", "log-probability of a token" };
    table t = { .n_columns = sizeof heads / sizeof *heads };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "needle")) {
        if (!belongs(row, block))
            continue;
        char accuracy[96];
        report_estimate(member_number(row, "value"), (double)NAN, member_number(row, "lo"), member_number(row, "hi"), accuracy);
        table_cell(&t, "%s%s", member_text(row, "label"), member_number(row, "reference") == 1 ? " (reference)" : "");
        table_cell(&t, "%.4g", member_number(row, "bits_asked"));
        table_cell(&t, "%.4f", member_number(row, "bits_stored"));
        table_cell(&t, "%.0f of %.0f", member_number(row, "found"), member_number(row, "n"));
        table_cell(&t, "%s", accuracy);
        table_cell(&t, "%.4f", member_number(row, "log_prob"));
    }
    report_print_table(&t, options, out);
    table_free(&t);
}

void report_needle(const cJSON *report, const cJSON *block, const report_options *options, text *out)
{
    if (!options->metrics) {
        print_pooled(report, block, options, out);
        print_grid(block, "needle_accuracy", options, out);
        if (has_metric(block, "needle_found"))
            print_grid(block, "needle_found", options, out);
    }
    for (const char *const *m = options->metrics; m && *m; m++)
        print_grid(block, *m, options, out);
}
