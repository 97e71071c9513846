/* test_tokenizer.c - text to ids and back: small vocabularies whose ids can be told by hand, merging against its definition,
 * faulty vocabularies, and another program's ids on its reference strings. */
#include "harness/lm/pretokenize.h"
#include "tests/gguf_writer.h"
#include "tests/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct { gguf *file; tokenizer *t; } vocabulary;

static vocabulary open_vocabulary(gguf_writer w)
{
    vocabulary v;
    kvant_error err = {""};
    if (gguf_open_buffer(writer_end(&w), &v.file, &err) || tokenizer_open(v.file, &v.t, &err))
        fail_msg("%s", err.text);
    return v;
}

static void close_vocabulary(vocabulary v)
{
    tokenizer_close(v.t);
    gguf_close(v.file);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, COUNT(((const int32_t[]){__VA_ARGS__}))

/* ---- Byte-level BPE -------------------------------------------------------------------------------------- */

enum { NORMAL = 1, CONTROL = 3, USER = 4 };

static void merges_in_order_of_rank(void **state)
{
    (void)state;
    static const char *const tokens[] = {"aa", "ab", "aab", ("\xc4\xa0" "a"), "bb"};   /* 256 ... 260 */
    static const char *const merges[] = {"a b", "a a", "a ab", "\xc4\xa0 a", "b b", "bb b", "x y"};
    gguf_writer w = writer_begin();
    writer_bpe(&w, "gpt-2", tokens, NULL, COUNT(tokens), merges, COUNT(merges));
    vocabulary v = open_vocabulary(w);
    assert_int_equal(tokenizer_n_vocab(v.t), 261);
    expect_ids(v.t, "", 0, true, true, NULL, 0);
    expect_ids(v.t, NULL, 0, true, true, NULL, 0);
    expect_ids(v.t, "aab", 3, false, false, IDS(258));                  /* ab first, then a + ab: not aa + b */
    expect_ids(v.t, "aaaa", 4, false, false, IDS(256, 256));            /* of equal ranks the left one */
    expect_ids(v.t, "aaa", 3, false, false, IDS(256, 'a'));
    expect_ids(v.t, " aab", 4, false, false, IDS(' ', 258));            /* ranks: space + a comes after a + ab */
    expect_ids(v.t, " a", 2, false, false, IDS(259));
    expect_ids(v.t, "bbb", 3, false, false, IDS('b', 'b', 'b'));        /* merged to what is no token: back to bytes */
    expect_ids(v.t, "xy", 2, false, false, IDS('x', 'y'));
    expect_ids(v.t, "a\0a", 3, false, false, IDS('a', 0, 'a'));
    expect_ids(v.t, "\xff\xc3", 2, false, false, IDS(0xff, 0xc3));
    expect_round_trip(v.t, "a\0a\xff\xf0\x9f\x98 \xed\xa0\x80 \xad\x7f\xa0", 16);
    close_vocabulary(v);
}

static void special_tokens(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<s>", "</s>", "<tool>", "<tool><s>", "<|im_end|>", "ab", "b<s"};     /* 256 ... */
    static const int32_t types[] = {CONTROL, CONTROL, USER, USER, CONTROL, NORMAL, USER};
    static const char *const merges[] = {"a b"};
    gguf_writer w = writer_begin();
    writer_bpe(&w, "smollm", tokens, types, COUNT(tokens), merges, COUNT(merges));
    writer_u32(&w, "tokenizer.ggml.bos_token_id", 256);
    writer_u32(&w, "tokenizer.ggml.eos_token_id", 257);
    writer_bool(&w, "tokenizer.ggml.add_bos_token", true);
    writer_bool(&w, "tokenizer.ggml.add_eos_token", true);
    vocabulary v = open_vocabulary(w);
    const tokenizer *t = v.t;
    expect_ids(t, "", 0, true, false, IDS(256, 257));
    expect_ids(t, "ab", 2, true, false, IDS(256, 261, 257));
    expect_ids(t, "<s>", 3, false, false, IDS('<', 's', '>'));
    expect_ids(t, "<s>", 3, false, true, IDS(256));
    expect_ids(t, "<s>ab</s>", 9, false, true, IDS(256, 261, 257));
    expect_ids(t, "<tool>", 6, false, false, IDS(258));                 /* user-defined ones always count */
    expect_ids(t, "<tool><s>", 9, false, true, IDS(259));               /* the longest first ... */
    expect_ids(t, "<tool><tool><s>", 15, false, true, IDS(258, 259));
    expect_ids(t, "ab<s>", 5, false, true, IDS(261, 256));              /* ... wherever it stands; of equal ones the lower id */
    expect_ids(t, "ab<s>", 5, false, false, IDS('a', 262, '>'));
    expect_ids(t, "a<s", 3, false, true, IDS('a', '<', 's'));
    expect_text(t, IDS(256, 'a', 258, 257), true, "<s>a<tool></s>", 14);
    expect_text(t, IDS(256, 'a', 258, 257), false, "a<tool>", 7);
    assert_int_equal(tokenizer_bos(t), 256);
    assert_int_equal(tokenizer_eos(t), 257);
    assert_int_equal(tokenizer_id(t, "<|im_end|>"), 260);
    assert_int_equal(tokenizer_id(t, "ab"), -1);                        /* an ordinary token */
    assert_int_equal(tokenizer_id(t, "<|im_start|>"), -1);
    assert_true(tokenizer_is_end(t, 257) && tokenizer_is_end(t, 260));
    assert_false(tokenizer_is_end(t, 256) || tokenizer_is_end(t, 'a') || tokenizer_is_end(t, -1));
    kvant_error err = {""};
    static const int32_t outside[] = {-1, 263, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(outside); i++) {
        char *out;
        size_t n;
        assert_int_equal(tokenizer_decode(t, (int32_t[]){'a', outside[i]}, 2, true, &out, &n, &err), KVANT_INVALID);
        assert_null(out);
        assert_non_null(strstr(err.text, "position 1"));
    }
    close_vocabulary(v);
}

/* `spelt` stands for letters: "tokens" that a cut in llama-bpe's way takes whole, though no merge makes them. */
static void whole_words_and_flags(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<bos>", "hello", "\xc4\xa0hello"};
    static const int32_t types[] = {CONTROL, NORMAL, NORMAL};
    static const struct { const char *pre; bool whole, bos; } kinds[] = {{"llama-bpe", true, true}, {"qwen2", false, false},
                                                                         {"gpt-2", false, false}, {"dbrx", false, false}};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        gguf_writer w = writer_begin();
        writer_bpe(&w, kinds[i].pre, tokens, types, COUNT(tokens), NULL, 0);
        writer_u32(&w, "tokenizer.ggml.bos_token_id", 256);
        vocabulary v = open_vocabulary(w);
        if (kinds[i].whole)
            expect_ids(v.t, "hello hello", 11, false, false, IDS(257, 258));
        else
            expect_ids(v.t, "hello", 5, false, false, IDS('h', 'e', 'l', 'l', 'o'));
        if (kinds[i].bos)
            expect_ids(v.t, "a", 1, true, false, IDS(256, 'a'));
        else
            expect_ids(v.t, "a", 1, true, false, IDS('a'));
        close_vocabulary(v);
    }
}

/* Byte pairs by the definition: join the leftmost pair of least rank, everywhere anew. pairs [n_pairs] of symbols. */
static size_t join_slowly(const int32_t (*pairs)[2], size_t n_pairs, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n_pairs, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t p = 0; p < best; p++)
                if (pairs[p][0] == ids[i] && pairs[p][1] == ids[i + 1]) {
                    best = p;
                    at = i;
                }
        if (best == n_pairs)
            return n;
        ids[at] = 256 + (int32_t)best;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void merges_as_defined(void **state)
{
    (void)state;
    enum { PAIRS = 60, LONGEST = 64 };
    int32_t pairs[PAIRS][2];
    char spelling[PAIRS][4 * LONGEST], merge[PAIRS][8 * LONGEST];
    const char *tokens[PAIRS], *merges[PAIRS];
    uint64_t random = 7;
    size_t n = 0;
    while (n < PAIRS) {                                                 /* of a, b, c and earlier results, all different */
        const char *part[2];
        char letters[2][2] = {"", ""};
        for (int k = 0; k < 2; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t pick = (random >> 33) % (3 + n);
            letters[k][0] = (char)('a' + pick);
            pairs[n][k] = pick < 3 ? 'a' + (int32_t)pick : 256 + (int32_t)(pick - 3);
            part[k] = pick < 3 ? letters[k] : spelling[pick - 3];
        }
        if (strlen(part[0]) + strlen(part[1]) > LONGEST)
            continue;
        snprintf(spelling[n], sizeof spelling[n], "%s%s", part[0], part[1]);
        snprintf(merge[n], sizeof merge[n], "%s %s", part[0], part[1]);
        bool seen = false;
        for (size_t i = 0; i < n; i++)
            seen = seen || !strcmp(spelling[i], spelling[n]);
        tokens[n] = spelling[n];
        merges[n] = merge[n];
        n += !seen;
    }
    gguf_writer w = writer_begin();
    writer_bpe(&w, "gpt-2", tokens, NULL, PAIRS, merges, PAIRS);
    vocabulary v = open_vocabulary(w);
    for (size_t trial = 0; trial < 500; trial++) {
        char text[200];
        int32_t ids[200];
        size_t bytes = 1 + trial % 200;
        for (size_t i = 0; i < bytes; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[i] = (char)('a' + (random >> 33) % 3);
            ids[i] = text[i];
        }
        expect_ids(v.t, text, bytes, false, false, ids, join_slowly((const int32_t(*)[2])pairs, PAIRS, ids, bytes));
    }
    close_vocabulary(v);
}

/* One piece of very many symbols: what is quadratic would take hours. */
static void long_pieces(void **state)
{
    (void)state;
    enum { BYTES = 1 << 18 };
    static const char *const tokens[] = {"aa", "aaaa", "\xc4\xa0\xc4\xa0"};
    static const char *const merges[] = {"a a", "aa aa", "\xc4\xa0 \xc4\xa0"};
    static const char *const pres[] = {"smollm", "gpt-2", "llama-bpe", "qwen2", "default"};
    static const char fill[] = "a 1\n'\xff";
    char *text = malloc(BYTES);
    assert_non_null(text);
    for (size_t i = 0; i < COUNT(pres); i++) {
        gguf_writer w = writer_begin();
        writer_bpe(&w, pres[i], tokens, NULL, COUNT(tokens), merges, COUNT(merges));
        vocabulary v = open_vocabulary(w);
        for (const char *c = fill; *c; c++) {
            memset(text, *c, BYTES);
            text[BYTES - 1] = 'z';
            expect_round_trip(v.t, text, BYTES);
        }
        close_vocabulary(v);
    }
    free(text);
}

static void same_from_every_thread(void **state)
{
    (void)state;
    static const char *const tokens[] = {"aa", "th", "the", "<|x|>"};
    static const int32_t types[] = {NORMAL, NORMAL, NORMAL, CONTROL};
    static const char *const merges[] = {"a a", "t h", "th e"};
    static const char text[] = "the aaa <|x|> 123 \xe4\xb8\xad theaa";
    gguf_writer w = writer_begin();
    writer_bpe(&w, "llama-bpe", tokens, types, COUNT(tokens), merges, COUNT(merges));
    vocabulary v = open_vocabulary(w);
    int32_t *ids;
    size_t n, different = 0;
    assert_int_equal(tokenizer_encode(v.t, text, sizeof text, true, true, &ids, &n, NULL), KVANT_OK);
#pragma omp parallel for reduction(+ : different) num_threads(4)
    for (int i = 0; i < 400; i++) {
        int32_t *own = NULL;
        char *back = NULL;
        size_t n_own = 0, bytes = 0;
        bool same = !tokenizer_encode(v.t, text, sizeof text, true, true, &own, &n_own, NULL) && n_own == n &&
                    !memcmp(own, ids, n * sizeof *ids) && !tokenizer_decode(v.t, own, n_own, true, &back, &bytes, NULL) &&
                    bytes == sizeof text && !memcmp(back, text, bytes);
        different += !same;
        free(own);
        free(back);
    }
    assert_int_equal(different, 0);
    free(ids);
    close_vocabulary(v);
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------ */

#define MARK "\xe2\x96\x81"

static void scored_pieces(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0x61>", "<0xFF>", MARK, "a", "b", "ab", "bb", MARK "a", "<x>"};
    static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 4};
    static const float scores[] = {0, 0, 0, 0, 0, -9, -9, -9, -3, -1, -2, 0};
    for (int prefix = 0; prefix < 2; prefix++) {
        gguf_writer w = writer_begin();
        writer_string(&w, "tokenizer.ggml.model", "llama");
        writer_strings(&w, "tokenizer.ggml.tokens", tokens, COUNT(tokens));
        writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, types, COUNT(types), sizeof types);
        writer_array(&w, "tokenizer.ggml.scores", GGUF_F32, scores, COUNT(scores), sizeof scores);
        writer_u32(&w, "tokenizer.ggml.bos_token_id", 1);
        writer_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
        writer_bool(&w, "tokenizer.ggml.add_space_prefix", prefix);
        vocabulary v = open_vocabulary(w);
        if (prefix) {
            expect_ids(v.t, "", 0, true, false, IDS(1));
            expect_ids(v.t, "ab", 2, true, false, IDS(1, 10, 7));       /* the mark and a score higher than a and b */
            expect_ids(v.t, "a<x>a", 5, false, false, IDS(10, 11, 10)); /* again behind a special token */
            expect_text(v.t, IDS(1, 10, 5, 10, 11, 10), false, "a  a<x>a", 8);
        } else {
            expect_ids(v.t, "abb", 3, false, false, IDS(6, 9));         /* bb scores higher than ab */
            expect_ids(v.t, "abab", 4, false, false, IDS(8, 8));
            expect_ids(v.t, " a", 2, false, false, IDS(10));
            expect_ids(v.t, "a\xff" "c", 3, false, false, IDS(6, 4, 0)); /* a byte with a token, and one without */
            expect_text(v.t, IDS(3, 4, 10), false, "a\xff a", 4);
        }
        close_vocabulary(v);
    }
}

/* ---- There and back ---------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *random, uint64_t n)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % n;
}

/* Any character of Unicode, of few bytes as often as of many, and often one that vocabularies and cuts treat in a way of their own. */
static size_t draw_character(uint64_t *random, char out[4])
{
    static const char *const own[] = {" ", "  ", "\n", "\r\n", "a", "ab", "12", "'s", "\xc2\xa0", "\xcc\x81",
                                      "\xe2\x80\x99", "\xef\xbb\xbf"};
    static const uint32_t below[] = {0x80, 0x800, 0x10000, 0x110000};
    if (draw(random, 2)) {
        const char *s = own[draw(random, COUNT(own))];
        memcpy(out, s, strlen(s));
        return strlen(s);
    }
    const size_t bytes = draw(random, 4);
    uint32_t c = (uint32_t)draw(random, below[bytes]);
    if (c - 0xd800 < 0x800 || c == 0x2581)                              /* surrogates are no characters; of U+2581 below */
        c = 'x';
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c >> 6 * (n - 1));
    for (size_t i = 1; i < n; i++)
        out[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
    return n;
}

static void expect_any_text_back(const tokenizer *t, uint64_t random)
{
    for (int trial = 0; trial < 400; trial++) {
        char text[4 * 64];
        size_t bytes = 0;
        for (int k = trial % 60; k >= 0; k--)
            bytes += draw_character(&random, text + bytes);
        expect_round_trip(t, text, bytes);
    }
}

/* Any valid UTF-8 comes back from a vocabulary of every pre-split that is known. */
static void any_text_by_every_cut(void **state)
{
    (void)state;
    static const char *const tokens[] = {"aa", "aab", ("\xc4\xa0" "a"), "12", "\xc4\xa0\xc4\xa0", "\xc4\x8a\xc4\x8a", "<tool>", "<s>"};
    static const int32_t types[] = {NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, USER, CONTROL};
    static const char *const merges[] = {"a a", "aa b", "\xc4\xa0 a", "1 2", "\xc4\xa0 \xc4\xa0", "\xc4\x8a \xc4\x8a"};
    char names[1024], *rest = names;
    size_t n = 0;
    pretokenizer_names(names, sizeof names);
    for (char *name; (name = strtok_r(rest, ", ", &rest)); n++) {
        gguf_writer w = writer_begin();
        writer_bpe(&w, name, tokens, types, COUNT(tokens), merges, COUNT(merges));
        vocabulary v = open_vocabulary(w);
        expect_any_text_back(v.t, n + 1);
        expect_round_trip(v.t, "a" MARK "a", 5);
        close_vocabulary(v);
    }
    assert_true(n >= 10);
}

/* SentencePiece brings back any valid UTF-8 too, but U+2581, its own spelling of a space. */
static void any_text_by_scores(void **state)
{
    (void)state;
    static const char *const tokens[] = {MARK, "a", MARK "a", "ab", MARK MARK, "\xc3\xa9", "\xe4\xb8\xad", "<tool>", "<s>"};
    static const int32_t types[] = {NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, USER, CONTROL};
    static const float scores[] = {-9, -9, -2, -3, -4, -9, -9, 0, 0};
    for (int prefix = 0; prefix < 2; prefix++) {
        gguf_writer w = writer_begin();
        writer_spm(&w, tokens, types, scores, COUNT(tokens));
        writer_bool(&w, "tokenizer.ggml.add_space_prefix", prefix);
        vocabulary v = open_vocabulary(w);
        expect_any_text_back(v.t, 99);
        int32_t *ids;
        size_t n;
        assert_int_equal(tokenizer_encode(v.t, "a" MARK "a", 5, false, false, &ids, &n, NULL), KVANT_OK);
        expect_text(v.t, ids, n, true, "a a", 3);
        free(ids);
        close_vocabulary(v);
    }
}

/* ---- Vocabularies that are not supported, and faulty ones ------------------------------------------------------ */

static void refuse(gguf_writer w, kvant_status status, const char *part)
{
    gguf *f;
    tokenizer *t;
    kvant_error err = {""};
    assert_int_equal(gguf_open_buffer(writer_end(&w), &f, &err), KVANT_OK);
    kvant_status got = tokenizer_open(f, &t, &err);
    if (got != status || !strstr(err.text, part))
        fail_msg("expected %d and '%s', got %d and '%s'", (int)status, part, (int)got, err.text);
    assert_null(t);
    gguf_close(f);
}

static gguf_writer bpe_with(const char *pre)
{
    gguf_writer w = writer_begin();
    writer_bpe(&w, pre, NULL, NULL, 0, NULL, 0);
    return w;
}

/* Keys of a vocabulary of two tokens, but those of merges, scores and types. */
static gguf_writer bare(const char *model)
{
    gguf_writer w = writer_begin();
    writer_string(&w, "tokenizer.ggml.model", model);
    writer_strings(&w, "tokenizer.ggml.tokens", (const char *const[]){"a", "b"}, 2);
    return w;
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    refuse(writer_begin(), KVANT_SKIP, "holds no tokenizer");
    refuse(bare("bert"), KVANT_SKIP, "supported are gpt2, llama");
    refuse(bpe_with("tekken"), KVANT_SKIP, "supported are smollm, gpt-2, llama-bpe");
    refuse(bare("gpt2"), KVANT_INVALID, "'tokenizer.ggml.merges' is missing");
    refuse(bare("llama"), KVANT_INVALID, "'tokenizer.ggml.scores' is missing");
    gguf_writer w = writer_begin();
    writer_string(&w, "tokenizer.ggml.model", "gpt2");
    refuse(w, KVANT_INVALID, "'tokenizer.ggml.tokens' is missing");
    w = writer_begin();
    writer_string(&w, "tokenizer.ggml.model", "gpt2");
    writer_strings(&w, "tokenizer.ggml.tokens", NULL, 0);
    refuse(w, KVANT_INVALID, "'tokenizer.ggml.tokens' is missing");
    static const int32_t types[][3] = {{1, 1, 1}, {1, 7}, {1, -1}};
    for (size_t i = 0; i < COUNT(types); i++) {
        w = bare("gpt2");
        writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, types[i], i ? 2 : 3, i ? 8 : 12);
        refuse(w, KVANT_INVALID, i ? "item 1 is no token type" : "does not hold 2 items");
    }
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "unknown_token_id", "eot_token_id", "eom_token_id"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", keys[i]);
        w = bpe_with("gpt-2");
        writer_u32(&w, key, 256);
        refuse(w, KVANT_INVALID, "is no id of the 256 tokens");
    }
    static const char *const flags[] = {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"};
    for (size_t i = 0; i < COUNT(flags); i++) {
        w = bpe_with("gpt-2");
        writer_bool(&w, flags[i], true);
        refuse(w, KVANT_INVALID, "BOS or EOS token that the file does not name");
    }
    static const char *const bad[] = {"", "a", "ab", "a ", " a", " ab"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        w = bare("gpt2");
        writer_strings(&w, "tokenizer.ggml.merges", (const char *const[]){"a b", bad[i]}, 2);
        refuse(w, KVANT_INVALID, "item 1 is no pair");
    }
    static const float scores[][3] = {{0, 0, 0}, {0, 0.0f / 0.0f}};
    for (size_t i = 0; i < COUNT(scores); i++) {
        w = bare("llama");
        writer_array(&w, "tokenizer.ggml.scores", GGUF_F32, scores[i], i ? 2 : 3, i ? 8 : 12);
        refuse(w, KVANT_INVALID, i ? "item 1 is no number" : "not of 2 items");
    }
    vocabulary v = open_vocabulary(bpe_with("gpt-2"));
    int32_t *ids;
    size_t n;
    kvant_error err;
    assert_int_equal(tokenizer_encode(v.t, "a", SIZE_MAX, false, false, &ids, &n, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "split it"));
    close_vocabulary(v);
    tokenizer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_in_order_of_rank), cmocka_unit_test(special_tokens),
        cmocka_unit_test(whole_words_and_flags),   cmocka_unit_test(merges_as_defined),
        cmocka_unit_test(long_pieces),             cmocka_unit_test(same_from_every_thread),
        cmocka_unit_test(scored_pieces),           cmocka_unit_test(any_text_by_every_cut),
        cmocka_unit_test(any_text_by_scores),      cmocka_unit_test(refuses_what_it_cannot_do),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
