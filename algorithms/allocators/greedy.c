/* greedy - from the fewest bits up, each step where weight * D(b) falls most per bit: what RateQuant runs in practice.
 * One number per group and one curve per quantizer decide, so it costs one pass over a text; it is optimal for that model when D is
 * convex and groups are of one size, and it loses where a group's own curve is another than its quantizer's. */
#include "harness/allocation/allocator.h"

#include <stdlib.h>

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args;
    const size_t n = p->n_groups * p->n_candidates;
    double *loss = malloc(n * sizeof *loss);
    if (!loss)
        return kvant_fail(err, KVANT_NOMEM, "allocator 'greedy': no memory for %zu groups", p->n_groups);
    for (size_t k = 0; k < n; k++)
        loss[k] = p->weight[k / p->n_candidates] * p->curve[k];
    allocation_floor(p, choice);
    allocation_climb(p, loss, choice);
    free(loss);
    return KVANT_OK;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_greedy = {
    .name = "greedy", .summary = "step by step where weight times distortion falls most per bit",
    .source = "arXiv 2605.06675, section on practice", .params = params, .allocate = allocate
};
