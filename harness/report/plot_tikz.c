/* plot_tikz.c - makes gnuplot's pictures fit for TeX: names of quantizers and units hold characters that TeX takes for commands.
 * gnuplot writes each text on a line of its own and does not look into it: \node[...] at (x,y) {TEXT}; in TikZ, and \put(x,y){...
 * \strut{}TEXT}}% in cairolatex. */
#include "harness/report/plot_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct { const char *from, *to; } tex[] = {
    { "\\", "\\textbackslash{}" }, { "{", "\\{" }, { "}", "\\}" }, { "_", "\\_" }, { "^", "\\textasciicircum{}" }, { "%", "\\%" },
    { "&", "\\&" }, { "#", "\\#" }, { "$", "\\$" }, { "~", "\\textasciitilde{}" }, { "<", "\\textless{}" },
    { ">", "\\textgreater{}" }, { "|", "\\textbar{}" }, { "√", "$\\surd$" }, { "π", "$\\pi$" }, { "ρ", "$\\rho$" },
    { "α", "$\\alpha$" }, { "β", "$\\beta$" }, { "χ", "$\\chi$" }, { "²", "$^2$" },
    { "Δ", "$\\Delta$" }, { "±", "$\\pm$" }, { "×", "$\\times$" },
    { "←", "$\\leftarrow$" }, { "→", "$\\rightarrow$" }, { "−", "$-$" }, { "≤", "$\\le$" }, { "≥", "$\\ge$" },
};

static void add_escaped(text *out, const char *words, size_t n)
{
    while (n) {
        size_t k = 0, length = 1;
        while (k < sizeof tex / sizeof *tex && (strlen(tex[k].from) > n || strncmp(words, tex[k].from, strlen(tex[k].from))))
            k++;
        if (k < sizeof tex / sizeof *tex) {
            length = strlen(tex[k].from);
            text_add(out, "%s", tex[k].to);
        } else
            text_add(out, "%.1s", words);
        words += length;
        n -= length;
    }
}

/* A number at a tic, which gnuplot sets as a formula: $0.2$, $10^{3}$. */
static bool is_tic(const char *words, size_t n)
{
    return n > 2 && words[0] == '$' && words[n - 1] == '$' && strspn(words + 1, "0123456789+-.e^{}") == n - 2;
}

static void add_words(text *out, const char *words, size_t n)
{
    if (is_tic(words, n))
        text_add(out, "%.*s", (int)n, words);
    else
        add_escaped(out, words, n);
}

void plot_tikz_escape(const char *tikz, double inches, text *out)
{
    static const char node[] = "\\node[", at[] = " at (", open[] = ") {", end[] = "};";
    static const char begin_picture[] = "\\begin{tikzpicture}", end_picture[] = "\\end{tikzpicture}";
    for (const char *line = tikz; *line;) {
        const size_t length = strcspn(line, "\n");
        const char *stop = line + length - strlen(end), *place = strstr(line, at), *words = place ? strstr(place, open) : NULL;
        const bool text_line = length > strlen(node) + strlen(end) && !strncmp(line, node, strlen(node)) &&
                               !strncmp(stop, end, strlen(end)) && words && words + strlen(open) <= stop;
        if (inches > 0 && !strncmp(line, begin_picture, strlen(begin_picture)))
            text_add(out, "\\resizebox{%.4gin}{!}{\\gpbasems1pt%%\n", inches);      /* marks that are still seen */
        if (text_line) {
            words += strlen(open);
            text_add(out, "%.*s", (int)(words - line), line);
            add_words(out, words, (size_t)(stop - words));
            text_add(out, "%s", end);
        } else
            text_add(out, "%.*s", (int)length, line);
        if (inches > 0 && !strncmp(line, end_picture, strlen(end_picture)))
            text_add(out, "}%%");
        line += length;
        if (*line) {
            text_add(out, "\n");
            line++;
        }
    }
}

/* One line: a text, the lines of the picture put under them, or what stays as it is. */
static void add_line(text *out, const char *line, size_t length, const char *graphics, double inches)
{
    static const char begin_picture[] = "\\begin{picture}", end_picture[] = "\\end{picture}%";
    static const char strut[] = "\\strut{}", rotated[] = "\\rotatebox", include[] = "\\includegraphics[width=", picture[] = "]{";
    char *copy = strndup(line, length);
    if (!copy) {
        out->failed = true;
        return;
    }
    const char *first = copy + strspn(copy, " ");
    const bool put = !strncmp(first, "\\put(", 5);
    const char *words = put ? strstr(copy, strut) : NULL, *art = put ? strstr(copy, include) : NULL;
    const char *end = words && strstr(copy, rotated) && strstr(copy, rotated) < words ? "}}}%" : "}}%";
    if (words && length >= strlen(end) && !strcmp(copy + length - strlen(end), end)) {
        words += strlen(strut);
        text_add(out, "%.*s", (int)(words - copy), copy);
        add_words(out, words, (size_t)(copy + length - strlen(end) - words));
        text_add(out, "%s", end);
    } else if (art && strstr(art, picture))
        text_add(out, "%.*s%s%s}}%%", (int)(strstr(art, picture) - copy), copy, picture, graphics);
    else if (inches > 0 && !strncmp(first, begin_picture, strlen(begin_picture)))
        text_add(out, "\\resizebox{%.4gin}{!}{%s", inches, first);
    else if (inches > 0 && !strcmp(first, end_picture))
        text_add(out, "%s\n  }%%", copy);
    else
        text_add(out, "%s", copy);
    free(copy);
}

void plot_cairolatex_escape(const char *tex_picture, const char *graphics, double inches, text *out)
{
    for (const char *line = tex_picture; *line;) {
        const size_t length = strcspn(line, "\n");
        add_line(out, line, length, graphics, inches);
        line += length;
        if (*line) {
            text_add(out, "\n");
            line++;
        }
    }
}
