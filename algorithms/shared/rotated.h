/* rotated.h - the ops of a method that codes each vector by itself, after a rotation or without one.
 * The method says how one rotated vector becomes bytes and comes back; scores and mixes stay in the rotated domain, where the
 * query goes once and from where the output comes back once. A vector whose norm is beyond float's range rotates to infinities. */
#ifndef KVANT_ROTATED_H
#define KVANT_ROTATED_H

#include "algorithms/shared/rotation.h"

/* First member of the method's state. `bytes` is sizeof the state, which the rotation's table follows. `outliers` is 0 but in the
 * state of two streams (streams.h), which begins with a `rotated` too. */
typedef struct { uint32_t d, code, bytes, rotation, outliers; } rotated;

/* The rotation's table in a whole state. */
static inline const float *rotated_table(const rotated *s) { return (const float *)(const void *)((const char *)s + s->bytes); }

/* One vector's code, s.code bytes, from its d rotated coordinates, and back. `state` is the method's whole state. */
typedef void rotated_encoder(const void *state, const float *y, uint8_t *code);
typedef void rotated_decoder(const void *state, const uint8_t *code, float *y);

/* Every field of *s is set; `name` is the quantizer's. init copies *s to the state's beginning; the method sets the rest. */
kvant_status rotated_plan(const char *name, const rotated *s, double bits_asked, kvant_plan *plan, kvant_error *err);
kvant_status rotated_init(const rotated *s, uint32_t seed, void *state, kvant_error *err);

/* For parts(): copies *s to the state's beginning and lists the rotation. The method sets and lists the rest. */
void rotated_parts(const rotated *s, void *state, kvant_parts *parts);

void rotated_encode(const void *state, rotated_encoder *encoder, const float *x, size_t n, uint8_t *code, void *scratch);
void rotated_decode(const void *state, rotated_decoder *decoder, const uint8_t *code, size_t n, float *x, void *scratch);
void rotated_score(const void *state, rotated_decoder *decoder, const void *prepared, size_t nq, const uint8_t *code, size_t n,
                   float *dot, void *scratch);
void rotated_mix(const void *state, rotated_decoder *decoder, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc,
                 void *scratch);
/* Ops as they are. */
void rotated_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch);
void rotated_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch);

/* Defines encode, decode, score and mix, which an op must be to know its method. */
#define ROTATED_OPS(encoder, decoder) \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first; \
        rotated_encode(state, encoder, x, n, code, scratch); \
    } \
    ROTATED_READING_OPS(decoder)

/* All but encode. */
#define ROTATED_READING_OPS(decoder) \
    static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first; \
        rotated_decode(state, decoder, code, n, x, scratch); \
    } \
    static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot, \
                      void *scratch) \
    { \
        (void)first; \
        rotated_score(state, decoder, prepared, nq, code, n, dot, scratch); \
    } \
    static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                    void *scratch) \
    { \
        (void)first; \
        rotated_mix(state, decoder, w, nq, code, n, acc, scratch); \
    }

#endif
