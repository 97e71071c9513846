/* report_warnings.c - what deserves a second look in a block: perplexities below the reference's, outputs that are equal, shares at
 * their floor. Below a table as sentences, and for formats that have room as flags of the cell itself. */
#include "harness/report/format.h"
#include "harness/report/report_text.h"

#include <math.h>
#include <string.h>

/* A reference at the floor of a share, NAME_floor of NAME_accuracy, or at its ceiling. */
static void warn_of_floor(const cJSON *block, const report_options *options, text *out)
{
    static const char tail[] = "_floor";
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(block, "cells")->child, *floor;
    const cJSON *measured = cJSON_GetObjectItemCaseSensitive(first, "measurements");
    if (member_number(first, "reference") != 1)
        return;
    cJSON_ArrayForEach(floor, measured) {
        const char *name = member_text(floor, "metric");
        const size_t n = strlen(name), stem = n > strlen(tail) ? n - strlen(tail) : 0;
        char share[64], number[96];
        if (!stem || stem > 40 || strcmp(name + stem, tail))
            continue;
        snprintf(share, sizeof share, "%.*s_accuracy", (int)stem, name);
        const cJSON *row = report_row(measured, share);
        const double value = member_number(row, "value"), lo = member_number(row, "lo"), least = member_number(floor, "value");
        const report_tells tells = report_telling(value, lo, least);
        report_estimate(value, (double)NAN, lo, member_number(row, "hi"), number);
        if (tells == REPORT_NOTHING)
            report_note(options, out, "warning: %s of %s, %s, is not clearly above its floor of %.3g: on this model it tells "
                        "nothing of caches",
                        share, report_reference_label(block), number, least);
        else if (tells == REPORT_LOSSES)
            report_note(options, out, "%s of %s is 1: only losses can show", share, report_reference_label(block));
    }
}

static void warn_of_identical(const cJSON *report, const cJSON *block, const report_options *options, text *out)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "identical")) {
        const char *pairing = member_text(row, "pairing"), *metric = member_text(row, "metric");
        const bool logits = !strcmp(metric, "logits_digest");
        if (!strcmp(pairing, member_text(block, "pairing")))
            report_note(options, out, "warning: %s and %s%s gave %s%s although they differ in %s: one of them was probably not "
                        "applied",
                        member_text(row, "label"), member_text(row, "other_label"),
                        strcmp(pairing, member_text(row, "other_pairing")) ? " of another setting" : "",
                        logits ? "identical logits" : "bit for bit the same ", logits ? "" : metric, member_text(row, "differs"));
    }
}

void report_warnings(const cJSON *report, const cJSON *block, const report_options *options, text *out)
{
    const cJSON *cells = cJSON_GetObjectItemCaseSensitive(block, "cells"), *cell;
    bool unproven = false;
    double reference = (double)NAN;
    cJSON_ArrayForEach(cell, cells) {
        const cJSON *measured = report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), "perplexity");
        double perplexity = member_number(measured, "value");
        if (member_number(cell, "reference") == 1)
            reference = perplexity;
        else if (perplexity < reference) {
            const cJSON *nll = report_row(cJSON_GetObjectItemCaseSensitive(cell, "differences"), "nll");
            char number[96] = "not paired";
            if (nll)
                report_difference(nll, number);
            report_note(options, out, "warning: perplexity of %s is below that of %s (nll minus %s: %s): noise or a fault, not a gain",
                        member_text(cell, "label"), report_reference_label(block), report_reference_label(block), number);
        }
        unproven = unproven || report_lacks_oracle(cell);
    }
    warn_of_identical(report, block, options, out);
    warn_of_floor(block, options, out);
    if (unproven)
        report_note(options, out, "*no oracle*: no analytic value holds this quantizer, only the gates that all pass");
}

/* ---- Flags -------------------------------------------------------------------------------------------------------------- */

static void add_flag(text *out, const char *words) { text_add(out, "%s%s", out->length ? "; " : "", words); }

/* Is the interval of a difference to the reference around 0, and the difference itself not 0 throughout? */
static bool is_undecided(const cJSON *cell, const char *metric)
{
    const cJSON *row = report_row(cJSON_GetObjectItemCaseSensitive(cell, "differences"), metric);
    return member_number(row, "lo") <= 0 && member_number(row, "hi") >= 0 &&
           (member_number(row, "difference") != 0 || member_number(row, "se") > 0);
}

static bool is_below(const cJSON *block, const cJSON *cell)
{
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(block, "cells")->child;
    const double own = member_number(report_row(cJSON_GetObjectItemCaseSensitive(cell, "measurements"), "perplexity"), "value");
    return member_number(first, "reference") == 1 &&
           own < member_number(report_row(cJSON_GetObjectItemCaseSensitive(first, "measurements"), "perplexity"), "value");
}

void report_flags(const cJSON *report, const cJSON *block, const cJSON *cell, const char *const *paired, size_t n_paired, text *out)
{
    const cJSON *row;
    const char *label = member_text(cell, "label"), *pairing = member_text(block, "pairing");
    if (member_number(cell, "reference") == 1)
        add_flag(out, "reference");
    if (report_lacks_oracle(cell))
        add_flag(out, "no oracle");
    for (size_t i = 0; i < n_paired; i++)
        if (is_undecided(cell, paired[i])) {
            add_flag(out, "undecided");
            text_add(out, "%s%s", n_paired > 1 ? " in " : "", n_paired > 1 ? paired[i] : "");
        }
    if (is_below(block, cell)) {
        add_flag(out, "below ");
        text_add(out, "%s", report_reference_label(block));
    }
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements"))
        if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(row, "value"))) {
            add_flag(out, "not finite");
            break;
        }
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "identical")) {
        const bool first = !strcmp(member_text(row, "label"), label) && !strcmp(member_text(row, "pairing"), pairing);
        if (first || (!strcmp(member_text(row, "other_label"), label) && !strcmp(member_text(row, "other_pairing"), pairing))) {
            add_flag(out, "same output as ");
            text_add(out, "%s", member_text(row, first ? "other_label" : "label"));
        }
    }
}
