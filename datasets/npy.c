/* npy.c - vectors from a NumPy .npy file: embeddings, or keys and values dumped by another program.
 * The last axis is the vector's; all axes before it count vectors, so [layer][head][token][dim] is read as it lies. */
#include "harness/input/npy.h"

#include "harness/input/dataset.h"

#include <stdlib.h>
#include <string.h>

enum { P_N };
static const kvant_param params[] = {
    [P_N] = { .name = "n", .help = "use the first n vectors; 0: all", .type = KVANT_INT, .def = 0, .min = 0, .max = 1e9 },
    { .name = NULL },
};

static kvant_status load(const char *path, const kvant_args *args, kvant_data *data, kvant_error *err)
{
    npy_array array;
    *data = (kvant_data){ 0 };
    kvant_status status = npy_read(path, &array, err);
    if (status)
        return status;
    size_t dim = array.rank ? array.shape[array.rank - 1] : 0, have = dim ? array.n / dim : 0, n = (size_t)args->v[P_N];
    if (array.rank < 2)
        status = kvant_fail(err, KVANT_INVALID, "%s: an array of rank %zu; vectors need two axes or more", path, array.rank);
    else if (n > have)
        status = kvant_fail(err, KVANT_INVALID, "%s: n: %zu vectors are asked for, and %zu are there", path, n, have);
    else
        status = data_vectors(path, n ? n : have, dim, data, err);
    if (!status)
        memcpy(data->x, array.x, data->n * dim * sizeof *data->x);
    free(array.x);
    return status ? status : data_seal(path, data, err);
}

static const char *const suffixes[] = { "npy", NULL };

const kvant_dataset dataset_npy = {
    .name = "npy",
    .summary = "vectors of a .npy file (float16, float32 or float64; the last axis is the vector's)",
    .kind = "vectors",
    .params = params,
    .suffixes = suffixes,
    .load = load,
};
