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
                ".SH SYNOPSIS\n.B kvant\n.I COMMAND\n[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\nKvant measures "
                "vector quantizers, above all those for the\nKV cache of language models:\nexperiments are JSON files, results one "
                "SQLite store.\n"
                ".SH COMMANDS\n", kvant_version());
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
    text_add(t, ".SH ENVIRONMENT\n");
    for (const cli_variable *v = cli_environment(); v->name; v++)
        text_add(t, ".TP\n.B %s\n%s\n", v->name, v->help);
    text_add(t, ".SH EXIT STATUS\n0 done, 1 a check or expectation failed,\n2 usage or input error, 130 interrupted.\n");
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

/* A word inside '...' of a shell, where `special` characters need a backslash of their own. */
static void add_quoted(text *t, const char *words, const char *special)
{
    for (const char *p = words; *p; p++)
        if (*p == '\'')
            text_add(t, "'\\''");
        else
            text_add(t, strchr(special, *p) ? "\\%c" : "%c", *p);
}

/* What zsh completes a value by: files, folders, or nothing that it could know. */
static const char *zsh_action(const char *argument)
{
    static const char *const folders[] = { "DIR", "FOLDER" }, *const files[] = { "FILE", "PATH", "STORE", "SPEC", "BEFORE", "MODEL",
                                                                      "." };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!strcmp(argument, folders[i]))
            return "_files -/";
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strstr(argument, files[i]))
            return "_files";
    return " ";
}

static void zsh_value(text *t, const char *argument, size_t length)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), argument);
    text_add(t, ":");
    add_quoted(t, name, ":\\");
    text_add(t, ":%s", zsh_action(name));
}

static void zsh_option(text *t, const char *name, const char *argument, const char *help, bool repeat)
{
    const char *second = argument ? strchr(argument, ' ') : NULL;
    text_add(t, " \\\n            '%s--%s%s[", repeat ? "*" : "", name, argument && !second ? "=" : "");
    add_quoted(t, help, "[]:\\");
    text_add(t, "]");
    if (argument)
        zsh_value(t, argument, second ? (size_t)(second - argument) : strlen(argument));
    if (second)
        zsh_value(t, second + 1, strlen(second + 1));
    text_add(t, "'");
}

static void zsh_completions(text *t)
{
    text_add(t, "#compdef kvant\n\n_kvant()\n{\n    local -a commands\n    commands=(\n");
    for (const cli_command *const *c = cli_commands(); *c; c++) {
        text_add(t, "        '%s:", (*c)->name);
        add_quoted(t, (*c)->summary, ":\\");
        text_add(t, "'\n");
    }
    text_add(t, "    )\n    if (( CURRENT == 2 )); then\n        _describe -t commands 'kvant command' commands\n        return\n"
                "    fi\n"
                "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n");
    for (const cli_command *const *c = cli_commands(); *c; c++) {
        text_add(t, "    %s)\n        _arguments", (*c)->name);
        zsh_option(t, "help", NULL, "explain the command", false);
        for (const cli_option *o = (*c)->options; o && o->name; o++)
            zsh_option(t, o->name, o->argument, o->help, o->repeat);
        if (*(*c)->arguments) {
            text_add(t, " \\\n            '*:");
            add_quoted(t, (*c)->arguments, ":\\");
            text_add(t, !strcmp((*c)->arguments, "[COMMAND]") ? ":{_describe -t commands command commands}'" : ":%s'",
                     zsh_action((*c)->arguments));
        }
        text_add(t, "\n        ;;\n");
    }
    text_add(t, "    esac\n}\n\n_kvant \"$@\"\n");
}

static int run(const cli *c)
{
    const char *shell = cli_get(c, "completions");
    if (shell && strcmp(shell, "bash") && strcmp(shell, "zsh"))
        return cli_usage(c, "--completions %.40s: must be bash or zsh", shell);
    kvant_error err = { 0 };
    text t = { 0 };
    if (cli_get(c, "man")) {
        man_page(&t);
    } else if (shell) {
        (strcmp(shell, "zsh") ? bash_completions : zsh_completions)(&t);
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
    { .name = "completions", .argument = "SHELL", .help = "completions for bash, to be sourced, or for zsh, as _kvant in a folder of "
                                                          "its fpath" },
    { 0 }
};

const cli_command command_help = {
    .name = "help", .arguments = "[COMMAND]", .min_args = 0, .max_args = 1,
    .summary = "explain a command, or list them",
    .example = "# the options of `kvant run`\nkvant help run",
    .options = options, .run = run
};
