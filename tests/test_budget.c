/* test_budget.c - problems made of a tiny model's sensitivities: what losses, weights and curves are, by which bits they count, and
 * what quantizers a choice means. Expected figures are worked out here from the sensitivities themselves. */
#include "harness/allocation/allocation.h"
#include "harness/allocation/budget.h"
#include "tests/stores.h"
#include "tests/tiny_model.h"

enum { CANDIDATES = 3 };

static char *folder, *model_path, *text_path;
static const double candidates[CANDIDATES] = { 2, 3, 4 };
static const run_options run_it = { .shard = 1, .shards = 1, .threads = 1, .command = "a test" };
static const kvcache_shape shape = { .n_layer = TINY_LAYERS, .n_kv_head = TINY_KV_HEADS, .head_dim = TINY_HEAD_DIM };

static kvcache_side side_of(const char *name, const char *args)
{
    kvcache_side side = { .quantizer = kvant_find(name, NULL) };
    assert_non_null(side.quantizer);
    side.args = kvant_defaults(side.quantizer->params);
    assert_ok(kvant_parse(side.quantizer->params, args, &side.args, err));
    return side;
}

static budget_request request_of(allocation_weights weights, curve_kind kind, cache_groups groups, cache_sides sides)
{
    return (budget_request){ .measure = { .model = model_path, .data = text_path, .key = side_of("affine", "group_size=16"),
                                          .value = side_of("affine", "group_size=16,scheme=mlx"), .candidates = candidates,
                                          .n_candidates = CANDIDATES, .weights = weights, .groups = groups, .sides = sides, .n = 2,
                                          .length = 32, .calibration_seed = 42 },
                             .curve = kind, .bits = 3 };
}

static store *store_at(const char *name)
{
    char *path = in_folder(folder, name);
    store *s = open_store(path);
    free(path);
    return s;
}

static void near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.17g is not %.17g", value, expected);
}

/* ---- Losses that were measured ------------------------------------------------------------------------- */

static void measured_losses_count_and_curves_model_them(void **state)
{
    (void)state;
    store *s = store_at("measured.db");
    for (curve_kind kind = CURVE_MEASURED; kind <= CURVE_CONSTANT; kind++) {
        const budget_request r = request_of(WEIGHTS_DISTORTION, kind, GROUPS_HEAD, SIDES_APART);
        budget b;
        assert_ok(budget_open(&r, s, 1, &run_it, &b, err));
        const allocation_problem *p = &b.problem;
        assert_int_equal(p->n_groups, TINY_LAYERS * TINY_KV_HEADS * 2);
        assert_null(p->protect);
        double d[2][CANDIDATES] = { { 0 } };               /* keys are even groups, values odd ones */
        for (size_t i = 0; i < p->n_groups; i++)
            for (size_t c = 0; c < CANDIDATES; c++)
                d[i % 2][c] += b.measured.loss[i * CANDIDATES + c] / (TINY_LAYERS * TINY_KV_HEADS);
        assert_true(d[0][0] != d[1][0]);
        for (size_t i = 0; i < p->n_groups; i++) {
            double product = 0, square = 0;
            curve line;
            assert_ok(curve_fit(candidates, d[i % 2], CANDIDATES, &line, err));
            near(p->beta[i], kind == CURVE_CONSTANT ? 3.5 : line.beta);
            near(p->alpha[i], kind == CURVE_CONSTANT ? 1 : line.alpha);
            for (size_t c = 0; c < CANDIDATES; c++) {
                const double curve_d = kind == CURVE_MEASURED ? d[i % 2][c] : p->alpha[i] * pow(p->beta[i], -candidates[c]);
                assert_true(p->loss[i * CANDIDATES + c] == b.measured.loss[i * CANDIDATES + c]);
                near(p->curve[i * CANDIDATES + c], curve_d);
                product += curve_d * p->loss[i * CANDIDATES + c], square += curve_d * curve_d;
            }
            near(p->weight[i], product / square);
            assert_int_equal(p->layer[i], i / (TINY_KV_HEADS * 2));
        }
        assert_true(isnan(b.line[BUDGET_BOTH].alpha) && !isnan(b.line[BUDGET_KEYS].alpha) && !isnan(b.line[BUDGET_VALUES].alpha));
        budget_close(&b);
    }
    store_close(s);
}

/* A curve goes by the bits that the budget counts: scale and zero of 16 coordinates are 2 bits more. */
static void stored_bits_shift_the_curve(void **state)
{
    (void)state;
    store *s = store_at("stored.db");
    budget_request r = request_of(WEIGHTS_DISTORTION, CURVE_FITTED, GROUPS_LAYER, SIDES_TOGETHER);
    budget asked, stored;
    assert_ok(budget_open(&r, s, 1, &run_it, &asked, err));
    r.by_stored = true;
    assert_ok(budget_open(&r, s, 1, NULL, &stored, err));
    assert_int_equal(asked.problem.n_groups, TINY_LAYERS);
    assert_true(asked.problem.size[0] == 2 * TINY_KV_HEADS * TINY_HEAD_DIM);
    for (size_t i = 0; i < TINY_LAYERS; i++) {
        near(stored.problem.beta[i], asked.problem.beta[i]);
        near(stored.problem.alpha[i], asked.problem.alpha[i] * pow(asked.problem.beta[i], 2));
        for (size_t c = 0; c < CANDIDATES; c++)
            near(stored.problem.curve[i * CANDIDATES + c], asked.problem.curve[i * CANDIDATES + c]);
    }
    assert_true(!isnan(asked.line[BUDGET_BOTH].alpha) && isnan(asked.line[BUDGET_KEYS].alpha));
    budget_close(&asked);
    budget_close(&stored);
    store_close(s);
}

/* ---- Losses that are weight * curve -------------------------------------------------------------------- */

static void activation_takes_its_curve_from_distortion(void **state)
{
    (void)state;
    store *s = store_at("activation.db");
    budget_request r = request_of(WEIGHTS_ACTIVATION, CURVE_CONSTANT, GROUPS_LAYER, SIDES_APART);
    budget b;
    sensitivity distortion;
    assert_ok(budget_open(&r, s, 1, &run_it, &b, err));
    for (size_t i = 0; i < b.problem.n_groups; i++)
        for (size_t c = 0; c < CANDIDATES; c++)
            near(b.problem.loss[i * CANDIDATES + c], b.measured.weight[i] * pow(3.5, -candidates[c]));
    assert_true(isnan(b.line[BUDGET_KEYS].r2));
    budget_close(&b);

    /* The constant curve needs no distortion; the others do, and say how to get it. */
    r.curve = CURVE_MEASURED;
    assert_fails(budget_open(&r, s, 1, NULL, &b, err), KVANT_INVALID, "--weights distortion");
    assert_null(b.memory);
    assert_ok(budget_open(&r, s, 1, &run_it, &b, err));
    sensitivity_request measure = r.measure;
    measure.weights = WEIGHTS_DISTORTION;
    assert_ok(sensitivity_open(&measure, s, 1, NULL, &distortion, err));
    for (size_t side = 0; side < 2; side++)
        for (size_t c = 0; c < CANDIDATES; c++) {
            double error = 0, norm = 0;
            for (size_t i = side; i < b.problem.n_groups; i += 2)
                error += distortion.loss[i * CANDIDATES + c], norm += b.measured.weight[i];
            for (size_t i = side; i < b.problem.n_groups; i += 2)
                near(b.problem.loss[i * CANDIDATES + c], b.measured.weight[i] * error / norm);
        }
    sensitivity_close(&distortion);
    budget_close(&b);
    store_close(s);
}

/* ---- Protection and the answer ---------------------------------------------------------------------------- */

static void protected_layers_are_counted_from_both_ends(void **state)
{
    (void)state;
    store *s = store_at("protect.db");
    budget_request r = request_of(WEIGHTS_DISTORTION, CURVE_MEASURED, GROUPS_HEAD, SIDES_TOGETHER);
    budget b;
    static const int32_t last[] = { -1 }, beyond[] = { TINY_LAYERS }, before[] = { -TINY_LAYERS - 1 };
    r.protect = last, r.n_protect = 1;
    assert_ok(budget_open(&r, s, 1, &run_it, &b, err));
    for (size_t i = 0; i < b.problem.n_groups; i++)
        assert_int_equal(b.problem.protect[i], b.problem.layer[i] == TINY_LAYERS - 1);
    budget_close(&b);
    r.protect = beyond;
    assert_fails(budget_open(&r, s, 1, NULL, &b, err), KVANT_INVALID, "no layer 2 to protect; the model has 0 to 1");
    r.protect = before;
    assert_fails(budget_open(&r, s, 1, NULL, &b, err), KVANT_INVALID, "no layer -3 to protect");
    store_close(s);
}

static void a_choice_means_quantizers(void **state)
{
    (void)state;
    store *s = store_at("choice.db");
    const budget_request r = request_of(WEIGHTS_DISTORTION, CURVE_MEASURED, GROUPS_HEAD, SIDES_APART);
    budget b;
    kvcache_allocation a;
    allocation_bits bits;
    uint32_t choice[TINY_LAYERS * TINY_KV_HEADS * 2];
    assert_ok(budget_open(&r, s, 1, &run_it, &b, err));
    for (size_t i = 0; i < b.problem.n_groups; i++)
        choice[i] = (uint32_t)(i * 5 % CANDIDATES);
    assert_ok(budget_allocation(&r, &b, choice, &shape, &a, err));
    for (size_t i = 0; i < b.problem.n_groups; i++) {
        const kvcache_side expected = side_of("affine", i % 2 ? "group_size=16,scheme=mlx" : "group_size=16");
        const size_t at = (size_t)(param_find(expected.quantizer->params, "bits") - expected.quantizer->params);
        assert_ptr_equal(a.side[i].quantizer, expected.quantizer);
        for (size_t k = 0; expected.quantizer->params[k].name; k++)
            assert_true(a.side[i].args.v[k] == (k == at ? candidates[choice[i]] : expected.args.v[k]));
    }
    const allocation_result result = allocation_evaluate(&b.problem, choice);
    assert_ok(allocation_average(&a, &shape, &bits, err));
    near(bits.asked, result.asked);
    near(bits.stored, result.stored);
    allocation_free(&a);
    budget_close(&b);
    store_close(s);
}

/* ---- Set-up --------------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    folder = scratch_make();
    model_path = in_folder(folder, "tiny.gguf");
    text_path = in_folder(folder, "prose.txt");
    tiny_model_write(model_path, (tiny_options){ .bos = true });
    text t = { 0 };
    for (int i = 0; i < 40; i++)
        text_add(&t, "Sentence %d says that %d apples and %d pears were on the table. ", i, i * 37 % 11, i * i % 17);
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
        cmocka_unit_test(measured_losses_count_and_curves_model_them), cmocka_unit_test(stored_bits_shift_the_curve),
        cmocka_unit_test(activation_takes_its_curve_from_distortion), cmocka_unit_test(protected_layers_are_counted_from_both_ends),
        cmocka_unit_test(a_choice_means_quantizers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
