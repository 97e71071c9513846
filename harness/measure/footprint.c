/* footprint.c - a cache's bytes per token, accounted and allocated, and its codecs' states.
 * Equal states are found by their bytes: they are flat, and equal bytes code alike. */
#include "harness/measure/footprint.h"

#include <string.h>

static void emit_one(probe_job *job, size_t cell, const char *metric, double value)
{
    job->emit(job, cell, &(probe_sample) { metric, 0, 0, value, 1 });
}

void footprint_emit(probe_job *job, size_t cell, const kvcache *cache)
{
    double tokens = kvcache_capacity(cache);
    kvcache_bytes b = kvcache_accounted(&job->codecs[cell], kvcache_capacity(cache)), r = kvcache_resident(cache);
    double key = (double)b.key, value = (double)b.value, f16_key = (double)b.f16_key, f16_value = (double)b.f16_value;
    emit_one(job, cell, "bytes_per_token_key", key / tokens);
    emit_one(job, cell, "bytes_per_token_value", value / tokens);
    emit_one(job, cell, "bytes_per_token", (key + value) / tokens);
    emit_one(job, cell, "bytes_per_token_f16", (f16_key + f16_value) / tokens);
    emit_one(job, cell, "resident_bytes_per_token", ((double)r.key + (double)r.value) / tokens);
    emit_one(job, cell, "compression_key", f16_key / key);
    emit_one(job, cell, "compression_value", f16_value / value);
    emit_one(job, cell, "compression", (f16_key + f16_value) / (key + value));
}

footprint_state footprint_states(const kvcache_codecs *codecs)
{
    footprint_state sum = { 0, 0 };
    for (size_t i = 1; i < codecs->n_own; i++) {           /* the first codes what the policy keeps in f16 */
        const kvant_codec *c = &codecs->own[i];
        bool seen = false;
        for (size_t j = 1; j < i && !seen; j++) {
            const kvant_codec *other = &codecs->own[j];
            seen = other->quantizer == c->quantizer && other->plan.state == c->plan.state &&
                   !memcmp(other->state, c->state, c->plan.state);
        }
        sum.held += c->plan.state;
        sum.distinct += seen ? 0 : c->plan.state;
    }
    return sum;
}
