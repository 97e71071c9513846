/* variant.c - finds the places where a passage can be changed, draws some of them, and writes the passage anew: see variant.h.
 * Synonyms are chosen so that "a" and "an" before them stay right, and with the grammar of what they replace. */
#include "harness/measure/variant.h"

#include "harness/util.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <stdlib.h>
#include <string.h>

const char *const variant_names[VARIANT_KINDS] = { "case", "spacing", "ending", "synonym" };

static const struct { const char *from, *to; } synonyms[] = {
    { "although", "though" }, { "allows", "permits" }, { "among", "amongst" }, { "battle", "fight" }, { "began", "started" },
    { "beneath", "below" }, { "big", "large" }, { "bought", "purchased" }, { "built", "constructed" }, { "children", "kids" },
    { "choose", "select" }, { "clever", "smart" }, { "common", "widespread" }, { "completely", "totally" },
    { "constructed", "built" }, { "created", "made" }, { "different", "distinct" }, { "difficult", "hard" },
    { "famous", "renowned" }, { "film", "movie" }, { "films", "movies" }, { "finished", "completed" },
    { "frequently", "regularly" }, { "generally", "typically" }, { "helped", "supported" }, { "immediately", "instantly" },
    { "initially", "originally" }, { "instantly", "immediately" }, { "kind", "sort" }, { "large", "big" }, { "main", "principal" },
    { "mainly", "mostly" }, { "many", "numerous" }, { "maybe", "perhaps" }, { "merely", "simply" }, { "method", "technique" },
    { "methods", "techniques" }, { "mistake", "blunder" }, { "mostly", "mainly" }, { "movie", "film" }, { "movies", "films" },
    { "nearly", "virtually" }, { "normally", "usually" }, { "numerous", "many" }, { "originally", "initially" },
    { "part", "portion" }, { "parts", "portions" }, { "peculiar", "strange" }, { "people", "persons" }, { "perhaps", "maybe" },
    { "permits", "allows" }, { "previously", "formerly" }, { "probably", "presumably" }, { "problem", "difficulty" },
    { "problems", "difficulties" }, { "purchased", "bought" }, { "quickly", "rapidly" }, { "rapidly", "quickly" },
    { "really", "truly" }, { "received", "got" }, { "road", "street" }, { "said", "stated" }, { "select", "choose" },
    { "several", "various" }, { "ship", "vessel" }, { "ships", "vessels" }, { "shows", "displays" }, { "similar", "comparable" },
    { "simple", "plain" }, { "simply", "merely" }, { "soldiers", "troops" }, { "sort", "kind" }, { "stated", "said" },
    { "stopped", "halted" }, { "strange", "peculiar" }, { "technique", "method" }, { "techniques", "methods" },
    { "therefore", "thus" }, { "though", "although" }, { "thus", "therefore" }, { "totally", "completely" },
    { "toward", "towards" }, { "towards", "toward" }, { "typically", "generally" }, { "until", "till" }, { "upon", "on" },
    { "usually", "normally" }, { "various", "several" }, { "very", "really" }, { "whole", "complete" }, { "within", "inside" },
};

/* Where a change goes: bytes at `at` that are replaced, and for a synonym its row. */
typedef struct { size_t at, bytes, row; } place;

static bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_small(char c) { return c >= 'a' && c <= 'z'; }
static char small(char c) { return is_capital(c) ? (char)(c - 'A' + 'a') : c; }
static char capital(char c) { return is_small(c) ? (char)(c - 'a' + 'A') : c; }
static bool is_letter(char c) { return is_small(c) || is_capital(c) || (unsigned char)c >= 0x80; }

/* The row of a word, small or with a capital before small letters; SIZE_MAX: none. */
static size_t synonym_of(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++) {
        const char *from = synonyms[i].from;
        if (strlen(from) == n && small(word[0]) == from[0] && !memcmp(word + 1, from + 1, n - 1))
            return i;
    }
    return SIZE_MAX;
}

/* All places of a kind in order; room for one per byte. */
static size_t find_places(variant_kind kind, const char *s, place *places)
{
    size_t n = 0;
    for (size_t at = 0; s[at];) {
        if (kind == VARIANT_SPACING) {
            if (s[at] == ' ')
                places[n++] = (place){ at, 1, 0 };
            at++;
            continue;
        }
        size_t bytes = 0;
        bool ascii = true;
        for (; is_letter(s[at + bytes]); bytes++)
            ascii = ascii && (unsigned char)s[at + bytes] < 0x80;
        if (bytes > 0 && bytes <= VARIANT_WORD && ascii) {
            const size_t row = kind == VARIANT_SYNONYM ? synonym_of(s + at, bytes) : 0;
            if (row != SIZE_MAX)
                places[n++] = (place){ at, bytes, row };
        }
        at += bytes ? bytes : 1;
    }
    return n;
}

static void add_changed(variant_kind kind, const char *s, const place *p, text *out)
{
    const char first = s[p->at];
    if (kind == VARIANT_SPACING)
        text_add(out, "  ");
    else if (kind == VARIANT_CASE)
        text_add(out, "%c%.*s", is_small(first) ? capital(first) : small(first), (int)p->bytes - 1, s + p->at + 1);
    else
        text_add(out, "%c%s", is_small(first) ? synonyms[p->row].to[0] : capital(synonyms[p->row].to[0]), synonyms[p->row].to + 1);
}

/* places [n] and chosen [n] are room. */
static size_t rewrite(variant_kind kind, const char *passage, size_t changes, gsl_rng *rng, place *places, place *chosen, text *out)
{
    if (kind == VARIANT_ENDING) {
        text_add(out, "%s%s", passage, gsl_rng_uniform_int(rng, 2) ? "\n" : " ");
        return 1;
    }
    const size_t found = find_places(kind, passage, places), n = found < changes ? found : changes;
    if (n)
        gsl_ran_choose(rng, chosen, n, places, found, sizeof *places);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        text_add(out, "%.*s", (int)(chosen[i].at - at), passage + at);
        add_changed(kind, passage, &chosen[i], out);
        at = chosen[i].at + chosen[i].bytes;
    }
    text_add(out, "%s", passage + at);
    return n;
}

kvant_status variant_make(variant_kind kind, const char *passage, size_t changes, uint32_t seed, char **variant, size_t *changed,
                          kvant_error *err)
{
    const size_t bytes = strlen(passage);
    if (bytes > INT32_MAX)
        return kvant_fail(err, KVANT_INVALID, "variant: a passage of %zu bytes is too long", bytes);
    place *places = calloc(2 * bytes + 1, sizeof *places);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    text out = { 0 };
    if (places && rng) {
        gsl_rng_set(rng, (unsigned long)seed * VARIANT_KINDS + kind + 1);
        *changed = rewrite(kind, passage, changes, rng, places, places + bytes, &out);
    }
    const bool made = places && rng && !out.failed;
    free(places);
    gsl_rng_free(rng);
    if (!made) {
        text_free(&out);
        return kvant_fail(err, KVANT_NOMEM, "variant: no memory for a passage of %zu bytes", bytes);
    }
    *variant = out.data;
    return KVANT_OK;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static const char *skip(const char *s)
{
    while (is_space(*s))
        s++;
    return s;
}

bool variant_same_answer(const char *a, const char *b)
{
    for (a = skip(a), b = skip(b); *a && *b;) {
        const bool space = is_space(*a), other = is_space(*b);
        if (space != other || (!space && *a != *b))
            break;
        a = space ? skip(a) : a + 1;
        b = other ? skip(b) : b + 1;
    }
    return !*skip(a) && !*skip(b);
}
