/* test_quantizers.c - properties of the registered quantizers that their error alone would not show: what a code depends on,
 * and what becomes of zeros, denormals, the largest halves, and values that are no numbers. */
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/half.h"
#include "harness/check_internal.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <math.h>

enum { N = 24, MAX_DIM = 128 };
static const uint32_t dims[] = { 64, 80, 128 };
static const char *const exact_forms[] = { "affine", "bf16", "control_broken", "e8", "f16", "f32", "kivi", "mxfp4", "nf4",
                                           "polarquant", "q4_0", "q5_0", "q8_0", "qjl", "rabitq", "rvq", "turboquant_mse",
                                           "turboquant_prod", "uniform_scalar", NULL };

typedef struct { kvant_codec codec; uint8_t code[N * MAX_DIM * 4]; float x[N * MAX_DIM], y[N * MAX_DIM]; void *scratch; } trial;

static bool open_trial(trial *t, const char *name, uint32_t dim, const kvant_args *args)
{
    kvant_error err = { "" };
    kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = 3 };
    const kvant_quantizer *q = kvant_find(name, &err);
    assert_non_null(q);
    kvant_status status = kvant_open(q, &shape, args, NULL, &t->codec, &err);
    if (status == KVANT_SKIP)
        return false;
    if (status)
        fail_msg("%s", err.text);
    assert_true(kvant_bytes(&t->codec, N) <= sizeof t->code);
    t->scratch = kvant_alloc(t->codec.scratch);
    assert_non_null(t->scratch);
    return true;
}

/* By text: "bits=2,rotation=haar". */
static bool open_given(trial *t, const char *name, uint32_t dim, const char *given)
{
    const kvant_quantizer *q = kvant_find(name, NULL);
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    assert_ok(kvant_parse(q->params, given, &args, err));
    return open_trial(t, name, dim, &args);
}

static void close_trial(trial *t)
{
    kvant_close(&t->codec);
    free(t->scratch);
}

static void gaussian(float *x, size_t n, unsigned long seed)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    gsl_rng_set(rng, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
}

static void code(trial *t, size_t n)
{
    kvant_encode(&t->codec, t->x, 0, n, t->code, t->scratch);
    kvant_decode(&t->codec, t->code, 0, n, t->y, t->scratch);
}

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

static void test_stored_bits(void **state)
{
    (void)state;
    static const struct { const char *name, *given; uint32_t dim; double bits; } known[] = {
        { "f32", "", 80, 32 }, { "f16", "", 80, 16 }, { "affine", "bits=3", 128, 3 + 32. / 64 },
        { "affine", "bits=3,symmetric=yes", 128, 3 + 16. / 64 }, { "affine", "bits=5,group_size=32", 96, 6 }, { "affine", "bits=1,group_size=8", 64, 5 },
        { "turboquant_mse", "bits=3", 80, 3 + 16. / 80 }, { "turboquant_mse", "bits=1,norm=f32", 64, 1.5 },
        { "turboquant_mse", "bits=3", 9, 8. * (2 + 4) / 9 }, { "bf16", "", 80, 16 }, { "fp8_e4m3", "", 128, 8.25 },
        { "fp8_e5m2", "scale=none", 80, 8 }, { "q8_0", "", 96, 8.5 }, { "q5_0", "", 64, 5.5 }, { "q4_0", "rotation=haar", 64, 4.5 },
        { "control_broken", "", 64, 4.5 }, { "mxfp4", "", 128, 4.25 }, { "nvfp4", "", 128, 4.75 },
        { "nvfp4", "second_scale=none", 80, 4.5 }, { "nvfp4", "second_scale=trained", 64, 4.5 }, { "nf4", "", 128, 4.25 },
        { "nf4", "group_size=32", 96, 4.5 }, { "uniform_scalar", "bits=3", 80, 3 + 16. / 80 },
        { "polarquant", "", 128, 3.875 }, { "polarquant", "level1_bits=3", 80, 8. * (10 + 24) / 80 }, { "kivi", "", 64, 3 },
        { "kivi", "axis=channel,group_size=64", 80, 2.5 }, { "e8", "bits=2", 64, 2.25 }, { "e8", "bits=3", 128, 3.125 },
        { "polarquant_rope", "", 80, 4.25 }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        static trial t;
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, known[i].name, known[i].dim, known[i].given));
        assert_true(fabs(kvant_bits(&t.codec) - known[i].bits) <= 1e-12);
        close_trial(&t);
    }
}

/* What versions 0.3 and 0.94 of the residual quantizer are is defined for two stages. */
static void test_published_forms_have_two_stages(void **state)
{
    (void)state;
    static const kvant_shape shape = { .dim = 64, .side = KVANT_KEY };
    const kvant_quantizer *q = kvant_find("rvq", NULL);
    kvant_codec codec;
    kvant_error why = { "" };
    kvant_args args = kvant_defaults(q->params);
    assert_ok(kvant_parse(q->params, "stages=3", &args, err));
    assert_int_equal(kvant_describe(q, &shape, &args, "scalar", &codec, &why), KVANT_SKIP);
    assert_non_null(strstr(why.text, "published_0_94 has two stages, not 3"));
    assert_ok(kvant_parse(q->params, "stages=3,stage2=fitted", &args, err));
    assert_ok(kvant_describe(q, &shape, &args, "scalar", &codec, err));
    assert_true(codec.plan.bits_asked == 6);
}

/* ---- Defined results ---------------------------------------------------------------------------------------------- */

static void fill(trial *t, float value)
{
    for (size_t i = 0; i < N * t->codec.shape.dim; i++)
        t->x[i] = value;
}

static void zero(trial *t)
{
    fill(t, 0);
    code(t, N);
    for (size_t i = 0; i < N * t->codec.shape.dim; i++)
        assert_true(t->y[i] == 0);
}

static void test_zero_vectors(void **state)
{
    (void)state;
    for_all(exact_forms, zero);
}

static void test_affine_extremes(void **state)
{
    (void)state;
    static const struct { float input, output; } constants[] = { { 65504, 65504 }, { -65504, -65504 }, { 1e6f, 65504 },
        { -3e38f, -65504 }, { 1e-40f, 0 }, { 6e-8f, 0x1p-24f }, { 3.140625f, 3.140625f } };
    static const char *const schemes[] = { "scheme=minmax", "scheme=mlx" };
    static trial t;
    for (size_t s = 0; s < 2; s++) {
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, "affine", 64, schemes[s]));
        for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
            fill(&t, constants[i].input);
            code(&t, N);
            for (size_t k = 0; k < N * 64; k++)
                assert_true(t.y[k] == constants[i].output);
        }
        for (size_t k = 0; k < N * 64; k++)                    /* a range beyond half's: the scale saturates, all stays finite */
            t.x[k] = k % 2 ? 3e38f : -3e38f;
        code(&t, N);
        for (size_t k = 0; k < N * 64; k++)
            assert_true(isfinite(t.y[k]));
        close_trial(&t);
    }
}

static void test_affine_spoils_one_group(void **state)
{
    (void)state;
    static trial t;
    static float decoded[N * 128];
    memset(&t, 0, sizeof t);
    assert_true(open_given(&t, "affine", 128, "group_size=32"));
    gaussian(t.x, N * 128, 5);
    code(&t, N);
    memcpy(decoded, t.y, sizeof decoded);
    t.x[128 + 40] = NAN;
    code(&t, N);
    for (size_t i = 0; i < N * 128; i++)
        assert_true(i / 32 == (128 + 40) / 32 ? isnan(t.y[i]) : t.y[i] == decoded[i]);
    close_trial(&t);
}

/* 0 is a level, the largest magnitude is one up to the scale's rounding, and what is negated decodes to the negative. */
static void test_affine_symmetric(void **state)
{
    (void)state;
    static trial t;
    static float decoded[N * 128];
    static uint16_t symbols[N * 128];
    for (unsigned b = 2; b <= 8; b++) {
        char given[64];
        unsigned largest_level = (1u << (b - 1)) - 1;
        snprintf(given, sizeof given, "bits=%u,group_size=32,symmetric=yes", b);
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, "affine", 128, given));
        assert_int_equal(t.codec.plan.code, 4 * 2 + 128 * b / 8);
        gaussian(t.x, N * 128, 11);
        for (size_t i = 0; i < N * 128; i += 32)
            t.x[i + 5] = 0, t.x[i + 9] = i % 64 ? 7 : -7;
        code(&t, N);
        t.codec.ops.symbols(t.codec.state, t.code, N, symbols);
        for (size_t i = 0; i < N * 128; i++) {
            assert_true(symbols[i] <= 2 * largest_level);
            assert_true(i % 32 != 5 || (t.y[i] == 0 && symbols[i] == largest_level));
            assert_true(i % 32 != 9 || fabs(fabs(t.y[i]) - 7) <= 7 * 0x1p-11);
            assert_true(fabs(t.x[i] - t.y[i]) <= 7. / largest_level * (.5 + largest_level * 0x1p-11));
        }
        memcpy(decoded, t.y, sizeof decoded);
        for (size_t i = 0; i < N * 128; i++)
            t.x[i] = -t.x[i];
        code(&t, N);
        for (size_t i = 0; i < N * 128; i++)
            assert_true(t.y[i] == -decoded[i]);
        t.x[40] = INFINITY;                                    /* spoils its group and no other */
        code(&t, N);
        for (size_t i = 0; i < N * 128; i++)
            assert_true(i / 32 == 1 ? isnan(t.y[i]) : t.y[i] == -decoded[i]);
        fill(&t, 1e-8f);                                       /* a scale below half's range */
        code(&t, N);
        for (size_t i = 0; i < N * 128; i++)
            assert_true(t.y[i] == 0);
        fill(&t, -3e38f);                                      /* and one beyond it */
        code(&t, N);
        for (size_t i = 0; i < N * 128; i++)
            assert_true(t.y[i] == -65504 * (float)largest_level);
        close_trial(&t);
    }
    memset(&t, 0, sizeof t);
    assert_false(open_given(&t, "affine", 128, "bits=1,symmetric=yes"));
    assert_false(open_given(&t, "affine", 128, "scheme=mlx,symmetric=yes"));
}

static double norm_of(const float *x, size_t d)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Norm of the first decoded vector over that of its input, for constant vectors of 64 coordinates (norm 8 times as large). */
static double norm_ratio(trial *t, float value)
{
    fill(t, value);
    code(t, N);
    return norm_of(t->y, 64) / norm_of(t->x, 64);
}

static void test_turboquant_extremes(void **state)
{
    (void)state;
    static trial t;
    memset(&t, 0, sizeof t);
    assert_true(open_given(&t, "turboquant_mse", 64, "bits=8,norm=f32"));
    static const float sizes[] = { 1, 65504, 1e30f, 3e37f, 1e-30f, 1e-38f };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_true(fabs(norm_ratio(&t, sizes[i]) - 1) <= 5e-3);      /* 8 bits: sqrt(D / d) is 8e-4 */
    assert_true(isfinite(norm_ratio(&t, 3e38f)));              /* a norm beyond float's range saturates */
    assert_true(fabs(norm_ratio(&t, 1e-42f) - 1) <= .05);      /* denormals have few digits left */
    t.x[3] = NAN;
    code(&t, 1);
    for (size_t j = 0; j < 64; j++)
        assert_true(isnan(t.y[j]));
    close_trial(&t);

    assert_true(open_given(&t, "turboquant_mse", 64, "bits=8,norm=f16"));
    assert_true(fabs(norm_ratio(&t, 8188) - 1) <= 5e-3);       /* norm 65504 */
    assert_true(fabs(norm_ratio(&t, 65504) * 8 - 1) <= 5e-3);  /* saturates at 65504 */
    assert_true(norm_ratio(&t, 1e-10f) == 0);
    close_trial(&t);
}

static void test_f16_is_the_cast(void **state)
{
    (void)state;
    static trial t;
    static const float values[] = { 65519.996f, 65520, -1e30f, 0x1p-25f, 0x1.8p-25f, -0.0f, 1 + 0x1p-11f, 1 + 0x1.8p-10f };
    memset(&t, 0, sizeof t);
    assert_true(open_given(&t, "f16", 64, ""));
    for (size_t i = 0; i < N * 64; i++)
        t.x[i] = values[i % 8];
    code(&t, N);
    for (size_t i = 0; i < N * 64; i++) {
        float expected = half_to_float(float_to_half(t.x[i]));
        assert_memory_equal(&t.y[i], &expected, sizeof expected);
    }
    assert_true(isinf(t.y[1]) && isinf(t.y[2]));
    close_trial(&t);
}

/* ---- Codes are nearest --------------------------------------------------------------------------------------------- */

/* The rotated vector comes from query(), which rotates likewise; centroids are solved here. */
static void test_turboquant_codes_are_nearest(void **state)
{
    (void)state;
    static trial t;
    static uint16_t symbols[N * 128];
    for (unsigned b = 1; b <= 8; b++) {
        char given[32];
        double c[256];
        snprintf(given, sizeof given, "bits=%u", b);
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, "turboquant_mse", 128, given));
        assert_ok(codebook_solve(CODEBOOK_EXACT, 128, b, c, NULL, err));
        gaussian(t.x, N * 128, 6);
        code(&t, N);
        t.codec.ops.symbols(t.codec.state, t.code, N, symbols);
        for (size_t v = 0; v < N; v++) {
            double inverse = 1 / norm_of(t.x + v * 128, 128);
            for (size_t j = 0; j < 128; j++)
                t.x[v * 128 + j] = (float)(t.x[v * 128 + j] * inverse);
        }
        float *y = kvant_alloc(N * t.codec.query);
        assert_non_null(y);
        kvant_query(&t.codec, t.x, N, y, t.scratch);
        for (size_t i = 0; i < N * 128; i++) {
            double best = INFINITY, chosen = fabs(y[i] - (double)(float)(c[symbols[i]] / sqrt(128)));
            for (size_t k = 0; k < (size_t)1 << b; k++)
                best = fmin(best, fabs(y[i] - (double)(float)(c[k] / sqrt(128))));
            assert_true(chosen <= best);
        }
        free(y);
        close_trial(&t);
    }
}

/* Inside of the grid the error is at most half a step. */
static void test_affine_codes_are_nearest(void **state)
{
    (void)state;
    static trial t;
    static uint16_t symbols[N * 128];
    static const char *const schemes[] = { "minmax", "mlx" };
    for (unsigned i = 0; i < 16; i++) {
        char given[64];
        unsigned b = i / 2 + 1;
        snprintf(given, sizeof given, "bits=%u,scheme=%s,group_size=128", b, schemes[i % 2]);
        memset(&t, 0, sizeof t);
        assert_true(open_given(&t, "affine", 128, given));
        gaussian(t.x, N * 128, 7);
        code(&t, N);
        t.codec.ops.symbols(t.codec.state, t.code, N, symbols);
        for (size_t v = 0; v < N; v++) {
            uint16_t head[2];
            memcpy(head, t.code + v * t.codec.unit_bytes, sizeof head);
            double scale = half_to_float(head[0]), zero_point = half_to_float(head[1]), levels = (1u << b) - 1;
            for (size_t j = 0; j < 128; j++) {
                double x = t.x[v * 128 + j], at = (x - zero_point) / scale, off = fabs(at - symbols[v * 128 + j]);
                assert_true(symbols[v * 128 + j] <= levels);
                assert_true(at >= 0 && at <= levels ? off <= .5 + 1e-5 : symbols[v * 128 + j] == (at < 0 ? 0 : levels));
            }
        }
        close_trial(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permutation), cmocka_unit_test(test_spoiled_vectors_stay_alone),
        cmocka_unit_test(test_scale_equivariance), cmocka_unit_test(test_idempotence), cmocka_unit_test(test_idempotence_but_for_rounding),
        cmocka_unit_test(test_stored_bits),
        cmocka_unit_test(test_published_forms_have_two_stages),
        cmocka_unit_test(test_zero_vectors), cmocka_unit_test(test_affine_extremes), cmocka_unit_test(test_affine_spoils_one_group),
        cmocka_unit_test(test_affine_symmetric),
        cmocka_unit_test(test_turboquant_extremes), cmocka_unit_test(test_f16_is_the_cast),
        cmocka_unit_test(test_turboquant_codes_are_nearest), cmocka_unit_test(test_affine_codes_are_nearest),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
