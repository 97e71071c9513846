/* select.h - names cells of an experiment as people do: by label, by the number that `kvant plan` shows, or by "key=q4_0 key.bits=4". */
#ifndef KVANT_SELECT_H
#define KVANT_SELECT_H

#include "harness/report/report_internal.h"

typedef struct {
    const char *words;             /* as given; not owned */
    const char *label;             /* one of these three */
    double number;
    cJSON *where;
} selection;

/* Reads words against the blocks of report_blocks, which must outlive it: a label that a cell has, a number, or NAME=VALUE separated by
 * blanks or commas, names as report_agrees takes them. KVANT_INVALID when no cell is meant, with the nearest label. */
kvant_status selection_parse(const char *words, const cJSON *blocks, selection *out, kvant_error *err);
void selection_free(selection *s);         /* {0} is allowed */

bool selection_takes(const selection *s, const cJSON *cell);

/* The cells that are meant in one block: cells [as many as the block has]; *n: none, one, or those of one label over the points of a
 * needle's grid. KVANT_INVALID, listing them, when different ones are meant. */
kvant_status selection_cells(const selection *s, const cJSON *block, const cJSON **cells, size_t *n, kvant_error *err);

#endif
