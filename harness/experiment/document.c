/* document.c - reads JSON by cJSON and remembers the line of every value, for errors that point at their place.
 * cJSON keeps no positions: one scan of the text counts values in the order in which the tree lists them. */
#include "harness/experiment/document.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct { const cJSON *item; unsigned line; } place;

struct document {
    char *name;
    cJSON *root;
    place *places;                 /* [n_places] in document order; the item of a replaced value is NULL */
    size_t n_places;
};

/* ---- The scan ------------------------------------------------------------------------------ */

typedef struct {
    const char *p, *end;
    unsigned line, at;             /* line of p; line of the last value, or of its key */
    int depth;
    bool nul;                      /* a string holds \u0000, which C cannot */
} scanner;

static scanner scan_begin(const char *json, size_t bytes)
{
    scanner s = { .p = json, .end = json + bytes, .line = 1 };
    if (bytes >= 3 && !memcmp(json, "\xef\xbb\xbf", 3))
        s.p += 3;
    return s;
}

static void scan_string(scanner *s)
{
    for (; s->p < s->end && *s->p != '"'; s->p++) {
        s->line += *s->p == '\n';
        if (*s->p == '\\' && s->end - s->p > 1) {
            s->nul |= s->end - s->p >= 6 && !memcmp(s->p, "\\u0000", 6);
            s->p++;
            s->line += *s->p == '\n';
        }
    }
    s->p += s->p < s->end;
}

/* Moves behind the start of the next value (behind all of it, if it is no array or object). Whatever the bytes, it ends. */
static bool scan_value(scanner *s)
{
    bool keyed = false;
    while (s->p < s->end) {
        unsigned line = s->line;
        char c = *s->p++;
        if ((unsigned char)c <= ' ') {
            s->line += c == '\n';
            continue;
        }
        if (c == ',' || c == ':')
            continue;
        if (c == '}' || c == ']') {
            s->depth--;
            continue;
        }
        if (c == '"') {
            scan_string(s);
            const char *next = s->p;
            while (next < s->end && (unsigned char)*next <= ' ')
                next++;
            if (next < s->end && *next == ':') {
                keyed = true;
                s->at = line;
                continue;
            }
        } else if (c == '{' || c == '[')
            s->depth++;
        else
            while (s->p < s->end && (unsigned char)*s->p > ' ' && !strchr(",:[]{}\"", *s->p))
                s->p++;
        if (!keyed)
            s->at = line;
        return true;
    }
    return false;
}

/* ---- Places and errors --------------------------------------------------------------------- */

static size_t count_values(const cJSON *item)
{
    size_t n = 1;
    for (const cJSON *c = item->child; c; c = c->next)
        n += count_values(c);
    return n;
}

static void place_values(document *doc, const cJSON *item, scanner *s, size_t *n)
{
    doc->places[(*n)++] = (place){ item, scan_value(s) ? s->at : 0 };
    for (const cJSON *c = item->child; c; c = c->next)
        place_values(doc, c, s, n);
}

static void forget_values(document *doc, const cJSON *item)
{
    for (size_t i = 0; i < doc->n_places; i++)
        if (doc->places[i].item == item)
            doc->places[i].item = NULL;
    for (const cJSON *c = item->child; c; c = c->next)
        forget_values(doc, c);
}

/* Writes the path of `item` below `from` behind t; false and t unchanged when it is not there. */
static bool path_to(const cJSON *from, const cJSON *item, text *t)
{
    if (from == item)
        return true;
    size_t before = t->length, index = 0;
    for (const cJSON *c = from->child; c; c = c->next, index++) {
        if (cJSON_IsObject(from))
            text_add(t, "%s%.64s", before ? "." : "", c->string);
        else
            text_add(t, "[%zu]", index);
        if (path_to(c, item, t))
            return true;
        if (t->failed)
            return false;
        t->length = before;
    }
    return false;
}

kvant_status document_fail(const document *doc, const cJSON *item, kvant_error *err, const char *format, ...)
{
    char message[800];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    unsigned line = 0;
    for (size_t i = 0; i < doc->n_places; i++)
        if (doc->places[i].item == item)
            line = doc->places[i].line;
    text path = { 0 };
    bool below = path_to(doc->root, item, &path) && path.length;
    if (line)
        kvant_fail(err, KVANT_INVALID, "%s:%u: %.120s%s%s", doc->name, line, below ? path.data : "", below ? ": " : "", message);
    else
        kvant_fail(err, KVANT_INVALID, "%s with --set: %.120s%s%s", doc->name, below ? path.data : "", below ? ": " : "", message);
    text_free(&path);
    return KVANT_INVALID;
}

/* What every document must be, below and with `item`. */
static kvant_status check_values(const document *doc, const cJSON *item, kvant_error *err)
{
    if (cJSON_IsNumber(item) && !(fabs(item->valuedouble) < 9007199254740992.0))
        return document_fail(doc, item, err, "numbers must be finite and less than 2^53, beyond which integers are not exact");
    if (cJSON_IsArray(item) && !item->child)
        return document_fail(doc, item, err, "an empty array has no values to sweep; remove it or fill it");
    if (cJSON_IsObject(item) && cJSON_GetArraySize(item) > DOCUMENT_KEYS)
        return document_fail(doc, item, err, "more than %d keys", DOCUMENT_KEYS);
    for (const cJSON *c = item->child; c; c = c->next) {
        if (cJSON_IsObject(item))
            for (const cJSON *d = c->next; d; d = d->next)
                if (!strcmp(c->string, d->string))
                    return document_fail(doc, d, err, "this key is there twice; keep one");
        kvant_status status = check_values(doc, c, err);
        if (status)
            return status;
    }
    return KVANT_OK;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static kvant_status scan_check(const char *name, const char *json, size_t bytes, kvant_error *err)
{
    scanner s = scan_begin(json, bytes);
    if (memchr(json, 0, bytes))
        return kvant_fail(err, KVANT_INVALID, "%s: holds a NUL byte, so it is no JSON text", name);
    while (scan_value(&s)) {
        if (s.depth > DOCUMENT_DEPTH)
            return kvant_fail(err, KVANT_INVALID, "%s:%u: nested deeper than %d levels", name, s.at, DOCUMENT_DEPTH);
        if (s.nul)
            return kvant_fail(err, KVANT_INVALID, "%s:%u: \\u0000 is not allowed in a string", name, s.at);
    }
    return s.nul ? kvant_fail(err, KVANT_INVALID, "%s:%u: \\u0000 is not allowed in a key", name, s.at) : KVANT_OK;
}

static kvant_status parse_fail(const char *name, const char *json, const char *at, kvant_error *err)
{
    unsigned line = 1;
    for (const char *p = json; p < at; p++)
        line += *p == '\n';
    char near[24];
    size_t n = 0;
    for (; n < sizeof near - 1 && (unsigned char)at[n] >= ' ' && at[n] != 127; n++)
        near[n] = at[n];
    near[n] = '\0';
    return kvant_fail(err, KVANT_INVALID, "%s:%u: not valid JSON %s%s%s", name, line, n ? "at `" : "at the end of the line", near,
                      n ? "`" : "");
}

static kvant_status parse(const char *name, const char *json, size_t bytes, bool array, document **out, kvant_error *err)
{
    *out = NULL;
    if (bytes > DOCUMENT_BYTES)
        return kvant_fail(err, KVANT_INVALID, "%s: more than %d bytes, the most that is read", name, DOCUMENT_BYTES);
    kvant_status status = scan_check(name, json, bytes, err);
    if (status)
        return status;
    document *doc = calloc(1, sizeof *doc);
    char *copy = malloc(bytes + 1);
    if (!doc || !copy || !(doc->name = strdup(name)))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to read it", name);
    if (!status) {
        memcpy(copy, json, bytes);
        copy[bytes] = '\0';
        const char *end = copy;
        doc->root = cJSON_ParseWithOpts(copy, &end, 1);
        if (!doc->root)
            status = parse_fail(name, copy, end, err);
        else if (!cJSON_IsObject(doc->root) && !(array && cJSON_IsArray(doc->root)))
            status = kvant_fail(err, KVANT_INVALID, "%s:1: must be an object, {...}%s", name, array ? ", or an array, [...]" : "");
    }
    if (!status) {
        size_t n = count_values(doc->root);
        doc->places = calloc(n, sizeof *doc->places);
        if (!doc->places)
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for the places of its values", name);
        else {
            scanner s = scan_begin(copy, bytes);
            place_values(doc, doc->root, &s, &doc->n_places);
            status = check_values(doc, doc->root, err);
        }
    }
    free(copy);
    if (status)
        document_close(doc);
    else
        *out = doc;
    return status;
}

kvant_status document_parse(const char *name, const char *json, size_t bytes, document **doc, kvant_error *err)
{
    return parse(name, json, bytes, false, doc, err);
}

kvant_status document_parse_any(const char *name, const char *json, size_t bytes, document **doc, kvant_error *err)
{
    return parse(name, json, bytes, true, doc, err);
}

static kvant_status read_file(const char *path, bool array, document **doc, kvant_error *err)
{
    struct stat file;
    *doc = NULL;
    /* Asked first, so that a huge file is not read only to be refused. */
    if (stat(path, &file) == 0 && S_ISREG(file.st_mode) && file.st_size > DOCUMENT_BYTES)
        return kvant_fail(err, KVANT_INVALID, "%s: more than %d bytes, the most that is read", path, DOCUMENT_BYTES);
    char *data;
    size_t bytes;
    kvant_status status = file_read(path, &data, &bytes, err);
    if (status)
        return status;
    status = parse(path, data, bytes, array, doc, err);
    free(data);
    return status;
}

kvant_status document_read(const char *path, document **doc, kvant_error *err) { return read_file(path, false, doc, err); }

kvant_status document_read_any(const char *path, document **doc, kvant_error *err) { return read_file(path, true, doc, err); }

void document_close(document *doc)
{
    if (!doc)
        return;
    cJSON_Delete(doc->root);
    free(doc->places);
    free(doc->name);
    free(doc);
}

const cJSON *document_root(const document *doc) { return doc->root; }

const char *document_name(const document *doc) { return doc->name; }

/* ---- Overrides ----------------------------------------------------------------------------- */

static kvant_status parse_value(const char *assignment, const char *value, cJSON **item, kvant_error *err)
{
    if (strlen(value) > DOCUMENT_BYTES)
        return kvant_fail(err, KVANT_INVALID, "--set %.40s...: more than %d bytes", assignment, DOCUMENT_BYTES);
    kvant_status status = scan_check("--set", value, strlen(value), err);
    if (status)
        return status;
    *item = cJSON_ParseWithOpts(value, NULL, 1);
    if (*item)
        return KVANT_OK;
    /* What looks like JSON and is none is a slip, not a bare word. */
    if (!*value || strchr("{[\"", *value))
        return kvant_fail(err, KVANT_INVALID, "--set %.80s: the value is neither JSON nor a bare word", assignment);
    *item = cJSON_CreateString(value);
    return *item ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "--set %.80s: no memory", assignment);
}

static cJSON *find_child(cJSON *parent, const char *name)
{
    if (cJSON_IsObject(parent))
        return cJSON_GetObjectItemCaseSensitive(parent, name);
    char *end;
    errno = 0;
    long index = strtol(name, &end, 10);
    return cJSON_IsArray(parent) && *name >= '0' && *name <= '9' && !*end && !errno && index <= DOCUMENT_BYTES
               ? cJSON_GetArrayItem(parent, (int)index) : NULL;
}

static kvant_status put_child(document *doc, cJSON *parent, const char *name, cJSON *item, kvant_error *err)
{
    cJSON *old = find_child(parent, name);
    bool ok;
    if (old) {
        forget_values(doc, old);
        ok = cJSON_IsObject(parent) ? cJSON_ReplaceItemInObjectCaseSensitive(parent, name, item)
                                    : cJSON_ReplaceItemViaPointer(parent, old, item);
    } else
        ok = cJSON_AddItemToObject(parent, name, item);
    if (ok)
        return check_values(doc, doc->root, err);
    cJSON_Delete(item);
    return kvant_fail(err, KVANT_NOMEM, "--set %.80s: no memory", name);
}

kvant_status document_set(document *doc, const char *assignment, kvant_error *err)
{
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return kvant_fail(err, KVANT_INVALID, "--set %.80s: must be KEY=VALUE, e.g. chunks=4 or key.bits=[2,3]", assignment);
    char *path = strndup(assignment, (size_t)(equals - assignment));
    cJSON *item = NULL;
    if (!path)
        return kvant_fail(err, KVANT_NOMEM, "--set %.80s: no memory", assignment);
    kvant_status status = parse_value(assignment, equals + 1, &item, err);
    cJSON *parent = doc->root;
    char *name = path;
    for (char *dot; !status && (dot = strchr(name, '.')); name = dot + 1) {
        *dot = '\0';
        parent = find_child(parent, name);
        if (!parent)
            status = kvant_fail(err, KVANT_INVALID, "%s: --set %.80s: there is no '%.40s' to set something in", doc->name, assignment,
                                name);
    }
    if (!status && !cJSON_IsObject(parent) && !find_child(parent, name))
        status = kvant_fail(err, KVANT_INVALID, "%s: --set %.80s: '%.40s' names no value here: what it is looked for in is %s",
                            doc->name, assignment, name,
                            cJSON_IsArray(parent) ? "an array, so say which one, e.g. key.0.bits" : "neither an object nor an array");
    if (status)
        cJSON_Delete(item);
    else
        status = put_child(doc, parent, name, item, err);
    free(path);
    return status;
}

void document_remove(document *doc, const cJSON *parent, const cJSON *item)
{
    forget_values(doc, item);
    /* The document owns both; only its readers may not change them. */
    cJSON_Delete(cJSON_DetachItemViaPointer((cJSON *)parent, (cJSON *)item));
}

kvant_status document_overlay(document *doc, const char *key, kvant_error *err)
{
    cJSON *over = cJSON_GetObjectItemCaseSensitive(doc->root, key);
    if (!over)
        return kvant_fail(err, KVANT_INVALID, "%s: has no `%s`", doc->name, key);
    if (!cJSON_IsObject(over))
        return document_fail(doc, over, err, "must be an object of keys that stand in place of the others");
    while (over->child) {
        cJSON *item = cJSON_DetachItemViaPointer(over, over->child), *old = cJSON_GetObjectItemCaseSensitive(doc->root, item->string);
        if (old)
            forget_values(doc, old);
        bool ok = true;
        if (cJSON_IsNull(item)) {
            cJSON_DeleteItemFromObjectCaseSensitive(doc->root, item->string);
            forget_values(doc, item);
            cJSON_Delete(item);
        } else {
            char *name = strdup(item->string);     /* cJSON frees the item's own when it gives it a new one */
            ok = name && (old ? cJSON_ReplaceItemInObjectCaseSensitive(doc->root, name, item)
                              : cJSON_AddItemToObject(doc->root, name, item));
            free(name);
        }
        if (!ok)
            return kvant_fail(err, KVANT_NOMEM, "%s: no memory for `%s`", doc->name, key);
    }
    document_remove(doc, doc->root, over);
    return KVANT_OK;
}

void number_text(double value, char digits[32])
{
    if (value == 0)
        value = 0;                 /* -0 is the same value, so it must be the same text */
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, 32, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            return;
    }
}
