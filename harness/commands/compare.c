/* compare.c - `kvant compare`: what changed between two stores, as a table, CSV or JSON; its exit status can hold a build.
 * For two cells of one store there is `kvant report --compare`. */
#include "harness/options.h"
#include "harness/report/compare_stores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_option options[] = {
    { "experiment", "NAME", "only its cells (default: all)", false },
    { "metric", "NAME", "only this metric", true },
    { "threshold", "PERCENT", "what is worse by less than this is no regression (default 0: all that is significant)", false },
    { "all", NULL, "show what is the same, too", false },
    OPTION_TABLE_FORMAT,
    { NULL, NULL, NULL, false },
};

static bool parse_threshold(const cli *c, double *threshold)
{
    const char *given = cli_get(c, "threshold");
    char *end = NULL;
    *threshold = given ? strtod(given, &end) / 100 : 0;
    if (!given || (end != given && !strcmp(end, *end == '%' ? "%" : "") && *threshold >= 0 && isfinite(*threshold)))
        return true;
    cli_usage(c, "--threshold %.40s: must be a percentage, 0 or more", given);
    return false;
}

static int run(const cli *c)
{
    report_format format;
    compare_stores_options o = { .experiment = cli_get(c, "experiment") };
    if (!option_table_format(c, &format) || !parse_threshold(c, &o.threshold))
        return EXIT_USAGE;
    size_t n = 0;
    while (cli_get_nth(c, "metric", (int)n))
        n++;
    const char **metrics = calloc(n + 1, sizeof *metrics);
    kvant_error err = { "" };
    cJSON *answer = NULL;
    kvant_status status = metrics ? KVANT_OK : kvant_fail(&err, KVANT_NOMEM, "out of memory");
    for (size_t i = 0; metrics && i < n; i++)
        metrics[i] = cli_get_nth(c, "metric", (int)i);
    o.metrics = n ? metrics : NULL;
    if (!status)
        status = compare_stores(cli_arg(c, 0), cli_arg(c, 1), &o, &answer, &err);
    free(metrics);
    if (status)
        return cli_fail(c, status, &err);
    const report_options shown = { .format = format, .width = option_width() };
    const bool worse = cJSON_GetObjectItemCaseSensitive(answer, "regressions")->valuedouble > 0;
    text out = { 0 };
    compare_stores_write(answer, cli_get(c, "all"), &shown, &out);
    cJSON_Delete(answer);
    if (out.failed)
        status = kvant_fail(&err, KVANT_NOMEM, "out of memory");
    else
        fputs(out.data, stdout);
    text_free(&out);
    if (status)
        return cli_fail(c, status, &err);
    if (worse)
        fputs("kvant compare: there are regressions\n", stderr);
    return cli_finish(worse ? EXIT_CHECK : EXIT_DONE);
}

const cli_command command_compare = {
    .name = "compare", .arguments = "BEFORE AFTER", .min_args = 2, .max_args = 2,
    .summary = "what changed between two stores, of two commits or machines",
    .details = "Cells are the same when all that was asked of them is, models' and data's hashes included; code and instruction sets "
               "may differ. Metrics are compared over the chunks that both have: the mean of the differences, a 95 % interval (BCa "
               "bootstrap from 5 chunks on) and Student's t test, corrected by Holm over all rows. Times are compared by the rank "
               "sum of all raw values, and only where processor and threads are equal. A single figure, such as bytes, is taken as "
               "it is. Cells that "
               "only one store has are named.\n\nThe exit status is 1 when something is significantly worse by at least the "
               "threshold, else 0.",
    .example = "# hold a branch against main\nkvant run suite.json --store main.db        # built from main\n"
               "kvant run suite.json --store branch.db      # built from the branch\nkvant compare main.db branch.db --threshold 2",
    .options = options, .run = run,
};
