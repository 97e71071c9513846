/* experiment.h - what `kvant plan` and `kvant run` begin with: spec, overrides, store and threads from the command line, and the plan.
 * Both commands take the same options and must come to the same cells. */
#ifndef KVANT_EXPERIMENT_H
#define KVANT_EXPERIMENT_H

#include "harness/cli.h"
#include "harness/experiment/run.h"
#include "harness/options.h"

#define DEFAULT_STORE "results/kvant.db"

/* experiment_open takes all of these; of those that make states, --states has a help of its own. */
#define OPTION_SPEC                                                                                                          \
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },                                                     \
    { "quick", NULL, "the spec's quick variant: its keys under `quick` in place of the others, named NAME-quick", false },   \
    { "set", "KEY=VALUE", "override a key of the spec: chunks=4, key.bits=[2,3]", true },                                    \
    { "isa", "TARGET", "kernels to use, like --set isa=TARGET: auto, scalar, or a target", false },                          \
    OPTION_WEIGHTS,                                                                                                          \
    OPTION_THREADS
#define OPTION_EXPERIMENT OPTION_SPEC, OPTION_STATES

typedef struct {
    spec spec;
    states *states;                /* NULL: none are kept */
    store *store;                  /* NULL: not there, and only to be read */
    plan plan;
    int threads;
    /* That reading the spec, planning with its inputs, and measuring what allocators go by took. */
    double seconds_spec, seconds_plan, seconds_allocate;
} experiment;

/* Opens all of it for the command's first argument. False: it has been said what is wrong, and *status is the exit status. */
bool experiment_open(const cli *c, store_mode mode, experiment *e, int *status);
/* Measures the sensitivities that allocators of the plan wait for, and plans again. */
kvant_status experiment_allocate(experiment *e, const run_options *options, kvant_error *err);
void experiment_close(experiment *e);

/* "43 s", "12 min 5 s", "3 h 20 min" */
void duration_text(double seconds, char out[32]);

/* How a run is shown on stderr: on a terminal one line that is kept up to date, elsewhere a line every few seconds. progress_show
 * is the `progress` of run_options, with the screen as its user; clear it before anything else is said. */
typedef struct { bool terminal, shown; double last; } progress_screen;
progress_screen progress_start(void);
void progress_show(void *screen, const run_progress *progress);
void progress_clear(const progress_screen *screen);

#endif
