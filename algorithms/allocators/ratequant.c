/* ratequant - theorem 2 of RateQuant: with D(b) = alpha * beta^-b the best real-valued bits have a closed form, and then rounding.
 * With one curve and one size b_i = mean b + (ln w_i - mean ln w) / ln beta; with several, slopes per bit are equal, which is the same
 * statement. It costs weights alone, and it loses where D is no exponential: low bits, outliers, a measured loss with a floor. */
#include "algorithms/allocators/ratequant.h"

#include <math.h>
#include <stdlib.h>

/* Groups of no weight get the fewest bits, unless all others are at their most: a weight beyond every range does that. */
static const double NO_WEIGHT = 1e-12;

/* ln beta, and ln of the slope per coordinate at 0 bits: -dL/db / size. */
typedef struct { double decay, slope, low, high; bool fixed; } line;

static double least_weight(const allocation_problem *p)
{
    double least = INFINITY;
    for (size_t i = 0; i < p->n_groups; i++)
        if (p->weight[i] > 0)
            least = fmin(least, p->weight[i]);
    return isfinite(least) ? NO_WEIGHT * least : 1;
}

static double weight_of(const allocation_problem *p, size_t i, double least) { return p->weight[i] > 0 ? p->weight[i] : least; }

static const double *bits_of(const allocation_problem *p, size_t i)
{
    return (p->by_stored ? p->stored : p->asked) + i * p->n_candidates;
}

/* Bits of the groups that are not fixed, as if there were no limits: slope - decay * b is the same for all. */
static void equal_slopes(const allocation_problem *p, const line *lines, double budget, double *bits)
{
    double sum = 0, rate = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        if (!lines[i].fixed) {
            sum += p->size[i] * lines[i].slope / lines[i].decay;
            rate += p->size[i] / lines[i].decay;
        }
    const double common = (sum - budget) / rate;
    for (size_t i = 0; i < p->n_groups; i++)
        if (!lines[i].fixed)
            bits[i] = (lines[i].slope - common) / lines[i].decay;
}

kvant_status ratequant_bits(const allocation_problem *p, double *bits, kvant_error *err)
{
    const double least = least_weight(p);
    double budget = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        if (!(p->alpha[i] > 0 && isfinite(p->alpha[i]) && p->beta[i] > 1 && isfinite(p->beta[i])))
            return kvant_fail(err, KVANT_INVALID, "allocator 'ratequant': no alpha * beta^-bits fits the curve of group %zu; use the "
                              "constant curve", i);
    line *lines = malloc(p->n_groups * sizeof *lines);
    if (!lines)
        return kvant_fail(err, KVANT_NOMEM, "allocator 'ratequant': no memory for %zu groups", p->n_groups);
    for (size_t i = 0; i < p->n_groups; i++) {
        const double decay = log(p->beta[i]), *b = bits_of(p, i);
        lines[i] = (line){ decay, log(weight_of(p, i, least)) + log(p->alpha[i]) + log(decay) - log(p->size[i]), b[0],
                           b[p->n_candidates - 1], allocation_protects(p, i) };
        bits[i] = lines[i].high;
        budget += p->size[i] * (p->budget - (lines[i].fixed ? bits[i] : 0));
    }
    /* Clip, fix, redistribute. Only the side that the clipping moves more is fixed: the other side's limits may no longer bind
     * after that, and fixing both at once can miss the optimum. */
    for (bool more = true; more;) {
        double over = 0, under = 0;
        equal_slopes(p, lines, budget, bits);
        for (size_t i = 0; i < p->n_groups; i++)
            if (!lines[i].fixed) {
                over += p->size[i] * fmax(bits[i] - lines[i].high, 0);
                under += p->size[i] * fmax(lines[i].low - bits[i], 0);
            }
        more = false;
        for (size_t i = 0; i < p->n_groups; i++) {
            if (lines[i].fixed || !(over >= under ? bits[i] > lines[i].high : bits[i] < lines[i].low))
                continue;
            lines[i].fixed = more = true;
            bits[i] = over >= under ? lines[i].high : lines[i].low;
            budget -= p->size[i] * bits[i];
        }
    }
    free(lines);
    return KVANT_OK;
}

/* Down to the candidates below, then what is left where the model's loss falls most per bit. With steps of one bit that is the
 * largest remainder, and the budget is met exactly. */
static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args;
    const size_t n = p->n_candidates;
    const double least = least_weight(p);
    double *bits = malloc(p->n_groups * sizeof *bits), *loss = malloc(p->n_groups * n * sizeof *loss);
    kvant_status status = bits && loss ? ratequant_bits(p, bits, err)
                                       : kvant_fail(err, KVANT_NOMEM, "allocator 'ratequant': no memory for %zu groups", p->n_groups);
    if (!status) {
        uint64_t room = p->capacity - allocation_floor(p, choice);
        for (size_t i = 0; i < p->n_groups; i++) {
            const double *b = bits_of(p, i);
            const uint64_t *cost = p->cost + i * n;
            for (uint32_t c = choice[i]; c + 1 < n && b[c + 1] <= bits[i] + 1e-9 && cost[c + 1] - cost[c] <= room; c++) {
                room -= cost[c + 1] - cost[c];
                choice[i] = c + 1;
            }
            for (size_t c = 0; c < n; c++)
                loss[i * n + c] = weight_of(p, i, least) * p->alpha[i] * pow(p->beta[i], -b[c]);
        }
        allocation_climb(p, loss, choice);
    }
    free(bits);
    free(loss);
    return status;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_ratequant = {
    .name = "ratequant", .summary = "the closed form for exponential curves, clipped, redistributed and rounded",
    .source = "arXiv 2605.06675, theorem 2", .params = params, .allocate = allocate
};
