/* kmeans.h - codebooks from data: Lloyd's algorithm for vectors from a k-means++ start, and for numbers from their spacing.
 * Deterministic: the same data and generator give the same centroids. No cluster ends empty while points disagree with theirs. */
#ifndef KVANT_KMEANS_H
#define KVANT_KMEANS_H

#include "harness/kvant.h"

#include <gsl/gsl_rng.h>

enum { KMEANS_MAX = 256 };         /* clusters */

/* A codebook as nearest-point searches read it: c [dim][k], coordinate by coordinate, and half [k] = |centroid|^2 / 2. */
typedef struct { size_t k, dim; const float *c, *half; } kmeans_book;

/* Index of the centroid nearest to x [dim]; the lowest of equals; 0 when x is not finite. */
size_t kmeans_nearest(const kmeans_book *book, const float *x);

/* products [k] = <x, centroid>. */
void kmeans_products(const kmeans_book *book, const float *x, float *products);

/* Clusters n vectors of `dim` finite coordinates, `stride` floats apart, into c [dim][k] and half [k], k = 1 ... KMEANS_MAX.
 * At most 25 rounds. KVANT_INVALID when n < k; KVANT_NOMEM. */
kvant_status kmeans_vectors(const float *x, size_t stride, size_t n, size_t dim, size_t k, gsl_rng *rng, float *c, float *half,
                            kvant_error *err);

/* Lloyd-Max for the finite numbers x [n], which are sorted in place: centroids [k], ascending. KVANT_INVALID when n < 1. Once
 * sorted a round costs k searches, so it runs to the fixed point. Fewer distinct numbers than k give equal centroids. */
kvant_status kmeans_numbers(float *x, size_t n, size_t k, float *centroids, kvant_error *err);

#endif
