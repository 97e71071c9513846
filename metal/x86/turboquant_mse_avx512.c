/* turboquant_mse_avx512.c - TurboQuant's codes sixteen vectors at a time, and scores and mixes by vpdpbusd on bytes.
 * Keys and values have layouts of their own (packed_avx512.h), so values have no score and keys no mix but by decode.
 *
 * To 4 bits, centroids become bytes, and queries and weights one or two bytes, whichever keeps what that adds to the quantizer's error
 * below 1 % of it. At 8 bits they stay floats: centroids are gathered. Encoding after Hadamard or without a rotation gives the scalar code's
 * codes; after Haar, where the codes' scale is the norm alone, it multiplies by fused multiply-adds, so that a coordinate within rounding of
 * a threshold may go to the centroid beyond it. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/packed_avx512.h"

#include "algorithms/shared/direction.h"

enum { SCALE_NORM, SCALE_NORM_CORRECTED, SCALE_UNBIASED };

/* The kernel's state; the rotation's table follows. */
typedef struct {
    lanes_rotation rotation;
    uint32_t bits, norm, scale, exact;     /* norm: bytes; exact: products as the scalar code's */
    size_t unit;                           /* bytes */
    double query_allowed, weight_allowed;  /* shares of |q|^2 and of the sum of w^2 that roundings may have */
    packed_levels levels;
    _Alignas(64) float c[256], threshold[256];
} tables;

static const float *table_of(const tables *t) { return (const float *)(const void *)(t + 1); }

/* A vector's index in the cache, as unit, group of 16 and lane. */
typedef struct { const uint8_t *unit; size_t group, lane, n; } span;

/* The next vectors of one group of 16 after `done` of a range that begins at `first`, whose unit `code` points to. */
static span span_after(const tables *t, const uint8_t *code, size_t first, size_t done, size_t n)
{
    const size_t at = first % UNIT + done, lane = at % LANES, left = n - done, room = LANES - lane;
    return (span) { code + at / UNIT * t->unit, at % UNIT / LANES, lane, left < room ? left : room };
}

static uint8_t *planes_of(const tables *t, const uint8_t *unit) { return (uint8_t *)(uintptr_t)unit + (size_t)UNIT * t->norm; }
static uint8_t *norms_of(const tables *t, const span *s) { return (uint8_t *)(uintptr_t)s->unit + s->group * LANES * t->norm; }
static uint8_t *group_of(const tables *t, const span *s)
{
    return planes_of(t, s->unit) + s->group * packed_bytes(t->rotation.dim, t->bits, LANES);
}

/* ---- Centroids --------------------------------------------------------------------------------------- */

/* codebook_index of sixteen coordinates. */
LANES_INLINE __m512i index_of(const tables *t, unsigned b, __m512 x)
{
    __m512i index = _mm512_setzero_si512();
    for (unsigned step = 1u << b >> 1; step; step >>= 1) {
        const __m512i at = _mm512_add_epi32(index, _mm512_set1_epi32((int)step - 1));
        const __m512 threshold = step == 1u << b >> 1 ? _mm512_set1_ps(t->threshold[step - 1])
                                 : b <= 4             ? _mm512_permutexvar_ps(at, _mm512_load_ps(t->threshold))
                                                      : _mm512_i32gather_ps(at, t->threshold, 4);
        index = _mm512_mask_add_epi32(index, _mm512_cmp_ps_mask(x, threshold, _CMP_GE_OQ), index, _mm512_set1_epi32((int)step));
    }
    return index;
}

LANES_INLINE __m512 centroid_of(const tables *t, unsigned b, __m512i index)
{
    return b <= 4 ? _mm512_permutexvar_ps(index, _mm512_load_ps(t->c)) : _mm512_i32gather_ps(index, t->c, 4);
}

/* ---- Encode ------------------------------------------------------------------------------------------- */

/* What turboquant_mse.c multiplies the norm by: `dot` <u, c> and `square` <c, c>. */
static __m512d correction(uint32_t scale, __m512d dot, __m512d square)
{
    const __mmask8 some = _mm512_cmp_pd_mask(dot, _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m512d by = scale == SCALE_UNBIASED ? dot : _mm512_sqrt_pd(square);
    return _mm512_mask_div_pd(_mm512_set1_pd(1), some, _mm512_set1_pd(1), by);
}

/* Codes of a block of directions, and what their norms are multiplied by. */
LANES_INLINE lanes_double quantize(const tables *t, unsigned b, const float *block, int32_t *index)
{
    lanes_double dot = { _mm512_setzero_pd(), _mm512_setzero_pd() }, square = dot;
    const lanes_double one = { _mm512_set1_pd(1), _mm512_set1_pd(1) };
    for (size_t j = 0; j < t->rotation.dim; j++) {
        const __m512 y = _mm512_load_ps(block + j * LANES);
        const __m512i k = index_of(t, b, y);
        _mm512_store_si512(index + j * LANES, k);
        if (t->scale != SCALE_NORM) {
            const lanes_double u = lanes_widen(y), c = lanes_widen(centroid_of(t, b, k));
            dot = lanes_add_product(dot, u, c);
            square = lanes_add_product(square, c, c);
        }
    }
    if (t->scale == SCALE_NORM)
        return one;
    return (lanes_double) { correction(t->scale, dot.low, square.low), correction(t->scale, dot.high, square.high) };
}

LANES_INLINE void encode(const tables *t, unsigned b, bool values, const float *x, size_t first, size_t n, uint8_t *code, float *scratch)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(t, code, first, done, n);
        lanes_load(x + done * dim, s.lane, s.n, dim, scratch);
        lanes_double norm = lanes_normalise(scratch, dim);
        float *block = lanes_forward(&t->rotation, table_of(t), t->exact, scratch, scratch + dim * LANES);
        int32_t *index = (int32_t *)(void *)block;             /* a code takes its coordinate's place */
        const lanes_double by = quantize(t, b, block, index);
        norm.low = _mm512_mul_pd(norm.low, by.low), norm.high = _mm512_mul_pd(norm.high, by.high);
        const __mmask16 lanes = lanes_mask(s.lane, s.n);
        lanes_store_norms(norm, t->norm, lanes, norms_of(t, &s));
        if (values)
            packed_value_store(planes_of(t, s.unit), index, dim, b, s.group, lanes);
        else
            packed_key_store(group_of(t, &s), index, dim, b, lanes);
    }
}

/* ---- Decode ------------------------------------------------------------------------------------------- */

LANES_INLINE void decode(const tables *t, unsigned b, bool values, const uint8_t *code, size_t first, size_t n, float *x, float *scratch)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        s = span_after(t, code, first, done, n);
        int32_t *index = (int32_t *)(void *)scratch;
        if (values)
            packed_value_load(planes_of(t, s.unit), dim, b, s.group, index);
        else
            packed_key_load(group_of(t, &s), dim, b, index);
        const __m512 norm = lanes_load_norms(norms_of(t, &s), t->norm);
        for (size_t j = 0; j < dim; j++)
            _mm512_store_ps(scratch + j * LANES, _mm512_mul_ps(norm, centroid_of(t, b, _mm512_load_si512(index + j * LANES))));
        lanes_store(lanes_inverse_rotation(&t->rotation, table_of(t), scratch, scratch + dim * LANES), s.lane, s.n, dim, x + done * dim);
    }
}

LANES_INLINE void symbols(const tables *t, unsigned b, bool values, const uint8_t *code, size_t n, uint16_t *sym)
{
    const size_t dim = t->rotation.dim;
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        _Alignas(64) int32_t index[LANES * PACKED_DIM_MAX];
        s = span_after(t, code, 0, done, n);
        if (values)
            packed_value_load(planes_of(t, s.unit), dim, b, s.group, index);
        else
            packed_key_load(group_of(t, &s), dim, b, index);
        for (size_t v = 0; v < s.n; v++)
            for (size_t d = 0; d < dim; d++)
                *sym++ = (uint16_t)index[d * LANES + s.lane + v];
    }
}

/* ---- Score -------------------------------------------------------------------------------------------- */

/* A prepared query: its bytes, then the rotated floats. */
static size_t query_bytes(size_t dim) { return packed_query_bytes(dim) + dim * sizeof(float); }
static const packed_query_head *head_of(const void *prepared, size_t dim, size_t i)
{
    return (const packed_query_head *)(const void *)((const char *)prepared + i * query_bytes(dim));
}
static const float *rotated_of(const packed_query_head *q, size_t dim)
{
    return (const float *)(const void *)((const char *)q + packed_query_bytes(dim));
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const tables *t = state;
    const size_t dim = t->rotation.dim;
    for (size_t i = 0, step; i < nq; i += step) {
        step = nq - i < LANES ? nq - i : LANES;
        float *block = scratch;
        lanes_load(q + i * dim, 0, step, dim, block);
        block = lanes_forward(&t->rotation, table_of(t), false, block, block + dim * LANES);
        for (size_t k = 0; k < step; k++) {
            char *to = (char *)prepared + (i + k) * query_bytes(dim);
            lanes_store(block, k, 1, dim, (float *)(void *)(to + packed_query_bytes(dim)));
            packed_query((const float *)(const void *)(to + packed_query_bytes(dim)), dim, t->query_allowed,
                         (packed_query_head *)(void *)to);
        }
    }
}

/* Sums of centroids as floats, for widths whose centroids are no bytes. */
LANES_INLINE void score_floats(const tables *t, const uint8_t *const *group, size_t n, size_t dim, const packed_query_head *const *q,
                               size_t nq, __m512 (*out)[2])
{
    __m512 sum[8][2];
    for (size_t i = 0; i < nq; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (size_t r = 0; r < dim / 4; r++)
        for (size_t g = 0; g < n; g++) {
            const __m512i row = _mm512_loadu_si512(group[g] + r * 64);
            for (size_t j = 0; j < 4; j++) {
                const __m512i k = _mm512_and_si512(_mm512_srli_epi32(row, (unsigned)(8 * j)), _mm512_set1_epi32(255));
                const __m512 c = _mm512_i32gather_ps(k, t->c, 4);
                for (size_t i = 0; i < nq; i++)
                    sum[i][g] = _mm512_fmadd_ps(_mm512_set1_ps(rotated_of(q[i], dim)[4 * r + j]), c, sum[i][g]);
            }
        }
    for (size_t i = 0; i < nq; i++)
        for (size_t g = 0; g < n; g++)
            out[i][g] = sum[i][g];
}

/* nq queries, at most 8, against the vectors of two groups; the dots go where the spans' vectors are in [.][n]. */
LANES_INLINE void score_groups(const tables *t, unsigned b, const packed_query_head *const *q, size_t nq, size_t planes, const span *s,
                               const size_t *at, float *dot, size_t n)
{
    const size_t dim = t->rotation.dim;
    const uint8_t *group[2] = { group_of(t, &s[0]), group_of(t, &s[1]) };
    __m512 out[8][2];
    if (b == 8)
        score_floats(t, group, 2, dim, q, nq, out);
    else
        packed_score(group, 2, dim, b, packed_table(&t->levels, 128), t->unit, q, nq, planes, out);
    LANES_UNROLL
    for (size_t g = 0; g < 2; g++) {
        const __m512 norm = lanes_load_norms(norms_of(t, &s[g]), t->norm);
        const __m512 scale = b == 8 ? norm : _mm512_mul_ps(norm, _mm512_set1_ps(t->levels.step));
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)                        /* lanes begin before the first of the range: masked, not written */
            _mm512_mask_storeu_ps((float *)((uintptr_t)(dot + i * n + at[g]) - s[g].lane * sizeof(float)), lanes_mask(s[g].lane, s[g].n),
                                  _mm512_mul_ps(out[i][g], scale));
    }
}

/* Two groups at a time; the last may stand alone, and is then its own neighbour, of which nothing is written. */
LANES_INLINE void score_planes(const tables *t, unsigned b, const packed_query_head *const *q, size_t nq, size_t planes,
                               const uint8_t *code, size_t first, size_t n, float *dot)
{
    span s[2];
    for (size_t done = 0; done < n;) {
        size_t at[2] = { done, done };
        s[0] = s[1] = span_after(t, code, first, done, n);
        done += s[0].n;
        s[1].n = 0;
        if (done < n) {
            at[1] = done;
            s[1] = span_after(t, code, first, done, n);
            done += s[1].n;
        }
        score_groups(t, b, q, nq, planes, s, at, dot, n);
    }
}

LANES_INLINE void score(const tables *t, unsigned b, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot)
{
    const size_t dim = t->rotation.dim;
    for (size_t i = 0, step; i < nq; i += step, dot += step * n) {
        const packed_query_head *q[8];
        uint32_t planes = 1;
        for (size_t k = 0; k < 8; k++) {
            q[k] = head_of(prepared, dim, i + k < nq ? i + k : nq - 1);
            planes = q[k]->planes > planes ? q[k]->planes : planes;
        }
        step = nq - i >= 8 && planes == 1 ? 8 : nq - i >= 4 ? 4 : nq - i >= 2 ? 2 : 1;     /* registers for four queries' two planes */
        switch (step + planes - 1) {
        case 8: score_planes(t, b, q, 8, 1, code, first, n, dot); break;
        case 5: score_planes(t, b, q, 4, 2, code, first, n, dot); break;
        case 4: score_planes(t, b, q, 4, 1, code, first, n, dot); break;
        case 3: score_planes(t, b, q, 2, 2, code, first, n, dot); break;
        case 2:
            if (planes == 1)
                score_planes(t, b, q, 2, 1, code, first, n, dot);
            else
                score_planes(t, b, q, 1, 2, code, first, n, dot);
            break;
        default: score_planes(t, b, q, 1, 1, code, first, n, dot);
        }
    }
}

/* ---- Mix ---------------------------------------------------------------------------------------------- */

/* A chunk: up to UNITS units, of which a range of vectors is mixed. */
enum { PARTS = CHUNK / LANES };
typedef struct { const uint8_t *unit[UNITS]; size_t skip, n; __m512 norm[PARTS]; __mmask16 lanes[PARTS]; } chunk;

LANES_INLINE void chunk_open(const tables *t, chunk *c)
{
    for (size_t i = 0; i < PARTS; i++) {
        const size_t at = i * LANES, begin = at > c->skip ? at : c->skip, end = at + LANES < c->skip + c->n ? at + LANES : c->skip + c->n;
        c->lanes[i] = begin < end ? lanes_mask(begin - at, end - begin) : 0;
        c->norm[i] = c->lanes[i] ? lanes_load_norms(c->unit[i / 2] + at % UNIT * t->norm, t->norm) : _mm512_setzero_ps();
    }
}

/* Weights w [n] times norms, zero where the range has no vector. True when all are finite and none is negative. */
LANES_INLINE bool chunk_weights(const chunk *c, const float *w, __m512 x[PARTS])
{
    const float *at = (const float *)((uintptr_t)w - c->skip * sizeof(float));         /* masked: not read before w */
    __m512i bits = _mm512_setzero_si512();
    LANES_UNROLL
    for (int i = 0; i < PARTS; i++) {
        x[i] = _mm512_maskz_mul_ps(c->lanes[i], _mm512_maskz_loadu_ps(c->lanes[i], (const float *)((uintptr_t)at + (uintptr_t)i * 64)), c->norm[i]);
        bits = _mm512_max_epu32(bits, _mm512_castps_si512(x[i]));
    }
    return !_mm512_cmp_epu32_mask(bits, _mm512_set1_epi32(0x7f7fffff), _MM_CMPINT_NLE);
}

/* Those of one sign, as magnitudes. */
LANES_INLINE void chunk_part(const __m512 x[PARTS], bool negative, __m512 part[PARTS])
{
    for (int i = 0; i < PARTS; i++) {
        const __m512 y = negative ? _mm512_sub_ps(_mm512_setzero_ps(), x[i]) : x[i];
        part[i] = _mm512_max_ps(y, _mm512_setzero_ps());
    }
}

/* Four vectors of a unit at a time, sixteen coordinates each. */
LANES_INLINE void mix_floats(const tables *t, const uint8_t *const unit[UNITS], const float (*w)[CHUNK], size_t nq, float *acc)
{
    const size_t dim = t->rotation.dim;
    for (size_t d = 0; d < dim; d += 16) {
        __m512 sum[8];
        for (size_t i = 0; i < nq; i++)
            sum[i] = _mm512_loadu_ps(acc + i * dim + d);
        for (size_t u = 0; u < UNITS && unit[u]; u++)
            for (size_t v = 0; v < UNIT; v++) {
                const __m512i row = _mm512_loadu_si512(planes_of(t, unit[u]) + packed_bytes(d, 8, UNIT) + v / 4 * 64);
                const __m512i k = _mm512_and_si512(_mm512_srl_epi32(row, _mm_cvtsi32_si128((int)(v % 4 * 8))), _mm512_set1_epi32(255));
                const __m512 c = _mm512_i32gather_ps(k, t->c, 4);
                for (size_t i = 0; i < nq; i++)
                    sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(w[i][u * UNIT + v]), c, sum[i]);
            }
        for (size_t i = 0; i < nq; i++)
            _mm512_storeu_ps(acc + i * dim + d, sum[i]);
    }
}

/* Bytes of weights, mixed. */
LANES_INLINE void mix_bytes(const tables *t, unsigned b, const chunk *c, const packed_weights *w, size_t nq, float *acc)
{
    const uint8_t *planes[UNITS];
    uint32_t n_planes = 1;
    for (size_t u = 0; u < UNITS; u++)
        planes[u] = c->unit[u] ? planes_of(t, c->unit[u]) : NULL;
    for (size_t i = 0; i < nq; i++)
        n_planes = w[i].planes > n_planes ? w[i].planes : n_planes;
    const __m512i table = packed_table(&t->levels, 0);
    const size_t dim = t->rotation.dim, ahead = t->unit;
    const float step = t->levels.step;
    if (n_planes == 1) {
        packed_mix(planes, dim, b, table, step, ahead, w, nq, 1, acc);
    } else if (nq == 8) {                                      /* registers for four queries' planes */
        packed_mix(planes, dim, b, table, step, ahead, w, 4, 2, acc);
        packed_mix(planes, dim, b, table, step, ahead, w + 4, 4, 2, acc + 4 * dim);
    } else {
        packed_mix(planes, dim, b, table, step, ahead, w, nq, 2, acc);
    }
}

/* Weights that attention does not have: both signs, one after the other; what is not finite makes all NaN. */
static __attribute__((noinline)) void weigh_signs(const tables *t, const __m512 x[PARTS], bool negative, packed_weights *out)
{
    __m512 part[PARTS];
    __mmask16 wrong = 0;
    for (int i = 0; i < PARTS; i++)
        wrong |= _mm512_cmp_ps_mask(_mm512_abs_ps(x[i]), _mm512_set1_ps(FLT_MAX), _CMP_NLE_UQ);
    chunk_part(x, negative, part);
    packed_weigh(part, (float)t->weight_allowed, out);
    out->scale = wrong ? NAN : negative ? -out->scale : out->scale;
}

/* nq queries, a constant of at most 8. */
LANES_INLINE void mix_chunk(const tables *t, unsigned b, const chunk *c, const float *w, size_t stride, size_t nq, float *acc)
{
    __m512 x[8][PARTS];
    bool good = true;
    for (size_t i = 0; i < nq; i++)
        good = chunk_weights(c, w + i * stride, x[i]) && good;
    if (b == 8) {
        float weight[8][CHUNK];
        for (size_t i = 0; i < nq; i++)
            for (int k = 0; k < PARTS; k++)
                _mm512_storeu_ps(weight[i] + k * LANES, x[i][k]);
        mix_floats(t, c->unit, (const float (*)[CHUNK])weight, nq, acc);
        return;
    }
    for (int negative = 0; negative < 2 - good; negative++) {      /* attention's weights have one sign */
        packed_weights bytes[8];
        for (size_t i = 0; i < nq; i++)
            if (good)
                packed_weigh(x[i], (float)t->weight_allowed, &bytes[i]);
            else
                weigh_signs(t, x[i], negative, &bytes[i]);
        mix_bytes(t, b, c, bytes, nq, acc);
    }
}

LANES_INLINE void mix(const tables *t, unsigned b, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc)
{
    const size_t dim = t->rotation.dim;
    for (size_t done = 0; done < n;) {
        const size_t at = first % UNIT + done;
        chunk c = { .skip = at % UNIT };
        c.n = CHUNK - c.skip < n - done ? CHUNK - c.skip : n - done;
        for (size_t u = 0; u * UNIT < c.skip + c.n; u++)
            c.unit[u] = code + (at / UNIT + u) * t->unit;
        chunk_open(t, &c);
        size_t i = 0;
        for (; i + 8 <= nq; i += 8)
            mix_chunk(t, b, &c, w + i * n + done, n, 8, acc + i * dim);
        for (; i + 4 <= nq; i += 4)
            mix_chunk(t, b, &c, w + i * n + done, n, 4, acc + i * dim);
        for (; i + 2 <= nq; i += 2)
            mix_chunk(t, b, &c, w + i * n + done, n, 2, acc + i * dim);
        for (; i < nq; i++)
            mix_chunk(t, b, &c, w + i * n + done, n, 1, acc + i * dim);
        done += c.n;
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const tables *t = state;
    lanes_rotate(&t->rotation, table_of(t), true, acc, nq, out, scratch);
}

/* ---- The ops, for every width ------------------------------------------------------------------------- */

#define OPS(b) \
    static void encode_keys_##b(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        encode(state, b, false, x, first, n, code, scratch); \
    } \
    static void encode_values_##b(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        encode(state, b, true, x, first, n, code, scratch); \
    } \
    static void decode_keys_##b(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        decode(state, b, false, code, first, n, x, scratch); \
    } \
    static void decode_values_##b(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        decode(state, b, true, code, first, n, x, scratch); \
    } \
    static void score_##b(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot, \
                          void *scratch) \
    { \
        (void)scratch; \
        score(state, b, prepared, nq, code, first, n, dot); \
    } \
    static void mix_##b(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                        void *scratch) \
    { \
        (void)scratch; \
        mix(state, b, w, nq, code, first, n, acc); \
    } \
    static void symbols_keys_##b(const void *state, const uint8_t *code, size_t n, uint16_t *sym) { symbols(state, b, false, code, n, sym); } \
    static void symbols_values_##b(const void *state, const uint8_t *code, size_t n, uint16_t *sym) { symbols(state, b, true, code, n, sym); }
OPS(1)
OPS(2)
OPS(3)
OPS(4)
OPS(8)

#define KEYS(b) { .encode = encode_keys_##b, .decode = decode_keys_##b, .query = query, .score = score_##b, .symbols = symbols_keys_##b }
#define VALUES(b) { .encode = encode_values_##b, .decode = decode_values_##b, .mix = mix_##b, .finish = finish, .symbols = symbols_values_##b }

/* Error of a Gaussian at so many bits (Lloyd-Max): what roundings are compared with. */
static const struct { kvant_ops keys, values; double error; } widths[] = {
    [1] = { KEYS(1), VALUES(1), .3634 }, [2] = { KEYS(2), VALUES(2), .1175 }, [3] = { KEYS(3), VALUES(3), .03454 },
    [4] = { KEYS(4), VALUES(4), .009497 }, [8] = { KEYS(8), VALUES(8), 4.1e-5 }
};

/* ---- What it is ----------------------------------------------------------------------------------------- */

extern const kvant_quantizer quantizer_turboquant_mse;

static uint32_t arg(const kvant_args *args, const char *name)
{
    return (uint32_t)kvant_arg(&quantizer_turboquant_mse, name, args);
}

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    if (!cpu_avx512() || arg(args, "outlier_channels") || !packed_fits(dim, b))
        return false;
    f->ops = shape->side == KVANT_VALUE ? widths[b].values : widths[b].keys;
    f->tile = UNIT;
    f->query = query_bytes(dim);
    f->acc = dim;
    f->scratch = 2 * dim * LANES * sizeof(float);
    f->derived = sizeof(tables) + lanes_rotation_floats(kind, dim) * sizeof(float);
    return true;
}

static const float *part_of(const kvant_parts *parts, const void *state, const char *name)
{
    for (size_t i = 0; i < parts->n; i++)
        if (!strcmp(parts->part[i].name, name))
            return (const float *)(const void *)((const char *)state + parts->part[i].offset);
    return NULL;
}

static void derive(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived)
{
    tables *t = derived;
    const uint32_t b = arg(args, "bits"), kind = arg(args, "rotation"), dim = shape->dim;
    const size_t n = (size_t)1 << b;
    t->rotation = lanes_rotation_of(kind, dim);
    t->bits = b;
    t->norm = norm_bytes(arg(args, "norm"));
    t->scale = arg(args, "scale");
    t->exact = t->scale != SCALE_NORM;
    t->unit = UNIT * (t->norm + packed_bytes(dim, b, 1));
    t->query_allowed = .0075 * widths[b].error;
    t->weight_allowed = .005 * widths[b].error;
    memcpy(t->c, part_of(parts, state, "codebook"), n * sizeof *t->c);
    memcpy(t->threshold, part_of(parts, state, "thresholds"), (n - 1) * sizeof *t->threshold);
    if (b <= 4)
        t->levels = packed_levels_of(t->c, t->threshold, b, dim);
    lanes_rotation_derive(&t->rotation, part_of(parts, state, kind == ROTATION_HAAR ? "rotation" : "signs"), (float *)(void *)(t + 1));
}

const kvant_kernel kernel_turboquant_mse_avx512 = {
    .quantizer = "turboquant_mse", .target = "avx512", .form = form, .derive = derive,
    .distance = 2e-5, .products = .026,
    .reason = "decode: fused Haar products. Scores and mixes: centroids as bytes (half a step of 1/127 of the largest), a query's rounding "
              "(at most sqrt(12 * .005 * D) of it)"
};
