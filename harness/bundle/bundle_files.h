/* bundle_files.h - folders as a bundle needs them: listed, made durable, removed. For the bundle's own files. */
#ifndef KVANT_BUNDLE_FILES_H
#define KVANT_BUNDLE_FILES_H

#include "harness/util.h"

enum { BUNDLE_FILES = 4096 };      /* the most that a bundle has */

/* Paths of everything below the folder that is no folder, relative to it, sorted. KVANT_INVALID: a link, a device, too many. */
typedef struct { char *path[BUNDLE_FILES]; size_t n; } bundle_list;
kvant_status bundle_files(const char *folder, bundle_list **list, kvant_error *err);
void bundle_list_free(bundle_list *list);      /* NULL is allowed */

bool bundle_empty(const char *folder);         /* a folder that can be read, with nothing in it */
kvant_status bundle_sync(const char *path, kvant_error *err);          /* a file or a folder */
void bundle_remove(const char *folder);        /* with all that is in it */

#endif
