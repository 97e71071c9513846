/* direction.h - methods that code a vector's rotated direction and store its length: norms, and the encode op that splits them.
 * The other ops are those of rotated.h, whose state this one begins with. Lengths are taken before rotating, in double: neither
 * denormals nor the largest floats leave the range on the way. */
#ifndef KVANT_DIRECTION_H
#define KVANT_DIRECTION_H

#include "algorithms/shared/rotated.h"

typedef enum { NORM_F16, NORM_F32 } norm_format;

/* A parameter of this name, for a quantizer's table. */
#define NORM_PARAM(default_format) \
    { .name = "norm", .help = "format of the stored norm", .type = KVANT_CHOICE, .def = default_format, \
      .choices = (const char *const[]) { "f16", "f32", NULL } }

static inline uint32_t norm_bytes(norm_format format) { return format == NORM_F16 ? 2 : 4; }

/* At any address. Rounds to the format; beyond its range the largest finite number is stored, and NaN for what is not finite. */
void norm_store(norm_format format, double norm, uint8_t *code);
float norm_load(norm_format format, const uint8_t *code);

/* |x| of n floats; NaN when one is not finite. */
double norm_of(const float *x, size_t n);

/* One vector's code from its norm (0 or more, or NaN) and its rotated direction u [d]: x / |x|, or 0 where there is none because
 * the norm is 0 or NaN. Writes all of s.code bytes. `work` is what the method's plan has beyond rotated_plan's scratch. */
typedef void direction_encoder(const void *state, double norm, const float *u, uint8_t *code, void *work);

/* rotated_plan with scratch for direction_encode and `work` bytes. */
kvant_status direction_plan(const char *name, const rotated *s, double bits_asked, size_t work, kvant_plan *plan, kvant_error *err);
/* Norms [n] of x [n][d], and rotated directions y [n][d]; u [n][d] is work. */
void direction_rotate(const rotated *s, const float *x, size_t n, double *norm, float *u, float *y);
void direction_encode(const void *state, direction_encoder *encoder, const float *x, size_t n, uint8_t *code, void *scratch);

/* Defines encode, decode, score and mix. */
#define DIRECTION_OPS(encoder, decoder) \
    static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first; \
        direction_encode(state, encoder, x, n, code, scratch); \
    } \
    ROTATED_READING_OPS(decoder)

#endif
