/* boundary - the first and last N layers at the largest candidate, the others at the largest single one that still fits.
 * Users know it as "protect the first and last layers". It looks at nothing but a layer's place, so it loses where sensitive layers
 * lie inside, and on models whose first and last ones are not special. When even that does not fit, the boundary gets less. */
#include "harness/allocator.h"

enum { ARG_LAYERS };

/* Boundary groups at `outer`, others at `inner`; returns the cost. */
static uint64_t level(const allocation_problem *p, uint32_t n, uint32_t last, uint32_t outer, uint32_t inner, uint32_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_groups; i++) {
        const bool edge = p->layer[i] < n || last - p->layer[i] < n;
        choice[i] = allocation_protects(p, i) ? (uint32_t)p->n_candidates - 1 : edge ? outer : inner;
        sum += p->cost[i * p->n_candidates + choice[i]];
    }
    return sum;
}

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    const uint32_t n = (uint32_t)args->v[ARG_LAYERS];
    uint32_t last = 0, outer = (uint32_t)p->n_candidates - 1, inner;
    for (size_t i = 0; i < p->n_groups; i++)
        last = p->layer[i] > last ? p->layer[i] : last;
    if (2 * (uint64_t)n > last)
        return kvant_fail(err, KVANT_INVALID, "allocator 'boundary': the first and last %u of %u layers leave none between them; set "
                          "`layers` to %u or less", n, last + 1, last / 2);
    while (outer > 0 && level(p, n, last, outer, 0, choice) > p->capacity)
        outer--;
    for (inner = outer; inner > 0 && level(p, n, last, outer, inner, choice) > p->capacity;)
        inner--;
    level(p, n, last, outer, inner, choice);
    return KVANT_OK;
}

static const kvant_param params[] = {
    [ARG_LAYERS] = { "layers", "how many layers at each end get more bits", KVANT_INT, 4, 1, 1024, NULL },
    { .name = NULL }
};

const kvant_allocator allocator_boundary = {
    .name = "boundary", .summary = "the first and last layers at the largest candidate, the others alike",
    .source = "practice: KV caches that keep 2 to 4 layers at each end precise", .params = params, .allocate = allocate
};
