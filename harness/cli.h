/* cli.h - the command line: one table per command, from which parsing, --help, man page and completions come.
 * harness/commands/NAME.c holds one command each, registered from the directory listing. Only main.c and the command files
 * print, read the environment or decide an exit status. */
#ifndef KVANT_CLI_H
#define KVANT_CLI_H

#include "harness/kvant.h"
#include "harness/util.h"

enum { EXIT_DONE = 0, EXIT_CHECK = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* A long option. argument NULL: a flag; "A B": it takes two values, which cli_get_nth counts. `repeat`: may be given several times.
 * The table ends with a NULL name. --help is understood by every command and stands in no table. */
typedef struct { const char *name, *argument, *help; bool repeat; } cli_option;

typedef struct cli cli;

typedef struct {
    const char *name;              /* "run" */
    const char *arguments;         /* "SPEC", "FILE.gguf", "NAME..." or "" */
    int min_args, max_args;        /* max_args -1: any number */
    const char *summary;           /* one line */
    const char *details;           /* paragraphs for --help and the man page; may be NULL */
    const char *example;           /* one command line, with what it does as a comment line before it */
    const cli_option *options;
    int (*run)(const cli *c);      /* returns the exit status */
} cli_command;

const cli_command *const *cli_commands(void);       /* NULL-terminated, sorted by name */

int cli_n_args(const cli *c);
const char *cli_arg(const cli *c, int index);                       /* NULL beyond the last */
const char *cli_get(const cli *c, const char *option);              /* last value given, "" for a flag, NULL: not given */
const char *cli_get_nth(const cli *c, const char *option, int n);   /* n-th value of a repeated option; NULL beyond */
/* The option as an integer in min...max; `fallback` when not given. On bad text says so on stderr and returns false. */
bool cli_get_int(const cli *c, const char *option, long long min, long long max, long long fallback, long long *value);
const char *cli_line(const cli *c);                                 /* the whole command line, for the record */

/* "kvant VERB: text" on stderr; returns the exit status that belongs to the status (SKIP and INVALID: 2, INTERRUPTED: 130). */
int cli_fail(const cli *c, kvant_status status, const kvant_error *err);
int cli_usage(const cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));   /* the same, with a hint to --help */

/* Path of a file that comes with the program ("plots", "datasets/manifest.json"): in the source tree that the program
 * was built in, else in ../share/kvant beside the folder of the installed program. The string lives as long as the program;
 * NULL when it is not there. */
const char *cli_share(const char *relative);

/* Flushes stdout and checks it: a full disk or a closed pipe must not end in status 0. Returns `status`, or 2 when it failed. */
int cli_finish(int status);

/* ---- For main.c and the help command ----------------------------------------------------------- */

/* A command by its name; NULL: err names the nearest known one. */
const cli_command *cli_find(const char *name, kvant_error *err);

/* Parses argv[2...] for a command, argv[0] and argv[1] being the program and the command's name. KVANT_INVALID says in one
 * line what is wrong. argv must outlive *c, which cli_close frees (NULL is allowed). */
kvant_status cli_open(const cli_command *command, int argc, char **argv, cli **c, kvant_error *err);
void cli_close(cli *c);

/* Says what cli_open refused, with a hint to --help; returns EXIT_USAGE. */
int cli_reject(const cli_command *command, const kvant_error *err);

/* True when --help or -h stands among the command's options. */
bool cli_wants_help(int argc, char **argv);

void cli_help(const cli_command *command, text *out);      /* what `kvant COMMAND --help` prints */
/* Variables of the environment that the program reads; ends with a NULL name. */
typedef struct { const char *name, *help; } cli_variable;
const cli_variable *cli_environment(void);
void cli_overview(text *out);                              /* what `kvant --help` prints */

/* The folder that cli_share looks in instead of searching for one; NULL: search. The string must stay alive. */
void cli_share_folder(const char *folder);

#endif
