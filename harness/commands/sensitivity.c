/* sensitivity.c - `kvant sensitivity`: measures how much each layer or KV head of a model's cache matters, and prints it.
 * What the store has is not measured again; a stopped run goes on with the same command. */
#include "harness/allocation/sensitivity.h"
#include "harness/experiment/experiment.h"
#include "harness/report/report_internal.h"
#include "harness/table.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

static void add_group(table *t, const sensitivity_request *r, const cache_group *g)
{
    table_cell(t, "%u", g->layer);
    if (r->groups == GROUPS_HEAD)
        table_cell(t, "%u", g->head);
    if (r->sides == SIDES_APART)
        table_cell(t, "%s", g->key ? "key" : "value");
}

static void add_estimate(table *t, double value, double se)
{
    char words[96];
    report_estimate(value, se, NAN, NAN, words);
    table_cell(t, "%s", words);
}

/* A row for each group, a column for each candidate. */
static void print_groups(const sensitivity_request *r, const sensitivity *s, bool markdown)
{
    const bool activation = r->weights == WEIGHTS_ACTIVATION;
    const size_t columns = activation ? 1 : s->n_candidates;
    table t = { .n_columns = 1 + (r->groups == GROUPS_HEAD) + (r->sides == SIDES_APART) + columns };
    table_cell(&t, "layer");
    if (r->groups == GROUPS_HEAD)
        table_cell(&t, "head");
    if (r->sides == SIDES_APART)
        table_cell(&t, "side");
    if (activation)
        table_cell(&t, r->sides == SIDES_APART ? "mean square norm" : "mean square norm of keys");
    for (size_t i = 0; !activation && i < columns; i++)
        table_cell(&t, "%s at %g bits", r->weights == WEIGHTS_KL ? "kl, nats," : "squared error", r->candidates[i]);
    for (size_t g = 0; g < s->n_groups; g++) {
        add_group(&t, r, &s->group[g]);
        for (size_t i = 0; i < columns; i++)
            if (activation)
                add_estimate(&t, s->weight[g], s->weight_se[g]);
            else
                add_estimate(&t, s->loss[g * columns + i], s->loss_se[g * columns + i]);
    }
    text out = { 0 };
    if (markdown)
        table_markdown(&t, &out);
    else
        table_print(&t, 0, &out);
    if (out.data)
        fwrite(out.data, 1, out.length, stdout);
    text_free(&out);
    table_free(&t);
}

static void print_ratios(const sensitivity_request *r, const sensitivity *s)
{
    for (size_t i = 0; i < (r->weights == WEIGHTS_ACTIVATION ? 1 : s->n_candidates); i++) {
        const probe_result *ratio = &s->ratio[i];
        printf("largest / smallest");
        if (r->weights != WEIGHTS_ACTIVATION)
            printf(" at %g bits", r->candidates[i]);
        if (isnan(ratio->value))
            printf(": none, for a group has 0\n");
        else if (isnan(ratio->lo))
            printf(": %.3g\n", ratio->value);
        else
            printf(": %.3g [%.3g, %.3g]\n", ratio->value, ratio->lo, ratio->hi);
    }
}

static int run(const cli *c)
{
    double candidates[ALLOCATION_CANDIDATES];
    sensitivity_request request;
    const char *format = cli_get(c, "format"), *path = cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE;
    if (!option_threads(c) || !option_sensitivity(c, cli_arg(c, 0), candidates, &request))
        return EXIT_USAGE;
    if (format && strcmp(format, "table") && strcmp(format, "md"))
        return cli_usage(c, "--format %.40s: must be table or md; `kvant report` has the others", format);
    request.experiment = cli_get(c, "name");
    kvant_error err = { "" };
    store *s;
    /* No store is made for a question that has no answer. */
    kvant_status status = access(path, F_OK) ? sensitivity_check(&request, &err) : KVANT_OK;
    if (!status)
        status = store_open(path, STORE_WRITE, &s, &err);
    if (status)
        return cli_fail(c, status, &err);
    progress_screen screen = progress_start();
    const run_options run_with = { .shard = 1, .shards = 1, .threads = omp_get_max_threads(), .command = cli_line(c),
                                   .progress = progress_show, .user = &screen };
    sensitivity measured;
    status = sensitivity_open(&request, s, run_with.threads, &run_with, &measured, &err);
    progress_clear(&screen);
    if (status == KVANT_INTERRUPTED)
        kvant_fail(&err, status, "stopped; what was measured is stored, and the same command goes on");
    if (!status) {
        print_groups(&request, &measured, format && !strcmp(format, "md"));
        print_ratios(&request, &measured);
        fprintf(stderr, "store: %s; a chart by: kvant plot sensitivity %s", path, measured.experiment);
        fprintf(stderr, strcmp(path, DEFAULT_STORE) ? " --store %s\n" : "\n", path);
        sensitivity_close(&measured);
    }
    store_close(s);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    OPTION_SENSITIVITY,
    { "name", "NAME", "what the experiment is called in the store (default sensitivity- and a hash of the question)", false },
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    { "format", "NAME", "table or md (default table)", false },
    OPTION_THREADS,
    { NULL, NULL, NULL, false },
};

const cli_command command_sensitivity = {
    .name = "sensitivity",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "measure how much each layer or KV head of a model's cache matters",
    .details = "Each group is looked at alone, all else in f16, on windows drawn from the second half of a text. --weights kl runs the model\n"
               "once per group, candidate and window, and takes the divergence of its output, in nats; distortion takes the squared error of\n"
               "the group's vectors per token, activation the mean squared norm of its keys. Errors are over windows. `gradient` and `fisher`\n"
               "are refused: they need a backward pass.\n\nThe store keeps every cell, and a command that was stopped goes on "
               "where it was. The ratio of the largest group\nto the smallest has a 95 % interval; noise of single groups raises it.",
    .example = "# which layers suffer most from 2 and 3 bits\n"
               "kvant sensitivity smollm2-135m --data jargon --key turboquant_mse --candidates 2,3",
    .options = options,
    .run = run,
};
