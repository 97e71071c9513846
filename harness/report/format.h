/* format.h - what a format of reports is. A format is one file, format_NAME.c, with one entry in the table of formats.c: either a pen,
 * which says how a heading, a remark and a table are written, so that all documents can be laid out by it, or functions of its own. */
#ifndef KVANT_FORMAT_H
#define KVANT_FORMAT_H

#include "harness/report/report_internal.h"
#include "harness/table.h"

/* Writes the parts of a document that people read. Texts come as the store has them, less control characters; a pen escapes them. */
typedef struct {
    void (*begin)(const char *title, const report_options *options, text *out);           /* before everything; may be NULL */
    void (*heading)(int level, const char *words, text *out);                             /* 1: the document's, 2: a part's */
    void (*line)(const char *words, text *out);                                           /* a sentence by itself */
    void (*note)(const char *words, text *out);                                           /* a remark on what stands around it */
    void (*table)(const table *t, const report_options *options, text *out);
    void (*summary)(const cJSON *report, text *out);                                      /* below a report's title; may be NULL */
    void (*figure)(const cJSON *block, text *out);                                        /* below a block's heading; may be NULL */
    void (*end)(const cJSON *report, const report_options *options, text *out);           /* report NULL: another document */
    bool words;                    /* flags have a column of their own, and marks in a cell are words */
} report_pen;

typedef struct {
    const char *name, *summary;    /* "md"; a few words for --help */
    const report_pen *pen;         /* NULL: a format for programs */
    /* Adds to a report what this format shows beside what all show; may be NULL. */
    kvant_status (*prepare)(store *s, cJSON *report, const report_options *options, kvant_error *err);
    /* Write one kind of document each: a report, the answer of compare.h, the list of experiments. They may change it. NULL: it is
     * laid out by the pen; without a pen, the format does not have it. */
    kvant_status (*report)(cJSON *report, const report_options *options, text *out, kvant_error *err);
    kvant_status (*answer)(cJSON *answer, const report_options *options, text *out, kvant_error *err);
    kvant_status (*list)(cJSON *rows, text *out, kvant_error *err);
} report_kind;

const report_kind *report_kind_of(report_format format);

extern const report_kind format_table, format_md, format_csv, format_json, format_latex, format_html, format_sql;

/* Marks measurements that are the best of their block within error, "best": true, among cells of equal asked bits; the reference does
 * not compete. What has samples is compared pair by pair, the rest by its intervals. */
kvant_status report_best(store *s, cJSON *report, kvant_error *err);

/* Adds what is to be said of a cell in words: "reference; no oracle", nothing where there is nothing. paired [n_paired]: the metrics
 * whose differences to the reference are shown. */
void report_flags(const cJSON *report, const cJSON *block, const cJSON *cell, const char *const *paired, size_t n_paired, text *out);

/* Gives each cell of the blocks and their controls its "samples": [{"metric", "unit", "chunk", "idx", "value", "n"}]. */
kvant_status report_samples(store *s, cJSON *report, kvant_error *err);

#endif
