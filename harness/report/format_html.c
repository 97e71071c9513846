/* format_html.c - a report as one page that needs nothing else: summary, tables with their pictures, and every cell's settings and raw
 * samples, to which the tables' rows lead. page.css and page.js are within it; everything that a store names is escaped. */
#include "harness/report/html.h"
#include "harness/report/report_text.h"

#include <stdlib.h>
#include <string.h>

static size_t count_of(const text *out, const char *words)
{
    size_t n = 0;
    for (const char *c = out->data; c && (c = strstr(c, words)); c++)
        n++;
    return n;
}

static void begin(const char *title, const report_options *options, text *out)
{
    (void)options;
    text_add(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"kvant %s\">\n"
                  "<title>", kvant_version());
    html_text(out, title);
    text_add(out, " - kvant report</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", page_css);
    html_text(out, title);
    text_add(out, "</h1>\n");
}

/* The document's own heading stands there since the beginning: answers and lists, which have none, are pages too. */
static void heading(int level, const char *words, text *out)
{
    if (level == 1)
        return;
    text_add(out, "<h2 id=\"part-%zu\">", count_of(out, "<h2 ") + 1);
    html_text(out, words);
    text_add(out, "</h2>\n");
}

static void line(const char *words, text *out)
{
    text_add(out, "<p>");
    html_text(out, words);
    text_add(out, "</p>\n");
}

static void note(const char *words, text *out)
{
    const bool warns = !strncmp(words, "warning", 7) || strstr(words, "INVALID");
    text_add(out, "<p class=\"%s\">", warns ? "warning" : "note");
    html_text(out, words);
    text_add(out, "</p>\n");
}

static void add_cell(const table *t, size_t row, size_t column, text *out)
{
    const size_t at = row * t->n_columns + column;
    const table_mark *mark = &t->marks[at];
    const char *element = row && column ? "td" : "th", *scope = !row ? " scope=\"col\"" : column ? "" : " scope=\"row\"";
    text_add(out, "<%s%s%s>", element, scope, column && table_is_numeric(t, column) ? " class=\"number\"" : "");
    if (mark->number)
        text_add(out, "<a href=\"#cell-%u\">", mark->number);
    text_add(out, mark->best ? "<strong>" : "");
    html_text(out, t->cells[at]);
    text_add(out, "%s%s</%s>", mark->best ? "</strong>" : "", mark->number ? "</a>" : "", element);
}

/* A table wider than the screen scrolls by itself, by keyboard too. */
static void write_table(const table *t, const report_options *options, text *out)
{
    (void)options;
    const size_t number = count_of(out, "<table>") + 1, rows = t->n_cells / t->n_columns;
    text_add(out, "<div class=\"scroll\" role=\"region\" aria-label=\"Table %zu\" tabindex=\"0\">\n", number);
    text_add(out, "<table>\n<caption>Table %zu</caption>\n<thead>\n", number);
    for (size_t row = 0; row < rows; row++) {
        text_add(out, "<tr>");
        for (size_t column = 0; column < t->n_columns; column++)
            add_cell(t, row, column, out);
        text_add(out, "</tr>\n%s", row ? "" : "</thead>\n<tbody>\n");
    }
    text_add(out, "</tbody>\n</table>\n</div>\n");
}

/* Where the list of parts goes, once they are known. No text of a store can hold it. */
static const char contents[] = "<nav></nav>";

static void summary(const cJSON *report, text *out)
{
    html_summary(report, out);
    text_add(out, "%s\n<div class=\"filter\" id=\"filter\" hidden></div>\n", contents);
}

static void add_contents(text *out)
{
    const char *place = out->data ? strstr(out->data, contents) : NULL;
    if (!place)
        return;
    text whole = { 0 };
    text_add(&whole, "%.*s<nav aria-label=\"Parts\">\n<ul>\n", (int)(place - out->data), out->data);
    for (const char *c = out->data; (c = strstr(c, "<h2 id=\"")); c++) {
        const char *id = c + strlen("<h2 id=\""), *words = strchr(c, '>') + 1, *close = strstr(words, "</h2>");
        text_add(&whole, "<li><a href=\"#%.*s\">%.*s</a></li>\n", (int)strcspn(id, "\""), id, (int)(close - words), words);
    }
    text_add(&whole, "</ul>\n</nav>");
    const size_t head = whole.length, tail = strlen(place) - strlen(contents);
    text_add(&whole, "%s", place + strlen(contents));
    whole.failed = whole.failed || whole.length != head + tail;
    const bool failed = out->failed || whole.failed;
    text_free(out);
    *out = whole;
    out->failed = failed;
}

static void end(const cJSON *report, const report_options *options, text *out)
{
    (void)options;
    if (report) {
        heading(2, "cells", out);
        html_cells(report, out);
        add_contents(out);
    }
    text_add(out, "</main>\n<script>\n%s</script>\n</body>\n</html>\n", page_js);
}

static kvant_status prepare(store *s, cJSON *report, const report_options *options, kvant_error *err)
{
    kvant_status status = report_best(s, report, err);
    if (!status)
        status = report_samples(s, report, err);
    return status ? status : html_figures(s, report, options, err);
}

static const report_pen pen = {
    .begin = begin, .heading = heading, .line = line, .note = note, .table = write_table, .summary = summary, .figure = html_figure,
    .end = end, .words = true,
};

const report_kind format_html = {
    .name = "html", .summary = "a page with pictures and raw samples in one file", .pen = &pen, .prepare = prepare,
};
