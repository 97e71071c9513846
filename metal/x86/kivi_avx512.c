/* kivi_avx512.c - KIVI's groups along a token (values by default) with AVX-512; groups_avx512.h has the arithmetic and its bound.
 * Codes and decoded vectors have the scalar code's bits. Dimension and group_size are multiples of 32; by channel scalar runs. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx512.h"

extern const kvant_quantizer quantizer_kivi;

GROUPS_PLAIN_OPS(groups_ops_of)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx512() && groups_of_kivi(&quantizer_kivi, shape, args);
}

const kvant_kernel kernel_kivi_avx512 = {
    .quantizer = "kivi", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
