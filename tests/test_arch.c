/* test_arch.c - a generated tiny model of every architecture against a plain forward pass in double, by both paths.
 * Each step that an architecture has is then left out of the reference, once: the logits must move far beyond the tolerance. */
#include "harness/lm/model.h"
#include "tests/arch_model.h"
#include "tests/scratch.h"

#include <math.h>
#include <omp.h>

/* Frees the bytes. */
static void save(byte_buffer bytes, const char *path)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.bytes, file), bytes.bytes);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
}

static void run(lm_model *model, const int32_t *ids, uint32_t piece, float *logits)
{
    const kvant_quantizer *f32 = kvant_find("f32", NULL);
    const kvcache_side side = { f32, kvant_defaults(f32->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    kvcache_codecs codecs;
    kvcache *cache;
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    assert_ok(kvcache_open(&codecs, TOKENS, &cache, err));
    for (uint32_t at = 0; at < TOKENS; at += piece) {
        const lm_segment s = { cache, ids + at, TOKENS - at < piece ? TOKENS - at : piece, want };
        assert_ok(lm_forward(model, piece == 1 ? LM_DECODE : LM_PREFILL, &s, 1, logits + at * VOCAB, NULL, err));
    }
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

static double distance(const double *a, const float *b)
{
    double most = 0;
    for (size_t i = 0; i < TOKENS * VOCAB; i++) {
        const double d = fabs(a[i] - (double)b[i]);
        most = d <= most ? most : d;
    }
    return most;
}

/* Floats of 24 bits through three layers: some 2^-24 times the terms of a sum, on logits of about 10. */
static const double tolerance = 1e-4;

/* Weights that stay in the file give the same bits. */
static void check_streamed(const char *path, uint32_t context, const int32_t *ids, const float *wanted, uint32_t piece)
{
    float logits[TOKENS * VOCAB];
    lm_model *model;
    assert_ok(lm_open_as(path, context, LM_WEIGHTS_STREAM, &model, err));
    run(model, ids, piece, logits);
    assert_memory_equal(logits, wanted, sizeof logits);
    lm_close(model);
}

typedef struct { float x[LAYERS][TOKENS * EMBD]; size_t at; } streams;

static void keep_stream(void *user, uint32_t layer, const float *x, size_t n_rows)
{
    streams *s = user;
    memcpy(s->x[layer] + s->at * EMBD, x, n_rows * EMBD * sizeof *x);
}

/* Hidden states of all tokens by a cache whose layers `coded` and above are in codes: from layer `first` on. */
static void run_from(lm_model *model, const kvcache_codecs *codecs, uint32_t coded, uint32_t first, const int32_t *ids, uint32_t piece,
                     streams *kept, float *hidden)
{
    const lm_observer observer = { .residual = keep_stream, .user = kept };
    const kvant_codec *of[LAYERS * KV_HEADS * 2];
    kvcache_codecs view = *codecs;
    kvcache *cache;
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    for (size_t i = 0; i < LAYERS * KV_HEADS * 2; i++)
        of[i] = i / (KV_HEADS * 2) >= coded ? codecs->of[i] : codecs->f16;
    view.of = of;
    assert_ok(kvcache_open_from(&view, first, TOKENS, &cache, err));
    for (uint32_t at = kept->at = 0; at < TOKENS; kept->at = at += piece) {
        const lm_segment s = { cache, ids + at, TOKENS - at < piece ? TOKENS - at : piece, want };
        assert_ok(lm_resume_hidden(model, piece == 1 ? LM_DECODE : LM_PREFILL, &s, 1, first ? kept->x[first] + at * EMBD : NULL,
                                   hidden + at * EMBD, coded == LAYERS ? &observer : NULL, err));
    }
    kvcache_close(cache);
}

/* What a pass with f16 alone let enter a layer, and coded caches from there on, make the bits of a whole pass. */
static void check_resumed(lm_model *model, const int32_t *ids, uint32_t piece)
{
    const kvant_quantizer *q = kvant_find("affine", NULL);
    kvcache_side side = { q, kvant_defaults(q->params) };
    assert_ok(kvant_parse(q->params, "bits=3,group_size=8", &side.args, err));
    const kvcache_policy policy = { .key = side, .value = side };
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    float f16[TOKENS * EMBD], whole[TOKENS * EMBD], resumed[TOKENS * EMBD];
    kvcache_codecs codecs;
    streams kept;
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    run_from(model, &codecs, LAYERS, 0, ids, piece, &kept, f16);
    for (uint32_t layer = 1; layer < LAYERS; layer++) {
        run_from(model, &codecs, layer, 0, ids, piece, &kept, whole);
        run_from(model, &codecs, layer, layer, ids, piece, &kept, resumed);
        assert_memory_not_equal(whole, f16, sizeof whole);
        assert_memory_equal(whole, resumed, sizeof whole);
    }
    kvcache_codecs_close(&codecs);
}

static void check_family(const arch_family *f, const char *path, uint32_t context)
{
    static const uint32_t pieces[] = { TOKENS, 5, 1 };
    int32_t ids[TOKENS];
    double wanted[TOKENS * VOCAB], other[TOKENS * VOCAB];
    float logits[TOKENS * VOCAB];
    arch_model m;
    lm_model *model;
    save(arch_model_make(&m, f, NULL), path);
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)gsl_rng_uniform_int(m.rng, VOCAB);
    arch_reference(&m, f->steps, context, ids, wanted);
    assert_ok(lm_open(path, context, &model, err));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run(model, ids, pieces[i], logits);
        const double off = distance(wanted, logits);
        if (!(off <= tolerance))
            fail_msg("%s, context %u, pieces of %u: logits are off by %g", f->name, context, pieces[i], off);
        check_resumed(model, ids, pieces[i]);
    }
    check_streamed(path, context, ids, logits, pieces[sizeof pieces / sizeof *pieces - 1]);
    for (unsigned step = 1; step <= ALL; step *= 2)
        if (f->steps & step) {
            arch_reference(&m, f->steps & ~step, context, ids, other);
            const double moved = distance(other, logits);
            if (!(moved >= 100 * tolerance))
                fail_msg("%s: without step %u logits move by %g only", f->name, step, moved);
        }
    lm_close(model);
    arch_model_free(&m);
}

static void test_families(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = text_format("%s/tiny.gguf", folder);
    for (size_t i = 0; i < arch_n_families; i++) {
        check_family(&arch_families[i], path, SHORT);
        check_family(&arch_families[i], path, CONTEXT);
    }
    free(path);
    scratch_remove(folder);
}

/* Rows go to experts in groups, and groups to threads in pieces: the number of threads may change no bit. */
static void test_threads(void **state)
{
    (void)state;
    int32_t ids[TOKENS];
    float one[TOKENS * VOCAB], four[TOKENS * VOCAB];
    arch_model m;
    lm_model *model;
    const int threads = omp_get_max_threads();
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf");
    save(arch_model_make(&m, arch_family_of("qwen3moe"), NULL), path);
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)gsl_rng_uniform_int(m.rng, VOCAB);
    assert_ok(lm_open(path, 0, &model, err));
    for (uint32_t piece = 1; piece <= TOKENS; piece += TOKENS - 1) {
        omp_set_num_threads(1);
        run(model, ids, piece, one);
        omp_set_num_threads(4);
        run(model, ids, piece, four);
        assert_memory_equal(one, four, sizeof one);
    }
    omp_set_num_threads(threads);
    lm_close(model);
    arch_model_free(&m);
    free(path);
    scratch_remove(folder);
}

/* Values of keys that no such model has, or that would be run wrongly. */
static void test_keys(void **state)
{
    (void)state;
    static const struct { const char *family; arch_fault fault; const char *says; } cases[] = {
        { "qwen3moe", { NULL, "expert_count", 0 }, "qwen3moe.expert_count has a value" },
        { "qwen3moe", { NULL, "expert_count", 5000 }, "qwen3moe.expert_count has a value" },
        { "qwen3moe", { NULL, "expert_count", EXPERTS - 1 }, "ffn_gate_inp.weight is 24 x 5 x 1, expected 24 x 4 x 1" },
        { "qwen3moe", { NULL, "expert_used_count", 0 }, "qwen3moe.expert_used_count has a value" },
        { "qwen3moe", { NULL, "expert_used_count", EXPERTS + 1 }, "qwen3moe.expert_used_count has a value" },
        { "qwen3moe", { NULL, "expert_feed_forward_length", 0 }, "qwen3moe.expert_feed_forward_length has a value" },
        { "qwen3moe", { NULL, "expert_feed_forward_length", 2 * FF }, "ffn_gate_exps.weight is 24 x 20 x 5, expected 24 x 40 x 5" },
        { "llama", { NULL, "expert_count", 8 }, "of mixtures of experts only qwen3moe is supported" },
        { "olmo2", { NULL, "attention.sliding_window", 4096 }, "a sliding window is not part of architecture olmo2" },
    };
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arch_model m;
        lm_model *model;
        save(arch_model_make(&m, arch_family_of(cases[i].family), &cases[i].fault), path);
        assert_fails(lm_open(path, 0, &model, err), KVANT_INVALID, cases[i].says);
        arch_model_free(&m);
    }
    free(path);
    scratch_remove(folder);
}

/* What is not known is refused by name, never left out. */
static void test_refused(void **state)
{
    (void)state;
    static const arch_family mamba = { "mamba", 0, false, true, false, 0 }, biased = { "llama", QKV_BIAS, false, true, false, 0 },
                        plain = { "qwen2", HALF, false, true, false, 0 };
    const struct { const arch_family *f; arch_fault fault; const char *says; } cases[] = {
        { &mamba, { .tensor = NULL }, "supported: llama, qwen2, qwen3, qwen3moe, granite, phi3, gemma3, gemma2, phi2, olmo2" },
        { arch_family_of("qwen3"), { .tensor = "attn_gate.weight" }, "blk.0.attn_gate.weight is not part of architecture qwen3" },
        { &biased, { .tensor = NULL }, "attn_q.bias is not part of architecture llama" },
        { &plain, { .tensor = NULL }, "blk.0.attn_q.bias is missing" },
    };
    char *folder = scratch_make(), *path = text_format("%s/tiny.gguf", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arch_model m;
        lm_model *model;
        kvant_error err = { "" };
        save(arch_model_make(&m, cases[i].f, &cases[i].fault), path);
        assert_int_equal(lm_open(path, 0, &model, &err), KVANT_INVALID);
        if (!strstr(err.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
        arch_model_free(&m);
    }
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_families), cmocka_unit_test(test_threads), cmocka_unit_test(test_keys),
                                        cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
