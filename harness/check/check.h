/* check.h - holds a quantizer to what it must satisfy: gates that no method may fail, and the values that its own table states.
 * Used by `kvant check` and by `kvant run`, which stores nothing of a quantizer whose checks did not pass for its code version. */
#ifndef KVANT_CHECK_H
#define KVANT_CHECK_H

#include "harness/store/store.h"

typedef struct {
    const char *target;            /* ops to check: "scalar" or a kernel's target, as in kvant_codec */
    bool quick;                    /* fewer vectors, and no dimension above 128 */
    void (*row)(void *user, const store_check *row);       /* called per finished check; the strings live for the call */
    void *user;
} check_options;

/* Runs all checks and sets *passed: at least one passed and none failed. Rows of gates are named "bytes", "state", "range",
 * "score", "mix", "finite", "nmse" and "monotone", one per dimension, over all bits and choices, and show the worst; "rotation",
 * "sketch" and "orthogonal", one for each matrix that states hold, over seeds; rows of the quantizer's table are named "oracle". A
 * shape that the quantizer or the kernel does not take is a row "shape" with verdict "skip". Failing checks are rows, not errors:
 * another status than KVANT_OK means that checking itself could not go on.
 * Needs the dataset `synthetic`. Results do not depend on the number of threads. */
kvant_status check_run(const kvant_quantizer *quantizer, const check_options *options, bool *passed, kvant_error *err);

/* What checks are stored under: a hash of every source and setting that codes and their decoding depend on. Empty, which no store
 * knows, when memory ran out. */
void check_code_version(const kvant_quantizer *quantizer, const char *target, char hex[SHA256_HEX]);

#endif
