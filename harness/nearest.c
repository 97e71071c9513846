/* nearest.c - finds a plug-in by its name, and the known name that a misspelt one was meant to be.
 * In a file of its own because the library needs it and should need nothing else of the harness. */
#include "harness/util.h"

#include <string.h>

enum { LONGEST = 63 };         /* names beyond it are not compared */

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that make a into b. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned rows[3][LONGEST + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = before[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        unsigned *free_row = before;
        before = last, last = row, row = free_row;
    }
    return last[nb];
}

const char *nearest_name(const char *name, const char *const *names)
{
    const char *nearest = NULL;
    size_t length = strlen(name);
    if (length > LONGEST)
        return NULL;
    unsigned best = (unsigned)length / 3 + 2;      /* about a third of the letters, and one more, may be wrong */
    for (; *names; names++) {
        size_t n = strlen(*names);
        if (n > LONGEST)
            continue;
        unsigned d = length >= 2 && !strncmp(*names, name, length) ? 1 : distance(name, length, *names, n);
        if (d < best)
            best = d, nearest = *names;
    }
    return nearest;
}

/* The first member of every plug-in's struct is its name, and a pointer to a struct is one to its first member. */
static const char *name_of(const void *plugin) { return *(const char *const *)plugin; }

const void *plugin_find(const void *plugins, const char *kind, const char *name, kvant_error *err)
{
    enum { NAMES = 256 };
    const char *names[NAMES + 1];
    size_t n = 0;
    for (const char *at = plugins; n < NAMES; at += sizeof(const void *), n++) {
        const void *plugin;
        memcpy(&plugin, at, sizeof plugin);    /* the array's own type is known to the caller only */
        if (!plugin)
            break;
        if (!strcmp(name_of(plugin), name))
            return plugin;
        names[n] = name_of(plugin);
    }
    names[n] = NULL;
    const char *nearest = nearest_name(name, names);
    if (nearest)
        kvant_fail(err, KVANT_INVALID, "%s '%.64s' is unknown, did you mean '%s'?", kind, name, nearest);
    else
        kvant_fail(err, KVANT_INVALID, "%s '%.64s' is unknown; `kvant --help` and `kvant list` name those there are", kind, name);
    return NULL;
}
