/* manifest.c - reads the manifest of inputs; errors name file, line and key.
 * Names and members are limited to plain relative paths and URLs to https and file, whoever wrote the manifest. */
#include "harness/input/manifest.h"

#include <stdlib.h>
#include <string.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyz", digits[] = "0123456789";

/* All of text in `allowed` or a small letter or digit, the first one a letter or digit. */
static bool plain(const char *s, const char *allowed, size_t longest)
{
    char set[128];
    snprintf(set, sizeof set, "%s%s%s", letters, digits, allowed);
    size_t n = strlen(s);
    return n && n <= longest && strspn(s, set) == n && !strchr("._-+=", s[0]);
}

static bool good_name(const char *s) { return plain(s, "._-", 63); }
static bool good_plugin(const char *s) { return plain(s, "_", 31); }
static bool good_licence(const char *s) { return *s && strlen(s) < 64; }
static bool good_about(const char *s) { return *s && strlen(s) < 512; }
static bool good_kind(const char *s) { return !strcmp(s, "model") || !strcmp(s, "text") || !strcmp(s, "vectors"); }
static bool good_sha256(const char *s) { return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64; }
static bool good_apt(const char *s) { return plain(s, "+.-", 127); }

static bool good_file(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == '/')
            return false;
    return n && n < 200 && s[0] != '.' && s[0] != '-';
}

/* A relative path none of whose parts is empty or begins with a dot. */
static bool good_member(const char *s)
{
    size_t n = strlen(s);
    if (!n || n > 500 || s[0] == '/' || s[0] == '.' || s[n - 1] == '/' || strstr(s, "/.") || strstr(s, "//"))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ')
            return false;
    const char *slash = strrchr(s, '/');
    return good_file(slash ? slash + 1 : s);
}

static bool good_pypi(const char *s)
{
    static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-";
    const char *equals = strstr(s, "==");
    char name[128];
    if (!equals || equals == s || (size_t)(equals - s) >= sizeof name)
        return false;
    memcpy(name, s, (size_t)(equals - s));
    name[equals - s] = '\0';
    return plain(name, upper, 127) && plain(equals + 2, ".+", 63);
}

static bool good_url(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 127)
            return false;
    const char *slash = strrchr(s, '/');
    return n < 1000 && (!strncmp(s, "https://", 8) || !strncmp(s, "file:///", 8)) && good_file(slash + 1) && !strpbrk(slash, "?#%");
}

static bool good_terms(const char *s)
{
    for (size_t i = 0; s[i]; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 127)
            return false;
    return !strncmp(s, "https://", 8) && strlen(s) > 8 && strlen(s) < 256;
}

/* ---- Values -------------------------------------------------------------------------------- */

static kvant_status known_keys(const document *doc, const cJSON *object, const char *const *keys, kvant_error *err)
{
    if (!cJSON_IsObject(object))
        return document_fail(doc, object, err, "must be an object");
    for (const cJSON *item = object->child; item; item = item->next) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], item->string))
            i++;
        const char *near = keys[i] ? NULL : nearest_name(item->string, keys);
        if (!keys[i])
            return document_fail(doc, item, err, "unknown key%s%s%s", near ? ", did you mean '" : "", near ? near : "",
                                 near ? "'?" : "");
    }
    return KVANT_OK;
}

static kvant_status get_text(const document *doc, const cJSON *object, const char *key, bool (*good)(const char *), const char *form,
                             const char **value, kvant_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item)
        return document_fail(doc, object, err, "'%s' is missing: %s", key, form);
    if (!cJSON_IsString(item) || !good(item->valuestring))
        return document_fail(doc, item, err, "must be %s", form);
    *value = item->valuestring;
    return KVANT_OK;
}

static kvant_status get_size_and_hash(const document *doc, const cJSON *object, uint64_t *bytes, const char **hash,
                                      kvant_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "bytes");
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 1) || item->valuedouble != (double)(uint64_t)item->valuedouble)
        return document_fail(doc, item ? item : object, err, "'bytes' must be the size of the file");
    *bytes = (uint64_t)item->valuedouble;
    return get_text(doc, object, "sha256", good_sha256, "64 hexadecimal digits in lower case", hash, err);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static kvant_status get_source(const document *doc, const cJSON *object, const manifest_entry *entry, bool part,
                               manifest_source *source, kvant_error *err);

/* The parts' sizes must add up to the entry's, so that a joined file is never longer than what the manifest says. */
static kvant_status get_parts(const document *doc, const cJSON *list, const manifest_entry *entry, manifest_source *source,
                              kvant_error *err)
{
    int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (n < 2 || n > MANIFEST_PARTS)
        return document_fail(doc, list, err, "'parts' must be an array of 2 to %d sources", MANIFEST_PARTS);
    source->parts = calloc((size_t)n, sizeof *source->parts);
    if (!source->parts)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its parts", entry->name);
    uint64_t bytes = 0;
    for (const cJSON *item = list->child; item; item = item->next) {
        manifest_source *p = &source->parts[source->n_parts++];
        kvant_status status = get_source(doc, item, entry, true, p, err);
        if (status)
            return status;
        if (p->bytes > entry->bytes - bytes)
            return document_fail(doc, item, err, "the parts have more bytes than the %llu of the file",
                                 (unsigned long long)entry->bytes);
        bytes += p->bytes;
    }
    if (bytes != entry->bytes)
        return document_fail(doc, list, err, "the parts have %llu bytes, and the file has %llu", (unsigned long long)bytes,
                             (unsigned long long)entry->bytes);
    return KVANT_OK;
}

static kvant_status get_source(const document *doc, const cJSON *object, const manifest_entry *entry, bool part,
                               manifest_source *source, kvant_error *err)
{
    static const char *const keys[] = { "file", "pypi", "apt", "url", "parts", "member", "bytes", "sha256", NULL };
    static bool (*const good[])(const char *) = { good_file, good_pypi, good_apt, good_url };
    static const char *const forms[] = { "a file name without folders", "NAME==VERSION", "the name of a Debian package",
                                         "an https: or file: URL that ends in a file name" };
    kvant_status status = known_keys(doc, object, keys, err);
    int found = 0;
    for (int k = SOURCE_FILE; k <= SOURCE_PARTS && !status; k++)
        if (cJSON_GetObjectItemCaseSensitive(object, keys[k])) {
            found++;
            source->kind = (source_kind)k;
            if (k != SOURCE_PARTS)
                status = get_text(doc, object, keys[k], good[k], forms[k], &source->where, err);
        }
    if (status)
        return status;
    if (found != 1)
        return document_fail(doc, object, err, "a source has one of 'file', 'pypi', 'apt', 'url' and 'parts'");
    bool package = source->kind == SOURCE_PYPI || source->kind == SOURCE_APT, url = source->kind == SOURCE_URL;
    if (part && !package && !url)
        return document_fail(doc, object, err, "a part is of 'pypi', 'apt' or 'url'");
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, "member");
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(object, "bytes"), *hash = cJSON_GetObjectItemCaseSensitive(object, "sha256");
    if (package || (member && url && !part))
        status = get_text(doc, object, "member", good_member, "the path of the file within the package", &source->member, err);
    else if (member)
        status = document_fail(doc, member, err, part ? "only a package's part has a member: a URL's is the file itself"
                                                      : "only a package or a URL has members");
    source->bytes = entry->bytes;
    source->sha256 = entry->sha256;
    if (!status && (part || (url && source->member)))
        status = get_size_and_hash(doc, object, &source->bytes, &source->sha256, err);
    else if (!status && (size || hash))
        status = document_fail(doc, size ? size : hash, err, "only an archive at a URL and a part have a size and hash of their own");
    if (!status && source->kind == SOURCE_PARTS)
        status = get_parts(doc, cJSON_GetObjectItemCaseSensitive(object, "parts"), entry, source, err);
    return status;
}

static kvant_status get_entry(const document *doc, const cJSON *object, manifest_entry *entry, kvant_error *err)
{
    static const char *const keys[] = { "name", "kind", "dataset", "about", "licence", "terms", "bytes", "sha256", "sources", NULL };
    kvant_status status = known_keys(doc, object, keys, err);
    if (!status)
        status = get_text(doc, object, "name", good_name, "small letters, digits, '.', '_' and '-'", &entry->name, err);
    if (!status)
        status = get_text(doc, object, "kind", good_kind, "model, text or vectors", &entry->kind, err);
    if (!status)
        status = get_text(doc, object, "about", good_about, "one line about the input", &entry->about, err);
    if (!status)
        status = get_text(doc, object, "licence", good_licence, "the name of its licence", &entry->licence, err);
    if (!status)
        status = get_size_and_hash(doc, object, &entry->bytes, &entry->sha256, err);
    entry->terms = entry->dataset = "";
    if (!status && cJSON_GetObjectItemCaseSensitive(object, "terms"))
        status = get_text(doc, object, "terms", good_terms, "the https: URL at which its licence can be read", &entry->terms, err);
    if (!status && strcmp(entry->kind, "model"))
        status = get_text(doc, object, "dataset", good_plugin, "the name of the dataset that reads it", &entry->dataset, err);
    if (status)
        return status;

    const cJSON *sources = cJSON_GetObjectItemCaseSensitive(object, "sources"), *item;
    if (!cJSON_IsArray(sources) || cJSON_GetArraySize(sources) > MANIFEST_SOURCES)
        return document_fail(doc, sources ? sources : object, err, "'sources' must be an array of 1 to %d", MANIFEST_SOURCES);
    cJSON_ArrayForEach(item, sources) {
        manifest_source *s = &entry->sources[entry->n_sources++];
        status = get_source(doc, item, entry, false, s, err);
        if (status)
            return status;
    }
    if (entry->sources[0].kind == SOURCE_PARTS)
        return document_fail(doc, sources->child, err, "the first source must name the file: put { \"file\": NAME } before the parts");
    entry->file = base_name(entry->sources[0].member ? entry->sources[0].member : entry->sources[0].where);
    return KVANT_OK;
}

kvant_status manifest_read(const char *path, manifest *m, kvant_error *err)
{
    static const char *const keys[] = { "inputs", NULL };
    *m = (manifest){ 0 };
    kvant_status status = document_read(path, &m->doc, err);
    if (status)
        return status;
    const cJSON *root = document_root(m->doc), *list = cJSON_GetObjectItemCaseSensitive(root, "inputs"), *item;
    status = known_keys(m->doc, root, keys, err);
    if (!status && !cJSON_IsArray(list))
        status = document_fail(m->doc, list ? list : root, err, "'inputs' must be an array");
    if (!status) {
        m->entries = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *m->entries);
        if (!m->entries)
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to read it", path);
    }
    for (item = status ? NULL : list->child; item && !status; item = item->next) {
        status = get_entry(m->doc, item, &m->entries[m->n], err);
        if (!status && manifest_find(m, m->entries[m->n].name))
            status = document_fail(m->doc, item, err, "'%s' is there twice", m->entries[m->n].name);
        m->n++;
    }
    if (status)
        manifest_free(m);
    return status;
}

void manifest_free(manifest *m)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < m->entries[i].n_sources; k++)
            free(m->entries[i].sources[k].parts);
    free(m->entries);
    document_close(m->doc);
    *m = (manifest){ 0 };
}

const manifest_entry *manifest_find(const manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->entries[i].name, name))
            return &m->entries[i];
    return NULL;
}

kvant_status manifest_unknown(const manifest *m, const char *name, kvant_error *err)
{
    const char **names = calloc(m->n + 1, sizeof *names);
    if (!names)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for a list of names", name);
    for (size_t i = 0; i < m->n; i++)
        names[i] = m->entries[i].name;
    const char *near = nearest_name(name, names);
    kvant_fail(err, KVANT_INVALID, "%.200s: no such file, and no input of this name%s%s%s; `kvant fetch --list` shows those there are",
               name, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(names);
    return KVANT_INVALID;
}
