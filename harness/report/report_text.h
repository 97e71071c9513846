/* report_text.h - what the tables of a report share: labels, notes, differences, and the needle's grid, which has a file of its own.
 * For the files of the report that lay out text. */
#ifndef KVANT_REPORT_TEXT_H
#define KVANT_REPORT_TEXT_H

#include "harness/report/report_internal.h"
#include "harness/table.h"

/* The row of a metric in a cell's measurements or differences; NULL: none. */
const cJSON *report_row(const cJSON *list, const char *metric);
/* A cell's label, marked when it is the reference or when no oracle holds one of its quantizers. */
void report_label(table *t, const cJSON *cell);
bool report_lacks_oracle(const cJSON *cell);
/* The label of a block's reference; "reference" where there is none. */
const char *report_reference_label(const cJSON *block);
/* "+0.031 [+0.012, +0.050]", with "undecided" where the interval holds 0. */
void report_difference(const cJSON *row, char out[96]);
/* What others' shares tell beside a reference whose own is `value`, its interval beginning at `lo`: nothing where that is not clearly
 * above what needs no skill, the floor; of losses only where nothing is left to gain. NaN tells what others do. */
typedef enum { REPORT_TELLS, REPORT_LOSSES, REPORT_NOTHING } report_tells;
report_tells report_telling(double value, double lo, double floor);
/* A heading, 1 the document's, 2 a part's; control characters become '?'. */
void report_heading(const report_options *options, int level, const char *words, text *out);
/* A line below a table; control characters become '?'. */
void report_note(const report_options *options, text *out, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A table as the options want it. */
void report_print_table(const table *t, const report_options *options, text *out);
/* "perplexity of MODEL on DATA, path decode" */
void report_title(const cJSON *block, text *line);

/* What comes first, a verdict for each block, and below a block's table that it is not to be believed. */
void report_print_controls(const cJSON *report, const report_options *options, text *out);
void report_warn_controls(const cJSON *block, const report_options *options, text *out);

/* Sentences below a block's table, about what deserves a second look. */
void report_warnings(const cJSON *report, const cJSON *block, const report_options *options, text *out);

void report_needle(const cJSON *report, const cJSON *block, const report_options *options, text *out);

#endif
