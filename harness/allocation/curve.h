/* curve.h - a quantizer's distortion against its bits, D(b): as it was measured, fitted by alpha * beta^-b, or with a constant beta.
 * Allocators weigh groups with it. */
#ifndef KVANT_CURVE_H
#define KVANT_CURVE_H

#include "harness/kvant.h"

#include <math.h>

typedef enum { CURVE_MEASURED, CURVE_FITTED, CURVE_CONSTANT } curve_kind;

kvant_status curve_find(const char *name, curve_kind *kind, kvant_error *err);        /* "measured", "fitted", "constant" */

typedef struct {
    double alpha, beta;
    double r2;                     /* share of the variance of log D that the line explains, 1 for two points; NaN: nothing was fitted */
} curve;

/* What published code assumes of every quantizer. */
#define CURVE_CONSTANTS ((curve){ 1, 3.5, NAN })

/* Least squares on log D at n candidates. KVANT_INVALID: D that is not above 0 and finite, fewer than two different bits, or a line
 * that does not fall. */
kvant_status curve_fit(const double *bits, const double *d, size_t n, curve *out, kvant_error *err);

/* alpha * beta^-bits */
double curve_at(const curve *c, double bits);

#endif
