/* golden.h - committed outcomes of experiments whose results do not depend on the machine: results/golden/EXPERIMENT.csv.
 * A row per cell and metric; a cell is known by what was asked, without the code and instruction sets that it ran by. */
#ifndef KVANT_GOLDEN_H
#define KVANT_GOLDEN_H

#include "harness/store/store.h"

/* Adds the experiment's results: "cell,probe,data,label,metric,value,se", in the plan's order, times left out. The cell is the first
 * 12 digits of the sha256 of its config without code and isa. KVANT_INVALID: the experiment is not there, or not finished. */
kvant_status golden_results(store *s, const char *experiment, text *csv, kvant_error *err);

/* Holds computed results against committed ones, each CSV as golden_results writes it: values may differ by `tolerance` relative to
 * the larger of value and standard error; 0 asks for the same text. Adds a line to *changes for each difference, and row that only one
 * has. */
kvant_status golden_compare(const char *committed, const char *computed, double tolerance, text *changes, size_t *n, kvant_error *err);

#endif
