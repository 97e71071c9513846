/* cli_help.c - help texts from the commands' tables: the overview, and one page per command.
 * Paragraphs are filled anew; lines that an author indented stay lines of their own. */
#include "harness/cli.h"

#include <string.h>

enum { WIDTH = 92 };

/* Where the paragraph or the indented line at `line` ends: at a blank line, an indented line, or the end. */
static const char *end_of_paragraph(const char *line)
{
    const char *end = line + strcspn(line, "\n");
    while (*line != ' ' && *line != '\n' && *end && end[1] && end[1] != '\n' && end[1] != ' ')
        end += 1 + strcspn(end + 1, "\n");
    return end;
}

/* Appends `string` in lines indented by `indent` beside what it is indented by itself; the first starts at `column`. */
static void add_wrapped(text *out, const char *string, int indent, int column)
{
    for (const char *p = string; *p; ) {
        const char *end = end_of_paragraph(p);
        const int start = indent + (int)strspn(p, " ");
        bool fresh = true;
        while (p += strspn(p, " \n"), p < end) {
            const int word = (int)strcspn(p, " \n");
            if (!fresh && column + 1 + word > WIDTH) {
                text_add(out, "\n");
                column = 0;
                fresh = true;
            }
            const int gap = fresh ? start - column : 1;
            text_add(out, "%*s%.*s", gap > 0 ? gap : 0, "", word, p);
            column += (gap > 0 ? gap : 0) + word;
            fresh = false;
            p += word;
        }
        text_add(out, "\n");
        column = 0;
        p = *end ? end + 1 : end;
    }
}

static void add_option(text *out, const char *name, const char *argument, const char *help)
{
    enum { COLUMN = 26 };
    char head[128];
    int length = snprintf(head, sizeof head, "  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
    if (length < 0 || length >= (int)sizeof head)
        length = (int)sizeof head - 1;
    text_add(out, "%s", head);
    if (length + 2 > COLUMN) {
        text_add(out, "\n");
        length = 0;
    }
    add_wrapped(out, help, COLUMN, length);
}

void cli_help(const cli_command *command, text *out)
{
    bool options = command->options && command->options->name;
    text_add(out, "kvant %s%s%s%s\n", command->name, options ? " [OPTION...]" : "", *command->arguments ? " " : "",
             command->arguments);
    add_wrapped(out, command->summary, 2, 0);
    if (command->details) {
        text_add(out, "\n");
        add_wrapped(out, command->details, 0, 0);
    }
    text_add(out, "\nOptions:\n");
    for (const cli_option *o = command->options; o && o->name; o++)
        add_option(out, o->name, o->argument, o->help);
    add_option(out, "help", NULL, "this text");
    text_add(out, "\nExample:\n");
    for (const char *line = command->example; *line; ) {
        size_t length = strcspn(line, "\n");
        text_add(out, "  %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

const cli_variable *cli_environment(void)
{
    static const cli_variable variables[] = {
        { "KVANT_DATA", "folders searched for inputs before the cache, separated by ':'" },
        { "XDG_CACHE_HOME", "fetched inputs are kept in its folder kvant (default: ~/.cache)" },
        { "KVANT_SHARE", "folder of the files that come with the program" },
        { NULL, NULL },
    };
    return variables;
}

void cli_overview(text *out)
{
    text_add(out, "kvant COMMAND [OPTION...] [ARGUMENT...]\n"
                  "  A benchmark harness for vector quantizers, above all those for the KV cache of language models.\n\nCommands:\n");
    for (const cli_command *const *c = cli_commands(); *c; c++) {
        int length = 2 + (int)strlen((*c)->name);
        text_add(out, "  %s", (*c)->name);
        add_wrapped(out, (*c)->summary, 16, length);
    }
    text_add(out, "\n`kvant COMMAND --help` explains a command and shows an example.\n"
                  "\nEnvironment:\n");
    for (const cli_variable *v = cli_environment(); v->name; v++)
        text_add(out, "  %-14s  %s\n", v->name, v->help);
    text_add(out, "\nExit status: 0 done, 1 a check or expectation failed, 2 usage or input error, 130 interrupted.\n");
}
