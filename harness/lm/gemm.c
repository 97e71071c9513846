/* gemm.c - matrix products by oneDNN, cut so that each piece runs on one thread and its shape is all that decides the sum's order.
 * dnnl_sgemm is called inside a parallel region, where oneDNN stays on the calling thread. */
#include "harness/lm/gemm.h"

#include "harness/lm/dequant.h"
#include "harness/lm/gemm_bf16.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

kvant_status gemm_init(gemm_matrix *w, size_t n_out, size_t n_in, kvant_error *err)
{
    *w = (gemm_matrix){ .n_out = n_out, .n_in = n_in };
    if (n_in == 0 || n_out == 0 || n_out > SIZE_MAX / sizeof(float) / n_in)
        return kvant_fail(err, KVANT_INVALID, "a weight matrix of %zu x %zu is not possible", n_out, n_in);
    w->panels = kvant_alloc(n_out * n_in * sizeof(float));
    if (!w->panels)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a weight matrix of %zu x %zu", n_out, n_in);
    return KVANT_OK;
}

void gemm_free(gemm_matrix *w)
{
    free(w->panels);
    gemm_bf16_free(w);
    *w = (gemm_matrix){ 0 };
}

/* Puts n rows (x [n][n_in]) into a panel of `width` outputs, beginning with its output `lane`. */
static void set_lanes(float *panel, size_t width, size_t lane, size_t n, size_t n_in, const float *x)
{
    for (size_t k = 0; k < n_in; k++)
        for (size_t r = 0; r < n; r++)
            panel[k * width + lane + r] = x[r * n_in + k];
}

static size_t panel_width(const gemm_matrix *w, size_t panel) { return min_size(GEMM_PANEL, w->n_out - panel * GEMM_PANEL); }

void gemm_set_rows(gemm_matrix *w, size_t out0, size_t n, const float *x)
{
    while (n > 0) {
        const size_t at = out0 / GEMM_PANEL, lane = out0 % GEMM_PANEL, width = panel_width(w, at), rows = min_size(n, width - lane);
        set_lanes(w->panels + at * GEMM_PANEL * w->n_in, width, lane, rows, w->n_in, x);
        out0 += rows;
        n -= rows;
        x += rows * w->n_in;
    }
}

/* ---- Weights that stay in their file ------------------------------------------------------------- */

enum { UNPACK_ROWS = 16 };         /* rows that are dequantised at a time: a cache line of a panel */

/* A panel, then rows. */
size_t gemm_unpack_bytes(const gemm_matrix *w) { return (GEMM_PANEL + UNPACK_ROWS) * w->n_in * sizeof(float); }

kvant_status gemm_init_stream(gemm_matrix *w, size_t n_out, size_t n_in, gemm_room *room, kvant_error *err)
{
    *w = (gemm_matrix){ .n_out = n_out, .n_in = n_in, .room = room };
    if (n_in == 0 || n_out == 0 || n_in > SIZE_MAX / sizeof(float) / (2 * GEMM_PANEL))
        return kvant_fail(err, KVANT_INVALID, "a weight matrix of %zu x %zu is not possible", n_out, n_in);
    const size_t bytes = gemm_unpack_bytes(w);
    room->bytes = bytes > room->bytes ? (bytes + 63) & ~(size_t)63 : room->bytes;
    return KVANT_OK;
}

kvant_status gemm_add_piece(gemm_matrix *w, const gemm_piece *piece, kvant_error *err)
{
    const ggml_type *type = ggml_type_find(piece->tensor->type);
    const uint64_t rows = piece->tensor->ne[1] * piece->tensor->ne[2] * piece->tensor->ne[3];
    if (w->n_pieces == GEMM_PIECES || !type || !type->row || piece->tensor->ne[0] != w->n_in || piece->row0 > rows ||
        piece->n > rows - piece->row0 || piece->out0 != w->covered || piece->n > w->n_out - piece->out0)
        return kvant_fail(err, KVANT_INVALID, "rows %zu to %zu of a tensor cannot be outputs %zu and on of a matrix of %zu x %zu",
                          piece->row0, piece->row0 + piece->n, piece->out0, w->n_out, w->n_in);
    w->pieces[w->n_pieces++] = *piece;
    w->covered += piece->n;
    return KVANT_OK;
}

kvant_status gemm_room_open(gemm_room *room, kvant_error *err)
{
    /* A team that is cut down to what fits has two threads at least: in a team of one oneDNN would see no parallel region. */
    room->threads = omp_get_max_threads() > 2 ? omp_get_max_threads() : 2;
    room->memory = kvant_alloc(room->bytes * (size_t)room->threads + 1);
    return room->memory ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory to unpack weights on %d threads", room->threads);
}

void gemm_room_close(gemm_room *room)
{
    free(room->memory);
    *room = (gemm_room){ 0 };
}

void gemm_unpack(const gemm_matrix *w, size_t out0, size_t width, float *panel)
{
    float *x = panel + GEMM_PANEL * w->n_in;
    for (const gemm_piece *p = w->pieces; p < w->pieces + w->n_pieces; p++) {
        const size_t from = out0 > p->out0 ? out0 : p->out0, to = min_size(out0 + width, p->out0 + p->n);
        for (size_t at = from; at < to; at += UNPACK_ROWS) {
            const size_t rows = min_size(UNPACK_ROWS, to - at);
            dequant_rows(p->tensor, p->row0 + at - p->out0, rows, x, NULL);       /* gemm_add_piece has checked type and rows */
            set_lanes(panel, width, at - out0, rows, w->n_in, x);
        }
    }
}

/* ---- Products ------------------------------------------------------------------------------------ */

/* One panel's columns of a block of rows. */
static void apply_block(const gemm_matrix *w, const float *weights, size_t panel, size_t block, const float *x, size_t ldx, size_t n,
                        float *y, size_t ldy)
{
    const size_t row = block * GEMM_ROWS, width = panel_width(w, panel);
    gemm_small(false, false, min_size(GEMM_ROWS, n - row), width, w->n_in, x + row * ldx, ldx, weights, width,
               y + row * ldy + panel * GEMM_PANEL, ldy);
}

void gemm_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy)
{
    const size_t panels = (w->n_out + GEMM_PANEL - 1) / GEMM_PANEL, blocks = (n + GEMM_ROWS - 1) / GEMM_ROWS;
    if (w->bf16) {
        gemm_bf16_apply(w, x, ldx, n, y, ldy);
        return;
    }
    if (w->panels) {
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
        for (size_t p = 0; p < panels; p++)
            for (size_t b = 0; b < blocks; b++)
                apply_block(w, w->panels + p * GEMM_PANEL * w->n_in, p, b, x, ldx, n, y, ldy);
        return;
    }
    const int threads = omp_get_max_threads() < w->room->threads ? omp_get_max_threads() : w->room->threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (size_t p = 0; p < panels; p++) {
        float *weights = (float *)(w->room->memory + w->room->bytes * (size_t)omp_get_thread_num());
        gemm_unpack(w, p * GEMM_PANEL, panel_width(w, p), weights);
        for (size_t b = 0; b < blocks; b++)
            apply_block(w, weights, p, b, x, ldx, n, y, ldy);
    }
}

void gemm_small(bool b_transposed, bool add, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                float *c, size_t ldc)
{
    /* The only statuses are bad arguments, which the types and callers exclude. */
    dnnl_sgemm('N', b_transposed ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, 1.0f, a, (dnnl_dim_t)lda, b,
               (dnnl_dim_t)ldb, add ? 1.0f : 0.0f, c, (dnnl_dim_t)ldc);
}

const char *gemm_library(void)
{
    /* Of the instruction sets that oneDNN tells apart, those that change its f32 kernels. */
    static const struct { int isa; const char *name; } sets[] = { { dnnl_cpu_isa_avx512_core, "avx512_core" },
                                                                  { dnnl_cpu_isa_avx2, "avx2" },
                                                                  { dnnl_cpu_isa_avx, "avx" },
                                                                  { dnnl_cpu_isa_sse41, "sse41" },
                                                                  { 0, "portable" } };
    static char name[64];
    const dnnl_version_t *v = dnnl_version();
    const int isa = (int)dnnl_get_effective_cpu_isa();
    size_t i = 0;
    while ((isa & sets[i].isa) != sets[i].isa)
        i++;
    snprintf(name, sizeof name, "oneDNN %d.%d.%d (%s)", v->major, v->minor, v->patch, sets[i].name);
    return name;
}
