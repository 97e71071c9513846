/* tokenizer.h - text to token ids and back, with the vocabulary, merges and pre-split that the GGUF file carries.
 * Exact in both directions, special tokens included. */
#ifndef KVANT_TOKENIZER_H
#define KVANT_TOKENIZER_H

#include "harness/lm/gguf.h"

typedef struct tokenizer tokenizer;

/* KVANT_SKIP: the file's tokenizer is not supported (the text says which are); the model still runs from ids.
 * The tokenizer points into the file, which must stay open as long. */
kvant_status tokenizer_open(const gguf *file, tokenizer **tokenizer, kvant_error *err);
void tokenizer_close(tokenizer *tokenizer);

/* text: UTF-8 of `bytes` bytes, NULs included, invalid sequences kept byte by byte. add_special: BOS or EOS as the file
 * says; parse_special: special tokens in the text become their id (user-defined ones always do). A byte that the vocabulary
 * cannot say is left out. *ids is freed by the caller. Thread-safe. */
kvant_status tokenizer_encode(const tokenizer *tokenizer, const char *text, size_t bytes, bool add_special, bool parse_special,
                              int32_t **ids, size_t *n, kvant_error *err);

/* A text in parts, encoded as the one text that they are together; special tokens count within the parts that say so. begin: BOS comes
 * first, if there is one, whatever the file says of adding it. */
typedef struct { const char *text; size_t bytes; bool parse_special; } tokenizer_part;
kvant_status tokenizer_encode_parts(const tokenizer *tokenizer, const tokenizer_part *parts, size_t n_parts, bool begin, int32_t **ids,
                                    size_t *n, kvant_error *err);

/* The bytes of the ids, one after another; special tokens appear as their text when `special`, else as nothing.
 * The inverse of encoding, but that SentencePiece vocabularies spell U+2581 as they spell a space.
 * *text is NUL-terminated beyond *bytes and freed by the caller. An id outside the vocabulary is KVANT_INVALID. */
kvant_status tokenizer_decode(const tokenizer *tokenizer, const int32_t *ids, size_t n, bool special, char **text, size_t *bytes,
                              kvant_error *err);

int32_t tokenizer_id(const tokenizer *tokenizer, const char *token);  /* of a special token's text; -1: none */
int32_t tokenizer_bos(const tokenizer *tokenizer);                     /* -1: none */
int32_t tokenizer_eos(const tokenizer *tokenizer);
bool tokenizer_is_end(const tokenizer *tokenizer, int32_t id);         /* ends a generation: EOS, EOT, <|im_end|> ... */
size_t tokenizer_n_vocab(const tokenizer *tokenizer);

#endif
