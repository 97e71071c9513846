/* layer.c - one layer of the transformer over all rows of a batch: matrix products at once, attention per segment and head.
 * Work is handed to threads in pieces that depend on the batch alone, so the number of threads changes no bit. */
#include "harness/lm/pass.h"
#include "harness/lm/vecmath.h"
#include "harness/util.h"

#include <omp.h>
#include <string.h>

void lm_apply(const lm_linear *l, const float *x, size_t ldx, size_t n_rows, float *y, size_t ldy)
{
    gemm_apply(&l->weight, x, ldx, n_rows, y, ldy);
    if (!l->bias)
        return;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++)
        for (size_t i = 0; i < l->weight.n_out; i++)
            y[row * ldy + i] += l->bias[i];
}

void lm_norm_rows(const lm_pass *p, const lm_norm *norm, const float *x, float *out, size_t n_rows)
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

/* What a part reads: the residual stream, normed by way of `normed` unless the architecture reads it as it is. */
static const float *input_of(const lm_pass *p, const lm_norm *norm, size_t n_rows)
{
    if (!norm->weight)
        return p->x;
    lm_norm_rows(p, norm, p->x, p->normed, n_rows);
    return p->normed;
}

/* Norms of query and key heads, in place: of every head, or of all queries and all keys of a row. */
static void norm_heads(const lm_pass *p, const lm_layer *layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, q = s->n_head * dim, kv = s->n_kv_head * dim, row_floats = q + 2 * kv;
    const bool wide = p->model->arch->wide_qk_norm;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++)
        for (size_t at = 0, n; at < q + kv; at += n) {
            float *x = p->qkv + row * row_floats + at;
            n = !wide ? dim : at < q ? q : kv;
            vec_rms_norm(x, x, at < q ? layer->q_norm.weight : layer->k_norm.weight, n, s->norm_eps);
        }
}

/* RoPE on queries, and on keys but for caches that take them before it; the scale of the scores goes into the queries. */
static void rope_rows(const lm_pass *p, const lm_layer *layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, width = s->rope.width, row_floats = (s->n_head + 2 * (size_t)s->n_kv_head) * dim;
    const bool half = s->rope.pairing == KVANT_ROPE_HALF;
    const lm_rope *rope = &p->model->rope[layer->rope];
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++) {
        const size_t at = (size_t)p->position[row] * (width / 2), heads = s->n_head + (p->unrotated[row] ? 0 : s->n_kv_head);
        for (size_t head = 0; head < heads; head++)
            vec_rotate(p->qkv + row * row_floats + head * dim, rope->cos + at, rope->sin + at, width, dim, half,
                       head < s->n_head ? s->attn_scale : 1);
    }
}

/* RoPE on a copy of the keys, where the cache takes them before it. */
static void rope_copy(const lm_pass *p, const lm_layer *layer, float *k)
{
    const lm_shape *s = &p->model->shape;
    const lm_rope *rope = &p->model->rope[layer->rope];
    const size_t dim = s->head_dim, width = s->rope.width;
    for (size_t row = 0; row < p->n_rows; row++) {
        const size_t at = (size_t)p->position[row] * (width / 2);
        for (size_t head = 0; p->unrotated[row] && head < s->n_kv_head; head++)
            vec_rotate(k + (row * s->n_kv_head + head) * dim, rope->cos + at, rope->sin + at, width, dim,
                       s->rope.pairing == KVANT_ROPE_HALF, 1);
    }
}

/* Floats `from` and on of every row of qkv, `n` of each, gathered. */
static const float *gather(const lm_pass *p, size_t from, size_t n, float *out)
{
    const lm_shape *s = &p->model->shape;
    const size_t row_floats = (s->n_head + 2 * (size_t)s->n_kv_head) * s->head_dim;
    for (size_t row = 0; row < p->n_rows; row++)
        memcpy(out + row * n, p->qkv + row * row_floats + from, n * sizeof *out);
    return out;
}

/* What an observer sees is laid out in memory that is free until the MLP, or until attention. */
static void observe_layer(const lm_pass *p, const lm_observer *observe, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    if (observe->kv) {
        const float *k = gather(p, q, kv, p->gate_up), *v = gather(p, q + kv, kv, p->gate_up + p->n_rows * kv);
        rope_copy(p, &p->model->layers[layer], p->gate_up);
        observe->kv(observe->user, layer, k, v, p->n_rows);
    }
    if (observe->queries)
        observe->queries(observe->user, layer, gather(p, 0, q, p->attended), p->n_rows);
}

static void observe_unrotated(const lm_pass *p, const lm_observer *observe, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    observe->unrotated(observe->user, layer, gather(p, q, kv, p->gate_up), p->n_rows);
}

static attention_layer attention_of(const lm_pass *p, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const lm_rope *rope = &p->model->rope[p->model->layers[layer].rope];
    return (attention_layer){ .cap = s->attn_cap,
                              .rope = { rope->cos, rope->sin, s->rope.width, s->rope.pairing == KVANT_ROPE_HALF } };
}

static void *scratch_of(const lm_pass *p) { return p->scratch + p->scratch_bytes * (size_t)omp_get_thread_num(); }

/* The first head of the first segment is timed by parts: a look at the clock for each tile of it costs next to nothing. */
static attention_split attend_decode(const lm_pass *p, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, kv = s->n_kv_head * dim, q = s->n_head * dim, group = s->n_head / s->n_kv_head;
    attention_split split = { 0 };
    attention_layer of = attention_of(p, layer), timed = of;
    timed.split = &split;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < p->n_segments * s->n_kv_head; task++) {
        const size_t row = task / s->n_kv_head, head = task % s->n_kv_head;
        const float *at = p->qkv + row * (q + 2 * kv);
        attention_decode(p->segments[row].cache, layer, (uint32_t)head, at + q + head * dim, at + q + kv + head * dim,
                         at + head * group * dim, (uint32_t)group, task ? &of : &timed,
                         p->attended + row * q + head * group * dim, scratch_of(p));
    }
    return split;
}

/* Appends and expands both sides of every segment and head. */
static void extend_all(const lm_pass *p, uint32_t layer)
{
    const lm_shape *s = &p->model->shape;
    const size_t dim = s->head_dim, kv = s->n_kv_head * dim, q = s->n_head * dim, heads = s->n_kv_head;
    const attention_layer of = attention_of(p, layer);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < p->n_segments * heads * 2; task++) {
        const size_t i = task / (heads * 2), head = task / 2 % heads, side = task % 2;
        const size_t begin = p->side_first[2 * i + side], rows = p->side_first[2 * i + side + 1] - begin;
        const float *x = p->qkv + p->first_row[i] * (q + 2 * kv) + q + side * kv + head * dim;
        attention_extend(p->segments[i].cache, layer, (uint32_t)head, side ? KVANT_VALUE : KVANT_KEY, x, q + 2 * kv,
                         p->segments[i].n, &of.rope, p->side_rows + (begin * heads + head * rows) * dim, &p->sides[task], scratch_of(p));
    }
}

static void attend_prefill(const lm_pass *p, size_t segment)
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
        attention_block(&side[0], &side[1], first + begin, m, (uint32_t)group, s->attn_cap,
                        p->qkv + row * (q + 2 * kv) + head * group * dim, q + 2 * kv, p->attended + row * q + head * group * dim, q,
                        scratch_of(p));
    }
}

/* Moves the wanted rows of the residual stream and of the attention's result to the front. */
static size_t keep_wanted(const lm_pass *p)
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

/* x += `normed`, itself normed and scaled as the architecture wants it. */
static void add_part(const lm_pass *p, const lm_norm *post, size_t n_rows)
{
    const size_t n_embd = p->model->shape.n_embd;
    const float scale = p->model->shape.residual_scale;
    if (post->weight)
        lm_norm_rows(p, post, p->normed, p->normed, n_rows);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++)
        for (size_t i = 0; i < n_embd; i++)
            p->x[row * n_embd + i] += p->normed[row * n_embd + i] * scale;
}

static void add_product(const lm_pass *p, const lm_linear *l, const lm_norm *post, const float *input, size_t ld, size_t n_rows)
{
    lm_apply(l, input, ld, n_rows, p->normed, p->model->shape.n_embd);
    add_part(p, post, n_rows);
}

void lm_activate(const lm_pass *p, size_t n_rows, size_t ld)
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
static void add_parts(const lm_pass *p, const lm_layer *layer, size_t n_rows, lm_times *times)
{
    const lm_shape *s = &p->model->shape;
    const size_t ups = layer->up.weight.n_out, q = (size_t)s->n_head * s->head_dim;
    const bool parallel = p->model->arch->parallel;
    const double t0 = seconds_now();
    if (!parallel)
        add_product(p, &layer->attn_out, &layer->attn_post_norm, p->attended, q, n_rows);
    const double t1 = seconds_now();
    const float *input = input_of(p, parallel ? &layer->attn_norm : &layer->ffn_norm, n_rows);
    const double t2 = seconds_now();
    times->matmul += t1 - t0;
    times->rest += t2 - t1;
    if (layer->experts) {
        lm_run_experts(p, layer, input, n_rows, times);
        add_part(p, &layer->ffn_post_norm, n_rows);
        return;
    }
    lm_apply(&layer->up, input, s->n_embd, n_rows, p->gate_up, ups);
    const double t3 = seconds_now();
    lm_activate(p, n_rows, ups);
    const double t4 = seconds_now();
    if (parallel)
        add_product(p, &layer->attn_out, &layer->attn_post_norm, p->attended, q, n_rows);
    add_product(p, &layer->down, &layer->ffn_post_norm, p->gate_up, ups, n_rows);
    times->rest += t4 - t3;
    times->matmul += t3 - t2 + seconds_now() - t4;
}

void lm_run_layer(const lm_pass *p, uint32_t index, const lm_observer *observe, lm_times *times)
{
    const lm_shape *s = &p->model->shape;
    const lm_layer *layer = &p->model->layers[index];
    const size_t q = (size_t)s->n_head * s->head_dim, row_floats = q + 2 * (size_t)s->n_kv_head * s->head_dim;
    const bool last = index + 1 == s->n_layer;
    if (observe && observe->residual)
        observe->residual(observe->user, index, p->x, p->n_rows);
    const double t0 = seconds_now();
    const float *input = input_of(p, &layer->attn_norm, p->n_rows);
    const double t1 = seconds_now();
    lm_apply(&layer->qkv, input, s->n_embd, p->n_rows, p->qkv, row_floats);
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
        /* The time of all heads goes to parts as that of one did. */
        const attention_split split = attend_decode(p, index);
        const double share = (seconds_now() - t3) / (split.all > 0 ? split.all : 1);
        t4 = t3 + share * split.encode;
        times->score += share * split.score;
        times->mix += share * split.mix;
    } else {
        extend_all(p, index);
        t4 = seconds_now();
        for (size_t i = 0; i < p->n_segments; i++)
            attend_prefill(p, i);
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
