/* table.h - a table of texts, laid out for a terminal, as Markdown or as CSV.
 * Cells come row by row; widths, alignment and escaping are found here. */
#ifndef KVANT_TABLE_H
#define KVANT_TABLE_H

#include "harness/util.h"

typedef struct {
    size_t n_columns, n_cells, capacity;
    char **cells;                  /* [n_cells], row by row, the header first */
    bool failed;                   /* memory ran out; everything after that is a no-op */
} table;

/* Zero-initialise with the number of columns, then add the header's cells and those of all rows in order. */
void table_cell(table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_free(table *t);

/* For a terminal: columns aligned, numbers to the right; one that grows wider than `width` goes on below, its first column
 * repeated. Control characters become '?'. width 0: as wide as it gets. */
void table_print(const table *t, size_t width, text *out);
void table_markdown(const table *t, text *out);

/* Text that stands for itself in Markdown. */
void markdown_text(text *out, const char *s);

/* One field of CSV by RFC 4180, without separator: quoted when it must be. */
void csv_field(text *out, const char *field);

#endif
