/* forward.c - the forward pass of a batch of segments: matrix products over all rows at once, attention per segment and head.
 * Work is handed to threads in pieces that depend on the batch alone, so the number of threads changes no bit. */
#include "harness/lm/attention.h"
#include "harness/lm/dequant.h"
#include "harness/lm/internal.h"
#include "harness/lm/vecmath.h"
#include "harness/util.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* One forward pass: the batch and its rows of working memory. */
typedef struct {
    lm_model *model;
    lm_path path;
    const lm_segment *segments;
    size_t n_segments, n_rows, n_wanted;
    size_t *first_row;             /* [n_segments + 1] */
    uint32_t *position;            /* [n_rows] */
    int32_t *token;                /* [n_rows] */
    float *x, *normed;             /* [n_rows][n_embd]: residual stream, normed input of a part */
    float *qkv;                    /* [n_rows][q + 2 kv] */
    float *attended;               /* [n_rows][q], or an observer's queries */
    float *gate_up;                /* [n_rows][2 n_ff], or an observer's keys and values */
    float *cos, *sin;              /* [n_rope][n_rows][rope width / 2] */
    attention_side *sides;         /* [n_segments][n_kv_head][2], prefill only */
    float *side_rows;              /* their rows */
    size_t *side_first;            /* [n_segments * 2 + 1]: where a segment's side begins, in vectors per KV head */
    char *scratch;                 /* per thread */
    size_t scratch_bytes;
} pass;

/* ---- Setting up ------------------------------------------------------------------------------ */

static kvant_status check_batch(const lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, kvant_error *err)
{
    for (size_t i = 0; i < n_segments; i++) {
        const lm_segment *s = &segments[i];
        const kvcache_shape *c = &kvcache_codecs_of(s->cache)->shape;
        const uint32_t length = kvcache_length(s->cache), capacity = kvcache_capacity(s->cache);
        if (c->n_layer != m->shape.n_layer || c->n_kv_head != m->shape.n_kv_head || c->head_dim != m->shape.head_dim)
            return kvant_fail(err, KVANT_INVALID, "the cache was made for a model of another shape");
        if (s->n == 0 || (path == LM_DECODE && s->n > 1))
            return kvant_fail(err, KVANT_INVALID, "a segment of %u tokens; the decode path takes one at a time", s->n);
        if (s->n > capacity - length || length + s->n > m->context)
            return kvant_fail(err, KVANT_INVALID, "%u tokens do not fit behind %u: the cache holds %u, the context is %u", s->n,
                              length, capacity, m->context);
        for (uint32_t t = 0; t < s->n; t++)
            if (s->tokens[t] < 0 || (uint32_t)s->tokens[t] >= m->shape.n_vocab)
                return kvant_fail(err, KVANT_INVALID, "token id %d is outside the vocabulary of %u", s->tokens[t],
                                  m->shape.n_vocab);
        for (size_t j = 0; j < i; j++)
            if (segments[j].cache == s->cache)
                return kvant_fail(err, KVANT_INVALID, "two segments of one batch share a cache");
    }
    return KVANT_OK;
}

/* Bytes of scratch that any thread needs, and vectors per KV head of each segment's sides (both the most over all layers). */
static void size_attention(pass *p)
{
    const lm_shape *s = &p->model->shape;
    const uint32_t group = s->n_head / s->n_kv_head;
    size_t at = 0;
    p->scratch_bytes = 0;
    for (size_t i = 0; i < p->n_segments; i++) {
        const kvcache_codecs *codecs = kvcache_codecs_of(p->segments[i].cache);
        const uint32_t length = kvcache_length(p->segments[i].cache), n = p->segments[i].n;
        size_t rows[2] = { 0, 0 }, scratch = kvcache_scratch(codecs);
        if (p->path == LM_DECODE)
            scratch = attention_decode_scratch(codecs, group);
        for (uint32_t j = 0; j < s->n_layer * s->n_kv_head && p->path == LM_PREFILL; j++) {
            const uint32_t layer = j / s->n_kv_head, head = j % s->n_kv_head;
            const kvcache_rule k = kvcache_rule_of(codecs, layer, head, KVANT_KEY), v = kvcache_rule_of(codecs, layer, head, KVANT_VALUE);
            const size_t block = attention_block_scratch(&k, &v, length, n, group, s->head_dim);
            const size_t key_rows = attention_side_rows(&k, length, n), value_rows = attention_side_rows(&v, length, n);
            scratch = block > scratch ? block : scratch;
            rows[0] = key_rows > rows[0] ? key_rows : rows[0];
            rows[1] = value_rows > rows[1] ? value_rows : rows[1];
        }
        p->scratch_bytes = scratch > p->scratch_bytes ? scratch : p->scratch_bytes;
        p->side_first[2 * i] = at;
        p->side_first[2 * i + 1] = at += rows[0];
        at += rows[1];
    }
    p->side_first[2 * p->n_segments] = at;
    p->scratch_bytes = (p->scratch_bytes + 63) & ~(size_t)63;
}

/* Lays the arrays out in the model's working memory, in two rounds: the first only counts. */
static size_t lay_out(pass *p, char *memory)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim, pairs = s->rope.width / 2;
    size_t used = 0;
#define PLACE(array, count)                                                       \
    do {                                                                          \
        (array) = memory ? (void *)(memory + used) : NULL;                        \
        used += (((size_t)(count) * sizeof *(array)) + 63) & ~(size_t)63;         \
    } while (0)
    PLACE(p->x, p->n_rows * s->n_embd);
    PLACE(p->normed, p->n_rows * s->n_embd);
    PLACE(p->qkv, p->n_rows * (q + 2 * kv));
    PLACE(p->attended, p->n_rows * q);
    PLACE(p->gate_up, p->n_rows * 2 * (s->n_ff > kv ? s->n_ff : kv));
    PLACE(p->cos, p->model->n_rope * p->n_rows * pairs);
    PLACE(p->sin, p->model->n_rope * p->n_rows * pairs);
    PLACE(p->side_rows, p->side_first[2 * p->n_segments] * kv);
    PLACE(p->scratch, p->scratch_bytes * (size_t)omp_get_max_threads());
#undef PLACE
    return used;
}

static kvant_status set_up(pass *p, kvant_error *err)
{
    lm_model *m = p->model;
    p->first_row = calloc(p->n_segments + 1, sizeof *p->first_row);
    p->side_first = calloc(2 * p->n_segments + 1, sizeof *p->side_first);
    p->sides = calloc(p->n_segments * m->shape.n_kv_head * 2, sizeof *p->sides);
    if (!p->first_row || !p->side_first || !p->sides)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %zu segments", p->n_segments);
    for (size_t i = 0; i < p->n_segments; i++) {
        p->first_row[i + 1] = p->first_row[i] + p->segments[i].n;
        for (uint32_t t = 0; t < p->segments[i].n; t++)
            p->n_wanted += p->segments[i].want && p->segments[i].want[t];
    }
    p->n_rows = p->first_row[p->n_segments];
    p->position = calloc(p->n_rows, sizeof *p->position);
    p->token = calloc(p->n_rows, sizeof *p->token);
    if (!p->position || !p->token)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %zu tokens", p->n_rows);
    for (size_t i = 0; i < p->n_segments; i++)
        for (uint32_t t = 0; t < p->segments[i].n; t++) {
            p->position[p->first_row[i] + t] = kvcache_length(p->segments[i].cache) + t;
            p->token[p->first_row[i] + t] = p->segments[i].tokens[t];
        }
    size_attention(p);
    const size_t bytes = lay_out(p, NULL);
    if (bytes > m->work_bytes) {
        free(m->work);
        m->work_bytes = 0;
        m->work = kvant_alloc(bytes);
        if (!m->work)
            return kvant_fail(err, KVANT_NOMEM, "no memory for the activations of %zu tokens (%.1f MiB)", p->n_rows,
                              (double)bytes / 1048576);
        m->work_bytes = bytes;
    }
    lay_out(p, m->work);
    return KVANT_OK;
}

static void tear_down(pass *p)
{
    free(p->first_row);
    free(p->side_first);
    free(p->sides);
    free(p->position);
    free(p->token);
}

/* ---- Parts of a layer ------------------------------------------------------------------------ */

static void embed(pass *p)
{
    const lm_model *m = p->model;
    const size_t n_embd = m->shape.n_embd, pairs = m->shape.rope.width / 2;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++) {
        /* Ids, shape and type were checked when the batch was taken and the model loaded. */
        dequant_rows(m->embedding, (size_t)p->token[row], 1, p->x + row * n_embd, NULL);
        for (size_t i = 0; i < n_embd; i++)
            p->x[row * n_embd + i] *= m->shape.embedding_scale;
        for (size_t r = 0; r < m->n_rope; r++)
            for (size_t j = 0; j < pairs; j++) {
                const double angle = p->position[row] * m->rope[r].frequency[j];
                const size_t at = (r * p->n_rows + row) * pairs + j;
                p->cos[at] = (float)cos(angle) * m->rope[r].magnitude;
                p->sin[at] = (float)sin(angle) * m->rope[r].magnitude;
            }
    }
}

/* y = x W^T + bias */
static void apply(const lm_linear *l, const float *x, size_t ldx, size_t n_rows, float *y, size_t ldy)
{
    gemm_apply(&l->weight, x, ldx, n_rows, y, ldy);
    if (!l->bias)
        return;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++)
        for (size_t i = 0; i < l->weight.n_out; i++)
            y[row * ldy + i] += l->bias[i];
}

static void norm_rows(const pass *p, const lm_norm *norm, const float *x, float *out, size_t n_rows)
{
    const lm_model *m = p->model;
    const size_t n = m->shape.n_embd;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++)
        if (m->arch->layer_norm)
            vec_layer_norm(out + row * n, x + row * n, norm->weight, norm->bias, n, m->shape.norm_eps);
        else
            vec_rms_norm(out + row * n, x + row * n, norm->weight, n, m->shape.norm_eps);
}

/* Norms of query and key heads, in place. */
static void norm_heads(const pass *p, const lm_layer *layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, row_floats = (s->n_head + 2 * (size_t)s->n_kv_head) * dim;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++)
        for (size_t head = 0; head < s->n_head + s->n_kv_head; head++) {
            float *x = p->qkv + row * row_floats + head * dim;
            vec_rms_norm(x, x, head < s->n_head ? layer->q_norm.weight : layer->k_norm.weight, dim, s->norm_eps);
        }
}

/* RoPE on queries and keys; the scale of the scores goes into the queries. */
static void rope_rows(const pass *p, const lm_layer *layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, width = s->rope.width, row_floats = (s->n_head + 2 * (size_t)s->n_kv_head) * dim;
    const bool half = s->rope.pairing == KVANT_ROPE_HALF;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++) {
        const size_t at = (layer->rope * p->n_rows + row) * (width / 2);
        for (size_t head = 0; head < s->n_head + s->n_kv_head; head++)
            vec_rotate(p->qkv + row * row_floats + head * dim, p->cos + at, p->sin + at, width, dim, half,
                       head < s->n_head ? s->attn_scale : 1);
    }
}

/* Floats `from` and on of every row of qkv, `n` of each, gathered. */
static const float *gather(const pass *p, size_t from, size_t n, float *out)
{
    const lm_shape *s = &p->model->shape;
    const size_t row_floats = (s->n_head + 2 * (size_t)s->n_kv_head) * s->head_dim;
    for (size_t row = 0; row < p->n_rows; row++)
        memcpy(out + row * n, p->qkv + row * row_floats + from, n * sizeof *out);
    return out;
}

/* What an observer sees is laid out in memory that is free until the MLP, or until attention. */
static void observe_layer(const pass *p, const lm_observer *observe, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    const float *k = gather(p, q, kv, p->gate_up), *v = gather(p, q + kv, kv, p->gate_up + p->n_rows * kv);
    observe->kv(observe->user, layer, k, v, p->n_rows);
    if (observe->queries)
        observe->queries(observe->user, layer, gather(p, 0, q, p->attended), p->n_rows);
}

static void observe_unrotated(const pass *p, const lm_observer *observe, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    observe->unrotated(observe->user, layer, gather(p, q, kv, p->gate_up), p->n_rows);
}

static attention_limits limits_of(const pass *p, uint32_t layer)
{
    return (attention_limits){ .window = p->model->layers[layer].window, .cap = p->model->shape.attn_cap };
}

static void *scratch_of(const pass *p) { return p->scratch + p->scratch_bytes * (size_t)omp_get_thread_num(); }

static void attend_decode(const pass *p, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, kv = s->n_kv_head * dim, q = s->n_head * dim, group = s->n_head / s->n_kv_head;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < p->n_segments * s->n_kv_head; task++) {
        const size_t row = task / s->n_kv_head, head = task % s->n_kv_head;
        const float *at = p->qkv + row * (q + 2 * kv);
        attention_decode(p->segments[row].cache, layer, (uint32_t)head, at + q + head * dim, at + q + kv + head * dim,
                         at + head * group * dim, (uint32_t)group, limits_of(p, layer), p->attended + row * q + head * group * dim,
                         scratch_of(p));
    }
}

/* Appends and expands both sides of every segment and head. */
static void extend_all(const pass *p, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, kv = s->n_kv_head * dim, q = s->n_head * dim, heads = s->n_kv_head;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < p->n_segments * heads * 2; task++) {
        const size_t i = task / (heads * 2), head = task / 2 % heads, side = task % 2;
        const size_t begin = p->side_first[2 * i + side], rows = p->side_first[2 * i + side + 1] - begin;
        const float *x = p->qkv + p->first_row[i] * (q + 2 * kv) + q + side * kv + head * dim;
        attention_extend(p->segments[i].cache, layer, (uint32_t)head, side ? KVANT_VALUE : KVANT_KEY, x, q + 2 * kv,
                         p->segments[i].n, p->side_rows + (begin * heads + head * rows) * dim, &p->sides[task], scratch_of(p));
    }
}

static void attend_prefill(const pass *p, uint32_t layer, size_t segment)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, kv = s->n_kv_head * dim, q = s->n_head * dim, heads = s->n_kv_head, group = s->n_head / heads;
    const uint32_t n = p->segments[segment].n, first = kvcache_length(p->segments[segment].cache);
    const size_t blocks = (n + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < blocks * heads; task++) {
        /* Long blocks first, so that the threads end together. */
        const size_t block = blocks - 1 - task / heads, head = task % heads;
        const uint32_t begin = (uint32_t)(block * ATTENTION_QUERIES), m = n - begin < ATTENTION_QUERIES ? n - begin : ATTENTION_QUERIES;
        const attention_side *side = &p->sides[(segment * heads + head) * 2];
        const size_t row = p->first_row[segment] + begin;
        attention_block(&side[0], &side[1], first + begin, m, (uint32_t)group, limits_of(p, layer),
                        p->qkv + row * (q + 2 * kv) + head * group * dim, q + 2 * kv, p->attended + row * q + head * group * dim, q,
                        scratch_of(p));
    }
}

/* Moves the wanted rows of the residual stream and of the attention's result to the front. */
static size_t keep_wanted(const pass *p)
{
    const lm_shape *s = &p->model->shape;
    const size_t n_embd = s->n_embd, q = (size_t)s->n_head * s->head_dim;
    size_t kept = 0;
    for (size_t i = 0; i < p->n_segments; i++)
        for (uint32_t t = 0; t < p->segments[i].n; t++) {
            if (!p->segments[i].want || !p->segments[i].want[t])
                continue;
            const size_t row = p->first_row[i] + t;
            memmove(p->x + kept * n_embd, p->x + row * n_embd, n_embd * sizeof *p->x);
            memmove(p->attended + kept * q, p->attended + row * q, q * sizeof *p->attended);
            kept++;
        }
    return kept;
}

/* x += what the product gives of `input`, normed and scaled as the architecture wants it, by way of `normed`. */
static void add_product(const pass *p, const lm_linear *l, const lm_norm *post, const float *input, size_t ld, size_t n_rows)
{
    const size_t n_embd = p->model->shape.n_embd;
    const float scale = p->model->shape.residual_scale;
    apply(l, input, ld, n_rows, p->normed, n_embd);
    if (post->weight)
        norm_rows(p, post, p->normed, p->normed, n_rows);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++)
        for (size_t i = 0; i < n_embd; i++)
            p->x[row * n_embd + i] += p->normed[row * n_embd + i] * scale;
}

static void activate(const pass *p, size_t n_rows, size_t ld)
{
    const size_t n_ff = p->model->shape.n_ff;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++) {
        float *gate = p->gate_up + row * ld;
        switch (p->model->arch->activation) {
        case LM_SILU_GATED: vec_silu_mul(gate, gate + n_ff, n_ff); break;
        case LM_GELU_GATED: vec_gelu_mul(gate, gate + n_ff, n_ff); break;
        case LM_GELU: vec_gelu_mul(gate, NULL, n_ff); break;
        }
    }
}

/* Adds what attention and MLP give. In parallel, the MLP reads the residual stream before attention is added. */
static void add_parts(const pass *p, const lm_layer *layer, size_t n_rows, lm_times *times)
{
    const lm_shape *s = &p->model->shape;
    const size_t ups = layer->up.weight.n_out, q = (size_t)s->n_head * s->head_dim;
    const bool parallel = p->model->arch->parallel;
    const double t0 = seconds_now();
    if (!parallel)
        add_product(p, &layer->attn_out, &layer->attn_post_norm, p->attended, q, n_rows);
    const double t1 = seconds_now();
    norm_rows(p, parallel ? &layer->attn_norm : &layer->ffn_norm, p->x, p->normed, n_rows);
    const double t2 = seconds_now();
    apply(&layer->up, p->normed, s->n_embd, n_rows, p->gate_up, ups);
    const double t3 = seconds_now();
    activate(p, n_rows, ups);
    const double t4 = seconds_now();
    if (parallel)
        add_product(p, &layer->attn_out, &layer->attn_post_norm, p->attended, q, n_rows);
    add_product(p, &layer->down, &layer->ffn_post_norm, p->gate_up, ups, n_rows);
    times->rest += t2 - t1 + t4 - t3;
    times->matmul += t1 - t0 + t3 - t2 + seconds_now() - t4;
}

static void run_layer(const pass *p, uint32_t index, const lm_observer *observe, lm_times *times)
{
    const lm_shape *s = &p->model->shape;
    const lm_layer *layer = &p->model->layers[index];
    const size_t q = (size_t)s->n_head * s->head_dim, row_floats = q + 2 * (size_t)s->n_kv_head * s->head_dim;
    const bool last = index + 1 == s->n_layer;
    const double t0 = seconds_now();
    norm_rows(p, &layer->attn_norm, p->x, p->normed, p->n_rows);
    const double t1 = seconds_now();
    apply(&layer->qkv, p->normed, s->n_embd, p->n_rows, p->qkv, row_floats);
    const double t2 = seconds_now();
    if (layer->q_norm.weight)
        norm_heads(p, layer);
    if (observe && observe->unrotated)
        observe_unrotated(p, observe, index);
    rope_rows(p, layer);
    if (observe)
        observe_layer(p, observe, index);
    const double t3 = seconds_now();
    double t4 = t3;
    if (p->path == LM_DECODE) {
        attend_decode(p, index);
    } else {
        extend_all(p, index);
        t4 = seconds_now();
        for (size_t i = 0; i < p->n_segments; i++)
            attend_prefill(p, index, i);
    }
    const double t5 = seconds_now();
    const size_t n_rows = last ? keep_wanted(p) : p->n_rows;
    times->rest += t1 - t0 + t3 - t2;
    times->encode += t4 - t3;
    times->attention += t5 - t4;
    times->matmul += t2 - t1;
    if (n_rows > 0)
        add_parts(p, layer, n_rows, times);
}

/* ---- Public ---------------------------------------------------------------------------------- */

kvant_status lm_forward_hidden(lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, float *hidden,
                               const lm_observer *observe, kvant_error *err)
{
    if (n_segments == 0)
        return KVANT_OK;
    kvant_status status = check_batch(m, path, segments, n_segments, err);
    if (status != KVANT_OK)
        return status;
    pass p = { .model = m, .path = path, .segments = segments, .n_segments = n_segments };
    status = set_up(&p, err);
    if (status == KVANT_OK) {
        const double start = seconds_now();
        embed(&p);
        m->times.rest += seconds_now() - start;
        for (uint32_t layer = 0; layer < m->shape.n_layer && status == KVANT_OK; layer++) {
            run_layer(&p, layer, observe, &m->times);
            for (size_t i = 0; i < n_segments && status == KVANT_OK; i++)
                status = kvcache_trained(segments[i].cache, err);
            if (status == KVANT_OK && interrupted())
                status = kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        }
    }
    if (status == KVANT_OK) {
        if (p.n_wanted > 0)
            norm_rows(&p, &m->output_norm, p.x, hidden, p.n_wanted);
        for (size_t i = 0; i < n_segments; i++)
            kvcache_advance(segments[i].cache, segments[i].n);
        m->times.tokens += p.n_rows;
    }
    tear_down(&p);
    return status;
}

void lm_logits(lm_model *m, const float *hidden, size_t n, float *logits)
{
    const double start = seconds_now();
    const size_t n_vocab = m->shape.n_vocab;
    const float scale = m->shape.logit_scale, cap = m->shape.logit_cap;
    apply(&m->output, hidden, m->shape.n_embd, n, logits, n_vocab);
    if (scale < 1 || scale > 1 || cap > 0) {
#pragma omp parallel for schedule(static)
        for (size_t row = 0; row < n; row++) {
            for (size_t i = 0; i < n_vocab; i++)
                logits[row * n_vocab + i] *= scale;
            if (cap > 0)
                vec_soft_cap(logits + row * n_vocab, n_vocab, cap);
        }
    }
    m->times.matmul += seconds_now() - start;
}

kvant_status lm_forward(lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, float *logits,
                        const lm_observer *observe, kvant_error *err)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n_segments; i++)
        for (uint32_t t = 0; t < segments[i].n; t++)
            wanted += segments[i].want && segments[i].want[t];
    float *hidden = kvant_alloc((wanted + 1) * m->shape.n_embd * sizeof *hidden);
    if (!hidden)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu rows of the last layer", wanted);
    const kvant_status status = lm_forward_hidden(m, path, segments, n_segments, hidden, observe, err);
    if (status == KVANT_OK && wanted > 0)
        lm_logits(m, hidden, wanted, logits);
    free(hidden);
    return status;
}
