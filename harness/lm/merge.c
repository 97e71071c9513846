/* merge.c - joins neighbouring symbols, best pair first: a linked list of symbols and a heap of pairs.
 * A pair that a later join has changed stays in the heap and is recognised, when it comes up, by its length. */
#include "harness/lm/merge.h"

#include <stdlib.h>

#define NONE UINT32_MAX

struct merge_link { uint32_t previous, next; };
struct merge_pair { uint32_t order, left, bytes, id; };              /* left: index; bytes: of both together; id: of the result */

bool merger_reserve(merger *m, size_t n)
{
    if (n <= m->capacity)
        return true;
    size_t capacity = n < 64 ? 64 : n + n / 2;
    if (capacity >= NONE / 3)
        return false;
    merger_free(m);
    m->symbols = malloc(capacity * sizeof *m->symbols);
    m->links = malloc(capacity * sizeof *m->links);
    m->heap = malloc(3 * capacity * sizeof *m->heap);                /* n - 1 pairs at first, two more with each join */
    if (!m->symbols || !m->links || !m->heap) {
        merger_free(m);
        return false;
    }
    m->capacity = capacity;
    return true;
}

void merger_free(merger *m)
{
    free(m->symbols);
    free(m->links);
    free(m->heap);
    *m = (merger){0};
}

static bool before(const struct merge_pair *a, const struct merge_pair *b)
{
    return a->order != b->order ? a->order < b->order : a->left < b->left;
}

static void push(struct merge_pair *heap, size_t *n, struct merge_pair pair)
{
    size_t i = (*n)++;
    for (; i && before(&pair, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = pair;
}

static struct merge_pair pop(struct merge_pair *heap, size_t *n)
{
    struct merge_pair top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        child += child + 1 < *n && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

size_t merge(merger *m, size_t n, const char *text, merge_rule *rule, const void *user)
{
    symbol *s = m->symbols;
    struct merge_link *link = m->links;
    size_t n_pairs = 0;
    struct merge_pair pair;
    for (uint32_t i = 0; i < n; i++)
        link[i] = (struct merge_link){i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    for (pair.left = 0; pair.left + 1 < n; pair.left++)
        if (rule(user, text, &s[pair.left], &s[pair.left + 1], &pair.id, &pair.order)) {
            pair.bytes = s[pair.left].bytes + s[pair.left + 1].bytes;
            push(m->heap, &n_pairs, pair);
        }
    while (n_pairs) {
        struct merge_pair best = pop(m->heap, &n_pairs);
        uint32_t left = best.left, right = link[left].next;
        /* A symbol only grows or, joined to its left, becomes empty: the same length is the same pair. */
        if (!s[left].bytes || right == NONE || s[left].bytes + s[right].bytes != best.bytes)
            continue;
        s[left].id = best.id;
        s[left].bytes = best.bytes;
        s[right].bytes = 0;
        link[left].next = link[right].next;
        if (link[left].next != NONE)
            link[link[left].next].previous = left;
        uint32_t neighbours[2] = {link[left].previous, left};
        for (int i = 0; i < 2; i++) {
            pair.left = neighbours[i];
            if (pair.left == NONE || link[pair.left].next == NONE)
                continue;
            const symbol *a = &s[pair.left], *b = &s[link[pair.left].next];
            if (rule(user, text, a, b, &pair.id, &pair.order)) {
                pair.bytes = a->bytes + b->bytes;
                push(m->heap, &n_pairs, pair);
            }
        }
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i].bytes)
            s[left++] = s[i];
    return left;
}
