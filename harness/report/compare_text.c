/* compare_text.c - lays comparisons and correlations out for people, and writes them for programs. */
#include "harness/report/compare_internal.h"
#include "harness/report/report_text.h"

#include <math.h>
#include <string.h>

/* "kl of smollm2-135m on jargon, path decode" */
static void subject_cell(table *t, const cJSON *row)
{
    const char *model = member_text(row, "model"), *setting = member_text(row, "setting");
    table_cell(t, "%s%s%s on %s%s%s", member_text(row, "metric"), *model ? " of " : "", model, member_text(row, "data"),
               *setting ? ", " : "", setting);
}

static void p_cell(table *t, double p)
{
    if (isnan(p))
        table_cell(t, "%s", "");
    else
        table_cell(t, p < 0.001 ? "%.1e" : "%.3f", p);
}

/* The interval decides the digits; where there is none, the error does. */
static void difference_cell(table *t, const cJSON *row)
{
    const double value = member_number(row, "difference"), lo = member_number(row, "lo"), hi = member_number(row, "hi");
    const double half = (hi - lo) / 2, error = half > 0 ? half : member_number(row, "se");
    const char *unit = member_text(row, "unit");
    int decimals = error > 1e-12 * fabs(value) ? 1 - (int)floor(log10(error)) : 3;
    decimals = decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
    if (isnan(value))
        table_cell(t, "not finite");
    else if (value == 0 && !(error > 0))
        table_cell(t, "0 (equal)");
    else if (isnan(lo))
        table_cell(t, "%+.*f%s%s", decimals, value, *unit ? " " : "", unit);
    else
        table_cell(t, "%+.*f [%+.*f, %+.*f]%s%s", decimals, value, decimals, lo, decimals, hi, *unit ? " " : "", unit);
}

static void comparison_rows(const cJSON *rows, const char *question, const report_options *options, text *out)
{
    static const char *const heads[] = { "A", "B", "metric", "stored bits", "A - B, paired, BCa 95 %", "n",
                                        "higher, lower, equal", "p, sign test", "p, Holm", "A is", "note" };
    table t = { .n_columns = sizeof heads / sizeof *heads };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    const cJSON *row;
    bool unequal = false;
    cJSON_ArrayForEach(row, rows) {
        if (strcmp(member_text(row, "question"), question))
            continue;
        const double n = member_number(row, "n"), n_a = member_number(row, "n_a"), n_b = member_number(row, "n_b");
        table_cell(&t, "%s", member_text(row, "a"));
        table_cell(&t, "%s", member_text(row, "b"));
        subject_cell(&t, row);
        table_cell(&t, "%.3f / %.3f", member_number(row, "bits_a"), member_number(row, "bits_b"));
        difference_cell(&t, row);
        if (n_a != n || n_b != n) {
            table_cell(&t, "%.0f of %.0f and %.0f", n, n_a, n_b);
            unequal = true;
        } else
            table_cell(&t, "%.0f", n);
        table_cell(&t, "%.0f, %.0f, %.0f", member_number(row, "above"), member_number(row, "below"), member_number(row, "ties"));
        p_cell(&t, member_number(row, "p"));
        p_cell(&t, member_number(row, "p_holm"));
        table_cell(&t, "%s", member_text(row, "verdict"));
        table_cell(&t, "%s", member_text(row, "words"));
    }
    report_print_table(&t, options, out);
    table_free(&t);
    if (unequal)
        report_note(options, out, "n of n and n: only chunks or trials that both have count");
}

static void estimate_cell(table *t, const cJSON *row)
{
    const double rho = member_number(row, "rho"), lo = member_number(row, "lo"), hi = member_number(row, "hi");
    if (isnan(rho))
        table_cell(t, "all equal");
    else if (isnan(lo))
        table_cell(t, "%+.2f", rho);
    else
        table_cell(t, "%+.2f [%+.2f, %+.2f]", rho, lo, hi);
}

static void correlation_rows(const cJSON *rows, const char *question, const report_options *options, text *out)
{
    static const char *const heads[] = { "measures", "model and data", "stored bits", "Spearman's rho, 95 %", "n", "p, permutation" };
    table t = { .n_columns = sizeof heads / sizeof *heads };
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    const cJSON *row;
    double left_out = 0;
    cJSON_ArrayForEach(row, rows) {
        const char *setting = member_text(row, "setting");
        if (strcmp(member_text(row, "question"), question))
            continue;
        table_cell(&t, "%s, %s", member_text(row, "x"), member_text(row, "y"));
        table_cell(&t, "%s%s%s%s%s", member_text(row, "model"), *member_text(row, "model") ? " on " : "", member_text(row, "data"),
                   *setting ? ", " : "", setting);
        table_cell(&t, "%s", member_text(row, "stored_bits"));
        estimate_cell(&t, row);
        table_cell(&t, "%.0f", member_number(row, "n"));
        p_cell(&t, member_number(row, "p"));
        left_out = fmax(left_out, member_number(row, "left_out"));
    }
    report_print_table(&t, options, out);
    table_free(&t);
    if (left_out > 0)
        report_note(options, out, "left out: up to %.0f cells whose value was not finite", left_out);
}

/* Each point of the row over all bits, with its places. */
static void point_rows(const cJSON *row, const report_options *options, text *out)
{
    const char *heads[] = { "label", "stored bits", member_text(row, "x"), member_text(row, "y") };
    table t = { .n_columns = sizeof heads / sizeof *heads + 2 };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_cell(&t, "%s", heads[i]);
    table_cell(&t, "rank by %s", member_text(row, "x"));
    table_cell(&t, "rank by %s", member_text(row, "y"));
    const cJSON *point;
    cJSON_ArrayForEach(point, cJSON_GetObjectItemCaseSensitive(row, "points")) {
        table_cell(&t, "%s", member_text(point, "label"));
        table_cell(&t, "%.4g", member_number(point, "bits_stored"));
        table_cell(&t, "%.4g", member_number(point, "x"));
        table_cell(&t, "%.4g", member_number(point, "y"));
        table_cell(&t, "%g", member_number(point, "rank_x"));
        table_cell(&t, "%g", member_number(point, "rank_y"));
    }
    const char *setting = member_text(row, "setting");
    text_add(out, "\n");
    report_note(options, out, "points of %s%s%s%s%s", member_text(row, "model"), *member_text(row, "model") ? " on " : "",
                member_text(row, "data"), *setting ? ", " : "", setting);
    text_add(out, "\n");
    report_print_table(&t, options, out);
    table_free(&t);
}

/* Do all correlations speak of the same two measures? */
static bool one_pair(const cJSON *rows)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, rows)
        if (strcmp(member_text(row, "x"), member_text(rows->child, "x")) ||
            strcmp(member_text(row, "y"), member_text(rows->child, "y")))
            return false;
    return true;
}

/* A heading wherever a new question begins. */
static bool begins(const cJSON *rows, const cJSON *row)
{
    const cJSON *earlier;
    for (earlier = rows->child; earlier != row; earlier = earlier->next)
        if (!strcmp(member_text(earlier, "question"), member_text(row, "question")))
            return false;
    return true;
}

static void heading(const cJSON *row, const report_options *options, text *out)
{
    const char *question = member_text(row, "question");
    if (*question)
        report_heading(options, 2, question, out);
    else if (out->length)
        text_add(out, "\n");
}

void compare_text(const cJSON *answer, const report_options *options, text *out)
{
    const cJSON *compared = cJSON_GetObjectItemCaseSensitive(answer, "comparisons"), *row, *point;
    const cJSON *correlated = cJSON_GetObjectItemCaseSensitive(answer, "correlations");
    cJSON_ArrayForEach(row, compared)
        if (begins(compared, row)) {
            heading(row, options, out);
            comparison_rows(compared, member_text(row, "question"), options, out);
        }
    const int n = cJSON_GetArraySize(compared);
    if (n)
        report_note(options, out, "better and worse need an interval without 0 and a p of at most 0.05 after Holm's correction over "
                    "the %d row%s here; chunks are the clusters", n, n == 1 ? "" : "s");
    cJSON_ArrayForEach(row, correlated)
        if (begins(correlated, row)) {
            heading(row, options, out);
            correlation_rows(correlated, member_text(row, "question"), options, out);
            report_note(options, out, "points are quantizers, the reference left out; the interval (Fisher's z, Bonett and Wright) "
                        "takes them for draws of those that there might be");
            if (!one_pair(correlated))
                report_note(options, out, "--correlate %s %s lists the points, --format json all of them", member_text(row, "x"),
                            member_text(row, "y"));
            else
                cJSON_ArrayForEach(point, correlated)
                    if (!strcmp(member_text(point, "question"), member_text(row, "question")) &&
                        !strcmp(member_text(point, "stored_bits"), "all"))
                        point_rows(point, options, out);
        }
}
