/* run.h - runs a plan: every cell that the store lacks, unit by unit, so that a killed run goes on where it was.
 * What a cell says in the end comes from stored samples alone, whether one process made them or ten. */
#ifndef KVANT_RUN_H
#define KVANT_RUN_H

#include "harness/experiment/plan.h"

typedef struct {
    const char *what;              /* the step that begins now, e.g. "needle, smollm2-135m: unit 2 of 4, affine 4b" */
    size_t done, cells;            /* cells of this run that are finished, and all of them */
    double left;                   /* seconds, estimated */
    double rate;                   /* tokens (or vectors) per second of the job at work; 0: not known yet */
} run_progress;

typedef struct run_options {
    unsigned shard, shards;        /* this process takes every shards-th cell of the plan, beginning with the shard-th (1-based) */
    int threads;                   /* for the record */
    const char *command;           /* for the record */
    bool any_memory;               /* runs even what will not fit */
    void (*progress)(void *user, const run_progress *progress);
    void (*note)(void *user, const char *line);        /* what a user should know of this run; NULL: nobody listens */
    void *user;
} run_options;

/* Seconds by part. model is the engine's own split; probe is what probes took beside it. */
typedef struct { double load, codecs, checks, probe, store, total; lm_times model; } run_times;

/* Runs of a model: those of one unit are one pass. whole: layers, had every token gone through all of them. */
typedef struct { uint64_t passes, tokens, layers, whole, logits; } run_passes;
/* reference: what the cells of a unit are compared with, run once for all of them; where a probe has no such thing, the f16 cells'.
 * control: the f16 cells, where there is a reference beside them. */
enum { PASS_REFERENCE, PASS_CONTROL, PASS_CANDIDATE, PASS_KINDS };

typedef struct {
    size_t cells;                  /* of this shard */
    size_t already;                /* of them, finished before */
    size_t done;                   /* of them, finished now */
    size_t skipped;                /* combinations and cells that did not suit */
    run_times times;
    run_passes passes[PASS_KINDS];
} run_result;

/* Runs what is missing, unless it does not fit in memory (plan_fits); a quantizer whose checks for this code version the store lacks is
 * checked first, and KVANT_FAILED when it does not pass. *result is valid whatever is returned. KVANT_INTERRUPTED: finished units are
 * stored, the others are not, and the same call goes on. */
kvant_status run_plan(plan *p, store *s, const run_options *options, run_result *result, kvant_error *err);

/* Trains all that learns in the plan's cells, as a run would, and keeps nothing of it: for a plan whose states are being stored.
 * Cells that do not suit are passed over. */
kvant_status run_train(const plan *p, kvant_error *err);

#endif
