/* codes_avx2.h - tightly packed codes (algorithms/shared/bits.h) to eight 32-bit lanes at a time: a broadcast of the bytes that hold
 * them and a shift by lane. Where codes and shifts lie is data, so that one piece of code serves several widths. For *_avx2.c only. */
#ifndef KVANT_CODES_AVX2_H
#define KVANT_CODES_AVX2_H

#include "metal/x86/inline.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is compiled apart: eight codes are in four bytes (the codes of four bits alone are as many as their levels need two registers),
 * in eight bytes, or are bytes. */
typedef enum { CODES_NARROW /* 1 to 3 bits */, CODES_NIBBLES, CODES_WIDE /* 5 to 7 */, CODES_BYTES } codes_width;

/* Of b bits; a unit of 32 codes takes `bytes`, and its eights are read from byte `at` on. */
typedef struct {
    size_t bytes, at[4];
    __m256i shift[4], shuffle[4], mask;
} codes_of;

/* Eight codes of b bits begin on a byte. Those at the unit's end are read with what lies before them, so that no byte beyond it is. */
LANES_INLINE codes_of codes_begin(unsigned b)
{
    codes_of of = { .bytes = 4 * b, .mask = _mm256_set1_epi32((int)(1u << b) - 1) };
    const size_t read = b <= 4 ? 4 : 8;
    for (size_t k = 0; k < 4; k++) {
        int32_t by[8], from[8];
        of.at[k] = k * b + read <= of.bytes ? k * b : of.bytes - read;
        for (size_t i = 0; i < 8; i++) {
            const size_t bit = 8 * (k * b - of.at[k]) + i * b, byte = bit / 8, next = byte + 1 < read ? byte + 1 : 0x80;
            by[i] = (int32_t)(b <= 4 ? bit : bit % 8);
            from[i] = (int32_t)(byte | next << 8 | 0x80800000u);
        }
        of.shift[k] = _mm256_loadu_si256((const __m256i *)(const void *)by);
        of.shuffle[k] = _mm256_loadu_si256((const __m256i *)(const void *)from);
    }
    return of;
}

/* Codes 8 k ... 8 k + 7 of the unit at `packed`, in the low bits of lanes; above a code's bits anything, but for bytes. */
LANES_INLINE __m256i codes_load(codes_width width, const codes_of *of, const uint8_t *packed, size_t k)
{
    if (width == CODES_BYTES)
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(packed + 8 * k)));
    if (width == CODES_WIDE) {
        long long eight;
        memcpy(&eight, packed + of->at[k], sizeof eight);
        return _mm256_srlv_epi32(_mm256_shuffle_epi8(_mm256_set1_epi64x(eight), of->shuffle[k]), of->shift[k]);
    }
    int four;
    memcpy(&four, packed + (width == CODES_NIBBLES ? 4 * k : of->at[k]), sizeof four);
    return _mm256_srlv_epi32(_mm256_set1_epi32(four), of->shift[width == CODES_NIBBLES ? 0 : k]);
}

/* The same, and nothing above a code's bits. */
LANES_INLINE __m256i codes_load_alone(codes_width width, const codes_of *of, const uint8_t *packed, size_t k)
{
    const __m256i codes = codes_load(width, of, packed, k);
    return width == CODES_BYTES ? codes : _mm256_and_si256(codes, of->mask);
}

/* Eight of 0 ... 2^b - 1, b <= 3, again and again: a look-up by codes as they are loaded is not misled. */
LANES_INLINE __m256i codes_repeated(unsigned b)
{
    return _mm256_and_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)(1u << b) - 1));
}

#endif
