/* test_plot.c - the plots of this tree, drawn by gnuplot from made-up stores: every label is in the SVG, whatever it holds,
 * and what cannot be drawn ends in one clear line with nothing left behind. Skipped where gnuplot is not installed. */
#include "harness/cli.h"
#include "harness/report/plot.h"
#include "tests/pictures.h"
#include "tests/pictures_data.h"
#include "tests/stores.h"

#include <sys/wait.h>

static const double NLL[4] = { 1.25, 2.5, 3.125, 2.0 };

static const char *plots_folder(void)
{
    const char *folder = cli_share("plots");
    assert_non_null(folder);
    return folder;
}

/* A perplexity cell with the label given: the reference first (i = 0), then ever better ones. */
static void put_cell(store *s, int64_t run, uint32_t i, const char *quantizer, const char *label)
{
    char key[32];
    snprintf(key, sizeof key, "cell-%u", i);
    store_cell cell = made_cell(key, label, i ? 1.5 + 0.5 * i : 16);
    double nll[4];
    for (size_t k = 0; k < 4; k++)
        nll[k] = NLL[k] + (i ? 0.5 / i + 0.01 * (double)k : 0);
    cell.key_quantizer = cell.value_quantizer = quantizer;
    cell.reference = i == 0;
    finish_cell(s, "e", i, &cell, run, nll);
}

static char *draw(store *s, const char *plot, const char *out, const char *const *formats, const char *const *sets)
{
    text files = { 0 };
    const plot_options o = { plots_folder(), plot, NULL, out, formats, sets, NULL };
    assert_ok(plot_draw(s, &o, &files, err));
    assert_non_null(files.data);
    return files.data;
}

static void labels(void **state)
{
    need_gnuplot();
    static const char *const label[] = { "f16", "it's 'quoted'", "back\\slash \\n \\t \\\\", "a_b^{c}@d&<e>;`f`", "#comment",
                                         "$(id) `id` %s %d",
                                         "-5 ?", "\u00fcn\u00efcode \u65e5", "NaN 2b", "1e5", "@STYLE @HEIGHT" };
    enum { N = sizeof label / sizeof *label };
    char *path = in_folder(*state, "labels.db"), *out = in_folder(*state, "labels.svg");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    for (uint32_t i = 0; i < N; i++)
        put_cell(s, run, i, label[i], label[i]);
    char *files = draw(s, "pareto", out, NULL, NULL);
    char *expected = text_format("%s\n", out), *svg = svg_text(out);
    assert_string_equal(files, expected);
    for (size_t i = 1; i < N; i++)
        assert_says(svg, label[i]);
    assert_says(svg, "f16 9.196");
    assert_says(svg, "Pareto front");
    assert_says(svg, "e: tiny, prose");
    assert_says(svg, "perplexity (nats), log scale");
    assert_says(svg, "bars: 95 % interval of the difference to the reference, paired by chunk");
    free(files);
    free(expected);
    free(svg);

    /* What would break a field is replaced, and the rest stays. */
    put_cell(s, run, N, "say \"hi\"\ttwo\nlines", "label \"x\"\ty\nz");
    free(draw(s, "pareto", out, NULL, NULL));
    svg = svg_text(out);
    assert_says(svg, "label \u201dx\u201d y z");
    assert_says(svg, "1e5");
    free(svg);
    store_close(s);
    free(path);
    free(out);
}

static void few_rows(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "few.db"), *out = in_folder(*state, "few.svg");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    put_cell(s, run, 0, "f16", "f16");
    free(draw(s, "pareto", out, NULL, NULL));            /* the reference alone */
    put_cell(s, run, 1, "affine", "affine 2b");
    free(draw(s, "pareto", out, NULL, NULL));
    char *svg = svg_text(out);
    assert_says(svg, "affine 2b");
    free(svg);
    static const char *const nll[] = { "metric=perplexity", "metric=nll", NULL };
    free(draw(s, "pareto", out, NULL, nll));
    svg = svg_text(out);
    assert_says(svg, "nll (nats)");
    free(svg);
    store_close(s);

    char *bare = in_folder(*state, "bare.db");           /* no reference at all */
    s = open_store(bare);
    run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    put_cell(s, run, 3, "affine", "affine 3b");
    free(draw(s, "pareto", out, NULL, NULL));
    store_close(s);
    free(bare);
    free(path);
    free(out);
}

static void needles(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "needle.db"), *folder = in_folder(*state, "pictures");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    put_needle(s, "e", run, 0, "f16", "0", 256, 4);
    put_needle(s, "e", run, 1, "f16", "0.5", 512, 3);         /* a grid with holes */
    put_needle(s, "e", run, 2, "affine_x 4b", "0", 256, 0);
    put_needle(s, "e", run, 3, "affine_x 4b", "0.5", 256, 1);
    static const char *const formats[] = { "svg", "png", "pdf", NULL };
    char *files = draw(s, "needle", folder, formats, NULL), *base = in_folder(folder, "e-needle"),
        *svg_path = text_format("%s.svg", base);
    char *expected = text_format("%s.svg\n%s.png\n%s.pdf\n", base, base, base), *svg = svg_text(svg_path);
    assert_string_equal(files, expected);
    static const char *const words[] = { "f16", "7 of 8", "affine_x 4b", "1 of 8", "4/4", "3/4", "0/4", "1/4", "256", "512", "0.5",
                                         /* where both were asked */
                                         "affine_x 4b \u2212 f16", "\u22124 of 4", "\u22124", NULL };
    assert_says_all(svg, words);
    char *alone = in_folder(*state, "alone.svg"), *maps;
    static const char *const without[] = { "differences=0", NULL };
    free(draw(s, "needle", alone, NULL, without));
    maps = svg_text(alone);
    assert_says(maps, "0/4");
    assert_null(strstr(maps, "\u2212 f16"));
    free(maps);
    free(alone);
    assert_int_equal(count_files(folder), 3);            /* and nothing else was left there */
    static const char *const magic[] = { "<?xml", "\x89PNG", "%PDF" };
    for (size_t i = 0; i < 3; i++) {
        char *picture, *file = text_format("%s.%s", base, formats[i]);
        size_t bytes;
        assert_ok(file_read(file, &picture, &bytes, err));
        assert_true(bytes > 1000);
        assert_memory_equal(picture, magic[i], strlen(magic[i]));
        free(picture);
        free(file);
    }
    free(files);
    free(expected);
    free(svg);
    free(svg_path);
    free(base);
    store_close(s);
    free(path);
    free(folder);
}

/* Columns of papers: a file of its own, as wide as the column, with as many panels in a row as can be read there. */
static void widths(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "wide.db"), *folder = in_folder(*state, "columns");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    text files = { 0 };
    assert_ok(store_experiment(s, "e", "{}", err));
    for (uint32_t i = 0; i < 4; i++) {
        static const char *const labels[] = { "f16", "affine 2b", "affine 3b", "affine 4b" };
        put_needle(s, "e", run, i, labels[i], "0", 256, i);
    }
    static const char *const none[] = { "differences=0", NULL };
    static const struct { const char *width, *file, *size; double wide_over_tall; } expected[] = {
        { "single", "columns/e-needle-single.svg", "width=\"3.375in\"", 460 / 600. },      /* two by two */
        { "double", "columns/e-needle-double.svg", "width=\"7in\"", 940 / 360. },      /* four in a row */
    };
    for (size_t i = 0; i < 2; i++) {
        plot_options o = { plots_folder(), "needle", NULL, folder, NULL, none, expected[i].width };
        char *file = in_folder(*state, expected[i].file), *svg;
        assert_ok(plot_draw(s, &o, &files, err));
        svg = svg_text(file);
        assert_non_null(strstr(svg, expected[i].size));
        const double wide = atof(strstr(svg, "width=\"") + strlen("width=\""));
        const double tall = atof(strstr(svg, "height=\"") + strlen("height=\""));
        if (!(fabs(wide / tall - expected[i].wide_over_tall) < 0.02))
            fail_msg("%g by %g", wide, tall);
        free(svg);
        free(file);
    }
    plot_options o = { plots_folder(), "needle", NULL, folder, NULL, none, "triple" };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "must be single or double");
    assert_int_equal(count_files(folder), 2);
    text_free(&files);
    store_close(s);
    free(path);
    free(folder);
}

static void distortion(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "distortion.db"), *out = in_folder(*state, "distortion.svg");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    for (uint32_t bits = 1; bits <= 4; bits++) {
        char key[32], label[32];
        snprintf(key, sizeof key, "d%u", bits);
        snprintf(label, sizeof label, "turboquant_mse %ub", bits);
        store_cell cell = made_cell(key, label, bits);
        cell.key_quantizer = "turboquant_mse", cell.model = NULL, cell.probe = "distortion";
        finish_cell(s, "e", bits, &cell, run, NLL);
        put_result(s, key, "nmse", -1, 2.7 * pow(4, -(double)bits), 0.001);
    }
    free(draw(s, "distortion", out, NULL, NULL));
    char *svg = svg_text(out);
    assert_says(svg, "turboquant_mse");
    assert_says(svg, "4^-b, lower bound of any code");
    assert_says(svg, "nmse, log scale");
    free(svg);
    store_close(s);
    free(path);
    free(out);
}

/* Two layers of two KV heads, keys and values apart: eight bars in a panel, none for the control. */
static void sensitivity(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "sensitivity.db"), *out = in_folder(*state, "sensitivity.svg");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    for (uint32_t bits = 0; bits <= 4; bits += 2) {
        char key[32], label[32];
        snprintf(key, sizeof key, "s%u", bits);
        snprintf(label, sizeof label, bits ? "affine %ub" : "f16", bits);
        store_cell cell = made_cell(key, label, bits ? bits : 16);
        cell.probe = "sensitivity";
        char *config = text_format("{\"label\":\"%s\",\"probe\":{\"params\":{\"weights\":\"kl\",\"groups\":\"head\",\"sides\":\"apart\"}}}",
                                   label);
        cell.config = config;
        finish_cell(s, "e", bits, &cell, run, NLL);
        put_result(s, key, "kv_heads", 0, 2, 0);
        for (unsigned group = 0; group < 8; group++) {
            char metric[32];
            snprintf(metric, sizeof metric, "kl_group_%u", group);
            put_result(s, key, metric, -1, bits ? (1 + group) * pow(4, -(double)bits) : 0, 0.001);
        }
        if (bits)
            put_result(s, key, "sensitivity_ratio", 0, 8, 0.5);
        free(config);
    }
    free(draw(s, "sensitivity", out, NULL, NULL));
    char *svg = svg_text(out);
    assert_says(svg, "tiny, prose: each group alone");
    assert_says(svg, "affine 2b   largest / smallest: 8 [7, 9]");
    assert_says(svg, "affine 4b   largest / smallest: 8 [7, 9]");
    assert_says(svg, "KL of the output, nats");
    assert_says(svg, "head\u00a00\u00a0key");
    assert_says(svg, "head\u00a01\u00a0value");
    assert_null(strstr(svg, "f16"));
    free(svg);
    store_close(s);
    free(path);
    free(out);
}

static store_cell speed_cell(const char *key, const char *label, const char *probe, double bits, const char *params, char **config)
{
    store_cell cell = made_cell(key, label, bits);
    *config = text_format("{\"key\":{\"quantizer\":\"%s\"},\"probe\":{\"params\":%s}}", label, params);
    cell.config = *config, cell.probe = probe;
    return cell;
}

/* Two quantizers at two depths, by the probe of vectors for 1 and 2 threads; and by a model, from an empty cache on. */
static void speed(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "speed.db"), *out = in_folder(*state, "speed.svg");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    static const char *const names[] = { "f16", "q4_0" };
    assert_ok(store_experiment(s, "e", "{}", err));
    for (uint32_t i = 0; i < 8; i++)
        put_attention(s, "e", run, i, names[i & 1], i & 1 ? 4.5 : 16, i & 1 ? 144 : 512, i & 2 ? 8192 : 1024, i & 4 ? 2 : 1);
    free(draw(s, "roofline", out, NULL, NULL));
    char *svg = svg_text(out);
    static const char *const words[] = { "e: decode attention and its roofs", "f16", "q4_0", "4.5", "roof", "int8 products",
                                         "d = 128, 4 queries per KV head, 1 thread", "memory read", "f32 multiply-adds",
                                         "d = 128, 4 queries per KV head, 2 threads",
                                         "points: medians, bars down to the least; beside them: bits asked. Depth: 8192 tokens", NULL };
    assert_says_all(svg, words);
    assert_null(strstr(svg, "bf16"));
    free(svg);
    static const char *const shallow[] = { "depth=1024", NULL };
    free(draw(s, "roofline", out, NULL, shallow));
    svg = svg_text(out);
    assert_non_null(strstr(svg, "Depth: 1024 tokens"));
    free(svg);

    for (uint32_t i = 0; i < 4; i++) {
        char key[32], params[32], *config;
        snprintf(key, sizeof key, "t%u", i);
        snprintf(params, sizeof params, "{\"depth\":%u}", i & 2 ? 512 : 0);
        store_cell cell = speed_cell(key, names[i & 1], "throughput", i & 1 ? 4.5 : 16, params, &config);
        cell.pairing = i & 2 ? "deep" : "shallow";
        finish_cell(s, "e", 10 + i, &cell, run, NLL);
        put_result(s, key, "decode_tokens_per_s", 1, 40 - i, 0);
        put_result(s, key, "decode_tokens_per_s_max", 1, 41 - i, 0);
        free(config);
    }
    /* A report asks for a picture where there is more than one depth. */
    static const char *const four[] = { "least=4", NULL }, *const five[] = { "least=5", NULL };
    text files = { 0 };
    const plot_options few = { plots_folder(), "depth", "e", out, NULL, five, NULL };
    assert_fails(plot_draw(s, &few, &files, err), KVANT_INVALID, "nothing to draw");
    text_free(&files);
    free(draw(s, "depth", out, NULL, four));
    svg = svg_text(out);
    static const char *const both[] = { "e: speed over depth", "tiny: decode", "tokens per second, log scale",
                                        "ns per key-value pair, log scale", "d = 128, 4 queries per KV head, 2 threads", "f16",
                                        "q4_0", "tokens in the cache", "tiny: decode, over f16", "times f16's tokens per second",
                                        "0.98", "1", NULL };           /* around 39 over 40 and 37 over 38 */
    assert_says_all(svg, both);
    free(svg);
    /* A rate has nothing to be over where no cell is the reference of its depth. */
    assert_int_equal(sqlite3_exec(store_sql(s), "UPDATE cell SET reference = 0", NULL, NULL, NULL), SQLITE_OK);
    free(draw(s, "depth", out, NULL, NULL));
    svg = svg_text(out);
    assert_says(svg, "tiny: decode");
    assert_null(strstr(svg, "over f16"));
    free(svg);
    store_close(s);
    free(path);
    free(out);
}

static void errors(void **state)
{
    char *path = in_folder(*state, "errors.db"), *out = in_folder(*state, "errors");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    text files = { 0 };
    plot_options o = { plots_folder(), "pareto", NULL, out, NULL, NULL, NULL };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "no or several experiments");
    assert_ok(store_experiment(s, "e", "{}", err));
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "nothing to draw for metric perplexity");
    put_cell(s, run, 0, "f16", "f16");
    o.name = "paretto";
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "did you mean 'pareto'?");
    o.name = "../plots/pareto";
    assert_int_not_equal(plot_draw(s, &o, &files, NULL), KVANT_OK);
    o.name = "style";                                    /* shared by all, and no plot of its own */
    assert_int_not_equal(plot_draw(s, &o, &files, NULL), KVANT_OK);
    o = (plot_options){ plots_folder(), "pareto", "f", out, NULL, NULL, NULL };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "did you mean 'e'?");
    static const char *const jpeg[] = { "jpeg", NULL }, *const png[] = { "png", NULL }, *const typo[] = { "metrik=nll", NULL },
                      *const bare[] = { "metric", NULL }, *const nothing[] = { "metric=nmse", NULL };
    o = (plot_options){ plots_folder(), "pareto", "e", out, jpeg, NULL, NULL };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "svg, png, pdf, tikz or cairolatex");
    o = (plot_options){ plots_folder(), "pareto", "e", "x.svg", png, NULL, NULL };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "ends otherwise");
    o = (plot_options){ plots_folder(), "pareto", "e", out, NULL, typo, NULL };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "did you mean 'metric'?");
    o.sets = bare;
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "KEY=VALUE");
    o.sets = nothing;
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "nothing to draw for metric nmse");
    assert_true(files.length == 0);
    assert_int_not_equal(access(out, F_OK), 0);          /* nothing was begun */
    store_close(s);
    free(path);
    free(out);
}

/* gnuplot fails, or is not there: said in one line, and no file or folder stays behind. */
static void no_picture(void **state)
{
    char *path = in_folder(*state, "none.db"), *out = in_folder(*state, "none"), *plots = in_folder(*state, "plots");
    char *sql = in_folder(*state, "plots/bad.sql"), *gp = in_folder(*state, "plots/bad.gp"), *empty = in_folder(*state, "empty");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    put_cell(s, run, 0, "f16", "f16");
    assert_ok(make_folders(plots, false, err));
    assert_ok(make_folders(empty, false, err));
    write_text(sql, "-- A picture that cannot be\nSELECT label, value FROM result WHERE experiment = :experiment");
    write_text(gp, "this is no gnuplot\n");
    text files = { 0 };
    const plot_options o = { plots, "bad", "e", out, NULL, NULL, NULL };
    if (system("gnuplot --version > /dev/null 2>&1") == 0) {
        kvant_error why = { "" };
        assert_int_equal(plot_draw(s, &o, &files, &why), KVANT_FAILED);
        assert_non_null(strstr(why.text, "plot bad: gnuplot: "));
        assert_null(strchr(why.text, '\n'));
        assert_int_equal(count_files(out), 0);
        write_text(gp, "x = 1\n");                       /* runs, and draws nothing */
        assert_fails(plot_draw(s, &o, &files, err), KVANT_FAILED, "no picture");
    }
    pid_t child = fork();
    if (child == 0) {
        kvant_error why = { "" };
        setenv("PATH", empty, 1);
        _exit(plot_draw(s, &o, &files, &why) == KVANT_IO && strstr(why.text, "not installed") ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_files(out), 0);

    write_text(sql, "-- Broken\nSELECT x FROM nowhere");
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "nowhere");
    write_text(sql, "-- Empty\n");
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "no query");
    text_free(&files);
    assert_ok(plot_list(plots, &files, err));
    assert_string_equal(files.data, "bad             Empty\n");
    text_free(&files);
    assert_ok(plot_list(plots_folder(), &files, err));
    assert_non_null(strstr(files.data, "pareto "));
    text_free(&files);
    store_close(s);
    free(path);
    free(out);
    free(plots);
    free(sql);
    free(gp);
    free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels), cmocka_unit_test(few_rows), cmocka_unit_test(needles), cmocka_unit_test(widths),
        cmocka_unit_test(distortion),
        cmocka_unit_test(sensitivity), cmocka_unit_test(speed), cmocka_unit_test(errors), cmocka_unit_test(no_picture),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
