/* test_plan.c - plans: which cells a spec comes to, in what order, under which identity, and what is skipped with which words.
 * Vectors are made, the model is the tiny one: nothing here is measured. */
#include "tests/plans.h"

static void test_order_is_the_files(void **state)
{
    (void)state;
    planned p;
    make_plan("{ " VECTORS ", \"vector\": {\"quantizer\": [\"turboquant_mse\", \"affine\"], \"bits\": [2, 3]}, \"seed\": [5, 6] }",
              &p);
    static const char *const labels[] = {
        "turboquant_mse 2b seed 5", "turboquant_mse 2b seed 6", "turboquant_mse 3b seed 5", "turboquant_mse 3b seed 6",
        "affine 2b seed 5", "affine 2b seed 6", "affine 3b seed 5", "affine 3b seed 6",
    };
    assert_int_equal(p.plan.n_cells, 8);
    assert_int_equal(p.plan.n_jobs, 1);
    for (size_t i = 0; i < 8; i++)
        assert_string_equal(p.plan.cells[i].label, labels[i]);
    close_plan(&p);
}

static void test_identity_is_independent_of_key_order(void **state)
{
    (void)state;
    planned p, q, r;
    make_plan("{ " VECTORS ", \"vector\": {\"quantizer\": \"affine\", \"bits\": 2, \"group_size\": 16}, \"seed\": 3 }", &p);
    make_plan("{ \"seed\": 3, \"vector\": {\"group_size\": 16, \"bits\": 2, \"quantizer\": \"affine\"}, \"name\": \"other\", "
              "\"data\": {\"n\": 128, \"dim\": 64, \"dataset\": \"synthetic\", \"distribution\": \"sphere\"}, \"probe\": "
              "[\"distortion\"] }", &q);
    assert_string_equal(p.plan.cells[0].config, q.plan.cells[0].config);
    assert_string_equal(p.plan.cells[0].key, q.plan.cells[0].key);
    assert_string_equal(p.plan.cells[0].pairing, q.plan.cells[0].pairing);
    make_plan("{ " VECTORS ", \"vector\": {\"quantizer\": \"affine\", \"bits\": 3, \"group_size\": 16}, \"seed\": 3 }", &r);
    assert_string_not_equal(p.plan.cells[0].key, r.plan.cells[0].key);
    assert_string_equal(p.plan.cells[0].pairing, r.plan.cells[0].pairing);
    close_plan(&p);
    close_plan(&q);
    close_plan(&r);
}

/* Keys of every object ascend, no blank stands outside of strings, and what it hashes to is the cell's key. */
static void check_canonical(const cJSON *item)
{
    for (const cJSON *c = item->child; c; c = c->next) {
        if (cJSON_IsObject(item) && c->next)
            assert_true(strcmp(c->string, c->next->string) < 0);
        check_canonical(c);
    }
}

static void test_config_is_canonical_and_complete(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": {\"quantizer\": \"turboquant_mse\", \"bits\": 3}, \"value\": \"f16\", \"window\": 8", &p);
    assert_int_equal(p.plan.n_cells, 2);
    const plan_cell *c = &p.plan.cells[1];
    cJSON *config = cJSON_Parse(c->config);
    assert_non_null(config);
    check_canonical(config);
    char *printed = cJSON_PrintUnformatted(config), hex[SHA256_HEX];
    assert_string_equal(printed, c->config);
    sha256_of(c->config, strlen(c->config), hex);
    assert_string_equal(hex, c->key);
    static const char *const members[] = { "code", "data", "isa", "key", "key_stage", "model", "prefill", "probe", "seed", "seed_rule",
                                          "sink", "sliding", "value", "window" };
    assert_int_equal(cJSON_GetArraySize(config), sizeof members / sizeof *members);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(config, members[i]));
    const cJSON *parts = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "code"), "parts");
    static const char *const sources[] = { "algorithms/f16", "algorithms/shared", "algorithms/turboquant_mse", "contract",
                                           "datasets/text", "harness/lm", "harness/probes/perplexity" };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(parts, sources[i]));
    const cJSON *params = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "probe"), "params");
    size_t n = 0;
    while (c->probe->params[n].name)
        n++;
    assert_int_equal(cJSON_GetArraySize(params), n);
    assert_true(cJSON_GetObjectItemCaseSensitive(params, "context")->valuedouble == 64);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(params, "path")->valuestring, "prefill");
    cJSON_free(printed);
    cJSON_Delete(config);
    close_plan(&p);
}

/* What a probe runs for itself, and the engine's attention, are part of a cell, of vectors alone, and only where the probe has
 * such. */
static void test_identity_holds_baselines(void **state)
{
    (void)state;
    static const char *const sources[] = { "algorithms/affine", "algorithms/bf16", "algorithms/f16", "harness/lm",
                                           "harness/probes/decode_attention" };
    planned p;
    plan_used used;
    make_plan("{ \"name\": \"t\", \"probe\": [\"decode_attention\", \"distortion\"], \"vector\": \"affine\", \"data\": "
              "{\"dataset\": \"synthetic\", \"dim\": [64, 4096], \"n\": 16} }", &p);
    for (size_t i = 0; i < p.plan.n_cells; i++) {
        const plan_cell *c = &p.plan.cells[i];
        const bool attends = !strcmp(c->probe->name, "decode_attention");
        cJSON *config = cJSON_Parse(c->config);
        const cJSON *parts = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "code"), "parts");
        for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
            assert_int_equal(cJSON_HasObjectItem(parts, sources[k]), attends || k == 0);
        size_t n = 0;
        for (; plan_baseline(c, n, &used, NULL) == KVANT_OK && used.quantizer; n++)
            assert_string_equal(used.quantizer->name, n ? "bf16" : "f16");
        assert_int_equal(n, attends ? 2 : 0);
        cJSON_Delete(config);
    }
    assert_int_equal(p.plan.n_cells, 4);
    close_plan(&p);
    make_model_plan("\"key\": \"f16\"", &p);
    assert_ok(plan_baseline(&p.plan.cells[0], 0, &used, err));
    assert_null(used.quantizer);
    close_plan(&p);

    /* A text is no vectors: skipped with its reason, and nothing there could be a baseline. */
    char *json = text_format("{ \"name\": \"t\", \"probe\": \"decode_attention\", \"model\": \"%s\", \"data\": \"%s\", "
                             "\"key\": \"f16\" }", model_path, text_path);
    assert_non_null(json);
    assert_fails(try_plan(json, &p, err), KVANT_INVALID, "takes vectors, and this data is a text");
    free(json);
}

static void test_equal_cells_collapse(void **state)
{
    (void)state;
    planned p;
    make_plan("{ \"name\": \"t\", \"probe\": [\"distortion\", \"distortion\"], \"data\": [{\"dataset\": \"synthetic\", \"n\": 64}, "
              "{\"dataset\": \"synthetic\", \"distribution\": \"sphere\", \"n\": 64}], \"vector\": [\"affine\", {\"quantizer\": "
              "\"affine\", \"bits\": [4, 4]}], \"sink\": [0, 4], \"seed_rule\": [\"shared\", \"per_layer\"], \"key\": [\"f16\", "
              "\"f32\"] }", &p);
    assert_int_equal(p.plan.n_cells, 1);
    assert_string_equal(p.plan.cells[0].label, "affine 4b");
    close_plan(&p);
    /* A parameter of one probe does not multiply the cells of another. */
    char *json = text_format("{ \"name\": \"t\", \"probe\": [\"perplexity\", \"needle\"], \"model\": \"%s\", \"data\": \"%s\", "
                             "\"key\": \"f16\", \"controls\": false, \"context\": 64, \"depth\": [0, 0.5, 1], \"chunks\": [1, 2] }",
                             model_path, text_path);
    make_plan(json, &p);
    assert_int_equal(p.plan.n_cells, 2 + 3);
    free(json);
    close_plan(&p);
}

/* What stands in `cache` is the same cell as under `key` and `value`. */
static void test_caches_are_keys_and_values(void **state)
{
    (void)state;
    planned pairs, sides;
    make_model_plan("\"cache\": [{\"key\": {\"quantizer\": \"affine\", \"bits\": 4, \"group_size\": 16}, \"value\": \"f32\"}, "
                    "\"f32\"]", &pairs);
    make_model_plan("\"key\": [{\"quantizer\": \"affine\", \"bits\": 4, \"group_size\": 16}, \"f32\"], \"value\": \"f32\"", &sides);
    assert_int_equal(pairs.plan.n_cells, 3);       /* and the reference */
    assert_int_equal(sides.plan.n_cells, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(pairs.plan.cells[i].key, sides.plan.cells[i].key);
        assert_string_equal(pairs.plan.cells[i].label, sides.plan.cells[i].label);
    }
    close_plan(&pairs);
    close_plan(&sides);
}

static void test_references(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"chunks\": [1, 2], \"key\": {\"quantizer\": \"affine\", \"group_size\": 16, \"bits\": [2, 3]}, \"sink\": 4, "
                    "\"seed\": 7", &p);
    assert_int_equal(p.plan.n_cells, 6);
    for (size_t i = 0; i < 6; i++) {
        const plan_cell *c = &p.plan.cells[i];
        assert_int_equal(c->reference, i % 3 == 0);
        assert_int_equal(c->job, i / 3);
        assert_string_equal(c->pairing, p.plan.cells[i / 3 * 3].pairing);
        if (c->reference) {
            assert_string_equal(c->label, "f16");
            assert_true(c->bits_stored == 16);
            assert_int_equal(c->policy.sink + c->policy.window + c->policy.seed, 0);
        }
    }
    close_plan(&p);
    /* One that the spec has stays where it is, and is the same cell as one that would have been added. */
    planned q;
    make_model_plan("\"key\": [{\"quantizer\": \"affine\", \"group_size\": 16}, \"f16\"]", &p);
    make_model_plan("\"key\": {\"quantizer\": \"affine\", \"group_size\": 16}", &q);
    assert_int_equal(p.plan.n_cells, 2);
    assert_int_equal(q.plan.n_cells, 2);
    assert_false(p.plan.cells[0].reference);
    assert_true(p.plan.cells[1].reference);
    assert_true(q.plan.cells[0].reference);
    assert_string_equal(p.plan.cells[1].key, q.plan.cells[0].key);
    close_plan(&p);
    close_plan(&q);
    make_plan("{ " VECTORS ", \"vector\": \"affine\" }", &p);      /* distortion wants none */
    assert_int_equal(p.plan.n_cells, 1);
    assert_false(p.plan.cells[0].reference);
    close_plan(&p);
}

static void test_skips_have_reasons(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": [\"f16\", {\"quantizer\": \"affine\", \"group_size\": [16, 64]}]", &p);
    assert_int_equal(p.plan.n_cells, 2);
    assert_int_equal(p.plan.n_skips, 1);
    assert_string_equal(p.plan.skips[0].cell.label, "affine 4b g64");
    if (!strstr(p.plan.skips[0].reason, "16"))
        fail_msg("the reason does not name the dimension: %s", p.plan.skips[0].reason);
    close_plan(&p);
}

static void test_skips_what_a_model_or_probe_cannot(void **state)
{
    (void)state;
    planned p;
    char *json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\", \"model\": \"%s\", \"key\": \"f16\", \"context\": [64, "
                             "8192], \"controls\": false, \"data\": [\"%s\", {\"dataset\": \"synthetic\"}] }", model_path, text_path);
    make_plan(json, &p);
    assert_int_equal(p.plan.n_cells, 1);
    assert_int_equal(p.plan.n_skips, 3);
    bool context = false, vectors = false;
    for (size_t i = 0; i < 3; i++) {
        context |= strstr(p.plan.skips[i].reason, "perplexity needs 8192 positions, and the model's context is 4096") != NULL;
        vectors |= strstr(p.plan.skips[i].reason, "probe perplexity takes a text, and this data is vectors") != NULL;
    }
    assert_true(context);
    assert_true(vectors);
    free(json);
    close_plan(&p);
    /* Keys of a model's own making are post-RoPE. */
    json = text_format("{ \"name\": \"t\", \"probe\": [\"distortion\", \"bytes\"], \"model\": \"%s\", \"key\": \"bf16\", \"context\": "
                       "64, \"key_stage\": [\"post_rope\", \"pre_rope\"], \"data\": \"%s\" }", model_path, text_path);
    make_plan(json, &p);
    assert_int_equal(p.plan.n_cells, 3);
    assert_int_equal(p.plan.n_skips, 1);
    assert_non_null(strstr(p.plan.skips[0].reason, "distortion measures keys after RoPE"));
    free(json);
    close_plan(&p);
}

static void test_labels(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": [\"f16\", {\"quantizer\": \"affine\", \"group_size\": 16, \"bits\": 4}, {\"quantizer\": "
                    "\"turboquant_mse\", \"rotation\": [\"haar\", \"hadamard\"], \"bits\": 3}], \"value\": [\"same\", {\"quantizer\": "
                    "\"affine\", \"bits\": 2, \"group_size\": 16}], \"window\": 32", &p);
    static const char *const labels[] = {
        "f16", "f16 window 32", "K f16 / V affine 2b g16 window 32", "affine 4b g16 window 32",
        "K affine 4b g16 / V affine 2b g16 window 32",
        "turboquant_mse 3b haar window 32", "K turboquant_mse 3b haar / V affine 2b g16 window 32",
        "turboquant_mse 3b hadamard window 32", "K turboquant_mse 3b hadamard / V affine 2b g16 window 32",
    };
    assert_int_equal(p.plan.n_cells, sizeof labels / sizeof *labels);
    for (size_t i = 0; i < p.plan.n_cells; i++)
        assert_string_equal(p.plan.cells[i].label, labels[i]);
    close_plan(&p);
}

/* Lists of the same length are different cells, the same list in another order is not. */
static void test_lists(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": {\"quantizer\": \"turboquant_mse\", \"bits\": 3, \"outlier_channels\": 4, \"outlier_select\": \"list\", "
                    "\"outlier_list\": [\"1+2+3+15\", \"9+8+7+6\", \"6+7+8+9\", \"1+2+3\"]}, \"value\": \"f16\"", &p);
    static const char *const labels[] = {
        "f16", "K turboquant_mse 3b outlier_channels=4 list outlier_list=1+2+3+15 / V f16",
        "K turboquant_mse 3b outlier_channels=4 list outlier_list=6+7+8+9 / V f16"
    };
    assert_int_equal(p.plan.n_cells, sizeof labels / sizeof *labels);
    for (size_t i = 0; i < p.plan.n_cells; i++)
        assert_string_equal(p.plan.cells[i].label, labels[i]);
    assert_non_null(strstr(p.plan.cells[2].config, "\"outlier_list\":\"6+7+8+9\""));
    assert_string_not_equal(p.plan.cells[1].key, p.plan.cells[2].key);
    assert_int_equal(p.plan.n_skips, 1);
    assert_non_null(strstr(p.plan.skips[0].reason, "outlier_list has 3 channels"));
    close_plan(&p);
}

static void plan_refused(const char *json, kvant_status wanted, const char *message)
{
    planned p;
    kvant_error err = { "" };
    kvant_status status = try_plan(json, &p, &err);
    if (status != wanted || !strstr(err.text, message))
        fail_msg("%s: status %d: '%s' instead of '%s'", json, (int)status, err.text, message);
}

static void test_refuses(void **state)
{
    (void)state;
    plan_refused("{ \"name\": \"t\", \"probe\": \"distortion\" }", KVANT_INVALID, "x.json:1: `data` is missing");
    plan_refused("{ " VECTORS " }", KVANT_INVALID, "x.json:1: `vector` is missing");
    plan_refused("{ " VECTORS ", \"key\": \"f16\" }", KVANT_INVALID, "x.json:1: `vector` is missing");
    char *json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\", \"data\": \"%s\", \"key\": \"f16\" }", text_path);
    plan_refused(json, KVANT_INVALID, "x.json:1: `model` is missing");
    free(json);
    json = model_spec("\"chunks\": 1");
    plan_refused(json, KVANT_INVALID, "x.json:1: `key` is missing");
    free(json);
    json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\",\n\"model\": \"./absent.gguf\", \"data\": \"%s\", \"key\": "
                       "\"f16\" }", text_path);
    plan_refused(json, KVANT_IO, "x.json:2: model: ");
    free(json);
    json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\",\n\"data\": \"%s\", \"model\": \"%s\", \"key\": \"f16\" }",
                       text_path, text_path);
    plan_refused(json, KVANT_INVALID, "x.json:2: model: ");        /* a text is no model */
    free(json);
    json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\",\n\"data\": \"%s\", \"model\": \"%s\", \"key\": \"f16\" }",
                       model_path, model_path);
    plan_refused(json, KVANT_INVALID, "x.json:2: data: ");         /* and a model is no text */
    free(json);
    plan_refused("{ \"name\": \"t\", \"probe\": \"perplexity\", \"data\": {\"dataset\": \"synthetic\"} }", KVANT_INVALID,
                 "no cell is left to measure; the first was skipped because probe perplexity takes a text");

    text many = { 0 };
    text_add(&many, "{ " VECTORS ", \"vector\": \"f16\", \"seed\": [");
    for (int i = 0; i < 500; i++)
        text_add(&many, "%s%d", i ? "," : "", i);
    text_add(&many, "], \"sink\": [");
    for (int i = 0; i < 500; i++)
        text_add(&many, "%s%d", i ? "," : "", i);
    text_add(&many, "] }");
    plan_refused(many.data, KVANT_INVALID, "multiplies out to more than 200000 combinations");
    text_free(&many);
}

static void test_refuses_what_does_not_fit(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": \"f16\"", &p);
    plan_cell cell = p.plan.cells[0];
    const double weights = 4 * (double)cell.model->size.values, all = plan_bytes_sum(&cell.memory);
    assert_true(all > weights && all < weights + (4 << 20));
    assert_ptr_equal(p.plan.largest, &p.plan.cells[0]);
    assert_ok(plan_fits(&p.plan, err));
    p.plan.available = (uint64_t)all - 1;
    assert_fails(plan_fits(&p.plan, err), KVANT_INVALID, "weights as f32");
    assert_fails(plan_fits(&p.plan, err), KVANT_INVALID, "--weights stream");
    p.plan.available = (uint64_t)all + 1;
    assert_ok(plan_fits(&p.plan, err));
    p.plan.available = 0;                  /* not known: nothing is refused */
    assert_ok(plan_fits(&p.plan, err));
    p.plan.available = 1;
    p.plan.largest = NULL;                 /* all is done */
    assert_ok(plan_fits(&p.plan, err));
    close_plan(&p);
}

static void test_estimates_grow_with_cost(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": \"f16\", \"chunks\": [1, 4]", &p);
    assert_true(p.plan.cells[0].seconds > 0);
    assert_true(fabs(p.plan.cells[1].seconds / p.plan.cells[0].seconds - 4) < 1e-9);
    assert_true(fabs(p.plan.seconds - 5 * p.plan.cells[0].seconds) < 1e-9 * p.plan.seconds);
    close_plan(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_the_files),
        cmocka_unit_test(test_identity_is_independent_of_key_order),
        cmocka_unit_test(test_config_is_canonical_and_complete),
        cmocka_unit_test(test_identity_holds_baselines),
        cmocka_unit_test(test_equal_cells_collapse),
        cmocka_unit_test(test_caches_are_keys_and_values),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_skips_have_reasons),
        cmocka_unit_test(test_skips_what_a_model_or_probe_cannot),
        cmocka_unit_test(test_labels), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_refuses_what_does_not_fit),
        cmocka_unit_test(test_estimates_grow_with_cost),
    };
    return cmocka_run_group_tests(tests, plans_set_up, plans_tear_down);
}
