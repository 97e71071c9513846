/* table.c - lays out tables: measures columns, aligns numbers, escapes what Markdown or CSV would misread.
 * Texts come from stores that anyone may have written: nothing in them may move a terminal's cursor or break a row. */
#include "harness/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char gap[] = "  ";

void table_cell(table *t, const char *format, ...)
{
    if (t->failed)
        return;
    if (t->n_cells == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        char **cells = realloc(t->cells, capacity * sizeof *cells);
        t->cells = cells ? cells : t->cells;
        table_mark *marks = realloc(t->marks, capacity * sizeof *marks);
        t->marks = marks ? marks : t->marks;
        if (!cells || !marks) {
            t->failed = true;
            return;
        }
        t->capacity = capacity;
    }
    va_list args;
    va_start(args, format);
    char *cell;
    if (vasprintf(&cell, format, args) < 0)
        t->failed = true;
    else {
        t->marks[t->n_cells] = (table_mark){ .best = false };
        t->cells[t->n_cells++] = cell;
    }
    va_end(args);
}

void table_best(table *t)
{
    if (!t->failed && t->n_cells)
        t->marks[t->n_cells - 1].best = true;
}

void table_number(table *t, double number)
{
    if (!t->failed && t->n_cells && number > 0 && number <= UINT32_MAX)
        t->marks[t->n_cells - 1].number = (unsigned)number;
}

void table_free(table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t->marks);
    *t = (table){ .n_columns = t->n_columns };
}

static size_t n_rows(const table *t) { return t->n_cells / t->n_columns; }
static const char *cell_at(const table *t, size_t row, size_t column) { return t->cells[row * t->n_columns + column]; }

/* Columns on a screen: UTF-8 continuation bytes take none. */
static size_t width_of(const char *s)
{
    size_t width = 0;
    for (; *s; s++)
        width += ((unsigned char)*s & 0xc0) != 0x80;
    return width;
}

bool table_is_numeric(const table *t, size_t column)
{
    bool any = false;
    for (size_t row = 1; row < n_rows(t); row++) {
        const char *cell = cell_at(t, row, column);
        if (*cell && !strchr("+-.0123456789", *cell))
            return false;
        any = any || *cell;
    }
    return any;
}

static bool is_control(char c) { return (unsigned char)c < ' ' || c == 0x7f; }

static void add_padded(text *out, const char *cell, size_t width, bool right, bool last)
{
    size_t pad = width - width_of(cell);
    if (right)
        text_add(out, "%*s", (int)pad, "");
    for (const char *c = cell; *c; c++)
        text_add(out, "%c", is_control(*c) ? '?' : *c);
    if (!right && !last)
        text_add(out, "%*s", (int)pad, "");
}

/* Columns first ... end - 1, behind column 0. */
static void print_part(const table *t, const size_t *widths, size_t first, size_t end, text *out)
{
    for (size_t row = 0; row < n_rows(t); row++) {
        add_padded(out, cell_at(t, row, 0), widths[0], false, first == end);
        for (size_t column = first; column < end; column++) {
            text_add(out, "%s", gap);
            add_padded(out, cell_at(t, row, column), widths[column], table_is_numeric(t, column), column + 1 == end);
        }
        text_add(out, "\n");
    }
}

void table_print(const table *t, size_t width, text *out)
{
    size_t *widths = calloc(t->n_columns, sizeof *widths);
    if (t->failed || !widths) {
        out->failed = true;
        free(widths);
        return;
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width_of(t->cells[i]);
        if (w > widths[i % t->n_columns])
            widths[i % t->n_columns] = w;
    }
    for (size_t first = 1; first < t->n_columns || first == 1;) {
        size_t used = widths[0], end = first;
        while (end < t->n_columns && (!width || end == first || used + sizeof gap - 1 + widths[end] <= width))
            used += sizeof gap - 1 + widths[end++];
        if (first > 1)
            text_add(out, "\n");
        print_part(t, widths, first, end, out);
        first = end > first ? end : first + 1;
    }
    free(widths);
}

void markdown_text(text *out, const char *cell)
{
    for (const char *c = cell; *c; c++)
        if (strchr("\\`*_{}[]<>#|~&$", *c))
            text_add(out, "\\%c", *c);
        else
            text_add(out, "%c", is_control(*c) ? ' ' : *c);
}

void table_markdown(const table *t, text *out)
{
    if (t->failed) {
        out->failed = true;
        return;
    }
    for (size_t row = 0; row < n_rows(t); row++) {
        for (size_t column = 0; column < t->n_columns; column++) {
            text_add(out, "| ");
            markdown_text(out, cell_at(t, row, column));
            text_add(out, " ");
        }
        text_add(out, "|\n");
        for (size_t column = 0; row == 0 && column < t->n_columns; column++)
            text_add(out, "|%s%s", table_is_numeric(t, column) ? "---:" : "---", column + 1 == t->n_columns ? "|\n" : "");
    }
}

void csv_field(text *out, const char *field)
{
    if (!strpbrk(field, ",\"\r\n")) {
        text_add(out, "%s", field);
        return;
    }
    text_add(out, "\"");
    for (const char *c = field; *c; c++)
        if (*c == '"')
            text_add(out, "\"\"");
        else
            text_add(out, "%c", *c);
    text_add(out, "\"");
}
