/* paper.h - the published tables that come as specs, experiments/paper/NAME.json: what each reproduces, how long it takes, and how its
 * rows came out in a store. */
#ifndef KVANT_PAPER_H
#define KVANT_PAPER_H

#include "harness/report/report.h"

#include <cjson/cJSON.h>

/* All specs of the folder, or those named (NULL-terminated; NULL: all), by name:
 *   [{"name", "file", "title", "paper", "golden" (null: none), "variants": [{"variant": "full" or "quick", "experiment", "minutes",
 *     "state": "not run", "changed" (the store has it of another text), "running" or "finished", "cells", "finished", "rows", "met",
 *     "not met", "published error", "shown beside", "undecided", "not computed", "holds": false where one is not as the spec says}]}]
 * A spec without a quick variant has one. s NULL: there is no store yet. KVANT_INVALID: a spec that is none, or an unknown name. Freed
 * by the caller (cJSON_Delete). */
kvant_status paper_load(store *s, const char *folder, const char *const *names, cJSON **papers, kvant_error *err);

/* Writes them. *hold is false when something that the store has does not hold. */
void paper_write(cJSON *papers, const report_options *options, text *out, bool *hold);

#endif
