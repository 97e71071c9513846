/* process.h - signals that ask this program to stop, and programs that it starts. */
#ifndef KVANT_PROCESS_H
#define KVANT_PROCESS_H

#include "harness/kvant.h"

#include <sys/types.h>

/* Has SIGINT or SIGTERM asked to stop? Long loops look at it and return KVANT_INTERRUPTED. Set from interrupt_install on. A second
 * signal kills if it comes half a second later or more (what comes sooner is taken for the same request: timeout(1) sends two). */
bool interrupted(void);
/* To be called before any thread is started. */
kvant_status interrupt_install(kvant_error *err);

/* Starts a program (searched in PATH; NULL-terminated arguments) with nothing to read, with its output and errors going to `out`, in
 * `folder` (NULL: here), with signals as a program expects them. env: NULL for this one's. Returns 0, or an errno: ENOENT is that
 * there is no such program. */
int process_start(const char *const *command, const char *folder, int out, char *const *env, pid_t *child);

#endif
