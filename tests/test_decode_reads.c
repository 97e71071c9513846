/* test_decode_reads.c - the ways in which decode steps read a cache: codes, decoded in every step, or an f16 copy. Each is held
 * against attention in double over exactly what it reads, under every kind of policy; a copy against what it copies; and bytes. */
#include "harness/lm/attention.h"
#include "tests/attention_problem.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const kvcache_reads ways[] = { READS_DECODED, READS_COPY };
enum { WAYS = 2, DIM = 64, HALF = 2 * DIM, TOKENS = PROBLEM_TOKENS };

/* ---- Attention --------------------------------------------------------------------------------- */

/* That of codes is test_attention.c's; here are the others, so that all three are within the bound of one solution: the decoded codes,
 * which the copy rounds to halves. */
static void test_policies(void **state)
{
    (void)state;
    const kvcache_side block = problem_side("kivi", "bits=4,axis=channel"), affine = problem_side("affine", "bits=4,group_size=16");
    const kvcache_side f16 = problem_side("f16", ""), f32 = problem_side("f32", "");
    const kvcache_side turbo = problem_side("turboquant_mse", "bits=4,rotation=hadamard");
    const kvcache_side pairs[][2] = { { affine, affine }, { turbo, turbo }, { block, affine }, { turbo, block }, { f16, turbo },
                                      { affine, f16 }, { f32, f32 } };
    static const struct { uint32_t sink, window; kvcache_prefill prefill; kvcache_key_stage stage; } cases[] = {
        { 0, 0, PREFILL_PACKED, KEYS_POST_ROPE }, { 3, 7, PREFILL_PACKED, KEYS_POST_ROPE }, { 3, 0, PREFILL_PACKED, KEYS_PRE_ROPE },
        { 0, 128, PREFILL_RAW, KEYS_POST_ROPE }, { 2, 7, PREFILL_RAW, KEYS_PRE_ROPE },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (size_t w = 0; w < WAYS; w++) {
                const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = cases[c].sink,
                                                .window = cases[c].window, .prefill = cases[c].prefill, .key_stage = cases[c].stage,
                                                .decode_reads = ways[w] };
                problem_check_policy(&policy, c % 2 ? 96 : 64);
            }
}

/* Sliding windows of one token, shorter than a block and than the sinks, and longer than a tile. */
static void test_sliding(void **state)
{
    (void)state;
    const kvcache_side block = problem_side("kivi", "bits=4,axis=channel"), affine = problem_side("affine", "bits=4,group_size=16");
    static const struct { uint32_t sliding, sink, window; } cases[] = { { 1, 0, 0 }, { 5, 3, 2 }, { 5, 70, 0 }, { 64, 2, 0 },
                                                                        { 150, 2, 9 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t w = 0; w < WAYS; w++) {
            const kvcache_policy policy = { .key = block, .value = affine, .sink = cases[c].sink, .window = cases[c].window,
                                            .decode_reads = ways[w] };
            problem_check_layer(&policy, 80, cases[c].sliding, 0);
        }
}

static void test_learners(void **state)
{
    (void)state;
    kvcache_side learns;
    const kvant_quantizer learner = problem_learner(&learns);
    learns.quantizer = &learner;
    for (size_t w = 0; w < WAYS; w++)
        for (uint32_t window = 0; window <= 7; window += 7) {
            const kvcache_policy policy = { .key = learns, .value = learns, .sink = 3, .window = window, .decode_reads = ways[w] };
            problem_check_policy(&policy, 64);
        }
}

/* ---- The copy ---------------------------------------------------------------------------------- */

static void open_codecs(const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs)
{
    kvant_error err = { "" };
    if (kvcache_codecs_open(policy, shape, NULL, codecs, &err) != KVANT_OK)
        fail_msg("%s", err.text);
}

/* Appends x [n][DIM] to one side of a layer and head. */
static void append(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, uint32_t n)
{
    const kvcache_codecs *codecs = kvcache_codecs_of(cache);
    const kvcache_rule rule = kvcache_rule_of(codecs, layer, head, side);
    void *scratch = kvant_alloc(kvcache_scratch(codecs));
    float *waiting = kvant_alloc((kvcache_waiting_max(&rule, n) + 1) * DIM * sizeof *waiting);
    kvcache_append(cache, layer, head, side, x, DIM, n, n > 1, waiting, NULL, scratch);
    free(waiting);
    free(scratch);
}

/* What a step at `length` tokens reads of a side, as f16, must be the halves of what the cache stores, position by position:
 * [length][DIM] into y. Returns how many of them come from codes. */
static uint32_t read_side(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length, float *y)
{
    const kvcache_codecs *codecs = kvcache_codecs_of(cache);
    void *scratch = kvant_alloc(codecs->scratch + 1);
    uint8_t half[HALF];
    kvcache_run stored[KVCACHE_RUNS], read[KVCACHE_RUNS];
    const size_t n = kvcache_runs(cache, layer, head, side, length, stored);
    assert_int_equal(kvcache_decode_runs(cache, layer, head, side, length, read), n);
    uint32_t copied = 0;
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(read[i].codec, codecs->f16);
        assert_int_equal(read[i].position, stored[i].position);
        assert_int_equal(read[i].n, stored[i].n);
        copied += stored[i].codec == codecs->f16 ? 0 : stored[i].n;
        for (uint32_t t = 0; t < stored[i].n; t++) {
            float x[DIM], *got = y + (size_t)(stored[i].position + t) * DIM;
            kvant_decode(stored[i].codec, stored[i].code, stored[i].first + t, 1, x, scratch);
            kvant_decode(codecs->f16, read[i].code, read[i].first + t, 1, got, scratch);
            kvant_encode(codecs->f16, x, 0, 1, half, scratch);
            kvant_decode(codecs->f16, half, 0, 1, x, scratch);
            assert_memory_equal(got, x, sizeof x);
        }
    }
    free(scratch);
    return copied;
}

/* In pieces that fill blocks and rings unevenly, from the second layer on: at each length the copy is what is decoded then, and after
 * a reset too. */
static void test_copies(void **state)
{
    (void)state;
    static const uint32_t pieces[] = { 1, 3, 40, 1, 90, 1, 64 };           /* TOKENS in all */
    const kvcache_policy policy = { .key = problem_side("kivi", "bits=4,axis=channel"), .sink = 2, .window = 5,
                                    .value = problem_side("affine", "bits=4,group_size=16"), .decode_reads = READS_COPY };
    const kvcache_shape shape = { .n_layer = 3, .n_kv_head = 2, .head_dim = DIM, .sliding = { 50, { 4 } } };
    kvcache_codecs codecs;
    kvcache *cache;
    static float x[TOKENS * DIM], y[TOKENS * DIM];
    open_codecs(&policy, &shape, &codecs);
    assert_int_equal(kvcache_open_from(&codecs, 1, TOKENS, &cache, NULL), KVANT_OK);
    for (uint64_t round = 0, seed = 9; round < 2; round++) {
        uint32_t length = 0;
        kvcache_reset(cache);
        problem_fill(x, TOKENS * DIM, 1, &seed);
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            for (uint32_t part = 0; part < 2 * 2 * 2; part++)
                append(cache, 1 + part / 4, part / 2 % 2, part % 2 ? KVANT_VALUE : KVANT_KEY, x + length * DIM, pieces[i]);
            length += pieces[i];
            kvcache_advance(cache, pieces[i]);
            for (uint32_t part = 0; part < 2 * 2 * 2; part++) {
                const kvant_side side = part % 2 ? KVANT_VALUE : KVANT_KEY;
                const kvcache_rule rule = kvcache_rule_of(&codecs, 1 + part / 4, 0, side);
                const uint32_t coded = read_side(cache, 1 + part / 4, part / 2 % 2, side, length, y);
                const uint32_t first = kvcache_first_seen(&rule, length), gone = first > 2 ? first - 2 : 0;
                const uint32_t all = kvcache_coded(&rule, length);
                assert_int_equal(coded, all > gone ? all - gone : 0);
            }
        }
        assert_int_equal(length, TOKENS);
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* A cache that repeats its first layer repeats the copy too. */
static void test_repeats(void **state)
{
    (void)state;
    const kvcache_side affine = problem_side("affine", "bits=4,group_size=16");
    const kvcache_policy policy = { .key = affine, .value = affine, .decode_reads = READS_COPY };
    const kvcache_shape one = { .n_layer = 1, .n_kv_head = 2, .head_dim = DIM };
    kvcache_codecs codecs, all;
    const kvant_codec *of[2 * 2 * 2];
    kvcache *cache;
    static float x[TOKENS * DIM], first[TOKENS * DIM], second[TOKENS * DIM];
    uint64_t seed = 4;
    open_codecs(&policy, &one, &codecs);
    all = codecs;
    all.shape.n_layer = 2;
    all.of = of;
    for (size_t i = 0; i < 8; i++)
        of[i] = codecs.of[i % 4];
    assert_int_equal(kvcache_open(&all, TOKENS, &cache, NULL), KVANT_OK);
    for (uint32_t part = 0; part < 4; part++) {
        problem_fill(x, TOKENS * DIM, 1, &seed);
        append(cache, 0, part / 2, part % 2 ? KVANT_VALUE : KVANT_KEY, x, TOKENS);
    }
    kvcache_advance(cache, TOKENS);
    assert_int_equal(kvcache_repeat(cache, NULL), KVANT_OK);
    for (uint32_t part = 0; part < 4; part++) {
        const kvant_side side = part % 2 ? KVANT_VALUE : KVANT_KEY;
        assert_int_equal(read_side(cache, 0, part / 2, side, TOKENS, first), TOKENS);
        assert_int_equal(read_side(cache, 1, part / 2, side, TOKENS, second), TOKENS);
        assert_memory_equal(first, second, sizeof first);
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* ---- Bytes ------------------------------------------------------------------------------------- */

static kvcache_bytes accounted(kvcache_policy policy, kvcache_reads reads, const kvcache_shape *shape, uint32_t length,
                               kvcache_bytes *resident)
{
    kvcache_codecs codecs;
    kvcache *cache;
    policy.decode_reads = reads;
    open_codecs(&policy, shape, &codecs);
    const kvcache_bytes bytes = kvcache_accounted(&codecs, length);
    assert_int_equal(kvcache_open(&codecs, length, &cache, NULL), KVANT_OK);
    *resident = kvcache_resident(cache);
    assert_true(resident->key >= bytes.key && resident->value >= bytes.value);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return bytes;
}

/* A copy adds its halves, accounted and allocated, for what is in codes and for nothing else; decoding adds none. */
static void check_bytes(const kvcache_policy *policy, const kvcache_shape *shape, uint32_t length, uint64_t key, uint64_t value)
{
    kvcache_bytes resident[3];
    const kvcache_bytes codes = accounted(*policy, READS_CODES, shape, length, &resident[READS_CODES]);
    const kvcache_bytes decoded = accounted(*policy, READS_DECODED, shape, length, &resident[READS_DECODED]);
    const kvcache_bytes copy = accounted(*policy, READS_COPY, shape, length, &resident[READS_COPY]);
    assert_memory_equal(&codes, &decoded, sizeof codes);
    assert_memory_equal(&resident[READS_CODES], &resident[READS_DECODED], sizeof *resident);
    assert_int_equal(copy.key - codes.key, key * HALF);
    assert_int_equal(copy.value - codes.value, value * HALF);
    assert_int_equal(copy.f16_key, codes.f16_key);
    assert_int_equal(copy.f16_value, codes.f16_value);
    assert_true(resident[READS_COPY].key - resident[READS_CODES].key >= key * HALF);
    assert_true(resident[READS_COPY].value - resident[READS_CODES].value >= value * HALF);
    assert_true((key > 0) == (resident[READS_COPY].key > resident[READS_CODES].key));
    assert_true((value > 0) == (resident[READS_COPY].value > resident[READS_CODES].value));
    if (!shape->sliding.tokens) {                  /* a vector of halves is two cache lines */
        assert_int_equal(resident[READS_COPY].key - resident[READS_CODES].key, key * HALF);
        assert_int_equal(resident[READS_COPY].value - resident[READS_CODES].value, value * HALF);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    kvcache_side learns;
    const kvant_quantizer learner = problem_learner(&learns);
    learns.quantizer = &learner;
    const kvcache_side block = problem_side("kivi", "bits=8"), affine = problem_side("affine", "bits=4,group_size=32"),
        f16 = problem_side("f16", "");
    const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = DIM };
    kvcache_shape slides = shape;
    slides.sliding = (kvcache_sliding){ 50, { 2 } };
    kvcache_policy policy = { .key = block, .value = affine, .sink = 4, .window = 10 };
    /* 150 tokens: 4 sinks and the last 10 in f16; of the 136 between, 4 blocks of 32 are whole. */
    check_bytes(&policy, &shape, 150, 6 * 128, 6 * 136);
    check_bytes(&policy, &shape, 14, 0, 0);
    policy.value = f16;
    check_bytes(&policy, &shape, 150, 6 * 128, 0);
    policy.key = f16;
    check_bytes(&policy, &shape, 150, 0, 0);
    /* Of two layers the second sees 50 tokens of 82: 32 of the keys wait, or 18, and one block of them is seen. */
    policy = (kvcache_policy){ .key = block, .value = affine };
    check_bytes(&policy, &slides, 82, 3 * (64 + 32), 3 * (82 + 50));
    policy.sliding = SLIDING_F16;
    check_bytes(&policy, &slides, 82, 3 * 64, 3 * 82);
    /* Nothing is in codes before there is enough to learn from. */
    policy = (kvcache_policy){ .key = learns, .value = affine };
    check_bytes(&policy, &shape, PROBLEM_LEARNS - 1, 0, 6 * (PROBLEM_LEARNS - 1));
    check_bytes(&policy, &shape, PROBLEM_LEARNS, 6 * PROBLEM_LEARNS, 6 * PROBLEM_LEARNS);
}

int main(void)
{
    omp_set_num_threads(1);        /* so that oneDNN stays on this thread, as it does inside a parallel region */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies), cmocka_unit_test(test_sliding), cmocka_unit_test(test_learners),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_repeats), cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
