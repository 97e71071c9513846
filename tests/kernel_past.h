/* kernel_past.h - whether decoding so many vectors at once that a kernel may write them past the caches is what decoding a few at a
 * time is. */
#ifndef KVANT_TESTS_KERNEL_PAST_H
#define KVANT_TESTS_KERNEL_PAST_H

#include "harness/kvant.h"

#include <gsl/gsl_rng.h>

/* NULL, or what is wrong. */
const char *past_differs(const kvant_codec *codec, gsl_rng *rng);

#endif
