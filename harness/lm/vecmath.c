/* vecmath.c - exp by range reduction and a polynomial, and sums in eight fixed lanes.
 * Plain loops without calls or branches: the vector unit of any baseline can run them. */
#include "harness/lm/vecmath.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8, PIECE = 512 };

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* yes where `condition`, else no; by masks, because compilers turn a ?: of constants into a branch and give up. */
static inline float select(int condition, float yes, float no)
{
    const uint32_t mask = 0u - (uint32_t)condition;
    return float_of((bits_of(yes) & mask) | (bits_of(no) & ~mask));
}

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2: n from the low bits after adding 1.5 * 2^23, which rounds to nearest; exp(r) by its
 * Taylor series to degree 7 (remainder below 5e-9); 2^n in two factors so that subnormal results come out too. */
static inline float exp_one(float x)
{
    const float magic = 12582912.0f, low = select(x < -104.0f, -104.0f, x), c = select(low > 104.0f, 104.0f, low);
    const float t = c * 1.44269504f + magic, n = t - magic;
    const float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const uint32_t whole = bits_of(t) - bits_of(magic) + 254, half = whole >> 1;      /* biased by 127 each */
    return p * float_of(half << 23) * float_of((whole - half) << 23);
}

/* out[i] = exp(x[i] - shift); out may be x. One loop for all callers, since it is the one that has to vectorise. */
static void exp_all(float *out, const float *x, size_t n, float shift)
{
    for (size_t i = 0; i < n; i++)
        out[i] = exp_one(x[i] - shift);
}

/* Folds lanes in a fixed tree. */
static double fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static double sum_of(const float *x, size_t n)
{
    double lane[LANES] = { 0 }, tail = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j];
    for (; i < n; i++)
        tail += (double)x[i];
    return fold(lane) + tail;
}

/* As integers of the same order (a float's bits, the magnitude of negative ones flipped), since compilers vectorise an integer
 * maximum and must not reorder a float one. A positive NaN counts as the largest, so it is not lost. */
float vec_max(const float *x, size_t n)
{
    int32_t m = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t v = (int32_t)bits_of(x[i]);
        v ^= (v >> 31) & INT32_MAX;
        m = v > m ? v : m;
    }
    return n == 0 ? -INFINITY : float_of((uint32_t)(m ^ ((m >> 31) & INT32_MAX)));
}

double vec_exp_sum(float *x, size_t n, float shift)
{
    exp_all(x, x, n, shift);
    return sum_of(x, n);
}

double vec_log_sum_exp(const float *x, size_t n)
{
    float e[PIECE];
    const float shift = vec_max(x, n);
    double sum = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        exp_all(e, x + at, m, shift);
        sum += sum_of(e, m);
    }
    return (double)shift + log(sum);
}

double vec_dot(const float *a, const float *b, size_t n)
{
    double lane[LANES] = { 0 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)a[i + j] * (double)b[i + j];
    double tail = 0;
    for (; i < n; i++)
        tail += (double)a[i] * (double)b[i];
    return fold(lane) + tail;
}

void vec_silu_mul(float *gate, const float *up, size_t n)
{
    float e[PIECE];
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        float *g = gate + at;
        for (size_t i = 0; i < m; i++)
            e[i] = -g[i];
        exp_all(e, e, m, 0);
        for (size_t i = 0; i < m; i++)
            g[i] = g[i] / (1.0f + e[i]) * up[at + i];
    }
}

/* gelu(x) = x (1 + tanh z) / 2 with z = sqrt(2 / pi) (x + 0.044715 x^3), and (1 + tanh z) / 2 = 1 / (1 + exp(-2 z)). */
void vec_gelu_mul(float *gate, const float *up, size_t n)
{
    const float a = -1.5957691f, b = 0.044715f;
    float e[PIECE];
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        float *g = gate + at;
        for (size_t i = 0; i < m; i++)
            e[i] = a * g[i] * (1.0f + b * g[i] * g[i]);
        exp_all(e, e, m, 0);
        for (size_t i = 0; i < m; i++)
            g[i] = g[i] / (1.0f + e[i]) * (up ? up[at + i] : 1.0f);
    }
}

/* tanh y = 1 - 2 / (1 + exp(2 y)): an absolute error of cap * 2^-23, which is what a score of that size has anyway. */
void vec_soft_cap(float *x, size_t n, float cap)
{
    const float twice = 2.0f / cap;
    float e[PIECE];
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        for (size_t i = 0; i < m; i++)
            e[i] = x[at + i] * twice;
        exp_all(e, e, m, 0);
        for (size_t i = 0; i < m; i++)
            x[at + i] = cap - 2.0f * cap / (1.0f + e[i]);
    }
}

void vec_rms_norm(float *out, const float *x, const float *weight, size_t n, float eps)
{
    const float scale = (float)(1.0 / sqrt(vec_dot(x, x, n) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

void vec_layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    const float mean = (float)(sum_of(x, n) / (double)n);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] - mean;
    const float scale = (float)(1.0 / sqrt(vec_dot(out, out, n) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] * scale * weight[i] + bias[i];
}

void vec_rotate(float *x, const float *cosine, const float *sine, size_t width, size_t n, bool half, float scale)
{
    const size_t step = half ? 1 : 2, apart = half ? width / 2 : 1;
    for (size_t j = 0; j < width / 2; j++) {
        const float a = x[step * j], b = x[step * j + apart];
        x[step * j] = (a * cosine[j] - b * sine[j]) * scale;
        x[step * j + apart] = (a * sine[j] + b * cosine[j]) * scale;
    }
    for (size_t j = width; j < n; j++)
        x[j] *= scale;
}
