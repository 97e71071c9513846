/* bench.c - `kvant bench`: one quantizer in a cache of its own, without a spec: tokens are appended and attended to one by one, as a
 * server does, and what came out is compared with exact attention over the same vectors. */
#include "harness/cli.h"
#include "harness/input/dataset.h"
#include "harness/lm/attention.h"
#include "harness/measure/attended.h"
#include "harness/measure/stats.h"
#include "harness/options.h"
#include "harness/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys, values and queries are the thirds of the data; queries get the softmax's 1/sqrt(dim). */
typedef struct {
    uint32_t n;
    size_t dim;
    kvant_data data;
    const char *distribution;
    float *key, *value, *query;
    kvcache_codecs codecs;
    kvcache *cache;
    void *scratch;
    float *waiting;                /* what an append leaves in f16; nobody looks */
    float *output;                 /* [n][dim] */
    double *error;                 /* [n], relative, of outputs */
} bench;

typedef struct { char nmse[16]; uint32_t coded; } side_result;

static void close_bench(bench *b)
{
    kvcache_close(b->cache);
    kvcache_codecs_close(&b->codecs);
    data_free(&b->data);
    free(b->scratch);
    free(b->waiting);
    free(b->output);
    free(b->error);
}

static kvant_status make_data(bench *b, uint32_t dim, kvant_error *err)
{
    const kvant_dataset *synthetic = dataset_find("synthetic", err);
    if (!synthetic)
        return KVANT_INVALID;
    char given[96];
    snprintf(given, sizeof given, "dim=%u,n=%llu", dim, 3ull * b->n);
    kvant_args args = kvant_defaults(synthetic->params);
    kvant_status status = kvant_parse(synthetic->params, given, &args, err);
    if (!status)
        status = kvant_set(synthetic->params, "distribution", b->distribution, &args, err);
    if (!status)
        status = synthetic->load(NULL, &args, &b->data, err);
    if (status)
        return status;
    b->dim = dim;
    b->key = b->data.x;
    b->value = b->key + b->n * b->dim;
    b->query = b->value + b->n * b->dim;
    for (size_t i = 0; i < b->n * b->dim; i++)
        b->query[i] /= (float)sqrt((double)dim);
    return KVANT_OK;
}

static kvant_status make_cache(bench *b, const kvcache_policy *policy, kvant_error *err)
{
    uint32_t dim = (uint32_t)b->dim;
    const kvant_rope neighbours = { KVANT_ROPE_INTERLEAVED, dim / 2 * 2 };     /* are pairs, for methods that ask */
    const kvcache_shape shape = { .n_layer = 1, .n_kv_head = 1, .head_dim = dim, .rope = neighbours };
    kvant_status status = kvcache_codecs_open(policy, &shape, NULL, &b->codecs, err);
    if (!status)
        status = kvcache_open(&b->codecs, b->n, &b->cache, err);
    if (status)
        return status;
    const kvcache_rule key = kvcache_rule_of(&b->codecs, 0, 0, KVANT_KEY), value = kvcache_rule_of(&b->codecs, 0, 0, KVANT_VALUE);
    size_t decode = attention_decode_scratch(&b->codecs, 1), append = kvcache_scratch(&b->codecs);
    size_t keys = kvcache_waiting_max(&key, 1), values = kvcache_waiting_max(&value, 1);
    b->scratch = kvant_alloc(decode > append ? decode : append);
    b->waiting = kvant_alloc((keys > values ? keys : values) * b->dim * sizeof *b->waiting);
    b->output = kvant_alloc(b->n * b->dim * sizeof *b->output);
    b->error = calloc(b->n, sizeof *b->error);
    if (!b->scratch || !b->waiting || !b->output || !b->error)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %u tokens; lower --n", b->n);
    return KVANT_OK;
}

/* Seconds for all tokens, appended only or attended to as well. */
static kvant_status fill(bench *b, bool attend, double *seconds, kvant_error *err)
{
    kvcache_reset(b->cache);
    const double began = seconds_now();
    for (uint32_t t = 0; t < b->n; t++) {
        const float *k = b->key + t * b->dim, *v = b->value + t * b->dim;
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        if (attend) {
            attention_decode(b->cache, 0, 0, k, v, b->query + t * b->dim, 1, &(attention_layer) { .cap = 0 },
                             b->output + t * b->dim, b->scratch);
        } else {
            kvcache_append(b->cache, 0, 0, KVANT_KEY, k, b->dim, 1, false, b->waiting, NULL, b->scratch);
            kvcache_append(b->cache, 0, 0, KVANT_VALUE, v, b->dim, 1, false, b->waiting, NULL, b->scratch);
        }
        kvcache_advance(b->cache, 1);
    }
    *seconds = seconds_now() - began;
    return KVANT_OK;
}

static kvant_status compare_outputs(bench *b, kvant_error *err)
{
    double *weight = calloc(b->n, sizeof *weight), *exact = calloc(b->dim, sizeof *exact);
    kvant_status status = weight && exact ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for %u weights", b->n);
    for (uint32_t t = 0; t < b->n && !status; t++) {
        attended_exact(b->query + t * b->dim, 1, b->key, b->value, b->dim, t + 1, b->dim, weight, exact);
        double error_sq = 0, norm_sq = 0;
        for (size_t i = 0; i < b->dim; i++) {
            double e = exact[i] - b->output[t * b->dim + i];
            error_sq += e * e;
            norm_sq += exact[i] * exact[i];
        }
        b->error[t] = sqrt(error_sq / norm_sq);
        if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
    }
    free(weight);
    free(exact);
    return status;
}

/* Of the tokens that are in codes when all are there; those that wait for their block are f16 and do not count. */
static side_result compare_side(const bench *b, kvant_side side, const float *x)
{
    const kvcache_rule rule = kvcache_rule_in(b->cache, 0, 0, side);
    side_result result = { .coded = kvcache_coded(&rule, b->n) };
    kvcache_run runs[KVCACHE_RUNS];
    size_t n_runs = kvcache_runs(b->cache, 0, 0, side, b->n, runs);
    double error_sq = 0, norm_sq = 0;
    for (size_t r = 0; r < n_runs; r++)
        for (uint32_t i = 0; i < runs[r].n && runs[r].codec == rule.codec; i++) {
            float *decoded = b->output;        /* compared by now */
            const float *want = x + (runs[r].position + i) * b->dim;
            kvant_decode(rule.codec, runs[r].code, runs[r].first + i, 1, decoded, b->scratch);
            for (size_t j = 0; j < b->dim; j++) {
                double e = (double)want[j] - decoded[j];
                error_sq += e * e;
                norm_sq += (double)want[j] * want[j];
            }
        }
    snprintf(result.nmse, sizeof result.nmse, "-");
    if (result.coded)
        snprintf(result.nmse, sizeof result.nmse, "%.5g", error_sq / norm_sq);
    return result;
}

/* --bits, over what the parameters say. */
static kvant_status set_bits(const char *bits, kvcache_side *side, kvant_error *err)
{
    if (!param_find(side->quantizer->params, "bits"))
        return kvant_fail(err, KVANT_INVALID, "--bits %.40s: %s has no parameter `bits`; leave the option out (`kvant list %s` shows what "
                          "there is)", bits, side->quantizer->name, side->quantizer->name);
    return kvant_set(side->quantizer->params, "bits", bits, &side->args, err);
}

/* ---- The table --------------------------------------------------------------------------------- */

static void print_table(const bench *b, const char *given, const char *given_value, const char *bits, side_result key, side_result value,
                        double append, double both)
{
    const kvant_codec *kc = kvcache_codec(&b->codecs, 0, 0, KVANT_KEY), *vc = kvcache_codec(&b->codecs, 0, 0, KVANT_VALUE);
    kvcache_bytes bytes = kvcache_accounted(&b->codecs, b->n);
    stats_mean error = stats_of(b->error, b->n);
    printf("%s%s%s%s%s, %zu dimensions, %u tokens of %s vectors\n\n", given, given_value ? " and " : "", given_value ? given_value : "",
           bits ? " with bits=" : "", bits ? bits : "", b->dim, b->n, b->distribution);
    printf("%-22s %12s %12s\n", "", "keys", "values");
    printf("%-22s %12s %12s\n", "nmse", key.nmse, value.nmse);
    printf("%-22s %12u %12u\n", "tokens in codes", key.coded, value.coded);
    printf("%-22s %12.4g %12.4g\n", "bits per coordinate", kvant_bits(kc), kvant_bits(vc));
    printf("%-22s %12.1f %12.1f\n", "bytes per token", (double)bytes.key / b->n, (double)bytes.value / b->n);
    printf("%-22s %12.1f %12.1f\n", "  as f16", (double)bytes.f16_key / b->n, (double)bytes.f16_value / b->n);
    printf("%-22s %12zu %12zu\n", "bytes of state", kc->plan.state, vc->plan.state);
    printf("%-22s %12s %12s\n\n", "kernel", kc->target, vc->target);
    printf("%-22s %12.5g +- %.2g   |o - o^| / |o|, mean over tokens\n", "output error", error.mean, error.se);
    printf("%-22s %12.0f ns per token\n", "append", append / b->n * 1e9);
    printf("%-22s %12.0f ns per token, which attends to %g others in the mean\n", "append and attend", both / b->n * 1e9,
           (b->n - 1) / 2.0);
    if (kc->plan.note[0])
        printf("\nnote: %s\n", kc->plan.note);
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *given = cli_arg(c, 0), *value = cli_get(c, "value"), *distribution = cli_get(c, "distribution");
    const char *bits = cli_get(c, "bits");
    long long dim, n, seed;
    if (!cli_get_int(c, "dim", 8, 4096, 128, &dim) || !cli_get_int(c, "n", 2, 65536, 1000, &n) ||
        !cli_get_int(c, "seed", 0, UINT32_MAX, 0, &seed))
        return EXIT_USAGE;
    bench b = { .n = (uint32_t)n, .distribution = distribution ? distribution : "gaussian" };
    kvcache_policy policy = { .seed = (uint32_t)seed, .isa = cli_get(c, "isa") };
    double append = 0, both = 0;
    states *kept;
    kvant_status status = option_states(c, &policy, &kept, &err);
    if (!status)
        status = option_quantizer(given, &policy.key, &err);
    if (!status)
        status = option_quantizer(value ? value : given, &policy.value, &err);
    if (!status && bits)
        status = set_bits(bits, &policy.key, &err);
    if (!status && bits)
        status = set_bits(bits, &policy.value, &err);
    if (!status)
        status = make_data(&b, (uint32_t)dim, &err);
    if (!status)
        status = make_cache(&b, &policy, &err);
    if (!status)
        status = fill(&b, false, &append, &err);
    if (!status)
        status = fill(&b, true, &both, &err);
    if (!status)
        status = compare_outputs(&b, &err);
    if (!status) {
        side_result keys = compare_side(&b, KVANT_KEY, b.key), values = compare_side(&b, KVANT_VALUE, b.value);
        print_table(&b, given, value, bits, keys, values, append, both);
    }
    close_bench(&b);
    states_close(kept);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    { "value", "QUANTIZER", "values' quantizer (default: the keys')", false },
    { "bits", "N", "bits of both quantizers, over what PARAMETERS say", false },
    { "dim", "N", "coordinates of a vector (default 128)", false },
    { "n", "N", "tokens (default 1000)", false },
    { "distribution", "NAME", "of keys, values and queries, as in the dataset `synthetic` (default gaussian)", false },
    { "seed", "N", "seed of rotations (default 0)", false },
    { "isa", "TARGET", "kernels to use: auto, scalar, or a target (default auto)", false },
    OPTION_STATES,
    { NULL, NULL, NULL, false },
};

const cli_command command_bench = {
    .name = "bench",
    .arguments = "QUANTIZER[:PARAMETERS]",
    .min_args = 1,
    .max_args = 1,
    .summary = "try one quantizer on synthetic vectors: error, bytes and time",
    .details = "Keys and values are appended to a cache of one head token by token, and each token's query attends to all that are "
               "there. Errors are against exact attention over the same vectors. Times are of one thread and one run: `kvant run` "
               "with the probe throughput repeats them.",
    .example = "# two bits after a Hadamard rotation\n"
               "kvant bench turboquant_mse:rotation=hadamard --dim 128 --bits 2 --n 1000",
    .options = options,
    .run = run,
};
