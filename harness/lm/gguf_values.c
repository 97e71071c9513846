/* gguf_values.c - the types of GGUF values, and scalars and array items as numbers.
 * Values lie unaligned in the mapped file, so each is copied out before it is looked at. */
#include "harness/lm/gguf.h"

#include <string.h>

static const struct { const char *name; size_t bytes; } value_types[GGUF_N_TYPES] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},   [GGUF_U16] = {"u16", 2},      [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4}, [GGUF_I32] = {"i32", 4}, [GGUF_F32] = {"f32", 4},      [GGUF_BOOL] = {"bool", 1},
    [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8}, [GGUF_F64] = {"f64", 8},      [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},
};

const char *gguf_type_name(gguf_type type)
{
    return (unsigned)type < GGUF_N_TYPES ? value_types[type].name : "unknown";
}

size_t gguf_type_bytes(gguf_type type)
{
    return (unsigned)type < GGUF_N_TYPES ? value_types[type].bytes : 0;
}

bool gguf_item_i64(const gguf_kv *kv, uint64_t index, int64_t *value)
{
    if (index >= kv->n)
        return false;
    const uint8_t *p = kv->data + index * gguf_type_bytes(kv->item);
    union { uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; uint64_t u64; int64_t i64; } v;
    memcpy(&v, p, gguf_type_bytes(kv->item));
    switch (kv->item) {
    case GGUF_U8: *value = *p; return true;
    case GGUF_I8: *value = (int8_t)*p; return true;
    case GGUF_BOOL: *value = *p != 0; return true;
    case GGUF_U16: *value = v.u16; return true;
    case GGUF_I16: *value = v.i16; return true;
    case GGUF_U32: *value = v.u32; return true;
    case GGUF_I32: *value = v.i32; return true;
    case GGUF_I64: *value = v.i64; return true;
    case GGUF_U64: *value = (int64_t)v.u64; return v.u64 <= INT64_MAX;
    default: return false;
    }
}

bool gguf_item_f64(const gguf_kv *kv, uint64_t index, double *value)
{
    float f;
    if (index >= kv->n)
        return false;
    const uint8_t *p = kv->data + index * gguf_type_bytes(kv->item);
    switch (kv->item) {
    case GGUF_F32: memcpy(&f, p, sizeof f); *value = f; return true;
    case GGUF_F64: memcpy(value, p, sizeof *value); return true;
    default: return false;
    }
}

/* A key whose value is one scalar. */
static const gguf_kv *find_scalar(const gguf *f, const char *key)
{
    const gguf_kv *kv = gguf_find(f, key);
    return kv && kv->type != GGUF_ARRAY ? kv : NULL;
}

bool gguf_get_u32(const gguf *f, const char *key, uint32_t *value)
{
    const gguf_kv *kv = find_scalar(f, key);
    int64_t v;
    if (!kv || kv->type == GGUF_BOOL || !gguf_item_i64(kv, 0, &v) || v < 0 || v > UINT32_MAX)
        return false;
    *value = (uint32_t)v;
    return true;
}

bool gguf_get_f32(const gguf *f, const char *key, float *value)
{
    const gguf_kv *kv = find_scalar(f, key);
    double v;
    if (!kv || !gguf_item_f64(kv, 0, &v))
        return false;
    *value = (float)v;
    return true;
}

bool gguf_get_bool(const gguf *f, const char *key, bool *value)
{
    const gguf_kv *kv = find_scalar(f, key);
    if (!kv || kv->type != GGUF_BOOL)
        return false;
    *value = *kv->data != 0;
    return true;
}
