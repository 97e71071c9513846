/* dataset.h - the contract of datasets/NAME.c: one kind of input, read from a file or made from a seed. */
#ifndef KVANT_DATASET_H
#define KVANT_DATASET_H

#include "harness/kvant.h"
#include "harness/util.h"

/* What a dataset yields: a text, or vectors. Freed by data_free. */
typedef struct {
    char *text;                    /* UTF-8, NUL-terminated beyond `bytes`; NULL for vectors */
    size_t bytes;
    float *x;                      /* [n][dim]; NULL for text */
    size_t n, dim;
    char sha256[SHA256_HEX];       /* of the text or the vectors as used: what a run saw */
} kvant_data;

typedef struct {
    const char *name, *summary;
    const char *kind;                          /* what it yields: "text" or "vectors" */
    const kvant_param *params;                 /* at most KVANT_MAX_PARAMS, ended by a NULL name; may be just that */
    const char *const *suffixes;               /* of the files it reads, NULL-terminated, e.g. "txt", "gz"; NULL: makes its own */
    /* path is NULL for a dataset that makes its own. seed serves generators. */
    kvant_status (*load)(const char *path, const kvant_args *args, kvant_data *data, kvant_error *err);
} kvant_dataset;

const kvant_dataset *const *kvant_datasets(void);                         /* NULL-terminated, sorted by name */
const kvant_dataset *dataset_find(const char *name, kvant_error *err);
const kvant_dataset *dataset_for_path(const char *path, kvant_error *err);   /* by suffix; KVANT_INVALID lists the known ones */
void data_free(kvant_data *data);

/* For datasets: memory for vectors [n][dim], zeroed; says what is wrong with a size (dim 8...4096, at least one vector). `name`
 * is the file or dataset that messages speak of. */
kvant_status data_vectors(const char *name, uint64_t n, uint64_t dim, kvant_data *data, kvant_error *err);
/* The last step of load: refuses values that are not finite and fills in sha256 (the vectors' hash covers n and dim). On
 * failure data is freed. */
kvant_status data_seal(const char *name, kvant_data *data, kvant_error *err);

#endif
