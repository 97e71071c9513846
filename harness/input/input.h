/* input.h - models, texts and vectors by name: the manifest, where files lie, and how they are fetched.
 * Anything with a '/' is a path; a name is looked up in datasets/manifest.json, and is a file's only when it is not there. */
#ifndef KVANT_INPUT_H
#define KVANT_INPUT_H

#include "harness/kvant.h"
#include "harness/util.h"

typedef struct {
    char name[64];                 /* the manifest's name, or the file's base name */
    char kind[16];                 /* "model", "text", "vectors" */
    char dataset[32];              /* plug-in that reads it; empty for models */
    char path[4096];
    char sha256[SHA256_HEX];       /* of the file as it lies there, verified against the manifest */
    char licence[64];
    uint64_t bytes;
} kvant_input;

/* Finds an input on this machine: the folders of KVANT_DATA first (four levels deep, by name, size and hash), then the cache, then
 * installed packages. Hashes it; the hash of a file whose path, size, times and inode are unchanged is remembered in the cache.
 * KVANT_INVALID when unknown (with the nearest name) or not fetched yet (with the command that does it), or when the file is not
 * the one the manifest names. */
kvant_status input_find(const char *name, kvant_input *input, kvant_error *err);

/* Fetches a manifest entry into the cache, verified, by a temporary name and rename. Says what it does through `say`
 * (one line each, no newline). Returns KVANT_OK at once when it lies there already. */
kvant_status input_fetch(const char *name, void (*say)(void *user, const char *line), void *user, kvant_error *err);

/* Manifest entries in order, for lists. Texts live as long as the call; terms: a URL, or "". */
typedef struct {
    const char *name, *kind, *about, *licence, *terms;
    uint64_t bytes;
    bool here;
} input_entry;
kvant_status input_list(void (*each)(void *user, const input_entry *entry), void *user, kvant_error *err);

/* Settings that main reads from the environment once (this file does not): folders of KVANT_DATA separated by ':' (may be
 * NULL), the cache folder, and the path of datasets/manifest.json. The strings must stay alive. */
void input_settings(const char *data_folders, const char *cache_folder, const char *manifest_path);

#endif
