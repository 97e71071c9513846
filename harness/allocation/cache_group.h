/* cache_group.h - the groups of a KV cache that are measured alone and get bits of their own: layers or KV heads, keys and values
 * together or apart. Groups are numbered by layer, then head, then side, keys before values. */
#ifndef KVANT_CACHE_GROUP_H
#define KVANT_CACHE_GROUP_H

#include "harness/lm/kvcache.h"

typedef enum { GROUPS_LAYER, GROUPS_HEAD } cache_groups;
typedef enum { SIDES_TOGETHER, SIDES_APART } cache_sides;

typedef struct {
    uint32_t layer, head, n_heads;     /* heads head ... head + n_heads - 1 */
    bool key, value;                   /* the sides that are in it */
} cache_group;

size_t cache_group_count(const kvcache_shape *shape, cache_groups groups, cache_sides sides);
cache_group cache_group_at(const kvcache_shape *shape, cache_groups groups, cache_sides sides, size_t index);

/* Coordinates per token. */
static inline double cache_group_size(const kvcache_shape *shape, const cache_group *g)
{
    return (double)shape->head_dim * g->n_heads * (g->key + g->value);
}

static inline bool cache_group_has(const cache_group *g, uint32_t layer, uint32_t head, kvant_side side)
{
    return layer == g->layer && head - g->head < g->n_heads && (side == KVANT_VALUE ? g->value : g->key);
}

#endif
