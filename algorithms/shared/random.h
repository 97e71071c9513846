/* random.h - the one source of randomness of all quantizers: MT19937 of GSL, seeded by a hash of (seed, stream).
 * A stated generator: a code written on one machine decodes on another, where the state is made again from the seed. */
#ifndef KVANT_RANDOM_H
#define KVANT_RANDOM_H

#include <gsl/gsl_rng.h>
#include <stdint.h>

/* What the numbers are for: different parts of one quantizer must not see the same ones. */
typedef enum { RANDOM_ROTATION = 1, RANDOM_SKETCH = 2, RANDOM_KMEANS = 3, RANDOM_CALIBRATION = 4 } random_stream;

/* A new generator, freed by gsl_rng_free; NULL when out of memory. */
gsl_rng *random_open(uint32_t seed, random_stream stream);

#endif
