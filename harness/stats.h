/* stats.h - the statistics of every probe and report, in one place, on GSL. */
#ifndef KVANT_STATS_H
#define KVANT_STATS_H

#include <stddef.h>

typedef struct { double mean, se; size_t n; } stats_mean;       /* se is NaN for n < 2 */
stats_mean stats_of(const double *x, size_t n);
/* Weighted mean over clusters: value = sum(w x) / sum(w), standard error by the clusters' linearised residuals
 * (ratio estimator, n/(n-1)); the usual error of a mean for equal weights. */
stats_mean stats_clustered(const double *x, const double *w, size_t n);

typedef struct { double lo, hi; } stats_interval;
stats_interval stats_wilson(double successes, double n, double confidence);      /* 0..1 for n = 0 */
stats_interval stats_t(stats_mean mean, double confidence);                      /* Student's t, n-1 degrees; NaN for n < 2 */

double stats_median(double *x, size_t n);                                        /* sorts x */

#endif
