/* turboquant_prod_avx512.c - first stage and sketch sixteen vectors at a time, and scores and mixes of both by vpdpbusd on bytes.
 * Takes 1 to 5 bits, sketches of multiples of 32 signs, and dimensions that are multiples of 32, up to 512 (at 1 bit of 8, of any
 * length). Many signs leave so little error that centroids as bytes would be much of it: those, and streams of outliers, are the
 * scalar code's. Keys and values have layouts of their own, so values have no score and keys no mix but by decode. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/sketched_avx512.h"

/* ---- The ops, for every width of the first stage ------------------------------------------------------- */

UNITS_OPS(0, 0, ((units_form) { .bits0 = 1 }), NULL)
#define WIDTH(b) UNITS_OPS(b, b, ((units_form) { .bits0 = b, .bits1 = 1, .second1 = t->form.second }), NULL)
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
#define SIDES(b) \
    { .encode = encode_keys_##b, .decode = decode_keys_##b, .query = query, .score = score_##b }, \
    { .encode = encode_values_##b, .decode = decode_values_##b, .mix = mix_##b, .finish = finish }

/* The least error that a dimension of at least 64 has after the first stage. most: signs per coordinate (0: any number) that leave
 * enough of it for centroids as bytes, which add about 1.2e-5, 2.4e-5 and 3.9e-5 at 2, 3 and 4 bits; signs and 1 bit are exact. */
static const struct { kvant_ops keys, values; double error; uint32_t most; } widths[] = {
    { SIDES(0), 1, 0 }, { SIDES(1), .3583, 0 }, { SIDES(2), .1145, 16 }, { SIDES(3), .0333, 2 }, { SIDES(4), .0092, 1 }
};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* ---- What it is ----------------------------------------------------------------------------------------- */

extern const kvant_quantizer quantizer_turboquant_prod;

static uint32_t arg(const kvant_args *args, const char *name)
{
    return (uint32_t)kvant_arg(&quantizer_turboquant_prod, name, args);
}

/* But for gamma and own. At 1 bit the residual is the direction itself, and its norm is not stored. */
static sketched sketched_of(const kvant_shape *shape, const kvant_args *args)
{
    const uint32_t m = arg(args, "m"), first = arg(args, "bits") - 1;
    return (sketched) { .first = first, .rotation = arg(args, "rotation"), .dim = shape->dim, .m = m ? m : shape->dim,
                        .norm = norm_bytes(arg(args, "norm")), .second = first && arg(args, "residual_norm") == 0 };
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const sketched s = sketched_of(shape, args);
    if (!cpu_avx512() || arg(args, "outlier_channels") || s.first >= WIDTHS || !sketched_fits(&s))
        return false;
    if (widths[s.first].most && s.m > widths[s.first].most * s.dim)
        return false;
    f->ops = shape->side == KVANT_VALUE ? widths[s.first].values : widths[s.first].keys;
    sketched_form(&s, f);
    return true;
}

/* What is left after the sketch is least with orthogonal rows. */
static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    sketched s = sketched_of(shape, args);
    s.gamma = *units_table(parts, state, "residual_norm");
    s.own = widths[s.first].error * (M_PI_2 - 1) * s.dim / s.m;
    sketched_derive(&s, state, parts, derived);
}

/* products: the first stage's are off by .03 of its length (turboquant_mse_avx512.c), the sketch's by .0236 of its own (qjl_avx512.c);
 * both are about orthogonal, so that a vector is as long as the root of their squares, and their sum off by sqrt(.03^2 + .0236^2) =
 * .038 of that. Of a mix the weights' rounding is bounded on average only: by 1 % of the squared error, which checkkernels
 * measures. */
const kvant_kernel kernel_turboquant_prod_avx512 = {
    .quantizer = "turboquant_prod", .target = "avx512", .form = form, .derive = derive, .codes = true,
    .distance = 2e-5, .products = .04,
    .reason = "decode: fused products with Haar matrices and sketch. Scores and mixes: centroids, queries and weights as bytes"
};
