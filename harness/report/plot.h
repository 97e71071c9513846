/* plot.h - pictures of what a store holds: plots/NAME.sql asks for the numbers, plots/NAME.gp draws them by gnuplot.
 * A plot is those two files and no code. */
#ifndef KVANT_PLOT_H
#define KVANT_PLOT_H

#include "harness/store/store.h"

#include <cjson/cJSON.h>

/* The query begins with a comment line that says what the picture shows, and may go on with a line for each of its parameters,
 * "-- :metric = perplexity   what it is for", which sets its default, and for the probes whose reports show it (plot_for_probe). A
 * query that has :comparisons or :correlations gets the answer of compare.h to what the sets question, a, b, x, y and metric ask, as a
 * JSON array. Its rows go to the drawing as blocks, one per value of the first column (the series), in the order that they come. The
 * drawing finds: DATA (file: a block per series, its name in the first line, tabs between columns), STYLE (load it once WIDTH and
 * HEIGHT are set), FORMAT, OUTPUT, EXPERIMENT, INCHES and PIXELS (a column's width, 0
 * for a screen: how wide the picture becomes, and how wide a layout can be and still be read then), fit(n, base, each) (how many of n
 * panels of `each` pixels fit in a row, `base` aside; at least 1), METRIC (the question, where there is one), TITLE, N (series),
 * SERIES[1..N], COLUMNS[1..] (names) and FIRST[1..] (the first row's values, as text). */
typedef struct {
    const char *folder;            /* of the plots */
    const char *name;              /* of the plot */
    const char *experiment;        /* NULL: the store's only one */
    const char *out;               /* a folder, or a file that ends in .svg, .png, .pdf or .tex */
    const char *const *formats;    /* "svg", "png", "pdf", "tikz", "cairolatex", NULL-terminated; NULL: by `out`, else svg */
    const char *const *sets;       /* parameters of the query, KEY=VALUE, NULL-terminated; may be NULL */
    const char *width;             /* "single" or "double": as wide as a column of a paper, or as two; NULL: for a screen */
} plot_options;

/* Draws; adds the path of each file to *files, a line each. KVANT_INVALID: no such plot, parameter or format, or no rows.
 * KVANT_IO: gnuplot is missing or failed, or a file cannot be written. A picture is there whole or not at all. */
kvant_status plot_draw(store *s, const plot_options *options, text *files, kvant_error *err);

/* Draws one picture as SVG text; freed by the caller. Errors as of plot_draw. */
kvant_status plot_svg(store *s, const plot_options *options, char **svg, kvant_error *err);

/* What reports show for a probe, by the heads of the queries: "-- report: PROBE", or "-- report: PROBE KEY=VALUE" with a parameter, in
 * the order of the plots' names and of the lines. Several lines of one plot for a probe are alternatives: the first that has something
 * to draw. Returned as an array of [plot, parameter or "", what the plot shows]. KVANT_IO, KVANT_NOMEM. */
kvant_status plot_for_probe(const char *folder, const char *probe, cJSON **plots, kvant_error *err);

/* Adds a line per plot: its name and what it shows. */
kvant_status plot_list(const char *folder, text *out, kvant_error *err);

#endif
