/* kernel_added.c - see kernel_added.h: scores and mixes of Gaussian vectors, against double arithmetic on what the codes decode to,
 * and that against the vectors themselves. */
#include "tests/kernel_added.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST .01                   /* of the quantizer's own squared error */
enum { SAMPLE = 1024, QUERIES = 16, TILE = 128 };

static void gaussian(gsl_rng *rng, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
}

static double product(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i * a_stride] * b[i * b_stride];
    return sum;
}

/* Squares of what the kernel's scores (mixes) are off those of its decoded vectors, over squares of what these are off the originals'.
 * Weights are softmaxes of scores, from flat ones to such that a few tokens have it all. */
static void measure_ops(const kvant_codec *c, gsl_rng *rng, double added[2])
{
    size_t d = c->shape.dim;
    float *x = kvant_alloc(SAMPLE * d * sizeof *x), *y = kvant_alloc(SAMPLE * d * sizeof *y),
        *q = kvant_alloc(QUERIES * d * sizeof *q);
    float *w = kvant_alloc(QUERIES * SAMPLE * sizeof *w), *acc = kvant_alloc(QUERIES * c->acc * sizeof *acc);
    float *out = kvant_alloc(QUERIES * d * sizeof *out);
    uint8_t *code = kvant_alloc(kvant_bytes(c, SAMPLE));
    void *prepared = kvant_alloc(QUERIES * c->query), *scratch = kvant_alloc(c->scratch);
    gaussian(rng, x, SAMPLE * d);
    gaussian(rng, q, QUERIES * d);
    kvant_encode(c, x, 0, SAMPLE, code, scratch);
    kvant_decode(c, code, 0, SAMPLE, y, scratch);
    kvant_query(c, q, QUERIES, prepared, scratch);
    kvant_score(c, prepared, QUERIES, code, 0, SAMPLE, w, scratch);
    double off = 0, own = 0;
    for (size_t i = 0; i < QUERIES; i++) {
        const double sharpness = (double)(1 << i % 4) / sqrt((double)d);
        for (size_t v = 0; v < SAMPLE; v++) {
            const double exact = product(q + i * d, 1, x + v * d, 1, d), decoded = product(q + i * d, 1, y + v * d, 1, d);
            off += (w[i * SAMPLE + v] - decoded) * (w[i * SAMPLE + v] - decoded);
            own += (decoded - exact) * (decoded - exact);
            w[i * SAMPLE + v] = (float)exp(sharpness * exact - 3 * sharpness * sqrt((double)d));
        }
    }
    for (size_t v = 0; v < SAMPLE; v += TILE) {        /* as attention does: tile by tile */
        float tile[QUERIES * TILE];
        for (size_t i = 0; i < QUERIES; i++)
            memcpy(tile + i * TILE, w + i * SAMPLE + v, TILE * sizeof *tile);
        kvant_mix(c, tile, QUERIES, code, v, TILE, acc, scratch);
    }
    kvant_finish(c, acc, QUERIES, out, scratch);
    added[0] = off / own;
    added[1] = 0;
    for (size_t i = 0; i < QUERIES; i++) {             /* outputs differ in length: each counts alike */
        double mixed_off = 0, mixed_own = 0;
        for (size_t k = 0; k < d; k++) {
            const double exact = product(w + i * SAMPLE, 1, x + k, d, SAMPLE), decoded = product(w + i * SAMPLE, 1, y + k, d, SAMPLE);
            mixed_off += (out[i * d + k] - decoded) * (out[i * d + k] - decoded);
            mixed_own += (decoded - exact) * (decoded - exact);
        }
        added[1] += mixed_off / mixed_own / QUERIES;
    }
    free(x), free(y), free(q), free(w), free(acc), free(out), free(code), free(prepared), free(scratch);
}

bool added_is_little(const kvant_codec *c, gsl_rng *rng, double added[2])
{
    measure_ops(c, rng, added);
    const bool little = (!c->ops.score || added[0] <= MOST) && (!c->ops.mix || added[1] <= MOST);      /* NaN is not */
    added[0] = c->ops.score ? added[0] : NAN;
    added[1] = c->ops.mix ? added[1] : NAN;
    return little;
}
