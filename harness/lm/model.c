/* model.c - loads a GGUF transformer: reads its shape, dequantises its weights into oneDNN panels, prepares RoPE.
 * A tensor that this code would not use is an error: silently ignored weights make silently wrong logits. */
#include "harness/lm/internal.h"

#include "harness/lm/dequant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* ---- Shape ----------------------------------------------------------------------------------- */

static const char *const architectures[] = { "llama", NULL };

static kvant_status missing(const gguf *file, const char *key, kvant_error *err)
{
    return kvant_fail(err, KVANT_INVALID, "%s: key %s is missing or no number; the file cannot be run", gguf_path(file), key);
}

/* Reads ARCH.NAME; required when fallback is NULL. */
static kvant_status read_u32(const gguf *file, const char *arch, const char *name, const uint32_t *fallback, uint32_t *value,
                             kvant_error *err)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (gguf_get_u32(file, key, value))
        return KVANT_OK;
    if (!fallback || gguf_find(file, key))
        return missing(file, key, err);
    *value = *fallback;
    return KVANT_OK;
}

static kvant_status read_f32(const gguf *file, const char *arch, const char *name, const float *fallback, float *value,
                             kvant_error *err)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (gguf_get_f32(file, key, value) && isfinite(*value))
        return KVANT_OK;
    if (!fallback || gguf_find(file, key))
        return missing(file, key, err);
    *value = *fallback;
    return KVANT_OK;
}

static kvant_status check_shape(const gguf *file, const lm_shape *s, kvant_error *err)
{
    const char *wrong = s->n_layer == 0 || s->n_layer > 4096             ? "block_count"
                        : s->n_embd == 0 || s->n_embd > 1u << 20         ? "embedding_length"
                        : s->n_head == 0 || s->n_head > 4096             ? "attention.head_count"
                        : s->n_kv_head == 0 || s->n_head % s->n_kv_head  ? "attention.head_count_kv"
                        : s->head_dim < 8 || s->head_dim > 512           ? "attention.key_length"
                        : s->n_ff == 0 || s->n_ff > 1u << 22             ? "feed_forward_length"
                        : s->n_context == 0                              ? "context_length"
                        : s->rope.width % 2 || s->rope.width > s->head_dim ? "rope.dimension_count"
                        : !(s->norm_eps > 0)                             ? "attention.layer_norm_rms_epsilon"
                                                                         : NULL;
    if (wrong)
        return kvant_fail(err, KVANT_INVALID, "%s: %s.%s has a value that this engine cannot run (head_dim 8...512, even RoPE width)",
                          gguf_path(file), s->arch, wrong);
    return KVANT_OK;
}

kvant_status lm_read_shape(const gguf *file, lm_shape *shape, kvant_error *err)
{
    lm_shape s = { 0 };
    gguf_string arch = { 0 };
    if (!gguf_get_string(file, "general.architecture", &arch))
        return missing(file, "general.architecture", err);
    snprintf(s.arch, sizeof s.arch, "%.*s", (int)(arch.bytes < 31 ? arch.bytes : 31), arch.data);
    size_t known = 0;
    while (architectures[known] && strcmp(architectures[known], s.arch))
        known++;
    if (!architectures[known])
        return kvant_fail(err, KVANT_INVALID, "%s: architecture '%s' is not supported; supported: llama", gguf_path(file), s.arch);
    const gguf_tensor *embedding = gguf_tensor_find(file, "token_embd.weight");
    if (!embedding || embedding->n_dims != 2 || embedding->ne[1] > INT32_MAX || embedding->ne[1] == 0)
        return kvant_fail(err, KVANT_INVALID, "%s: tensor token_embd.weight is missing or no matrix", gguf_path(file));
    s.n_vocab = (uint32_t)embedding->ne[1];
    s.tied = !gguf_tensor_find(file, "output.weight");
    kvant_status status;
    if ((status = read_u32(file, s.arch, "block_count", NULL, &s.n_layer, err)) ||
        (status = read_u32(file, s.arch, "embedding_length", NULL, &s.n_embd, err)) ||
        (status = read_u32(file, s.arch, "attention.head_count", NULL, &s.n_head, err)) ||
        (status = read_u32(file, s.arch, "attention.head_count_kv", &s.n_head, &s.n_kv_head, err)) ||
        (status = read_u32(file, s.arch, "feed_forward_length", NULL, &s.n_ff, err)) ||
        (status = read_u32(file, s.arch, "context_length", NULL, &s.n_context, err)) ||
        (status = read_f32(file, s.arch, "attention.layer_norm_rms_epsilon", NULL, &s.norm_eps, err)))
        return status;
    const uint32_t head_dim = s.n_head ? s.n_embd / s.n_head : 0;
    uint32_t value_length = 0;
    if ((status = read_u32(file, s.arch, "attention.key_length", &head_dim, &s.head_dim, err)) ||
        (status = read_u32(file, s.arch, "attention.value_length", &s.head_dim, &value_length, err)) ||
        (status = read_u32(file, s.arch, "rope.dimension_count", &s.head_dim, &s.rope.width, err)))
        return status;
    if (value_length != s.head_dim)
        return kvant_fail(err, KVANT_INVALID, "%s: keys of %u and values of %u coordinates: only equal ones are supported",
                          gguf_path(file), s.head_dim, value_length);
    s.rope.pairing = KVANT_ROPE_INTERLEAVED;
    *shape = s;
    return check_shape(file, &s, err);
}

/* ---- RoPE ------------------------------------------------------------------------------------ */

/* Pair index below which a dimension turns more than `turns` times within the original context (YaRN, 2309.00071 §3.2). */
static double yarn_bound(double turns, double width, double base, double context)
{
    return width * log(context / (turns * 2 * pi)) / (2 * log(base));
}

static kvant_status init_rope(lm_model *m, kvant_error *err)
{
    const gguf *file = m->file;
    const lm_shape *s = &m->shape;
    const float base_default = 10000, one = 1;
    float base, factor, attention_factor;
    char key[128];
    kvant_status status;
    if ((status = read_f32(file, s->arch, "rope.freq_base", &base_default, &base, err)) ||
        (status = read_f32(file, s->arch, "rope.scaling.factor", &one, &factor, err)) ||
        (status = read_f32(file, s->arch, "rope.scaling.attn_factor", &one, &attention_factor, err)))
        return status;
    gguf_string type = { "none", 4 };
    snprintf(key, sizeof key, "%s.rope.scaling.type", s->arch);
    if (gguf_find(file, key) && !gguf_get_string(file, key, &type))
        return missing(file, key, err);
    const bool yarn = type.bytes == 4 && !memcmp(type.data, "yarn", 4), linear = type.bytes == 6 && !memcmp(type.data, "linear", 6);
    if (!yarn && !linear && !(type.bytes == 4 && !memcmp(type.data, "none", 4)))
        return kvant_fail(err, KVANT_INVALID, "%s: %s is '%.*s'; supported: none, linear, yarn", gguf_path(file), key,
                          (int)(type.bytes < 64 ? type.bytes : 64), type.data);
    if (!(base > 1) || !(factor > 0))
        return kvant_fail(err, KVANT_INVALID, "%s: RoPE base %g and scaling factor %g make no sense", gguf_path(file), (double)base,
                          (double)factor);
    const uint32_t pairs = s->rope.width / 2;
    const gguf_tensor *factors = gguf_tensor_find(file, "rope_freqs.weight");
    if (factors && (factors->n_dims != 1 || factors->ne[0] != pairs))
        return kvant_fail(err, KVANT_INVALID, "%s: tensor rope_freqs.weight does not have %u values", gguf_path(file), pairs);
    float *divide = malloc((pairs + 1) * sizeof *divide);
    m->rope.frequency = calloc(pairs + 1, sizeof *m->rope.frequency);
    if (!divide || !m->rope.frequency) {
        free(divide);
        return kvant_fail(err, KVANT_NOMEM, "no memory for RoPE");
    }
    for (uint32_t i = 0; i < pairs; i++)
        divide[i] = 1;
    status = factors ? dequant_rows(factors, 0, 1, divide, err) : KVANT_OK;
    uint32_t original = s->n_context;
    if (status == KVANT_OK)
        status = read_u32(file, s->arch, "rope.scaling.original_context_length", &original, &original, err);
    const double width = s->rope.width, scale = linear || yarn ? 1.0 / (double)factor : 1.0;
    const double low = fmax(0, floor(yarn_bound(32, width, (double)base, original)));
    const double high = fmin(width - 1, ceil(yarn_bound(1, width, (double)base, original)));
    for (uint32_t i = 0; i < pairs && status == KVANT_OK; i++) {
        const double extrapolated = pow((double)base, -2.0 * i / width) / (double)divide[i];
        /* YaRN keeps fast dimensions, interpolates slow ones, and goes linearly from one to the other between. */
        const double ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
        m->rope.frequency[i] = extrapolated * (yarn ? scale * ramp + (1 - ramp) : scale);
        if (!isfinite(m->rope.frequency[i]))
            status = kvant_fail(err, KVANT_INVALID, "%s: rope_freqs.weight[%u] is %g", gguf_path(file), i, (double)divide[i]);
    }
    m->rope.magnitude = attention_factor * (yarn ? (float)(1 + 0.1 * log((double)factor)) : 1);
    free(divide);
    return status;
}

/* ---- Weights --------------------------------------------------------------------------------- */

/* What a file's tensors are for: a tensor that nobody asked for makes the file unsupported. */
typedef struct { lm_model *model; uint8_t *used; kvant_error *err; } loader;

static kvant_status find_tensor(loader *l, const char *name, uint64_t columns, uint64_t rows, const gguf_tensor **tensor)
{
    const char *path = gguf_path(l->model->file);
    const gguf_tensor *t = gguf_tensor_find(l->model->file, name);
    if (!t)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s is missing", path, name);
    if (t->ne[0] != columns || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s is %llu x %llu x %llu, expected %llu x %llu", path, name,
                          (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                          (unsigned long long)columns, (unsigned long long)rows);
    const ggml_type *type = ggml_type_find(t->type);
    if (!type || !type->row)
        return kvant_fail(l->err, KVANT_INVALID, "%s: tensor %s has type %s, which is not supported", path, name,
                          type ? type->name : "unknown");
    l->used[t - gguf_tensor_at(l->model->file, 0)] = 1;
    *tensor = t;
    return KVANT_OK;
}

static kvant_status load_vector(loader *l, const char *name, uint32_t n, float **x)
{
    const gguf_tensor *t;
    kvant_status status = find_tensor(l, name, n, 1, &t);
    if (status != KVANT_OK)
        return status;
    *x = kvant_alloc(n * sizeof **x);
    if (!*x)
        return kvant_fail(l->err, KVANT_NOMEM, "no memory for %s", name);
    l->model->weight_bytes += n * sizeof **x;
    return dequant_rows(t, 0, 1, *x, l->err);
}

/* Fills outputs out0 ... of w from a tensor of `rows` rows, panel by panel on all threads. */
static kvant_status load_rows(loader *l, const char *name, gemm_matrix *w, size_t out0, size_t rows)
{
    const gguf_tensor *t;
    kvant_status status = find_tensor(l, name, w->n_in, rows, &t);
    if (status != KVANT_OK)
        return status;
    /* Pieces end where panels end, since one panel takes one writer. */
    const size_t first_panel = out0 / GEMM_PANEL, last_panel = (out0 + rows - 1) / GEMM_PANEL;
    int failed = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(| : failed)
    for (size_t panel = first_panel; panel <= last_panel; panel++) {
        const size_t begin = panel * GEMM_PANEL > out0 ? panel * GEMM_PANEL : out0;
        const size_t end = (panel + 1) * GEMM_PANEL < out0 + rows ? (panel + 1) * GEMM_PANEL : out0 + rows;
        float *x = malloc((end - begin) * w->n_in * sizeof *x);
        if (x && dequant_rows(t, begin - out0, end - begin, x, NULL) == KVANT_OK)
            gemm_set_rows(w, begin, end - begin, x);
        else
            failed = 1;
        free(x);
    }
    return failed ? kvant_fail(l->err, KVANT_NOMEM, "no memory to unpack tensor %s", name) : KVANT_OK;
}

static kvant_status new_matrix(loader *l, gemm_matrix *w, size_t n_out, size_t n_in)
{
    l->model->weight_bytes += n_out * n_in * sizeof(float);
    return gemm_init(w, n_out, n_in, l->err);
}

static kvant_status load_layer(loader *l, uint32_t index)
{
    const lm_shape *s = &l->model->shape;
    lm_layer *layer = &l->model->layers[index];
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    const struct { const char *name; float **vector; gemm_matrix *matrix; size_t out0, rows; } parts[] = {
        { "attn_norm", &layer->attn_norm, NULL, 0, 0 },       { "ffn_norm", &layer->ffn_norm, NULL, 0, 0 },
        { "attn_q", NULL, &layer->qkv, 0, q },                { "attn_k", NULL, &layer->qkv, q, kv },
        { "attn_v", NULL, &layer->qkv, q + kv, kv },          { "attn_output", NULL, &layer->attn_out, 0, s->n_embd },
        { "ffn_gate", NULL, &layer->gate_up, 0, s->n_ff },    { "ffn_up", NULL, &layer->gate_up, s->n_ff, s->n_ff },
        { "ffn_down", NULL, &layer->down, 0, s->n_embd },
    };
    kvant_status status;
    if ((status = new_matrix(l, &layer->qkv, q + 2 * kv, s->n_embd)) || (status = new_matrix(l, &layer->attn_out, s->n_embd, q)) ||
        (status = new_matrix(l, &layer->gate_up, 2 * (size_t)s->n_ff, s->n_embd)) ||
        (status = new_matrix(l, &layer->down, s->n_embd, s->n_ff)))
        return status;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == KVANT_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", index, parts[i].name);
        status = parts[i].vector ? load_vector(l, name, s->n_embd, parts[i].vector)
                                 : load_rows(l, name, parts[i].matrix, parts[i].out0, parts[i].rows);
    }
    return status;
}

static kvant_status load_weights(loader *l)
{
    lm_model *m = l->model;
    const lm_shape *s = &m->shape;
    kvant_status status = find_tensor(l, "token_embd.weight", s->n_embd, s->n_vocab, &m->embedding);
    const gguf_tensor *factors = gguf_tensor_find(m->file, "rope_freqs.weight");
    if (factors)
        l->used[factors - gguf_tensor_at(m->file, 0)] = 1;
    if (status == KVANT_OK)
        status = load_vector(l, "output_norm.weight", s->n_embd, &m->output_norm);
    if (status == KVANT_OK)
        status = new_matrix(l, &m->output, s->n_vocab, s->n_embd);
    if (status == KVANT_OK)
        status = load_rows(l, s->tied ? "token_embd.weight" : "output.weight", &m->output, 0, s->n_vocab);
    for (uint32_t i = 0; i < s->n_layer && status == KVANT_OK; i++)
        status = load_layer(l, i);
    for (size_t i = 0; i < gguf_n_tensors(m->file) && status == KVANT_OK; i++)
        if (!l->used[i]) {
            const gguf_string name = gguf_tensor_at(m->file, i)->name;
            status = kvant_fail(l->err, KVANT_INVALID, "%s: tensor %.*s is not part of architecture %s as this engine knows it",
                                gguf_path(m->file), (int)(name.bytes < 200 ? name.bytes : 200), name.data, s->arch);
        }
    return status;
}

/* ---- Open and close -------------------------------------------------------------------------- */

kvant_status lm_open(const char *path, uint32_t context, lm_model **model, kvant_error *err)
{
    lm_model *m = calloc(1, sizeof *m);
    if (!m)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a model");
    kvant_status status = gguf_open(path, &m->file, err);
    if (status == KVANT_OK)
        status = lm_read_shape(m->file, &m->shape, err);
    if (status == KVANT_OK && context > m->shape.n_context)
        status = kvant_fail(err, KVANT_INVALID, "%s: %u tokens asked for, but the model's context is %u", path, context,
                            m->shape.n_context);
    m->context = context ? context : m->shape.n_context;
    if (status == KVANT_OK)
        status = init_rope(m, err);
    loader l = { .model = m, .err = err };
    if (status == KVANT_OK) {
        m->layers = calloc(m->shape.n_layer, sizeof *m->layers);
        l.used = calloc(gguf_n_tensors(m->file), 1);
        status = m->layers && l.used ? load_weights(&l) : kvant_fail(err, KVANT_NOMEM, "no memory for a model");
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

void lm_close(lm_model *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; m->layers && i < m->shape.n_layer; i++) {
        lm_layer *layer = &m->layers[i];
        free(layer->attn_norm);
        free(layer->ffn_norm);
        gemm_free(&layer->qkv);
        gemm_free(&layer->attn_out);
        gemm_free(&layer->gate_up);
        gemm_free(&layer->down);
    }
    free(m->layers);
    free(m->output_norm);
    gemm_free(&m->output);
    free(m->rope.frequency);
    free(m->work);
    tokenizer_close(m->tokenizer);
    gguf_close(m->file);
    free(m);
}

const lm_shape *lm_model_shape(const lm_model *m) { return &m->shape; }
const gguf *lm_file(const lm_model *m) { return m->file; }
uint64_t lm_weight_bytes(const lm_model *m) { return m->weight_bytes; }
lm_times lm_times_of(const lm_model *m) { return m->times; }

kvcache_shape lm_cache_shape(const lm_shape *shape)
{
    return (kvcache_shape){ .n_layer = shape->n_layer, .n_kv_head = shape->n_kv_head, .head_dim = shape->head_dim,
                            .rope = shape->rope };
}

const tokenizer *lm_tokenizer(const lm_model *m, kvant_error *err)
{
    if (!m->tokenizer && err)
        *err = m->tokenizer_error;
    return m->tokenizer;
}
