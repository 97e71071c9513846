/* kivi_avx512.c - KIVI with AVX-512: groups along a token (values by default) by groups_avx512.h, whose dimension and group_size are
 * multiples of 32, and groups of tokens by channel (keys by default) here, of any dimension and group_size.
 *
 * By channel the scalar code's layout stays: packed codes of up to 64 tokens become bytes, 64 at a time, and what follows knows no
 * widths. <q, x> = <q * scale, code> + <q, zero>: a query takes the scales of a block once, and a mix takes them where its sums of
 * w * code are complete. Codes and decoded vectors have the scalar code's bits, encode's included.
 *
 * Bound: arithmetic. To 4 bits, bytes take 3 operations for 64 coordinates (5 to 2 bits, 8 to 3), floats 2 for 16, a query 1. */
#include "harness/kernels.h"
#include "metal/x86/cpu.h"
#include "metal/x86/groups_avx512.h"

#include "algorithms/shared/bits.h"
#include "algorithms/shared/lanes.h"

extern const kvant_quantizer quantizer_kivi;

enum { STEP = 64 /* codes that become bytes together */, SCORES = 4, MIXES = 8 /* queries at once */ };

/* The scalar code's state and block: the head of every channel, then a row of codes per token. */
typedef struct { affine_vector base; uint32_t by_channel; } kivi;

static size_t row_bytes(const kivi *s) { return bits_bytes(s->base.d, s->base.b); }
static size_t heads_bytes(const kivi *s) { return s->base.d * sizeof(affine_head); }
static size_t block_bytes(const kivi *s) { return heads_bytes(s) + s->base.g * row_bytes(s); }

/* In scratch floats and rows of bytes fill whole registers: `wide` is the dimension, a multiple of 64. */
static size_t wide_of(size_t d) { return (d + STEP - 1) / STEP * STEP; }

typedef struct { float *floats; uint8_t *bytes; } workspace;       /* [MIXES][wide], [ROWS_TILE][wide] */
static size_t workspace_bytes(size_t d) { return MIXES * wide_of(d) * sizeof(float) + ROWS_TILE * wide_of(d); }

static workspace workspace_of(const kivi *s, void *scratch)
{
    float *floats = scratch;
    return (workspace) { floats, (uint8_t *)(floats + MIXES * wide_of(s->base.d)) };
}

/* ---- Codes and bytes ------------------------------------------------------------------------------------ */

/* The same 16 bytes four times. */
LANES_INLINE __m512i everywhere(const void *bytes) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)bytes)); }

/* 64 codes of 3, 5, 6 or 7 bits: sixteen in each 128 bits, whose words get a code with an even number in their low byte and the next
 * in their high byte, each from the 16 bits that begin in the byte where it does. */
LANES_INLINE __m512i bytes_of_odd(unsigned b, const uint8_t *packed)
{
    uint16_t word[8], right[8], left[8];
    uint8_t even[16], odd[16];
    LANES_UNROLL
    for (unsigned i = 0; i < 8; i++) {
        const unsigned at = i * 2 * b, next = at + b;              /* bits of sixteen codes */
        word[i] = (uint16_t)(i < b ? i : 0);
        right[i] = (uint16_t)(at % 8), left[i] = (uint16_t)(8 - next % 8);
        even[2 * i] = (uint8_t)(at / 8), even[2 * i + 1] = (uint8_t)(at / 8 + 1 < 2 * b ? at / 8 + 1 : 0x80);
        odd[2 * i] = (uint8_t)(next / 8), odd[2 * i + 1] = (uint8_t)(next / 8 + 1 < 2 * b ? next / 8 + 1 : 0x80);
    }
    const long long step = 0x0001000100010001ll * b;               /* words from one sixteen to the next */
    const __m512i from = _mm512_setr_epi64(0, 0, step, step, 2 * step, 2 * step, 3 * step, 3 * step);
    const __m512i loaded = _mm512_maskz_loadu_epi8(((__mmask64)1 << 8 * b) - 1, packed);
    const __m512i all = _mm512_permutexvar_epi16(_mm512_add_epi16(everywhere(word), from), loaded);
    const __m512i low = _mm512_srlv_epi16(_mm512_shuffle_epi8(all, everywhere(even)), everywhere(right));
    const __m512i high = _mm512_sllv_epi16(_mm512_shuffle_epi8(all, everywhere(odd)), everywhere(left));
    return _mm512_and_si512(_mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaau, low, high), _mm512_set1_epi8((char)((1u << b) - 1)));
}

/* 64 codes, in 8 b bytes: their neighbours in a byte go to bytes of their own. */
LANES_INLINE __m512i bytes_of(unsigned b, const uint8_t *packed)
{
    if (b == 8)
        return _mm512_loadu_si512(packed);
    if (b == 4) {
        const __m512i x = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)packed));
        return _mm512_and_si512(_mm512_or_si512(x, _mm512_slli_epi16(x, 4)), _mm512_set1_epi8(15));
    }
    if (b == 2) {
        const __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)packed));
        const __m512i y = _mm512_or_si512(x, _mm512_slli_epi32(x, 12));
        return _mm512_and_si512(_mm512_or_si512(y, _mm512_slli_epi32(y, 6)), _mm512_set1_epi8(3));
    }
    if (b == 1) {
        __mmask64 mask;
        memcpy(&mask, packed, sizeof mask);
        return _mm512_maskz_set1_epi8(mask, 1);
    }
    return bytes_of_odd(b, packed);
}

/* n rows of d codes to rows of `wide` bytes, zeros behind the d. */
LANES_INLINE void unpack(unsigned b, const uint8_t *packed, size_t n, size_t d, uint8_t *bytes)
{
    const rows r = { NULL, d, bits_bytes(d, b) };
    const size_t rest = d % STEP;
    for (size_t t = 0; t < n; t++, packed += r.bytes, bytes += wide_of(d)) {
        rows_ahead(&r, packed);
        for (size_t j = 0; j < d - rest; j += STEP)
            _mm512_storeu_si512(bytes + j, bytes_of(b, packed + j / 8 * b));
        if (rest) {
            uint8_t last[STEP] = { 0 };
            memcpy(last, packed + (d - rest) / 8 * b, bits_bytes(rest, b));
            _mm512_storeu_si512(bytes + d - rest, bytes_of(b, last));
        }
    }
}

/* The reverse, of one row. */
LANES_INLINE void pack(unsigned b, const uint8_t *bytes, size_t d, uint8_t *packed)
{
    const size_t rest = d % LANES;
    for (size_t j = 0; j < d - rest; j += LANES)
        groups_pack(b, _mm_loadu_si128((const __m128i *)(const void *)(bytes + j)), packed + j / 8 * b);
    if (rest) {
        uint8_t last[LANES];
        groups_pack(b, _mm_loadu_si128((const __m128i *)(const void *)(bytes + d - rest)), last);
        memcpy(packed + (d - rest) / 8 * b, last, bits_bytes(rest, b));
    }
}

#define WIDTH(b) \
    static void unpack_##b(const uint8_t *packed, size_t n, size_t d, uint8_t *bytes) { unpack(b, packed, n, d, bytes); } \
    static void pack_##b(const uint8_t *bytes, size_t d, uint8_t *packed) { pack(b, bytes, d, packed); }
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(8)

#define ROW(b) [b] = { unpack_##b, pack_##b }
static const struct {
    void (*unpack)(const uint8_t *packed, size_t n, size_t d, uint8_t *bytes);
    void (*pack)(const uint8_t *bytes, size_t d, uint8_t *packed);
} widths[] = { ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8) };

/* What `rows` ask for. */
LANES_INLINE void floats_of(const void *state, const uint8_t *bytes, size_t unit, __m512 x[2])
{
    (void)state;
    for (size_t h = 0; h < 2; h++) {
        const __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)(bytes + unit * ROWS_UNIT + 16 * h));
        x[h] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    }
}

/* ---- A tile: tokens of one block ------------------------------------------------------------------------ */

static rows rows_of(const kivi *s) { return (rows) { s, (s->base.d + ROWS_UNIT - 1) / ROWS_UNIT * ROWS_UNIT, wide_of(s->base.d) }; }

/* The next of a range's tokens after `done`, ROWS_TILE at most, their codes as bytes. */
static lanes tile_after(const kivi *s, size_t done, const uint8_t *code, size_t first, size_t n, uint8_t *bytes)
{
    lanes p = lanes_after(done, code, first, n, s->base.g, block_bytes(s));
    p.n = p.n < ROWS_TILE ? p.n : ROWS_TILE;
    widths[s->base.b].unpack(p.code + heads_bytes(s) + p.lane * row_bytes(s), p.n, s->base.d, bytes);
    return p;
}

/* Channels j ... j + 15 of them that there are, and their scales and zeros; 0 behind the last. */
static inline __mmask16 channels(const kivi *s, size_t j)
{
    return j < s->base.d ? lanes_mask(0, s->base.d - j < LANES ? s->base.d - j : LANES) : 0;
}

typedef struct { __m512 scale, zero; } grids;
LANES_INLINE grids grids_at(const kivi *s, const uint8_t *block, size_t j)
{
    const __m512i heads = _mm512_maskz_loadu_epi32(channels(s, j), block + j * sizeof(affine_head));
    return (grids) { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads)),
                     _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(heads, 16))) };
}

/* nq queries times the block's scales to folded [nq][wide], and their products with its zeros. */
LANES_INLINE void fold(const kivi *s, const uint8_t *block, const float *q, size_t nq, float *folded, float *zero)
{
    __m512 sum[SCORES];
    for (size_t i = 0; i < SCORES; i++)
        sum[i] = _mm512_setzero_ps();
    for (size_t j = 0; j < rows_of(s).d; j += LANES) {
        const grids grid = grids_at(s, block, j);
        for (size_t i = 0; i < nq; i++) {
            const __m512 x = _mm512_maskz_loadu_ps(channels(s, j), q + i * s->base.d + j);
            _mm512_storeu_ps(folded + i * wide_of(s->base.d) + j, _mm512_mul_ps(x, grid.scale));
            sum[i] = _mm512_fmadd_ps(x, grid.zero, sum[i]);
        }
    }
    _mm_storeu_ps(zero, lanes_sums(sum[0], sum[1], sum[2], sum[3]));
}

LANES_INLINE void score_few(const kivi *s, const lanes *p, const float *q, size_t nq, float *dot, size_t n, const workspace *w)
{
    const rows r = rows_of(s);
    float zero[SCORES];
    fold(s, p->code, q, nq, w->floats, zero);
    rows_score_few(&r, floats_of, w->floats, wide_of(s->base.d), nq, w->bytes, p->n, dot, n);
    for (size_t i = 0; i < nq; i++)
        for (size_t t = 0; t < p->n; t++)
            dot[i * n + t] += zero[i];
}

/* acc [nq][d] += scale * (sum of weight * code) + zero * (sum of weight). */
LANES_INLINE void mix_few(const kivi *s, const lanes *p, const float *weight, size_t nq, float *acc, size_t n, const workspace *w)
{
    const rows r = rows_of(s);
    const size_t d = s->base.d, wide = wide_of(d);
    float total[MIXES] = { 0 };
    memset(w->floats, 0, nq * wide * sizeof *w->floats);
    rows_mix_few(&r, floats_of, weight, n, nq, w->bytes, p->n, w->floats, wide);
    for (size_t i = 0; i < nq; i++)
        for (size_t t = 0; t < p->n; t++)
            total[i] += weight[i * n + t];
    for (size_t j = 0; j < d; j += LANES) {
        const grids grid = grids_at(s, p->code, j);
        for (size_t i = 0; i < nq; i++) {
            const __m512 before = _mm512_maskz_loadu_ps(channels(s, j), acc + i * d + j);
            const __m512 zeros = _mm512_fmadd_ps(grid.zero, _mm512_set1_ps(total[i]), before);
            const __m512 sum = _mm512_fmadd_ps(grid.scale, _mm512_loadu_ps(w->floats + i * wide + j), zeros);
            _mm512_mask_storeu_ps(acc + i * d + j, channels(s, j), sum);
        }
    }
}

/* ---- Ops by channel ------------------------------------------------------------------------------------- */

/* Heads of sixteen channels of a block, as affine_encode_group has them: minima and maxima by its comparisons and in its order. */
LANES_INLINE __m512i heads_of(const kivi *s, const float *x, size_t j)
{
    const __mmask16 some = channels(s, j);
    const __m512d levels = _mm512_set1_pd((double)((1u << s->base.b) - 1));
    const __m512 most_half = _mm512_set1_ps(65504);
    __m512 least = _mm512_maskz_loadu_ps(some, x + j), most = least, finite = _mm512_setzero_ps();
    for (size_t t = 0; t < s->base.g; t++) {
        const __m512 y = _mm512_maskz_loadu_ps(some, x + t * s->base.d + j);
        least = _mm512_min_ps(y, least), most = _mm512_max_ps(y, most);
        finite = _mm512_add_ps(finite, _mm512_mul_ps(y, _mm512_setzero_ps()));         /* NaN as soon as one is not finite */
    }
    const lanes_double min = lanes_widen(least), max = lanes_widen(most);
    const lanes_double step = { _mm512_div_pd(_mm512_sub_pd(max.low, min.low), levels),
                                _mm512_div_pd(_mm512_sub_pd(max.high, min.high), levels) };
    const __m512 zero = _mm512_max_ps(_mm512_min_ps(least, most_half), _mm512_sub_ps(_mm512_setzero_ps(), most_half));
    const __m256i halves[2] = {
        _mm512_cvtps_ph(_mm512_min_ps(lanes_narrow(step), most_half), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
        _mm512_cvtps_ph(zero, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
    };
    const __m512i heads = _mm512_or_si512(_mm512_cvtepu16_epi32(halves[0]), _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves[1]), 16));
    return _mm512_mask_mov_epi32(heads, _mm512_cmp_ps_mask(finite, finite, _CMP_UNORD_Q), _mm512_set1_epi32(0x7e007e00));
}

static void encode_block(const kivi *s, const float *x, uint8_t *block, const workspace *w)
{
    const size_t d = s->base.d;
    const float levels = (float)((1u << s->base.b) - 1);
    float *scale = w->floats, *zero = scale + wide_of(d);
    for (size_t j = 0; j < d; j += LANES) {
        _mm512_mask_storeu_epi32(block + j * sizeof(affine_head), channels(s, j), heads_of(s, x, j));
        const grids grid = grids_at(s, block, j);
        _mm512_storeu_ps(scale + j, grid.scale);
        _mm512_storeu_ps(zero + j, grid.zero);
    }
    for (size_t t = 0; t < s->base.g; t++, x += d) {
        for (size_t j = 0; j < d; j += LANES) {
            const __m512i codes = groups_quantize(_mm512_maskz_loadu_ps(channels(s, j), x + j), _mm512_loadu_ps(scale + j),
                                                  _mm512_loadu_ps(zero + j), levels);
            _mm_storeu_si128((__m128i *)(void *)(w->bytes + j), _mm512_cvtepi32_epi8(codes));
        }
        widths[s->base.b].pack(w->bytes, d, block + heads_bytes(s) + t * row_bytes(s));
    }
}

static void channel_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const kivi *s = state;
    const workspace w = workspace_of(s, scratch);
    (void)first;
    for (size_t done = 0; done < n; done += s->base.g, code += block_bytes(s))
        encode_block(s, x + done * s->base.d, code, &w);
}

static void channel_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const kivi *s = state;
    const workspace w = workspace_of(s, scratch);
    const size_t d = s->base.d, wide = wide_of(d);
    for (size_t done = 0; done < n; ) {
        const lanes p = tile_after(s, done, code, first, n, w.bytes);
        for (size_t j = 0; j < d; j += LANES) {
            const grids grid = grids_at(s, p.code, j);
            for (size_t t = 0; t < p.n; t++) {
                const __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)(w.bytes + t * wide + j));
                const __m512 level = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
                _mm512_mask_storeu_ps(x + (done + t) * d + j, channels(s, j),
                                      _mm512_add_ps(_mm512_mul_ps(grid.scale, level), grid.zero));
            }
        }
        done += p.n;
    }
}

static void channel_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                          void *scratch)
{
    const kivi *s = state;
    const workspace w = workspace_of(s, scratch);
    const float *q = prepared;
    for (size_t done = 0; done < n; ) {
        const lanes p = tile_after(s, done, code, first, n, w.bytes);
        size_t i = 0;
        for (; i + 4 <= nq; i += 4)
            score_few(s, &p, q + i * s->base.d, 4, dot + i * n + done, n, &w);
        for (; i + 2 <= nq; i += 2)
            score_few(s, &p, q + i * s->base.d, 2, dot + i * n + done, n, &w);
        for (; i < nq; i++)
            score_few(s, &p, q + i * s->base.d, 1, dot + i * n + done, n, &w);
        done += p.n;
    }
}

static void channel_mix(const void *state, const float *weight, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                        void *scratch)
{
    const kivi *s = state;
    const workspace w = workspace_of(s, scratch);
    for (size_t done = 0; done < n; ) {
        const lanes p = tile_after(s, done, code, first, n, w.bytes);
        size_t i = 0;
        for (; i + 8 <= nq; i += 8)
            mix_few(s, &p, weight + i * n + done, 8, acc + i * s->base.d, n, &w);
        for (; i + 4 <= nq; i += 4)
            mix_few(s, &p, weight + i * n + done, 4, acc + i * s->base.d, n, &w);
        for (; i + 2 <= nq; i += 2)
            mix_few(s, &p, weight + i * n + done, 2, acc + i * s->base.d, n, &w);
        for (; i < nq; i++)
            mix_few(s, &p, weight + i * n + done, 1, acc + i * s->base.d, n, &w);
        done += p.n;
    }
}

/* ---- Ops along a token, and what it is ------------------------------------------------------------------- */

GROUPS_PLAIN_OPS(groups_ops_of)

static bool form(const kvant_shape *shape, const kvant_args *args, kvant_form *f)
{
    if (!groups_kivi_by_token(&quantizer_kivi, shape, args)) {
        f->ops.encode = channel_encode, f->ops.decode = channel_decode, f->ops.score = channel_score, f->ops.mix = channel_mix;
        f->scratch = workspace_bytes(shape->dim);
        return cpu_avx512();
    }
    f->ops.encode = encode, f->ops.decode = decode, f->ops.score = score, f->ops.mix = mix;
    return cpu_avx512() && groups_fit(shape->dim, (uint32_t)kvant_arg(&quantizer_kivi, "group_size", args));
}

/* products, by channel, with u = 2^-24 and z the block's zeros: a score is off by (d / 16 + 9) u times sum |q| (scale * code + |z|)
 * at most, which is at most |q| (|x| + 2 |z|). Each lane of sixteen is a sum of d / 16 fused products, four additions join lanes, one
 * adds <q, z>, and q * scale and, twice, decode's x are rounded. In every dimension that is within 2 (d + 4) u |q| |x|, which any
 * order of summation takes, and 1e-5 while |z| <= 9 |x|; of a Gaussian |z| is 2 |x| for 32 tokens, 3.2 |x| for 1024. A mix sums up to
 * m = 64 tokens of a block in a row, and then such sums: off by (m + n / m + 6) u times sum |w| (|x_k| + 2 |z_k|), which the same
 * takes, with d + n for d, while |z_k| <= 1.7 |x|. Of shorter vectors more is lost, as in scalar code: there z cancels, and
 * checkkernels takes |x| + 2 |z| for |x|. */
const kvant_kernel kernel_kivi_avx512 = {
    .quantizer = "kivi", .target = "avx512", .form = form, .products = 1e-5, .codes = true,
    .reason = "fused multiply-adds and another order of summation in score and mix; encode and decode are exact"
};
