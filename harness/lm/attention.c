/* attention.c - decode: score and mix over tiles of codes with a running softmax; prefill: codes expanded once, then products.
 * A position has two forms only while it waits, or in its own pass where that sees it raw: f16 for some queries, codes for others. */
#include "harness/lm/attention.h"

#include "harness/lm/gemm.h"
#include "harness/lm/vecmath.h"
#include "harness/util.h"

#include <math.h>
#include <string.h>

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }
static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }
static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Takes the next aligned piece of a scratch area. */
static void *take(char **at, size_t bytes)
{
    void *p = *at;
    *at += aligned(bytes);
    return p;
}

/* ---- Decode ----------------------------------------------------------------------------------- */

/* Does a step decode tiles: to rotate keys, or to multiply what it decoded? */
static bool expands(const kvcache_rule *key, const kvcache_rule *value)
{
    return key->unrotated || key->decoded || value->decoded;
}

/* Floats per query that values in codes are summed in: the codec's own domain, or that of decoded vectors. */
static size_t sums_of(const kvcache_rule *value) { return value->decoded ? value->codec->shape.dim : value->codec->acc; }

size_t attention_decode_scratch(const kvcache_codecs *codecs, uint32_t group)
{
    size_t most = 0;
    const size_t dim = codecs->shape.head_dim;
    for (uint32_t layer = 0; layer < codecs->shape.n_layer; layer++)
        for (uint32_t head = 0; head < codecs->shape.n_kv_head; head++) {
            const kvcache_rule k = kvcache_rule_of(codecs, layer, head, KVANT_KEY),
                v = kvcache_rule_of(codecs, layer, head, KVANT_VALUE);
            const size_t waiting = max_size(kvcache_waiting_max(&k, 1), kvcache_waiting_max(&v, 1)) * dim;
            const size_t rows = expands(&k, &v) ? KVCACHE_TILE * dim : 0;
            const size_t bytes = aligned(group * k.codec->query) + aligned(group * sums_of(&v) * sizeof(float)) +
                                 aligned(rows * sizeof(float)) + aligned(waiting * sizeof(float));
            most = max_size(most, bytes);
        }
    return kvcache_scratch(codecs) + most + aligned(group * codecs->f16->query) + aligned(group * codecs->f16->acc * sizeof(float)) +
           aligned(group * dim * sizeof(float)) + aligned(group * KVCACHE_TILE * sizeof(float)) + 2 * aligned(group * sizeof(float)) +
           2 * aligned(kvant_bytes(codecs->f16, 1));
}

/* Rows [n][dim] of positions `first` and on. */
static void rotate_rows(const attention_rope *rope, float *rows, uint32_t first, uint32_t n, size_t dim)
{
    const size_t pairs = rope->width / 2;
    for (uint32_t i = 0; i < n; i++) {
        const size_t at = (size_t)(first + i) * pairs;
        vec_rotate(rows + i * dim, rope->cos + at, rope->sin + at, rope->width, dim, rope->half, 1);
    }
}

/* Lets the last position of the runs be its f16 form, which is made from x into `code`; returns how many runs there are then. */
static size_t see_raw(const kvant_codec *f16, const float *x, uint8_t *code, kvcache_run *runs, size_t n, void *ops)
{
    kvcache_run *last = &runs[n - 1];
    const uint32_t position = last->position + last->n - 1;
    kvant_encode(f16, x, 0, 1, code, ops);
    n -= --last->n == 0;
    runs[n++] = (kvcache_run){ f16, code, 0, 1, position };
    return n;
}

/* A running softmax over tiles, for `group` queries: the weights seen so far are relative to exp(top). */
typedef struct { float *top, *sum; float *acc_codes, *acc_f16; size_t n_codes, n_f16; } running;

/* Turns the scores [group][n] of a tile into weights and rescales what was mixed before when a new maximum appears. */
static void softmax_tile(running *r, uint32_t group, float *scores, uint32_t n)
{
    enum { ROWS = 16 };
    for (uint32_t first = 0; first < group; first += ROWS) {
        const uint32_t rows = min_u32(ROWS, group - first);
        float *s = scores + (size_t)first * n, tile_top[ROWS];
        double sum[ROWS];
        vec_max_rows(s, rows, n, tile_top);
        for (uint32_t g = first; g < first + rows; g++)
            if (tile_top[g - first] > r->top[g]) {
                const float shrink = expf(r->top[g] - tile_top[g - first]);
                for (size_t i = 0; i < r->n_codes; i++)
                    r->acc_codes[g * r->n_codes + i] *= shrink;
                for (size_t i = 0; i < r->n_f16; i++)
                    r->acc_f16[g * r->n_f16 + i] *= shrink;
                r->sum[g] *= shrink;
                r->top[g] = tile_top[g - first];
            }
        vec_exp_rows(s, rows, n, r->top + first, sum);
        for (uint32_t g = 0; g < rows; g++)
            r->sum[first + g] += (float)sum[g];
    }
}

/* The run that holds a position, and how many of its tokens follow from there on. */
static const kvcache_run *run_at(const kvcache_run *runs, size_t n_runs, uint32_t position, uint32_t *left)
{
    for (size_t i = 0; i < n_runs; i++)
        if (position < runs[i].position + runs[i].n) {
            *left = runs[i].position + runs[i].n - position;
            return &runs[i];
        }
    return NULL;
}

/* Which forms a step meets: of the side's own codec, which reads codes; and of the f16 one. */
typedef struct { bool codes, halves; } forms;

static forms forms_of(const kvcache_run *runs, size_t n, const kvant_codec *f16)
{
    forms met = { false, false };
    for (size_t i = 0; i < n; i++)
        *(runs[i].codec == f16 ? &met.halves : &met.codes) = true;
    return met;
}

/* Ends a part of a decode step that is timed. */
static void lap(double *part, double *mark)
{
    const double now = seconds_now();
    *part += now - *mark;
    *mark = now;
}

void attention_decode(kvcache *cache, uint32_t layer, uint32_t head, const float *k, const float *v, const float *q, uint32_t group,
                      const attention_layer *of, float *out, void *scratch)
{
    const kvcache_codecs *codecs = kvcache_codecs_of(cache);
    const size_t dim = codecs->shape.head_dim;
    const kvcache_rule key_rule = kvcache_rule_in(cache, layer, head, KVANT_KEY),
        value_rule = kvcache_rule_in(cache, layer, head, KVANT_VALUE);
    const kvant_codec *kc = key_rule.codec, *vc = value_rule.codec, *f16 = codecs->f16;
    char *at = scratch;
    void *ops = take(&at, kvcache_scratch(codecs));
    void *query = take(&at, group * kc->query), *query_f16 = take(&at, group * f16->query);
    float *scores = take(&at, group * KVCACHE_TILE * sizeof *scores), *part = take(&at, group * dim * sizeof *part);
    running r = { .n_codes = sums_of(&value_rule), .n_f16 = f16->acc };
    r.top = take(&at, group * sizeof(float));
    r.sum = take(&at, group * sizeof(float));
    r.acc_codes = take(&at, group * r.n_codes * sizeof(float));
    r.acc_f16 = take(&at, group * f16->acc * sizeof(float));
    uint8_t *raw_key = take(&at, kvant_bytes(f16, 1)), *raw_value = take(&at, kvant_bytes(f16, 1));
    float *rows = expands(&key_rule, &value_rule) ? take(&at, KVCACHE_TILE * dim * sizeof *rows) : NULL;
    float *waiting = (float *)at;
    attention_split *split = of->split;
    const double begin = split ? seconds_now() : 0;
    double mark = begin, other = 0;
    kvcache_append(cache, layer, head, KVANT_KEY, k, dim, 1, false, key_rule.staged ? waiting : NULL, NULL, ops);
    kvcache_append(cache, layer, head, KVANT_VALUE, v, dim, 1, false, value_rule.staged ? waiting : NULL, NULL, ops);

    if (split)
        lap(&split->encode, &mark);
    kvcache_run key_runs[KVCACHE_RUNS + 1], value_runs[KVCACHE_RUNS + 1];
    const uint32_t length = kvcache_length(cache) + 1;
    size_t n_key = kvcache_decode_runs(cache, layer, head, KVANT_KEY, length, key_runs);
    size_t n_value = kvcache_decode_runs(cache, layer, head, KVANT_VALUE, length, value_runs);
    if (key_rule.raw)
        n_key = see_raw(f16, k, raw_key, key_runs, n_key, ops);
    if (value_rule.raw)
        n_value = see_raw(f16, v, raw_value, value_runs, n_value, ops);
    const forms keys = forms_of(key_runs, n_key, f16), values = forms_of(value_runs, n_value, f16);
    if (keys.codes && !key_rule.unrotated && !key_rule.decoded)
        kvant_query(kc, q, group, query, ops);
    if (keys.halves && !key_rule.unrotated)
        kvant_query(f16, q, group, query_f16, ops);
    memset(r.acc_codes, 0, group * r.n_codes * sizeof(float));
    memset(r.acc_f16, 0, group * r.n_f16 * sizeof(float));
    for (uint32_t g = 0; g < group; g++) {
        r.top[g] = -INFINITY;
        r.sum[g] = 0;
    }
    for (uint32_t position = kvcache_first_seen(&key_rule, length); position < length;) {
        uint32_t key_left = 0, value_left = 0;
        const kvcache_run *kr = run_at(key_runs, n_key, position, &key_left);
        const kvcache_run *vr = run_at(value_runs, n_value, position, &value_left);
        const uint32_t n = min_u32(KVCACHE_TILE, min_u32(key_left, value_left));
        const uint32_t first = kr->first + position - kr->position;
        if (key_rule.unrotated || (key_rule.decoded && kr->codec != f16)) {
            kvant_decode(kr->codec, kr->code, first, n, rows, ops);
            if (key_rule.unrotated)
                rotate_rows(&of->rope, rows, position, n, dim);
            gemm_small(true, false, group, n, dim, q, dim, rows, dim, scores, n);
        } else {
            kvant_score(kr->codec, kr->codec == f16 ? query_f16 : query, group, kr->code, first, n, scores, ops);
        }
        if (split)
            lap(&split->score, &mark);
        if (of->cap > 0)
            vec_soft_cap(scores, (size_t)group * n, of->cap);
        softmax_tile(&r, group, scores, n);
        if (split)
            lap(&other, &mark);
        const uint32_t from = vr->first + position - vr->position;
        if (value_rule.decoded && vr->codec != f16) {
            kvant_decode(vr->codec, vr->code, from, n, rows, ops);
            gemm_small(false, true, group, dim, n, scores, n, rows, dim, r.acc_codes, dim);
        } else {
            kvant_mix(vr->codec, scores, group, vr->code, from, n, vr->codec == f16 ? r.acc_f16 : r.acc_codes, ops);
        }
        position += n;
        if (split)
            lap(&split->mix, &mark);
    }
    memset(out, 0, group * dim * sizeof *out);
    for (int form = 0; form < 2; form++) {
        if (!(form ? values.halves : values.codes))
            continue;
        const float *sum = part;
        if (!form && value_rule.decoded)
            sum = r.acc_codes;
        else
            kvant_finish(form ? f16 : vc, form ? r.acc_f16 : r.acc_codes, group, part, ops);
        for (size_t i = 0; i < group * dim; i++)
            out[i] += sum[i];
    }
    for (uint32_t g = 0; g < group; g++)
        for (size_t i = 0; i < dim; i++)
            out[g * dim + i] /= r.sum[g];
    if (split) {
        lap(&split->mix, &mark);
        split->all += mark - begin;
    }
}

/* ---- Prefill --------------------------------------------------------------------------------- */

/* The first position whose codes a pass of tokens behind `length` decodes: the first that is seen, or the first that it codes. */
static uint32_t first_row(const kvcache_rule *rule, uint32_t length)
{
    return min_u32(kvcache_first_seen(rule, length + 1), kvcache_covered(rule, length));
}

size_t attention_side_rows(const kvcache_rule *rule, uint32_t length, uint32_t n)
{
    return (size_t)kvcache_covered(rule, length + n) - first_row(rule, length) + kvcache_waiting_max(rule, n);
}

void attention_extend(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, size_t stride, uint32_t n,
                      const attention_rope *rope, float *rows, attention_side *out, void *scratch)
{
    const kvcache_rule rule = kvcache_rule_in(cache, layer, head, side);
    const uint32_t length = kvcache_length(cache), after = length + n, covered = kvcache_covered(&rule, after);
    const uint32_t before = kvcache_covered(&rule, length), first = first_row(&rule, length);
    const size_t dim = rule.codec->shape.dim;
    *out = (attention_side){ .rule = rule, .coded = rows, .waiting = rows + (covered - first) * dim, .coded_first = first,
                             .waiting_first = rule.sink + kvcache_coded(&rule, max_u32(length, rule.sink)),
                             .packed_end = rule.raw ? max_u32(length, rule.sink) : UINT32_MAX };
    kvcache_run runs[KVCACHE_RUNS];
    const size_t n_runs = kvcache_runs(cache, layer, head, side, length, runs);
    for (size_t i = 0; i < n_runs; i++) {
        const uint32_t begin = max_u32(runs[i].position, first), end = min_u32(runs[i].position + runs[i].n, before);
        if (begin < end)
            kvant_decode(runs[i].codec, runs[i].code, runs[i].first + begin - runs[i].position, end - begin,
                         rows + (begin - first) * dim, scratch);
    }
    kvcache_append(cache, layer, head, side, x, stride, n, true, rule.staged || rule.raw ? out->waiting : NULL,
                   rows + (before - first) * dim, scratch);
    if (!rule.unrotated)
        return;
    rotate_rows(rope, rows, first, covered - first, dim);
    if ((rule.staged || rule.raw) && after > out->waiting_first)
        rotate_rows(rope, out->waiting, out->waiting_first, after - out->waiting_first, dim);
}

/* Where codes end for a query that is the last of `length` tokens. */
static uint32_t codes_end(const attention_side *side, uint32_t length)
{
    return min_u32(kvcache_covered(&side->rule, length), side->packed_end);
}

/* What a block of queries (positions first ... last) reads of one side: `coded` columns from position `from` on, then `waiting` ones,
 * the first of which has position waiting_at. */
typedef struct { uint32_t from, coded, waiting, waiting_at; } span;

static span span_of(const attention_side *side, uint32_t first, uint32_t last)
{
    span s = { .from = kvcache_first_seen(&side->rule, first + 1) };
    s.coded = max_u32(codes_end(side, last + 1), s.from) - s.from;
    if ((side->rule.staged || side->rule.raw) && last >= side->rule.sink) {
        s.waiting_at = max_u32(codes_end(side, max_u32(first + 1, side->rule.sink)), s.from);
        s.waiting = last + 1 - s.waiting_at;
    }
    return s;
}

static const float *coded_rows(const attention_side *side, const span *s)
{
    return side->coded + (size_t)(s->from - side->coded_first) * side->rule.codec->shape.dim;
}

static const float *waiting_rows(const attention_side *side, const span *s)
{
    return side->waiting + (size_t)(s->waiting_at - side->waiting_first) * side->rule.codec->shape.dim;
}

/* Columns that a block of queries reads of one side at most, when n tokens come behind `length`. */
static size_t columns_max(const kvcache_rule *rule, uint32_t length, uint32_t n)
{
    const size_t all = (size_t)length + n, seen = rule->sliding ? (size_t)rule->sliding + ATTENTION_QUERIES - 1 : all;
    return (seen < all ? seen : all) + kvcache_waiting_max(rule, rule->raw ? n : ATTENTION_QUERIES);
}

size_t attention_block_scratch(const kvcache_rule *key, const kvcache_rule *value, uint32_t length, uint32_t n, uint32_t group,
                               uint32_t head_dim)
{
    const size_t rows = (size_t)group * ATTENTION_QUERIES, k = columns_max(key, length, n), v = columns_max(value, length, n);
    return 2 * aligned(rows * head_dim * sizeof(float)) + aligned(rows * k * sizeof(float)) + aligned(rows * v * sizeof(float)) +
           aligned(((size_t)length + n) * sizeof(float));
}

void attention_block(const attention_side *key, const attention_side *value, uint32_t first, uint32_t n, uint32_t group,
                     float cap, const float *q, size_t q_stride, float *out, size_t out_stride, void *scratch)
{
    const size_t dim = key->rule.codec->shape.dim, rows = (size_t)n * group;
    const uint32_t last = first + n - 1;
    const span ks = span_of(key, first, last), vs = span_of(value, first, last);
    const size_t ld_s = ks.coded + ks.waiting, ld_w = vs.coded + vs.waiting;
    char *at = scratch;
    float *queries = take(&at, rows * dim * sizeof *queries), *result = take(&at, rows * dim * sizeof *result);
    /* Where nothing waits, both sides have the same columns, and scores become weights in place. */
    const bool in_place = ks.waiting == 0 && vs.waiting == 0;
    float *scores = take(&at, rows * ld_s * sizeof *scores), *weights = in_place ? scores : take(&at, rows * ld_w * sizeof *weights);
    float *gathered = take(&at, ((size_t)last + 1 - ks.from) * sizeof *gathered);
    for (uint32_t t = 0; t < n; t++)
        memcpy(queries + (size_t)t * group * dim, q + t * q_stride, group * dim * sizeof *queries);
    if (ks.coded > 0)
        gemm_small(true, false, rows, ks.coded, dim, queries, dim, coded_rows(key, &ks), dim, scores, ld_s);
    if (ks.waiting > 0)
        gemm_small(true, false, rows, ks.waiting, dim, queries, dim, waiting_rows(key, &ks), dim, scores + ks.coded, ld_s);
    for (size_t row = 0; row < rows; row++) {
        /* The row's own view, in positions from ks.from on: those below key_codes (value_codes) by code, the rest up to its own by
         * f16; it begins where its window does. */
        const uint32_t length = first + (uint32_t)(row / group) + 1, seen = length - ks.from;
        const uint32_t begin = kvcache_first_seen(&key->rule, length) - ks.from;
        const uint32_t key_codes = max_u32(codes_end(key, length), ks.from) - ks.from;
        const uint32_t value_codes = max_u32(codes_end(value, length), ks.from) - ks.from;
        const float *s = scores + row * ld_s;
        float *w = weights + row * ld_w, *line = in_place ? w : gathered;
        if (!in_place)
            memcpy(line, s, key_codes * sizeof *line);
        if (seen > key_codes)
            memcpy(line + key_codes, s + ks.coded + (ks.from + key_codes - ks.waiting_at), (seen - key_codes) * sizeof *line);
        if (cap > 0)
            vec_soft_cap(line + begin, seen - begin, cap);
        const float scale = (float)(1.0 / vec_exp_sum(line + begin, seen - begin, vec_max(line + begin, seen - begin)));
        memset(w, 0, (in_place ? begin : ld_w) * sizeof *w);
        if (in_place)
            memset(w + seen, 0, (ld_w - seen) * sizeof *w);
        for (uint32_t i = begin; i < value_codes; i++)
            w[i] = line[i] * scale;
        for (uint32_t i = max_u32(begin, value_codes); i < seen; i++)
            w[vs.coded + (ks.from + i - vs.waiting_at)] = line[i] * scale;
    }
    if (vs.coded > 0)
        gemm_small(false, false, rows, dim, vs.coded, weights, ld_w, coded_rows(value, &vs), dim, result, dim);
    if (vs.waiting > 0)
        gemm_small(false, vs.coded > 0, rows, dim, vs.waiting, weights + vs.coded, ld_w, waiting_rows(value, &vs), dim, result, dim);
    for (uint32_t t = 0; t < n; t++)
        memcpy(out + t * out_stride, result + (size_t)t * group * dim, group * dim * sizeof *out);
}
