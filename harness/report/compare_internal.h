/* compare_internal.h - what the files of comparisons and correlations share. Nothing outside them needs it. */
#ifndef KVANT_COMPARE_INTERNAL_H
#define KVANT_COMPARE_INTERNAL_H

#include "harness/report/compare.h"
#include "harness/report/report_internal.h"

/* Clusters that two cells both have: x differences A - B, w weights, and the two sides' values. Begins as {0}; x is freed by the
 * caller. */
typedef struct {
    double *x, *w, *a, *b;         /* [n], one allocation at x; NaN where a sample was not finite */
    size_t n, n_a, n_b;            /* clusters of both, and of each side alone */
} differences;
/* Adds the clusters of one pair of cells: their chunks, or units where that is what a probe's samples cluster by. other: b is a cell
 * of the store that is attached beside s (store_attach). */
kvant_status compare_clusters(store *s, const cJSON *a, const cJSON *b, bool other, const char *metric, bool by_unit, differences *d,
                              kvant_error *err);
/* Does what has this "probe" and "model" cluster by unit? */
bool compare_by_unit(const cJSON *block);

/* Adds rows of A against B (NULL: all others) to `rows`, without p_holm, verdict and words. blocks as report_blocks makes them;
 * metrics NULL: the chief ones: nll, and the first of each probe's own that its samples tell. */
kvant_status compare_cells(store *s, const cJSON *blocks, const char *question, const char *a, const char *b,
                           const report_options *options, cJSON *rows, kvant_error *err);
/* Corrects over all rows and says what each comes to. */
kvant_status compare_judge(cJSON *rows, kvant_error *err);

/* Adds a row for each pair of settings of a model and data that has both metrics, and for each bit of stored bits with points
 * enough. */
kvant_status correlate_cells(const cJSON *blocks, const char *question, const char *x, const char *y, cJSON *rows, kvant_error *err);

void compare_text(const cJSON *answer, const report_options *options, text *out);
/* KVANT_INVALID for comparisons and correlations together, which have different columns. */
kvant_status compare_csv(cJSON *answer, const report_options *options, text *out, kvant_error *err);

#endif
