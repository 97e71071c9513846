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

/* Quantile f (0..1) of sorted values [n], between neighbours linearly. `below` is the share of values that are not above it, a mean
 * over clusters: by Woodruff (1952) its error around f, seen through the values, is the quantile's. se and interval are NaN where
 * that needs values beyond the sample, or one cluster has to do. */
typedef struct { double value, se; stats_interval interval; } stats_quantile;
stats_quantile stats_quantile_of(const double *sorted, size_t n, double f, stats_mean below, double confidence);

double stats_median(double *x, size_t n);                                        /* sorts x */

#endif
