/* pretokenize.c - the known cuts as PCRE2 patterns, and the walk over a text.
 * Several cuts are defined as passes, each cutting the pieces of the one before; here each is one equivalent pattern. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "harness/lm/pretokenize.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Unicode's White_Space, spelt out: PCRE2's own \s depends on its options. For use inside a class. */
#define SPACE "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define ENGLISH "'s|'t|'re|'ve|'m|'ll|'d"

/* A run of spaces leaves its last one to a word behind it. */
static const char gpt2[] = ENGLISH "| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

/* Each digit alone, then as gpt2. A digit ends a run of spaces as the end of the text does. */
static const char digits[] =
    "\\p{N}|" ENGLISH "| ?\\p{L}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "\\p{N}])|[" SPACE "]+";

#define ANY_CASE "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define MARKS_AND_SPACES \
    " ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"

static const char llama3[] = ANY_CASE "|" LETTERS "|\\p{N}{1,3}|" MARKS_AND_SPACES;
static const char qwen2[] = ANY_CASE "|" LETTERS "|\\p{N}|" MARKS_AND_SPACES;

/* Runs of punctuation first, then as gpt2 within the rest, then numbers apart from the space before them, ASCII digits by
 * threes. So a space before punctuation stays alone, and one before a number is split off. */
#define PUNCTUATION "\\p{P}$+<=>^~|"
static const char by_punctuation[] =
    "[" PUNCTUATION "]+| ?\\p{L}+|[0-9]{3}|(?:(?![0-9]{3})\\p{N})++| ?[^" SPACE "\\p{L}\\p{N}" PUNCTUATION "]+"
    "|[" SPACE "]+(?![^" SPACE PUNCTUATION "])|[" SPACE "]+";

static const pretokenizer known[] = {
    {"smollm", digits, false, false},        {"gpt-2", gpt2, false, false},       {"llama-bpe", llama3, true, true},
    {"default", by_punctuation, false, false}, {"qwen2", qwen2, false, false},    {"llama3", llama3, true, true},
    {"llama-v3", llama3, true, true},        {"falcon3", llama3, true, true},     {"falcon-h1", llama3, true, true},
    {"pixtral", llama3, true, true},         {"midm-2.0", llama3, true, true},    {"lfm2", llama3, true, true},
    {"dbrx", llama3, false, false},          {"smaug-bpe", llama3, false, false}, {"phi-2", gpt2, false, false},
    {"mpt", gpt2, false, false},             {"olmo", gpt2, false, false},        {"jais", gpt2, false, false},
    {"exaone4", gpt2, false, false},         {"starcoder", digits, false, false}, {"refact", digits, false, false},
    {"command-r", digits, false, false},     {"codeshell", digits, false, false}, {"exaone", digits, false, false},
    {"minerva-7b", digits, false, false},    {"stablelm2", qwen2, false, false},  {"deepseek-r1-qwen", qwen2, false, false},
    {"kormo", qwen2, false, false},          {"megrez", qwen2, false, false},
};
enum { N_KNOWN = sizeof known / sizeof *known };

const pretokenizer *pretokenizer_find(gguf_string name)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strlen(known[i].name) == name.bytes && !memcmp(known[i].name, name.data, name.bytes))
            return &known[i];
    return NULL;
}

void pretokenizer_names(char *text, size_t bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < N_KNOWN && at < bytes; i++)
        at += (size_t)snprintf(text + at, bytes - at, "%s%s", i ? ", " : "", known[i].name);
}

struct cutter { pcre2_code *code; pcre2_match_context *context; };

kvant_status cutter_open(const pretokenizer *pre, cutter **out, kvant_error *err)
{
    cutter *c = calloc(1, sizeof *c);
    int code;
    PCRE2_SIZE at;
    *out = c;
    if (!c)
        return kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory");
    c->code = pcre2_compile((PCRE2_SPTR)pre->pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED, &code, &at, NULL);
    c->context = pcre2_match_context_create(NULL);
    if (!c->code || !c->context) {
        cutter_close(c);
        *out = NULL;
        return kvant_fail(err, KVANT_FAILED, "tokenizer: PCRE2 does not take the pattern of '%s' (error %d at %zu); is it built "
                          "with Unicode?", pre->name, code, at);
    }
    /* The limits guard against patterns that blow up; these are linear, and a run of spaces may be as long as the text. */
    pcre2_set_match_limit(c->context, UINT32_MAX);
    pcre2_jit_compile(c->code, PCRE2_JIT_COMPLETE);      /* where there is no JIT, pcre2_match interprets */
    return KVANT_OK;
}

void cutter_close(cutter *c)
{
    if (!c)
        return;
    pcre2_code_free(c->code);
    pcre2_match_context_free(c->context);
    free(c);
}

size_t utf8_length(const char *text, size_t bytes)
{
    const uint8_t *p = (const uint8_t *)text;
    if (!bytes)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (!n || n > bytes)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);      /* surrogates, beyond U+10FFFF */
    return overlong || outside ? 0 : n;
}

struct cuts {
    const cutter *cutter;
    pcre2_match_data *match;
    const char *text;
    size_t bytes, at;
    size_t run, run_end;           /* the stretch of valid UTF-8 that `at` lies in */
};

kvant_status cuts_open(const cutter *c, const char *text, size_t bytes, cuts **out, kvant_error *err)
{
    cuts *s = calloc(1, sizeof *s);
    *out = s;
    if (!s || !(s->match = pcre2_match_data_create(1, NULL))) {
        free(s);
        *out = NULL;
        return kvant_fail(err, KVANT_NOMEM, "tokenizer: no memory");
    }
    s->cutter = c;
    s->text = text;
    s->bytes = bytes;
    return KVANT_OK;
}

void cuts_close(cuts *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->match);
    free(s);
}

kvant_status cuts_next(cuts *s, const char **piece, size_t *bytes, kvant_error *err)
{
    size_t start = s->at, n;
    *piece = s->text + start;
    *bytes = 0;
    if (start == s->bytes)
        return KVANT_OK;
    if (start == s->run_end) {
        while (s->at < s->bytes && !utf8_length(s->text + s->at, s->bytes - s->at))
            s->at++;
        s->run = s->run_end = s->at;
        while ((n = utf8_length(s->text + s->run_end, s->bytes - s->run_end)))
            s->run_end += n;
        if (s->at > start) {
            *bytes = s->at - start;
            return KVANT_OK;
        }
    }
    /* Validity has been checked: PCRE2 would check the rest of the text again at every piece. */
    int code = pcre2_match(s->cutter->code, (PCRE2_SPTR)s->text + s->run, s->run_end - s->run, start - s->run, PCRE2_NO_UTF_CHECK,
                           s->match, s->cutter->context);
    PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match);
    if (code < 0 || span[1] <= span[0])
        return kvant_fail(err, KVANT_FAILED, "tokenizer: text cannot be cut at byte %zu (PCRE2 error %d)", start, code);
    *bytes = span[1] - span[0];
    s->at = start + *bytes;
    return KVANT_OK;
}
