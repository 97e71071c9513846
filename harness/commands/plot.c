/* plot.c - `kvant plot`: a picture of an experiment, by a query and a gnuplot script of plots/.
 * Prints the files it wrote, one a line. */
#include "harness/cli.h"
#include "harness/experiment/experiment.h"
#include "harness/report/plot.h"

#include <stdlib.h>
#include <string.h>

static const cli_option options[] = {
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    { "out", "PATH", "a folder, or a file that ends in .svg, .png, .pdf or .tex (default results)", false },
    { "format", "NAME", "svg, png, pdf; for TeX's \\input tikz, beside gnuplot-lua-tikz.sty, or cairolatex, with graphicx and xcolor "
      "and a NAME-graphics.pdf (default svg)", true },
    { "terminal", "NAME", "like --format NAME", false },
    { "width", "NAME", "single or double: as wide as one column of a paper (3.375 inches) or two (7)", false },
    { "metric", "NAME", "like --set metric=NAME", false },
    { "set", "KEY=VALUE", "a parameter of the plot's query", true },
    { NULL, NULL, NULL, false },
};

/* The values of a repeated option, NULL-terminated, behind an optional first one; freed by the caller. */
static const char **values_of(const cli *c, const char *option, const char *first)
{
    size_t n = 0, at = 0;
    while (cli_get_nth(c, option, (int)n))
        n++;
    const char **values = calloc(n + 2, sizeof *values);
    if (values && first)
        values[at++] = first;
    for (size_t i = 0; values && i < n; i++)
        values[at++] = cli_get_nth(c, option, (int)i);
    return values;
}

static kvant_status draw(const cli *c, const char *folder, text *out, kvant_error *err)
{
    store *s;
    kvant_status status = store_open(cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE, STORE_READ, &s, err);
    if (status != KVANT_OK)
        return status;
    char *metric = cli_get(c, "metric") ? text_format("metric=%s", cli_get(c, "metric")) : NULL;
    const char **formats = values_of(c, "format", cli_get(c, "terminal")), **sets = values_of(c, "set", metric);
    if (!formats || !sets || (cli_get(c, "metric") && !metric))
        status = kvant_fail(err, KVANT_NOMEM, "out of memory");
    else {
        const plot_options o = { folder, cli_arg(c, 0), cli_arg(c, 1), cli_get(c, "out") ? cli_get(c, "out") : "results",
                                 formats[0] ? formats : NULL, sets, cli_get(c, "width") };
        status = plot_draw(s, &o, out, err);
    }
    free(formats);
    free(sets);
    free(metric);
    store_close(s);
    return status;
}

static int run(const cli *c)
{
    const char *folder = cli_share("plots");
    kvant_error err = { "" };
    if (!folder) {
        kvant_fail(&err, KVANT_IO, "the folder `plots` that comes with the program is not there; install it again");
        return cli_fail(c, KVANT_IO, &err);
    }
    text out = { 0 };
    kvant_status status = cli_arg(c, 0) ? draw(c, folder, &out, &err) : plot_list(folder, &out, &err);
    if (out.data)
        fputs(out.data, stdout);
    if (status == KVANT_OK && out.failed)
        status = kvant_fail(&err, KVANT_NOMEM, "out of memory");
    text_free(&out);
    return status == KVANT_OK ? EXIT_DONE : cli_fail(c, status, &err);
}

const cli_command command_plot = {
    .name = "plot", .arguments = "[PLOT [EXPERIMENT]]", .max_args = 2,
    .summary = "draw a picture of an experiment with gnuplot",
    .details = "Asks plots/PLOT.sql for the numbers and draws them by plots/PLOT.gp; a new plot is those two files. Files are named "
               "EXPERIMENT-PLOT.FORMAT. Without PLOT it lists the plots; EXPERIMENT may be left out where the store has one only.",
    .example = "# perplexity against stored bits, in two formats\nkvant plot pareto demo --format svg --format png\n"
               "# for one column of a paper\nkvant plot pareto demo --width single --format pdf",
        .options = options,
    .run = run,
};
