/* tokens.h - what the tokenizer's tests expect of texts and ids; a failed expectation ends the test.
 * Texts are given with their length: they may hold any byte. */
#ifndef KVANT_TEST_TOKENS_H
#define KVANT_TEST_TOKENS_H

#include "harness/lm/tokenizer.h"

/* Encoding gives exactly ids [n]. add and parse: tokenizer_encode's add_special and parse_special. */
void expect_ids(const tokenizer *t, const char *text, size_t bytes, bool add, bool parse, const int32_t *ids, size_t n);
/* Decoding gives exactly the text. */
void expect_text(const tokenizer *t, const int32_t *ids, size_t n, bool special, const char *text, size_t bytes);
/* Text comes back from its ids, byte for byte, with and without parsing special tokens. */
void expect_round_trip(const tokenizer *t, const char *text, size_t bytes);

#endif
