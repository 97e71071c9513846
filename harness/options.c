/* options.c - reads the options that several commands share (harness/options.h).
 * What is wrong with one is said once, in the words of kvant_parse or kvant_find. */
#include "harness/options.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

/* "turboquant_mse:bits=4,rotation=haar" */
static kvant_status parse_quantizer(const char *given, kvcache_side *side, kvant_error *err)
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
    if (parse_quantizer(key ? key : fallback, &policy->key, &err) != KVANT_OK ||
        parse_quantizer(value ? value : key ? key : fallback, &policy->value, &err) != KVANT_OK) {
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
