/* report.c - `kvant report`: what the store says of an experiment, as a table, Markdown, LaTeX, a page, CSV, JSON or SQL.
 * Fails when the spec expects values that were not met, so that a published table can be a test. */
#include "harness/cli.h"
#include "harness/experiment/experiment.h"
#include "harness/options.h"
#include "harness/report/compare.h"

#include <stdlib.h>
#include <string.h>

static const cli_option options[] = {
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    { "format", "NAME", "table, md, latex or html to read, csv, json or sql for programs (default table)", false },
    { "whole", NULL, "latex: a document that compiles by itself, not tables to be put into one", false },
    { "schema", NULL, "print the JSON schema of --format json instead", false },
    { "metric", "NAME", "only this metric", true },
    { "probe", "NAME", "only this probe", false },
    { "compare", "A B", "is cell A better than B? each a label, a number of `kvant plan`, or 'key=q4_0 key.bits=4'", false },
    { "compare-all", "A", "the same, of A against every other cell of its settings", false },
    { "correlate", "X Y", "do these two metrics put the quantizers into the same order?", false },
    { "question", "NAME", "what the spec asks under this name, or all", false },
    { NULL, NULL, NULL, false },
};

static bool parse_format(const cli *c, report_format *format)
{
    const char *given = cli_get(c, "format");
    kvant_error why;
    *format = REPORT_TABLE;
    if (given && !report_format_find(given, format, &why)) {
        cli_usage(c, "--format %.40s: %s", given, why.text);
        return false;
    }
    if (cli_get(c, "whole") && *format != REPORT_LATEX) {
        cli_usage(c, "--whole goes with --format latex");
        return false;
    }
    return true;
}

/* One of what can be asked of an experiment; false, with words on stderr, when it is more, or no experiment is named. */
static bool parse_what(const cli *c, compare_what *what, bool *any)
{
    static const char *const ways[] = { "compare", "compare-all", "correlate", "question" };
    int given = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        given += cli_get(c, ways[i]) != NULL;
    *what = (compare_what){ cli_get_nth(c, "compare", 0), cli_get_nth(c, "compare", 1), cli_get_nth(c, "correlate", 0),
                            cli_get_nth(c, "correlate", 1), cli_get(c, "question") };
    if (!what->a)
        what->a = cli_get(c, "compare-all");
    *any = given > 0;
    if (given > 1)
        cli_usage(c, "--compare, --compare-all, --correlate and --question: one at a time");
    else if (given && !cli_arg(c, 0))
        cli_usage(c, "name the experiment; `kvant report` lists them");
    return given == 0 || (given == 1 && cli_arg(c, 0));
}

/* what NULL: the report itself. */
static kvant_status write_report(const cli *c, store *s, report_format format, const compare_what *what, text *out, bool *met,
                                 kvant_error *err)
{
    size_t n = 0;
    while (cli_get_nth(c, "metric", (int)n))
        n++;
    const char **metrics = calloc(n + 1, sizeof *metrics);
    if (!metrics)
        return kvant_fail(err, KVANT_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        metrics[i] = cli_get_nth(c, "metric", (int)i);
    const report_options o = {
        .experiment = cli_arg(c, 0), .probe = cli_get(c, "probe"), .metrics = n ? metrics : NULL, .format = format,
        .width = option_width(), .plots = cli_share("plots"), .whole = cli_get(c, "whole") != NULL,
    };
    kvant_status status = what ? compare_write(s, &o, what, out, err) : report_write(s, &o, out, met, err);
    free(metrics);
    return status;
}

static int run(const cli *c)
{
    report_format format;
    compare_what what;
    bool asked;
    if (!parse_format(c, &format) || !parse_what(c, &what, &asked))
        return EXIT_USAGE;
    if (cli_get(c, "schema")) {
        fputs(report_schema(), stdout);
        return EXIT_DONE;
    }
    kvant_error err = { "" };
    store *s;
    kvant_status status = store_open(cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE, STORE_READ, &s, &err);
    if (status != KVANT_OK)
        return cli_fail(c, status, &err);
    text out = { 0 };
    bool met = true;
    status = cli_arg(c, 0) ? write_report(c, s, format, asked ? &what : NULL, &out, &met, &err) : report_list(s, format, &out, &err);
    if (status == KVANT_OK && out.data)
        fwrite(out.data, 1, out.length, stdout);
    text_free(&out);
    store_close(s);
    if (status != KVANT_OK)
        return cli_fail(c, status, &err);
    if (!met)
        fputs("kvant report: controls are invalid, or expectations of the spec are not met\n", stderr);
    return met ? EXIT_DONE : EXIT_CHECK;
}

const cli_command command_report = {
    .name = "report", .arguments = "[EXPERIMENT]", .max_args = 1,
    .summary = "print an experiment's results from the store",
    .details = "A table for each probe, model, data and setting: the reference first, then by bits stored. Errors are standard "
               "errors; differences to the reference are paired by chunk, with a 95 % interval, and undecided where that holds 0. CSV "
               "and JSON carry every metric. Controls come first, with a verdict for each table. Without EXPERIMENT it lists the "
               "experiments of the store.\n\n"
               "html is one file with summary, tables, pictures, each cell's settings and raw samples, and needs no network; latex "
               "has siunitx columns; both set in bold what is best within error among equal asked bits. sql are rows for the "
               "table that llama-bench -o sql writes, of speeds alone. The schema of json has a version, which stands in it.\n\n"
               "--compare takes two cells in every setting that has both and says better, worse or undecided: A - B over the chunks "
               "that both have, with a BCa bootstrap interval, a sign test, and Holm's correction over all rows. --correlate joins "
               "the probes' cells by quantizers and policy.\n\nThe exit status is 1 when controls are invalid or a value that the "
               "spec expects is not met; what is asked by --compare and the like is answered with 0, whatever the answer.",
    .example = "# the demo as a page\nkvant report demo --format html > demo.html", .options = options, .run = run,
};
