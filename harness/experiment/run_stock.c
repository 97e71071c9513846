/* run_stock.c - one loaded model and the codecs that its jobs share: rotations and codebooks are made once per policy.
 * A needle sweep has dozens of jobs with the same few quantizers. */
#include "harness/experiment/run_internal.h"

#include <stdlib.h>
#include <string.h>

static const size_t stock_max = (size_t)256 << 20;     /* bytes of state kept beyond the job at work */

static lm_times times_sum(lm_times a, lm_times b)
{
    return (lm_times){ a.matmul + b.matmul, a.encode + b.encode, a.attention + b.attention, a.rest + b.rest, a.tokens + b.tokens,
                       a.layers + b.layers, a.logits + b.logits, a.score + b.score, a.mix + b.mix };
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
    calibration_free(&k->calibration);
    calibration_free(&k->windows);
    k->learns = k->seen = (plan_calibration){ 0 };
    k->spent = stock_times(k);
    lm_close(k->model);
    k->model = NULL;
    k->of = NULL;
}

bool stock_has(const stock *k, const plan_model *model, lm_weights weights)
{
    return k->of == model && lm_weights_of(k->model) == weights;
}

kvant_status stock_model(stock *k, const plan_model *model, lm_weights weights, kvant_error *err)
{
    if (stock_has(k, model, weights))
        return KVANT_OK;
    stock_close(k);
    kvant_status status = lm_open_as(model->input.path, 0, weights, &k->model, err);
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
    return same_side(&a->key, &b->key) && same_side(&a->value, &b->value) && a->allocation == b->allocation && a->sink == b->sink &&
           a->window == b->window && a->sliding == b->sliding && a->prefill == b->prefill && a->key_stage == b->key_stage &&
           a->decode_reads == b->decode_reads && a->seed == b->seed && a->seed_rule == b->seed_rule && !strcmp(a->isa, b->isa);
}

static bool same_calibration(const plan_calibration *a, const plan_calibration *b)
{
    return a->used == b->used && (!a->used || (a->data == b->data && a->own == b->own && a->stage == b->stage &&
                                               !memcmp(&a->args, &b->args, sizeof a->args)));
}

void stock_trim(stock *k, size_t job)
{
    for (size_t i = k->n; i-- > 0 && k->bytes > stock_max;)
        if (k->entries[i].job != job)
            drop(k, i);
}

kvant_status stock_calibration(stock *k, const plan_cell *cell, const calibration **out, kvant_error *err)
{
    const plan_calibration *c = &cell->calibration;
    *out = &k->calibration;
    if (same_calibration(c, &k->learns))
        return KVANT_OK;
    calibration_free(&k->calibration);
    k->learns = (plan_calibration){ 0 };
    const plan_data *from = c->data;
    kvant_status status = cell->model    ? calibration_of_model(k->model, &from->data, &c->args, c->stage, cell->policy.isa, &k->calibration,
                                                                 err)
                          : !c->own      ? calibration_of_vectors(&from->data, &c->args, &k->calibration, err)
                                         : calibration_of_generator(from->dataset, &from->args, &c->args, &k->calibration, err);
    if (!status)
        k->learns = *c;
    return status;
}

kvant_status stock_windows(stock *k, const plan_calibration *wanted, const calibration **out, kvant_error *err)
{
    *out = &k->windows;
    if (same_calibration(wanted, &k->seen))
        return KVANT_OK;
    calibration_free(&k->windows);
    k->seen = (plan_calibration){ 0 };
    kvant_status status = calibration_of_tokens(k->model, &wanted->data->data, &wanted->args, &k->windows, err);
    if (!status)
        k->seen = *wanted;
    return status;
}

kvant_status stock_codecs(stock *k, const plan_cell *cell, size_t job, kvcache_codecs *codecs, kvant_error *err)
{
    for (size_t i = 0; i < k->n; i++)
        if (same_policy(&k->entries[i].codecs.policy, &cell->policy) && same_calibration(&k->entries[i].learnt, &cell->calibration)) {
            k->entries[i].job = job;
            *codecs = k->entries[i].codecs;
            return KVANT_OK;
        }
    stock_entry *more = realloc(k->entries, (k->n + 1) * sizeof *more);
    if (!more)
        return kvant_fail(err, KVANT_NOMEM, "no memory for the codecs of a policy");
    k->entries = more;
    stock_entry entry = { .learnt = cell->calibration, .job = job };
    kvcache_shape shape = lm_cache_shape(lm_model_shape(k->model));
    kvcache_calibration vectors = { 0 };
    kvant_status status = KVANT_OK;
    if (cell->calibration.used) {
        const calibration *c;
        status = stock_calibration(k, cell, &c, err);
        if (!status)
            vectors = calibration_vectors(c);
    }
    if (!status)
        status = kvcache_codecs_open(&cell->policy, &shape, cell->calibration.used ? &vectors : NULL, &entry.codecs, err);
    if (status)
        return status;
    for (size_t i = 0; i < entry.codecs.n_own; i++)
        entry.bytes += entry.codecs.own[i].plan.state;
    k->bytes += entry.bytes;
    k->entries[k->n++] = entry;
    *codecs = entry.codecs;
    return KVANT_OK;
}

/* A sequence's own training has the data for a sequence: its first vectors. */
kvant_status stock_vectors(stock *k, const plan_cell *cell, kvant_codec *codec, kvant_error *err)
{
    const kvant_data *data = &cell->data->data;
    kvant_shape shape = { .dim = (uint32_t)data->dim, .side = KVANT_VECTOR, .seed = cell->policy.seed };
    const calibration *c = NULL;
    if (cell->calibration.used) {
        size_t at;
        kvant_status status = stock_calibration(k, cell, &c, err);
        if (!status && calibration_saw_vectors(c, data->x, data->n, data->dim, &at))
            status = kvant_fail(err, KVANT_INVALID, "calibration: vector %zu of what is measured is among those that are learnt from; name "
                                "other `data`", at);
        if (status)
            return status;
    }
    const kvcache_side *side = &cell->policy.key;
    const kvcache_states *kept = cell->policy.states;
    const float *x = c ? c->x : NULL;
    const size_t n = c ? c->n : 0;
    kvant_status status = kept ? kept->open(kept->user, side->quantizer, &shape, &side->args, cell->policy.isa, x, n, codec, err)
                               : kvant_open(side->quantizer, &shape, &side->args, cell->policy.isa, codec, err);
    if (status)
        return status;
    if (c && !kept) {
        status = kvant_train(codec, x, n, err);
    } else if (codec->plan.prompt) {
        status = data->n < codec->plan.train_min
               ? kvant_fail(err, KVANT_SKIP, "%s: learns from the first %zu vectors, and the data has %zu", codec->quantizer->name,
                            codec->plan.train_min, data->n)
               : kvant_train(codec, data->x, codec->plan.train_min, err);
    }
    if (status)
        kvant_close(codec);
    return status;
}
