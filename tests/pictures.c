/* pictures.c - see pictures.h. */
#include "tests/pictures.h"

#include "tests/scratch.h"

void need_gnuplot(void)
{
    if (system("gnuplot --version > /dev/null 2>&1") != 0) {
        print_message("gnuplot is not installed\n");
        skip();
    }
}

char *svg_text(const char *path)
{
    char *svg, *to;
    size_t bytes;
    assert_ok(file_read(path, &svg, &bytes, err));
    assert_non_null(strstr(svg, "</svg>"));
    to = svg;
    for (const char *c = svg; *c; c++) {
        static const struct { const char *entity; char c; } entities[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' },
                                                                           { "&quot;", '"' }, { "&#39;", '\'' } };
        *to = *c;
        for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
            if (!strncmp(c, entities[i].entity, strlen(entities[i].entity))) {
                *to = entities[i].c;
                c += strlen(entities[i].entity) - 1;
                break;
            }
        to++;
    }
    *to = '\0';
    return svg;
}

void assert_says(const char *svg, const char *words)
{
    char *element = text_format(">%s<", words);       /* the whole of a text element, nothing more */
    if (!strstr(svg, element))
        fail_msg("no text \"%s\" in the picture", words);
    free(element);
}

void assert_says_all(const char *svg, const char *const *words)
{
    for (; *words; words++)
        assert_says(svg, *words);
}
