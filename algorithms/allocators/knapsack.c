/* knapsack - from the fewest bits up, each step where a group's measured loss falls most per bit: mlx-optiq's allocation.
 * Every group is measured at every candidate, so no curve is assumed; that costs groups * candidates passes over a text, and noise in
 * them is taken for gain. Steps may leap over a candidate that gains nothing. A few bits are lost against `exact` at the budget's edge. */
#include "harness/allocation/allocator.h"

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args;
    (void)err;
    allocation_floor(p, choice);
    allocation_climb(p, p->loss, choice);
    return KVANT_OK;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_knapsack = {
    .name = "knapsack", .summary = "step by step where the measured loss falls most per bit",
    .source = "mlx-optiq, its greedy knapsack", .params = params, .allocate = allocate
};
