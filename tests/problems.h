/* problems.h - allocation problems for tests, with their memory, and allocators run on them by name.
 * Includes cmocka and what it needs. */
#ifndef KVANT_TESTS_PROBLEMS_H
#define KVANT_TESTS_PROBLEMS_H

#include "harness/allocation/allocator.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { GROUPS = 64, CANDIDATES = 8 };

/* A problem with its memory. Rows are n_candidates long. */
typedef struct {
    allocation_problem p;
    double candidates[CANDIDATES], asked[GROUPS * CANDIDATES], stored[GROUPS * CANDIDATES], loss[GROUPS * CANDIDATES];
    double curve[GROUPS * CANDIDATES], size[GROUPS], weight[GROUPS], alpha[GROUPS], beta[GROUPS];
    uint32_t layer[GROUPS];
    bool protect[GROUPS];
} problem;

/* Groups of one size and weight 1 on an exponential curve; stored = asked + half a bit. */
static inline void plain(problem *q, size_t n, size_t n_candidates, double first, double step)
{
    memset(q, 0, sizeof *q);
    for (size_t c = 0; c < n_candidates; c++)
        q->candidates[c] = first + step * (double)c;
    for (size_t i = 0; i < n; i++) {
        q->size[i] = 64;
        q->weight[i] = q->alpha[i] = 1;
        q->beta[i] = 3.5;
        q->layer[i] = (uint32_t)i;
        for (size_t c = 0; c < n_candidates; c++) {
            q->asked[i * n_candidates + c] = q->candidates[c];
            q->stored[i * n_candidates + c] = q->candidates[c] + .5;
            q->curve[i * n_candidates + c] = pow(3.5, -q->candidates[c]);
        }
    }
    q->p = (allocation_problem){ .n_groups = n, .n_candidates = n_candidates, .candidates = q->candidates, .asked = q->asked,
                                 .stored = q->stored, .size = q->size, .layer = q->layer, .loss = q->loss, .weight = q->weight,
                                 .curve = q->curve, .alpha = q->alpha, .beta = q->beta, .protect = q->protect };
}

/* loss = weight * curve: what is so where nothing but weights was measured. */
static inline void weighted_losses(problem *q)
{
    for (size_t k = 0; k < q->p.n_groups * q->p.n_candidates; k++)
        q->loss[k] = q->weight[k / q->p.n_candidates] * q->curve[k];
}

static inline allocation_result run(const char *name, const char *args, const problem *q, uint32_t *choice)
{
    kvant_error err = { "" };
    allocation_result result;
    const kvant_allocator *a = allocator_find(name, &err);
    if (!a)
        fail_msg("%s", err.text);
    kvant_args parsed = kvant_defaults(a->params);
    assert_int_equal(kvant_parse(a->params, args, &parsed, &err), KVANT_OK);
    if (allocator_run(a, &parsed, &q->p, choice, &result, &err))
        fail_msg("%s: %s", name, err.text);
    return result;
}

static inline void refused(const char *name, const problem *q, const char *why)
{
    kvant_error err = { "" };
    allocation_result result;
    uint32_t choice[GROUPS];
    const kvant_allocator *a = allocator_find(name, &err);
    const kvant_args args = kvant_defaults(a->params);
    assert_int_equal(allocator_run(a, &args, &q->p, choice, &result, &err), KVANT_INVALID);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
}

#endif
