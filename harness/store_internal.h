/* store_internal.h - what store.c and store_merge.c share, and nobody else needs.
 * Opening another store beside an open one must follow the same rules as opening it alone. */
#ifndef KVANT_STORE_INTERNAL_H
#define KVANT_STORE_INTERNAL_H

#include "harness/store.h"

/* "PATH: what: SQLite's message; remedy" for the error that the connection holds; returns KVANT_IO. */
kvant_status store_fail(store *s, const char *what, kvant_error *err);

/* The file as a URI for SQLite, mode "ro" or "rwc"; freed by the caller, NULL when out of memory. */
char *store_uri(const char *path, const char *mode, bool immutable);

/* True for a store opened in a folder that takes no -shm file, as a file that nobody writes. */
bool store_immutable(const store *s);

#endif
