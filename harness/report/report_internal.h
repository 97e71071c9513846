/* report_internal.h - what the files of the report share: the report as one JSON document, which every format is written from.
 * Its shape is what `kvant report --format json` prints; report_data.c makes it, report_text.c lays it out. */
#ifndef KVANT_REPORT_INTERNAL_H
#define KVANT_REPORT_INTERNAL_H

#include "harness/report/report.h"

#include <cjson/cJSON.h>

/* The whole of an experiment:
 *   {"experiment", "cells", "finished",
 *    "blocks": [{"probe", "model", "data", "settings": {...}, "differs": "path decode",
 *                "cells": [{"label", ..., "config": {...}, "measurements": [{"metric", "value", ...}], "differences": [...]}]}],
 *    "needle": [...], "identical": [...], "skips": [...], "expect": [...]}
 * A block holds comparable cells, the reference first, then by bits stored; a number that was not finite is null.
 * Owned by the caller (cJSON_Delete). */
kvant_status report_load(store *s, const char *experiment, cJSON **report, kvant_error *err);
/* Drops what the options do not ask for. KVANT_INVALID for a probe or metric that is not there. */
kvant_status report_select(cJSON *report, const report_options *options, kvant_error *err);

/* All rows of a query as an array of objects by column; parameter: bound to ?1, may be NULL. NULL: *err says why. */
cJSON *report_rows(store *s, const char *sql, const char *parameter, kvant_error *err);

/* Adds "expect" to the report: a row per expectation of the spec and cell that it speaks of. */
kvant_status report_expect(cJSON *report, const char *spec, kvant_error *err);
bool report_met(const cJSON *report);

void report_text(const cJSON *report, const report_options *options, text *out);
void report_csv(const cJSON *report, text *out);

/* Members: a text, "" when there is none; a number, NaN when there is none. */
const char *member_text(const cJSON *object, const char *name);
double member_number(const cJSON *object, const char *name);

/* "22.50 ± 0.68": as many digits as the error leaves; an interval in brackets where there is no error. */
void report_estimate(double value, double se, double lo, double hi, char out[96]);

enum { REPORT_METRICS = 128 };
/* The metrics of a block's measurements in the order of the probe's table; returns how many, at most REPORT_METRICS. */
size_t report_metrics(const cJSON *block, const char *names[REPORT_METRICS]);

#endif
