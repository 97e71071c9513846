/* test_plan_policy.c - what a cache's policy does to a plan's cells: their identity, their label, the bytes that they store.
 * Which cells there are and why some are skipped is in test_plan.c. */
#include "tests/plans.h"

static void test_pairing_ignores_quantizers_and_policy_only(void **state)
{
    (void)state;
    planned p, q;
    make_model_plan("\"chunks\": [1, 2], \"key\": [\"f16\", {\"quantizer\": \"affine\", \"group_size\": 16, \"bits\": [2, 8]}], "
                    "\"sink\": [0, 4], \"window\": [0, 8], \"seed_rule\": [\"shared\", \"per_layer\"], \"prefill\": [\"packed\", "
                    "\"raw\"], \"key_stage\": [\"post_rope\", \"pre_rope\"], \"sliding\": [\"quantized\", \"f16\"], "
                    "\"decode_reads\": [\"codes\", \"copy\"]", &p);
    assert_int_equal(p.plan.n_jobs, 2);
    assert_int_equal(p.plan.n_cells, 2 * (1 + 2 * 2) * 64);        /* f16 has nothing in codes that could be read otherwise */
    for (size_t i = 0; i < p.plan.n_cells; i++)
        for (size_t j = 0; j < i; j++) {
            const plan_cell *a = &p.plan.cells[i], *b = &p.plan.cells[j];
            assert_string_not_equal(a->key, b->key);
            assert_int_equal(!strcmp(a->pairing, b->pairing), a->args.v[1] == b->args.v[1]);
            assert_int_equal(!strcmp(a->pairing, b->pairing), a->job == b->job);
        }
    /* Another content of the data is another identity under the same name. */
    write_text(text_path, "something else");
    make_model_plan("\"chunks\": 1, \"key\": \"f16\"", &q);
    assert_string_not_equal(p.plan.cells[0].pairing, q.plan.cells[0].pairing);
    write_text(text_path, "prose");
    close_plan(&p);
    close_plan(&q);
}

/* What differs from the default is named, and so are defaults where the plan has both; only the default policy is the reference. */
static void test_labels_name_policies(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": \"f16\", \"sliding\": \"f16\", \"prefill\": [\"packed\", \"raw\"], \"key_stage\": \"pre_rope\"", &p);
    assert_int_equal(p.plan.n_cells, 3);
    assert_string_equal(p.plan.cells[1].label, "f16 sliding f16 packed pre_rope");
    assert_string_equal(p.plan.cells[2].label, "f16 sliding f16 raw pre_rope");
    assert_true(p.plan.cells[0].reference && !p.plan.cells[1].reference && !p.plan.cells[2].reference);
    assert_non_null(strstr(p.plan.cells[2].config, "\"prefill\":\"raw\""));
    assert_non_null(strstr(p.plan.cells[2].config, "\"key_stage\":\"pre_rope\""));
    assert_non_null(strstr(p.plan.cells[2].config, "\"sliding\":\"f16\""));
    close_plan(&p);
}

/* affine with group_size 16 on head_dim 16: 4 bits and two halves a vector, so 6 bits per coordinate. */
static void test_bits_are_those_stored(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": {\"quantizer\": \"affine\", \"group_size\": 16, \"bits\": 4}, \"value\": \"f16\", \"sink\": 4, "
                    "\"window\": [0, 8]", &p);
    assert_int_equal(p.plan.n_cells, 3);
    assert_true(fabs(p.plan.cells[1].bits_asked - 10) < 1e-12);
    double sinks = ((60 * 6 + 4 * 16) / 64.0 + 16) / 2, window = ((52 * 6 + 12 * 16) / 64.0 + 16) / 2;
    assert_true(fabs(p.plan.cells[1].bits_stored - sinks) < 1e-12);
    assert_true(fabs(p.plan.cells[2].bits_stored - window) < 1e-12);
    close_plan(&p);
}

/* ---- decode_reads ------------------------------------------------------------------------------ */

#define AFFINE "\"key\": {\"quantizer\": \"affine\", \"group_size\": 16, \"bits\": 4}"

/* The default is no member of a config, so that a cell is the one that it was before there was the key; the others are. */
static void test_default_reads_are_left_out(void **state)
{
    (void)state;
    planned none, all;
    make_model_plan(AFFINE ", \"sink\": 2", &none);
    make_model_plan(AFFINE ", \"sink\": 2, \"decode_reads\": [\"codes\", \"decoded\", \"copy\"]", &all);
    assert_int_equal(none.plan.n_cells, 2);
    assert_int_equal(all.plan.n_cells, 4);
    assert_null(strstr(none.plan.cells[1].config, "decode_reads"));
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(none.plan.cells[i].config, all.plan.cells[i].config);
        assert_string_equal(none.plan.cells[i].key, all.plan.cells[i].key);
    }
    static const char *const words[] = { "codes", "decoded", "copy" };
    for (size_t i = 1; i < 4; i++) {
        const plan_cell *c = &all.plan.cells[i];
        cJSON *config = cJSON_Parse(c->config), *member = cJSON_DetachItemFromObjectCaseSensitive(config, "decode_reads");
        assert_int_equal(member != NULL, i > 1);
        if (member)
            assert_string_equal(member->valuestring, words[i - 1]);
        char *rest = cJSON_PrintUnformatted(config), *label = text_format("affine 4b g16 sink 2 reads %s", words[i - 1]);
        assert_string_equal(rest, none.plan.cells[1].config);
        assert_string_equal(c->label, label);
        assert_string_equal(c->pairing, none.plan.cells[1].pairing);
        cJSON_free(rest);
        free(label);
        cJSON_Delete(member);
        cJSON_Delete(config);
    }
    assert_string_equal(none.plan.cells[1].label, "affine 4b g16 sink 2");
    assert_string_equal(all.plan.cells[0].label, "f16");
    close_plan(&none);
    close_plan(&all);
    /* Vectors have no cache; their cells do not multiply. */
    make_plan("{ " VECTORS ", \"vector\": \"affine\", \"decode_reads\": [\"codes\", \"copy\"] }", &none);
    assert_int_equal(none.plan.n_cells, 1);
    assert_null(strstr(none.plan.cells[0].config, "decode_reads"));
    close_plan(&none);
}

/* f16 is read as f16 in all ways, and is one cell and the reference; beside f16, codes are still codes. */
static void test_f16_is_one_cell(void **state)
{
    (void)state;
    planned p;
    make_model_plan("\"key\": \"f16\", \"value\": [\"same\", \"f32\"], \"sink\": [0, 4], "
                    "\"decode_reads\": [\"copy\", \"decoded\"]", &p);
    static const char *const labels[] = {
        "f16 sink 0", "f16 sink 4", "K f16 / V f32 sink 0 reads copy", "K f16 / V f32 sink 0 reads decoded",
        "K f16 / V f32 sink 4 reads copy", "K f16 / V f32 sink 4 reads decoded",
    };
    assert_int_equal(p.plan.n_cells, sizeof labels / sizeof *labels);
    for (size_t i = 0; i < p.plan.n_cells; i++) {
        assert_string_equal(p.plan.cells[i].label, labels[i]);
        assert_int_equal(p.plan.cells[i].reference, i == 0);
    }
    close_plan(&p);
}

/* A copy is 16 bits for each coordinate that is in codes, and in what a plan says that a run will hold. */
static void test_copies_count(void **state)
{
    (void)state;
    planned p;
    make_model_plan(AFFINE ", \"value\": \"f16\", \"sink\": 4, \"path\": \"decode\", "
                    "\"decode_reads\": [\"codes\", \"decoded\", \"copy\"]", &p);
    assert_int_equal(p.plan.n_cells, 4);
    const plan_cell *codes = &p.plan.cells[1], *decoded = &p.plan.cells[2], *copy = &p.plan.cells[3];
    assert_float_equal(copy->bits_stored - codes->bits_stored, 16 * 60 / 64. / 2, 1e-12);
    assert_float_equal(decoded->bits_stored, codes->bits_stored, 0);
    assert_float_equal(copy->bits_asked, codes->bits_asked, 0);
    const lm_shape *s = &copy->model->shape;
    assert_int_equal(copy->cache_bytes - codes->cache_bytes, 60 * s->n_layer * s->n_kv_head * s->head_dim * 2);
    /* Perplexity has an f16 cell too, in whose cache that of codes is estimated; above 16 bits the cell's own counts. */
    assert_true(copy->bits_stored > 16 && codes->bits_stored < 16);
    const double as_f16 = 16 / codes->bits_stored * (double)codes->cache_bytes;
    const double sequences = (codes->memory.caches - (double)codes->state_bytes) / as_f16;
    assert_float_equal(copy->memory.caches, sequences * (double)copy->cache_bytes + (double)copy->state_bytes, 1);
    assert_float_equal(sequences, 16, 1e-9);       /* in lockstep, by default */
    assert_true(copy->memory.activations > codes->memory.activations && decoded->memory.activations > codes->memory.activations);
    close_plan(&p);
}

static void test_reads_are_refused(void **state)
{
    (void)state;
    kvant_error why = { "" };
    planned p;
    char *json = model_spec(AFFINE ",\n\"decode_reads\": [\"codes\", \"coppy\"]");
    assert_int_equal(try_plan(json, &p, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "x.json:2: decode_reads[1]: must be \"codes\", \"decoded\" or \"copy\""));
    free(json);
    json = model_spec(AFFINE ",\n\"decode_read\": \"copy\"");
    assert_int_equal(try_plan(json, &p, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "did you mean `decode_reads`"));
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairing_ignores_quantizers_and_policy_only),
        cmocka_unit_test(test_labels_name_policies),
        cmocka_unit_test(test_bits_are_those_stored),
        cmocka_unit_test(test_default_reads_are_left_out),
        cmocka_unit_test(test_f16_is_one_cell),
        cmocka_unit_test(test_copies_count),
        cmocka_unit_test(test_reads_are_refused),
    };
    return cmocka_run_group_tests(tests, plans_set_up, plans_tear_down);
}
