/* help.c - `kvant help`: a command's page, and the man page and shell completions made from the same tables. */
#include "harness/cli.h"

#include <string.h>

/* Text for troff: backslashes, hyphens that stay ASCII, and no line that begins with a control character. */
static void add_troff(text *t, const char *string)
{
    bool fresh = true;
    for (const char *p = string; *p; p++) {
        if (fresh && (*p == '.' || *p == '\''))
            text_add(t, "\\&");
        fresh = *p == '\n';
        if (*p == '\\')
            text_add(t, "\\e");
        else if (*p == '-')
            text_add(t, "\\-");
        else
            text_add(t, "%c", *p);
    }
}

static void man_page(text *t)
{
    text_add(t, ".TH KVANT 1 \"\" \"kvant %s\"\n.SH NAME\nkvant \\- benchmark harness for vector quantizers\n"
                ".SH SYNOPSIS\n.B kvant\n.I COMMAND\n[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n.SH COMMANDS\n", kvant_version());
    for (const cli_command *const *c = cli_commands(); *c; c++) {
        text page = { 0 };
        cli_help(*c, &page);
        text_add(t, ".SS %s\n.nf\n", (*c)->name);
        if (page.failed)
            t->failed = true;
        else
            add_troff(t, page.data);
        text_add(t, ".fi\n");
        text_free(&page);
    }
    text_add(t, ".SH EXIT STATUS\n0 done, 1 a check or expectation failed, 2 usage or input error, 130 interrupted.\n");
}

static void bash_completions(text *t)
{
    text_add(t, "_kvant()\n{\n    local words\n    case \"$COMP_CWORD:${COMP_WORDS[1]}\" in\n    1:*) words='");
    for (const cli_command *const *c = cli_commands(); *c; c++)
        text_add(t, "%s ", (*c)->name);
    text_add(t, "' ;;\n");
    for (const cli_command *const *c = cli_commands(); *c; c++) {
        text_add(t, "    *:%s) words='--help", (*c)->name);
        for (const cli_option *o = (*c)->options; o && o->name; o++)
            text_add(t, " --%s%s", o->name, o->argument ? "=" : "");
        text_add(t, "' ;;\n");
    }
    text_add(t, "    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n}\n"
                "complete -o default -o nospace -F _kvant kvant\n");
}

static int run(const cli *c)
{
    kvant_error err = { 0 };
    text t = { 0 };
    if (cli_get(c, "man")) {
        man_page(&t);
    } else if (cli_get(c, "completions")) {
        bash_completions(&t);
    } else if (cli_n_args(c)) {
        const cli_command *command = cli_find(cli_arg(c, 0), &err);
        if (!command)
            return cli_fail(c, KVANT_INVALID, &err);
        cli_help(command, &t);
    } else {
        cli_overview(&t);
    }
    if (t.failed) {
        text_free(&t);
        return cli_fail(c, kvant_fail(&err, KVANT_NOMEM, "out of memory"), &err);
    }
    fputs(t.data, stdout);
    text_free(&t);
    return EXIT_DONE;
}

static const cli_option options[] = {
    { .name = "man", .help = "the man page of all commands, for man -l" },
    { .name = "completions", .help = "completions for bash, to be sourced" },
    { 0 }
};

const cli_command command_help = {
    .name = "help", .arguments = "[COMMAND]", .min_args = 0, .max_args = 1,
    .summary = "explain a command, or list them",
    .example = "# the options of `kvant run`\nkvant help run",
    .options = options, .run = run
};
