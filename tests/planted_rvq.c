/* planted_rvq.c - rvq with a published bug (planted.h): Laplacian scales in proportion to 4^-b where the residual's deviation belongs.
 * As published_0_3 it is a method of its own; under another's name it is a bug. */
#include "tests/planted.h"

#define quantizer_rvq planted_right_rvq
#include "algorithms/rvq.c"

static kvant_status planted_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    kvant_args bound = *args;
    if (planted == PLANTED_SCALE_BY_BOUND)
        bound.v[STAGE2] = PUBLISHED_0_3;
    return split_init(shape, &bound, state, err);
}

const kvant_quantizer planted_rvq = {
    .name = "rvq", .summary = "planted", .source = "a test", .params = params, .oracles = oracles, .plan = split_plan,
    .init = planted_init, .train = split_train, .parts = split_parts, .ops = { SPLIT_OPS, .symbols = split_symbols }
};
