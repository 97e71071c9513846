/* pretokenize.h - cuts text into the pieces that byte pairs are merged within.
 * Which cut a vocabulary was trained with is named by the file's key tokenizer.ggml.pre. */
#ifndef KVANT_PRETOKENIZE_H
#define KVANT_PRETOKENIZE_H

#include "harness/lm/gguf.h"

/* What a name of tokenizer.ggml.pre stands for. */
typedef struct {
    const char *name;
    const char *pattern;           /* PCRE2; matches at every position of any text */
    bool whole_words;              /* a piece that is a token is taken as it is, whatever the merges say */
    bool add_bos;                  /* when the file has no key for it */
} pretokenizer;

const pretokenizer *pretokenizer_find(gguf_string name);               /* NULL: not supported */
void pretokenizer_names(char *text, size_t bytes);                     /* the supported ones, for messages */

/* A compiled pattern: read-only, shared by threads. */
typedef struct cutter cutter;
kvant_status cutter_open(const pretokenizer *pre, cutter **cutter, kvant_error *err);
void cutter_close(cutter *cutter);

/* A walk over one text. Bytes that are not UTF-8 become pieces of their own. */
typedef struct cuts cuts;
kvant_status cuts_open(const cutter *cutter, const char *text, size_t bytes, cuts **cuts, kvant_error *err);
void cuts_close(cuts *cuts);
/* The next piece; *bytes is 0 at the end. */
kvant_status cuts_next(cuts *cuts, const char **piece, size_t *bytes, kvant_error *err);

/* Bytes of the UTF-8 character that `text` begins with; 0: it is none (overlong, surrogate, cut off or a stray byte). */
size_t utf8_length(const char *text, size_t bytes);

#endif
