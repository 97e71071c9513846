/* ggml_attention.c - times ggml's own flash attention of one token on the CPU, over a cache of f16, q8_0 or q4_0 keys and values.
 * Built by kernels.sh against ggml alone; speaks as tests/bench_codec --ask does: facts as JSON, then a time for each line that comes.
 *
 * ggml_attention TYPE LAYOUT HEADS GROUP THREADS KEYS.npy VALUES.npy QUERIES.npy OUTPUT.f32
 *
 * Keys and values are [depth][dim] and serve every KV head, each with a copy of its own; queries are [HEADS * GROUP][dim], not scaled.
 * LAYOUT is token, the tokens of a cache one after another, each with all its heads, as llama.cpp lays a cache out; or head, every
 * head's tokens by themselves. OUTPUT gets the first result, [HEADS * GROUP][dim] raw float32. */
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { float *x; size_t rows, cols; } matrix;

static _Noreturn void die(const char *what, const char *of)
{
    fprintf(stderr, "ggml_attention: %s: %s\n", of, what);
    exit(2);
}

/* Version 1.0, float32, C order, rank 2, as NumPy and bench_codec write it. */
static matrix read_npy(const char *path)
{
    unsigned char head[10];
    char text[1024] = "";
    unsigned long rows = 0, cols = 0;
    FILE *f = fopen(path, "rb");
    if (!f || fread(head, 1, sizeof head, f) != sizeof head || memcmp(head, "\x93NUMPY\x01", 7))
        die("not a .npy file of version 1", path);
    const size_t length = head[8] + 256u * head[9];
    if (length >= sizeof text || fread(text, 1, length, f) != length || !strstr(text, "'<f4'") || !strstr(text, "False"))
        die("must hold float32 in C order", path);
    const char *shape = strchr(text, '(');
    if (!shape || sscanf(shape, "(%lu, %lu)", &rows, &cols) != 2 || !rows || !cols || rows > SIZE_MAX / 4 / cols)
        die("must be a matrix", path);
    const matrix m = { malloc(rows * cols * sizeof(float)), rows, cols };
    if (!m.x || fread(m.x, sizeof(float) * cols, rows, f) != rows)
        die("is shorter than it says", path);
    fclose(f);
    return m;
}

/* A side of the cache: dim x depth x heads to ggml, whatever lies where. */
static struct ggml_tensor *cache_side(struct ggml_context *c, enum ggml_type type, bool by_token, const matrix *x, int64_t heads)
{
    const int64_t dim = (int64_t)x->cols, depth = (int64_t)x->rows;
    if (!by_token)
        return ggml_new_tensor_3d(c, type, dim, depth, heads);
    struct ggml_tensor *all = ggml_new_tensor_2d(c, type, dim * heads, depth);
    const size_t row = ggml_row_size(type, dim);
    return ggml_permute(c, ggml_view_3d(c, all, dim, heads, depth, row, row * (size_t)heads, 0), 0, 2, 1, 3);
}

/* Codes every token once and copies it to all heads. */
static void fill_side(struct ggml_tensor *side, const matrix *x)
{
    const size_t row = ggml_row_size(side->type, side->ne[0]);
    char *code = malloc(row), *data = side->data;
    if (!code)
        die("no memory", "cache");
    for (int64_t t = 0; t < side->ne[1]; t++) {
        ggml_quantize_chunk(side->type, x->x + (size_t)t * x->cols, code, 0, 1, side->ne[0], NULL);
        for (int64_t h = 0; h < side->ne[2]; h++)
            memcpy(data + (size_t)t * side->nb[1] + (size_t)h * side->nb[2], code, row);
    }
    free(code);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double compute(ggml_backend_t backend, struct ggml_cgraph *graph)
{
    const double start = now();
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS)
        die("cannot compute", "ggml");
    return now() - start;
}

static enum ggml_type type_of(const char *name)
{
    static const enum ggml_type known[] = { GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0 };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, ggml_type_name(known[i])))
            return known[i];
    die("must be f16, bf16, q8_0 or q4_0", name);
}

int main(int argc, char **argv)
{
    if (argc != 10)
        die("TYPE LAYOUT HEADS GROUP THREADS KEYS.npy VALUES.npy QUERIES.npy OUTPUT.f32", "usage");
    const enum ggml_type type = type_of(argv[1]);
    const bool by_token = !strcmp(argv[2], "token");
    const int64_t heads = atoi(argv[3]), group = atoi(argv[4]);
    const int threads = atoi(argv[5]);
    const matrix k = read_npy(argv[6]), v = read_npy(argv[7]), q = read_npy(argv[8]);
    if ((!by_token && strcmp(argv[2], "head")) || heads < 1 || group < 1 || threads < 1)
        die("LAYOUT is token or head, HEADS, GROUP and THREADS are at least 1", "usage");
    if (k.rows != v.rows || k.cols != v.cols || q.cols != k.cols || (int64_t)q.rows != heads * group)
        die("keys, values and queries do not fit each other, or HEADS and GROUP", "usage");
    const int64_t dim = (int64_t)k.cols, depth = (int64_t)k.rows;

    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, threads);
    const struct ggml_init_params meta = { .mem_size = 64 * ggml_tensor_overhead() + ggml_graph_overhead(), .no_alloc = true };
    struct ggml_context *c = ggml_init(meta), *g = ggml_init(meta);
    struct ggml_tensor *keys = cache_side(c, type, by_token, &k, heads), *values = cache_side(c, type, by_token, &v, heads);
    struct ggml_tensor *queries = ggml_new_tensor_3d(c, GGML_TYPE_F32, dim, heads * group, 1);
    struct ggml_tensor *mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, depth, 1);     /* of zeros: the token sees all */
    ggml_backend_buffer_t cache = ggml_backend_alloc_ctx_tensors(c, backend);
    if (!cache)
        die("no memory", "cache");
    fill_side(keys, &k);
    fill_side(values, &v);
    ggml_backend_tensor_set(queries, q.x, 0, ggml_nbytes(queries));
    memset(mask->data, 0, ggml_nbytes(mask));

    struct ggml_cgraph *graph = ggml_new_graph(g);
    struct ggml_tensor *rows = ggml_permute(g, queries, 0, 2, 1, 3);
    struct ggml_tensor *out = ggml_flash_attn_ext(g, rows, keys, values, mask, 1 / sqrtf((float)dim), 0, 0);
    ggml_build_forward_expand(graph, out);
    ggml_gallocr_t allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    if (!ggml_gallocr_alloc_graph(allocator, graph))
        die("no memory", "graph");

    compute(backend, graph);
    FILE *f = fopen(argv[9], "wb");
    if (!f || fwrite(out->data, sizeof(float) * (size_t)dim, q.rows, f) != q.rows || fclose(f))
        die("cannot be written", argv[9]);
    printf("{\"dim\":%lld,\"n\":%lld,\"heads\":%lld,\"queries\":%lld,\"threads\":%d,\"bytes\":%zu}\n", (long long)dim,
           (long long)depth, (long long)heads, (long long)group, threads, 2 * ggml_row_size(type, dim));
    fflush(stdout);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        printf("%.9g\n", compute(backend, graph));
        fflush(stdout);
    }
    ggml_gallocr_free(allocator);
    ggml_backend_buffer_free(cache);
    ggml_free(g);
    ggml_free(c);
    ggml_backend_free(backend);
    free(k.x);
    free(v.x);
    free(q.x);
    return 0;
}
