/* model.c - loads a GGUF transformer: dequantises the weights that its architecture has into oneDNN panels, or notes where they are.
 * A tensor that this code would not use is an error: silently ignored weights make silently wrong logits. */
#include "harness/lm/internal.h"

#include "harness/lm/dequant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Weights --------------------------------------------------------------------------------- */

/* What a file's tensors are for: a tensor that nobody asked for makes the file unsupported. */
typedef struct { lm_model *model; uint8_t *used; kvant_error *err; } loader;

static kvant_status find_tensor(loader *l, const char *name, uint64_t columns, uint64_t rows, uint64_t slices,
                                const gguf_tensor **tensor)
{
    const char *path = gguf_path(l->model->file);
    const gguf_tensor *t = gguf_tensor_find(l->model->file, name);
    if (!t)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s is missing", path, name);
    if (t->ne[0] != columns || t->ne[1] != rows || t->ne[2] != slices || t->ne[3] != 1)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s is %llu x %llu x %llu, expected %llu x %llu x %llu", path, name,
                          (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                          (unsigned long long)columns, (unsigned long long)rows, (unsigned long long)slices);
    const ggml_type *type = ggml_type_find(t->type);
    if (!type || !type->row)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s has type %s, which is not supported", path, name,
                          type ? type->name : "unknown");
    l->used[t - gguf_tensor_at(l->model->file, 0)] = 1;
    *tensor = t;
    return KVANT_OK;
}

/* Fills values first ... first+n-1 of *x, which is made of `total` when it is not there yet. */
static kvant_status load_vector(loader *l, const char *name, float **x, size_t total, size_t first, size_t n)
{
    const gguf_tensor *t = NULL;
    kvant_status status = find_tensor(l, name, n, 1, 1, &t);
    if (status != KVANT_OK)
        return status;
    if (!*x) {
        *x = kvant_alloc(total * sizeof **x);
        if (!*x)
            return kvant_fail(l->err, KVANT_NOMEM, "no memory for %s", name);
        l->model->weight_bytes += total * sizeof **x;
    }
    return dequant_rows(t, 0, 1, *x + first, l->err);
}

/* Fills outputs out0 ... of w from `rows` rows of a tensor, row0 the first, panel by panel on all threads; when streamed, they are
 * filled later. */
static kvant_status fill_rows(loader *l, const gguf_tensor *t, size_t row0, gemm_matrix *w, size_t out0, size_t rows)
{
    if (l->model->weights != LM_WEIGHTS_F32) {
        kvant_status status = gemm_add_piece(w, &(gemm_piece){ .tensor = t, .row0 = row0, .out0 = out0, .n = rows }, l->err);
        return status || l->model->weights != LM_WEIGHTS_BF16 || w->covered < w->n_out ? status
               : gemm_bf16_pack(l->model->bf16, w, l->err);
    }
    /* Pieces end where panels end, since one panel takes one writer. */
    const size_t first_panel = out0 / GEMM_PANEL, last_panel = (out0 + rows - 1) / GEMM_PANEL;
    int failed = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(| : failed)
    for (size_t panel = first_panel; panel <= last_panel; panel++) {
        const size_t begin = panel * GEMM_PANEL > out0 ? panel * GEMM_PANEL : out0;
        const size_t end = (panel + 1) * GEMM_PANEL < out0 + rows ? (panel + 1) * GEMM_PANEL : out0 + rows;
        float *x = malloc((end - begin) * w->n_in * sizeof *x);
        if (x && dequant_rows(t, row0 + begin - out0, end - begin, x, NULL) == KVANT_OK)
            gemm_set_rows(w, begin, end - begin, x);
        else
            failed = 1;
        free(x);
    }
    return failed ? kvant_fail(l->err, KVANT_NOMEM, "no memory to unpack tensor %.*s", (int)t->name.bytes, t->name.data) : KVANT_OK;
}

static kvant_status make_matrix(loader *l, gemm_matrix *w, size_t total, size_t n_in)
{
    lm_model *m = l->model;
    if (w->n_out > 0)
        return KVANT_OK;
    m->weight_bytes += total * n_in * sizeof(float);
    return m->weights == LM_WEIGHTS_F32 ? gemm_init(w, total, n_in, l->err) : gemm_init_stream(w, total, n_in, &m->room, l->err);
}

/* Fills outputs first ... first+n-1 of a matrix, which is made of `total` when it is not there yet. */
static kvant_status load_matrix(loader *l, const char *name, gemm_matrix *w, size_t n_in, size_t total, size_t first, size_t n)
{
    const gguf_tensor *t = NULL;
    kvant_status status = find_tensor(l, name, n_in, n, 1, &t);
    if (status == KVANT_OK)
        status = make_matrix(l, w, total, n_in);
    return status == KVANT_OK ? fill_rows(l, t, 0, w, first, n) : status;
}

/* The router, and the experts from tensors that hold one slice for each. */
static kvant_status load_experts(loader *l, uint32_t index)
{
    static const char *const names[] = { "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight" };
    const lm_shape *s = &l->model->shape;
    lm_layer *y = &l->model->layers[index];
    const size_t e = s->n_embd, ff = s->n_ff;
    char name[64];
    snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", index);
    kvant_status status = load_matrix(l, name, &y->router.weight, e, s->n_expert, 0, s->n_expert);
    y->experts = calloc(s->n_expert, sizeof *y->experts);
    if (status == KVANT_OK && !y->experts)
        return kvant_fail(l->err, KVANT_NOMEM, "no memory for %u experts", s->n_expert);
    for (size_t part = 0; part < 3 && status == KVANT_OK; part++) {
        const bool down = part == 2;
        const size_t n_in = down ? ff : e, rows = down ? e : ff, total = down ? e : 2 * ff, first = part == 1 ? ff : 0;
        const gguf_tensor *t = NULL;
        snprintf(name, sizeof name, "blk.%u.%s", index, names[part]);
        status = find_tensor(l, name, n_in, rows, s->n_expert, &t);
        for (size_t i = 0; i < s->n_expert && status == KVANT_OK; i++) {
            gemm_matrix *w = down ? &y->experts[i].down.weight : &y->experts[i].up.weight;
            status = make_matrix(l, w, total, n_in);
            if (status == KVANT_OK)
                status = fill_rows(l, t, i * rows, w, first, rows);
        }
    }
    return status;
}

static bool has(const loader *l, uint32_t layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s", layer, part);
    return gguf_tensor_find(l->model->file, name) != NULL;
}

static kvant_status load_layer(loader *l, uint32_t index)
{
    const lm_shape *s = &l->model->shape;
    const lm_arch *a = l->model->arch;
    lm_layer *y = &l->model->layers[index];
    const size_t e = s->n_embd, d = s->head_dim, q = s->n_head * d, kv = s->n_kv_head * d, qkv = q + 2 * kv, ff = s->n_ff;
    const bool gated = a->activation != LM_GELU, one_qkv = has(l, index, "attn_qkv.weight"), mlp = !a->experts;
    const bool one_up = gated && !has(l, index, "ffn_gate.weight"), wide = a->wide_qk_norm;
    const size_t q_norm = wide ? q : d, k_norm = wide ? kv : d;
    const size_t ups = gated ? 2 * ff : ff, up = gated && !one_up ? ff : 0;      /* rows, and the first that ffn_up fills */
    /* Each is a vector or rows of a matrix of n_in columns: values first ... first+n-1 of `total`. */
    const struct { bool is_there; const char *name; float **vector; gemm_matrix *matrix; size_t n_in, total, first, n; } parts[] = {
        { !a->no_pre_norm, "attn_norm.weight", &y->attn_norm.weight, NULL, 0, e, 0, e },
        { a->layer_norm, "attn_norm.bias", &y->attn_norm.bias, NULL, 0, e, 0, e },
        { a->post_norm, "post_attention_norm.weight", &y->attn_post_norm.weight, NULL, 0, e, 0, e },
        { !a->parallel && !a->no_pre_norm, "ffn_norm.weight", &y->ffn_norm.weight, NULL, 0, e, 0, e },
        { a->post_norm, "post_ffw_norm.weight", &y->ffn_post_norm.weight, NULL, 0, e, 0, e },
        { a->qk_norm || wide, "attn_q_norm.weight", &y->q_norm.weight, NULL, 0, q_norm, 0, q_norm },
        { a->qk_norm || wide, "attn_k_norm.weight", &y->k_norm.weight, NULL, 0, k_norm, 0, k_norm },
        { one_qkv, "attn_qkv.weight", NULL, &y->qkv.weight, e, qkv, 0, qkv },
        { !one_qkv, "attn_q.weight", NULL, &y->qkv.weight, e, qkv, 0, q },
        { !one_qkv, "attn_k.weight", NULL, &y->qkv.weight, e, qkv, q, kv },
        { !one_qkv, "attn_v.weight", NULL, &y->qkv.weight, e, qkv, q + kv, kv },
        { a->qkv_bias && one_qkv, "attn_qkv.bias", &y->qkv.bias, NULL, 0, qkv, 0, qkv },
        { a->qkv_bias && !one_qkv, "attn_q.bias", &y->qkv.bias, NULL, 0, qkv, 0, q },
        { a->qkv_bias && !one_qkv, "attn_k.bias", &y->qkv.bias, NULL, 0, qkv, q, kv },
        { a->qkv_bias && !one_qkv, "attn_v.bias", &y->qkv.bias, NULL, 0, qkv, q + kv, kv },
        { true, "attn_output.weight", NULL, &y->attn_out.weight, q, e, 0, e },
        { a->other_bias, "attn_output.bias", &y->attn_out.bias, NULL, 0, e, 0, e },
        { mlp && gated && !one_up, "ffn_gate.weight", NULL, &y->up.weight, e, ups, 0, ff },
        { mlp, "ffn_up.weight", NULL, &y->up.weight, e, ups, up, ups - up },
        { a->other_bias, "ffn_up.bias", &y->up.bias, NULL, 0, ups, up, ups - up },
        { mlp, "ffn_down.weight", NULL, &y->down.weight, ff, e, 0, e },
        { a->other_bias, "ffn_down.bias", &y->down.bias, NULL, 0, e, 0, e },
    };
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == KVANT_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", index, parts[i].name);
        if (parts[i].is_there && parts[i].vector)
            status = load_vector(l, name, parts[i].vector, parts[i].total, parts[i].first, parts[i].n);
        else if (parts[i].is_there)
            status = load_matrix(l, name, parts[i].matrix, parts[i].n_in, parts[i].total, parts[i].first, parts[i].n);
    }
    return status == KVANT_OK && a->experts ? load_experts(l, index) : status;
}

static kvant_status load_weights(loader *l)
{
    lm_model *m = l->model;
    const lm_shape *s = &m->shape;
    const size_t e = s->n_embd, v = s->n_vocab;
    kvant_status status = find_tensor(l, "token_embd.weight", e, v, 1, &m->embedding);
    if (status == KVANT_OK && m->weights == LM_WEIGHTS_BF16)
        status = gemm_bf16_open(&m->bf16, l->err);
    if (status == KVANT_OK)
        status = load_vector(l, "output_norm.weight", &m->output_norm.weight, e, 0, e);
    if (status == KVANT_OK && m->arch->layer_norm)
        status = load_vector(l, "output_norm.bias", &m->output_norm.bias, e, 0, e);
    if (status == KVANT_OK)
        status = load_matrix(l, s->tied ? "token_embd.weight" : "output.weight", &m->output.weight, e, v, 0, v);
    if (status == KVANT_OK && m->arch->other_bias)
        status = load_vector(l, "output.bias", &m->output.bias, v, 0, v);
    for (uint32_t i = 0; i < s->n_layer && status == KVANT_OK; i++) {
        status = load_layer(l, i);
        if (m->weights != LM_WEIGHTS_STREAM)
            gguf_forget(m->file);      /* the quantized form of what is unpacked now */
    }
    return status || m->weights != LM_WEIGHTS_STREAM ? status : gemm_room_open(&m->room, l->err);
}

/* Nothing may be left over but RoPE's divisors, of which the context chose one. */
static kvant_status check_used(const loader *l)
{
    static const char *const divisors[] = { "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight" };
    const lm_model *m = l->model;
    const size_t first = m->arch->factors == LM_FACTORS_LONG_SHORT ? 1 : 0;
    const size_t after = m->arch->factors == LM_FACTORS_LONG_SHORT ? 3 : m->arch->factors == LM_FACTORS_ONE ? 1 : 0;
    for (size_t i = first; i < after; i++) {
        const gguf_tensor *t = gguf_tensor_find(m->file, divisors[i]);
        if (t)
            l->used[t - gguf_tensor_at(m->file, 0)] = 1;
    }
    for (size_t i = 0; i < gguf_n_tensors(m->file); i++)
        if (!l->used[i]) {
            const gguf_string name = gguf_tensor_at(m->file, i)->name;
            return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %.*s is not part of architecture %s as this engine knows it",
                              gguf_path(m->file), (int)(name.bytes < 200 ? name.bytes : 200), name.data, m->shape.arch);
        }
    return KVANT_OK;
}

/* ---- Open and close -------------------------------------------------------------------------- */

kvant_status lm_open(const char *path, uint32_t context, lm_model **model, kvant_error *err)
{
    return lm_open_as(path, context, LM_WEIGHTS_F32, model, err);
}

kvant_status lm_open_as(const char *path, uint32_t context, lm_weights weights, lm_model **model, kvant_error *err)
{
    lm_model *m = calloc(1, sizeof *m);
    if (!m)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a model");
    m->weights = weights;
    kvant_status status = gguf_open(path, &m->file, err);
    if (status == KVANT_OK)
        status = lm_read_shape(m->file, &m->shape, err);
    if (status == KVANT_OK && context > m->shape.n_context)
        status = kvant_fail(err, KVANT_INVALID, "%s: %u tokens asked for, but the model's context is %u", path, context,
                            m->shape.n_context);
    m->context = context ? context : m->shape.n_context;
    if (status == KVANT_OK)
        m->arch = lm_arch_find(m->file, m->shape.arch, err);
    if (status == KVANT_OK)
        status = lm_rope_init(m, err);
    loader l = { .model = m, .err = err };
    if (status == KVANT_OK) {
        m->layers = calloc(m->shape.n_layer, sizeof *m->layers);
        l.used = calloc(gguf_n_tensors(m->file), 1);
        status = m->layers && l.used ? load_weights(&l) : kvant_fail(err, KVANT_NOMEM, "no memory for a model");
        if (status == KVANT_OK)
            status = check_used(&l);
        for (uint32_t i = 0; status == KVANT_OK && i < m->shape.n_layer; i++)
            m->layers[i].rope = kvcache_sliding_of(&m->shape.sliding, i) ? m->n_rope - 1 : 0;
    }
    free(l.used);
    if (status == KVANT_OK) {
        status = tokenizer_open(m->file, &m->tokenizer, &m->tokenizer_error);
        if (status == KVANT_SKIP)
            status = KVANT_OK;     /* runs from token ids; lm_tokenizer says why not from text */
        else if (status != KVANT_OK && err)
            *err = m->tokenizer_error;
    }
    if (status != KVANT_OK) {
        lm_close(m);
        return status;
    }
    *model = m;
    return KVANT_OK;
}

static void free_norm(lm_norm *n)
{
    free(n->weight);
    free(n->bias);
}

static void free_linear(lm_linear *p)
{
    gemm_free(&p->weight);
    free(p->bias);
}

void lm_close(lm_model *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; m->layers && i < m->shape.n_layer; i++) {
        lm_layer *layer = &m->layers[i];
        lm_norm *norms[] = { &layer->attn_norm, &layer->ffn_norm, &layer->attn_post_norm, &layer->ffn_post_norm, &layer->q_norm,
                             &layer->k_norm };
        lm_linear *products[] = { &layer->qkv, &layer->attn_out, &layer->up, &layer->down, &layer->router };
        for (size_t j = 0; j < sizeof norms / sizeof *norms; j++)
            free_norm(norms[j]);
        for (size_t j = 0; j < sizeof products / sizeof *products; j++)
            free_linear(products[j]);
        for (uint32_t j = 0; layer->experts && j < m->shape.n_expert; j++) {
            free_linear(&layer->experts[j].up);
            free_linear(&layer->experts[j].down);
        }
        free(layer->experts);
    }
    free(m->layers);
    free_norm(&m->output_norm);
    free_linear(&m->output);
    lm_rope_free(m);
    free(m->work);
    gemm_room_close(&m->room);
    gemm_bf16_close(m->bf16);
    tokenizer_close(m->tokenizer);
    gguf_close(m->file);
    free(m);
}

const lm_shape *lm_model_shape(const lm_model *m) { return &m->shape; }
const gguf *lm_file(const lm_model *m) { return m->file; }
uint64_t lm_weight_bytes(const lm_model *m) { return m->weight_bytes; }
lm_weights lm_weights_of(const lm_model *m) { return m->weights; }

static const char *const weights_names[] = { [LM_WEIGHTS_F32] = "f32", [LM_WEIGHTS_STREAM] = "stream", [LM_WEIGHTS_BF16] = "bf16" };

const char *lm_weights_name(lm_weights weights) { return weights_names[weights]; }

bool lm_weights_find(const char *name, lm_weights *weights)
{
    for (size_t i = 0; i < sizeof weights_names / sizeof *weights_names; i++)
        if (!strcmp(name, weights_names[i])) {
            *weights = (lm_weights)i;
            return true;
        }
    return false;
}

lm_times lm_times_of(const lm_model *m) { return m->times; }

kvcache_shape lm_cache_shape(const lm_shape *shape)
{
    return (kvcache_shape){ .n_layer = shape->n_layer, .n_kv_head = shape->n_kv_head, .head_dim = shape->head_dim,
                            .rope = shape->rope, .sliding = shape->sliding };
}

const tokenizer *lm_tokenizer(const lm_model *m, kvant_error *err)
{
    if (!m->tokenizer && err)
        *err = m->tokenizer_error;
    return m->tokenizer;
}
