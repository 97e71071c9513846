/* test_pairs.c - polarquant_rope pairs what RoPE pairs: half a width apart or neighbours, and neighbours beyond the width.
 * A permutation that makes every pair a pair of neighbours must give the same codes for the permuted vectors. */
#include "algorithms/shared/random.h"
#include "harness/kvant.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 80, N = 256 };

static kvant_status open_with(kvant_rope rope, kvant_side side, kvant_codec *codec, kvant_error *err)
{
    const kvant_quantizer *q = kvant_find("polarquant_rope", err);
    const kvant_shape shape = { .dim = D, .side = side, .rope = rope };
    assert_non_null(q);
    return kvant_open(q, &shape, NULL, "scalar", codec, err);
}

/* Decoded vectors, and codes where wanted. */
static float *through(kvant_rope rope, const float *x, uint8_t **code)
{
    kvant_codec codec;
    kvant_error err;
    if (open_with(rope, KVANT_KEY, &codec, &err))
        fail_msg("%s", err.text);
    *code = kvant_alloc(kvant_bytes(&codec, N));
    float *decoded = calloc(N * D, sizeof *decoded);
    void *scratch = kvant_alloc(codec.scratch);
    assert_true(*code && decoded && scratch);
    kvant_encode(&codec, x, 0, N, *code, scratch);
    kvant_decode(&codec, *code, 0, N, decoded, scratch);
    free(scratch);
    kvant_close(&codec);
    return decoded;
}

/* Where coordinate j of a key lies once pairs are neighbours. */
static size_t place(uint32_t width, size_t j)
{
    return j >= width ? j : j < width / 2 ? 2 * j : 2 * (j - width / 2) + 1;
}

static void test_pairing(void **state)
{
    (void)state;
    static const uint32_t widths[] = { D, 64, 32, 0 };
    float *x = calloc(N * D, sizeof *x), *y = calloc(N * D, sizeof *y);
    gsl_rng *rng = random_open(1, RANDOM_SKETCH);
    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)(gsl_ran_gaussian(rng, 1) * (i % D == 7 ? 20 : 1));
    gsl_rng_free(rng);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        uint8_t *code_half, *code_neighbours;
        for (size_t i = 0; i < N * D; i++)
            y[i / D * D + place(widths[w], i % D)] = x[i];
        float *half = through((kvant_rope) { KVANT_ROPE_HALF, widths[w] }, x, &code_half);
        float *neighbours = through((kvant_rope) { KVANT_ROPE_INTERLEAVED, widths[w] }, y, &code_neighbours);
        assert_memory_equal(code_half, code_neighbours, N * D / 2);
        for (size_t i = 0; i < N * D; i++)
            assert_true(half[i] == neighbours[i / D * D + place(widths[w], i % D)]);
        free(half);
        free(neighbours);
        free(code_half);
        free(code_neighbours);
    }
    free(x);
    free(y);
}

static void test_plan(void **state)
{
    (void)state;
    kvant_codec codec;
    kvant_error err;
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_HALF, D }, KVANT_KEY, &codec, &err), KVANT_OK);
    assert_true(kvant_bits(&codec) == 4.25 && codec.plan.block == 128 && codec.plan.bits_asked == 4 && !*codec.plan.note);
    kvant_close(&codec);
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_HALF, 64 }, KVANT_KEY, &codec, &err), KVANT_OK);
    assert_non_null(strstr(codec.plan.note, "beyond the rotated 64"));
    kvant_close(&codec);
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_NONE, 0 }, KVANT_VECTOR, &codec, &err), KVANT_OK);
    assert_non_null(strstr(codec.plan.note, "no RoPE"));
    kvant_close(&codec);
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_HALF, D }, KVANT_VALUE, &codec, &err), KVANT_SKIP);
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_HALF, 2 * D }, KVANT_KEY, &codec, &err), KVANT_SKIP);
    assert_int_equal(open_with((kvant_rope) { KVANT_ROPE_HALF, 33 }, KVANT_KEY, &codec, &err), KVANT_SKIP);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pairing), cmocka_unit_test(test_plan) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
