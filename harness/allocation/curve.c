/* curve.c - fits D(b) = alpha * beta^-b by a line through log D (harness/allocation/curve.h).
 * In logs every candidate counts alike; without them the fewest bits alone would decide. */
#include "harness/allocation/curve.h"
#include "harness/util.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_fit.h>
#include <gsl/gsl_statistics_double.h>
#include <stdlib.h>
#include <string.h>

kvant_status curve_find(const char *name, curve_kind *kind, kvant_error *err)
{
    static const char *const names[] = { "measured", "fitted", "constant", NULL };
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            *kind = (curve_kind)i;
            return KVANT_OK;
        }
    const char *nearest = nearest_name(name, names);
    return kvant_fail(err, KVANT_INVALID, "curve '%.64s' is unknown%s%s%s; use measured, fitted or constant", name,
                      nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static kvant_status fit_line(const double *bits, const double *logs, size_t n, curve *out, kvant_error *err)
{
    const double total = gsl_stats_tss(logs, 1, n);
    double c0, c1, cov, residuals;
    if (gsl_fit_linear(bits, 1, logs, 1, n, &c0, &c1, &cov, &cov, &cov, &residuals) != GSL_SUCCESS)
        return kvant_fail(err, KVANT_FAILED, "curve: the fit of log D failed");
    if (!(c1 < 0))
        return kvant_fail(err, KVANT_INVALID, "curve: D does not fall with the bits, so no alpha * beta^-b fits it; use the constant curve");
    *out = (curve){ exp(c0), exp(-c1), total > 0 ? 1 - residuals / total : 1 };
    return isfinite(out->alpha) && out->alpha > 0 && isfinite(out->beta) ? KVANT_OK
           : kvant_fail(err, KVANT_INVALID, "curve: the fit leaves the range of numbers; use the constant curve");
}

kvant_status curve_fit(const double *bits, const double *d, size_t n, curve *out, kvant_error *err)
{
    bool differ = false;
    for (size_t i = 0; i < n; i++) {
        if (!(d[i] > 0 && isfinite(d[i]) && isfinite(bits[i])))
            return kvant_fail(err, KVANT_INVALID, "curve: D at %g bits is %g; a logarithm needs it above 0 and finite", bits[i], d[i]);
        differ |= bits[i] != bits[0];
    }
    if (!differ)
        return kvant_fail(err, KVANT_INVALID, "curve: a fit needs two candidates of different bits at least; use the constant curve");
    double *logs = malloc(n * sizeof *logs);
    if (!logs)
        return kvant_fail(err, KVANT_NOMEM, "curve: no memory for %zu points", n);
    for (size_t i = 0; i < n; i++)
        logs[i] = log(d[i]);
    const kvant_status status = fit_line(bits, logs, n, out, err);
    free(logs);
    return status;
}

double curve_at(const curve *c, double bits) { return c->alpha * pow(c->beta, -bits); }
