/* logits.h - rows of logits as distributions over a vocabulary: mass, entropy, divergence, most likely tokens.
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

#endif
