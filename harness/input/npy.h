/* npy.h - NumPy's .npy files: float32 results written row by row, float arrays read whole.
 * Results may be larger than memory (logits of a long text), so the writer never holds more than its caller does. */
#ifndef KVANT_NPY_H
#define KVANT_NPY_H

#include "harness/kvant.h"
#include "harness/util.h"

enum { NPY_MAX_RANK = 4 };

/* Writes float32, C order, version 1.0. A row is everything behind the first axis: shape[1] * shape[2] * ... floats.
 * begin, rows (any number of times, shape[0] rows in all), end; the file appears under its name at the end or not at all.
 * After an error of rows or end nothing is left and the writer is closed; npy_discard closes one that is given up. */
typedef struct { file_new file; size_t row, left; } npy_writer;
kvant_status npy_begin(npy_writer *w, const char *path, size_t rank, const size_t *shape, kvant_error *err);
kvant_status npy_rows(npy_writer *w, const float *x, size_t rows, kvant_error *err);
kvant_status npy_end(npy_writer *w, kvant_error *err);
void npy_discard(npy_writer *w);

/* An array read: x [shape[0]][shape[1]]..., n floats in all. x is freed by the caller. */
typedef struct { float *x; size_t n, rank, shape[NPY_MAX_RANK]; } npy_array;

/* Reads float16, float32 or float64 (rounded to float32), little-endian and in C order, of rank 0...NPY_MAX_RANK. Anything
 * else, and a file that is shorter or longer than its header says, is KVANT_INVALID. */
kvant_status npy_read(const char *path, npy_array *array, kvant_error *err);
/* The same from an open stream of `bytes` bytes; `name` is for messages. */
kvant_status npy_read_stream(FILE *stream, uint64_t bytes, const char *name, npy_array *array, kvant_error *err);

#endif
