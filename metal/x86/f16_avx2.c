/* f16_avx2.c - half precision with AVX2, FMA and F16C: eight conversions an instruction, sums in registers.
 * Codes and decoded vectors have the scalar code's bits; sums differ by fused multiply-adds and by the order of addition. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"

#include <immintrin.h>
#include <string.h>

/* The scalar code's state is the dimension alone. */
static size_t dimension(const void *state) { return *(const uint32_t *)state; }

static __m256i tail_mask(size_t n)
{
    static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones + 8 - n));
}

static __m256 load_half(const uint16_t *half) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)half)); }

/* The first n < 8 of eight; the others are zero and are not read. */
static __m256 load_half_tail(const uint16_t *half, size_t n)
{
    uint16_t part[8] = { 0 };
    memcpy(part, half, n * sizeof *half);
    return load_half(part);
}

static __m128i to_half(__m256 x) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    size_t i = 0, count = n * dimension(state);
    uint16_t *half = (uint16_t *)(void *)code, part[8];
    (void)first, (void)scratch;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(half + i), to_half(_mm256_loadu_ps(x + i)));
    if (i < count) {
        _mm_storeu_si128((__m128i *)(void *)part, to_half(_mm256_maskload_ps(x + i, tail_mask(count - i))));
        memcpy(half + i, part, (count - i) * sizeof *half);
    }
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    size_t i = 0, count = n * dimension(state);
    const uint16_t *half = (const uint16_t *)(const void *)code;
    (void)first, (void)scratch;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(x + i, load_half(half + i));
    if (i < count)
        _mm256_maskstore_ps(x + i, tail_mask(count - i), load_half_tail(half + i, count - i));
}

static float sum_of(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Scores nq queries against nv vectors; inlined with constants, so that the nq * nv <= 8 sums are registers. A vector is converted
 * once for all its queries. */
static inline __attribute__((always_inline)) void score_tile(const float *q, size_t nq, const uint16_t *half, size_t nv, size_t d,
                                                             float *dot, size_t n)
{
    __m256 sum[8];
    size_t k = 0;
    for (size_t i = 0; i < nq * nv; i++)
        sum[i] = _mm256_setzero_ps();
    for (; k + 8 <= d; k += 8)
        for (size_t v = 0; v < nv; v++) {
            __m256 x = load_half(half + v * d + k);
            for (size_t i = 0; i < nq; i++)
                sum[i * nv + v] = _mm256_fmadd_ps(_mm256_loadu_ps(q + i * d + k), x, sum[i * nv + v]);
        }
    if (k < d)
        for (size_t v = 0; v < nv; v++) {
            __m256 x = load_half_tail(half + v * d + k, d - k);
            for (size_t i = 0; i < nq; i++)
                sum[i * nv + v] = _mm256_fmadd_ps(_mm256_maskload_ps(q + i * d + k, tail_mask(d - k)), x, sum[i * nv + v]);
        }
    for (size_t i = 0; i < nq; i++)
        for (size_t v = 0; v < nv; v++)
            dot[i * n + v] = sum_of(sum[i * nv + v]);
}

/* Two vectors at a time for four queries, four at a time for one: how a score is summed does not depend on its neighbours. */
static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    size_t d = dimension(state), i = 0;
    const uint16_t *half = (const uint16_t *)(const void *)code;
    const float *q = prepared;
    (void)first, (void)scratch;
    for (; i + 4 <= nq; i += 4) {
        size_t v = 0;
        for (; v + 2 <= n; v += 2)
            score_tile(q + i * d, 4, half + v * d, 2, d, dot + i * n + v, n);
        for (; v < n; v++)
            score_tile(q + i * d, 4, half + v * d, 1, d, dot + i * n + v, n);
    }
    for (; i < nq; i++) {
        size_t v = 0;
        for (; v + 4 <= n; v += 4)
            score_tile(q + i * d, 1, half + v * d, 4, d, dot + i * n + v, n);
        for (; v < n; v++)
            score_tile(q + i * d, 1, half + v * d, 1, d, dot + i * n + v, n);
    }
}

/* Adds n vectors' coordinates k ... k+8 to nq accumulators, which stay in registers meanwhile. */
static inline __attribute__((always_inline)) void mix_tile(const float *w, size_t nq, const uint16_t *half, size_t n, size_t d,
                                                           size_t k, float *acc)
{
    __m256 sum[4];
    size_t left = d - k;
    __m256i mask = tail_mask(left < 8 ? left : 8);
    for (size_t i = 0; i < nq; i++)
        sum[i] = _mm256_maskload_ps(acc + i * d + k, mask);
    for (size_t v = 0; v < n; v++) {
        __m256 x = left < 8 ? load_half_tail(half + v * d + k, left) : load_half(half + v * d + k);
        for (size_t i = 0; i < nq; i++)
            sum[i] = _mm256_fmadd_ps(_mm256_set1_ps(w[i * n + v]), x, sum[i]);
    }
    for (size_t i = 0; i < nq; i++)
        _mm256_maskstore_ps(acc + i * d + k, mask, sum[i]);
}

static void mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    size_t d = dimension(state), i = 0;
    const uint16_t *half = (const uint16_t *)(const void *)code;
    (void)first, (void)scratch;
    for (; i + 4 <= nq; i += 4)
        for (size_t k = 0; k < d; k += 8)
            mix_tile(w + i * n, 4, half, n, d, k, acc + i * d);
    for (; i < nq; i++)
        for (size_t k = 0; k < d; k += 8)
            mix_tile(w + i * n, 1, half, n, d, k, acc + i * d);
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    (void)shape, (void)args;
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx2() && cpu_f16c();
}

const kvant_kernel kernel_f16_avx2 = {
    .quantizer = "f16", .target = "avx2", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
