/* store_internal.h - what the files of the store share, and nobody else needs.
 * Opening another store beside an open one must follow the same rules as opening it alone. */
#ifndef KVANT_STORE_INTERNAL_H
#define KVANT_STORE_INTERNAL_H

#include "harness/store/store.h"

enum { STORE_STATEMENTS = 28 };

struct store {
    sqlite3 *db;
    char *path;
    bool immutable;                /* opened as a file that nobody writes: its folder takes no -shm file */
    sqlite3_stmt *prepared[STORE_STATEMENTS];     /* by store.c's sql_id; NULL until first used */
};

/* "PATH: what: SQLite's message; remedy" for the error that the connection holds; returns KVANT_IO. */
kvant_status store_fail(store *s, const char *what, kvant_error *err);

/* The file as a URI for SQLite, mode "ro", "rw" or "rwc"; freed by the caller, NULL when out of memory. */
char *store_uri(const char *path, const char *mode, bool immutable);

#endif
