/* format_table.c - reports on a terminal: columns aligned, no wider than it is. */
#include "harness/report/format.h"

static void heading(int level, const char *words, text *out)
{
    text_add(out, "%s%s\n", level > 1 && out->length ? "\n" : "", words);
}

static void line(const char *words, text *out) { text_add(out, "%s\n", words); }

static void note(const char *words, text *out) { text_add(out, "  %s\n", words); }

static void write_table(const table *t, const report_options *options, text *out) { table_print(t, options->width, out); }

static const report_pen pen = { .heading = heading, .line = line, .note = note, .table = write_table };

const report_kind format_table = { .name = "table", .summary = "for the terminal", .pen = &pen };
