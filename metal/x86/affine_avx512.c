/* affine_avx512.c - affine's groups with AVX-512 (groups_avx512.h has the arithmetic and its bound), behind the scalar code's
 * rotations. Codes and decoded vectors have the scalar code's bits. Any width and scheme; dimension and group_size are multiples of
 * 32. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx512.h"

extern const kvant_quantizer quantizer_affine;

GROUPS_AFFINE_OPS(groups_ops_of)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx512() && groups_fit(shape->dim, (uint32_t)kvant_arg(&quantizer_affine, "group_size", args));
}

const kvant_kernel kernel_affine_avx512 = {
    .quantizer = "affine", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
