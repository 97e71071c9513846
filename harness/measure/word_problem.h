/* word_problem.h - arithmetic told in words: problems from JSON lines, the prompt that shows how to solve some, the answer's number.
 * Knows nothing of models; the worked examples are this program's own. */
#ifndef KVANT_WORD_PROBLEM_H
#define KVANT_WORD_PROBLEM_H

#include "harness/kvant.h"

enum { NUMBER_TEXT = 40, WORD_PROBLEM_SHOTS = 8 };

/* A number as text in one form only, "-1250.5": no sign of plus, no separators, no zeros that say nothing. Two are equal when their texts
 * are. A fraction stays one: "1/2". */
typedef struct { char *question; char number[NUMBER_TEXT]; } word_problem;

typedef struct { word_problem *problems; size_t n; } word_problems;

/* The first `n` of the data: each line a JSON object whose "question" is the problem and whose "answer" ends in "#### NUMBER", as
 * GSM8K's do. KVANT_INVALID names the line that is not so, or says that there are fewer. Freed by word_problems_free. */
kvant_status word_problems_read(const char *lines, size_t bytes, size_t n, word_problems *out, kvant_error *err);
void word_problems_free(word_problems *p);     /* {0} is allowed */

/* What is asked, `shots` (at most WORD_PROBLEM_SHOTS) worked examples, and the problem. Its solution shall begin with
 * word_problem_lead, and end in a line "Answer: NUMBER". Freed by the caller; NULL: no memory. */
char *word_problem_prompt(size_t shots, const char *question);
extern const char word_problem_lead[];

/* Has a solution said all that is asked for: a whole line with the answer, or the beginning of a problem of its own? */
bool word_problem_solved(const char *solution);

/* The first number behind the word "Answer:" on its line. false: there is none, which is a failure of form. */
bool word_problem_answer(const char *solution, char number[NUMBER_TEXT]);

/* The first number of a text of `bytes` bytes; returns what is behind it, NULL where there is none or it has too many digits. */
const char *number_read(const char *s, size_t bytes, char number[NUMBER_TEXT]);

#endif
