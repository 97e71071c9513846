/* report.c - `kvant report`: what the store says of an experiment, as a table, Markdown, CSV or JSON.
 * Fails when the spec expects values that were not met, so that a published table can be a test. */
#include "harness/cli.h"
#include "harness/experiment/experiment.h"
#include "harness/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const cli_option options[] = {
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    { "format", "NAME", "table, md, csv or json (default table)", false },
    { "metric", "NAME", "only this metric", true },
    { "probe", "NAME", "only this probe", false },
    { NULL, NULL, NULL, false },
};

static bool parse_format(const cli *c, report_format *format)
{
    static const char *const names[] = { "table", "md", "csv", "json", NULL };
    const char *given = cli_get(c, "format");
    *format = REPORT_TABLE;
    for (int i = 0; given && names[i]; i++)
        if (!strcmp(given, names[i])) {
            *format = (report_format)i;
            return true;
        }
    if (given)
        cli_usage(c, "--format %.40s: must be table, md, csv or json", given);
    return !given;
}

/* Columns of the terminal; no limit where stdout is none. */
static size_t terminal_width(void)
{
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 60 ? size.ws_col : 0;
}

static kvant_status write_report(const cli *c, store *s, report_format format, text *out, bool *met, kvant_error *err)
{
    size_t n = 0;
    while (cli_get_nth(c, "metric", (int)n))
        n++;
    const char **metrics = calloc(n + 1, sizeof *metrics);
    if (!metrics)
        return kvant_fail(err, KVANT_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        metrics[i] = cli_get_nth(c, "metric", (int)i);
    const report_options o = { cli_arg(c, 0), cli_get(c, "probe"), n ? metrics : NULL, format, terminal_width() };
    kvant_status status = report_write(s, &o, out, met, err);
    free(metrics);
    return status;
}

static int run(const cli *c)
{
    report_format format;
    if (!parse_format(c, &format))
        return EXIT_USAGE;
    kvant_error err = { "" };
    store *s;
    kvant_status status = store_open(cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE, STORE_READ, &s, &err);
    if (status != KVANT_OK)
        return cli_fail(c, status, &err);
    text out = { 0 };
    bool met = true;
    status = cli_arg(c, 0) ? write_report(c, s, format, &out, &met, &err) : report_list(s, format, &out, &err);
    if (status == KVANT_OK && out.data)
        fwrite(out.data, 1, out.length, stdout);
    text_free(&out);
    store_close(s);
    if (status != KVANT_OK)
        return cli_fail(c, status, &err);
    if (!met)
        fputs("kvant report: expectations of the spec are not met\n", stderr);
    return met ? EXIT_DONE : EXIT_CHECK;
}

const cli_command command_report = {
    .name = "report", .arguments = "[EXPERIMENT]", .max_args = 1,
    .summary = "print an experiment's results from the store",
    .details = "A table for each probe, model, data and setting: the reference first, then by bits stored. Errors are standard errors; "
               "differences to the reference are paired by chunk, with a 95 % interval, and undecided where that holds 0. CSV and JSON "
               "carry every metric. Without EXPERIMENT it lists the experiments of the store.\n\nThe exit status is 1 when a value that "
               "the spec expects is not met.",
    .example = "# the demo's perplexities as Markdown\nkvant report demo --probe perplexity --format md", .options = options, .run = run,
};
