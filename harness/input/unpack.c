/* unpack.c - takes one member out of a package or an archive.
 * The member is hashed while it is written, so what is renamed into place is what was verified. */
#include "harness/input/fetch.h"
#include "harness/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

enum { PIECE = 1 << 16 };

typedef struct { const char *archive, *member, *sha256, *target; uint64_t bytes; } wanted;

/* A tar within an ar: the inner archive reads from the outer one's current member. */
typedef struct { struct archive *outer; char piece[PIECE]; } nested;

static la_ssize_t read_nested(struct archive *inner, void *user, const void **piece)
{
    nested *n = user;
    la_ssize_t got = archive_read_data(n->outer, n->piece, sizeof n->piece);
    if (got < 0)
        archive_set_error(inner, archive_errno(n->outer), "%s", archive_error_string(n->outer));
    *piece = n->piece;
    return got;
}

static kvant_status archive_fail(struct archive *a, const wanted *w, kvant_error *err)
{
    const char *why = archive_error_string(a);
    return kvant_fail(err, archive_errno(a) == ENOMEM ? KVANT_NOMEM : KVANT_IO, "%s: cannot unpack: %s", w->archive,
                      why ? why : "not an archive that is known");
}

/* The filters that packages use. Not "all": some of libarchive's start other programs. */
static struct archive *new_reader(void)
{
    struct archive *a = archive_read_new();
    if (a && (archive_read_support_filter_gzip(a) < ARCHIVE_WARN || archive_read_support_filter_xz(a) < ARCHIVE_WARN
              || archive_read_support_filter_zstd(a) < ARCHIVE_WARN || archive_read_support_filter_bzip2(a) < ARCHIVE_WARN
              || archive_read_support_format_tar(a) || archive_read_support_format_zip(a) || archive_read_support_format_ar(a))) {
        archive_read_free(a);
        a = NULL;
    }
    return a;
}

static kvant_status copy(struct archive *a, const wanted *w, sha256 *hash, FILE *out, kvant_error *err)
{
    char *piece = malloc(PIECE);
    if (!piece)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to unpack it", w->archive);
    uint64_t bytes = 0;
    kvant_status status = KVANT_OK;
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, PIECE);
        if (n < 0)
            status = archive_fail(a, w, err);
        else if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted while unpacking", w->archive);
        else if ((uint64_t)n > w->bytes - bytes)
            status = kvant_fail(err, KVANT_INVALID, "%s: %s is larger than the %llu bytes of the manifest", w->archive, w->member,
                                (unsigned long long)w->bytes);
        else if (n > 0 && fwrite(piece, 1, (size_t)n, out) != (size_t)n)
            status = file_fail(err, w->target, "cannot write");
        if (status || n == 0)
            break;
        sha256_add(hash, piece, (size_t)n);
        bytes += (uint64_t)n;
    }
    if (!status && bytes != w->bytes)
        status = kvant_fail(err, KVANT_INVALID, "%s: %s has %llu bytes; the manifest says %llu", w->archive, w->member,
                            (unsigned long long)bytes, (unsigned long long)w->bytes);
    free(piece);
    return status;
}

static kvant_status extract(struct archive *a, struct archive_entry *entry, const wanted *w, kvant_error *err)
{
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
        return kvant_fail(err, KVANT_INVALID, "%s: %s is not a regular file", w->archive, w->member);
    file_new out;
    char hex[SHA256_HEX];
    kvant_status status = file_new_open(&out, w->target, err);
    if (status)
        return status;
    sha256 *hash = sha256_begin();
    if (!hash)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to hash it", w->target);
    else {
        status = copy(a, w, hash, out.stream, err);
        sha256_end(hash, hex);
        if (!status && strcmp(hex, w->sha256))
            status = kvant_fail(err, KVANT_INVALID, "%s: %s has sha256 %s; the manifest says %s", w->archive, w->member, hex,
                                w->sha256);
    }
    if (status) {
        file_new_discard(&out);
        return status;
    }
    return file_new_commit(&out, err);
}

/* A Debian package is an ar that holds data.tar.xz (or .zst, .gz). */
static bool is_package_data(struct archive *a, const char *name)
{
    return (archive_format(a) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_AR && !strncmp(name, "data.tar", 8);
}

static kvant_status search(struct archive *a, const wanted *w, bool *found, kvant_error *err);

static kvant_status search_within(struct archive *outer, const wanted *w, bool *found, kvant_error *err)
{
    nested *n = malloc(sizeof *n);
    struct archive *inner = n ? new_reader() : NULL;
    kvant_status status;
    if (!inner)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to unpack it", w->archive);
    else {
        n->outer = outer;
        status = archive_read_open(inner, n, NULL, read_nested, NULL) ? archive_fail(inner, w, err) : search(inner, w, found, err);
    }
    if (inner)
        archive_read_free(inner);
    free(n);
    return status;
}

static kvant_status search(struct archive *a, const wanted *w, bool *found, kvant_error *err)
{
    struct archive_entry *entry;
    while (!*found) {
        int code = archive_read_next_header(a, &entry);
        if (code == ARCHIVE_EOF)
            return KVANT_OK;
        if (code < ARCHIVE_WARN)
            return archive_fail(a, w, err);
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted while unpacking", w->archive);
        const char *name = archive_entry_pathname(entry);
        if (!name)
            continue;
        kvant_status status = KVANT_OK;
        if (!strcmp(strncmp(name, "./", 2) ? name : name + 2, w->member)) {
            *found = true;
            status = extract(a, entry, w, err);
        } else if (is_package_data(a, name))
            status = search_within(a, w, found, err);
        if (status)
            return status;
    }
    return KVANT_OK;
}

kvant_status unpack_member(const char *archive, const char *member, uint64_t bytes, const char *sha256_wanted, const char *target,
                           kvant_error *err)
{
    const wanted w = { .archive = archive, .member = member, .sha256 = sha256_wanted, .target = target, .bytes = bytes };
    struct archive *a = new_reader();
    if (!a)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to unpack it", archive);
    bool found = false;
    kvant_status status = archive_read_open_filename(a, archive, PIECE) ? archive_fail(a, &w, err) : search(a, &w, &found, err);
    archive_read_free(a);
    if (!status && !found)
        status = kvant_fail(err, KVANT_INVALID, "%s: no member %s in it", archive, member);
    return status;
}
