/* attention_problem.h - attention of one head over a cache, by both paths, against attention in double over forms chosen by the rule
 * that the cache states: what several tests of policies share. */
#ifndef KVANT_TESTS_ATTENTION_PROBLEM_H
#define KVANT_TESTS_ATTENTION_PROBLEM_H

#include "harness/lm/kvcache.h"

/* Tokens of a problem, and queries that share a KV head. */
enum { PROBLEM_TOKENS = 200, PROBLEM_GROUP = 3 };

/* Fails unless decode token by token, and prefill in pieces of several sizes, are within the derived bound of the solution; where
 * decode steps do not read codes, unless decode is so behind a prefill too, which then has pieces of one size, for it does not differ.
 * dim <= 128, sliding: of the layer, 0 for none; cap: of scores, 0 for none. */
void problem_check_layer(const kvcache_policy *policy, uint32_t dim, uint32_t sliding, float cap);
/* A layer with full attention, and one with a sliding window and capped scores. */
void problem_check_policy(const kvcache_policy *policy, uint32_t dim);

/* n values between -3 scale and 3 scale. */
void problem_fill(float *x, size_t n, float scale, uint64_t *state);

/* A quantizer with its parameters, which must be there. */
kvcache_side problem_side(const char *name, const char *args);

/* nvfp4 that learns its second scale from the sequence's first vectors, for heads of 64: the quantizer that *side has to point at. */
enum { PROBLEM_LEARNS = 40 };
kvant_quantizer problem_learner(kvcache_side *side);

#endif
