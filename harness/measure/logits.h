/* logits.h - rows of logits as distributions over a vocabulary: mass, entropy, divergence, most likely tokens; and as bits: digests.
 * Sums are taken in double with exps in double: a divergence is as small as the square of what the rows differ by. */
#ifndef KVANT_LOGITS_H
#define KVANT_LOGITS_H

#include <stddef.h>
#include <stdint.h>

/* log_sum: the log of the sum of exp(x), so that log p = x - log_sum; entropy in nats. */
typedef struct { double log_sum, entropy; } logits_mass;
logits_mass logits_mass_of(const float *x, size_t n);

/* KL(p || q) in nats of rows p, q [n] and their masses; exactly 0 for equal rows. */
double logits_divergence(const float *p, logits_mass p_mass, const float *q, logits_mass q_mass, size_t n);

/* The k <= n most likely tokens, the likeliest first; of equal ones the lower id. */
void logits_top(const float *x, size_t n, uint32_t *top, size_t k);

/* A digest of rows: begun with 0, each row is hashed by itself (by any thread) and folded in, in an order that is always the same.
 * Rows that differ in a bit have different hashes but for one chance in 2^64; the cost is a small part of a row's exps. */
uint64_t logits_hash(const float *x, size_t n);
uint64_t logits_fold(uint64_t digest, uint64_t hash);
/* The sample of it: the 53 bits that a double holds exactly. */
double logits_digest(uint64_t digest);
/* For the table of a probe that stores it per chunk, with equal chunks for all cells; the view `identical` knows the name. */
#define LOGITS_DIGEST "logits_digest"
#define LOGITS_DIGEST_METRIC { LOGITS_DIGEST, "", "hash of all logits of a chunk that count; samples alone and no result: equal ones in " \
                               "different cells give away that a setting was not applied", 0, false }

#endif
