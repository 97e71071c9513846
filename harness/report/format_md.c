/* format_md.c - reports as Markdown with tables as GitHub has them; names that come from a store stand for themselves. */
#include "harness/report/format.h"

static void heading(int level, const char *words, text *out)
{
    text_add(out, "%s%s ", out->length ? "\n" : "", level > 1 ? "##" : "#");
    markdown_text(out, words);
    text_add(out, "\n");
}

static void line(const char *words, text *out)
{
    text_add(out, "\n");
    markdown_text(out, words);
    text_add(out, "\n");
}

static void note(const char *words, text *out)
{
    text_add(out, "\n- ");
    markdown_text(out, words);
    text_add(out, "\n");
}

/* A table that follows a line without a gap would be part of its paragraph. */
static void write_table(const table *t, const report_options *options, text *out)
{
    (void)options;
    if (out->length > 1 && out->data[out->length - 2] != '\n')
        text_add(out, "\n");
    table_markdown(t, out);
}

static const report_pen pen = { .heading = heading, .line = line, .note = note, .table = write_table };

const report_kind format_md = { .name = "md", .summary = "Markdown", .pen = &pen };
