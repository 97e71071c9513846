/* fuzz_npy.c - hostile .npy files: every input ends in an array that fits the file or in an error.
 * The first byte says how much of the file is arbitrary: all of it, the header's text, or the shape and one other value. */
#include "harness/input/npy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_array(char *file, size_t bytes)
{
    npy_array a;
    kvant_error err;
    FILE *f = bytes ? fmemopen(file, bytes, "rb") : NULL;
    if (!f)
        return;
    if (!npy_read_stream(f, bytes, "input", &a, &err)) {
        size_t n = 1;
        for (size_t i = 0; i < a.rank; i++)
            n *= a.shape[i];
        if (n != a.n || a.n > bytes)
            abort();
        /* Reads every number: beyond the allocation the sanitizer speaks up. */
        uint32_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &a.x[i], sizeof bits);
            sum += bits;
        }
        volatile uint32_t keep = sum;
        (void)keep;
        free(a.x);
    }
    fclose(f);
}

/* The piece of the input up to the next newline. */
static int line(const char **p, const char *end, const char **start)
{
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    *start = *p;
    const char *stop = newline ? newline : end;
    *p = newline ? newline + 1 : end;
    return (int)(stop - *start);
}

static const char *const types[5] = {
    "{'descr': '<f2', 'fortran_order': False, 'shape': (%.*s), }", "{'descr': '<f4', 'fortran_order': False, 'shape': (%.*s), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (%.*s), }", "{'descr': '%.*s', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f4', 'fortran_order': %.*s, 'shape': (2,), }",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 1 << 15)
        return 0;
    const char *p = (const char *)data + 1, *end = (const char *)data + size, *header;
    char *file = malloc(size + 256);
    if (!file)
        return 0;
    size_t n = 0;
    if (data[0] % 3) {
        char *dict = file + 10;
        int length = line(&p, end, &header);
        if (data[0] % 3 == 1)
            memcpy(dict, header, (size_t)length);
        else
            length = snprintf(dict, size + 240, types[data[0] / 3 % 5], length, header);
        memcpy(file, "\x93NUMPY\x01", 8);
        file[8] = (char)length;
        file[9] = (char)(length >> 8);
        n = 10 + (size_t)length;
    }
    memcpy(file + n, p, (size_t)(end - p));
    read_array(file, n + (size_t)(end - p));
    free(file);
    return 0;
}
