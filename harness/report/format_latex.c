/* format_latex.c - reports for papers: booktabs rules, siunitx columns that line up at the point, the best within error in bold.
 * Whatever a name holds is escaped, characters that pdflatex does not know are written as their code: what comes out compiles. */
#include "harness/report/format.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Characters across of a table, at most; what does not fit goes into another one with the first column again. Wider text wraps. */
enum { ACROSS = 104, WRAP = 36 };

/* ---- Text --------------------------------------------------------------------------------------------------------------- */

/* What is no character of LaTeX's own fonts, or would be read as a command, a ligature or an option. */
static const struct { const char *from, *to; } escapes[] = {
    { "\\", "\\textbackslash{}" }, { "{", "\\{" }, { "}", "\\}" }, { "$", "\\$" }, { "&", "\\&" }, { "#", "\\#" }, { "_", "\\_" },
    { "%", "\\%" }, { "^", "\\textasciicircum{}" }, { "~", "\\textasciitilde{}" }, { "<", "\\textless{}" }, { ">", "\\textgreater{}" },
    { "|", "\\textbar{}" }, { "\"", "\\textquotedbl{}" }, { "'", "\\textquotesingle{}" }, { "`", "\\textasciigrave{}" },
    { "[", "{[}" }, { "]", "{]}" }, { "*", "{*}" }, { "-", "-{}" }, { "±", "$\\pm$" }, { "×", "$\\times$" }, { "α", "$\\alpha$" },
    { "β", "$\\beta$" },
    { "λ", "$\\lambda$" }, { "μ", "$\\mu$" }, { "ρ", "$\\rho$" }, { "σ", "$\\sigma$" }, { "Δ", "$\\Delta$" },
    { "≤", "$\\leq$" },
    { "≥", "$\\geq$" }, { "→", "$\\rightarrow$" }, { "−", "$-$" }, { "–", "--" }, { "…", "\\dots{}" },
    { "”", "\\textquotedbl{}" },
};

/* ASCII, and letters with accents that the T1 fonts have. */
static bool is_known(unsigned code)
{
    static const unsigned others[] = { 0xa7, 0x152, 0x153, 0x160, 0x161, 0x17d, 0x17e };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (code == others[i])
            return true;
    return code < 0x80 ? code >= ' ' && code != 0x7f : code >= 0xc0 && code <= 0xff && code != 0xd7 && code != 0xf7;
}

static void latex_text(text *out, const char *words)
{
    unsigned code;
    for (const char *c = words; *c; c += utf8_character(c, &code)) {
        const size_t bytes = utf8_character(c, &code);
        const char *to = NULL;
        for (size_t i = 0; i < sizeof escapes / sizeof *escapes && !to; i++)
            if (strlen(escapes[i].from) == bytes && !memcmp(escapes[i].from, c, bytes))
                to = escapes[i].to;
        if (to)
            text_add(out, "%s", to);
        else if (is_known(code))
            text_add(out, "%.*s", (int)bytes, c);
        else if (code < ' ' || code == 0x7f)
            text_add(out, "?");
        else
            text_add(out, "\\texttt{U+%04X}", code);
    }
}

/* Text of numbers: signs are minus signs, and intervals do not break. */
static void latex_numbers(text *out, const char *words)
{
    for (const char *c = words; *c; c++) {
        if ((*c == '-' || *c == '+') && isdigit((unsigned char)c[1]) && (c == words || !isalnum((unsigned char)c[-1])))
            text_add(out, "$%c$", *c);
        else if (*c == ' ')
            text_add(out, "~");
        else {
            unsigned code;
            char one[8] = "";
            const size_t bytes = utf8_character(c, &code);
            memcpy(one, c, bytes);
            latex_text(out, one);
            c += bytes - 1;
        }
    }
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------------ */

/* What siunitx sets by itself: a number, or a number and its error, "22.50 ± 0.68". */
typedef struct {
    bool sign;
    int whole, decimals, exponent;         /* digits before and behind the point, and of a power of ten */
    int error;                             /* digits of the error, in units of the number's last place; 0: none */
} number;

static const char *digits(const char *c, int *n)
{
    for (*n = 0; isdigit((unsigned char)*c); c++)
        ++*n;
    return c;
}

static bool parse_number(const char *words, number *out)
{
    *out = (number){ .sign = *words == '-' || *words == '+' };
    const char *c = digits(words + out->sign, &out->whole);
    if (!out->whole)
        return false;
    if (*c == '.')
        c = digits(c + 1, &out->decimals);
    if (*c == 'e' && (c[1] == '-' || c[1] == '+') && isdigit((unsigned char)c[2]))
        c = digits(c + 2, &out->exponent);
    if (!*c)
        return true;
    static const char plus_minus[] = " ± ";
    int whole, decimals = 0;
    if (out->exponent || strncmp(c, plus_minus, strlen(plus_minus)))
        return false;
    const char *error = c + strlen(plus_minus);
    c = digits(error, &whole);
    if (*c == '.')
        c = digits(c + 1, &decimals);
    error += strspn(error, "0.");
    for (; *error; error++)
        out->error += *error != '.';
    return !*c && whole && decimals == out->decimals && out->error > 0;
}

static int greater(int a, int b) { return a > b ? a : b; }

/* The room that a column needs; false where its cells are no numbers for siunitx, a few words aside. */
static bool survey(const table *t, size_t column, number *room)
{
    size_t numbers = 0, words = 0;
    *room = (number){ .sign = false };
    for (size_t i = t->n_columns + column; i < t->n_cells; i += t->n_columns) {
        number one;
        if (!parse_number(t->cells[i], &one)) {
            words += *t->cells[i] != '\0';
            continue;
        }
        numbers++;
        *room = (number){ room->sign || one.sign, greater(room->whole, one.whole), greater(room->decimals, one.decimals),
                          greater(room->exponent, one.exponent), greater(room->error, one.error) };
    }
    return numbers > words;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------- */

static size_t width_of(const char *s)
{
    size_t width = 0;
    for (; *s; s++)
        width += ((unsigned char)*s & 0xc0) != 0x80;
    return width;
}

static size_t column_width(const table *t, size_t column)
{
    size_t most = 0;
    for (size_t i = column; i < t->n_cells; i += t->n_columns)
        most = width_of(t->cells[i]) > most ? width_of(t->cells[i]) : most;
    return most;
}

static void add_column(const table *t, size_t column, text *out)
{
    number room;
    if (survey(t, column, &room)) {
        text_add(out, "S[table-format = %s%d.%d", room.sign ? "+" : "", room.whole, room.decimals);
        if (room.error)
            text_add(out, "(%d)", room.error);
        if (room.exponent)
            text_add(out, "e+%d", room.exponent);
        text_add(out, "]");
    } else if (table_is_numeric(t, column))
        text_add(out, "r");
    else if (column_width(t, column) > WRAP)
        text_add(out, "p{%.2f\\linewidth}", (double)WRAP / ACROSS);
    else
        text_add(out, "l");
}

/* A cell of a siunitx column is a number as it stands, or text in braces. */
static void add_cell(const table *t, size_t row, size_t column, text *out)
{
    const size_t at = row * t->n_columns + column;
    const char *cell = t->cells[at];
    number room, one = { .sign = false };
    const bool aligned = survey(t, column, &room);
    if (t->marks[at].best)
        text_add(out, "\\bfseries ");
    if (aligned && row && parse_number(cell, &one)) {
        const char *error = strstr(cell, " ± ");
        text_add(out, "%.*s", error ? (int)(error - cell) : (int)strlen(cell), cell);
        if (error)
            text_add(out, " \\pm %s", error + strlen(" ± "));
        return;
    }
    text_add(out, aligned ? "{" : "");
    if (row && table_is_numeric(t, column))
        latex_numbers(out, cell);
    else
        latex_text(out, cell);
    text_add(out, aligned ? "}" : "");
}

/* Column 0 and columns first ... end - 1. */
static void add_part(const table *t, size_t first, size_t end, text *out)
{
    const size_t rows = t->n_cells / t->n_columns;
    text_add(out, "\\begin{longtable}{@{}");
    for (size_t column = 0; column < end; column = column ? column + 1 : first)
        add_column(t, column, out);
    text_add(out, "@{}}\n\\toprule\n");
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < end; column = column ? column + 1 : first) {
            text_add(out, column ? " & " : "");
            add_cell(t, row, column, out);
        }
        text_add(out, " \\\\\n%s", row ? "" : "\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n");
    }
    text_add(out, "\\end{longtable}\n");
}

static void write_table(const table *t, const report_options *options, text *out)
{
    (void)options;
    for (size_t first = 1; first < t->n_columns || first == 1;) {
        size_t used = column_width(t, 0), end = first;
        while (end < t->n_columns) {
            const size_t width = column_width(t, end), takes = 2 + (width > WRAP && !table_is_numeric(t, end) ? WRAP : width);
            if (end > first && used + takes > ACROSS)
                break;
            used += takes;
            end++;
        }
        add_part(t, first, end, out);
        first = end > first ? end : first + 1;
    }
}

/* ---- The document ------------------------------------------------------------------------------------------------------- */

static const char setup[] =
    "\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}\n\\usepackage{booktabs}\n"
    "\\usepackage{longtable}\n\\usepackage{siunitx}\n"
    "\\sisetup{separate-uncertainty = true, table-align-uncertainty = true, detect-weight = true, mode = text}\n";

static void begin(const char *title, const report_options *options, text *out)
{
    (void)title;
    text_add(out, "%% By kvant. Bold: the best among equal asked bits, and what is not told apart from it, paired by chunk, at\n"
                  "%% 95 %%; the reference does not compete.\n");
    if (options->whole) {
        text_add(out, "\\documentclass[a4paper,10pt]{article}\n\\usepackage[landscape,margin=15mm]{geometry}\n%s"
                      "\\setlength{\\parindent}{0pt}\n\\begin{document}\n\\footnotesize\n", setup);
        return;
    }
    text_add(out, "%% Put it into a document by \\input; that needs in the preamble:\n");
    for (const char *c = setup; *c; c += strcspn(c, "\n") + 1)
        text_add(out, "%%   %.*s\n", (int)strcspn(c, "\n"), c);
}

static void end(const cJSON *report, const report_options *options, text *out)
{
    (void)report;
    if (options->whole)
        text_add(out, "\\end{document}\n");
}

static void heading(int level, const char *words, text *out)
{
    text_add(out, "\n\\%ssection*{", level > 1 ? "sub" : "");
    latex_text(out, words);
    text_add(out, "}\n");
}

static void line(const char *words, text *out)
{
    latex_text(out, words);
    text_add(out, "\n\n");
}

static void note(const char *words, text *out)
{
    text_add(out, "\\noindent{\\footnotesize ");
    latex_text(out, words);
    text_add(out, "\\par}\n");
}

static kvant_status prepare(store *s, cJSON *report, const report_options *options, kvant_error *err)
{
    (void)options;
    return report_best(s, report, err);
}

static const report_pen pen = { .begin = begin, .heading = heading, .line = line, .note = note, .table = write_table, .end = end };

const report_kind format_latex = {
    .name = "latex", .summary = "tables for papers, with booktabs and siunitx", .pen = &pen, .prepare = prepare,
};
