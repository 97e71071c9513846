/* tokenizer_spm.c - SentencePiece vocabularies with scores, as Llama 2 and Mistral use them.
 * Characters are joined while the result is a token, highest score first; what is no token comes out as bytes. */
#include "harness/lm/tokenizer_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char space_mark[] = "\xe2\x96\x81";                       /* U+2581: how vocabularies spell a space */
enum { MARK_BYTES = sizeof space_mark - 1 };

kvant_status spm_open(tokenizer *t, const gguf *file, kvant_error *err)
{
    const gguf_kv *scores = gguf_find(file, "tokenizer.ggml.scores");
    if (!scores || scores->type != GGUF_ARRAY || scores->n != t->n)
        return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.scores' is missing or not of %zu items; convert the file "
                          "again", gguf_path(file), t->n);
    t->scores = malloc(t->n * sizeof *t->scores);
    if (!t->scores)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", gguf_path(file));
    for (size_t i = 0; i < t->n; i++) {
        double score;
        if (!gguf_item_f64(scores, i, &score) || score != score)
            return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.scores': item %zu is no number; convert the file "
                              "again", gguf_path(file), i);
        t->scores[i] = (float)score;
    }
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", i);
        uint32_t id = string_table_find(&t->table, name, (size_t)n);
        t->bytes[i] = id == STRING_NONE ? t->unknown : (int32_t)id;
    }
    t->add_bos = t->space_prefix = true;
    gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", &t->space_prefix);
    return KVANT_OK;
}

/* Floats in descending order as integers in ascending order. */
static uint32_t order_of(float score)
{
    uint32_t bits;
    score += 0.0f;                                                     /* -0 and 0 are one score */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

static bool join(const void *user, const char *text, const symbol *left, const symbol *right, uint32_t *id, uint32_t *order)
{
    const tokenizer *t = user;
    *id = string_table_find(&t->table, text + left->start, (size_t)left->bytes + right->bytes);
    if (*id == STRING_NONE)
        return false;
    *order = order_of(t->scores[*id]);
    return true;
}

/* The text with every space as the mark, and perhaps one before it. */
static bool mark_spaces(const tokenizer *t, const char *text, size_t bytes, byte_list *out)
{
    if (t->space_prefix && !byte_list_add(out, space_mark, MARK_BYTES))
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!(text[i] == ' ' ? byte_list_add(out, space_mark, MARK_BYTES) : byte_list_add(out, text + i, 1)))
            return false;
    return out->n <= INT32_MAX;
}

static bool encode_marked(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out)
{
    size_t n = 0;
    if (!merger_reserve(m, bytes))
        return false;
    for (size_t at = 0; at < bytes; n++) {
        size_t length = utf8_length(text + at, bytes - at);
        length = length ? length : 1;
        m->symbols[n] = (symbol){string_table_find(&t->table, text + at, length), (uint32_t)at, (uint32_t)length};
        at += length;
    }
    n = merge(m, n, text, join, t);
    for (size_t i = 0; i < n; i++) {
        symbol s = m->symbols[i];
        if (s.id != STRING_NONE) {
            if (!id_list_add(out, (int32_t)s.id))
                return false;
            continue;
        }
        for (uint32_t k = 0; k < s.bytes; k++) {
            int32_t id = t->bytes[(uint8_t)text[s.start + k]];
            if (id >= 0 && !id_list_add(out, id))
                return false;
        }
    }
    return true;
}

kvant_status spm_encode(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out, kvant_error *err)
{
    byte_list marked = {0};
    bool ok = mark_spaces(t, text, bytes, &marked) && encode_marked(t, m, marked.data, marked.n, out);
    free(marked.data);
    return ok ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory for a text of %zu bytes", bytes);
}

bool spm_decode(const tokenizer *t, int32_t id, bool first, byte_list *out)
{
    gguf_string s = t->table.strings[id];
    if (t->types[id] == TOKEN_BYTE && s.bytes == 6) {
        char digits[3] = {s.data[3], s.data[4]};
        if (isxdigit((unsigned char)digits[0]) && isxdigit((unsigned char)digits[1])) {
            char byte = (char)strtoul(digits, NULL, 16);
            return byte_list_add(out, &byte, 1);
        }
    }
    for (size_t i = 0; i < s.bytes;) {
        bool space = s.bytes - i >= MARK_BYTES && !memcmp(s.data + i, space_mark, MARK_BYTES);
        bool dropped = space && first && !i && t->space_prefix;        /* the one that encoding put there */
        if (!dropped && !byte_list_add(out, space ? " " : s.data + i, 1))
            return false;
        i += space ? MARK_BYTES : 1;
    }
    return true;
}
