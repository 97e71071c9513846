/* stats.c - the statistics of every probe and report: means with errors, intervals, medians.
 * On GSL; a NaN among the data comes out as NaN, so that no broken value hides in an average. */
#include "harness/measure/stats.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

stats_mean stats_of(const double *x, size_t n)
{
    stats_mean mean = { NAN, NAN, n };
    if (n > 0)
        mean.mean = gsl_stats_mean(x, 1, n);
    if (n > 1)
        mean.se = gsl_stats_sd_m(x, 1, n, mean.mean) / sqrt((double)n);
    return mean;
}

stats_mean stats_clustered(const double *x, const double *w, size_t n)
{
    stats_mean mean = { NAN, NAN, n };
    double weight = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        weight += w[i];
    if (!(weight > 0))
        return mean;
    mean.mean = gsl_stats_wmean(w, 1, x, 1, n);
    for (size_t i = 0; i < n; i++) {
        double residual = w[i] * (x[i] - mean.mean);
        squares += residual * residual;
    }
    if (n > 1)
        mean.se = sqrt((double)n / (double)(n - 1) * squares) / weight;
    return mean;
}

stats_interval stats_wilson(double successes, double n, double confidence)
{
    if (n == 0)
        return (stats_interval){ 0, 1 };
    if (!(successes >= 0 && successes <= n && confidence > 0 && confidence < 1))
        return (stats_interval){ NAN, NAN };
    double z = gsl_cdf_ugaussian_Pinv(0.5 + confidence / 2), p = successes / n, z2 = z * z / n;
    double centre = (p + z2 / 2) / (1 + z2), half = z / (1 + z2) * sqrt(p * (1 - p) / n + z2 / (4 * n));
    /* At the ends the formula gives 0 and 1 up to rounding only. */
    return (stats_interval){ successes == 0 ? 0 : centre - half, successes == n ? 1 : centre + half };
}

stats_interval stats_t(stats_mean mean, double confidence)
{
    if (mean.n < 2 || !(confidence > 0 && confidence < 1))
        return (stats_interval){ NAN, NAN };
    double half = mean.se * gsl_cdf_tdist_Pinv(0.5 + confidence / 2, (double)(mean.n - 1));
    return (stats_interval){ mean.mean - half, mean.mean + half };
}

stats_quantile stats_quantile_of(const double *sorted, size_t n, double f, stats_mean below, double confidence)
{
    stats_quantile q = { NAN, NAN, { NAN, NAN } };
    if (n == 0 || !(f >= 0 && f <= 1))
        return q;
    q.value = gsl_stats_quantile_from_sorted_data(sorted, 1, n, f);
    const stats_interval share = stats_t(below, confidence);
    const double half = (share.hi - share.lo) / 2;
    if (!(f - half >= 0 && f + half <= 1))
        return q;
    q.interval.lo = gsl_stats_quantile_from_sorted_data(sorted, 1, n, f - half);
    q.interval.hi = gsl_stats_quantile_from_sorted_data(sorted, 1, n, f + half);
    q.se = half > 0 ? (q.interval.hi - q.interval.lo) / 2 * (below.se / half) : 0;
    return q;
}

double stats_median(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))     /* has no place in an order */
            return NAN;
    if (n == 0)
        return NAN;
    gsl_sort(x, 1, n);
    return gsl_stats_median_from_sorted_data(x, 1, n);
}
