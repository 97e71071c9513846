/* block.c - see block.h.
 * What is left when one block's method is known: sizes, the rotation, and blocks in their order. */
#include "algorithms/shared/block.h"

enum { ROTATION };

const kvant_param block_params[] = { [ROTATION] = ROTATION_PARAM(ROTATION_NONE), { .name = NULL } };

static rotated state_of(const block_format *f, const kvant_shape *shape, const kvant_args *args)
{
    return (rotated) { .d = shape->dim, .code = shape->dim / BLOCK * f->bytes, .bytes = sizeof(rotated),
                       .rotation = (uint32_t)args->v[ROTATION] };
}

kvant_status block_plan(const block_format *f, const kvant_shape *shape, const kvant_args *args, kvant_plan *plan,
                        kvant_error *err)
{
    rotated s = state_of(f, shape, args);
    if (s.d % BLOCK)
        return kvant_fail(err, KVANT_SKIP, "%s: dim %u is not a multiple of %d, the size of its blocks", f->name, s.d, BLOCK);
    return rotated_plan(f->name, &s, f->bits_asked, plan, err);
}

kvant_status block_init(const block_format *f, const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    rotated s = state_of(f, shape, args);
    return rotated_init(&s, shape->seed, state, err);
}

void block_parts(const block_format *f, const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts)
{
    rotated s = state_of(f, shape, args);
    rotated_parts(&s, state, parts);
}

void block_symbols(const block_format *f, const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    uint8_t codes[BLOCK];
    for (size_t i = 0; i < n * ((const rotated *)state)->d; i += BLOCK, code += f->bytes) {
        f->codes(code, codes);
        for (size_t k = 0; k < BLOCK; k++)
            sym[i + k] = codes[k];
    }
}
