/* process.c - signals that ask this program to stop, and programs that it starts.
 * No thread ever runs a handler: oneDNN's products keep an address of a buffer in the stack pointer, and what the kernel puts there for a
 * handler would overwrite the heap. All threads block these signals; one of its own waits for them. */
#include "harness/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static atomic_bool stop;

bool interrupted(void) { return atomic_load_explicit(&stop, memory_order_relaxed); }

static sigset_t stopping(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

/* The first signal asks; a later one kills: whoever waits in a library must not be locked out. */
static void *wait_for_signals(void *unused)
{
    sigset_t set = stopping();
    int number;
    sigwait(&set, &number);
    stop = true;
    nanosleep(&(struct timespec){ .tv_nsec = 500 * 1000 * 1000 }, NULL);
    while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
        ;                                      /* the same request once more */
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    for (;;)
        pause();
    return unused;
}

kvant_status interrupt_install(kvant_error *err)
{
    const sigset_t set = stopping();
    pthread_t waiting;
    signal(SIGINT, SIG_DFL);                   /* a shell may have them ignored */
    signal(SIGTERM, SIG_DFL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    const int code = pthread_create(&waiting, NULL, wait_for_signals, NULL);
    if (code)
        return kvant_fail(err, KVANT_NOMEM, "cannot start a thread that waits for signals: %s", strerror(code));
    pthread_detach(waiting);
    return KVANT_OK;
}

int process_start(const char *const *command, const char *folder, int out, char *const *env, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&files))
        return ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    /* This program ignores SIGPIPE and blocks others; what it starts must not inherit that. */
    sigset_t usual, none;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    int code = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (!code)
        code = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (!code)
        code = posix_spawn_file_actions_adddup2(&files, out, 2);
    if (!code && folder)
        code = posix_spawn_file_actions_addchdir_np(&files, folder);
    if (!code)
        code = posix_spawnattr_setsigdefault(&attributes, &usual);
    if (!code)
        code = posix_spawnattr_setsigmask(&attributes, &none);
    if (!code)
        code = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    /* execve takes writable strings by history, and does not write to them. */
    union { const char *const *in; char *const *out; } arguments = { .in = command };
    if (!code)
        code = posix_spawnp(child, command[0], &files, &attributes, arguments.out, env ? env : environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return code;
}
