/* haystack.c - cuts prose into sentences, draws what to hide, fits a message to a length by galloping and bisection, reads answers.
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

/* ---- Facts ------------------------------------------------------------------------------------- */

static void draw_number(gsl_rng *rng, uint32_t digits, char *out)
{
    out[0] = (char)('1' + gsl_rng_uniform_int(rng, 9));
    for (uint32_t i = 1; i < digits; i++)
        out[i] = (char)('0' + (out[i - 1] - '0' + 1 + (int)gsl_rng_uniform_int(rng, 9)) % 10);
    out[digits] = '\0';
}

/* Four syllables of a consonant and a vowel: 49 million words that can be spoken, hardly one of which means something. */
static void draw_word(gsl_rng *rng, char *out)
{
    static const char consonants[] = "bdfgklmnprstvwyz", vowels[] = "aeiou";
    for (int i = 0; i < HAYSTACK_WORD; i += 2) {
        out[i] = consonants[gsl_rng_uniform_int(rng, sizeof consonants - 1)];
        out[i + 1] = vowels[gsl_rng_uniform_int(rng, sizeof vowels - 1)];
    }
    out[HAYSTACK_WORD] = '\0';
}

/* Draws the value of the fact behind the n that are there, until neither they nor the text have it; false: they always do. */
static bool draw_value(const haystack *h, gsl_rng *rng, haystack_trial *t)
{
    haystack_fact *f = &t->fact[t->n];
    for (int attempt = 0; attempt < 1000; attempt++) {
        if (t->task.words)
            draw_word(rng, f->value);
        else
            draw_number(rng, t->task.digits, f->value);
        bool known = memmem(h->source, h->bytes, f->value, strlen(f->value)) != NULL;
        for (size_t i = 0; i < t->n && !known; i++)
            known = !strcmp(t->fact[i].value, f->value);
        if (!known)
            return true;
    }
    return false;
}

static const char *draw_city(gsl_rng *rng, const haystack_trial *t)
{
    const char *city = NULL;
    for (bool used = true; used;) {
        city = cities[gsl_rng_uniform_int(rng, sizeof cities / sizeof *cities)];
        used = false;
        for (size_t i = 0; i < t->n && !used; i++)
            used = t->fact[i].city == city;
    }
    return city;
}
_Static_assert(sizeof cities / sizeof *cities >= HAYSTACK_MAX_FACTS, "every fact of a trial can have a city of its own");

kvant_status haystack_draw(const haystack *h, uint32_t seed, uint32_t trial, uint32_t trials, const haystack_task *task,
                           haystack_trial *t, kvant_error *err)
{
    const size_t facts = task->kind == HAYSTACK_SINGLE ? 1 : task->facts;
    if (facts < 1 || facts > HAYSTACK_MAX_FACTS || task->digits < 1 || task->digits > HAYSTACK_MAX_DIGITS)
        return kvant_fail(err, KVANT_INVALID, "haystack: %zu facts with numbers of %u digits; at most %d and %d are possible", facts,
                          task->digits, HAYSTACK_MAX_FACTS, HAYSTACK_MAX_DIGITS);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (!rng)
        return kvant_fail(err, KVANT_NOMEM, "haystack: no memory for a generator");
    gsl_rng_set(rng, 65536ul * seed + trial + 1);
    *t = (haystack_trial){ .task = *task };
    bool found = true;
    while (found && t->n < facts) {
        haystack_fact *f = &t->fact[t->n];
        f->city = t->n && task->kind == HAYSTACK_MULTI_VALUE ? t->fact[0].city : draw_city(rng, t);
        if (t->n == 0)
            t->first = (size_t)((trial + gsl_rng_uniform(rng)) / trials * (double)h->n) % h->n;
        else
            f->place = gsl_rng_uniform(rng);
        found = draw_value(h, rng, t);
        t->n++;
    }
    gsl_rng_free(rng);
    return found ? KVANT_OK
                 : kvant_fail(err, KVANT_INVALID, "haystack: the text contains every %s that was drawn; ask for more digits",
                              task->words ? "word" : "number");
}

size_t haystack_answers(const haystack_trial *t) { return t->task.kind == HAYSTACK_MULTI_QUERY ? t->n : 1; }

static const char *noun(const haystack_trial *t) { return t->task.words ? "word" : "number"; }

char *haystack_answer(const haystack_trial *t, size_t i)
{
    if (t->task.kind == HAYSTACK_MULTI_VALUE)
        return text_format("The special magic %ss for %s that the text gives are", noun(t), t->fact[i].city);
    return text_format("The special magic %s for %s is", noun(t), t->fact[i].city);
}

bool haystack_named(const haystack_trial *t, const char *answer, bool found[HAYSTACK_MAX_FACTS])
{
    static const char digits[] = "0123456789", letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *const of = t->task.words ? letters : digits, *const end = answer + strcspn(answer, ".\n");
    bool others = false;
    for (size_t i = 0; i < t->n; i++)
        found[i] = false;
    for (const char *s = answer; (s += strcspn(s, of)) < end;) {
        const size_t n = strspn(s, of);
        size_t i = 0;
        while (i < t->n && (strlen(t->fact[i].value) != n || memcmp(t->fact[i].value, s, n) != 0))
            i++;
        if (i < t->n)
            found[i] = true;
        else
            others = others || n != strlen("and") || memcmp(s, "and", n) != 0;
        s += n;
    }
    for (size_t i = 0; i < t->n; i++)
        others = others || !found[i];
    return !others;
}

/* ---- Messages ---------------------------------------------------------------------------------- */

/* Bytes of sentences first ... first+n-1, the spaces behind them included. */
static size_t passage_bytes(const haystack *h, size_t first, size_t n)
{
    if (first + n <= h->n)
        return h->start[first + n] - h->start[first];
    return h->start[h->n] - h->start[first] + h->start[first + n - h->n];
}

static void add_sentence(const haystack *h, size_t s, text *out)
{
    text_add(out, "%.*s", (int)(h->start[s + 1] - h->start[s]), h->text + h->start[s]);
}

/* How many of n sentences come before what is to stand at `depth` of their bytes; *at is the depth reached. */
static size_t boundary(const haystack *h, const haystack_trial *t, size_t n, double depth, double *at)
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
    return before;
}

static void add_fact(const haystack_trial *t, size_t i, text *out)
{
    const haystack_fact *f = &t->fact[i];
    text_add(out, "%s special magic %s for %s is %s.", t->task.kind == HAYSTACK_MULTI_VALUE ? "One" : "The", noun(t), f->city, f->value);
}

static void add_question(const haystack_trial *t, text *out)
{
    const size_t n = haystack_answers(t);
    if (t->task.kind == HAYSTACK_MULTI_VALUE)
        text_add(out, "What are all the special magic %ss for ", noun(t));
    else
        text_add(out, n > 1 ? "What are the special magic %ss for " : "What is the special magic %s for ", noun(t));
    for (size_t i = 0; i < n; i++)
        text_add(out, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " and ", t->fact[i].city);
    text_add(out, " that the text gives?");
}

/* The message over n sentences; NULL: no memory. */
static char *compose(const haystack *h, const haystack_trial *t, size_t n, double depth, double *at)
{
    size_t before[HAYSTACK_MAX_FACTS], done = 0;
    double ignored;
    for (size_t i = 0; i < t->n; i++)
        before[i] = boundary(h, t, n, i ? t->fact[i].place : depth, i ? &ignored : at);
    text out = { 0 };
    if (t->n == 1)
        text_add(&out, "Somewhere in the following text one sentence gives a special magic %s. Remember it, you will be asked for it.\n\n",
                 noun(t));
    else
        text_add(&out, "Several sentences of the following text give special magic %ss. Remember them, you will be asked for them.\n\n",
                 noun(t));
    for (size_t place = 0; place <= n; place++) {
        for (size_t i = 0; i < t->n; i++)
            if (before[i] == place) {
                add_fact(t, i, &out);
                text_add(&out, "%s", ++done < t->n || place < n ? " " : "");
            }
        if (place < n)
            add_sentence(h, (t->first + place) % h->n, &out);
    }
    text_add(&out, "\n\n");
    add_question(t, &out);
    if (!out.failed)
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
