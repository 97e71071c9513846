/* rotated.c - see rotated.h.
 * Vectors are rotated a few at a time, so that a row of a Haar matrix serves several of them. */
#include "algorithms/shared/rotated.h"
#include "algorithms/shared/vector.h"

#include <string.h>

enum { STEP = 16 };

kvant_status rotated_plan(const char *name, const rotated *s, double bits_asked, kvant_plan *plan, kvant_error *err)
{
    plan->state = s->bytes;
    plan->code = s->code;
    plan->query = s->d * sizeof(float);
    plan->acc = s->d;
    plan->scratch = STEP * s->d * sizeof(float);
    plan->bits_asked = bits_asked;
    return rotation_plan(name, s->rotation, s->d, plan, err);
}

kvant_status rotated_init(const rotated *s, uint32_t seed, void *state, kvant_error *err)
{
    memcpy(state, s, sizeof *s);
    return rotation_init(s->rotation, s->d, seed, (float *)(void *)((char *)state + s->bytes), err);
}

void rotated_parts(const rotated *s, void *state, kvant_parts *parts)
{
    memcpy(state, s, sizeof *s);
    rotation_parts(s->rotation, s->d, "", state, rotated_table(state), parts);
}

void rotated_encode(const void *state, rotated_encoder *encoder, const float *x, size_t n, uint8_t *code, void *scratch)
{
    const rotated *s = state;
    for (size_t done = 0, step; done < n; done += step, x += step * s->d) {
        const float *y = x;
        step = n - done < STEP ? n - done : STEP;
        if (s->rotation != ROTATION_NONE) {
            rotation_forward(s->rotation, s->d, rotated_table(s), x, step, scratch);
            y = scratch;
        }
        for (size_t i = 0; i < step; i++, code += s->code)
            encoder(state, y + i * s->d, code);
    }
}

void rotated_decode(const void *state, rotated_decoder *decoder, const uint8_t *code, size_t n, float *x, void *scratch)
{
    const rotated *s = state;
    for (size_t done = 0, step; done < n; done += step, x += step * s->d) {
        float *y = s->rotation == ROTATION_NONE ? x : scratch;
        step = n - done < STEP ? n - done : STEP;
        for (size_t i = 0; i < step; i++, code += s->code)
            decoder(state, code, y + i * s->d);
        if (s->rotation != ROTATION_NONE)
            rotation_inverse(s->rotation, s->d, rotated_table(s), y, step, x);
    }
}

void rotated_score(const void *state, rotated_decoder *decoder, const void *prepared, size_t nq, const uint8_t *code, size_t n,
                   float *dot, void *scratch)
{
    const rotated *s = state;
    const float *q = prepared;
    for (size_t v = 0; v < n; v++, code += s->code) {
        decoder(state, code, scratch);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = vector_dot(q + i * s->d, scratch, s->d);
    }
}

void rotated_mix(const void *state, rotated_decoder *decoder, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc,
                 void *scratch)
{
    const rotated *s = state;
    for (size_t v = 0; v < n; v++, code += s->code) {
        decoder(state, code, scratch);
        for (size_t i = 0; i < nq; i++)
            vector_add(acc + i * s->d, w[i * n + v], scratch, s->d);
    }
}

void rotated_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const rotated *s = state;
    (void)scratch;
    rotation_forward(s->rotation, s->d, rotated_table(s), q, nq, prepared);
}

void rotated_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const rotated *s = state;
    (void)scratch;
    rotation_inverse(s->rotation, s->d, rotated_table(s), acc, nq, out);
}
