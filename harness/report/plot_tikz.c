/* plot_tikz.c - makes gnuplot's TikZ pictures fit for TeX: names of quantizers and units hold characters that TeX takes for commands.
 * gnuplot writes each text on a line of its own, \node[...] at (x,y) {TEXT}; and does not look into it. */
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

void plot_tikz_escape(const char *tikz, text *out)
{
    static const char node[] = "\\node[", at[] = "] at (", open[] = ") {", end[] = "};";
    for (const char *line = tikz; *line;) {
        const size_t length = strcspn(line, "\n");
        const char *stop = line + length - strlen(end), *place = strstr(line, at), *words = place ? strstr(place, open) : NULL;
        const bool text_line = length > strlen(node) + strlen(end) && !strncmp(line, node, strlen(node)) &&
                               !strncmp(stop, end, strlen(end)) && words && words + strlen(open) <= stop;
        if (text_line) {
            words += strlen(open);
            text_add(out, "%.*s", (int)(words - line), line);
            if (is_tic(words, (size_t)(stop - words)))
                text_add(out, "%.*s", (int)(stop - words), words);
            else
                add_escaped(out, words, (size_t)(stop - words));
            text_add(out, "%s", end);
        } else
            text_add(out, "%.*s", (int)length, line);
        line += length;
        if (*line) {
            text_add(out, "\n");
            line++;
        }
    }
}
