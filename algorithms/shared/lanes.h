/* lanes.h - for methods that code several vectors together: cuts a range of vectors into its parts of single blocks.
 * A range may begin and end inside of blocks; `code` and `first` are those of an op: code points to the block of vector first. */
#ifndef KVANT_LANES_H
#define KVANT_LANES_H

#include <stddef.h>
#include <stdint.h>

/* n vectors of one block, from its vector `lane` on. */
typedef struct { const uint8_t *code; size_t lane, n; } lanes;

/* The next part after `done` of a range's n vectors; blocks hold `block` vectors in `bytes` bytes. */
static inline lanes lanes_after(size_t done, const uint8_t *code, size_t first, size_t n, size_t block, size_t bytes)
{
    size_t at = first % block + done, lane = at % block, left = n - done, room = block - lane;
    return (lanes) { code + at / block * bytes, lane, left < room ? left : room };
}

#endif
