/* test_trained.c - codebooks from data: what k-means must leave behind whatever it is given, and what pq and kvquant do with it.
 * Degenerate data - all alike, fewer points than clusters, not finite - has defined results. */
#include "algorithms/shared/kmeans.h"
#include "algorithms/shared/random.h"
#include "harness/lm/kvcache.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 256, D = 64, K = 16, SUB = 3 };

static void gaussian(float *x, size_t n, uint32_t seed)
{
    gsl_rng *rng = random_open(seed, RANDOM_SKETCH);
    assert_non_null(rng);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gsl_ran_gaussian(rng, 1);
    gsl_rng_free(rng);
}

/* ---- k-means ------------------------------------------------------------------------------------------ */

static void cluster(const float *x, size_t n, float *c, float *half)
{
    gsl_rng *rng = random_open(5, RANDOM_KMEANS);
    assert_non_null(rng);
    assert_int_equal(kmeans_vectors(x, SUB, n, SUB, K, rng, c, half, NULL), KVANT_OK);
    gsl_rng_free(rng);
}

/* Every centroid is the mean of the vectors nearest to it, and none is left without vectors. */
static void test_vectors(void **state)
{
    (void)state;
    static float x[N * SUB], c[K * SUB], again[K * SUB], half[K];
    gaussian(x, N * SUB, 1);
    for (size_t i = 0; i < N * SUB; i++)
        x[i] += i / SUB % 2 ? 100 : 0;                         /* two far groups: a start in one alone would empty clusters */
    cluster(x, N, c, half);
    const kmeans_book book = { K, SUB, c, half };
    double sum[K][SUB] = { { 0 } };
    size_t count[K] = { 0 };
    for (size_t i = 0; i < N; i++) {
        size_t k = kmeans_nearest(&book, x + i * SUB);
        count[k]++;
        for (size_t j = 0; j < SUB; j++)
            sum[k][j] += x[i * SUB + j];
    }
    for (size_t k = 0; k < K; k++) {
        assert_true(count[k] > 0);
        for (size_t j = 0; j < SUB; j++)
            assert_true(fabs(sum[k][j] / (double)count[k] - c[j * K + k]) <= 1e-4);
    }
    cluster(x, N, again, half);
    assert_memory_equal(c, again, sizeof c);
}

/* As many clusters as there are distinct vectors leave no error; more leave spares. */
static void test_few_vectors(void **state)
{
    (void)state;
    static float x[N * SUB], c[K * SUB], half[K];
    for (size_t distinct = 1; distinct <= K; distinct++) {
        for (size_t i = 0; i < N * SUB; i++)
            x[i] = (float)(i / SUB % distinct) * (i % SUB ? 1.f : -3.f);
        cluster(x, N, c, half);
        const kmeans_book book = { K, SUB, c, half };
        for (size_t i = 0; i < N; i++) {
            size_t k = kmeans_nearest(&book, x + i * SUB);
            for (size_t j = 0; j < SUB; j++)
                assert_true(c[j * K + k] == x[i * SUB + j]);
        }
    }
    gsl_rng *rng = random_open(5, RANDOM_KMEANS);
    assert_int_equal(kmeans_vectors(x, SUB, K - 1, SUB, K, rng, c, half, NULL), KVANT_INVALID);
    gsl_rng_free(rng);
}

static void test_numbers(void **state)
{
    (void)state;
    static float x[N], c[K];
    gaussian(x, N, 2);
    assert_int_equal(kmeans_numbers(x, N, K, c, NULL), KVANT_OK);
    for (size_t k = 0, i = 0; k < K; k++) {                    /* x is sorted now: cells are runs */
        double sum = 0, edge = k + 1 < K ? ((double)c[k] + c[k + 1]) / 2 : INFINITY;
        size_t count = 0;
        for (; i < N && x[i] <= edge; i++, count++)
            sum += x[i];
        assert_true(count > 0);
        assert_true(fabs(sum / (double)count - c[k]) <= 1e-6);
    }
    float alike[5] = { 7, 7, 7, 7, 7 }, few[3] = { 3, 1, 2 };
    assert_int_equal(kmeans_numbers(alike, 5, K, c, NULL), KVANT_OK);
    for (size_t k = 0; k < K; k++)
        assert_true(c[k] == 7);
    assert_int_equal(kmeans_numbers(few, 3, 3, c, NULL), KVANT_OK);
    assert_true(c[0] == 1 && c[1] == 2 && c[2] == 3);
    assert_int_equal(kmeans_numbers(few, 0, 3, c, NULL), KVANT_INVALID);
}

/* ---- Methods --------------------------------------------------------------------------------------------- */

typedef struct { kvant_codec codec; uint8_t *code; void *scratch; float x[N * D], y[N * D]; } trained;

static void open_trained(trained *t, const char *name, const char *given, size_t n)
{
    kvant_error err = { "" };
    const kvant_quantizer *q = kvant_find(name, &err);
    const kvant_shape shape = { .dim = D, .side = KVANT_VECTOR, .seed = 4 };
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, given, &args, &err), KVANT_OK);
    if (kvant_open(q, &shape, &args, NULL, &t->codec, &err) || kvant_train(&t->codec, t->x, n, &err))
        fail_msg("%s: %s", name, err.text);
    t->code = kvant_alloc(kvant_bytes(&t->codec, N));
    t->scratch = kvant_alloc(t->codec.scratch);
    assert_true(t->code && t->scratch);
}

static void code(trained *t, size_t n)
{
    kvant_encode(&t->codec, t->x, 0, n, t->code, t->scratch);
    kvant_decode(&t->codec, t->code, 0, n, t->y, t->scratch);
}

static void close_trained(trained *t)
{
    free(t->code);
    free(t->scratch);
    kvant_close(&t->codec);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const names[] = { "pq", "kvquant" };
    static float x[4096 * D];
    for (size_t i = 0; i < 2; i++) {
        kvant_error err = { "" };
        kvant_codec codec;
        const kvant_quantizer *q = kvant_find(names[i], &err);
        const kvant_shape shape = { .dim = D, .side = KVANT_VECTOR };
        assert_int_equal(kvant_open(q, &shape, NULL, NULL, &codec, &err), KVANT_OK);
        assert_in_range(codec.plan.train_min, 1, 4096);
        assert_int_equal(kvant_train(&codec, x, codec.plan.train_min - 1, &err), KVANT_INVALID);
        x[3 * D + 2] = NAN;
        assert_int_equal(kvant_train(&codec, x, codec.plan.train_min, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, "vector 3, coordinate 2"));
        x[3 * D + 2] = 0;
        kvant_close(&codec);

        kvcache_codecs codecs;
        const kvcache_policy policy = { .key = { q, kvant_defaults(q->params) }, .value = { q, kvant_defaults(q->params) } };
        const kvcache_shape cache = { .n_layer = 1, .n_kv_head = 1, .head_dim = D };
        assert_int_equal(kvcache_codecs_open(&policy, &cache, NULL, &codecs, &err), KVANT_SKIP);
        assert_non_null(strstr(err.text, "calibration"));
    }
}

/* In a cache, each head of each layer learns from its own vectors, whatever the number of threads. */
static void test_cache(void **state)
{
    (void)state;
    enum { LAYERS = 2, HEADS = 3, TOKENS = 160 };
    kvant_error err = { "" };
    const kvant_quantizer *q = kvant_find("pq", &err), *f16 = kvant_find("f16", &err);
    kvcache_policy policy = { .key = { q, kvant_defaults(q->params) }, .value = { f16, kvant_defaults(f16->params) }, .seed = 5 };
    assert_int_equal(kvant_parse(q->params, "nbits=4", &policy.key.args, &err), KVANT_OK);
    const kvcache_shape shape = { .n_layer = LAYERS, .n_kv_head = HEADS, .head_dim = D };
    float *key = calloc(LAYERS * TOKENS * HEADS * D, sizeof *key), *x = calloc(TOKENS * D, sizeof *x);
    uint32_t r = 1;
    for (size_t i = 0; i < LAYERS * TOKENS * HEADS * D; i++) {
        r = r * 1664525u + 1013904223u;
        key[i] = (float)(r >> 8) / (1 << 24) - .5f;
    }
    const kvcache_calibration calibration = { TOKENS, key, key };
    kvcache_codecs codecs;
    if (kvcache_codecs_open(&policy, &shape, &calibration, &codecs, &err))
        fail_msg("%s", err.text);
    assert_int_equal(codecs.n_own, 1 + LAYERS * HEADS + LAYERS);
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t head = 0; head < HEADS; head++) {
            const kvant_codec *codec = kvcache_codec(&codecs, layer, head, KVANT_KEY);
            kvant_codec direct;
            for (size_t i = 0; i < TOKENS; i++)
                memcpy(x + i * D, key + ((layer * TOKENS + i) * HEADS + head) * D, D * sizeof *x);
            assert_int_equal(kvant_open(q, &codec->shape, &policy.key.args, NULL, &direct, &err), KVANT_OK);
            assert_int_equal(kvant_train(&direct, x, TOKENS, &err), KVANT_OK);
            assert_memory_equal(direct.state, codec->state, codec->plan.state);
            kvant_close(&direct);
        }
    kvcache_codecs_close(&codecs);
    const kvcache_calibration little = { 3, key, key };
    assert_int_equal(kvcache_codecs_open(&policy, &shape, &little, &codecs, &err), KVANT_SKIP);
    assert_non_null(strstr(err.text, "gives 3"));
    free(key);
    free(x);
}

/* Outliers go to slots, whichever sign, and spoil nobody's range; what is not finite goes first. */
static void test_slots(void **state)
{
    (void)state;
    static const char *const given[] = { "axis=channel,bits=4", "axis=token,bits=4" };
    static trained t;
    static float plain[N * D];
    for (size_t i = 0; i < 2; i++) {
        gaussian(t.x, N * D, 3);
        open_trained(&t, "kvquant", given[i], N);
        t.x[9] = 100;
        t.x[D + 17] = -300;
        t.x[2 * D + 63] = NAN;
        t.x[3 * D] = -INFINITY;
        t.x[4 * D + 1] = 1e6f;
        code(&t, N);
        assert_true(t.y[9] == 100 && t.y[D + 17] == -300 && t.y[4 * D + 1] == 65504);
        assert_true(isnan(t.y[2 * D + 63]) && isnan(t.y[3 * D]));
        for (size_t v = 0; v < 5; v++)
            for (size_t j = 0; j < D; j++)
                if (fabsf(t.x[v * D + j]) < 10)
                    assert_true(fabsf(t.y[v * D + j] - t.x[v * D + j]) <= 1);
        close_trained(&t);
    }
    gaussian(t.x, N * D, 3);                                   /* without slots a token's outlier is its range */
    open_trained(&t, "kvquant", "axis=token,bits=4,outliers=0", N);
    code(&t, N);
    memcpy(plain, t.y, sizeof plain);
    t.x[5 * D + 7] = NAN;
    code(&t, N);
    for (size_t k = 0; k < N * D; k++)
        assert_true(k / D == 5 ? isnan(t.y[k]) : t.y[k] == plain[k]);
    close_trained(&t);
}

/* nmse of N vectors of test data under codebook=trained, trained on the vectors of `train` [n][D]. Uses t->x. */
static double error_of_trained(trained *t, const char *given, const float *train, size_t n)
{
    kvant_error err = { "" };
    const kvant_quantizer *q = kvant_find("turboquant_mse", &err);
    const kvant_shape shape = { .dim = D, .side = KVANT_VECTOR, .seed = 4 };
    kvant_args args = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, given, &args, &err), KVANT_OK);
    if (kvant_open(q, &shape, &args, NULL, &t->codec, &err) || (t->codec.plan.train_min && kvant_train(&t->codec, train, n, &err)))
        fail_msg("%s", err.text);
    t->code = kvant_alloc(kvant_bytes(&t->codec, N));
    t->scratch = kvant_alloc(t->codec.scratch);
    assert_true(t->code && t->scratch);
    code(t, N);
    double error = 0, square = 0;
    for (size_t i = 0; i < N * D; i++) {
        error += (t->x[i] - (double)t->y[i]) * (t->x[i] - (double)t->y[i]);
        square += (double)t->x[i] * t->x[i];
    }
    close_trained(t);
    return error / square;
}

/* The exact codebook has the least error in the mean. One that was trained on 8192 coordinates per centroid has at most .17 % more (at
 * 4 bits 5.47 % at 256, and in proportion to 1/N), and on the same test vectors both errors are nearly the same sum:
 * .5 % covers what they differ by beyond that. */
static void test_trained_codebook_approaches_the_exact_one(void **state)
{
    (void)state;
    enum { MANY = 2048 };
    static trained t;
    static float train[MANY * D];
    gaussian(train, MANY * D, 21);
    gaussian(t.x, N * D, 22);
    for (int b = 1; b <= 4; b++) {
        char given[64];
        snprintf(given, sizeof given, "bits=%d", b);
        double exact = error_of_trained(&t, given, NULL, 0);
        snprintf(given, sizeof given, "bits=%d,codebook=trained", b);
        double learned = error_of_trained(&t, given, train, MANY);
        if (!(fabs(learned / exact - 1) <= 5e-3))
            fail_msg("%d bits: %g, and %g with the exact codebook", b, learned, exact);
    }
}

/* What no solved codebook knows: coordinates of three values, unrotated, come back with the norm's rounding only, where the exact
 * codebook leaves .004 (-.522, .522 and 1.567 standard deviations go to -.45, .45 and 1.51). Training ignores
 * zero vectors, which have no direction. */
static void test_trained_codebook_learns_values(void **state)
{
    (void)state;
    static trained t;
    static float train[N * D];
    for (size_t i = 0; i < N * D; i++) {
        t.x[i] = (float)(i % D % 3) - .5f;
        train[i] = i / D % 2 ? t.x[i] * (float)(1 + i / D) : 0;
    }
    assert_true(error_of_trained(&t, "bits=2,rotation=none,codebook=trained", train, N) <= 1e-6);
    assert_true(error_of_trained(&t, "bits=2,rotation=none", NULL, 0) > .003);

    kvant_error err = { "" };
    kvant_codec codec;
    const kvant_quantizer *q = kvant_find("turboquant_mse", &err);
    const kvant_shape shape = { .dim = D, .side = KVANT_VECTOR };
    kvant_args args = kvant_defaults(q->params);
    assert_int_equal(kvant_parse(q->params, "bits=3,codebook=trained", &args, &err), KVANT_OK);
    assert_int_equal(kvant_open(q, &shape, &args, NULL, &codec, &err), KVANT_OK);
    assert_int_equal(codec.plan.train_min, 256 * 8 / D);
    memset(train, 0, sizeof train);
    assert_int_equal(kvant_train(&codec, train, N, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "are zero"));
    train[D] = NAN;
    assert_int_equal(kvant_train(&codec, train, N, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "vector 1, coordinate 0"));
    kvant_close(&codec);
}

/* With outliers, each stream learns from its own channels: values of two kinds, each of three kinds. */
static void test_trained_streams(void **state)
{
    (void)state;
    static trained t;
    for (size_t i = 0; i < N * D; i++)
        t.x[i] = i % D < 8 ? 100 * ((float)(i % D % 3) - 1.25f) : (float)(i % D % 3) - .5f;
    assert_true(error_of_trained(&t, "bits=2,outlier_bits=2,rotation=none,codebook=trained,outlier_channels=8", t.x, N) <= 1e-6);
    assert_true(error_of_trained(&t, "bits=2,rotation=none,codebook=trained", t.x, N) > 1e-5);
}

static void test_bits(void **state)
{
    (void)state;
    static const struct { const char *name, *given; double bits; } known[] = {
        { "pq", "nbits=4", 1 }, { "pq", "nbits=5,subspaces=8", .625 }, { "kvquant", "axis=channel,bits=4,outliers=0", 4 },
        { "kvquant", "axis=channel,bits=4", 4 + 24. / D }, { "kvquant", "axis=token,bits=3", 3 + (32 + 24.) / D } };
    static trained t;
    gaussian(t.x, N * D, 6);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        open_trained(&t, known[i].name, known[i].given, N);
        assert_true(kvant_bits(&t.codec) == known[i].bits);
        close_trained(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_few_vectors), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_cache), cmocka_unit_test(test_slots), cmocka_unit_test(test_bits),
        cmocka_unit_test(test_trained_codebook_approaches_the_exact_one), cmocka_unit_test(test_trained_codebook_learns_values),
        cmocka_unit_test(test_trained_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
