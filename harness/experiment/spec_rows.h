/* spec_rows.h - the parts of a spec that are rows, not axes: `expect` and `questions`. */
#ifndef KVANT_SPEC_ROWS_H
#define KVANT_SPEC_ROWS_H

#include "harness/experiment/document.h"

/* Rows {where, metric, value, tolerance or relative_tolerance, sigma, source}, and with them
 *   "bound": "upper" or "lower"   the value is a bound, which the computed one must keep
 *   "formula", "against": {...}   computed = arithmetic over metrics of the cell, `reference.METRIC`, `difference.METRIC` and, of the
 *                                 cell that agrees with against, `other.METRIC`; one without names is over printed figures and has no
 *                                 where
 *   "error", "correct"            the published value is wrong: the evidence, and what is right
 *   "beside"                      why the published value is shown and not judged; without where nothing is computed for it
 *   "only": "full" or "quick"     the variant that the row belongs to
 * KVANT_INVALID names line and path. */
kvant_status spec_check_expect(const document *doc, const cJSON *expect, kvant_error *err);

/* Rows {name, question, metric, compare: [[A, B], ...]}, where A and B mean cells as `kvant report --compare` takes them, or {name,
 * question, correlate: [[X, Y], ...]}, where X and Y are metrics. Whether there are such cells is for the report to find. */
kvant_status spec_check_questions(const document *doc, const cJSON *questions, kvant_error *err);

#endif
