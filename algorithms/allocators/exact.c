/* exact - the allocation of least measured loss within the budget: what the others are compared with.
 * A dynamic programme over groups that keeps, of all ways to spend, those that no cheaper way equals (Nemhauser and Ullmann 1969).
 * Costs are whole units, so ways that spend the same meet, and there are never more of them than units. Sums are taken in the order
 * of groups, as everywhere: rounding is monotonic, so the result is no worse than any other in floating point too. */
#include "harness/allocation/allocator.h"

#include <math.h>
#include <stdlib.h>

enum { WAYS_MAX = 1 << 25, CHOICE_BITS = 6 };          /* a step back is an index below 2^26 and a choice below 2^6 */
_Static_assert(ALLOCATION_CANDIDATES <= 1 << CHOICE_BITS, "a choice must fit");

typedef struct { double loss; uint32_t cost; } way;

/* All ways to spend on the groups so far, by rising cost and falling loss; of the groups before, only how each way came about. */
typedef struct {
    way *before, *here;            /* [room_before], [room_here] */
    size_t n_before, n_here, room_before, room_here;
    uint32_t *back;                /* [n_back]: of every way of every group, in order: index in the group before, and choice */
    size_t n_back, room_back;
} search;

/* Adds a way; false: there is no memory, or there are too many of them. */
static bool add_way(search *s, way w, size_t from, uint32_t choice)
{
    if (s->n_here == s->room_here) {
        const size_t room = s->room_here ? 2 * s->room_here : 1024;
        way *more = realloc(s->here, room * sizeof *more);
        if (!more)
            return false;
        s->here = more;
        s->room_here = room;
    }
    if (s->n_back == s->room_back) {
        const size_t room = s->room_back ? 2 * s->room_back : 1024;
        uint32_t *more = room <= WAYS_MAX ? realloc(s->back, room * sizeof *more) : NULL;
        if (!more)
            return false;
        s->back = more;
        s->room_back = room;
    }
    s->here[s->n_here++] = w;
    s->back[s->n_back++] = (uint32_t)from << CHOICE_BITS | choice;
    return true;
}

/* The ways of one group more: each way before with each candidate from `low` on that fits into the room. Merged by cost, and kept
 * when they lose less than all cheaper ones. */
static bool add_group(search *s, const uint64_t *cost, const double *loss, uint32_t low, uint32_t n, uint64_t room)
{
    size_t at[ALLOCATION_CANDIDATES] = { 0 };
    double best = INFINITY;
    for (;;) {
        way next = { .cost = UINT32_MAX };
        uint32_t choice = 0;
        for (uint32_t c = low; c < n; c++) {
            if (at[c] == s->n_before || s->before[at[c]].cost + cost[c] > room)
                continue;
            const way made = { s->before[at[c]].loss + loss[c], (uint32_t)(s->before[at[c]].cost + cost[c]) };
            if (made.cost < next.cost || (made.cost == next.cost && made.loss < next.loss))
                next = made, choice = c;
        }
        if (next.cost == UINT32_MAX)
            return true;
        const size_t from = at[choice]++;
        if (next.loss < best) {
            best = next.loss;
            if (!add_way(s, next, from, choice))
                return false;
        }
    }
}

/* Fills start [n_groups]: where each group's steps back begin. choice [n_groups] is room for the cheapest allocation. */
static kvant_status run(const allocation_problem *p, search *s, size_t *start, uint32_t *choice, kvant_error *err)
{
    const size_t n = p->n_candidates;
    uint64_t rest = allocation_floor(p, choice);           /* what the groups to come must be left */
    bool ok = add_way(s, (way){ .loss = 0 }, 0, 0);
    for (size_t i = 0; i < p->n_groups && ok; i++) {
        const search last = *s;
        s->before = last.here, s->n_before = last.n_here, s->room_before = last.room_here;
        s->here = last.before, s->n_here = 0, s->room_here = last.room_before;
        start[i] = s->n_back;
        rest -= p->cost[i * n + choice[i]];
        ok = add_group(s, p->cost + i * n, p->loss + i * n, choice[i], (uint32_t)n, p->capacity - rest);
    }
    if (!ok && s->n_back == WAYS_MAX)
        return kvant_fail(err, KVANT_FAILED, "allocator 'exact': more than %d ways to spend the budget are worth keeping; use fewer groups "
                          "or candidates, or sizes that have more in common", WAYS_MAX);
    return ok ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "allocator 'exact': no memory for %zu ways to spend the budget", s->n_back);
}

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args;
    search s = { .before = NULL };
    size_t *start = malloc(p->n_groups * sizeof *start);
    kvant_status status = start ? run(p, &s, start, choice, err)
                                : kvant_fail(err, KVANT_NOMEM, "allocator 'exact': no memory for %zu groups", p->n_groups);
    /* The dearest way that was kept loses least. */
    size_t at = s.n_here - 1;
    for (size_t i = p->n_groups; i-- > 0 && !status;) {
        const uint32_t step = s.back[start[i] + at];
        choice[i] = step & ((1u << CHOICE_BITS) - 1);
        at = step >> CHOICE_BITS;
    }
    free(s.before);
    free(s.here);
    free(s.back);
    free(start);
    return status;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_exact = {
    .name = "exact", .summary = "the least measured loss within the budget, by dynamic programming",
    .source = "Nemhauser and Ullmann, Management Science 15 (1969)", .params = params, .allocate = allocate
};
