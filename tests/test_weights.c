/* test_weights.c - the forms that a model's weights may have: streamed ones give the bits of f32 and take no memory of their own, bf16
 * ones the products of what is rounded. Products first, on shapes that panels and pieces cut unevenly, then models. */
#include "algorithms/shared/half.h"
#include "harness/lm/dequant.h"
#include "harness/lm/gemm_bf16.h"
#include "harness/lm/generate.h"
#include "tests/conformance.h"
#include "tests/gguf_writer.h"
#include "tests/model_runs.h"
#include "tests/scratch.h"

#include <malloc.h>
#include <omp.h>

/* ---- Products -------------------------------------------------------------------------------- */

enum { COLUMNS = 256, MOST_OUT = 250, MOST_ROWS = 131 };

/* Rows of a tensor with random codes and harmless scales. type: F32, Q8_0, Q4_K. */
static gguf_tensor random_tensor(gsl_rng *rng, uint32_t type, size_t rows)
{
    const size_t block = type == 0 ? 4 : type == 8 ? 34 : 144, bytes = rows * COLUMNS / (type == 0 ? 1 : type == 8 ? 32 : 256) * block;
    static const uint8_t half[] = { 0x00, 0x2c };      /* 2^-4 */
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)gsl_rng_uniform_int(rng, 256);
    for (size_t i = 0; i < bytes; i += block) {
        const float x = (float)gsl_ran_gaussian_ziggurat(rng, 1);
        if (type == 0)
            memcpy(data + i, &x, sizeof x);
        else
            memcpy(data + i, half, sizeof half);
        if (type == 12)
            memcpy(data + i + 2, half, sizeof half);
    }
    return (gguf_tensor){ .name = { "random", 6 }, .n_dims = 2, .ne = { COLUMNS, rows, 1, 1 }, .type = type, .data = data,
                          .bytes = bytes };
}

/* Sums of what is rounded, in double, against the product; products of bf16 are exact, so that only sums of f32 err. */
static void check_rounded(const float *x, const float *rows, const float *got, size_t n_out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n_out; j++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < COLUMNS; k++) {
                const double term = (double)bf16_to_float(float_to_bf16(x[i * COLUMNS + k])) *
                                    (double)bf16_to_float(float_to_bf16(rows[j * COLUMNS + k]));
                sum += term;
                size += fabs(term);
            }
            assert_near(got[i * n_out + j], sum, 1e-6 * size);
        }
}

/* A matrix of two pieces, the second of which begins within its tensor, in all forms. */
static void check_product(gsl_rng *rng, gemm_bf16 *products, uint32_t type, size_t n_out, size_t n)
{
    const size_t first = (n_out + 1) / 2, skipped = 3;
    gguf_tensor a = random_tensor(rng, type, first), b = random_tensor(rng, type, n_out - first + skipped);
    gemm_matrix held, streamed, rounded;
    gemm_room room = { 0 };
    float *x = kvant_alloc(n * COLUMNS * sizeof *x), *rows = kvant_alloc(n_out * COLUMNS * sizeof *rows);
    float *want = kvant_alloc(n * n_out * sizeof *want), *got = kvant_alloc(n * n_out * sizeof *got);
    float *want_rounded = kvant_alloc(n * n_out * sizeof *want_rounded);
    assert_true(x && rows && want && got && want_rounded);
    for (size_t i = 0; i < n * COLUMNS; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    assert_ok(dequant_rows(&a, 0, first, rows, err));
    assert_ok(dequant_rows(&b, skipped, n_out - first, rows + first * COLUMNS, err));
    assert_ok(gemm_init(&held, n_out, COLUMNS, err));
    gemm_set_rows(&held, 0, n_out, rows);
    assert_ok(gemm_init_stream(&streamed, n_out, COLUMNS, &room, err));
    assert_ok(gemm_add_piece(&streamed, &(gemm_piece){ &a, 0, 0, first }, err));
    assert_ok(gemm_add_piece(&streamed, &(gemm_piece){ &b, skipped, first, n_out - first }, err));
    rounded = streamed;
    omp_set_num_threads(2);
    assert_ok(gemm_room_open(&room, err));
    if (products)
        assert_ok(gemm_bf16_pack(products, &rounded, err));
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        gemm_apply(&held, x, COLUMNS, n, want, n_out);
        gemm_apply(&streamed, x, COLUMNS, n, got, n_out);
        if (memcmp(want, got, n * n_out * sizeof *want))
            fail_msg("type %u, %zu outputs, %zu rows, %d threads: streamed weights give other bits", type, n_out, n, threads);
        if (!products)
            continue;
        gemm_apply(&rounded, x, COLUMNS, n, got, n_out);
        if (threads == 1) {
            check_rounded(x, rows, got, n_out, n);
            memcpy(want_rounded, got, n * n_out * sizeof *got);
        } else if (memcmp(want_rounded, got, n * n_out * sizeof *got))
            fail_msg("type %u, %zu outputs, %zu rows: %d threads give other sums of bf16", type, n_out, n, threads);
    }
    gemm_free(&held);
    gemm_free(&streamed);
    if (products)
        gemm_free(&rounded);
    gemm_room_close(&room);
    free((void *)(uintptr_t)a.data);
    free((void *)(uintptr_t)b.data);
    free(x);
    free(rows);
    free(want);
    free(got);
    free(want_rounded);
}

/* NULL, with a word on it, where the processor has no products of bf16. */
static gemm_bf16 *open_products(void)
{
    gemm_bf16 *products = NULL;
    assert_ok(gemm_bf16_open(&products, err));
    if (!strcmp(gemm_bf16_isa(), "none")) {
        print_message("this processor has no products of bf16: left out\n");
        gemm_bf16_close(products);
        return NULL;
    }
    return products;
}

static void test_products(void **state)
{
    (void)state;
    static const uint32_t types[] = { 0, 8, 12 };
    static const size_t outs[] = { 2, 95, 96, 97, 192, MOST_OUT }, rows[] = { 1, 5, 128, MOST_ROWS };
    const int threads = omp_get_max_threads();
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    omp_set_num_threads(2);
    gemm_bf16 *products = open_products();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t o = 0; o < sizeof outs / sizeof *outs; o++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                check_product(rng, products, types[t], outs[o], rows[r]);
    gemm_bf16_close(products);
    gsl_rng_free(rng);
    omp_set_num_threads(threads);
}

/* Pieces that would read beyond a tensor, leave a gap or lie behind the matrix. */
static void test_pieces(void **state)
{
    (void)state;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    gguf_tensor t = random_tensor(rng, 8, 10), unknown = t, narrow = t;
    unknown.type = 9;
    narrow.ne[0] = COLUMNS / 2;
    gemm_room room = { 0 };
    gemm_matrix w;
    assert_fails(gemm_init_stream(&w, 0, COLUMNS, &room, err), KVANT_INVALID, "not possible");
    assert_fails(gemm_init_stream(&w, 1, SIZE_MAX / 8, &room, err), KVANT_INVALID, "not possible");
    assert_ok(gemm_init_stream(&w, 12, COLUMNS, &room, err));
    const gemm_piece refused[] = { { &t, 0, 0, 11 }, { &t, 8, 0, 3 }, { &t, 11, 0, 0 }, { &t, SIZE_MAX, 0, 2 }, { &t, 0, 1, 5 },
                                   { &unknown, 0, 0, 5 }, { &narrow, 0, 0, 5 } };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_fails(gemm_add_piece(&w, &refused[i], err), KVANT_INVALID, "cannot be outputs");
    assert_ok(gemm_add_piece(&w, &(gemm_piece){ &t, 0, 0, 10 }, err));
    assert_fails(gemm_add_piece(&w, &(gemm_piece){ &t, 0, 10, 3 }, err), KVANT_INVALID, "cannot be outputs");
    assert_ok(gemm_add_piece(&w, &(gemm_piece){ &t, 5, 10, 2 }, err));
    gemm_free(&w);
    free((void *)(uintptr_t)t.data);
    gsl_rng_free(rng);
}

/* ---- Models ---------------------------------------------------------------------------------- */

/* Logits [n][n_vocab] through an f16 cache, `piece` tokens at a time (1: the decode path). */
static float *run_tokens(lm_model *model, const int32_t *ids, size_t n, uint32_t piece)
{
    const size_t n_vocab = lm_model_shape(model)->n_vocab;
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    kvcache *cache;
    assert_ok(kvcache_open(&codecs, (uint32_t)n, &cache, err));
    float *logits = calloc(n * n_vocab, sizeof *logits);
    uint8_t *want = malloc(n);
    assert_true(logits && want);
    memset(want, 1, n);
    for (size_t done = 0; done < n;) {
        const uint32_t m = n - done < piece ? (uint32_t)(n - done) : piece;
        const lm_segment segment = { .cache = cache, .tokens = ids + done, .n = m, .want = want };
        assert_ok(lm_forward(model, piece == 1 ? LM_DECODE : LM_PREFILL, &segment, 1, logits + done * n_vocab, NULL, err));
        done += m;
    }
    free(want);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return logits;
}

/* Rounding to 8 bits must show, and must not be much: a relative distance of some 2^-9 per product, through a few layers. */
static void check_close(const float *want, const float *got, size_t n)
{
    double size = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        size += (double)want[i] * want[i];
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
    }
    const double relative = sqrt(difference / size);
    if (!(relative > 1e-4 && relative < .05))
        fail_msg("logits of bf16 weights are off by %g of their size", relative);
}

static void check_model(const char *path, const int32_t *ids, size_t n)
{
    static const uint32_t pieces[] = { 1, 29 };
    const int threads = omp_get_max_threads();
    lm_model *held, *streamed, *rounded = NULL;
    assert_ok(lm_open(path, 0, &held, err));
    assert_ok(lm_open_as(path, 0, LM_WEIGHTS_STREAM, &streamed, err));
    assert_int_equal(lm_weights_of(held), LM_WEIGHTS_F32);
    assert_int_equal(lm_weights_of(streamed), LM_WEIGHTS_STREAM);
    assert_int_equal(lm_weight_bytes(held), lm_weight_bytes(streamed));
    if (strcmp(gemm_bf16_isa(), "none"))
        assert_ok(lm_open_as(path, 0, LM_WEIGHTS_BF16, &rounded, err));
    const size_t bytes = n * lm_model_shape(held)->n_vocab * sizeof(float);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        float *want = run_tokens(held, ids, n, pieces[p]), *first = NULL;
        for (int t = 1; t <= 3; t++) {
            omp_set_num_threads(t);
            float *got = run_tokens(streamed, ids, n, pieces[p]);
            if (memcmp(want, got, bytes))
                fail_msg("%s, pieces of %u, %d threads: streamed weights give other logits", path, pieces[p], t);
            free(got);
            got = rounded ? run_tokens(rounded, ids, n, pieces[p]) : NULL;
            if (rounded && t > 1 && memcmp(first, got, bytes))
                fail_msg("%s, pieces of %u: %d threads give other logits of bf16 weights", path, pieces[p], t);
            if (t > 1)
                free(got);
            else
                first = got;
        }
        if (rounded)
            check_close(want, first, bytes / sizeof *want);
        free(first);
        omp_set_num_threads(threads);
        free(want);
    }
    lm_close(held);
    lm_close(streamed);
    lm_close(rounded);
}

/* Quantized types of every kind, as files of the field have them; architectures are test_arch's affair. */
static void test_reference_models(void **state)
{
    (void)state;
    cJSON *index = conformance_index();
    if (!index) {
        print_message("no folder of KVANT_DATA has conformance/index.json\n");
        skip();
    }
    const cJSON *entry;
    size_t n_models = 0;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "models"))
    {
        const char *file = cJSON_GetObjectItemCaseSensitive(entry, "model")->valuestring;
        if (strncmp(file, "models/type", strlen("models/type")))
            continue;
        size_t n;
        int *ids = conformance_ids(cJSON_GetObjectItemCaseSensitive(entry, "tokens"), &n);
        char *name = text_format("conformance/%s", file);
        assert_non_null(name);
        check_model(data_path(name), ids, n < 30 ? n : 30);
        free(name);
        free(ids);
        n_models++;
    }
    cJSON_Delete(index);
    assert_true(n_models >= 5);
}

enum { WIDE = 512, WIDE_FF = 2048, WIDE_VOCAB = 4096, WIDE_LAYERS = 4 };

static void add_q8(gguf_writer *w, const char *name, uint64_t columns, uint64_t rows)
{
    const uint64_t ne[2] = { columns, rows };
    const size_t bytes = (size_t)(columns * rows / 32 * 34);
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = i % 34 ? (uint8_t)(i * 2654435761u >> 13) : 0;
    for (size_t i = 1; i < bytes; i += 34)
        data[i] = 0x14;                        /* the half 2^-10 */
    writer_tensor(w, name, 8, 2, ne, data, bytes);
    free(data);
}

static void add_ones(gguf_writer *w, const char *name)
{
    const uint64_t n = WIDE;
    float ones[WIDE];
    for (size_t i = 0; i < WIDE; i++)
        ones[i] = 1;
    writer_tensor(w, name, 0, 1, &n, ones, sizeof ones);
}

/* A model whose weights are large enough to be seen in the process's memory: 75 MB as f32, 20 MB in the file. */
static void write_wide(const char *path)
{
    static const struct { const char *name; uint64_t columns, rows; } parts[] = {
        { "attn_q", WIDE, WIDE }, { "attn_k", WIDE, WIDE }, { "attn_v", WIDE, WIDE }, { "attn_output", WIDE, WIDE },
        { "ffn_gate", WIDE, WIDE_FF }, { "ffn_up", WIDE, WIDE_FF }, { "ffn_down", WIDE_FF, WIDE },
    };
    gguf_writer w = writer_begin();
    writer_string(&w, "general.architecture", "llama");
    writer_u32(&w, "llama.block_count", WIDE_LAYERS);
    writer_u32(&w, "llama.embedding_length", WIDE);
    writer_u32(&w, "llama.attention.head_count", 8);
    writer_u32(&w, "llama.attention.head_count_kv", 8);
    writer_u32(&w, "llama.feed_forward_length", WIDE_FF);
    writer_u32(&w, "llama.context_length", 64);
    writer_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add_q8(&w, "token_embd.weight", WIDE, WIDE_VOCAB);
    add_ones(&w, "output_norm.weight");
    for (int layer = 0; layer < WIDE_LAYERS; layer++) {
        char name[64];
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].name);
            add_q8(&w, name, parts[i].columns, parts[i].rows);
        }
        snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
        add_ones(&w, name);
        snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
        add_ones(&w, name);
    }
    byte_buffer bytes = writer_end(&w);
    assert_ok(file_write(path, bytes.data, bytes.bytes, err));
    free(bytes.data);
}

/* Bytes that a loaded model adds to what the process holds, after a pass. */
static double resident_with(const char *path, lm_weights weights)
{
    static const int32_t ids[] = { 3, 1, 4 };
    malloc_trim(0);                /* what was freed is no one's */
    const size_t before = resident_bytes();
    lm_model *model;
    assert_ok(lm_open_as(path, 0, weights, &model, err));
    float *logits = run_tokens(model, ids, 3, 3);
    const double grown = (double)resident_bytes() - (double)before;
    free(logits);
    lm_close(model);
    return grown;
}

/* f32 takes what it takes once, without the file beside it; streamed weights take the file's pages and little more. */
static void test_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("a sanitizer's own memory hides the model's\n");
    skip();
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
    print_message("a sanitizer's own memory hides the model's\n");
    skip();
#endif
#endif
    if (!resident_bytes()) {
        print_message("the system does not say how much memory a process holds\n");
        skip();
    }
    char *folder = scratch_make(), *path = in_folder(folder, "wide.gguf");
    write_wide(path);
    const double values = WIDE_VOCAB * WIDE + WIDE_LAYERS * (4.0 * WIDE * WIDE + 3.0 * WIDE * WIDE_FF), stored = values / 32 * 34;
    resident_with(path, LM_WEIGHTS_STREAM);                /* whatever the first pass of a process leaves */
    const bool rounds = strcmp(gemm_bf16_isa(), "none");
    const double streamed = resident_with(path, LM_WEIGHTS_STREAM), rounded = rounds ? resident_with(path, LM_WEIGHTS_BF16) : 0;
    const double held = resident_with(path, LM_WEIGHTS_F32);
    print_message("%.1f MB of weights as f32, %.1f in the file; grown by %.1f, streamed %.1f, bf16 %.1f\n", 4 * values / 1e6,
                  stored / 1e6, held / 1e6, streamed / 1e6, rounded / 1e6);
    assert_true(held > 3.8 * values && held < 4 * values + stored / 2);
    /* oneDNN rounds the memory of every panel up to pages. */
    assert_true(!rounds || (rounded > 1.8 * values && rounded < 2 * values + .75 * stored));
    assert_true(streamed < stored + 6e6);
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    /* Memory first: what other tests have freed would hide what a model takes. */
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_memory), cmocka_unit_test(test_products), cmocka_unit_test(test_pieces),
                                        cmocka_unit_test(test_reference_models) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
