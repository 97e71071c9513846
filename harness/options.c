/* options.c - reads the options that several commands share (harness/options.h).
 * What is wrong with one is said once, in the words of kvant_parse or kvant_find. */
#include "harness/experiment/spec.h"
#include "harness/options.h"
#include "harness/sysinfo.h"
#include "harness/weights.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

/* One of two words; the first is the default. */
static bool option_choice(const cli *c, const char *option, const char *first, const char *second, bool *is_second)
{
    const char *given = cli_get(c, option);
    *is_second = given && !strcmp(given, second);
    if (!given || *is_second || !strcmp(given, first))
        return true;
    cli_usage(c, "--%s %.40s: must be %s or %s", option, given, first, second);
    return false;
}

/* One of the words that a policy's key may be in specs; without the option the default, 0. */
static bool option_word(const cli *c, const char *option, spec_kind kind, int *index)
{
    const char *given = cli_get(c, option);
    kvant_error why;
    *index = 0;
    if (!given || spec_find_word(kind, given, index, &why) == KVANT_OK)
        return true;
    cli_usage(c, "--%s %.40s: %s", option, given, why.text);
    return false;
}

bool option_policy(const cli *c, const char *fallback, kvcache_policy *policy)
{
    kvant_error err = { "" };
    long long sink, window, seed;
    int sliding, prefill, stage, reads;
    const char *key = cli_get(c, "key"), *value = cli_get(c, "value");
    *policy = (kvcache_policy){ .isa = cli_get(c, "isa") };
    if (!cli_get_int(c, "sink", 0, INT_MAX, 0, &sink) || !cli_get_int(c, "window", 0, INT_MAX, 0, &window) ||
        !cli_get_int(c, "seed", 0, UINT_MAX, 0, &seed) || !option_word(c, "sliding", SPEC_SLIDING, &sliding) ||
        !option_word(c, "prefill", SPEC_PREFILL, &prefill) || !option_word(c, "key-stage", SPEC_KEY_STAGE, &stage) ||
        !option_word(c, "decode-reads", SPEC_DECODE_READS, &reads))
        return false;
    if (option_quantizer(key ? key : fallback, &policy->key, &err) != KVANT_OK ||
        option_quantizer(value ? value : key ? key : fallback, &policy->value, &err) != KVANT_OK) {
        cli_usage(c, "%s", err.text);
        return false;
    }
    policy->sink = (uint32_t)sink;
    policy->window = (uint32_t)window;
    policy->seed = (uint32_t)seed;
    policy->sliding = (kvcache_sliding_layers)sliding;
    policy->prefill = (kvcache_prefill)prefill;
    policy->key_stage = (kvcache_key_stage)stage;
    policy->decode_reads = (kvcache_reads)reads;
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

kvant_status option_states(const cli *c, kvcache_policy *policy, states **s, kvant_error *err)
{
    const char *folder = cli_get(c, "states");
    *s = NULL;
    kvant_status status = folder ? states_open(folder, STATES_READ, s, err) : KVANT_OK;
    if (*s)
        policy->states = states_for_cache(*s);
    return status;
}

static kvant_status model_cache_shape(const char *name, kvcache_shape *shape, kvant_error *err)
{
    kvant_input input;
    gguf *file = NULL;
    lm_shape model;
    kvant_status status = input_find(name, &input, err);
    if (!status)
        status = gguf_open(input.path, &file, err);
    if (!status)
        status = lm_read_shape(file, &model, err);
    if (!status)
        *shape = lm_cache_shape(&model);
    gguf_close(file);
    return status;
}

kvant_status option_sources(const cli *c, states_source sources[SOURCES_MAX], size_t *n, kvant_error *err)
{
    static const char *const sides[] = { [KVANT_KEY] = "key", [KVANT_VALUE] = "value", [KVANT_VECTOR] = "vector", NULL };
    const char *quantizer = cli_get(c, "quantizer"), *model = cli_get(c, "model"), *side = cli_get(c, "side");
    kvcache_shape cache = { .head_dim = 128 };
    kvcache_side wanted;
    long long dim, seed;
    int first = model ? KVANT_KEY : KVANT_VECTOR, last = model ? KVANT_VALUE : KVANT_VECTOR;
    if (!quantizer)
        return kvant_fail(err, KVANT_INVALID, "--quantizer is needed, e.g. turboquant_mse:bits=3");
    kvant_status status = option_quantizer(quantizer, &wanted, err);
    if (!status && model)
        status = model_cache_shape(model, &cache, err);
    if (status)
        return status;
    if (!cli_get_int(c, "dim", 8, 4096, cache.head_dim, &dim) || !cli_get_int(c, "seed", 0, UINT_MAX, 0, &seed))
        return kvant_fail(err, KVANT_INVALID, "--dim and --seed are whole numbers");
    for (int i = 0; side && i <= KVANT_VECTOR; i++)
        if (!strcmp(side, sides[i]))
            first = last = i;
    if (side && strcmp(side, sides[first]))
        return kvant_fail(err, KVANT_INVALID, "--side %.40s: must be key, value or vector", side);
    *n = 0;
    for (int i = first; i <= last; i++)
        sources[(*n)++] = (states_source){ .quantizer = wanted.quantizer, .args = wanted.args,
                                           .shape = { .dim = (uint32_t)dim, .side = (kvant_side)i, .seed = (uint32_t)seed,
                                                      .rope = i == KVANT_VECTOR ? (kvant_rope){ 0 } : cache.rope } };
    return KVANT_OK;
}

/* "2,3,4" */
static bool option_candidates(const cli *c, double candidates[ALLOCATION_CANDIDATES], size_t *n)
{
    const char *given = cli_get(c, "candidates"), *at = given ? given : "4,8";
    for (*n = 0;; at++) {
        char *end;
        const double value = strtod(at, &end);
        if (end == at || !isfinite(value) || (*end && *end != ',') || *n == ALLOCATION_CANDIDATES) {
            cli_usage(c, "--candidates %.60s: must be up to %d numbers of bits, as in 2,3,4", given, ALLOCATION_CANDIDATES);
            return false;
        }
        candidates[(*n)++] = value;
        at = end;
        if (!*at)
            return true;
    }
}

bool option_sensitivity(const cli *c, const char *model, double candidates[ALLOCATION_CANDIDATES], sensitivity_request *r)
{
    kvant_error err = { "" };
    long long n, length, draw, seed;
    bool heads, apart, per_layer;
    const char *key = cli_get(c, "key") ? cli_get(c, "key") : "turboquant_mse", *value = cli_get(c, "value");
    const char *weights = cli_get(c, "weights");
    *r = (sensitivity_request){ .model = model, .data = cli_get(c, "data"), .candidates = candidates, .weights = WEIGHTS_KL,
                                .isa = cli_get(c, "isa") };
    if (!r->data) {
        cli_usage(c, "--data is missing: the text that the model reads; `kvant list data` shows those known");
        return false;
    }
    if (!option_candidates(c, candidates, &r->n_candidates) || !option_choice(c, "groups", "layer", "head", &heads) ||
        !option_choice(c, "sides", "together", "apart", &apart) || !option_choice(c, "seed-rule", "shared", "per_layer", &per_layer) ||
        !cli_get_int(c, "n", 1, INT_MAX, 5, &n) || !cli_get_int(c, "length", 1, INT_MAX, 512, &length) ||
        !cli_get_int(c, "calibration-seed", 0, UINT_MAX, 42, &draw) || !cli_get_int(c, "seed", 0, UINT_MAX, 0, &seed))
        return false;
    if (option_quantizer(key, &r->key, &err) || option_quantizer(value ? value : key, &r->value, &err) ||
        (weights && allocation_weights_find(weights, &r->weights, &err))) {
        cli_usage(c, "%s", err.text);
        return false;
    }
    r->groups = heads ? GROUPS_HEAD : GROUPS_LAYER;
    r->sides = apart ? SIDES_APART : SIDES_TOGETHER;
    r->seed_rule = per_layer ? SEED_PER_LAYER : SEED_SHARED;
    r->n = (uint32_t)n;
    r->length = (uint32_t)length;
    r->calibration_seed = (uint32_t)draw;
    r->seed = (uint32_t)seed;
    return true;
}

kvant_status model_session_open(model_session *s, const char *name, uint32_t context, const char *weights, kvant_error *err)
{
    int choice;
    gguf *file = NULL;
    lm_shape shape;
    kvant_status status = weights_find(weights, &choice, err);
    if (!status)
        status = input_find(name, &s->input, err);
    if (!status)
        status = gguf_open(s->input.path, &file, err);
    if (!status)
        status = lm_read_shape(file, &shape, err);
    if (!status) {
        const weights_size size = weights_size_of(file, &shape);
        gguf_close(file);
        return lm_open_as(s->input.path, context, weights_choose(choice, &size, sysinfo_memory("/")), &s->model, err);
    }
    gguf_close(file);
    return status;
}

kvant_status model_session_say(const model_session *s, uint32_t context, const int32_t *ids, size_t n, kvant_error *err)
{
    const lm_weights weights = lm_weights_of(s->model);
    if (weights == LM_WEIGHTS_F32)
        return KVANT_OK;
    fprintf(stderr, "%s: weights as %s\n", s->input.name, lm_weights_name(weights));
    if (weights != LM_WEIGHTS_BF16)
        return KVANT_OK;
    weights_effect effect;
    const kvant_status status = weights_measure(s->model, s->input.path, context, ids, n, &effect, err);
    if (!status)
        fprintf(stderr, "bf16 weights move logits by a mean KL of %.3g nats from f32, and by %.3g at most, over %zu tokens\n",
                effect.kl, effect.most, effect.tokens);
    return status;
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

bool option_table_format(const cli *c, report_format *format)
{
    static const struct { const char *name; report_format format; } formats[] = {
        { "table", REPORT_TABLE }, { "csv", REPORT_CSV }, { "json", REPORT_JSON },
    };
    const char *given = cli_get(c, "format");
    *format = REPORT_TABLE;
    for (size_t i = 0; given && i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(given, formats[i].name)) {
            *format = formats[i].format;
            return true;
        }
    if (given)
        cli_usage(c, "--format %.40s: must be table, csv or json", given);
    return !given;
}

size_t option_width(void)
{
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 60 ? size.ws_col : 0;
}
