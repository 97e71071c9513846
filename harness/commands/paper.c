/* paper.c - `kvant paper`: the published tables that come with the program, and how they came out; and their committed outcomes.
 * What runs them is `kvant run`, or `make paper` for all. */
#include "harness/experiment/experiment.h"
#include "harness/report/golden.h"
#include "harness/report/paper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_option options[] = {
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    OPTION_TABLE_FORMAT,
    { "folder", "DIR", "where the specs are (default: experiments/paper, as it comes with the program)", false },
    { "golden", "DIR", "instead, hold the results of specs that say `golden` against DIR/EXPERIMENT.csv", false },
    { "write", NULL, "with --golden, write these files, and show what changes", false },
    { NULL, NULL, NULL, false },
};

/* The variant whose results are committed: the quick one, where there is one. */
static const cJSON *golden_variant(const cJSON *paper)
{
    const cJSON *variants = cJSON_GetObjectItemCaseSensitive(paper, "variants");
    return cJSON_GetArrayItem(variants, cJSON_GetArraySize(variants) - 1);
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* One experiment against its file; adds what changes to *out. */
static kvant_status hold_golden(const cli *c, store *s, const cJSON *paper, text *out, size_t *n_changed, kvant_error *err)
{
    const cJSON *variant = golden_variant(paper);
    const char *name = text_of(variant, "experiment"), *state = text_of(variant, "state");
    text results = { 0 }, changes = { 0 };
    char *path = text_format("%s/%s.csv", cli_get(c, "golden"), name), *committed = NULL;
    size_t bytes = 0, n = 0;
    kvant_status status = path ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
    if (!status && strcmp(state, "finished"))
        status = kvant_fail(err, KVANT_INVALID, "%s: '%s' is %s there: kvant run %s%s", store_path(s), name,
                            !strcmp(state, "changed") ? "of another spec" : state, text_of(paper, "file"),
                            strcmp(text_of(variant, "variant"), "quick") ? "" : " --quick");
    if (!status)
        status = golden_results(s, name, &results, err);
    const bool there = path && access(path, F_OK) == 0;
    if (!status && there)
        status = file_read(path, &committed, &bytes, err);
    if (!status && !there && !cli_get(c, "write"))
        status = kvant_fail(err, KVANT_INVALID, "%s: is not there; --write makes it", path);
    if (!status)
        status = golden_compare(committed ? committed : "", results.data,
                                cJSON_GetObjectItemCaseSensitive(paper, "golden")->valuedouble, &changes, &n, err);
    if (!status) {
        text_add(out, "%s: %zu %s\n%s", name, n, n == 1 ? "difference" : "differences", changes.data ? changes.data : "");
        *n_changed += n;
    }
    /* Within the tolerance a file stays as it is: rewriting it would only show noise. */
    if (!status && cli_get(c, "write") && (n || !there)) {
        status = make_folders(path, true, err);
        if (!status)
            status = file_write(path, results.data, results.length, err);
    }
    free(committed);
    free(path);
    text_free(&results);
    text_free(&changes);
    return status;
}

static kvant_status golden(const cli *c, store *s, const cJSON *papers, text *out, bool *hold, kvant_error *err)
{
    const cJSON *paper;
    size_t n_changed = 0, n_golden = 0;
    kvant_status status = s ? KVANT_OK : kvant_fail(err, KVANT_INVALID, "there is no store; run the specs first");
    cJSON_ArrayForEach(paper, papers)
        if (!status && cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(paper, "golden"))) {
            status = hold_golden(c, s, paper, out, &n_changed, err);
            n_golden++;
        }
    if (!status && !n_golden)
        status = kvant_fail(err, KVANT_INVALID, "none of these specs says `golden`, so none has committed results");
    *hold = n_changed == 0 || cli_get(c, "write");
    return status;
}

static kvant_status make(const cli *c, const char *folder, report_format format, text *out, bool *hold, kvant_error *err)
{
    const report_options o = { .format = format, .width = option_width() };
    const char *path = cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE;
    const char **names = calloc((size_t)cli_n_args(c) + 1, sizeof *names);
    store *s = NULL;
    cJSON *papers = NULL;
    kvant_status status = names ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
    for (int i = 0; names && i < cli_n_args(c); i++)
        names[i] = cli_arg(c, i);
    /* Before the first run there is no store, and that is no fault; one that was named must be there. */
    if (!status && (cli_get(c, "store") || access(path, F_OK) == 0))
        status = store_open(path, STORE_READ, &s, err);
    if (!status)
        status = paper_load(s, folder, cli_n_args(c) ? names : NULL, &papers, err);
    if (!status && cli_get(c, "golden"))
        status = golden(c, s, papers, out, hold, err);
    else if (!status)
        paper_write(papers, &o, out, hold);
    cJSON_Delete(papers);
    free(names);
    if (s)
        store_close(s);
    return status ? status : out->failed ? kvant_fail(err, KVANT_NOMEM, "out of memory") : KVANT_OK;
}

static int run(const cli *c)
{
    report_format format;
    if (!option_table_format(c, &format))
        return EXIT_USAGE;
    if (cli_get(c, "write") && !cli_get(c, "golden"))
        return cli_usage(c, "--write goes with --golden");
    const char *folder = cli_get(c, "folder") ? cli_get(c, "folder") : cli_share("experiments/paper");
    kvant_error err = { "" };
    text out = { 0 };
    bool hold = true;
    kvant_status status = folder ? make(c, folder, format, &out, &hold, &err)
        : kvant_fail(&err, KVANT_IO, "the folder `experiments/paper` that comes with the program is not there; install it again");
    if (out.data && (!status || cli_get(c, "golden")))
        fputs(out.data, stdout);
    text_free(&out);
    if (status)
        return cli_fail(c, status, &err);
    if (!hold)
        fputs(cli_get(c, "golden") ? "kvant paper: results are not the committed ones\n"
                                   : "kvant paper: rows are not met, or controls are invalid; `kvant report EXPERIMENT` shows them\n",
              stderr);
    return cli_finish(hold ? EXIT_DONE : EXIT_CHECK);
}

const cli_command command_paper = {
    .name = "paper", .arguments = "[NAME...]", .max_args = -1,
    .summary = "list the published tables that come as specs, and how their rows came out",
    .details = "A line for each variant of experiments/paper/NAME.json: the minutes that the spec says it takes on two cores, cells "
               "that the store has, and how many rows of its `expect` are met, not met, a published error shown with evidence, shown "
               "beside (of other models or data, never claimed), undecided, or not computed yet. `kvant run "
               "experiments/paper/NAME.json --quick` "
               "measures the quick variant, `kvant report NAME-quick` prints its rows.\n\nResults of specs that say `golden` do not "
               "depend on the machine: --golden compares them with committed files, within the spec's tolerance.\n\nThe exit status "
               "is 1 when a row that the store has is not met, or a golden result differs.",
    .example = "# what there is; then one table\nkvant paper\nkvant run experiments/paper/memory.json && kvant report memory",
    .options = options, .run = run,
};
