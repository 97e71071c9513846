/* haystack.h - prose with one fact hidden in it: sentences of a text, a number for a city, and the message that asks for it.
 * Knows nothing of models: whoever calls says how long a message is. */
#ifndef KVANT_HAYSTACK_H
#define KVANT_HAYSTACK_H

#include "harness/kvant.h"

/* The prose of a text: its sentences in order, white space collapsed. Paragraphs and parts that do not end like a sentence
 * (headings, tables, lists) are left out. Sentence i is text[start[i]] ... text[start[i + 1] - 2], and a space follows it. */
typedef struct {
    const char *source;            /* the text as given, [bytes]: stays the caller's */
    size_t bytes;
    char *text;
    size_t *start;                 /* [n + 1] */
    size_t n;
} haystack;

kvant_status haystack_open(const char *source, size_t bytes, haystack *h, kvant_error *err);   /* KVANT_INVALID: no prose */
void haystack_close(haystack *h);

enum { HAYSTACK_MAX_DIGITS = 16 };

/* What one trial hides, and where its passage begins. */
typedef struct { const char *city; char number[HAYSTACK_MAX_DIGITS + 1]; size_t first; } haystack_trial;

/* Draws trial `trial` of `trials` with GSL's mt19937 seeded by 65536 seed + trial + 1: the city, the passage (the trials part the
 * text among them, each begins somewhere in its part), then the digits until the text does not contain them. No digit stands
 * twice in a row: how well small models count repeats is another question.
 * seed and trial < 65536, 4 <= digits <= HAYSTACK_MAX_DIGITS. KVANT_INVALID when no such number was found. */
kvant_status haystack_draw(const haystack *h, uint32_t seed, uint32_t trial, uint32_t trials, uint32_t digits, haystack_trial *t,
                           kvant_error *err);

/* The longest message within `length` tokens, as `count` counts them: n sentences from the trial's first on (the text's
 * beginning follows its end), the hidden fact between two of them, as near to `depth` of their bytes (0 ... 1) as there is a
 * boundary, and the question. *message is freed by the caller. *at is the depth reached. KVANT_INVALID when not even one
 * sentence fits, or when the text is used up. */
typedef kvant_status (*haystack_count)(void *user, const char *message, size_t *tokens, kvant_error *err);
kvant_status haystack_message(const haystack *h, const haystack_trial *t, size_t length, double depth, haystack_count count,
                              void *user, char **message, double *at, kvant_error *err);

/* "The special magic number for CITY is": how the fact begins, and how an answer shall. Freed by the caller; NULL: no memory. */
char *haystack_answer(const haystack_trial *t);

#endif
