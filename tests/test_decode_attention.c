/* test_decode_attention.c - the probe `decode_attention` and what it stands on: loops of multiply-adds whose sums are known, a cache
 * that repeats its first layer, steps that must give what the codes say, and results by hand. No time itself is tested. */
#include "harness/measure/decode_step.h"
#include "harness/measure/peaks.h"
#include "harness/measure/roofs.h"
#include "metal/x86/cpu.h"
#include "tests/float_codes.h"
#include "tests/scratch.h"

#include <stdint.h>

enum { DIM = 16 };

/* ---- The machine ----------------------------------------------------------------------------- */

static void loops_compute_all_products(void **state)
{
    (void)state;
    const peak_loop *const loops[] = { &peak_fma_portable, cpu_avx2() ? &peak_fma_avx2 : NULL, peak_fma(),
                                       peak_int8(), peak_bf16() };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        for (size_t rounds = 1; loops[i] && rounds <= 1000; rounds += 333)
            assert_near(loops[i]->run(rounds), loops[i]->products * (double)rounds, 0);
    assert_non_null(peak_fma());
}

static void sums_of_memory_agree(void **state)
{
    (void)state;
    enum { WORDS = 5 * PEAK_WORDS };
    uint64_t *x = kvant_alloc(WORDS * sizeof *x), sum = 0;
    assert_non_null(x);
    for (size_t i = 0; i < WORDS; i++) {
        x[i] = ~(uint64_t)0 - i * i;                   /* wraps around */
        sum += x[i];
    }
    assert_true(peak_sum_portable(x, WORDS) == sum && peak_reader()(x, WORDS) == sum);
    if (cpu_avx2())
        assert_true(peak_sum_avx2(x, WORDS) == sum);
    free(x);
}

static void roofs_are_there(void **state)
{
    (void)state;
    roofs_memory memory;
    roofs r;
    assert_ok(roofs_open(&memory, err));
    assert_true(memory.words * sizeof *memory.x >= 2 * roofs_last_cache() && roofs_bytes() == 2 * memory.words * sizeof *memory.x);
    assert_ok(roofs_measure(&memory, 2, &r, err));
    assert_true(r.read > 0 && r.copy > 0 && r.fma > 0);
    assert_true((r.int8 > 0) == (peak_int8() != NULL) && (r.bf16 > 0) == (peak_bf16() != NULL));
    memory.x[memory.words / 2] ^= 1;
    assert_fails(roofs_measure(&memory, 1, &r, err), KVANT_FAILED, "another sum");
    roofs_close(&memory);
}

static void huge_areas_are_zero_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, (2 << 20) - 1, 2 << 20, (5 << 20) + 3 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *x = alloc_huge(sizes[i]);
        assert_non_null(x);
        assert_true((uintptr_t)x % (sizes[i] < 2 << 20 ? 64 : 2 << 20) == 0);
        for (size_t j = 0; j < sizes[i]; j += 977)
            assert_int_equal(x[j], 0);
        assert_int_equal(x[sizes[i] - 1], 0);
        free(x);
    }
    assert_null(alloc_huge(SIZE_MAX));
}

/* ---- The cache ------------------------------------------------------------------------------- */

static void layers_repeat_the_first(void **state)
{
    (void)state;
    const kvcache_shape one = { .n_layer = 1, .n_kv_head = 2, .head_dim = 32 }, two = { .n_layer = 2, .n_kv_head = 2, .head_dim = 32 };
    const kvant_quantizer *q = kvant_find("kivi", NULL);           /* blocks of 32, the rest waits as f16 */
    assert_non_null(q);
    const kvcache_side side = { q, kvant_defaults(q->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    kvcache_codecs codecs, apart;
    kvcache *cache = NULL;
    kvant_data data = gaussian(70, 32, 0);
    assert_ok(kvcache_codecs_open(&policy, &one, NULL, &codecs, err));
    const kvant_codec *of[8];
    for (size_t i = 0; i < 8; i++)
        of[i] = codecs.of[i % 4];
    kvcache_codecs all = codecs;
    all.shape.n_layer = 2;
    all.of = of;
    assert_ok(kvcache_open(&all, 70, &cache, err));
    void *scratch = kvant_alloc(kvcache_scratch(&all));
    float *waiting = kvant_alloc((70 + 32) * 32 * sizeof *waiting), *x = kvant_alloc(70 * 32 * sizeof *x);
    float *y = kvant_alloc(70 * 32 * sizeof *y);
    for (uint32_t part = 0; part < 4; part++)
        kvcache_append(cache, 0, part / 2, part % 2 ? KVANT_VALUE : KVANT_KEY, data.x, 32, 70, false, waiting, NULL, scratch);
    kvcache_advance(cache, 70);
    assert_ok(kvcache_repeat(cache, err));
    for (uint32_t part = 0; part < 4; part++) {
        kvcache_run runs[2][KVCACHE_RUNS];
        size_t n[2];
        for (uint32_t layer = 0; layer < 2; layer++) {
            n[layer] = kvcache_runs(cache, layer, part / 2, part % 2 ? KVANT_VALUE : KVANT_KEY, 70, runs[layer]);
            for (size_t i = 0; i < n[layer]; i++)
                kvant_decode(runs[layer][i].codec, runs[layer][i].code, runs[layer][i].first, runs[layer][i].n,
                             (layer ? y : x) + runs[layer][i].position * 32, scratch);
        }
        assert_true(n[0] == (part % 2 ? 1u : 2u) && n[1] == n[0] && runs[0][0].code != runs[1][0].code);
        assert_memory_equal(x, y, 70 * 32 * sizeof *x);
        assert_true(x[0] != 0 && x[69 * 32] != 0);
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);

    /* Layers with codecs of their own are not alike. */
    assert_ok(kvcache_codecs_open(&policy, &two, NULL, &apart, err));
    assert_ok(kvcache_open(&apart, 70, &cache, err));
    assert_fails(kvcache_repeat(cache, err), KVANT_INVALID, "layer 1 differs");
    kvcache_close(cache);
    kvcache_codecs_close(&apart);
    free(scratch);
    free(waiting);
    free(x);
    free(y);
    free(data.x);
}

/* ---- Quantizers that do and do not give what their codes say ----------------------------------- */

static void encode_floats(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)first, (void)scratch;
    memcpy(code, x, n * dim_of(state) * sizeof *x);
}

static void decode_floats(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    (void)scratch, (void)first;
    memcpy(x, code, n * dim_of(state) * sizeof *x);
}

static void encode_nothing(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    (void)x, (void)first, (void)scratch;
    memset(code, 0, n * dim_of(state) * sizeof *x);
}

static void query_floats(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    (void)scratch;
    memcpy(prepared, q, nq * dim_of(state) * sizeof *q);
}

/* As fast as it gets: looks at no code. */
static void score_nothing(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                          void *scratch)
{
    (void)state, (void)prepared, (void)code, (void)first, (void)scratch;
    memset(dot, 0, nq * n * sizeof *dot);
}

#define KNOWN(id, encode_of, ...) \
    static const kvant_quantizer id = { .name = #id, .summary = "", .source = "", .params = no_params, .plan = plan_floats, \
                                        .init = init_dim, .ops = { .encode = encode_of, .decode = decode_floats, __VA_ARGS__ } }
KNOWN(honest, encode_floats, .symbols = NULL);
KNOWN(liar, encode_floats, .query = query_floats, .score = score_nothing);
KNOWN(empty, encode_nothing, .symbols = NULL);

static kvant_codec open_vectors(const kvant_quantizer *q, const char *given, uint32_t dim)
{
    const kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR };
    kvant_codec codec;
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    assert_ok(kvant_parse(q->params, given, &args, err));
    assert_ok(kvant_open(q, &shape, &args, NULL, &codec, err));
    return codec;
}

static kvant_status run_cells(const char *args, const kvant_data *data, kvant_codec *codecs, size_t n, probe_run *run,
                              kvant_error *why)
{
    const kvant_probe *p = probe_of("decode_attention");
    probe_job job = { .args = kvant_defaults(p->params), .data = data, .n_cells = n, .vectors = codecs };
    assert_ok(kvant_parse(p->params, args, &job.args, err));
    return run_probe(p, &job, run, why);
}

/* A step gives the codes' own attention, in its first layer and its last, for methods of every kind. */
static void steps_give_what_codes_say(void **state)
{
    (void)state;
    static const struct { const char *name, *args; double distance; } methods[] = {
        { "f16", "", 1e-5 }, { "q8_0", "", .02 }, { "turboquant_mse", "bits=4,rotation=hadamard", .02 }, { "kivi", "bits=2", .02 },
        { "turboquant_prod", "bits=3", .02 }, { "pq", "nbits=4", .02 },
    };
    kvant_data data = gaussian(300, 64, 0);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        for (int threads = 1; threads <= 2; threads++) {
            kvant_codec codec = open_vectors(kvant_find(methods[i].name, NULL), methods[i].args, 64);
            const decode_shape shape = { .depth = 95 + 10 * (uint32_t)threads, .queries = 5, .kv_heads = 3, .threads = threads,
                                         .bytes = 200000 };
            decode_step *s = NULL;
            size_t bytes;
            uint32_t layers;
            double distance;
            assert_ok(decode_step_size(&codec, &shape, &bytes, &layers, err));
            assert_ok(decode_step_open(&codec, &shape, &data, &s, err));
            assert_true(layers > 1 && decode_step_bytes(s) >= 200000 && decode_step_bytes(s) <= (double)bytes);
            for (uint32_t step = 0; step < layers + 1; step++)         /* once around, and on */
                assert_true(decode_step_time(s, 0) > 0);
            assert_ok(decode_step_distance(s, &distance, err));
            if (!(distance < methods[i].distance))
                fail_msg("%s: %g from the attention of its codes", methods[i].name, distance);
            decode_step_close(s);
            kvant_close(&codec);
        }
    free(data.x);
}

static void nothing_is_timed_without_data(void **state)
{
    (void)state;
    static const char small[] = "depth=64,kv_heads=2,threads=1,cache_mib=1,repeats=2,min_ms=0.1";
    kvant_data data = gaussian(100, DIM, 0);
    kvant_codec codecs[] = { open_vectors(&honest, "", DIM), open_vectors(&liar, "", DIM), open_vectors(&empty, "", DIM) };
    probe_run run;
    assert_ok(run_cells(small, &data, codecs, 1, &run, err));
    run_free(&run);
    assert_fails(run_cells(small, &data, codecs + 1, 1, &run, err), KVANT_FAILED, "liar (scalar): what its kernel computes is");
    run_free(&run);
    assert_fails(run_cells(small, &data, codecs + 2, 1, &run, err), KVANT_FAILED, "not finite, or zero");
    run_free(&run);
    memset(data.x + 7 * DIM, 0, DIM * sizeof *data.x);
    assert_fails(run_cells(small, &data, codecs, 1, &run, err), KVANT_INVALID, "vector 7 of the data is zero");
    run_free(&run);
    data.x[7 * DIM] = NAN;
    assert_fails(run_cells(small, &data, codecs, 1, &run, err), KVANT_INVALID, "vector 7 of the data is not finite");
    run_free(&run);
    assert_fails(run_cells("threads=1024", &data, codecs, 1, &run, err), KVANT_SKIP, "1024 threads");
    run_free(&run);
    assert_fails(run_cells("cache_mib=1048576,threads=1", &data, codecs, 1, &run, err), KVANT_INVALID, "lower depth");
    run_free(&run);
    for (size_t i = 0; i < 3; i++)
        kvant_close(&codecs[i]);
    free(data.x);
}

/* ---- Results --------------------------------------------------------------------------------- */

static void repeats_of_all_cells(void **state)
{
    (void)state;
    kvant_data data = gaussian(200, 64, 0);
    kvant_codec codecs[] = { open_vectors(kvant_find("f16", NULL), "", 64), open_vectors(kvant_find("q4_0", NULL), "", 64) };
    probe_run run;
    assert_ok(run_cells("depth=96,queries=3,kv_heads=2,threads=1,cache_mib=1,repeats=3,min_ms=0.1", &data, codecs, 2, &run, err));
    for (size_t i = 0; i < 2; i++) {
        const cell_run *c = &run.cells[i];
        const double ns = value_of(c, "ns_per_pair");
        assert_near(result_of(c, "ns_per_pair")->n, 3, 0);
        assert_true(value_of(c, "ns_per_pair_min") > 0 && value_of(c, "ns_per_pair_min") <= ns);
        assert_near(value_of(c, "bytes_per_pair"), i ? 2 * 36 : 2 * 128, 1e-12);
        assert_near(value_of(c, "products_per_pair"), 2 * 3 * 64, 0);
        assert_near(value_of(c, "code_gb_per_s"), value_of(c, "bytes_per_pair") / ns, 1e-12);
        assert_true(value_of(c, "cache_bytes") >= 1 << 20);
        assert_near(value_of(c, "last_cache_bytes"), (double)roofs_last_cache(), 0);
        assert_true(value_of(c, "kernel_distance") < .05);
        for (size_t j = 0; j < c->n; j++)
            assert_true(c->samples[j].value > 0 || !strcmp(c->samples[j].metric, "kernel_distance"));
        /* What all cells of a repeat are held against is the same. */
        assert_near(value_of(c, "f16_ns_per_pair"), value_of(&run.cells[0], "f16_ns_per_pair"), 0);
        assert_near(value_of(c, "read_gb_per_s"), value_of(&run.cells[0], "read_gb_per_s"), 0);
    }
    run_free(&run);
    kvant_close(&codecs[0]);
    kvant_close(&codecs[1]);
    free(data.x);
}

static void results_by_hand(void **state)
{
    (void)state;
    /* 100 bytes at 50 GB/s take 2 ns; 600 products 3 ns by 8-bit sums, 6 by bf16 and 12 by f32. */
    static const probe_sample samples[] = {
        { "bf16_g_per_s", 0, 0, 100, 1 }, { "bf16_ns_per_pair", 0, 0, 11, 1 }, { "bf16_ns_per_pair", 1, 0, 9, 1 },
        { "bf16_ns_per_pair", 2, 0, 10, 1 }, { "bytes_per_pair", 0, 0, 100, 1 }, { "copy_gb_per_s", 0, 0, 20, 1 },
        { "f16_ns_per_pair", 0, 0, 16, 1 }, { "fma_g_per_s", 0, 0, 50, 1 }, { "fma_g_per_s", 1, 0, 3, 1 },
        { "int8_g_per_s", 0, 0, 200, 1 }, { "kernel_distance", 0, 0, .004, 1 }, { "ns_per_pair", 0, 0, 4, 1 },
        { "ns_per_pair", 1, 0, 90, 1 }, { "ns_per_pair", 2, 0, 5, 1 }, { "products_per_pair", 0, 0, 600, 1 },
        { "read_gb_per_s", 0, 0, 50, 1 }, { "read_gb_per_s", 1, 0, 30, 1 },
    };
    static const struct { const char *metric; double value; } wanted[] = {
        { "ns_per_pair", 5 }, { "ns_per_pair_min", 4 }, { "f16_ns_per_pair", 16 }, { "bf16_ns_per_pair", 10 }, { "over_f16", 3.2 },
        { "over_half", 2 }, { "code_gb_per_s", 20 }, { "read_share", .4 }, { "memory_ns", 2 }, { "fma_ns", 12 }, { "int8_ns", 3 },
        { "bf16_ns", 6 }, { "roof_ns", 3 }, { "roof_share", .6 }, { "read_gb_per_s", 50 }, { "copy_gb_per_s", 20 },
        { "fma_g_per_s", 50 }, { "int8_g_per_s", 200 }, { "bf16_g_per_s", 100 }, { "bytes_per_pair", 100 },
        { "products_per_pair", 600 }, { "kernel_distance", .004 },
    };
    const kvant_probe *p = probe_of("decode_attention");
    const kvant_args args = kvant_defaults(p->params);
    cell_run r = { 0 };
    assert_ok(p->finish(&args, samples, sizeof samples / sizeof *samples, run_result, &r, err));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_near(value_of(&r, wanted[i].metric), wanted[i].value, 1e-12);
    assert_int_equal(r.n_results, sizeof wanted / sizeof *wanted);

    /* Without sums of products the roof is f32's, and nothing is said of them. */
    static const probe_sample plain[] = {
        { "bf16_ns_per_pair", 0, 0, 11, 1 }, { "bytes_per_pair", 0, 0, 100, 1 }, { "f16_ns_per_pair", 0, 0, 16, 1 },
        { "fma_g_per_s", 0, 0, 50, 1 }, { "ns_per_pair", 0, 0, 24, 1 }, { "products_per_pair", 0, 0, 600, 1 },
        { "read_gb_per_s", 0, 0, 50, 1 },
    };
    r = (cell_run){ 0 };
    assert_ok(p->finish(&args, plain, sizeof plain / sizeof *plain, run_result, &r, err));
    assert_near(value_of(&r, "roof_ns"), 12, 1e-12);
    assert_near(value_of(&r, "roof_share"), .5, 1e-12);
    for (size_t i = 0; i < r.n_results; i++)
        assert_true(strncmp(r.results[i].metric, "int8", 4) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_compute_all_products), cmocka_unit_test(sums_of_memory_agree), cmocka_unit_test(roofs_are_there),
        cmocka_unit_test(huge_areas_are_zero_and_aligned), cmocka_unit_test(layers_repeat_the_first),
        cmocka_unit_test(steps_give_what_codes_say), cmocka_unit_test(nothing_is_timed_without_data),
        cmocka_unit_test(repeats_of_all_cells), cmocka_unit_test(results_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
