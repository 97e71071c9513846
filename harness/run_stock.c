/* run_stock.c - one loaded model and the codecs that its jobs share: rotations and codebooks are made once per policy.
 * A needle sweep has dozens of jobs with the same few quantizers. */
#include "harness/run_internal.h"

#include <stdlib.h>
#include <string.h>

static const size_t stock_max = (size_t)256 << 20;     /* bytes of state kept beyond the job at work */

static lm_times times_sum(lm_times a, lm_times b)
{
    return (lm_times){ a.matmul + b.matmul, a.encode + b.encode, a.attention + b.attention, a.rest + b.rest, a.tokens + b.tokens };
}

lm_times stock_times(const stock *k)
{
    return k->model ? times_sum(k->spent, lm_times_of(k->model)) : k->spent;
}

static void drop(stock *k, size_t index)
{
    kvcache_codecs_close(&k->entries[index].codecs);
    k->bytes -= k->entries[index].bytes;
    k->entries[index] = k->entries[--k->n];
}

void stock_close(stock *k)
{
    while (k->n)
        drop(k, k->n - 1);
    free(k->entries);
    k->entries = NULL;
    k->spent = stock_times(k);
    lm_close(k->model);
    k->model = NULL;
    k->of = NULL;
}

kvant_status stock_model(stock *k, const plan_model *model, uint32_t context, kvant_error *err)
{
    if (k->of == model)
        return KVANT_OK;
    stock_close(k);
    kvant_status status = lm_open(model->input.path, context, &k->model, err);
    if (!status)
        k->of = model;
    else
        k->model = NULL;
    return status;
}

static bool same_side(const kvcache_side *a, const kvcache_side *b)
{
    return a->quantizer == b->quantizer && !memcmp(&a->args, &b->args, sizeof a->args);
}

static bool same_policy(const kvcache_policy *a, const kvcache_policy *b)
{
    return same_side(&a->key, &b->key) && same_side(&a->value, &b->value) && a->sink == b->sink && a->window == b->window &&
           a->seed == b->seed && a->seed_rule == b->seed_rule && !strcmp(a->isa, b->isa);
}

void stock_trim(stock *k, size_t job)
{
    for (size_t i = k->n; i-- > 0 && k->bytes > stock_max;)
        if (k->entries[i].job != job)
            drop(k, i);
}

kvant_status stock_codecs(stock *k, const kvcache_policy *policy, size_t job, kvcache_codecs *codecs, kvant_error *err)
{
    for (size_t i = 0; i < k->n; i++)
        if (same_policy(&k->entries[i].codecs.policy, policy)) {
            k->entries[i].job = job;
            *codecs = k->entries[i].codecs;
            return KVANT_OK;
        }
    stock_entry *more = realloc(k->entries, (k->n + 1) * sizeof *more);
    if (!more)
        return kvant_fail(err, KVANT_NOMEM, "no memory for the codecs of a policy");
    k->entries = more;
    stock_entry entry = { .job = job };
    kvcache_shape shape = lm_cache_shape(lm_model_shape(k->model));
    kvant_status status = kvcache_codecs_open(policy, &shape, NULL, &entry.codecs, err);
    if (status)
        return status;
    for (size_t i = 0; i < entry.codecs.n_own; i++)
        entry.bytes += entry.codecs.own[i].plan.state;
    k->bytes += entry.bytes;
    k->entries[k->n++] = entry;
    *codecs = entry.codecs;
    return KVANT_OK;
}
