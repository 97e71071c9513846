/* vecmath_loops.h - the loops of vecmath.h, included once for every instruction set that they are compiled for: exp by range reduction
 * and a polynomial, sums in eight fixed lanes. They are plain C without calls or branches, nothing is contracted and no sum is
 * reordered, so that every instruction set gives the same bits. VEC_TABLE names the table that is defined. */
#include "harness/lm/vecmath_table.h"

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

/* A register of floats, of the set that this is compiled for, and four of them: as many as it takes to hide how long an operation
 * takes. */
#if defined(__AVX512F__)
enum { WIDTH = 16 };
#elif defined(__AVX2__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
enum { AHEAD = 4, BLOCK = AHEAD * WIDTH };
typedef float floats __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(WIDTH * sizeof(int32_t))));

#ifdef __clang__
#define EACH _Pragma("unroll") for (int k = 0; k < AHEAD; k++)
#else
#define EACH _Pragma("GCC unroll 4") for (int k = 0; k < AHEAD; k++)
#endif

/* Compilers would finish one register after the other, and the processor's queue of waiting instructions is too short to see the
 * next. */
#define TOGETHER(v) __asm__("" : "+v"((v)[0]), "+v"((v)[1]), "+v"((v)[2]), "+v"((v)[3]))

static inline floats all_of(float x) { return x - (floats){ 0 }; }
static inline floats select_all(ints condition, floats yes,
                                floats no) { return (floats)((condition & (ints)yes) | (~condition & (ints)no)); }

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2: n from the low bits after adding 1.5 * 2^23, which rounds to nearest; exp(r) by its
 * Taylor series to degree 7 (remainder below 5e-9); 2^n in two factors so that subnormal results come out too. */
static inline void exp_block(floats x[AHEAD])
{
    static const float series[] = { 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f };
    const floats magic = all_of(12582912.0f), least = all_of(-104.0f), most = all_of(104.0f);
    floats t[AHEAD], n[AHEAD], r[AHEAD], p[AHEAD];
    EACH x[k] = select_all(x[k] < least, least, x[k]);
    EACH x[k] = select_all(x[k] > most, most, x[k]);
    EACH t[k] = x[k] * 1.44269504f + magic;
    TOGETHER(t);
    EACH n[k] = t[k] - magic;
    TOGETHER(n);
    EACH r[k] = x[k] - n[k] * 0.693359375f;
    TOGETHER(r);
    EACH r[k] = r[k] - n[k] * -2.12194440e-4f;
    TOGETHER(r);
    EACH p[k] = all_of(1.0f / 5040);
    for (size_t i = 0; i < sizeof series / sizeof *series; i++) {
        EACH p[k] = p[k] * r[k];
        TOGETHER(p);
        EACH p[k] = p[k] + series[i];
        TOGETHER(p);
    }
    EACH {
        const ints whole = (ints)t[k] - (ints)magic + 254, half = whole >> 1;         /* biased by 127 each; above 0 */
        x[k] = p[k] * (floats)(half << 23) * (floats)((whole - half) << 23);
    }
}

/* out[i] = exp(x[i] - shift); out may be x. One loop for all callers. */
static void exp_all(float *out, const float *x, size_t n, float shift)
{
    floats block[AHEAD];
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        memcpy(block, x + i, sizeof block);
        EACH block[k] -= shift;
        exp_block(block);
        memcpy(out + i, block, sizeof block);
    }
    if (i < n) {
        EACH block[k] = all_of(0);
        memcpy(block, x + i, (n - i) * sizeof *x);
        EACH block[k] -= shift;
        exp_block(block);
        memcpy(out + i, block, (n - i) * sizeof *x);
    }
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
static float loop_max(const float *x, size_t n)
{
    int32_t m = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t v = (int32_t)bits_of(x[i]);
        v ^= (v >> 31) & INT32_MAX;
        m = v > m ? v : m;
    }
    return n == 0 ? -INFINITY : float_of((uint32_t)(m ^ ((m >> 31) & INT32_MAX)));
}

static double loop_exp_sum(float *x, size_t n, float shift)
{
    exp_all(x, x, n, shift);
    return sum_of(x, n);
}

static void loop_max_rows(const float *x, size_t rows, size_t n, float *max)
{
    for (size_t r = 0; r < rows; r++)
        max[r] = loop_max(x + r * n, n);
}

/* First all exps, then all sums: neither depends on another of its kind, so that the processor has several under way. */
static void loop_exp_rows(float *x, size_t rows, size_t n, const float *shift, double *sum)
{
    for (size_t r = 0; r < rows; r++)
        exp_all(x + r * n, x + r * n, n, shift[r]);
    for (size_t r = 0; r < rows; r++)
        sum[r] = sum_of(x + r * n, n);
}

/* exp(x - shift) for x <= shift + 1: as above, with 1.5 * 2^52 and the series to degree 12 (remainder below 2e-16). It ends at -700,
 * where results are still normal numbers; the limit is put on the float, since not every instruction set compares doubles into masks
 * well. */
static inline double exp_double(float x, double shift)
{
    const float low = (float)(shift - 700);
    const double magic = 6755399441055744.0, c = (double)select(x < low, low, x) - shift;
    const double t = c * 1.4426950408889634 + magic, n = t - magic;
    const double r = (c - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits, magic_bits;
    memcpy(&bits, &t, sizeof bits);
    memcpy(&magic_bits, &magic, sizeof magic_bits);
    bits = (bits - magic_bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static double loop_mass(const float *x, size_t n, double shift, double *moment)
{
    double below[PIECE], e[PIECE], lane[LANES] = { 0 }, times[LANES] = { 0 }, tail = 0, tail_times = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        size_t i = 0;
        for (size_t k = 0; k < m; k++) {
            below[k] = (double)x[at + k] - shift;
            e[k] = exp_double(x[at + k], shift);
        }
        for (; i + LANES <= m; i += LANES)
            for (size_t j = 0; j < LANES; j++) {
                lane[j] += e[i + j];
                times[j] += e[i + j] * below[i + j];
            }
        for (; i < m; i++) {
            tail += e[i];
            tail_times += e[i] * below[i];
        }
    }
    *moment = fold(times) + tail_times;
    return fold(lane) + tail;
}

static double loop_divergence(const float *p, double p_shift, const float *q, double q_shift, size_t n)
{
    double below[PIECE], e[PIECE], lane[LANES] = { 0 }, tail = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t m = n - at < PIECE ? n - at : PIECE;
        size_t i = 0;
        for (size_t k = 0; k < m; k++) {
            below[k] = ((double)p[at + k] - p_shift) - ((double)q[at + k] - q_shift);
            e[k] = exp_double(p[at + k], p_shift);
        }
        for (; i + LANES <= m; i += LANES)
            for (size_t j = 0; j < LANES; j++)
                lane[j] += e[i + j] * below[i + j];
        for (; i < m; i++)
            tail += e[i] * below[i];
    }
    return fold(lane) + tail;
}

static double loop_dot(const float *a, const float *b, size_t n)
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

static void loop_silu_mul(float *gate, const float *up, size_t n)
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
static void loop_gelu_mul(float *gate, const float *up, size_t n)
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
static void loop_soft_cap(float *x, size_t n, float cap)
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

static void loop_rms_norm(float *out, const float *x, const float *weight, size_t n, float eps)
{
    const float scale = (float)(1.0 / sqrt(loop_dot(x, x, n) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

static void loop_layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    const float mean = (float)(sum_of(x, n) / (double)n);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] - mean;
    const float scale = (float)(1.0 / sqrt(loop_dot(out, out, n) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] * scale * weight[i] + bias[i];
}

static void loop_rotate(float *x, const float *cosine, const float *sine, size_t width, size_t n, bool half, float scale)
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

const vec_table VEC_TABLE = { .max = loop_max, .exp_sum = loop_exp_sum, .max_rows = loop_max_rows, .exp_rows = loop_exp_rows,
                              .mass = loop_mass, .divergence = loop_divergence, .dot = loop_dot,
                              .silu_mul = loop_silu_mul, .gelu_mul = loop_gelu_mul, .soft_cap = loop_soft_cap,
                              .rms_norm = loop_rms_norm, .layer_norm = loop_layer_norm, .rotate = loop_rotate };
