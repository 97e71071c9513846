/* parts.h - for a quantizer's parts(): adds a table to the list, by where it lies.
 * What several quantizers have (rotations, sketches, codebooks) lists itself: rotation.h, sketch.h, scalar.h. */
#ifndef KVANT_PARTS_H
#define KVANT_PARTS_H

#include "harness/kvant.h"

#include <stdio.h>

/* A table of rows, `stride` floats apart, inside a state. The name is prefix and name together; it says which of several streams the
 * table is of. Call sites keep to KVANT_MAX_PARTS. */
static inline void parts_add(kvant_parts *parts, const char *prefix, const char *name, kvant_part_kind kind, const void *state,
                             const float *table, uint32_t rows, uint32_t cols, uint32_t stride)
{
    kvant_part *p = &parts->part[parts->n++];
    *p = (kvant_part) { .kind = kind, .offset = (size_t)((const char *)table - (const char *)state), .rows = rows, .cols = cols,
                        .stride = stride };
    snprintf(p->name, sizeof p->name, "%s%s", prefix, name);
}

#endif
