/* exact - the allocation of least measured loss within the budget: what the others are compared with.
 * A dynamic programme over groups that keeps, of all ways to spend, those that no cheaper way equals (Nemhauser and Ullmann 1969).
 * Costs are whole units, so ways that spend the same meet, and there are never more of them than units. Sums are taken in the order
 * of groups, as everywhere: rounding is monotonic, so the result is no worse than any other in floating point too. */
#include "harness/allocator.h"

#include <math.h>
#include <stdlib.h>

enum { WAYS_MAX = 1 << 24 };

typedef struct { double loss; uint32_t cost, from, choice; } way;      /* from: index in the level before */

typedef struct { way *ways; size_t n, room; } pool;

static bool pool_add(pool *all, way w)
{
    if (all->n == WAYS_MAX)
        return false;
    if (all->n == all->room) {
        const size_t room = all->room ? 2 * all->room : 1024;
        way *more = realloc(all->ways, room * sizeof *more);
        if (!more)
            return false;
        all->ways = more;
        all->room = room;
    }
    all->ways[all->n++] = w;
    return true;
}

/* Adds one group's level: the ways before, first ... last - 1 in order of cost, each with each candidate that leaves `rest` for the
 * groups to come. Merged by cost; kept when they lose less than all cheaper ones. */
static bool add_level(pool *all, size_t first, size_t last, const uint64_t *cost, const double *loss, uint32_t low, uint32_t n,
                      uint64_t room)
{
    size_t at[ALLOCATION_CANDIDATES];
    double best = INFINITY;
    for (uint32_t c = low; c < n; c++)
        at[c] = first;
    for (;;) {
        way next = { .loss = INFINITY, .cost = UINT32_MAX };
        for (uint32_t c = low; c < n; c++) {
            if (at[c] == last || all->ways[at[c]].cost + cost[c] > room)
                continue;
            const way *w = &all->ways[at[c]];
            const way made = { w->loss + loss[c], (uint32_t)(w->cost + cost[c]), (uint32_t)(at[c] - first), c };
            if (made.cost < next.cost || (made.cost == next.cost && made.loss < next.loss))
                next = made;
        }
        if (next.cost == UINT32_MAX)
            return true;
        at[next.choice]++;
        if (next.loss < best) {
            best = next.loss;
            if (!pool_add(all, next))
                return false;
        }
    }
}

/* Fills level [n_groups + 1] (where each begins) and the ways of all of them. */
static kvant_status build(const allocation_problem *p, uint32_t *choice, pool *all, size_t *level, kvant_error *err)
{
    const uint32_t n = (uint32_t)p->n_candidates;
    uint64_t rest = allocation_floor(p, choice);
    bool ok = pool_add(all, (way){ 0 });
    level[0] = 0;
    for (size_t i = 0; i < p->n_groups && ok; i++) {
        const uint64_t *cost = p->cost + i * n;
        rest -= cost[choice[i]];
        level[i + 1] = all->n;
        ok = add_level(all, level[i], level[i + 1], cost, p->loss + i * n, choice[i], n, p->capacity - rest);
    }
    if (!ok && all->n == WAYS_MAX)
        return kvant_fail(err, KVANT_FAILED, "allocator 'exact': more than %d ways to spend the budget are worth keeping; use fewer "
                          "groups or sizes that have more in common", WAYS_MAX);
    return ok ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "allocator 'exact': no memory for %zu ways to spend the budget", all->n);
}

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args;
    pool all = { 0 };
    size_t *level = malloc((p->n_groups + 1) * sizeof *level);
    kvant_status status = level ? build(p, choice, &all, level, err)
                                : kvant_fail(err, KVANT_NOMEM, "allocator 'exact': no memory for %zu groups", p->n_groups);
    /* The dearest way that was kept loses least. */
    size_t at = all.n - 1;
    for (size_t i = p->n_groups; i-- > 0 && !status;) {
        choice[i] = all.ways[at].choice;
        at = level[i] + all.ways[at].from;
    }
    free(all.ways);
    free(level);
    return status;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_exact = {
    .name = "exact", .summary = "the least measured loss within the budget, by dynamic programming",
    .source = "Nemhauser and Ullmann, Management Science 15 (1969)", .params = params, .allocate = allocate
};
