/* test_words.c - 8-bit codebooks of any shape through the kernel: solved ones, lopsided ones, and one with a centroid far out.
 * Codes must be the scalar code's, products those of what they decode to, for ordinary vectors and for such as fill integer sums. */
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/random.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <string.h>

enum { N = 300, MOST = 512, QUERIES = 15 /* 8, 4, 2 and 1 at a time */, FIRST = 37 };
typedef enum { SOLVED, LOPSIDED, FAR_OUT, POSITIVE, TABLES } table;
static const char *const names[TABLES] = { "solved", "lopsided", "far out", "positive" };

static float x[N * MOST], decoded[2][N * MOST], q[QUERIES * MOST], w[QUERIES * N], dot[QUERIES * N], out[QUERIES * MOST];
static uint16_t sym[2][N * MOST];

/* Another table in the place of a solved one. */
static void bend(kvant_codec *codec, table t)
{
    kvant_parts parts = { .n = 0 };
    float *c = NULL, *threshold = NULL;
    assert_ok(kvant_list_parts(codec, &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        float *at = (float *)(void *)((char *)codec->state + parts.part[i].offset);
        c = strcmp(parts.part[i].name, "codebook") ? c : at;
        threshold = strcmp(parts.part[i].name, "thresholds") ? threshold : at;
    }
    assert_true(c && threshold);
    for (size_t k = 0; k < 256; k++)
        if (t == LOPSIDED)
            c[k] += .3f * (c[k < 255 ? k + 1 : k] - c[k]) * (float)(k % 3);
        else if (t == POSITIVE)
            c[k] = (float)(k + 128) / 256 / sqrtf((float)codec->shape.dim);
    if (t == FAR_OUT)
        c[255] = 1000;
    codebook_thresholds(c, 256, threshold);
}

static double length(const float *v, size_t n)
{
    double square = 0;
    for (size_t k = 0; k < n; k++)
        square += (double)v[k] * v[k];
    return sqrt(square);
}

/* Of queries and weights at the edges too: one coordinate or token alone, all alike, of both signs. */
static void fill(uint32_t dim)
{
    gsl_rng *rng = random_open(11, RANDOM_SKETCH);
    for (size_t i = 0; i < N * dim; i++)
        x[i] = (float)gsl_ran_gaussian(rng, 1);
    for (size_t v = 128; v < N; v++) {             /* the longest sums that there are: all the same, of one coordinate or of all */
        for (size_t k = 0; k < dim; k++)
            x[v * dim + k] = v < 192 ? (float)(k == 3) : v < 256 ? -1 : 1;
        if (v == 299)
            memset(x + v * dim, 0, dim * sizeof *x);
    }
    for (size_t i = 0; i < QUERIES * dim; i++)
        q[i] = i / dim == 0 ? (float)(i % dim == 3) : i / dim == 1 ? -1e30f : i / dim == 2 ? 1e-30f : (float)gsl_ran_gaussian(rng, 1);
    for (size_t i = 0; i < QUERIES * N; i++)
        w[i] = i / N == 0 ? 1 : i / N == 1 ? -1e-6f : i / N == 2 ? (float)(i % N == 150) : (float)exp(4 * gsl_ran_gaussian(rng, 1));
    for (size_t i = 3 * N; i < 4 * N; i++)
        w[i] = i % 2 ? -w[i] : w[i];
    gsl_rng_free(rng);
}

/* Words are off by half at most. A query's are 32000 long, those of a direction's centroids 2^31 / 32000 over the most that these can
 * be, which is 1.5 here; the shortest are half as long as the direction, of 22000 words then. Of 32 weights each is off by half of
 * 1/32767 of the largest, or of 1/65534 of their sum. */
static void check_products(const kvant_codec *codec[2], bool exact)
{
    const uint32_t dim = codec[0]->shape.dim;
    const size_t n = N - FIRST;
    const double half = sqrt((double)dim) / 2, words = exact ? 0 : half / 32000 + half / 20000, weights = exact ? 0 : 16. / 32767,
                 rounding = (double)(dim + n) * 0x1p-22;
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t v = 0; v < n; v++) {
            const float *y = decoded[0] + (FIRST + v) * dim;
            double sum = 0;
            for (size_t k = 0; k < dim; k++)
                sum += (double)q[i * dim + k] * y[k];
            if (!(fabs(dot[i * n + v] - sum) <= (words + rounding) * length(q + i * dim, dim) * length(y, dim)))
                fail_msg("score of query %zu and vector %zu: %g, and not %g", i, FIRST + v, (double)dot[i * n + v], sum);
        }
    for (size_t i = 0; i < QUERIES; i++) {
        double most = 0, off = 0;
        for (size_t v = 0; v < n; v++)
            most += fabs((double)w[i * n + v]) * length(decoded[1] + (FIRST + v) * dim, dim);
        for (size_t k = 0; k < dim; k++) {
            double sum = 0;
            for (size_t v = 0; v < n; v++)
                sum += (double)w[i * n + v] * decoded[1][(FIRST + v) * dim + k];
            off += (out[i * dim + k] - sum) * (out[i * dim + k] - sum);
        }
        if (!(sqrt(off) <= (words + weights + rounding) * most))
            fail_msg("mix %zu is %g of %g off", i, sqrt(off), most);
    }
}

static void run(const kvant_codec *codec, size_t at, bool fast)
{
    uint8_t *code = kvant_alloc(kvant_bytes(codec, N));
    void *scratch = kvant_alloc(codec->scratch), *prepared = kvant_alloc(QUERIES * codec->query);
    float *acc = kvant_alloc(QUERIES * codec->acc * sizeof *acc);
    assert_true(code && scratch && prepared && acc);
    kvant_encode(codec, x, 0, N, code, scratch);
    kvant_symbols(codec, code, N, sym[fast]);
    kvant_decode(codec, code, 0, N, decoded[at], scratch);
    if (fast && at == 0) {
        kvant_query(codec, q, QUERIES, prepared, scratch);
        kvant_score(codec, prepared, QUERIES, code, FIRST, N - FIRST, dot, scratch);
    } else if (fast) {
        kvant_mix(codec, w, QUERIES, code, FIRST, N - FIRST, acc, scratch);
        kvant_finish(codec, acc, QUERIES, out, scratch);
    }
    free(code), free(scratch), free(prepared), free(acc);
}

static void check_table(table t, uint32_t dim, const char *given)
{
    const kvant_quantizer *tq = kvant_find("turboquant_mse", NULL);
    kvant_codec solved, scalar[2], fast[2];
    kvant_args args = kvant_defaults(tq->params);
    assert_ok(kvant_parse(tq->params, given, &args, err));
    fill(dim);
    for (size_t side = 0; side < 2; side++) {
        const kvant_shape shape = { .dim = dim, .side = (kvant_side)side, .seed = 2 };
        assert_ok(kvant_open(tq, &shape, &args, "scalar", &solved, err));
        if (t != SOLVED)
            bend(&solved, t);
        assert_ok(kvant_open_state(tq, &shape, &args, "scalar", solved.state, solved.plan.state, &scalar[side], err));
        assert_ok(kvant_open_state(tq, &shape, &args, "avx512", solved.state, solved.plan.state, &fast[side], err));
        kvant_close(&solved);
        static float own[N * MOST];
        run(&scalar[side], side, false);
        memcpy(own, decoded[side], N * dim * sizeof *own);
        run(&fast[side], side, true);
        if (memcmp(sym[0], sym[1], N * dim * sizeof **sym))
            fail_msg("%s, %u, %s: other codes than the scalar code's", names[t], dim, given);
        for (size_t v = 0; v < N; v++) {
            const double most = length(own + v * dim, dim) * 1e-6;
            for (size_t k = 0; k < dim; k++)
                assert_true(fabs((double)own[v * dim + k] - decoded[side][v * dim + k]) <= most);
        }
    }
    check_products((const kvant_codec *[]) { &fast[0], &fast[1] }, t == FAR_OUT);
    for (size_t side = 0; side < 2; side++)
        kvant_close(&scalar[side]), kvant_close(&fast[side]);
}

static void words_serve_any_table(void **state)
{
    static const char *const given[] = { "bits=8,rotation=hadamard", "bits=8,rotation=none,norm=f32,scale=norm_corrected" };
    (void)state;
    const kvant_quantizer *tq = kvant_find("turboquant_mse", NULL);
    kvant_args args = kvant_defaults(tq->params);
    kvant_codec codec;
    assert_ok(kvant_parse(tq->params, given[0], &args, err));
    const kvant_shape shape = { .dim = 64, .side = KVANT_KEY };
    if (kvant_describe(tq, &shape, &args, "avx512", &codec, NULL) || strcmp(codec.target, "avx512")) {
        print_message("this processor does not have avx512\n");
        skip();
    }
    for (table t = SOLVED; t < TABLES; t++)
        for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
            check_table(t, 64, given[i]);
            check_table(t, MOST, given[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(words_serve_any_table) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
