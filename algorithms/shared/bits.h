/* bits.h - tight packing: n codes of b bits take ceil(n b / 8) bytes and nothing is rounded up but the last byte.
 * Code i is bits [i b, (i+1) b) of a little-endian bit string: bit k is bit k % 8 of byte k / 8. Unused bits are zero. */
#ifndef KVANT_BITS_H
#define KVANT_BITS_H

#include <stddef.h>
#include <stdint.h>

static inline size_t bits_bytes(size_t n, unsigned b) { return (n * b + 7) / 8; }

/* b is 1..8; codes [n] must be below 2^b. Exactly bits_bytes(n, b) bytes of `packed` are written or read. */
void bits_pack(uint8_t *packed, const uint8_t *codes, size_t n, unsigned b);
void bits_unpack(uint8_t *codes, const uint8_t *packed, size_t n, unsigned b);

/* The same for b of 1..16. For b <= 8 the packed bytes are those of bits_pack. */
void bits_pack16(uint8_t *packed, const uint16_t *codes, size_t n, unsigned b);
void bits_unpack16(uint16_t *codes, const uint8_t *packed, size_t n, unsigned b);

/* Codes of changing width in one such string: begin with {at}, put codes of 1..16 bits, end with bits_flush, which writes the last
 * byte where one is begun. Reading, a cursor takes bytes only as codes need them. */
typedef struct { uint8_t *at; uint32_t waiting; unsigned bits; } bits_writer;
typedef struct { const uint8_t *at; uint32_t waiting; unsigned bits; } bits_reader;

static inline void bits_put(bits_writer *w, unsigned code, unsigned b)
{
    w->waiting |= (uint32_t)code << w->bits;
    for (w->bits += b; w->bits >= 8; w->bits -= 8, w->waiting >>= 8)
        *w->at++ = (uint8_t)w->waiting;
}

static inline void bits_flush(bits_writer *w)
{
    if (w->bits)
        *w->at++ = (uint8_t)w->waiting;
    w->waiting = w->bits = 0;
}

static inline unsigned bits_get(bits_reader *r, unsigned b)
{
    for (; r->bits < b; r->bits += 8)
        r->waiting |= (uint32_t)*r->at++ << r->bits;
    unsigned code = r->waiting & ((1u << b) - 1);
    r->waiting >>= b, r->bits -= b;
    return code;
}

#endif
