/* bench_gemm.c - the engine's matrix products against oneDNN alone, on a model's own shapes, in one process, interleaved.
 * Usage: bench_gemm [MODEL.gguf]. With a model its shapes are taken and a whole prefill is timed as well; else SmolLM2-135M's. */
#include "harness/lm/gemm.h"
#include "harness/lm/model.h"
#include "harness/measure/stats.h"
#include "harness/util.h"

#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 9, PREFILL = 512 };

/* n_out x n_in, `count` of them in a model. */
typedef struct { const char *name; size_t n_out, n_in, count; } product;

typedef struct { dnnl_engine_t engine; dnnl_stream_t stream; } onednn;

static void die(const char *what)
{
    fprintf(stderr, "bench_gemm: %s\n", what);
    exit(2);
}

static void must(dnnl_status_t status, const char *what)
{
    if (status != dnnl_success)
        die(what);
}

/* ---- oneDNN's matmul primitive, weights in the layout that it likes best --------------------------- */

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, y;
} matmul;

static matmul matmul_init(const onednn *d, size_t m, const product *p, float *x, float *w, float *y)
{
    const dnnl_dim_t rows = (dnnl_dim_t)m, in = (dnnl_dim_t)p->n_in, out = (dnnl_dim_t)p->n_out;
    const dnnl_dims_t x_dims = { rows, in }, w_dims = { in, out }, y_dims = { rows, out };
    dnnl_memory_desc_t x_desc, w_any, w_plain, y_desc;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t primitive_desc, reorder_desc;
    dnnl_primitive_t reorder;
    dnnl_memory_t plain;
    matmul mm;
    must(dnnl_memory_desc_init_by_tag(&x_desc, 2, x_dims, dnnl_f32, dnnl_ab), "source");
    must(dnnl_memory_desc_init_by_tag(&y_desc, 2, y_dims, dnnl_f32, dnnl_ab), "destination");
    must(dnnl_memory_desc_init_by_tag(&w_any, 2, w_dims, dnnl_f32, dnnl_format_tag_any), "weights");
    must(dnnl_memory_desc_init_by_tag(&w_plain, 2, w_dims, dnnl_f32, dnnl_ba), "weights");
    must(dnnl_matmul_desc_init(&desc, &x_desc, &w_any, NULL, &y_desc), "matmul");
    must(dnnl_primitive_desc_create(&primitive_desc, &desc, NULL, d->engine, NULL), "matmul");
    const dnnl_memory_desc_t *w_best = dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_weights_md, 0);
    must(dnnl_memory_create(&mm.x, &x_desc, d->engine, x), "source");
    must(dnnl_memory_create(&mm.y, &y_desc, d->engine, y), "destination");
    must(dnnl_memory_create(&plain, &w_plain, d->engine, w), "weights");
    must(dnnl_memory_create(&mm.w, w_best, d->engine, DNNL_MEMORY_ALLOCATE), "weights");
    must(dnnl_reorder_primitive_desc_create(&reorder_desc, &w_plain, d->engine, w_best, d->engine, NULL), "reorder");
    must(dnnl_primitive_create(&reorder, reorder_desc), "reorder");
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, plain }, { DNNL_ARG_TO, mm.w } };
    must(dnnl_primitive_execute(reorder, d->stream, 2, args), "reorder");
    must(dnnl_stream_wait(d->stream), "reorder");
    must(dnnl_primitive_create(&mm.primitive, primitive_desc), "matmul");
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(reorder_desc);
    dnnl_primitive_desc_destroy(primitive_desc);
    dnnl_memory_destroy(plain);
    return mm;
}

static void matmul_run(const onednn *d, const matmul *mm)
{
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, mm->x }, { DNNL_ARG_WEIGHTS, mm->w }, { DNNL_ARG_DST, mm->y } };
    must(dnnl_primitive_execute(mm->primitive, d->stream, 3, args), "matmul");
    must(dnnl_stream_wait(d->stream), "matmul");
}

static void matmul_free(matmul *mm)
{
    dnnl_primitive_destroy(mm->primitive);
    dnnl_memory_destroy(mm->x);
    dnnl_memory_destroy(mm->w);
    dnnl_memory_destroy(mm->y);
}

/* ---- One shape ------------------------------------------------------------------------------------- */

typedef struct { double ours, sgemm, primitive; } seconds;      /* medians */

static float *random_floats(size_t n, uint32_t seed)
{
    float *x = kvant_alloc(n * sizeof *x);
    if (!x)
        die("out of memory");
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 8) / (float)(1 << 23) - 1;
    }
    return x;
}

/* Relative l2 distance of two results: timings of different products would say nothing. */
static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* Runs a product once by each way and adds the times; repeats small ones until the clock resolves them. */
static seconds time_shape(const onednn *d, const product *p, size_t m)
{
    float *w = random_floats(p->n_out * p->n_in, 1), *x = random_floats(m * p->n_in, 2);
    float *y = random_floats(m * p->n_out, 3), *y_other = random_floats(m * p->n_out, 4);
    gemm_matrix matrix;
    kvant_error err;
    if (gemm_init(&matrix, p->n_out, p->n_in, &err))
        die(err.text);
    gemm_set_rows(&matrix, 0, p->n_out, w);
    matmul mm = matmul_init(d, m, p, x, w, y_other);
    const dnnl_dim_t rows = (dnnl_dim_t)m, in = (dnnl_dim_t)p->n_in, out = (dnnl_dim_t)p->n_out;
    double ours[REPEATS], sgemm[REPEATS], primitive[REPEATS];
    const double flop = 2.0 * (double)m * (double)p->n_out * (double)p->n_in;
    const int calls = (int)fmax(1, 2e8 / flop);
    for (int r = -1; r < REPEATS; r++) {                         /* the first round warms up and compares */
        double t0 = seconds_now();
        for (int i = 0; i < calls; i++)
            gemm_apply(&matrix, x, p->n_in, m, y, p->n_out);
        double t1 = seconds_now();
        for (int i = 0; i < calls; i++)
            must(dnnl_sgemm('N', 'T', rows, out, in, 1, x, in, w, in, 0, y_other, out), "sgemm");
        double t2 = seconds_now();
        if (r < 0 && !(distance(y, y_other, m * p->n_out) < 1e-5))
            die("gemm_apply and dnnl_sgemm disagree");
        double t3 = seconds_now();
        for (int i = 0; i < calls; i++)
            matmul_run(d, &mm);
        double t4 = seconds_now();
        if (r < 0 && !(distance(y, y_other, m * p->n_out) < 1e-5))
            die("gemm_apply and oneDNN's matmul disagree");
        if (r >= 0) {
            ours[r] = (t1 - t0) / calls;
            sgemm[r] = (t2 - t1) / calls;
            primitive[r] = (t4 - t3) / calls;
        }
    }
    matmul_free(&mm);
    gemm_free(&matrix);
    free(w);
    free(x);
    free(y);
    free(y_other);
    return (seconds){ stats_median(ours, REPEATS), stats_median(sgemm, REPEATS), stats_median(primitive, REPEATS) };
}

static void print_row(const char *name, size_t m, size_t n_out, size_t n_in, double flop, seconds t)
{
    char shape[32] = "";
    if (n_out)
        snprintf(shape, sizeof shape, "%zux%zu", n_out, n_in);
    printf("%-10s %5zu  %-12s %9.1f %9.1f %9.1f   %5.2f\n", name, m, shape, flop / t.ours * 1e-9, flop / t.sgemm * 1e-9,
           flop / t.primitive * 1e-9, fmin(t.sgemm, t.primitive) / t.ours);
}

/* Prints the shapes at m rows; returns oneDNN's best GFLOP/s over one pass through the layers (without the output matrix). */
static double bench_rows(const onednn *d, const product *products, size_t n, size_t m)
{
    seconds sum = { 0, 0, 0 };
    double layers = 0;
    for (size_t i = 0; i < n; i++) {
        const product *p = &products[i];
        const double flop = 2.0 * (double)m * (double)p->n_out * (double)p->n_in;
        seconds t = time_shape(d, p, m);
        print_row(p->name, m, p->n_out, p->n_in, flop, t);
        if (p->count > 1) {
            layers += flop * (double)p->count;
            sum.ours += t.ours * (double)p->count;
            sum.sgemm += t.sgemm * (double)p->count;
            sum.primitive += t.primitive * (double)p->count;
        }
    }
    print_row("layers", m, 0, 0, layers, sum);
    return layers / fmin(sum.sgemm, sum.primitive) * 1e-9;
}

/* ---- A whole prefill --------------------------------------------------------------------------------- */

static void bench_prefill(const char *path, double flop_per_token, double alone)
{
    kvant_error err;
    lm_model *model;
    kvcache *cache;
    kvcache_codecs codecs;
    const kvant_quantizer *f16 = kvant_find("f16", &err);
    if (!f16 || lm_open(path, PREFILL, &model, &err))
        die(err.text);
    const kvcache_side side = { f16, kvant_defaults(f16->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    if (kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err) || kvcache_open(&codecs, PREFILL, &cache, &err))
        die(err.text);
    int32_t tokens[PREFILL];
    for (int i = 0; i < PREFILL; i++)
        tokens[i] = (int32_t)((uint32_t)i * 97 % lm_model_shape(model)->n_vocab);
    double t[REPEATS];
    for (int r = -1; r < REPEATS; r++) {
        kvcache_reset(cache);
        const lm_segment segment = { .cache = cache, .tokens = tokens, .n = PREFILL };
        double start = seconds_now();
        if (lm_forward(model, LM_PREFILL, &segment, 1, NULL, NULL, &err))
            die(err.text);
        if (r >= 0)
            t[r] = seconds_now() - start;
    }
    const double median = stats_median(t, REPEATS), rate = flop_per_token * PREFILL / median * 1e-9;
    printf("\nprefill of %d tokens, f16 cache, all work counted: %.0f tok/s, %.1f GFLOP/s in products; oneDNN alone %.1f: ratio %.2f\n",
           PREFILL, PREFILL / median, rate, alone, rate / alone);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

int main(int argc, char **argv)
{
    lm_shape s = { .n_layer = 30, .n_embd = 576, .n_head = 9, .n_kv_head = 3, .head_dim = 64, .n_ff = 1536, .n_vocab = 49152 };
    kvant_error err;
    gguf *file;
    if (argc > 1) {
        if (gguf_open(argv[1], &file, &err) || lm_read_shape(file, &s, &err))
            die(err.text);
        gguf_close(file);
    }
    const size_t heads = (size_t)(s.n_head + 2 * s.n_kv_head) * s.head_dim;
    const product products[] = {
        { "qkv", heads, s.n_embd, s.n_layer }, { "attn_out", s.n_embd, (size_t)s.n_head * s.head_dim, s.n_layer },
        { "gate_up", 2 * (size_t)s.n_ff, s.n_embd, s.n_layer }, { "down", s.n_embd, s.n_ff, s.n_layer },
        { "output", s.n_vocab, s.n_embd, 1 }
    };
    const size_t n = sizeof products / sizeof *products;
    onednn d;
    must(dnnl_engine_create(&d.engine, dnnl_cpu, 0), "engine");
    must(dnnl_stream_create(&d.stream, d.engine, dnnl_stream_default_flags), "stream");
    printf("%s, %d threads, GFLOP/s of f32, medians of %d; ratio: ours to the better of oneDNN's two\n\n", gemm_library(),
           omp_get_max_threads(), REPEATS);
    printf("%-10s %5s  %-12s %9s %9s %9s   %5s\n", "product", "rows", "shape", "ours", "sgemm", "matmul", "ratio");
    bench_rows(&d, products, n, 1);
    bench_rows(&d, products, n, 40);
    double alone = bench_rows(&d, products, n, PREFILL);
    double flop = 0;
    for (size_t i = 0; i < n; i++)
        if (products[i].count > 1)
            flop += 2.0 * (double)products[i].n_out * (double)products[i].n_in * (double)products[i].count;
    if (argc > 1)
        bench_prefill(argv[1], flop, alone);
    dnnl_stream_destroy(d.stream);
    dnnl_engine_destroy(d.engine);
    return 0;
}
