/* fidelity.c - encodes a cluster of vectors, decodes and scores it, and sums up errors of vectors and of inner products.
 * Sums are in double and in a fixed order: a cluster's figures are the same on any thread. */
#include "harness/measure/fidelity.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

const char *const fidelity_names[FIDELITY_N] = { "nmse", "cosine", "ip_slope", "ip_variance", "ip_bias", "ip_along",
                                                  "ip_along_sq" };

kvant_status fidelity_open(const kvant_codec *codecs, size_t n_codecs, size_t n, fidelity_work *work, kvant_error *err)
{
    size_t code = 0, dim = 0, query = 0, scratch = 0;
    for (size_t i = 0; i < n_codecs; i++) {
        const kvant_codec *c = &codecs[i];
        size_t bytes = kvant_bytes(c, n);
        code = bytes > code ? bytes : code;
        dim = c->shape.dim > dim ? c->shape.dim : dim;
        query = c->query > query ? c->query : query;
        scratch = c->scratch > scratch ? c->scratch : scratch;
    }
    *work = (fidelity_work) {
        .code = kvant_alloc(code ? code : 1),
        .decoded = kvant_alloc(n * dim * sizeof(float)),
        .dot = kvant_alloc(FIDELITY_QUERIES * n * sizeof(float)),
        .prepared = kvant_alloc(query ? FIDELITY_QUERIES * query : 1),
        .scratch = kvant_alloc(scratch ? scratch : 1),
    };
    if (work->code && work->decoded && work->dot && work->prepared && work->scratch)
        return KVANT_OK;
    fidelity_close(work);
    return kvant_fail(err, KVANT_NOMEM, "fidelity: no memory for clusters of %zu vectors", n);
}

void fidelity_close(fidelity_work *work)
{
    free(work->code);
    free(work->decoded);
    free(work->dot);
    free(work->prepared);
    free(work->scratch);
    *work = (fidelity_work) { 0 };
}

static double product(const float *a, const float *b, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* A vector's part of the figures that need no query; returns <x,x^>. */
static double add_vector(const float *x, const float *decoded, size_t dim, double norm_sq, fidelity *sum)
{
    double error_sq = 0;
    for (size_t i = 0; i < dim; i++) {
        double e = (double)x[i] - decoded[i];
        error_sq += e * e;
    }
    sum->value[FIDELITY_NMSE] += error_sq;
    sum->weight[FIDELITY_NMSE] += norm_sq;

    double coded = product(x, decoded, dim), decoded_sq = product(decoded, decoded, dim);
    if (norm_sq > 0) {
        sum->value[FIDELITY_COSINE] += decoded_sq == 0 ? 0 : coded / sqrt(norm_sq * decoded_sq);
        sum->weight[FIDELITY_COSINE] += 1;
    }
    return coded;
}

/* A pair's part. right = <y,x>, scored = <y,x^>, coded = <x,x^>. */
static void add_pair(double right, double scored, double coded, double x_sq, double y_sq, size_t dim, fidelity *sum)
{
    sum->value[FIDELITY_IP_SLOPE] += right * scored;
    sum->weight[FIDELITY_IP_SLOPE] += right * right;
    double norms = sqrt(x_sq * y_sq);
    if (!(norms > 0))
        return;
    sum->value[FIDELITY_IP_BIAS] += (scored - right) / norms;
    sum->weight[FIDELITY_IP_BIAS] += 1;

    /* y less its part along x, at length 1: parallel pairs have no such part. */
    double along = right / norms, across_sq = 1 - along * along;
    if (across_sq > 1e-9) {
        double e = scored / norms - along * coded / x_sq;
        sum->value[FIDELITY_IP_VARIANCE] += (double)dim * e * e / across_sq;
        sum->weight[FIDELITY_IP_VARIANCE] += 1;
        double self = coded / x_sq - 1;
        sum->value[FIDELITY_IP_ALONG] += self;
        sum->weight[FIDELITY_IP_ALONG] += 1;
        sum->value[FIDELITY_IP_ALONG_SQ] += (double)dim * self * self;
        sum->weight[FIDELITY_IP_ALONG_SQ] += 1;
    }
}

void fidelity_measure(const kvant_codec *codec, const float *x, size_t n, const float *queries, const ptrdiff_t *self, size_t nq,
                      fidelity_work *work, fidelity *result)
{
    size_t dim = codec->shape.dim;
    kvant_encode(codec, x, 0, n, work->code, work->scratch);
    kvant_decode(codec, work->code, 0, n, work->decoded, work->scratch);
    kvant_query(codec, queries, nq, work->prepared, work->scratch);
    kvant_score(codec, work->prepared, nq, work->code, 0, n, work->dot, work->scratch);

    double query_sq[FIDELITY_QUERIES];
    for (size_t j = 0; j < nq; j++)
        query_sq[j] = product(queries + j * dim, queries + j * dim, dim);

    *result = (fidelity) { 0 };
    for (size_t i = 0; i < n; i++) {
        const float *xi = x + i * dim;
        double norm_sq = product(xi, xi, dim);
        double coded = add_vector(xi, work->decoded + i * dim, dim, norm_sq, result);
        for (size_t j = 0; j < nq; j++)
            if (self[j] != (ptrdiff_t)i)
                add_pair(product(queries + j * dim, xi, dim), work->dot[j * n + i], coded, norm_sq, query_sq[j], dim, result);
    }
    for (size_t f = 0; f < FIDELITY_N; f++)
        if (result->weight[f] != 0)
            result->value[f] /= result->weight[f];
}
