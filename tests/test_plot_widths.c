/* test_plot_widths.c - every plot in both columns of a paper: as wide as was asked for, no text outside of the picture, on another
 * one, too small or too large, keys below the panels. By the SVG, whose texts' widths are estimated; skipped without gnuplot. */
#include "harness/cli.h"
#include "harness/report/plot_internal.h"
#include "tests/pictures.h"
#include "tests/pictures_data.h"
#include "tests/stores.h"

/* What is drawn of each plot, from the experiment that is called like it, and a text of its key: NULL where it has none. */
static const struct { const char *plot, *sets[3], *key; } drawn[] = {
    { "angles", { NULL }, NULL },
    { "compare", { "question=q", NULL }, "smollm2-135m" },
    { "correlation", { "x=nll", "y=perplexity", NULL }, "turboquant_prod" },
    { "depth", { NULL }, "turboquant_mse 2b hadamard" },
    { "distortion", { NULL }, "turboquant_prod" },
    { "errors", { NULL }, NULL },
    { "grid", { NULL }, NULL },
    { "journey", { "metric=encode_ns", NULL }, NULL },
    { "layers", { NULL }, NULL },
    { "needle", { NULL }, NULL },
    { "pareto", { NULL }, "Pareto front" },
    { "products", { NULL }, "turboquant_mse 2b hadamard" },
    { "roofline", { NULL }, "memory read" },
    { "sensitivity", { NULL }, "head\u00a00\u00a0key" },
};

enum { TEXTS = 4000 };
/* A letter is at least this much of its font's size wide on the average, and this much high. */
static const double LETTER = 0.5, HIGH = 0.7;
static const double LEAST_POINTS = 5, MOST_POINTS = 9;

typedef struct { double left, right, top, bottom, size; char words[160]; } svg_words;

/* What is written, with references of XML as one letter. */
static size_t letters_of(const char *words)
{
    size_t n = 0;
    for (const char *c = words; *c; c++) {
        const char *end = *c == '&' ? strchr(c, ';') : NULL;
        n += ((unsigned char)*c & 0xc0) != 0x80;
        c = end ? end : c;
    }
    return n;
}

static double number_after(const char *in, const char *mark)
{
    const char *at = strstr(in, mark);
    return at ? atof(at + strlen(mark)) : (double)NAN;
}

/* The texts of a picture, of which each stands in a line of its own behind its group: <g transform="translate(x,y) rotate(270)" ...
 * font-size="11.00" text-anchor="middle">. */
static size_t texts_of(const char *svg, svg_words *texts)
{
    static const char group[] = "<g transform=\"translate(";
    size_t n = 0;
    for (const char *at = svg; (at = strstr(at, group)) != NULL; at++) {
        const char *open = strstr(at, "<text"), *words = open ? strchr(open, '>') : NULL;
        const char *end = words ? strstr(words, "</text>") : NULL, *close = strchr(at, '>');
        assert_non_null(end);
        words++;
        assert_true(n < TEXTS);
        char head[400];
        snprintf(head, sizeof head, "%.*s", (int)(close - at), at);
        svg_words *t = &texts[n++];
        snprintf(t->words, sizeof t->words, "%.*s", (int)(end - words), words);
        const double x = number_after(head, "translate("), y = number_after(head, ","), size = number_after(head, "font-size=\"");
        const double wide = LETTER * size * (double)letters_of(t->words), high = HIGH * size;
        const double before = strstr(head, "anchor=\"middle") ? wide / 2 : strstr(head, "anchor=\"end") ? wide : 0;
        t->size = size;
        if (strstr(head, "rotate(270)"))
            t->left = x - high, t->right = x, t->bottom = y + before, t->top = y + before - wide;
        else
            t->left = x - before, t->right = x - before + wide, t->top = y - high, t->bottom = y;
        if (!(t->size > 0) || !isfinite(t->left) || !isfinite(t->top))
            fail_msg("a text without place or size: %s", head);
    }
    return n;
}

/* The lowest point of all panels' axes and their tics, which alone have this colour. */
static double foot_of_panels(const char *svg)
{
    static const char axes[] = "stroke='rgb( 64,  64,  64)'  d='";
    double foot = 0;
    for (const char *at = svg; (at = strstr(at, axes)) != NULL;) {
        at += strlen(axes);
        for (; *at && *at != '\''; at++)
            if (*at == ',' && atof(at + 1) > foot)
                foot = atof(at + 1);
    }
    return foot;
}

static bool meet(const svg_words *a, const svg_words *b)
{
    const double across = fmin(a->right, b->right) - fmax(a->left, b->left), down = fmin(a->bottom, b->bottom) - fmax(a->top, b->top);
    const bool same = !strcmp(a->words, b->words) && fabs(a->left - b->left) < 0.5 && fabs(a->top - b->top) < 0.5;
    return across > 1.5 && down > 1.5 && !same;       /* what each series writes anew stands where it stood */
}

static void check_picture(const char *what, const char *svg, const plot_width *width, const char *key)
{
    static svg_words texts[TEXTS];
    const double inches = number_after(svg, "width=\"");
    const char *box = strstr(svg, "viewBox=\"0 0 ");
    double W = 0, H = 0;
    assert_non_null(box);
    assert_int_equal(sscanf(box, "viewBox=\"0 0 %lf %lf\"", &W, &H), 2);
    if (fabs(inches - width->inches) > 1e-3 || !strstr(svg, "in\" height=\"") ||
        !(fabs(number_after(svg, "height=\"") / inches - H / W) < 2e-3))
        fail_msg("%s: %g inches wide, not %g", what, inches, width->inches);
    const size_t n = texts_of(svg, texts);
    double key_top = NAN;
    assert_true(n > 5);
    for (size_t i = 0; i < n; i++) {
        const svg_words *t = &texts[i];
        if (!(t->left >= -1 && t->right <= W + 1 && t->top >= -1 && t->bottom <= H + 1))
            fail_msg("%s: '%s' leaves the picture of %g by %g: %g to %g, %g to %g", what, t->words, W, H, t->left, t->right, t->top,
                     t->bottom);
        if (!(t->size * inches * 72 / W >= LEAST_POINTS && t->size * inches * 72 / W <= MOST_POINTS))
            fail_msg("%s: '%s' has %.2f points", what, t->words, t->size * inches * 72 / W);
        for (size_t k = 0; k < i; k++)
            if (meet(t, &texts[k]))
                fail_msg("%s: '%s' stands on '%s'", what, t->words, texts[k].words);
        if (key && !strncmp(t->words, key, strlen(key)))
            key_top = t->top;                         /* the key is written last of what says so */
    }
    if (key && !(key_top > foot_of_panels(svg)))
        fail_msg("%s: the key begins at %g, and the panels end at %g", what, key_top, foot_of_panels(svg));
}

/* Draws one and returns its file's path, freed by the caller. */
static char *draw(store *s, const char *folder, size_t i, const char *width, const char *format)
{
    const char *const formats[] = { format, NULL };
    char *path = text_format("%s/%s-%s.%s", folder, drawn[i].plot, width, strcmp(format, "tikz") ? format : "tex");
    const plot_options o = { .folder = cli_share("plots"), .name = drawn[i].plot, .experiment = drawn[i].plot, .out = path,
                             .formats = formats, .sets = drawn[i].sets, .width = width };
    text files = { 0 };
    assert_ok(plot_draw(s, &o, &files, err));
    text_free(&files);
    return path;
}

static void every_plot(void **state)
{
    need_gnuplot();
    static const char *const widths[] = { "single", "double" };
    char *path = in_folder(*state, "all.db");
    store *s = open_store(path);
    plot_names names;
    put_pictures(s);
    assert_ok(plot_find(cli_share("plots"), &names, err));
    assert_int_equal(names.n, sizeof drawn / sizeof *drawn);      /* a new plot needs a line above and made-up results */
    for (size_t i = 0; i < names.n; i++) {
        assert_string_equal(names.name[i], drawn[i].plot);
        for (size_t w = 0; w < 2; w++) {
            char *file = draw(s, *state, i, widths[w], "svg"), *what = text_format("%s, %s", drawn[i].plot, widths[w]), *svg;
            size_t bytes;
            assert_ok(file_read(file, &svg, &bytes, err));
            check_picture(what, svg, plot_width_named(widths[w]), drawn[i].key);
            free(svg);
            free(what);
            free(file);
        }
    }
    plot_names_free(&names);
    store_close(s);
    free(path);
}

static uint32_t big_endian(const char *from)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++)
        value = value << 8 | (unsigned char)from[i];
    return value;
}

/* PNG by its density, TikZ by its box. */
static void other_formats(void **state)
{
    need_gnuplot();
    char *path = in_folder(*state, "others.db"), *png, *tikz;
    store *s = open_store(path);
    size_t bytes, pareto = 0;
    put_pictures(s);
    while (strcmp(drawn[pareto].plot, "pareto"))
        pareto++;
    char *file = draw(s, *state, pareto, "single", "png"), *tex = draw(s, *state, pareto, "double", "tikz");
    assert_ok(file_read(file, &png, &bytes, err));
    assert_memory_equal(png + 33 + 4, "pHYs", 4);
    const double inches = big_endian(png + 16) / (big_endian(png + 33 + 8) * 0.0254);
    if (!(fabs(inches - 3.375) < 0.005))
        fail_msg("%g inches", inches);
    assert_ok(file_read(tex, &tikz, &bytes, err));
    assert_non_null(strstr(tikz, "\\resizebox{7in}{!}{\\gpbasems1pt%\n\\begin{tikzpicture}"));
    assert_non_null(strstr(tikz, "\\end{tikzpicture}}%"));
    free(png);
    free(tikz);
    free(file);
    free(tex);
    store_close(s);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_plot), cmocka_unit_test(other_formats) };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
