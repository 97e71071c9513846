/* cache_group.c - counts and describes the groups of a KV cache.
 * One order for the probe that measures them, the store that keeps them and the allocations that are made of them. */
#include "harness/allocation/cache_group.h"

size_t cache_group_count(const kvcache_shape *shape, cache_groups groups, cache_sides sides)
{
    return (size_t)shape->n_layer * (groups == GROUPS_HEAD ? shape->n_kv_head : 1) * (sides == SIDES_APART ? 2 : 1);
}

cache_group cache_group_at(const kvcache_shape *shape, cache_groups groups, cache_sides sides, size_t index)
{
    const size_t n_sides = sides == SIDES_APART ? 2 : 1, n_heads = groups == GROUPS_HEAD ? shape->n_kv_head : 1;
    const size_t side = index % n_sides, head = index / n_sides % n_heads;
    return (cache_group){ .layer = (uint32_t)(index / n_sides / n_heads), .head = (uint32_t)head,
                          .n_heads = groups == GROUPS_HEAD ? 1 : shape->n_kv_head,
                          .key = n_sides == 1 || side == 0, .value = n_sides == 1 || side == 1 };
}
