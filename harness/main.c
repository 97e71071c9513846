/* main.c - the program: reads the environment, prepares the process, and hands over to one command.
 * Nothing else in the tree reads the environment or decides how a process reacts to signals and lost descriptors. */
#include "harness/cli.h"
#include "harness/input/input.h"
#include "harness/process.h"

#include <fcntl.h>
#include <gsl/gsl_errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A closed stdin, stdout or stderr would give its number to the next file that is opened, say the store. Writing to the
 * stand-in for a closed stdout fails, as it should. */
static bool hold_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

/* $XDG_CACHE_HOME/kvant, else ~/.cache/kvant; owned by the caller, NULL when out of memory. */
static char *cache_folder(void)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    if (cache && *cache == '/')                    /* the specification wants relative paths ignored */
        return text_format("%s/kvant", cache);
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *user = getpwuid(getuid());
        home = user && user->pw_dir ? user->pw_dir : ".";
    }
    return text_format("%s/.cache/kvant", home);
}

static int print_text(text *t, FILE *where)
{
    if (t->failed)
        fputs("kvant: out of memory\n", stderr);
    else
        fputs(t->data, where);
    int status = t->failed ? EXIT_USAGE : EXIT_DONE;
    text_free(t);
    return status;
}

static int overview(FILE *where)
{
    text t = { 0 };
    cli_overview(&t);
    return print_text(&t, where);
}

static int run_command(const char *name, int argc, char **argv)
{
    kvant_error err = { 0 };
    const cli_command *command = cli_find(name, &err);
    if (!command)
        return cli_fail(NULL, KVANT_INVALID, &err);
    if (cli_wants_help(argc, argv)) {
        text t = { 0 };
        cli_help(command, &t);
        return print_text(&t, stdout);
    }
    cli *c;
    if (cli_open(command, argc, argv, &c, &err))
        return cli_reject(command, &err);
    int code = command->run(c);
    cli_close(c);
    return code;
}

int main(int argc, char **argv)
{
    if (!hold_descriptors())
        return EXIT_USAGE;
    signal(SIGPIPE, SIG_IGN);                      /* writes then fail, and whoever wrote says so */
    kvant_error err;
    if (interrupt_install(&err)) {
        fprintf(stderr, "kvant: %s\n", err.text);
        return EXIT_USAGE;
    }
    gsl_set_error_handler_off();                   /* every GSL status is checked where it is returned */
    cli_share_folder(getenv("KVANT_SHARE"));
    char *cache = cache_folder();
    if (!cache) {
        fputs("kvant: out of memory\n", stderr);
        return EXIT_USAGE;
    }
    input_settings(getenv("KVANT_DATA"), cache, cli_share("datasets/manifest.json"));

    int status;
    if (argc < 2) {
        overview(stderr);
        status = EXIT_USAGE;
    } else if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        status = overview(stdout);
    } else {
        status = run_command(strcmp(argv[1], "--version") ? argv[1] : "version", argc, argv);
    }
    status = cli_finish(status);
    free(cache);
    return status;
}
