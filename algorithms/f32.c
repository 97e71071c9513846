/* f32.c - no quantization: 32-bit floats as they are. Idea: the ceiling of every table and the zero of every error.
 * Cost: 32 bits per coordinate. Where it loses: memory; a cache in f16 is half the size and no measure can tell them apart. */
#include "algorithms/shared/vector.h"
#include "harness/kvant.h"

#include <string.h>

typedef struct { uint32_t d; } f32_state;

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    plan->state = sizeof(f32_state);
    plan->code = plan->query = shape->dim * sizeof(float);
    plan->acc = shape->dim;
    plan->bits_asked = 32;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)args, (void)err;
    ((f32_state *)state)->d = shape->dim;
    return KVANT_OK;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    (void)first, (void)scratch;
    memcpy(code, x, n * d * sizeof *x);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    (void)first, (void)scratch;
    memcpy(x, code, n * d * sizeof *x);
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    (void)scratch;
    memcpy(prepared, q, nq * d * sizeof *q);
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    const float *q = prepared, *x = (const float *)(const void *)code;
    (void)first, (void)scratch;
    for (size_t i = 0; i < nq; i++)
        for (size_t j = 0; j < n; j++)
            dot[i * n + j] = vector_dot(q + i * d, x + j * d, d);
}

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    const float *x = (const float *)(const void *)code;
    (void)first, (void)scratch;
    for (size_t i = 0; i < nq; i++)
        for (size_t j = 0; j < n; j++)
            vector_add(acc + i * d, w[i * n + j], x + j * d, d);
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    size_t d = ((const f32_state *)state)->d;
    (void)scratch;
    memcpy(out, acc, nq * d * sizeof *out);
}

static const kvant_param params[] = { { .name = NULL } };

static const kvant_oracle oracles[] = {
    { "gaussian", 128, "", "nmse", 0, 0, "the identity" },
    { "gaussian", 128, "", "ip_slope", 1, 1e-6, "the identity; rounding of the inner products" },
    { .input = NULL }
};

const kvant_quantizer quantizer_f32 = {
    .name = "f32", .summary = "no quantization, 32-bit floats", .source = "IEEE 754 binary32", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish }
};
