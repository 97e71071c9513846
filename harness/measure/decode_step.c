/* decode_step.c - see decode_step.h. One layer is coded, by kvcache_append in bulk, and the others are copies of it: the same bytes in
 * other memory. A step does not advance the cache, so that all have the same depth. */
#include "harness/measure/decode_step.h"

#include "harness/lm/attention.h"
#include "harness/util.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512, TILE = 64 };                   /* tokens appended, decoded at a time */

struct decode_step {
    decode_shape shape;
    const kvant_data *data;
    size_t dim;
    kvcache_codecs one, all;       /* of one layer; its table repeated for all: closed are the first and all.of */
    kvcache *cache;
    uint32_t next;                 /* layer that comes next */
    float *q, *out;                /* [kv_heads][queries][dim] */
    char *scratch;                 /* [threads] */
    size_t scratch_bytes;
};

/* ---- Opening ----------------------------------------------------------------------------------- */

/* Vectors for a method that is trained ahead, [n][kv_heads][dim] from the data over and over: times do not ask what it learnt. */
static float *teaching(const kvant_codec *codec, uint32_t kv_heads, const kvant_data *data)
{
    const size_t dim = codec->shape.dim, rows = codec->plan.train_min * kv_heads;
    float *x = kvant_alloc(rows * dim * sizeof *x);
    for (size_t i = 0; x && i < rows; i++)
        memcpy(x + i * dim, data->x + i % data->n * dim, dim * sizeof *x);
    return x;
}

/* The target that was checked, or the scalar code, which needs no check, where the kernel has no form of a side. */
static bool as_checked(const kvant_codec *side, const kvant_codec *codec)
{
    return !strcmp(side->target, codec->target) || !strcmp(side->target, "scalar");
}

/* Codecs of one layer; without data what they will be. Policies know "auto", which takes each quantizer's best, and forced targets,
 * which all quantizers must have then, f16 for what waits included: whichever gives the target that was checked. */
static kvant_status open_codecs(const kvant_codec *codec, uint32_t kv_heads, const kvant_data *data, kvcache_codecs *codecs,
                                kvant_error *err)
{
    const char *const isas[] = { strcmp(codec->target, "scalar") ? "auto" : "scalar", codec->target };
    const kvcache_shape one = { .n_layer = 1, .n_kv_head = kv_heads, .head_dim = codec->shape.dim,
                                .rope = { KVANT_ROPE_INTERLEAVED, codec->shape.dim / 2 * 2 } };
    const bool learns = data && codec->plan.train_min && !codec->plan.prompt;
    kvcache_policy policy = { .key = { codec->quantizer, codec->args }, .value = { codec->quantizer, codec->args },
                              .seed = codec->shape.seed };
    float *x = learns ? teaching(codec, kv_heads, data) : NULL;
    if (learns && !x)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu vectors to learn from", codec->plan.train_min);
    const kvcache_calibration calibration = { .n = codec->plan.train_min, .key = x, .value = x };
    kvant_status status = KVANT_FAILED;
    for (size_t i = 0; i < 2 && status; i++) {
        policy.isa = isas[i];
        status = data ? kvcache_codecs_open(&policy, &one, learns ? &calibration : NULL, codecs, err)
                      : kvcache_codecs_describe(&policy, &one, codecs, err);
        if (status || (as_checked(codecs->of[0], codec) && as_checked(codecs->of[1], codec)))
            continue;
        status = kvant_fail(err, KVANT_FAILED, "%s: the kernel %s, which was checked, does not take keys and values of this shape",
                            codec->quantizer->name, codec->target);
        kvcache_codecs_close(codecs);
    }
    free(x);
    return status;
}

static uint64_t bytes_of(const kvcache_codecs *codecs, uint32_t length)
{
    const kvcache_bytes b = kvcache_accounted(codecs, length);
    return b.key + b.value;
}

/* Layers until the codes take shape->bytes; the cache has room for one token more than it holds. */
static uint32_t layers_for(const kvcache_codecs *one, const decode_shape *shape)
{
    const uint64_t layer = bytes_of(one, shape->depth), layers = (shape->bytes + layer - 1) / layer;
    return layers < 1 ? 1 : layers > KVCACHE_LAYERS ? KVCACHE_LAYERS : (uint32_t)layers;
}

kvant_status decode_step_size(const kvant_codec *codec, const decode_shape *shape, size_t *bytes, uint32_t *layers, kvant_error *err)
{
    kvcache_codecs one;
    const kvant_status status = open_codecs(codec, shape->kv_heads, NULL, &one, err);
    if (status)
        return status;
    *layers = layers_for(&one, shape);
    *bytes = (size_t)bytes_of(&one, shape->depth + 1) * *layers;
    kvcache_codecs_close(&one);
    return KVANT_OK;
}

/* The same codecs for each layer. */
static kvant_status repeat_codecs(decode_step *s, kvant_error *err)
{
    const size_t groups = (size_t)s->shape.kv_heads * 2;
    s->all = s->one;
    s->all.shape.n_layer = layers_for(&s->one, &s->shape);
    s->all.of = calloc(groups * s->all.shape.n_layer, sizeof *s->all.of);
    if (!s->all.of)
        return kvant_fail(err, KVANT_NOMEM, "no memory for the codecs of %u layers", s->all.shape.n_layer);
    for (size_t i = 0; i < groups * s->all.shape.n_layer; i++)
        s->all.of[i] = s->one.of[i % groups];
    return KVANT_OK;
}

static kvant_status check_data(const kvant_data *data, size_t dim, kvant_error *err)
{
    if (!data->x || data->n < 1 || data->dim != dim)
        return kvant_fail(err, KVANT_INVALID, "there are no vectors of %zu coordinates to fill a cache with", dim);
    for (size_t i = 0; i < data->n; i++) {
        double norm_sq = 0;
        for (size_t j = 0; j < dim; j++)
            norm_sq += (double)data->x[i * dim + j] * data->x[i * dim + j];
        if (!(norm_sq > 0) || !isfinite(norm_sq))
            return kvant_fail(err, KVANT_INVALID, "vector %zu of the data %s; nothing is timed on such", i,
                              norm_sq <= 0 ? "is zero" : "is not finite");
    }
    return KVANT_OK;
}

/* The vector that a side of a head has at a position: all of the data come in turn, each head from another one on. */
static const float *vector_of(const decode_step *s, uint32_t head, kvant_side side, uint32_t position)
{
    const size_t part = (size_t)head * 2 + (side == KVANT_VALUE), parts = (size_t)s->shape.kv_heads * 2;
    return s->data->x + (part * s->data->n / parts + position) % s->data->n * s->dim;
}

/* Appends `n` tokens of one side of a head of the first layer; x [n][dim] is room. */
static void fill_part(decode_step *s, size_t part, uint32_t n, float *x, float *waiting, void *scratch)
{
    const uint32_t head = (uint32_t)(part / 2), at = kvcache_length(s->cache);
    const kvant_side side = part % 2 ? KVANT_VALUE : KVANT_KEY;
    for (uint32_t i = 0; i < n; i++)
        memcpy(x + i * s->dim, vector_of(s, head, side, at + i), s->dim * sizeof *x);
    kvcache_append(s->cache, 0, head, side, x, s->dim, n, false, waiting, NULL, scratch);
}

static kvant_status fill(decode_step *s, kvant_error *err)
{
    const size_t parts = (size_t)s->shape.kv_heads * 2;
    size_t waiting = 1;
    for (size_t i = 0; i < parts; i++) {
        const kvcache_rule rule = kvcache_rule_of(&s->all, 0, (uint32_t)(i / 2), i % 2 ? KVANT_VALUE : KVANT_KEY);
        const size_t most = kvcache_waiting_max(&rule, BATCH);
        waiting = most > waiting ? most : waiting;
    }
    kvant_status status = KVANT_OK;
#pragma omp parallel
    {
        float *x = kvant_alloc(BATCH * s->dim * sizeof *x), *wait = kvant_alloc(waiting * s->dim * sizeof *wait);
        void *scratch = kvant_alloc(kvcache_scratch(&s->all));
        bool ready = x && wait && scratch;
        if (!ready)
#pragma omp critical(decode_step_status)
            status = KVANT_NOMEM;
#pragma omp barrier
        for (uint32_t done = 0; done < s->shape.depth && status == KVANT_OK;) {
            const uint32_t n = s->shape.depth - done < BATCH ? s->shape.depth - done : BATCH;
#pragma omp for schedule(dynamic, 1)
            for (size_t part = 0; part < parts; part++)
                fill_part(s, part, n, x, wait, scratch);
            done += n;
#pragma omp single
            kvcache_advance(s->cache, n);
        }
        free(x);
        free(wait);
        free(scratch);
    }
    if (status)
        return kvant_fail(err, status, "no memory to fill a cache");
    status = kvcache_trained(s->cache, err);
    return status ? status : kvcache_repeat(s->cache, err);
}

static kvant_status make_queries(decode_step *s, kvant_error *err)
{
    const size_t rows = (size_t)s->shape.kv_heads * s->shape.queries;
    const float scale = 1 / sqrtf((float)s->dim);
    s->q = kvant_alloc(rows * s->dim * sizeof *s->q);
    s->out = kvant_alloc(rows * s->dim * sizeof *s->out);
    s->scratch_bytes = (attention_decode_scratch(&s->all, s->shape.queries) + 63) & ~(size_t)63;
    s->scratch = kvant_alloc(s->scratch_bytes * (size_t)s->shape.threads);
    if (!s->q || !s->out || !s->scratch)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu queries", rows);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < s->dim; j++)
            s->q[i * s->dim + j] = scale * s->data->x[(i * 7919 + 1) % s->data->n * s->dim + j];
    return KVANT_OK;
}

kvant_status decode_step_open(const kvant_codec *codec, const decode_shape *shape, const kvant_data *data, decode_step **out,
                              kvant_error *err)
{
    decode_step *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a cache");
    s->shape = *shape;
    s->data = data;
    s->dim = codec->shape.dim;
    kvant_status status = check_data(data, s->dim, err);
    if (!status)
        status = open_codecs(codec, shape->kv_heads, data, &s->one, err);
    if (!status)
        status = repeat_codecs(s, err);
    if (!status)
        status = kvcache_open(&s->all, shape->depth + 1, &s->cache, err);
    if (!status)
        status = fill(s, err);
    if (!status)
        status = make_queries(s, err);
    if (status)
        decode_step_close(s);
    else
        *out = s;
    return status;
}

void decode_step_close(decode_step *s)
{
    if (!s)
        return;
    kvcache_close(s->cache);
    free(s->all.of);
    kvcache_codecs_close(&s->one);
    free(s->q);
    free(s->out);
    free(s->scratch);
    free(s);
}

/* ---- Timing ------------------------------------------------------------------------------------ */

/* Attention of one layer, as the engine spreads it. */
static void attend(decode_step *s, uint32_t layer)
{
    const attention_layer of = { .cap = 0 };
    const size_t row = s->shape.queries * s->dim;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->shape.threads)
    for (uint32_t head = 0; head < s->shape.kv_heads; head++)
        attention_decode(s->cache, layer, head, vector_of(s, head, KVANT_KEY, s->shape.depth),
                         vector_of(s, head, KVANT_VALUE, s->shape.depth), s->q + head * row, s->shape.queries, &of,
                             s->out + head * row,
                         s->scratch + s->scratch_bytes * (size_t)omp_get_thread_num());
}

double decode_step_time(decode_step *s, double seconds)
{
    double pairs = 0, took;
    const double start = seconds_now();
    do {
        attend(s, s->next);
        s->next = (s->next + 1) % s->all.shape.n_layer;
        pairs += (double)s->shape.kv_heads * (s->shape.depth + 1);
        took = seconds_now() - start;
    } while (took < seconds);
    return took / pairs * 1e9;
}

double decode_step_bytes(const decode_step *s) { return (double)bytes_of(&s->all, s->shape.depth); }

double decode_step_bytes_per_pair(const decode_step *s)
{
    return (double)bytes_of(&s->one, s->shape.depth) / ((double)s->shape.kv_heads * s->shape.depth);
}

/* ---- What it computes -------------------------------------------------------------------------- */

/* Decoded vectors of a side, [depth + 1][dim], as the cache holds them. */
static void decode_side(const decode_step *s, uint32_t layer, uint32_t head, kvant_side side, float *x, void *scratch)
{
    kvcache_run runs[KVCACHE_RUNS];
    const size_t n = kvcache_runs(s->cache, layer, head, side, s->shape.depth + 1, runs);
    for (size_t i = 0; i < n; i++)
        for (uint32_t done = 0; done < runs[i].n; done += TILE) {
            const uint32_t m = runs[i].n - done < TILE ? runs[i].n - done : TILE;
            kvant_decode(runs[i].codec, runs[i].code, runs[i].first + done, m, x + (runs[i].position + done) * s->dim, scratch);
        }
}

/* Softmax attention of one query over k, v [n][dim]; weight [n] and out [dim] are doubles. */
static void attend_exactly(const float *q, const float *k, const float *v, size_t n, size_t dim, double *weight, double *out)
{
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        weight[i] = 0;
        for (size_t j = 0; j < dim; j++)
            weight[i] += (double)q[j] * k[i * dim + j];
        top = weight[i] > top ? weight[i] : top;
    }
    memset(out, 0, dim * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        weight[i] = exp(weight[i] - top);
        sum += weight[i];
        for (size_t j = 0; j < dim; j++)
            out[j] += weight[i] * v[i * dim + j];
    }
    for (size_t j = 0; j < dim; j++)
        out[j] /= sum;
}

/* The first and last query of a head, whose outputs are there. */
static double head_distance(const decode_step *s, uint32_t head, const float *k, const float *v, double *weight, double *exact)
{
    double most = 0;
    for (uint32_t i = 0; i < s->shape.queries; i += s->shape.queries > 1 ? s->shape.queries - 1 : 1) {
        const size_t at = ((size_t)head * s->shape.queries + i) * s->dim;
        double off = 0, length = 0;
        attend_exactly(s->q + at, k, v, (size_t)s->shape.depth + 1, s->dim, weight, exact);
        for (size_t j = 0; j < s->dim; j++) {
            off += (exact[j] - s->out[at + j]) * (exact[j] - s->out[at + j]);
            length += exact[j] * exact[j];
        }
        const double distance = length > 0 ? sqrt(off / length) : (double)NAN;
        most = isnan(distance) || distance > most ? distance : most;
        if (isnan(most))
            break;
    }
    return most;
}

kvant_status decode_step_distance(decode_step *s, double *distance, kvant_error *err)
{
    const size_t n = (size_t)s->shape.depth + 1;
    float *k = kvant_alloc(n * s->dim * sizeof *k), *v = kvant_alloc(n * s->dim * sizeof *v);
    double *weight = kvant_alloc((n + s->dim) * sizeof *weight);
    kvant_status status = k && v && weight ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory to compare attention");
    const uint32_t last = s->all.shape.n_layer - 1, layers[] = { 0, last };
    *distance = 0;
    for (size_t i = 0; i < (last ? 2 : 1) && !status; i++) {           /* another head each, where there are several */
        const uint32_t head = i ? s->shape.kv_heads - 1 : 0;
        attend(s, layers[i]);
        decode_side(s, layers[i], head, KVANT_KEY, k, s->scratch);
        decode_side(s, layers[i], head, KVANT_VALUE, v, s->scratch);
        const double found = head_distance(s, head, k, v, weight, weight + n);
        if (!isfinite(found))
            status = kvant_fail(err, KVANT_FAILED, "%s (%s): attention over this cache is not finite, or zero",
                                s->one.of[0]->quantizer->name, s->one.of[0]->target);
        *distance = found > *distance ? found : *distance;
    }
    free(k);
    free(v);
    free(weight);
    return status;
}
