/* units_avx512.h - codes in units of 32 vectors as several kernels have them: where things lie, and scores and mixes of all their
 * parts. A code is a norm, or two, and one to three parts: so many bits of each of `dim` numbers, which stand for levels of a table.
 *
 * A unit is the norms of its 32 vectors, their second norms if they have some, then one part after the other, laid out as
 * packed_avx512.h says. What a part stands for is norm * factor * step * level, or that times the second norm; parts may share their
 * codes (a sum of two tables) and their query. Widths are constants where the ops are made, so that each op is compiled for its
 * own. */
#ifndef KVANT_UNITS_AVX512_H
#define KVANT_UNITS_AVX512_H

#include "metal/x86/words_avx512.h"

typedef struct {
    uint32_t dim;                          /* multiple of 32 */
    size_t at;                             /* bytes from a unit's beginning to the part's codes */
    size_t query, acc;                     /* bytes from a prepared query's beginning, floats from an accumulator's */
    double query_allowed, weight_allowed;  /* shares of |q|^2 and of the sum of w^2 that roundings may have */
    float factor;
    packed_levels levels;                  /* at 8 bits codes are their own levels, code - 127.5, times step */
} units_part;

enum { UNITS_PARTS = 3, AHEAD = 2 /* units that are asked for before they are read: one is too late, four crowd the first cache */ };

typedef struct {
    uint32_t norm;                         /* bytes */
    size_t bytes;                          /* of a unit */
    size_t query, acc;                     /* bytes of a prepared query, floats of an accumulator */
    units_part part[UNITS_PARTS];
} units;

/* The parts' widths, 0 where there is none, and whether the second part goes by the second norm too. */
typedef struct { unsigned bits0, bits1, bits2; bool second1; } units_form;

/* Sixteen lanes of the vectors of a range, those of one group of a unit. */
typedef struct { const uint8_t *unit; size_t group, lane, n; } span;

/* The next vectors of one group of 16 after `done` of a range that begins at `first`, whose unit `code` points to. */
static inline span span_after(const units *t, const uint8_t *code, size_t first, size_t done, size_t n)
{
    const size_t at = first % UNIT + done, lane = at % LANES, left = n - done, room = LANES - lane;
    return (span) { code + at / UNIT * t->bytes, at % UNIT / LANES, lane, left < room ? left : room };
}

/* A range's own memory: only encode writes to it. */
static inline uint8_t *units_planes(const units_part *p, const uint8_t *unit) { return (uint8_t *)(uintptr_t)unit + p->at; }
static inline uint8_t *units_group(const units_part *p, unsigned b, const span *s)
{
    return units_planes(p, s->unit) + s->group * packed_bytes(p->dim, b, LANES);
}
static inline uint8_t *units_norms(const units *t, const span *s, bool second)
{
    return (uint8_t *)(uintptr_t)s->unit + ((second ? UNIT : 0) + s->group * LANES) * t->norm;
}

/* ---- Setting up --------------------------------------------------------------------------------------- */

/* The table of that name in a state; NULL where there is none. */
static inline const float *units_table(const kvant_parts *parts, const void *state, const char *name)
{
    for (size_t i = 0; i < parts->n; i++)
        if (!strcmp(parts->part[i].name, name))
            return (const float *)(const void *)((const char *)state + parts->part[i].offset);
    return NULL;
}

/* Bytes of a part's prepared query; words: words take the place of two planes of bytes, and the rotated query itself follows. */
static inline size_t units_query_bytes(size_t dim, bool words)
{
    return packed_query_bytes(dim) + (words ? dim * sizeof(float) : 0);
}

/* A query's byte is off by half a step at most, and so the query by sqrt(3 query_allowed) of its length, .0147 of it: few bits
 * would allow more on average, but one query may be all worst cases. Gaussian ones of up to 3.7 standard deviations still have
 * one plane. */
#define UNITS_QUERY 7.2e-5

/* A part of b bits, placed behind what there is: t->bytes begins with the norms' (UNIT * norm each), and t->query and t->acc with 0;
 * where the part has a query and sums of its own, the caller adds theirs. */
static inline units_part *units_add(units *t, size_t part, size_t dim, unsigned b, double query_allowed, double weight_allowed)
{
    units_part *p = &t->part[part];
    *p = (units_part) { .dim = (uint32_t)dim, .at = t->bytes, .query = t->query, .acc = t->acc,
                        .query_allowed = fmin(query_allowed, UNITS_QUERY), .weight_allowed = weight_allowed, .factor = 1 };
    t->bytes += packed_bytes(dim, b, UNIT);
    return p;
}

/* ---- Codes -------------------------------------------------------------------------------------------- */

/* A span's codes, index [dim][16], to a unit and back; loading fills all lanes of the group. */
LANES_INLINE void units_store(const units_part *p, unsigned b, bool values, const span *s, const int32_t *index)
{
    const __mmask16 lanes = lanes_mask(s->lane, s->n);
    if (values)
        packed_value_store(units_planes(p, s->unit), index, p->dim, b, s->group, lanes);
    else
        packed_key_store(units_group(p, b, s), index, p->dim, b, lanes);
}

LANES_INLINE void units_load(const units_part *p, unsigned b, bool values, const span *s, int32_t *index)
{
    if (values)
        packed_value_load(units_planes(p, s->unit), p->dim, b, s->group, index);
    else
        packed_key_load(units_group(p, b, s), p->dim, b, index);
}

/* Codes of the first n vectors, [n][dim]: sym = sym * 2^b + code, for codes of several parts. */
LANES_INLINE void units_symbols(const units *t, const units_part *p, unsigned b, bool values, const uint8_t *code, size_t n,
                                uint16_t *sym)
{
    span s;
    for (size_t done = 0; done < n; done += s.n) {
        _Alignas(64) int32_t index[LANES * PACKED_DIM_MAX];
        s = span_after(t, code, 0, done, n);
        units_load(p, b, values, &s, index);
        for (size_t v = 0; v < s.n; v++)
            for (size_t d = 0; d < p->dim; d++, sym++)
                *sym = (uint16_t)((unsigned)*sym << b | (unsigned)index[d * LANES + s.lane + v]);
    }
}

/* ---- Queries ------------------------------------------------------------------------------------------- */

/* Rows y [n][dim] as bytes, or as words and floats, to queries from `prepared` on. */
LANES_INLINE void units_prepare(const units *t, const units_part *p, bool words, const float *y, size_t n, void *prepared)
{
    for (size_t i = 0; i < n; i++, y += p->dim) {
        char *to = (char *)prepared + i * t->query + p->query;
        if (!words) {
            packed_query(y, p->dim, p->query_allowed, (packed_query_head *)(void *)to);
            continue;
        }
        words_query(y, p->dim, (packed_query_head *)(void *)to);
        memcpy(to + packed_query_bytes(p->dim), y, p->dim * sizeof *y);
    }
}

/* Rotates up to 16 vectors q; returns rows in scratch, which holds two blocks. */
LANES_INLINE float *units_rotate(const lanes_rotation *r, const float *table, const float *q, size_t n, float *scratch)
{
    const size_t dim = r->dim;
    if (n <= LANES_FEW) {
        lanes_rotate_few(r, table, false, q, n, scratch);
        return scratch;
    }
    float *other = scratch + dim * LANES;
    lanes_load(q, 0, n, dim, scratch);
    float *block = lanes_forward(r, table, false, scratch, other);
    float *rows = block == scratch ? other : scratch;
    lanes_store(block, 0, n, dim, rows);
    return rows;
}

/* The op `query` of one part on rotated vectors; scratch holds two blocks. */
LANES_INLINE void units_query(const units *t, const lanes_rotation *r, const float *table, bool words, const float *q, size_t nq,
                              void *prepared, float *scratch)
{
    for (size_t i = 0, step; i < nq; i += step) {
        step = nq - i < LANES ? nq - i : LANES;
        const float *rows = units_rotate(r, table, q + i * r->dim, step, scratch);
        units_prepare(t, &t->part[0], words, rows, step, (char *)prepared + i * t->query);
    }
}

/* ---- Score ---------------------------------------------------------------------------------------------- */

/* Products of nq queries, at most 8, with one part of two groups, norms apart; planes: of any of the queries, 1 for more than four.
 * words: centroids as words, NULL where levels are bytes. */
LANES_INLINE void units_products(const units *t, const units_part *p, unsigned b, const words_book *words, const span *s,
                                 const char *prepared, size_t nq, size_t planes, __m512 (*out)[2])
{
    const uint8_t *group[2] = { units_group(p, b, &s[0]), units_group(p, b, &s[1]) };
    const packed_query_head *q[8];
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        q[i] = (const packed_query_head *)(const void *)(prepared + i * t->query + p->query);
    if (words)
        words_score(words->form, nq)(group, p->dim, words, AHEAD * t->bytes, q, out);
    else
        packed_score(b, nq, planes)(group, p->dim, &p->levels, AHEAD * t->bytes, q, out);
    /* codes less 128 were summed: half a step of each coordinate is missing */
    for (size_t i = 0; i < nq && b == 8 && !words; i++) {
        const float sum = -((q[i]->planes == 2 ? 256.f : 1.f) * (float)q[i]->bias[0] + (float)q[i]->bias[1]) / 128;
        LANES_UNROLL
        for (size_t g = 0; g < 2; g++)
            out[i][g] = _mm512_add_ps(out[i][g], _mm512_set1_ps(q[i]->scale * sum / 2));
    }
}

/* nq queries against the vectors of two groups; the dots go where the spans' vectors are in [.][n]. */
LANES_INLINE void units_score_groups(const units *t, units_form f, const words_book *words, const char *prepared, size_t nq,
                                     size_t planes, const span *s, const size_t *at, float *dot, size_t n)
{
    __m512 out[8][2], more[8][2];
    const units_part *p = t->part;
    units_products(t, &p[0], f.bits0, words, s, prepared, nq, planes, out);
    const float scale0 = words ? 1 : p[0].levels.step * p[0].factor;
    LANES_UNROLL
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (size_t g = 0; g < 2; g++)
            out[i][g] = _mm512_mul_ps(out[i][g], _mm512_set1_ps(scale0));
    if (f.bits1) {
        units_products(t, &p[1], f.bits1, NULL, s, prepared, nq, planes, more);
        LANES_UNROLL
        for (size_t g = 0; g < 2; g++) {
            __m512 scale = _mm512_set1_ps(p[1].levels.step * p[1].factor);
            if (f.second1)
                scale = _mm512_mul_ps(scale, lanes_load_norms(units_norms(t, &s[g], true), t->norm));
            LANES_UNROLL
            for (size_t i = 0; i < nq; i++)
                out[i][g] = _mm512_fmadd_ps(more[i][g], scale, out[i][g]);
        }
    }
    if (f.bits2) {
        units_products(t, &p[2], f.bits2, NULL, s, prepared, nq, planes, more);
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)
            LANES_UNROLL
            for (size_t g = 0; g < 2; g++)
                out[i][g] = _mm512_fmadd_ps(more[i][g], _mm512_set1_ps(p[2].levels.step * p[2].factor), out[i][g]);
    }
    LANES_UNROLL
    for (size_t g = 0; g < 2; g++) {
        const __m512 norm = lanes_load_norms(units_norms(t, &s[g], false), t->norm);
        LANES_UNROLL
        for (size_t i = 0; i < nq; i++)                        /* lanes begin before the first of the range: masked, not written */
            _mm512_mask_storeu_ps((float *)((uintptr_t)(dot + i * n + at[g]) - s[g].lane * sizeof(float)),
                                  lanes_mask(s[g].lane, s[g].n), _mm512_mul_ps(out[i][g], norm));
    }
}

/* Two groups at a time; the last may stand alone, and is then its own neighbour, of which nothing is written. */
LANES_INLINE void units_score_queries(const units *t, units_form f, const words_book *words, const char *prepared, size_t nq,
                                      size_t planes, const uint8_t *code, size_t first, size_t n, float *dot)
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
        units_score_groups(t, f, words, prepared, nq, planes, s, at, dot, n);
    }
}

/* The planes that n queries need, of any of their parts. */
static inline size_t units_planes_of(const units *t, units_form f, const char *prepared, size_t n)
{
    const size_t parts = f.bits2 ? 3 : f.bits1 ? 2 : 1;
    size_t most = 1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < parts; k++) {
            const size_t planes = ((const packed_query_head *)(const void *)(prepared + i * t->query + t->part[k].query))->planes;
            most = planes > most ? planes : most;
        }
    return most;
}

/* The op `score`. */
LANES_INLINE void units_score(const units *t, units_form f, const words_book *words, const void *prepared, size_t nq,
                              const uint8_t *code, size_t first, size_t n, float *dot)
{
    for (size_t i = 0, step; i < nq; i += step, dot += step * n) {
        const char *q = (const char *)prepared + i * t->query;
        const size_t planes = units_planes_of(t, f, q, nq - i < 8 ? nq - i : 8);
        step = nq - i >= 8 && planes == 1 ? 8 : nq - i >= 4 ? 4 : nq - i >= 2 ? 2 : 1;     /* registers for four queries' two planes */
        if (step == 8)
            units_score_queries(t, f, words, q, 8, 1, code, first, n, dot);
        else if (step == 4 && planes == 2)
            units_score_queries(t, f, words, q, 4, 2, code, first, n, dot);
        else if (step == 4)
            units_score_queries(t, f, words, q, 4, 1, code, first, n, dot);
        else if (step == 2 && planes == 2)
            units_score_queries(t, f, words, q, 2, 2, code, first, n, dot);
        else if (step == 2)
            units_score_queries(t, f, words, q, 2, 1, code, first, n, dot);
        else if (planes == 2)
            units_score_queries(t, f, words, q, 1, 2, code, first, n, dot);
        else
            units_score_queries(t, f, words, q, 1, 1, code, first, n, dot);
    }
}

/* ---- Mix ------------------------------------------------------------------------------------------------ */

/* A chunk: up to UNITS units, of which a range of vectors is mixed. */
enum { BLOCKS = CHUNK / LANES };
typedef struct { const uint8_t *unit[UNITS]; size_t skip, n; __m512 norm[BLOCKS], second[BLOCKS]; __mmask16 lanes[BLOCKS]; } chunk;

LANES_INLINE void chunk_open(const units *t, bool second, chunk *c)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        const size_t at = i * LANES, begin = at > c->skip ? at : c->skip,
            end = at + LANES < c->skip + c->n ? at + LANES : c->skip + c->n;
        const span s = { c->unit[i / 2], i % 2, 0, LANES };
        c->lanes[i] = begin < end ? lanes_mask(begin - at, end - begin) : 0;
        c->norm[i] = c->lanes[i] ? lanes_load_norms(units_norms(t, &s, false), t->norm) : _mm512_setzero_ps();
        if (second)
            c->second[i] = c->lanes[i] ? lanes_load_norms(units_norms(t, &s, true), t->norm) : _mm512_setzero_ps();
    }
}

/* Weights w [n] times norms, zero where the range has no vector; the largest of what they are as integers is kept in `bits`, which for
 * one that is not finite or negative is above FLT_MAX. */
LANES_INLINE void chunk_weights(const chunk *c, const float *w, __m512 x[BLOCKS], __m512i *bits)
{
    const float *at = (const float *)((uintptr_t)w - c->skip * sizeof(float));         /* masked: not read before w */
    LANES_UNROLL
    for (int i = 0; i < BLOCKS; i++) {
        const float *from = (const float *)((uintptr_t)at + (uintptr_t)i * 64);
        x[i] = _mm512_maskz_mul_ps(c->lanes[i], _mm512_maskz_loadu_ps(c->lanes[i], from), c->norm[i]);
        *bits = _mm512_max_epu32(*bits, _mm512_castps_si512(x[i]));
    }
}

/* Those of one sign, as magnitudes. */
LANES_INLINE void chunk_part(const __m512 x[BLOCKS], bool negative, __m512 part[BLOCKS])
{
    for (int i = 0; i < BLOCKS; i++) {
        const __m512 y = negative ? _mm512_sub_ps(_mm512_setzero_ps(), x[i]) : x[i];
        part[i] = _mm512_max_ps(y, _mm512_setzero_ps());
    }
}

/* One part of a chunk, by its weights as words. */
LANES_INLINE void units_mix_words(const units *t, const units_part *p, const words_book *words, const chunk *c,
                                  const __m512 (*x)[BLOCKS], size_t nq, float *acc)
{
    const uint8_t *planes[UNITS];
    for (size_t u = 0; u < UNITS; u++)
        planes[u] = c->unit[u] ? units_planes(p, c->unit[u]) : NULL;
    words_mix(words->form, nq)(planes, p->dim, words, AHEAD * t->bytes, x, acc, t->acc);
}

/* One part of a chunk, by its weights as bytes. */
LANES_INLINE void units_mix_part(const units *t, const units_part *p, unsigned b, const chunk *c, const packed_weights *w, size_t nq,
                                 float *acc)
{
    const uint8_t *planes[UNITS];
    const float step = p->levels.step * p->factor;
    const size_t ahead = AHEAD * t->bytes;
    uint32_t n_planes = 1;
    for (size_t u = 0; u < UNITS; u++)
        planes[u] = c->unit[u] ? units_planes(p, c->unit[u]) : NULL;
    for (size_t i = 0; i < nq; i++)
        n_planes = w[i].planes > n_planes ? w[i].planes : n_planes;
    acc += p->acc;
    if (n_planes == 1)
        packed_mix(b, nq, 1)(planes, p->dim, &p->levels, step, ahead, w, acc, t->acc);
    else                                                       /* registers for four queries' planes */
        for (size_t i = 0; i < nq; i += 4)
            packed_mix(b, nq < 4 ? nq : 4, 2)(planes, p->dim, &p->levels, step, ahead, w + i, acc + i * t->acc, t->acc);
    for (size_t i = 0; i < nq; i++)
        for (uint32_t k = 0; k < w[i].n_more; k++)
            packed_add(b)(planes[w[i].at[k] / UNIT], p->dim, &p->levels, w[i].at[k] % UNIT, w[i].more[k] * step, acc + i * t->acc);
}

/* At 8 bits codes less 128 were mixed: half a step of each vector is missing. */
LANES_INLINE void units_mix_half(const units_part *p, const __m512 x[BLOCKS], float *acc)
{
    __m512 all = x[0];
    for (int i = 1; i < BLOCKS; i++)
        all = _mm512_add_ps(all, x[i]);
    const float sum = _mm512_reduce_add_ps(all);
    const __m512 half = _mm512_set1_ps(.5f * p->levels.step * p->factor * sum);
    for (size_t d = 0; d < p->dim; d += LANES)
        _mm512_storeu_ps(acc + d, _mm512_add_ps(_mm512_loadu_ps(acc + d), half));
}

/* Weights that attention does not have: both signs, one after the other; what is not finite makes all NaN. */
static __attribute__((noinline)) void units_weigh_signs(const units_part *p, const __m512 x[BLOCKS], bool negative,
                                                        packed_weights *out)
{
    __m512 part[1][BLOCKS];
    __mmask16 wrong = 0;
    for (int i = 0; i < BLOCKS; i++)
        wrong |= _mm512_cmp_ps_mask(_mm512_abs_ps(x[i]), _mm512_set1_ps(FLT_MAX), _CMP_NLE_UQ);
    chunk_part(x, negative, part[0]);
    packed_weigh((const __m512 (*)[BLOCKS])part, 1, (float)p->weight_allowed, out);
    out->scale = wrong ? NAN : negative ? -out->scale : out->scale;
    for (uint32_t k = 0; k < out->n_more; k++)
        out->more[k] = negative ? -out->more[k] : out->more[k];
}

/* Parts of a chunk that share their weights x [nq][BLOCKS]; `good`: these are finite and none is negative. bits1 and bits2 may be
 * 0. */
LANES_INLINE void units_mix_parts(const units *t, const units_part *p, unsigned bits0, unsigned bits1, unsigned bits2, const chunk *c,
                                  const __m512 (*x)[BLOCKS], bool good, size_t nq, float *acc)
{
    packed_weights bytes[8];
    for (int negative = 0; negative < (good ? 1 : 2); negative++) {
        if (good)
            packed_weigh(x, nq, (float)p->weight_allowed, bytes);
        for (size_t i = 0; i < nq && !good; i++)
            units_weigh_signs(p, x[i], negative, &bytes[i]);
        units_mix_part(t, p, bits0, c, bytes, nq, acc);
        if (bits1)
            units_mix_part(t, p + 1, bits1, c, bytes, nq, acc);
        if (bits2)
            units_mix_part(t, p + 2, bits2, c, bytes, nq, acc);
    }
    for (size_t i = 0; i < nq && bits0 == 8; i++)
        units_mix_half(p, x[i], acc + i * t->acc);
}

/* nq queries, a constant of at most 8. */
LANES_INLINE void units_mix_chunk(const units *t, units_form f, const words_book *words, const chunk *at, const float *w,
                                  size_t stride, size_t nq, float *acc)
{
    __m512 x[8][BLOCKS];
    __m512i bits = _mm512_setzero_si512();
    for (size_t i = 0; i < nq; i++)
        chunk_weights(at, w + i * stride, x[i], &bits);
    const bool good = !_mm512_cmp_epu32_mask(bits, _mm512_set1_epi32(0x7f7fffff), _MM_CMPINT_NLE);
    if (words) {
        units_mix_words(t, t->part, words, at, (const __m512 (*)[BLOCKS])x, nq, acc);
        return;
    }
    units_mix_parts(t, t->part, f.bits0, f.second1 ? 0 : f.bits1, f.bits2, at, (const __m512 (*)[BLOCKS])x, good, nq, acc);
    if (!f.second1)
        return;
    for (size_t i = 0; i < nq; i++)
        LANES_UNROLL
        for (int k = 0; k < BLOCKS; k++)
            x[i][k] = _mm512_mul_ps(x[i][k], at->second[k]);
    units_mix_parts(t, t->part + 1, f.bits1, 0, 0, at, (const __m512 (*)[BLOCKS])x, good, nq, acc);
}

/* The op `mix`. */
LANES_INLINE void units_mix(const units *t, units_form f, const words_book *words, const float *w, size_t nq, const uint8_t *code,
                            size_t first, size_t n, float *acc)
{
    for (size_t done = 0; done < n;) {
        const size_t from = first % UNIT + done;
        chunk at;                                              /* chunk_open sets the rest: to clear a kilobyte would take a while */
        at.skip = from % UNIT;
        at.n = CHUNK - at.skip < n - done ? CHUNK - at.skip : n - done;
        for (size_t u = 0; u < UNITS; u++)
            at.unit[u] = u * UNIT < at.skip + at.n ? code + (from / UNIT + u) * t->bytes : NULL;
        chunk_open(t, f.second1, &at);
        size_t i = 0;
        for (; i + 8 <= nq; i += 8)
            units_mix_chunk(t, f, words, &at, w + i * n + done, n, 8, acc + i * t->acc);
        for (; i + 4 <= nq; i += 4)
            units_mix_chunk(t, f, words, &at, w + i * n + done, n, 4, acc + i * t->acc);
        for (; i + 2 <= nq; i += 2)
            units_mix_chunk(t, f, words, &at, w + i * n + done, n, 2, acc + i * t->acc);
        for (; i < nq; i++)
            units_mix_chunk(t, f, words, &at, w + i * n + done, n, 1, acc + i * t->acc);
        done += at.n;
    }
}

#endif
