/* rows_loops.h - any number of queries and vectors, by the tiles of rows_avx2.h or rows_avx512.h, whichever includes this behind its
 * own: rows_floats, rows_score_tile of 4 x 2, 4 x 1, 2 x 4, 2 x 1, 1 x 4 and 1 x 1 queries and vectors, and rows_mix_few of 1, 2, 4
 * and, where ROWS_MIXED is 8, 8 queries. */
#ifndef KVANT_ROWS_LOOPS_H
#define KVANT_ROWS_LOOPS_H

/* One to four queries against n vectors; dot's rows are `width` floats apart. */
LANES_INLINE void rows_score_few(const rows *r, rows_floats *floats, const float *q, size_t stride, size_t nq,
                                const uint8_t *code, size_t n, float *dot, size_t width)
{
    size_t v = 0;
    for (; nq == 4 && v + 2 <= n; v += 2)
        rows_score_tile(r, floats, q, stride, 4, code + v * r->bytes, 2, dot + v, width);
    for (; nq == 4 && v < n; v++)
        rows_score_tile(r, floats, q, stride, 4, code + v * r->bytes, 1, dot + v, width);
    for (; nq == 2 && v + 4 <= n; v += 4)
        rows_score_tile(r, floats, q, stride, 2, code + v * r->bytes, 4, dot + v, width);
    for (; nq == 2 && v < n; v++)
        rows_score_tile(r, floats, q, stride, 2, code + v * r->bytes, 1, dot + v, width);
    for (; nq == 1 && v + 4 <= n; v += 4)
        rows_score_tile(r, floats, q, stride, 1, code + v * r->bytes, 4, dot + v, width);
    for (; nq == 1 && v < n; v++)
        rows_score_tile(r, floats, q, stride, 1, code + v * r->bytes, 1, dot + v, width);
}

/* The same for any number of queries. */
LANES_INLINE void rows_score(const rows *r, rows_floats *floats, const float *q, size_t stride, size_t nq, const uint8_t *code,
                            size_t n, float *dot)
{
    size_t i = 0;
    for (; i + 4 <= nq; i += 4)
        rows_score_few(r, floats, q + i * stride, stride, 4, code, n, dot + i * n, n);
    for (; i + 2 <= nq; i += 2)
        rows_score_few(r, floats, q + i * stride, stride, 2, code, n, dot + i * n, n);
    for (; i < nq; i++)
        rows_score_few(r, floats, q + i * stride, stride, 1, code, n, dot + i * n, n);
}

/* acc [nq], `stride` floats apart, += sums of w [nq][n] times vectors. */
LANES_INLINE void rows_mix(const rows *r, rows_floats *floats, const float *w, size_t nq, const uint8_t *code, size_t n, float *acc,
                          size_t stride)
{
    for (size_t done = 0, step; done < n; done += step) {
        const uint8_t *tile = code + done * r->bytes;
        size_t i = 0;
        step = n - done < ROWS_TILE ? n - done : ROWS_TILE;
        for (; ROWS_MIXED == 8 && i + 8 <= nq; i += 8)
            rows_mix_few(r, floats, w + i * n + done, n, 8, tile, step, acc + i * stride, stride);
        for (; i + 4 <= nq; i += 4)
            rows_mix_few(r, floats, w + i * n + done, n, 4, tile, step, acc + i * stride, stride);
        for (; i + 2 <= nq; i += 2)
            rows_mix_few(r, floats, w + i * n + done, n, 2, tile, step, acc + i * stride, stride);
        for (; i < nq; i++)
            rows_mix_few(r, floats, w + i * n + done, n, 1, tile, step, acc + i * stride, stride);
    }
}

#endif
