/* bytes.c - what codes take: a sequence's cache at a length, key by key and f16 part by f16 part, what was allocated for it, and the
 * states of its codecs; or vectors and their padding, and the cache of a shape that no file of a model is there for. No token runs
 * through a model: its shape and weights are all that is asked. */
#include "harness/measure/footprint.h"
#include "harness/probe.h"

#include <math.h>

enum { CONTEXT, COUNT, LAYERS, KV_HEADS };

static const kvant_param params[] = {
    { "context", "tokens in the cache: the model's, or that of `layers`", KVANT_INT, 512, 16, 1 << 20, NULL },
    { "n", "vector data: vectors to store; 0 = all", KVANT_INT, 0, 0, 1u << 30, NULL },
    { "layers", "vector data: layers of a cache of such vectors, keys and values; 0 = none is asked for", KVANT_INT, 0, 0, 65536,
      NULL },
    { "kv_heads", "vector data: KV heads of each of these layers", KVANT_INT, 1, 1, 65536, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "bytes_key", "bytes", "keys of the whole sequence, all layers and heads, f16 parts included", -1, false },
    { "bytes_value", "bytes", "the same of values", -1, false },
    { "bytes_kept", "bytes", "of these, keys and values that are f16 by the policy: sinks, window, blocks not yet whole, layers with "
      "a sliding window where it says so", -1, false },
    { "bytes_copy", "bytes", "of these, the f16 copy of what is in codes, where decode_reads asks for one", -1, false },
    { "bytes_resident", "bytes", "what was allocated for the cache: areas are rounded up to 64 bytes, and a block that is not yet "
      "whole has room for all of it", -1, false },
    { "resident_ratio", "x", "bytes_resident over bytes_key + bytes_value", -1, false },
    { "bits_key", "bits", "stored per coordinate of the keys that are held, f16 parts included", -1, false },
    { "bits_value", "bits", "the same of values", -1, false },
    FOOTPRINT_METRICS,
    { "bytes_per_vector", "bytes", "vector data: its code, norms, scales and padding within a block included", -1, false },
    { "bits_per_vector", "bits", "vector data: stored per coordinate", -1, false },
    { "overhead_bits", "bits", "stored less asked per coordinate: norms, scales, zeros, padding; of a cache, the mean of its codes",
      -1, false },
    { "bytes_sequence", "bytes", "vector data: keys and values of `context` tokens in all `layers` and `kv_heads`, incomplete blocks "
      "as whole ones", -1, false },
    { "padding_bytes", "bytes", "vector data: of the last block or tile, which n vectors do not fill", -1, false },
    { "state_bytes", "bytes", "rotations, codebooks and the like: one per layer and side, which its heads share", -1, false },
    { "state_bytes_distinct", "bytes", "the same with equal ones held once", -1, false },
    { "state_share", "", "state_bytes over the bytes of the model's weights, as f32", -1, false },
    { NULL, NULL, NULL, 0, false }
};

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)args, (void)data;
    return 1;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    job->n_units = 1;
    if (job->vectors && job->args.v[COUNT] > (double)job->data->n)
        return kvant_fail(err, KVANT_INVALID, "bytes: the data has %zu vectors, and n asks for %.0f", job->data->n,
                          job->args.v[COUNT]);
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    job->state = NULL;
}

static void emit_one(probe_job *job, size_t cell, const char *metric, double value)
{
    job->emit(job, cell, &(probe_sample) { metric, 0, 0, value, 1 });
}

static void vector_unit(probe_job *job, size_t cell)
{
    const kvant_codec *codec = &job->vectors[cell];
    double bits = kvant_bits(codec), bytes = (double)codec->plan.code / (double)codec->plan.block;
    size_t n = job->args.v[COUNT] > 0 ? (size_t)job->args.v[COUNT] : job->data->n;
    emit_one(job, cell, "bytes_per_vector", bytes);
    emit_one(job, cell, "bits_per_vector", bits);
    emit_one(job, cell, "overhead_bits", bits - codec->plan.bits_asked);
    emit_one(job, cell, "padding_bytes", (double)kvant_bytes(codec, n) - (double)n * bytes);
    emit_one(job, cell, "compression", 2.0 * codec->shape.dim / bytes);
    if (job->args.v[LAYERS] > 0)
        emit_one(job, cell, "bytes_sequence", 2 * job->args.v[LAYERS] * job->args.v[KV_HEADS] *
                                              (double)kvant_bytes(codec, context_of(&job->args)));
    emit_one(job, cell, "state_bytes", (double)codec->plan.state);
}

/* f16 parts of both sides, the copy of their codes, and what these store beyond what they ask, in the mean over layers and sides. */
static void measure_codes(const kvcache_codecs *codecs, uint32_t tokens, double *kept, double *copy, double *overhead)
{
    uint32_t heads = codecs->shape.n_kv_head, groups = codecs->shape.n_layer * heads * 2;
    *kept = *copy = *overhead = 0;
    for (uint32_t i = 0; i < groups; i++) {
        const kvcache_rule rule = kvcache_rule_of(codecs, i / 2 / heads, i / 2 % heads, i % 2 ? KVANT_VALUE : KVANT_KEY);
        const kvcache_counts counts = kvcache_count(&rule, tokens);
        *kept += 2.0 * (counts.kept + (rule.all_f16 ? counts.coded : 0)) * codecs->shape.head_dim;
        *copy += 2.0 * (rule.copied ? counts.coded : 0) * codecs->shape.head_dim;
        *overhead += (kvant_bits(rule.codec) - rule.codec->plan.bits_asked) / groups;
    }
}

static kvant_status cache_unit(probe_job *job, size_t cell, kvant_error *err)
{
    const kvcache_codecs *codecs = &job->codecs[cell];
    uint32_t tokens = context_of(&job->args);
    kvcache *cache;
    kvant_status status = kvcache_open(codecs, tokens, &cache, err);
    if (status)
        return status;
    kvcache_bytes all = kvcache_accounted(codecs, tokens), allocated = kvcache_resident(cache);
    footprint_state states = footprint_states(codecs);
    double key = (double)all.key, value = (double)all.value, resident = (double)allocated.key + (double)allocated.value;
    double kept, copy, overhead;
    measure_codes(codecs, tokens, &kept, &copy, &overhead);
    emit_one(job, cell, "bytes_key", key);
    emit_one(job, cell, "bytes_value", value);
    emit_one(job, cell, "bytes_kept", kept);
    if (codecs->policy.decode_reads == READS_COPY)
        emit_one(job, cell, "bytes_copy", copy);
    emit_one(job, cell, "bytes_resident", resident);
    emit_one(job, cell, "resident_ratio", resident / (key + value));
    emit_one(job, cell, "bits_key", 16 * key / (double)all.f16_key);
    emit_one(job, cell, "bits_value", 16 * value / (double)all.f16_value);
    emit_one(job, cell, "overhead_bits", overhead);
    emit_one(job, cell, "state_bytes", (double)states.held);
    emit_one(job, cell, "state_bytes_distinct", (double)states.distinct);
    emit_one(job, cell, "state_share", (double)states.held / (double)lm_weight_bytes(job->model));
    footprint_emit(job, cell, cache);
    kvcache_close(cache);
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    (void)unit;
    if (job->vectors)
        vector_unit(job, cell);
    return job->vectors ? KVANT_OK : cache_unit(job, cell, err);
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    for (size_t i = 0; i < n; i++)
        result(user, &(probe_result) { samples[i].metric, samples[i].value, 1, NAN, NAN, NAN });
    return n ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "bytes: there are no samples");
}

const kvant_probe probe_bytes = {
    .name = "bytes",
    .summary = "bytes of codes, f16 parts, allocations and states, of a cache at a length or of vectors; runs no token",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_vectors = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
