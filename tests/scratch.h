/* scratch.h - for tests that write files: a folder of their own, and the error's text when something should have worked.
 * Includes cmocka and what it needs. */
#ifndef KVANT_TESTS_SCRATCH_H
#define KVANT_TESTS_SCRATCH_H

#include "harness/util.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_ok(call) \
    do { \
        kvant_error error_ = { "" }; \
        kvant_error *err = &error_; \
        if ((call) != KVANT_OK) \
            fail_msg("%s: %s", #call, error_.text); \
    } while (0)

/* A new folder under $TMPDIR, removed by scratch_remove with the files in it. */
static inline char *scratch_make(void)
{
    const char *base = getenv("TMPDIR");
    char *folder = text_format("%s/kvant-test-XXXXXX", base && *base ? base : P_tmpdir);
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static inline void scratch_remove(char *folder)
{
    char *command = text_format("rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(folder);
}

static inline char *in_folder(const char *folder, const char *name)
{
    char *path = text_format("%s/%s", folder, name);
    assert_non_null(path);
    return path;
}

/* Expects a status and a text in the message. */
#define assert_fails(call, wanted, part) \
    do { \
        kvant_error error_ = { "" }; \
        kvant_error *err = &error_; \
        kvant_status status_ = (call); \
        if (status_ != (wanted) || !strstr(error_.text, (part))) \
            fail_msg("%s: status %d, not %d with '%s': %s", #call, (int)status_, (int)(wanted), (part), error_.text); \
    } while (0)

static inline void write_text(const char *path, const char *data)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fputs(data, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
}

static inline void write_bytes(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* Entries of a folder, hidden ones included. */
static inline size_t count_files(const char *folder)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

/* A test's set-up and tear-down: its state is the folder. */
static inline int make_scratch(void **state)
{
    *state = scratch_make();
    return 0;
}

static inline int drop_scratch(void **state)
{
    scratch_remove(*state);
    return 0;
}

#endif
