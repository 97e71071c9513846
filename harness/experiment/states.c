/* states.c - see states.h: the files of a folder of states, and codecs opened by them.
 * A file is a payload cut into blocks, each followed by a checksum of it and of the checksum before it: damage is found before a
 * length is believed, and named to within a block. The payload is, in little-endian numbers,
 *   magic [8], version u32, bytes of key u32, of origin u32, of state u64, then key, origin and state. */
#include "harness/experiment/canonical.h"
#include "harness/experiment/states.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

enum { VERSION = 1, SUM = 32, BLOCK = 4096, DATA = BLOCK - SUM, HEAD = 8 + 3 * 4 + 8, NAME_DIGITS = 16 };
static const char magic[8] = { 'K', 'V', 'S', 'T', 'A', 'T', 'E', '\n' };
static const char remedy[] = "delete it, or make it again by `kvant precompute`";
static const char made_here[] = "{}";

/* A file whose imported tables somebody took note of. */
typedef struct { char *path, *origin; } noted;

struct states {
    char *folder;
    states_mode mode;
    states_count count;
    kvcache_states for_cache;
    void *seen;                    /* tree of the paths that were counted */
    noted *notes;                  /* [n_notes] */
    size_t n_notes;
};

static kvant_status open_for_cache(void *user, const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args,
                                   const char *isa, const float *vectors, size_t n, kvant_codec *codec, kvant_error *err)
{
    const states_source source = { .quantizer = quantizer, .shape = *shape, .args = *args, .vectors = vectors, .n = n };
    return states_codec(user, &source, isa, codec, err);
}

const kvcache_states *states_for_cache(states *s) { return &s->for_cache; }

kvant_status states_open(const char *folder, states_mode mode, states **s, kvant_error *err)
{
    struct stat there;
    if (mode == STATES_WRITE) {
        kvant_status status = make_folders(folder, false, err);
        if (status)
            return status;
    }
    if (stat(folder, &there))
        return file_fail(err, folder, "cannot open the folder of states");
    if (!S_ISDIR(there.st_mode))
        return kvant_fail(err, KVANT_IO, "%s: not a folder; states are stored in one by `kvant precompute`", folder);
    *s = calloc(1, sizeof **s);
    if (*s)
        (*s)->folder = strdup(folder);
    if (!*s || !(*s)->folder) {
        states_close(*s);
        *s = NULL;
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to open it", folder);
    }
    (*s)->mode = mode;
    (*s)->for_cache = (kvcache_states){ open_for_cache, *s };
    return KVANT_OK;
}

void states_close(states *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_notes; i++) {
        free(s->notes[i].path);
        free(s->notes[i].origin);
    }
    free(s->notes);
    tdestroy(s->seen, free);
    free(s->folder);
    free(s);
}

states_count states_counted(const states *s) { return s->count; }

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

/* A state counts once, by how it was had first. */
static kvant_status count(states *s, const char *path, bool made, uint64_t bytes, kvant_error *err)
{
    char *own = strdup(path), **node = NULL;
#pragma omp critical(states_count)
    {
        node = own ? tsearch(own, &s->seen, by_text) : NULL;
        if (node && *node == own) {
            s->count.made += made;
            s->count.found += !made;
            s->count.bytes += bytes;
            own = NULL;
        }
    }
    free(own);
    return node ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "%s: no memory", path);
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static void add_training(text *t, const states_source *source, char hex[SHA256_HEX])
{
    sha256_of(source->vectors, source->n * source->shape.dim * sizeof(float), hex);
    text_add(t, ",\"training\":{\"head\":%u,\"layer\":%u,\"n\":%zu,", source->shape.head, source->shape.layer, source->n);
    canonical_member(t, "sha256", hex);
    text_add(t, "}");
}

kvant_status states_key(const states_source *source, char **key, kvant_error *err)
{
    static const char *const sides[] = { "key", "value", "vector" }, *const pairings[] = { "none", "interleaved", "half" };
    const uint16_t one = 1;
    const kvant_shape *shape = &source->shape;
    canonical_parts parts = { .n = 0 };
    char hex[SHA256_HEX] = "none";
    text t = { 0 };
    canonical_quantizer(&parts, source->quantizer->name, "scalar");        /* no kernel makes states */
    text_add(&t, "{");
    kvant_status status = canonical_code(&t, &parts, NULL, err);
    text_add(&t, ",\"dim\":%u,", shape->dim);
    canonical_member(&t, "endian", *(const uint8_t *)&one ? "little" : "big");
    text_add(&t, ",\"params\":");
    canonical_params(&t, source->quantizer->params, &source->args);
    text_add(&t, ",");
    canonical_member(&t, "quantizer", source->quantizer->name);
    text_add(&t, ",\"rope\":{");
    canonical_member(&t, "pairing", pairings[shape->rope.pairing]);
    text_add(&t, ",\"width\":%u},\"seed\":%u,", shape->rope.width, shape->seed);
    canonical_member(&t, "side", sides[shape->side]);
    if (source->vectors)
        add_training(&t, source, hex);
    text_add(&t, "}");
    if (!status && (t.failed || !*hex))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for the key of its state", source->quantizer->name);
    if (status)
        text_free(&t);
    else
        *key = t.data;
    return status;
}

char *states_path(const char *folder, const states_source *source, const char *key)
{
    char hex[SHA256_HEX];
    sha256_of(key, strlen(key), hex);
    return *hex ? text_format("%s/%s-%.*s.state", folder, source->quantizer->name, NAME_DIGITS, hex) : NULL;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

/* Of a block's data [n] and the checksum of the block before it, NULL for the first. */
static bool sum_block(const uint8_t *before, const uint8_t *data, size_t n, uint8_t sum[SUM])
{
    char hex[SHA256_HEX];
    sha256 *hash = sha256_begin();
    if (!hash)
        return false;
    if (before)
        sha256_add(hash, before, SUM);
    sha256_add(hash, data, n);
    sha256_end(hash, hex);
    for (size_t i = 0; *hex && i < SUM; i++) {
        const char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        sum[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return *hex;
}

/* Verifies the blocks of a file [bytes] and joins what they hold. */
static kvant_status join_blocks(const char *name, const uint8_t *file, size_t bytes, uint8_t *payload, size_t *held, kvant_error *err)
{
    *held = 0;
    for (size_t at = 0, n; at < bytes; at += n + SUM, *held += n) {
        uint8_t sum[SUM];
        n = (bytes - at < BLOCK ? bytes - at : BLOCK) - SUM;
        if (!sum_block(at ? file + at - SUM : NULL, file + at, n, sum))
            return kvant_fail(err, KVANT_NOMEM, "%s: no memory to verify it", name);
        if (memcmp(sum, file + at + n, SUM))
            return kvant_fail(err, KVANT_INVALID, "%s: bytes %zu to %zu are damaged: they do not match their checksum; %s", name, at,
                              at + n + SUM - 1, remedy);
        memcpy(payload + *held, file + at, n);
    }
    return KVANT_OK;
}

/* {"PART": "sha256", ...}: it becomes part of what a cell is called. */
static bool valid_origin(const char *origin)
{
    cJSON *object;
    const cJSON *item;
#pragma omp critical(states_json)          /* cJSON notes the place of an error in one variable for all */
    object = cJSON_ParseWithOpts(origin, NULL, true);
    bool valid = cJSON_IsObject(object);
    cJSON_ArrayForEach(item, object)
        valid = valid && cJSON_IsString(item) && strlen(item->valuestring) == SHA256_HEX - 1 &&
                strspn(item->valuestring, "0123456789abcdef") == SHA256_HEX - 1 &&
                strspn(item->string, "abcdefghijklmnopqrstuvwxyz_0123456789") == strlen(item->string);
    cJSON_Delete(object);
    return valid;
}

/* The three sections of a verified payload. Key and origin end with a NUL of their own, which their length counts. */
static kvant_status find_sections(const char *name, size_t held, states_file *file, kvant_error *err)
{
    const uint8_t *payload = (const uint8_t *)file->payload;
    uint64_t key = get(payload + 12, 4), origin = get(payload + 16, 4), state = get(payload + 20, 8), left = held - HEAD;
    if (!key || key > left || !origin || origin > left - key || state != left - key - origin)
        return kvant_fail(err, KVANT_INVALID, "%s: bytes 12 to 27: the lengths in the header are not those of the file; %s", name, remedy);
    file->key = file->payload + HEAD;
    file->origin = file->key + key;
    file->state = payload + HEAD + key + origin;
    file->state_bytes = (size_t)state;
    if (memchr(file->key, 0, key) != file->key + key - 1 || memchr(file->origin, 0, origin) != file->origin + origin - 1 ||
        !valid_origin(file->origin))
        return kvant_fail(err, KVANT_INVALID, "%s: bytes %d to %zu: key and origin are not as they are written; %s", name, HEAD,
                          held - file->state_bytes - 1, remedy);
    return KVANT_OK;
}

kvant_status states_parse(const char *name, const void *data, size_t bytes, states_file *file, kvant_error *err)
{
    const uint8_t *raw = data;
    *file = (states_file){ 0 };
    if (bytes < sizeof magic || memcmp(raw, magic, sizeof magic))
        return kvant_fail(err, KVANT_INVALID, "%s: bytes 0 to 7: not a state file of kvant; %s", name, remedy);
    if (bytes < HEAD + SUM || (bytes % BLOCK && bytes % BLOCK <= SUM))
        return kvant_fail(err, KVANT_INVALID, "%s: cut short: %zu bytes are no whole number of blocks; %s", name, bytes, remedy);
    if (get(raw + 8, 4) != VERSION)
        return kvant_fail(err, KVANT_INVALID, "%s: bytes 8 to 11: format version %llu, and this program reads version %d; %s", name,
                          (unsigned long long)get(raw + 8, 4), VERSION, remedy);
    size_t held;
    if (!(file->payload = malloc(bytes + 1)))
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its %zu bytes", name, bytes);
    kvant_status status = join_blocks(name, raw, bytes, (uint8_t *)file->payload, &held, err);
    if (!status) {
        file->payload[held] = '\0';
        status = find_sections(name, held, file, err);
    }
    if (status) {
        free(file->payload);
        *file = (states_file){ 0 };
    }
    return status;
}

static kvant_status write_file(const char *path, const char *key, const char *origin, const void *state, size_t state_bytes,
                               uint64_t *written, kvant_error *err)
{
    const size_t key_bytes = strlen(key) + 1, origin_bytes = strlen(origin) + 1;
    const size_t held = HEAD + key_bytes + origin_bytes + state_bytes, blocks = (held + DATA - 1) / DATA;
    uint8_t *payload = malloc(held), *file = malloc(held + blocks * SUM), *at = file;
    bool ok = payload && file;
    if (ok) {
        memcpy(payload, magic, sizeof magic);
        put(payload + 8, VERSION, 4);
        put(payload + 12, key_bytes, 4);
        put(payload + 16, origin_bytes, 4);
        put(payload + 20, state_bytes, 8);
        memcpy(payload + HEAD, key, key_bytes);
        memcpy(payload + HEAD + key_bytes, origin, origin_bytes);
        memcpy(payload + HEAD + key_bytes + origin_bytes, state, state_bytes);
    }
    for (size_t done = 0, n; ok && done < held; done += n, at += n + SUM) {
        n = held - done < DATA ? held - done : DATA;
        memcpy(at, payload + done, n);
        ok = sum_block(done ? at - SUM : NULL, at, n, at + n);
    }
    kvant_status status = ok ? file_write(path, file, held + blocks * SUM, err)
                             : kvant_fail(err, KVANT_NOMEM, "%s: no memory to write it", path);
    *written = held + blocks * SUM;
    free(payload);
    free(file);
    return status;
}

/* KVANT_OK with file->payload NULL: there is none of that name. */
static kvant_status read_file(const char *path, const char *key, states_file *file, uint64_t *bytes, kvant_error *err)
{
    struct stat there;
    char *data = NULL;
    size_t n = 0;
    *file = (states_file){ 0 };
    if (stat(path, &there) && errno == ENOENT)
        return KVANT_OK;
    kvant_status status = file_read(path, &data, &n, err);
    if (!status)
        status = states_parse(path, data, n, file, err);
    if (!status && strcmp(file->key, key)) {
        status = kvant_fail(err, KVANT_INVALID, "%s: the key inside, from byte %d on, is not the one that the file's name stands for: it "
                            "was renamed; %s", path, HEAD, remedy);
        free(file->payload);
        *file = (states_file){ 0 };
    }
    free(data);
    *bytes = n;
    return status;
}

/* ---- Codecs ---------------------------------------------------------------------------------- */

static kvant_status make_codec(const states_source *source, const char *isa, kvant_codec *codec, kvant_error *err)
{
    kvant_status status = kvant_open(source->quantizer, &source->shape, &source->args, isa, codec, err);
    if (!status && source->vectors)
        status = kvant_train(codec, source->vectors, source->n, err);
    if (status)
        kvant_close(codec);
    return status;
}

static const noted *find_note(const states *s, const char *path)
{
    for (size_t i = 0; i < s->n_notes; i++)
        if (!strcmp(s->notes[i].path, path))
            return &s->notes[i];
    return NULL;
}

/* The file must be as it was when somebody asked what in it was imported. */
static kvant_status compare_note(const states *s, const char *path, const char *origin, kvant_error *err)
{
    const noted *note = find_note(s, path);
    return !note || !strcmp(note->origin, origin) ? KVANT_OK
        : kvant_fail(err, KVANT_INVALID, "%s: other tables were imported into it meanwhile; begin again", path);
}

/* Path and key of a source, and the file if it is there. */
typedef struct { char *key, *path; states_file file; uint64_t bytes; } entry;

static void entry_free(entry *e)
{
    free(e->key);
    free(e->path);
    free(e->file.payload);
}

static kvant_status entry_open(const states *s, const states_source *source, entry *e, kvant_error *err)
{
    *e = (entry){ 0 };
    kvant_status status = states_key(source, &e->key, err);
    if (!status && !(e->path = states_path(s->folder, source, e->key)))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for the name of a state", s->folder);
    if (!status)
        status = read_file(e->path, e->key, &e->file, &e->bytes, err);
    if (!status)
        status = compare_note(s, e->path, e->file.payload ? e->file.origin : made_here, err);
    if (status)
        entry_free(e);
    return status;
}

static kvant_status open_stored(const entry *e, const states_source *source, const char *isa, kvant_codec *codec, kvant_error *err)
{
    kvant_error why;
    kvant_status status = kvant_open_state(source->quantizer, &source->shape, &source->args, isa, e->file.state, e->file.state_bytes,
                                           codec, &why);
    return status == KVANT_INVALID ? kvant_fail(err, status, "%s: %s; %s", e->path, why.text, remedy)
         : status ? kvant_fail(err, status, "%s", why.text) : KVANT_OK;
}

kvant_status states_fetch(states *s, const states_source *source, kvant_codec *codec, char **origin, kvant_error *err)
{
    entry e;
    kvant_status status = entry_open(s, source, &e, err);
    if (status)
        return status;
    status = e.file.payload ? open_stored(&e, source, NULL, codec, err) : make_codec(source, NULL, codec, err);
    if (!status && !(*origin = strdup(e.file.payload ? e.file.origin : made_here))) {
        kvant_close(codec);
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory", e.path);
    }
    entry_free(&e);
    return status;
}

kvant_status states_store(states *s, const states_source *source, const kvant_codec *codec, const char *origin, kvant_error *err)
{
    char *key, *path;
    uint64_t bytes = 0;
    kvant_status status = states_key(source, &key, err);
    if (status)
        return status;
    path = states_path(s->folder, source, key);
    status = path ? write_file(path, key, origin, codec->state, codec->plan.state, &bytes, err)
                  : kvant_fail(err, KVANT_NOMEM, "%s: no memory for the name of a state", s->folder);
    if (!status)
        status = count(s, path, true, bytes, err);
    free(path);
    free(key);
    return status;
}

kvant_status states_codec(states *s, const states_source *source, const char *isa, kvant_codec *codec, kvant_error *err)
{
    entry e;
    memset(codec, 0, sizeof *codec);
    kvant_status status = entry_open(s, source, &e, err);
    if (status)
        return status;
    if (e.file.payload) {
        status = open_stored(&e, source, isa, codec, err);
        if (!status && (status = count(s, e.path, false, e.bytes, err)))
            kvant_close(codec);
    } else {
        status = make_codec(source, isa, codec, err);
        if (!status && (status = s->mode == STATES_WRITE ? states_store(s, source, codec, made_here, err)
                                                         : count(s, e.path, true, 0, err)))
            kvant_close(codec);
    }
    entry_free(&e);
    return status;
}

/* ---- What was imported ----------------------------------------------------------------------- */

static kvant_status take_note(states *s, const states_source *source, const noted **note, kvant_error *err)
{
    entry e;
    kvant_status status = entry_open(s, source, &e, err);
    if (status)
        return status;
    *note = find_note(s, e.path);
    if (!*note) {
        noted *more = realloc(s->notes, (s->n_notes + 1) * sizeof *more), fresh;
        s->notes = more ? more : s->notes;
        fresh = (noted){ strdup(e.path), strdup(e.file.payload ? e.file.origin : made_here) };
        if (more && fresh.path && fresh.origin) {
            *note = &s->notes[s->n_notes];
            s->notes[s->n_notes++] = fresh;
        } else {
            free(fresh.path);
            free(fresh.origin);
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory", e.path);
        }
    }
    entry_free(&e);
    return status;
}

kvant_status states_imported(states *s, const states_source *source, char **origin, kvant_error *err)
{
    const noted *note = NULL;
    *origin = NULL;
    kvant_status status = take_note(s, source, &note, err);
    if (!status && strcmp(note->origin, made_here) &&
        !(*origin = text_format("{\"file\":\"%s\",\"imported\":%s}", strrchr(note->path, '/') + 1, note->origin)))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory", note->path);
    return status;
}
