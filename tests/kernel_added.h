/* kernel_added.h - what a kernel's approximate scores and mixes add to the quantizer's own squared error: 1 % of it at most.
 * That is a mean over Gaussian vectors; the bound of a single product is the kernel's `products`. */
#ifndef KVANT_TESTS_KERNEL_ADDED_H
#define KVANT_TESTS_KERNEL_ADDED_H

#include "harness/kvant.h"

#include <gsl/gsl_rng.h>

#define ADDED_ROUNDING 1e-3        /* a kernel whose products may be off by more approximates */

/* Shares of the squared error that scores and mixes add; NaN for an op that goes by decode. False when one adds too much, or is
 * NaN. */
bool added_is_little(const kvant_codec *codec, gsl_rng *rng, double added[2]);

#endif
