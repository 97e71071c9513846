/* allocator.h - the contract of algorithms/allocators/NAME.c: one way to spend a bit budget over groups, and how to use one.
 * A group is what gets a number of bits of its own: a layer, or a KV head of one, keys and values together or apart. */
#ifndef KVANT_ALLOCATOR_H
#define KVANT_ALLOCATOR_H

#include "harness/kvant.h"

enum { ALLOCATION_GROUPS = 1 << 14, ALLOCATION_CANDIDATES = 64 };      /* the most that are allowed */

/* What is to be decided. Matrices are [n_groups][n_candidates]; nothing is owned.
 *
 * `loss` is the truth: allocations are compared by its sum, and `exact` and `knapsack` minimise it. `weight`, `curve`, `alpha` and
 * `beta` are the model of it that the other methods go by: loss[i][c] ~ weight[i] * curve[i][c], and curve[i][c] ~
 * alpha[i] * beta[i] ^ -b, with b the bits that the budget counts. Where only weights are known, loss is weight * curve. */
typedef struct {
    size_t n_groups, n_candidates;
    const double *candidates;      /* [n_candidates] ascending: values of the quantizer's `bits` */
    const double *asked, *stored;  /* bits per coordinate, not falling along a group's candidates */
    bool by_stored;                /* the budget counts stored bits; else asked ones */
    double budget;                 /* the most bits per coordinate, on average over all coordinates */
    const double *size;            /* [n_groups] coordinates per token */
    const uint32_t *layer;         /* [n_groups] */
    const bool *values;            /* [n_groups] groups of values alone, where they stand between those of keys; NULL: none do */
    const double *loss;            /* finite */
    const double *weight;          /* [n_groups], 0 or more */
    const double *curve;           /* distortion D(b), 0 or more */
    const double *alpha, *beta;    /* [n_groups]: above 0; above 1; NaN: no such line fits, and `ratequant` refuses */
    const bool *protect;           /* [n_groups]: takes the largest candidate; NULL: none does */
    /* Set by allocator_run, for allocators: the budget in whole units, so that none is exceeded by rounding. */
    const uint64_t *cost;          /* matrix: what a candidate takes, all in all below 2^31 */
    uint64_t capacity;
} allocation_problem;

/* The last thing in its file. `allocate` fills choice [n_groups] with indices of candidates, within the capacity and with the
 * protected groups at the largest; it gets a problem for which that is possible, with one group at least. Where two choices are
 * worth the same, the cheaper one and then the group of the lower index goes first. */
typedef struct {
    const char *name, *summary, *source;
    const kvant_param *params;
    bool blind;                    /* goes by layers and sizes alone: nothing need be measured for it */
    kvant_status (*allocate)(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err);
} kvant_allocator;

const kvant_allocator *const *kvant_allocators(void);                      /* NULL-terminated, sorted by name */
const kvant_allocator *allocator_find(const char *name, kvant_error *err); /* NULL: err names the nearest known one */

/* Averages are over coordinates. */
typedef struct {
    double asked, stored;          /* bits per coordinate */
    double loss;                   /* sum over groups */
    double relative;               /* loss / that of `exact`; NaN where that is no ratio: the optimum is below 0 or out of reach */
} allocation_result;

/* Runs one allocator: choice [n_groups], *result. KVANT_INVALID says what is wrong with the problem; a budget that no allocation
 * meets (or that all groups at the largest candidate do not use up) gets the range that is possible. */
kvant_status allocator_run(const kvant_allocator *allocator, const kvant_args *args, const allocation_problem *problem,
                           uint32_t *choice, allocation_result *result, kvant_error *err);

/* Bits and loss of any choice; `relative` is NaN. */
allocation_result allocation_evaluate(const allocation_problem *problem, const uint32_t *choice);

/* ---- Weights ----------------------------------------------------------------------------------- */

/* What says how much a group matters: mean squared norm of its keys, its measured distortion, the divergence of the model's
 * output when it alone is quantized. */
typedef enum { WEIGHTS_ACTIVATION, WEIGHTS_DISTORTION, WEIGHTS_KL } allocation_weights;

/* KVANT_INVALID for others; `gradient` and `fisher` are refused with the reason. */
kvant_status allocation_weights_find(const char *name, allocation_weights *weights, kvant_error *err);

/* The weight that makes weight * curve fit one group's measured losses best, by least squares; 0 when they are all 0 or less. */
double allocation_weight(const double *loss, const double *curve, size_t n);

/* ---- For allocators ---------------------------------------------------------------------------- */

static inline bool allocation_protects(const allocation_problem *p, size_t group) { return p->protect && p->protect[group]; }

/* The cheapest start: protected groups at the largest candidate, the others at the smallest. Returns its cost. */
uint64_t allocation_floor(const allocation_problem *p, uint32_t *choice);

/* Spends what is left of the capacity, step by step, where `loss` (a matrix) falls most per unit. A step leads to any larger
 * candidate, so that a curve which first rises, or falls late, holds nobody back; it ends when no step that fits lowers the loss. */
void allocation_climb(const allocation_problem *p, const double *loss, uint32_t *choice);

/* What a budget between two candidates does where nothing says which group deserves more: the next candidate is spread evenly, or bits
 * stay unspent. A parameter of allocators that do not look at losses. */
typedef enum { STRADDLE_EVEN, STRADDLE_NONE } allocation_straddle;
extern const char *const allocation_straddles[];

/* Raises groups by one candidate each, evenly spread over those with which [n_groups] (NULL: all), as far as the capacity goes. */
void allocation_spread(const allocation_problem *p, const bool *which, uint32_t *choice);

#endif
