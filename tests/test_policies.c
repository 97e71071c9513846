/* test_policies.c - policies of a cache through whole models of every architecture: keys before RoPE, passes that see themselves raw,
 * sliding layers in f16, steps that read decoded codes or their copy; and a spec with a policy's keys as axes, through the runner. */
#include "harness/experiment/run.h"
#include "tests/arch_model.h"
#include "tests/stores.h"
#include "tests/tiny_model.h"

#include <omp.h>

enum { LOGITS_N = TOKENS * VOCAB };

static char *folder;

static kvcache_side side_of(const char *name, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(name, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_int_equal(kvant_parse(side.quantizer->params, args, &side.args, NULL), KVANT_OK);
    return side;
}

static kvcache_policy policy_of(const char *name, const char *args)
{
    return (kvcache_policy){ .key = side_of(name, args), .value = side_of(name, args) };
}

static void run(lm_model *model, const kvcache_policy *policy, lm_path path, const int32_t *ids, uint32_t piece, float *logits)
{
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    kvcache *cache;
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    assert_ok(kvcache_codecs_open(policy, &shape, NULL, &codecs, err));
    assert_ok(kvcache_open(&codecs, TOKENS, &cache, err));
    for (uint32_t at = 0; at < TOKENS; at += piece) {
        const lm_segment s = { cache, ids + at, TOKENS - at < piece ? TOKENS - at : piece, want };
        assert_ok(lm_forward(model, path, &s, 1, logits + at * VOCAB, NULL, err));
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

static double distance(const float *a, const float *b)
{
    double most = 0;
    for (size_t i = 0; i < LOGITS_N; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        most = d <= most ? most : d;
    }
    return most;
}

/* Root of the mean square: where the paths' rounding turns one code of many into its neighbour, the largest says nothing. */
static double distance_rms(const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < LOGITS_N; i++) {
        const double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum / LOGITS_N);
}

static void check_near(const arch_family *f, const char *what, uint32_t piece, double off, double allowed)
{
    if (!(off <= allowed))
        fail_msg("%s: %s, pieces of %u: logits are off by %g, allowed %g", f->name, what, piece, off, allowed);
}

/* Floats of 24 bits through three layers, as in the test of architectures; f16 loses 2^-11 of each coordinate. */
static const double tolerance = 1e-4, half_tolerance = 2e-2, coded_tolerance = 5e-4;

/* Both paths and all pieces give one result, which is another than `other`. */
static void check_paths(lm_model *model, const arch_family *f, const char *what, const kvcache_policy *policy, const int32_t *ids,
                        const float *other)
{
    static const uint32_t pieces[] = { TOKENS, 5, 1 };
    float decode[LOGITS_N], prefill[LOGITS_N];
    run(model, policy, LM_DECODE, ids, 1, decode);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run(model, policy, LM_PREFILL, ids, pieces[i], prefill);
        check_near(f, what, pieces[i], distance_rms(decode, prefill), coded_tolerance);
    }
    const double moved = distance_rms(decode, other);
    if (!(moved > 10 * coded_tolerance))
        fail_msg("%s: %s makes no difference: logits move by %g", f->name, what, moved);
}

static void check_key_stage(lm_model *model, const arch_model *m, uint32_t context, const int32_t *ids)
{
    static const uint32_t pieces[] = { TOKENS, 5, 1 };
    static double wanted[LOGITS_N];
    float exact[LOGITS_N], logits[LOGITS_N], other[LOGITS_N];
    kvcache_policy policy = policy_of("f32", ""), f16 = policy_of("f16", ""), rotated = f16, coarse = policy_of("affine", "bits=3,group_size=8");
    policy.key_stage = f16.key_stage = KEYS_PRE_ROPE;
    arch_reference(m, m->f->steps, context, ids, wanted);
    for (size_t i = 0; i < LOGITS_N; i++)
        exact[i] = (float)wanted[i];
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const lm_path path = pieces[i] == 1 ? LM_DECODE : LM_PREFILL;
        run(model, &policy, path, ids, pieces[i], logits);
        check_near(m->f, "f32 before RoPE", pieces[i], distance(exact, logits), tolerance);
        run(model, &f16, path, ids, pieces[i], logits);
        run(model, &rotated, path, ids, pieces[i], other);
        check_near(m->f, "f16 before RoPE against after", pieces[i], distance(other, logits), half_tolerance);
    }
    run(model, &coarse, LM_DECODE, ids, 1, other);
    coarse.key_stage = KEYS_PRE_ROPE;
    check_paths(model, m->f, "codes before RoPE", &coarse, ids, other);
    coarse.sink = 2;
    coarse.window = 3;
    check_paths(model, m->f, "codes before RoPE, sinks and a window", &coarse, ids, other);
}

static void check_raw(lm_model *model, const arch_family *f, const int32_t *ids)
{
    float half[LOGITS_N], packed[LOGITS_N], raw[LOGITS_N], pieces[LOGITS_N], steps[LOGITS_N];
    const kvcache_policy f16 = policy_of("f16", "");
    kvcache_policy coarse = policy_of("affine", "bits=3,group_size=8");
    run(model, &f16, LM_PREFILL, ids, TOKENS, half);
    run(model, &coarse, LM_PREFILL, ids, TOKENS, packed);
    coarse.prefill = PREFILL_RAW;
    run(model, &coarse, LM_PREFILL, ids, TOKENS, raw);
    assert_memory_equal(half, raw, sizeof raw);                /* one batch sees no code at all */
    run(model, &coarse, LM_PREFILL, ids, 5, pieces);
    run(model, &coarse, LM_PREFILL, ids, 1, steps);
    const double least = 10 * coded_tolerance;
    if (!(distance_rms(half, pieces) > least && distance_rms(packed, pieces) > least && distance_rms(steps, pieces) > least))
        fail_msg("%s: raw passes of 5 tokens are as those of all or of one, or as packed ones", f->name);
    run(model, &coarse, LM_DECODE, ids, 1, pieces);
    check_near(f, "raw decode against prefill", 1, distance_rms(steps, pieces), coded_tolerance);
}

/* Where all layers slide, f16 there is f16. */
static void check_sliding(lm_model *model, const arch_family *f, const int32_t *ids)
{
    float half[LOGITS_N], some[LOGITS_N];
    const kvcache_policy f16 = policy_of("f16", "");
    kvcache_policy coarse = policy_of("affine", "bits=3,group_size=8");
    coarse.sliding = SLIDING_F16;
    for (uint32_t piece = 1; piece <= TOKENS; piece += 10) {
        const lm_path path = piece == 1 ? LM_DECODE : LM_PREFILL;
        run(model, &f16, path, ids, piece, half);
        run(model, &coarse, path, ids, piece, some);
        if ((f->local == 7) != !memcmp(half, some, sizeof some))
            fail_msg("%s: sliding layers in f16 are %s", f->name, f->local == 7 ? "not f16" : "all there are");
    }
    run(model, &f16, LM_DECODE, ids, 1, half);
    coarse.key_stage = KEYS_PRE_ROPE;
    if (f->local != 7)
        check_paths(model, f, "sliding layers in f16, codes before RoPE", &coarse, ids, half);
}

/* Decoded codes are the same values, and the copy of f32 is f16, bit for bit; prefill sees nothing of either, nor does f16. */
static void check_reads(lm_model *model, const arch_family *f, const int32_t *ids)
{
    float codes[LOGITS_N], prefill[LOGITS_N], half[LOGITS_N], other[LOGITS_N];
    kvcache_policy coarse = policy_of("affine", "bits=3,group_size=8"), f16 = policy_of("f16", ""), exact = policy_of("f32", "");
    coarse.window = 2;
    run(model, &coarse, LM_DECODE, ids, 1, codes);
    run(model, &coarse, LM_PREFILL, ids, 5, prefill);
    run(model, &f16, LM_DECODE, ids, 1, half);
    for (kvcache_reads way = READS_DECODED; way <= READS_COPY; way++) {
        coarse.decode_reads = f16.decode_reads = exact.decode_reads = way;
        run(model, &coarse, LM_DECODE, ids, 1, other);
        if (way == READS_DECODED)
            check_near(f, "decoded codes", 1, distance_rms(codes, other), coded_tolerance);
        if (!memcmp(codes, other, sizeof other))
            fail_msg("%s: decode steps read codes, whatever they are asked to", f->name);
        run(model, &coarse, LM_PREFILL, ids, 5, other);
        assert_memory_equal(prefill, other, sizeof other);
        run(model, &f16, LM_DECODE, ids, 1, other);
        assert_memory_equal(half, other, sizeof other);
    }
    run(model, &exact, LM_DECODE, ids, 1, other);
    assert_memory_equal(half, other, sizeof other);
}

/* Draws a model and a text for it. */
static lm_model *open_family(const arch_family *f, uint32_t context, arch_model *m, int32_t ids[TOKENS])
{
    char *path = in_folder(folder, "family.gguf");
    byte_buffer bytes = arch_model_make(m, f, NULL);
    lm_model *model;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.bytes, file), bytes.bytes);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
    for (size_t t = 0; t < TOKENS; t++)
        ids[t] = (int32_t)gsl_rng_uniform_int(m->rng, VOCAB);
    assert_ok(lm_open(path, context, &model, err));
    free(path);
    return model;
}

static void test_families(void **state)
{
    (void)state;
    for (size_t i = 0; i < arch_n_families; i++)
        for (uint32_t context = CONTEXT; context >= (arch_families[i].steps & FACTORS ? SHORT : CONTEXT); context /= 2) {
            int32_t ids[TOKENS];
            arch_model m;
            lm_model *model = open_family(&arch_families[i], context, &m, ids);
            check_key_stage(model, &m, context, ids);
            check_raw(model, &arch_families[i], ids);
            check_sliding(model, &arch_families[i], ids);
            check_reads(model, &arch_families[i], ids);
            lm_close(model);
            arch_model_free(&m);
        }
}

/* The number of threads changes no bit of a policy that has everything. */
static void test_threads(void **state)
{
    (void)state;
    int32_t ids[TOKENS];
    float one[LOGITS_N], four[LOGITS_N];
    arch_model m;
    lm_model *model = open_family(arch_family_of("gemma3"), CONTEXT, &m, ids);
    kvcache_policy policy = policy_of("affine", "bits=3,group_size=8");
    policy.sink = 2;
    policy.window = 3;
    policy.prefill = PREFILL_RAW;
    policy.key_stage = KEYS_PRE_ROPE;
    const int threads = omp_get_max_threads();
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t piece = i < 3 ? 1 : 6;
        policy.decode_reads = (kvcache_reads)(i % 3);
        omp_set_num_threads(1);
        run(model, &policy, piece == 1 ? LM_DECODE : LM_PREFILL, ids, piece, one);
        omp_set_num_threads(4);
        run(model, &policy, piece == 1 ? LM_DECODE : LM_PREFILL, ids, piece, four);
        assert_memory_equal(one, four, sizeof one);
    }
    omp_set_num_threads(threads);
    lm_close(model);
    arch_model_free(&m);
}

/* ---- A spec ------------------------------------------------------------------------------------- */

static void no_progress(void *user, const run_progress *p) { (void)user, (void)p; }

/* All keys of a policy are axes. */
static void test_spec(void **state)
{
    (void)state;
    char *tiny = in_folder(folder, "tiny.gguf"), *prose = in_folder(folder, "prose.txt"), *path = in_folder(folder, "policies.db");
    tiny_model_write(tiny, (tiny_options){ .uniform = false });
    text t = { 0 };
    for (int i = 0; i < 100; i++)
        text_add(&t, "Sentence number %d says that %d stones lay in the river %s. ", i, i * 7919 % 1000, i % 3 ? "bed" : "again");
    write_text(prose, t.data);
    text_free(&t);
    char *json = text_format("{ \"name\": \"policies\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 24, \"chunks\": 1,\n"
                             "\"controls\": false,"
                             "\"key\": { \"quantizer\": \"affine\", \"bits\": 3, \"group_size\": 16 }, \"sink\": [0, 2], \"window\": [0, 3],\n"
                             "\"sliding\": [\"quantized\", \"f16\"], \"prefill\": [\"packed\", \"raw\"], \"key_stage\": [\"post_rope\", \"pre_rope\"],\n"
                             "\"path\": [\"prefill\", \"decode\"] }", tiny, prose);
    spec s;
    plan p;
    run_result result;
    const run_options options = { .shard = 1, .shards = 1, .threads = 1, .command = "a test", .progress = no_progress };
    assert_ok(spec_parse("x.json", json, strlen(json), NULL, 0, &s, err));
    store *db = open_store(path);
    assert_ok(plan_open(&s, NULL, db, 1, NULL, &p, err));
    assert_int_equal(p.n_cells, 2 * (32 + 1));
    assert_int_equal(p.n_skips, 0);
    assert_ok(run_plan(&p, db, &options, &result, err));
    assert_int_equal(result.done, p.n_cells);
    /* A prompt in one raw batch is f16's, by rounding; all else is not. */
    static const char of_reference[] = "(SELECT m.value FROM measurement m JOIN cell o ON o.key = m.cell WHERE o.reference AND o.pairing = "
                                       "c.pairing AND m.metric = 'nll')";
    static const struct { const char *prefill, *path, *stage, *condition; int cells; } cases[] = {
        { "raw", "prefill", "post_rope", "difference < 1e-6", 8 }, { "raw", "prefill", "pre_rope", "difference < 1e-3", 8 },
        { "raw", "decode", "post_rope", "difference > 1e-6", 8 }, { "packed", "prefill", "post_rope", "difference > 1e-6", 8 },
        { "packed", "prefill", "pre_rope", "difference > 1e-6", 8 }, { "packed", "decode", "pre_rope", "difference > 1e-6", 8 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *sql = text_format("SELECT count(*) FROM (SELECT abs(v.value - %s) AS difference FROM measurement v JOIN cell c ON c.key = v.cell "
                                "WHERE v.metric = 'nll' AND json_extract(c.config, '$.prefill') = '%s' AND NOT c.reference AND "
                                "json_extract(c.config, '$.probe.params.path') = '%s' AND json_extract(c.config, '$.key_stage') = '%s') "
                                "WHERE %s", of_reference, cases[i].prefill, cases[i].path, cases[i].stage, cases[i].condition);
        const double found = query_number(db, sql);
        if ((int)found != cases[i].cells)
            fail_msg("%s, path %s, %s: %.0f cells of %d have a %s", cases[i].prefill, cases[i].path, cases[i].stage, found, cases[i].cells,
                     cases[i].condition);
        free(sql);
    }
    plan_close(&p);
    store_close(db);
    spec_close(&s);
    free(json);
    free(tiny);
    free(prose);
    free(path);
}

/* Where the first layer is f16 by the policy, a cell still says whose kernels its quantizer has, and all of its bytes. */
static void test_sliding_cells(void **state)
{
    (void)state;
    int32_t ids[TOKENS];
    arch_model m;
    lm_close(open_family(arch_family_of("gemma3"), CONTEXT, &m, ids));
    char *path = in_folder(folder, "family.gguf"), *prose = in_folder(folder, "any.txt");
    write_text(prose, "any text");
    char *json = text_format("{ \"name\": \"t\", \"probe\": \"bytes\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 60, \"controls\": false, \"sliding\": "
                             "[\"quantized\", \"f16\"], \"key\": { \"quantizer\": \"affine\", \"bits\": 4, \"group_size\": 8 } }", path, prose);
    spec s;
    plan p;
    assert_ok(spec_parse("x.json", json, strlen(json), NULL, 0, &s, err));
    assert_ok(plan_open(&s, NULL, NULL, 1, NULL, &p, err));
    assert_int_equal(p.n_cells, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(p.cells[i].key_target, "scalar");
        assert_string_equal(p.cells[i].value_target, "scalar");
    }
    /* A vector is 8 bytes of codes, or 16 of f16; one layer of three sees all 60 tokens, two see 6. */
    enum { SIDES = 2 * KV_HEADS };
    assert_int_equal(p.cells[0].cache_bytes, SIDES * (60 + 6 + 6) * 8);
    assert_int_equal(p.cells[1].cache_bytes, SIDES * (60 * 8 + (6 + 6) * 16));
    assert_true(p.cells[0].bits_stored == 8);
    assert_float_equal(p.cells[1].bits_stored, 16 * (60 * .5 + 12) / 72, 1e-12);
    assert_float_equal(p.cells[1].bits_asked, (4 + 16 + 16) / 3., 1e-12);
    plan_close(&p);
    spec_close(&s);
    arch_model_free(&m);
    free(json);
    free(path);
    free(prose);
}

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    input_settings(NULL, folder, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_families), cmocka_unit_test(test_threads), cmocka_unit_test(test_spec),
                                        cmocka_unit_test(test_sliding_cells) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
