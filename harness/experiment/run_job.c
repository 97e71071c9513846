/* run_job.c - one job: the cells of a pairing go through a probe unit by unit, and finished units go to the store.
 * Units are stored in batches, at most a second's work: a kill loses that and nothing else, and SQLite costs nothing. */
#include "harness/experiment/canonical.h"
#include "harness/experiment/run_internal.h"
#include "harness/lm/gemm_bf16.h"
#include "harness/process.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const double batch_seconds = 1;
enum { BATCH_SAMPLES = 100000 };

/* One cell of the job, and what of it is stored. */
typedef struct {
    size_t index;                  /* in the plan */
    plan_cell *cell;
    uint8_t *done;                 /* [n_units] stored */
    size_t missing;
} member;

/* A unit that is measured and waits for the store; its samples are samples[first ... first+n-1]. */
typedef struct { size_t member; uint32_t unit; double seconds, model; size_t first, n; } waiting;

typedef struct {
    runner *r;
    const kvant_probe *probe;
    probe_job job;
    member *members;               /* [job.n_cells] */
    kvcache_codecs *codecs;        /* [n_cells] borrowed from the stock, or */
    kvant_codec *vectors;          /* [n_cells] own */
    probe_sample *samples;         /* metric names are owned */
    size_t n_samples, room_samples;
    waiting *units;
    size_t n_units, room_units;
    bool no_memory;
    double last_store;             /* when the store last took something */
    double cost, seconds;          /* of the units measured, for the rate */
} work;

/* ---- Samples and units that wait ------------------------------------------------------------- */

static bool room(void **array, size_t *have, size_t need, size_t size)
{
    if (need <= *have)
        return true;
    size_t n = need + need / 2 + 16;
    void *more = realloc(*array, n * size);
    if (!more)
        return false;
    *array = more;
    *have = n;
    return true;
}

static void emit(probe_job *job, size_t cell, const probe_sample *sample)
{
    (void)cell;                    /* a unit runs for one cell */
    work *w = job->driver;
    void *samples = w->samples;
    char *metric = strdup(sample->metric);
    if (!metric || !room(&samples, &w->room_samples, w->n_samples + 1, sizeof *w->samples)) {
        free(metric);
        w->no_memory = true;
        return;
    }
    w->samples = samples;
    w->samples[w->n_samples] = *sample;
    w->samples[w->n_samples++].metric = metric;
}

static void forget_samples(work *w, size_t from)
{
    while (w->n_samples > from)
        free((char *)w->samples[--w->n_samples].metric);
}

/* ---- Into the store -------------------------------------------------------------------------- */

typedef struct { runner *r; const plan_cell *cell; kvant_status status; kvant_error *err; } results;

static void take_result(void *user, const probe_result *result)
{
    results *out = user;
    if (out->status)
        return;
    const probe_metric *metric = probe_metric_find(out->cell->probe, result->metric);
    out->status = metric ? store_measurement(out->r->s, out->cell->key, metric->unit, metric->better, metric->timing, result, out->err)
                         : kvant_fail(out->err, KVANT_FAILED, "%s: reports '%s', which is not among its metrics",
                                      out->cell->probe->name, result->metric);
}

/* Results of a cell whose units are all stored, in the open transaction. */
static kvant_status finish_cell(runner *r, const plan_cell *cell, kvant_error *err)
{
    probe_sample *samples;
    size_t n;
    kvant_status status = store_samples(r->s, cell->key, &samples, &n, err);
    if (status)
        return status;
    results out = { .r = r, .cell = cell, .err = err };
    status = cell->probe->finish(&cell->args, samples, n, take_result, &out, err);
    store_samples_free(samples, n);
    char now[32];
    time_text(now);
    if (!status)
        status = out.status;
    return status ? status : store_cell_finish(r->s, cell->key, r->run, now, err);
}

/* Stores the units that wait, and finishes the cells that they complete: all of it or nothing. */
static kvant_status flush(work *w, kvant_error *err)
{
    runner *r = w->r;
    double began = seconds_now();
    size_t finished = 0;
    kvant_status status = w->n_units ? store_begin(r->s, err) : KVANT_OK;
    for (size_t i = 0; i < w->n_units && !status; i++) {
        const waiting *u = &w->units[i];
        member *m = &w->members[u->member];
        status = store_unit(r->s, m->cell->key, u->unit, r->run, u->seconds, u->model, err);
        for (size_t j = 0; j < u->n && !status; j++)
            status = store_sample(r->s, m->cell->key, u->unit, &w->samples[u->first + j], err);
        if (!status && --m->missing == 0) {
            status = finish_cell(r, m->cell, err);
            finished++;
        }
    }
    if (!status && w->n_units)
        status = store_commit(r->s, err);
    if (status)
        store_rollback(r->s);
    else
        r->result->done += finished;
    forget_samples(w, 0);
    w->n_units = 0;
    w->last_store = seconds_now();
    r->result->times.store += w->last_store - began;
    return status;
}

/* A cell may have all its units and no result, when stores were merged. */
static kvant_status finish_complete(work *w, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < w->job.n_cells && !status; i++) {
        if (w->members[i].missing)
            continue;
        status = store_begin(w->r->s, err);
        if (!status)
            status = finish_cell(w->r, w->members[i].cell, err);
        if (!status)
            status = store_commit(w->r->s, err);
        if (status)
            store_rollback(w->r->s);
        else
            w->r->result->done++;
    }
    return status;
}

/* ---- Measuring --------------------------------------------------------------------------------- */

static double model_seconds(const runner *r)
{
    lm_times t = stock_times(&r->stock);
    return t.matmul + t.encode + t.attention + t.rest;
}

/* Counts what the model ran since `before`, if it ran. */
static void count_pass(runner *r, const lm_times *before, int kind)
{
    const lm_times now = stock_times(&r->stock);
    run_passes *p = &r->result->passes[kind];
    if (now.tokens == before->tokens)
        return;
    p->passes++;
    p->tokens += now.tokens - before->tokens;
    p->layers += now.layers - before->layers;
    p->whole += (now.tokens - before->tokens) * lm_model_shape(r->stock.model)->n_layer;
    p->logits += now.logits - before->logits;
}

static kvant_status measure(work *w, uint32_t unit, size_t index, kvant_error *err)
{
    runner *r = w->r;
    member *m = &w->members[index];
    size_t first = w->n_samples;
    void *units = w->units;
    if (!room(&units, &w->room_units, w->n_units + 1, sizeof *w->units))
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its units", w->probe->name);
    w->units = units;
    run_say(r, w->seconds > 0 ? w->cost / w->seconds : 0, "%s, %s: unit %u of %zu, %s", w->probe->name,
            m->cell->model ? m->cell->model->input.name : m->cell->data->name, unit + 1, w->job.n_units, m->cell->label);
    const lm_times before = stock_times(&r->stock);
    double began = seconds_now(), model = model_seconds(r);
    kvant_status status = w->probe->unit(&w->job, unit, index, err);
    count_pass(r, &before, !m->cell->reference ? PASS_CANDIDATE : w->probe->begin ? PASS_CONTROL : PASS_REFERENCE);
    double seconds = seconds_now() - began, planned = m->cell->seconds / (double)w->job.n_units;
    model = model_seconds(r) - model;
    r->result->times.probe += seconds - model;
    if (!status && w->no_memory)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for its samples", w->probe->name);
    if (status) {
        forget_samples(w, first);
        return status;
    }
    w->units[w->n_units++] = (waiting){ index, unit, seconds, model, first, w->n_samples - first };
    w->cost += m->cell->cost / (double)w->job.n_units;
    w->seconds += seconds;
    r->planned += planned;
    r->left -= planned;
    r->spent += seconds;
    return KVANT_OK;
}

/* What the cells of a unit share is made before the first of them that lacks it. */
static kvant_status measure_unit(work *w, uint32_t unit, kvant_error *err)
{
    bool begun = false;
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < w->job.n_cells && !status; i++) {
        if (w->members[i].done[unit])
            continue;
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        if (!begun && w->probe->begin) {
            const lm_times before = stock_times(&w->r->stock);
            double began = seconds_now(), model = model_seconds(w->r);
            status = w->probe->begin(&w->job, unit, err);
            count_pass(w->r, &before, PASS_REFERENCE);
            w->r->result->times.probe += seconds_now() - began - (model_seconds(w->r) - model);
        }
        begun = true;
        if (!status)
            status = measure(w, unit, i, err);
        if (!status && (seconds_now() - w->last_store > batch_seconds || w->n_samples > BATCH_SAMPLES))
            status = flush(w, err);
    }
    return status;
}

static kvant_status measure_all(work *w, kvant_error *err)
{
    kvant_status status = finish_complete(w, err);
    w->last_store = seconds_now();
    for (size_t unit = 0; unit < w->job.n_units && !status; unit++)
        status = measure_unit(w, (uint32_t)unit, err);
    /* Units that are whole are kept when the user stops. */
    if (!status || status == KVANT_INTERRUPTED) {
        kvant_status stored = flush(w, status ? NULL : err);
        status = status ? status : stored;
    }
    return status;
}

/* ---- Setting a job up -------------------------------------------------------------------------- */

static kvant_status skip_cell(runner *r, const plan_cell *cell, const char *reason, kvant_error *err)
{
    r->result->skipped++;
    return store_skip(r->s, r->p->spec->name, cell->label, cell->config, reason, err);
}

/* Opens the codecs of the cells; cells that do not suit leave the job. */
static kvant_status open_codecs(work *w, const size_t *cells, size_t n, kvant_error *err)
{
    runner *r = w->r;
    double began = seconds_now();
    kvant_status status = KVANT_OK;
    size_t job = r->p->cells[cells[0]].job;
    stock_trim(&r->stock, job);
    for (size_t i = 0; i < n && !status; i++) {
        plan_cell *cell = &r->p->cells[cells[i]];
        size_t at = w->job.n_cells;
        kvant_error why;
        if (cell->model)
            status = stock_codecs(&r->stock, cell, job, &w->codecs[at], &why);
        else
            status = stock_vectors(&r->stock, cell, &w->vectors[at], &why);
        if (!status)
            w->members[w->job.n_cells++] = (member){ .index = cells[i], .cell = cell };
        else if (status == KVANT_SKIP)
            status = skip_cell(r, cell, why.text, err);
        else
            status = kvant_fail(err, status, "%s: %s", cell->label, why.text);
    }
    r->result->times.codecs += seconds_now() - began;
    return status;
}

static kvant_status open_probe(work *w, kvant_error *err)
{
    runner *r = w->r;
    double began = seconds_now(), model = model_seconds(r);
    kvant_status status = w->probe->open(&w->job, err);
    r->result->times.probe += seconds_now() - began - (model_seconds(r) - model);
    if (!status && (w->job.n_units < 1 || w->job.n_units > UINT32_MAX))
        status = kvant_fail(err, KVANT_FAILED, "%s: has %zu units", w->probe->name, w->job.n_units);
    return status;
}

static kvant_status put_group(runner *r, const plan_cell *cell, uint32_t layer, uint32_t head, const char *side,
                              const kvant_codec *codec, kvant_error *err)
{
    text params = { 0 };
    canonical_params(&params, codec->quantizer->params, &codec->args);
    store_group group = { layer, head, side, codec->quantizer->name, params.data, codec->plan.bits_asked, kvant_bits(codec) };
    kvant_status status = params.failed ? kvant_fail(err, KVANT_NOMEM, "no memory to record a group")
                                        : store_group_put(r->s, cell->key, &group, err);
    text_free(&params);
    return status;
}

/* What codes each group of a member, as it was opened. */
static kvant_status put_groups(work *w, size_t index, kvant_error *err)
{
    const plan_cell *cell = w->members[index].cell;
    if (w->vectors)
        return put_group(w->r, cell, 0, 0, "vector", &w->vectors[index], err);
    const kvcache_codecs *codecs = &w->codecs[index];
    kvant_status status = KVANT_OK;
    for (uint32_t i = 0; i < codecs->shape.n_layer * codecs->shape.n_kv_head * 2 && !status; i++)
        status = put_group(w->r, cell, i / 2 / codecs->shape.n_kv_head, i / 2 % codecs->shape.n_kv_head, i % 2 ? "value" : "key",
                           codecs->of[i], err);
    return status;
}

/* Makes the cells known with their units and groups, and asks which of these are there. */
static kvant_status look_up(work *w, kvant_error *err)
{
    runner *r = w->r;
    double began = seconds_now();
    uint32_t units = (uint32_t)w->job.n_units;
    kvant_status status = store_begin(r->s, err);
    for (size_t i = 0; i < w->job.n_cells && !status; i++) {
        status = run_put_cell(r, w->members[i].index, units, err);
        if (!status)
            status = put_groups(w, i, err);
    }
    if (!status)
        status = store_commit(r->s, err);
    if (status)
        store_rollback(r->s);
    for (size_t i = 0; i < w->job.n_cells && !status; i++) {
        member *m = &w->members[i];
        m->done = calloc(units, 1);
        if (!m->done)
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for %u units", w->probe->name, units);
        else
            status = store_units_done(r->s, m->cell->key, units, m->done, err);
        for (size_t u = 0; u < units && !status; u++)
            m->missing += !m->done[u];
        r->left -= m->cell->seconds * (double)(units - m->missing) / units;
    }
    r->result->times.store += seconds_now() - began;
    return status;
}

static void close_work(work *w)
{
    for (size_t i = 0; i < w->job.n_cells; i++) {
        if (w->members)
            free(w->members[i].done);
        if (w->vectors)
            kvant_close(&w->vectors[i]);
    }
    forget_samples(w, 0);
    free(w->members);
    free(w->codecs);
    free(w->vectors);
    free(w->samples);
    free(w->units);
}

/* What a cell of the job learnt from, or was given its bits by, must not be measured. */
static kvant_status refuse_learnt(probe_job *job, const int32_t *ids, size_t n, kvant_error *err)
{
    work *w = job->driver;
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < 2 * job->n_cells && !status; i++) {
        const plan_cell *cell = w->members[i / 2].cell;
        const bool allocated = i % 2;
        const calibration *c;
        size_t at;
        if (!(allocated ? cell->allocation && cell->allocation->learns.used : cell->calibration.used))
            continue;
        status = allocated ? stock_windows(&w->r->stock, &cell->allocation->learns, &c, err)
                           : stock_calibration(&w->r->stock, cell, &c, err);
        if (!status && calibration_saw_tokens(c, ids, n, &at))
            status = kvant_fail(err, KVANT_INVALID, "%s, %s: tokens %zu to %zu of what is measured are among those that it learnt from; name "
                                "another text by `calibration.data`, or measure less of this one", w->probe->name, cell->label, at,
                                at + c->run - 1);
    }
    return status;
}

static void note(const runner *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(const runner *r, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (r->options->note)
        r->options->note(r->options->user, line);
}

/* Says the form of the weights that were loaded. What bf16 does to the logits is measured on the job's text, and stored as a check. */
static kvant_status note_weights(runner *r, const plan_cell *c, kvant_error *err)
{
    const char *name = c->model->input.name;
    char held[16], left[16];
    bytes_text(c->model->size.held[c->weights], held);
    bytes_text(r->p->available, left);
    note(r, "%s: weights as %s, %s; %s of memory available", name, lm_weights_name(c->weights), held,
         r->p->available ? left : "an unknown amount");
    if (c->weights != LM_WEIGHTS_BF16)
        return KVANT_OK;
    int32_t *ids = NULL, bos;
    size_t n;
    weights_effect effect;
    kvant_status status = probe_text(r->stock.model, &c->data->data, &ids, &n, &bos, err);
    if (!status)
        status = weights_measure(r->stock.model, c->model->input.path, 0, ids, n, &effect, err);
    free(ids);
    if (status)
        return status;
    note(r, "%s: bf16 weights move logits by a mean KL of %.3g nats from f32, and by %.3g at most, over %zu tokens of %s", name, effect.kl,
         effect.most, effect.tokens, c->data->name);
    const char *sha = c->model->input.sha256, *isa = gemm_bf16_isa();
    const store_check rows[] = {
        { "weights", sha, isa, "bf16", name, c->data->name, "kl", "f32 weights", effect.kl, 0, NAN, NAN, "pass" },
        { "weights", sha, isa, "bf16", name, c->data->name, "max_difference", "f32 weights", effect.most, 0, NAN, NAN, "pass" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !status; i++)
        status = store_check_put(r->s, r->run, &rows[i], err);
    return status;
}

kvant_status run_job(runner *r, const size_t *cells, size_t n, kvant_error *err)
{
    const plan_cell *first = &r->p->cells[cells[0]];
    work w = { .r = r, .probe = first->probe };
    w.members = calloc(n, sizeof *w.members);
    if (first->model)
        w.codecs = calloc(n, sizeof *w.codecs);
    else
        w.vectors = calloc(n, sizeof *w.vectors);
    kvant_status status = KVANT_OK;
    if (!w.members || !(first->model ? (void *)w.codecs : (void *)w.vectors))
        status = kvant_fail(err, KVANT_NOMEM, "no memory for a job of %zu cells", n);
    if (!status && first->model && !stock_has(&r->stock, first->model, first->weights)) {
        run_say(r, 0, "loading %s, weights as %s", first->model->input.name, lm_weights_name(first->weights));
        double began = seconds_now();
        status = stock_model(&r->stock, first->model, first->weights, err);
        r->result->times.load += seconds_now() - began;
        if (!status)
            status = note_weights(r, first, err);
    }
    if (!status)
        status = open_codecs(&w, cells, n, err);
    if (!status && w.job.n_cells) {
        w.job.args = first->args;
        w.job.model = first->model ? r->stock.model : NULL;
        w.job.data = &first->data->data;
        w.job.codecs = w.codecs;
        w.job.vectors = w.vectors;
        w.job.emit = emit;
        w.job.measures = refuse_learnt;
        w.job.driver = &w;
        kvant_error why;
        status = open_probe(&w, &why);
        if (status == KVANT_SKIP) {
            status = KVANT_OK;
            for (size_t i = 0; i < w.job.n_cells && !status; i++)
                status = skip_cell(r, w.members[i].cell, why.text, err);
        } else if (status) {
            kvant_fail(err, status, "%s", why.text);
        } else {
            status = look_up(&w, err);
            if (!status)
                status = measure_all(&w, err);
        }
        w.probe->close(&w.job);
    }
    close_work(&w);
    return status;
}
