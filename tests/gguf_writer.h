/* gguf_writer.h - writes small GGUF files for tests: vocabularies, tiny models, and files with deliberate faults.
 * Runs out of memory by abort(): a test has no use for less. */
#ifndef KVANT_TEST_GGUF_WRITER_H
#define KVANT_TEST_GGUF_WRITER_H

#include "harness/lm/gguf.h"

typedef struct { uint8_t *data; size_t bytes, capacity; } byte_buffer;
void buffer_add(byte_buffer *b, const void *data, size_t bytes);
void buffer_u32(byte_buffer *b, uint32_t value);
void buffer_u64(byte_buffer *b, uint64_t value);
void buffer_string(byte_buffer *b, const char *s);                     /* as GGUF has it: length, then bytes */

/* A file in the making. Set version and alignment before the first tensor; alignment other than 32 is written as a key. */
typedef struct {
    uint32_t version, alignment;
    uint64_t n_kv, n_tensors;
    byte_buffer kv, tensors, data;
} gguf_writer;

gguf_writer writer_begin(void);                                        /* version 3, alignment 32, no keys */
void writer_value(gguf_writer *w, const char *key, uint32_t type, const void *value, size_t bytes);   /* any type, raw */
void writer_u32(gguf_writer *w, const char *key, uint32_t value);
void writer_f32(gguf_writer *w, const char *key, float value);
void writer_bool(gguf_writer *w, const char *key, bool value);
void writer_string(gguf_writer *w, const char *key, const char *value);
void writer_array(gguf_writer *w, const char *key, uint32_t item, const void *items, uint64_t n, size_t bytes);
void writer_strings(gguf_writer *w, const char *key, const char *const *strings, size_t n);
/* ne [n_dims]; the data is copied and its start aligned. */
void writer_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *ne, const void *data,
                   size_t bytes);
/* The whole file; frees what the writer holds. The caller frees data. */
byte_buffer writer_end(gguf_writer *w);

/* Opens bytes as a file that lives in memory only, as gguf_open does. */
kvant_status gguf_open_bytes(const void *data, size_t bytes, gguf **file, kvant_error *err);
/* The same, and frees the buffer. */
kvant_status gguf_open_buffer(byte_buffer buffer, gguf **file, kvant_error *err);

/* Keys of a byte-level BPE vocabulary: the 256 bytes as tokens 0...255 in order, then `tokens` [n_tokens] with `types`
 * (NULL: all normal), and merges [n_merges]. */
void writer_bpe(gguf_writer *w, const char *pre, const char *const *tokens, const int32_t *types, size_t n_tokens,
                const char *const *merges, size_t n_merges);
/* Keys of a SentencePiece vocabulary: a token for each of the 256 bytes, then `tokens` [n_tokens] with `types` and `scores` (NULL: 0). */
void writer_spm(gguf_writer *w, const char *const *tokens, const int32_t *types, const float *scores, size_t n_tokens);

#endif
