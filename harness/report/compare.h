/* compare.h - "is A better than B on this model?", and "do two measures agree about quantizers?": paired differences and rank
 * correlations of what a store holds, with intervals, tests and a verdict in words. */
#ifndef KVANT_COMPARE_H
#define KVANT_COMPARE_H

#include "harness/report/report.h"

#include <cjson/cJSON.h>

/* What is asked of an experiment: one comparison, one correlation, or questions that its spec has. */
typedef struct {
    const char *a, *b;             /* cells as selection_parse reads them; b NULL: A against every other */
    const char *x, *y;             /* metrics to correlate */
    const char *question;          /* of the spec, by name, or "all" */
} compare_what;

/* Answers as one document:
 *   {"experiment",
 *    "comparisons": [{"question", "probe", "model", "data", "setting", "metric", "unit", "better", "a", "b", "bits_a", "bits_b", "value_a",
 *      "value_b", "difference", "se", "lo", "hi", "n", "n_a", "n_b", "above", "below", "ties", "p", "ratio", "ratio_lo", "ratio_hi",
 *      "p_holm", "verdict", "words"}],
 *    "correlations": [{"question", "x", "y", "model", "data", "setting", "stored_bits", "n", "rho", "lo", "hi", "p",
 *      "points": [{"label", "bits_stored", "x", "x_lo", "x_hi", "y", "y_lo", "y_hi", "rank_x", "rank_y"}]}]}
 * difference is A - B over the clusters (chunks, trials) that both have, lo..hi its BCa 95 % interval; ratio is the mean of A over that
 * of B, null unless both are above 0 everywhere; p_holm is corrected over the rows of this document. Verdicts are better,
 * worse, undecided; "stored_bits" is "all", or a range of one bit that has points enough.
 * options: experiment, probe and metrics count. KVANT_INVALID: a cell, metric or question that is not there or not clear. Freed by the
 * caller (cJSON_Delete). */
kvant_status compare_answer(store *s, const report_options *options, const compare_what *what, cJSON **answer, kvant_error *err);

/* The same, written in the format that the options name. */
kvant_status compare_write(store *s, const report_options *options, const compare_what *what, text *out, kvant_error *err);

#endif
