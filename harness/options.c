/* options.c - reads the options that several commands share (harness/options.h).
 * What is wrong with one is said once, in the words of kvant_parse or kvant_find. */
#include "harness/options.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

kvant_status option_quantizer(const char *given, kvcache_side *side, kvant_error *err)
{
    char name[64];
    const size_t length = strcspn(given, ":");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), given);
    side->quantizer = kvant_find(name, err);
    if (!side->quantizer)
        return KVANT_INVALID;
    side->args = kvant_defaults(side->quantizer->params);
    return given[length] ? kvant_parse(side->quantizer->params, given + length + 1, &side->args, err) : KVANT_OK;
}

bool option_policy(const cli *c, const char *fallback, kvcache_policy *policy)
{
    kvant_error err = { "" };
    long long sink, window, seed;
    const char *key = cli_get(c, "key"), *value = cli_get(c, "value");
    *policy = (kvcache_policy){ .isa = cli_get(c, "isa") };
    if (!cli_get_int(c, "sink", 0, INT_MAX, 0, &sink) || !cli_get_int(c, "window", 0, INT_MAX, 0, &window) ||
        !cli_get_int(c, "seed", 0, UINT_MAX, 0, &seed))
        return false;
    if (option_quantizer(key ? key : fallback, &policy->key, &err) != KVANT_OK ||
        option_quantizer(value ? value : key ? key : fallback, &policy->value, &err) != KVANT_OK) {
        cli_usage(c, "%s", err.text);
        return false;
    }
    policy->sink = (uint32_t)sink;
    policy->window = (uint32_t)window;
    policy->seed = (uint32_t)seed;
    return true;
}

bool option_threads(const cli *c)
{
    long long threads;
    if (!cli_get_int(c, "threads", 1, 1024, 0, &threads))
        return false;
    if (threads > 0)
        omp_set_num_threads((int)threads);
    return true;
}

kvant_status model_session_open(model_session *s, const char *name, uint32_t context, kvant_error *err)
{
    const kvant_status status = input_find(name, &s->input, err);
    return status ? status : lm_open(s->input.path, context, &s->model, err);
}

kvant_status model_session_cache(model_session *s, const kvcache_policy *policy, size_t capacity, kvant_error *err)
{
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(s->model));
    const uint32_t n_context = lm_model_shape(s->model)->n_context;
    if (capacity > n_context)
        return kvant_fail(err, KVANT_INVALID, "%s: %zu tokens exceed the model's context of %u", s->input.name, capacity, n_context);
    const kvant_status status = kvcache_codecs_open(policy, &shape, NULL, &s->codecs, err);
    return status ? status : kvcache_open(&s->codecs, (uint32_t)capacity, &s->cache, err);
}

void model_session_close(model_session *s)
{
    kvcache_close(s->cache);
    kvcache_codecs_close(&s->codecs);
    lm_close(s->model);
    *s = (model_session){ 0 };
}
