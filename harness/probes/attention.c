/* attention.c - what a quantizer does to attention: softmax weights and outputs over coded keys and values, against exact ones. On
 * vectors, which are cut into keys, values and queries, or on those that a model makes of a text, per layer and KV head.
 * Policies (sinks, windows) play no part: all keys and values are coded. */
#include "harness/experiment/captured.h"
#include "harness/measure/attended.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT, CHUNKS, QUERIES, SCALE, BATCH };

static const kvant_param params[] = {
    { "context", "keys and values of a chunk; of text: its tokens", KVANT_INT, 512, 16, 1 << 20, NULL },
    { "chunks", "chunks, from the data's beginning; of vectors, one takes 2 context + queries", KVANT_INT, 4, 1, 1 << 20, NULL },
    { "queries", "queries of a chunk; of text: positions in its second half, for every query head", KVANT_INT, 16, 1, 4096, NULL },
    { "scale", "vectors: factor on products before the softmax; 0 = 1/sqrt(dim)", KVANT_REAL, 0, 0, 1e6, NULL },
    { "batch", "text: tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

#define SAMPLES "; samples per chunk of vectors, or layer (chunk) and KV head (idx) of text, errors over chunks"

static const probe_metric metrics[] = {
    { "output_error", "", "mean of |o - o^| / |o| of a query's output" SAMPLES, -1, false },
    { "weight_error", "", "mean of |w - w^| / |w| of a query's weights, l2" SAMPLES, -1, false },
    { "weight_shift", "", "mean of half the sum of |w - w^|: the share of the attention that went elsewhere" SAMPLES, -1, false },
    { "top_1", "", "share of queries whose heaviest weight is the same" SAMPLES, 1, false },
    { "top_8", "", "share of the 8 heaviest weights that are among the 8 heaviest" SAMPLES, 1, false },
    { NULL, NULL, NULL, 0, false }
};

typedef struct {
    uint32_t context, queries;
    double scale;                  /* of vectors */
    size_t *seen;                  /* [queries] of a chunk: vectors that each attends to */
    /* of text: */
    int32_t *ids;                  /* [chunks][context] */
    captured chunk;                /* the one that begin ran */
    size_t group;                  /* query heads of a KV head */
    attended *measured;            /* [n_layer][n_kv_head] */
} attention;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    return args->v[CHUNKS] * (data->x ? 2 * args->v[CONTEXT] + args->v[QUERIES] : args->v[CONTEXT]);
}

/* Query j of a text stands in the middle of the j-th part of the second half, and sees what is up to there. */
static kvant_status open_text(probe_job *job, attention *p, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(job->model);
    uint32_t half = p->context / 2;
    if (p->queries > half)
        return kvant_fail(err, KVANT_INVALID, "attention: %u queries do not fit into half of %u tokens; lower queries", p->queries,
                          p->context);
    if (shape->attn_cap > 0 || (shape->sliding.tokens > 0 && shape->sliding.tokens < p->context))
        return kvant_fail(err, KVANT_SKIP, "attention: layers of this model (%s) cap their scores or see the last %u tokens only, and "
                          "this probe weighs all of %u by plain softmax", shape->arch, shape->sliding.tokens, p->context);
    p->group = shape->n_head / shape->n_kv_head;
    p->seen = calloc(p->queries * p->group, sizeof *p->seen);
    p->measured = calloc((size_t)shape->n_layer * shape->n_kv_head, sizeof *p->measured);
    if (!p->seen || !p->measured)
        return kvant_fail(err, KVANT_NOMEM, "attention: no memory for %u queries", p->queries);
    for (size_t j = 0; j < p->queries * p->group; j++)
        p->seen[j] = p->context - half + (2 * (j / p->group) + 1) * half / (2 * p->queries) + 1;
    kvant_status status = probe_chunks(job, p->context, (uint32_t)job->args.v[CHUNKS], &p->ids, err);
    return status ? status : captured_open(&p->chunk, job->model, p->context, (uint32_t)job->args.v[BATCH], true,
                                           job->codecs[0].policy.isa, "attention", err);
}

static kvant_status open_vectors(probe_job *job, attention *p, kvant_error *err)
{
    size_t chunks = (size_t)job->args.v[CHUNKS], size = 2 * (size_t)p->context + p->queries;
    if (job->data->n / size < chunks)
        return kvant_fail(err, KVANT_INVALID, "attention: %zu chunks of %zu vectors (keys, values, queries) are asked for, and the "
                          "data has %zu; lower chunks or context, or take more vectors", chunks, size, job->data->n);
    p->scale = job->args.v[SCALE] > 0 ? job->args.v[SCALE] : 1 / sqrt((double)job->data->dim);
    p->seen = calloc(p->queries, sizeof *p->seen);
    if (!p->seen)
        return kvant_fail(err, KVANT_NOMEM, "attention: no memory for %u queries", p->queries);
    for (size_t j = 0; j < p->queries; j++)
        p->seen[j] = p->context;
    return KVANT_OK;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    attention *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "attention: no memory");
    p->context = context_of(&job->args);
    p->queries = (uint32_t)job->args.v[QUERIES];
    job->n_units = (size_t)job->args.v[CHUNKS];
    return job->vectors ? open_vectors(job, p, err) : open_text(job, p, err);
}

static void close_job(probe_job *job)
{
    attention *p = job->state;
    if (!p)
        return;
    captured_close(&p->chunk);
    free(p->ids);
    free(p->seen);
    free(p->measured);
    free(p);
    job->state = NULL;
}

static kvant_status begin(probe_job *job, size_t unit, kvant_error *err)
{
    attention *p = job->state;
    return job->vectors ? KVANT_OK : captured_run(&p->chunk, p->ids + unit * p->context, err);
}

static kvant_status check_block(const attention *p, const kvant_codec *codec, kvant_error *err)
{
    if (p->context % codec->plan.block)
        return kvant_fail(err, KVANT_INVALID, "attention: %s codes blocks of %zu vectors, and a chunk has %u; choose a context that "
                          "is a multiple", codec->quantizer->name, codec->plan.block, p->context);
    return KVANT_OK;
}

static void emit_figures(probe_job *job, size_t cell, uint32_t chunk, uint32_t idx, const attended *a)
{
    for (size_t i = 0; i < ATTENDED_N; i++)
        if (a->n[i] > 0)
            job->emit(job, cell, &(probe_sample) { attended_names[i], chunk, idx, a->sum[i] / a->n[i], a->n[i] });
}

static kvant_status vector_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    const attention *p = job->state;
    const kvant_codec *codec = &job->vectors[cell];
    size_t dim = codec->shape.dim;
    const float *k = job->data->x + unit * (2 * (size_t)p->context + p->queries) * dim, *v = k + p->context * dim;
    attended_work work;
    kvant_status status = check_block(p, codec, err);
    if (!status)
        status = attended_open(codec, 1, p->context, p->queries, &work, err);
    if (status)
        return status;
    attended sum = { 0 };
    attended_measure(codec, codec, k, v, dim, p->context, v + p->context * dim, p->seen, p->queries, p->scale, &work, &sum);
    attended_close(&work);
    emit_figures(job, cell, 0, 0, &sum);
    return KVANT_OK;
}

/* The queries of one KV head, gathered: those of the positions, head by head of its group. */
static kvant_status measure_head(const attention *p, const kvcache_codecs *codecs, uint32_t layer, uint32_t head, float *q,
                                 attended_work *work, attended *result, kvant_error *err)
{
    const captured *c = &p->chunk;
    size_t dim = c->shape.head_dim, nq = p->queries * p->group;
    for (size_t j = 0; j < nq; j++) {
        size_t row = (size_t)layer * p->context + p->seen[j] - 1, of_query = head * p->group + j % p->group;
        memcpy(q + j * dim, c->query + row * c->query_row + of_query * dim, dim * sizeof *q);
    }
    *result = (attended) { 0 };
    kvant_codec own_key, own_value = { 0 };
    const kvant_codec *key, *value;
    kvant_status status = captured_codec(c, codecs, layer, head, KVANT_KEY, &own_key, &key, err);
    if (!status)
        status = captured_codec(c, codecs, layer, head, KVANT_VALUE, &own_value, &value, err);
    if (!status)
        attended_measure(key, value, captured_head(c, c->key, layer, head), captured_head(c, c->value, layer, head), c->row,
                         p->context, q, p->seen, nq, 1, work, result);
    kvant_close(&own_key);
    kvant_close(&own_value);
    return status;
}

static kvant_status text_unit(probe_job *job, size_t cell, kvant_error *err)
{
    const attention *p = job->state;
    const kvcache_codecs *codecs = &job->codecs[cell];
    uint32_t layers = codecs->shape.n_layer, heads = codecs->shape.n_kv_head;
    size_t nq = p->queries * p->group;
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < (size_t)layers * heads * 2 && !status; i++)
        status = check_block(p, codecs->of[i], err);
    if (status)
        return status;
    #pragma omp parallel
    {
        attended_work work = { 0 };
        float *q = kvant_alloc(nq * codecs->shape.head_dim * sizeof *q);
        bool ready = q && attended_open(codecs->own, codecs->n_own, p->context, nq, &work, NULL) == KVANT_OK;
        #pragma omp for schedule(dynamic)
        for (uint32_t i = 0; i < layers * heads; i++) {
            kvant_error why = { "no memory for the queries of a head" };
            kvant_status s = ready ? measure_head(p, codecs, i / heads, i % heads, q, &work, &p->measured[i], &why) : KVANT_NOMEM;
            if (s)
                #pragma omp critical
                status = kvant_fail(err, s, "attention: %s", why.text);
        }
        attended_close(&work);
        free(q);
    }
    if (status)
        return status;
    for (uint32_t i = 0; i < layers * heads; i++)
        emit_figures(job, cell, i / heads, i % heads, &p->measured[i]);
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "attention: interrupted");
    return job->vectors ? vector_unit(job, unit, cell, err) : text_unit(job, cell, err);
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "attention: no memory for %zu samples", n);
    size_t measured = 0;
    for (const probe_metric *m = metrics; m->name; m++) {
        size_t clusters = probe_by_unit(samples, n, m->name, x, x + n);
        probe_result mean = probe_clustered(m->name, x, x + n, clusters);
        if (clusters)
            result(user, &mean);
        measured += clusters;
    }
    free(x);
    return measured ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "attention: there are no samples");
}

const kvant_probe probe_attention = {
    .name = "attention",
    .summary = "error of attention weights and outputs, on vectors or on a model's own keys, values and queries",
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
