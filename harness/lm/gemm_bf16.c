/* gemm_bf16.c - panels of bf16 in the layout that oneDNN asks for, multiplied block by block, each block on one thread.
 * Blocks are padded to a few heights, so that the primitives of a model are few and made when it is loaded. */
#include "harness/lm/gemm_bf16.h"

#include "algorithms/shared/half.h"

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const size_t heights[] = { 1, 4, 16, 64, GEMM_ROWS };
enum { HEIGHTS = sizeof heights / sizeof *heights, SHAPES = 64, WIDTH = 64 };     /* WIDTH: outputs of a panel */

/* What a thread multiplies with: its memory, seen in the ways that each height wants. */
typedef struct {
    char *memory;
    uint16_t *source;              /* [GEMM_ROWS][n_in] */
    float *target;                 /* [GEMM_ROWS][width] */
    dnnl_memory_t sources[HEIGHTS], targets[HEIGHTS], scratches[HEIGHTS];
} desk;

/* The products with a panel of so many outputs and inputs. */
typedef struct {
    size_t width, n_in;
    dnnl_memory_desc_t plain, packed;
    dnnl_primitive_t product[HEIGHTS], pack;
    dnnl_memory_desc_t source[HEIGHTS], target[HEIGHTS], scratch[HEIGHTS];
    desk *desks;                   /* [threads] */
} shape;

struct gemm_bf16 {
    dnnl_engine_t engine;
    dnnl_stream_t *streams;        /* [threads] */
    int threads;
    shape shapes[SHAPES];
    size_t n_shapes;
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

const char *gemm_bf16_isa(void)
{
    static const struct { int isa; const char *name; } sets[] = { { dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx" },
                                                                  { dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16" },
                                                                  { dnnl_cpu_isa_avx512_core, "avx512_core" },
                                                                  { 0, "none" } };
    const int isa = (int)dnnl_get_effective_cpu_isa();
    size_t i = 0;
    while ((isa & sets[i].isa) != sets[i].isa)
        i++;
    return sets[i].name;
}

/* ---- Primitives ------------------------------------------------------------------------------ */

static bool matrix_desc(dnnl_memory_desc_t *desc, size_t rows, size_t columns, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = { (dnnl_dim_t)rows, (dnnl_dim_t)columns };
    return dnnl_memory_desc_init_by_tag(desc, 2, dims, type, tag) == dnnl_success;
}

/* The product of one height. The tallest decides how weights are packed, and is made first. */
static bool make_product(const gemm_bf16 *g, shape *s, size_t i, dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t any;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t primitive_desc = NULL;
    const bool first = i + 1 == HEIGHTS;
    bool made = matrix_desc(&s->source[i], heights[i], s->n_in, dnnl_bf16, dnnl_ab) &&
                matrix_desc(&s->target[i], heights[i], s->width, dnnl_f32, dnnl_ab) &&
                matrix_desc(&any, s->n_in, s->width, dnnl_bf16, dnnl_format_tag_any) &&
                dnnl_matmul_desc_init(&desc, &s->source[i], first ? &any : &s->packed, NULL, &s->target[i]) == dnnl_success &&
                dnnl_primitive_desc_create(&primitive_desc, &desc, attr, g->engine, NULL) == dnnl_success;
    if (made) {
        if (first)
            s->packed = *dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_weights_md, 0);
        s->scratch[i] = *dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_scratchpad_md, 0);
        made = dnnl_primitive_create(&s->product[i], primitive_desc) == dnnl_success;
    }
    dnnl_primitive_desc_destroy(primitive_desc);
    return made;
}

static bool make_pack(const gemm_bf16 *g, shape *s)
{
    dnnl_primitive_desc_t desc = NULL;
    const bool made = matrix_desc(&s->plain, s->n_in, s->width, dnnl_f32, dnnl_ab) &&
                      dnnl_reorder_primitive_desc_create(&desc, &s->plain, g->engine, &s->packed, g->engine, NULL) == dnnl_success &&
                      dnnl_primitive_create(&s->pack, desc) == dnnl_success;
    dnnl_primitive_desc_destroy(desc);
    return made;
}

static bool make_desk(const gemm_bf16 *g, const shape *s, desk *d)
{
    const size_t sources = aligned(GEMM_ROWS * s->n_in * sizeof *d->source), targets = GEMM_ROWS * s->width * sizeof *d->target;
    size_t scratch = 0;
    for (size_t i = 0; i < HEIGHTS; i++)
        scratch = dnnl_memory_desc_get_size(&s->scratch[i]) > scratch ? dnnl_memory_desc_get_size(&s->scratch[i]) : scratch;
    d->memory = kvant_alloc(sources + targets + scratch);
    bool made = d->memory;
    d->source = (uint16_t *)d->memory;
    d->target = made ? (float *)(d->memory + sources) : NULL;
    for (size_t i = 0; i < HEIGHTS && made; i++)
        made = dnnl_memory_create(&d->sources[i], &s->source[i], g->engine, d->source) == dnnl_success &&
               dnnl_memory_create(&d->targets[i], &s->target[i], g->engine, d->target) == dnnl_success &&
               dnnl_memory_create(&d->scratches[i], &s->scratch[i], g->engine, d->memory + sources + targets) == dnnl_success;
    return made;
}

static void free_shape(const gemm_bf16 *g, shape *s)
{
    for (int t = 0; t < g->threads && s->desks; t++) {
        for (size_t i = 0; i < HEIGHTS; i++) {
            dnnl_memory_destroy(s->desks[t].sources[i]);
            dnnl_memory_destroy(s->desks[t].targets[i]);
            dnnl_memory_destroy(s->desks[t].scratches[i]);
        }
        free(s->desks[t].memory);
    }
    free(s->desks);
    for (size_t i = 0; i < HEIGHTS; i++)
        dnnl_primitive_destroy(s->product[i]);
    dnnl_primitive_destroy(s->pack);
}

/* Primitives are made as for one thread: how oneDNN cuts a product, and so its sums, would else depend on their number. */
static bool make_shape(const gemm_bf16 *g, shape *s)
{
    dnnl_primitive_attr_t attr = NULL;
    bool made = dnnl_primitive_attr_create(&attr) == dnnl_success &&
                dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);                        /* of this region alone */
        for (size_t i = HEIGHTS; i-- > 0 && made;)
            made = make_product(g, s, i, attr);
        made = made && make_pack(g, s);
    }
    dnnl_primitive_attr_destroy(attr);
    return made;
}

static const shape *find_shape(const gemm_bf16 *g, size_t width, size_t n_in)
{
    for (size_t i = 0; i < g->n_shapes; i++)
        if (g->shapes[i].width == width && g->shapes[i].n_in == n_in)
            return &g->shapes[i];
    return NULL;
}

static kvant_status add_shape(gemm_bf16 *g, size_t width, size_t n_in, kvant_error *err)
{
    if (find_shape(g, width, n_in))
        return KVANT_OK;
    if (g->n_shapes == SHAPES)
        return kvant_fail(err, KVANT_INVALID, "bf16: more than %d shapes of matrices; use f32 or stream", SHAPES);
    shape *s = &g->shapes[g->n_shapes];
    *s = (shape){ .width = width, .n_in = n_in };
    kvant_status status = KVANT_OK;
    if (!make_shape(g, s))
        status = kvant_fail(err, KVANT_INVALID, "bf16: oneDNN has no such products for this processor (%s); use f32 or stream",
                            gemm_bf16_isa());
    s->desks = calloc((size_t)g->threads, sizeof *s->desks);
    bool made = s->desks;
    for (int t = 0; t < g->threads && made && !status; t++)
        made = make_desk(g, s, &s->desks[t]);
    if (!status && !made)
        status = kvant_fail(err, KVANT_NOMEM, "no memory for bf16 products on %d threads", g->threads);
    if (status)
        free_shape(g, s);
    else
        g->n_shapes++;
    return status;
}

kvant_status gemm_bf16_open(gemm_bf16 **products, kvant_error *err)
{
    gemm_bf16 *g = calloc(1, sizeof *g);
    *products = g;
    if (!g)
        return kvant_fail(err, KVANT_NOMEM, "no memory for bf16 products");
    g->threads = omp_get_max_threads() > 2 ? omp_get_max_threads() : 2;        /* as gemm_room_open */
    g->streams = calloc((size_t)g->threads, sizeof *g->streams);
    bool made = g->streams && dnnl_engine_create(&g->engine, dnnl_cpu, 0) == dnnl_success;
    for (int i = 0; i < g->threads && made; i++)
        made = dnnl_stream_create(&g->streams[i], g->engine, dnnl_stream_default_flags) == dnnl_success;
    return made ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "bf16: oneDNN cannot be set up");
}

void gemm_bf16_close(gemm_bf16 *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_shapes; i++)
        free_shape(g, &g->shapes[i]);
    for (int i = 0; i < g->threads && g->streams; i++)
        dnnl_stream_destroy(g->streams[i]);
    free(g->streams);
    dnnl_engine_destroy(g->engine);
    free(g);
}

/* ---- Matrices -------------------------------------------------------------------------------- */

static size_t panel_width(const gemm_matrix *w, size_t panel) { return min_size(WIDTH, w->n_out - panel * WIDTH); }

/* Unpacks, rounds and packs one panel. */
static bool pack_panel(const gemm_bf16 *g, gemm_matrix *w, size_t panel)
{
    const size_t width = panel_width(w, panel);
    const shape *s = find_shape(g, width, w->n_in);
    float *plain = kvant_alloc(gemm_unpack_bytes(w));
    dnnl_memory_t from = NULL;
    bool made = plain;
    if (made) {
        gemm_unpack(w, panel * WIDTH, width, plain);
        made = dnnl_memory_create(&from, &s->plain, g->engine, plain) == dnnl_success &&
               dnnl_memory_create(&w->packed[panel], &s->packed, g->engine, DNNL_MEMORY_ALLOCATE) == dnnl_success;
    }
    if (made) {
        const dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, w->packed[panel] } };
        dnnl_stream_t stream = g->streams[omp_get_thread_num()];
        made = dnnl_primitive_execute(s->pack, stream, 2, args) == dnnl_success && dnnl_stream_wait(stream) == dnnl_success;
    }
    dnnl_memory_destroy(from);
    free(plain);
    return made;
}

static int team(const gemm_bf16 *g) { return omp_get_max_threads() < g->threads ? omp_get_max_threads() : g->threads; }

kvant_status gemm_bf16_pack(gemm_bf16 *g, gemm_matrix *w, kvant_error *err)
{
    const size_t panels = (w->n_out + WIDTH - 1) / WIDTH;
    kvant_status status = add_shape(g, panel_width(w, 0), w->n_in, err);
    if (!status)
        status = add_shape(g, panel_width(w, panels - 1), w->n_in, err);
    if (status)
        return status;
    w->packed = calloc(panels, sizeof *w->packed);
    if (!w->packed)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a weight matrix of %zu x %zu", w->n_out, w->n_in);
    w->bf16 = g;
    int failed = 0;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team(g)) reduction(| : failed)
    for (size_t panel = 0; panel < panels; panel++)
        failed |= !pack_panel(g, w, panel);
    return failed ? kvant_fail(err, KVANT_NOMEM, "no memory for a weight matrix of %zu x %zu as bf16", w->n_out, w->n_in) : KVANT_OK;
}

void gemm_bf16_free(gemm_matrix *w)
{
    for (size_t i = 0; w->packed && i < (w->n_out + WIDTH - 1) / WIDTH; i++)
        dnnl_memory_destroy(w->packed[i]);
    free(w->packed);
}

/* Rounds a block of inputs; rows that only pad it are zero. */
static void round_rows(const desk *d, size_t height, const float *x, size_t ldx, size_t n, size_t n_in)
{
    for (size_t row = 0; row < n; row++)
        for (size_t k = 0; k < n_in; k++)
            d->source[row * n_in + k] = float_to_bf16(x[row * ldx + k]);
    memset(d->source + n * n_in, 0, (height - n) * n_in * sizeof *d->source);
}

void gemm_bf16_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy)
{
    const gemm_bf16 *g = w->bf16;
    const size_t panels = (w->n_out + WIDTH - 1) / WIDTH, blocks = (n + GEMM_ROWS - 1) / GEMM_ROWS;
#pragma omp parallel num_threads(team(g))
    {
        const int thread = omp_get_thread_num();
        const desk *rounded = NULL;        /* holds the inputs of block `last` */
        size_t last = 0;
#pragma omp for schedule(dynamic, 1)
        for (size_t task = 0; task < blocks * panels; task++) {
            const size_t block = task / panels, panel = task % panels, row = block * GEMM_ROWS, rows = min_size(GEMM_ROWS, n - row);
            const shape *s = find_shape(g, panel_width(w, panel), w->n_in);
            const desk *d = &s->desks[thread];
            size_t h = 0;
            while (heights[h] < rows)
                h++;
            if (d != rounded || block != last)
                round_rows(d, heights[h], x + row * ldx, ldx, rows, w->n_in);
            rounded = d;
            last = block;
            const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, d->sources[h] }, { DNNL_ARG_WEIGHTS, w->packed[panel] },
                                             { DNNL_ARG_DST, d->targets[h] }, { DNNL_ARG_SCRATCHPAD, d->scratches[h] } };
            /* Statuses speak of arguments, which are those that the primitive was made for. */
            dnnl_primitive_execute(s->product[h], g->streams[thread], 4, args);
            dnnl_stream_wait(g->streams[thread]);
            for (size_t i = 0; i < rows; i++)
                memcpy(y + (row + i) * ldy + panel * WIDTH, d->target + i * s->width, s->width * sizeof *y);
        }
    }
}
