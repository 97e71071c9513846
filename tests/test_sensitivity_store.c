/* test_sensitivity_store.c - questions to a store about a tiny model's sensitivities: what is measured, resumed, reused and refused.
 * What the probe measures has a test of its own (test_sensitivity.c). */
#include "harness/allocation/sensitivity.h"
#include "tests/stores.h"
#include "tests/tiny_model.h"

#include <omp.h>

enum { WINDOWS = 3, LENGTH = 48, GROUPS_MAX = TINY_LAYERS * TINY_KV_HEADS * 2 };

static char *folder, *model_path, *text_path;

static kvcache_side side_of(const char *given, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(given, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_ok(kvant_parse(side.quantizer->params, args, &side.args, err));
    return side;
}

static const double two_and_four[] = { 2, 4 };

static sensitivity_request request_of(allocation_weights weights, const double *candidates, size_t n)
{
    const kvcache_side affine = side_of("affine", "group_size=16");
    return (sensitivity_request){ .model = model_path, .data = text_path, .key = affine, .value = affine, .candidates = candidates,
                                  .n_candidates = n, .weights = weights, .groups = GROUPS_HEAD, .sides = SIDES_APART, .n = WINDOWS,
                                  .length = LENGTH, .calibration_seed = 42 };
}

static const run_options run_it = { .shard = 1, .shards = 1, .threads = 1, .command = "a test" };

static store *store_at(const char *name)
{
    char *path = in_folder(folder, name);
    store *s = open_store(path);
    free(path);
    return s;
}

static void assert_equal_answers(const sensitivity *a, const sensitivity *b)
{
    assert_int_equal(a->n_groups, b->n_groups);
    assert_int_equal(a->n_candidates, b->n_candidates);
    assert_memory_equal(a->loss, b->loss, a->n_groups * a->n_candidates * sizeof *a->loss);
    assert_memory_equal(a->loss_se, b->loss_se, a->n_groups * a->n_candidates * sizeof *a->loss);
}

static void answer_is_what_the_samples_say(void **state)
{
    (void)state;
    store *s = store_at("answer.db");
    const sensitivity_request r = request_of(WEIGHTS_KL, two_and_four, 2);
    sensitivity got, again;
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &got, err));
    assert_int_equal(got.n_groups, GROUPS_MAX);
    assert_null(got.weight);
    for (size_t i = 0; i < 2; i++) {
        double least = INFINITY, most = 0;
        for (size_t g = 0; g < GROUPS_MAX; g++) {
            char *of = text_format("FROM sample WHERE metric = 'kl' AND idx = %zu AND cell = (SELECT key FROM cell WHERE "
                                   "json_extract(key_params, '$.bits') = %g)", g, two_and_four[i]);
            char *mean = text_format("SELECT avg(value) %s", of);
            char *se = text_format("SELECT sqrt((avg(value * value) - avg(value) * avg(value)) / (count(*) - 1)) %s", of);
            const double loss = query_number(s, mean), loss_se = query_number(s, se);
            assert_true(fabs(got.loss[g * 2 + i] - loss) <= 1e-12 * loss);
            assert_true(fabs(got.loss_se[g * 2 + i] - loss_se) <= 1e-6 * loss);
            least = fmin(least, loss);
            most = fmax(most, loss);
            free(of);
            free(mean);
            free(se);
            assert_true(got.asked[g * 2 + i] == two_and_four[i]);
            assert_true(got.stored[g * 2 + i] == two_and_four[i] + 2);         /* scale and zero of 16 coordinates */
            assert_true(got.size[g] == TINY_HEAD_DIM);
        }
        assert_true(fabs(got.ratio[i].value - most / least) <= 1e-9 * most / least);
    }
    /* It is all there now: nothing is run, and the answer is the same. */
    assert_ok(sensitivity_open(&r, s, 1, NULL, &again, err));
    assert_equal_answers(&got, &again);
    assert_true(query_number(s, "SELECT count(*) FROM run") == 1);
    assert_true(query_number(s, "SELECT count(*) FROM cell") == 3);           /* with the control */
    sensitivity_close(&got);
    sensitivity_close(&again);

    /* Another candidate: only it is missing. */
    static const double three[] = { 2, 3, 4 };
    const sensitivity_request more = request_of(WEIGHTS_KL, three, 3);
    assert_fails(sensitivity_open(&more, s, 1, NULL, &again, err), KVANT_INVALID, "1 of 4 cells");
    assert_fails(sensitivity_open(&more, s, 1, NULL, &again, err), KVANT_INVALID, "--key affine:group_size=16 --candidates 2,3,4");
    assert_ok(sensitivity_open(&more, s, 1, &run_it, &again, err));
    assert_true(query_number(s, "SELECT count(DISTINCT cell) FROM unit WHERE run = 2") == 1);
    sensitivity_close(&again);

    /* A control that diverges makes all of it worthless. */
    assert_true(query_number(s, "SELECT count(*) FROM cell WHERE reference") == 1);
    assert_int_equal(sqlite3_exec(store_sql(s), "UPDATE measurement SET value = 1e-9 WHERE metric = 'kl_group_3' AND cell IN "
                                                "(SELECT key FROM cell WHERE reference)", NULL, NULL, NULL), SQLITE_OK);
    assert_fails(sensitivity_open(&more, s, 1, NULL, &again, err), KVANT_FAILED, "control");
    store_close(s);
}

/* As a run that was killed leaves it: some units of some cells are there, no cell is finished. */
static void resumed_equals_undisturbed(void **state)
{
    (void)state;
    store *s = store_at("resumed.db");
    const sensitivity_request r = request_of(WEIGHTS_KL, two_and_four, 2);
    sensitivity whole, resumed;
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &whole, err));
    assert_int_equal(sqlite3_exec(store_sql(s), "DELETE FROM measurement; UPDATE cell SET finished = NULL, run = NULL;"
                                                "DELETE FROM unit WHERE unit % 5 IN (1, 3) OR unit > 17", NULL, NULL, NULL), SQLITE_OK);
    const double left = query_number(s, "SELECT count(*) FROM unit");
    assert_true(left > 0 && left < 3 * WINDOWS * GROUPS_MAX);
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &resumed, err));
    assert_true(query_number(s, "SELECT count(*) FROM unit WHERE run = 1") == left);
    assert_equal_answers(&whole, &resumed);
    sensitivity_close(&whole);
    sensitivity_close(&resumed);
    store_close(s);
}

static void keys_and_values_of_their_own(void **state)
{
    (void)state;
    store *s = store_at("own.db");
    sensitivity_request r = request_of(WEIGHTS_DISTORTION, two_and_four, 2);
    sensitivity same, own, norms;
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &same, err));
    r.value = side_of("affine", "group_size=16,scheme=mlx");
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &own, err));
    assert_true(query_number(s, "SELECT count(*) FROM cell") == 3 + 2);       /* the diagonal alone */
    for (size_t g = 0; g < GROUPS_MAX; g++)
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(same.loss[g * 2 + i] == own.loss[g * 2 + i], own.group[g].key);
    /* Norms need no quantizer: whatever is asked for, one cell has them. */
    r.weights = WEIGHTS_ACTIVATION;
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &norms, err));
    r.value = r.key;
    sensitivity_close(&norms);
    assert_ok(sensitivity_open(&r, s, 1, NULL, &norms, err));
    assert_null(norms.loss);
    for (size_t g = 0; g < GROUPS_MAX; g++)
        assert_true(norms.weight[g] > 0 && norms.weight[g] > same.loss[g * 2]);
    sensitivity_close(&same);
    sensitivity_close(&own);
    sensitivity_close(&norms);
    store_close(s);
}

/* What they learn from is longer than what is measured: the model must be open for both. */
static void trained_quantizers_learn_first(void **state)
{
    (void)state;
    store *s = store_at("trained.db");
    sensitivity_request r = request_of(WEIGHTS_DISTORTION, two_and_four, 2);
    r.key = r.value = side_of("kvquant", "");
    sensitivity got;
    assert_ok(sensitivity_open(&r, s, 1, &run_it, &got, err));
    for (size_t g = 0; g < GROUPS_MAX; g++)
        assert_true(got.loss[g * 2] > got.loss[g * 2 + 1] && got.loss[g * 2 + 1] > 0);
    sensitivity_close(&got);
    store_close(s);
}

static void wrong_questions_are_refused(void **state)
{
    (void)state;
    store *s = store_at("wrong.db");
    sensitivity got;
    sensitivity_request r = request_of(WEIGHTS_KL, two_and_four, 2);
    assert_ok(sensitivity_check(&r, err));
    r.n_candidates = 0;
    assert_fails(sensitivity_check(&r, err), KVANT_INVALID, "0 candidates");
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "0 candidates");
    r = request_of(WEIGHTS_KL, (const double[]){ 4, 2 }, 2);
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "rise");
    r = request_of(WEIGHTS_KL, (const double[]){ 4, 40 }, 2);
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "out of range");
    r = request_of(WEIGHTS_KL, two_and_four, 2);
    r.value = side_of("q8_0", "");
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "no parameter `bits`");
    r = request_of(WEIGHTS_KL, two_and_four, 2);
    r.length = 100000;
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "context");
    r = request_of(WEIGHTS_KL, two_and_four, 2);
    r.n = 4000;
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "second half");
    r = request_of(WEIGHTS_KL, two_and_four, 2);
    r.data = "nowhere/at-all.txt";
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_IO, "at-all.txt");
    r = request_of(WEIGHTS_KL, two_and_four, 2);
    r.experiment = "no spaces, please";
    assert_fails(sensitivity_open(&r, s, 1, &run_it, &got, err), KVANT_INVALID, "name");
    assert_true(query_number(s, "SELECT count(*) FROM unit") == 0);
    allocation_weights weights;
    assert_fails(allocation_weights_find("gradient", &weights, err), KVANT_INVALID, "backward pass");
    assert_fails(allocation_weights_find("fisher", &weights, err), KVANT_INVALID, "backward pass");
    store_close(s);
}

/* ---- Set-up ------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    (void)state;
    omp_set_num_threads(1);        /* a tiny model has no work for more */
    folder = scratch_make();
    model_path = in_folder(folder, "tiny.gguf");
    text_path = in_folder(folder, "prose.txt");
    tiny_model_write(model_path, (tiny_options){ .bos = true });
    text t = { 0 };
    for (int i = 0; i < 200; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were %s on the table. ", i, i * 37 % 11, i * i % 17,
                 i % 3 ? "left" : "found again");
    assert_false(t.failed);
    assert_ok(file_write(text_path, t.data, t.length, err));
    text_free(&t);
    input_settings(NULL, folder, NULL);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_what_the_samples_say),
        cmocka_unit_test(resumed_equals_undisturbed),
        cmocka_unit_test(keys_and_values_of_their_own),
        cmocka_unit_test(trained_quantizers_learn_first),
        cmocka_unit_test(wrong_questions_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
