/* table.h - a table of texts, laid out for a terminal or as Markdown here, and by the formats of reports as LaTeX and HTML.
 * Cells come row by row; widths, alignment and escaping are found by those who lay them out. */
#ifndef KVANT_TABLE_H
#define KVANT_TABLE_H

#include "harness/util.h"

/* What may be said of a cell beside its text: that it is the best of its column within error, and the number of the result
 * (a cell of the store) whose details it leads to, 0 for none. */
typedef struct { bool best; unsigned number; } table_mark;

typedef struct {
    size_t n_columns, n_cells, capacity;
    char **cells;                  /* [n_cells], row by row, the header first */
    table_mark *marks;             /* [n_cells] */
    bool failed;                   /* memory ran out; everything after that is a no-op */
} table;

/* Zero-initialise with the number of columns, then add the header's cells and those of all rows in order. */
void table_cell(table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Marks the cell that came last. */
void table_best(table *t);
void table_number(table *t, double number);            /* NaN: none */
void table_free(table *t);

/* Do all cells of a column, the header aside, begin like numbers, or are empty? Not when all are empty. */
bool table_is_numeric(const table *t, size_t column);

/* For a terminal: columns aligned, numbers to the right; one that grows wider than `width` goes on below, its first column
 * repeated. Control characters become '?'. width 0: as wide as it gets. */
void table_print(const table *t, size_t width, text *out);
void table_markdown(const table *t, text *out);

/* Text that stands for itself in Markdown. */
void markdown_text(text *out, const char *s);

/* One field of CSV by RFC 4180, without separator: quoted when it must be. */
void csv_field(text *out, const char *field);

#endif
