/* training.c - see training.h.
 * Apart from k-means, which sees cut and scaled vectors and could not say where they come from. */
#include "algorithms/shared/training.h"

#include <math.h>

kvant_status training_finite(const char *name, const float *x, size_t n, size_t d, kvant_error *err)
{
    for (size_t i = 0; i < n * d; i++)
        if (!isfinite(x[i]))
            return kvant_fail(err, KVANT_INVALID, "%s: training vector %zu, coordinate %zu is not finite; leave such vectors out", name,
                              i / d, i % d);
    return KVANT_OK;
}
