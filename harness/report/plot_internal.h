/* plot_internal.h - what the files of the plotter share: the query with its rows as gnuplot wants them, and the drawing by gnuplot.
 * Nothing outside them needs it. */
#ifndef KVANT_PLOT_INTERNAL_H
#define KVANT_PLOT_INTERNAL_H

#include "harness/report/plot.h"

typedef struct {
    text data;                     /* blocks, as plot.h says */
    text variables;                /* gnuplot assignments of N, SERIES, COLUMNS and FIRST */
    char *title, *metric;          /* metric: or the question, where that is what the query was handed */
} plot_data;

/* The plots of a folder by name. KVANT_IO, KVANT_NOMEM; freed by plot_names_free, but after a failure. */
enum { PLOTS_MAX = 256 };
typedef struct { char *name[PLOTS_MAX + 1]; size_t n; } plot_names;
kvant_status plot_find(const char *folder, plot_names *names, kvant_error *err);
void plot_names_free(plot_names *names);

/* The first line of a query's head: what its picture shows. Freed by the caller; NULL: no memory. */
char *plot_title(const char *sql);

/* Runs plots/NAME.sql. Freed by plot_data_free, after a failure too. */
kvant_status plot_query(store *s, const plot_options *options, const char *experiment, plot_data *out, kvant_error *err);
void plot_data_free(plot_data *d);

/* A gnuplot string in single quotes: nothing in it is expanded. */
void gnuplot_string(text *t, const char *value);

/* Widths of columns of a paper. NULL: no such name. */
typedef struct { const char *name; double inches; int pixels; } plot_width;
const plot_width *plot_width_named(const char *name);

/* Draws the rows by FOLDER/NAME.gp into `file`. */
kvant_status plot_gnuplot(const plot_options *options, const char *experiment, const plot_data *data, const char *format,
                          const char *file, kvant_error *err);

/* Of a picture of terminal cairolatex, FILE.tex, the file of its lines and areas, FILE-graphics.pdf; freed by the caller, NULL: no
 * memory. */
char *plot_graphics_path(const char *file);

/* Adds a picture of gnuplot's terminal tikz with its texts escaped for TeX, `inches` wide where these are above 0. */
void plot_tikz_escape(const char *tikz, double inches, text *out);
/* The same of terminal cairolatex, whose lines and areas are a PDF of its own: what \includegraphics shall name. */
void plot_cairolatex_escape(const char *tex_picture, const char *graphics, double inches, text *out);

/* Adds an SVG picture with its width and height in inches. KVANT_FAILED: it does not say its size in pixels. */
kvant_status plot_svg_inches(const char *svg, double inches, text *out, kvant_error *err);
/* A PNG picture with the density that makes it so wide; freed by the caller. KVANT_FAILED: no PNG; KVANT_NOMEM. */
kvant_status plot_png_inches(const unsigned char *png, size_t bytes, double inches, unsigned char **out, size_t *out_bytes,
                             kvant_error *err);

#endif
