/* test_report_html.c - the page of a report: well-formed whatever a store's names hold, nothing in it from elsewhere, and what readers
 * with a screen reader or a keyboard need: language, headings in order, heads of columns and rows, names of regions and pictures. */
#include "harness/cli.h"
#include "harness/report/compare.h"
#include "harness/report/html.h"
#include "harness/report/plot.h"
#include "tests/stores.h"

#include <ctype.h>

static const char EVIL[] =
    "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"alert(3) ]]> <!-- &amp; \xff\x1b[31m";
static const double NLL[4] = { 1.25, 2.5, 3.125, 2.0 }, BELOW[4] = { 1.125, 2.375, 3.0, 1.75 },
                    NEAR[4] = { 1.3125, 2.5, 3.0625, 2.0625 };

static void put(store *s, int64_t run, uint32_t ordinal, const char *label, double bits, const double nll[4])
{
    char key[32];
    snprintf(key, sizeof key, "cell-%u", ordinal);
    store_cell cell = made_cell(key, label, bits);
    finish_cell(s, "e", ordinal, &cell, run, nll);
}

static store *made_store(const char *path)
{
    store *s = open_store(path);
    int64_t run = put_run(s, EVIL);
    assert_ok(store_experiment(s, "e", "{\"name\":\"e\",\"note\":\"</pre><script>\"}", err));
    put(s, run, 0, "f16", 16, NLL);
    put(s, run, 1, "near", 4, NEAR);
    put(s, run, 2, "below", 4, BELOW);
    put(s, run, 3, EVIL, 4, BELOW);
    assert_ok(store_skip(s, "e", EVIL, "{}", EVIL, err));
    return s;
}

static char *page_of(store *s, const char *plots)
{
    text out = { 0 };
    bool met;
    assert_ok(report_write(s, &(report_options){ .experiment = "e", .format = REPORT_HTML, .plots = plots }, &out, &met, err));
    return out.data;
}

/* ---- A reader of pages ----------------------------------------------------------------------------------------------------- */

enum { DEPTH = 64, IDS = 512 };

/* What was seen of a page; text is what stands outside of tags, style and script, with entities read back. */
typedef struct {
    const char *open[DEPTH];
    size_t lengths[DEPTH], depth;
    char ids[IDS][64], links[IDS][64];
    size_t n_ids, n_links, scripts, styles, images, tables, pictures;
    int level;                     /* of the heading last seen */
    text text;
} page;

static bool is_void(const char *name, size_t n)
{
    return (n == 4 && !strncmp(name, "meta", 4)) || (n == 2 && !strncmp(name, "br", 2)) || (n == 5 && !strncmp(name, "input", 5));
}

static bool named(const char *name, size_t n, const char *wanted) { return n == strlen(wanted) && !strncmp(name, wanted, n); }

/* The value of an attribute within a tag that ends at `end`; NULL: it has none of that name. */
static const char *value_of(const char *tag, const char *end, const char *name, size_t *n)
{
    for (const char *c = tag; c < end; c++)
        if (isspace((unsigned char)*c) && !strncmp(c + 1, name, strlen(name)) && c[1 + strlen(name)] == '=') {
            const char quote = c[2 + strlen(name)], *value = c + 3 + strlen(name);
            assert_true(quote == '"' || quote == '\'');
            *n = (size_t)(strchr(value, quote) - value);
            return value;
        }
    return NULL;
}

static void remember(char list[IDS][64], size_t *count, const char *value, size_t n)
{
    assert_true(*count < IDS && n < 64);
    snprintf(list[(*count)++], 64, "%.*s", (int)n, value);
}

/* Where the tag ends, quotes minded; every attribute has a name and, if any, a quoted value. */
static const char *end_of_tag(const char *c)
{
    for (c += strcspn(c, " \t\n/>"); *c != '>';) {
        c += strspn(c, " \t\n/");
        if (*c == '>')
            break;
        const size_t n = strcspn(c, " \t\n=/>\"'<");
        if (!n)
            fail_msg("no attribute: %.60s", c);
        assert_false(!strncmp(c, "on", 2));                /* nothing that would run */
        c += n;
        c += strspn(c, " \t\n");
        if (*c == '=') {
            c += 1 + strspn(c + 1, " \t\n");
            if (*c != '"' && *c != '\'')
                fail_msg("a value without quotes: %.60s", c);
            c = strchr(c + 1, *c);
            assert_non_null(c);
            c++;
        }
    }
    return c;
}

static void see_tag(page *p, const char *name, size_t n, const char *end)
{
    size_t length;
    const char *id = value_of(name, end, "id", &length), *role, *label;
    if (id)
        remember(p->ids, &p->n_ids, id, length);
    const char *link = value_of(name, end, "href", &length);
    if (link) {
        assert_int_equal(*link, '#');                      /* nothing from elsewhere */
        remember(p->links, &p->n_links, link + 1, length - 1);
    }
    link = value_of(name, end, "xlink:href", &length);
    if (link)
        remember(p->links, &p->n_links, link + 1, length - 1);
    assert_null(value_of(name, end, "src", &length));
    p->scripts += named(name, n, "script");
    p->styles += named(name, n, "style");
    p->tables += named(name, n, "table");
    if (named(name, n, "html"))
        assert_true(value_of(name, end, "lang", &length) && length == 2);
    if (named(name, n, "th"))
        assert_non_null(value_of(name, end, "scope", &length));
    if (n == 2 && *name == 'h' && isdigit((unsigned char)name[1])) {
        assert_true(name[1] - '0' <= p->level + 1);
        assert_true(name[1] != '1' || p->level == 0);      /* one title */
        p->level = name[1] - '0';
    }
    role = value_of(name, end, "role", &length);
    if (role && !strncmp(role, "region", length)) {
        label = value_of(name, end, "aria-label", &length);
        assert_true(label && length > 0);
    }
    if (named(name, n, "svg")) {
        p->pictures++;
        assert_true(role && value_of(name, end, "aria-labelledby", &length));
    }
    static const char *const refused[] = { "img", "iframe", "object", "embed", "link", "image", "foreignObject", "base", "form" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (named(name, n, refused[i]))
            fail_msg("the page has <%s>", refused[i]);
}

static void read_back(text *t, const char *c, size_t n)
{
    static const struct { const char *entity; char c; } entities[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' },
                                                                       { "&quot;", '"' }, { "&#39;", '\'' } };
    for (const char *end = c + n; c < end;) {
        size_t i = 0;
        while (i < 5 && strncmp(c, entities[i].entity, strlen(entities[i].entity)))
            i++;
        if (*c == '&' && i == 5)
            fail_msg("an ampersand that is no entity: %.40s", c);
        text_add(t, "%c", i < 5 ? entities[i].c : *c);
        c += i < 5 ? strlen(entities[i].entity) : 1;
    }
}

/* Reads a whole page, and fails where it is not well-formed. */
static page *read_page(const char *html)
{
    page *p = calloc(1, sizeof *p);
    assert_non_null(p);
    assert_int_equal(strncmp(html, "<!doctype html>\n", 16), 0);
    for (const char *c = html + 16; *c;) {
        if (*c != '<') {
            const size_t n = strcspn(c, "<");
            const bool raw = p->depth && (named(p->open[p->depth - 1], p->lengths[p->depth - 1], "style") ||
                                          named(p->open[p->depth - 1], p->lengths[p->depth - 1], "script"));
            if (!raw)
                read_back(&p->text, c, n);
            c += n;
            continue;
        }
        const bool closes = c[1] == '/';
        const char *name = c + 1 + closes;
        const size_t n = strcspn(name, " \t\n/>");
        if (p->depth && named(p->open[p->depth - 1], p->lengths[p->depth - 1], "script") && !(closes && named(name, n, "script"))) {
            c++;                   /* less-than in a script */
            continue;
        }
        const char *end = closes ? name + n : end_of_tag(name);
        if (!isalpha((unsigned char)*name) || *end != '>')
            fail_msg("no tag: %.60s", c);
        if (closes) {
            if (!p->depth || p->lengths[p->depth - 1] != n || strncmp(p->open[p->depth - 1], name, n))
                fail_msg("</%.*s> closes <%.*s>", (int)n, name, p->depth ? (int)p->lengths[p->depth - 1] : 0,
                         p->depth ? p->open[p->depth - 1] : "");
            p->depth--;
        } else {
            see_tag(p, name, n, end);
            if (!is_void(name, n) && end[-1] != '/') {
                assert_true(p->depth < DEPTH);
                p->open[p->depth] = name;
                p->lengths[p->depth++] = n;
            }
        }
        c = end + 1;
    }
    assert_int_equal(p->depth, 0);
    for (size_t i = 0; i < p->n_ids; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(p->ids[i], p->ids[k]))
                fail_msg("two elements are named %s", p->ids[i]);
    for (size_t i = 0; i < p->n_links; i++) {
        size_t k = 0;
        while (k < p->n_ids && strcmp(p->links[i], p->ids[k]))
            k++;
        if (k == p->n_ids)
            fail_msg("nothing is named %s, which a link leads to", p->links[i]);
    }
    assert_true(p->level >= 1);
    assert_int_equal(p->scripts, 1);
    assert_int_equal(p->styles, 1);
    return p;
}

static void close_page(page *p)
{
    text_free(&p->text);
    free(p);
}

static void assert_has(const char *out, const char *words)
{
    if (!strstr(out, words))
        fail_msg("\"%s\" is not in:\n%.3000s", words, out);
}

/* ---- Tests ----------------------------------------------------------------------------------------------------------------- */

static void well_formed(void **state)
{
    char *path = in_folder(*state, "page.db");
    store *s = made_store(path);
    char *html = page_of(s, NULL);
    page *p = read_page(html);
    /* What the store holds is there as text, but for what is no character: a control character, and a byte that is no UTF-8. */
    assert_has(p->text.data, "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\" "
                             "onload=\"alert(3) ]]> <!-- &amp; \xef\xbf\xbd[31m");
    assert_null(strstr(html, "alert(1)</script>"));
    assert_null(strstr(html, "http"));
    assert_has(p->text.data, "c0ffee");
    assert_has(p->text.data, "a processor");
    assert_has(p->text.data, "4 of 4 cells finished");
    assert_has(p->text.data, "nll,0,0,0,1.25,10");         /* a raw sample */
    assert_has(p->text.data, "\"pairing\":\t\"pair\"");    /* a cell's JSON */
    assert_has(p->text.data, "No picture: drawn without plots");
    assert_int_equal(p->tables, 1);
    close_page(p);
    free(html);
    store_close(s);
    free(path);
}

/* Answers and lists are pages of the same kind. */
static void other_documents(void **state)
{
    char *path = in_folder(*state, "others.db");
    store *s = made_store(path);
    const report_options o = { .experiment = "e", .format = REPORT_HTML };
    text out = { 0 };
    assert_ok(compare_write(s, &o, &(compare_what){ .a = EVIL, .b = "f16" }, &out, err));
    page *p = read_page(out.data);
    assert_has(p->text.data, "onload=");
    assert_int_equal(p->tables, 1);
    close_page(p);
    text_free(&out);
    assert_ok(report_list(s, REPORT_HTML, &out, err));
    p = read_page(out.data);
    assert_int_equal(p->tables, 1);
    close_page(p);
    text_free(&out);
    store_close(s);
    free(path);
}

static void flags_in_words(void **state)
{
    char *path = in_folder(*state, "flags.db");
    store *s = made_store(path);
    char *html = page_of(s, NULL);
    assert_has(html, "<td>reference</td></tr>");
    assert_has(html, "<td>undecided</td></tr>");
    assert_has(html, "<td>below f16; same output as &lt;/script&gt;");
    assert_has(html, "<a href=\"#cell-1\">f16 (reference)</a>");
    assert_has(html, "<div id=\"cell-1\">");
    free(html);
    store_close(s);
    free(path);
}

/* With pictures the page is as well-formed, and each has a title of its own. */
static void pictures(void **state)
{
    if (system("gnuplot --version > /dev/null 2>&1") != 0) {
        print_message("gnuplot is not installed\n");
        skip();
    }
    char *path = in_folder(*state, "pictures.db");
    store *s = made_store(path);
    char *html = page_of(s, cli_share("plots"));
    page *p = read_page(html);
    assert_int_equal(p->pictures, 1);
    assert_has(html, "<title id=\"f1-title\">e: pareto, probe=perplexity</title>");
    assert_null(strstr(html, "Produced by GNUPLOT"));
    assert_has(html, "prefers-color-scheme: dark");
    close_page(p);
    free(html);
    html = page_of(s, *state);     /* a folder without plots: the page says so */
    assert_has(html, "No picture: no plot is for this probe");
    free(html);
    store_close(s);
    free(path);
}

static void foreign_pictures(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "<svg viewBox=\"0 0 9 9\"><script>alert(1)</script></svg>", "<svg><g onclick=\"x\"></g></svg>",
        "<svg><foreignObject></foreignObject></svg>",
        "<svg><image/></svg>", "<svg><use xlink:href=\"other.svg#x\"/></svg>", "<svg><a href=\"#x\"></a></svg>",
        "<svg><g id=x></g></svg>", "<svg><g id='x", "<svg", "no picture", "",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        text out = { 0 };
        if (html_svg(refused[i], 1, "title", "description", &out))
            fail_msg("it was taken: %s", refused[i]);
        text_free(&out);
    }
    text out = { 0 };
    assert_true(html_svg("<?xml version='1.0'?>\n<svg \n viewBox=\"0 0 100 50\">\n<title>Gnuplot</title>\n<desc>old</desc>"
                         "<g id=\"gnuplot_plot_1\"><path id='a' fill = 'rgb(1, 2, 3)'/><use xlink:href='#a' style='filter:url(#b)'/>"
                         "<text>id='c' &lt;</text></g></svg>\n",
                         7, "a<b", "c&d", &out));
    assert_string_equal(out.data,
        "<svg role=\"img\" aria-labelledby=\"f7-title f7-desc\" style=\"min-width: 60px; max-width: 100px\" viewBox=\"0 0 100 50\">\n"
        "<title id=\"f7-title\">a&lt;b</title>\n<desc id=\"f7-desc\">c&amp;d</desc>\n\n\n<g>"
        "<path id=\"f7-a\" fill = 'rgb(1, 2, 3)'/><use xlink:href='#f7-a' style='filter:url(#f7-b)'/>"
        "<text>id='c' &lt;</text></g></svg>\n");
    text_free(&out);
}

static void plots_of_probes(void **state)
{
    cJSON *plots;
    char *first = in_folder(*state, "a.sql"), *second = in_folder(*state, "b.sql");
    static const char a[] = "-- What a shows\n-- :metric = x   help\n-- report: needle metric=y\n-- report: needles\n"
                               "-- report: needle\nSELECT 1",
                      b[] = "-- What b shows\nSELECT 1 -- report: needle\n-- report: needle\n";
    assert_ok(file_write(first, a, strlen(a), err));
    assert_ok(file_write(second, b, strlen(b), err));
    assert_ok(plot_for_probe(*state, "needle", &plots, err));
    char *printed = cJSON_PrintUnformatted(plots);
    assert_string_equal(printed, "[[\"a\",\"metric=y\",\"What a shows\"],[\"a\",\"\",\"What a shows\"]]");
    cJSON_free(printed);
    cJSON_Delete(plots);
    unlink(first);
    unlink(second);
    /* Every plot of the tree that says so speaks of a probe that there is. */
    size_t found = 0;
    for (const kvant_probe *const *p = kvant_probes(); *p; p++) {
        assert_ok(plot_for_probe(cli_share("plots"), (*p)->name, &plots, err));
        found += (size_t)cJSON_GetArraySize(plots);
        cJSON_Delete(plots);
    }
    char *command = text_format("cat '%s'/*.sql | grep -c '^-- report: '", cli_share("plots"));
    FILE *lines = popen(command, "r");
    size_t said = 0;
    assert_int_equal(fscanf(lines, "%zu", &said), 1);
    pclose(lines);
    assert_int_equal(found, said);
    free(command);
    free(first);
    free(second);
}

/* Contrast by WCAG 2: of the page's own colours on its paper, light and dark, at least 4.5. */
static double luminance(unsigned rgb)
{
    double sum = 0;
    static const double weights[] = { 0.2126, 0.7152, 0.0722 };
    for (int i = 0; i < 3; i++) {
        const double c = (rgb >> (16 - 8 * i) & 0xff) / 255.0;
        sum += weights[i] * (c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4));
    }
    return sum;
}

static unsigned colour(const char *from, const char *name)
{
    char wanted[32];
    unsigned rgb = 0;
    snprintf(wanted, sizeof wanted, "--%s: #", name);
    const char *at = strstr(from, wanted);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(wanted), "%6x", &rgb), 1);
    return rgb;
}

static void contrast(void **state)
{
    (void)state;
    static const char *const inks[] = { "ink", "soft", "link", "good", "bad" }, *const papers[] = { "paper", "band" };
    const char *schemes[] = { page_css, strstr(page_css, "prefers-color-scheme: dark") };
    for (size_t scheme = 0; scheme < 2; scheme++)
        for (size_t i = 0; i < 5; i++)
            for (size_t k = 0; k < 2; k++) {
                const double a = luminance(colour(schemes[scheme], inks[i])), b = luminance(colour(schemes[scheme], papers[k]));
                const double ratio = (fmax(a, b) + 0.05) / (fmin(a, b) + 0.05);
                if (!(ratio >= 4.5))
                    fail_msg("%s on %s, scheme %zu: %.2f", inks[i], papers[k], scheme, ratio);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed), cmocka_unit_test(other_documents), cmocka_unit_test(flags_in_words),
        cmocka_unit_test(pictures), cmocka_unit_test(foreign_pictures), cmocka_unit_test(plots_of_probes), cmocka_unit_test(contrast),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
