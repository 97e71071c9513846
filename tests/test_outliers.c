/* test_outliers.c - outlier channels: that selection finds what was planted, that two streams are exactly two instances of the
 * method, what they gain, and that arguments which make no sense are refused with the reason. */
#include "algorithms/shared/random.h"
#include "harness/measure/stats.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <math.h>

enum { N = 50, D = 128, K = 8, QUERIES = 20 };
static const uint16_t planted[K] = { 3, 17, 18, 40, 64, 99, 126, 127 };
static const char *const names[] = { "turboquant_mse", "turboquant_prod", "rvq", "qjl" };
enum { NAMES = sizeof names / sizeof *names };

/* Gaussian, planted channels times `factor` and plus `mean`. */
static void draw(float *x, size_t n, double factor, double mean, uint32_t seed)
{
    gsl_rng *rng = random_open(seed, RANDOM_SKETCH);
    assert_non_null(rng);
    for (size_t i = 0; i < n * D; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    gsl_rng_free(rng);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < K; k++)
            x[i * D + planted[k]] = (float)(x[i * D + planted[k]] * factor + mean);
}

static kvant_status try_open(const char *name, const char *given, uint32_t dim, uint32_t seed, kvant_codec *codec, kvant_error *err)
{
    const kvant_quantizer *q = kvant_find(name, err);
    const kvant_shape shape = { .dim = dim, .side = KVANT_KEY, .seed = seed };
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    memset(codec, 0, sizeof *codec);
    kvant_status status = kvant_parse(q->params, given, &args, err);
    return status ? status : kvant_open(q, &shape, &args, "scalar", codec, err);
}

static kvant_codec open_codec(const char *name, const char *given, uint32_t dim, uint32_t seed)
{
    kvant_codec codec;
    assert_ok(try_open(name, given, dim, seed, &codec, err));
    return codec;
}

/* The outliers' marks in a state, one float per channel. */
static float *marks_of(const kvant_codec *codec)
{
    kvant_parts parts;
    assert_ok(kvant_list_parts(codec, &parts, err));
    assert_true(parts.n > 0 && parts.n <= KVANT_MAX_PARTS && !strcmp(parts.part[0].name, "outliers"));
    assert_int_equal(parts.part[0].cols, codec->shape.dim);
    return (float *)(void *)((char *)codec->state + parts.part[0].offset);
}

static void expect_outliers(const kvant_codec *codec, const uint16_t *channels, size_t n)
{
    const float *marks = marks_of(codec);
    for (size_t j = 0, k = 0; j < codec->shape.dim; j++) {
        bool outlier = k < n && channels[k] == j;
        assert_true(marks[j] == (outlier ? 1 : 0));
        k += outlier;
    }
}

/* Codes and decoded vectors of x [n][dim]; code is freed by the caller. */
static uint8_t *code_of(const kvant_codec *codec, const float *x, size_t n, float *decoded)
{
    uint8_t *code = kvant_alloc(kvant_bytes(codec, n));
    void *scratch = kvant_alloc(codec->scratch);
    assert_true(code && scratch);
    kvant_encode(codec, x, 0, n, code, scratch);
    kvant_decode(codec, code, 0, n, decoded, scratch);
    free(scratch);
    return code;
}

/* ---- Selection ------------------------------------------------------------------------------------------------------ */

static void test_finds_planted_channels(void **state)
{
    (void)state;
    static float x[N * D];
    static const char *const given[] = { "outlier_channels=8", "outlier_channels=8,outlier_select=variance" };
    for (size_t q = 0; q < NAMES; q++)
        for (size_t i = 0; i < 2; i++) {
            kvant_codec codec = open_codec(names[q], given[i], D, 1);
            draw(x, N, 3, 0, 11);
            assert_ok(kvant_train(&codec, x, N, err));
            expect_outliers(&codec, planted, K);
            kvant_close(&codec);
        }
}

/* A channel that is large but steady is an outlier by its norm and none by its variance. */
static void test_norm_is_not_variance(void **state)
{
    (void)state;
    static const uint16_t lively[4] = { 0, 1, 50, 100 };
    static float x[N * D];
    draw(x, N, .1, 5, 12);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < 4; k++)
            x[i * D + lively[k]] *= 3;
    kvant_codec codec = open_codec("turboquant_mse", "outlier_channels=8", D, 1);
    assert_ok(kvant_train(&codec, x, N, err));
    expect_outliers(&codec, planted, K);
    kvant_close(&codec);
    codec = open_codec("turboquant_mse", "outlier_channels=4,outlier_select=variance", D, 1);
    assert_ok(kvant_train(&codec, x, N, err));
    expect_outliers(&codec, lively, 4);
    kvant_close(&codec);
}

static void test_ties_go_to_the_lower_channel(void **state)
{
    (void)state;
    static const uint16_t lowest[5] = { 0, 1, 2, 3, 127 };
    static float x[N * D];
    static const char *const given[] = { "outlier_channels=5", "outlier_channels=5,outlier_select=variance" };
    for (size_t i = 0; i < N * D; i++)
        x[i] = (i / D % 2 ? 1.f : -1.f) * (i % D == 127 ? 2 : 1);
    for (size_t i = 0; i < 2; i++) {
        kvant_codec codec = open_codec("rvq", given[i], D, 1);
        assert_ok(kvant_train(&codec, x, N, err));
        expect_outliers(&codec, lowest, 5);
        kvant_close(&codec);
    }
}

/* Whatever says which channels they are, the same channels give the same codes. */
static void test_sources_agree(void **state)
{
    (void)state;
    static float x[N * D], decoded[3][N * D];
    static const char *const given[] = { "outlier_channels=8", "outlier_channels=8,outlier_source=prompt,train_min=50",
                                         "outlier_channels=8,outlier_select=list,outlier_list=127+3+17+18+40+64+99+126" };
    for (size_t q = 0; q < NAMES; q++) {
        uint8_t *code[3];
        for (size_t i = 0; i < 3; i++) {
            kvant_codec codec = open_codec(names[q], given[i], D, 1);
            bool prompt = i == 1;
            assert_int_equal(codec.plan.prompt, prompt);
            assert_int_equal(codec.plan.trained, prompt ? D / 8 : 0);
            assert_int_equal(codec.plan.train_min, i == 2 ? 0 : prompt ? 50 : 32);
            draw(x, N, 10, 0, 13);
            if (i < 2)
                assert_ok(kvant_train(&codec, x, N, err));
            expect_outliers(&codec, planted, K);
            code[i] = code_of(&codec, x, N, decoded[i]);
            if (i)
                assert_memory_equal(code[i], code[0], kvant_bytes(&codec, N));
            kvant_close(&codec);
        }
        assert_memory_equal(decoded[0], decoded[1], sizeof decoded[0]);
        assert_memory_equal(decoded[0], decoded[2], sizeof decoded[0]);
        for (size_t i = 0; i < 3; i++)
            free(code[i]);
    }
}

/* A state may come from a file: any marks give a partition. */
static void test_hostile_marks(void **state)
{
    (void)state;
    static float x[N * D], decoded[N * D];
    static const float marks[] = { 0, 1, .5f, -1, 3e38f };
    draw(x, N, 10, 0, 14);
    for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
        kvant_codec codec = open_codec("turboquant_mse", "outlier_channels=8,bits=7", D, 1), taken;
        for (size_t j = 0; j < D; j++)
            marks_of(&codec)[j] = marks[m];
        assert_ok(kvant_open_state(codec.quantizer, &codec.shape, &codec.args, "scalar", codec.state, codec.plan.state, &taken, err));
        free(code_of(&taken, x, N, decoded));
        for (size_t i = 0; i < N * D; i++)                     /* every channel was coded once and came back once */
            assert_true(fabsf(decoded[i] - x[i]) <= 2);
        kvant_close(&taken);
        kvant_close(&codec);
    }
}

/* ---- Two streams ------------------------------------------------------------------------------------------------------ */

/* One configuration beside the two instances that it stands for. */
static void expect_two_instances(const char *name, const char *given, const char *rest, const char *outliers)
{
    static float x[N * D], parts[2][N * D], decoded[N * D], own[2][N * D];
    draw(x, N, 10, 0, 15);
    kvant_codec both = open_codec(name, given, D, 5), one[2];
    one[0] = open_codec(name, rest, D - K, 5);
    one[1] = open_codec(name, outliers, K, 5u + (1u << 31));
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0, k = 0, r = 0; j < D; j++)
            if (k < K && planted[k] == j)
                parts[1][i * K + k++] = x[i * D + j];
            else
                parts[0][i * (D - K) + r++] = x[i * D + j];
    uint8_t *code = code_of(&both, x, N, decoded), *alone[2];
    size_t bytes[2];
    for (size_t s = 0; s < 2; s++) {
        alone[s] = code_of(&one[s], parts[s], N, own[s]);
        bytes[s] = one[s].plan.code;
    }
    assert_int_equal(both.plan.code, bytes[0] + bytes[1]);
    assert_int_equal(both.plan.acc, one[0].plan.acc + one[1].plan.acc);
    double bits = ((D - K) * one[0].plan.bits_asked + K * one[1].plan.bits_asked) / D;
    assert_true(fabs(both.plan.bits_asked - bits) <= 1e-12);
    for (size_t i = 0; i < N; i++) {
        const uint8_t *at = code + i * both.plan.code;
        assert_memory_equal(at, alone[0] + i * bytes[0], bytes[0]);
        assert_memory_equal(at + bytes[0], alone[1] + i * bytes[1], bytes[1]);
        for (size_t j = 0, k = 0, r = 0; j < D; j++)
            if (k < K && planted[k] == j)
                assert_true(decoded[i * D + j] == own[1][i * K + k++]);
            else
                assert_true(decoded[i * D + j] == own[0][i * (D - K) + r++]);
    }
    free(code);
    for (size_t s = 0; s < 2; s++) {
        free(alone[s]);
        kvant_close(&one[s]);
    }
    kvant_close(&both);
}

#define LISTED "outlier_channels=8,outlier_select=list,outlier_list=3+17+18+40+64+99+126+127,"

static void test_streams_are_instances(void **state)
{
    (void)state;
    expect_two_instances("turboquant_mse", LISTED "bits=2", "bits=2", "bits=3");
    expect_two_instances("turboquant_mse", LISTED "bits=3,outlier_bits=8,rotation=hadamard,norm=f32,scale=unbiased",
                         "bits=3,rotation=hadamard,norm=f32,scale=unbiased", "bits=8,rotation=hadamard,norm=f32,scale=unbiased");
    expect_two_instances("turboquant_prod", LISTED "bits=1,m=64", "bits=1,m=64", "bits=2");
    expect_two_instances("turboquant_prod", LISTED "bits=3,outlier_bits=1,outlier_m=20", "bits=3", "bits=1,m=20");
    expect_two_instances("rvq", LISTED "bits=1,stages=3,stage2=true_scale", "bits=1,stages=3,stage2=true_scale",
                         "bits=2,stages=3,stage2=true_scale");
    expect_two_instances("qjl", LISTED "m=100", "m=100", "m=256");
    expect_two_instances("qjl", LISTED "outlier_m=17,sketch=gaussian", "sketch=gaussian", "m=17,sketch=gaussian");
}

/* More queries than are taken at once, and ranges that end within a step; the universal gates have three queries. */
static void test_scores_and_mixes(void **state)
{
    (void)state;
    static float x[N * D], decoded[N * D], dot[QUERIES * N], w[QUERIES * N], out[QUERIES * D];
    draw(x, N, 10, 0, 16);
    for (size_t q = 0; q < NAMES; q++) {
        kvant_codec codec = open_codec(names[q], "outlier_channels=8", D, 6);
        assert_ok(kvant_train(&codec, x, N, err));
        uint8_t *code = code_of(&codec, x, N, decoded);
        void *scratch = kvant_alloc(codec.scratch), *prepared = kvant_alloc(QUERIES * codec.query);
        float *acc = kvant_alloc(QUERIES * codec.acc * sizeof *acc);
        assert_true(scratch && prepared && acc);
        kvant_query(&codec, x + D, QUERIES, prepared, scratch);
        size_t first = 1, n = N - 2;
        kvant_score(&codec, prepared, QUERIES, code, first, n, dot, scratch);
        for (size_t i = 0; i < QUERIES * n; i++)
            w[i] = x[i % (N * D)];
        kvant_mix(&codec, w, QUERIES, code, first, n, acc, scratch);
        kvant_finish(&codec, acc, QUERIES, out, scratch);
        for (size_t i = 0; i < QUERIES; i++) {
            double right[D] = { 0 }, size = 0;
            for (size_t v = 0; v < n; v++) {
                double score = 0, norms[2] = { 0, 0 };
                for (size_t j = 0; j < D; j++) {
                    double a = x[(i + 1) * D + j], b = decoded[(first + v) * D + j];
                    score += a * b;
                    norms[0] += a * a, norms[1] += b * b;
                    right[j] += w[i * n + v] * b;
                }
                assert_true(fabs(dot[i * n + v] - score) <= 1e-4 * sqrt(norms[0] * norms[1]));
                size += fabs((double)w[i * n + v]) * sqrt(norms[1]);
            }
            for (size_t j = 0; j < D; j++)
                assert_true(fabs(out[i * D + j] - right[j]) <= 1e-4 * size);
        }
        free(scratch);
        free(prepared);
        free(acc);
        free(code);
        kvant_close(&codec);
    }
}

/* TurboQuant's 2.5 and 3.5 bits are 2.25 and 3.25 asked; the two norms make up the rest. */
static void test_bits(void **state)
{
    (void)state;
    static const struct { const char *name, *given; double asked, stored; } known[] = {
        { "turboquant_mse", "bits=2,outlier_channels=32", 2.25, 2.5 }, { "turboquant_mse", "bits=3,outlier_channels=32", 3.25, 3.5 },
        { "turboquant_prod", "bits=2,outlier_channels=32", 2.25, 2.75 }, { "rvq", "bits=1,outlier_channels=64", 3, 3.25 },
        { "qjl", "m=240,outlier_channels=8", 3.875, 4.125 }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        kvant_codec codec = open_codec(known[i].name, known[i].given, D, 1);
        assert_true(codec.plan.bits_asked == known[i].asked && kvant_bits(&codec) == known[i].stored);
        kvant_close(&codec);
    }
}

/* ---- What it gains -------------------------------------------------------------------------------------------------------- */

enum { SEEDS = 16, MANY = 256 };

static stats_mean nmse_of(const char *given)
{
    static float x[MANY * D], decoded[MANY * D];
    double value[SEEDS], weight[SEEDS];
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        double error = 0, square = 0;
        kvant_codec codec = open_codec("turboquant_mse", given, D, seed);
        draw(x, MANY, 10, 0, 1000 + seed);
        if (codec.plan.train_min)
            assert_ok(kvant_train(&codec, x, MANY, err));
        draw(x, MANY, 10, 0, 2000 + seed);
        free(code_of(&codec, x, MANY, decoded));
        for (size_t i = 0; i < MANY * D; i++) {
            error += (x[i] - (double)decoded[i]) * (x[i] - (double)decoded[i]);
            square += (double)x[i] * x[i];
        }
        value[seed] = error / square;
        weight[seed] = 1;
        kvant_close(&codec);
    }
    return stats_clustered(value, weight, SEEDS);
}

static void expect_mean(stats_mean measured, double value, double tolerance)
{
    if (!(fabs(measured.mean - value) <= tolerance + 4.5 * measured.se))
        fail_msg("%g +- %g is not %g", measured.mean, measured.se, value);
}

/* Eight channels of variance 100 among 120 of variance 1 hold 800/920 of the energy. One rotation gives the error of 128 dimensions
 * to all of it; two streams give each its own error: D of 8 dimensions at 3 bits .0260630, at 2 bits .0947705, and of 120 at 2 bits
 * .1159015. The norm is stored in half precision, which adds below 1e-6. */
static void test_gain(void **state)
{
    (void)state;
    const double large = 800. / 920;
    expect_mean(nmse_of("bits=2"), .116000, 1e-6);
    expect_mean(nmse_of("bits=2,outlier_channels=8"), large * .0260630 + (1 - large) * .1159015, 1e-6);
    expect_mean(nmse_of("bits=2,outlier_channels=8,outlier_bits=2"), large * .0947705 + (1 - large) * .1159015, 1e-6);
}

/* ---- What makes no sense ---------------------------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *name, *given; kvant_status status; const char *part; } wrong[] = {
        { "turboquant_mse", "outlier_channels=8,outlier_select=list,outlier_list=1+2+3", KVANT_INVALID, "outlier_list has 3" },
        { "turboquant_mse", "outlier_channels=8,outlier_select=list", KVANT_INVALID, "outlier_list has 0" },
        { "rvq", "outlier_channels=4,outlier_list=1+2+3+4", KVANT_INVALID, "wants 0" },
        { "qjl", "outlier_list=1+2+3+4", KVANT_INVALID, "outlier_channels=0 wants 0" },
        { "qjl", "outlier_channels=4,outlier_select=list,outlier_list=1+2+3+128", KVANT_INVALID, "no channel 128, for dim is 128" },
        { "qjl", "outlier_channels=4,outlier_select=list,outlier_list=1+2+3+3", KVANT_INVALID, "3 is given twice" },
        { "turboquant_prod", "outlier_channels=3", KVANT_SKIP, "less than 4" },
        { "turboquant_prod", "outlier_channels=125", KVANT_SKIP, "less than 4" },
        { "turboquant_prod", "outlier_channels=4092", KVANT_SKIP, "splits 128 channels" },
        { "turboquant_mse", "outlier_channels=12,rotation=hadamard", KVANT_SKIP, "multiple of 8" },
        { "turboquant_mse", "outlier_channels=8,bits=8", KVANT_INVALID, "give outlier_bits" },
        { "rvq", "outlier_channels=8,bits=4", KVANT_INVALID, "give outlier_bits" },
        { "turboquant_mse", "outlier_channels=8,codebook=trained,outlier_source=prompt", KVANT_SKIP, "use one source" }
    };
    kvant_codec codec;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(try_open(wrong[i].name, wrong[i].given, D, 1, &codec, err), wrong[i].status, wrong[i].part);
    codec = open_codec("turboquant_mse", "outlier_channels=32,rotation=hadamard", D, 1);
    assert_non_null(strstr(codec.plan.note, "rest: hadamard in blocks of 32"));
    kvant_close(&codec);
}

static void test_training_refusals(void **state)
{
    (void)state;
    static float x[N * D];
    draw(x, N, 10, 0, 17);
    for (size_t q = 0; q < NAMES; q++) {
        kvant_codec codec = open_codec(names[q], "", D, 1);
        assert_fails(kvant_train(&codec, x, N, err), KVANT_INVALID, "nothing to train");
        kvant_close(&codec);
        codec = open_codec(names[q], "outlier_channels=4,outlier_select=list,outlier_list=0+1+2+3", D, 1);
        assert_fails(kvant_train(&codec, x, N, err), KVANT_INVALID, "nothing to train");
        kvant_close(&codec);
        codec = open_codec(names[q], "outlier_channels=4", D, 1);
        assert_fails(kvant_train(&codec, x, 31, err), KVANT_INVALID, "32 vectors");
        x[3 * D + 2] = INFINITY;
        assert_fails(kvant_train(&codec, x, N, err), KVANT_INVALID, "vector 3, coordinate 2");
        x[3 * D + 2] = 0;
        kvant_close(&codec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_planted_channels), cmocka_unit_test(test_norm_is_not_variance),
        cmocka_unit_test(test_ties_go_to_the_lower_channel), cmocka_unit_test(test_sources_agree), cmocka_unit_test(test_hostile_marks),
        cmocka_unit_test(test_streams_are_instances), cmocka_unit_test(test_scores_and_mixes), cmocka_unit_test(test_bits),
        cmocka_unit_test(test_gain), cmocka_unit_test(test_refusals), cmocka_unit_test(test_training_refusals)
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
