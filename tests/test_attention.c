/* test_attention.c - what a query sees, under every policy of a cache that reads its codes: both paths against attention in double.
 * Other ways to read them are in test_decode_reads.c. */
#include "tests/attention_problem.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_paths(void **state)
{
    (void)state;
    static const uint32_t windows[] = { 0, 7, 128 }, sinks[] = { 0, 3 }, dims[] = { 64, 80 };
    const kvcache_side block = problem_side("kivi", "bits=4,axis=channel"), kivi = problem_side("kivi", "bits=4,group_size=16");
    const kvcache_side f16 = problem_side("f16", ""), affine = problem_side("affine", "bits=4,group_size=16");
    const kvcache_side turbo = problem_side("turboquant_mse", "bits=3,rotation=haar");
    const kvcache_side pairs[][2] = { { f16, f16 }, { affine, affine }, { block, block }, { block, affine }, { turbo, block },
                                      { kivi, kivi }, { turbo, turbo } };
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            for (size_t w = 0; w < 3; w++)
                for (size_t s = 0; s < 2; s++) {
                    const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = sinks[s], .window = windows[w] };
                    problem_check_policy(&policy, dims[d]);
                }
}

/* Windows shorter than a block, than the sinks, and one token long; keys before RoPE; passes that see themselves raw. */
static void test_policies(void **state)
{
    (void)state;
    const kvcache_side block = problem_side("kivi", "bits=4,axis=channel"), affine = problem_side("affine", "bits=4,group_size=16");
    const kvcache_side f16 = problem_side("f16", "");
    const kvcache_side pairs[][2] = { { affine, affine }, { block, affine }, { f16, f16 } };
    static const struct { uint32_t sliding, sink, window; kvcache_prefill prefill; kvcache_key_stage stage; } cases[] = {
        { 1, 0, 0, PREFILL_PACKED, KEYS_POST_ROPE }, { 5, 3, 2, PREFILL_PACKED, KEYS_POST_ROPE },
        { 5, 70, 0, PREFILL_PACKED, KEYS_POST_ROPE }, { 64, 2, 0, PREFILL_PACKED, KEYS_POST_ROPE },
        { 0, 0, 0, PREFILL_RAW, KEYS_POST_ROPE }, { 0, 3, 7, PREFILL_RAW, KEYS_POST_ROPE },
        { 37, 40, 0, PREFILL_RAW, KEYS_POST_ROPE }, { 0, 0, 0, PREFILL_PACKED, KEYS_PRE_ROPE },
        { 37, 3, 7, PREFILL_PACKED, KEYS_PRE_ROPE }, { 50, 2, 0, PREFILL_RAW, KEYS_PRE_ROPE },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = cases[c].sink, .window = cases[c].window,
                                            .prefill = cases[c].prefill, .key_stage = cases[c].stage };
            problem_check_layer(&policy, c % 2 ? 80 : 64, cases[c].sliding, 0);
        }
}

static void test_learners(void **state)
{
    (void)state;
    static const uint32_t windows[] = { 0, 7, 170 }, sinks[] = { 0, 3 };
    kvcache_side learns;
    const kvant_quantizer learner = problem_learner(&learns);
    learns.quantizer = &learner;
    const kvcache_side block = problem_side("kivi", "bits=4,axis=channel"), f16 = problem_side("f16", "");
    const kvcache_side pairs[][2] = { { learns, learns }, { learns, block }, { block, learns }, { f16, learns } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t w = 0; w < 3; w++)
            for (size_t s = 0; s < 2; s++) {
                const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = sinks[s], .window = windows[w] };
                problem_check_policy(&policy, 64);
            }
}

int main(void)
{
    omp_set_num_threads(1);        /* so that oneDNN stays on this thread, as it does inside a parallel region */
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_paths), cmocka_unit_test(test_policies),
                                        cmocka_unit_test(test_learners) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
