/* codebook.h - Lloyd-Max scalar codebooks: the 2^bits centroids of least mean squared error for a density.
 * Solved, not tabulated: any dimension has its own exact density, and a wrong table would pass unseen. */
#ifndef KVANT_CODEBOOK_H
#define KVANT_CODEBOOK_H

#include "harness/kvant.h"

/* Densities. Of unit variance: sqrt(d) times a coordinate of a random unit vector in d dimensions, its limit N(0, 1), and the
 * Laplacian of scale 1/sqrt(2), whose tails are heavier. In radians: proportional to cos(u)^d on [-pi/2, pi/2], the angle between
 * the norms of two halves of a Gaussian vector of 2d + 2 coordinates, doubled and centred (u = 2 psi - pi/2). */
typedef enum { CODEBOOK_EXACT, CODEBOOK_GAUSSIAN, CODEBOOK_LAPLACIAN, CODEBOOK_ANGLE } codebook_density;

enum { CODEBOOK_MAX_BITS = 8 };

/* Solves for bits 1..8 to about 1e-11; centroids [2^bits] ascending, symmetric. mse (may be NULL): of the codebook. d is at
 * least 4 for CODEBOOK_EXACT, 1 for CODEBOOK_ANGLE, and any for the other two. Takes under a millisecond, or (exact) a few at 8
 * bits. KVANT_FAILED when Newton's method does not converge. */
kvant_status codebook_solve(codebook_density density, uint32_t d, unsigned bits, double *centroids, double *mse,
                            kvant_error *err);

/* thresholds [n-1] for ascending centroids [n]: x belongs to centroid k+1 or above exactly if x >= thresholds[k]. Each is the
 * first float beyond the midpoint, so the search is argmin in exact arithmetic; a tie goes to the lower centroid. */
void codebook_thresholds(const float *centroids, size_t n, float *thresholds);

/* Index of the nearest centroid, by binary search without branches. NaN gives 0. */
static inline uint8_t codebook_index(const float *thresholds, unsigned bits, float x)
{
    unsigned index = 0;
    for (unsigned step = 1u << bits >> 1; step; step >>= 1)
        index += x >= thresholds[index + step - 1] ? step : 0;
    return (uint8_t)index;
}

#endif
