/* fuzz_tokenizer.c - any text through small vocabularies of every kind, and any bytes as a vocabulary and as a chat template.
 * Encoding cannot fail, its ids are in the vocabulary, and every byte comes back. */
#include "harness/lm/chat.h"
#include "tests/gguf_writer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The file stays open as long as the program runs. */
static tokenizer *open_bpe(const char *pre, gguf **file)
{
    static const char *const tokens[] = {"<s>", "<x><s>", "<x>", "aa", "aab", ("\xc4\xa0" "a"), "12", "\xc3\xb0\xc5\x81"};
    static const int32_t types[] = {3, 3, 4, 1, 1, 1, 1, 1};
    static const char *const merges[] = {"a a", "aa b", "\xc4\xa0 a", "1 2", "\xc3\xb0 \xc5\x81", "b b", "bb aa", "< s"};
    gguf_writer w = writer_begin();
    writer_bpe(&w, pre, tokens, types, COUNT(tokens), merges, COUNT(merges));
    writer_u32(&w, "tokenizer.ggml.bos_token_id", 256);
    tokenizer *t;
    if (gguf_open_buffer(writer_end(&w), file, NULL) || tokenizer_open(*file, &t, NULL))
        abort();
    return t;
}

#define MARK "\xe2\x96\x81"

static tokenizer *open_spm(gguf **file)
{
    static const char *const tokens[] = {"<s>", "<x><s>", "<x>", MARK, "a", MARK "a", "aa", MARK MARK, "\xf0\x9f\x98\x80"};
    static const int32_t types[] = {3, 3, 4, 1, 1, 1, 1, 1, 1};
    static const float scores[] = {0, 0, 0, -9, -9, -2, -3, -4, -9};
    gguf_writer w = writer_begin();
    writer_spm(&w, tokens, types, scores, COUNT(tokens));
    writer_u32(&w, "tokenizer.ggml.bos_token_id", 256);
    tokenizer *t;
    if (gguf_open_buffer(writer_end(&w), file, NULL) || tokenizer_open(*file, &t, NULL))
        abort();
    return t;
}

static void there_and_back(const tokenizer *t, const char *text, size_t bytes, bool exact)
{
    for (int flags = 0; flags < 4; flags++) {
        kvant_error err;
        int32_t *ids;
        char *back;
        size_t n, n_back;
        if (tokenizer_encode(t, text, bytes, flags & 1, flags & 2, &ids, &n, &err))
            abort();
        for (size_t i = 0; i < n; i++)
            if (ids[i] < 0 || (size_t)ids[i] >= tokenizer_n_vocab(t))
                abort();
        if (tokenizer_decode(t, ids, n, true, &back, &n_back, &err))
            abort();
        if (exact && !(flags & 1) && (n_back != bytes || (bytes && memcmp(back, text, bytes))))
            abort();
        free(ids);
        free(back);
    }
}

/* A prompt is encoded, or the file said to be of no family that can be. */
static void chat(const gguf *file, const tokenizer *t, const char *message)
{
    int32_t *ids = NULL;
    size_t n = 0;
    kvant_error err = {""};
    kvant_status status = chat_encode(file, t, message, message, &ids, &n, &err);
    if (status != KVANT_OK && (status != KVANT_SKIP || ids || strlen(err.text) < 20))
        abort();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer_n_vocab(t))
            abort();
    free(ids);
}

/* The input as keys of a file: its first byte chooses algorithm and architecture, the rest are a chat template, and tokens, merges,
 * types and scores. */
static void hostile_vocabulary(const char *text, size_t bytes)
{
    static const char *const archs[] = {"llama", "phi3", "phi2", "olmo2"};
    gguf_writer w = writer_begin();
    char *copy = malloc(2 * (bytes + 1)), *rest = copy, *whole = copy + bytes + 1;
    const char *words[64];
    int32_t types[64];
    float scores[64];
    size_t n = 0;
    if (!copy)
        return;
    memcpy(copy, text, bytes);
    memcpy(whole, text, bytes);
    copy[bytes] = whole[bytes] = 0;
    for (char *word; n < COUNT(words) && (word = strsep(&rest, "\n")); n++) {
        words[n] = word;
        types[n] = 1 + word[0] % 6;
        scores[n] = (float)-(word[0] % 9);
    }
    writer_string(&w, "general.architecture", archs[(uint8_t)text[0] / 2 % COUNT(archs)]);
    if (text[0] & 16)
        writer_string(&w, "tokenizer.chat_template", whole);
    writer_string(&w, "tokenizer.ggml.model", text[0] & 1 ? "gpt2" : "llama");
    writer_strings(&w, "tokenizer.ggml.tokens", words, n);
    writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, types, n, n * sizeof *types);
    writer_array(&w, "tokenizer.ggml.scores", GGUF_F32, scores, n, n * sizeof *scores);
    writer_strings(&w, "tokenizer.ggml.merges", words + n / 2, n - n / 2);
    writer_u32(&w, "tokenizer.ggml.bos_token_id", (uint8_t)text[0] % 8);
    gguf *file;
    tokenizer *t;
    kvant_error err;
    if (gguf_open_buffer(writer_end(&w), &file, &err))
        abort();
    if (!tokenizer_open(file, &t, &err)) {
        there_and_back(t, text, bytes, false);
        chat(file, t, whole);
        tokenizer_close(t);
    }
    gguf_close(file);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const pres[] = {"smollm", "gpt-2", "llama-bpe", "qwen2", "default", "dbrx"};
    static tokenizer *known[COUNT(pres)], *spm;
    static gguf *files[COUNT(pres)], *spm_file;
    if (!bytes)
        return 0;
    for (size_t i = 0; i < COUNT(pres); i++) {
        known[i] = known[i] ? known[i] : open_bpe(pres[i], &files[i]);
        there_and_back(known[i], (const char *)data, bytes, true);
    }
    spm = spm ? spm : open_spm(&spm_file);
    there_and_back(spm, (const char *)data, bytes, !memmem(data, bytes, MARK, strlen(MARK)));
    hostile_vocabulary((const char *)data, bytes);
    return 0;
}
