/* haystack.c - cuts prose into sentences, draws what to hide, and fits a message to a length by galloping and bisection.
 * Deterministic in text, seed and trial: the same on every machine and for any order of trials. */
#include "harness/measure/haystack.h"

#include "harness/util.h"

#include <gsl/gsl_rng.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Shorter ones are mostly abbreviations and initials, longer ones tables that happen to end with a full stop. */
enum { MIN_SENTENCE = 20, MAX_SENTENCE = 800 };

static const char *const cities[] = {
    "Accra", "Adelaide", "Antwerp", "Bogota", "Bratislava", "Busan", "Calgary", "Casablanca", "Dakar", "Dublin", "Florence",
    "Geneva", "Hamburg", "Hanoi", "Helsinki", "Istanbul", "Jakarta", "Kyoto", "Lima", "Lisbon", "Marseille", "Melbourne",
    "Nairobi", "Oslo", "Porto", "Quito", "Riga", "Seville", "Tallinn", "Valencia", "Vienna", "Zagreb"
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

/* Bytes of the closing quote or bracket at s, 0 for none. */
static size_t closer(const char *s, size_t left)
{
    if (left && strchr("\"')]", *s) && *s)
        return 1;
    return left >= 3 && (!memcmp(s, "\xe2\x80\x99", 3) || !memcmp(s, "\xe2\x80\x9d", 3)) ? 3 : 0;
}

/* Whether a sentence ends just before s[at]: a stop with its closers lies behind, white space and no small letter ahead. */
static bool ends_at(const char *s, size_t bytes, size_t at)
{
    if (at < bytes && !is_space(s[at]))
        return false;
    while (at < bytes && is_space(s[at]))
        at++;
    return at == bytes || s[at] < 'a' || s[at] > 'z';
}

/* End of the white space at `at`; *paragraph when it holds an empty line. */
static size_t skip_space(const char *s, size_t bytes, size_t at, bool *paragraph)
{
    unsigned lines = 0;
    for (; at < bytes && is_space(s[at]); at++)
        lines += s[at] == '\n';
    *paragraph = lines > 1;
    return at;
}

static bool push_sentence(haystack *h, size_t *capacity, size_t end)
{
    if (h->n + 2 > *capacity) {
        size_t more = *capacity ? 2 * *capacity : 1024;
        size_t *start = realloc(h->start, more * sizeof *start);
        if (!start)
            return false;
        h->start = start;
        *capacity = more;
        h->start[0] = 0;
    }
    h->start[++h->n] = end;
    return true;
}

kvant_status haystack_open(const char *source, size_t bytes, haystack *h, kvant_error *err)
{
    *h = (haystack) { .source = source, .bytes = bytes, .text = malloc(bytes + 2) };
    if (!h->text)
        return kvant_fail(err, KVANT_NOMEM, "haystack: no memory for %zu bytes of prose", bytes);
    size_t capacity = 0, begin = 0, out = 0, at = 0;       /* the sentence at work is h->text[begin ... out) */
    bool paragraph = false;
    for (at = skip_space(source, bytes, 0, &paragraph); at < bytes;) {
        bool stop = strchr(".!?", source[at]) != NULL;
        h->text[out++] = source[at++];
        for (size_t n; stop && (n = closer(source + at, bytes - at)) > 0; at += n, out += n)
            memcpy(h->text + out, source + at, n);
        bool ended = stop && ends_at(source, bytes, at);
        if (at < bytes && !is_space(source[at]))
            continue;
        at = skip_space(source, bytes, at, &paragraph);
        h->text[out++] = ' ';
        size_t length = out - 1 - begin;
        if (ended && length >= MIN_SENTENCE && length <= MAX_SENTENCE) {
            if (!push_sentence(h, &capacity, out)) {
                haystack_close(h);
                return kvant_fail(err, KVANT_NOMEM, "haystack: no memory for %zu sentences", h->n);
            }
            begin = out;
        } else if (ended || paragraph) {
            out = begin;
        }
    }
    if (h->n)
        return KVANT_OK;
    haystack_close(h);
    return kvant_fail(err, KVANT_INVALID, "haystack: the text of %zu bytes holds no sentence of %d to %d bytes; take prose",
                      bytes, MIN_SENTENCE, MAX_SENTENCE);
}

void haystack_close(haystack *h)
{
    free(h->text);
    free(h->start);
    *h = (haystack) { 0 };
}

kvant_status haystack_draw(const haystack *h, uint32_t seed, uint32_t trial, uint32_t trials, uint32_t digits, haystack_trial *t,
                           kvant_error *err)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (!rng)
        return kvant_fail(err, KVANT_NOMEM, "haystack: no memory for a generator");
    gsl_rng_set(rng, 65536ul * seed + trial + 1);
    t->city = cities[gsl_rng_uniform_int(rng, sizeof cities / sizeof *cities)];
    t->first = (size_t)((trial + gsl_rng_uniform(rng)) / trials * (double)h->n) % h->n;
    bool found = true;
    for (int attempt = 0; found && attempt < 1000; attempt++) {
        t->number[0] = (char)('1' + gsl_rng_uniform_int(rng, 9));
        for (uint32_t i = 1; i < digits; i++)
            t->number[i] = (char)('0' + (t->number[i - 1] - '0' + 1 + (int)gsl_rng_uniform_int(rng, 9)) % 10);
        t->number[digits] = '\0';
        found = memmem(h->source, h->bytes, t->number, digits) != NULL;
    }
    gsl_rng_free(rng);
    return found ? kvant_fail(err, KVANT_INVALID, "haystack: the text contains every number of %u digits that was drawn; ask for "
                              "more digits", digits)
                 : KVANT_OK;
}

char *haystack_answer(const haystack_trial *t)
{
    return text_format("The special magic number for %s is", t->city);
}

/* Bytes of sentences first ... first+n-1, the spaces behind them included. */
static size_t passage_bytes(const haystack *h, size_t first, size_t n)
{
    if (first + n <= h->n)
        return h->start[first + n] - h->start[first];
    return h->start[h->n] - h->start[first] + h->start[first + n - h->n];
}

static void add_passage(const haystack *h, size_t first, size_t n, text *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t s = (first + i) % h->n;
        text_add(out, "%.*s", (int)(h->start[s + 1] - h->start[s]), h->text + h->start[s]);
    }
}

/* The message over n sentences; NULL: no memory. */
static char *compose(const haystack *h, const haystack_trial *t, size_t n, double depth, double *at)
{
    double whole = (double)passage_bytes(h, t->first, n), best = INFINITY;
    size_t before = 0;
    for (size_t i = 0; i <= n; i++) {
        double reached = (double)passage_bytes(h, t->first, i) / whole;
        if (fabs(reached - depth) < best) {
            best = fabs(reached - depth);
            before = i;
            *at = reached;
        }
    }
    char *fact = haystack_answer(t);
    text out = { 0 };
    text_add(&out, "Somewhere in the following text one sentence gives a special magic number. Remember it, you will be asked "
                   "for it.\n\n");
    add_passage(h, t->first, before, &out);
    text_add(&out, "%s %s.%s", fact ? fact : "", t->number, before < n ? " " : "");
    add_passage(h, (t->first + before) % h->n, n - before, &out);
    text_add(&out, "\n\nWhat is the special magic number for %s that the text gives?", t->city);
    bool failed = !fact || out.failed;
    free(fact);
    if (!failed)
        return out.data;
    text_free(&out);
    return NULL;
}

kvant_status haystack_message(const haystack *h, const haystack_trial *t, size_t length, double depth, haystack_count count,
                              void *user, char **message, double *at, kvant_error *err)
{
    /* fits sentences are within the length, `over` (0: not known yet) are not. */
    size_t fits = 0, over = 0, tokens = 0;
    char *best = NULL;
    while (over != fits + 1) {
        size_t n = over ? fits + (over - fits) / 2 : fits ? 2 * fits : 1;
        if (n > h->n && fits == h->n) {
            free(best);
            return kvant_fail(err, KVANT_INVALID, "haystack: all %zu sentences of the text make %zu tokens, and %zu are asked "
                              "for; take a longer text", h->n, tokens, length);
        }
        n = n < h->n ? n : h->n;
        double reached = 0;
        char *candidate = compose(h, t, n, depth, &reached);
        if (!candidate) {
            free(best);
            return kvant_fail(err, KVANT_NOMEM, "haystack: no memory for a message of %zu sentences", n);
        }
        kvant_status status = count(user, candidate, &tokens, err);
        if (status) {
            free(candidate);
            free(best);
            return status;
        }
        if (tokens > length) {
            over = n;
            free(candidate);
        } else {
            fits = n;
            free(best);
            best = candidate;
            *at = reached;
        }
    }
    if (!best)
        return kvant_fail(err, KVANT_INVALID, "haystack: one sentence and the question take %zu tokens already, and %zu are "
                          "asked for; ask for a greater length", tokens, length);
    *message = best;
    return KVANT_OK;
}
