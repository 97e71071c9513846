/* tokenizer_parts.h - what tokenizer.c shares with the two algorithms, tokenizer_bpe.c and tokenizer_spm.c.
 * Private to them; everyone else uses tokenizer.h. */
#ifndef KVANT_TOKENIZER_PARTS_H
#define KVANT_TOKENIZER_PARTS_H

#include "harness/lm/merge.h"
#include "harness/lm/pretokenize.h"
#include "harness/lm/string_table.h"
#include "harness/lm/tokenizer.h"

/* Values of tokenizer.ggml.token_type. */
enum { TOKEN_UNDEFINED, TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE, N_TOKEN_TYPES };

typedef struct { int32_t *ids; size_t n, capacity; } id_list;
bool id_list_add(id_list *list, int32_t id);        /* false: no memory */

/* A growing string of bytes, always with room for a NUL. */
typedef struct { char *data; size_t n, capacity; } byte_list;
bool byte_list_add(byte_list *list, const char *data, size_t bytes);

typedef struct bpe bpe;

struct tokenizer {
    size_t n;                      /* tokens */
    string_table table;            /* tokens as the file spells them; bpe appends what only occurs inside merges */
    uint8_t *types;                /* [n] */
    int32_t *special;              /* [special_from[256]]: tokens that are looked for in the text before anything else, */
    size_t special_from[257];      /* those that begin with byte b at special_from[b] ... special_from[b + 1] - 1 */
    int32_t bos, eos, unknown, ends[32];
    size_t n_ends;
    bool add_bos, add_eos;
    bpe *bpe;                      /* NULL: SentencePiece */
    float *scores;                 /* [n], SentencePiece only */
    int32_t bytes[256];            /* token of each byte, -1: none */
    bool space_prefix;             /* SentencePiece: text begins with a space that is not there */
};

/* Byte-level BPE ("gpt2"). Appends symbols to t->table and fills t->bytes. */
kvant_status bpe_open(tokenizer *t, const gguf *file, kvant_error *err);
void bpe_close(bpe *b);
kvant_status bpe_encode(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out, kvant_error *err);
bool bpe_decode(const tokenizer *t, int32_t id, byte_list *out);

/* SentencePiece by scores ("llama"). `first`: the token begins a text, so that a space before it is encoding's own. */
kvant_status spm_open(tokenizer *t, const gguf *file, kvant_error *err);
kvant_status spm_encode(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out, kvant_error *err);
bool spm_decode(const tokenizer *t, int32_t id, bool first, byte_list *out);

#endif
