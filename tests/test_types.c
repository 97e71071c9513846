/* test_types.c - a generated tiny model in every tensor type that is read: its logits are those of the same values as F32, bit for
 * bit, whether weights are unpacked at opening or whenever they are multiplied. What a type's bytes mean, test_dequant.c says. */
#include "harness/lm/dequant.h"
#include "harness/lm/model.h"
#include "tests/gguf_writer.h"
#include "tests/scratch.h"

#include <math.h>

enum { EMBD = 256, HEADS = 4, KV_HEADS = 1, DIM = 64, FF = 256, VOCAB = 24, TOKENS = 9, LAYERS = 1, MOST = 256 * 256, POOL = 200 };

static uint32_t draw(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

/* A block of random bytes, drawn again until its values are of a size that weights have. */
static void draw_block(const ggml_type *type, uint64_t *random, uint8_t *block)
{
    float values[256];
    double square;
    do {
        square = 0;
        for (size_t i = 0; i < type->bytes; i++)
            block[i] = (uint8_t)draw(random);
        type->row(block, type->block, values);
        for (size_t i = 0; i < type->block; i++)
            square += (double)values[i] * (double)values[i] / type->block;
    } while (!(square > 1e-6 && square < 0.05));
}

/* Two files of the same values: one in the type, the other as F32. */
typedef struct { gguf_writer w[2]; uint64_t random; uint8_t pool[POOL][256]; } twins;

static void add(twins *t, const ggml_type *type, int layer, const char *part, uint64_t columns, uint64_t rows)
{
    static uint8_t bytes[4 * MOST];
    static float values[MOST];
    char name[64];
    const uint64_t ne[2] = { columns, rows };
    const size_t n = columns * rows;
    assert_true(n <= MOST && n / type->block * type->bytes <= sizeof bytes);
    if (layer < 0)
        snprintf(name, sizeof name, "%s.weight", part);
    else
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, part);
    for (size_t i = 0; i < n / type->block; i++) {
        const uint8_t *block = t->pool[draw(&t->random) % POOL];
        memcpy(bytes + i * type->bytes, block, type->bytes);
        type->row(block, type->block, values + i * type->block);
    }
    writer_tensor(&t->w[0], name, type->type, rows > 1 ? 2 : 1, ne, bytes, n / type->block * type->bytes);
    writer_tensor(&t->w[1], name, 0, rows > 1 ? 2 : 1, ne, values, n * sizeof *values);
}

static void add_model(twins *t, const ggml_type *type)
{
    static const struct { const char *name; uint64_t columns, rows; } parts[] = {
        { "attn_norm", EMBD, 1 }, { "ffn_norm", EMBD, 1 }, { "attn_q", EMBD, HEADS * DIM }, { "attn_k", EMBD, KV_HEADS * DIM },
        { "attn_v", EMBD, KV_HEADS * DIM }, { "attn_output", HEADS * DIM, EMBD }, { "ffn_gate", EMBD, FF }, { "ffn_up", EMBD, FF },
        { "ffn_down", FF, EMBD },
    };
    static const struct { const char *key; uint32_t value; } keys[] = {
        { "block_count", LAYERS }, { "embedding_length", EMBD }, { "attention.head_count", HEADS },
        { "attention.head_count_kv", KV_HEADS }, { "feed_forward_length", FF }, { "context_length", 64 },
    };
    for (int k = 0; k < 2; k++) {
        writer_string(&t->w[k], "general.architecture", "llama");
        writer_f32(&t->w[k], "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            char key[64];
            snprintf(key, sizeof key, "llama.%s", keys[i].key);
            writer_u32(&t->w[k], key, keys[i].value);
        }
    }
    for (size_t i = 0; i < POOL; i++)
        draw_block(type, &t->random, t->pool[i]);
    add(t, type, -1, "token_embd", EMBD, VOCAB);
    add(t, type, -1, "output_norm", EMBD, 1);
    add(t, type, -1, "output", EMBD, VOCAB);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            add(t, type, layer, parts[i].name, parts[i].columns, parts[i].rows);
}

static void logits_of(gguf_writer *w, const char *path, lm_weights weights, float *logits)
{
    static const int32_t ids[TOKENS] = { 3, 14, 15, 9, 2, 6, 5, 23, 0 };
    uint8_t want[TOKENS];
    memset(want, 1, sizeof want);
    if (w) {
        byte_buffer bytes = writer_end(w);
        assert_ok(file_write(path, bytes.data, bytes.bytes, err));
        free(bytes.data);
    }
    const kvant_quantizer *f32 = kvant_find("f32", NULL);
    const kvcache_side side = { f32, kvant_defaults(f32->params) };
    const kvcache_policy policy = { .key = side, .value = side };
    lm_model *model;
    kvcache_codecs codecs;
    kvcache *cache;
    assert_ok(lm_open_as(path, 0, weights, &model, err));
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    assert_ok(kvcache_codecs_open(&policy, &shape, NULL, &codecs, err));
    assert_ok(kvcache_open(&codecs, TOKENS, &cache, err));
    const lm_segment s = { cache, ids, TOKENS, want };
    assert_ok(lm_forward(model, LM_PREFILL, &s, 1, logits, NULL, err));
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

static void every_type(void **state)
{
    (void)state;
    static const char *const must[] = { "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
                                        "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4" };
    static float own[TOKENS * VOCAB], plain[TOKENS * VOCAB], streamed[TOKENS * VOCAB];
    char *folder = scratch_make(), *path = in_folder(folder, "typed.gguf"), *twin = in_folder(folder, "plain.gguf");
    size_t seen = 0;
    for (uint32_t number = 0; number < 64; number++) {
        const ggml_type *type = ggml_type_find(number);
        if (!type || !type->row)
            continue;
        for (size_t i = 0; i < sizeof must / sizeof *must; i++)
            seen += !strcmp(must[i], type->name);
        twins t = { .w = { writer_begin(), writer_begin() }, .random = 7 + number };
        add_model(&t, type);
        logits_of(&t.w[0], path, LM_WEIGHTS_F32, own);
        logits_of(&t.w[1], twin, LM_WEIGHTS_F32, plain);
        logits_of(NULL, path, LM_WEIGHTS_STREAM, streamed);
        double most = 0;
        for (size_t i = 0; i < TOKENS * VOCAB; i++) {
            assert_true(isfinite(own[i]));
            most = fmax(most, fabs((double)own[i]));
        }
        if (!(most > 1e-3))
            fail_msg("%s: logits of at most %g tell nothing", type->name, most);
        if (memcmp(own, plain, sizeof own) || memcmp(own, streamed, sizeof own))
            fail_msg("%s: logits are not those of its values as F32", type->name);
    }
    assert_int_equal(seen, sizeof must / sizeof *must);
    free(path);
    free(twin);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_type) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
