/* fp8.h - what the two OCP formats of eight bits share: a cast, after division by a scale that gives the vector the format's range.
 * A format is its largest number and two conversions. */
#ifndef KVANT_FP8_H
#define KVANT_FP8_H

#include "algorithms/shared/minifloat.h"
#include "algorithms/shared/rotated.h"

#include <stdbool.h>

typedef struct { rotated base; uint32_t scaled; } fp8_state;

/* `scale`: vector or none. */
extern const kvant_param fp8_params[];

kvant_status fp8_plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err);
kvant_status fp8_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err);
void fp8_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym);

/* Maps the largest finite magnitude of x [n] to `max`; 1 where that is zero, or so small that the scale would be. */
static inline float fp8_scale(const float *x, size_t n, float max)
{
    float scale = minifloat_largest(x, n) / max;
    return scale > 0 ? scale : 1;
}

/* One vector's code: the scale, if there is one, then a byte per coordinate. Inline, so that the conversions are. */
static inline void fp8_encode(const fp8_state *s, float max, uint8_t convert(float), const float *x, uint8_t *code)
{
    float scale = 1;
    if (s->scaled) {
        scale = fp8_scale(x, s->base.d, max);
        memcpy(code, &scale, sizeof scale);
        code += sizeof scale;
    }
    for (size_t j = 0; j < s->base.d; j++)
        code[j] = convert(x[j] / scale);
}

static inline void fp8_decode(const fp8_state *s, float convert(uint8_t), const uint8_t *code, float *x)
{
    float scale = 1;
    if (s->scaled) {
        memcpy(&scale, code, sizeof scale);
        code += sizeof scale;
    }
    for (size_t j = 0; j < s->base.d; j++)
        x[j] = scale * convert(code[j]);
}

#endif
