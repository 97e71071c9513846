/* training.h - what every trained method asks of its training vectors.
 * One value that is not finite would spoil all codes, and the user must know where it is. */
#ifndef KVANT_TRAINING_H
#define KVANT_TRAINING_H

#include "harness/kvant.h"

/* KVANT_INVALID, naming the first vector and coordinate of x [n][d] that is not finite. `name` is the quantizer's. */
kvant_status training_finite(const char *name, const float *x, size_t n, size_t d, kvant_error *err);

#endif
