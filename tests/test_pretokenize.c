/* test_pretokenize.c - the cuts against their published definitions, which are passes of patterns, each within the last one's
 * pieces; here they are carried out as defined, on random text from an alphabet of troublesome characters. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "harness/lm/pretokenize.h"

#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define LLAMA3(digits) \
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct { const char *pre; const char *passes[4]; } definitions[] = {
    {"smollm", {"\\p{N}", GPT2}},
    {"starcoder", {"\\p{N}", GPT2}},
    {"gpt-2", {GPT2}},
    {"phi-2", {GPT2}},
    {"llama-bpe", {LLAMA3("\\p{N}{1,3}")}},
    {"llama3", {LLAMA3("\\p{N}{1,3}")}},
    {"falcon3", {LLAMA3("\\p{N}{1,3}")}},
    {"dbrx", {LLAMA3("\\p{N}{1,3}")}},
    {"qwen2", {LLAMA3("\\p{N}")}},
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

enum { MOST = 256 };

/* Where pieces end, in order. */
typedef struct { size_t at[MOST], n; } ends;

/* One pass: what the pattern matches is a piece, and so is what lies between. */
static ends cut(const char *pattern, const char *text, const ends *pieces)
{
    int code;
    PCRE2_SIZE at;
    ends out = {.n = 0};
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    assert_non_null(re);
    assert_non_null(match);
    for (size_t i = 0, start = 0; i < pieces->n; start = pieces->at[i++]) {
        size_t length = pieces->at[i] - start, done = 0;
        while (done < length && pcre2_match(re, (PCRE2_SPTR)text + start, length, done, 0, match, NULL) > 0) {
            const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
            if (span[0] > done)
                out.at[out.n++] = start + span[0];
            out.at[out.n++] = start + span[1];
            done = span[1];
        }
        if (done < length)
            out.at[out.n++] = start + length;
    }
    pcre2_match_data_free(match);
    pcre2_code_free(re);
    return out;
}

static ends walk(const cutter *c, const char *text, size_t bytes)
{
    kvant_error err = {""};
    cuts *s;
    ends out = {.n = 0};
    assert_int_equal(cuts_open(c, text, bytes, &s, &err), KVANT_OK);
    for (size_t at = 0;;) {
        const char *piece;
        size_t n;
        if (cuts_next(s, &piece, &n, &err))
            fail_msg("%s", err.text);
        if (!n)
            break;
        assert_ptr_equal(piece, text + at);
        at += n;
        assert_true(out.n < MOST);
        out.at[out.n++] = at;
    }
    cuts_close(s);
    return out;
}

static const pretokenizer *find(const char *name)
{
    const pretokenizer *p = pretokenizer_find((gguf_string){name, strlen(name)});
    assert_non_null(p);
    return p;
}

static void as_defined(void **state)
{
    (void)state;
    static const char *const alphabet[] = {
        " ", " ", " ", "\n", "\r", "\t", "\xc2\xa0", "\xe3\x80\x80", "\xe2\x80\xa8", "\xc2\x85", "\x1c",   /* spaces, and one not */
        "a", "s", "S", "re", "LL", "\xc5\xbf", "\xc3\xa9", "\xe4\xb8\xad", "\xd7\xa9", "\xf0\x9d\x92\xb3", /* letters */
        "'", "'s", "'ve", "'T", "\xe2\x80\x99s", "!", "-", ".", "\"", "\xc2\xbf", "\xe3\x80\x82",          /* punctuation */
        "$", "+", "<", "=", "^", "~", "|", "`", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xcc\x81", "\xe2\x80\x8b", /* signs, marks */
        "1", "23", "456", "7890", "\xd9\xa3", "\xc2\xb2", "\xc2\xbd", "\xe2\x85\xa3", "\x01", "\x7f",      /* numbers, controls */
    };
    uint64_t random = 20240607;
    for (size_t d = 0; d < sizeof definitions / sizeof *definitions; d++) {
        kvant_error err = {""};
        cutter *c;
        if (cutter_open(find(definitions[d].pre), &c, &err))
            fail_msg("%s", err.text);
        for (int trial = 0; trial < 4000; trial++) {
            char text[160] = "";
            size_t bytes = 0;
            for (int k = trial % 24; k >= 0; k--) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                bytes += (size_t)sprintf(text + bytes, "%s", alphabet[(random >> 33) % (sizeof alphabet / sizeof *alphabet)]);
            }
            ends expected = {{bytes}, 1}, got = walk(c, text, bytes);
            for (int pass = 0; pass < 4 && definitions[d].passes[pass]; pass++)
                expected = cut(definitions[d].passes[pass], text, &expected);
            if (got.n != expected.n || memcmp(got.at, expected.at, got.n * sizeof *got.at))
                fail_msg("%s cuts '%s' into %zu pieces, not %zu", definitions[d].pre, text, got.n, expected.n);
        }
        cutter_close(c);
    }
}

static void keeps_invalid_bytes(void **state)
{
    (void)state;
    static const struct { const char *text; size_t bytes, ends[6]; } cases[] = {
        {"", 0, {0}},
        {"\xff", 1, {1}},
        {"a\xff\xfe" "b", 4, {1, 3, 4}},
        {"a\xc3", 2, {1, 2}},                                           /* cut off */
        {"\xc0\x80", 2, {2}},                                           /* overlong */
        {"\xed\xa0\x80 a", 5, {3, 5}},                                  /* surrogate */
        {"\xf4\x90\x80\x80x", 5, {4, 5}},                               /* beyond Unicode */
        {"\xe2\x82 \xac", 4, {2, 3, 4}},
        {"a\0b", 3, {1, 2, 3}},
    };
    kvant_error err = {""};
    cutter *c;
    assert_int_equal(cutter_open(find("gpt-2"), &c, &err), KVANT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ends got = walk(c, cases[i].text, cases[i].bytes);
        for (size_t k = 0; k < got.n; k++)
            assert_int_equal(got.at[k], cases[i].ends[k]);
        assert_int_equal(got.n ? got.at[got.n - 1] : 0, cases[i].bytes);
    }
    cutter_close(c);
    cutter_close(NULL);
    cuts_close(NULL);
}

static void every_name_compiles(void **state)
{
    (void)state;
    char names[1024], *rest = names;
    size_t n = 0;
    pretokenizer_names(names, sizeof names);
    assert_true(strlen(names) < 500);                                   /* fits a message */
    for (char *name; (name = strtok_r(rest, ", ", &rest)); n++) {
        kvant_error err = {""};
        cutter *c;
        if (cutter_open(find(name), &c, &err))
            fail_msg("%s", err.text);
        cutter_close(c);
    }
    assert_true(n >= 20);
    assert_null(pretokenizer_find((gguf_string){"smollm2", 7}));
    assert_null(pretokenizer_find((gguf_string){"smoll", 5}));
    assert_null(pretokenizer_find((gguf_string){"", 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_defined),
        cmocka_unit_test(keeps_invalid_bytes),
        cmocka_unit_test(every_name_compiles),
    };
    return cmocka_run_group_tests_name("pretokenize", tests, NULL, NULL);
}
