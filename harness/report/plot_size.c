/* plot_size.c - tells pictures for a column of a paper how wide they are, where gnuplot cannot: it knows pixels alone in SVG and PNG.
 * They are drawn in the layout's pixels, so that every distance is as on a screen, and only their headers change. */
#include "harness/report/plot_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static kvant_status no_size(kvant_error *err)
{
    return kvant_fail(err, KVANT_FAILED, "gnuplot's picture does not begin with its size in pixels");
}

kvant_status plot_svg_inches(const char *svg, double inches, text *out, kvant_error *err)
{
    static const char mark[] = "viewBox=\"0 0 ";
    const char *box = strstr(svg, mark);
    double wide, tall;
    if (!box || sscanf(box + strlen(mark), "%lf %lf", &wide, &tall) != 2 || !(wide > 0) || !(tall > 0))
        return no_size(err);
    text_add(out, "%.*swidth=\"%.4gin\" height=\"%.4gin\"\n %s", (int)(box - svg), svg, inches, inches * tall / wide, box);
    return KVANT_OK;
}

static void put_be32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

static uint32_t be32(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

kvant_status plot_png_inches(const unsigned char *png, size_t bytes, double inches, unsigned char **out, size_t *out_bytes,
                             kvant_error *err)
{
    /* The signature, and IHDR, which is first: length, name, 13 bytes that begin with the width, CRC. pHYs goes behind it. */
    enum { HEAD = 8 + 4 + 4 + 13 + 4, CHUNK = 4 + 4 + 9 + 4 };
    *out = NULL;
    if (bytes < HEAD || memcmp(png, "\x89PNG\r\n\x1a\n", 8) || memcmp(png + 12, "IHDR", 4))
        return no_size(err);
    const double per_metre = be32(png + 16) / (inches * 0.0254);
    unsigned char *with = malloc(bytes + CHUNK), *chunk = with + HEAD;
    if (!with)
        return kvant_fail(err, KVANT_NOMEM, "out of memory");
    memcpy(with, png, HEAD);
    put_be32(chunk, 9);
    memcpy(chunk + 4, "pHYs", 4);
    put_be32(chunk + 8, (uint32_t)(per_metre + 0.5));
    put_be32(chunk + 12, (uint32_t)(per_metre + 0.5));
    chunk[16] = 1;                                  /* the unit is the metre */
    put_be32(chunk + 17, (uint32_t)crc32(0, chunk + 4, 4 + 9));
    memcpy(chunk + CHUNK, png + HEAD, bytes - HEAD);
    *out = with;
    *out_bytes = bytes + CHUNK;
    return KVANT_OK;
}
