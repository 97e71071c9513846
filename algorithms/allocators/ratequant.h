/* ratequant.h - theorem 2's real-valued bits, before they are rounded to candidates: for tests, and to show beside the allocation. */
#ifndef KVANT_RATEQUANT_H
#define KVANT_RATEQUANT_H

#include "harness/allocation/allocator.h"

/* bits [n_groups], in those that the budget counts, between the group's smallest and largest candidate; they use up the budget.
 * Minimises the sum of weight * alpha * beta^-bits. The problem must be one that allocator_run accepts. */
kvant_status ratequant_bits(const allocation_problem *p, double *bits, kvant_error *err);

#endif
