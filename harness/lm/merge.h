/* merge.h - joins neighbouring symbols of a text, best pair first, until no pair can be joined.
 * The one algorithm behind byte-pair encoding (best: least rank) and SentencePiece (best: highest score); ties go left. */
#ifndef KVANT_MERGE_H
#define KVANT_MERGE_H

#include "harness/kvant.h"

/* A stretch of the text with a number. Symbols lie in the order of the text. */
typedef struct { uint32_t id, start, bytes; } symbol;

/* Whether two neighbours can be joined: the number of the result, and how early (0 first). */
typedef bool merge_rule(const void *user, const char *text, const symbol *left, const symbol *right, uint32_t *id,
                        uint32_t *order);

/* Working memory, kept between calls. Zero-initialise; free with merger_free. symbols [capacity] is for the caller to fill. */
typedef struct {
    symbol *symbols;
    struct merge_link *links;
    struct merge_pair *heap;
    size_t capacity;
} merger;

bool merger_reserve(merger *m, size_t n);           /* room for n symbols; false: no memory */
void merger_free(merger *m);

/* Joins the first n symbols of m; returns how many are left, in order, at the front of m->symbols. O(n log n). */
size_t merge(merger *m, size_t n, const char *text, merge_rule *rule, const void *user);

#endif
