/* affine_avx512.c - affine's groups with AVX-512 (groups_avx512.h has the arithmetic and its bound), behind the scalar code's
 * rotations. Codes and decoded vectors have the scalar code's bits. Any width and scheme; dimension and group_size are multiples of
 * 32. */
#include "algorithms/shared/rotation.h"
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx512.h"

extern const kvant_quantizer quantizer_affine;

enum { STEP = 16 };                /* vectors that are rotated together */

/* The scalar code's state. */
typedef struct { affine_vector base; uint32_t rotation; float table[]; } affine;

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const affine *s = state;
    (void)first;
    if (s->rotation == ROTATION_NONE) {
        groups_ops_of[s->base.b].encode(&s->base, x, n, code);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        rotation_forward(s->rotation, s->base.d, s->table, x + done * s->base.d, step, scratch);
        groups_ops_of[s->base.b].encode(&s->base, scratch, step, code + done * affine_code_bytes(&s->base));
    }
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const affine *s = state;
    (void)first;
    if (s->rotation == ROTATION_NONE) {
        groups_ops_of[s->base.b].decode(&s->base, code, n, x);
        return;
    }
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        groups_ops_of[s->base.b].decode(&s->base, code + done * affine_code_bytes(&s->base), step, scratch);
        rotation_inverse(s->rotation, s->base.d, s->table, scratch, step, x + done * s->base.d);
    }
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = groups_score, f->ops.mix = groups_mix;
    return cpu_avx512() && groups_fit(shape->dim, (uint32_t)kvant_arg(&quantizer_affine, "group_size", args));
}

const kvant_kernel kernel_affine_avx512 = {
    .quantizer = "affine", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
