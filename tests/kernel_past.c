/* kernel_past.c - see kernel_past.h: Gaussian vectors are coded once, and decoded in one call and in pieces, to addresses that suit
 * whole lines and to such as do not; what lies before and behind stays as it was. */
#include "tests/kernel_past.h"

#include <gsl/gsl_randist.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 17 << 20, DISTINCT = 1024, MARGIN = 16 /* floats, a line */, MARK = 0x5a };

static const char *decode_whole(const kvant_codec *c, const uint8_t *code, size_t first, size_t n, size_t shift, const float *pieces,
                                float *room, void *scratch)
{
    const size_t d = c->shape.dim, all = (MARGIN + shift + n * d + MARGIN) * sizeof *room;
    float *x = room + MARGIN + shift;
    memset(room, MARK, all);
    kvant_decode(c, code, first, n, x, scratch);
    if (memcmp(x, pieces + first * d, n * d * sizeof *x))
        return "many vectors at once decode to other values than a few at a time";
    const uint8_t *byte = (const uint8_t *)room, *begin = (const uint8_t *)x, *end = (const uint8_t *)(x + n * d);
    for (size_t i = 0; i < all; i++)
        if ((byte + i < begin || byte + i >= end) && byte[i] != MARK)
            return "decoding many vectors at once writes outside of its array";
    return NULL;
}

const char *past_differs(const kvant_codec *c, gsl_rng *rng)
{
    const size_t d = c->shape.dim, block = c->plan.block, few = (DISTINCT + block - 1) / block * block;
    const size_t n = (BYTES / sizeof(float) / d + few - 1) / few * few;
    float *x = kvant_alloc(few * d * sizeof *x), *pieces = kvant_alloc(n * d * sizeof *pieces);
    float *room = kvant_alloc((2 * MARGIN + 1 + n * d) * sizeof *room);
    uint8_t *code = kvant_alloc(kvant_bytes(c, n));
    void *scratch = kvant_alloc(c->scratch);
    const char *wrong = x && pieces && room && code && scratch ? NULL : "no memory";
    for (size_t i = 0; i < few * d && !wrong; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    for (size_t done = 0; done < n && !wrong; done += few) {
        kvant_encode(c, x, done, few, code, scratch);
        kvant_decode(c, code, done, few, pieces + done * d, scratch);
    }
    /* whole units, then from inside of one, then to an address that is not a line's */
    wrong = wrong ? wrong : decode_whole(c, code, 0, n, 0, pieces, room, scratch);
    wrong = wrong ? wrong : decode_whole(c, code, block * 3, n - block * 3, 0, pieces, room, scratch);
    wrong = wrong ? wrong : decode_whole(c, code, 0, n, 1, pieces, room, scratch);
    free(x), free(pieces), free(room), free(code), free(scratch);
    return wrong;
}
