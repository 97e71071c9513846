/* arch_model.c - see arch_model.h: the families, and a file of random tensors for each.
 * Runs out of memory by abort(), as gguf_writer does: fuzzers use it too. */
#include "tests/arch_model.h"

#include <gsl/gsl_randist.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const arch_family arch_families[] = {
    { "llama", FACTORS, false, true, false, 0 },
    { "qwen2", HALF | QKV_BIAS, false, true, false, 0 },
    { "qwen3", HALF | QK_NORM, false, true, false, 0 },
    { "qwen3moe", HALF | QK_NORM | CHOICE | WEIGHTS | RENORM, false, true, false, 0 },
    { "granite", EMBEDDING | ATTENTION | RESIDUAL | LOGITS, false, true, false, 0 },
    { "phi3", HALF | FACTORS | WINDOWS, true, true, false, 7 },
    { "gemma3", HALF | GELU | QK_NORM | POST_NORM | EMBEDDING | WINDOWS | LOCAL_BASE, false, true, true, 5 },
    { "gemma3", HALF | GELU | QK_NORM | POST_NORM | EMBEDDING | WINDOWS | LOCAL_BASE | LOGIT_CAP, false, true, false, 7 },
    { "gemma2", HALF | GELU | POST_NORM | EMBEDDING | WINDOWS | ATTN_CAP | LOGIT_CAP, false, true, false, 5 },
    { "phi2", HALF | GELU | CENTRED | QKV_BIAS | OTHER_BIAS | PARALLEL | PARTIAL, false, false, false, 0 },
    { "phi2", HALF | GELU | CENTRED | QKV_BIAS | OTHER_BIAS | PARALLEL | PARTIAL, true, false, false, 0 },
    { "olmo2", HALF | NO_PRE_NORM | WIDE_QK_NORM | POST_NORM, false, true, false, 0 },
};

const size_t arch_n_families = sizeof arch_families / sizeof *arch_families;

/* layer -1: a tensor of the whole model. */
static void name_tensor(int layer, const char *name, char out[64])
{
    if (layer < 0)
        snprintf(out, 64, "%s", name);
    else
        snprintf(out, 64, "blk.%d.%s", layer, name);
}

const float *tensor_of(const arch_model *m, int layer, const char *name)
{
    char full[64];
    name_tensor(layer, name, full);
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->tensors[i].name, full))
            return m->tensors[i].x;
    abort();
}

/* Adds a tensor of normal values around `mean`. rows 0: a vector; slices 0: a matrix. */
static void add_slices(arch_model *m, int layer, const char *name, const uint64_t ne[3], double mean, double scale)
{
    arch_tensor *t = &m->tensors[m->n++];
    const uint64_t n = ne[0] * (ne[1] ? ne[1] : 1) * (ne[2] ? ne[2] : 1);
    name_tensor(layer, name, t->name);
    t->x = calloc(n, sizeof *t->x);
    if (!t->x)
        abort();
    for (uint64_t i = 0; i < n; i++)
        t->x[i] = (float)(mean + scale * gsl_ran_gaussian_ziggurat(m->rng, 1));
    writer_tensor(&m->w, t->name, 0, ne[2] ? 3 : ne[1] ? 2 : 1, ne, t->x, n * sizeof *t->x);
}

static void add(arch_model *m, int layer, const char *name, uint64_t columns, uint64_t rows, double mean, double scale)
{
    add_slices(m, layer, name, (const uint64_t[3]){ columns, rows, 0 }, mean, scale);
}

static void add_layer(arch_model *m, int i)
{
    const unsigned steps = m->f->steps;
    const uint64_t ups = m->f->gated && m->f->fused ? 2 * FF : FF;
    const bool wide = steps & WIDE_QK_NORM, pre = !(steps & NO_PRE_NORM), mlp = !(steps & CHOICE), split = !m->f->fused;
    const struct { bool there; const char *name; uint64_t columns, rows; double mean; } parts[] = {
        { pre, "attn_norm.weight", EMBD, 0, 1 },                       { steps & CENTRED, "attn_norm.bias", EMBD, 0, 0 },
        { pre && !(steps & PARALLEL), "ffn_norm.weight", EMBD, 0, 1 }, { steps & POST_NORM, "post_attention_norm.weight", EMBD, 0, 1 },
        { steps & POST_NORM, "post_ffw_norm.weight", EMBD, 0, 1 },     { steps & QK_NORM, "attn_q_norm.weight", DIM, 0, 1 },
        { wide, "attn_q_norm.weight", Q, 0, 1 },                       { wide, "attn_k_norm.weight", KV, 0, 1 },
        { steps & QK_NORM, "attn_k_norm.weight", DIM, 0, 1 },          { m->f->fused, "attn_qkv.weight", EMBD, Q + 2 * KV, 0 },
        { split, "attn_q.weight", EMBD, Q, 0 },                        { split, "attn_k.weight", EMBD, KV, 0 },
        { split, "attn_v.weight", EMBD, KV, 0 },                       { true, "attn_output.weight", Q, EMBD, 0 },
        { mlp && m->f->gated && split, "ffn_gate.weight", EMBD, FF, 0 }, { mlp, "ffn_up.weight", EMBD, ups, 0 },
        { mlp, "ffn_down.weight", FF, EMBD, 0 },                      { steps & OTHER_BIAS, "attn_output.bias", EMBD, 0, 0 },
        { steps & OTHER_BIAS, "ffn_up.bias", ups, 0, 0 },              { steps & OTHER_BIAS, "ffn_down.bias", EMBD, 0, 0 },
        { (steps & QKV_BIAS) && m->f->fused, "attn_qkv.bias", Q + 2 * KV, 0, 0 },
        { (steps & QKV_BIAS) && split, "attn_q.bias", Q, 0, 0 },
        { (steps & QKV_BIAS) && split, "attn_k.bias", KV, 0, 0 },
        { (steps & QKV_BIAS) && split, "attn_v.bias", KV, 0, 0 },
    };
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++)
        if (parts[j].there)
            add(m, i, parts[j].name, parts[j].columns, parts[j].rows, parts[j].mean, .3);
    if (steps & CHOICE) {
        add(m, i, "ffn_gate_inp.weight", EMBD, EXPERTS, 0, .3);
        add_slices(m, i, "ffn_gate_exps.weight", (const uint64_t[3]){ EMBD, FF, EXPERTS }, 0, .3);
        add_slices(m, i, "ffn_up_exps.weight", (const uint64_t[3]){ EMBD, FF, EXPERTS }, 0, .3);
        add_slices(m, i, "ffn_down_exps.weight", (const uint64_t[3]){ FF, EMBD, EXPERTS }, 0, .3);
    }
}

static void key(const arch_model *m, const char *name, char out[96]) { snprintf(out, 96, "%s.%s", m->f->name, name); }

static void put_u32(arch_model *m, const char *name, uint32_t value)
{
    char full[96];
    key(m, name, full);
    if (m->fault.key && !strcmp(m->fault.key, name)) {
        value = m->fault.value;
        m->fault.key = NULL;
    }
    writer_u32(&m->w, full, value);
}

static void put_f32(arch_model *m, bool there, const char *name, double value)
{
    char full[96];
    key(m, name, full);
    if (there)
        writer_f32(&m->w, full, (float)value);
}

static void put_keys(arch_model *m)
{
    const unsigned steps = m->f->steps;
    const bool gemma = steps & POST_NORM;
    writer_string(&m->w, "general.architecture", m->f->name);
    put_u32(m, "block_count", LAYERS);
    put_u32(m, "embedding_length", EMBD);
    put_u32(m, "attention.head_count", HEADS);
    put_u32(m, "attention.head_count_kv", KV_HEADS);
    put_u32(m, "attention.key_length", DIM);
    put_u32(m, "attention.value_length", DIM);
    put_u32(m, "feed_forward_length", steps & CHOICE ? 3 * FF : FF);      /* with experts it says nothing */
    if (steps & CHOICE) {
        put_u32(m, "expert_feed_forward_length", FF);
        put_u32(m, "expert_count", EXPERTS);
        put_u32(m, "expert_used_count", USED);
    }
    put_u32(m, "context_length", CONTEXT);
    put_u32(m, "rope.dimension_count", steps & PARTIAL ? DIM / 2 : DIM);
    put_u32(m, "rope.scaling.original_context_length", SHORT);
    if (steps & WINDOWS)
        put_u32(m, "attention.sliding_window", WINDOW);
    put_f32(m, true, steps & CENTRED ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", norm_eps);
    put_f32(m, true, "rope.freq_base", rope_base);
    put_f32(m, steps & LOCAL_BASE, "rope.freq_base_swa", local_rope_base);
    put_f32(m, (steps & EMBEDDING) && !gemma, "embedding_scale", embedding_scale);
    put_f32(m, steps & ATTENTION, "attention.scale", attn_scale);
    put_f32(m, steps & RESIDUAL, "residual_scale", residual_scale);
    put_f32(m, steps & LOGITS, "logit_scale", logit_divisor);
    put_f32(m, steps & ATTN_CAP, "attn_logit_softcapping", attn_cap);
    put_f32(m, steps & LOGIT_CAP, "final_logit_softcapping", logit_cap);
    if (m->f->pattern) {
        char full[96];
        const uint8_t local[LAYERS] = { m->f->local & 1, m->f->local >> 1 & 1, m->f->local >> 2 & 1 };
        key(m, "attention.sliding_window_pattern", full);
        writer_array(&m->w, full, GGUF_BOOL, local, LAYERS, sizeof local);
    }
}

const arch_family *arch_family_of(const char *name)
{
    for (size_t i = 0; i < arch_n_families; i++)
        if (!strcmp(arch_families[i].name, name))
            return &arch_families[i];
    abort();
}

byte_buffer arch_model_make(arch_model *m, const arch_family *f, const arch_fault *fault)
{
    *m = (arch_model){ .f = f, .w = writer_begin(), .rng = gsl_rng_alloc(gsl_rng_mt19937) };
    if (!m->rng)
        abort();
    if (fault)
        m->fault = *fault;
    put_keys(m);
    if (m->fault.key)
        put_u32(m, m->fault.key, m->fault.value);
    add(m, -1, "token_embd.weight", EMBD, VOCAB, 0, 1);
    add(m, -1, "output_norm.weight", EMBD, 0, 1, .3);
    add(m, -1, "output.weight", EMBD, VOCAB, 0, .5);
    if (f->steps & CENTRED)
        add(m, -1, "output_norm.bias", EMBD, 0, 0, .3);
    if (f->steps & OTHER_BIAS)
        add(m, -1, "output.bias", VOCAB, 0, 0, .3);
    if ((f->steps & FACTORS) && !f->fused)
        add(m, -1, "rope_freqs.weight", DIM / 2, 0, 3, .3);
    if ((f->steps & FACTORS) && f->fused) {
        add(m, -1, "rope_factors_long.weight", DIM / 2, 0, 5, .3);
        add(m, -1, "rope_factors_short.weight", DIM / 2, 0, 2, .3);
    }
    for (int i = 0; i < LAYERS; i++)
        add_layer(m, i);
    if (m->fault.tensor)
        add(m, 0, m->fault.tensor, EMBD, 0, 0, 1);
    return writer_end(&m->w);
}

void arch_model_free(arch_model *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->tensors[i].x);
    gsl_rng_free(m->rng);
}
