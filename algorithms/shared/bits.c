/* bits.c - tight packing of small codes into bytes.
 * Eight codes of b bits are exactly b bytes, so one 64-bit word carries them and its shifts are constants. */
#include "algorithms/shared/bits.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are packed by memcpy: the machine must be little-endian");

static inline uint64_t gather(const uint8_t *codes, size_t n, unsigned b)
{
    uint64_t word = 0;
    for (size_t k = 0; k < n; k++)
        word |= (uint64_t)codes[k] << k * b;
    return word;
}

static inline void scatter(uint8_t *codes, uint64_t word, size_t n, unsigned b)
{
    for (size_t k = 0; k < n; k++)
        codes[k] = (uint8_t)(word >> k * b & ((1u << b) - 1));
}

/* Inlined with a constant b, so that copies and shifts are too; the last, incomplete group moves only the bytes it has. */
static inline void pack(uint8_t *packed, const uint8_t *codes, size_t n, unsigned b)
{
    for (; n >= 8; n -= 8, codes += 8, packed += b) {
        uint64_t word = gather(codes, 8, b);
        memcpy(packed, &word, b);
    }
    uint64_t word = gather(codes, n, b);
    memcpy(packed, &word, bits_bytes(n, b));
}

static inline void unpack(uint8_t *codes, const uint8_t *packed, size_t n, unsigned b)
{
    uint64_t word = 0;
    for (; n >= 8; n -= 8, codes += 8, packed += b) {
        memcpy(&word, packed, b);
        scatter(codes, word, 8, b);
    }
    memcpy(&word, packed, bits_bytes(n, b));
    scatter(codes, word, n, b);
}

void bits_pack(uint8_t *packed, const uint8_t *codes, size_t n, unsigned b)
{
    switch (b) {
    case 1: pack(packed, codes, n, 1); break;
    case 2: pack(packed, codes, n, 2); break;
    case 3: pack(packed, codes, n, 3); break;
    case 4: pack(packed, codes, n, 4); break;
    case 5: pack(packed, codes, n, 5); break;
    case 6: pack(packed, codes, n, 6); break;
    case 7: pack(packed, codes, n, 7); break;
    default: memcpy(packed, codes, n); break;
    }
}

void bits_unpack(uint8_t *codes, const uint8_t *packed, size_t n, unsigned b)
{
    switch (b) {
    case 1: unpack(codes, packed, n, 1); break;
    case 2: unpack(codes, packed, n, 2); break;
    case 3: unpack(codes, packed, n, 3); break;
    case 4: unpack(codes, packed, n, 4); break;
    case 5: unpack(codes, packed, n, 5); break;
    case 6: unpack(codes, packed, n, 6); break;
    case 7: unpack(codes, packed, n, 7); break;
    default: memcpy(codes, packed, n); break;
    }
}

void bits_pack16(uint8_t *packed, const uint16_t *codes, size_t n, unsigned b)
{
    bits_writer w = { .at = packed };
    for (size_t i = 0; i < n; i++)
        bits_put(&w, codes[i], b);
    bits_flush(&w);
}

void bits_unpack16(uint16_t *codes, const uint8_t *packed, size_t n, unsigned b)
{
    bits_reader r = { .at = packed };
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint16_t)bits_get(&r, b);
}
