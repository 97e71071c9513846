/* run.c - `kvant run`: measures what the store lacks of a spec, and says what it does and where the time went.
 * On a terminal one line is kept up to date; elsewhere a line every few seconds. All of it is talk, and goes to stderr. */
#include "harness/experiment/experiment.h"
#include "harness/experiment/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* "2/4": the second of four. */
static bool parse_shard(const cli *c, unsigned *shard, unsigned *shards)
{
    const char *given = cli_get(c, "shard");
    *shard = *shards = 1;
    if (!given)
        return true;
    char *end = NULL, *last = NULL;
    unsigned long i = strtoul(given, &end, 10), n = *end == '/' ? strtoul(end + 1, &last, 10) : 0;
    if (*given < '0' || *given > '9' || !last || end[1] < '0' || end[1] > '9' || *last || i < 1 || i > n || n > 1000000) {
        cli_usage(c, "--shard %.40s: must be I/N with I from 1 to N, e.g. 2/4", given);
        return false;
    }
    *shard = (unsigned)i;
    *shards = (unsigned)n;
    return true;
}

static void part(const char *name, double seconds, double total)
{
    fprintf(stderr, "  %-22s %9.2f s %6.2f %%\n", name, seconds, 100 * seconds / total);
}

/* Where the time went. What no line names is the runner's own, and so the harness's. */
static void print_times(const experiment *e, const run_times *t)
{
    double total = t->total + e->seconds_spec + e->seconds_plan + e->seconds_allocate;
    double model = t->model.matmul + t->model.encode + t->model.attention + t->model.rest;
    double own = t->total - model - t->load - t->codecs - t->checks - t->probe - t->store;
    fprintf(stderr, "time %.2f s\n", total);
    if (t->model.tokens) {
        part("model: load", t->load, total);
        part("model: products", t->model.matmul, total);
        part("model: encode", t->model.encode, total);
        part("model: attention", t->model.attention, total);
        if (t->model.score > 0) {
            part("  of it, decode: score", t->model.score, total);
            part("  of it, decode: mix", t->model.mix, total);
        }
        part("model: rest", t->model.rest, total);
    }
    part("quantizers: set-up", t->codecs, total);
    part("quantizers: checks", t->checks, total);
    part("probes", t->probe, total);
    part("harness: spec", e->seconds_spec, total);
    part("harness: plan, inputs", e->seconds_plan, total);
    if (e->seconds_allocate > 0)
        part("sensitivities", e->seconds_allocate, total);
    part("harness: store", t->store, total);
    part("harness: rest", own > 0 ? own : 0, total);
}

/* How often the model ran over a unit's tokens, and for what. */
static void print_passes(const run_passes passes[PASS_KINDS])
{
    static const char *const names[PASS_KINDS] = { "reference", "control", "candidate" };
    const char *separator = "passes: ";
    for (int i = 0; i < PASS_KINDS; i++) {
        const run_passes *p = &passes[i];
        if (!p->passes)
            continue;
        fprintf(stderr, "%s%" PRIu64 " %s (%" PRIu64 " tokens, %" PRIu64 " with logits", separator, p->passes, names[i], p->tokens, p->logits);
        if (p->layers < p->whole)
            fprintf(stderr, ", %.0f %% of all layers", 100 * (double)p->layers / (double)p->whole);
        fprintf(stderr, ")");
        separator = ", ";
    }
    if (*separator == ',')
        fputc('\n', stderr);
}

static void print_end(const experiment *e, const run_result *r, const char *shard, const char *folder)
{
    char memory[16];
    bytes_text(peak_bytes(), memory);
    if (r->done)
        print_times(e, &r->times);
    print_passes(r->passes);
    fprintf(stderr, "%zu cell%s%s%s: %zu done now, %zu already there; %zu skipped; at most %s of memory\n", r->cells,
            r->cells == 1 ? "" : "s", shard ? " of shard " : "", shard ? shard : "", r->done, r->already, r->skipped, memory);
    if (e->states) {
        states_count n = states_counted(e->states);
        fprintf(stderr, "states: %zu from %s, %zu made\n", n.found, folder, n.made);
    }
    fprintf(stderr, "store: %s; see it by: kvant report %s", store_path(e->store), e->spec.name);
    if (strcmp(store_path(e->store), DEFAULT_STORE))
        fprintf(stderr, " --store %s", store_path(e->store));
    fputc('\n', stderr);
}

static void show_note(void *user, const char *line)
{
    progress_clear(user);
    fprintf(stderr, "%s\n", line);
}

static int run(const cli *c)
{
    experiment e;
    int code;
    unsigned shard, shards;
    if (!parse_shard(c, &shard, &shards))
        return EXIT_USAGE;
    if (!experiment_open(c, STORE_WRITE, &e, &code))
        return code;
    progress_screen s = progress_start();
    run_options options = { .shard = shard, .shards = shards, .threads = e.threads, .command = cli_line(c),
                            .any_memory = cli_get(c, "any-memory"), .progress = progress_show, .note = show_note,
                            .user = &s };
    run_result result = { .cells = 0 };
    kvant_error err;
    kvant_status status = experiment_allocate(&e, &options, &err);
    if (!status)
        status = run_plan(&e.plan, e.store, &options, &result, &err);
    progress_clear(&s);
    if (status == KVANT_INTERRUPTED) {
        snprintf(err.text, sizeof err.text, "stopped; %zu of %zu cells are stored; the same command goes on", result.already + result.done,
                 result.cells);
        code = cli_fail(c, status, &err);
    } else if (status) {
        code = cli_fail(c, status, &err);
    } else {
        print_end(&e, &result, cli_get(c, "shard"), cli_get(c, "states"));
        code = EXIT_DONE;
    }
    experiment_close(&e);
    return code;
}

static const cli_option options[] = {
    OPTION_EXPERIMENT,
    { "shard", "I/N", "measure every N-th cell only, beginning with the I-th; `kvant merge` joins stores", false },
    { "any-memory", NULL, "run even if the estimate of memory exceeds what is available", false },
    { NULL, NULL, NULL, false },
};

const cli_command command_run = {
    .name = "run",
    .arguments = "SPEC.json",
    .min_args = 1,
    .max_args = 1,
    .summary = "measure what the store lacks of a spec",
    .details = "Cells that are there are not measured again, and a run that was stopped, in whatever way, goes on where it was. Before a\n"
               "quantizer's first cell is stored, its checks are run; one that fails ends the run with status 1.",
    .example = "# half of the demo's cells, with four chunks of text\n"
               "kvant run experiments/demo.json --set chunks=4 --shard 1/2 --store half.db",
    .options = options,
    .run = run,
};
