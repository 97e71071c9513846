/* gguf.h - reads GGUF v2 and v3 files: memory-mapped, every count, length and offset checked before use.
 * A hostile file ends in KVANT_INVALID with a text that names file and place; it never crashes. */
#ifndef KVANT_GGUF_H
#define KVANT_GGUF_H

#include "harness/kvant.h"

typedef struct gguf gguf;

typedef enum {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
    GGUF_U64, GGUF_I64, GGUF_F64, GGUF_N_TYPES
} gguf_type;

typedef struct { const char *data; size_t bytes; } gguf_string;      /* not NUL-terminated; points into the file */

/* One key with its value. Scalars lie in `scalar` (raw little-endian bytes, read by the getters below). */
typedef struct {
    gguf_string key;
    gguf_type type;                /* of the value; of an array, GGUF_ARRAY */
    gguf_type item;                /* of an array: type of its items */
    uint64_t n;                    /* of an array: items; else 1 */
    const uint8_t *data;           /* first byte of the value (of an array: of its first item) */
} gguf_kv;

typedef struct {
    gguf_string name;
    uint32_t n_dims;
    uint64_t ne[4];                /* ne[0] is the contiguous dimension (columns); absent ones are 1 */
    uint32_t type;                 /* ggml type number, see dequant.h */
    const uint8_t *data;
    uint64_t bytes;
} gguf_tensor;

kvant_status gguf_open(const char *path, gguf **file, kvant_error *err);
void gguf_close(gguf *file);                                          /* NULL is allowed */

/* Lets go of the memory that the file's pages take: they come back from the file when they are looked at. */
void gguf_forget(gguf *file);

const char *gguf_path(const gguf *file);
uint32_t gguf_version(const gguf *file);
uint64_t gguf_bytes(const gguf *file);
size_t gguf_n_kv(const gguf *file);
const gguf_kv *gguf_kv_at(const gguf *file, size_t index);
size_t gguf_n_tensors(const gguf *file);
const gguf_tensor *gguf_tensor_at(const gguf *file, size_t index);

const gguf_kv *gguf_find(const gguf *file, const char *key);          /* NULL: not there */
const gguf_tensor *gguf_tensor_find(const gguf *file, const char *name);

/* Any integer type that fits, any float type, a bool; false when the key is absent or of another kind. */
bool gguf_get_u32(const gguf *file, const char *key, uint32_t *value);
bool gguf_get_f32(const gguf *file, const char *key, float *value);
bool gguf_get_bool(const gguf *file, const char *key, bool *value);
bool gguf_get_string(const gguf *file, const char *key, gguf_string *value);

bool gguf_string_of(const gguf_kv *kv, gguf_string *value);            /* of a key that holds one string */

/* Items of an array; false when out of range or of another kind. Strings are found in O(1) after the first call. */
bool gguf_item_string(const gguf *file, const gguf_kv *array, uint64_t index, gguf_string *value);
bool gguf_item_i64(const gguf_kv *array, uint64_t index, int64_t *value);
bool gguf_item_f64(const gguf_kv *array, uint64_t index, double *value);

const char *gguf_type_name(gguf_type type);
size_t gguf_type_bytes(gguf_type type);                               /* of a scalar; 0 for strings and arrays */

#endif
