/* cli.c - the command line: finds the command, parses its options by its table, and words every complaint.
 * One complaint is one line on stderr, control characters taken out, because file names and file contents end up in it. */
#include "harness/cli.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { const cli_option *option; const char *value; } given_option;

struct cli {
    const cli_command *command;
    const char **args;             /* [n_args] */
    given_option *given;           /* [n_given], in the order of the command line */
    int n_args, n_given;
    char *line;
};

/* ---- Finding things by name --------------------------------------------------------------------- */

const cli_command *cli_find(const char *name, kvant_error *err) { return plugin_find(cli_commands(), "command", name, err); }

static const cli_option *find_option(const cli_command *command, const char *name, size_t length)
{
    for (const cli_option *o = command->options; o && o->name; o++)
        if (strlen(o->name) == length && !memcmp(o->name, name, length))
            return o;
    return NULL;
}

static kvant_status unknown_option(const cli_command *command, const char *arg, kvant_error *err)
{
    size_t length = strcspn(arg, "="), n = 0;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), arg);
    for (const cli_option *o = command->options; o && o->name; o++)
        n++;
    const char **names = calloc(n + 2, sizeof *names);
    if (!names)
        return kvant_fail(err, KVANT_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        names[i] = command->options[i].name;
    names[n] = "help";
    const char *near = nearest_name(name + strspn(name, "-"), names);
    kvant_status status = near
        ? kvant_fail(err, KVANT_INVALID, "unknown option '%s': did you mean '--%s'?", name, near)
        : kvant_fail(err, KVANT_INVALID, "unknown option '%s'", name);
    free(names);
    return status;
}

/* ---- Parsing ------------------------------------------------------------------------------------ */

bool cli_wants_help(int argc, char **argv)
{
    for (int i = 2; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    return false;
}

/* The next word as a value of the option. */
static kvant_status take_value(cli *c, const cli_option *option, int argc, char **argv, int *i, const char **value, kvant_error *err)
{
    if (*i + 1 >= argc || !strcmp(argv[*i + 1], "--"))
        return strchr(option->argument, ' ')
            ? kvant_fail(err, KVANT_INVALID, "--%s needs two values: --%s %s", option->name, option->name, option->argument)
            : kvant_fail(err, KVANT_INVALID, "--%s needs a value: --%s=%s", option->name, option->name, option->argument);
    *value = argv[++*i];
    /* An option's name as a value is far more often a forgotten value. */
    if (!strncmp(*value, "--", 2) && find_option(c->command, *value + 2, strcspn(*value + 2, "=")))
        return kvant_fail(err, KVANT_INVALID, "--%s needs a value, and '%.100s' is an option: write --%s=VALUE if it is meant",
                          option->name, *value, option->name);
    return KVANT_OK;
}

/* Takes the option at argv[*i] and, where it wants any, its values. */
static kvant_status take_option(cli *c, int argc, char **argv, int *i, kvant_error *err)
{
    const char *arg = argv[*i];
    if (strncmp(arg, "--", 2))
        return unknown_option(c->command, arg, err);
    size_t length = strcspn(arg + 2, "=");
    const cli_option *option = find_option(c->command, arg + 2, length);
    if (!option)
        return unknown_option(c->command, arg, err);
    if (!option->repeat && cli_get(c, option->name))
        return kvant_fail(err, KVANT_INVALID, "--%s is given twice", option->name);
    const char *value = arg[2 + length] ? arg + 2 + length + 1 : NULL;
    if (!option->argument) {
        if (value)
            return kvant_fail(err, KVANT_INVALID, "--%s takes no value", option->name);
        value = "";
    } else if (!value) {
        kvant_status status = take_value(c, option, argc, argv, i, &value, err);
        if (status)
            return status;
    }
    c->given[c->n_given++] = (given_option){ option, value };
    if (!option->argument || !strchr(option->argument, ' '))
        return KVANT_OK;
    kvant_status status = take_value(c, option, argc, argv, i, &value, err);
    if (!status)
        c->given[c->n_given++] = (given_option){ option, value };
    return status;
}

/* Appends a word as a shell would have to read it. */
static void add_word(text *t, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,%@^";
    if (*word && !word[strspn(word, plain)]) {
        text_add(t, " %s", word);
        return;
    }
    text_add(t, " '");
    for (const char *p = word; *p; p++)
        if (*p == '\'')
            text_add(t, "'\\''");
        else
            text_add(t, "%c", *p);
    text_add(t, "'");
}

kvant_status cli_open(const cli_command *command, int argc, char **argv, cli **out, kvant_error *err)
{
    *out = NULL;
    cli *c = calloc(1, sizeof *c);
    text line = { 0 };
    text_add(&line, "kvant");
    for (int i = 1; i < argc; i++)
        add_word(&line, argv[i]);
    kvant_status status = KVANT_OK;
    if (c) {
        c->command = command;
        c->line = line.data;
        c->args = calloc((size_t)argc, sizeof *c->args);
        c->given = calloc((size_t)argc, sizeof *c->given);
    }
    if (!c || line.failed || !c->args || !c->given) {
        if (!c)
            text_free(&line);
        status = kvant_fail(err, KVANT_NOMEM, "out of memory");
    }
    bool options = true;
    for (int i = 2; i < argc && !status; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            status = take_option(c, argc, argv, &i, err);
        else
            c->args[c->n_args++] = argv[i];
    }
    if (!status && c->n_args < command->min_args)
        status = kvant_fail(err, KVANT_INVALID, "missing argument: kvant %s %s", command->name, command->arguments);
    if (!status && command->max_args >= 0 && c->n_args > command->max_args)
        status = kvant_fail(err, KVANT_INVALID, "too many arguments, beginning with '%.100s': kvant %s%s%s",
                            c->args[command->max_args], command->name, *command->arguments ? " " : "", command->arguments);
    if (status) {
        cli_close(c);
        return status;
    }
    *out = c;
    return KVANT_OK;
}

void cli_close(cli *c)
{
    if (!c)
        return;
    free(c->args);
    free(c->given);
    free(c->line);
    free(c);
}

/* ---- What was given ----------------------------------------------------------------------------- */

int cli_n_args(const cli *c) { return c->n_args; }

const char *cli_arg(const cli *c, int index) { return index >= 0 && index < c->n_args ? c->args[index] : NULL; }

const char *cli_line(const cli *c) { return c->line; }

const char *cli_get_nth(const cli *c, const char *option, int n)
{
    assert(find_option(c->command, option, strlen(option)));
    for (int i = 0; i < c->n_given; i++)
        if (!strcmp(c->given[i].option->name, option) && n-- == 0)
            return c->given[i].value;
    return NULL;
}

const char *cli_get(const cli *c, const char *option)
{
    const char *last = NULL;
    for (int n = 0; ; n++) {
        const char *value = cli_get_nth(c, option, n);
        if (!value)
            return last;
        last = value;
    }
}

bool cli_get_int(const cli *c, const char *option, long long min, long long max, long long fallback, long long *value)
{
    const char *string = cli_get(c, option);
    *value = fallback;
    if (!string)
        return true;
    char *end;
    errno = 0;
    long long number = strtoll(string, &end, 10);
    if (errno || end == string || *end || number < min || number > max) {
        cli_usage(c, "--%s %.100s: expected a whole number from %lld to %lld", option, string, min, max);
        return false;
    }
    *value = number;
    return true;
}

/* ---- Complaints --------------------------------------------------------------------------------- */

static void complain(const char *command, const char *message, const char *hint)
{
    char line[1536];
    snprintf(line, sizeof line, "kvant%s%s: %s%s", command ? " " : "", command ? command : "", message, hint);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    fflush(stdout);
    fprintf(stderr, "%s\n", line);
}

int cli_fail(const cli *c, kvant_status status, const kvant_error *err)
{
    complain(c ? c->command->name : NULL, err->text, "");
    switch (status) {
    case KVANT_OK: return EXIT_DONE;
    case KVANT_FAILED: return EXIT_CHECK;
    case KVANT_INTERRUPTED: return EXIT_INTERRUPTED;
    case KVANT_SKIP: case KVANT_INVALID: case KVANT_NOMEM: case KVANT_IO: break;
    }
    return EXIT_USAGE;
}

int cli_reject(const cli_command *command, const kvant_error *err)
{
    char hint[128];
    snprintf(hint, sizeof hint, " (see `kvant %s --help`)", command->name);
    complain(command->name, err->text, hint);
    return EXIT_USAGE;
}

int cli_usage(const cli *c, const char *format, ...)
{
    kvant_error err;
    va_list args;
    va_start(args, format);
    vsnprintf(err.text, sizeof err.text, format, args);
    va_end(args);
    return cli_reject(c->command, &err);
}

int cli_finish(int status)
{
    static bool said;
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return status;
    int reason = errno;
    /* A reader that has seen enough (`| head`) needs no message; its end of the pipe being closed shows as POLLERR. */
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    bool closed = reason == EPIPE || (poll(&out, 1, 0) == 1 && (out.revents & POLLERR));
    if (!closed && !said)
        complain(NULL, "stdout: ", reason ? strerror(reason) : "could not be written");
    said = true;
    return status ? status : EXIT_USAGE;
}

/* ---- Files that come with the program ------------------------------------------------------------ */

static const char *share_folder;

void cli_share_folder(const char *folder) { share_folder = folder && *folder ? folder : NULL; }

static bool exists_under(const char *folder, const char *relative)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", folder, relative);
    return length > 0 && (size_t)length < sizeof path && !access(path, R_OK);
}

/* The source tree that the program was built in (build/MODE/tests/NAME lies deepest), else ../share/kvant beside the
 * installed program's folder. */
static const char *find_share_folder(void)
{
    static char folder[PATH_MAX];
    char path[PATH_MAX - 32];
    if (share_folder)
        return share_folder;
    if (*folder)
        return folder;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    for (int level = 0; level < 4; level++) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            break;
        *slash = 0;
        if (exists_under(path, "datasets/manifest.json") && exists_under(path, "harness/store/schema.sql")) {
            snprintf(folder, sizeof folder, "%s", path);
            break;
        }
        if (level == 0)
            snprintf(folder, sizeof folder, "%s/../share/kvant", path);
    }
    return folder;
}

const char *cli_share(const char *relative)
{
    typedef struct known { struct known *next; char *path; } known;
    static known *all;
    const char *folder = find_share_folder();
    if (!exists_under(folder, relative))
        return NULL;
    char *path = text_format("%s/%s", folder, relative);
    if (!path)
        return NULL;
    for (known *k = all; k; k = k->next)
        if (!strcmp(k->path, path)) {
            free(path);
            return k->path;
        }
    known *k = malloc(sizeof *k);
    if (!k) {
        free(path);
        return NULL;
    }
    *k = (known){ all, path };
    all = k;
    return path;
}
