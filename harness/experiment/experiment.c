/* experiment.c - opens a spec with its overrides, the store and the plan, for the commands that work on one experiment.
 * Lives beside the commands: it reads the command line and words complaints by cli.c. */
#include "harness/experiment/experiment.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --isa and --weights override what the spec says; they come first, so that an explicit --set isa=... wins. */
static kvant_status read_spec(const cli *c, spec *s, kvant_error *err)
{
    const char *isa = cli_get(c, "isa"), *weights = cli_get(c, "weights");
    size_t n = 0;
    while (cli_get_nth(c, "set", (int)n))
        n++;
    const char **sets = calloc(n + 2, sizeof *sets);
    char *first = isa ? text_format("isa=%s", isa) : NULL, *second = weights ? text_format("weights=%s", weights) : NULL;
    kvant_status status = KVANT_OK;
    if (!sets || (isa && !first) || (weights && !second))
        status = kvant_fail(err, KVANT_NOMEM, "no memory for the overrides");
    else {
        size_t at = 0;
        if (isa)
            sets[at++] = first;
        if (weights)
            sets[at++] = second;
        for (size_t i = 0; i < n; i++)
            sets[at++] = cli_get_nth(c, "set", (int)i);
        status = (cli_get(c, "quick") ? spec_read_quick : spec_read)(cli_arg(c, 0), sets, at, s, err);
    }
    free(first);
    free(second);
    free(sets);
    return status;
}

bool experiment_open(const cli *c, store_mode mode, experiment *e, int *status)
{
    *e = (experiment){ .threads = 0 };
    *status = EXIT_USAGE;
    if (!option_threads(c))
        return false;
    e->threads = omp_get_max_threads();
    const char *path = cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE;
    kvant_error err;
    double began = seconds_now();
    kvant_status done = read_spec(c, &e->spec, &err);
    e->seconds_spec = seconds_now() - began;
    if (!done && cli_get(c, "states"))
        done = states_open(cli_get(c, "states"), STATES_READ, &e->states, &err);
    /* A store that must be written is not made for a spec that cannot be planned: the plan is made without one first. */
    bool there = access(path, F_OK) == 0;
    if (!done && there)
        done = store_open(path, mode, &e->store, &err);
    began = seconds_now();
    if (!done)
        done = plan_open(&e->spec, e->states, e->store, e->threads, NULL, &e->plan, &err);
    e->seconds_plan = seconds_now() - began;
    if (!done && !there && mode == STORE_WRITE)
        done = store_open(path, mode, &e->store, &err);
    if (!done)
        return true;
    *status = cli_fail(c, done, &err);
    experiment_close(e);
    return false;
}

kvant_status experiment_allocate(experiment *e, const run_options *options, kvant_error *err)
{
    if (!e->plan.n_waiting)
        return KVANT_OK;
    run_options whole = *options;          /* every shard needs all of them */
    whole.shard = whole.shards = 1;
    plan_close(&e->plan);
    const double began = seconds_now();
    const kvant_status status = plan_open(&e->spec, e->states, e->store, e->threads, &whole, &e->plan, err);
    e->seconds_allocate = seconds_now() - began;
    return status;
}

void experiment_close(experiment *e)
{
    plan_close(&e->plan);
    states_close(e->states);
    e->states = NULL;
    if (e->store)
        store_close(e->store);
    e->store = NULL;
    spec_close(&e->spec);
}

void duration_text(double seconds, char out[32])
{
    if (!(seconds >= 0))
        seconds = 0;
    if (seconds < 99.5)
        snprintf(out, 32, seconds < 9.95 ? "%.1f s" : "%.0f s", seconds);
    else if (seconds < 3600)
        snprintf(out, 32, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(out, 32, "%.0f h %d min", floor(seconds / 3600), (int)fmod(seconds, 3600) / 60);
}

progress_screen progress_start(void) { return (progress_screen){ .terminal = isatty(STDERR_FILENO) }; }

void progress_show(void *screen, const run_progress *p)
{
    progress_screen *s = screen;
    const double now = seconds_now();
    if (s->shown && now - s->last < (s->terminal ? 0.1 : 5))
        return;
    char left[32], rate[48] = "";
    duration_text(p->left, left);
    if (p->rate > 0)
        snprintf(rate, sizeof rate, ", %.0f/s", p->rate);
    fprintf(stderr, s->terminal ? "\r\033[K%zu/%zu cells, %s left%s | %.90s" : "%zu/%zu cells, %s left%s | %.200s\n", p->done,
            p->cells, left, rate, p->what);
    fflush(stderr);
    s->shown = true;
    s->last = now;
}

void progress_clear(const progress_screen *s)
{
    if (s->terminal && s->shown)
        fputs("\r\033[K", stderr);
}
