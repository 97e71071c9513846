/* vector.h - the two loops that scoring and mixing consist of, inline.
 * Eight partial sums in a fixed order: fast without -ffast-math, and the same bits from every compiler. */
#ifndef KVANT_VECTOR_H
#define KVANT_VECTOR_H

#include <stddef.h>

/* <a, b> of n floats. */
static inline float vector_dot(const float *restrict a, const float *restrict b, size_t n)
{
    float sum[8] = { 0 };
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += a[i + lane] * b[i + lane];
    for (; i < n; i++)
        sum[i % 8] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* y += a * x, n floats. */
static inline void vector_add(float *restrict y, float a, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

#endif
