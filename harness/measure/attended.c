/* attended.c - attends exactly and by the codes, and compares: see attended.h.
 * Sums are in double and in a fixed order: figures are the same on any thread. */
#include "harness/measure/attended.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 8 };

const char *const attended_names[ATTENDED_N] = { "output_error", "weight_error", "weight_shift", "top_1", "top_8" };

/* ---- One query --------------------------------------------------------------------------------- */

static void softmax(double *x, size_t n)
{
    double max = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += x[i] = exp(x[i] - max);
    for (size_t i = 0; i < n; i++)
        x[i] /= sum;
}

void attended_exact(const float *q, double scale, const float *k, const float *v, size_t stride, size_t seen, size_t dim,
                    double *weight, double *output)
{
    for (size_t i = 0; i < seen; i++) {
        double dot = 0;
        for (size_t j = 0; j < dim; j++)
            dot += (double)q[j] * k[i * stride + j];
        weight[i] = scale * dot;
    }
    softmax(weight, seen);
    memset(output, 0, dim * sizeof *output);
    for (size_t i = 0; i < seen; i++)
        for (size_t j = 0; j < dim; j++)
            output[j] += weight[i] * v[i * stride + j];
}

/* Places of the `count` largest of x [n], the largest first. */
static size_t heaviest(const double *x, size_t n, size_t count, size_t place[TOP])
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = found;
        while (at > 0 && x[i] > x[place[at - 1]])
            at--;
        if (at == count || isnan(x[i]))
            continue;
        found += found < count;
        memmove(place + at + 1, place + at, (found - 1 - at) * sizeof *place);
        place[at] = i;
    }
    return found;
}

static double agreement(const double *weight, const double *estimate, size_t n, size_t count)
{
    size_t right[TOP], got[TOP], common = 0;
    count = n < count ? n : count;
    size_t n_right = heaviest(weight, n, count, right), n_got = heaviest(estimate, n, count, got);
    for (size_t i = 0; i < n_right; i++)
        for (size_t j = 0; j < n_got; j++)
            common += right[i] == got[j];
    return (double)common / (double)count;
}

static void add(attended *sum, size_t figure, double value)
{
    sum->sum[figure] += value;
    sum->n[figure] += 1;
}

void attended_compare(const double *weight, const double *estimate, size_t seen, const double *output, const float *estimated_output,
                      size_t dim, attended *sum)
{
    double error_sq = 0, norm_sq = 0, shift = 0, weight_error_sq = 0, weight_sq = 0;
    for (size_t j = 0; j < dim; j++) {
        double e = output[j] - estimated_output[j];
        error_sq += e * e;
        norm_sq += output[j] * output[j];
    }
    for (size_t i = 0; i < seen; i++) {
        double e = weight[i] - estimate[i];
        shift += fabs(e);
        weight_error_sq += e * e;
        weight_sq += weight[i] * weight[i];
    }
    if (norm_sq != 0)
        add(sum, ATTENDED_OUTPUT_ERROR, sqrt(error_sq / norm_sq));
    add(sum, ATTENDED_WEIGHT_ERROR, sqrt(weight_error_sq / weight_sq));
    add(sum, ATTENDED_WEIGHT_SHIFT, shift / 2);
    add(sum, ATTENDED_TOP_1, agreement(weight, estimate, seen, 1));
    add(sum, ATTENDED_TOP_8, agreement(weight, estimate, seen, TOP));
}

/* ---- Over codes -------------------------------------------------------------------------------- */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

kvant_status attended_open(const kvant_codec *codecs, size_t n_codecs, size_t n, size_t nq, attended_work *work, kvant_error *err)
{
    size_t code = 0, dim = 0, query = 0, acc = 0, scratch = 0;
    for (size_t i = 0; i < n_codecs; i++) {
        code = larger(code, kvant_bytes(&codecs[i], n));
        dim = larger(dim, codecs[i].shape.dim);
        query = larger(query, codecs[i].query);
        acc = larger(acc, codecs[i].acc);
        scratch = larger(scratch, codecs[i].scratch);
    }
    *work = (attended_work) {
        .key_code = kvant_alloc(code), .value_code = kvant_alloc(code),
        .rows = kvant_alloc(n * dim * sizeof(float)), .dot = kvant_alloc(nq * n * sizeof(float)),
        .acc = kvant_alloc(nq * acc * sizeof(float)), .output = kvant_alloc(nq * dim * sizeof(float)),
        .weight = kvant_alloc(n * sizeof(double)), .estimate = kvant_alloc(nq * n * sizeof(double)),
        .exact = kvant_alloc(dim * sizeof(double)),
        .prepared = kvant_alloc(nq * query), .scratch = kvant_alloc(scratch),
    };
    if (work->key_code && work->value_code && work->rows && work->dot && work->acc && work->output && work->weight &&
        work->estimate && work->exact && work->prepared && work->scratch)
        return KVANT_OK;
    attended_close(work);
    return kvant_fail(err, KVANT_NOMEM, "attention: no memory for %zu keys and values and %zu queries", n, nq);
}

void attended_close(attended_work *work)
{
    free(work->key_code);
    free(work->value_code);
    free(work->rows);
    free(work->dot);
    free(work->acc);
    free(work->output);
    free(work->weight);
    free(work->estimate);
    free(work->exact);
    free(work->prepared);
    free(work->scratch);
    *work = (attended_work) { 0 };
}

static void encode_rows(const kvant_codec *codec, const float *x, size_t stride, size_t n, uint8_t *code, attended_work *work)
{
    size_t dim = codec->shape.dim;
    for (size_t i = 0; i < n; i++)
        memcpy(work->rows + i * dim, x + i * stride, dim * sizeof *x);
    kvant_encode(codec, work->rows, 0, n, code, work->scratch);
}

/* Scores become weights: in double for the comparison, and in place of the scores as the mix takes them. */
static void weigh(float *dot, size_t n, size_t seen, double scale, double *estimate)
{
    for (size_t i = 0; i < seen; i++)
        estimate[i] = scale * dot[i];
    softmax(estimate, seen);
    for (size_t i = 0; i < n; i++)
        dot[i] = i < seen ? (float)estimate[i] : 0;
}

void attended_measure(const kvant_codec *key, const kvant_codec *value, const float *k, const float *v, size_t stride, size_t n,
                      const float *q, const size_t *seen, size_t nq, double scale, attended_work *work, attended *sum)
{
    size_t dim = key->shape.dim;
    encode_rows(key, k, stride, n, work->key_code, work);
    encode_rows(value, v, stride, n, work->value_code, work);
    kvant_query(key, q, nq, work->prepared, work->scratch);
    kvant_score(key, work->prepared, nq, work->key_code, 0, n, work->dot, work->scratch);
    for (size_t j = 0; j < nq; j++)
        weigh(work->dot + j * n, n, seen[j], scale, work->estimate + j * n);
    memset(work->acc, 0, nq * value->acc * sizeof *work->acc);
    kvant_mix(value, work->dot, nq, work->value_code, 0, n, work->acc, work->scratch);
    kvant_finish(value, work->acc, nq, work->output, work->scratch);
    for (size_t j = 0; j < nq; j++) {
        attended_exact(q + j * dim, scale, k, v, stride, seen[j], dim, work->weight, work->exact);
        attended_compare(work->weight, work->estimate + j * n, seen[j], work->exact, work->output + j * dim, dim, sum);
    }
}
