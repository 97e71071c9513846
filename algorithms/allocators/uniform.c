/* uniform - the same for every group: the baseline that a sensitivity has to beat.
 * A budget between two candidates would leave bits unspent, and a comparison at unequal bits says nothing. So by default what is left
 * goes to groups evenly spread over the model, by their size and nothing else: 2.5 of {2, 3} gives every second group 3 bits.
 * It loses wherever groups differ. */
#include "harness/allocation/allocator.h"

enum { ARG_STRADDLE };

/* All groups that are not protected take candidate c; returns what that costs. */
static uint64_t level(const allocation_problem *p, uint32_t c, uint32_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_groups; i++) {
        choice[i] = allocation_protects(p, i) ? (uint32_t)p->n_candidates - 1 : c;
        sum += p->cost[i * p->n_candidates + choice[i]];
    }
    return sum;
}

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)err;
    uint32_t c = (uint32_t)p->n_candidates - 1;
    while (level(p, c, choice) > p->capacity)
        c--;
    if (args->v[ARG_STRADDLE] == STRADDLE_EVEN)
        allocation_spread(p, NULL, choice);
    return KVANT_OK;
}

static const kvant_param params[] = {
    [ARG_STRADDLE] = { .name = "straddle", .help = "a budget between two candidates: spread the larger one evenly, or leave bits unspent",
                       .type = KVANT_CHOICE, .def = STRADDLE_EVEN, .choices = allocation_straddles },
    { .name = NULL }
};

const kvant_allocator allocator_uniform = {
    .name = "uniform", .summary = "the same candidate for every group, the next one spread evenly over what is left",
    .source = "the baseline of every paper", .params = params, .blind = true,
    .allocate = allocate
};
