/* fuzz_npy.c - arbitrary bytes as a .npy file: every input ends in an array that fits the file or in an error. */
#include "harness/npy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    npy_array a;
    kvant_error err;
    if (!size)
        return 0;
    FILE *f = fmemopen((void *)(uintptr_t)data, size, "rb");
    if (!f)
        return 0;
    if (!npy_read_stream(f, size, "input", &a, &err)) {
        size_t n = 1;
        for (size_t i = 0; i < a.rank; i++)
            n *= a.shape[i];
        volatile float last = a.n ? a.x[a.n - 1] : 0;      /* within what was allocated, or the sanitizer speaks up */
        (void)last;
        if (n != a.n || a.n > size)
            abort();
        free(a.x);
    }
    fclose(f);
    return 0;
}
