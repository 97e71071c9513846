/* test_plot_maps.c - the plots of grids, maps of layers, bars and error histograms, drawn by gnuplot from made-up stores: what is to
 * be read in them is there. Skipped where gnuplot is not installed. */
#include "harness/cli.h"
#include "harness/report/plot_internal.h"
#include "tests/pictures.h"
#include "tests/stores.h"

static const double NLL[4] = { 1.25, 2.5, 3.125, 2.0 };

static store *begin(void **state, const char *name, int64_t *run)
{
    need_gnuplot();
    char *path = in_folder(*state, name);
    store *s = open_store(path);
    *run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    free(path);
    return s;
}

/* The picture's text; freed by the caller. */
static char *draw(void **state, store *s, const char *plot, const char *metric)
{
    char *out = in_folder(*state, "picture.svg"), *set = text_format("metric=%s", metric);
    const char *const sets[] = { set, NULL };
    text files = { 0 };
    const plot_options o = { .folder = cli_share("plots"), .name = plot, .out = out, .sets = metric ? sets : NULL };
    assert_ok(plot_draw(s, &o, &files, err));
    char *svg = svg_text(out);
    text_free(&files);
    free(out);
    free(set);
    return svg;
}

/* A cell that finish_cell finishes, with one metric and samples of it by layer (chunk) and head (idx). */
static void put(store *s, int64_t run, uint32_t i, store_cell cell, const char *config, const char *metric, double value,
                uint32_t layers, uint32_t heads)
{
    cell.config = config;
    finish_cell(s, "e", i, &cell, run, NLL);
    put_result(s, cell.key, metric, -1, value, 0.001);
    for (uint32_t at = 0; at < layers * heads; at++)
        assert_ok(store_sample(s, cell.key, 0, &(probe_sample){ metric, at / heads, at % heads, value * (1 + at), 1 }, err));
}

static void tikz_is_escaped(void **state)
{
    (void)state;
    text out = { 0 };
    plot_tikz_escape("\\draw (0,0)--(1,1);\n\\node[gp node left,font={\\x}] at (1.0,2) {a_b^{c} 5% & #1 $x$ \\n \u221ad ~ <|>};\n"
                     "\\node[gp node right] at (1.136,1.801) {$10^{-3}$};\n\\node[gp node right] at (1,1) {};\n"
                     "\\node[gp node left](gp boxed node 1) at (1,1) {x_2};\n", 0, &out);
    assert_string_equal(out.data, "\\draw (0,0)--(1,1);\n\\node[gp node left,font={\\x}] at (1.0,2) {a\\_b\\textasciicircum{}\\{c\\} "
                        "5\\% \\& \\#1 \\$x\\$ \\textbackslash{}n $\\surd$d \\textasciitilde{} "
                        "\\textless{}\\textbar{}\\textgreater{}};\n\\node[gp node right] at (1.136,1.801) {$10^{-3}$};\n\\node[gp "
                        "node right] at (1,1) {};\n\\node[gp node left](gp boxed node 1) at (1,1) {x\\_2};\n");
    text_free(&out);
}

static void tikz_is_drawn(void **state)
{
    int64_t run;
    store *s = begin(state, "tikz.db", &run);
    put(s, run, 0, made_cell("a", "turboquant_mse 2b", 2), "{}", "encode_ns", 800, 0, 0);
    char *folder = in_folder(*state, "tex"), *file = in_folder(folder, "e-journey-encode_ns.tex"), *tikz = NULL;
    static const char *const formats[] = { "tikz", NULL }, *const sets[] = { "metric=encode_ns", NULL };
    text files = { 0 };
    size_t bytes;
    const plot_options o = { .folder = cli_share("plots"), .name = "journey", .out = folder, .formats = formats, .sets = sets };
    assert_ok(plot_draw(s, &o, &files, err));
    assert_ok(file_read(file, &tikz, &bytes, err));
    assert_non_null(strstr(tikz, "\\begin{tikzpicture}"));
    assert_non_null(strstr(tikz, "{turboquant\\_mse 2b}"));
    assert_null(strstr(tikz, "turboquant_mse"));
    free(tikz);
    free(file);
    free(folder);
    text_free(&files);
    store_close(s);
}

static void cairolatex_is_escaped(void **state)
{
    (void)state;
    text out = { 0 };
    plot_cairolatex_escape("    \\def\\a_b{%\n      \\put(1,2){\\makebox(0,0)[l]{\\strut{}x_2 & {z}}}%\n"
                           "      \\put(1,2){\\rotatebox{-270}{\\makebox(0,0){\\strut{}y_1 {%}}}}%\n"
                           "      \\put(1,2){\\makebox(0,0){\\strut{}$-10$}}%\n"
                           "    \\put(0,0){\\includegraphics[width={1bp},height={2bp}]{/tmp/picture}}%\n", "e_1-graphics", 0, &out);
    assert_string_equal(out.data, "    \\def\\a_b{%\n      \\put(1,2){\\makebox(0,0)[l]{\\strut{}x\\_2 \\& \\{z\\}}}%\n"
                        "      \\put(1,2){\\rotatebox{-270}{\\makebox(0,0){\\strut{}y\\_1 \\{\\%\\}}}}%\n"
                        "      \\put(1,2){\\makebox(0,0){\\strut{}$-10$}}%\n"
                        "    \\put(0,0){\\includegraphics[width={1bp},height={2bp}]{e_1-graphics}}%\n");
    text_free(&out);
}

/* Two files that belong together, and one .tex is not to be written twice. */
static void cairolatex_is_drawn(void **state)
{
    int64_t run;
    store *s = begin(state, "cairo.db", &run);
    put(s, run, 0, made_cell("a", "turboquant_mse 2b", 2), "{}", "encode_ns", 800, 0, 0);
    char *folder = in_folder(*state, "cairo"), *file = in_folder(folder, "e-journey-encode_ns-single.tex"), *tex = NULL, *pdf = NULL,
        *graphics = in_folder(folder, "e-journey-encode_ns-single-graphics.pdf");
    static const char *const formats[] = { "cairolatex", NULL }, *const both[] = { "tikz", "cairolatex", NULL },
                      *const sets[] = { "metric=encode_ns", NULL };
    text files = { 0 };
    size_t bytes;
    plot_options o = { .folder = cli_share("plots"), .name = "journey", .out = folder, .formats = both, .sets = sets,
                       .width = "single" };
    assert_fails(plot_draw(s, &o, &files, err), KVANT_INVALID, "the same .tex");
    o.formats = formats;
    assert_ok(plot_draw(s, &o, &files, err));
    assert_non_null(strstr(files.data, file));
    assert_non_null(strstr(files.data, graphics));
    assert_ok(file_read(file, &tex, &bytes, err));
    assert_non_null(strstr(tex, "\\strut{}turboquant\\_mse 2b}"));
    assert_null(strstr(tex, "turboquant_mse"));
    assert_non_null(strstr(tex, "]{e-journey-encode_ns-single-graphics}}%"));
    assert_non_null(strstr(tex, "\\resizebox{3.375in}{!}{\\begin{picture}("));
    assert_non_null(strstr(tex, "\\end{picture}%\n  }%"));
    assert_null(strstr(tex, "kvant-plot-"));                /* nothing of the folder that it was drawn in */
    assert_ok(file_read(graphics, &pdf, &bytes, err));
    assert_memory_equal(pdf, "%PDF", 4);
    free(tex);
    free(pdf);
    free(file);
    free(graphics);
    free(folder);
    text_free(&files);
    store_close(s);
}

static void grid(void **state)
{
    int64_t run;
    store *s = begin(state, "grid.db", &run);
    for (uint32_t i = 0; i < 4; i++) {
        char key[16], *config = text_format("{\"key\":{\"params\":{\"bits\":%u}},\"value\":{\"params\":{\"bits\":%u}}}", 2 + i / 2,
                                            2 + i % 2);
        snprintf(key, sizeof key, "g%u", i);
        store_cell cell = made_cell(key, "K x V", 3);
        cell.key_quantizer = cell.value_quantizer = "affine";
        put(s, run, i, cell, config, "kl", 0.5 / (1 + i), 0, 0);
        free(config);
    }
    char *svg = draw(state, s, "grid", "kl");
    static const char *const words[] = { "e: kl (nats), tiny, prose", "affine", "bits of keys", "bits of values", "0.5", "0.25",
                                         "0.167", "0.125",
                                         "\u00b1 0.001", "light: better, by the logarithm", NULL };
    assert_says_all(svg, words);
    free(svg);
    store_close(s);
}

/* Of one layer and head, too: no scale has a span of 0. */
static void layers(void **state)
{
    int64_t run;
    store *s = begin(state, "layers.db", &run);
    store_cell one = made_cell("one", "affine 2b", 2), two = made_cell("two", "affine 4b", 4);
    one.probe = two.probe = "distortion";
    put(s, run, 0, one, "{\"cell\":1}", "nmse_key", 0.25, 1, 1);
    char *svg = draw(state, s, "layers", "nmse_key");
    assert_says(svg, "affine 2b   0.25 to 0.25");
    free(svg);
    put(s, run, 1, two, "{\"cell\":2}", "nmse_key", 0.01, 30, 3);
    svg = draw(state, s, "layers", "nmse_key");
    assert_says(svg, "affine 4b   0.01 to 0.9");
    assert_says(svg, "KV head");
    free(svg);
    store_close(s);
}

static void journey(void **state)
{
    int64_t run;
    store *s = begin(state, "journey.db", &run);
    put(s, run, 0, made_cell("a", "dense", 4), "{\"isa\":{\"key\":\"scalar\"}}", "encode_ns", 800, 0, 0);
    put(s, run, 1, made_cell("b", "dense", 4), "{\"isa\":{\"key\":\"avx2\"}}", "encode_ns", 200, 0, 0);
    char *svg = draw(state, s, "journey", "encode_ns");
    static const char *const words[] = { "dense, scalar", "dense, avx2", "800, 1.00x", "200, 4.00x",
                                         "encode_ns, nats (less is better)", NULL };
    assert_says_all(svg, words);
    free(svg);
    store_close(s);
}

static void errors(void **state)
{
    int64_t run;
    store *s = begin(state, "errors.db", &run);
    store_cell cell = made_cell("h", "turboquant_mse 2b", 2);
    cell.probe = "product_error";
    put(s, run, 0, cell, "{}", "product_error_rms", 0.34, 0, 0);
    put_result(s, "h", "product_error_mean", 0, 0.01, 0.001);
    for (uint32_t bin = 45; bin < 55; bin++)
        assert_ok(store_sample(s, "h", 0, &(probe_sample){ "product_error_count", 0, bin, 10, 1 }, err));
    char *svg = draw(state, s, "errors", NULL);
    assert_says(svg, "turboquant_mse 2b");
    assert_says(svg, "0.010 \u00b1 0.340");
    assert_says(svg, "density");
    free(svg);
    store_close(s);
}

/* One biased method, one that is not; of other bits only where these are asked for. */
static void products(void **state)
{
    int64_t run;
    store *s = begin(state, "products.db", &run);
    static const char *const labels[] = { "turboquant_mse 2b", "turboquant_prod 2b", "affine 3b" };
    for (uint32_t i = 0; i < 3; i++) {
        store_cell cell = made_cell((const char *[]){ "m", "p", "a" }[i], labels[i], i < 2 ? 2 : 3);
        cell.probe = "distortion";
        put(s, run, i, cell, labels[i][0] == 'a' ? "{\"a\":3}" : i ? "{\"p\":2}" : "{\"m\":2}", "ip_variance_at_90", 0.1, 0, 0);
        for (int degrees = 0; degrees < 90; degrees += 30) {
            char *bias = text_format("ip_bias_at_%d", degrees), *variance = text_format("ip_variance_at_%d", degrees);
            put_result(s, cell.key, bias, 0, i ? 0 : -0.1 * degrees / 90, 0.001);
            put_result(s, cell.key, variance, -1, 0.1 + 0.001 * degrees, 0.001);
            free(bias);
            free(variance);
        }
    }
    char *svg = draw(state, s, "products", NULL);
    static const char *const words[] = { "turboquant_mse 2b", "turboquant_prod 2b", "bias", "d \u00d7 variance",
                                         "true inner product of unit vectors", "bars: 95 % interval", NULL };
    assert_says_all(svg, words);
    assert_null(strstr(svg, "affine 3b"));
    free(svg);
    store_close(s);
}

/* Two levels of one cell: each with its own range, density and figures. */
static void angles(void **state)
{
    int64_t run;
    store *s = begin(state, "angles.db", &run);
    store_cell cell = made_cell("p", "polarquant 4b", 3.875);
    cell.probe = "angles";
    put(s, run, 0, cell, "{}", "angle_ks_1", 0.0123, 0, 0);
    put_result(s, "p", "angle_chi2_1", -1, 1.25, 0.2);
    put_result(s, "p", "angle_ks_2", -1, 0.0456, 0);
    put_result(s, "p", "angle_chi2_2", -1, 77.5, 0.2);
    for (uint32_t bin = 0; bin < 64; bin++)
        for (uint32_t level = 1; level <= 2; level++)
            assert_ok(store_sample(s, "p", 0, &(probe_sample){ "angle_count", level, bin, level == 1 ? 10 : bin, 1 }, err));
    char *svg = draw(state, s, "angles", NULL);
    static const char *const words[] = { "polarquant 4b, level 1", "polarquant 4b, level 2", "KS 0.0123, \u03c7\u00b2/dof 1.25",
                                         "KS 0.0456, \u03c7\u00b2/dof 77.5", "angle, radians", "line: analytic density",
                                         "\u03c0/4", "2\u03c0", NULL };
    assert_says_all(svg, words);
    free(svg);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grid), cmocka_unit_test(layers), cmocka_unit_test(journey), cmocka_unit_test(errors),
        cmocka_unit_test(angles), cmocka_unit_test(products),
        cmocka_unit_test(tikz_is_escaped), cmocka_unit_test(tikz_is_drawn),
        cmocka_unit_test(cairolatex_is_escaped), cmocka_unit_test(cairolatex_is_drawn),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
