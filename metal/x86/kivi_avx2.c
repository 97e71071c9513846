/* kivi_avx2.c - KIVI's groups along a token (values by default) with AVX2; groups_avx2.h has the arithmetic and its bound. Codes and
 * decoded vectors have the scalar code's bits. Dimension and group_size are multiples of 32; by channel scalar runs. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx2.h"

extern const kvant_quantizer quantizer_kivi;

GROUPS_PLAIN_OPS(groups_avx2_of)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return groups_kivi_by_token(&quantizer_kivi, shape, args) && cpu_avx2() && cpu_f16c() &&
           groups_fit(shape->dim, (uint32_t)kvant_arg(&quantizer_kivi, "group_size", args));
}

const kvant_kernel kernel_kivi_avx2 = {
    .quantizer = "kivi", .target = "avx2", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
