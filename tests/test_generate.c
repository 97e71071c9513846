/* test_generate.c - many sequences continued in lockstep on tiny models: each as if it were alone, bit for bit, whenever the others
 * begin and end; what stops one, and what is refused. */
#include "harness/lm/gemm.h"
#include "harness/lm/generate.h"
#include "tests/model_runs.h"

enum { SEQUENCES = 9, LIMIT = 28, BATCH = 16 };

/* Sequences over the text, bytes being tokens: prompts of 1, 12, 23 ... tokens that are continued by 28, 25, 22 ... */
typedef struct {
    int32_t prompts[SEQUENCES][128], out[SEQUENCES][LIMIT];
    lm_continuation sequences[SEQUENCES];
    double seen[SEQUENCES][LIMIT]; /* of the logits that each token came from */
    size_t stop_at[SEQUENCES], n_vocab;
} sequences;

static void make(sequences *s, const lm_model *model)
{
    *s = (sequences){ .n_vocab = lm_model_shape(model)->n_vocab };
    for (size_t i = 0; i < SEQUENCES; i++) {
        const size_t n = 1 + 11 * i;
        for (size_t j = 0; j < n; j++)
            s->prompts[i][j] = (unsigned char)words.text[500 * i + j];
        s->sequences[i] = (lm_continuation){ .prompt = s->prompts[i], .n_prompt = n, .out = s->out[i], .limit = LIMIT - 3 * i };
        s->stop_at[i] = SIZE_MAX;
    }
}

/* A weighted sum keeps the logits' bits apart well enough: equal ones give equal sums, and a difference of one shows. */
static bool look(void *user, size_t index, const float *logits)
{
    sequences *s = user;
    const size_t at = s->sequences[index].n_out;
    assert_true(at < LIMIT);
    double sum = 0;
    for (size_t i = 0; i < s->n_vocab; i++)
        sum += (double)logits[i] * (double)(i + 1);
    s->seen[index][at] = sum;
    return at == s->stop_at[index];
}

static void run(lm_model *model, const kvcache_codecs *codecs, uint32_t lockstep, lm_continuation *first, size_t n, sequences *s)
{
    const lm_generation how = { .batch = BATCH, .lockstep = lockstep, .next = look, .user = s };
    kvant_error err = { "" };
    if (lm_generate(model, codecs, &how, first, n, &err) != KVANT_OK)
        fail_msg("%s", err.text);
}

static void no_company_changes_a_bit(void **state)
{
    (void)state;
    static const char *const codecs_of[][2] = { { "f16", "" }, { "affine", "bits=2,group_size=16" }, { "kivi", "bits=2,group_size=16" } };
    static const uint32_t widths[] = { 4, 7, LM_MAX_LOCKSTEP };
    static sequences alone, together;
    lm_model *model = open_model((tiny_options){ 0 });
    for (size_t k = 0; k < sizeof codecs_of / sizeof *codecs_of; k++) {
        kvcache_codecs codecs = open_codecs(model, codecs_of[k][0], codecs_of[k][1], codecs_of[k][0], codecs_of[k][1]);
        make(&alone, model);
        for (size_t i = 0; i < SEQUENCES; i++) {
            const lm_generation how = { .batch = BATCH, .lockstep = 1 };       /* nobody looks on */
            assert_int_equal(lm_generate(model, &codecs, &how, &alone.sequences[i], 1, NULL), KVANT_OK);
        }
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            make(&together, model);
            run(model, &codecs, widths[w], together.sequences, SEQUENCES, &together);
            for (size_t i = 0; i < SEQUENCES; i++) {
                assert_int_equal(together.sequences[i].n_out, alone.sequences[i].n_out);
                assert_int_equal(together.sequences[i].stop, alone.sequences[i].stop);
            }
            assert_memory_equal(together.out, alone.out, sizeof alone.out);
            if (w == 0)
                memcpy(alone.seen, together.seen, sizeof alone.seen);
            assert_memory_equal(together.seen, alone.seen, sizeof alone.seen);      /* logits, not only what they choose */
        }
        assert_true(alone.seen[0][0] != alone.seen[1][0]);
        kvcache_codecs_close(&codecs);
    }
    lm_close(model);
}

/* What the lockstep counts on of oneDNN, whose instruction set it may be: rows by 6 come out alike among more of them, and anywhere. */
static void products_take_rows_by_six(void **state)
{
    (void)state;
    enum { N_IN = 640, N_OUT = 200, ROWS = 6 };
    static const size_t widths[][2] = { { 16, N_OUT }, { 100, 64 }, { N_IN, N_OUT } };
    static float x[LM_MAX_LOCKSTEP * N_IN], weights[N_OUT * N_IN], y[LM_MAX_LOCKSTEP * N_OUT], alone[LM_MAX_LOCKSTEP * N_OUT];
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        weights[i] = sinf((float)i);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = cosf((float)(i * i % 10007));
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        const size_t n_in = widths[k][0], n_out = widths[k][1];
        gemm_matrix w;
        assert_int_equal(gemm_init(&w, n_out, n_in, NULL), KVANT_OK);
        gemm_set_rows(&w, 0, n_out, weights);
        for (size_t row = 0; row < LM_MAX_LOCKSTEP; row += ROWS)
            gemm_apply(&w, x + row * n_in, n_in, ROWS, alone + row * n_out, n_out);
        for (size_t n = ROWS; n <= LM_MAX_LOCKSTEP; n += ROWS) {
            gemm_apply(&w, x + (LM_MAX_LOCKSTEP - n) * n_in, n_in, n, y, n_out);
            assert_memory_equal(y, alone + (LM_MAX_LOCKSTEP - n) * n_out, n * n_out * sizeof *y);
        }
        for (size_t row = 1; row < ROWS; row++) {          /* and a row's place among six */
            gemm_apply(&w, x + row * n_in, n_in, ROWS, y, n_out);
            assert_memory_equal(y, alone + row * n_out, n_out * sizeof *y);
        }
        gemm_free(&w);
    }
}

/* One sequence, one token at a time through lm_forward: the same tokens, and its logits but for rounding. */
static void it_is_the_models_own_continuation(void **state)
{
    (void)state;
    static sequences s;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "affine", "bits=4,group_size=16", "affine", "bits=4,group_size=16");
    make(&s, model);
    run(model, &codecs, 4, s.sequences, SEQUENCES, &s);
    float *logits = malloc(s.n_vocab * sizeof *logits);
    assert_non_null(logits);
    for (size_t i = 0; i < SEQUENCES; i++) {
        const lm_continuation *c = &s.sequences[i];
        kvcache *cache = NULL;
        size_t n = 0;
        int32_t out[LIMIT];
        assert_int_equal(kvcache_open(&codecs, (uint32_t)(c->n_prompt + c->limit), &cache, NULL), KVANT_OK);
        assert_int_equal(lm_prefill(model, cache, c->prompt, c->n_prompt, BATCH, logits, NULL), KVANT_OK);
        assert_int_equal(lm_greedy(model, cache, logits, c->limit, out, &n, NULL), KVANT_OK);
        assert_int_equal(c->n_out, n);
        assert_memory_equal(c->out, out, n * sizeof *out);
        kvcache_close(cache);
    }
    free(logits);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

/* A uniform model writes token 0 for ever, or, where that ends a text, nothing. */
static void what_stops_a_sequence(void **state)
{
    (void)state;
    static sequences s;
    for (int ends = 0; ends < 2; ends++) {
        lm_model *model = open_model((tiny_options){ .uniform = true, .ends = ends });
        kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
        make(&s, model);
        s.stop_at[2] = 0;
        s.stop_at[3] = 5;
        run(model, &codecs, 3, s.sequences, SEQUENCES, &s);
        for (size_t i = 0; i < SEQUENCES; i++) {
            const lm_continuation *c = &s.sequences[i];
            const bool stopped = i == 2 || (i == 3 && !ends);
            assert_int_equal(c->stop, stopped ? LM_STOPPED : ends ? LM_END : LM_LIMIT);
            assert_int_equal(c->n_out, stopped ? s.stop_at[i] : ends ? 0 : c->limit);
        }
        kvcache_codecs_close(&codecs);
        lm_close(model);
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    static sequences s;
    lm_model *model = open_model((tiny_options){ 0 });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    lm_generation how = { .batch = BATCH, .lockstep = 2 };
    make(&s, model);
    assert_int_equal(lm_generate(model, &codecs, &how, NULL, 0, NULL), KVANT_OK);
    s.sequences[5].limit = 0;
    kvant_error err = { "" };
    assert_int_equal(lm_generate(model, &codecs, &how, s.sequences, SEQUENCES, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "by 0"));
    make(&s, model);
    s.sequences[8].limit = SIZE_MAX;
    assert_int_equal(lm_generate(model, &codecs, &how, s.sequences, SEQUENCES, NULL), KVANT_INVALID);
    make(&s, model);
    s.sequences[1].n_prompt = 0;
    assert_int_equal(lm_generate(model, &codecs, &how, s.sequences, SEQUENCES, NULL), KVANT_INVALID);
    make(&s, model);
    s.prompts[4][3] = TINY_VOCAB;
    assert_int_equal(lm_generate(model, &codecs, &how, s.sequences, SEQUENCES, NULL), KVANT_INVALID);
    make(&s, model);
    static const uint32_t widths[] = { 0, LM_MAX_LOCKSTEP + 1 };
    for (size_t i = 0; i < 2; i++) {
        how.lockstep = widths[i];
        assert_int_equal(lm_generate(model, &codecs, &how, s.sequences, SEQUENCES, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, "lockstep"));
    }
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_company_changes_a_bit),
        cmocka_unit_test(products_take_rows_by_six),
        cmocka_unit_test(it_is_the_models_own_continuation),
        cmocka_unit_test(what_stops_a_sequence),
        cmocka_unit_test(what_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return failed;
}
