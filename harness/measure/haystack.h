/* haystack.h - prose with facts hidden in it: sentences of a text, values for cities, and the message that asks for them.
 * Knows nothing of models: whoever calls says how long a message is, and reads an answer out of what a model says. */
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

enum { HAYSTACK_MAX_DIGITS = 16, HAYSTACK_WORD = 8, HAYSTACK_MAX_FACTS = 16 };

/* single: one fact, asked for. multi_key: one asked for among facts of other cities. multi_value: several facts of one city, all asked
 * for at once. multi_query: several facts of as many cities, asked for one by one. */
typedef enum { HAYSTACK_SINGLE, HAYSTACK_MULTI_KEY, HAYSTACK_MULTI_VALUE, HAYSTACK_MULTI_QUERY } haystack_kind;
/* Values are numbers of `digits` (4 ... HAYSTACK_MAX_DIGITS) digits, or words of HAYSTACK_WORD letters that mean nothing; `facts` (2 ...
 * HAYSTACK_MAX_FACTS) is what is hidden in all, but for single. */
typedef struct { haystack_kind kind; bool words; uint32_t digits, facts; } haystack_task;

/* What one trial hides, and where its passage begins. Fact 0 is asked for, and the only one that is placed by choice: `place` of the
 * others is their depth. */
typedef struct { const char *city; char value[HAYSTACK_MAX_DIGITS + 1]; double place; } haystack_fact;
typedef struct { haystack_task task; haystack_fact fact[HAYSTACK_MAX_FACTS]; size_t n, first; } haystack_trial;

/* Draws trial `trial` of `trials` with GSL's mt19937 seeded by 65536 seed + trial + 1: a city, the passage (the trials part the
 * text among them, each begins somewhere in its part), then the value, again until the text does not contain it; then the other facts.
 * In a number no digit stands twice in a row: how well small models count repeats is another question.
 * seed and trial < 65536. KVANT_INVALID when no such value was found. */
kvant_status haystack_draw(const haystack *h, uint32_t seed, uint32_t trial, uint32_t trials, const haystack_task *task,
                           haystack_trial *t, kvant_error *err);

/* The longest message within `length` tokens, as `count` counts them: n sentences from the trial's first on (the text's
 * beginning follows its end), the facts between them, fact 0 as near to `depth` of their bytes (0 ... 1) as there is a
 * boundary, and the question. *message is freed by the caller. *at is the depth reached. KVANT_INVALID when not even one
 * sentence fits, or when the text is used up. */
typedef kvant_status (*haystack_count)(void *user, const char *message, size_t *tokens, kvant_error *err);
kvant_status haystack_message(const haystack *h, const haystack_trial *t, size_t length, double depth, haystack_count count,
                              void *user, char **message, double *at, kvant_error *err);

/* Answers that a trial asks for: as many as facts in multi_query, else one. Answer i begins with the words of haystack_answer, "The
 * special magic number for CITY is" (freed by the caller; NULL: no memory), and goes on with the value, in multi_value with all of
 * them: "1234, 5678 and 9012", in the order of the facts. */
size_t haystack_answers(const haystack_trial *t);
char *haystack_answer(const haystack_trial *t, size_t i);

/* What an answer of free form names: found[i], fact i's value; returns true when it names all of the trial's, in any order, and no
 * other. Its first sentence counts, up to a full stop or the line's end; numbers are whole runs of digits, words whole runs of letters, of
 * which "and" names nothing. */
bool haystack_named(const haystack_trial *t, const char *answer, bool found[HAYSTACK_MAX_FACTS]);

#endif
