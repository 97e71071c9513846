/* fetch.h - the parts of fetching an input: look at this machine, download, run a package manager, unpack.
 * Used by input.c and fetch.c; everybody else goes by input.h. */
#ifndef KVANT_FETCH_H
#define KVANT_FETCH_H

#include "harness/input/input.h"
#include "harness/input/manifest.h"

/* Who is told how it goes. talk adds "NAME: " before the line; talk_progress says "verb 12 of 98 MB" at most every two seconds. */
typedef struct {
    const char *name;
    void (*say)(void *user, const char *line);
    void *user;
    double last;                   /* when progress was last told */
} fetch_talk;
void talk(fetch_talk *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void talk_progress(fetch_talk *t, const char *verb, uint64_t done, uint64_t all);

/* ---- input.c ---- */

/* The settings of input_settings; NULL where there is none. */
const char *input_cache_folder(void);
kvant_status input_manifest(manifest *m, kvant_error *err);
/* Looks for an entry in the folders of KVANT_DATA, in the cache and among installed packages; without `verify` by name and size
 * alone (input->sha256 is then what the manifest says). KVANT_INVALID: not here, and why. */
kvant_status input_look(const manifest_entry *entry, bool verify, kvant_input *input, kvant_error *err);

/* ---- download.c ---- */

/* Downloads to `part`, going on where an earlier call ended, until it holds `bytes` bytes that hash to `sha256`. What arrived
 * stays there when the line or the user breaks off; a file that is whole and wrong is removed. */
kvant_status download(const char *url, const char *part, uint64_t bytes, const char *sha256_wanted, fetch_talk *t, kvant_error *err);

/* ---- package.c ---- */

/* Gets a package by its manager (pip or apt-get) into `folder`, which is there and empty; path receives where it lies. The
 * manager's own temporary files stay under `folder`, too. */
kvant_status package_get(const manifest_source *source, const char *folder, char path[4096], fetch_talk *t, kvant_error *err);

/* ---- unpack.c ---- */

/* Writes a member of an archive (zip, wheel, tar, .deb: a tar within an ar) to `target`, whole or not at all, if it is a
 * regular file of `bytes` bytes that hash to `sha256`. */
kvant_status unpack_member(const char *archive, const char *member, uint64_t bytes, const char *sha256_wanted, const char *target,
                           kvant_error *err);

#endif
