/* fvecs.c - vectors in the .fvecs and .bvecs files of the nearest-neighbour benchmarks (SIFT, GIST, DEEP).
 * Every vector carries its dimension as int32, then that many float32 (fvecs) or uint8 (bvecs), little-endian. */
#include "harness/input/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as they lie in memory");

enum { P_N };
static const kvant_param params[] = {
    [P_N] = { .name = "n", .help = "use the first n vectors; 0: all", .type = KVANT_INT, .def = 0, .min = 0, .max = 1e9 },
    { .name = NULL },
};

/* One vector of `dim` numbers of `size` bytes each, widened to float. */
static kvant_status read_vector(FILE *f, const char *path, size_t index, size_t dim, size_t size, float *x, kvant_error *err)
{
    int32_t said;
    if (fread(&said, sizeof said, 1, f) != 1 || fread(x, size, dim, f) != dim)
        return kvant_fail(err, KVANT_IO, "%s: vector %zu: cannot read", path, index);
    if (said < 0 || (size_t)said != dim)
        return kvant_fail(err, KVANT_INVALID, "%s: vector %zu: says dimension %d, the first one %zu", path, index, (int)said, dim);
    if (size == 1) {
        /* From the end, so that a float is written only over bytes that have been read. */
        const unsigned char *bytes = (const unsigned char *)x;
        for (size_t i = dim; i-- > 0;)
            x[i] = (float)bytes[i];
    }
    return KVANT_OK;
}

static kvant_status read_all(FILE *f, const char *path, size_t size, uint64_t wanted, kvant_data *data, kvant_error *err)
{
    struct stat file;
    int32_t dim;
    if (fstat(fileno(f), &file) || !S_ISREG(file.st_mode))
        return kvant_fail(err, KVANT_INVALID, "%s: not a regular file", path);
    if (fread(&dim, sizeof dim, 1, f) != 1 || dim < 1)
        return kvant_fail(err, KVANT_INVALID, "%s: does not begin with a dimension: not an .fvecs or .bvecs file", path);
    rewind(f);
    uint64_t bytes = (uint64_t)file.st_size, record = sizeof dim + (uint64_t)dim * size, have = bytes / record;
    if (bytes % record)
        return kvant_fail(err, KVANT_INVALID, "%s: %llu bytes are not a whole number of vectors of dimension %d", path,
                          (unsigned long long)bytes, (int)dim);
    if (wanted > have)
        return kvant_fail(err, KVANT_INVALID, "%s: n: %llu vectors are asked for, and %llu are there", path,
                          (unsigned long long)wanted, (unsigned long long)have);
    kvant_status status = data_vectors(path, wanted ? wanted : have, (uint64_t)dim, data, err);
    for (size_t i = 0; i < data->n && !status; i++)
        status = read_vector(f, path, i, data->dim, size, data->x + i * data->dim, err);
    return status;
}

static kvant_status load(const char *path, const kvant_args *args, kvant_data *data, kvant_error *err)
{
    *data = (kvant_data){ 0 };
    const char *dot = strrchr(path, '.');
    size_t size = dot && !strcasecmp(dot, ".bvecs") ? 1 : sizeof(float);
    FILE *f = fopen(path, "rbe");
    if (!f)
        return file_fail(err, path, "cannot open");
    kvant_status status = read_all(f, path, size, (uint64_t)args->v[P_N], data, err);
    fclose(f);
    if (status) {
        data_free(data);
        return status;
    }
    return data_seal(path, data, err);
}

static const char *const suffixes[] = { "fvecs", "bvecs", NULL };

const kvant_dataset dataset_fvecs = {
    .name = "fvecs",
    .summary = "vectors of an .fvecs (float32) or .bvecs (uint8) file",
    .kind = "vectors",
    .params = params,
    .suffixes = suffixes,
    .load = load,
};
