/* distortion.c - what a quantizer does to vectors and to their inner products: on vectors as they are given, or on the keys and
 * values that a model makes of a text, per layer and KV head. Policies (sinks, windows) play no part: all vectors are coded. */
#include "harness/experiment/captured.h"
#include "harness/measure/entropy.h"
#include "harness/measure/fidelity.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT, SEEDS, CONTEXT, CHUNKS, BATCH };

static const kvant_param params[] = {
    { "n", "vector data: vectors to take from the beginning; 0 = all", KVANT_INT, 0, 0, 1u << 30, NULL },
    { "seeds", "vector data: seeds of the quantizer, upwards from its own, that code all vectors; errors are then over them",
      KVANT_INT, 1, 1, 1 << 16, NULL },
    { "context", "text: tokens of a chunk", KVANT_INT, 512, 16, 1 << 20, NULL },
    { "chunks", "text: chunks, from its beginning", KVANT_INT, 4, 1, 1 << 20, NULL },
    { "batch", "text: tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

#define IP_QUERIES "; queries are other keys of the head"

static const probe_metric metrics[] = {
    { "nmse", "", "sum of |x - x^|^2 over sum of |x|^2", -1, false },
    { "cosine", "", "mean cosine of the angle between x and x^", 1, false },
    { "ip_slope", "", "slope of <y,x^> over <y,x>, least squares through 0; queries y are other vectors; 1: no bias", 0, false },
    { "ip_variance", "", "d times the variance of <y,x^> for unit x and y, y made perpendicular to x", -1, false },
    { "ip_bias", "", "mean of <y,x^ - x> / |x||y|", 0, false },
    { "ip_along", "", "mean of <x,x^ - x> / |x|^2: the bias of a query along x", 0, false },
    { "ip_along_sq", "", "d times the mean of its square", -1, false },
    { "nmse_key", "", "nmse of post-RoPE keys; samples per layer (chunk) and head (idx), errors over chunks of text", -1, false },
    { "cosine_key", "", "cosine of post-RoPE keys, likewise", 1, false },
    { "ip_slope_key", "", "ip_slope of post-RoPE keys, likewise" IP_QUERIES, 0, false },
    { "ip_variance_key", "", "ip_variance of post-RoPE keys, likewise" IP_QUERIES, -1, false },
    { "ip_bias_key", "", "ip_bias of post-RoPE keys, likewise" IP_QUERIES, 0, false },
    { "nmse_value", "", "nmse of values; samples per layer (chunk) and head (idx), errors over chunks of text", -1, false },
    { "cosine_value", "", "cosine of values, likewise", 1, false },
    { "nmse_kv", "", "mean of nmse_key and nmse_value, errors over chunks of text", -1, false },
    { "key_norm_sq", "", "mean |k|^2 of post-RoPE keys, uncoded; samples per layer (chunk) and head (idx)", 0, false },
    { "value_norm_sq", "", "mean |v|^2 of values, likewise", 0, false },
    { "entropy_bits", "bits", "per coordinate if each symbol had its ideal length under one table of the cell, and all else its fixed "
      "one: compare with bits_stored; of methods that name symbols, up to 12 bits", -1, false },
    { "entropy_bits_key", "bits", "the same of keys, under one table for all layers and heads", -1, false },
    { "entropy_bits_value", "bits", "the same of values", -1, false },
    { "overhead_bits", "bits", "per coordinate, stored beside the symbols: norms, scales, zeros, padding", -1, false },
    { "overhead_bits_key", "bits", "the same of keys, in the mean over layers and heads", -1, false },
    { "overhead_bits_value", "bits", "the same of values", -1, false },
    { "ip_bias_at_N", "", "mean of <y,x^ - x> for unit x and unit y at N degrees to x, in the plane of x and a query", 0, false },
    { "ip_variance_at_N", "", "d times the variance of <y,x^> for such x and y; at 90 degrees ip_variance", -1, false },
    { "dim", "", "samples only: coordinates of a vector", 0, false },
    { "symbol_count", "", "samples only: how often a symbol (idx) occurs in a stretch (chunk) of the vectors", 0, false },
    { "symbol_count_key", "", "samples only: the same of keys, by chunk of text", 0, false },
    { "symbol_count_value", "", "samples only: the same of values", 0, false },
    { NULL, NULL, NULL, 0, false }
};

/* Metrics of each side of a cache, by figure; values are mixed, not multiplied with queries. */
static const char *const key_metrics[FIDELITY_N] = { "nmse_key", "cosine_key", "ip_slope_key", "ip_variance_key", "ip_bias_key" };
static const char *const value_metrics[FIDELITY_N] = { "nmse_value", "cosine_value", NULL, NULL, NULL };

/* Symbols of vectors, keys and values: what is counted, what is stored beside it, and what both come to. */
static const struct { const char *counts, *overhead, *bits; } entropies[] = {
    { "symbol_count", "overhead_bits", "entropy_bits" },
    { "symbol_count_key", "overhead_bits_key", "entropy_bits_key" },
    { "symbol_count_value", "overhead_bits_value", "entropy_bits_value" },
};

/* Vector data goes in units of UNIT vectors and clusters of CLUSTER, or the next multiple of the quantizer's block: the clusters
 * are what errors are taken over, and have queries of their own. With more than one seed all units of a seed follow each other,
 * and errors are over seeds: vectors that share a rotation or a sketch are no independent draws of it. */
enum { UNIT = 4096, CLUSTER = 128, MAX_CLUSTERS = UNIT / CLUSTER };

/* Symbols are counted by larger stretches, for a table is long: at least this many of all the data, so that there is an error. */
enum { STRETCHES = 8 };

typedef struct {
    size_t n, units;               /* vectors, 0 for text; units of one seed */
    /* of text: */
    int32_t *ids;                  /* [chunks][context] */
    captured chunk;                /* the one that begin ran */
    fidelity *measured;            /* [n_layer][n_kv_head][2]: key, value */
    uint64_t *count;               /* [STRETCHES], or [2] for key and value, of ENTROPY_SYMBOLS: of the unit and cell at work */
} distortion;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    if (!data->x)
        return args->v[CONTEXT] * args->v[CHUNKS];
    return args->v[SEEDS] * (args->v[COUNT] > 0 && args->v[COUNT] < (double)data->n ? args->v[COUNT] : (double)data->n);
}

static kvant_status open_text(probe_job *job, distortion *p, kvant_error *err)
{
    uint32_t chunks = (uint32_t)job->args.v[CHUNKS];
    uint32_t context = context_of(&job->args);
    job->n_units = chunks;
    kvant_status status = probe_chunks(job, context, chunks, &p->ids, err);
    if (!status)
        status = captured_open(&p->chunk, job->model, context, (uint32_t)job->args.v[BATCH], false, job->codecs[0].policy.isa,
                               "distortion", err);
    if (status)
        return status;
    p->measured = calloc((size_t)p->chunk.shape.n_layer * p->chunk.shape.n_kv_head * 2, sizeof *p->measured);
    return p->measured ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "distortion: no memory");
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    distortion *p = calloc(1, sizeof *p);
    job->state = p;
    if (p)
        p->count = calloc(STRETCHES * ENTROPY_SYMBOLS, sizeof *p->count);
    if (!p || !p->count)
        return kvant_fail(err, KVANT_NOMEM, "distortion: no memory");
    if (!job->vectors)
        return open_text(job, p, err);
    p->n = job->args.v[COUNT] > 0 ? (size_t)job->args.v[COUNT] : job->data->n;
    if (p->n > job->data->n || p->n < 2)
        return kvant_fail(err, KVANT_INVALID, "distortion: the data has %zu vectors, and %zu are asked for; 2 or more must be "
                          "there", job->data->n, p->n);
    for (size_t i = 0; i < job->n_cells; i++)
        if (job->args.v[SEEDS] > 1 && job->vectors[i].plan.train_min)
            return kvant_fail(err, KVANT_INVALID, "distortion: %s is trained, for the one seed that it has; remove `seeds`, or sweep "
                              "`seed`", job->vectors[i].quantizer->name);
    p->units = (p->n + UNIT - 1) / UNIT;
    job->n_units = (size_t)job->args.v[SEEDS] * p->units;
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    distortion *p = job->state;
    if (!p)
        return;
    captured_close(&p->chunk);
    free(p->ids);
    free(p->measured);
    free(p->count);
    free(p);
    job->state = NULL;
}

/* ---- Vectors --------------------------------------------------------------------------------- */

static void emit_figures(probe_job *job, size_t cell, const char *const names[FIDELITY_N], uint32_t chunk, uint32_t idx,
                         const fidelity *f)
{
    for (size_t i = 0; i < FIDELITY_N; i++)
        if (names[i] && f->weight[i] != 0)
            job->emit(job, cell, &(probe_sample) { names[i], chunk, idx, f->value[i], f->weight[i] });
}

/* Vectors first ... first+n-1 against queries that follow them in the data, the data's beginning after its end. */
static void measure_cluster(const kvant_codec *codec, const float *x, size_t total, size_t first, size_t n, float *queries,
                            fidelity_work *work, fidelity *result)
{
    size_t dim = codec->shape.dim, nq = total < FIDELITY_QUERIES ? total : FIDELITY_QUERIES;
    ptrdiff_t self[FIDELITY_QUERIES];
    for (size_t j = 0; j < nq; j++) {
        size_t i = (first + n + j) % total;
        self[j] = i >= first && i < first + n ? (ptrdiff_t)(i - first) : FIDELITY_NOT_CODED;
        memcpy(queries + j * dim, x + i * dim, dim * sizeof *queries);
    }
    fidelity_measure(codec, x + first * dim, n, queries, self, nq, work, result);
}

/* Stretches of a unit; with more than one seed a seed is the stretch. */
static size_t stretches_of(const probe_job *job)
{
    return job->n_units < STRETCHES && job->args.v[SEEDS] <= 1 ? (STRETCHES + job->n_units - 1) / job->n_units : 1;
}

/* `chunk` of the samples is the seed's number, and idx tells its clusters apart; with one seed, chunk is the cluster. */
static kvant_status measure_vectors(probe_job *job, const kvant_codec *codec, size_t seed, size_t unit, size_t cell, kvant_error *err)
{
    const distortion *p = job->state;
    size_t block = codec->plan.block, size = (CLUSTER + block - 1) / block * block;
    size_t begin = unit * UNIT, end = p->n - begin < UNIT ? p->n : begin + UNIT;
    size_t clusters = (end - begin + size - 1) / size, stretches = stretches_of(job);
    bool seeds = job->args.v[SEEDS] > 1;
    fidelity measured[MAX_CLUSTERS] = { 0 };
    kvant_status status = KVANT_OK;
    memset(p->count, 0, stretches * ENTROPY_SYMBOLS * sizeof *p->count);

    #pragma omp parallel
    {
        fidelity_work work = { 0 };
        float *queries = kvant_alloc(FIDELITY_QUERIES * codec->shape.dim * sizeof *queries);
        uint16_t *sym = kvant_alloc(size * codec->shape.dim * sizeof *sym);
        bool ready = queries && sym && fidelity_open(codec, 1, size, &work, NULL) == KVANT_OK;
        #pragma omp for schedule(dynamic)
        for (size_t c = 0; c < clusters; c++) {
            size_t first = begin + c * size, n = (end - first < size ? end - first : size) / block * block;
            if (!ready || !n)
                continue;
            measure_cluster(codec, job->data->x, p->n, first, n, queries, &work, &measured[c]);
            if (entropy_known(codec))
                entropy_add(codec, work.code, n, sym, p->count + c * stretches / clusters * ENTROPY_SYMBOLS);
        }
        if (!ready) {
            #pragma omp critical
            status = KVANT_NOMEM;
        }
        fidelity_close(&work);
        free(queries);
        free(sym);
    }
    if (status)
        return kvant_fail(err, status, "distortion: no memory for clusters of %zu vectors of %u", size, codec->shape.dim);
    for (size_t c = 0; c < clusters; c++) {
        uint32_t cluster = (uint32_t)(unit * MAX_CLUSTERS + c);
        emit_figures(job, cell, fidelity_names, seeds ? (uint32_t)seed : cluster, seeds ? cluster : 0, &measured[c]);
    }
    for (size_t i = 0; i < stretches; i++)
        entropy_emit(job, cell, entropies[0].counts, (uint32_t)(seeds ? seed : unit * stretches + i),
                     p->count + i * ENTROPY_SYMBOLS);
    if (seed == 0 && unit == 0)
        job->emit(job, cell, &(probe_sample) { "dim", 0, 0, codec->shape.dim, 1 });
    if (seed == 0 && unit == 0 && entropy_known(codec))
        job->emit(job, cell, &(probe_sample) { entropies[0].overhead, 0, 0, entropy_overhead(codec), 1 });
    return KVANT_OK;
}

/* The first seed is the codec's own; the others' states live for a unit. */
static kvant_status vector_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    const distortion *p = job->state;
    const kvant_codec *codec = &job->vectors[cell];
    size_t seed = index / p->units, unit = index % p->units;
    if (!seed)
        return measure_vectors(job, codec, seed, unit, cell, err);
    kvant_codec other;
    kvant_shape shape = codec->shape;
    shape.seed += (uint32_t)seed;
    kvant_status status = kvant_open(codec->quantizer, &shape, &codec->args, codec->target, &other, err);
    if (status)
        return status;
    status = measure_vectors(job, &other, seed, unit, cell, err);
    kvant_close(&other);
    return status;
}

/* ---- Keys and values of a text --------------------------------------------------------------- */

static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    distortion *p = job->state;
    return p->n ? KVANT_OK : captured_run(&p->chunk, p->ids + index * p->chunk.context, err);
}

/* Do all codecs of a side name symbols? */
static bool side_known(const kvcache_codecs *codecs, size_t side)
{
    size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head, known = 0;
    for (size_t i = 0; i < groups; i++)
        known += entropy_known(codecs->of[2 * i + side]);
    return known == groups;
}

/* One side of one head of a layer. x holds its n vectors gathered, and behind them room for the queries: keys spread over the
 * chunk; the attention probe has the model's own. `rows` is the head's first vector; its symbols are added to count, unless NULL. */
static void measure_head(const captured *chunk, const kvant_codec *codec, const float *rows, float *x, uint16_t *sym,
                         uint64_t *count, fidelity_work *work, fidelity *result)
{
    size_t dim = codec->shape.dim, n = chunk->context / codec->plan.block * codec->plan.block;
    for (size_t i = 0; i < n; i++)
        memcpy(x + i * dim, rows + i * chunk->row, dim * sizeof *x);
    float *queries = x + n * dim;
    ptrdiff_t self[FIDELITY_QUERIES];
    for (size_t j = 0; j < FIDELITY_QUERIES; j++) {
        size_t i = (2 * j + 1) * n / (2 * FIDELITY_QUERIES);
        self[j] = (ptrdiff_t)i;
        memcpy(queries + j * dim, x + i * dim, dim * sizeof *x);
    }
    fidelity_measure(codec, x, n, queries, self, FIDELITY_QUERIES, work, result);
    if (count)
        entropy_add(codec, work->code, n, sym, count);
}

static kvant_status measure_heads(const distortion *p, const kvcache_codecs *codecs, kvant_error *err)
{
    size_t layers = codecs->shape.n_layer, heads = codecs->shape.n_kv_head, dim = codecs->shape.head_dim;
    const captured *chunk = &p->chunk;
    uint64_t *count[2] = { side_known(codecs, 0) ? p->count : NULL, side_known(codecs, 1) ? p->count + ENTROPY_SYMBOLS : NULL };
    kvant_status status = KVANT_OK;
    memset(p->count, 0, 2 * ENTROPY_SYMBOLS * sizeof *p->count);
    #pragma omp parallel
    {
        fidelity_work work = { 0 };
        float *x = kvant_alloc((p->chunk.context + FIDELITY_QUERIES) * dim * sizeof *x);
        uint16_t *sym = kvant_alloc(p->chunk.context * dim * sizeof *sym);
        bool ready = x && sym && fidelity_open(codecs->own, codecs->n_own, p->chunk.context, &work, NULL) == KVANT_OK;
        #pragma omp for schedule(dynamic)
        for (size_t i = 0; i < layers * heads * 2; i++) {
            uint32_t layer = (uint32_t)(i / 2 / heads), head = (uint32_t)(i / 2 % heads);
            kvant_side side = i % 2 ? KVANT_VALUE : KVANT_KEY;
            kvant_codec own;
            const kvant_codec *codec;
            kvant_error why = { "no memory to code the tokens of a head" };
            kvant_status s = ready ? captured_codec(chunk, codecs, layer, head, side, &own, &codec, &why) : KVANT_NOMEM;
            if (!s)
                measure_head(chunk, codec, captured_head(chunk, i % 2 ? chunk->value : chunk->key, layer, head), x, sym,
                             count[i % 2], &work, &p->measured[i]);
            else
                #pragma omp critical
                status = kvant_fail(err, s, "distortion: %s", why.text);
            if (ready)
                kvant_close(&own);
        }
        fidelity_close(&work);
        free(x);
        free(sym);
    }
    return status;
}

static void emit_side_entropy(probe_job *job, size_t index, size_t cell, size_t side)
{
    const distortion *p = job->state;
    const kvcache_codecs *codecs = &job->codecs[cell];
    size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head;
    double overhead = 0;
    if (!side_known(codecs, side))
        return;
    entropy_emit(job, cell, entropies[1 + side].counts, (uint32_t)index, p->count + side * ENTROPY_SYMBOLS);
    for (size_t i = 0; i < groups; i++)
        overhead += entropy_overhead(codecs->of[2 * i + side]) / (double)groups;
    if (index == 0)
        job->emit(job, cell, &(probe_sample) { entropies[1 + side].overhead, 0, 0, overhead, 1 });
}

static kvant_status text_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    const distortion *p = job->state;
    const kvcache_codecs *codecs = &job->codecs[cell];
    size_t layers = codecs->shape.n_layer, heads = codecs->shape.n_kv_head;
    for (size_t i = 0; i < layers * heads * 2; i++)
        if (codecs->of[i]->plan.block > p->chunk.context)
            return kvant_fail(err, KVANT_INVALID, "distortion: blocks of %zu vectors do not fit into chunks of %u; raise context",
                              codecs->of[i]->plan.block, p->chunk.context);
    kvant_status status = measure_heads(p, codecs, err);
    if (status)
        return status;
    for (size_t i = 0; i < layers * heads; i++) {
        uint32_t layer = (uint32_t)(i / heads), head = (uint32_t)(i % heads);
        for (size_t side = 0; side < 2; side++) {
            const fidelity *f = &p->measured[2 * i + side];
            size_t block = codecs->of[2 * i + side]->plan.block;
            double n = (double)(p->chunk.context / block * block);
            emit_figures(job, cell, side ? value_metrics : key_metrics, layer, head, f);
            job->emit(job, cell, &(probe_sample) { side ? "value_norm_sq" : "key_norm_sq", layer, head, f->weight[FIDELITY_NMSE] / n, n });
        }
    }
    emit_side_entropy(job, index, cell, 0);
    emit_side_entropy(job, index, cell, 1);
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "distortion: interrupted");
    return job->vectors ? vector_unit(job, index, cell, err) : text_unit(job, index, cell, err);
}

/* ---- Results --------------------------------------------------------------------------------- */

/* Values of a metric of vectors by cluster: with more than one seed a seed is one. */
static size_t by_cluster(const kvant_args *args, const probe_sample *samples, size_t n, const char *metric, double *x, double *w)
{
    return args->v[SEEDS] > 1 ? probe_by_chunk(samples, n, metric, x, w) : probe_values(samples, n, metric, x, w);
}

/* y at an angle to x is cos x + sin u, with u as in ip_variance; u and -u are equally good, and what is odd in u cancels. So the bias
 * is cos <x,x^ - x>, and the variance cos^2 of that of <x,x^ - x> and sin^2 of that of <u,x^>. The clusters' values are linear about
 * the mean. */
static kvant_status report_angles(const kvant_args *args, const probe_sample *samples, size_t n,
                                  void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    double *along = calloc(5 * n + 1, sizeof *along), *along_sq = along + n, *across = along + 2 * n, *x = along + 3 * n, dim, w_dim;
    double *w = along + 4 * n;
    if (!along)
        return kvant_fail(err, KVANT_NOMEM, "distortion: no memory for %zu samples", n);
    size_t clusters = by_cluster(args, samples, n, "ip_along", along, w), known = 0;
    bool whole = by_cluster(args, samples, n, "ip_along_sq", along_sq, w) == clusters &&
                 by_cluster(args, samples, n, "ip_variance", across, w) == clusters && clusters > 0;
    for (size_t i = 0; i < n && !known; i++)
        known = probe_values(&samples[i], 1, "dim", &dim, &w_dim);
    double mean = whole ? probe_clustered("", along, w, clusters).value : 0;
    for (int degrees = 0; degrees <= 90 && whole && known; degrees += 15) {
        double cosine = degrees == 90 ? 0 : cos(degrees * M_PI / 180), cosine_sq = cosine * cosine;
        char name[32];
        probe_result r;
        snprintf(name, sizeof name, "ip_bias_at_%d", degrees);
        for (size_t i = 0; i < clusters; i++)
            x[i] = cosine * along[i];
        r = probe_clustered(name, x, w, clusters);
        if (degrees < 90)
            result(user, &r);
        snprintf(name, sizeof name, "ip_variance_at_%d", degrees);
        for (size_t i = 0; i < clusters; i++)
            x[i] = cosine_sq * (along_sq[i] - dim * mean * (2 * along[i] - mean)) + (1 - cosine_sq) * across[i];
        r = probe_clustered(name, x, w, clusters);
        result(user, &r);
    }
    free(along);
    return KVANT_OK;
}

/* Keys and values of a chunk count alike, however long they are. x, w, value [n] are room. */
static void report_both(const probe_sample *samples, size_t n, double *x, double *w, double *value,
                        void (*result)(void *user, const probe_result *), void *user)
{
    const size_t chunks = probe_by_unit(samples, n, "nmse_value", value, w);
    if (!chunks || probe_by_unit(samples, n, "nmse_key", x, w) != chunks)
        return;
    for (size_t i = 0; i < chunks; i++) {
        x[i] = (x[i] + value[i]) / 2;
        w[i] = 1;
    }
    probe_result mean = probe_clustered("nmse_kv", x, w, chunks);
    result(user, &mean);
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    double *x = calloc(3 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "distortion: no memory for %zu samples", n);
    double *w = x + n;
    size_t measured = 0;
    for (const probe_metric *m = metrics; strcmp(m->name, entropies[0].bits); m++) {
        bool of_vectors = m < metrics + FIDELITY_N;
        size_t clusters = of_vectors ? by_cluster(args, samples, n, m->name, x, w) : probe_by_unit(samples, n, m->name, x, w);
        probe_result mean = probe_clustered(m->name, x, w, clusters);
        if (clusters)
            result(user, &mean);
        measured += clusters;
    }
    report_both(samples, n, x, w, x + 2 * n, result, user);
    kvant_status status = report_angles(args, samples, n, result, user, err);
    for (size_t i = 0; i < sizeof entropies / sizeof *entropies && !status; i++) {
        probe_result entropy;
        bool found;
        status = entropy_result(samples, n, entropies[i].counts, entropies[i].overhead, entropies[i].bits, &entropy, &found, err);
        if (status || !found)
            continue;
        result(user, &entropy);
        if (probe_values(samples, n, entropies[i].overhead, x, w))
            result(user, &(probe_result) { entropies[i].overhead, x[0], 1, NAN, NAN, NAN });
    }
    free(x);
    if (status)
        return status;
    return measured ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "distortion: there was no whole block of vectors to measure");
}

const kvant_probe probe_distortion = {
    .name = "distortion",
    .summary = "error of vectors and of inner products, on vectors or on a model's own keys and values",
    .params = params,
    .metrics = metrics,
    .post_rope = true, .wants_text = true, .wants_vectors = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
