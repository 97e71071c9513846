/* prose.h - what the tests of fetching share: a text of known bytes, and the state of the cache in which it belongs.
 * A program that includes it fills the text first: fill_prose is its group's setup. */
#ifndef KVANT_TESTS_PROSE_H
#define KVANT_TESTS_PROSE_H

#include "tests/inputs.h"

#include <sys/wait.h>

enum { BYTES = 300000 };
static char prose[BYTES];

static inline int fill_prose(void **state)
{
    (void)state;
    uint32_t r = 7;
    for (int i = 0; i < BYTES; i++) {
        r = r * 1664525u + 1013904223u;
        prose[i] = (char)('a' + (r >> 24) % 26);
    }
    return 0;
}

/* The house's cache folder of "prose" holds just the lock and, if `there`, the right file. */
static inline void expect_clean(const house *h, bool there)
{
    char *folder = in_folder(h->cache, "inputs/prose"), *file = in_folder(folder, "prose.txt");
    assert_int_equal(count_files(folder), there ? 2 : 1);
    if (there)
        expect_content(file, prose, BYTES);
    free(file);
    free(folder);
}

/* What a broken transfer left, and the name it left it under. */
static inline char *left_over(house *h, const void *data, size_t bytes)
{
    return house_file(h, "cache/inputs/prose/prose.txt.part", data, bytes);
}

/* The exit status of a child that ended by itself. */
static inline int wait_for(pid_t child)
{
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    return WEXITSTATUS(code);
}

#endif
