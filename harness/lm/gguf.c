/* gguf.c - the GGUF reader: one pass over the mapped file that checks everything, then pointers into the mapping.
 * Nothing is allocated for a count before it is known that so many items can lie in the bytes that are left. */
#include "harness/lm/gguf.h"

#include "harness/lm/dequant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF values are read as they lie in the file: this needs a little-endian machine"
#endif

/* The least bytes that an entry can take: a bound on the counts in the header. */
enum {
    MIN_KV_BYTES = 8 + 4 + 1,          /* length of the key, type, value */
    MIN_TENSOR_BYTES = 8 + 4 + 4 + 8,  /* length of the name, n_dims, type, offset */
    HEADER_BYTES = 24,
    DEFAULT_ALIGNMENT = 32
};

struct gguf {
    char *path;
    const uint8_t *map;
    size_t bytes;
    uint32_t version;
    size_t n_kv, n_tensors;
    gguf_kv *kv;
    gguf_tensor *tensors;
    const gguf_string **keys, **names;      /* sorted; each points to the first member of a gguf_kv or gguf_tensor */
    const uint8_t ***strings;               /* [n_kv]: of an array of strings, where each begins (its length); else NULL */
};

/* ---- Reading with bounds --------------------------------------------------------------------- */

typedef struct { const gguf *file; size_t at; kvant_error *err; } cursor;

/* A name from the file as text for a message: cut short, and with nothing that a terminal would obey. */
typedef struct { char text[72]; } quoted;

static quoted quote(gguf_string s)
{
    quoted q;
    size_t n = s.bytes < sizeof q.text ? s.bytes : sizeof q.text - 4;
    for (size_t i = 0; i < n; i++)
        q.text[i] = s.data[i] >= ' ' && s.data[i] <= '~' ? s.data[i] : '?';
    strcpy(q.text + n, n < s.bytes ? "..." : "");
    return q;
}

/* The next `bytes` bytes, or NULL with the error set. */
static const uint8_t *take(cursor *c, uint64_t bytes, const char *what)
{
    size_t left = c->file->bytes - c->at;
    if (bytes > left) {
        kvant_fail(c->err, KVANT_INVALID, "%s: byte %zu: %s needs %llu bytes and %zu are left; truncated? fetch it again",
                   c->file->path, c->at, what, (unsigned long long)bytes, left);
        return NULL;
    }
    const uint8_t *p = c->file->map + c->at;
    c->at += (size_t)bytes;
    return p;
}

static bool take_u32(cursor *c, uint32_t *value, const char *what)
{
    const uint8_t *p = take(c, sizeof *value, what);
    if (p)
        memcpy(value, p, sizeof *value);
    return p != NULL;
}

static bool take_u64(cursor *c, uint64_t *value, const char *what)
{
    const uint8_t *p = take(c, sizeof *value, what);
    if (p)
        memcpy(value, p, sizeof *value);
    return p != NULL;
}

static bool take_string(cursor *c, gguf_string *s, const char *what)
{
    uint64_t bytes;
    if (!take_u64(c, &bytes, what))
        return false;
    s->data = (const char *)take(c, bytes, what);
    s->bytes = (size_t)bytes;
    return s->data != NULL;
}

/* Refuses a count of items that cannot lie in the rest of the file. */
static kvant_status check_count(const cursor *c, uint64_t n, size_t least, const char *what)
{
    size_t left = c->file->bytes - c->at;
    if (n <= left / least)
        return KVANT_OK;
    return kvant_fail(c->err, KVANT_INVALID, "%s: byte %zu: %llu %s cannot lie in the %zu bytes that are left; truncated or "
                      "damaged? fetch it again", c->file->path, c->at, (unsigned long long)n, what, left);
}

static kvant_status no_memory(const gguf *f, kvant_error *err)
{
    return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the file's tables", f->path);
}

/* ---- Keys and values --------------------------------------------------------------------------- */

/* Walks over an array of strings and notes where each begins. */
static kvant_status read_strings(cursor *c, gguf *f, gguf_kv *kv)
{
    if (check_count(c, kv->n, sizeof(uint64_t), "strings"))
        return KVANT_INVALID;
    const uint8_t **starts = malloc((kv->n ? (size_t)kv->n : 1) * sizeof *starts);
    if (!starts)
        return no_memory(f, c->err);
    f->strings[kv - f->kv] = starts;
    for (size_t i = 0; i < kv->n; i++) {
        gguf_string s;
        starts[i] = f->map + c->at;
        if (!take_string(c, &s, "a string of an array"))
            return KVANT_INVALID;
    }
    return KVANT_OK;
}

static kvant_status read_array(cursor *c, gguf *f, gguf_kv *kv)
{
    size_t at = c->at;
    uint32_t item;
    if (!take_u32(c, &item, "an array's type") || !take_u64(c, &kv->n, "an array's length"))
        return KVANT_INVALID;
    if (item >= GGUF_N_TYPES || item == GGUF_ARRAY)
        return kvant_fail(c->err, KVANT_INVALID, "%s: byte %zu: key '%s' is an array of %s, which this program does not read; "
                          "convert the file again", f->path, at, quote(kv->key).text,
                          item == GGUF_ARRAY ? "arrays" : "an unknown type");
    kv->item = (gguf_type)item;
    kv->data = f->map + c->at;
    if (item == GGUF_STRING)
        return read_strings(c, f, kv);
    if (check_count(c, kv->n, gguf_type_bytes((gguf_type)item), "array items"))
        return KVANT_INVALID;
    c->at += (size_t)kv->n * gguf_type_bytes((gguf_type)item);
    return KVANT_OK;
}

static kvant_status read_kv(cursor *c, gguf *f, gguf_kv *kv)
{
    uint32_t type;
    if (!take_string(c, &kv->key, "a key"))
        return KVANT_INVALID;
    size_t at = c->at;
    if (!take_u32(c, &type, "a value's type"))
        return KVANT_INVALID;
    if (type >= GGUF_N_TYPES)
        return kvant_fail(c->err, KVANT_INVALID, "%s: byte %zu: key '%s' has the unknown value type %u; damaged? fetch it again",
                          f->path, at, quote(kv->key).text, type);
    kv->type = kv->item = (gguf_type)type;
    kv->n = 1;
    kv->data = f->map + c->at;
    if (type == GGUF_ARRAY)
        return read_array(c, f, kv);
    gguf_string s;
    bool ok = type == GGUF_STRING ? take_string(c, &s, "a string") : take(c, gguf_type_bytes((gguf_type)type), "a value") != NULL;
    return ok ? KVANT_OK : KVANT_INVALID;
}

/* ---- Tensors ------------------------------------------------------------------------------------- */

/* Bytes of a tensor from its type and shape, everything checked; needs no data yet. */
static kvant_status size_tensor(cursor *c, const gguf *f, gguf_tensor *t)
{
    quoted name = quote(t->name);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (!t->ne[i])
            return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': dimension %u is 0; convert the file again", f->path,
                              name.text, i);
        if (__builtin_mul_overflow(elements, t->ne[i], &elements) || elements > INT64_MAX)
            return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': its dimensions overflow; damaged? fetch it again", f->path,
                              name.text);
    }
    const ggml_type *type = ggml_type_find(t->type);
    if (!type)
        return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': unknown type %u; convert the model to F16, Q8_0 or the "
                          "like", f->path, name.text, t->type);
    if (t->ne[0] % type->block)
        return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': rows of %llu are no multiple of %s's block of %u; convert the "
                          "file again", f->path, name.text, (unsigned long long)t->ne[0], type->name, type->block);
    if (__builtin_mul_overflow(elements / type->block, (uint64_t)type->bytes, &t->bytes))
        return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': its size overflows; damaged? fetch it again", f->path,
                          name.text);
    return KVANT_OK;
}

/* Reads an entry of the tensor table; *offset is relative to the data section, which is not known yet. */
static kvant_status read_tensor(cursor *c, const gguf *f, gguf_tensor *t, uint64_t *offset)
{
    if (!take_string(c, &t->name, "a tensor's name"))
        return KVANT_INVALID;
    size_t at = c->at;
    if (!take_u32(c, &t->n_dims, "a tensor's dimension count"))
        return KVANT_INVALID;
    if (t->n_dims > 4)
        return kvant_fail(c->err, KVANT_INVALID, "%s: byte %zu: tensor '%s' has %u dimensions, at most 4 are possible; damaged? "
                          "fetch it again", f->path, at, quote(t->name).text, t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        if (i < t->n_dims && !take_u64(c, &t->ne[i], "a tensor's dimensions"))
            return KVANT_INVALID;
    }
    if (!take_u32(c, &t->type, "a tensor's type") || !take_u64(c, offset, "a tensor's offset"))
        return KVANT_INVALID;
    return size_tensor(c, f, t);
}

/* Points every tensor to its data, now that the end of the table says where the data section begins. */
static kvant_status place_tensors(cursor *c, gguf *f, const uint64_t *offsets)
{
    uint32_t alignment = DEFAULT_ALIGNMENT;
    if (gguf_find(f, "general.alignment") && !gguf_get_u32(f, "general.alignment", &alignment))
        return kvant_fail(c->err, KVANT_INVALID, "%s: key 'general.alignment' is no integer; convert the file again", f->path);
    if (!alignment || alignment & (alignment - 1))
        return kvant_fail(c->err, KVANT_INVALID, "%s: key 'general.alignment' is %u and no power of two; convert the file again",
                          f->path, alignment);
    uint64_t base = ((uint64_t)c->at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < f->n_tensors; i++) {
        gguf_tensor *t = &f->tensors[i];
        uint64_t start, end;
        if (offsets[i] % alignment)
            return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': offset %llu is no multiple of the alignment %u; damaged? "
                              "fetch it again", f->path, quote(t->name).text, (unsigned long long)offsets[i], alignment);
        if (__builtin_add_overflow(base, offsets[i], &start) || __builtin_add_overflow(start, t->bytes, &end) || end > f->bytes)
            return kvant_fail(c->err, KVANT_INVALID, "%s: tensor '%s': %llu bytes at offset %llu end beyond the file's %zu "
                              "bytes; truncated? fetch it again", f->path, quote(t->name).text, (unsigned long long)t->bytes,
                              (unsigned long long)offsets[i], f->bytes);
        t->data = f->map + start;
    }
    return KVANT_OK;
}

/* ---- Lookup by name --------------------------------------------------------------------------------- */

static int compare_strings(const void *pa, const void *pb)
{
    const gguf_string *a = *(const gguf_string *const *)pa, *b = *(const gguf_string *const *)pb;
    int order = memcmp(a->data, b->data, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static const gguf_string *find_string(const gguf_string *const *sorted, size_t n, const char *name)
{
    gguf_string wanted = {name, strlen(name)};
    const gguf_string *key = &wanted;
    const gguf_string *const *hit = n ? bsearch(&key, sorted, n, sizeof *sorted, compare_strings) : NULL;
    return hit ? *hit : NULL;
}

/* Sorts; two equal names are an error, because a reader could take either. */
static kvant_status sort_names(const gguf *f, const gguf_string **names, size_t n, const char *what, kvant_error *err)
{
    if (n)
        qsort(names, n, sizeof *names, compare_strings);
    for (size_t i = 1; i < n; i++)
        if (!compare_strings(&names[i - 1], &names[i]))
            return kvant_fail(err, KVANT_INVALID, "%s: %s '%s' is there twice; convert the file again", f->path, what,
                              quote(*names[i]).text);
    return KVANT_OK;
}

const gguf_kv *gguf_find(const gguf *f, const char *key)
{
    return (const gguf_kv *)(const void *)find_string(f->keys, f->n_kv, key);
}

const gguf_tensor *gguf_tensor_find(const gguf *f, const char *name)
{
    return (const gguf_tensor *)(const void *)find_string(f->names, f->n_tensors, name);
}

/* ---- Opening ------------------------------------------------------------------------------------------ */

static kvant_status read_header(cursor *c, gguf *f, uint64_t *n_tensors, uint64_t *n_kv)
{
    const uint8_t *magic = take(c, 4, "the header");
    if (!magic || memcmp(magic, "GGUF", 4))
        return kvant_fail(c->err, KVANT_INVALID, "%s: byte 0: this is no GGUF file (it does not begin with 'GGUF')", f->path);
    if (!take_u32(c, &f->version, "the header"))
        return KVANT_INVALID;
    if (f->version != 2 && f->version != 3)
        return kvant_fail(c->err, KVANT_INVALID, "%s: byte 4: GGUF version %u is not supported, 2 and 3 are; convert the file "
                          "again%s", f->path, f->version,
                          f->version && !(f->version & 0xffff) ? ", as little-endian: this one is big-endian" : "");
    return take_u64(c, n_tensors, "the header") && take_u64(c, n_kv, "the header") ? KVANT_OK : KVANT_INVALID;
}

static kvant_status read_kvs(cursor *c, gguf *f, uint64_t n)
{
    kvant_status status = check_count(c, n, MIN_KV_BYTES, "keys");
    if (status)
        return status;
    f->kv = calloc(n ? (size_t)n : 1, sizeof *f->kv);
    f->keys = calloc(n ? (size_t)n : 1, sizeof *f->keys);
    f->strings = calloc(n ? (size_t)n : 1, sizeof *f->strings);
    if (!f->kv || !f->keys || !f->strings)
        return no_memory(f, c->err);
    f->n_kv = (size_t)n;
    for (size_t i = 0; i < f->n_kv && !status; i++) {
        status = read_kv(c, f, &f->kv[i]);
        f->keys[i] = &f->kv[i].key;
    }
    return status ? status : sort_names(f, f->keys, f->n_kv, "key", c->err);
}

static kvant_status read_tensors(cursor *c, gguf *f, uint64_t n)
{
    kvant_status status = check_count(c, n, MIN_TENSOR_BYTES, "tensors");
    if (status)
        return status;
    uint64_t *offsets = calloc(n ? (size_t)n : 1, sizeof *offsets);
    f->tensors = calloc(n ? (size_t)n : 1, sizeof *f->tensors);
    f->names = calloc(n ? (size_t)n : 1, sizeof *f->names);
    if (!offsets || !f->tensors || !f->names) {
        free(offsets);
        return no_memory(f, c->err);
    }
    f->n_tensors = (size_t)n;
    for (size_t i = 0; i < f->n_tensors && !status; i++) {
        status = read_tensor(c, f, &f->tensors[i], &offsets[i]);
        f->names[i] = &f->tensors[i].name;
    }
    if (!status)
        status = sort_names(f, f->names, f->n_tensors, "tensor", c->err);
    if (!status)
        status = place_tensors(c, f, offsets);
    free(offsets);
    return status;
}

static kvant_status map_file(gguf *f, kvant_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kvant_fail(err, KVANT_IO, "%s: cannot open: %s", f->path, strerror(errno));
    struct stat st;
    kvant_status status = KVANT_OK;
    if (fstat(fd, &st))
        status = kvant_fail(err, KVANT_IO, "%s: cannot read its size: %s", f->path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = kvant_fail(err, KVANT_INVALID, "%s: not a regular file; name a GGUF file", f->path);
    else if (st.st_size < HEADER_BYTES)
        status = kvant_fail(err, KVANT_INVALID, "%s: %lld bytes are too few for a GGUF file; truncated? fetch it again", f->path,
                            (long long)st.st_size);
    if (!status) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            status = kvant_fail(err, KVANT_IO, "%s: cannot map: %s", f->path, strerror(errno));
        } else {
            f->map = map;
            f->bytes = (size_t)st.st_size;
        }
    }
    close(fd);
    return status;
}

kvant_status gguf_open(const char *path, gguf **file, kvant_error *err)
{
    *file = NULL;
    gguf *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory", path);
    }
    uint64_t n_tensors = 0, n_kv = 0;
    cursor c = {f, 0, err};
    kvant_status status = map_file(f, err);
    if (!status)
        status = read_header(&c, f, &n_tensors, &n_kv);
    if (!status)
        status = read_kvs(&c, f, n_kv);
    if (!status)
        status = read_tensors(&c, f, n_tensors);
    if (status)
        gguf_close(f);
    else
        *file = f;
    return status;
}

void gguf_close(gguf *f)
{
    if (!f)
        return;
    for (size_t i = 0; f->strings && i < f->n_kv; i++)
        free(f->strings[i]);
    free(f->strings);
    free(f->keys);
    free(f->names);
    free(f->kv);
    free(f->tensors);
    if (f->map)
        munmap((void *)(uintptr_t)f->map, f->bytes);
    free(f->path);
    free(f);
}

void gguf_forget(gguf *f) { (void)madvise((void *)(uintptr_t)f->map, f->bytes, MADV_DONTNEED); }

const char *gguf_path(const gguf *f) { return f->path; }
uint32_t gguf_version(const gguf *f) { return f->version; }
uint64_t gguf_bytes(const gguf *f) { return f->bytes; }
size_t gguf_n_kv(const gguf *f) { return f->n_kv; }
size_t gguf_n_tensors(const gguf *f) { return f->n_tensors; }
const gguf_kv *gguf_kv_at(const gguf *f, size_t index) { return index < f->n_kv ? &f->kv[index] : NULL; }
const gguf_tensor *gguf_tensor_at(const gguf *f, size_t index) { return index < f->n_tensors ? &f->tensors[index] : NULL; }

/* ---- Strings ------------------------------------------------------------------------------------------- */

/* The string whose length begins at p: checked when the file was opened. */
static gguf_string string_at(const uint8_t *p)
{
    uint64_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (gguf_string){(const char *)p + sizeof bytes, (size_t)bytes};
}

bool gguf_item_string(const gguf *f, const gguf_kv *array, uint64_t index, gguf_string *value)
{
    if (array->type != GGUF_ARRAY || array->item != GGUF_STRING || index >= array->n)
        return false;
    *value = string_at(f->strings[array - f->kv][index]);
    return true;
}

bool gguf_string_of(const gguf_kv *kv, gguf_string *value)
{
    if (kv->type != GGUF_STRING)
        return false;
    *value = string_at(kv->data);
    return true;
}

bool gguf_get_string(const gguf *f, const char *key, gguf_string *value)
{
    const gguf_kv *kv = gguf_find(f, key);
    return kv && gguf_string_of(kv, value);
}
