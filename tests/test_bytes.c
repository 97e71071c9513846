/* test_bytes.c - the probe `bytes` against sums by hand: formats of known size, sinks, windows and blocks that are not whole, padding,
 * and states that layers share or not. */
#include "harness/measure/footprint.h"
#include "tests/probe_runs.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

static lm_model *model;

static const kvant_probe *bytes_probe(void)
{
    const kvant_probe *p = probe_find("bytes", NULL);
    assert_non_null(p);
    return p;
}

static kvcache_side side_of(const char *name, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(name, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_int_equal(kvant_parse(side.quantizer->params, args, &side.args, NULL), KVANT_OK);
    return side;
}

static kvcache_codecs open_codecs(kvcache_policy policy)
{
    kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    kvant_error err = { "" };
    if (kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return codecs;
}

static void run_cache(const kvcache_codecs *codecs, const char *args, probe_run *run)
{
    const kvant_probe *p = bytes_probe();
    probe_job job = { .args = kvant_defaults(p->params), .model = model, .n_cells = 1, .codecs = codecs };
    assert_int_equal(kvant_parse(p->params, args, &job.args, NULL), KVANT_OK);
    run_ok(p, &job, run);
}

enum { HEADS = TINY_LAYERS * TINY_KV_HEADS };

static void formats_take_what_they_declare(void **state)
{
    (void)state;
    kvcache_codecs codecs = open_codecs((kvcache_policy) { side_of("f16", ""), side_of("affine", "bits=4,group_size=16"), .seed = 0 });
    probe_run run;
    run_cache(&codecs, "context=100", &run);
    const cell_run *r = &run.cells[0];
    double f16 = HEADS * TINY_HEAD_DIM * 2.0;
    assert_near(value_of(r, "bytes_key"), 100 * f16, 0);
    assert_near(value_of(r, "bytes_value"), 100 * f16 * 6 / 16, 0);         /* 4 bits, and 32 bits per group of 16 */
    assert_near(value_of(r, "bytes_kept"), 0, 0);
    assert_near(value_of(r, "bits_key"), 16, 0);
    assert_near(value_of(r, "bits_value"), 6, 0);
    assert_near(value_of(r, "overhead_bits"), 1, 0);                        /* (0 + 2) / 2 */
    assert_near(value_of(r, "bytes_per_token"), f16 * 22 / 16, 1e-9);
    assert_near(value_of(r, "compression"), 32.0 / 22, 1e-12);
    /* Areas of a head are rounded up to 64 bytes; nothing waits, so that there are no others. */
    double key = (100 * TINY_HEAD_DIM * 2 + 63) / 64 * 64, value = (100 * TINY_HEAD_DIM * 6 / 8 + 63) / 64 * 64;
    assert_near(value_of(r, "bytes_resident"), HEADS * (key + value), 0);
    assert_near(value_of(r, "resident_ratio"), HEADS * (key + value) / (100 * f16 * 22 / 16), 1e-12);
    for (size_t i = 0; i < r->n_results; i++)
        assert_true(isnan(r->results[i].se) && isnan(r->results[i].lo));    /* counted, not estimated */
    run_free(&run);
    kvcache_codecs_close(&codecs);
}

/* kivi codes keys by blocks of 32: of 100 tokens behind 4 sinks and before a window of 10, 64 are in whole blocks. */
static void sinks_windows_and_blocks_stay_f16(void **state)
{
    (void)state;
    kvcache_policy policy = { side_of("kivi", "bits=2"), side_of("affine", "bits=4,group_size=16"), .sink = 4, .window = 10 };
    kvcache_codecs codecs = open_codecs(policy);
    assert_int_equal(kvcache_codec(&codecs, 0, 0, KVANT_KEY)->plan.block, 32);
    probe_run run;
    run_cache(&codecs, "context=100", &run);
    const cell_run *r = &run.cells[0];
    double vector = TINY_HEAD_DIM * 2.0, kept_key = 100 - 64, kept_value = 14;
    assert_near(value_of(r, "bytes_kept"), HEADS * vector * (kept_key + kept_value), 0);
    assert_near(value_of(r, "bytes_key"), HEADS * (kept_key * vector +
                                                   2 * (double)kvcache_codec(&codecs, 0, 0, KVANT_KEY)->plan.code), 0);
    assert_near(value_of(r, "bytes_value"), HEADS * (kept_value * vector + 86 * TINY_HEAD_DIM * 6 / 8.0), 0);
    assert_true(value_of(r, "bytes_resident") >= value_of(r, "bytes_key") + value_of(r, "bytes_value"));
    run_free(&run);
    kvcache_codecs_close(&codecs);
}

static void states_are_counted_once_where_they_are_equal(void **state)
{
    (void)state;
    kvcache_side side = side_of("turboquant_mse", "bits=2,rotation=haar"), key_only = side_of("affine", "bits=2,group_size=16");
    kvcache_codecs shared = open_codecs((kvcache_policy) { side, side, .seed = 1 });
    kvcache_codecs apart = open_codecs((kvcache_policy) { side, side, .seed = 1, .seed_rule = SEED_PER_LAYER });
    kvcache_codecs keys = open_codecs((kvcache_policy) { side, key_only, .seed = 1, .seed_rule = SEED_PER_LAYER });
    uint64_t one = kvcache_codec(&shared, 0, 0, KVANT_KEY)->plan.state, other = kvcache_codec(&keys, 0, 0, KVANT_VALUE)->plan.state;
    assert_true(one >= TINY_HEAD_DIM * TINY_HEAD_DIM * sizeof(float));
    footprint_state s = footprint_states(&shared), a = footprint_states(&apart), k = footprint_states(&keys);
    assert_int_equal(s.held, 2 * TINY_LAYERS * one);
    assert_int_equal(s.distinct, one);
    assert_int_equal(a.held, 2 * TINY_LAYERS * one);
    assert_int_equal(a.distinct, TINY_LAYERS * one);
    assert_int_equal(k.held, TINY_LAYERS * (one + other));
    assert_int_equal(k.distinct, TINY_LAYERS * one + other);

    probe_run run;
    run_cache(&shared, "context=64", &run);
    assert_near(value_of(&run.cells[0], "state_bytes"), (double)s.held, 0);
    assert_near(value_of(&run.cells[0], "state_bytes_distinct"), (double)s.distinct, 0);
    assert_near(value_of(&run.cells[0], "state_share"), (double)s.held / (double)lm_weight_bytes(model), 1e-15);
    run_free(&run);
    kvcache_codecs_close(&shared);
    kvcache_codecs_close(&apart);
    kvcache_codecs_close(&keys);
}

static void run_vectors(const char *name, const char *quantizer_args, const char *args, probe_run *run)
{
    static float x[100 * 64];
    static kvant_codec codec;
    const kvant_probe *p = bytes_probe();
    kvcache_side side = side_of(name, quantizer_args);
    kvant_shape shape = { .dim = 64, .side = KVANT_VECTOR };
    kvant_data data = { .x = x, .n = 100, .dim = 64 };
    assert_int_equal(kvant_open(side.quantizer, &shape, &side.args, "scalar", &codec, NULL), KVANT_OK);
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    assert_int_equal(kvant_parse(p->params, args, &job.args, NULL), KVANT_OK);
    run_ok(p, &job, run);
    kvant_close(&codec);
}

static void vectors_and_their_padding(void **state)
{
    (void)state;
    probe_run run;
    run_vectors("q4_0", "", "", &run);
    assert_near(value_of(&run.cells[0], "bytes_per_vector"), 36, 0);        /* two blocks of 18 bytes */
    assert_near(value_of(&run.cells[0], "bits_per_vector"), 4.5, 0);
    assert_near(value_of(&run.cells[0], "overhead_bits"), .5, 0);
    assert_near(value_of(&run.cells[0], "padding_bytes"), 0, 0);
    assert_near(value_of(&run.cells[0], "compression"), 128.0 / 36, 1e-12);
    run_free(&run);
    /* 33 vectors in blocks of 32: the second block lacks 31. Per block 64 channels of 32 two-bit codes, a scale and a zero. */
    run_vectors("kivi", "bits=2,axis=channel,group_size=32", "n=33", &run);
    assert_near(value_of(&run.cells[0], "bytes_per_vector"), 64 * (8 + 4) / 32.0, 0);
    assert_near(value_of(&run.cells[0], "padding_bytes"), 31 * 64 * (8 + 4) / 32.0, 0);
    run_free(&run);
}

/* 28 layers of 8 KV heads of 64: what a cache takes that no model is there for. */
static void caches_of_a_given_shape(void **state)
{
    (void)state;
    probe_run run;
    run_vectors("f16", "", "", &run);
    for (size_t i = 0; i < run.cells[0].n_results; i++)
        assert_string_not_equal(run.cells[0].results[i].metric, "bytes_sequence");      /* not asked for */
    run_free(&run);
    run_vectors("f16", "", "layers=28,kv_heads=8,context=1024", &run);
    assert_near(value_of(&run.cells[0], "bytes_sequence"), 28 * 8 * 1024 * 2 * 128.0, 0);
    run_free(&run);
    run_vectors("q4_0", "", "layers=28,kv_heads=8,context=1024", &run);
    assert_near(value_of(&run.cells[0], "bytes_sequence"), 28 * 8 * 1024 * 2 * 36.0, 0);
    run_free(&run);
    /* 100 tokens are four blocks of 32. */
    run_vectors("kivi", "bits=2,axis=channel,group_size=32", "layers=2,context=100", &run);
    assert_near(value_of(&run.cells[0], "bytes_sequence"), 2 * 2 * 4 * 64 * (8 + 4.0), 0);
    run_free(&run);
}

static void asks_for_vectors_that_are_there(void **state)
{
    (void)state;
    const kvant_probe *p = bytes_probe();
    kvant_data data = { .n = 100, .dim = 64 };
    kvant_codec codec = { .shape.dim = 64 };
    probe_job job = { .args = kvant_defaults(p->params), .data = &data, .n_cells = 1, .vectors = &codec };
    kvant_error err = { "" };
    assert_int_equal(kvant_parse(p->params, "n=101", &job.args, NULL), KVANT_OK);
    assert_int_equal(p->open(&job, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "100 vectors"));
    p->close(&job);
}

static int open_model(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf");
    kvant_error err = { "" };
    tiny_model_write(path, (tiny_options) { .uniform = true });
    int status = lm_open(path, 0, &model, &err);
    free(path);
    scratch_remove(folder);
    return status;
}

static int close_model(void **state)
{
    (void)state;
    lm_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_take_what_they_declare),
        cmocka_unit_test(sinks_windows_and_blocks_stay_f16),
        cmocka_unit_test(states_are_counted_once_where_they_are_equal),
        cmocka_unit_test(vectors_and_their_padding),
        cmocka_unit_test(caches_of_a_given_shape),
        cmocka_unit_test(asks_for_vectors_that_are_there),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
