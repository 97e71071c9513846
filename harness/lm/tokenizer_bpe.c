/* tokenizer_bpe.c - byte-level BPE as GPT-2 introduced it: pieces of text, bytes as symbols, merges by rank.
 * Vocabularies spell each byte as a printable character; here text stays bytes, and only the numbers of symbols are compared. */
#include "harness/lm/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* A merge, found by its two symbols. */
typedef struct { uint32_t left, right, id, rank; } bpe_rule;
#define NO_RANK UINT32_MAX         /* of a free slot */

enum { N_CHARACTERS = 0x100 + 68 };

struct bpe {
    cutter *cutter;
    bool whole_words;
    bpe_rule *rules;               /* open addressing, at most half full */
    size_t n_slots;                /* a power of two */
    char spelling[256][2];         /* of each byte, UTF-8 */
    uint8_t spelling_bytes[256];
    int16_t byte_of[N_CHARACTERS]; /* back from the code point; -1: stands for none */
    uint32_t symbols[256];         /* of each byte, in the table */
    char **owned;                  /* [n_owned] spellings that the file does not hold in one piece */
    size_t n_owned, owned_capacity;
};

/* Printable Latin-1 stands for itself, the other 68 bytes for the characters from U+0100 on, in order. */
static void spell_bytes(bpe *b)
{
    unsigned next = 0x100;
    memset(b->byte_of, -1, sizeof b->byte_of);
    for (unsigned i = 0; i < 256; i++) {
        bool itself = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        unsigned c = itself ? i : next++;
        b->byte_of[c] = (int16_t)i;
        b->spelling_bytes[i] = c < 0x80 ? 1 : 2;
        b->spelling[i][0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
        b->spelling[i][1] = (char)(0x80 | (c & 0x3f));
    }
}

/* ---- Merges ------------------------------------------------------------------------------------------ */

/* The slot that holds the merge of the two symbols, or the free one where it belongs. */
static bpe_rule *rule_slot(const bpe *b, uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    for (size_t i = hash >> 32;; i++) {
        bpe_rule *r = &b->rules[i & (b->n_slots - 1)];
        if (r->rank == NO_RANK || (r->left == left && r->right == right))
            return r;
    }
}

static bool join(const void *user, const char *text, const symbol *left, const symbol *right, uint32_t *id, uint32_t *order)
{
    (void)text;
    const bpe_rule *r = rule_slot(user, left->id, right->id);
    *id = r->id;
    *order = r->rank;
    return r->rank != NO_RANK;
}

/* Numbers a spelling that is no token; the copy is owned. STRING_NONE: no memory. */
static uint32_t add_spelling(tokenizer *t, const char *data, size_t bytes)
{
    bpe *b = t->bpe;
    if (b->n_owned == b->owned_capacity) {
        size_t capacity = b->owned_capacity ? 2 * b->owned_capacity : 64;
        char **owned = realloc(b->owned, capacity * sizeof *owned);
        if (!owned)
            return STRING_NONE;
        b->owned = owned;
        b->owned_capacity = capacity;
    }
    char *copy = malloc(bytes);
    if (!copy)
        return STRING_NONE;
    memcpy(copy, data, bytes);
    b->owned[b->n_owned++] = copy;
    return string_table_add(&t->table, (gguf_string){copy, bytes}) ? t->table.n - 1 : STRING_NONE;
}

static uint32_t number_of(tokenizer *t, const char *data, size_t bytes)
{
    uint32_t id = string_table_find(&t->table, data, bytes);
    return id != STRING_NONE ? id : add_spelling(t, data, bytes);
}

/* Adds one merge, "left right". Neither its parts nor its result need to be tokens. */
static kvant_status add_merge(tokenizer *t, gguf_string s, uint32_t rank, byte_list *joined, const char *path, kvant_error *err)
{
    /* From the second byte on: the left part may itself be a space. */
    const char *space = s.bytes > 2 ? memchr(s.data + 1, ' ', s.bytes - 2) : NULL;
    if (!space)
        return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.merges': item %u is no pair; convert the file again", path,
                          rank);
    size_t n_left = (size_t)(space - s.data), n_right = s.bytes - n_left - 1;
    joined->n = 0;
    if (!byte_list_add(joined, s.data, n_left) || !byte_list_add(joined, space + 1, n_right))
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", path);
    uint32_t left = number_of(t, s.data, n_left), right = number_of(t, space + 1, n_right);
    uint32_t id = number_of(t, joined->data, joined->n);
    if (left == STRING_NONE || right == STRING_NONE || id == STRING_NONE)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", path);
    bpe_rule *slot = rule_slot(t->bpe, left, right);
    if (slot->rank == NO_RANK)                          /* of equal merges the first counts */
        *slot = (bpe_rule){left, right, id, rank};
    return KVANT_OK;
}

static kvant_status read_merges(tokenizer *t, const gguf *file, kvant_error *err)
{
    const gguf_kv *merges = gguf_find(file, "tokenizer.ggml.merges");
    if (!merges || merges->type != GGUF_ARRAY || merges->item != GGUF_STRING || merges->n > INT32_MAX)
        return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.merges' is missing or no list of strings; convert the "
                          "file again", gguf_path(file));
    bpe *b = t->bpe;
    for (b->n_slots = 16; b->n_slots < 2 * merges->n;)
        b->n_slots *= 2;
    b->rules = malloc(b->n_slots * sizeof *b->rules);
    if (!b->rules)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", gguf_path(file));
    for (size_t i = 0; i < b->n_slots; i++)
        b->rules[i].rank = NO_RANK;
    byte_list joined = {0};
    kvant_status status = KVANT_OK;
    for (uint32_t i = 0; i < merges->n && !status; i++) {
        gguf_string s;
        gguf_item_string(file, merges, i, &s);
        status = add_merge(t, s, i, &joined, gguf_path(file), err);
    }
    free(joined.data);
    return status;
}

/* ---- Opening --------------------------------------------------------------------------------------------- */

kvant_status bpe_open(tokenizer *t, const gguf *file, kvant_error *err)
{
    gguf_string pre = {"default", 7};
    gguf_get_string(file, "tokenizer.ggml.pre", &pre);
    const pretokenizer *found = pretokenizer_find(pre);
    if (!found) {
        char names[512];
        pretokenizer_names(names, sizeof names);
        return kvant_fail(err, KVANT_SKIP, "%s: tokenizer.ggml.pre '%.*s' is not supported; supported are %s", gguf_path(file),
                          pre.bytes < 64 ? (int)pre.bytes : 64, pre.data, names);
    }
    bpe *b = t->bpe = calloc(1, sizeof *b);
    if (!b)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", gguf_path(file));
    b->whole_words = found->whole_words;
    t->add_bos = found->add_bos;
    spell_bytes(b);
    for (unsigned i = 0; i < 256; i++) {
        b->symbols[i] = number_of(t, b->spelling[i], b->spelling_bytes[i]);
        if (b->symbols[i] == STRING_NONE)
            return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", gguf_path(file));
        t->bytes[i] = b->symbols[i] < t->n ? (int32_t)b->symbols[i] : -1;
    }
    kvant_status status = read_merges(t, file, err);
    return status ? status : cutter_open(found, &b->cutter, err);
}

void bpe_close(bpe *b)
{
    if (!b)
        return;
    cutter_close(b->cutter);
    for (size_t i = 0; i < b->n_owned; i++)
        free(b->owned[i]);
    free(b->owned);
    free(b->rules);
    free(b);
}

/* ---- Both directions ------------------------------------------------------------------------------------------ */

/* The token that spells the whole piece, STRING_NONE when there is none. */
static uint32_t whole_word(const tokenizer *t, const char *piece, size_t bytes, byte_list *spelling)
{
    const bpe *b = t->bpe;
    spelling->n = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)piece[i];
        if (!byte_list_add(spelling, b->spelling[byte], b->spelling_bytes[byte]))
            return STRING_NONE;
    }
    return string_table_find(&t->table, spelling->data, spelling->n);
}

/* A symbol that is no token comes out byte by byte; a byte that has no token is left out, as the vocabulary cannot say it. */
static bool put_symbol(const tokenizer *t, const char *piece, symbol s, id_list *out)
{
    if (s.id < t->n)
        return id_list_add(out, (int32_t)s.id);
    for (uint32_t i = 0; i < s.bytes; i++) {
        int32_t id = t->bytes[(uint8_t)piece[s.start + i]];
        if (id >= 0 && !id_list_add(out, id))
            return false;
    }
    return true;
}

static bool encode_piece(const tokenizer *t, merger *m, const char *piece, size_t bytes, byte_list *spelling, id_list *out)
{
    const bpe *b = t->bpe;
    if (b->whole_words) {
        uint32_t id = whole_word(t, piece, bytes, spelling);
        if (id < t->n)
            return id_list_add(out, (int32_t)id);
    }
    if (!merger_reserve(m, bytes))
        return false;
    for (uint32_t i = 0; i < bytes; i++)
        m->symbols[i] = (symbol){b->symbols[(uint8_t)piece[i]], i, 1};
    size_t n = merge(m, bytes, piece, join, b);
    for (size_t i = 0; i < n; i++)
        if (!put_symbol(t, piece, m->symbols[i], out))
            return false;
    return true;
}

kvant_status bpe_encode(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out, kvant_error *err)
{
    cuts *cut;
    byte_list spelling = {0};
    kvant_status status = cuts_open(t->bpe->cutter, text, bytes, &cut, err);
    while (!status) {
        const char *piece;
        size_t n;
        status = cuts_next(cut, &piece, &n, err);
        if (status || !n)
            break;
        if (!encode_piece(t, m, piece, n, &spelling, out))
            status = kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory for a piece of %zu bytes", n);
    }
    cuts_close(cut);
    free(spelling.data);
    return status;
}

bool bpe_decode(const tokenizer *t, int32_t id, byte_list *out)
{
    gguf_string s = t->table.strings[id];
    for (size_t i = 0, n; i < s.bytes; i += n) {
        const uint8_t *p = (const uint8_t *)s.data + i;
        n = utf8_length(s.data + i, s.bytes - i);
        unsigned c = n == 1 ? p[0] : n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu) : N_CHARACTERS;
        n = n ? n : 1;
        int byte = c < N_CHARACTERS ? t->bpe->byte_of[c] : -1;
        char one = (char)byte;
        /* What spells no byte can only have been meant literally. */
        if (!(byte >= 0 ? byte_list_add(out, &one, 1) : byte_list_add(out, s.data + i, n)))
            return false;
    }
    return true;
}
