/* fuzz_gguf.c - any bytes as a GGUF file, and any bytes strewn over a good one: refused with a reason, or readable in full.
 * Reads every key and item by every getter, and dequantises every row whose type is supported. */
#include "harness/lm/dequant.h"
#include "tests/gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile uint64_t sink;                          /* keeps the reads */

static uint64_t sum_string(gguf_string s)
{
    uint64_t sum = s.bytes;
    for (size_t i = 0; i < s.bytes; i++)
        sum += (uint8_t)s.data[i];
    return sum;
}

static uint64_t read_keys(const gguf *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        sum += sum_string(kv->key);
        for (uint64_t k = 0; k < kv->n; k++) {
            gguf_string s;
            int64_t integer;
            double real;
            if (gguf_item_string(f, kv, k, &s) || gguf_string_of(kv, &s))
                sum += sum_string(s);
            else if (!gguf_item_i64(kv, k, &integer) && !gguf_item_f64(kv, k, &real) && kv->item != GGUF_U64)
                abort();                                /* every type has a getter; u64 may be out of range */
        }
    }
    return sum;
}

static void read_tensors(const gguf *f)
{
    for (size_t i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        size_t row = (size_t)t->ne[0], rows = (size_t)(t->ne[1] * t->ne[2] * t->ne[3]);
        float *out = malloc(row * sizeof *out);
        kvant_error err;
        for (size_t k = 0; out && k < rows; k++)
            if (dequant_rows(t, k, 1, out, &err))
                break;
        free(out);
    }
}

static void read_file(const uint8_t *data, size_t bytes)
{
    kvant_error err = {""};
    gguf *f;
    uint32_t u;
    float x;
    bool b;
    gguf_string s;
    if (gguf_open_bytes(data, bytes, &f, &err)) {
        if (f || strlen(err.text) < 20)
            abort();
        return;
    }
    sink += read_keys(f);
    read_tensors(f);
    for (const char *const *key = (const char *const[]){"a", "general.alignment", "general.name", NULL}; *key; key++) {
        sink += gguf_get_u32(f, *key, &u) + gguf_get_f32(f, *key, &x) + gguf_get_bool(f, *key, &b);
        sink += gguf_get_string(f, *key, &s) ? sum_string(s) : 0;
        sink += gguf_tensor_find(f, *key) != NULL;
    }
    gguf_close(f);
}

/* A key of every type and a tensor of every tensor type. */
static byte_buffer good_file(void)
{
    static const uint8_t zeros[8192];
    gguf_writer w = writer_begin();
    char name[16];
    for (uint32_t type = 0; type < GGUF_N_TYPES; type++) {
        snprintf(name, sizeof name, "k%u", type);
        if (type != GGUF_STRING && type != GGUF_ARRAY) {
            writer_value(&w, name, type, zeros, gguf_type_bytes((gguf_type)type));
            name[0] = 'a';
            writer_array(&w, name, type, zeros, 2, 2 * gguf_type_bytes((gguf_type)type));
        }
    }
    writer_string(&w, "general.name", "x");
    writer_strings(&w, "words", (const char *const[]){"a", "", "b"}, 3);
    writer_u32(&w, "general.alignment", 32);
    for (uint32_t type = 0; type < 64; type++) {
        const ggml_type *t = ggml_type_find(type);
        if (!t)
            continue;
        snprintf(name, sizeof name, "t%u", type);
        writer_tensor(&w, name, type, 2, (uint64_t[]){t->block, 2}, zeros, 2 * t->bytes);
    }
    return writer_end(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static byte_buffer good;
    if (!good.data)
        good = good_file();
    read_file(data, bytes);
    uint8_t *file = malloc(good.bytes);
    if (!file)
        return 0;
    memcpy(file, good.data, good.bytes);
    for (size_t i = 0; i + 2 < bytes; i += 3)           /* place and value, three bytes each */
        file[(size_t)(data[i] | data[i + 1] << 8) % good.bytes] = data[i + 2];
    read_file(file, good.bytes);
    free(file);
    return 0;
}
