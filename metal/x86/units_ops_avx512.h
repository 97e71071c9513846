/* units_ops_avx512.h - the ops of a kernel whose codes are units_avx512.h's, defined for a width at a time from what its file has.
 * Each op is compiled for its own width and side. For files *_avx512.c only. */
#ifndef KVANT_UNITS_OPS_AVX512_H
#define KVANT_UNITS_OPS_AVX512_H

#include "metal/x86/units_avx512.h"

/* Of a width called `tag`, from the file's own encode and decode, which take a state `tables` with a `units` in it, `width`, a
 * constant that they know what to do with, and whether the layout is that of values. `words` are its centroids where they are
 * words, or NULL: an expression of t. */
#define UNITS_OPS(tag, width, form, words) \
    static void encode_keys_##tag(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        encode(state, width, false, x, first, n, code, scratch); \
    } \
    static void encode_values_##tag(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        encode(state, width, true, x, first, n, code, scratch); \
    } \
    static void decode_keys_##tag(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        decode(state, width, false, code, first, n, x, scratch); \
    } \
    static void decode_values_##tag(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        decode(state, width, true, code, first, n, x, scratch); \
    } \
    static void score_##tag(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, \
                            float *dot, void *scratch) \
    { \
        const tables *t = state; \
        (void)scratch; \
        units_score(&t->units, form, words, prepared, nq, code, first, n, dot); \
    } \
    static void mix_##tag(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                          void *scratch) \
    { \
        const tables *t = state; \
        (void)scratch; \
        units_mix(&t->units, form, words, w, nq, code, first, n, acc); \
    }

/* The same of the file's own `symbols`. */
#define UNITS_SYMBOLS(tag, width) \
    static void symbols_keys_##tag(const void *state, const uint8_t *code, size_t n, uint16_t *sym) \
    { \
        symbols(state, width, false, code, n, sym); \
    } \
    static void symbols_values_##tag(const void *state, const uint8_t *code, size_t n, uint16_t *sym) \
    { \
        symbols(state, width, true, code, n, sym); \
    }

/* Of methods that code one rotated vector in one part: symbols, query and finish, of a state that has a `rotation`, too, and a
 * function table_of for its table. words: whether queries are words, an expression of t. */
#define UNITS_ROTATED_OPS(words) \
    LANES_INLINE void symbols(const tables *t, unsigned b, bool values, const uint8_t *code, size_t n, uint16_t *sym) \
    { \
        memset(sym, 0, n * t->rotation.dim * sizeof *sym); \
        units_symbols(&t->units, &t->units.part[0], b, values, code, n, sym); \
    } \
    static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch) \
    { \
        const tables *t = state; \
        units_query(&t->units, &t->rotation, table_of(t), words, q, nq, prepared, scratch); \
    } \
    static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch) \
    { \
        const tables *t = state; \
        lanes_rotate(&t->rotation, table_of(t), true, acc, nq, out, scratch); \
    }

/* What the sides have; query and finish are the file's own. */
#define UNITS_KEYS(tag) \
    { .encode = encode_keys_##tag, .decode = decode_keys_##tag, .query = query, .score = score_##tag, .symbols = symbols_keys_##tag }
#define UNITS_VALUES(tag) \
    { .encode = encode_values_##tag, .decode = decode_values_##tag, .mix = mix_##tag, .finish = finish, \
      .symbols = symbols_values_##tag }

#endif
