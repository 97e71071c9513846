/* tokenizer.c - what all vocabularies share: reading them, special tokens in the text, BOS and EOS, ids back to bytes.
 * Special tokens are cut out of the text first, the longest before shorter ones; the rest goes to BPE or SentencePiece. */
#include "harness/lm/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- Growing lists ---------------------------------------------------------------------------------- */

bool id_list_add(id_list *list, int32_t id)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return true;
}

bool byte_list_add(byte_list *list, const char *data, size_t bytes)
{
    if (list->capacity - list->n <= bytes) {
        size_t least = list->n + bytes + 64, capacity = 2 * list->capacity > least ? 2 * list->capacity : least;
        char *grown = realloc(list->data, capacity);
        if (!grown)
            return false;
        list->data = grown;
        list->capacity = capacity;
    }
    memcpy(list->data + list->n, data, bytes);
    list->n += bytes;
    return true;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static kvant_status no_memory(const gguf *file, kvant_error *err)
{
    return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the tokenizer", gguf_path(file));
}

static kvant_status read_tokens(tokenizer *t, const gguf *file, kvant_error *err)
{
    const gguf_kv *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    if (!tokens || tokens->type != GGUF_ARRAY || tokens->item != GGUF_STRING || !tokens->n || tokens->n > INT32_MAX / 4)
        return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.tokens' is missing or no list of strings; convert the "
                          "file again", gguf_path(file));
    t->n = (size_t)tokens->n;
    for (size_t i = 0; i < t->n; i++) {
        gguf_string s;
        if (!gguf_item_string(file, tokens, i, &s) || !string_table_add(&t->table, s))
            return no_memory(file, err);
    }
    t->types = malloc(t->n);
    if (!t->types)
        return no_memory(file, err);
    memset(t->types, TOKEN_NORMAL, t->n);
    const gguf_kv *types = gguf_find(file, "tokenizer.ggml.token_type");
    if (!types)
        return KVANT_OK;
    if (types->type != GGUF_ARRAY || types->n != t->n)
        return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.token_type' does not hold %zu items; convert the file "
                          "again", gguf_path(file), t->n);
    for (size_t i = 0; i < t->n; i++) {
        int64_t type;
        if (!gguf_item_i64(types, i, &type) || type < 0 || type >= N_TOKEN_TYPES)
            return kvant_fail(err, KVANT_INVALID, "%s: key 'tokenizer.ggml.token_type': item %zu is no token type; convert "
                              "the file again", gguf_path(file), i);
        t->types[i] = (uint8_t)type;
    }
    return KVANT_OK;
}

static bool is_special(const tokenizer *t, size_t id)
{
    return t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_USER || t->types[id] == TOKEN_UNKNOWN;
}

/* Special tokens by their first byte, so that most positions of a text are passed over at once. */
static bool list_special(tokenizer *t)
{
    size_t count[257] = {0};
    for (size_t i = 0; i < t->n; i++)
        if (is_special(t, i) && t->table.strings[i].bytes)
            count[(uint8_t)t->table.strings[i].data[0] + 1]++;
    for (size_t b = 0; b < 256; b++)
        count[b + 1] += count[b];
    memcpy(t->special_from, count, sizeof count);
    t->special = malloc((count[256] + 1) * sizeof *t->special);
    if (!t->special)
        return false;
    for (size_t i = 0; i < t->n; i++)
        if (is_special(t, i) && t->table.strings[i].bytes)
            t->special[count[(uint8_t)t->table.strings[i].data[0]]++] = (int32_t)i;
    return true;
}

/* An id that the file names; -1 when it names none. */
static kvant_status read_id(const tokenizer *t, const gguf *file, const char *key, int32_t *id, kvant_error *err)
{
    uint32_t value;
    *id = -1;
    if (!gguf_find(file, key))
        return KVANT_OK;
    if (!gguf_get_u32(file, key, &value) || value >= t->n)
        return kvant_fail(err, KVANT_INVALID, "%s: key '%s' is no id of the %zu tokens; convert the file again",
                          gguf_path(file), key, t->n);
    *id = (int32_t)value;
    return KVANT_OK;
}

/* Files name one or two of the tokens that end an answer; the others are known by their text. */
static void list_ends(tokenizer *t, const int32_t named[3])
{
    static const char *const texts[] = {
        "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "<eos>", "</s>",
        "<|end_of_turn|>", "<|return|>", "<|call|>", "<end_of_utterance>", "<EOT>", "<|END_OF_TURN_TOKEN|>",
    };
    for (int i = 0; i < 3; i++)
        if (named[i] >= 0)
            t->ends[t->n_ends++] = named[i];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint32_t id = string_table_find(&t->table, texts[i], strlen(texts[i]));
        if (id < t->n && t->types[id] == TOKEN_CONTROL)
            t->ends[t->n_ends++] = (int32_t)id;
    }
}

static kvant_status read_special(tokenizer *t, const gguf *file, kvant_error *err)
{
    int32_t named[3];
    kvant_status status = read_id(t, file, "tokenizer.ggml.bos_token_id", &t->bos, err);
    if (!status)
        status = read_id(t, file, "tokenizer.ggml.eos_token_id", &t->eos, err);
    if (!status)
        status = read_id(t, file, "tokenizer.ggml.unknown_token_id", &t->unknown, err);
    if (!status)
        status = read_id(t, file, "tokenizer.ggml.eot_token_id", &named[1], err);
    if (!status)
        status = read_id(t, file, "tokenizer.ggml.eom_token_id", &named[2], err);
    if (status)
        return status;
    named[0] = t->eos;
    list_ends(t, named);
    return list_special(t) ? KVANT_OK : no_memory(file, err);
}

/* Whether BOS and EOS are added: the file's word, or else what the vocabulary's kind does. */
static kvant_status read_flags(tokenizer *t, const gguf *file, kvant_error *err)
{
    bool bos = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &t->add_bos);
    gguf_get_bool(file, "tokenizer.ggml.add_eos_token", &t->add_eos);
    if ((bos && t->add_bos && t->bos < 0) || (t->add_eos && t->eos < 0))
        return kvant_fail(err, KVANT_INVALID, "%s: the tokenizer is to add a BOS or EOS token that the file does not name; "
                          "convert the file again", gguf_path(file));
    t->add_bos = t->add_bos && t->bos >= 0;
    return KVANT_OK;
}

static kvant_status open_parts(tokenizer *t, const gguf *file, kvant_error *err)
{
    gguf_string model;
    if (!gguf_get_string(file, "tokenizer.ggml.model", &model))
        return kvant_fail(err, KVANT_SKIP, "%s: the file holds no tokenizer (key 'tokenizer.ggml.model'); use token ids",
                          gguf_path(file));
    bool is_bpe = model.bytes == 4 && !memcmp(model.data, "gpt2", 4);
    bool is_spm = model.bytes == 5 && !memcmp(model.data, "llama", 5);
    if (!is_bpe && !is_spm)
        return kvant_fail(err, KVANT_SKIP, "%s: tokenizer.ggml.model '%.*s' is not supported; supported are gpt2, llama",
                          gguf_path(file), model.bytes < 64 ? (int)model.bytes : 64, model.data);
    kvant_status status = read_tokens(t, file, err);
    if (!status)
        status = read_special(t, file, err);
    if (!status)
        status = is_bpe ? bpe_open(t, file, err) : spm_open(t, file, err);
    return status ? status : read_flags(t, file, err);
}

kvant_status tokenizer_open(const gguf *file, tokenizer **tokenizer_out, kvant_error *err)
{
    tokenizer *t = calloc(1, sizeof *t);
    *tokenizer_out = NULL;
    if (!t)
        return no_memory(file, err);
    kvant_status status = open_parts(t, file, err);
    if (status)
        tokenizer_close(t);
    else
        *tokenizer_out = t;
    return status;
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    bpe_close(t->bpe);
    string_table_free(&t->table);
    free(t->types);
    free(t->special);
    free(t->scores);
    free(t);
}

/* ---- Special tokens in a text ------------------------------------------------------------------------------ */

/* A special token in the text. */
typedef struct { size_t start, bytes; int32_t id; } find;
typedef struct { find *at; size_t n, capacity; } find_list;

static bool find_list_add(find_list *list, find f)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        find *at = realloc(list->at, capacity * sizeof *at);
        if (!at)
            return false;
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->n++] = f;
    return true;
}

static int longest_first(const void *pa, const void *pb)
{
    const find *a = pa, *b = pb;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->start > b->start) - (a->start < b->start);
}

static int by_start(const void *pa, const void *pb)
{
    const find *a = pa, *b = pb;
    return (a->start > b->start) - (a->start < b->start);
}

/* Every place where a special token stands, overlapping ones included. Control tokens count only when they are parsed. */
static bool find_all(const tokenizer *t, const tokenizer_part *part, size_t offset, find_list *list)
{
    for (size_t at = 0; at < part->bytes; at++) {
        uint8_t first = (uint8_t)part->text[at];
        for (size_t i = t->special_from[first]; i < t->special_from[first + 1]; i++) {
            int32_t id = t->special[i];
            gguf_string s = t->table.strings[id];
            if (s.bytes <= part->bytes - at && (part->parse_special || t->types[id] == TOKEN_USER) &&
                !memcmp(part->text + at, s.data, s.bytes) && !find_list_add(list, (find){offset + at, s.bytes, id}))
                return false;
        }
    }
    return true;
}

/* Of overlapping finds keeps the longest, of equally long ones the lower id, then the first; leaves them in text order. */
static bool find_special(const tokenizer *t, const tokenizer_part *parts, size_t n_parts, find_list *list)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n_parts; bytes += parts[i++].bytes)
        if (!find_all(t, &parts[i], bytes, list))
            return false;
    if (!list->n)
        return true;
    char *taken = calloc(bytes, 1);
    if (!taken)
        return false;
    qsort(list->at, list->n, sizeof *list->at, longest_first);
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        find f = list->at[i];
        /* What is taken is at least as long, so an overlap shows at one of the ends. */
        if (taken[f.start] || taken[f.start + f.bytes - 1])
            continue;
        memset(taken + f.start, 1, f.bytes);
        list->at[kept++] = f;
    }
    list->n = kept;
    free(taken);
    qsort(list->at, list->n, sizeof *list->at, by_start);
    return true;
}

/* ---- Both directions ----------------------------------------------------------------------------------------- */

static kvant_status encode_text(const tokenizer *t, merger *m, const char *text, size_t bytes, id_list *out, kvant_error *err)
{
    if (!bytes)
        return KVANT_OK;
    return t->bpe ? bpe_encode(t, m, text, bytes, out, err) : spm_encode(t, m, text, bytes, out, err);
}

static kvant_status out_of_memory(size_t bytes, kvant_error *err)
{
    return kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory for a text of %zu bytes", bytes);
}

/* first, last: ids before and after the text; -1: none. */
static kvant_status encode_all(const tokenizer *t, const char *text, size_t bytes, int32_t first, int32_t last, const find_list *finds,
                               id_list *out, kvant_error *err)
{
    merger m = {0};
    size_t at = 0;
    kvant_status status = KVANT_OK;
    text = text ? text : "";               /* of no bytes */
    if (first >= 0 && !id_list_add(out, first))
        status = out_of_memory(bytes, err);
    for (size_t i = 0; i < finds->n && !status; i++) {
        status = encode_text(t, &m, text + at, finds->at[i].start - at, out, err);
        if (!status && !id_list_add(out, finds->at[i].id))
            status = out_of_memory(bytes, err);
        at = finds->at[i].start + finds->at[i].bytes;
    }
    if (!status)
        status = encode_text(t, &m, text + at, bytes - at, out, err);
    if (!status && last >= 0 && !id_list_add(out, last))
        status = out_of_memory(bytes, err);
    merger_free(&m);
    return status;
}

/* text: what the parts are together. */
static kvant_status encode_parts(const tokenizer *t, const char *text, size_t bytes, const tokenizer_part *parts, size_t n_parts,
                                 int32_t first, int32_t last, int32_t **ids, size_t *n, kvant_error *err)
{
    find_list finds = {0};
    id_list out = {0};
    kvant_status status = KVANT_OK;
    /* Even an empty result is memory that the caller frees. */
    if (!(out.ids = malloc(sizeof *out.ids)) || !find_special(t, parts, n_parts, &finds))
        status = out_of_memory(bytes, err);
    out.capacity = 1;
    if (!status)
        status = encode_all(t, text, bytes, first, last, &finds, &out, err);
    free(finds.at);
    if (status) {
        free(out.ids);
        return status;
    }
    *ids = out.ids;
    *n = out.n;
    return KVANT_OK;
}

static kvant_status check_length(size_t bytes, kvant_error *err)
{
    if (bytes <= INT32_MAX / 4)
        return KVANT_OK;
    return kvant_fail(err, KVANT_INVALID, "tokenizer: a text of %zu bytes is too long, at most %d are possible; split it", bytes,
                      INT32_MAX / 4);
}

kvant_status tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, bool add_special, bool parse_special,
                              int32_t **ids, size_t *n, kvant_error *err)
{
    const tokenizer_part whole = {text, bytes, parse_special};
    *ids = NULL;
    *n = 0;
    kvant_status status = check_length(bytes, err);
    return status ? status : encode_parts(t, text, bytes, &whole, 1, add_special && t->add_bos ? t->bos : -1,
                                          add_special && t->add_eos ? t->eos : -1, ids, n, err);
}

kvant_status tokenizer_encode_parts(const tokenizer *t, const tokenizer_part *parts, size_t n_parts, bool begin, int32_t **ids,
                                    size_t *n, kvant_error *err)
{
    byte_list all = {0};
    bool ok = byte_list_add(&all, "", 0);
    *ids = NULL;
    *n = 0;
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n_parts && ok && !status; i++) {
        status = check_length(parts[i].bytes, err);
        if (!status && !(status = check_length(all.n + parts[i].bytes, err)))
            ok = parts[i].bytes == 0 || byte_list_add(&all, parts[i].text, parts[i].bytes);
    }
    if (!ok)
        status = out_of_memory(all.n, err);
    if (!status)
        status = encode_parts(t, all.data, all.n, parts, n_parts, begin ? t->bos : -1, -1, ids, n, err);
    free(all.data);
    return status;
}

/* The text of one token. `first`: nothing or a special token stands before it. */
static bool decode_one(const tokenizer *t, int32_t id, bool special, bool first, byte_list *out)
{
    switch (t->types[id]) {
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN:
        if (!special)
            return true;
        /* fallthrough */
    case TOKEN_USER:
        return byte_list_add(out, t->table.strings[id].data, t->table.strings[id].bytes);
    default:
        return t->bpe ? bpe_decode(t, id, out) : spm_decode(t, id, first, out);
    }
}

kvant_status tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n, bool special, char **text, size_t *bytes,
                              kvant_error *err)
{
    byte_list out = {0};
    bool ok = byte_list_add(&out, "", 0), first = true;
    *text = NULL;
    *bytes = 0;
    for (size_t i = 0; i < n && ok; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= t->n) {
            free(out.data);
            return kvant_fail(err, KVANT_INVALID, "tokenizer: id %d at position %zu is outside the vocabulary of %zu tokens; "
                              "is it another model's?", ids[i], i, t->n);
        }
        ok = decode_one(t, ids[i], special, first, &out);
        first = is_special(t, (size_t)ids[i]);
    }
    if (!ok) {
        free(out.data);
        return kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory for the text of %zu tokens", n);
    }
    out.data[out.n] = 0;
    *text = out.data;
    *bytes = out.n;
    return KVANT_OK;
}

int32_t tokenizer_id(const tokenizer *t, const char *token)
{
    uint32_t id = string_table_find(&t->table, token, strlen(token));
    return id < t->n && is_special(t, id) ? (int32_t)id : -1;
}

bool tokenizer_is_end(const tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_ends; i++)
        if (t->ends[i] == id)
            return true;
    return false;
}

int32_t tokenizer_bos(const tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const tokenizer *t) { return t->eos; }
size_t tokenizer_n_vocab(const tokenizer *t) { return t->n; }
