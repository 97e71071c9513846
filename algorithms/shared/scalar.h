/* scalar.h - one Lloyd-Max codebook for all coordinates of a vector: indices to packed bytes and back.
 * Goes in runs of coordinates that end on whole bytes, so that nothing needs memory of a vector's length. */
#ifndef KVANT_SCALAR_H
#define KVANT_SCALAR_H

#include "algorithms/shared/bits.h"
#include "algorithms/shared/codebook.h"

enum { SCALAR_MAX = 1 << CODEBOOK_MAX_BITS };

/* Flat, for a quantizer's state. Only the first 2^bits centroids and 2^bits - 1 thresholds mean something. */
typedef struct { uint32_t bits; float c[SCALAR_MAX], threshold[SCALAR_MAX]; } scalar_codebook;

/* Takes centroids [2^bits], ascending, times `unit`. */
void scalar_set(scalar_codebook *book, unsigned bits, const double *centroids, double unit);

/* The codebook of codebook_solve in units of 1/sqrt(d), the scale of unit vectors. mse (may be NULL): of a unit vector. */
kvant_status scalar_solve(codebook_density density, uint32_t d, unsigned bits, scalar_codebook *book, double *mse,
                          kvant_error *err);

/* For a quantizer's parts(), with book->bits set: lists centroids and thresholds under these names. */
void scalar_parts(const scalar_codebook *book, const char *prefix, const char *name, const char *thresholds, const void *state,
                  kvant_parts *parts);

/* y [n] -> packed, bits_bytes(n, bits) bytes: the nearest centroid of each, a tie to the lower one. NaN becomes index 0. */
void scalar_encode(const scalar_codebook *book, const float *y, size_t n, uint8_t *packed);

/* y [n] = centroids times scale. */
void scalar_decode(const scalar_codebook *book, const uint8_t *packed, size_t n, float scale, float *y);

/* y [n] += centroids times scale. */
void scalar_add(const scalar_codebook *book, const uint8_t *packed, size_t n, float scale, float *y);

/* <y, c> and <c, c> of y [n] and its centroids c, in double. */
typedef struct { double dot, square; } scalar_products;
scalar_products scalar_compare(const scalar_codebook *book, const uint8_t *packed, const float *y, size_t n);

#endif
