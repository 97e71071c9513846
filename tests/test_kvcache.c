/* test_kvcache.c - the packed cache by itself: codecs of allocations and of sequences, bytes as they are accounted for and as they are
 * allocated, with sinks, windows, blocks and sliding layers. What queries see of it is in test_attention.c. */
#include "tests/attention_problem.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a sequence's codec learnt is counted once it has, and a reset forgets it: the second is coded as if it were the first. */
static void test_learner(void **state)
{
    (void)state;
    kvcache_side learns;
    const kvant_quantizer learner = problem_learner(&learns);
    learns.quantizer = &learner;
    const kvcache_side f16 = problem_side("f16", "");
    const kvcache_policy policy = { .key = learns, .value = f16, .sink = 2 };
    const kvcache_shape shape = { .n_layer = 1, .n_kv_head = 1, .head_dim = 64 };
    kvcache_codecs codecs;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    assert_int_equal(kvcache_accounted(&codecs, 2 + PROBLEM_LEARNS - 1).key, (2 + PROBLEM_LEARNS - 1) * 128);
    assert_int_equal(kvcache_accounted(&codecs, 2 + PROBLEM_LEARNS).key,
                     2 * 128 + PROBLEM_LEARNS * codecs.of[0]->plan.code + sizeof(float));
    kvcache *cache;
    assert_int_equal(kvcache_open(&codecs, PROBLEM_TOKENS, &cache, NULL), KVANT_OK);
    float scale[3];
    void *scratch = kvant_alloc(kvcache_scratch(&codecs));
    float x[PROBLEM_TOKENS * 64], waiting[(PROBLEM_TOKENS + PROBLEM_LEARNS) * 64];
    uint64_t seed = 3;
    for (int i = 0; i < 3; i++) {
        kvcache_reset(cache);
        problem_fill(x, PROBLEM_TOKENS * 64, i == 1 ? 100 : 1, &seed);
        seed = 3;
        kvcache_append(cache, 0, 0, KVANT_KEY, x, 64, PROBLEM_TOKENS, true, waiting, NULL, scratch);
        const kvant_codec *own = kvcache_rule_in(cache, 0, 0, KVANT_KEY).codec;
        assert_ptr_not_equal(own, codecs.of[0]);
        kvcache_run runs[KVCACHE_RUNS];
        const size_t n = kvcache_runs(cache, 0, 0, KVANT_KEY, PROBLEM_TOKENS, runs);
        assert_int_equal(n, 2);
        float y[64];
        kvant_decode(runs[1].codec, runs[1].code, 50, 1, y, scratch);
        scale[i] = y[7];
        assert_true(fabsf(y[7] - x[52 * 64 + 7]) < (i == 1 ? 40.f : .4f));
    }
    assert_true(scale[0] != scale[1] && scale[0] == scale[2]);

    /* A vector that cannot be learnt from is the forward pass's failure, not a silent one. */
    x[5 * 64] = NAN;
    kvcache_reset(cache);
    kvant_error err = { "" };
    assert_int_equal(kvcache_trained(cache, &err), KVANT_OK);
    kvcache_append(cache, 0, 0, KVANT_KEY, x, 64, PROBLEM_TOKENS, true, waiting, NULL, scratch);
    assert_int_equal(kvcache_trained(cache, &err), KVANT_INVALID);
    assert_true(*err.text);
    free(scratch);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* Each group by its own quantizer: one codec per layer, side and quantizer, bytes of all groups added up. */
static void test_allocation(void **state)
{
    (void)state;
    const kvcache_side a = problem_side("affine", "bits=4,group_size=32"), b = problem_side("affine", "bits=8,group_size=32");
    const kvcache_side f16 = problem_side("f16", "");
    kvcache_side sides[2 * 3 * 2] = { a, f16, b, f16, a, f16, b, b, b, b, b, a };
    const kvcache_allocation allocation = { 2, 3, sides };
    kvcache_policy policy = { .key = f16, .value = f16, .allocation = &allocation };
    kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64 };
    kvcache_codecs codecs;
    kvant_error err = { "" };
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err), KVANT_OK);
    assert_int_equal(codecs.n_own, 1 + 3 + 3);
    assert_ptr_equal(kvcache_codec(&codecs, 0, 0, KVANT_KEY), kvcache_codec(&codecs, 0, 2, KVANT_KEY));
    assert_ptr_not_equal(kvcache_codec(&codecs, 0, 0, KVANT_KEY), kvcache_codec(&codecs, 0, 1, KVANT_KEY));
    const kvcache_bytes bytes = kvcache_accounted(&codecs, 10);
    assert_int_equal(bytes.key, 10 * (2 * 40 + 4 * 72));
    assert_int_equal(bytes.value, 10 * (3 * 128 + 2 * 72 + 40));
    kvcache_codecs described;
    assert_int_equal(kvcache_codecs_describe(&policy, &shape, &described, &err), KVANT_OK);
    assert_int_equal(kvcache_accounted(&described, 10).value, bytes.value);
    kvcache_codecs_close(&described);
    kvcache_codecs_close(&codecs);
    shape.n_layer = 3;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "2 layers of 3"));
}

static void test_bytes(void **state)
{
    (void)state;
    const kvcache_policy policy = { .key = problem_side("kivi", "bits=8"), .value = problem_side("f16", ""), .sink = 4, .window = 10 };
    const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64 };
    kvcache_codecs codecs;
    kvcache *cache;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    /* 150 tokens: 4 sinks and the last 10 in f16; of the 136 between, 4 blocks of 32 are whole and 8 tokens wait. */
    const kvcache_bytes b = kvcache_accounted(&codecs, 150);
    assert_int_equal(b.key, 6 * (4 * 64 * 36 + (150 - 128) * 128));
    assert_int_equal(b.value, 6 * 150 * 128);
    assert_int_equal(b.f16_key, 6 * 150 * 128);
    assert_int_equal(kvcache_open(&codecs, 150, &cache, NULL), KVANT_OK);
    /* Resident: the same codes and sinks, a ring of window + block tokens, rounded to cache lines. */
    const kvcache_bytes r = kvcache_resident(cache);
    assert_int_equal(r.key, 6 * (4 * 64 * 36 + 4 * 128 + 42 * 128));
    assert_true(r.value >= b.value);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* Of two layers the second sees 50 tokens: beyond them its memory does not grow, whatever the capacity, and bytes count the 50, blocks
 * of codes that hold one of them in whole. */
static void test_sliding_bytes(void **state)
{
    (void)state;
    kvcache_policy policy = { .key = problem_side("kivi", "bits=8"), .value = problem_side("affine", "bits=4,group_size=32") };
    const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64, .sliding = { 50, { 2 } } };
    static const uint32_t lengths[] = { 20, 50, 60, 82, 1000 };
    /* Blocks of 32 keys that are seen, and the keys behind the last of them. */
    static const uint32_t blocks[] = { 0, 1, 1, 1, 2 }, waits[] = { 20, 18, 28, 18, 8 };
    enum { BLOCK = 64 * 36, VECTOR = 128, CODE = 40 };
    kvcache_codecs codecs;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const uint32_t n = lengths[i], seen = n < 50 ? n : 50;
        const kvcache_bytes b = kvcache_accounted(&codecs, n);
        assert_int_equal(b.key, 3 * (n / 32 * BLOCK + n % 32 * VECTOR + blocks[i] * BLOCK + waits[i] * VECTOR));
        assert_int_equal(b.value, 3 * (n + seen) * CODE);
        assert_int_equal(b.f16_key, 3 * (n + seen) * VECTOR);
        kvcache *cache;
        assert_int_equal(kvcache_open(&codecs, n, &cache, NULL), KVANT_OK);
        const kvcache_bytes r = kvcache_resident(cache);
        assert_true(r.key >= b.key && r.value >= b.value);
        kvcache_close(cache);
    }
    kvcache *caches[2];
    kvcache_bytes sizes[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kvcache_open(&codecs, i ? 100000 : 1024, &caches[i], NULL), KVANT_OK);
        sizes[i] = kvcache_resident(caches[i]);
        kvcache_close(caches[i]);
    }
    /* The first layer's growth alone: 100000 / 32 blocks more, and nothing else; its ring of waiting keys is the same. */
    assert_int_equal(sizes[1].key - sizes[0].key, 3 * (100000 / 32 - 1024 / 32) * BLOCK);
    assert_int_equal(sizes[1].value - sizes[0].value, 3 * (100000 - 1024) * CODE);
    /* The last 50 tokens lie in two blocks of codes at most, and in up to 32 that wait. */
    assert_int_equal(sizes[0].key, 3 * (1024 / 32 * BLOCK + 32 * VECTOR + 2 * BLOCK + 32 * VECTOR));
    kvcache_codecs_close(&codecs);

    /* A window in f16 that covers the layer's makes it f16, of as many tokens. */
    policy.window = 50;
    policy.sink = 4;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    const kvcache_bytes b = kvcache_accounted(&codecs, 1000);
    assert_int_equal(b.value, 3 * ((1000 - 54) * CODE + 54 * VECTOR + 50 * VECTOR));
    kvcache_codecs_close(&codecs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learner), cmocka_unit_test(test_allocation), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_sliding_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
