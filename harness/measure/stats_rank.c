/* stats_rank.c - ranks, their correlation, and how often chance alone would give as much of it.
 * Permuting ranks needs no assumption on the measures; the interval is an approximation whose coverage is tested. */
#include "harness/measure/stats_rank.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_permutation.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHUFFLE_SEED = 20260103 };

kvant_status stats_ranks(const double *x, size_t n, double *rank, kvant_error *err)
{
    size_t *order = calloc(n + 1, sizeof *order);
    if (!order)
        return kvant_fail(err, KVANT_NOMEM, "ranks: no memory for %zu values", n);
    gsl_sort_index(order, x, 1, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && x[order[end]] == x[order[i]]; end++)
            continue;
        for (size_t k = i; k < end; k++)
            rank[order[k]] = ((double)(i + end) + 1) / 2;      /* ranks i + 1 ... end */
    }
    free(order);
    return KVANT_OK;
}

/* Sums of products of centred ranks order permutations as their correlations do; sums that differ by rounding count as equal. */
static double product(const double *x, const double *y, const gsl_permutation *p)
{
    double sum = 0;
    for (size_t i = 0; i < gsl_permutation_size(p); i++)
        sum += x[i] * y[gsl_permutation_get(p, i)];
    return sum;
}

static double permutation_p(const double *x, const double *y, gsl_permutation *p, gsl_rng *rng)
{
    const size_t n = gsl_permutation_size(p);
    gsl_permutation_init(p);
    const double seen = fabs(product(x, y, p)), least = seen - 1e-9 * (double)(n * n);
    size_t extreme = 0, all = 0;
    if (n <= STATS_PERMUTED) {
        do {
            extreme += fabs(product(x, y, p)) >= least;
            all++;
        } while (gsl_permutation_next(p) == GSL_SUCCESS);
        return (double)extreme / (double)all;
    }
    gsl_rng_set(rng, SHUFFLE_SEED);
    for (all = 0; all < STATS_SHUFFLES; all++) {
        gsl_ran_shuffle(rng, gsl_permutation_data(p), n, sizeof(size_t));
        extreme += fabs(product(x, y, p)) >= least;
    }
    return (double)(extreme + 1) / (double)(all + 1);          /* what was seen is one of the draws */
}

/* The ends of Fisher's interval around rho. */
static stats_interval fisher(double rho, size_t n, double confidence)
{
    const double z = gsl_cdf_ugaussian_Pinv(0.5 + confidence / 2), half = z * sqrt((1 + rho * rho / 2) / ((double)n - 3));
    return (stats_interval){ tanh(atanh(rho) - half), tanh(atanh(rho) + half) };
}

static stats_interval interval_of(double rho, size_t n, double confidence)
{
    const double next = 1 - 12 / ((double)n * ((double)n * (double)n - 1));        /* two neighbours exchanged */
    if (n < 4 || !(confidence > 0 && confidence < 1))
        return (stats_interval){ NAN, NAN };
    if (rho > next)
        return (stats_interval){ fisher(next, n, confidence).lo, 1 };
    if (rho < -next)
        return (stats_interval){ -1, fisher(-next, n, confidence).hi };
    return fisher(rho, n, confidence);
}

kvant_status stats_spearman_of(const double *x, const double *y, size_t n, double confidence, stats_spearman *result, kvant_error *err)
{
    *result = (stats_spearman){ NAN, NAN, { NAN, NAN }, n };
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]) || isnan(y[i]))
            return KVANT_OK;
    if (n < 2)
        return KVANT_OK;
    double *ranks = calloc(2 * n, sizeof *ranks);
    gsl_permutation *p = gsl_permutation_alloc(n);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    kvant_status status = ranks && p && rng ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "rank correlation: no memory for %zu points", n);
    if (!status)
        status = stats_ranks(x, n, ranks, err);
    if (!status)
        status = stats_ranks(y, n, ranks + n, err);
    if (!status) {
        const double middle = ((double)n + 1) / 2;
        for (size_t i = 0; i < 2 * n; i++)
            ranks[i] -= middle;
        const double spread = gsl_stats_tss_m(ranks, 1, n, 0) * gsl_stats_tss_m(ranks + n, 1, n, 0);
        if (spread > 0) {
            gsl_permutation_init(p);
            result->rho = fmin(1, fmax(-1, product(ranks, ranks + n, p) / sqrt(spread)));
            result->interval = interval_of(result->rho, n, confidence);
            result->p = permutation_p(ranks, ranks + n, p, rng);
        }
    }
    gsl_rng_free(rng);
    gsl_permutation_free(p);
    free(ranks);
    return status;
}

/* Of the ways to choose `left` more of rank[at..n), those whose sum with `sum` lies at least `far` from `middle`. */
static double count_deals(const double *rank, size_t n, size_t at, size_t left, double sum, double middle, double far, double *all)
{
    if (left == 0) {
        ++*all;
        return fabs(sum - middle) >= far - 1e-9;
    }
    double found = 0;
    for (size_t i = at; i + left <= n; i++)
        found += count_deals(rank, n, i + 1, left - 1, sum + rank[i], middle, far, all);
    return found;
}

/* Sum over groups of equal ranks of t^3 - t; ranks sorted. */
static double tied(const double *rank, size_t n)
{
    double sum = 0;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && rank[end] == rank[i]; end++)
            continue;
        const double t = (double)(end - i);
        sum += t * t * t - t;
    }
    return sum;
}

kvant_status stats_rank_sum(const double *x, size_t n_x, const double *y, size_t n_y, double *p, kvant_error *err)
{
    const size_t n = n_x + n_y, few = n_x < n_y ? n_x : n_y;
    *p = NAN;
    for (size_t i = 0; i < n; i++)
        if (isnan(i < n_x ? x[i] : y[i - n_x]))
            return KVANT_OK;
    if (!few)
        return KVANT_OK;
    double *all = calloc(2 * n, sizeof *all), *rank = all + n;
    if (!all)
        return kvant_fail(err, KVANT_NOMEM, "rank sum: no memory for %zu values", n);
    memcpy(all, n_x <= n_y ? x : y, few * sizeof *all);            /* the smaller sample first: its sum is taken */
    memcpy(all + few, n_x <= n_y ? y : x, (n - few) * sizeof *all);
    const kvant_status status = stats_ranks(all, n, rank, err);
    double sum = 0, ways = 1;
    for (size_t i = 0; i < few; i++) {
        sum += rank[i];
        ways *= (double)(n - i) / (double)(i + 1);
    }
    const double middle = (double)few * ((double)n + 1) / 2, far = fabs(sum - middle);
    gsl_sort(rank, 1, n);
    if (!status && ways <= STATS_DEALS) {
        double deals = 0;
        const double found = count_deals(rank, n, 0, few, 0, middle, far, &deals);
        *p = found / deals;
    } else if (!status) {
        const double m = (double)n, variance = (double)few * (m - (double)few) / 12 * (m + 1 - tied(rank, n) / (m * (m - 1)));
        *p = variance > 0 ? fmin(1, 2 * gsl_cdf_ugaussian_Q(fmax(0, far - 0.5) / sqrt(variance))) : 1;
    }
    free(all);
    return status;
}
