/* scalar.c - see scalar.h.
 * A run of 64 codes takes 8 b bytes, whatever b is. */
#include "algorithms/shared/parts.h"
#include "algorithms/shared/scalar.h"

#include <math.h>

enum { RUN = 64 };

static size_t run_of(size_t left) { return left < RUN ? left : RUN; }

void scalar_set(scalar_codebook *book, unsigned bits, const double *centroids, double unit)
{
    size_t n = (size_t)1 << bits;
    book->bits = bits;
    for (size_t k = 0; k < n; k++)
        book->c[k] = (float)(centroids[k] * unit);
    codebook_thresholds(book->c, n, book->threshold);
}

kvant_status scalar_solve(codebook_density density, uint32_t d, unsigned bits, scalar_codebook *book, double *mse,
                          kvant_error *err)
{
    double centroids[SCALAR_MAX];
    kvant_status status = codebook_solve(density, d, bits, centroids, mse, err);
    if (!status)
        scalar_set(book, bits, centroids, 1 / sqrt(d));
    return status;
}

void scalar_parts(const scalar_codebook *book, const char *prefix, const char *name, const char *thresholds, const void *state,
                  kvant_parts *parts)
{
    uint32_t n = 1u << book->bits;
    parts_add(parts, prefix, name, KVANT_CODEBOOK, state, book->c, 1, n, n);
    parts_add(parts, prefix, thresholds, KVANT_THRESHOLDS, state, book->threshold, 1, n - 1, n - 1);
}

void scalar_encode(const scalar_codebook *book, const float *y, size_t n, uint8_t *packed)
{
    uint8_t index[RUN];
    for (size_t done = 0; done < n; done += RUN, packed += bits_bytes(RUN, book->bits)) {
        size_t run = run_of(n - done);
        for (size_t j = 0; j < run; j++)
            index[j] = codebook_index(book->threshold, book->bits, y[done + j]);
        bits_pack(packed, index, run, book->bits);
    }
}

void scalar_decode(const scalar_codebook *book, const uint8_t *packed, size_t n, float scale, float *y)
{
    uint8_t index[RUN];
    for (size_t done = 0; done < n; done += RUN, packed += bits_bytes(RUN, book->bits)) {
        size_t run = run_of(n - done);
        bits_unpack(index, packed, run, book->bits);
        for (size_t j = 0; j < run; j++)
            y[done + j] = scale * book->c[index[j]];
    }
}

void scalar_add(const scalar_codebook *book, const uint8_t *packed, size_t n, float scale, float *y)
{
    float c[RUN];
    for (size_t done = 0; done < n; done += RUN, packed += bits_bytes(RUN, book->bits)) {
        size_t run = run_of(n - done);
        scalar_decode(book, packed, run, scale, c);
        for (size_t j = 0; j < run; j++)
            y[done + j] += c[j];
    }
}

scalar_products scalar_compare(const scalar_codebook *book, const uint8_t *packed, const float *y, size_t n)
{
    scalar_products p = { 0, 0 };
    float c[RUN];
    for (size_t done = 0; done < n; done += RUN, packed += bits_bytes(RUN, book->bits)) {
        size_t run = run_of(n - done);
        scalar_decode(book, packed, run, 1, c);
        for (size_t j = 0; j < run; j++) {
            p.dot += (double)y[done + j] * (double)c[j];
            p.square += (double)c[j] * (double)c[j];
        }
    }
    return p;
}
