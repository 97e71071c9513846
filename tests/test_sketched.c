/* test_sketched.c - kernels of sign sketches: that a sign whose sum is about zero is still the scalar code's, whose rounding decides
 * it, and which shapes have a kernel. The rest of what they must hold is checkkernels.c's, which meets no such sums. */
#include "algorithms/shared/random.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <math.h>

enum { N = 512, D = 128 };

static kvant_status try_open(const char *name, const char *given, uint32_t dim, kvant_side side, const char *isa, kvant_codec *codec,
                             kvant_error *err)
{
    const kvant_quantizer *q = kvant_find(name, err);
    const kvant_shape shape = { .dim = dim, .side = side, .seed = 5 };
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    memset(codec, 0, sizeof *codec);
    kvant_status status = kvant_parse(q->params, given, &args, err);
    return status ? status : kvant_open(q, &shape, &args, isa, codec, err);
}

/* The target that "auto" finds. */
static bool has_kernel(const char *name, const char *given, uint32_t dim)
{
    kvant_codec codec;
    assert_ok(try_open(name, given, dim, KVANT_KEY, "auto", &codec, err));
    const bool kernel = strcmp(codec.target, "scalar");
    kvant_close(&codec);
    return kernel;
}

/* The sketch's rows, [m][D], in a state. */
static const float *sketch_of(const kvant_codec *codec, size_t *m)
{
    kvant_parts parts;
    assert_ok(kvant_list_parts(codec, &parts, err));
    for (size_t i = 0; i < parts.n; i++)
        if (!strcmp(parts.part[i].name, "sketch")) {
            assert_int_equal(parts.part[i].cols, D);
            *m = parts.part[i].rows;
            return (const float *)(const void *)((const char *)codec->state + parts.part[i].offset);
        }
    fail_msg("no sketch among %zu parts", parts.n);
    return NULL;
}

/* Gaussian vectors across a row each: what is left of their sum is rounding, of no certain sign. */
static void draw_across(const float *rows, size_t m, float *x)
{
    gsl_rng *rng = random_open(1, RANDOM_SKETCH);
    assert_non_null(rng);
    for (size_t v = 0; v < N; v++, x += D) {
        const float *s = rows + v % m * D;
        double dot = 0, square = 0;
        for (size_t j = 0; j < D; j++) {
            x[j] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
            dot += (double)x[j] * s[j];
            square += (double)s[j] * s[j];
        }
        for (size_t j = 0; j < D; j++)
            x[j] = (float)(x[j] - dot / square * s[j]);
    }
    gsl_rng_free(rng);
}

static void decoded_by(const kvant_codec *codec, const float *x, float *y)
{
    uint8_t *code = kvant_alloc(kvant_bytes(codec, N));
    void *scratch = kvant_alloc(codec->scratch);
    assert_true(code && scratch);
    kvant_encode(codec, x, 0, N, code, scratch);
    kvant_decode(codec, code, 0, N, y, scratch);
    free(code), free(scratch);
}

/* A sign that differs moves a vector by more than 1 / m of its length. */
static void expect_same_signs(const char *name, const char *given, kvant_side side)
{
    kvant_codec kernel, scalar;
    size_t m = 0;
    float *x = kvant_alloc(N * D * sizeof *x), *y = kvant_alloc(N * D * sizeof *y), *z = kvant_alloc(N * D * sizeof *z);
    assert_true(x && y && z);
    assert_ok(try_open(name, given, D, side, "avx512", &kernel, err));
    assert_ok(try_open(name, given, D, side, "scalar", &scalar, err));
    const float *rows = sketch_of(&scalar, &m);
    draw_across(rows, m, x);
    decoded_by(&kernel, x, y);
    decoded_by(&scalar, x, z);
    for (size_t v = 0; v < N; v++) {
        double off = 0, length = 0;
        for (size_t j = v * D; j < (v + 1) * D; j++) {
            off += ((double)y[j] - z[j]) * ((double)y[j] - z[j]);
            length += (double)z[j] * z[j];
        }
        if (!(sqrt(off / length) <= kernel.kernel->distance))
            fail_msg("%s %s: vector %zu is %g of its length off", name, given, v, sqrt(off / length));
    }
    kvant_close(&kernel), kvant_close(&scalar);
    free(x), free(y), free(z);
}

static void test_doubtful_signs(void **state)
{
    (void)state;
    if (!has_kernel("qjl", "", D)) {
        print_message("this processor does not have avx512\n");
        skip();
    }
    for (int side = 0; side < 2; side++) {
        expect_same_signs("qjl", "", side ? KVANT_VALUE : KVANT_KEY);
        expect_same_signs("qjl", "m=96,sketch=gaussian", side ? KVANT_VALUE : KVANT_KEY);
        expect_same_signs("turboquant_prod", "bits=1,rotation=none", side ? KVANT_VALUE : KVANT_KEY);
    }
}

static void test_which_have_kernels(void **state)
{
    static const struct { const char *name, *given; uint32_t dim; bool kernel; } rows[] = {
        { "qjl", "", 128, true }, { "qjl", "", 80, true }, { "qjl", "", 72, false }, { "qjl", "m=32", 72, true },
        { "qjl", "m=4096", 64, true }, { "qjl", "m=40", 64, false }, { "qjl", "m=32", 100, false },
        { "qjl", "outlier_channels=8,outlier_select=list,outlier_list=0+1+2+3+4+5+6+7", 64, false },
        { "turboquant_prod", "bits=1,m=64", 72, true }, { "turboquant_prod", "bits=2,m=64", 72, false },
        { "turboquant_prod", "bits=2,m=64", 96, true }, { "turboquant_prod", "bits=4,m=256", 128, true },
        { "turboquant_prod", "bits=4,m=288", 128, false }, { "turboquant_prod", "bits=5", 128, true },
        { "turboquant_prod", "bits=5,m=160", 128, false }, { "turboquant_prod", "bits=6", 128, false },
        { "turboquant_prod", "outlier_channels=4,outlier_select=list,outlier_list=0+1+2+3", 128, false }
    };
    (void)state;
    if (!has_kernel("qjl", "", D)) {
        print_message("this processor does not have avx512\n");
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (has_kernel(rows[i].name, rows[i].given, rows[i].dim) != rows[i].kernel)
            fail_msg("%s %s, %u coordinates: %s", rows[i].name, rows[i].given, rows[i].dim, rows[i].kernel ? "no kernel" : "a kernel");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_doubtful_signs), cmocka_unit_test(test_which_have_kernels) };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
