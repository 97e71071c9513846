/* gguf_writer.c - see gguf_writer.h.
 * Writes keys, tensor table and data into three buffers, which writer_end puts one after another. */
#include "tests/gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void buffer_add(byte_buffer *b, const void *data, size_t bytes)
{
    if (b->capacity - b->bytes < bytes) {
        b->capacity = 2 * b->capacity + bytes + 256;
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            abort();
    }
    if (bytes)
        memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

void buffer_u32(byte_buffer *b, uint32_t value) { buffer_add(b, &value, sizeof value); }
void buffer_u64(byte_buffer *b, uint64_t value) { buffer_add(b, &value, sizeof value); }

void buffer_string(byte_buffer *b, const char *s)
{
    buffer_u64(b, strlen(s));
    buffer_add(b, s, strlen(s));
}

static void pad(byte_buffer *b, size_t alignment)
{
    while (b->bytes % alignment)
        buffer_add(b, "", 1);
}

gguf_writer writer_begin(void) { return (gguf_writer){.version = 3, .alignment = 32}; }

void writer_value(gguf_writer *w, const char *key, uint32_t type, const void *value, size_t bytes)
{
    buffer_string(&w->kv, key);
    buffer_u32(&w->kv, type);
    buffer_add(&w->kv, value, bytes);
    w->n_kv++;
}

void writer_u32(gguf_writer *w, const char *key, uint32_t value) { writer_value(w, key, GGUF_U32, &value, sizeof value); }
void writer_f32(gguf_writer *w, const char *key, float value) { writer_value(w, key, GGUF_F32, &value, sizeof value); }
void writer_bool(gguf_writer *w, const char *key, bool value) { writer_value(w, key, GGUF_BOOL, &(uint8_t){value}, 1); }

void writer_string(gguf_writer *w, const char *key, const char *value)
{
    writer_value(w, key, GGUF_STRING, NULL, 0);
    buffer_string(&w->kv, value);
}

void writer_array(gguf_writer *w, const char *key, uint32_t item, const void *items, uint64_t n, size_t bytes)
{
    writer_value(w, key, GGUF_ARRAY, NULL, 0);
    buffer_u32(&w->kv, item);
    buffer_u64(&w->kv, n);
    buffer_add(&w->kv, items, bytes);
}

void writer_strings(gguf_writer *w, const char *key, const char *const *strings, size_t n)
{
    writer_array(w, key, GGUF_STRING, NULL, n, 0);
    for (size_t i = 0; i < n; i++)
        buffer_string(&w->kv, strings[i]);
}

void writer_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *ne, const void *data,
                   size_t bytes)
{
    pad(&w->data, w->alignment);
    buffer_string(&w->tensors, name);
    buffer_u32(&w->tensors, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        buffer_u64(&w->tensors, ne[i]);
    buffer_u32(&w->tensors, type);
    buffer_u64(&w->tensors, w->data.bytes);
    buffer_add(&w->data, data, bytes);
    w->n_tensors++;
}

byte_buffer writer_end(gguf_writer *w)
{
    byte_buffer b = {0};
    if (w->alignment != 32)
        writer_u32(w, "general.alignment", w->alignment);
    buffer_add(&b, "GGUF", 4);
    buffer_u32(&b, w->version);
    buffer_u64(&b, w->n_tensors);
    buffer_u64(&b, w->n_kv);
    buffer_add(&b, w->kv.data, w->kv.bytes);
    buffer_add(&b, w->tensors.data, w->tensors.bytes);
    if (w->n_tensors)
        pad(&b, w->alignment);
    buffer_add(&b, w->data.data, w->data.bytes);
    free(w->kv.data);
    free(w->tensors.data);
    free(w->data.data);
    return b;
}

kvant_status gguf_open_bytes(const void *data, size_t bytes, gguf **file, kvant_error *err)
{
    char path[64];
    int fd = memfd_create("test.gguf", MFD_CLOEXEC);
    if (fd < 0)
        abort();
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n <= 0)
            abort();
        done += (size_t)n;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    kvant_status status = gguf_open(path, file, err);
    close(fd);                                          /* the mapping stays */
    return status;
}

kvant_status gguf_open_buffer(byte_buffer buffer, gguf **file, kvant_error *err)
{
    kvant_status status = gguf_open_bytes(buffer.data, buffer.bytes, file, err);
    free(buffer.data);
    return status;
}

/* The character that stands for a byte in such vocabularies, as UTF-8. */
static void spell(unsigned byte, char out[3])
{
    unsigned c = byte;
    if (byte <= 0x20)
        c = 0x100 + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        c = 0x121 + (byte - 0x7f);
    else if (byte == 0xad)
        c = 0x143;
    if (c < 0x80)
        snprintf(out, 3, "%c", (int)c);
    else
        snprintf(out, 3, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
}

void writer_bpe(gguf_writer *w, const char *pre, const char *const *tokens, const int32_t *types, size_t n_tokens,
                const char *const *merges, size_t n_merges)
{
    byte_buffer all_types = {0};
    writer_string(w, "tokenizer.ggml.model", "gpt2");
    writer_string(w, "tokenizer.ggml.pre", pre);
    writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, NULL, 256 + n_tokens, 0);
    for (unsigned i = 0; i < 256; i++) {
        char byte[3];
        spell(i, byte);
        buffer_string(&w->kv, byte);
        buffer_u32(&all_types, 1);
    }
    for (size_t i = 0; i < n_tokens; i++) {
        buffer_string(&w->kv, tokens[i]);
        buffer_u32(&all_types, types ? (uint32_t)types[i] : 1);
    }
    writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, all_types.data, 256 + n_tokens, all_types.bytes);
    free(all_types.data);
    writer_strings(w, "tokenizer.ggml.merges", merges, n_merges);
}

void writer_spm(gguf_writer *w, const char *const *tokens, const int32_t *types, const float *scores, size_t n_tokens)
{
    byte_buffer all_types = {0}, all_scores = {0};
    static const float low = -100;
    writer_string(w, "tokenizer.ggml.model", "llama");
    writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, NULL, 256 + n_tokens, 0);
    for (unsigned i = 0; i < 256 + n_tokens; i++) {
        char byte[8];
        snprintf(byte, sizeof byte, "<0x%02X>", i & 255);
        buffer_string(&w->kv, i < 256 ? byte : tokens[i - 256]);
        buffer_u32(&all_types, i < 256 ? 6 : types ? (uint32_t)types[i - 256] : 1);
        buffer_add(&all_scores, i < 256 ? &low : scores ? &scores[i - 256] : &(float){0}, sizeof low);
    }
    writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, all_types.data, 256 + n_tokens, all_types.bytes);
    writer_array(w, "tokenizer.ggml.scores", GGUF_F32, all_scores.data, 256 + n_tokens, all_scores.bytes);
    free(all_types.data);
    free(all_scores.data);
}
