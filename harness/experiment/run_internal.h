/* run_internal.h - what the files of the runner share: run.c orders the work, run_job.c does one job, run_stock.c holds what jobs
 * reuse. Nothing outside them needs it. */
#ifndef KVANT_RUN_INTERNAL_H
#define KVANT_RUN_INTERNAL_H

#include "harness/experiment/calibration.h"
#include "harness/experiment/run.h"

/* The loaded model, what it makes of calibration data, and the codecs of its policies: made once, used by every job that follows. */
typedef struct { kvcache_codecs codecs; plan_calibration learnt; size_t bytes; size_t job; } stock_entry;
typedef struct {
    const plan_model *of;          /* whose model is loaded; NULL: none */
    lm_model *model;
    plan_calibration learns, seen;         /* the last that were asked for; used: it is there */
    calibration calibration, windows;
    stock_entry *entries;          /* [n] */
    size_t n, bytes;
    lm_times spent;                /* of models that are closed again */
} stock;

/* Loads the model, closing another one; for its whole context, so that no result depends on what else runs: RoPE may. */
kvant_status stock_model(stock *k, const plan_model *model, lm_weights weights, kvant_error *err);
bool stock_has(const stock *k, const plan_model *model, lm_weights weights);
/* What the methods of a cell learn from, made or found; valid until another is asked for. */
kvant_status stock_calibration(stock *k, const plan_cell *cell, const calibration **out, kvant_error *err);
/* The marks of what a cell's allocation was made by. */
kvant_status stock_windows(stock *k, const plan_calibration *wanted, const calibration **out, kvant_error *err);
/* Codecs of a cell's policy for the loaded model, opened or found; valid until the next job. KVANT_SKIP: does not suit. */
kvant_status stock_codecs(stock *k, const plan_cell *cell, size_t job, kvcache_codecs *codecs, kvant_error *err);
/* The codec of a cell of vectors, trained if it learns; the caller closes it. */
kvant_status stock_vectors(stock *k, const plan_cell *cell, kvant_codec *codec, kvant_error *err);
/* Lets go of codecs that other jobs opened, when all together take much memory. */
void stock_trim(stock *k, size_t job);
lm_times stock_times(const stock *k);
void stock_close(stock *k);

/* The run at work. */
typedef struct {
    plan *p;
    store *s;
    const run_options *options;
    run_result *result;
    int64_t run;
    stock stock;
    double planned, left;          /* seconds by the plan: of all units that this run did, of those to come */
    double spent;                  /* seconds that the units took */
} runner;

void run_say(runner *r, double rate, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Records a cell with the number of its units (0: not known yet). */
kvant_status run_put_cell(runner *r, size_t index, uint32_t units, kvant_error *err);
/* Runs the job of the cells given: indices [n] into the plan, which share a pairing. */
kvant_status run_job(runner *r, const size_t *cells, size_t n, kvant_error *err);

#endif
