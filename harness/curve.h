/* curve.h - a quantizer's distortion against its bits, D(b): as it was measured, fitted by alpha * beta^-b, or with a constant beta.
 * Allocators weigh groups with it. */
#ifndef KVANT_CURVE_H
#define KVANT_CURVE_H

#include "harness/kvant.h"

/* constant: beta 3.5, as published code assumes for every quantizer. Its alpha goes through the measured points' mean, in logs. */
typedef enum { CURVE_MEASURED, CURVE_FITTED, CURVE_CONSTANT } curve_kind;

#define CURVE_BETA 3.5

typedef struct {
    double alpha, beta;
    double r2;                     /* share of the variance of log D that the line explains; 1 for two points */
} curve;

kvant_status curve_find(const char *name, curve_kind *kind, kvant_error *err);        /* "measured", "fitted", "constant" */

/* Fits n points: least squares on log D for CURVE_MEASURED (whose closed form still needs a line) and CURVE_FITTED. KVANT_INVALID:
 * D that is not above 0 and finite, fewer than two different bits, or a line that does not fall. */
kvant_status curve_fit(curve_kind kind, const double *bits, const double *d, size_t n, curve *out, kvant_error *err);

/* D(b) of a fitted or constant curve. */
double curve_at(const curve *c, double bits);

#endif
