/* run.c - orders what a plan lacks into jobs, records the run and the experiment, checks quantizers first, and runs job by job.
 * Jobs that share a model stand together, so that each model is loaded once. */
#include "harness/check/check.h"
#include "harness/experiment/calibration.h"
#include "harness/experiment/run_internal.h"
#include "harness/process.h"
#include "harness/sysinfo.h"
#include "harness/version.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void run_say(runner *r, double rate, const char *format, ...)
{
    if (!r->options->progress)
        return;
    char what[320];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    /* The plan's estimate, corrected by how it did so far. */
    double pace = r->planned > 0 ? r->spent / r->planned : 1, left = r->left > 0 ? r->left * pace : 0;
    run_progress progress = { what, r->result->done, r->result->cells - r->result->already, left, rate };
    r->options->progress(r->options->user, &progress);
}

/* ---- For the record ---------------------------------------------------------------------------- */

/* The targets whose ops run, each once. */
static void add_target(text *t, const char *target)
{
    if (!t->data || !strstr(t->data, target))
        text_add(t, "%s%s", t->length ? " " : "", target);
}

static kvant_status record_run(runner *r, const size_t *cells, size_t n, kvant_error *err)
{
    char started[32], cpu[128];
    text isa = { 0 }, libraries = { 0 };
    time_text(started);
    sysinfo_cpu(cpu);
    sysinfo_libraries(&libraries);
    for (size_t i = 0; i < n; i++) {
        add_target(&isa, r->p->cells[cells[i]].key_target);
        if (r->p->cells[cells[i]].model)
            add_target(&isa, r->p->cells[cells[i]].value_target);
    }
    kvant_status status = isa.failed || libraries.failed ? kvant_fail(err, KVANT_NOMEM, "no memory to record the run") : KVANT_OK;
    store_run_info info = { .started = started, .version = kvant_version(), .commit = version_commit, .compiler = version_compiler,
                            .flags = version_flags, .cpu = cpu, .gpu = "", .libraries = libraries.data, .isa = isa.data,
                            .command = r->options->command, .dirty = version_dirty, .threads = r->options->threads };
    if (!status)
        status = store_run(r->s, &info, &r->run, err);
    text_free(&isa);
    text_free(&libraries);
    return status;
}

kvant_status run_put_cell(runner *r, size_t index, uint32_t units, kvant_error *err)
{
    const plan_cell *c = &r->p->cells[index];
    store_cell row = { .key = c->key, .pairing = c->pairing, .config = c->config, .probe = c->probe->name,
                       .model = c->model ? c->model->input.name : NULL, .data = c->data->name,
                       .key_quantizer = plan_quantizer(c, KVANT_KEY), .key_params = c->key_params,
                       .value_quantizer = plan_quantizer(c, KVANT_VALUE),
                       .value_params = c->value_params, .label = c->label, .reference = c->reference,
                       .bits_asked = c->bits_asked, .bits_stored = c->bits_stored, .units = units };
    return store_cell_put(r->s, r->p->spec->name, (uint32_t)index, &row, err);
}

/* Of a skip with its reason. */
static kvant_status put_control(runner *r, const plan_cell *c, const char *reason, kvant_error *err)
{
    const store_control row = { c->pairing, c->control, c->key, c->added, reason };
    return c->control ? store_control_put(r->s, r->p->spec->name, &row, err) : KVANT_OK;
}

/* The experiment with all its cells, those of other shards too, so that shards may share a store. */
static kvant_status record_experiment(runner *r, kvant_error *err)
{
    const plan *p = r->p;
    kvant_status status = store_begin(r->s, err);
    if (!status)
        status = store_experiment(r->s, p->spec->name, p->spec->json, err);
    for (size_t i = 0; i < p->n_cells && !status; i++) {
        status = run_put_cell(r, i, 0, err);
        if (!status)
            status = put_control(r, &p->cells[i], NULL, err);
    }
    for (size_t i = 0; i < p->n_skips && !status; i++) {
        status = store_skip(r->s, p->spec->name, p->skips[i].cell.label, p->skips[i].cell.config, p->skips[i].reason, err);
        if (!status)
            status = put_control(r, &p->skips[i].cell, p->skips[i].reason, err);
    }
    if (!status)
        status = store_commit(r->s, err);
    if (status)
        store_rollback(r->s);
    return status;
}

/* ---- Checks ------------------------------------------------------------------------------------ */

typedef struct { runner *r; kvant_status status; kvant_error *err; } check_rows;

static void take_check(void *user, const store_check *row)
{
    check_rows *rows = user;
    if (!rows->status)
        rows->status = store_check_put(rows->r->s, rows->r->run, row, rows->err);
}

/* In one transaction: half the checks of a killed run would look like all of them. */
static kvant_status check_side(runner *r, const kvant_quantizer *q, const char *target, kvant_error *err)
{
    char version[SHA256_HEX];
    check_code_version(q, target, version);
    if (store_checked(r->s, q->name, version))
        return KVANT_OK;
    run_say(r, 0, "checking %s (%s)", q->name, target);
    check_rows rows = { .r = r, .err = err };
    check_options options = { .target = target, .quick = true, .row = take_check, .user = &rows };
    bool passed = false;
    kvant_status status = store_begin(r->s, err);
    if (!status)
        status = check_run(q, &options, &passed, err);
    if (!status)
        status = rows.status;
    if (!status)
        status = store_commit(r->s, err);
    if (status)
        store_rollback(r->s);
    else if (!passed)
        status = kvant_fail(err, KVANT_FAILED, "%s (%s): does not pass its checks, so nothing of it is stored; `kvant check %s` shows "
                            "them", q->name, target, q->name);
    return status;
}

static kvant_status check_quantizers(runner *r, const size_t *cells, size_t n, kvant_error *err)
{
    double began = seconds_now();
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const plan_cell *c = &r->p->cells[cells[i]];
        status = check_side(r, c->policy.key.quantizer, c->key_target, err);
        if (!status && c->model)
            status = check_side(r, c->policy.value.quantizer, c->value_target, err);
        for (size_t j = 0; c->allocation && j < c->allocation->n_used && !status; j++)
            status = check_side(r, c->allocation->used[j].quantizer, c->allocation->used[j].target, err);
        plan_used used = { .quantizer = c->policy.key.quantizer };
        for (size_t j = 0; !status && used.quantizer; j++) {
            status = plan_baseline(c, j, &used, err);
            if (!status && used.quantizer)
                status = check_side(r, used.quantizer, used.target, err);
        }
    }
    r->result->times.checks = seconds_now() - began;
    return status;
}

/* ---- Order ------------------------------------------------------------------------------------- */

/* By model (vector data first) and its weights' form, then job, then place in the plan. */
static int by_job(const void *a, const void *b, void *all)
{
    const plan_cell *cells = all;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    uintptr_t x = (uintptr_t)cells[i].model, y = (uintptr_t)cells[j].model;
    if (x != y)
        return x < y ? -1 : 1;
    if (cells[i].weights != cells[j].weights)
        return cells[i].weights < cells[j].weights ? -1 : 1;
    if (cells[i].job != cells[j].job)
        return cells[i].job < cells[j].job ? -1 : 1;
    return (i > j) - (i < j);
}

/* Cells of this shard that are not done, in the order of running. */
static size_t *missing_cells(runner *r, size_t *n)
{
    const plan *p = r->p;
    const run_options *o = r->options;
    size_t *cells = calloc(p->n_cells + 1, sizeof *cells);
    *n = 0;
    for (size_t i = 0; cells && i < p->n_cells; i++) {
        if (i % o->shards != o->shard - 1)
            continue;
        r->result->cells++;
        if (store_cell_done(r->s, p->cells[i].key))
            r->result->already++;
        else {
            cells[(*n)++] = i;
            r->left += p->cells[i].seconds;
        }
    }
    if (cells)
        qsort_r(cells, *n, sizeof *cells, by_job, p->cells);
    return cells;
}

static kvant_status run_jobs(runner *r, const size_t *cells, size_t n, kvant_error *err)
{
    const plan_cell *all = r->p->cells;
    kvant_status status = KVANT_OK;
    for (size_t at = 0, end; at < n && !status; at = end) {
        for (end = at; end < n && all[cells[end]].job == all[cells[at]].job;)
            end++;
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        status = run_job(r, cells + at, end - at, err);
    }
    return status;
}

kvant_status run_plan(plan *p, store *s, const run_options *options, run_result *result, kvant_error *err)
{
    double began = seconds_now();
    *result = (run_result){ .skipped = p->n_skips };
    runner r = { .p = p, .s = s, .options = options, .result = result };
    size_t n, *cells = missing_cells(&r, &n);
    kvant_status status = options->any_memory ? KVANT_OK : plan_fits(p, err);
    if (status) {
        free(cells);
        return status;
    }
    status = cells ? record_experiment(&r, err) : kvant_fail(err, KVANT_NOMEM, "no memory for %zu cells", p->n_cells);
    if (!status && n)
        status = record_run(&r, cells, n, err);
    result->times.store = seconds_now() - began;
    if (!status && n)
        status = check_quantizers(&r, cells, n, err);
    if (!status)
        status = run_jobs(&r, cells, n, err);
    stock_close(&r.stock);
    result->times.model = r.stock.spent;
    free(cells);
    result->times.total = seconds_now() - began;
    return status;
}

static kvant_status train_cell(stock *k, const plan_cell *cell, size_t job, kvant_error *err)
{
    kvcache_codecs codecs;         /* the stock's */
    kvant_codec codec;
    kvant_error why;
    stock_trim(k, job);
    kvant_status status = cell->model ? stock_model(k, cell->model, cell->weights, &why) : KVANT_OK;
    if (!status)
        status = cell->model ? stock_codecs(k, cell, job, &codecs, &why) : stock_vectors(k, cell, &codec, &why);
    if (!status && !cell->model)
        kvant_close(&codec);
    return status && status != KVANT_SKIP ? kvant_fail(err, status, "%s: %s", cell->label, why.text) : KVANT_OK;
}

/* Model by model, vectors first, so that each is loaded once. */
kvant_status run_train(const plan *p, kvant_error *err)
{
    stock k = { .of = NULL };
    kvant_status status = KVANT_OK;
    for (size_t m = 0; m <= p->n_models && !status; m++)
        for (size_t i = 0; i < p->n_cells && !status; i++) {
            const plan_cell *cell = &p->cells[i];
            if (!cell->calibration.used || cell->model != (m ? &p->models[m - 1] : NULL))
                continue;
            status = interrupted() ? kvant_fail(err, KVANT_INTERRUPTED, "interrupted") : train_cell(&k, cell, i, err);
        }
    stock_close(&k);
    return status;
}
