/* string_table.h - byte strings numbered in order of arrival, found by hash.
 * The tokenizer's vocabulary: tokens first, under their ids, then whatever else it needs a number for. */
#ifndef KVANT_STRING_TABLE_H
#define KVANT_STRING_TABLE_H

#include "harness/lm/gguf.h"

#define STRING_NONE UINT32_MAX

/* Zero-initialised it is empty. Strings are not copied: they must stay alive. */
typedef struct {
    gguf_string *strings;          /* [n] */
    uint32_t n, capacity;
    uint32_t *slots;               /* open addressing; index + 1, 0 is free; at most half full */
    size_t n_slots;                /* 0 or a power of two */
} string_table;

/* Gives the string the next number; of equal strings the last is found. false: no memory, or 2^31 strings. */
bool string_table_add(string_table *table, gguf_string string);
uint32_t string_table_find(const string_table *table, const char *data, size_t bytes);   /* STRING_NONE: not there */
void string_table_free(string_table *table);

#endif
