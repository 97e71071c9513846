/* sequence.h - how two runs of tokens differ, and how one repeats itself.
 * For runs of a model's continuation: hundreds to thousands of tokens; edits and repeats take time by the square of that. */
#ifndef KVANT_SEQUENCE_H
#define KVANT_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

/* Tokens before the first that differ; the shorter length when one begins the other. */
size_t sequence_common(const int32_t *a, size_t na, const int32_t *b, size_t nb);

/* Share of the places 0 ... min(n, the longer length) - 1 where both have a token and it is the same; NaN when there is no place. */
double sequence_agreement(const int32_t *a, size_t na, const int32_t *b, size_t nb, size_t n);

/* Insertions, deletions and substitutions that turn a into b, the fewest. work [nb + 1]. */
size_t sequence_edits(const int32_t *a, size_t na, const int32_t *b, size_t nb, size_t *work);

/* Different runs of `gram` tokens (at most SEQUENCE_MAX_GRAM) over all of them: 1 when none occurs twice; NaN when there is none.
 * work [n * gram]. */
enum { SEQUENCE_MAX_GRAM = 8 };
double sequence_distinct(const int32_t *a, size_t n, size_t gram, int32_t *work);

/* Length of the longest run of tokens that begins at two places; the two may overlap. work [n + 1]. */
size_t sequence_repeat(const int32_t *a, size_t n, size_t *work);

/* Period of the loop that the tokens end in: the least p such that the last tokens, at least 3 p and SEQUENCE_LOOP of them, repeat
 * every p; 0: they end in none. */
enum { SEQUENCE_LOOP = 32 };
size_t sequence_loop(const int32_t *a, size_t n);

#endif
