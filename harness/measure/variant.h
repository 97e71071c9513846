/* variant.h - small changes of a prose passage that leave its meaning alone: case, spacing, an ending, synonyms.
 * Knows nothing of models; deterministic in passage, kind and seed. */
#ifndef KVANT_VARIANT_H
#define KVANT_VARIANT_H

#include "harness/kvant.h"

/* case: the first letter of a word turns from small to capital or back. spacing: a space becomes two. ending: a space or a line's end is
 * put behind the passage. synonym: a word becomes one of like meaning, from a list; articles before it stay right. Words are runs of at
 * most VARIANT_WORD ASCII letters. */
typedef enum { VARIANT_CASE, VARIANT_SPACING, VARIANT_ENDING, VARIANT_SYNONYM, VARIANT_KINDS } variant_kind;
extern const char *const variant_names[VARIANT_KINDS];
enum { VARIANT_WORD = 12 };

/* The passage with `changes` changes of a kind (of an ending: one) at places drawn with GSL's mt19937 by seed, or with as many as there
 * are places; *changed says how many. *variant is freed by the caller, and equal to the passage when there is no place. */
kvant_status variant_make(variant_kind kind, const char *passage, size_t changes, uint32_t seed, char **variant, size_t *changed,
                          kvant_error *err);

/* Whether two answers read the same: white space at their ends does not count, and any run of it is one space. */
bool variant_same_answer(const char *a, const char *b);

#endif
