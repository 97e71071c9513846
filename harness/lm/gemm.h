/* gemm.h - y = x W^T by oneDNN's f32 matrix product, with the weights packed once, or unpacked from a file block by block.
 * Work is cut into blocks that depend on the shapes only, so results do not depend on the number of threads. */
#ifndef KVANT_GEMM_H
#define KVANT_GEMM_H

#include "harness/lm/gguf.h"

/* W [n_out][n_in] in panels [n_out / GEMM_PANEL][n_in][GEMM_PANEL] (the last one narrower), which oneDNN reads without packing. */
enum { GEMM_PANEL = 96, GEMM_ROWS = 128, GEMM_PIECES = 4 };

/* Where streamed weights come from: outputs out0 ... out0+n-1 are rows row0 ... of a tensor. */
typedef struct { const gguf_tensor *tensor; size_t row0, out0, n; } gemm_piece;

/* Memory to unpack a panel in for every thread, shared by the streamed matrices of a model. Zero-initialise. */
typedef struct { char *memory; size_t bytes; int threads; } gemm_room;

/* Held as panels; streamed: pieces say where each panel's weights are when it is multiplied; or as bf16 (gemm_bf16.h), which has its
 * own panels. n_out 0: not made yet. */
typedef struct {
    size_t n_out, n_in;
    float *panels;
    const gemm_room *room;         /* NULL: not streamed */
    gemm_piece pieces[GEMM_PIECES];
    size_t n_pieces, covered;      /* outputs 0 ... covered-1 have a piece */
    struct gemm_bf16 *bf16;        /* NULL: not as bf16 */
    struct dnnl_memory **packed;
} gemm_matrix;

kvant_status gemm_init(gemm_matrix *w, size_t n_out, size_t n_in, kvant_error *err);   /* panels are zeroed */
void gemm_free(gemm_matrix *w);
/* Rows of outputs out0 ... out0+n-1 (x [n][n_in]). Outputs of one panel must be set by one thread at a time. */
void gemm_set_rows(gemm_matrix *w, size_t out0, size_t n, const float *x);

/* A matrix that is unpacked whenever it is multiplied, from the pieces that are added: in order of outputs, without gaps, up to n_out
 * before the first product. Its products are those of panels, bit for bit. Until gemm_room_open, room only learns what it must hold. */
kvant_status gemm_init_stream(gemm_matrix *w, size_t n_out, size_t n_in, gemm_room *room, kvant_error *err);
/* KVANT_INVALID: a gap, rows that are not there or not of n_in values, a type that dequant_rows does not read. */
kvant_status gemm_add_piece(gemm_matrix *w, const gemm_piece *piece, kvant_error *err);
/* Outputs out0 ... of a streamed matrix as a panel [n_in][width] at the front of `panel`, width <= GEMM_PANEL; the rest is scratch. */
size_t gemm_unpack_bytes(const gemm_matrix *w);
void gemm_unpack(const gemm_matrix *w, size_t out0, size_t width, float *panel);
kvant_status gemm_room_open(gemm_room *room, kvant_error *err);         /* for as many threads as there are now */
void gemm_room_close(gemm_room *room);

/* y [n][ldy] (columns 0 ... n_out-1 written) = x [n][ldx] W^T. Called outside any parallel region. */
void gemm_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy);

/* C [m][ldc] = A [m][lda] B, or += when `add`, by the calling thread alone: B is [k][ldb], or [n][ldb] when transposed.
 * Called inside a parallel region (outside of one oneDNN would spread it over the threads by rules of its own). */
void gemm_small(bool b_transposed, bool add, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                float *c, size_t ldc);

/* "oneDNN 2.6.3 (avx512_core)": the library and the instruction set that its f32 products use here. Not thread-safe. */
const char *gemm_library(void);

#endif
