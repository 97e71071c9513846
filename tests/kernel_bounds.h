/* kernel_bounds.h - how far numbers that kernels compute may be from others, for tests/checkkernels: derived from roundings, lengths
 * and what the kernel states. */
#ifndef KVANT_TESTS_KERNEL_BOUNDS_H
#define KVANT_TESTS_KERNEL_BOUNDS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Both finite and within the bound, or both NaN, or the same infinity. */
static inline bool near(double kernel, double scalar, double bound)
{
    if (!isfinite(scalar) || !isfinite(kernel))
        return isnan(scalar) ? isnan(kernel) : kernel == scalar;
    return fabs(kernel - scalar) <= bound;
}

/* Length of what is finite of a vector: the bounds of its finite coordinates. */
static inline double norm(const float *x, size_t d)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        sum += isfinite(x[i]) ? (double)x[i] * x[i] : 0;
    return sqrt(sum);
}

/* A float sum of m products, in any order, fused or not, is within g = m 2^-24 / (1 - m 2^-24) times the sum of their magnitudes of
 * the exact one, so two of them are within 2 g of each other. Magnitudes sum up to at most |q| |x^|. The operands may themselves
 * be computed differently (rotated, scaled), which adds the distance that the kernel states. */
static inline double bound_of(size_t m, double distance)
{
    double roundings = (double)(m + 4) * 0x1p-24;              /* and a few for scales and for the last additions */
    return 2 * roundings / (1 - roundings) + distance;
}

/* The length of z, the least that each coordinate has in a block of vectors [block][d]. */
static inline double bounds_zeros(const float *x, size_t d, size_t block)
{
    double square = 0;
    for (size_t k = 0; k < d; k++) {
        float least = INFINITY;
        for (size_t i = 0; i < block; i++)
            least = x[i * d + k] < least ? x[i * d + k] : least;
        square += isfinite(least) ? (double)least * least : 0;
    }
    return sqrt(square);
}

/* length [n]: by what products with vectors first ... first + n - 1 of x [.][d] are bounded. Vectors that were coded together may
 * share the zeros of their grids, which cancel where a vector is shorter: sums then are of |x^| + 2 |z| at most, as scale * code =
 * x^ - z. */
static inline void bounds_lengths(const float *x, size_t d, size_t block, size_t first, size_t n, double *length)
{
    double zeros = 0;
    for (size_t v = first; v < first + n; v++) {
        if (block > 1 && (v == first || v % block == 0))
            zeros = bounds_zeros(x + v / block * block * d, d, block);
        length[v - first] = norm(x + v * d, d) + 2 * zeros;
    }
}

#endif
