/* gemm.h - y = x W^T with the weights packed once, by oneDNN's f32 matrix product.
 * Work is cut into blocks that depend on the shapes only, so results do not depend on the number of threads. */
#ifndef KVANT_GEMM_H
#define KVANT_GEMM_H

#include "harness/kvant.h"

/* W [n_out][n_in] in panels [n_out / GEMM_PANEL][n_in][GEMM_PANEL] (the last one narrower), which oneDNN reads without packing. */
enum { GEMM_PANEL = 96, GEMM_ROWS = 128 };

typedef struct { size_t n_out, n_in; float *panels; } gemm_matrix;

kvant_status gemm_init(gemm_matrix *w, size_t n_out, size_t n_in, kvant_error *err);   /* panels are zeroed */
void gemm_free(gemm_matrix *w);
/* Rows of outputs out0 ... out0+n-1 (x [n][n_in]). Outputs of one panel must be set by one thread at a time. */
void gemm_set_rows(gemm_matrix *w, size_t out0, size_t n, const float *x);

/* y [n][ldy] (columns 0 ... n_out-1 written) = x [n][ldx] W^T. Called outside any parallel region. */
void gemm_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy);

/* C [m][ldc] = A [m][lda] B, or += when `add`, by the calling thread alone: B is [k][ldb], or [n][ldb] when transposed.
 * Called inside a parallel region (outside of one oneDNN would spread it over the threads by rules of its own). */
void gemm_small(bool b_transposed, bool add, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                float *c, size_t ldc);

/* "oneDNN 2.6.3 (avx512_core)": the library and the instruction set that its f32 products use here. Not thread-safe. */
const char *gemm_library(void);

#endif
