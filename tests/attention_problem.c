/* attention_problem.c - see attention_problem.h.
 * At position t: sinks, the last `window` tokens and the incomplete block of t in f16, everything else, t included, in codes; and
 * nothing in codes before the sequence has taught its codec, where it does. A sliding window forgets what lies before it. */
#include "tests/attention_problem.h"

#include "algorithms/shared/half.h"
#include "harness/lm/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- The rule, by itself ------------------------------------------------------------------------ */

enum { TOKENS = PROBLEM_TOKENS, GROUP = PROBLEM_GROUP };

typedef struct { uint32_t sink, window, sliding, block, learns; bool raw; } rule;

static rule rule_of(const kvcache_policy *policy, const kvant_codec *codec, uint32_t sliding)
{
    return (rule){ policy->sink, policy->window, sliding, (uint32_t)codec->plan.block,
                   codec->plan.prompt ? (uint32_t)codec->plan.train_min : 0, policy->prefill == PREFILL_RAW };
}

/* True when the token at position p is in codes for the query at position t of a pass that begins at `start`. */
static bool in_codes(const rule *r, uint32_t p, uint32_t t, uint32_t start)
{
    if ((r->sliding && r->window >= r->sliding) || (r->raw && p >= start))
        return false;
    if (p < r->sink || p + r->window > t || t + 1 < r->sink + r->window + r->learns)
        return false;
    /* Its block, counted from the sinks, must be complete and out of the window as a whole. */
    const uint32_t last = r->sink + (p - r->sink) / r->block * r->block + r->block - 1;
    return last + r->window <= t;
}

/* Both forms of n vectors: halves, and what the codes say. */
static void make_forms(const kvant_codec *codec, const rule *r, const float *x, float *half, float *coded)
{
    const size_t dim = codec->shape.dim;
    const bool staged = r->window + r->block + r->learns > 1;
    const uint32_t whole = (TOKENS - r->sink) / r->block * r->block;
    for (size_t i = 0; i < TOKENS * dim; i++)
        half[i] = half_to_float(float_to_half(x[i]));
    uint8_t *code = kvant_alloc(kvant_bytes(codec, whole));
    void *scratch = kvant_alloc(codec->scratch + 1);
    kvant_codec own;
    assert_int_equal(kvant_copy(codec, &own, NULL), KVANT_OK);
    if (r->learns)
        assert_int_equal(kvant_train(&own, half + r->sink * dim, r->learns, NULL), KVANT_OK);
    kvant_encode(&own, (staged ? half : x) + r->sink * dim, 0, whole, code, scratch);
    kvant_decode(&own, code, 0, whole, coded + r->sink * dim, scratch);
    kvant_close(&own);
    free(code);
    free(scratch);
}

typedef struct {
    uint32_t dim, sliding;
    bool unrotated;
    attention_layer of;
    float *k, *v, *q;              /* [TOKENS][dim], queries [TOKENS][GROUP][dim] */
    float *out;                    /* [TOKENS][GROUP][dim] results */
    double *wanted;
    double bound;
} problem;

/* The path that is solved for: prefill decodes codes, and a decode step reads them as the policy says. */
typedef enum { BY_PREFILL, BY_DECODE } path;

static double norm_max(const float *x, size_t n, size_t dim)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < dim; j++)
            sum += (double)x[i * dim + j] * (double)x[i * dim + j];
        most = fmax(most, sqrt(sum));
    }
    return most;
}

/* A key as a query meets it. */
static void meet(const problem *p, const float *row, uint32_t position, double *out)
{
    const attention_rope *r = &p->of.rope;
    for (size_t j = 0; j < p->dim; j++)
        out[j] = (double)row[j];
    for (size_t j = 0; p->unrotated && j < r->width / 2; j++) {
        const size_t a = r->half ? j : 2 * j, b = r->half ? j + r->width / 2 : 2 * j + 1;
        const double c = (double)r->cos[position * (r->width / 2) + j], s = (double)r->sin[position * (r->width / 2) + j];
        out[a] = c * (double)row[a] - s * (double)row[b];
        out[b] = s * (double)row[a] + c * (double)row[b];
    }
}

/* How far the products of a side may be off besides rounding: of the kernel that multiplies, if one does. */
static double products_of(const kvcache_codecs *codecs, kvant_side side, path by)
{
    const kvant_codec *codec = kvcache_codec(codecs, 0, 0, side);
    if (by == BY_DECODE && codec->quantizer != codecs->f16->quantizer && codecs->policy.decode_reads != READS_CODES)
        codec = codecs->policy.decode_reads == READS_COPY ? codecs->f16 : NULL;
    return codec && codec->kernel ? codec->kernel->products : 0;
}

static void round_to_half(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = half_to_float(float_to_half(x[i]));
}

/* Attention in double over the forms that the rule names, in passes of `piece` tokens. */
static void solve(problem *p, const kvcache_codecs *codecs, const rule *rk, const rule *rv, uint32_t piece, path by)
{
    const size_t dim = p->dim, bytes = TOKENS * dim * sizeof(float);
    float *forms[4];
    for (int i = 0; i < 4; i++)
        forms[i] = calloc(1, bytes);
    make_forms(kvcache_codec(codecs, 0, 0, KVANT_KEY), rk, p->k, forms[0], forms[1]);
    make_forms(kvcache_codec(codecs, 0, 0, KVANT_VALUE), rv, p->v, forms[2], forms[3]);
    for (int i = 1; i < 4 && by == BY_DECODE && codecs->policy.decode_reads == READS_COPY; i += 2)
        round_to_half(forms[i], TOKENS * dim);
    double largest = 0;
    for (uint32_t t = 0; t < TOKENS; t++)
        for (size_t g = 0; g < GROUP; g++) {
            double s[TOKENS], top = -INFINITY, sum = 0, *out = p->wanted + (t * GROUP + g) * dim;
            const uint32_t begin = p->sliding && t + 1 > p->sliding ? t + 1 - p->sliding : 0, start = t / piece * piece;
            const double cap = (double)p->of.cap;
            for (uint32_t i = begin; i <= t; i++) {
                double key[128];
                meet(p, forms[in_codes(rk, i, t, start)] + i * dim, i, key);
                s[i] = 0;
                for (size_t j = 0; j < dim; j++)
                    s[i] += (double)p->q[(t * GROUP + g) * dim + j] * key[j];
                s[i] = cap > 0 ? cap * tanh(s[i] / cap) : s[i];
                top = fmax(top, s[i]);
            }
            for (uint32_t i = begin; i <= t; i++)
                sum += s[i] = exp(s[i] - top);
            memset(out, 0, dim * sizeof *out);
            for (uint32_t i = begin; i <= t; i++)
                for (size_t j = 0; j < dim; j++) {
                    const double x = (double)forms[2 + in_codes(rv, i, t, start)][i * dim + j];
                    out[j] += s[i] / sum * x;
                    largest = fmax(largest, fabs(x));
                }
        }
    /* A float dot of dim terms is off by at most dim 2^-24 |q||k|; a weight by twice that and the exponential's 3e-7; the sum
     * of T weighted values by T 2^-24 of the largest one. Rotated domains cost two more products of dim terms each, and a
     * cap four roundings of values of its size. What a kernel states that its products may be off adds to a score and to a sum. */
    const double eps = ldexp(1, -24), norms = norm_max(p->q, TOKENS * GROUP, dim) * norm_max(p->k, TOKENS, dim);
    const double off_key = products_of(codecs, KVANT_KEY, by), off_value = products_of(codecs, KVANT_VALUE, by);
    const double score = (3 * (double)dim * norms + 4 * (double)p->of.cap) * eps + off_key * norms;
    p->bound = (2 * score + 3e-7 + (TOKENS + 3 * (double)dim) * eps) * 2 * largest + off_value * norm_max(p->v, TOKENS, dim);
    for (int i = 0; i < 4; i++)
        free(forms[i]);
}

/* From token `first` on. */
static void compare(const problem *p, uint32_t first, const char *what)
{
    double worst = 0;
    for (size_t i = (size_t)first * GROUP * p->dim; i < (size_t)TOKENS * GROUP * p->dim; i++) {
        const double d = fabs((double)p->out[i] - p->wanted[i]);
        worst = d <= worst ? worst : d;
    }
    if (!(worst <= p->bound))
        fail_msg("%s: off by %.3g, bound %.3g", what, worst, p->bound);
}

/* ---- The two paths ------------------------------------------------------------------------------ */

/* Steps for tokens first ... TOKENS-1, which stand behind those that the cache has. */
static void decode_from(const problem *p, kvcache *cache, uint32_t first)
{
    void *scratch = kvant_alloc(attention_decode_scratch(kvcache_codecs_of(cache), GROUP));
    for (uint32_t t = first; t < TOKENS; t++) {
        attention_decode(cache, 0, 0, p->k + t * p->dim, p->v + t * p->dim, p->q + (size_t)t * GROUP * p->dim, GROUP,
                         &p->of, p->out + (size_t)t * GROUP * p->dim, scratch);
        kvcache_advance(cache, 1);
    }
    free(scratch);
}

/* Passes of `piece` tokens for tokens 0 ... n-1. */
static void prefill_to(const problem *p, kvcache *cache, uint32_t end, uint32_t piece)
{
    const size_t dim = p->dim;
    const kvcache_codecs *codecs = kvcache_codecs_of(cache);
    const kvcache_rule rules[2] = { kvcache_rule_of(codecs, 0, 0, KVANT_KEY), kvcache_rule_of(codecs, 0, 0, KVANT_VALUE) };
    for (uint32_t done = 0; done < end; done += piece) {
        const uint32_t n = end - done < piece ? end - done : piece;
        attention_side sides[2];
        float *rows[2];
        void *scratch = kvant_alloc(kvcache_scratch(codecs));
        for (int side = 0; side < 2; side++) {
            rows[side] = kvant_alloc((attention_side_rows(&rules[side], done, n) + 1) * dim * sizeof(float));
            attention_extend(cache, 0, 0, side ? KVANT_VALUE : KVANT_KEY, (side ? p->v : p->k) + done * dim, dim, n, &p->of.rope,
                             rows[side], &sides[side], scratch);
        }
        free(scratch);
        scratch = kvant_alloc(attention_block_scratch(&rules[0], &rules[1], done, n, GROUP, p->dim));
        for (uint32_t at = 0; at < n; at += ATTENTION_QUERIES) {
            const uint32_t m = n - at < ATTENTION_QUERIES ? n - at : ATTENTION_QUERIES;
            const size_t row = (size_t)(done + at) * GROUP * dim;
            attention_block(&sides[0], &sides[1], done + at, m, GROUP, p->of.cap, p->q + row, GROUP * dim, p->out + row, GROUP * dim,
                            scratch);
        }
        free(scratch);
        free(rows[0]);
        free(rows[1]);
        kvcache_advance(cache, n);
    }
}

static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / 8388608.0f - 1;
}

void problem_fill(float *x, size_t n, float scale, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (uniform(state) + uniform(state) + uniform(state));
}

/* Angles of a rotation that leaves some coordinates alone; 1.2 is a magnitude as some scalings have. */
static attention_rope make_rope(uint32_t dim, float *tables)
{
    const uint32_t width = dim / 4 * 2;
    float *sine = tables + TOKENS * (width / 2);
    for (uint32_t i = 0; i < TOKENS * (width / 2); i++) {
        tables[i] = 1.2f * cosf((float)(i / (width / 2)) / (float)(1 + i % (width / 2)));
        sine[i] = 1.2f * sinf((float)(i / (width / 2)) / (float)(1 + i % (width / 2)));
    }
    return (attention_rope){ tables, sine, width, dim % 16 == 0 && dim > 64 };
}

static kvcache_shape shape_of(uint32_t dim, uint32_t sliding)
{
    return (kvcache_shape){ .n_layer = 1, .n_kv_head = 1, .head_dim = dim, .sliding = { sliding, { sliding > 0 } } };
}

static problem problem_open(const kvcache_policy *policy, uint32_t dim, uint32_t sliding, float cap, float *tables)
{
    const size_t n = (size_t)TOKENS * dim;
    problem p = { .dim = dim, .sliding = sliding, .unrotated = policy->key_stage == KEYS_PRE_ROPE,
                  .of = { .cap = cap, .rope = make_rope(dim, tables) }, .k = calloc(n, 4), .v = calloc(n, 4),
                  .q = calloc(n * GROUP, 4), .out = calloc(n * GROUP, 4), .wanted = calloc(n * GROUP, sizeof(double)) };
    uint64_t seed = dim + 7;
    problem_fill(p.k, n, 1, &seed);
    problem_fill(p.v, n, 1, &seed);
    problem_fill(p.q, n * GROUP, 2 / sqrtf((float)dim), &seed);
    return p;
}

static void problem_close(problem *p)
{
    free(p->k);
    free(p->v);
    free(p->q);
    free(p->out);
    free(p->wanted);
}

void problem_check_layer(const kvcache_policy *policy, uint32_t dim, uint32_t sliding, float cap)
{
    static const uint32_t all_pieces[] = { TOKENS, 64, 33, 7, 1 }, one_piece[] = { 33 };
    const bool codes = policy->decode_reads == READS_CODES;
    const uint32_t *pieces = codes ? all_pieces : one_piece;
    static const char *const reads[] = { "", ", decoded", ", a copy" };
    static float tables[2 * TOKENS * 64];
    char what[200];
    kvcache_codecs codecs;
    kvcache *cache;
    kvant_error err;
    const kvcache_shape shape = shape_of(dim, sliding);
    if (kvcache_codecs_open(policy, &shape, NULL, &codecs, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    assert_int_equal(kvcache_open(&codecs, TOKENS, &cache, NULL), KVANT_OK);
    const rule rk = rule_of(policy, kvcache_codec(&codecs, 0, 0, KVANT_KEY), sliding);
    const rule rv = rule_of(policy, kvcache_codec(&codecs, 0, 0, KVANT_VALUE), sliding);
    problem p = problem_open(policy, dim, sliding, cap, tables);
    snprintf(what, sizeof what, "%s/%s, dim %u, sink %u, window %u, sliding %u, cap %g%s%s%s", policy->key.quantizer->name,
             policy->value.quantizer->name, dim, policy->sink, policy->window, sliding, (double)cap, rk.raw ? ", raw" : "",
             p.unrotated ? ", pre-RoPE" : "", reads[policy->decode_reads]);
    solve(&p, &codecs, &rk, &rv, 1, BY_DECODE);
    decode_from(&p, cache, 0);
    compare(&p, 0, what);
    /* What prefill fills beside codes: behind it steps see the same, in a cache that has been used. */
    if (!codes) {
        kvcache_reset(cache);
        prefill_to(&p, cache, 105, 52);
        decode_from(&p, cache, 105);
        compare(&p, 105, what);
    }
    for (size_t i = 0; i < (codes ? sizeof all_pieces : sizeof one_piece) / sizeof *pieces; i++) {
        char detail[240];
        snprintf(detail, sizeof detail, "%s, prefill by %u", what, pieces[i]);
        if (i == 0 || rk.raw)
            solve(&p, &codecs, &rk, &rv, pieces[i], BY_PREFILL);
        kvcache_reset(cache);
        prefill_to(&p, cache, TOKENS, pieces[i]);
        compare(&p, 0, detail);
    }
    problem_close(&p);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

void problem_check_policy(const kvcache_policy *policy, uint32_t dim)
{
    problem_check_layer(policy, dim, 0, 0);
    problem_check_layer(policy, dim, 37, .5f);
}

kvcache_side problem_side(const char *name, const char *args)
{
    kvant_error err = { "" };
    kvcache_side side = { .quantizer = kvant_find(name, &err) };
    if (!side.quantizer)
        fail_msg("%s", err.text);
    side.args = kvant_defaults(side.quantizer->params);
    assert_int_equal(kvant_parse(side.quantizer->params, args, &side.args, &err), KVANT_OK);
    return side;
}

static kvant_status plan_learner(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    const kvant_status status = kvant_find("nvfp4", err)->plan(shape, args, plan, err);
    plan->prompt = true;
    plan->train_min = PROBLEM_LEARNS;
    plan->trained = sizeof(float);
    return status;
}

static kvant_status train_learner(void *learns, const float *x, size_t n, kvant_error *err)
{
    for (size_t i = 0; i < n * 64; i++)
        if (!isfinite(x[i]))
            return kvant_fail(err, KVANT_INVALID, "not finite");
    return kvant_find("nvfp4", err)->train(learns, x, n, err);
}

kvant_quantizer problem_learner(kvcache_side *side)
{
    *side = problem_side("nvfp4", "second_scale=trained");
    kvant_quantizer learner = *side->quantizer;
    learner.plan = plan_learner;
    learner.train = train_learner;
    return learner;
}
