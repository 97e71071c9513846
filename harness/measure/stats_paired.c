/* stats_paired.c - paired bootstrap, sign test and Holm's correction, on GSL.
 * Resampling draws whole clusters, because tokens of a chunk are not independent; everything is a function of its arguments alone. */
#include "harness/measure/stats_paired.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdlib.h>

enum { BOOTSTRAP_SEED = 20260102 };

typedef struct { double x, w; } cluster;

static int by_size(const void *a, const void *b)
{
    const cluster *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->w > q->w) - (p->w < q->w);
}

/* Means of the resamples, in the order of their drawing. */
static void resample(const cluster *c, size_t n, gsl_rng *rng, double *means)
{
    for (size_t draw = 0; draw < STATS_DRAWS; draw++) {
        double sum = 0, weight = 0;
        for (size_t i = 0; i < n; i++) {
            const cluster *drawn = &c[gsl_rng_uniform_int(rng, n)];
            sum += drawn->w * drawn->x;
            weight += drawn->w;
        }
        means[draw] = sum / weight;
    }
}

/* Skewness of the jackknife's values over 6: how fast the standard error changes with the mean. At most 1/6 in size. */
static double acceleration(const cluster *c, size_t n, double sum, double weight)
{
    double mean = 0, squares = 0, cubes = 0;
    for (size_t i = 0; i < n; i++)
        mean += (sum - c[i].w * c[i].x) / (weight - c[i].w) / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double d = mean - (sum - c[i].w * c[i].x) / (weight - c[i].w);
        squares += d * d;
        cubes += d * d * d;
    }
    return squares > 0 ? cubes / (6 * squares * sqrt(squares)) : 0;
}

/* The share of the resamples below an end of the interval. |a| <= 1/6 and |z0 + z| < 6 for STATS_DRAWS and any usual confidence, so
 * that the denominator is positive. */
static double corrected(double z0, double a, double z)
{
    return gsl_cdf_ugaussian_P(z0 + (z0 + z) / (1 - a * (z0 + z)));
}

static stats_interval bca_of(const cluster *c, size_t n, double confidence, gsl_rng *rng, double *means)
{
    double sum = 0, weight = 0, below = 0;
    for (size_t i = 0; i < n; i++) {
        sum += c[i].w * c[i].x;
        weight += c[i].w;
    }
    const double mean = sum / weight, rounding = 1e-12 * fmax(fabs(c[0].x), fabs(c[n - 1].x));
    resample(c, n, rng, means);
    /* Resamples that equal the mean count half: with few distinct values there are many. */
    for (size_t i = 0; i < STATS_DRAWS; i++)
        below += fabs(means[i] - mean) <= rounding ? 0.5 : means[i] < mean;
    below = fmin(fmax(below, 0.5), STATS_DRAWS - 0.5);
    const double z0 = gsl_cdf_ugaussian_Pinv(below / STATS_DRAWS), a = acceleration(c, n, sum, weight);
    const double z = gsl_cdf_ugaussian_Pinv(0.5 + confidence / 2);
    gsl_sort(means, 1, STATS_DRAWS);
    return (stats_interval){ gsl_stats_quantile_from_sorted_data(means, 1, STATS_DRAWS, corrected(z0, a, -z)),
                             gsl_stats_quantile_from_sorted_data(means, 1, STATS_DRAWS, corrected(z0, a, z)) };
}

kvant_status stats_bca(const double *x, const double *w, size_t n, double confidence, stats_interval *interval, kvant_error *err)
{
    *interval = (stats_interval){ NAN, NAN };
    bool usable = n >= STATS_PAIRS && confidence > 0 && confidence < 1;
    for (size_t i = 0; i < n && usable; i++)
        usable = isfinite(x[i]) && isfinite(w[i]) && w[i] > 0;
    if (!usable)
        return KVANT_OK;
    cluster *c = calloc(n, sizeof *c);
    double *means = malloc(STATS_DRAWS * sizeof *means);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (c && means && rng) {
        gsl_rng_set(rng, BOOTSTRAP_SEED);
        for (size_t i = 0; i < n; i++)
            c[i] = (cluster){ x[i], w[i] };
        qsort(c, n, sizeof *c, by_size);
        *interval = c[0].x == c[n - 1].x ? (stats_interval){ c[0].x, c[0].x } : bca_of(c, n, confidence, rng, means);
    }
    kvant_status status = c && means && rng ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "bootstrap: no memory for %zu clusters", n);
    gsl_rng_free(rng);
    free(means);
    free(c);
    return status;
}

stats_sign stats_sign_test(const double *x, size_t n)
{
    stats_sign sign = { .p = 1 };
    bool broken = false;
    for (size_t i = 0; i < n; i++) {
        sign.above += x[i] > 0;
        sign.below += x[i] < 0;
        sign.ties += x[i] == 0;
        broken = broken || isnan(x[i]);
    }
    const size_t few = sign.above < sign.below ? sign.above : sign.below, decided = sign.above + sign.below;
    if (broken)
        sign.p = NAN;
    else if (decided)
        sign.p = fmin(1, 2 * gsl_cdf_binomial_P((unsigned)few, 0.5, (unsigned)decided));
    return sign;
}

double stats_t_test(stats_mean mean)
{
    if (mean.n < 2 || !isfinite(mean.mean) || !isfinite(mean.se))
        return NAN;
    if (mean.se == 0)
        return mean.mean == 0;
    return 2 * gsl_cdf_tdist_Q(fabs(mean.mean) / mean.se, (double)(mean.n - 1));
}

kvant_status stats_holm(const double *p, size_t n, double *adjusted, kvant_error *err)
{
    size_t *order = calloc(n + 1, sizeof *order), tests = 0;
    double *given = calloc(n + 1, sizeof *given), *sorted = calloc(n + 1, sizeof *sorted);
    if (!order || !given || !sorted) {
        free(order);
        free(given);
        free(sorted);
        return kvant_fail(err, KVANT_NOMEM, "Holm's correction: no memory for %zu tests", n);
    }
    for (size_t i = 0; i < n; i++) {
        given[i] = p[i];                           /* p may be what is written to */
        adjusted[i] = NAN;
        tests += !isnan(given[i]);
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] = isnan(given[i]) ? INFINITY : given[i];         /* behind the tests */
    gsl_sort_index(order, sorted, 1, n);
    double reached = 0;
    for (size_t i = 0; i < tests; i++) {
        reached = fmax(reached, fmin(1, (double)(tests - i) * given[order[i]]));
        adjusted[order[i]] = reached;
    }
    free(order);
    free(given);
    free(sorted);
    return KVANT_OK;
}
