/* test_weights_choice.c - which form a model's weights take: by name, by memory, in specs and identities; and what a run says of it.
 * On the tiny model, whose bf16 logits are really others. */
#include "harness/lm/gemm_bf16.h"
#include "harness/weights.h"
#include "tests/experiments.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <math.h>

static char *folder, *model_path, *text_path;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    model_path = in_folder(folder, "tiny.gguf");
    text_path = in_folder(folder, "prose.txt");
    tiny_model_write(model_path, (tiny_options){ .bos = false });
    write_prose(text_path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(model_path);
    free(text_path);
    scratch_remove(folder);
    return 0;
}

static void assert_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.10g is not %.10g within %.3g", got, want, tolerance);
}

static bool rounds(void)
{
    if (strcmp(gemm_bf16_isa(), "none"))
        return true;
    print_message("this processor has no products of bf16\n");
    return false;
}

static weights_size size_here(void)
{
    gguf *file;
    lm_shape shape;
    assert_ok(gguf_open(model_path, &file, err));
    assert_ok(lm_read_shape(file, &shape, err));
    const weights_size size = weights_size_of(file, &shape);
    gguf_close(file);
    return size;
}

static void test_choice(void **state)
{
    (void)state;
    int choice;
    const weights_size size = { .held = { [LM_WEIGHTS_F32] = 1000 } };
    assert_ok(weights_find(NULL, &choice, err));
    assert_int_equal(choice, WEIGHTS_BY_MEMORY);
    assert_ok(weights_find("auto", &choice, err));
    assert_int_equal(choice, WEIGHTS_BY_MEMORY);
    for (lm_weights w = LM_WEIGHTS_F32; w <= LM_WEIGHTS_BF16; w++) {
        assert_ok(weights_find(lm_weights_name(w), &choice, err));
        assert_int_equal(choice, (int)w);
        assert_int_equal(weights_choose(choice, &size, 1), w);
    }
    assert_fails(weights_find("f16", &choice, err), KVANT_INVALID, "use auto, f32, stream or bf16");
    assert_int_equal(weights_choose(WEIGHTS_BY_MEMORY, &size, 2000), LM_WEIGHTS_F32);
    assert_int_equal(weights_choose(WEIGHTS_BY_MEMORY, &size, 1999), LM_WEIGHTS_STREAM);
    assert_int_equal(weights_choose(WEIGHTS_BY_MEMORY, &size, 0), LM_WEIGHTS_F32);
}

/* By the tiny model's shape; its embedding is not the output matrix. */
static void test_size(void **state)
{
    (void)state;
    const uint64_t q = TINY_HEADS * TINY_HEAD_DIM, kv = TINY_KV_HEADS * TINY_HEAD_DIM, matrix = TINY_VOCAB * TINY_EMBD;
    const uint64_t layer = TINY_EMBD * (2 * q + 2 * kv + 3 * TINY_FF), vectors = TINY_EMBD * (1 + 2 * TINY_LAYERS);
    const uint64_t held = matrix + TINY_LAYERS * layer;
    const weights_size size = size_here();
    assert_true(size.values == held + vectors + matrix);
    assert_true(size.file == 4 * size.values);
    assert_true(size.held[LM_WEIGHTS_F32] == 4 * (held + vectors));
    assert_true(size.held[LM_WEIGHTS_BF16] == 2 * held + 4 * vectors);
    assert_true(size.held[LM_WEIGHTS_STREAM] == 4 * vectors + size.unpacked && size.unpacked >= 4 * 96 * q);
    lm_model *model;
    assert_ok(lm_open(model_path, 0, &model, err));
    assert_true(lm_weight_bytes(model) == size.held[LM_WEIGHTS_F32]);
    lm_close(model);
}

/* Logits of all tokens, in one step. */
static float *logits_of(lm_model *model, const int32_t *ids, uint32_t n)
{
    float *logits = calloc((size_t)n * TINY_VOCAB, sizeof *logits);
    uint8_t want[WEIGHTS_TOKENS];
    memset(want, 1, sizeof want);
    kvcache *cache;
    kvcache_codecs codecs;
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    assert_non_null(logits);
    assert_ok(kvcache_codecs_open_f16(&shape, NULL, &codecs, err));
    assert_ok(kvcache_open(&codecs, n, &cache, err));
    const lm_segment segment = { .cache = cache, .tokens = ids, .n = n, .want = want };
    assert_ok(lm_forward(model, LM_PREFILL, &segment, 1, logits, NULL, err));
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
    return logits;
}

/* Against softmaxes written out. */
static void test_effect(void **state)
{
    (void)state;
    enum { TOKENS = 37 };
    if (!rounds())
        skip();
    int32_t ids[100];
    for (int i = 0; i < 100; i++)
        ids[i] = i * 37 % TINY_VOCAB;
    lm_model *rounded, *exact;
    weights_effect effect;
    assert_ok(lm_open_as(model_path, 0, LM_WEIGHTS_BF16, &rounded, err));
    assert_ok(lm_open(model_path, 0, &exact, err));
    assert_ok(weights_measure(rounded, model_path, 0, ids, TOKENS, &effect, err));
    float *p = logits_of(exact, ids, TOKENS), *q = logits_of(rounded, ids, TOKENS);
    double kl = 0, most = 0;
    for (size_t row = 0; row < TOKENS; row++) {
        double p_sum = 0, q_sum = 0;
        for (size_t i = row * TINY_VOCAB; i < (row + 1) * TINY_VOCAB; i++) {
            p_sum += exp((double)p[i]);
            q_sum += exp((double)q[i]);
            most = fmax(most, fabs((double)p[i] - (double)q[i]));
        }
        for (size_t i = row * TINY_VOCAB; i < (row + 1) * TINY_VOCAB; i++)
            kl += exp((double)p[i]) / p_sum * ((double)p[i] - log(p_sum) - (double)q[i] + log(q_sum)) / TOKENS;
    }
    assert_int_equal(effect.tokens, TOKENS);
    assert_true(effect.most > 0 && effect.kl > 0);
    assert_near(effect.most, most, 1e-5);
    assert_near(effect.kl, kl, 1e-3 * kl);
    assert_ok(weights_measure(rounded, model_path, 0, ids, 100, &effect, err));
    assert_int_equal(effect.tokens, WEIGHTS_TOKENS);
    assert_ok(weights_measure(exact, model_path, 0, ids, TOKENS, &effect, err));   /* f32 against itself */
    assert_true(effect.kl == 0 && effect.most == 0);
    assert_fails(weights_measure(rounded, model_path, 0, ids, 0, &effect, err), KVANT_INVALID, "no token");
    free(p);
    free(q);
    lm_close(rounded);
    lm_close(exact);
}

/* ---- Specs ------------------------------------------------------------------------------------ */

typedef struct { spec spec; plan plan; } planned;

static kvant_status try_plan(const char *members, store *known, planned *p, kvant_error *err)
{
    char *json = text_format("{ \"name\": \"t\", \"model\": \"%s\", \"data\": \"%s\", \"key\": \"turboquant_mse\", \"controls\": false, %s }", model_path,
                             text_path, members);
    assert_non_null(json);
    *p = (planned){ .plan = { 0 } };
    kvant_status status = spec_parse("x.json", json, strlen(json), NULL, 0, &p->spec, err);
    if (!status)
        status = plan_open(&p->spec, NULL, known, 1, NULL, &p->plan, err);
    if (status)
        spec_close(&p->spec);
    free(json);
    return status;
}

static planned plan_of(const char *members)
{
    planned p;
    assert_ok(try_plan(members, NULL, &p, err));
    return p;
}

static void close_plan(planned *p)
{
    plan_close(&p->plan);
    spec_close(&p->spec);
}

/* Streamed weights are another cell only where time and memory are measured, bf16 ones always. */
static void test_identity(void **state)
{
    (void)state;
    planned one = plan_of("\"probe\": \"perplexity\", \"context\": 64");
    planned same = plan_of("\"probe\": \"perplexity\", \"context\": 64, \"weights\": [\"f32\", \"stream\", \"auto\"]");
    planned two = plan_of("\"probe\": \"perplexity\", \"context\": 64, \"weights\": [\"stream\", \"bf16\"]");
    planned times = plan_of("\"probe\": \"throughput\", \"weights\": [\"f32\", \"stream\"]");
    assert_int_equal(one.plan.n_cells, same.plan.n_cells);
    assert_int_equal(one.plan.n_cells, 2);
    assert_string_equal(one.plan.cells[1].key, same.plan.cells[1].key);
    assert_int_equal(one.plan.cells[1].weights, LM_WEIGHTS_F32);
    assert_int_equal(two.plan.n_cells, 4);                 /* each form with its own f16 cell */
    assert_int_equal(two.plan.n_jobs, 2);
    assert_string_equal(two.plan.cells[1].key, one.plan.cells[1].key);
    assert_int_equal(two.plan.cells[1].weights, LM_WEIGHTS_STREAM);
    assert_int_equal(two.plan.cells[2].weights, LM_WEIGHTS_BF16);
    assert_true(two.plan.cells[2].reference && two.plan.cells[3].weights == LM_WEIGHTS_BF16);
    assert_string_not_equal(two.plan.cells[3].key, one.plan.cells[1].key);
    assert_string_not_equal(two.plan.cells[3].pairing, one.plan.cells[1].pairing);
    assert_non_null(strstr(two.plan.cells[3].label, "bf16 weights"));
    assert_null(strstr(one.plan.cells[1].label, "weights"));
    assert_int_equal(times.plan.n_cells, 2);
    close_plan(&one);
    close_plan(&same);
    close_plan(&two);
    close_plan(&times);
    assert_fails(try_plan("\"probe\": \"perplexity\", \"weights\": \"f16\"", NULL, &one, err), KVANT_INVALID, "use auto, f32");
    assert_fails(try_plan("\"probe\": \"sensitivity\", \"weights\": \"stream\"", NULL, &one, err), KVANT_INVALID, "activation");
}

/* ---- Runs -------------------------------------------------------------------------------------- */

static char notes[4096];

static void keep_note(void *user, const char *line)
{
    (void)user;
    strncat(notes, line, sizeof notes - strlen(notes) - 1);
    strncat(notes, "\n", sizeof notes - strlen(notes) - 1);
}

static kvant_status run_here(const char *members, const char *db, uint64_t available, bool any_memory, kvant_error *err)
{
    planned p = { .plan = { 0 } };
    store *out = NULL;
    run_result result;
    const run_options options = { .shard = 1, .shards = 1, .threads = 1, .command = "a test", .any_memory = any_memory,
                                  .note = keep_note };
    notes[0] = '\0';
    kvant_status status = store_open(db, STORE_WRITE, &out, err);
    if (!status)
        status = try_plan(members, out, &p, err);
    if (available)
        p.plan.available = available;
    if (!status)
        status = run_plan(&p.plan, out, &options, &result, err);
    if (out)
        store_close(out);
    close_plan(&p);
    return status;
}

/* The same nll streamed as held; bf16 moves it a little, says so and keeps what it says. */
static void test_runs(void **state)
{
    (void)state;
    static const char *const spec_of[] = { "\"probe\": \"perplexity\", \"context\": 64, \"chunks\": 2, \"weights\": \"f32\"",
                                           "\"probe\": \"perplexity\", \"context\": 64, \"chunks\": 2, \"weights\": \"stream\"",
                                           "\"probe\": \"perplexity\", \"context\": 64, \"chunks\": 2, \"weights\": \"bf16\"" };
    static const char nll[] = "SELECT value FROM measurement JOIN cell ON key = cell WHERE metric = 'nll' "
                              "AND key_quantizer = 'turboquant_mse'";
    char *held = in_folder(folder, "held.db"), *streamed = in_folder(folder, "streamed.db"), *rounded = in_folder(folder, "rounded.db");
    assert_ok(run_here(spec_of[0], held, 0, false, err));
    assert_non_null(strstr(notes, "weights as f32"));
    assert_ok(run_here(spec_of[1], streamed, 0, false, err));
    assert_non_null(strstr(notes, "weights as stream"));
    const double a = ask(held, nll), b = ask(streamed, nll);
    assert_memory_equal(&a, &b, sizeof a);
    if (rounds()) {
        assert_ok(run_here(spec_of[2], rounded, 0, false, err));
        assert_non_null(strstr(notes, "mean KL"));
        const double c = ask(rounded, nll);
        assert_true(c < a || c > a);
        assert_near(c, a, .05);
        assert_true(ask(rounded, "SELECT count(*) FROM \"check\" WHERE quantizer = 'weights' AND name = 'bf16'") == 2);
        assert_true(ask(rounded, "SELECT measured FROM \"check\" WHERE quantizer = 'weights' AND metric = 'kl'") > 0);
    }
    free(held);
    free(streamed);
    free(rounded);
}

/* Refused before anything is stored, with the figures; or not refused at all. */
static void test_refusal(void **state)
{
    (void)state;
    static const char members[] = "\"probe\": \"perplexity\", \"context\": 64, \"chunks\": 1";
    char *db = in_folder(folder, "refused.db");
    assert_fails(run_here(members, db, 1000, false, err), KVANT_INVALID, "and 0.0 MB are available; try --weights stream");
    assert_true(ask(db, "SELECT count(*) FROM cell") == 0);
    assert_ok(run_here(members, db, 1000, true, err));
    assert_true(ask(db, "SELECT count(*) FROM measurement") > 0);
    assert_ok(run_here(members, db, 1000, false, err));    /* nothing is left to do */
    free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_choice), cmocka_unit_test(test_size), cmocka_unit_test(test_effect),
                                        cmocka_unit_test(test_identity), cmocka_unit_test(test_runs), cmocka_unit_test(test_refusal) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
