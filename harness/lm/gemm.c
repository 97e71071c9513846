/* gemm.c - matrix products by oneDNN, cut so that each piece runs on one thread and its shape is all that decides the sum's order.
 * dnnl_sgemm is called inside a parallel region, where oneDNN stays on the calling thread. */
#include "harness/lm/gemm.h"

#include <dnnl.h>
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
    *w = (gemm_matrix){ 0 };
}

/* First float of a panel, and its width. */
static float *panel_of(const gemm_matrix *w, size_t panel, size_t *width)
{
    *width = min_size(GEMM_PANEL, w->n_out - panel * GEMM_PANEL);
    return w->panels + panel * GEMM_PANEL * w->n_in;
}

void gemm_set_rows(gemm_matrix *w, size_t out0, size_t n, const float *x)
{
    while (n > 0) {
        size_t width, lane = out0 % GEMM_PANEL;
        float *panel = panel_of(w, out0 / GEMM_PANEL, &width) + lane;
        const size_t rows = min_size(n, width - lane);
        for (size_t k = 0; k < w->n_in; k++)
            for (size_t r = 0; r < rows; r++)
                panel[k * width + r] = x[r * w->n_in + k];
        out0 += rows;
        n -= rows;
        x += rows * w->n_in;
    }
}

void gemm_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy)
{
    const size_t panels = (w->n_out + GEMM_PANEL - 1) / GEMM_PANEL, blocks = (n + GEMM_ROWS - 1) / GEMM_ROWS;
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (size_t p = 0; p < panels; p++)
        for (size_t b = 0; b < blocks; b++) {
            size_t width;
            const float *panel = panel_of(w, p, &width);
            const size_t row = b * GEMM_ROWS;
            gemm_small(false, false, min_size(GEMM_ROWS, n - row), width, w->n_in, x + row * ldx, ldx, panel, width,
                       y + row * ldy + p * GEMM_PANEL, ldy);
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
