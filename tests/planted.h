/* planted.h - quantizers of which one function at a time can be wrong, as published implementations were: does a check turn them down?
 * Each is the method's own file, compiled again on top of shared functions with a bug of choice; without one it is the method. */
#ifndef KVANT_TEST_PLANTED_H
#define KVANT_TEST_PLANTED_H

#include "harness/kvant.h"

typedef enum {
    PLANTED_NONE,
    PLANTED_SCALE_BY_BOUND,        /* rvq: stage 2 scaled by 4^-b, a variance's bound taken for a deviation */
    PLANTED_UNWRAPPED,             /* polar: atan2 left in (-pi, pi] where cells are those of [0, 2 pi) */
    PLANTED_OTHER_DIMENSION,       /* mse, prod: the codebook of 8 dimensions, scaled to the right ones */
    PLANTED_OTHER_STREAM,          /* mse: 8 outlier channels get the codebook of the 56 others, scaled to 8 dimensions */
    PLANTED_NARROW_CENTROIDS,      /* mse: centroids times .61 */
    PLANTED_SKETCH_UNUSED,         /* prod: the residual's signs are stored, and neither decode nor score looks at them */
    PLANTED_NO_SIGN_FIX,           /* mse: Q as Householder's algorithm leaves it */
    PLANTED_NORM_DROPPED,          /* mse, prod: |x| and the residual's norm taken for 1, as they are on normalised input */
    PLANTED_FACTOR_OF_D,           /* prod: sqrt(pi/2) / d whatever m is */
    PLANTED_INVERSE,               /* mse: Pi where Pi^T belongs */
    PLANTED_OFF_MIDPOINT           /* mse: thresholds a fifth of the way beyond the midpoints */
} planted_bug;

extern planted_bug planted;        /* read whenever a planted quantizer works; set while none does */
extern const kvant_quantizer planted_mse, planted_prod, planted_rvq, planted_polar;

#endif
