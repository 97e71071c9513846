/* package.c - gets a package by the machine's own manager: pip for PyPI, apt-get for Debian.
 * They know mirrors, proxies and signatures; nothing is installed and nothing of the package is run. */
#include "harness/input/fetch.h"
#include "harness/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- What the child wrote ------------------------------------------------------------------ */

/* The child's talk comes by a pipe and is forgotten but for one line, the one that says most: the last that speaks of an error
 * and does not just announce a traceback, else the last. A log on disk would fail together with a full disk. */
typedef struct { char line[512], words[512]; size_t n; bool error; } listener;

static void end_line(listener *l)
{
    l->line[l->n] = '\0';
    bool announces = l->n && l->line[l->n - 1] == ':';
    bool error = !announces && (!strncmp(l->line, "ERROR", 5) || !strncmp(l->line, "E: ", 3));
    if (l->line[strspn(l->line, " ")] && (error || !l->error)) {
        memcpy(l->words, l->line, l->n + 1);
        l->error = error;
    }
    l->n = 0;
}

/* Takes what is there now; the pipe does not block. */
static void hear(listener *l, int pipe)
{
    char piece[4096];
    for (ssize_t n; (n = read(pipe, piece, sizeof piece)) > 0;)
        for (ssize_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)piece[i];
            if (c == '\n' || c == '\r')
                end_line(l);
            else if (l->n < sizeof l->line - 1)
                l->line[l->n++] = c < ' ' || c == 127 ? ' ' : (char)c;
        }
}

/* Bytes of the largest file below a folder, for progress: pip copies what it has downloaded. Looked at while another process
 * works there, so anything may vanish. */
static uint64_t largest_below(const char *folder, int depth)
{
    DIR *d = depth ? opendir(folder) : NULL;
    uint64_t largest = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat there;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(dirfd(d), e->d_name, &there, AT_SYMLINK_NOFOLLOW))
            continue;
        char path[4096];
        uint64_t bytes = S_ISREG(there.st_mode) ? (uint64_t)there.st_size : 0;
        if (S_ISDIR(there.st_mode) && (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path)
            bytes = largest_below(path, depth - 1);
        if (bytes > largest)
            largest = bytes;
    }
    if (d)
        closedir(d);
    return largest;
}

/* ---- The child ----------------------------------------------------------------------------- */

/* The environment with TMPDIR set to `folder`: what a killed manager leaves is cleared away with it. Freed by the caller:
 * the array, and [0]. */
static char **environment(const char *folder)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **all = calloc(n + 2, sizeof *all);
    char *tmp = all ? text_format("TMPDIR=%s", folder) : NULL;
    if (!tmp) {
        free(all);
        return NULL;
    }
    size_t k = 0;
    all[k++] = tmp;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7))
            all[k++] = environ[i];
    return all;
}

/* Waits for the child and tells how much has come; a user who breaks off ends the child, too. */
static int wait_for(pid_t child, int pipe, listener *l, const char *folder, uint64_t bytes, fetch_talk *t)
{
    const struct timespec moment = { .tv_nsec = 50 * 1000 * 1000 };
    double asked = 0;
    int code = 0;
    for (;;) {
        pid_t ended = waitpid(child, &code, WNOHANG);
        hear(l, pipe);
        if (ended == child)
            return code;
        if (ended < 0 && errno != EINTR)
            return -1;
        if (interrupted() && !(asked > 0)) {
            asked = seconds_now();
            kill(child, SIGTERM);
        } else if (asked > 0 && seconds_now() - asked > 3)
            kill(child, SIGKILL);
        else if (seconds_now() - t->last > 2)
            talk_progress(t, "downloading", largest_below(folder, 8), bytes);
        nanosleep(&moment, NULL);
    }
}

static kvant_status run(const char *const *command, const char *folder, const char *work, uint64_t bytes, fetch_talk *t,
                        kvant_error *err)
{
    char **env = environment(folder);
    listener l = { .n = 0 };
    int ends[2] = { -1, -1 };
    kvant_status status = KVANT_OK;
    pid_t child;
    int code = !env ? ENOMEM : pipe2(ends, O_CLOEXEC) || fcntl(ends[0], F_SETFL, O_NONBLOCK) ? errno
             : process_start(command, work, ends[1], env, &child);
    if (code == ENOENT)
        status = kvant_fail(err, KVANT_IO, "%s: %s is not on this machine; install it", t->name, command[0]);
    else if (code)
        status = kvant_fail(err, KVANT_IO, "%s: cannot start %s: %s", t->name, command[0], strerror(code));
    else {
        code = wait_for(child, ends[0], &l, folder, bytes, t);
        end_line(&l);
        if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted", t->name);
        else if (code < 0 || !WIFEXITED(code) || WEXITSTATUS(code))
            status = kvant_fail(err, KVANT_IO, "%s: %s failed: %s", t->name, command[0], *l.words ? l.words : "it gave no reason");
    }
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    if (env)
        free(env[0]);
    free(env);
    return status;
}

/* ---- The package --------------------------------------------------------------------------- */

/* The one file that the manager left in the folder. */
static bool only_file(const char *folder, char path[4096])
{
    DIR *d = opendir(folder);
    int found = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat there;
        if (fstatat(dirfd(d), e->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(there.st_mode)
            && (size_t)snprintf(path, 4096, "%s/%s", folder, e->d_name) < 4096)
            found++;
    }
    if (d)
        closedir(d);
    return found == 1;
}

kvant_status package_get(const manifest_source *source, const char *folder, char path[4096], fetch_talk *t, kvant_error *err)
{
    /* Wheels only: a source package would be run to learn what is in it. */
    const char *const pip[] = { "python3", "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-deps",
                                "--only-binary=:all:", "--dest", ".", "--", source->where, NULL };
    const char *const apt[] = { "apt-get", "download", "-q", "--", source->where, NULL };
    bool by_pip = source->kind == SOURCE_PYPI;
    char *work = text_format("%s/package", folder);
    kvant_status status = work ? make_folders(work, false, err) : kvant_fail(err, KVANT_NOMEM, "%s: no memory", t->name);
    kvant_error why;
    if (!status) {
        talk(t, "%s %s", by_pip ? "python3 -m pip download" : "apt-get download", source->where);
        status = run(by_pip ? pip : apt, folder, work, source->bytes, t, &why);
        if (status == KVANT_INTERRUPTED)
            kvant_fail(err, status, "%s", why.text);
        else if (status)
            kvant_fail(err, status, "%s%s", why.text,
                       by_pip ? "" : "; package lists that are missing or old are renewed by `apt-get update` as root");
        else if (!only_file(work, path))
            status = kvant_fail(err, KVANT_IO, "%s: %s left no package", t->name, by_pip ? pip[0] : apt[0]);
    }
    free(work);
    return status;
}
