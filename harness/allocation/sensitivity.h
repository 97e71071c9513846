/* sensitivity.h - how much each group of a model's KV cache matters, measured by the probe `sensitivity` and kept in a store.
 * What the store has is not measured again; allocators and `kvant sensitivity` read it here. */
#ifndef KVANT_SENSITIVITY_H
#define KVANT_SENSITIVITY_H

#include "harness/allocation/allocator.h"
#include "harness/allocation/cache_group.h"
#include "harness/experiment/run.h"

/* What is asked. Caches have no sinks and no window; texts are windows of `length` tokens that `calibration_seed` draws from the
 * text's second half, so that what an experiment measures at its beginning is not seen. */
typedef struct {
    const char *model, *data;          /* as in a spec: names or paths; data is a text */
    kvcache_side key, value;           /* their parameter `bits` takes each candidate */
    const double *candidates;          /* [n_candidates] ascending values of `bits` */
    size_t n_candidates;
    allocation_weights weights;
    cache_groups groups;
    cache_sides sides;
    uint32_t n, length, calibration_seed;      /* windows; see SENSITIVITY_DEFAULTS */
    uint32_t seed;                     /* of the quantizers, with its rule */
    kvcache_seed_rule seed_rule;
    const char *isa;                   /* NULL: auto */
    const char *experiment;            /* what it is called in the store; NULL: "sensitivity-" and a hash of what is asked */
} sensitivity_request;

#define SENSITIVITY_DEFAULTS .n = 5, .length = 512, .calibration_seed = 42

/* What was found. Matrices are [n_groups][n_candidates]. Standard errors are over windows of text.
 *
 * kl          loss: mean KL divergence, in nats, of the model's next-token distribution with an f16 cache from the one with this
 *             group alone quantized; additive over groups as far as their effects are
 * distortion  loss: squared error of the group's vectors, per token
 * activation  weight: mean squared norm of the group's keys (of its values, where it has no keys); the loss is this weight times a
 *             curve D(b), which is not measured here */
typedef struct {
    char experiment[65];
    size_t n_groups, n_candidates;
    cache_group *group;                /* [n_groups] */
    double *size;                      /* [n_groups] coordinates per token */
    double *asked, *stored;            /* matrices: bits per coordinate */
    double *weight, *weight_se;        /* [n_groups]; NULL unless weights is activation */
    double *loss, *loss_se;            /* matrices; NULL when it is */
    probe_result *ratio;               /* [n_candidates], of activation the first only: the largest group mean over the smallest; NaN:
                                        * there is none */
} sensitivity;

/* Whether it can be measured at all, by the plan that is made of it: before a store is, say. */
kvant_status sensitivity_check(const sensitivity_request *request, kvant_error *err);

/* Reads what the store has and measures the rest. run NULL: measures nothing. KVANT_SKIP: a candidate does not suit the model;
 * KVANT_INVALID: the request is wrong (a quantizer without `bits`, a candidate out of range), or, with run NULL, the store
 * lacks cells: the text says how many of what, and the command that measures them. run_plan's statuses are passed on, and a run
 * that was stopped goes on with the same call. threads: for the estimate of time. */
kvant_status sensitivity_open(const sensitivity_request *request, store *s, int threads, const run_options *run, sensitivity *out,
                              kvant_error *err);
/* The groups with their sizes and bits, each of weight 1: for whoever wants no measurement. */
kvant_status sensitivity_of_nothing(const sensitivity_request *request, const kvcache_shape *shape, sensitivity *out, kvant_error *err);
void sensitivity_close(sensitivity *s);        /* {0} is allowed */

/* The side with its parameter `bits`, which it must have, at a candidate. */
kvcache_side sensitivity_side(const kvcache_side *side, double candidate);

#endif
