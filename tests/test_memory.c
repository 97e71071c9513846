/* test_memory.c - the probe `memory` on the tiny model: bytes as the cache's own account gives them, break-even as its definition, and
 * resident memory that grows with what a cache holds. */
#include "tests/model_runs.h"

static double at(const cell_run *c, const char *metric, uint32_t depth)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%u", metric, depth);
    return value_of(c, name);
}

static uint64_t accounted(const kvcache_codecs *codecs, double length, bool f16)
{
    const kvcache_bytes b = kvcache_accounted(codecs, (uint32_t)length);
    return f16 ? b.f16_key + b.f16_value : b.key + b.value;
}

static void check_break_even(const cell_run *c, const kvcache_codecs *codecs, const char *metric, const char *weights, bool f16)
{
    const double length = value_of(c, metric), bytes = value_of(c, weights);
    assert_true((double)accounted(codecs, length, f16) >= bytes);
    assert_true((double)accounted(codecs, length - 1, f16) < bytes);
}

static void test_account(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs[] = { open_codecs(model, "f16", "", "f16", ""),
                                open_codecs(model, "affine", "bits=4,group_size=16", "affine", "bits=2,group_size=16") };
    probe_run run;
    run_on("memory", "context=301,points=3,batch=64", model, codecs, 2, &run);
    for (size_t i = 0; i < 2; i++) {
        const cell_run *c = &run.cells[i];
        static const uint32_t depths[] = { 100, 200, 301 };
        for (size_t d = 0; d < 3; d++) {
            kvcache *cache;
            kvant_error err;
            assert_int_equal(kvcache_open(&codecs[i], depths[d], &cache, &err), KVANT_OK);
            const kvcache_bytes held = kvcache_resident(cache);
            kvcache_close(cache);
            const double bytes = (double)accounted(&codecs[i], depths[d], false);
            assert_near(at(c, "bytes_at", depths[d]), bytes, 0);
            assert_near(at(c, "bytes_per_token_at", depths[d]), bytes / depths[d], 0);
            assert_near(at(c, "resident_per_token_at", depths[d]), ((double)held.key + (double)held.value) / depths[d], 0);
            assert_true(at(c, "rss_at", depths[d]) > 0);
        }
        assert_near(value_of(c, "weights_f32"), (double)lm_weight_bytes(model), 0);
        assert_true(value_of(c, "weights_file") > value_of(c, "weights_f32"));     /* f32 too, and an embedding of its own */
        check_break_even(c, &codecs[i], "break_even_file", "weights_file", false);
        check_break_even(c, &codecs[i], "break_even_file_f16", "weights_file", true);
        check_break_even(c, &codecs[i], "break_even_f32", "weights_f32", false);
        check_break_even(c, &codecs[i], "break_even_f32_f16", "weights_f32", true);
    }
    assert_near(value_of(&run.cells[0], "break_even_f32"), value_of(&run.cells[0], "break_even_f32_f16"), 0);
    assert_true(value_of(&run.cells[1], "break_even_f32") > 2 * value_of(&run.cells[0], "break_even_f32"));
    run_free(&run);
    kvcache_codecs_close(&codecs[0]);
    kvcache_codecs_close(&codecs[1]);
    lm_close(model);
}

/* A deep cache must show: 512 kB of codes, and more in what a pass works with. */
static void test_resident(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    probe_run run;
    run_on("memory", "context=2048,points=2,batch=512", model, &codecs, 1, &run);
    const cell_run *c = &run.cells[0];
    if (!(value_of(c, "rss_model") > 0)) {
        print_message("the system does not say how much memory a process holds\n");
        skip();
    }
    assert_true(at(c, "rss_at", 2048) > value_of(c, "rss_model") + at(c, "bytes_at", 2048));
    for (size_t i = 0; i < c->n_results; i++)
        if (!strcmp(c->results[i].metric, "rss_peak"))
            assert_true(c->results[i].value + (1 << 20) > at(c, "rss_at", 2048));
    run_free(&run);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_resident), cmocka_unit_test(test_account) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
