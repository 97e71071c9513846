/* throughput.c - what a quantizer costs: encode, decode, score and mix per vector on one thread, and with a model its prefill and
 * decode at a depth of real text, by part. A unit is one repeat: repeats of different cells interleave, and drift meets all alike. */
#include "harness/lm/generate.h"
#include "harness/measure/footprint.h"
#include "harness/measure/stats.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT, QUERIES, MIN_MS, REPEATS, DEPTH, STEPS, BATCH };

static const kvant_param params[] = {
    { "n", "vectors that the codec is timed on, Gaussian; rounded down to whole blocks", KVANT_INT, 4096, 64, 1 << 20, NULL },
    { "queries", "queries that share the codes in score and mix; 0 = query heads per KV head of the model, 1 without one",
      KVANT_INT, 0, 0, 256, NULL },
    { "min_ms", "milliseconds that a timing must last at least: it is repeated until it does", KVANT_REAL, 20, 0.1, 10000, NULL },
    { "repeats", "timings of everything, whose median and best are reported", KVANT_INT, 5, 1, 10000, NULL },
    { "depth", "model: tokens in the cache before the decode steps; several give a curve", KVANT_INT, 512, 0, 1 << 20, NULL },
    { "steps", "model: decode steps of a timing", KVANT_INT, 16, 1, 65536, NULL },
    { "batch", "model: tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

/* A name without _min or _max is a sample's too: results are its median and, where the next row's name extends it, its best. */
static const probe_metric metrics[] = {
    { "encode_ns", "ns", "to encode a vector on one thread, with a model the mean of keys and values; median", -1, true },
    { "encode_ns_min", "ns", "the least over repeats", -1, true },
    { "encode_gb_per_s", "GB/s", "f32 bytes encoded per second; median", 1, true },
    { "decode_ns", "ns", "to decode a vector on one thread, with a model the mean of keys and values; median", -1, true },
    { "decode_ns_min", "ns", "the least over repeats", -1, true },
    { "decode_gb_per_s", "GB/s", "f32 bytes decoded per second; median", 1, true },
    { "score_ns", "ns", "to multiply a coded vector (key) with all queries, these prepared anew; one thread, median", -1, true },
    { "score_ns_min", "ns", "the least over repeats", -1, true },
    { "score_gb_per_s", "GB/s", "f32 bytes of the vectors scored per second; median", 1, true },
    { "mix_ns", "ns", "to add a coded vector (value) to all queries' sums, these finished; one thread, median", -1, true },
    { "mix_ns_min", "ns", "the least over repeats", -1, true },
    { "mix_gb_per_s", "GB/s", "f32 bytes of the vectors mixed per second; median", 1, true },
    { "prefill_tokens_per_s", "tokens/s", "prefill from nothing to the depth; all threads, median", 1, true },
    { "prefill_tokens_per_s_max", "tokens/s", "the most over repeats", 1, true },
    { "prefill_last_tokens_per_s", "tokens/s", "the last prefill step alone, which ends at the depth; all threads, median", 1, true },
    { "prefill_last_tokens_per_s_max", "tokens/s", "the most over repeats", 1, true },
    { "prefill_matmul_ms", "ms", "of prefill per token: products with the weights; median", -1, true },
    { "prefill_encode_ms", "ms", "appending keys and values, and decoding the cache to tiles; median", -1, true },
    { "prefill_attention_ms", "ms", "products with tiles and softmaxes, which prefill does not tell apart; median", -1, true },
    { "prefill_rest_ms", "ms", "norms, RoPE, activations, embeddings; median", -1, true },
    { "decode_tokens_per_s", "tokens/s", "decode steps of one sequence, from the depth on; all threads, median", 1, true },
    { "decode_tokens_per_s_max", "tokens/s", "the most over repeats", 1, true },
    { "decode_matmul_ms", "ms", "of a decode step: products with the weights, of the logits too; median", -1, true },
    { "decode_encode_ms", "ms", "appending a key and a value; median, and as those below by the shares of one head per layer", -1, true },
    { "decode_score_ms", "ms", "queries and their products with keys; median", -1, true },
    { "decode_mix_ms", "ms", "sums of values; median", -1, true },
    { "decode_rest_ms", "ms", "softmaxes, norms, RoPE, activations, embeddings; median", -1, true },
    FOOTPRINT_METRICS,
    { NULL, NULL, NULL, 0, false }
};

typedef struct {
    size_t n, dim, nq;
    float *x, *q, *w;              /* [n][dim], [nq][dim], [nq][n]: Gaussian, w the absolute value over n */
    uint32_t depth, steps, batch;
    int32_t *ids;                  /* [depth + steps] */
    float *logits;                 /* [n_vocab] */
} throughput;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)(args->v[DEPTH] + args->v[STEPS]);
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    double tokens = data->x ? args->v[COUNT] : args->v[DEPTH] + args->v[STEPS];
    return args->v[REPEATS] * tokens;
}

static kvant_status make_vectors(throughput *p, kvant_error *err)
{
    p->x = kvant_alloc(p->n * p->dim * sizeof *p->x);
    p->q = kvant_alloc(p->nq * p->dim * sizeof *p->q);
    p->w = kvant_alloc(p->nq * p->n * sizeof *p->w);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (p->x && p->q && p->w && rng) {
        gsl_rng_set(rng, 1);
        for (size_t i = 0; i < p->n * p->dim; i++)
            p->x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
        for (size_t i = 0; i < p->nq * p->dim; i++)
            p->q[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
        for (size_t i = 0; i < p->nq * p->n; i++)
            p->w[i] = (float)(fabs(gsl_ran_gaussian_ziggurat(rng, 1)) / (double)p->n);
    }
    bool made = p->x && p->q && p->w && rng;
    gsl_rng_free(rng);
    return made ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "throughput: no memory for %zu vectors of %zu; lower n", p->n, p->dim);
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    throughput *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "throughput: no memory");
    job->n_units = (size_t)v[REPEATS];
    p->n = (size_t)v[COUNT];
    p->nq = v[QUERIES] > 0 ? (size_t)v[QUERIES] : 1;
    if (job->vectors) {
        p->dim = job->data->dim;
        return make_vectors(p, err);
    }
    const lm_shape *shape = lm_model_shape(job->model);
    p->dim = shape->head_dim;
    if (v[QUERIES] == 0)
        p->nq = shape->n_head / shape->n_kv_head;
    p->depth = (uint32_t)v[DEPTH];
    p->steps = (uint32_t)v[STEPS];
    p->batch = (uint32_t)v[BATCH];
    p->logits = kvant_alloc(shape->n_vocab * sizeof *p->logits);
    if (!p->logits)
        return kvant_fail(err, KVANT_NOMEM, "throughput: no memory for logits");
    kvant_status status = probe_chunks(job, context_of(&job->args), 1, &p->ids, err);
    return status ? status : make_vectors(p, err);
}

static void close_job(probe_job *job)
{
    throughput *p = job->state;
    if (!p)
        return;
    free(p->x);
    free(p->q);
    free(p->w);
    free(p->ids);
    free(p->logits);
    free(p);
    job->state = NULL;
}

static void emit_one(probe_job *job, size_t cell, const char *metric, size_t repeat, double value)
{
    job->emit(job, cell, &(probe_sample) { metric, (uint32_t)repeat, 0, value, 1 });
}

/* ---- The codec ------------------------------------------------------------------------------- */

/* Codec, codes and scratch of one side. */
typedef struct { const kvant_codec *codec; uint8_t *code; void *scratch; } side;

typedef struct {
    const throughput *p;
    size_t n;                      /* whole blocks */
    side sides[2];                 /* key, value; of vectors one */
    size_t n_sides;
    void *prepared;                /* [nq] of the first side */
    float *decoded, *dot, *acc, *out;   /* [n][dim], [nq][n], [nq][acc of the last side], [nq][dim] */
} bench;

static void run_encode(const bench *b)
{
    for (const side *s = b->sides; s < b->sides + b->n_sides; s++)
        kvant_encode(s->codec, b->p->x, 0, b->n, s->code, s->scratch);
}

static void run_decode(const bench *b)
{
    for (const side *s = b->sides; s < b->sides + b->n_sides; s++)
        kvant_decode(s->codec, s->code, 0, b->n, b->decoded, s->scratch);
}

static void run_score(const bench *b)
{
    const side *key = &b->sides[0];
    kvant_query(key->codec, b->p->q, b->p->nq, b->prepared, key->scratch);
    kvant_score(key->codec, b->prepared, b->p->nq, key->code, 0, b->n, b->dot, key->scratch);
}

static void run_mix(const bench *b)
{
    const side *value = &b->sides[b->n_sides - 1];
    memset(b->acc, 0, b->p->nq * value->codec->acc * sizeof *b->acc);
    kvant_mix(value->codec, b->p->w, b->p->nq, value->code, 0, b->n, b->acc, value->scratch);
    kvant_finish(value->codec, b->acc, b->p->nq, b->out, value->scratch);
}

static const struct {
    void (*run)(const bench *b);
    bool both;                     /* sides are coded one after the other */
    const char *ns, *rate;
} operations[] = {
    { run_encode, true, "encode_ns", "encode_gb_per_s" },
    { run_decode, true, "decode_ns", "decode_gb_per_s" },
    { run_score, false, "score_ns", "score_gb_per_s" },
    { run_mix, false, "mix_ns", "mix_gb_per_s" },
};

static void bench_close(bench *b)
{
    for (size_t i = 0; i < b->n_sides; i++) {
        free(b->sides[i].code);
        free(b->sides[i].scratch);
    }
    free(b->prepared);
    free(b->decoded);
    free(b->dot);
    free(b->acc);
    free(b->out);
}

static kvant_status bench_open(const probe_job *job, size_t cell, bench *b, kvant_error *err)
{
    const throughput *p = job->state;
    *b = (bench) { .p = p, .n_sides = job->vectors ? 1 : 2 };
    b->sides[0].codec = job->vectors ? &job->vectors[cell] : kvcache_codec(&job->codecs[cell], 0, 0, KVANT_KEY);
    b->sides[1].codec = job->vectors ? NULL : kvcache_codec(&job->codecs[cell], 0, 0, KVANT_VALUE);
    size_t block = 1;
    for (size_t i = 0; i < b->n_sides; i++)
        block *= b->sides[i].codec->plan.block;
    b->n = p->n / block * block;
    if (b->n == 0)
        return kvant_fail(err, KVANT_INVALID, "throughput: %zu vectors hold no whole block of %zu; raise n", p->n, block);

    const kvant_codec *key = b->sides[0].codec, *value = b->sides[b->n_sides - 1].codec;
    bool made = true;
    for (size_t i = 0; i < b->n_sides; i++) {
        side *s = &b->sides[i];
        s->code = kvant_alloc(kvant_bytes(s->codec, b->n));
        s->scratch = kvant_alloc(s->codec->scratch ? s->codec->scratch : 1);
        made = made && s->code && s->scratch;
    }
    b->prepared = kvant_alloc(p->nq * key->query + 1);
    b->decoded = kvant_alloc(b->n * p->dim * sizeof(float));
    b->dot = kvant_alloc(p->nq * b->n * sizeof(float));
    b->acc = kvant_alloc((p->nq * value->acc + 1) * sizeof(float));
    b->out = kvant_alloc(p->nq * p->dim * sizeof(float));
    if (made && b->prepared && b->decoded && b->dot && b->acc && b->out)
        return KVANT_OK;
    bench_close(b);
    return kvant_fail(err, KVANT_NOMEM, "throughput: no memory for codes of %zu vectors; lower n", b->n);
}

/* Seconds of one run. Runs are doubled until they last `least` seconds, so that the clock's grain does not show; the rounds before
 * the last warm up caches and branches. */
static double time_runs(const bench *b, void (*run)(const bench *), double least)
{
    for (double runs = 1;; runs *= 2) {
        double start = seconds_now();
        for (double i = 0; i < runs; i++)
            run(b);
        double took = seconds_now() - start;
        if (took >= least)
            return took / runs;
    }
}

/* Whether one codec of each side stands for all groups: a mixed allocation has no cost per vector. */
static bool alike(const kvcache_codecs *codecs)
{
    const size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head * 2;
    for (size_t i = 2; i < groups; i++) {
        const kvant_codec *a = codecs->of[i], *b = codecs->of[i % 2];
        if (a->quantizer != b->quantizer || memcmp(&a->args, &b->args, sizeof a->args))
            return false;
    }
    return true;
}

static kvant_status time_codec(probe_job *job, size_t repeat, size_t cell, kvant_error *err)
{
    bench b;
    kvant_status status = bench_open(job, cell, &b, err);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        double seconds = time_runs(&b, operations[i].run, job->args.v[MIN_MS] / 1e3);
        double vectors = (double)b.n * (operations[i].both ? (double)b.n_sides : 1);
        emit_one(job, cell, operations[i].ns, repeat, seconds / vectors * 1e9);
        emit_one(job, cell, operations[i].rate, repeat, vectors * (double)b.p->dim * sizeof(float) / seconds / 1e9);
    }
    bench_close(&b);
    return KVANT_OK;
}

/* ---- The model ------------------------------------------------------------------------------- */

/* Milliseconds per token by part, between two readings. */
static void emit_parts(probe_job *job, size_t cell, size_t repeat, bool decode, const lm_times *a, const lm_times *b, double tokens)
{
    const double matmul = b->matmul - a->matmul, encode = b->encode - a->encode, attention = b->attention - a->attention;
    const double score = b->score - a->score, mix = b->mix - a->mix, rest = b->rest - a->rest, ms = 1e3 / tokens;
    emit_one(job, cell, decode ? "decode_matmul_ms" : "prefill_matmul_ms", repeat, matmul * ms);
    emit_one(job, cell, decode ? "decode_encode_ms" : "prefill_encode_ms", repeat, encode * ms);
    if (decode) {
        emit_one(job, cell, "decode_score_ms", repeat, score * ms);
        emit_one(job, cell, "decode_mix_ms", repeat, mix * ms);
        emit_one(job, cell, "decode_rest_ms", repeat, (rest + attention - score - mix) * ms);
    } else {
        emit_one(job, cell, "prefill_attention_ms", repeat, attention * ms);
        emit_one(job, cell, "prefill_rest_ms", repeat, rest * ms);
    }
}

static kvant_status time_steps(probe_job *job, size_t repeat, size_t cell, kvcache *cache, kvant_error *err)
{
    static const uint8_t wanted = 1;
    const throughput *p = job->state;
    const uint32_t last = p->depth < p->batch ? p->depth : p->batch;
    const lm_times empty = lm_times_of(job->model);
    double start = seconds_now(), middle = start;
    kvant_status status = KVANT_OK;
    if (p->depth > last) {
        status = lm_prefill(job->model, cache, p->ids, p->depth - last, p->batch, p->logits, err);
        middle = seconds_now();
    }
    if (!status && last)
        status = lm_prefill(job->model, cache, p->ids + p->depth - last, last, p->batch, p->logits, err);
    const lm_times full = lm_times_of(job->model);
    double filled = seconds_now();
    for (uint32_t i = 0; i < p->steps && !status; i++) {
        lm_segment segment = { cache, p->ids + p->depth + i, 1, &wanted };
        status = lm_forward(job->model, LM_DECODE, &segment, 1, p->logits, NULL, err);
    }
    if (status)
        return status;
    const double end = seconds_now();
    const lm_times done = lm_times_of(job->model);
    if (p->depth) {
        emit_one(job, cell, "prefill_tokens_per_s", repeat, p->depth / (filled - start));
        emit_one(job, cell, "prefill_last_tokens_per_s", repeat, last / (filled - middle));
        emit_parts(job, cell, repeat, false, &empty, &full, p->depth);
    }
    emit_one(job, cell, "decode_tokens_per_s", repeat, p->steps / (end - filled));
    emit_parts(job, cell, repeat, true, &full, &done, p->steps);
    if (repeat == 0)
        footprint_emit(job, cell, cache);
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "throughput: interrupted");
    kvant_status status = job->vectors || alike(&job->codecs[cell]) ? time_codec(job, index, cell, err) : KVANT_OK;
    if (status || job->vectors)
        return status;
    kvcache *cache = NULL;
    status = kvcache_open(&job->codecs[cell], context_of(&job->args), &cache, err);
    if (!status)
        status = time_steps(job, index, cell, cache, err);
    kvcache_close(cache);
    return status;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "throughput: no memory for %zu samples", n);
    size_t timed = 0;
    for (const probe_metric *m = metrics; m->name; m++) {
        size_t repeats = probe_values(samples, n, m->name, x, x + n);
        if (!repeats)
            continue;
        timed += repeats;
        result(user, &(probe_result) { m->name, stats_median(x, repeats), (double)repeats, NAN, NAN, NAN });
        size_t length = strlen(m->name);
        const char *best = m[1].name;
        if (best && !strncmp(best, m->name, length) && (!strcmp(best + length, "_min") || !strcmp(best + length, "_max")))
            /* stats_median has sorted x */
            result(user, &(probe_result) { best, m->better < 0 ? x[0] : x[repeats - 1], (double)repeats, NAN, NAN, NAN });
    }
    free(x);
    return timed ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "throughput: nothing was timed");
}

const kvant_probe probe_throughput = {
    .name = "throughput",
    .summary = "time of encode, decode, score and mix, and of a model's prefill and decode at a depth, by part",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_vectors = true, .held_counts = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
