/* test_report_floor.c - what a report says of a share whose reference is at its floor or its ceiling, for each model by itself.
 * Cells are made up; what gsm8k measures is tested in test_gsm8k.c. */
#include "harness/report/report.h"
#include "tests/stores.h"

static void put_share(store *s, int64_t run, uint32_t ordinal, const char *model, const char *label, const double share[3], double floor)
{
    char key[32], config[128];
    snprintf(key, sizeof key, "%s-%s", model, label);
    snprintf(config, sizeof config, "{\"key\":{\"quantizer\":\"%s\"},\"model\":{\"name\":\"%s\"},\"seed\":0}", label, model);
    store_cell cell = made_cell(key, label, strcmp(label, "f16") ? 4.5 : 16);
    cell.config = config;
    cell.probe = "gsm8k";
    cell.data = "problems";
    cell.model = cell.pairing = model;
    cell.units = 1;
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, "x", ordinal, &cell, err));
    assert_ok(store_unit(s, key, 0, run, 1, 0.5, err));
    assert_ok(store_measurement(s, key, "", 1, false, &(probe_result) { "gsm8k_accuracy", share[0], 200, NAN, share[1], share[2] }, err));
    assert_ok(store_measurement(s, key, "", 0, false, &(probe_result) { "gsm8k_floor", floor, 200, NAN, 0, 1 }, err));
    assert_ok(store_cell_finish(s, key, run, "2026-01-02T03:05:00Z", err));
    assert_ok(store_commit(s, err));
}

static void each_model_has_its_floor(void **state)
{
    (void)state;
    static const struct { const char *model; double share[3], floor; const char *words; } models[] = {
        { "low", { .03, .01, .06 }, .02, "warning: gsm8k_accuracy of f16, 0.030 [0.010, 0.060], is not clearly above its floor of 0.02: on "
                                         "this model it tells nothing of caches\n" },
        { "nil", { 0, 0, .02 }, .03, "gsm8k_accuracy of f16, 0.000 [0.000, 0.020], is not clearly above its floor of 0.03" },
        { "top", { 1, .98, 1 }, .02, "  gsm8k_accuracy of f16 is 1: only losses can show\n" },
        { "fair", { .5, .43, .57 }, .02, NULL },
    };
    char *folder = scratch_make(), *path = in_folder(folder, "x.db");
    store *s = open_store(path);
    const int64_t run = put_run(s, "kvant run");
    text out = { 0 };
    bool met;
    assert_ok(store_experiment(s, "x", "{}", err));
    for (uint32_t i = 0; i < 4; i++) {
        put_share(s, run, 2 * i, models[i].model, "f16", models[i].share, models[i].floor);
        put_share(s, run, 2 * i + 1, models[i].model, "affine", (double[]){ .01, 0, .03 }, models[i].floor);
    }
    assert_ok(report_write(s, &(report_options) { .experiment = "x" }, &out, &met, err));
    for (size_t i = 0; i < 4; i++) {
        char head[64];
        snprintf(head, sizeof head, "gsm8k of %s on problems\n", models[i].model);
        const char *begin = strstr(out.data, head), *end = begin ? strstr(begin + 1, "\ngsm8k of ") : NULL;
        assert_non_null(begin);
        char *block = strndup(begin, end ? (size_t)(end - begin) : strlen(begin));
        assert_non_null(block);
        if (models[i].words && !strstr(block, models[i].words))
            fail_msg("'%s' is not in\n%s", models[i].words, block);
        if (!models[i].words)
            assert_true(!strstr(block, "floor of") && !strstr(block, "only losses"));
        free(block);
    }
    text_free(&out);
    store_close(s);
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_model_has_its_floor) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
