/* boundary - the first and last N layers at the largest candidate, the others at the largest single one that still fits.
 * Users know it as "protect the first and last layers". It looks at nothing but a layer's place, so it loses where sensitive layers
 * lie inside, and on models whose first and last ones are not special. When the largest does not fit, the boundary gets less; what is
 * left then is spread evenly, over the boundary first, for a comparison at unequal bits says nothing. */
#include "harness/allocation/allocator.h"

#include <stdlib.h>

enum { ARG_LAYERS, ARG_STRADDLE };

/* Groups with edge at `outer`, others at `inner`; returns the cost. */
static uint64_t level(const allocation_problem *p, const bool *edge, uint32_t outer, uint32_t inner, uint32_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_groups; i++) {
        choice[i] = allocation_protects(p, i) ? (uint32_t)p->n_candidates - 1 : edge[i] ? outer : inner;
        sum += p->cost[i * p->n_candidates + choice[i]];
    }
    return sum;
}

static void place(const allocation_problem *p, bool *edge, bool straddle, uint32_t *choice)
{
    uint32_t outer = (uint32_t)p->n_candidates - 1, inner;
    while (outer > 0 && level(p, edge, outer, 0, choice) > p->capacity)
        outer--;
    for (inner = outer; inner > 0 && level(p, edge, outer, inner, choice) > p->capacity;)
        inner--;
    level(p, edge, outer, inner, choice);
    if (!straddle)
        return;
    allocation_spread(p, edge, choice);
    for (size_t i = 0; i < p->n_groups; i++)
        edge[i] = !edge[i];
    allocation_spread(p, edge, choice);
}

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    const uint32_t n = (uint32_t)args->v[ARG_LAYERS];
    uint32_t last = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        last = p->layer[i] > last ? p->layer[i] : last;
    if (2 * (uint64_t)n > last)
        return kvant_fail(err, KVANT_INVALID, "allocator 'boundary': the first and last %u of %u layers leave none between them; set "
                          "`layers` to %u or less", n, last + 1, last / 2);
    bool *edge = malloc(p->n_groups * sizeof *edge);
    if (!edge)
        return kvant_fail(err, KVANT_NOMEM, "allocator 'boundary': no memory for %zu groups", p->n_groups);
    for (size_t i = 0; i < p->n_groups; i++)
        edge[i] = p->layer[i] < n || last - p->layer[i] < n;
    place(p, edge, args->v[ARG_STRADDLE] == STRADDLE_EVEN, choice);
    free(edge);
    return KVANT_OK;
}

static const kvant_param params[] = {
    [ARG_LAYERS] = { .name = "layers", .help = "how many layers at each end get more bits", .type = KVANT_INT, .def = 4, .min = 1, .max = 1024 },
    [ARG_STRADDLE] = { .name = "straddle", .help = "bits that are left: spread evenly, over the boundary first, or left unspent",
                       .type = KVANT_CHOICE, .def = STRADDLE_EVEN, .choices = allocation_straddles },
    { .name = NULL }
};

const kvant_allocator allocator_boundary = {
    .name = "boundary", .summary = "the first and last layers at the largest candidate, the others alike",
    .source = "practice: KV caches that keep 2 to 4 layers at each end precise", .params = params, .blind = true,
    .allocate = allocate
};
