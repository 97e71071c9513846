/* qjl_avx512.c - sign sketches sixteen vectors at a time, and scores and mixes of the signs by vpdpbusd on bytes.
 * Takes dimensions that are multiples of 8 and sketches of multiples of 32 signs; others, and streams of outliers, are the scalar
 * code's. Keys and values have layouts of their own, so values have no score and keys no mix but by decode. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/sketched_avx512.h"

UNITS_OPS(signs, 0, ((units_form) { .bits0 = 1 }), NULL)

extern const kvant_quantizer quantizer_qjl;

static uint32_t arg(const kvant_args *args, const char *name) { return (uint32_t)kvant_arg(&quantizer_qjl, name, args); }

/* The least error that so many signs leave is that of orthogonal rows. */
static sketched sketched_of(const kvant_shape *shape, const kvant_args *args)
{
    const uint32_t m = arg(args, "m");
    sketched s = { .rotation = ROTATION_NONE, .dim = shape->dim, .m = m ? m : 2 * shape->dim, .norm = norm_bytes(arg(args, "norm")),
                   .gamma = 1 };
    s.own = (M_PI_2 - 1) * s.dim / s.m;
    return s;
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    static const kvant_ops keys = { .encode = encode_keys_signs, .decode = decode_keys_signs, .query = query, .score = score_signs },
        values = { .encode = encode_values_signs, .decode = decode_values_signs, .mix = mix_signs, .finish = finish };
    const sketched s = sketched_of(shape, args);
    if (!cpu_avx512() || arg(args, "outlier_channels") || !sketched_fits(&s))
        return false;
    f->ops = shape->side == KVANT_VALUE ? values : keys;
    sketched_form(&s, f);
    return true;
}

static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    const sketched s = sketched_of(shape, args);
    sketched_derive(&s, state, parts, derived);
}

/* products: S q may be off by e = .0147 |S q| (UNITS_QUERY), so that a score is by sqrt(pi/2) / m |k| sqrt(m) e. With Gaussian rows
 * |S q| is (sqrt(m) + sqrt(d)) |q| at most, and k^ has |k| sqrt(1 + pi/2 d/m): off by .0147 sqrt(pi/2) sqrt(1 + 2/pi) = .0236 of |q|
 * |k^| where that is the most, at d/m = 4 / pi^2; orthogonal rows have less. Lengths vary around these by 1 / sqrt(m). Of a mix the
 * weights' rounding is bounded on average only: by 1 % of the squared error, which checkkernels measures. */
const kvant_kernel kernel_qjl_avx512 = {
    .quantizer = "qjl", .target = "avx512", .form = form, .derive = derive, .codes = true,
    .distance = 2e-5, .products = .03,
    .reason = "decode: fused products with the sketch. Scores and mixes: sketched queries and weights as bytes"
};
