/* bundle_files.c - walks folders without following links. */
#include "harness/bundle/bundle_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void bundle_list_free(bundle_list *list)
{
    for (size_t i = 0; list && i < list->n; i++)
        free(list->path[i]);
    free(list);
}

static kvant_status add_entry(const FTSENT *e, size_t skip, bundle_list *list, kvant_error *err)
{
    switch (e->fts_info) {
    case FTS_D: case FTS_DP:
        return KVANT_OK;
    case FTS_F:
        break;
    case FTS_DNR: case FTS_ERR: case FTS_NS:
        return kvant_fail(err, KVANT_IO, "%s: %s", e->fts_path, strerror(e->fts_errno));
    default:
        return kvant_fail(err, KVANT_INVALID, "%s: is a link or no file; a bundle has files and folders alone", e->fts_path);
    }
    if (list->n == BUNDLE_FILES)
        return kvant_fail(err, KVANT_INVALID, "%s: more than %d files, the most that a bundle has", e->fts_path, BUNDLE_FILES);
    list->path[list->n] = strdup(e->fts_path + skip);
    return list->path[list->n] ? (list->n++, KVANT_OK) : kvant_fail(err, KVANT_NOMEM, "out of memory");
}

kvant_status bundle_files(const char *folder, bundle_list **out, kvant_error *err)
{
    char *copy = strdup(folder), *roots[] = { copy, NULL };
    bundle_list *list = calloc(1, sizeof *list);
    *out = NULL;
    size_t length = strlen(folder);
    while (copy && length > 1 && copy[length - 1] == '/')
        copy[--length] = '\0';
    FTS *fts = copy && list ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    kvant_status status = fts ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "%s: no memory to list it", folder);
    errno = 0;
    for (FTSENT *e; !status && (e = fts_read(fts)); errno = 0)
        status = add_entry(e, length + 1, list, err);
    if (!status && errno)
        status = file_fail(err, folder, "cannot be listed");
    if (fts)
        fts_close(fts);
    free(copy);
    if (status) {
        bundle_list_free(list);
        return status;
    }
    qsort(list->path, list->n, sizeof *list->path, by_text);
    *out = list;
    return KVANT_OK;
}

bool bundle_empty(const char *folder)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return d && n <= 2;            /* "." and ".." */
}

kvant_status bundle_sync(const char *path, kvant_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool ok = fd >= 0 && fsync(fd) == 0;
    const kvant_status status = ok ? KVANT_OK : file_fail(err, path, "cannot be made durable");
    if (fd >= 0)
        close(fd);
    return status;
}

void bundle_remove(const char *folder)
{
    char *copy = strdup(folder), *roots[] = { copy, NULL };
    FTS *fts = copy ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    for (FTSENT *e; fts && (e = fts_read(fts));) {
        if (e->fts_info == FTS_DP)
            rmdir(e->fts_accpath);
        else if (e->fts_info != FTS_D)
            unlink(e->fts_accpath);
    }
    if (fts)
        fts_close(fts);
    free(copy);
}
