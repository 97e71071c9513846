/* stats_rank.h - do two measures put things into the same order? Spearman's rank correlation, its interval and its test. */
#ifndef KVANT_STATS_RANK_H
#define KVANT_STATS_RANK_H

#include "harness/kvant.h"
#include "harness/measure/stats.h"

/* Spearman's correlation of x and y [n], ties at their mean rank. The interval is Fisher's z with the standard error
 * sqrt((1 + rho^2 / 2) / (n - 3)) of Bonett and Wright (2000), NaN for n < 4. Where the order agrees perfectly that error is none: the
 * inner end is then that of the next value which n different ranks can have. p: two-sided, by permutation of y, exact up to
 * STATS_PERMUTED points and above by STATS_SHUFFLES draws of a fixed seed, whose least value is 1 / (STATS_SHUFFLES + 1).
 * All NaN when a value is, or when all of x or all of y are equal. Fails only for lack of memory. */
enum { STATS_PERMUTED = 8, STATS_SHUFFLES = 20000 };
typedef struct { double rho, p; stats_interval interval; size_t n; } stats_spearman;
kvant_status stats_spearman_of(const double *x, const double *y, size_t n, double confidence, stats_spearman *result,
                               kvant_error *err);

/* Ranks from 1, ties at their mean; rank [n]. Values must not be NaN. */
kvant_status stats_ranks(const double *x, size_t n, double *rank, kvant_error *err);

/* Are two samples alike? Two-sided p of the rank sum (Wilcoxon 1945; Mann and Whitney 1947), ties at their mean rank: exact over all
 * ways to deal the ranks while there are at most STATS_DEALS, above by the normal approximation with its correction for ties. Nothing
 * is assumed of the values, which suits times. NaN for an empty sample or a NaN. Fails only for lack of memory. */
enum { STATS_DEALS = 200000 };
kvant_status stats_rank_sum(const double *x, size_t n_x, const double *y, size_t n_y, double *p, kvant_error *err);

#endif
