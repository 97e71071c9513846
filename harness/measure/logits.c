/* logits.c - distributions from rows of logits: see logits.h.
 * The probes that compare models' outputs over the whole vocabulary share it. */
#include "harness/measure/logits.h"

#include "harness/lm/vecmath.h"

#include <math.h>
#include <string.h>

logits_mass logits_mass_of(const float *x, size_t n)
{
    double moment;                 /* of exp(x - max) times x - max */
    const double max = vec_max(x, n), sum = vec_mass(x, n, max, &moment);
    return (logits_mass){ max + log(sum), log(sum) - moment / sum };
}

double logits_divergence(const float *p, logits_mass p_mass, const float *q, logits_mass q_mass, size_t n)
{
    return vec_divergence(p, p_mass.log_sum, q, q_mass.log_sum, n);
}

void logits_top(const float *x, size_t n, uint32_t *top, size_t k)
{
    size_t have = 0;
    for (size_t i = 0; i < n; i++) {
        if (have == k && !(x[i] > x[top[k - 1]]))
            continue;
        size_t at = have < k ? have++ : k - 1;
        for (; at > 0 && x[i] > x[top[at - 1]]; at--)
            top[at] = top[at - 1];
        top[at] = (uint32_t)i;
    }
}

/* Steps are one to one in the word, so that one difference never goes under; the turn brings what only moved high bits to the low ones
 * that the next product spreads. */
static uint64_t stir(uint64_t lane, uint64_t word)
{
    const uint64_t product = (lane ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return product << 29 | product >> 35;
}

/* Four lanes, since a product waits for the one before it. */
uint64_t logits_hash(const float *x, size_t n)
{
    enum { LANES = 4, STEP = LANES * sizeof(uint64_t) / sizeof(float) };
    uint64_t lane[LANES] = { 1, 2, 3, 4 }, word[LANES];
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        memcpy(word, x + i, sizeof word);
        for (int k = 0; k < LANES; k++)
            lane[k] = stir(lane[k], word[k]);
    }
    memset(word, 0, sizeof word);
    memcpy(word, x + i, (n - i) * sizeof *x);
    uint64_t hash = n;
    for (int k = 0; k < LANES; k++)
        hash = stir(hash, stir(lane[k], word[k]));
    return hash;
}

uint64_t logits_fold(uint64_t digest, uint64_t hash) { return stir(digest, hash); }

double logits_digest(uint64_t digest) { return (double)(stir(digest, 0) >> 11); }
