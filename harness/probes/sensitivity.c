/* sensitivity.c - how much each group of a KV cache matters: what allocators weigh groups by. Each group is looked at alone, all
 * others staying in f16, on windows of a text's second half. */
#include "harness/allocation/cache_group.h"
#include "harness/experiment/calibration.h"
#include "harness/experiment/captured.h"
#include "harness/measure/fidelity.h"
#include "harness/measure/logits.h"
#include "harness/measure/prefix.h"
#include "harness/measure/stats.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHTS, GROUPS, SIDES, COUNT, LENGTH, DRAW, BATCH, RESIDUAL_MIB };
enum { OF_ACTIVATION, OF_DISTORTION, OF_KL };
enum { LOGIT_ROWS = 64 };          /* taken at a time, of the reference too: the product may round by its number of rows */

static const char *const weights_names[] = { "activation", "distortion", "kl", NULL };
static const char *const groups_names[] = { "layer", "head", NULL };
static const char *const sides_names[] = { "together", "apart", NULL };

static const kvant_param params[] = {
    { "weights", "what is measured: squared norms, squared errors, or the divergence of the model's output", KVANT_CHOICE, OF_KL, 0, 0,
      weights_names },
    { "groups", "what a group is: a layer, or a KV head of one", KVANT_CHOICE, GROUPS_LAYER, 0, 0, groups_names },
    { "sides", "keys and values in one group, or in two", KVANT_CHOICE, SIDES_TOGETHER, 0, 0, sides_names },
    { "n", "windows of text", KVANT_INT, 5, 1, 4096, NULL },
    { "length", "tokens of a window", KVANT_INT, 512, 16, 1 << 20, NULL },
    { "calibration_seed", "which windows are drawn", KVANT_INT, 42, 0, UINT32_MAX, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "residual_mib", "MiB of residual streams that weights = kl keeps of a window's f16 run, so that a group's run begins at its layer; "
      "where fewer fit, it begins at a layer below, which takes time and moves no result", KVANT_INT, 256, 0, 1 << 20, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

#define OF_GROUP " of group N: by layer, then head, then side, keys first"

static const probe_metric metrics[] = {
    { "kl", "nats", "mean KL divergence of next-token distributions, f16 cache || this group alone quantized; samples per window (chunk) "
      "and group (idx)", -1, false },
    { "squared_error", "", "squared error of a group's vectors, per token; samples likewise", -1, false },
    { "nmse", "", "nmse of a group's vectors; samples likewise", -1, false },
    { "activation", "", "mean squared norm of a group's post-RoPE keys, or of its values where it has no keys; samples likewise", 0, false },
    { "kl_group_N", "nats", "kl" OF_GROUP, -1, false },
    { "squared_error_group_N", "", "squared_error" OF_GROUP, -1, false },
    { "nmse_group_N", "", "nmse" OF_GROUP, -1, false },
    { "activation_group_N", "", "activation" OF_GROUP, 0, false },
    { "sensitivity_ratio", "x", "largest mean of a group over the smallest; noise of single groups raises it", 0, false },
    { "kv_heads", "", "KV heads of a layer, by which groups are numbered", 0, false },
    { NULL, NULL, NULL, 0, false }
};

typedef struct {
    int weights;
    cache_groups groups;
    cache_sides sides;
    kvcache_shape shape;
    size_t n_groups;
    uint32_t length, batch;
    int32_t *ids;                  /* [n][length] */
    size_t window;                 /* that what follows belongs to; SIZE_MAX: to none */
    captured captured;             /* not for kl */
    fidelity *measured;            /* [n_layer][n_kv_head][2]: key, value; of distortion */
    /* of kl: */
    kvcache_codecs f16;
    const kvant_codec **of;        /* table of the cell at work: the group's codecs, and f16 */
    prefix shared;                 /* the window's f16 run */
    float *hidden;                 /* [length][n_embd] */
    float *reference, *logits;     /* [length][n_vocab], [LOGIT_ROWS][n_vocab] */
    logits_mass *mass;             /* [length] of the reference */
    double *divergence;            /* [LOGIT_ROWS] */
} sensitivity_probe;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[LENGTH];
}

/* kl runs the model from each group's layer on, half of it on average; how many groups there are is the model's affair: as many as small
 * models have. */
static double cost(const kvant_args *args, const kvant_data *data)
{
    enum { TYPICAL_LAYERS = 30, TYPICAL_HEADS = 4 };
    (void)data;
    double runs = 1;
    if (args->v[WEIGHTS] == OF_KL)
        runs = TYPICAL_LAYERS / 2 * (args->v[GROUPS] == GROUPS_HEAD ? TYPICAL_HEADS : 1) * (args->v[SIDES] == SIDES_APART ? 2 : 1);
    return args->v[LENGTH] * args->v[COUNT] * runs;
}

/* The reference's logits are the most of kl's memory; the others keep keys and values. */
static double memory(const kvant_args *args, const lm_shape *s)
{
    const double length = args->v[LENGTH];
    if (args->v[WEIGHTS] != OF_KL)
        return 2.0 * s->n_layer * length * s->n_kv_head * s->head_dim * sizeof(float);
    return ((length + LOGIT_ROWS) * s->n_vocab + length * s->n_embd) * sizeof(float) +
           (double)prefix_bytes(s, (uint32_t)length, (uint64_t)args->v[RESIDUAL_MIB] << 20);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static kvant_status open_kl(const probe_job *job, sensitivity_probe *p, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(job->model);
    kvant_status status = kvcache_codecs_open_f16(&p->shape, job->codecs[0].policy.isa, &p->f16, err);
    if (status)
        return status;
    p->of = calloc((size_t)p->shape.n_layer * p->shape.n_kv_head * 2, sizeof *p->of);
    p->hidden = kvant_alloc((size_t)p->length * shape->n_embd * sizeof(float));
    p->reference = kvant_alloc((size_t)p->length * shape->n_vocab * sizeof(float));
    p->logits = kvant_alloc((size_t)LOGIT_ROWS * shape->n_vocab * sizeof(float));
    p->mass = calloc(p->length, sizeof *p->mass);
    p->divergence = calloc(LOGIT_ROWS, sizeof *p->divergence);
    if (!p->of || !p->hidden || !p->reference || !p->logits || !p->mass || !p->divergence)
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory for %u rows of logits; lower length", p->length);
    return prefix_open(&p->shared, job->model, p->length, p->batch, (uint64_t)job->args.v[RESIDUAL_MIB] << 20, err);
}

static kvant_status open_vectors(const probe_job *job, sensitivity_probe *p, kvant_error *err)
{
    p->measured = calloc((size_t)p->shape.n_layer * p->shape.n_kv_head * 2, sizeof *p->measured);
    if (!p->measured)
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory");
    return captured_open(&p->captured, job->model, p->length, p->batch, false, job->codecs[0].policy.isa, "sensitivity", err);
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    sensitivity_probe *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory");
    *p = (sensitivity_probe){ .weights = (int)v[WEIGHTS], .groups = v[GROUPS] == GROUPS_HEAD ? GROUPS_HEAD : GROUPS_LAYER,
                              .sides = v[SIDES] == SIDES_APART ? SIDES_APART : SIDES_TOGETHER, .length = (uint32_t)v[LENGTH],
                              .batch = (uint32_t)v[BATCH], .shape = lm_cache_shape(lm_model_shape(job->model)), .window = SIZE_MAX };
    p->n_groups = cache_group_count(&p->shape, p->groups, p->sides);
    job->n_units = (size_t)v[COUNT] * (p->weights == OF_KL ? p->n_groups : 1);
    const kvant_args windows = { .v = { [CALIBRATION_N] = v[COUNT], [CALIBRATION_LENGTH] = v[LENGTH],
                                        [CALIBRATION_SEED] = v[DRAW] } };
    kvant_status status = calibration_windows(job->model, job->data, &windows, &p->ids, err);
    if (status)
        return status;
    return p->weights == OF_KL ? open_kl(job, p, err) : open_vectors(job, p, err);
}

static void close_job(probe_job *job)
{
    sensitivity_probe *p = job->state;
    if (!p)
        return;
    captured_close(&p->captured);
    kvcache_codecs_close(&p->f16);
    prefix_close(&p->shared);
    free(p->ids);
    free(p->measured);
    free(p->of);
    free(p->hidden);
    free(p->reference);
    free(p->logits);
    free(p->mass);
    free(p->divergence);
    free(p);
    job->state = NULL;
}

/* ---- Divergence of the output ------------------------------------------------------------------ */

static kvant_status begin_kl(const probe_job *job, sensitivity_probe *p, kvant_error *err)
{
    const lm_shape *shape = lm_model_shape(job->model);
    const kvant_status status = prefix_run(&p->shared, p->ids + p->window * p->length, &p->f16, p->hidden, err);
    for (size_t row = 0; row < p->length && !status; row += LOGIT_ROWS) {
        const size_t n = p->length - row < LOGIT_ROWS ? p->length - row : LOGIT_ROWS;
        lm_logits(job->model, p->hidden + row * shape->n_embd, n, p->reference + row * shape->n_vocab);
    }
    if (status)
        return status;
    #pragma omp parallel for schedule(static)
    for (size_t i = 0; i < p->length; i++)
        p->mass[i] = logits_mass_of(p->reference + i * shape->n_vocab, shape->n_vocab);
    return KVANT_OK;
}

/* The cell's codecs for the group, f16 for all else. */
static kvcache_codecs only_group(sensitivity_probe *p, const kvcache_codecs *codecs, const cache_group *group)
{
    kvcache_codecs view = *codecs;
    for (uint32_t layer = 0; layer < p->shape.n_layer; layer++)
        for (uint32_t head = 0; head < p->shape.n_kv_head; head++)
            for (int value = 0; value < 2; value++) {
                const kvant_side side = value ? KVANT_VALUE : KVANT_KEY;
                p->of[kvcache_group(&p->shape, layer, head, side)] =
                    cache_group_has(group, layer, head, side) ? kvcache_codec(codecs, layer, head, side) : codecs->f16;
            }
    view.of = p->of;
    return view;
}

static kvant_status kl_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    sensitivity_probe *p = job->state;
    const lm_shape *shape = lm_model_shape(job->model);
    const cache_group group = cache_group_at(&p->shape, p->groups, p->sides, index);
    const kvcache_codecs view = only_group(p, &job->codecs[cell], &group);
    const kvant_status status = prefix_resume(&p->shared, group.layer, &view, p->hidden, err);
    if (status)
        return status;
    double sum = 0;
    for (size_t row = 0; row < p->length; row += LOGIT_ROWS) {
        const size_t n = p->length - row < LOGIT_ROWS ? p->length - row : LOGIT_ROWS, n_vocab = shape->n_vocab;
        lm_logits(job->model, p->hidden + row * shape->n_embd, n, p->logits);
        #pragma omp parallel for schedule(static)
        for (size_t i = 0; i < n; i++) {
            const float *logits = p->logits + i * n_vocab;
            p->divergence[i] = logits_divergence(p->reference + (row + i) * n_vocab, p->mass[row + i], logits,
                                                 logits_mass_of(logits, n_vocab), n_vocab);
        }
        for (size_t i = 0; i < n; i++)
            sum += p->divergence[i];
    }
    job->emit(job, cell, &(probe_sample) { "kl", (uint32_t)p->window, (uint32_t)index, sum / p->length, p->length });
    return KVANT_OK;
}

/* ---- Norms and errors of vectors --------------------------------------------------------------- */

static double square_norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static void activation_unit(probe_job *job, size_t cell)
{
    const sensitivity_probe *p = job->state;
    const captured *c = &p->captured;
    for (size_t index = 0; index < p->n_groups; index++) {
        const cache_group g = cache_group_at(&p->shape, p->groups, p->sides, index);
        const float *x = captured_head(c, g.key ? c->key : c->value, g.layer, g.head);
        const double vectors = (double)p->length * g.n_heads;
        double sum = 0;            /* the heads of a token follow each other */
        for (size_t i = 0; i < p->length; i++)
            sum += square_norm(x + i * c->row, (size_t)g.n_heads * p->shape.head_dim);
        job->emit(job, cell, &(probe_sample) { "activation", (uint32_t)p->window, (uint32_t)index, sum / vectors, vectors });
    }
}

/* Codes one side of one head of the window; x [length][head_dim] is room to gather it. */
static kvant_status measure_head(const captured *c, const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side, float *x,
                                 fidelity *result, kvant_error *err)
{
    kvant_codec own = { .quantizer = NULL };
    const kvant_codec *codec = NULL;
    fidelity_work work = { 0 };
    kvant_status status = captured_codec(c, codecs, layer, head, side, &own, &codec, err);
    const size_t dim = c->shape.head_dim, n = status ? 0 : c->context / codec->plan.block * codec->plan.block;
    const float *rows = captured_head(c, side == KVANT_VALUE ? c->value : c->key, layer, head);
    if (!status && !n)
        status = kvant_fail(err, KVANT_INVALID, "sensitivity: blocks of %zu vectors do not fit into windows of %u; raise length",
                            codec->plan.block, c->context);
    if (!status)
        status = fidelity_open(codec, 1, n, &work, err);
    for (size_t i = 0; i < n && !status; i++)
        memcpy(x + i * dim, rows + i * c->row, dim * sizeof *x);
    if (!status)
        fidelity_measure(codec, x, n, x, NULL, 0, &work, result);
    fidelity_close(&work);
    kvant_close(&own);
    return status;
}

static kvant_status measure_heads(sensitivity_probe *p, const kvcache_codecs *codecs, kvant_error *err)
{
    const size_t n = (size_t)p->shape.n_layer * p->shape.n_kv_head * 2;
    kvant_status status = KVANT_OK;
    #pragma omp parallel
    {
        float *x = kvant_alloc((size_t)p->length * p->shape.head_dim * sizeof *x);
        #pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n; i++) {
            kvant_error why = { "" };
            const uint32_t layer = (uint32_t)(i / 2 / p->shape.n_kv_head), head = (uint32_t)(i / 2 % p->shape.n_kv_head);
            const kvant_side side = i % 2 ? KVANT_VALUE : KVANT_KEY;
            const kvant_status mine = x ? measure_head(&p->captured, codecs, layer, head, side, x, &p->measured[i], &why)
                                        : kvant_fail(&why, KVANT_NOMEM, "sensitivity: no memory");
            #pragma omp critical
            if (mine && !status)
                status = kvant_fail(err, mine, "%s", why.text);
        }
        free(x);
    }
    return status;
}

static kvant_status distortion_unit(probe_job *job, size_t cell, kvant_error *err)
{
    sensitivity_probe *p = job->state;
    const kvant_status status = measure_heads(p, &job->codecs[cell], err);
    for (size_t index = 0; index < p->n_groups && !status; index++) {
        const cache_group g = cache_group_at(&p->shape, p->groups, p->sides, index);
        const uint32_t window = (uint32_t)p->window, idx = (uint32_t)index;
        double error = 0, norm = 0, per_token = 0;
        for (uint32_t head = g.head; head < g.head + g.n_heads; head++)
            for (int value = !g.key; value < 1 + g.value; value++) {
                const kvant_side side = value ? KVANT_VALUE : KVANT_KEY;
                const fidelity *f = &p->measured[kvcache_group(&p->shape, g.layer, head, side)];
                const size_t block = kvcache_codec(&job->codecs[cell], g.layer, head, side)->plan.block;
                const double side_error = f->value[FIDELITY_NMSE] * f->weight[FIDELITY_NMSE];
                error += side_error;
                norm += f->weight[FIDELITY_NMSE];
                per_token += side_error / (double)(p->length / block * block);
            }
        job->emit(job, cell, &(probe_sample) { "squared_error", window, idx, per_token, p->length });
        job->emit(job, cell, &(probe_sample) { "nmse", window, idx, norm > 0 ? error / norm : 0, norm });
    }
    return status;
}

/* ---- Units ------------------------------------------------------------------------------------- */

/* A unit is a window, or for kl one group of a window. */
static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    sensitivity_probe *p = job->state;
    const size_t window = p->weights == OF_KL ? index / p->n_groups : index;
    if (window == p->window)
        return KVANT_OK;
    p->window = window;
    const kvant_status status = p->weights == OF_KL ? begin_kl(job, p, err)
                                                    : captured_run(&p->captured, p->ids + window * p->length, err);
    if (status)
        p->window = SIZE_MAX;
    return status;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    const sensitivity_probe *p = job->state;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "sensitivity: interrupted");
    if (index == 0)
        job->emit(job, cell, &(probe_sample) { "kv_heads", 0, 0, p->shape.n_kv_head, 1 });
    if (p->weights == OF_KL)
        return kl_unit(job, index % p->n_groups, cell, err);
    if (p->weights == OF_DISTORTION)
        return distortion_unit(job, cell, err);
    activation_unit(job, cell);
    return KVANT_OK;
}

/* ---- Results ----------------------------------------------------------------------------------- */

/* One metric of one cell: values and their weights [windows][groups], and room for one of each window. */
typedef struct { size_t windows, groups; double *value, *weight, *x, *w; } matrix;

static kvant_status read_matrix(const probe_sample *samples, size_t n, const char *metric, size_t windows, matrix *m, kvant_error *err)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += !strcmp(samples[i].metric, metric);
    *m = (matrix){ .windows = windows, .groups = found / windows };
    if (!found || found % windows)
        return kvant_fail(err, KVANT_FAILED, "sensitivity: %zu samples of %s are not those of %zu windows", found, metric, windows);
    m->value = calloc(2 * found + 2 * windows, sizeof *m->value);
    if (!m->value)
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory for %zu samples", n);
    m->weight = m->value + found;
    m->x = m->weight + found;
    m->w = m->x + windows;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const probe_sample *s = &samples[i];
        if (strcmp(s->metric, metric))
            continue;
        if (s->idx >= m->groups || s->chunk * m->groups + s->idx != at)
            return kvant_fail(err, KVANT_FAILED, "sensitivity: sample %zu of %s is out of place", at, metric);
        m->value[at] = s->value;
        m->weight[at++] = s->n;
    }
    return KVANT_OK;
}

/* Means over windows of groups first ... first+n-1 together; the windows are the clusters. */
static probe_result mean_of(const matrix *m, const char *name, size_t first, size_t n)
{
    for (size_t window = 0; window < m->windows; window++) {
        const double *value = m->value + window * m->groups, *weight = m->weight + window * m->groups;
        m->x[window] = m->w[window] = 0;
        for (size_t i = first; i < first + n; i++) {
            m->x[window] += weight[i] * value[i];
            m->w[window] += weight[i];
        }
        m->x[window] = m->w[window] > 0 ? m->x[window] / m->w[window] : 0;
    }
    return probe_clustered(name, m->x, m->w, m->windows);
}

/* log(largest mean / smallest) without one window (SIZE_MAX: with all); NaN where the smallest is not above 0. */
static double log_ratio(const matrix *m, size_t without)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < m->groups; i++) {
        double sum = 0, weight = 0;
        for (size_t window = 0; window < m->windows; window++)
            if (window != without) {
                sum += m->weight[window * m->groups + i] * m->value[window * m->groups + i];
                weight += m->weight[window * m->groups + i];
            }
        if (!(sum > 0))
            return NAN;
        least = fmin(least, sum / weight);
        most = fmax(most, sum / weight);
    }
    return log(most / least);
}

/* The ratio's error is the jackknife's, of its logarithm, over windows; no ratio of a largest to a smallest is below 1. */
static probe_result ratio_of(const matrix *m)
{
    double sum = 0, squares = 0;
    const double n = (double)m->windows, whole = log_ratio(m, SIZE_MAX);
    for (size_t window = 0; window < m->windows && m->windows > 1; window++) {
        m->x[window] = log_ratio(m, window);
        sum += m->x[window];
    }
    for (size_t window = 0; window < m->windows && m->windows > 1; window++)
        squares += (m->x[window] - sum / n) * (m->x[window] - sum / n);
    const stats_mean mean = { whole, m->windows > 1 ? sqrt((n - 1) / n * squares) : NAN, m->windows };
    const stats_interval interval = stats_t(mean, 0.95);
    return (probe_result){ "sensitivity_ratio", exp(whole), n, exp(whole) * mean.se,
                           isnan(interval.lo) ? NAN : exp(fmax(interval.lo, 0)), exp(interval.hi) };
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    static const char *const measured[][2] = { [OF_ACTIVATION] = { "activation", NULL }, [OF_DISTORTION] = { "squared_error", "nmse" },
                                               [OF_KL] = { "kl", NULL } };
    const char *const *names = measured[(int)args->v[WEIGHTS]];
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(samples[i].metric, "kv_heads"))
            result(user, &(probe_result) { "kv_heads", samples[i].value, 1, NAN, NAN, NAN });
    for (size_t i = 0; i < 2 && names[i] && !status; i++) {
        matrix m;
        status = read_matrix(samples, n, names[i], (size_t)args->v[COUNT], &m, err);
        if (!status) {
            probe_result r = mean_of(&m, names[i], 0, m.groups);
            result(user, &r);
            for (size_t group = 0; group < m.groups; group++) {
                char name[48];
                snprintf(name, sizeof name, "%s_group_%zu", names[i], group);
                r = mean_of(&m, name, group, 1);
                result(user, &r);
            }
            if (i == 0 && isfinite(log_ratio(&m, SIZE_MAX))) {     /* of f16's divergences, which are 0, there is none */
                r = ratio_of(&m);
                result(user, &r);
            }
        }
        free(m.value);
    }
    return status;
}

const kvant_probe probe_sensitivity = {
    .name = "sensitivity",
    .summary = "how much each layer or KV head matters: its norms, its errors, or the divergence of the output when it alone is quantized",
    .params = params,
    .metrics = metrics,
    .post_rope = true, .wants_text = true, .wants_reference = true,
    .context = context_of,
    .cost = cost,
    .memory = memory,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
