/* attended.h - what codes do to attention: the softmax weights and the output of queries over coded keys and values, against exact
 * attention in double. One measure for vectors and for a model's own keys, values and queries. */
#ifndef KVANT_ATTENDED_H
#define KVANT_ATTENDED_H

#include "harness/kvant.h"

/* o, w and o^, w^ are a query's output and weights, exact and by the codes: scores by kvant_score, the output by kvant_mix.
 *   output_error   |o - o^| / |o|; not counted for o = 0
 *   weight_error   |w - w^| / |w|, l2
 *   weight_shift   half the sum of |w - w^|: the share of the attention that went elsewhere
 *   top_1, top_8   share of the 1 or 8 heaviest of w that are among as many heaviest of w^ (of all, if fewer are seen); of equals,
 *                  the earlier is heavier, and a NaN is the lightest */
enum { ATTENDED_OUTPUT_ERROR, ATTENDED_WEIGHT_ERROR, ATTENDED_WEIGHT_SHIFT, ATTENDED_TOP_1, ATTENDED_TOP_8, ATTENDED_N };

extern const char *const attended_names[ATTENDED_N];        /* as above; metrics of the attention probe */

/* Sums over queries, and how many were counted. {0} is empty. */
typedef struct { double sum[ATTENDED_N], n[ATTENDED_N]; } attended;

/* Compares one query: o, w exact, o^, w^ estimated; seen >= 1 weights, dim coordinates. */
void attended_compare(const double *weight, const double *estimate, size_t seen, const double *output, const float *estimated_output,
                      size_t dim, attended *sum);

/* Exact attention of one query q [dim] over k, v [seen] vectors, `stride` floats apart: weight [seen], output [dim]. The softmax gets
 * scale * <q,k>. */
void attended_exact(const float *q, double scale, const float *k, const float *v, size_t stride, size_t seen, size_t dim,
                    double *weight, double *output);

/* One thread's memory for n keys and values and nq queries by any two of the codecs. {0} is closed. */
typedef struct {
    uint8_t *key_code, *value_code;
    float *rows, *dot, *acc, *output;
    double *weight, *estimate, *exact;
    void *prepared, *scratch;
} attended_work;
kvant_status attended_open(const kvant_codec *codecs, size_t n_codecs, size_t n, size_t nq, attended_work *work, kvant_error *err);
void attended_close(attended_work *work);

/* Codes k and v, n vectors each, `stride` floats apart (n a multiple of both blocks), and adds up what nq queries q [nq][dim] see of
 * them: the j-th the first seen[j], 1 ... n. */
void attended_measure(const kvant_codec *key, const kvant_codec *value, const float *k, const float *v, size_t stride, size_t n,
                      const float *q, const size_t *seen, size_t nq, double scale, attended_work *work, attended *sum);

#endif
