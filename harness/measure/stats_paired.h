/* stats_paired.h - is one of two better? Intervals and tests for differences that were taken pair by pair (chunk by chunk), and the
 * correction that many such tests need. Apart from stats.h, whose sources stand in the identity of every probe's results: these only
 * read results. */
#ifndef KVANT_STATS_PAIRED_H
#define KVANT_STATS_PAIRED_H

#include "harness/kvant.h"
#include "harness/measure/stats.h"

/* BCa bootstrap interval (Efron 1987) of the mean sum(w x) / sum(w) over clusters x, w [n]: STATS_DRAWS resamples of whole clusters,
 * acceleration by the jackknife. The seed is fixed and clusters are taken in order of size, so that the interval depends on nothing
 * but the set of (x, w). NaN for fewer than STATS_PAIRS clusters, whose resamples have no tails, for weights that are not positive and
 * for values that are not finite; a point where all x are equal. Fails only for lack of memory. */
enum { STATS_PAIRS = 5, STATS_DRAWS = 10000 };
kvant_status stats_bca(const double *x, const double *w, size_t n, double confidence, stats_interval *interval, kvant_error *err);

/* Exact two-sided sign test of a median of 0: ties (zeros) are counted, then left out. p is 1 when nothing is left, NaN (and the
 * counts those of the others) when a difference is. */
typedef struct { size_t above, below, ties; double p; } stats_sign;
stats_sign stats_sign_test(const double *x, size_t n);

/* Two-sided p of Student's t test of a mean of 0, n - 1 degrees: that of paired differences, or by their linearised residuals of
 * clusters. Without spread it is 0, or 1 for a mean of 0; NaN for n < 2 or a mean that is not finite. */
double stats_t_test(stats_mean mean);

/* Holm's step-down correction: adjusted [n] are p-values that hold for the whole family together. A p that is NaN was no test: it
 * stays NaN and does not count. p and adjusted may be the same array. */
kvant_status stats_holm(const double *p, size_t n, double *adjusted, kvant_error *err);

#endif
