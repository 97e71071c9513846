/* report_text.c - lays a report out for people: tables on a terminal or in Markdown, with what deserves a second look below them.
 * The error decides the digits; a difference whose interval holds 0 is called undecided. */
#include "harness/report/format.h"
#include "harness/report/report_text.h"
#include "harness/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- Numbers ------------------------------------------------------------------------------------------------------------ */

/* An error that is rounding alone, of values that do not vary, is none. */
static bool is_error(double error, double value) { return error > 1e-12 * fabs(value); }

/* Decimals that leave two digits of an error; more than 9 call for an exponent. */
static int decimals_for(double error)
{
    int decimals = 1 - (int)floor(log10(error));
    return decimals < 0 ? 0 : decimals;
}

void report_estimate(double value, double se, double lo, double hi, char out[96])
{
    double error = se > 0 ? se : (hi - lo) / 2;
    int decimals = is_error(error, value) && isfinite(error) ? decimals_for(error) : -1;
    if (isnan(value))
        snprintf(out, 96, "not finite");
    else if (decimals < 0)
        snprintf(out, 96, value == rint(value) && fabs(value) < 1e15 ? "%.0f" : fabs(value) >= 1000 ? "%.6g" : "%.4g",
                 value);           /* counts whole, ratios short */
    else if (decimals > 9 && se > 0)
        snprintf(out, 96, "%.3e ± %.1e", value, se);
    else if (decimals > 9)
        snprintf(out, 96, "%.3e [%.3e, %.3e]", value, lo, hi);
    else if (se > 0)
        snprintf(out, 96, "%.*f ± %.*f", decimals, value, decimals, se);
    else
        snprintf(out, 96, "%.*f [%.*f, %.*f]", decimals, value, decimals, lo, decimals, hi);
}

void report_difference(const cJSON *row, char out[96])
{
    double value = member_number(row, "difference"), se = member_number(row, "se");
    double lo = member_number(row, "lo"), hi = member_number(row, "hi");
    if (isnan(value))
        snprintf(out, 96, "not finite");
    else if (value == 0 && !(se > 0))
        snprintf(out, 96, "0 (equal)");
    else if (!is_error(se, value))
        snprintf(out, 96, "%+.6g", value);
    else {
        int decimals = decimals_for(se);
        const char *word = lo <= 0 && hi >= 0 ? " undecided" : "";
        if (decimals > 9)
            snprintf(out, 96, "%+.3e [%+.3e, %+.3e]%s", value, lo, hi, word);
        else
            snprintf(out, 96, "%+.*f [%+.*f, %+.*f]%s", decimals, value, decimals, lo, decimals, hi, word);
    }
}

const cJSON *report_row(const cJSON *list, const char *metric)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, list)
        if (!strcmp(member_text(row, "metric"), metric))
            return row;
    return NULL;
}

report_tells report_telling(double value, double lo, double floor)
{
    return value == 1 ? REPORT_LOSSES : value <= floor || lo <= floor ? REPORT_NOTHING : REPORT_TELLS;
}

/* ---- Metrics ------------------------------------------------------------------------------------------------------------ */

/* Place in the probe's table; names that are not there come last. */
static size_t rank_of(const kvant_probe *probe, const char *name)
{
    size_t i = 0;
    while (probe && probe->metrics[i].name && strcmp(probe->metrics[i].name, name))
        i++;
    return probe && probe->metrics[i].name ? i : REPORT_METRICS;
}

size_t report_metrics(const cJSON *block, const char *names[REPORT_METRICS])
{
    const kvant_probe *probe = probe_find(member_text(block, "probe"), NULL);
    size_t n = 0;
    const cJSON *cell, *row;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements")) {
            const char *name = member_text(row, "metric");
            size_t at = 0;
            while (at < n && strcmp(names[at], name))
                at++;
            if (at < n || n == REPORT_METRICS)
                continue;
            for (at = n++; at > 0 && rank_of(probe, names[at - 1]) > rank_of(probe, name); at--)
                names[at] = names[at - 1];
            names[at] = name;
        }
    return n;
}

/* Does any cell of the block have an error or interval for it? What has none is a count of bytes or the like. */
static bool is_estimate(const cJSON *block, const char *metric)
{
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
        const cJSON *row = report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), metric);
        if (!isnan(member_number(row, "se")) || !isnan(member_number(row, "lo")))
            return true;
    }
    return false;
}

/* "perplexity_at_4" is the course of a metric, "kl_group_4" a part of it: not other ones. */
static bool is_course(const char *metric) { return strstr(metric, "_at_") || strstr(metric, "_group_"); }

/* Differences to the reference worth a column: clustered, no timing. */
static size_t paired_metrics(const cJSON *block, const char *names[REPORT_METRICS])
{
    const kvant_probe *probe = probe_find(member_text(block, "probe"), NULL);
    size_t n = 0;
    const cJSON *cell, *row;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells"))
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "differences")) {
            const char *name = member_text(row, "metric");
            size_t at = 0;
            while (at < n && strcmp(names[at], name))
                at++;
            if (at < n || n == REPORT_METRICS || !(member_number(row, "n") > 1) || member_number(row, "timing") != 0)
                continue;
            for (at = n++; at > 0 && rank_of(probe, names[at - 1]) > rank_of(probe, name); at--)
                names[at] = names[at - 1];
            names[at] = name;
        }
    return n;
}

/* ---- A block's tables --------------------------------------------------------------------------------------------------- */

const char *report_reference_label(const cJSON *block)
{
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(block, "cells")->child;
    return member_number(first, "reference") == 1 ? member_text(first, "label") : "reference";
}

static bool lacks_oracle(const char *quantizer)
{
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++)
        if (!strcmp((*q)->name, quantizer))
            return !(*q)->oracles || !(*q)->oracles->input;
    return false;                  /* not of this program: nothing is known of it */
}

bool report_lacks_oracle(const cJSON *cell)
{
    return lacks_oracle(member_text(cell, "key_quantizer")) || lacks_oracle(member_text(cell, "value_quantizer"));
}

void report_label(table *t, const cJSON *cell)
{
    table_cell(t, "%s%s%s", member_text(cell, "label"), member_number(cell, "reference") == 1 ? " (reference)" : "",
               report_lacks_oracle(cell) ? " *no oracle*" : "");
}

static void metric_head(table *t, const cJSON *block, const char *metric)
{
    const cJSON *row = report_row(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(block, "cells")->child,
                                                                   "measurements"), metric);
    const char *unit = member_text(row, "unit");
    table_cell(t, *unit ? "%s (%s)" : "%s%s", metric, unit);
}

static const report_pen *pen_of(const report_options *options) { return report_kind_of(options->format)->pen; }

void report_print_table(const table *t, const report_options *options, text *out)
{
    if (t->failed)
        out->failed = true;
    else
        pen_of(options)->table(t, options, out);
}

static void metric_cell(table *t, const cJSON *cell, const char *metric)
{
    const cJSON *row = report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), metric);
    char number[96] = "";
    if (row)
        report_estimate(member_number(row, "value"), member_number(row, "se"), member_number(row, "lo"), member_number(row, "hi"),
                        number);
    table_cell(t, "%s", number);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "best")))
        table_best(t);
}

static void flags_cell(table *t, const cJSON *report, const cJSON *block, const cJSON *cell, const char *const *paired,
                       size_t n_paired)
{
    text flags = { 0 };
    report_flags(report, block, cell, paired, n_paired, &flags);
    table_cell(t, "%s", flags.data ? flags.data : "");
    t->failed = t->failed || flags.failed;
    text_free(&flags);
}

static void print_metrics(const cJSON *report, const cJSON *block, const char *const *metrics, size_t n, const char *const *paired,
                          size_t n_paired, const report_options *options, text *out)
{
    const bool words = pen_of(options)->words;
    table t = { .n_columns = 4 + n + n_paired + words };
    table_cell(&t, "label");
    table_cell(&t, "bits asked");
    table_cell(&t, "bits stored");
    for (size_t i = 0; i < n; i++)
        metric_head(&t, block, metrics[i]);
    for (size_t i = 0; i < n_paired; i++)
        table_cell(&t, "%s minus %s", paired[i], report_reference_label(block));
    table_cell(&t, "n");
    if (words)
        table_cell(&t, "flags");
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
        report_label(&t, cell);
        table_number(&t, member_number(cell, "number"));
        table_cell(&t, "%.4g", member_number(cell, "bits_asked"));
        table_cell(&t, "%.4f", member_number(cell, "bits_stored"));
        for (size_t i = 0; i < n; i++)
            metric_cell(&t, cell, metrics[i]);
        for (size_t i = 0; i < n_paired; i++) {
            const cJSON *row = report_row(cJSON_GetObjectItemCaseSensitive(cell, "differences"), paired[i]);
            char number[96] = "";
            if (row)
                report_difference(row, number);
            table_cell(&t, "%s", number);
        }
        double count = member_number(report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), metrics[0]), "n");
        if (isnan(count))
            table_cell(&t, "%s", "");
        else
            table_cell(&t, "%.0f", count);
        if (words)
            flags_cell(&t, report, block, cell, paired, n_paired);
    }
    report_print_table(&t, options, out);
    table_free(&t);
}

static void print_exact(const cJSON *block, const char *const *metrics, size_t n, const report_options *options, text *out)
{
    table t = { .n_columns = 1 + n };
    table_cell(&t, "label");
    for (size_t i = 0; i < n; i++)
        metric_head(&t, block, metrics[i]);
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItemCaseSensitive(block, "cells")) {
        report_label(&t, cell);
        table_number(&t, member_number(cell, "number"));
        for (size_t i = 0; i < n; i++)
            metric_cell(&t, cell, metrics[i]);
    }
    text_add(out, "\n");
    report_print_table(&t, options, out);
    table_free(&t);
}

static void print_block(const cJSON *report, const cJSON *block, const report_options *options, text *out)
{
    const char *all[REPORT_METRICS], *estimates[REPORT_METRICS], *exact[REPORT_METRICS], *paired[REPORT_METRICS];
    size_t n = report_metrics(block, all), n_estimates = 0, n_exact = 0, n_paired = paired_metrics(block, paired), hidden = 0;
    for (size_t i = 0; i < n; i++)
        if (options->metrics)
            estimates[n_estimates++] = all[i];
        else if (is_course(all[i]))
            hidden++;
        else if (is_estimate(block, all[i]))
            estimates[n_estimates++] = all[i];
        else
            exact[n_exact++] = all[i];
    if (n_paired > 2 && !options->metrics)
        n_paired = 1;              /* the rest is in CSV and JSON: a table is for reading */
    if (n_estimates)
        print_metrics(report, block, estimates, n_estimates, paired, n_paired, options, out);
    if (n_exact)
        print_exact(block, exact, n_exact, options, out);
    if (hidden)
        report_note(options, out, "%zu more metrics by --metric NAME or --format csv, e.g. %s", hidden,
                    is_course(all[n - 1]) ? all[n - 1] : all[0]);
}

/* ---- Lines -------------------------------------------------------------------------------------------------------------- */

/* Control characters could drive a terminal. */
static void clean(char *line)
{
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

void report_heading(const report_options *options, int level, const char *words, text *out)
{
    char *copy = strdup(words);
    if (copy) {
        clean(copy);
        pen_of(options)->heading(level, copy, out);
    }
    out->failed = out->failed || !copy;
    free(copy);
}

void report_note(const report_options *options, text *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *line;
    if (vasprintf(&line, format, args) >= 0) {
        clean(line);
        pen_of(options)->note(line, out);
        free(line);
    } else
        out->failed = true;
    va_end(args);
}

/* ---- The whole ---------------------------------------------------------------------------------------------------------- */

void report_title(const cJSON *block, text *line)
{
    const char *model = member_text(block, "model"), *differs = member_text(block, "differs");
    text_add(line, "%s%s%s on %s%s%s", member_text(block, "probe"), *model ? " of " : "", model, member_text(block, "data"),
             *differs ? ", " : "", differs);
}

static void heading(const cJSON *block, const report_options *options, text *out)
{
    text line = { 0 }, settings = { 0 };
    report_title(block, &line);
    const cJSON *param;
    cJSON_ArrayForEach(param, cJSON_GetObjectItemCaseSensitive(block, "settings")) {
        char *value = cJSON_PrintUnformatted(param);
        text_add(&settings, "%s%s %s", settings.length ? ", " : "", param->string,
                 cJSON_IsString(param) ? param->valuestring : value ? value : "");
        cJSON_free(value);
    }
    if (!line.failed)
        report_heading(options, 2, line.data, out);
    if (settings.length && !settings.failed)
        report_note(options, out, "%s", settings.data);
    text_add(out, "\n");
    out->failed = out->failed || line.failed || settings.failed;
    text_free(&line);
    text_free(&settings);
}

static void print_expect(const cJSON *report, const report_options *options, text *out)
{
    static const char *const heads[] = { "metric", "where", "label", "published", "computed", "se", "difference",
                                        "tolerance", "verdict", "source" };
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(report, "expect"), *row;
    if (!cJSON_GetArraySize(rows))
        return;
    table t = { .n_columns = sizeof heads / sizeof *heads };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    cJSON_ArrayForEach(row, rows) {
        text where = { 0 };
        const cJSON *w;
        cJSON_ArrayForEach(w, cJSON_GetObjectItemCaseSensitive(row, "where")) {
            char *value = cJSON_PrintUnformatted(w);
            text_add(&where, "%s%s %s", where.length ? ", " : "", w->string, cJSON_IsString(w) ? w->valuestring : value ? value : "");
            cJSON_free(value);
        }
        /* Of a row that is only shown beside there may be no value at all. */
        const char *verdict = member_text(row, "verdict"), *note = member_text(row, "note");
        bool computed = strcmp(verdict, "not computed") && (strcmp(verdict, "shown beside") || !isnan(member_number(row, "computed")));
        table_cell(&t, "%s", member_text(row, "metric"));
        table_cell(&t, "%s", where.data ? where.data : "");
        table_cell(&t, "%s", member_text(row, "label"));
        table_cell(&t, "%.6g", member_number(row, "published"));
        if (computed) {
            double se = member_number(row, "se");
            table_cell(&t, "%.6g", member_number(row, "computed"));
            if (isnan(se))
                table_cell(&t, "%s", "");
            else
                table_cell(&t, "%.2g", se);
            table_cell(&t, "%+.3g", member_number(row, "difference"));
        } else {
            for (int i = 0; i < 3; i++)
                table_cell(&t, "%s", "");
        }
        double tolerance = member_number(row, "tolerance");
        if (isnan(tolerance))
            table_cell(&t, "%s", "");
        else
            table_cell(&t, "%.3g", tolerance);
        table_cell(&t, "%s", verdict);
        table_cell(&t, "%s%s%s", member_text(row, "source"), *note ? "; " : "", note);
        text_free(&where);
    }
    report_heading(options, 2, "expectations", out);
    report_print_table(&t, options, out);
    table_free(&t);
}

void report_text(const cJSON *report, const report_options *options, text *out)
{
    const report_pen *pen = pen_of(options);
    const cJSON *block, *skip;
    char done[96];
    report_heading(options, 1, member_text(report, "experiment"), out);
    snprintf(done, sizeof done, "%.0f of %.0f cells finished", member_number(report, "finished"), member_number(report, "cells"));
    pen->line(done, out);
    if (pen->summary)
        pen->summary(report, out);
    report_print_controls(report, options, out);
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        heading(block, options, out);
        if (pen->figure)
            pen->figure(block, out);
        if (!strcmp(member_text(block, "probe"), "needle"))
            report_needle(report, block, options, out);
        else
            print_block(report, block, options, out);
        report_warn_controls(block, options, out);
        report_warnings(report, block, options, out);
    }
    print_expect(report, options, out);
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report, "skips")))
        report_heading(options, 2, "skipped", out);
    cJSON_ArrayForEach(skip, cJSON_GetObjectItemCaseSensitive(report, "skips"))
        report_note(options, out, "%s: %s", member_text(skip, "label"), member_text(skip, "reason"));
}
