/* allocator.c - runs an allocator on a checked problem, and what several of them share.
 * Budgets are counted in whole units: stored bits are bytes over coordinates, so the smallest unit that makes every cost an integer
 * exists, and no allocation is refused or let through by a rounding error. */
#include "harness/allocation/allocator.h"
#include "harness/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DENOMINATORS = 4096 };                          /* vectors that a code may couple: see codec.c */
static const double ROUNDING = 1e-6;                   /* of a cost in units */
static const double UNITS = 2147483648.0;              /* products of two costs fit 64 bits */

const kvant_allocator *allocator_find(const char *name, kvant_error *err)
{
    return plugin_find(kvant_allocators(), "allocator", name, err);
}

/* ---- Checking ---------------------------------------------------------------------------------- */

static const double *counted(const allocation_problem *p) { return p->by_stored ? p->stored : p->asked; }

static kvant_status check_group(const allocation_problem *p, size_t group, kvant_error *err)
{
    const double *asked = p->asked + group * p->n_candidates, *stored = p->stored + group * p->n_candidates;
    const double *loss = p->loss + group * p->n_candidates, *curve = p->curve + group * p->n_candidates;
    if (!(p->size[group] > 0 && p->size[group] < UNITS))
        return kvant_fail(err, KVANT_INVALID, "allocation: group %zu: size must be above 0 and finite", group);
    if (!(p->weight[group] >= 0 && isfinite(p->weight[group])))
        return kvant_fail(err, KVANT_INVALID, "allocation: group %zu: weight must be 0 or more, and finite", group);
    for (size_t c = 0; c < p->n_candidates; c++) {
        if (!isfinite(loss[c]) || !(curve[c] >= 0 && isfinite(curve[c])))
            return kvant_fail(err, KVANT_INVALID, "allocation: group %zu: loss and curve must be finite at every candidate", group);
        if (!(asked[c] > 0 && asked[c] < UNITS && stored[c] > 0 && stored[c] < UNITS) ||
            (c && !(asked[c] >= asked[c - 1] && stored[c] >= stored[c - 1])))
            return kvant_fail(err, KVANT_INVALID, "allocation: group %zu: bits must be above 0 and rise with the candidates", group);
    }
    return KVANT_OK;
}

static kvant_status check(const allocation_problem *p, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    if (!p->n_groups || p->n_groups > ALLOCATION_GROUPS)
        return kvant_fail(err, KVANT_INVALID, "allocation: %zu groups; there must be 1 to %d to spend a budget on", p->n_groups,
                          ALLOCATION_GROUPS);
    if (!p->n_candidates || p->n_candidates > ALLOCATION_CANDIDATES)
        return kvant_fail(err, KVANT_INVALID, "allocation: %zu candidates; there must be 1 to %d", p->n_candidates,
                          ALLOCATION_CANDIDATES);
    for (size_t c = 0; c < p->n_candidates; c++)
        if (!isfinite(p->candidates[c]) || (c && !(p->candidates[c] > p->candidates[c - 1])))
            return kvant_fail(err, KVANT_INVALID, "allocation: candidates must be ascending, each there once");
    for (size_t i = 0; i < p->n_groups && !status; i++)
        status = check_group(p, i, err);
    return status;
}

/* ---- Costs in whole units ------------------------------------------------------------------------ */

static bool whole(const double *bits, const double *size, size_t n_groups, size_t n_candidates, double scale)
{
    for (size_t i = 0; i < n_groups; i++)
        for (size_t c = 0; c < n_candidates; c++) {
            const double cost = bits[i * n_candidates + c] * size[i] * scale;
            if (!(fabs(cost - nearbyint(cost)) <= ROUNDING))
                return false;
        }
    return true;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* Sets cost [n_groups][n_candidates] and the capacity. */
static kvant_status count_units(allocation_problem *p, uint64_t *cost, kvant_error *err)
{
    const double *bits = counted(p);
    const size_t n = p->n_groups * p->n_candidates;
    double coordinates = 0, most = 0, scale = 1;
    for (size_t i = 0; i < p->n_groups; i++) {
        coordinates += p->size[i];
        most += bits[i * p->n_candidates + p->n_candidates - 1] * p->size[i];
    }
    while (scale <= DENOMINATORS && !whole(bits, p->size, p->n_groups, p->n_candidates, scale))
        scale++;
    if (scale > DENOMINATORS || !(most * scale < 0x1p53))
        return kvant_fail(err, KVANT_INVALID, "allocation: bits times size are no multiples of 1/%d bit or less; is each size the "
                          "number of coordinates that a token has in the group?", DENOMINATORS);
    uint64_t unit = 0;
    for (size_t k = 0; k < n; k++) {
        cost[k] = (uint64_t)nearbyint(bits[k] * p->size[k / p->n_candidates] * scale);
        unit = divisor(cost[k], unit);
    }
    if (!(most * scale / (double)unit < UNITS))
        return kvant_fail(err, KVANT_INVALID, "allocation: more than 2^31 units to spend; give sizes as coordinates per token");
    for (size_t k = 0; k < n; k++)
        cost[k] /= unit;
    p->cost = cost;
    /* A budget of many bits each is cut off at what can be spent, which check_budget then looks at. */
    const double room = p->budget * coordinates * scale;
    p->capacity = (uint64_t)fmax(fmin(room + ROUNDING, most * scale + 1), 0) / unit;
    return KVANT_OK;
}

static kvant_status check_budget(const allocation_problem *p, uint32_t *choice, kvant_error *err)
{
    const uint64_t least = allocation_floor(p, choice);
    const allocation_result low = allocation_evaluate(p, choice);
    for (size_t i = 0; i < p->n_groups; i++)
        choice[i] = (uint32_t)p->n_candidates - 1;
    const allocation_result high = allocation_evaluate(p, choice);
    const double from = p->by_stored ? low.stored : low.asked, to = p->by_stored ? high.stored : high.asked;
    if (p->budget > 0 && p->capacity >= least && !(p->budget > to * (1 + 1e-9)))
        return KVANT_OK;
    return kvant_fail(err, KVANT_INVALID, "allocation: a budget of %.6g %s bits per coordinate: these candidates allow %.6g to %.6g%s",
                      p->budget, p->by_stored ? "stored" : "asked", from, to,
                      p->protect ? ", with the protected groups at the largest" : "");
}

/* ---- Running ------------------------------------------------------------------------------------- */

allocation_result allocation_evaluate(const allocation_problem *p, const uint32_t *choice)
{
    allocation_result sum = { .relative = NAN };
    double coordinates = 0;
    for (size_t i = 0; i < p->n_groups; i++) {
        const size_t at = i * p->n_candidates + choice[i];
        sum.asked += p->asked[at] * p->size[i];
        sum.stored += p->stored[at] * p->size[i];
        sum.loss += p->loss[at];
        coordinates += p->size[i];
    }
    sum.asked /= coordinates;
    sum.stored /= coordinates;
    return sum;
}

static kvant_status allocate(const kvant_allocator *allocator, const kvant_args *args, const allocation_problem *p, uint32_t *choice,
                             kvant_error *err)
{
    uint64_t spent = 0;
    const kvant_status status = allocator->allocate(p, args, choice, err);
    if (status)
        return status;
    for (size_t i = 0; i < p->n_groups; i++) {
        if (choice[i] >= p->n_candidates || (allocation_protects(p, i) && choice[i] + 1 != p->n_candidates))
            return kvant_fail(err, KVANT_FAILED, "allocator '%s': gives group %zu what it may not have", allocator->name, i);
        spent += p->cost[i * p->n_candidates + choice[i]];
    }
    return spent <= p->capacity ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "allocator '%s': spends more than the budget",
                                                        allocator->name);
}

/* Loss over that of the best allocation. */
static double against_exact(const kvant_allocator *allocator, const allocation_problem *p, double loss, uint32_t *choice)
{
    const kvant_allocator *exact = allocator_find("exact", NULL);
    if (exact == allocator)
        return 1;
    const kvant_args args = { .v = { 0 } };
    if (!exact || allocate(exact, &args, p, choice, NULL))
        return NAN;
    const double best = allocation_evaluate(p, choice).loss;
    return loss == best ? 1 : best >= 0 ? loss / best : NAN;
}

kvant_status allocator_run(const kvant_allocator *allocator, const kvant_args *args, const allocation_problem *problem,
                           uint32_t *choice, allocation_result *result, kvant_error *err)
{
    allocation_problem p = *problem;
    kvant_status status = check(&p, err);
    if (status)
        return status;
    uint64_t *cost = malloc(p.n_groups * p.n_candidates * sizeof *cost);
    uint32_t *other = malloc(p.n_groups * sizeof *other);
    if (!cost || !other)
        status = kvant_fail(err, KVANT_NOMEM, "allocation: no memory for %zu groups", p.n_groups);
    if (!status)
        status = count_units(&p, cost, err);
    if (!status)
        status = check_budget(&p, other, err);
    if (!status)
        status = allocate(allocator, args, &p, choice, err);
    if (!status) {
        *result = allocation_evaluate(&p, choice);
        result->relative = against_exact(allocator, &p, result->loss, other);
    }
    free(cost);
    free(other);
    return status;
}

/* ---- Weights ------------------------------------------------------------------------------------- */

kvant_status allocation_weights_find(const char *name, allocation_weights *weights, kvant_error *err)
{
    static const char *const names[] = { "activation", "distortion", "kl", NULL };
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            *weights = (allocation_weights)i;
            return KVANT_OK;
        }
    if (!strcmp(name, "gradient") || !strcmp(name, "fisher"))
        return kvant_fail(err, KVANT_INVALID, "weights '%s' are means of squared gradients, which need a backward pass, and this engine "
                          "has none; use activation, distortion or kl", name);
    const char *nearest = nearest_name(name, names);
    return kvant_fail(err, KVANT_INVALID, "weights '%.64s' are unknown%s%s%s; use activation, distortion or kl", name,
                      nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

double allocation_weight(const double *loss, const double *curve, size_t n)
{
    double product = 0, square = 0;
    for (size_t c = 0; c < n; c++) {
        product += loss[c] * curve[c];
        square += curve[c] * curve[c];
    }
    return product > 0 && square > 0 ? product / square : 0;
}

/* ---- For allocators ------------------------------------------------------------------------------ */

uint64_t allocation_floor(const allocation_problem *p, uint32_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_groups; i++) {
        choice[i] = allocation_protects(p, i) ? (uint32_t)p->n_candidates - 1 : 0;
        sum += p->cost[i * p->n_candidates + choice[i]];
    }
    return sum;
}

/* The group's best step among those that fit: what it gains per unit, 0 when there is none. */
static double best_step(const double *loss, const uint64_t *cost, uint32_t from, uint32_t n, uint64_t room, uint32_t *to)
{
    double best = 0;
    for (uint32_t c = from + 1; c < n && cost[c] - cost[from] <= room; c++) {
        const double gain = (loss[from] - loss[c]) / (double)(cost[c] - cost[from]);       /* a step for nothing: infinite */
        if (gain > best)
            best = gain, *to = c;
    }
    return best;
}

static uint64_t room_left(const allocation_problem *p, const uint32_t *choice)
{
    uint64_t room = p->capacity;
    for (size_t i = 0; i < p->n_groups; i++)
        room -= p->cost[i * p->n_candidates + choice[i]];
    return room;
}

void allocation_climb(const allocation_problem *p, const double *loss, uint32_t *choice)
{
    const uint32_t n = (uint32_t)p->n_candidates;
    uint64_t room = room_left(p, choice);
    for (;;) {
        double best = 0;
        size_t group = 0;
        uint32_t to = 0;
        for (size_t i = 0; i < p->n_groups; i++) {
            uint32_t step = 0;
            const double gain = best_step(loss + i * n, p->cost + i * n, choice[i], n, room, &step);
            if (gain > best)
                best = gain, group = i, to = step;
        }
        if (!(best > 0))
            return;
        room -= p->cost[group * n + to] - p->cost[group * n + choice[group]];
        choice[group] = to;
    }
}

const char *const allocation_straddles[] = { [STRADDLE_EVEN] = "even", [STRADDLE_NONE] = "none", NULL };

/* What one candidate more costs a group; 0: it may not have one. */
static uint64_t next_step(const allocation_problem *p, const bool *which, size_t group, uint32_t choice)
{
    const uint64_t *cost = p->cost + group * p->n_candidates + choice;
    return (which && !which[group]) || choice + 1 == p->n_candidates ? 0 : cost[1] - cost[0];
}

void allocation_spread(const allocation_problem *p, const bool *which, uint32_t *choice)
{
    const uint64_t room = room_left(p, choice);
    uint64_t all = 0, spent = 0, passed = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        all += next_step(p, which, i, choice[i]);
    /* As a line is drawn on a grid: a group goes up where its turn's share of the room covers what is spent and its own step. Values
     * have their turn after all keys, or every second group would be all of one side. */
    for (size_t turn = 0; turn < 2 * p->n_groups; turn++) {
        const size_t i = turn % p->n_groups;
        if ((p->values && p->values[i]) != (turn >= p->n_groups))
            continue;
        const uint64_t step = next_step(p, which, i, choice[i]);
        passed += step;
        if (step && spent + step <= room && (spent + step) * all <= room * passed) {
            spent += step;
            choice[i]++;
        }
    }
}
