/* compare_stores.h - what changed between two stores: the same cells measured by two versions of the program, or on two machines.
 * Cells are matched by what was asked of them; code and instruction sets are what may differ. */
#ifndef KVANT_COMPARE_STORES_H
#define KVANT_COMPARE_STORES_H

#include "harness/report/report.h"

#include <cjson/cJSON.h>

typedef struct {
    const char *experiment;        /* only cells of this one; NULL: all */
    const char *const *metrics;    /* only these, NULL-terminated; NULL: all */
    double threshold;              /* a change for the worse counts as a regression from this share of the old value on; 0: any that is
                                    * significant */
} compare_stores_options;

/* Compares store `before` with store `after`, both paths:
 *   {"before": {"store", "versions": [...], "machines": [...]}, "after": {...}, "matched": cells, "same": rows that are equal,
 *    "rows": [{"experiment", "probe", "model", "data", "setting", "label", "metric", "unit", "better", "timing", "before", "after",
 *      "difference", "percent", "lo", "hi", "n", "test", "p", "p_holm", "verdict", "regression", "words"}],
 *    "missing": [{"experiment", "probe", "model", "data", "label"}], "new": [...], "regressions"}
 * difference is after - before. Metrics with samples in both: means over the chunks that both have, Student's t and from 5 on the BCa
 * interval; times: all raw values of either side, by the rank sum; metrics without samples: by the standard errors, and single
 * figures without one as they are. p_holm is corrected over all rows that are tests. Verdicts: better, worse, undecided, changed (of a
 * metric that has no better), same. Times of different processors or numbers of threads are undecided, and their words say so.
 * KVANT_INVALID: the stores share no finished cell, or a metric or experiment is not there. Freed by the caller (cJSON_Delete). */
kvant_status compare_stores(const char *before, const char *after, const compare_stores_options *options, cJSON **answer,
                            kvant_error *err);

/* Writes it; a table shows what is not the same, `all` everything. */
void compare_stores_write(cJSON *answer, bool all, const report_options *options, text *out);

#endif
