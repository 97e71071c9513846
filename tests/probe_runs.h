/* probe_runs.h - runs a probe as the driver does, without plan or store: units in order, samples sorted, then finish.
 * Every cell keeps its samples and results for the test to look at. */
#ifndef KVANT_TESTS_PROBE_RUNS_H
#define KVANT_TESTS_PROBE_RUNS_H

#include "harness/probe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One that must be there. */
static inline const kvant_probe *probe_of(const char *name)
{
    kvant_error err = { "" };
    const kvant_probe *p = probe_find(name, &err);
    if (!p)
        fail_msg("%s", err.text);
    return p;
}

typedef struct { char metric[64]; double value, n, se, lo, hi; } kept_result;

enum { RUN_RESULTS = 64, RUN_CELLS = 4 };

typedef struct {
    probe_sample *samples;         /* with names of their own */
    size_t n, capacity;
    kept_result results[RUN_RESULTS];
    size_t n_results;
} cell_run;

typedef struct { cell_run cells[RUN_CELLS]; } probe_run;

static inline void run_emit(probe_job *job, size_t cell, const probe_sample *sample)
{
    cell_run *c = &((probe_run *)job->driver)->cells[cell];
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 64;
        c->samples = realloc(c->samples, c->capacity * sizeof *c->samples);
        assert_non_null(c->samples);
    }
    c->samples[c->n] = *sample;
    c->samples[c->n].metric = strdup(sample->metric);
    assert_non_null(c->samples[c->n++].metric);
}

static inline void run_result(void *user, const probe_result *r)
{
    cell_run *c = user;
    assert_true(c->n_results < RUN_RESULTS);
    kept_result *k = &c->results[c->n_results++];
    *k = (kept_result){ "", r->value, r->n, r->se, r->lo, r->hi };
    assert_true(strlen(r->metric) < sizeof k->metric);
    strcpy(k->metric, r->metric);
}

static inline int sample_order(const void *a, const void *b)
{
    const probe_sample *x = a, *y = b;
    int metric = strcmp(x->metric, y->metric);
    return metric ? metric : x->chunk != y->chunk ? (x->chunk < y->chunk ? -1 : 1) : (x->idx > y->idx) - (x->idx < y->idx);
}

/* Runs the job to its end; the first failure's status comes back, with its text in err. */
static inline kvant_status run_probe(const kvant_probe *probe, probe_job *job, probe_run *run, kvant_error *err)
{
    *run = (probe_run){ 0 };
    job->emit = run_emit;
    job->driver = run;
    assert_true(job->n_cells <= RUN_CELLS);
    kvant_status status = probe->open(job, err);
    for (size_t u = 0; !status && u < job->n_units; u++) {
        if (probe->begin)
            status = probe->begin(job, u, err);
        for (size_t c = 0; !status && c < job->n_cells; c++) {
            size_t first = run->cells[c].n;
            status = probe->unit(job, u, c, err);
            if (run->cells[c].n > first)
                qsort(run->cells[c].samples + first, run->cells[c].n - first, sizeof(probe_sample), sample_order);
        }
    }
    probe->close(job);
    for (size_t c = 0; !status && c < job->n_cells; c++)
        status = probe->finish(&job->args, run->cells[c].samples, run->cells[c].n, run_result, &run->cells[c], err);
    for (size_t c = 0; !status && c < job->n_cells; c++) {
        for (size_t i = 0; i < run->cells[c].n; i++)
            assert_non_null(probe_metric_find(probe, run->cells[c].samples[i].metric));
        for (size_t i = 0; i < run->cells[c].n_results; i++)
            assert_non_null(probe_metric_find(probe, run->cells[c].results[i].metric));
    }
    return status;
}

static inline void run_free(probe_run *run)
{
    for (size_t c = 0; c < RUN_CELLS; c++) {
        for (size_t i = 0; i < run->cells[c].n; i++)
            free((char *)run->cells[c].samples[i].metric);
        free(run->cells[c].samples);
    }
    *run = (probe_run){ 0 };
}

static inline void run_ok(const kvant_probe *probe, probe_job *job, probe_run *run)
{
    kvant_error err = { "" };
    if (run_probe(probe, job, run, &err) != KVANT_OK)
        fail_msg("%s: %s", probe->name, err.text);
}

/* A probe with these arguments on n vectors x of `dim`, coded by a quantizer's scalar code. */
static inline void run_on_vectors(const char *probe, const char *args, const char *quantizer, const char *quantizer_args, uint32_t seed,
                                  float *x, size_t n, size_t dim, probe_run *run)
{
    const kvant_probe *p = probe_of(probe);
    const kvant_quantizer *q = kvant_find(quantizer, NULL);
    assert_non_null(q);
    kvant_args given = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, quantizer_args, &given, NULL), KVANT_OK);
    kvant_shape shape = { .dim = (uint32_t)dim, .side = KVANT_VECTOR, .seed = seed };
    kvant_data data = { .x = x, .n = n, .dim = dim };
    kvant_codec codec;
    assert_int_equal(kvant_open(q, &shape, &given, "scalar", &codec, NULL), KVANT_OK);
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    assert_int_equal(kvant_parse(p->params, args, &job.args, NULL), KVANT_OK);
    run_ok(p, &job, run);
    kvant_close(&codec);
}

static inline const kept_result *result_of(const cell_run *c, const char *metric)
{
    for (size_t i = 0; i < c->n_results; i++)
        if (!strcmp(c->results[i].metric, metric))
            return &c->results[i];
    fail_msg("no result %s", metric);
    return NULL;
}

static inline double value_of(const cell_run *c, const char *metric) { return result_of(c, metric)->value; }

/* Same samples, bit for bit. */
static inline void assert_same_samples(const cell_run *a, const cell_run *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->samples[i].metric, b->samples[i].metric);
        assert_int_equal(a->samples[i].chunk, b->samples[i].chunk);
        assert_int_equal(a->samples[i].idx, b->samples[i].idx);
        assert_memory_equal(&a->samples[i].value, &b->samples[i].value, sizeof(double));
        assert_memory_equal(&a->samples[i].n, &b->samples[i].n, sizeof(double));
    }
}

/* |got - want| <= tolerance, false for NaN. */
static inline void assert_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.10g is not %.10g within %.3g", got, want, tolerance);
}

#endif
