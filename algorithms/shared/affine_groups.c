/* affine_groups.c - see affine_groups.h.
 * Scores and mixes work on codes: scale and zero are applied once per group, not once per coordinate. */
#include "algorithms/shared/affine_groups.h"
#include "algorithms/shared/bits.h"

#include <math.h>

/* Of all groups of a vector. */
static size_t heads_bytes(const affine_vector *s)
{
    return s->groups * (s->scheme == AFFINE_SYMMETRIC ? sizeof(uint16_t) : sizeof(affine_head));
}

size_t affine_code_bytes(const affine_vector *s) { return heads_bytes(s) + bits_bytes((size_t)s->d, s->b); }

static float largest_level(uint32_t b) { return (float)((1u << (b - 1)) - 1); }

/* The product is exact: 11 bits of a half by 7. */
affine_grid affine_symmetric_grid(uint16_t scale, uint32_t b)
{
    return (affine_grid) { half_to_float(scale), -half_to_float(scale) * largest_level(b) };
}

static affine_grid grid_at(const affine_vector *s, const uint8_t *code, size_t group)
{
    uint16_t scale;
    if (s->scheme != AFFINE_SYMMETRIC)
        return affine_grid_at(code, group);
    memcpy(&scale, code + group * sizeof scale, sizeof scale);
    return affine_symmetric_grid(scale, s->b);
}

affine_vector affine_vector_of(uint32_t d, uint32_t b, uint32_t g, affine_scheme scheme)
{
    return (affine_vector) { d, b, g, d / g, scheme };
}

kvant_status affine_plan(const char *name, const affine_vector *s, kvant_plan *plan, kvant_error *err)
{
    if (s->d % s->g)
        return kvant_fail(err, KVANT_SKIP, "%s: dim %u is not a multiple of group_size %u", name, s->d, s->g);
    plan->code = affine_code_bytes(s);
    plan->query = (s->d + s->groups) * sizeof(float);    /* the query and its sum over each group */
    plan->acc = s->d + s->groups;                        /* sums of w * scale * code, and of w * zero per group */
    plan->scratch = s->d;                                /* unpacked codes */
    plan->bits_asked = s->b;
    return KVANT_OK;
}

/* ---- Encoding ---------------------------------------------------------------------------------- */

/* In double: the difference of two floats may be no float. */
static float step_of(float min, float max, float levels) { return (float)(((double)max - min) / levels); }

static affine_grid grid_minmax(float min, float max, float levels) { return (affine_grid) { step_of(min, max, levels), min }; }

static affine_grid grid_mlx(float min, float max, float levels)
{
    bool negative = fabsf(min) > fabsf(max);             /* the edge of larger magnitude gets code 0, whichever it is */
    float e = negative ? min : max, s = negative ? step_of(min, max, levels) : -step_of(min, max, levels);
    if (s == 0)
        return (affine_grid) { 0, e };
    float q0 = rintf(e / s);
    return q0 != 0 ? (affine_grid) { e / q0, e } : (affine_grid) { s, 0 };
}

/* Nearest code by the rounding of an addition (ties to even), after the clamp that keeps it exact; no branch, no call. */
static void quantize_group(const float *x, size_t g, affine_grid grid, float levels, uint8_t *codes)
{
    const float shift = 0x1.8p23f;
    float divisor = grid.scale != 0 ? grid.scale : INFINITY;
    for (size_t i = 0; i < g; i++) {
        float q = (x[i] - grid.zero) / divisor;
        q = q > 0 ? q : 0;
        q = q < levels ? q : levels;
        codes[i] = (uint8_t)(int32_t)((q + shift) - shift);
    }
}

affine_head affine_head_of(affine_scheme scheme, uint32_t b, float min, float max)
{
    float levels = (float)((1u << b) - 1);
    affine_grid grid = scheme == AFFINE_MLX ? grid_mlx(min, max, levels) : grid_minmax(min, max, levels);
    return (affine_head) { float_to_half_finite(grid.scale), float_to_half_finite(grid.zero) };
}

uint16_t affine_symmetric_scale(uint32_t b, float largest) { return float_to_half_finite(largest / largest_level(b)); }

affine_head affine_encode_group(affine_scheme scheme, uint32_t b, const float *x, size_t n, uint8_t *codes)
{
    float min = x[0], max = x[0], levels = (float)((1u << b) - 1), finite = 0;
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        finite += x[i] * 0;                              /* NaN as soon as one is not finite */
    }
    if (finite != 0) {
        memset(codes, 0, n);
        return (affine_head) { 0x7e00, 0x7e00 };
    }
    affine_head head = affine_head_of(scheme, b, min, max);
    quantize_group(x, n, (affine_grid) { half_to_float(head.scale), half_to_float(head.zero) }, levels, codes);
    return head;
}

/* A tie goes to the even code, and as L is odd that is away from 0 on both sides. Returns the scale. */
static uint16_t encode_symmetric(uint32_t b, const float *x, size_t n, uint8_t *codes)
{
    float largest = 0, finite = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        finite += x[i] * 0;
    }
    if (finite != 0) {
        memset(codes, 0, n);
        return 0x7e00;
    }
    uint16_t scale = affine_symmetric_scale(b, largest);
    quantize_group(x, n, affine_symmetric_grid(scale, b), 2 * largest_level(b), codes);
    return scale;
}

void affine_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const affine_vector *s = state;
    size_t bytes = affine_code_bytes(s);
    uint8_t *codes = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, x += s->d, code += bytes) {
        for (size_t i = 0; i < s->groups; i++) {
            if (s->scheme == AFFINE_SYMMETRIC) {
                uint16_t scale = encode_symmetric(s->b, x + i * s->g, s->g, codes + i * s->g);
                memcpy(code + i * sizeof scale, &scale, sizeof scale);
            } else {
                affine_head head = affine_encode_group(s->scheme, s->b, x + i * s->g, s->g, codes + i * s->g);
                memcpy(code + i * sizeof head, &head, sizeof head);
            }
        }
        bits_pack(code + heads_bytes(s), codes, s->d, s->b);
    }
}

/* ---- Decoding ---------------------------------------------------------------------------------- */

/* Unpacks a vector's codes into scratch and returns them. */
static const uint8_t *unpacked(const affine_vector *s, const uint8_t *code, void *scratch)
{
    bits_unpack(scratch, code + heads_bytes(s), s->d, s->b);
    return scratch;
}

void affine_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const affine_vector *s = state;
    size_t bytes = affine_code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        for (size_t i = 0; i < s->groups; i++, codes += s->g, x += s->g) {
            affine_grid grid = grid_at(s, code, i);
            for (size_t k = 0; k < s->g; k++)
                x[k] = grid.scale * codes[k] + grid.zero;
        }
    }
}

/* ---- Scoring: <q, x> = sum over groups of scale <q, code> + zero * sum(q) ------------------------ */

void affine_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const affine_vector *s = state;
    float *out = prepared;
    (void)scratch;
    for (size_t i = 0; i < nq; i++, q += s->d, out += s->d + s->groups) {
        memcpy(out, q, s->d * sizeof *q);
        for (size_t j = 0; j < s->groups; j++) {
            double sum = 0;
            for (size_t k = 0; k < s->g; k++)
                sum += q[j * s->g + k];
            out[s->d + j] = (float)sum;
        }
    }
}

float affine_dot(const float *q, const uint8_t *codes, size_t n)
{
    float sum[8] = { 0 };
    size_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += q[k + lane] * codes[k + lane];
    for (; k < n; k++)
        sum[k % 8] += q[k] * codes[k];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

void affine_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const affine_vector *s = state;
    size_t bytes = affine_code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        const float *q = prepared;
        for (size_t i = 0; i < nq; i++, q += s->d + s->groups) {
            float sum = 0;
            for (size_t j = 0; j < s->groups; j++) {
                affine_grid grid = grid_at(s, code, j);
                sum += grid.scale * affine_dot(q + j * s->g, codes + j * s->g, s->g) + grid.zero * q[s->d + j];
            }
            dot[i * n + v] = sum;
        }
    }
}

/* ---- Mixing: the zeros of a group are summed once for all its coordinates ------------------------ */

void affine_mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const affine_vector *s = state;
    size_t bytes = affine_code_bytes(s);
    (void)first;
    for (size_t v = 0; v < n; v++, code += bytes) {
        const uint8_t *codes = unpacked(s, code, scratch);
        for (size_t i = 0; i < nq; i++) {
            float *sum = acc + i * (s->d + s->groups), weight = w[i * n + v];
            for (size_t j = 0; j < s->groups; j++) {
                affine_grid grid = grid_at(s, code, j);
                float scaled = weight * grid.scale;
                for (size_t k = j * s->g; k < (j + 1) * s->g; k++)
                    sum[k] += scaled * codes[k];
                sum[s->d + j] += weight * grid.zero;
            }
        }
    }
}

void affine_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const affine_vector *s = state;
    (void)scratch;
    for (size_t i = 0; i < nq; i++, acc += s->d + s->groups, out += s->d)
        for (size_t k = 0; k < s->d; k++)
            out[k] = acc[k] + acc[s->d + k / s->g];
}

void affine_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const affine_vector *s = state;
    for (size_t v = 0; v < n; v++, code += affine_code_bytes(s), sym += s->d)
        bits_unpack16(sym, code + heads_bytes(s), s->d, s->b);
}
