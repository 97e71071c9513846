/* compare_internal.h - what the files of comparisons and correlations share. Nothing outside them needs it. */
#ifndef KVANT_COMPARE_INTERNAL_H
#define KVANT_COMPARE_INTERNAL_H

#include "harness/report/compare.h"
#include "harness/report/report_internal.h"

/* Adds rows of A against B (NULL: all others) to `rows`, without p_holm, verdict and words. blocks as report_blocks makes them; metrics NULL:
 * the chief ones: nll, and the first of each probe's own that its samples tell. */
kvant_status compare_cells(store *s, const cJSON *blocks, const char *question, const char *a, const char *b,
                           const report_options *options, cJSON *rows, kvant_error *err);
/* Corrects over all rows and says what each comes to. */
kvant_status compare_judge(cJSON *rows, kvant_error *err);

/* Adds a row for each pair of settings of a model and data that has both metrics, and for each bit of stored bits with points enough. */
kvant_status correlate_cells(const cJSON *blocks, const char *question, const char *x, const char *y, cJSON *rows, kvant_error *err);

void compare_text(const cJSON *answer, const report_options *options, text *out);

#endif
