/* test_properties.c - what holds for all registered quantizers, or for all that promise it: what a code depends on, and what coding
 * again, scaling and zeros do. `kvant check` has more of the kind: bytes, ranges, scores and mixes. */
#include "harness/check/check_internal.h"
#include "tests/trials.h"

#include <gsl/gsl_errno.h>
#include <math.h>

static const uint32_t dims[] = { 64, 80, 128 };
static const char *const exact_forms[] = { "affine", "bf16", "control_broken", "e8", "f16", "f32", "kivi", "mxfp4", "nf4",
                                           "polarquant", "q4_0", "q5_0", "q8_0", "qjl", "rabitq", "rvq", "turboquant_mse",
                                           "turboquant_prod", "uniform_scalar", NULL };

/* Runs a property for every registered quantizer that codes vectors one by one and untrained, in all its variants. */
static void for_all(const char *const *names, void (*property)(trial *t))
{
    static check_variant variants[CHECK_VARIANTS];
    size_t tried = 0;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        bool listed = !names;
        for (size_t i = 0; names && names[i]; i++)
            listed = listed || !strcmp(names[i], (*q)->name);
        size_t n = listed ? check_variants((*q)->params, variants) : 0;
        for (size_t v = 0; v < n; v++)
            for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
                static trial t;
                memset(&t, 0, sizeof t);
                if (!open_trial(&t, (*q)->name, dims[i], &variants[v].args))
                    continue;
                if (t.codec.plan.block == 1 && !t.codec.plan.train_min) {
                    property(&t);
                    tried++;
                }
                close_trial(&t);
            }
    }
    assert_true(tried > 0);
}

/* ---- What a code depends on ------------------------------------------------------------------------------------ */

static void permutes(trial *t)
{
    static float decoded[N * MAX_DIM];
    size_t d = t->codec.shape.dim;
    gaussian(t->x, N * d, 1);
    code(t, N);
    memcpy(decoded, t->y, N * d * sizeof *decoded);
    for (size_t v = 0; v < N / 2; v++)
        for (size_t j = 0; j < d; j++) {
            float swap = t->x[v * d + j];
            t->x[v * d + j] = t->x[(N - 1 - v) * d + j];
            t->x[(N - 1 - v) * d + j] = swap;
        }
    code(t, N);
    for (size_t v = 0; v < N; v++)
        assert_memory_equal(t->y + v * d, decoded + (N - 1 - v) * d, d * sizeof *decoded);
}

static void test_permutation(void **state)
{
    (void)state;
    for_all(NULL, permutes);
}

/* A NaN or an infinity spoils at most its own vector. */
static void contains(trial *t)
{
    static float decoded[N * MAX_DIM];
    static const float spoilers[] = { NAN, INFINITY, -INFINITY };
    size_t d = t->codec.shape.dim;
    for (size_t k = 0; k < 3; k++) {
        gaussian(t->x, N * d, 2);
        code(t, N);
        memcpy(decoded, t->y, N * d * sizeof *decoded);
        t->x[5 * d + 7] = spoilers[k];
        code(t, N);
        for (size_t v = 0; v < N; v++)
            if (v != 5)
                assert_memory_equal(t->y + v * d, decoded + v * d, d * sizeof *decoded);
    }
}

static void test_spoiled_vectors_stay_alone(void **state)
{
    (void)state;
    for_all(NULL, contains);
}

/* Powers of two move exponents only. */
static void scales(trial *t)
{
    static float decoded[N * MAX_DIM];
    size_t d = t->codec.shape.dim;
    gaussian(t->x, N * d, 3);
    code(t, N);
    memcpy(decoded, t->y, N * d * sizeof *decoded);
    for (size_t i = 0; i < N * d; i++) {
        if (fabsf(t->x[i]) < 0x1p-8f)
            t->x[i] = decoded[i] = 0;
    }
    code(t, N);
    memcpy(decoded, t->y, N * d * sizeof *decoded);
    for (int power = -3; power <= 3; power += 6) {
        for (size_t i = 0; i < N * d; i++)
            t->x[i] = ldexpf(t->x[i], power);
        code(t, N);
        for (size_t i = 0; i < N * d; i++) {
            assert_true(t->y[i] == ldexpf(decoded[i], power));
            t->x[i] = ldexpf(t->x[i], -power);
        }
    }
}

static void test_scale_equivariance(void **state)
{
    (void)state;
    for_all(exact_forms, scales);
    static const char *const scaled[] = { "fp8_e4m3", "fp8_e5m2", "nvfp4" };      /* by default: without a scale they have a range */
    for (size_t i = 0; i < sizeof scaled / sizeof *scaled; i++) {
        static trial t;
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, scaled[i], 128, ""));
        scales(&t);
        close_trial(&t);
    }
}

static void check_idempotent(const char *name, const char *given)
{
    static trial t;
    static float decoded[N * MAX_DIM];
    memset(&t, 0, sizeof t);
    assert_true(open_given(&t, name, 128, given));
    gaussian(t.x, N * 128, 4);
    code(&t, N);
    memcpy(decoded, t.y, sizeof decoded);
    memcpy(t.x, t.y, sizeof decoded);
    code(&t, N);
    assert_memory_equal(decoded, t.y, sizeof decoded);
    close_trial(&t);
}

/* Where the grid is a function of values that it reproduces: the casts, and min-max groups, whose two extremes are on the grid. */
static void test_idempotence(void **state)
{
    (void)state;
    check_idempotent("f32", "");
    check_idempotent("f16", "");
    for (int b = 1; b <= 8; b++) {
        char given[32];
        snprintf(given, sizeof given, "bits=%d,group_size=32", b);
        check_idempotent("affine", given);
    }
}

/* Where what is decoded lies in the middle of its own cells: coding it again changes it by rounding alone, in a half float's norm or
 * radius. A rotation there and back rounds too, so codes at a cell's edge would not do. */
static void test_idempotence_but_for_rounding(void **state)
{
    (void)state;
    static const struct { const char *name, *given; double off; } forms[] = {
        { "polarquant", "", 1e-6 }, { "polarquant", "rotation=none", 1e-6 }, { "polarquant", "rotation=hadamard,level1_bits=6", 1e-6 },
        { "rabitq", "bits=1", 1e-6 }, { "rabitq", "bits=2,norm=f32", 1e-11 }, { "rabitq", "bits=4,norm=f32", 1e-11 },
        { "rabitq", "bits=8,norm=f32", 1e-11 }, { "bf16", "", 0 }, { "nf4", "", 0 }, { "fp8_e5m2", "scale=none", 0 },
    };
    static float decoded[N * MAX_DIM];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        static trial t;
        double error = 0, energy = 0;
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, forms[i].name, 128, forms[i].given));
        gaussian(t.x, N * 128, 4);
        code(&t, N);
        memcpy(decoded, t.y, sizeof decoded);
        memcpy(t.x, t.y, sizeof decoded);
        code(&t, N);
        for (size_t j = 0; j < N * 128; j++) {
            error += ((double)t.y[j] - decoded[j]) * ((double)t.y[j] - decoded[j]);
            energy += (double)decoded[j] * decoded[j];
        }
        if (!(error <= forms[i].off * energy))
            fail_msg("%s %s: %g", forms[i].name, forms[i].given, error / energy);
        close_trial(&t);
    }
}

static void zero(trial *t)
{
    memset(t->x, 0, sizeof t->x);
    code(t, N);
    for (size_t i = 0; i < N * t->codec.shape.dim; i++)
        assert_true(t->y[i] == 0);
}

static void test_zero_vectors(void **state)
{
    (void)state;
    for_all(exact_forms, zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permutation), cmocka_unit_test(test_spoiled_vectors_stay_alone), cmocka_unit_test(test_scale_equivariance),
        cmocka_unit_test(test_idempotence), cmocka_unit_test(test_idempotence_but_for_rounding), cmocka_unit_test(test_zero_vectors),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
