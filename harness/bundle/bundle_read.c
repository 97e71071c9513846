/* bundle_read.c - verifies a bundle that came from anywhere, then merges its store.
 * The manifest is believed in nothing but hashes; a path in it must be one of the files that are really there. */
#include "harness/bundle/bundle.h"
#include "harness/bundle/bundle_files.h"
#include "harness/experiment/document.h"
#include "harness/report/report_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

typedef struct {
    const char *folder;
    document *manifest;
    const cJSON *files;
    char *temp, *copy;             /* a private folder, and in it the store */
    bundle_info *info;
    kvant_error *err;
} reader;

bool bundle_path_ok(const char *path)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.=,";
    if (strlen(path) > 500)
        return false;
    for (const char *part = path;; part++) {
        const size_t length = strspn(part, plain);
        if (!length || part[0] == '.' || (part[length] && part[length] != '/'))    /* no ".", "..", hidden files, empty parts */
            return false;
        part += length;
        if (!*part)
            return true;
    }
}

/* ---- The manifest ----------------------------------------------------------------------------------------------------------- */

static bool is_hash(const char *hex) { return strlen(hex) == SHA256_HEX - 1 && strspn(hex, "0123456789abcdef") == SHA256_HEX - 1; }

static const cJSON *file_of(const reader *r, const char *path)
{
    const cJSON *file;
    cJSON_ArrayForEach(file, r->files)
        if (!strcmp(member_text(file, "path"), path))
            return file;
    return NULL;
}

static kvant_status check_file_row(const reader *r, const cJSON *file)
{
    const char *path = member_text(file, "path");
    const double bytes = member_number(file, "bytes");
    if (!cJSON_IsObject(file) || !*path || !is_hash(member_text(file, "sha256")) || !(bytes >= 0))
        return document_fail(r->manifest, file, r->err, "must be a file's {path, bytes, sha256}");
    if (!bundle_path_ok(path) || !strcmp(path, "manifest.json"))
        return document_fail(r->manifest, file, r->err, "'%.200s' is no path of a file below the bundle", path);
    for (const cJSON *later = file->next; later; later = later->next)
        if (!strcmp(member_text(later, "path"), path))
            return document_fail(r->manifest, later, r->err, "'%.200s' is there twice", path);
    return KVANT_OK;
}

static kvant_status read_manifest(reader *r)
{
    static const char *const needed[] = { "spec.json", "store.db" };
    char *path = text_format("%s/manifest.json", r->folder), *data = NULL;
    size_t bytes = 0;
    struct stat info;
    if (!path)
        return kvant_fail(r->err, KVANT_NOMEM, "out of memory");
    kvant_status status = KVANT_OK;
    if (lstat(path, &info) || !S_ISREG(info.st_mode))
        status = kvant_fail(r->err, KVANT_INVALID, "%s: has no manifest.json, so it is no bundle of `kvant export NAME --dir`",
                            r->folder);
    else if (info.st_size > DOCUMENT_BYTES)
        status = kvant_fail(r->err, KVANT_INVALID, "%s: more than %d bytes, the most that is read", path, DOCUMENT_BYTES);
    if (!status)
        status = file_read(path, &data, &bytes, r->err);
    if (!status)
        status = document_parse(path, data, bytes, &r->manifest, r->err);
    if (!status)
        sha256_of(data, bytes, r->info->hash);
    free(data);
    free(path);
    if (status)
        return status;
    const cJSON *root = document_root(r->manifest), *file;
    const char *experiment = member_text(root, "experiment");
    r->files = cJSON_GetObjectItemCaseSensitive(root, "files");
    if (member_number(root, "bundle") != 1)
        return document_fail(r->manifest, root, r->err, "`bundle` must be 1, the form that this program knows");
    if (!*experiment || strlen(experiment) >= sizeof r->info->experiment)
        return document_fail(r->manifest, root, r->err, "`experiment` must be its name");
    if (!cJSON_IsArray(r->files))
        return document_fail(r->manifest, root, r->err, "`files` must be an array");
    snprintf(r->info->experiment, sizeof r->info->experiment, "%s", experiment);
    cJSON_ArrayForEach(file, r->files)
        if (!status)
            status = check_file_row(r, file);
    for (size_t i = 0; i < sizeof needed / sizeof *needed && !status; i++)
        if (!file_of(r, needed[i]))
            status = document_fail(r->manifest, r->files, r->err, "must name %s", needed[i]);
    return status;
}

/* ---- The files -------------------------------------------------------------------------------------------------------------- */

/* Hashes a file, and copies it where `to` says. */
static kvant_status hash_file(const char *path, const char *to, char hex[SHA256_HEX], uint64_t *bytes, kvant_error *err)
{
    FILE *in = fopen(path, "rb"), *out = in && to ? fopen(to, "wbx") : NULL;
    sha256 *hash = sha256_begin();
    unsigned char *piece = malloc(PIECE);
    kvant_status status = !in ? file_fail(err, path, "cannot be read") : to && !out ? file_fail(err, to, "cannot be made") : KVANT_OK;
    if (!status && (!hash || !piece))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to hash it", path);
    *bytes = 0;
    for (size_t n; !status && (n = fread(piece, 1, PIECE, in)) > 0; *bytes += n) {
        sha256_add(hash, piece, n);
        if (out && fwrite(piece, 1, n, out) != n)
            status = file_fail(err, to, "cannot be written");
    }
    if (!status && ferror(in))
        status = file_fail(err, path, "cannot be read");
    if (hash)
        sha256_end(hash, hex);
    if (in)
        fclose(in);
    if (out && fclose(out) && !status)
        status = file_fail(err, to, "cannot be written");
    free(piece);
    return status;
}

/* Every file of the manifest, and no other. All that are wrong are counted, the first is named. */
static kvant_status check_files(const reader *r)
{
    bundle_list *list;
    kvant_status status = bundle_files(r->folder, &list, r->err);
    if (status)
        return status;
    size_t n_wrong = 0;
    char first[700] = "";
    for (size_t i = 0; i < list->n && !status; i++)
        if (strcmp(list->path[i], "manifest.json") && !file_of(r, list->path[i]) && n_wrong++ == 0)
            snprintf(first, sizeof first, "%.500s: the manifest does not name it", list->path[i]);
    const cJSON *file;
    cJSON_ArrayForEach(file, r->files) {
        const char *name = member_text(file, "path");
        char *path = text_format("%s/%s", r->folder, name), hex[SHA256_HEX] = "", why[160] = "";
        uint64_t bytes = 0;
        bool there = false;
        for (size_t i = 0; i < list->n; i++)
            there = there || !strcmp(list->path[i], name);
        if (!status && !path)
            status = kvant_fail(r->err, KVANT_NOMEM, "out of memory");
        if (!status && !there)
            snprintf(why, sizeof why, "is missing");
        else if (!status)
            status = hash_file(path, strcmp(name, "store.db") ? NULL : r->copy, hex, &bytes, r->err);
        if (!status && there && strcmp(hex, member_text(file, "sha256")))
            snprintf(why, sizeof why, "its sha256 is %.16s..., the manifest says %.16s...", hex, member_text(file, "sha256"));
        else if (!status && there && (double)bytes != member_number(file, "bytes"))
            snprintf(why, sizeof why, "has %llu bytes, the manifest says %.0f", (unsigned long long)bytes,
                     member_number(file, "bytes"));
        if (*why && n_wrong++ == 0)
            snprintf(first, sizeof first, "%.500s: %s", name, why);
        r->info->files++;
        r->info->bytes += bytes;
        free(path);
    }
    bundle_list_free(list);
    if (!status && n_wrong > 1)
        return kvant_fail(r->err, KVANT_FAILED, "%s/%s; and %zu more; take the bundle anew", r->folder, first, n_wrong - 1);
    return status || !n_wrong ? status : kvant_fail(r->err, KVANT_FAILED, "%s/%s; take the bundle anew", r->folder, first);
}

/* ---- The store -------------------------------------------------------------------------------------------------------------- */

/* A cell's key is the hash of its config: one that is not could stand for another cell in a store that it is merged into. */
static kvant_status check_cells(const reader *r, store *s)
{
    cJSON *rows = report_rows(s, "SELECT key, config AS text, label FROM cell ORDER BY key", NULL, r->err), *row;
    if (!rows)
        return KVANT_IO;
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(row, rows) {
        char hex[SHA256_HEX];
        const char *config = member_text(row, "text");
        sha256_of(config, strlen(config), hex);
        if (!status && strcmp(hex, member_text(row, "key")))
            status = kvant_fail(r->err, KVANT_FAILED, "%s/store.db: the key of cell '%.100s' is not the hash of its config", r->folder,
                                member_text(row, "label"));
    }
    cJSON_Delete(rows);
    return status;
}

/* The spec that a store has under the experiment's name, NULL when none; names: how many experiments it has. */
static kvant_status spec_in(store *s, const char *experiment, cJSON **spec, size_t *n, kvant_error *err)
{
    cJSON *rows = report_rows(s, "SELECT name, spec FROM experiment ORDER BY name = ?1 DESC", experiment, err);
    *spec = NULL;
    if (!rows)
        return KVANT_IO;
    *n = (size_t)cJSON_GetArraySize(rows);
    if (*n && !strcmp(member_text(rows->child, "name"), experiment))
        *spec = cJSON_Parse(member_text(rows->child, "spec"));
    cJSON_Delete(rows);
    return KVANT_OK;
}

static kvant_status check_spec(const reader *r, const cJSON *stored)
{
    char *path = text_format("%s/spec.json", r->folder), *data = NULL, hex[SHA256_HEX];
    size_t bytes;
    kvant_status status = path ? file_read(path, &data, &bytes, r->err) : kvant_fail(r->err, KVANT_NOMEM, "out of memory");
    free(path);
    if (status)
        return status;
    sha256_of(data, bytes, hex);
    cJSON *spec = cJSON_Parse(data);
    free(data);
    if (strcmp(hex, member_text(file_of(r, "spec.json"), "sha256")) || !cJSON_Compare(spec, stored, true))
        status = kvant_fail(r->err, KVANT_FAILED, "%s/spec.json: is not the spec that its store has", r->folder);
    cJSON_Delete(spec);
    return status;
}

static kvant_status check_store(const reader *r)
{
    store *s;
    cJSON *spec = NULL;
    size_t n = 0;
    kvant_error why;
    kvant_status status = store_open(r->copy, STORE_READ, &s, &why);
    if (!status)
        status = store_verify(s, &why);
    if (status) {                  /* named by the bundle's file, not by its copy */
        const char *text_of_it = strncmp(why.text, r->copy, strlen(r->copy)) ? why.text : why.text + strlen(r->copy);
        kvant_fail(r->err, status, "%s/store.db%s%.600s", r->folder, text_of_it == why.text ? ": " : "", text_of_it);
        store_close(s);
        return status;
    }
    status = spec_in(s, r->info->experiment, &spec, &n, r->err);
    if (!status && (!spec || n != 1))
        status = kvant_fail(r->err, KVANT_FAILED, "%s/store.db: must hold the experiment '%s' and no other", r->folder,
                            r->info->experiment);
    if (!status)
        status = check_spec(r, spec);
    if (!status)
        status = check_cells(r, s);
    cJSON_Delete(spec);
    store_close(s);
    return status;
}

static kvant_status merge(const reader *r, const char *into)
{
    store *s;
    cJSON *theirs = NULL, *ours = NULL;
    size_t n;
    kvant_status status = store_open(r->copy, STORE_READ, &s, r->err);
    if (status)
        return status;
    status = spec_in(s, r->info->experiment, &theirs, &n, r->err);
    store_close(s);
    s = NULL;
    if (!status)
        status = store_open(into, STORE_WRITE, &s, r->err);
    if (!status)
        status = spec_in(s, r->info->experiment, &ours, &n, r->err);
    if (!status && ours && !cJSON_Compare(ours, theirs, true))
        status = kvant_fail(r->err, KVANT_INVALID, "%s: has another experiment of the name '%s'; give another store by --store", into,
                            r->info->experiment);
    if (!status)
        status = store_merge(s, r->copy, &r->info->cells, r->err);
    store_close(s);
    cJSON_Delete(theirs);
    cJSON_Delete(ours);
    return status;
}

kvant_status bundle_read(const char *folder, const char *into, bundle_info *info, kvant_error *err)
{
    *info = (bundle_info){ .files = 0 };
    reader r = { .folder = folder, .info = info, .err = err };
    kvant_status status = read_manifest(&r);
    r.temp = status ? NULL : strdup(P_tmpdir "/kvant-import-XXXXXX");
    if (!status && (!r.temp || !mkdtemp(r.temp))) {
        status = r.temp ? file_fail(err, P_tmpdir, "no folder can be made in it") : kvant_fail(err, KVANT_NOMEM, "out of memory");
        free(r.temp);
        r.temp = NULL;
    }
    if (!status && !(r.copy = text_format("%s/store.db", r.temp)))
        status = kvant_fail(err, KVANT_NOMEM, "out of memory");
    if (!status)
        status = check_files(&r);
    if (!status)
        status = check_store(&r);
    if (!status && into)
        status = merge(&r, into);
    if (r.temp)
        bundle_remove(r.temp);
    free(r.copy);
    free(r.temp);
    document_close(r.manifest);
    return status;
}
