/* direction.c - see direction.h.
 * Directions are rotated a few at a time, so that a row of a Haar matrix serves several of them. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/half.h"

#include <float.h>
#include <math.h>

enum { STEP = 16 };

void norm_store(norm_format format, double norm, uint8_t *code)
{
    float single = !isfinite(norm) ? NAN : norm > FLT_MAX ? FLT_MAX : (float)norm;
    if (format == NORM_F16)
        half_store(code, float_to_half_finite(single));
    else
        memcpy(code, &single, sizeof single);
}

float norm_load(norm_format format, const uint8_t *code)
{
    float single;
    if (format == NORM_F16)
        return half_load(code);
    memcpy(&single, code, sizeof single);
    return single;
}

double norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)x[j] * (double)x[j];
    return isfinite(sum) ? sqrt(sum) : NAN;
}

/* In double too: 1 / norm may be beyond float's range. */
static void normalise(const float *x, double norm, size_t d, float *u)
{
    double inverse = norm > 0 ? 1 / norm : 0;
    for (size_t j = 0; j < d; j++)
        u[j] = inverse > 0 ? (float)(x[j] * inverse) : 0;
}

kvant_status direction_plan(const char *name, const rotated *s, double bits_asked, size_t work, kvant_plan *plan, kvant_error *err)
{
    kvant_status status = rotated_plan(name, s, bits_asked, plan, err);
    size_t directions = 2 * STEP * s->d * sizeof(float) + work;
    plan->scratch = plan->scratch > directions ? plan->scratch : directions;
    return status;
}

void direction_rotate(const rotated *s, const float *x, size_t n, double *norm, float *u, float *y)
{
    for (size_t i = 0; i < n; i++) {
        norm[i] = norm_of(x + i * s->d, s->d);
        normalise(x + i * s->d, norm[i], s->d, u + i * s->d);
    }
    rotation_forward(s->rotation, s->d, rotated_table(s), u, n, y);
}

void direction_encode(const void *state, direction_encoder *encoder, const float *x, size_t n, uint8_t *code, void *scratch)
{
    const rotated *s = state;
    float *u = scratch, *rotated_u = u + STEP * s->d;
    double norm[STEP];
    for (size_t done = 0, step; done < n; done += step, x += step * s->d) {
        step = n - done < STEP ? n - done : STEP;
        direction_rotate(s, x, step, norm, u, rotated_u);
        for (size_t i = 0; i < step; i++, code += s->code)
            encoder(state, norm[i], rotated_u + i * s->d, code, rotated_u + STEP * s->d);
    }
}
