/* budget_spec.h - a bit budget in a spec's words: what stands beside an allocator's name, with defaults and ranges.
 * The command line and specs mean the same by them. */
#ifndef KVANT_BUDGET_SPEC_H
#define KVANT_BUDGET_SPEC_H

#include "harness/allocation/allocator.h"
#include "harness/allocation/cache_group.h"
#include "harness/allocation/curve.h"

/* An object's keys beside the allocator, its own parameters, and `protect`. The order of the choices is that of the enums; no
 * candidates are 4 and 8. */
enum { BUDGET_BITS, BUDGET_WEIGHTS, BUDGET_CURVE, BUDGET_GROUPS, BUDGET_SIDES, BUDGET_COUNTS, BUDGET_CANDIDATES };
extern const kvant_param budget_params[];
/* Layers as in "0,1,-1", where -1 is the last one: layers [BUDGET_PROTECT], *n. KVANT_INVALID says what is wrong. */
enum { BUDGET_PROTECT = 256 };
kvant_status budget_protect(const char *given, int32_t *layers, size_t *n, kvant_error *err);

#endif
