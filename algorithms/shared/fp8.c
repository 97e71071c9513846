/* fp8.c - see fp8.h.
 * The scale is a whole float: it costs 32 bits a vector and takes every finite vector as it is, however large or small. */
#include "algorithms/shared/fp8.h"

enum { SCALE };
enum { SCALE_VECTOR, SCALE_NONE };

const kvant_param fp8_params[] = {
    [SCALE] = { .name = "scale", .help = "vector: a float per vector, its largest magnitude over the format's; none: a cast alone",
                .type = KVANT_CHOICE, .def = SCALE_VECTOR, .choices = (const char *const[]) { "vector", "none", NULL } },
    { .name = NULL }
};

static fp8_state state_of(const kvant_shape *shape, const kvant_args *args)
{
    bool scaled = args->v[SCALE] == SCALE_VECTOR;
    uint32_t code = shape->dim + (scaled ? (uint32_t)sizeof(float) : 0);
    return (fp8_state) { { .d = shape->dim, .code = code, .bytes = sizeof(fp8_state), .rotation = ROTATION_NONE }, scaled };
}

kvant_status fp8_plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    fp8_state s = state_of(shape, args);
    return rotated_plan("fp8", &s.base, 8, plan, err);
}

kvant_status fp8_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    fp8_state s = state_of(shape, args);
    ((fp8_state *)state)->scaled = s.scaled;
    return rotated_init(&s.base, shape->seed, state, err);
}

void fp8_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const fp8_state *s = state;
    for (size_t v = 0; v < n; v++, code += s->base.code, sym += s->base.d)
        for (size_t j = 0; j < s->base.d; j++)
            sym[j] = code[s->base.code - s->base.d + j];
}
