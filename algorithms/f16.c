/* f16.c - a cast to IEEE binary16, the format that caches have today. Idea: the reference of every experiment on a model.
 * Cost: 16 bits per coordinate, no arithmetic. Where it loses: range; |x| >= 65520 becomes infinity, |x| <= 2^-25 zero.
 *
 * Rounding is to nearest, ties to even, subnormals are kept, NaN stays NaN: the bits of the F16C and NEON instructions. */
#include "algorithms/shared/half.h"
#include "harness/kvant.h"

typedef struct { uint32_t d; } f16_state;

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    (void)args, (void)err;
    plan->state = sizeof(f16_state);
    plan->code = shape->dim * sizeof(uint16_t);
    plan->query = shape->dim * sizeof(float);
    plan->acc = shape->dim;
    plan->bits_asked = 16;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)args, (void)err;
    ((f16_state *)state)->d = shape->dim;
    return KVANT_OK;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    uint16_t *half = (uint16_t *)(void *)code;
    (void)first, (void)scratch;
    for (size_t i = 0; i < n * d; i++)
        half[i] = float_to_half(x[i]);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    const uint16_t *half = (const uint16_t *)(const void *)code;
    (void)first, (void)scratch;
    for (size_t i = 0; i < n * d; i++)
        x[i] = half_to_float(half[i]);
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    (void)scratch;
    memcpy(prepared, q, nq * d * sizeof *q);
}

/* In eight sums, like vector_dot, but converting in the same pass. */
static float dot_half(const float *q, const uint16_t *half, size_t d)
{
    float sum[8] = { 0 };
    size_t i = 0;
    for (; i + 8 <= d; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += q[i + lane] * half_to_float(half[i + lane]);
    for (; i < d; i++)
        sum[i % 8] += q[i] * half_to_float(half[i]);
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    const uint16_t *half = (const uint16_t *)(const void *)code;
    const float *q = prepared;
    (void)first, (void)scratch;
    for (size_t i = 0; i < nq; i++)
        for (size_t j = 0; j < n; j++)
            dot[i * n + j] = dot_half(q + i * d, half + j * d, d);
}

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    const uint16_t *half = (const uint16_t *)(const void *)code;
    (void)first, (void)scratch;
    for (size_t i = 0; i < nq; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < d; k++)
                acc[i * d + k] += w[i * n + j] * half_to_float(half[j * d + k]);
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    size_t d = ((const f16_state *)state)->d;
    (void)scratch;
    memcpy(out, acc, nq * d * sizeof *out);
}

static const kvant_param params[] = { { .name = NULL } };

static const kvant_oracle oracles[] = {
    /* Sum over all halves h of the integral of (x - h)^2 over the numbers that round to h. */
    { "gaussian", 128, "", "nmse", 4.314255e-8, 1e-13, "closed form: the density N(0,1) over all rounding intervals" },
    { "gaussian", 128, "", "ip_slope", 1, 1e-6, "rounding to nearest has no bias" },
    { .input = NULL }
};

const kvant_quantizer quantizer_f16 = {
    .name = "f16", .summary = "a cast to half precision", .source = "IEEE 754 binary16", .params = params, .oracles = oracles,
    .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish }
};
