/* input.c - finds models, texts and vectors on this machine, by the manifest's name or by path, and knows their hashes.
 * Hashing a large model takes longer than planning a sweep, so the hash of a file that has not changed is remembered. */
#include "harness/input/dataset.h"
#include "harness/input/fetch.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { FOLDER_DEPTH = 4 };         /* how deep KVANT_DATA's folders are searched */

static struct { const char *data_folders, *cache_folder, *manifest_path; } settings;

void input_settings(const char *data_folders, const char *cache_folder, const char *manifest_path)
{
    settings.data_folders = data_folders;
    settings.cache_folder = cache_folder;
    settings.manifest_path = manifest_path;
}

const char *input_cache_folder(void) { return settings.cache_folder && *settings.cache_folder ? settings.cache_folder : NULL; }

kvant_status input_manifest(manifest *m, kvant_error *err)
{
    *m = (manifest){ 0 };
    if (!settings.manifest_path)
        return kvant_fail(err, KVANT_IO, "datasets/manifest.json: not found beside the program; reinstall kvant");
    return manifest_read(settings.manifest_path, m, err);
}

/* ---- Hashes remembered --------------------------------------------------------------------- */

/* What a file is recognised by. Times to the nanosecond, change of inode included: writing a file, or putting another in its
 * place, changes one of these. */
static char *stamp_of(const char *path, const struct stat *s)
{
    char *real = realpath(path, NULL);
    char *stamp = real ? text_format("%llu %lld.%09ld %lld.%09ld %llu:%llu %s\n", (unsigned long long)s->st_size,
                                     (long long)s->st_mtim.tv_sec, s->st_mtim.tv_nsec, (long long)s->st_ctim.tv_sec,
                                     s->st_ctim.tv_nsec, (unsigned long long)s->st_dev, (unsigned long long)s->st_ino, real)
                       : NULL;
    free(real);
    return stamp;
}

/* The note on a path: CACHE/hashes/HASH-OF-PATH, holding the file's hash and stamp. NULL without a cache or memory. */
static char *note_of(const char *path)
{
    char hex[SHA256_HEX], *real = input_cache_folder() ? realpath(path, NULL) : NULL;
    if (!real)
        return NULL;
    sha256_of(real, strlen(real), hex);
    free(real);
    return hex[0] ? text_format("%s/hashes/%.32s", input_cache_folder(), hex) : NULL;
}

static bool recall(const char *note, const char *stamp, char hex[SHA256_HEX])
{
    char *noted;
    size_t bytes;
    if (!note || !stamp || file_read(note, &noted, &bytes, NULL))
        return false;
    bool valid = bytes > SHA256_HEX && strspn(noted, "0123456789abcdef") == SHA256_HEX - 1 && noted[SHA256_HEX - 1] == ' '
                 && !strcmp(noted + SHA256_HEX, stamp);
    if (valid)
        snprintf(hex, SHA256_HEX, "%.64s", noted);
    free(noted);
    return valid;
}

/* A cache that cannot be written is no error: the file is hashed again next time. */
static void remember(const char *note, const char *stamp, const char *hex)
{
    char *line = note && stamp && !make_folders(note, true, NULL) ? text_format("%s %s", hex, stamp) : NULL;
    if (line)
        (void)file_write(note, line, strlen(line), NULL);
    free(line);
}

/* A file system's clock may tick too slowly to tell two changes apart, so a file that has just changed is not remembered. */
static bool settled(const struct stat *s)
{
    time_t changed = s->st_mtim.tv_sec > s->st_ctim.tv_sec ? s->st_mtim.tv_sec : s->st_ctim.tv_sec;
    return time(NULL) - changed >= 2;
}

/* The hash of a regular file and its size. */
static kvant_status hash_of(const char *path, char hex[SHA256_HEX], uint64_t *bytes, kvant_error *err)
{
    struct stat before, after;
    if (stat(path, &before))
        return file_fail(err, path, "cannot open");
    if (!S_ISREG(before.st_mode))
        return kvant_fail(err, KVANT_INVALID, "%s: not a regular file", path);
    *bytes = (uint64_t)before.st_size;
    char *note = note_of(path), *stamp = stamp_of(path, &before);
    kvant_status status = KVANT_OK;
    if (!recall(note, stamp, hex)) {
        status = sha256_file(path, hex, err);
        if (!status && (stat(path, &after) || after.st_size != before.st_size || after.st_ino != before.st_ino
                        || after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
            status = kvant_fail(err, KVANT_IO, "%s: changed while it was read", path);
        if (!status && settled(&before))
            remember(note, stamp, hex);
    }
    free(stamp);
    free(note);
    return status;
}

/* ---- Looking for an entry ------------------------------------------------------------------ */

typedef struct {
    const manifest_entry *entry;
    bool verify;
    kvant_input *input;
    char *other;                   /* a file of the right name that is another, and why: for the message; may be NULL */
} search;

static void note_other(search *s, const char *path, const char *why)
{
    if (!s->other)
        s->other = text_format("; %s is another file (%s)", path, why);
}

/* Is the file at this path the entry's? Only an interrupt ends the search; whatever else is wrong with a file, the next may do. */
static kvant_status try_file(search *s, const char *path, bool *found, kvant_error *err)
{
    struct stat there;
    if (strlen(path) >= sizeof s->input->path || stat(path, &there) || !S_ISREG(there.st_mode))
        return KVANT_OK;
    if ((uint64_t)there.st_size != s->entry->bytes) {
        note_other(s, path, "its size differs");
        return KVANT_OK;
    }
    char hex[SHA256_HEX];
    uint64_t bytes;
    kvant_error why;
    if (s->verify) {
        kvant_status status = hash_of(path, hex, &bytes, &why);
        if (status == KVANT_INTERRUPTED)
            return kvant_fail(err, status, "%s", why.text);
        if (status || strcmp(hex, s->entry->sha256)) {
            note_other(s, path, status ? why.text : "its sha256 differs");
            return KVANT_OK;
        }
    }
    *found = true;
    snprintf(s->input->path, sizeof s->input->path, "%s", path);
    return KVANT_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int visible(const struct dirent *e) { return e->d_name[0] != '.'; }

/* The folder itself first, then its visible folders in alphabetical order, so that the same file is found every time. */
static kvant_status try_folder(search *s, const char *folder, int depth, bool *found, kvant_error *err)
{
    char *path = text_format("%s/%s", folder, s->entry->file);
    kvant_status status = path ? try_file(s, path, found, err) : kvant_fail(err, KVANT_NOMEM, "%s: no memory", s->entry->name);
    free(path);
    struct dirent **list = NULL;
    int n = depth && !*found && !status ? scandir(folder, &list, visible, by_name) : 0;
    for (int i = 0; i < n; i++) {
        bool may_be_folder = list[i]->d_type == DT_DIR || list[i]->d_type == DT_LNK || list[i]->d_type == DT_UNKNOWN;
        path = may_be_folder && !*found && !status ? text_format("%s/%s", folder, list[i]->d_name) : NULL;
        struct stat there;
        if (path && !stat(path, &there) && S_ISDIR(there.st_mode))
            status = try_folder(s, path, depth - 1, found, err);
        free(path);
        free(list[i]);
    }
    free(list);
    return status;
}

static kvant_status try_data_folders(search *s, bool *found, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (const char *p = settings.data_folders; p && *p && !*found && !status;) {
        size_t n = strcspn(p, ":");
        char *folder = n ? strndup(p, n) : NULL;
        if (folder)
            status = try_folder(s, folder, FOLDER_DEPTH, found, err);
        else if (n)
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory", s->entry->name);
        free(folder);
        p += n + (p[n] == ':');
    }
    return status;
}

/* A Debian package that is installed lies where its members say. */
static kvant_status try_installed(search *s, bool *found, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < s->entry->n_sources && !*found && !status; i++) {
        const manifest_source *source = &s->entry->sources[i];
        char *path = source->kind == SOURCE_APT ? text_format("/%s", source->member) : NULL;
        if (path)
            status = try_file(s, path, found, err);
        free(path);
    }
    return status;
}

static kvant_status not_here(const search *s, kvant_error *err)
{
    const manifest_entry *e = s->entry;
    const char *other = s->other ? s->other : "";
    bool fetchable = false;
    char size[16];
    for (size_t i = 0; i < e->n_sources; i++)
        fetchable = fetchable || e->sources[i].kind != SOURCE_FILE;
    bytes_text(e->bytes, size);
    if (fetchable)
        return kvant_fail(err, KVANT_INVALID, "%s: not on this machine; `kvant fetch %s` gets it (%s, %s), or put %s into a folder of "
                          "KVANT_DATA%s", e->name, e->name, size, e->licence, e->file, other);
    return kvant_fail(err, KVANT_INVALID, "%s: not on this machine; put %s (%s, %s) into a folder of KVANT_DATA%s", e->name, e->file,
                      size, e->licence, other);
}

kvant_status input_look(const manifest_entry *entry, bool verify, kvant_input *input, kvant_error *err)
{
    search s = { .entry = entry, .verify = verify, .input = input };
    bool found = false;
    *input = (kvant_input){ .bytes = entry->bytes };
    kvant_status status = try_data_folders(&s, &found, err);
    if (!status && !found && input_cache_folder()) {
        char *path = text_format("%s/inputs/%s/%s", input_cache_folder(), entry->name, entry->file);
        status = path ? try_file(&s, path, &found, err) : kvant_fail(err, KVANT_NOMEM, "%s: no memory", entry->name);
        free(path);
    }
    if (!status && !found)
        status = try_installed(&s, &found, err);
    if (!status && !found)
        status = not_here(&s, err);
    free(s.other);
    snprintf(input->name, sizeof input->name, "%s", entry->name);
    snprintf(input->kind, sizeof input->kind, "%s", entry->kind);
    snprintf(input->dataset, sizeof input->dataset, "%s", entry->dataset);
    snprintf(input->licence, sizeof input->licence, "%s", entry->licence);
    snprintf(input->sha256, sizeof input->sha256, "%s", entry->sha256);
    return status;
}

/* ---- Paths --------------------------------------------------------------------------------- */

/* A model is known by its suffix or by the first four bytes, data by the suffix. */
static bool is_model(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (dot && !strcasecmp(dot, ".gguf"))
        return true;
    char magic[4];
    FILE *f = fopen(path, "rbe");
    bool model = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    return model;
}

static kvant_status find_path(const char *path, kvant_input *input, kvant_error *err)
{
    *input = (kvant_input){ 0 };
    if (strlen(path) >= sizeof input->path)
        return kvant_fail(err, KVANT_INVALID, "%.100s...: the path is too long", path);
    kvant_status status = hash_of(path, input->sha256, &input->bytes, err);
    if (status)
        return status;
    if (is_model(path))
        snprintf(input->kind, sizeof input->kind, "model");
    else {
        const kvant_dataset *dataset = dataset_for_path(path, err);
        if (!dataset)
            return KVANT_INVALID;
        snprintf(input->kind, sizeof input->kind, "%s", dataset->kind);
        snprintf(input->dataset, sizeof input->dataset, "%s", dataset->name);
    }
    const char *slash = strrchr(path, '/');
    snprintf(input->name, sizeof input->name, "%.63s", slash ? slash + 1 : path);
    snprintf(input->path, sizeof input->path, "%s", path);
    return KVANT_OK;
}

kvant_status input_find(const char *name, kvant_input *input, kvant_error *err)
{
    struct stat there;
    manifest m;
    if (strchr(name, '/'))
        return find_path(name, input, err);
    kvant_status status = input_manifest(&m, err);
    if (status)
        return status;
    const manifest_entry *entry = manifest_find(&m, name);
    if (entry)
        status = input_look(entry, true, input, err);
    else if (!stat(name, &there))
        status = find_path(name, input, err);
    else
        status = manifest_unknown(&m, name, err);
    manifest_free(&m);
    return status;
}

kvant_status input_list(void (*each)(void *user, const input_entry *entry), void *user, kvant_error *err)
{
    manifest m;
    kvant_input input;
    kvant_status status = input_manifest(&m, err);
    for (size_t i = 0; i < m.n && !status; i++) {
        const manifest_entry *e = &m.entries[i];
        status = input_look(e, false, &input, err);
        if (status == KVANT_OK || status == KVANT_INVALID) {
            const input_entry entry = { e->name, e->kind, e->about, e->licence, e->terms, e->bytes, status == KVANT_OK };
            each(user, &entry);
            status = KVANT_OK;
        }
    }
    manifest_free(&m);
    return status;
}
