/* dataset.c - finds the dataset plug-in for a name or a file, and holds what all of them do at the end: check and hash.
 * What a run saw is identified by the hash made here, not by a file's name. */
#include "harness/input/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIM_MIN = 8, DIM_MAX = 4096 };
static const uint64_t values_max = (uint64_t)1 << 32;

const kvant_dataset *dataset_find(const char *name, kvant_error *err)
{
    return plugin_find(kvant_datasets(), "dataset", name, err);
}

const kvant_dataset *dataset_for_path(const char *path, kvant_error *err)
{
    const char *base = strrchr(path, '/'), *dot = strrchr(base ? base : path, '.');
    text known = { 0 };
    for (const kvant_dataset *const *d = kvant_datasets(); *d; d++)
        for (const char *const *s = (*d)->suffixes; s && *s; s++) {
            if (dot && !strcasecmp(dot + 1, *s)) {
                text_free(&known);
                return *d;
            }
            text_add(&known, "%s.%s", known.length ? ", " : "", *s);
        }
    kvant_fail(err, KVANT_INVALID, "%s: the suffix tells how a file is read, and this one is unknown; known are %s", path,
               known.failed || !known.data ? "none" : known.data);
    text_free(&known);
    return NULL;
}

void data_free(kvant_data *data)
{
    free(data->text);
    free(data->x);
    *data = (kvant_data){ 0 };
}

kvant_status data_vectors(const char *name, uint64_t n, uint64_t dim, kvant_data *data, kvant_error *err)
{
    *data = (kvant_data){ 0 };
    if (dim < DIM_MIN || dim > DIM_MAX)
        return kvant_fail(err, KVANT_INVALID, "%s: vectors of dimension %llu; %d to %d can be used", name, (unsigned long long)dim,
                          DIM_MIN, DIM_MAX);
    if (!n)
        return kvant_fail(err, KVANT_INVALID, "%s: no vectors", name);
    if (n > values_max / dim)
        return kvant_fail(err, KVANT_INVALID, "%s: %llu vectors of dimension %llu are too many; limit them by n", name,
                          (unsigned long long)n, (unsigned long long)dim);
    data->x = kvant_alloc((size_t)(n * dim) * sizeof *data->x);
    if (!data->x)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for %llu vectors of dimension %llu", name, (unsigned long long)n,
                          (unsigned long long)dim);
    data->n = (size_t)n;
    data->dim = (size_t)dim;
    return KVANT_OK;
}

kvant_status data_seal(const char *name, kvant_data *data, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    sha256 *hash = NULL;
    for (size_t i = 0; data->x && i < data->n * data->dim && !status; i++)
        if (!isfinite(data->x[i]))
            status = kvant_fail(err, KVANT_INVALID, "%s: vector %zu, coordinate %zu is not finite", name, i / data->dim,
                                i % data->dim);
    if (!status && !(hash = sha256_begin()))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to hash it", name);
    if (!status) {
        if (data->x) {
            char shape[64];
            int n = snprintf(shape, sizeof shape, "float32 [%zu][%zu]\n", data->n, data->dim);
            sha256_add(hash, shape, (size_t)n);
            sha256_add(hash, data->x, data->n * data->dim * sizeof *data->x);
        } else
            sha256_add(hash, data->text, data->bytes);
        sha256_end(hash, data->sha256);
        if (!data->sha256[0])
            status = kvant_fail(err, KVANT_NOMEM, "%s: the hash library failed", name);
    }
    if (status)
        data_free(data);
    return status;
}
