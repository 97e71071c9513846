/* html_text.c - text within a page, so that nothing in a store's names can be markup, and gnuplot's SVG made part of a page:
 * a title and a description of its own, names that no other picture has, and nothing in it that could run or be fetched. */
#include "harness/report/html.h"

#include <stdlib.h>
#include <string.h>

void html_text(text *out, const char *words)
{
    unsigned code;
    for (size_t bytes; *words; words += bytes) {
        bytes = 0;                 /* what needs nothing goes in one piece */
        while (words[bytes] >= ' ' && words[bytes] < 0x7f && !strchr("&<>\"'", words[bytes]))
            bytes++;
        if (bytes) {
            text_add(out, "%.*s", (int)bytes, words);
            continue;
        }
        bytes = utf8_character(words, &code);
        const bool control = (code < ' ' && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0);
        const bool none = (code & 0xfffe) == 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);       /* no characters, by Unicode */
        switch (code) {
        case '&': text_add(out, "&amp;"); break;
        case '<': text_add(out, "&lt;"); break;
        case '>': text_add(out, "&gt;"); break;
        case '"': text_add(out, "&quot;"); break;
        case '\'': text_add(out, "&#39;"); break;
        default:
            if (code == 0xfffd || none)
                text_add(out, "\xef\xbf\xbd");
            else if (!control)
                text_add(out, "%.*s", (int)bytes, words);
        }
    }
}

/* ---- SVG ---------------------------------------------------------------------------------------------------------------- */

/* What gnuplot draws with. Anything else is no picture of it: scripts, foreign objects, links and images are not here. */
static const char *const elements[] = {
    "svg", "g", "defs", "path", "circle", "ellipse", "rect", "line", "polyline", "polygon", "use", "text", "tspan", "filter",
    "feFlood", "feComposite", "linearGradient", "stop", "clipPath", "pattern",
};

static bool is_element(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (strlen(elements[i]) == n && !memcmp(elements[i], name, n))
            return true;
    return false;
}

static bool begins(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

/* An attribute from its name on: where it ends, its value in [*value, *after). NULL: it is not of the form name = 'value'. */
static const char *attribute(const char *c, const char **value, const char **after)
{
    c += strcspn(c, " \t\n=>/");
    c += strspn(c, " \t\n");
    if (*c++ != '=')
        return NULL;
    c += strspn(c, " \t\n");
    const char quote = *c;
    if (quote != '"' && quote != '\'')
        return NULL;
    *value = c + 1;
    *after = strchr(c + 1, quote);
    return *after ? *after + 1 : NULL;
}

/* Names within a picture get the picture's number; those of the curves, which nobody refers to and gnuplot gives twice, go. */
static bool add_attribute(const char *name, const char *value, const char *after, const char *end, unsigned number, text *out)
{
    const char *hash = memchr(value, '#', (size_t)(after - value));
    const bool link = begins(name, "xlink:href") || begins(name, "href");
    const bool url = begins(value, "url(#") || begins(value, "filter:url(#");
    if (begins(name, "on") || (link && *value != '#'))
        return false;
    if (begins(name, "id=") || begins(name, "id ")) {
        if (!begins(value, "gnuplot_"))
            text_add(out, " id=\"f%u-%.*s\"", number, (int)(after - value), value);
    } else if ((link || url) && hash)
        text_add(out, " %.*sf%u-%.*s", (int)(hash + 1 - name), name, number, (int)(end - hash - 1), hash + 1);
    else
        text_add(out, " %.*s", (int)(end - name), name);
    return true;
}

/* One tag, from its "<" on; NULL: it is none that a picture has. */
static const char *add_tag(const char *c, unsigned number, text *out)
{
    const char *name = c + 1 + (c[1] == '/');
    const size_t n = strcspn(name, " \t\n/>");
    if (!is_element(name, n))
        return NULL;
    text_add(out, "%.*s", (int)(name + n - c), c);
    if (n == 3 && begins(c, "<svg")) {
        /* Below three fifths of its size nobody can read a picture: it scrolls instead. */
        const char *box = strstr(c, "viewBox=\"0 0 ");
        const double width = box ? strtod(box + strlen("viewBox=\"0 0 "), NULL) : 0;
        text_add(out, " role=\"img\" aria-labelledby=\"f%u-title f%u-desc\"", number, number);
        if (width > 0 && width < 1e5)
            text_add(out, " style=\"min-width: %.0fpx; max-width: %.0fpx\"", 0.6 * width, width);
    }
    for (c = name + n; *c && *c != '>';) {
        c += strspn(c, " \t\n");
        if (*c == '/' || *c == '>') {
            text_add(out, "%s", *c == '/' ? "/" : "");
            c += *c == '/';
            continue;
        }
        const char *value, *after, *end = attribute(c, &value, &after);
        if (!end || !add_attribute(c, value, after, end, number, out))
            return NULL;
        c = end;
    }
    if (!*c)
        return NULL;
    text_add(out, ">");
    return c + 1;
}

bool html_svg(const char *svg, unsigned number, const char *title, const char *description, text *out)
{
    const char *c = strstr(svg, "<svg");
    bool titled = false;
    while (c && *c) {
        if (*c != '<') {
            const size_t n = strcspn(c, "<");
            text_add(out, "%.*s", (int)n, c);
            c += n;
        } else if (begins(c, "<title>") || begins(c, "<desc>")) {
            const char *close = strstr(c, c[1] == 't' ? "</title>" : "</desc>");
            c = close ? strchr(close, '>') + 1 : NULL;
        } else if (begins(c, "<!--")) {
            const char *close = strstr(c, "-->");
            c = close ? close + 3 : NULL;
        } else {
            c = add_tag(c, number, out);
            if (c && !titled) {
                text_add(out, "\n<title id=\"f%u-title\">", number);
                html_text(out, title);
                text_add(out, "</title>\n<desc id=\"f%u-desc\">", number);
                html_text(out, description);
                text_add(out, "</desc>\n");
                titled = true;
            }
        }
    }
    return c && titled;
}
