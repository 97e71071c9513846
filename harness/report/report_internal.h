/* report_internal.h - what the files of the report share: the report as one JSON document, which every format is written from.
 * Its shape is what `kvant report --format json` prints; report_data.c makes it, report_text.c lays it out. */
#ifndef KVANT_REPORT_INTERNAL_H
#define KVANT_REPORT_INTERNAL_H

#include "harness/report/report.h"

#include <cjson/cJSON.h>

/* The whole of an experiment, as report.schema.json says in full:
 *   {"schema_version", "experiment", "cells", "finished",
 *    "blocks": [{"probe", "model", "data", "settings": {...}, "differs": "path decode",
 *                "cells": [{"label", ..., "config": {...}, "measurements": [{"metric", "value", ...}], "differences": [...]}],
 *                "controls": {...}}],
 *    "needle": [...], "identical": [...], "skips": [...], "runs": [...], "checks": [...], "expect": [...], "spec"}
 * A block holds comparable cells, the reference first, then by bits stored; a number that was not finite is null.
 * Owned by the caller (cJSON_Delete). */
enum { REPORT_SCHEMA = 1 };         /* raised when a member changes its meaning or goes */
kvant_status report_load(store *s, const char *experiment, cJSON **report, kvant_error *err);
/* The blocks alone, added to the object; paired: with the differences to the references, which take longest. A cell's "number" is the
 * one that `kvant plan` shows. */
kvant_status report_blocks(store *s, const char *experiment, bool paired, cJSON *report, kvant_error *err);
/* Drops what the options do not ask for. KVANT_INVALID for a probe or metric that is not there. */
kvant_status report_select(cJSON *report, const report_options *options, kvant_error *err);

/* All rows of a query as an array of objects by column; parameter: bound to ?1, may be NULL. NULL: *err says why. */
cJSON *report_rows(store *s, const char *sql, const char *parameter, kvant_error *err);

/* Adds "expect" to the report: a row per expectation of the spec and cell that it speaks of. */
kvant_status report_expect(cJSON *report, const char *json, kvant_error *err);
bool report_met(const cJSON *report);

/* Does a cell's config agree with every member of `where`? Names are those of a spec ("model", "key", "path"), paths into the config
 * ("key.bits"), or a parameter that all sides of the cell have ("bits"). */
bool report_agrees(const cJSON *where, const cJSON *cell);

/* Gives each block whose probe has controls their object, moves those that the spec does not name there, and judges them:
 *   "controls": {"verdict": "valid", "invalid", "incomplete" (some are skips), "unfinished" or "left out", "metric", "reasons": [...],
 *                "cells": [{"role", "added", "judged": {...}, "judged_difference": {...}, and what a cell has}],
 *                "skips": [{"role", "reason"}]}
 * The reference comes first among its cells. */
kvant_status report_controls(store *s, const char *experiment, cJSON *report, kvant_error *err);
/* False when the controls of some block are invalid. */
bool report_controlled(const cJSON *report);
/* Says of each row of "identical" how the two cells' configs differ ("differs"), and drops these. */
void report_identical(cJSON *report);

/* Lay a document out in the options' format; format.h says what that is. KVANT_INVALID: the format does not have such documents. */
kvant_status report_put(store *s, cJSON *report, const report_options *options, text *out, kvant_error *err);
kvant_status report_put_answer(cJSON *answer, const report_options *options, text *out, kvant_error *err);
kvant_status report_put_list(cJSON *rows, const report_options *options, text *out, kvant_error *err);

void report_text(const cJSON *report, const report_options *options, text *out);
/* A field of CSV and what ends it: ',', or '\n' for the end of a row. A number that is not finite is an empty field. */
void csv_text(text *out, const char *value, char end);
void csv_number(text *out, double value, char end);
/* A head and a row for each object; columns: NULL-terminated. */
void csv_rows(const cJSON *rows, const char *const *columns, text *out);
/* Prints a document whose numbers read back as the same doubles; it is changed by that and can only be freed. */
void report_json(cJSON *json, text *out);

/* Members: a text, "" when there is none; a number, NaN when there is none. */
const char *member_text(const cJSON *object, const char *name);
double member_number(const cJSON *object, const char *name);
void add_number(cJSON *to, const char *name, double value);        /* null where it is not finite */

/* "22.50 ± 0.68": as many digits as the error leaves; an interval in brackets where there is no error. */
void report_estimate(double value, double se, double lo, double hi, char out[96]);

enum { REPORT_METRICS = 128 };
/* The metrics of a block's measurements in the order of the probe's table; returns how many, at most REPORT_METRICS. */
size_t report_metrics(const cJSON *block, const char *names[REPORT_METRICS]);

#endif
