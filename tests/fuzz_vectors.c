/* fuzz_vectors.c - hostile .fvecs and .bvecs files: every input ends in vectors that fit the file or in an error.
 * By way of a real file, so that what is fuzzed is what is used. The first byte chooses the kind, whether the first vector's
 * dimension is put right, and how many vectors are asked for. */
#include "harness/input/dataset.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[2][512];

static void remove_files(void)
{
    unlink(path[0]);
    unlink(path[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd[2];
    if (!path[0][0]) {
        const char *base = getenv("TMPDIR");
        for (int k = 0; k < 2; k++) {
            snprintf(path[k], sizeof path[k], "%s/kvant-fuzz-XXXXXX%s", base && *base ? base : P_tmpdir, k ? ".bvecs" : ".fvecs");
            fd[k] = mkstemps(path[k], 6);
            if (fd[k] < 0)
                abort();
        }
        if (atexit(remove_files))
            abort();
    }
    if (size < 1)
        return 0;
    int k = data[0] & 1;
    kvant_args args = { .v = { data[0] >> 4 } };       /* n */
    const int32_t dim = 8;
    if (ftruncate(fd[k], 0) || pwrite(fd[k], data + 1, size - 1, 0) != (ssize_t)(size - 1))
        abort();
    if (data[0] & 2 && size > sizeof dim && pwrite(fd[k], &dim, sizeof dim, 0) != sizeof dim)
        abort();
    kvant_data d;
    kvant_error err;
    const kvant_dataset *fvecs = dataset_find("fvecs", &err);
    if (!fvecs)
        abort();
    if (!fvecs->load(path[k], &args, &d, &err)) {
        if (!d.n || d.dim < 8 || d.n * (4 + d.dim * (k ? 1 : 4)) > size)
            abort();
        data_free(&d);
    }
    return 0;
}
