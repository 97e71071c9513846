/* fidelity.h - how well a codec keeps vectors and their inner products: one measure for the distortion probe and for the checks.
 * Vectors are judged in clusters; every figure is a mean of cluster values by weight, so stats_clustered gives its error. */
#ifndef KVANT_FIDELITY_H
#define KVANT_FIDELITY_H

#include "harness/kvant.h"

enum { FIDELITY_QUERIES = 8, FIDELITY_NOT_CODED = -1 };

/* x and y are a coded vector and a query, x^ is x decoded; <y,x^> is taken by score where the codec has it.
 *   nmse         sum |x - x^|^2 / sum |x|^2
 *   cosine       mean of <x,x^> / |x||x^|; 0 for x^ = 0, not counted for x = 0
 *   ip_slope     slope of <y,x^> over <y,x>, by least squares through the origin: 1 is unbiased
 *   ip_variance  d times the variance of <y,x^> for |x| = 1 and |y| = 1, y made perpendicular to x: there the right product is 0,
 *                and so is the mean, for y and -y are equally good
 *   ip_bias      mean of <y,x^ - x> / |x||y|
 *   ip_along     mean of <x,x^ - x> / |x|^2, over the pairs of ip_variance: the bias for y = x
 *   ip_along_sq  d times the mean of its square; products are linear in y, so that these two and ip_variance say all of any angle */
enum { FIDELITY_NMSE, FIDELITY_COSINE, FIDELITY_IP_SLOPE, FIDELITY_IP_VARIANCE, FIDELITY_IP_BIAS, FIDELITY_IP_ALONG,
       FIDELITY_IP_ALONG_SQ, FIDELITY_N };

extern const char *const fidelity_names[FIDELITY_N];        /* as above; the metrics of the distortion probe on vectors */

/* Values of one cluster. A figure of weight 0 was not there to measure, and its value is 0. */
typedef struct { double value[FIDELITY_N], weight[FIDELITY_N]; } fidelity;

/* One thread's memory for clusters of up to n vectors and FIDELITY_QUERIES queries by any of the codecs. {0} is closed. */
typedef struct { uint8_t *code; float *decoded, *dot; void *prepared, *scratch; } fidelity_work;
kvant_status fidelity_open(const kvant_codec *codecs, size_t n_codecs, size_t n, fidelity_work *work, kvant_error *err);
void fidelity_close(fidelity_work *work);

/* Codes x [n][dim] (n a multiple of the codec's block) as vectors 0 ... n-1 and compares. queries [nq][dim], at most
 * FIDELITY_QUERIES; self [nq] says which of the n a query is, so that none is paired with itself: FIDELITY_NOT_CODED for none. */
void fidelity_measure(const kvant_codec *codec, const float *x, size_t n, const float *queries, const ptrdiff_t *self, size_t nq,
                      fidelity_work *work, fidelity *result);

#endif
