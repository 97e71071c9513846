/* kivi_avx512.c - KIVI's groups along a token (values by default) with AVX-512; groups_avx512.h has the arithmetic and its bound.
 * Codes and decoded vectors have the scalar code's bits. Dimension and group_size are multiples of 32; by channel scalar runs. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx512.h"

extern const kvant_quantizer quantizer_kivi;

enum { AXIS_AUTO, AXIS_CHANNEL, AXIS_TOKEN };

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const affine_vector *s = state;
    (void)first, (void)scratch;
    groups_ops_of[s->b].encode(s, x, n, code);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const affine_vector *s = state;
    (void)first, (void)scratch;
    groups_ops_of[s->b].decode(s, code, n, x);
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const int axis = (int)kvant_arg(&quantizer_kivi, "axis", args);
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = groups_score, f->ops.mix = groups_mix;
    return cpu_avx512() && axis != AXIS_CHANNEL && (axis == AXIS_TOKEN || shape->side != KVANT_KEY) &&
           groups_fit(shape->dim, (uint32_t)kvant_arg(&quantizer_kivi, "group_size", args));
}

const kvant_kernel kernel_kivi_avx512 = {
    .quantizer = "kivi", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
