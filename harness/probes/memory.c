/* memory.c - what a cache takes as it fills: bytes by the account and by allocation at several depths, the process's resident memory by
 * phase, really measured on a model's own keys and values, and the context at which the cache is as large as the weights. */
#include "harness/lm/generate.h"
#include "harness/probe.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>

enum { CONTEXT, POINTS, BATCH };

static const kvant_param params[] = {
    { "context", "tokens in the cache at the deepest point", KVANT_INT, 1024, 16, 1 << 20, NULL },
    { "points", "depths that are looked at: context times 1/points, 2/points ... 1", KVANT_INT, 4, 1, 16, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "bytes_at_N", "bytes", "keys and values of a sequence of N tokens, by the quantizer's plan and the policy", -1, false },
    { "bytes_per_token_at_N", "bytes", "the same per token", -1, false },
    { "resident_per_token_at_N", "bytes", "what is allocated for a cache of N tokens, per token", -1, false },
    { "weights_file", "bytes", "the model's tensors as they are stored in the file", 0, false },
    { "weights_f32", "bytes", "the model's weights as f32", 0, false },
    { "break_even_file", "tokens", "context from which on this cache is no smaller than the weights in the file", 1, false },
    { "break_even_file_f16", "tokens", "the same of an f16 cache", 0, false },
    { "break_even_f32", "tokens", "context from which on this cache is no smaller than the weights as f32", 1, false },
    { "break_even_f32_f16", "tokens", "the same of an f16 cache", 0, false },
    { "rss_model", "bytes", "resident memory of the process with the model loaded and no cache", -1, true },
    { "rss_at_N", "bytes", "resident memory after a prefill to N tokens, activations included", -1, true },
    { "rss_peak", "bytes", "highest resident memory from rss_model on; none where the system cannot say", -1, true },
    { NULL, NULL, NULL, 0, false }
};

typedef struct { uint32_t context, points, batch; int32_t *ids; /* [context] */ float *logits; /* [n_vocab] */ } memory_probe;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[CONTEXT];
}

static double memory(const kvant_args *args, const lm_shape *shape)
{
    (void)args;
    return 4.0 * shape->n_vocab;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    memory_probe *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "memory: no memory");
    job->n_units = 1;
    p->context = (uint32_t)job->args.v[CONTEXT];
    p->points = (uint32_t)job->args.v[POINTS];
    p->batch = (uint32_t)job->args.v[BATCH];
    p->logits = kvant_alloc(lm_model_shape(job->model)->n_vocab * sizeof *p->logits);
    if (!p->logits)
        return kvant_fail(err, KVANT_NOMEM, "memory: no memory for logits");
    return probe_chunks(job, p->context, 1, &p->ids, err);
}

static void close_job(probe_job *job)
{
    memory_probe *p = job->state;
    if (!p)
        return;
    free(p->ids);
    free(p->logits);
    free(p);
    job->state = NULL;
}

static void emit_one(probe_job *job, size_t cell, const char *metric, double value)
{
    job->emit(job, cell, &(probe_sample) { metric, 0, 0, value, 1 });
}

static void emit_at(probe_job *job, size_t cell, const char *metric, uint32_t depth, double value)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%u", metric, depth);
    emit_one(job, cell, name, value);
}

/* ---- By the account -------------------------------------------------------------------------- */

static uint64_t bytes_of(const kvcache_codecs *codecs, uint32_t length, bool f16)
{
    const kvcache_bytes b = kvcache_accounted(codecs, length);
    return f16 ? b.f16_key + b.f16_value : b.key + b.value;
}

/* The least length at which a cache takes `bytes`; none where layers that all forget never get there. */
static void emit_break_even(probe_job *job, size_t cell, const char *metric, uint64_t bytes, bool f16)
{
    const kvcache_codecs *codecs = &job->codecs[cell];
    uint32_t low = 0, high = 1u << 31;                     /* too short, long enough */
    if (bytes_of(codecs, high, f16) < bytes)
        return;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        *(bytes_of(codecs, middle, f16) < bytes ? &low : &high) = middle;
    }
    emit_one(job, cell, metric, high);
}

static void emit_weights(probe_job *job, size_t cell)
{
    const gguf *file = lm_file(job->model);
    uint64_t stored = 0;
    for (size_t i = 0; i < gguf_n_tensors(file); i++)
        stored += gguf_tensor_at(file, i)->bytes;
    emit_one(job, cell, "weights_file", (double)stored);
    emit_one(job, cell, "weights_f32", (double)lm_weight_bytes(job->model));
    emit_break_even(job, cell, "break_even_file", stored, false);
    emit_break_even(job, cell, "break_even_file_f16", stored, true);
    emit_break_even(job, cell, "break_even_f32", lm_weight_bytes(job->model), false);
    emit_break_even(job, cell, "break_even_f32_f16", lm_weight_bytes(job->model), true);
}

static kvant_status emit_bytes(probe_job *job, size_t cell, uint32_t depth, kvant_error *err)
{
    kvcache *cache;
    const kvant_status status = kvcache_open(&job->codecs[cell], depth, &cache, err);
    if (status)
        return status;
    const kvcache_bytes allocated = kvcache_resident(cache);
    const double bytes = (double)bytes_of(&job->codecs[cell], depth, false);
    emit_at(job, cell, "bytes_at", depth, bytes);
    emit_at(job, cell, "bytes_per_token_at", depth, bytes / depth);
    emit_at(job, cell, "resident_per_token_at", depth, ((double)allocated.key + (double)allocated.value) / depth);
    kvcache_close(cache);
    return KVANT_OK;
}

/* ---- As it is -------------------------------------------------------------------------------- */

static uint32_t depth_of(const memory_probe *p, uint32_t point) { return (uint32_t)((uint64_t)p->context * (point + 1) / p->points); }

/* Every cell begins with the model alone: what another one needed is given back first. */
static kvant_status emit_resident(probe_job *job, size_t cell, kvant_error *err)
{
    const memory_probe *p = job->state;
    lm_forget_work(job->model);
    malloc_trim(0);
    const bool peaks = peak_begin();
    emit_one(job, cell, "rss_model", (double)resident_bytes());
    kvcache *cache;
    kvant_status status = kvcache_open(&job->codecs[cell], p->context, &cache, err);
    if (status)
        return status;
    for (uint32_t point = 0, at = 0; point < p->points && !status; point++) {
        const uint32_t depth = depth_of(p, point);
        if (depth > at)
            status = lm_prefill(job->model, cache, p->ids + at, depth - at, p->batch, p->logits, err);
        at = depth;
        if (!status)
            emit_at(job, cell, "rss_at", depth, (double)resident_bytes());
    }
    if (!status && peaks)
        emit_one(job, cell, "rss_peak", (double)peak_since());
    kvcache_close(cache);
    return status;
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    (void)unit;
    const memory_probe *p = job->state;
    kvant_status status = emit_resident(job, cell, err);
    for (uint32_t point = 0; point < p->points && !status; point++)
        status = emit_bytes(job, cell, depth_of(p, point), err);
    if (!status)
        emit_weights(job, cell);
    return status;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    for (size_t i = 0; i < n; i++)
        result(user, &(probe_result) { samples[i].metric, samples[i].value, 1, NAN, NAN, NAN });
    return n ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "memory: there are no samples");
}

const kvant_probe probe_memory = {
    .name = "memory",
    .summary = "memory as a cache fills: bytes per token at several depths, the process's resident memory, break-even with the weights",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .held_counts = true,
    .context = context_of,
    .cost = cost,
    .memory = memory,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
