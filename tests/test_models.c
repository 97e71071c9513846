/* test_models.c - one spec over two models of different shape: each is loaded once and compared with its own reference, what suits one
 * alone is skipped for the other with a reason, and reports and pictures keep them apart. */
#include "harness/cli.h"
#include "harness/report/plot.h"
#include "harness/report/report.h"
#include "tests/experiments.h"
#include "tests/tiny_model.h"

static char *folder;

/* ---- Running ----------------------------------------------------------------------------------- */

/* "loading one.gguf, ..." adds "one.gguf;". */
static void note_loading(void *user, const run_progress *p)
{
    static const char verb[] = "loading ";
    const char *name = p->what + strlen(verb);
    if (!strncmp(p->what, verb, strlen(verb)))
        text_add(user, "%.*s;", (int)strcspn(name, ","), name);
}

typedef struct { size_t cells, skips; text loaded, reason; } outcome;

/* The spec's %s are the folder. */
static outcome run_models(const char *json)
{
    spec s = { 0 };
    plan p = { 0 };
    store *out;
    outcome o = { .cells = 0 };
    run_result result;
    const run_options options = { .shard = 1, .shards = 1, .threads = 1, .command = "a test", .progress = note_loading,
                                  .user = &o.loaded };
    char *whole = text_format(json, folder, folder, folder, folder), *path = in_folder(folder, "all.db");
    assert_ok(spec_parse("a test", whole, strlen(whole), NULL, 0, &s, err));
    assert_ok(store_open(path, STORE_WRITE, &out, err));
    assert_ok(plan_open(&s, NULL, out, 1, &options, &p, err));
    assert_ok(run_plan(&p, out, &options, &result, err));
    o.cells = result.done;
    o.skips = p.n_skips;
    for (size_t i = 0; i < p.n_skips; i++)
        text_add(&o.reason, "%s: %s\n", p.skips[i].cell.model->input.name, p.skips[i].reason);
    plan_close(&p);
    store_close(out);
    spec_close(&s);
    free(path);
    free(whole);
    return o;
}

static void outcome_free(outcome *o)
{
    text_free(&o->loaded);
    text_free(&o->reason);
}

static char *report_of(const char *experiment)
{
    store *s;
    text out = { 0 };
    bool met;
    char *path = in_folder(folder, "all.db");
    assert_ok(store_open(path, STORE_READ, &s, err));
    assert_ok(report_write(s, &(report_options) { .experiment = experiment }, &out, &met, err));
    store_close(s);
    free(path);
    return out.data;
}

/* The picture as SVG; NULL where gnuplot is not installed. */
static char *picture_of(const char *experiment, const char *plot, const char *const *sets)
{
    if (system("gnuplot --version > /dev/null 2>&1") != 0)
        return NULL;
    store *s;
    text files = { 0 };
    size_t bytes;
    char *path = in_folder(folder, "all.db"), *out = in_folder(folder, "picture.svg"), *svg;
    const plot_options o = { cli_share("plots"), plot, experiment, out, NULL, sets, NULL };
    assert_ok(store_open(path, STORE_READ, &s, err));
    assert_ok(plot_draw(s, &o, &files, err));
    assert_ok(file_read(out, &svg, &bytes, err));
    store_close(s);
    text_free(&files);
    free(out);
    free(path);
    return svg;
}

/* Are these words the whole of a text in the picture? */
static bool says(const char *svg, const char *words)
{
    char *element = text_format(">%s<", words);
    const bool found = strstr(svg, element);
    free(element);
    return found;
}

/* ---- Tests ------------------------------------------------------------------------------------- */

#define MODELS "\"controls\": false, \"model\": [\"%s/one.gguf\", \"%s/two.gguf\"], \"data\": \"%s/a.txt\""

static void each_by_its_own_reference(void **state)
{
    (void)state;
    outcome o = run_models("{ \"name\": \"bits\", \"probe\": [\"perplexity\", \"bytes\"], " MODELS ", \"chunks\": 3, \"context\": 64, "
                           "\"key\": { \"quantizer\": \"affine\", \"bits\": [2, 4], \"group_size\": 16 } }");
    assert_int_equal(o.cells, 10);                 /* perplexity: f16 and two; bytes: two; of each model */
    assert_string_equal(o.loaded.data, "one.gguf;two.gguf;");
    outcome_free(&o);
    char *path = in_folder(folder, "all.db");
    assert_true(ask(path, "SELECT count(DISTINCT reference_cell) FROM paired WHERE experiment = 'bits' AND metric = 'nll'") == 2);
    assert_true(ask(path, "SELECT count(*) FROM paired p JOIN cell r ON r.key = p.reference_cell WHERE experiment = 'bits' AND "
                          "r.model <> p.model") == 0);
    assert_true(ask(path, "SELECT count(DISTINCT value) FROM result WHERE experiment = 'bits' AND metric = 'perplexity' AND "
                          "reference") == 2);
    char *report = report_of("bits");
    const char *one = strstr(report, "perplexity of one.gguf on a.txt\n"), *two = strstr(report, "perplexity of two.gguf on a.txt\n");
    assert_true(one && two && one < two);
    for (int i = 0; i < 2; i++)
        assert_non_null(strstr(i ? two : one, "f16 (reference)"));
    free(report);
    char *svg = picture_of("bits", "pareto", NULL);
    if (svg) {
        assert_true(says(svg, "one.gguf, a.txt"));
        assert_true(says(svg, "two.gguf, a.txt"));
        assert_true(says(svg, "bits: perplexity"));
        assert_true(says(svg, "affine"));          /* names in the key without the model's, which is the panel's title */
        assert_true(says(svg, "Pareto front"));
        assert_null(strstr(svg, "affine (one.gguf"));
        assert_true(says(svg, "affine 2b g16"));
    }
    free(svg);
    free(path);
}

static void needles_and_distortion(void **state)
{
    (void)state;
    outcome o = run_models("{ \"name\": \"grid\", \"probe\": [\"needle\", \"distortion\"], " MODELS ", \"trials\": 1, \"length\": 512, "
                           "\"depth\": [0, 1], \"chunks\": 2, \"context\": 64, \"key\": { \"quantizer\": \"affine\", \"bits\": [2, 4], "
                           "\"group_size\": 16 } }");
    assert_int_equal(o.skips, 0);
    outcome_free(&o);
    char *needle = picture_of("grid", "needle", NULL);
    const char *const sets[] = { "metric=nmse_key", NULL };
    char *distortion = picture_of("grid", "distortion", sets);
    if (needle) {
        assert_true(says(needle, "grid: needles found, a.txt"));
        assert_true(says(needle, "f16, one.gguf"));
        assert_true(says(needle, "f16, two.gguf"));
        assert_true(says(needle, "affine 4b g16, two.gguf"));
        assert_true(says(distortion, "grid: nmse_key"));
        assert_true(says(distortion, "one.gguf, a.txt"));
        assert_true(says(distortion, "two.gguf, a.txt"));
        assert_true(says(distortion, "affine"));
    }
    free(needle);
    free(distortion);
}

/* Three layers of two heads beside two layers: each panel has its own. */
static void sensitivities(void **state)
{
    (void)state;
    outcome o = run_models("{ \"name\": \"groups\", \"probe\": \"sensitivity\", " MODELS ", \"n\": 2, \"length\": 32, "
                           "\"groups\": \"head\", \"key\": { \"quantizer\": \"affine\", \"bits\": 2, \"group_size\": 16 } }");
    assert_int_equal(o.skips, 0);
    outcome_free(&o);
    char *path = in_folder(folder, "all.db");
    assert_true(ask(path, "SELECT count(*) FROM result WHERE experiment = 'groups' AND metric LIKE 'kl_group_%' AND model = "
                          "'one.gguf' AND NOT reference") == 4);
    assert_true(ask(path, "SELECT count(*) FROM result WHERE experiment = 'groups' AND metric LIKE 'kl_group_%' AND model = "
                          "'two.gguf' AND NOT reference") == 6);
    char *svg = picture_of("groups", "sensitivity", NULL);
    if (svg) {
        assert_true(says(svg, "groups: each group alone"));
        assert_non_null(strstr(svg, "affine 2b g16 (one.gguf)"));
        assert_non_null(strstr(svg, "affine 2b g16 (two.gguf)"));
        assert_true(says(svg, " 2"));                 /* layer 2, of the second model alone */
    }
    free(svg);
    free(path);
}

static void an_allocation_for_one(void **state)
{
    (void)state;
    static const char groups[] = "{ \"kvant_allocation\": 1, \"model\": { \"n_layer\": 2, \"n_kv_head\": 2, \"head_dim\": 16 }, "
                                 "\"groups\": [ { \"layer\": 0, \"key\": { \"quantizer\": \"affine\", \"bits\": 4, \"group_size\": 16 }, "
                                 "\"value\": \"same\" }, { \"layer\": 1, \"key\": \"f16\", \"value\": \"same\" } ] }\n";
    char *path = in_folder(folder, "mine.json"), *whole;
    write_text(path, groups);
    outcome o = run_models("{ \"name\": \"mine\", \"probe\": \"perplexity\", " MODELS ", \"chunks\": 2, \"context\": 64, "
                           "\"allocator\": [\"%s/mine.json\", \"uniform\"], \"key\": { \"quantizer\": \"affine\", "
                           "\"bits\": 4, \"group_size\": 16 } }");
    assert_int_equal(o.skips, 1);
    assert_non_null(strstr(o.reason.data, "two.gguf: "));
    assert_non_null(strstr(o.reason.data, "is 2, and the model's is 3: this allocation is for another model"));
    assert_string_equal(o.loaded.data, "one.gguf;two.gguf;");
    outcome_free(&o);
    char *report = report_of("mine");
    assert_non_null(strstr(report, "this allocation is for another model"));
    free(report);

    /* Asked of that model alone it is a mistake. */
    spec s = { 0 };
    plan p = { 0 };
    whole = text_format("{ \"name\": \"mine\", \"probe\": \"perplexity\", \"model\": \"%s/two.gguf\", \"data\": \"%s/a.txt\", "
                        "\"chunks\": 2, \"context\": 64, \"allocator\": \"%s/mine.json\", \"key\": \"affine\" }", folder, folder, folder);
    assert_ok(spec_parse("a test", whole, strlen(whole), NULL, 0, &s, err));
    assert_fails(plan_open(&s, NULL, NULL, 1, NULL, &p, err), KVANT_INVALID, "this allocation is for another model");
    plan_close(&p);
    spec_close(&s);
    free(whole);
    free(path);
}

static int make_models(void **state)
{
    (void)state;
    folder = scratch_make();
    char *one = in_folder(folder, "one.gguf"), *two = in_folder(folder, "two.gguf"), *prose = in_folder(folder, "a.txt");
    tiny_model_write(one, (tiny_options){ .bos = false });
    tiny_model_write(two, (tiny_options){ .bos = true, .layers = 3 });
    write_prose(prose);
    free(one);
    free(two);
    free(prose);
    return 0;
}

static int drop_models(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_by_its_own_reference), cmocka_unit_test(needles_and_distortion), cmocka_unit_test(sensitivities),
        cmocka_unit_test(an_allocation_for_one),
    };
    return cmocka_run_group_tests(tests, make_models, drop_models);
}
