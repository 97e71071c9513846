/* logits.c - distributions from rows of logits: see logits.h.
 * The probes that compare models' outputs over the whole vocabulary share it. */
#include "harness/measure/logits.h"

#include "harness/lm/vecmath.h"

#include <math.h>

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
