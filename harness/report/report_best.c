/* report_best.c - which measurements of a block are the best of their kind within error: among cells that asked for equally many bits,
 * for more bits are better by themselves. Cells share their chunks: paired differences tell them apart, not the error of each. */
#include "harness/measure/stats.h"
#include "harness/report/compare_internal.h"
#include "harness/report/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static cJSON *row_of(const cJSON *cell, const char *metric)
{
    cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements"))
        if (!strcmp(member_text(row, "metric"), metric))
            return row;
    return NULL;
}

static bool competes(const cJSON *cell, const cJSON *with)
{
    const double bits = rint(member_number(cell, "bits_asked"));
    return member_number(cell, "reference") != 1 && bits == rint(member_number(with, "bits_asked")) &&
           !strcmp(member_text(cell, "pairing"), member_text(with, "pairing"));
}

static bool is_first(const cJSON *cells, const cJSON *cell, const char *metric)
{
    const cJSON *earlier;
    for (earlier = cells->child; earlier != cell; earlier = earlier->next)
        if (competes(earlier, cell) && row_of(earlier, metric))
            return false;
    return true;
}

/* The best of those that compete with `with`; *n: how many have a value. */
static const cJSON *best_of(const cJSON *cells, const cJSON *with, const char *metric, size_t *n)
{
    const cJSON *cell, *best = NULL;
    double most = (double)NAN;
    *n = 0;
    cJSON_ArrayForEach(cell, cells) {
        const cJSON *row = competes(cell, with) ? row_of(cell, metric) : NULL;
        const double value = member_number(row, "value") * member_number(row, "better");
        if (isnan(value))
            continue;
        ++*n;
        if (!(value <= most)) {
            most = value;
            best = cell;
        }
    }
    return best;
}

/* Where samples say nothing: are the intervals apart? Without any, values are what they are. */
static bool apart(const cJSON *a, const cJSON *b)
{
    const double difference = fabs(member_number(a, "value") - member_number(b, "value"));
    const double se = hypot(member_number(a, "se"), member_number(b, "se"));
    const double a_lo = member_number(a, "lo"), a_hi = member_number(a, "hi");
    const double b_lo = member_number(b, "lo"), b_hi = member_number(b, "hi");
    if (!isnan(se))
        return difference > 1.959963984540 * se;
    if (!isnan(a_lo) && !isnan(b_lo))
        return a_lo > b_hi || b_lo > a_hi;
    return difference > 0;
}

/* *told: the two differ beyond error. A perplexity is told apart by the likelihoods that it is made of. */
static kvant_status tell(store *s, const cJSON *block, const cJSON *best, const cJSON *cell, const char *metric, bool *told,
                         kvant_error *err)
{
    differences d = { 0 };
    kvant_status status = compare_clusters(s, cell, best, false, !strcmp(metric, "perplexity") ? "nll" : metric,
                                           compare_by_unit(block), &d, err);
    if (status)
        return status;
    const stats_interval t = d.n > 1 ? stats_t(stats_clustered(d.x, d.w, d.n), .95) : (stats_interval){ NAN, NAN };
    const bool paired = d.n > 1 && d.n == d.n_a && d.n == d.n_b && !isnan(t.lo);
    *told = paired ? t.lo > 0 || t.hi < 0 : apart(row_of(cell, metric), row_of(best, metric));
    free(d.x);
    return KVANT_OK;
}

static kvant_status mark(store *s, const cJSON *block, const cJSON *with, const char *metric, kvant_error *err)
{
    const cJSON *cells = cJSON_GetObjectItemCaseSensitive(block, "cells"), *cell;
    size_t n;
    const cJSON *best = best_of(cells, with, metric, &n);
    kvant_status status = KVANT_OK;
    if (n < 2)
        return KVANT_OK;           /* nobody to be better than */
    cJSON_ArrayForEach(cell, cells) {
        cJSON *row = competes(cell, with) ? row_of(cell, metric) : NULL;
        bool told = false;
        if (isnan(member_number(row, "value")))
            continue;
        if (cell != best)
            status = tell(s, block, best, cell, metric, &told, err);
        if (status)
            return status;
        if (!told && !cJSON_AddTrueToObject(row, "best"))
            return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", store_path(s));
    }
    return KVANT_OK;
}

kvant_status report_best(store *s, cJSON *report, kvant_error *err)
{
    const cJSON *block, *cell, *row;
    cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(report, "blocks")) {
        const cJSON *cells = cJSON_GetObjectItemCaseSensitive(block, "cells");
        cJSON_ArrayForEach(cell, cells)
            cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements")) {
                const double better = member_number(row, "better");
                const bool first = (better > 0 || better < 0) && member_number(cell, "reference") != 1 &&
                                   is_first(cells, cell, member_text(row, "metric"));
                kvant_status status = first ? mark(s, block, cell, member_text(row, "metric"), err) : KVANT_OK;
                if (status)
                    return status;
            }
    }
    return KVANT_OK;
}
