/* test_calibration.c - calibration: what is drawn, what a model makes of it, and that nothing learnt from is ever measured.
 * Ends with whole experiments in which quantizers learn, on a model and on vectors. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/captured.h"
#include "harness/probe.h"
#include "tests/experiments.h"
#include "tests/tiny_model.h"

#include <unistd.h>

static char *folder, *tiny, *prose;
static lm_model *model;
static kvant_data text_data;

static kvant_args args_of(const char *given)
{
    kvant_args args = kvant_defaults(calibration_params);
    assert_ok(kvant_parse(calibration_params, given, &args, err));
    return args;
}

/* ---- Windows ------------------------------------------------------------------------------------ */

static void test_windows(void **state)
{
    (void)state;
    enum { N = 7, LENGTH = 64 };
    kvant_args args = args_of("n=7,length=64"), other = args_of("n=7,length=64,seed=43");
    int32_t *all, bos, *windows, *again, *differ;
    size_t n;
    assert_ok(probe_text(model, &text_data, &all, &n, &bos, err));
    assert_ok(calibration_windows(model, &text_data, &args, &windows, err));
    assert_ok(calibration_windows(model, &text_data, &args, &again, err));
    assert_ok(calibration_windows(model, &text_data, &other, &differ, err));
    assert_memory_equal(windows, again, N * LENGTH * sizeof *windows);
    assert_memory_not_equal(windows, differ, N * LENGTH * sizeof *windows);
    /* Each is a slot of the second half, and no two are the same one. */
    size_t seen[N];
    for (size_t i = 0; i < N; i++) {
        size_t at = n - n / 2;
        while (at + LENGTH <= n && memcmp(all + at + 1, windows + i * LENGTH + 1, (LENGTH - 1) * sizeof *all))
            at += LENGTH;
        assert_true(at + LENGTH <= n);
        seen[i] = at;
        for (size_t j = 0; j < i; j++)
            assert_true(seen[j] != at);
    }
    free(all);
    free(windows);
    free(again);
    free(differ);
    kvant_error why = { "" };
    args = args_of("n=1000,length=64");
    assert_int_equal(calibration_windows(model, &text_data, &args, &windows, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "lower n or length"));
}

/* What is kept is what a forward pass makes, window by window; and the windows are known again. */
static void check_of_model(kvcache_key_stage stage)
{
    enum { N = 3, LENGTH = 96, RUN = 64, AROUND = 160 };
    kvant_args args = args_of("n=3,length=96");
    calibration c;
    captured run;
    int32_t *ids;
    size_t at;
    assert_ok(calibration_of_model(model, &text_data, &args, stage, NULL, &c, err));
    assert_ok(calibration_windows(model, &text_data, &args, &ids, err));
    assert_ok(captured_open(&run, model, LENGTH, 16, false, NULL, "a test", err));
    run.unrotated = stage == KEYS_PRE_ROPE;
    assert_int_equal(c.n, N * LENGTH);
    for (size_t i = 0; i < N; i++) {
        assert_ok(captured_run(&run, ids + i * LENGTH, err));
        for (size_t layer = 0; layer < TINY_LAYERS; layer++)
            for (size_t j = 0; j < LENGTH * run.row; j++) {
                assert_float_equal(c.key[(layer * N + i) * LENGTH * run.row + j], run.key[layer * LENGTH * run.row + j], 1e-5);
                assert_float_equal(c.value[(layer * N + i) * LENGTH * run.row + j], run.value[layer * LENGTH * run.row + j], 1e-5);
            }
        int32_t around[AROUND];
        for (int j = 0; j < AROUND; j++)
            around[j] = 1 + j % 3;
        assert_false(calibration_saw_tokens(&c, around, AROUND, &at));
        memcpy(around + 20, ids + i * LENGTH + 9, (RUN - 1) * sizeof *ids);
        assert_false(calibration_saw_tokens(&c, around, AROUND, &at));
        memcpy(around + 20, ids + i * LENGTH + 9, RUN * sizeof *ids);
        assert_true(calibration_saw_tokens(&c, around, AROUND, &at));
        assert_int_equal(at, 20);
    }
    captured_close(&run);
    free(ids);
    calibration_free(&c);
}

static void test_of_model(void **state)
{
    (void)state;
    check_of_model(KEYS_POST_ROPE);
    check_of_model(KEYS_PRE_ROPE);
    calibration rotated, unrotated;
    kvant_args args = args_of("n=3,length=96");
    assert_ok(calibration_of_model(model, &text_data, &args, KEYS_POST_ROPE, NULL, &rotated, err));
    assert_ok(calibration_of_model(model, &text_data, &args, KEYS_PRE_ROPE, NULL, &unrotated, err));
    const size_t row = TINY_KV_HEADS * TINY_HEAD_DIM;
    assert_memory_equal(rotated.key, unrotated.key, row * sizeof(float));      /* position 0 */
    assert_memory_not_equal(rotated.key + row, unrotated.key + row, row * sizeof(float));
    assert_memory_equal(rotated.value, unrotated.value, row * 96 * sizeof(float));
    calibration_free(&rotated);
    calibration_free(&unrotated);
    calibration c;
    kvant_error why = { "" };
    args = args_of("n=1,length=5000");
    assert_int_equal(calibration_of_model(model, &text_data, &args, KEYS_POST_ROPE, NULL, &c, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "context"));
}

static void test_of_vectors(void **state)
{
    (void)state;
    const kvant_dataset *synthetic = dataset_find("synthetic", NULL);
    kvant_args made = kvant_defaults(synthetic->params), args = args_of("n=4,length=25"), more;
    kvant_data data, longer;
    calibration c;
    size_t at;
    assert_ok(kvant_parse(synthetic->params, "distribution=gaussian,dim=16,n=300,seed=4", &made, err));
    assert_ok(synthetic->load(NULL, &made, &data, err));
    assert_ok(calibration_of_vectors(&data, &args, &c, err));
    assert_int_equal(c.n, 100);
    size_t row = 0;                /* rows of the data in their order */
    for (size_t i = 0; i < 100; i++, row++) {
        while (row < 300 && memcmp(data.x + row * 16, c.x + i * 16, 64))
            row++;
        assert_true(row < 300);
    }
    assert_true(calibration_saw_vectors(&c, data.x, 300, 16, &at));
    calibration_free(&c);

    assert_ok(calibration_of_generator(synthetic, &made, &args, &c, err));
    more = made;
    assert_ok(kvant_parse(synthetic->params, "n=400", &more, err));
    assert_ok(synthetic->load(NULL, &more, &longer, err));
    assert_memory_equal(longer.x, data.x, 300 * 64);
    assert_memory_equal(longer.x + 300 * 16, c.x, 100 * 64);
    assert_false(calibration_saw_vectors(&c, data.x, 300, 16, &at));
    assert_true(calibration_saw_vectors(&c, longer.x, 400, 16, &at));
    assert_int_equal(at, 300);
    calibration_free(&c);
    kvant_error why = { "" };
    args = args_of("n=4,length=100");
    assert_int_equal(calibration_of_vectors(&data, &args, &c, &why), KVANT_INVALID);
    data_free(&data);
    data_free(&longer);
}

/* ---- Experiments -------------------------------------------------------------------------------- */

#define LEARNER "\"key\": { \"quantizer\": \"nvfp4\", \"second_scale\": \"trained\" }, \"value\": \"f16\""

static void test_experiments(void **state)
{
    (void)state;
    kvant_error why = { "" };
    char *db = in_folder(folder, "learns.db");
    assert_ok(run_text("{ \"name\": \"learns\", \"probe\": \"perplexity\", \"controls\": false, \"model\": \"%s\", \"data\": \"%s\", \"context\": 64,"
                       "\"chunks\": 2, \"calibration\": { \"n\": [2, 3], \"length\": 64 }, " LEARNER " }", tiny, prose, db, err));
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE finished IS NOT NULL"), 3);
    assert_int_equal(ask(db, "SELECT count(DISTINCT label) FROM cell"), 3);
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE json_extract(config, '$.calibration.params.n') = 3 AND "
                             "json_extract(config, '$.calibration.params.seed') = 42"), 1);
    /* f16 learns nothing, and says nothing of it; the two others learnt different scales. */
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE config LIKE '%calibration%'"), 2);
    assert_int_equal(ask(db, "SELECT count(DISTINCT value) FROM measurement WHERE metric = 'nll'"), 3);
    /* What codes each group is stored with every cell. */
    assert_int_equal(ask(db, "SELECT count(*) FROM cell_group"), 3 * TINY_LAYERS * TINY_KV_HEADS * 2);
    assert_true(fabs(ask(db, "SELECT avg(bits_stored) FROM cell_group WHERE quantizer = 'nvfp4' AND side = 'key'") - 4.5) < 1e-9);

    /* Measuring the whole text meets the windows: refused, and nothing of it is stored. */
    char *other = in_folder(folder, "met.db");
    assert_int_equal(run_text("{ \"name\": \"met\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64,"
                              "\"chunks\": 200, \"calibration\": { \"n\": 20, \"length\": 64 }, " LEARNER " }", tiny, prose, other, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "it learnt from"));
    assert_int_equal(ask(other, "SELECT count(*) FROM unit"), 0);
    free(other);
    free(db);
}

static void test_vector_experiments(void **state)
{
    (void)state;
    kvant_error why = { "" };
    char *db = in_folder(folder, "vectors.db");
    assert_ok(run_text("{ \"name\": \"vectors\", \"probe\": \"distortion\", \"data\": { \"dataset\": \"synthetic\", \"dim\": 16, \"n\": 512,"
                       "\"distribution\": \"gaussian\" }, \"vector\": { \"quantizer\": \"kvquant\", \"bits\": 3 },"
                       "\"calibration\": { \"n\": [4, 40], \"length\": 64 } }", tiny, prose, db, err));
    assert_int_equal(ask(db, "SELECT count(*) FROM cell WHERE finished IS NOT NULL"), 2);
    assert_int_equal(ask(db, "SELECT count(*) FROM cell_group WHERE side = 'vector'"), 2);
    /* More to learn from codes better. */
    assert_true(ask(db, "SELECT max(value) FILTER (WHERE json_extract(config, '$.calibration.params.n') = 40) < "
                        "max(value) FILTER (WHERE json_extract(config, '$.calibration.params.n') = 4) FROM result WHERE metric = 'nmse'"));
    /* Too little is a skip with its reason; so are vectors of a file, which are all measured. */
    assert_int_equal(run_text("{ \"name\": \"few\", \"probe\": \"distortion\", \"data\": { \"dataset\": \"synthetic\", \"dim\": 16 },"
                              "\"vector\": { \"quantizer\": \"kvquant\" }, \"calibration\": { \"n\": 1, \"length\": 2 } }", tiny, prose, db, &why),
                     KVANT_INVALID);
    assert_non_null(strstr(why.text, "`calibration` gives 2"));
    assert_int_equal(run_text("{ \"name\": \"wrong\", \"probe\": \"distortion\", \"data\": { \"dataset\": \"synthetic\" },"
                              "\"vector\": \"pq\", \"calibration\": 5 }", tiny, prose, db, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "must be an object"));
    free(db);
}

/* ---- Set-up ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    tiny = in_folder(folder, "tiny.gguf");
    prose = in_folder(folder, "prose.txt");
    tiny_model_write(tiny, (tiny_options){ .uniform = false });
    write_prose(prose);
    input_settings(NULL, folder, NULL);
    const kvant_dataset *dataset = dataset_find("text", NULL);
    const kvant_args none = kvant_defaults(dataset->params);
    assert_ok(dataset->load(prose, &none, &text_data, err));
    assert_ok(lm_open(tiny, 0, &model, err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lm_close(model);
    data_free(&text_data);
    scratch_remove(folder);
    free(tiny);
    free(prose);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows), cmocka_unit_test(test_of_model), cmocka_unit_test(test_of_vectors),
        cmocka_unit_test(test_experiments), cmocka_unit_test(test_vector_experiments),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
