/* random.c - seeds a generator for one purpose.
 * Neighbouring seeds and streams are mixed first: MT19937 takes 32 bits and spreads close ones slowly. */
#include "algorithms/shared/random.h"

/* The finalizer of SplitMix64: every input bit changes about half of the output bits. */
static uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

gsl_rng *random_open(uint32_t seed, random_stream stream)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (rng)
        gsl_rng_set(rng, mixed((uint64_t)stream << 32 | seed) >> 32);
    return rng;
}
