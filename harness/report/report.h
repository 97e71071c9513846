/* report.h - what a store says of an experiment, as tables, Markdown, LaTeX or a page for people, as CSV, JSON or SQL for programs.
 * All numbers come from the views of schema.sql; a report only arranges them and marks what deserves a second look. */
#ifndef KVANT_REPORT_H
#define KVANT_REPORT_H

#include "harness/store/store.h"

typedef enum { REPORT_TABLE, REPORT_MARKDOWN, REPORT_CSV, REPORT_JSON, REPORT_LATEX, REPORT_HTML, REPORT_SQL } report_format;

/* The format of that name ("md"). False: err says which there are. */
bool report_format_find(const char *name, report_format *format, kvant_error *err);

typedef struct {
    const char *experiment;
    const char *probe;             /* only this one; NULL: all */
    const char *const *metrics;    /* only these, NULL-terminated; NULL: those that a table has room for */
    report_format format;
    size_t width;                  /* columns of the terminal; 0: no limit */
    const char *plots;             /* the folder of plots, for formats with pictures; NULL: without */
    bool whole;                    /* LaTeX: a document that compiles by itself, not tables to be put into one */
} report_options;

/* Adds the report to *out. *met is false when controls are invalid, or an expectation of the experiment's spec is not met or was
 * not computed although every cell is finished. KVANT_INVALID: no such experiment, probe or metric, with the nearest one that there
 * is. */
kvant_status report_write(store *s, const report_options *options, text *out, bool *met, kvant_error *err);

/* The JSON schema of reports as JSON, the text of report.schema.json. */
const char *report_schema(void);

/* Adds the list of experiments: cells finished and planned, skips. */
kvant_status report_list(store *s, report_format format, text *out, kvant_error *err);

/* KVANT_OK when the store has the experiment; KVANT_INVALID names the nearest that it has. */
kvant_status report_find(store *s, const char *experiment, kvant_error *err);

#endif
