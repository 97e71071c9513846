/* string_table.c - byte strings numbered in order of arrival, found by hash (FNV-1a, linear probing).
 * Read-only after it has been filled, so that any number of threads may search it. */
#include "harness/lm/string_table.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(const char *data, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (uint8_t)data[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* The slot that holds the string, or the free one where it belongs. */
static uint32_t *slot_of(const string_table *t, const char *data, size_t bytes)
{
    for (size_t i = hash(data, bytes);; i++) {
        uint32_t *slot = &t->slots[i & (t->n_slots - 1)];
        if (!*slot)
            return slot;
        const gguf_string *s = &t->strings[*slot - 1];
        if (s->bytes == bytes && !memcmp(s->data, data, bytes))
            return slot;
    }
}

static bool grow(string_table *t)
{
    if (t->capacity > INT32_MAX / 2)
        return false;
    uint32_t capacity = t->capacity ? t->capacity * 2 : 1024;
    gguf_string *strings = realloc(t->strings, capacity * sizeof *strings);
    if (!strings)
        return false;
    t->strings = strings;
    uint32_t *slots = calloc((size_t)capacity * 2, sizeof *slots);
    if (!slots)
        return false;
    free(t->slots);
    t->slots = slots;
    t->n_slots = (size_t)capacity * 2;
    t->capacity = capacity;
    for (uint32_t i = 0; i < t->n; i++)
        *slot_of(t, strings[i].data, strings[i].bytes) = i + 1;
    return true;
}

bool string_table_add(string_table *t, gguf_string string)
{
    if (t->n == t->capacity && !grow(t))
        return false;
    t->strings[t->n++] = string;
    *slot_of(t, string.data, string.bytes) = t->n;
    return true;
}

uint32_t string_table_find(const string_table *t, const char *data, size_t bytes)
{
    if (!t->n)
        return STRING_NONE;
    uint32_t slot = *slot_of(t, data, bytes);
    return slot ? slot - 1 : STRING_NONE;
}

void string_table_free(string_table *t)
{
    free(t->strings);
    free(t->slots);
    *t = (string_table){0};
}
