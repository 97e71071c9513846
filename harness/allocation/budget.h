/* budget.h - from measured sensitivities to a bit budget's allocation: the problem that allocators solve, and what their answer means.
 * Nothing is measured here that `kvant sensitivity` does not measure. */
#ifndef KVANT_BUDGET_H
#define KVANT_BUDGET_H

#include "harness/allocation/budget_spec.h"
#include "harness/allocation/sensitivity.h"

typedef struct {
    sensitivity_request measure;       /* candidates must outlive the budget */
    /* Of weights kl and distortion the measured losses are what counts, and the curve is the model that `greedy` and `ratequant` go
     * by: the losses' mean over groups, or a line through its logarithm, or a constant one. Activation has no losses of its own: they
     * are weight * curve, with the curve from the distortion of the same groups unless it is constant. */
    curve_kind curve;
    double bits;                       /* the most bits per coordinate on average */
    bool by_stored;                    /* stored bits; else asked ones */
    const int32_t *protect;            /* [n_protect] layers that take the largest candidate; -1 is the last one */
    size_t n_protect;
} budget_request;

/* A curve belongs to a quantizer's side: groups of both sides, of keys, of values. */
typedef enum { BUDGET_BOTH, BUDGET_KEYS, BUDGET_VALUES, BUDGET_CLASSES } budget_class;

typedef struct {
    sensitivity measured;
    allocation_problem problem;        /* of memory that is owned here */
    curve line[BUDGET_CLASSES];        /* alpha NaN: none fits, or there are no such groups */
    void *memory;
} budget;

/* Reads sensitivities by sensitivity_open, whose arguments and statuses these are, and makes the problem of them. */
kvant_status budget_open(const budget_request *request, store *s, int threads, const run_options *run, budget *out, kvant_error *err);
/* The problem of an allocator that is blind: equal weights, a constant curve. */
kvant_status budget_open_blind(const budget_request *request, const kvcache_shape *shape, budget *out, kvant_error *err);
void budget_close(budget *b);          /* {0} is allowed */

/* The quantizers that choice [n_groups] means, for a cache of that shape; freed by allocation_free. */
kvant_status budget_allocation(const budget_request *request, const budget *b, const uint32_t *choice, const kvcache_shape *shape,
                               kvcache_allocation *out, kvant_error *err);

#endif
