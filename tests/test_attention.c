/* test_attention.c - what a query sees: both paths against attention in double over forms chosen by the stated rule.
 * At position t: sinks, the last `window` tokens and the incomplete block of t in f16, everything else, t included, in codes; and
 * nothing in codes before the sequence has taught its codec, where it does. A sliding window forgets what lies before it. */
#include "algorithms/shared/half.h"
#include "harness/lm/attention.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- The rule, by itself ------------------------------------------------------------------------ */

enum { TOKENS = 200, GROUP = 3 };

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
    float *decode;                 /* [TOKENS][GROUP][dim] results */
    double *wanted;
    double bound;
} problem;

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

static double products_of(const kvant_codec *codec) { return codec->kernel ? codec->kernel->products : 0; }

/* Attention in double over the forms that the rule names, in passes of `piece` tokens. */
static void solve(problem *p, const kvcache_codecs *codecs, const rule *rk, const rule *rv, uint32_t piece)
{
    const size_t dim = p->dim, bytes = TOKENS * dim * sizeof(float);
    float *forms[4];
    for (int i = 0; i < 4; i++)
        forms[i] = calloc(1, bytes);
    make_forms(kvcache_codec(codecs, 0, 0, KVANT_KEY), rk, p->k, forms[0], forms[1]);
    make_forms(kvcache_codec(codecs, 0, 0, KVANT_VALUE), rv, p->v, forms[2], forms[3]);
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
    const double off_key = products_of(kvcache_codec(codecs, 0, 0, KVANT_KEY)), off_value = products_of(kvcache_codec(codecs, 0, 0, KVANT_VALUE));
    const double score = (3 * (double)dim * norms + 4 * (double)p->of.cap) * eps + off_key * norms;
    p->bound = (2 * score + 3e-7 + (TOKENS + 3 * (double)dim) * eps) * 2 * largest + off_value * norm_max(p->v, TOKENS, dim);
    for (int i = 0; i < 4; i++)
        free(forms[i]);
}

static void compare(const problem *p, const float *got, const char *what)
{
    double worst = 0;
    for (size_t i = 0; i < (size_t)TOKENS * GROUP * p->dim; i++) {
        const double d = fabs((double)got[i] - p->wanted[i]);
        worst = d <= worst ? worst : d;
    }
    if (!(worst <= p->bound))
        fail_msg("%s: off by %.3g, bound %.3g", what, worst, p->bound);
}

/* ---- The two paths ------------------------------------------------------------------------------ */

static void by_decode(const problem *p, const kvcache_codecs *codecs, float *out)
{
    kvcache *cache;
    assert_int_equal(kvcache_open(codecs, TOKENS, &cache, NULL), KVANT_OK);
    void *scratch = kvant_alloc(attention_decode_scratch(codecs, GROUP));
    for (uint32_t t = 0; t < TOKENS; t++) {
        attention_decode(cache, 0, 0, p->k + t * p->dim, p->v + t * p->dim, p->q + (size_t)t * GROUP * p->dim, GROUP,
                         &p->of, out + (size_t)t * GROUP * p->dim, scratch);
        kvcache_advance(cache, 1);
    }
    free(scratch);
    kvcache_close(cache);
}

static void by_prefill(const problem *p, const kvcache_codecs *codecs, uint32_t piece, float *out)
{
    const size_t dim = p->dim;
    kvcache *cache;
    assert_int_equal(kvcache_open(codecs, TOKENS, &cache, NULL), KVANT_OK);
    const kvcache_rule rules[2] = { kvcache_rule_of(codecs, 0, 0, KVANT_KEY), kvcache_rule_of(codecs, 0, 0, KVANT_VALUE) };
    for (uint32_t done = 0; done < TOKENS; done += piece) {
        const uint32_t n = TOKENS - done < piece ? TOKENS - done : piece;
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
            attention_block(&sides[0], &sides[1], done + at, m, GROUP, p->of.cap, p->q + row, GROUP * dim, out + row, GROUP * dim,
                            scratch);
        }
        free(scratch);
        free(rows[0]);
        free(rows[1]);
        kvcache_advance(cache, n);
    }
    kvcache_close(cache);
}

static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / 8388608.0f - 1;
}

static void fill(float *x, size_t n, float scale, uint64_t *state)
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

static void check_layer(const kvcache_policy *policy, uint32_t dim, uint32_t sliding, float cap)
{
    static const uint32_t pieces[] = { TOKENS, 64, 33, 7, 1 };
    static float tables[2 * TOKENS * 64];
    char what[160];
    kvcache_codecs codecs;
    kvant_error err;
    const kvcache_shape shape = shape_of(dim, sliding);
    if (kvcache_codecs_open(policy, &shape, NULL, &codecs, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    const rule rk = rule_of(policy, kvcache_codec(&codecs, 0, 0, KVANT_KEY), sliding);
    const rule rv = rule_of(policy, kvcache_codec(&codecs, 0, 0, KVANT_VALUE), sliding);
    const size_t n = (size_t)TOKENS * dim;
    problem p = { .dim = dim, .sliding = sliding, .unrotated = policy->key_stage == KEYS_PRE_ROPE,
                  .of = { .cap = cap, .rope = make_rope(dim, tables) }, .k = calloc(n, 4), .v = calloc(n, 4), .q = calloc(n * GROUP, 4), .decode = calloc(n * GROUP, 4),
                  .wanted = calloc(n * GROUP, sizeof(double)) };
    uint64_t seed = dim + 7;
    fill(p.k, n, 1, &seed);
    fill(p.v, n, 1, &seed);
    fill(p.q, n * GROUP, 2 / sqrtf((float)dim), &seed);
    solve(&p, &codecs, &rk, &rv, 1);
    snprintf(what, sizeof what, "%s/%s, dim %u, sink %u, window %u, sliding %u, cap %g%s%s", policy->key.quantizer->name,
             policy->value.quantizer->name, dim, policy->sink, policy->window, sliding, (double)cap, rk.raw ? ", raw" : "",
             p.unrotated ? ", pre-RoPE" : "");
    by_decode(&p, &codecs, p.decode);
    compare(&p, p.decode, what);
    float *out = calloc(n * GROUP, sizeof *out);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char detail[200];
        snprintf(detail, sizeof detail, "%s, prefill by %u", what, pieces[i]);
        if (rk.raw)
            solve(&p, &codecs, &rk, &rv, pieces[i]);
        by_prefill(&p, &codecs, pieces[i], out);
        compare(&p, out, detail);
    }
    free(out);
    free(p.k);
    free(p.v);
    free(p.q);
    free(p.decode);
    free(p.wanted);
    kvcache_codecs_close(&codecs);
}

/* Layers with full attention, and with a sliding window and capped scores. */
static void check_policy(const kvcache_policy *policy, uint32_t dim)
{
    check_layer(policy, dim, 0, 0);
    check_layer(policy, dim, 37, .5f);
}

static kvcache_side side_of(const char *name, const char *args)
{
    kvant_error err = { "" };
    kvcache_side side = { .quantizer = kvant_find(name, &err) };
    if (!side.quantizer)
        fail_msg("%s", err.text);
    side.args = kvant_defaults(side.quantizer->params);
    assert_int_equal(kvant_parse(side.quantizer->params, args, &side.args, &err), KVANT_OK);
    return side;
}

static void test_paths(void **state)
{
    (void)state;
    static const uint32_t windows[] = { 0, 7, 128 }, sinks[] = { 0, 3 }, dims[] = { 64, 80 };
    const kvcache_side block = side_of("kivi", "bits=4,axis=channel"), kivi = side_of("kivi", "bits=4,group_size=16");
    const kvcache_side f16 = side_of("f16", ""), affine = side_of("affine", "bits=4,group_size=16");
    const kvcache_side turbo = side_of("turboquant_mse", "bits=3,rotation=haar");
    const kvcache_side pairs[][2] = { { f16, f16 }, { affine, affine }, { block, block }, { block, affine }, { turbo, block },
                                      { kivi, kivi }, { turbo, turbo } };
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            for (size_t w = 0; w < 3; w++)
                for (size_t s = 0; s < 2; s++) {
                    const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = sinks[s], .window = windows[w] };
                    check_policy(&policy, dims[d]);
                }
}

/* Windows shorter than a block, than the sinks, and one token long; keys before RoPE; passes that see themselves raw. */
static void test_policies(void **state)
{
    (void)state;
    const kvcache_side block = side_of("kivi", "bits=4,axis=channel"), affine = side_of("affine", "bits=4,group_size=16");
    const kvcache_side f16 = side_of("f16", "");
    const kvcache_side pairs[][2] = { { affine, affine }, { block, affine }, { f16, f16 } };
    static const struct { uint32_t sliding, sink, window; kvcache_prefill prefill; kvcache_key_stage stage; } cases[] = {
        { 1, 0, 0, PREFILL_PACKED, KEYS_POST_ROPE }, { 5, 3, 2, PREFILL_PACKED, KEYS_POST_ROPE },
        { 5, 70, 0, PREFILL_PACKED, KEYS_POST_ROPE }, { 64, 2, 0, PREFILL_PACKED, KEYS_POST_ROPE },
        { 0, 0, 0, PREFILL_RAW, KEYS_POST_ROPE }, { 0, 3, 7, PREFILL_RAW, KEYS_POST_ROPE },
        { 37, 40, 0, PREFILL_RAW, KEYS_POST_ROPE }, { 0, 0, 0, PREFILL_PACKED, KEYS_PRE_ROPE },
        { 37, 3, 7, PREFILL_PACKED, KEYS_PRE_ROPE }, { 50, 2, 0, PREFILL_RAW, KEYS_PRE_ROPE },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = cases[c].sink, .window = cases[c].window,
                                            .prefill = cases[c].prefill, .key_stage = cases[c].stage };
            check_layer(&policy, c % 2 ? 80 : 64, cases[c].sliding, 0);
        }
}

/* nvfp4 with its second scale from the sequence's first 40 vectors. */
enum { LEARNS = 40 };

static kvant_status plan_learner(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    const kvant_status status = kvant_find("nvfp4", err)->plan(shape, args, plan, err);
    plan->prompt = true;
    plan->train_min = LEARNS;
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

static kvant_quantizer learner_of(kvcache_side *side)
{
    *side = side_of("nvfp4", "second_scale=trained");
    kvant_quantizer learner = *side->quantizer;
    learner.plan = plan_learner;
    learner.train = train_learner;
    return learner;
}

static void test_learners(void **state)
{
    (void)state;
    static const uint32_t windows[] = { 0, 7, 170 }, sinks[] = { 0, 3 };
    kvcache_side learns;
    const kvant_quantizer learner = learner_of(&learns);
    learns.quantizer = &learner;
    const kvcache_side block = side_of("kivi", "bits=4,axis=channel"), f16 = side_of("f16", "");
    const kvcache_side pairs[][2] = { { learns, learns }, { learns, block }, { block, learns }, { f16, learns } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t w = 0; w < 3; w++)
            for (size_t s = 0; s < 2; s++) {
                const kvcache_policy policy = { .key = pairs[i][0], .value = pairs[i][1], .sink = sinks[s], .window = windows[w] };
                check_policy(&policy, 64);
            }

    /* What it learnt is counted once it has, and a reset forgets it: the second sequence is coded as if it were the first. */
    const kvcache_policy policy = { .key = learns, .value = f16, .sink = 2 };
    const kvcache_shape shape = { .n_layer = 1, .n_kv_head = 1, .head_dim = 64 };
    kvcache_codecs codecs;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    assert_int_equal(kvcache_accounted(&codecs, 2 + LEARNS - 1).key, (2 + LEARNS - 1) * 128);
    assert_int_equal(kvcache_accounted(&codecs, 2 + LEARNS).key, 2 * 128 + LEARNS * codecs.of[0]->plan.code + sizeof(float));
    kvcache *cache;
    assert_int_equal(kvcache_open(&codecs, TOKENS, &cache, NULL), KVANT_OK);
    float scale[3];
    void *scratch = kvant_alloc(kvcache_scratch(&codecs));
    float x[TOKENS * 64], waiting[(TOKENS + LEARNS) * 64];
    uint64_t seed = 3;
    for (int i = 0; i < 3; i++) {
        kvcache_reset(cache);
        fill(x, TOKENS * 64, i == 1 ? 100 : 1, &seed);
        seed = 3;
        kvcache_append(cache, 0, 0, KVANT_KEY, x, 64, TOKENS, true, waiting, NULL, scratch);
        const kvant_codec *own = kvcache_rule_in(cache, 0, 0, KVANT_KEY).codec;
        assert_ptr_not_equal(own, codecs.of[0]);
        kvcache_run runs[KVCACHE_RUNS];
        const size_t n = kvcache_runs(cache, 0, 0, KVANT_KEY, TOKENS, runs);
        assert_int_equal(n, 2);
        float y[64];
        kvant_decode(runs[1].codec, runs[1].code, 50, 1, y, scratch);
        scale[i] = y[7];
        assert_true(fabsf(y[7] - x[52 * 64 + 7]) < (i == 1 ? 40.f : .4f));
    }
    assert_true(scale[0] != scale[1] && scale[0] == scale[2]);

    /* A vector that cannot be learnt from is the forward pass's failure, not a silent one. */
    x[5 * 64] = NAN;
    kvcache_reset(cache);
    kvant_error err = { "" };
    assert_int_equal(kvcache_trained(cache, &err), KVANT_OK);
    kvcache_append(cache, 0, 0, KVANT_KEY, x, 64, TOKENS, true, waiting, NULL, scratch);
    assert_int_equal(kvcache_trained(cache, &err), KVANT_INVALID);
    assert_true(*err.text);
    free(scratch);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* Each group by its own quantizer: one codec per layer, side and quantizer, bytes of all groups added up. */
static void test_allocation(void **state)
{
    (void)state;
    const kvcache_side a = side_of("affine", "bits=4,group_size=32"), b = side_of("affine", "bits=8,group_size=32");
    const kvcache_side f16 = side_of("f16", "");
    kvcache_side sides[2 * 3 * 2] = { a, f16, b, f16, a, f16, b, b, b, b, b, a };
    const kvcache_allocation allocation = { 2, 3, sides };
    kvcache_policy policy = { .key = f16, .value = f16, .allocation = &allocation };
    kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64 };
    kvcache_codecs codecs;
    kvant_error err = { "" };
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err), KVANT_OK);
    assert_int_equal(codecs.n_own, 1 + 3 + 3);
    assert_ptr_equal(kvcache_codec(&codecs, 0, 0, KVANT_KEY), kvcache_codec(&codecs, 0, 2, KVANT_KEY));
    assert_ptr_not_equal(kvcache_codec(&codecs, 0, 0, KVANT_KEY), kvcache_codec(&codecs, 0, 1, KVANT_KEY));
    const kvcache_bytes bytes = kvcache_accounted(&codecs, 10);
    assert_int_equal(bytes.key, 10 * (2 * 40 + 4 * 72));
    assert_int_equal(bytes.value, 10 * (3 * 128 + 2 * 72 + 40));
    kvcache_codecs described;
    assert_int_equal(kvcache_codecs_describe(&policy, &shape, &described, &err), KVANT_OK);
    assert_int_equal(kvcache_accounted(&described, 10).value, bytes.value);
    kvcache_codecs_close(&described);
    kvcache_codecs_close(&codecs);
    shape.n_layer = 3;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "2 layers of 3"));
}

static void test_bytes(void **state)
{
    (void)state;
    const kvcache_policy policy = { .key = side_of("kivi", "bits=8"), .value = side_of("f16", ""), .sink = 4, .window = 10 };
    const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64 };
    kvcache_codecs codecs;
    kvcache *cache;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    /* 150 tokens: 4 sinks and the last 10 in f16; of the 136 between, 4 blocks of 32 are whole and 8 tokens wait. */
    const kvcache_bytes b = kvcache_accounted(&codecs, 150);
    assert_int_equal(b.key, 6 * (4 * 64 * 36 + (150 - 128) * 128));
    assert_int_equal(b.value, 6 * 150 * 128);
    assert_int_equal(b.f16_key, 6 * 150 * 128);
    assert_int_equal(kvcache_open(&codecs, 150, &cache, NULL), KVANT_OK);
    /* Resident: the same codes and sinks, a ring of window + block tokens, rounded to cache lines. */
    const kvcache_bytes r = kvcache_resident(cache);
    assert_int_equal(r.key, 6 * (4 * 64 * 36 + 4 * 128 + 42 * 128));
    assert_true(r.value >= b.value);
    kvcache_close(cache);
    kvcache_codecs_close(&codecs);
}

/* Of two layers the second sees 50 tokens: beyond them its memory does not grow, whatever the capacity, and bytes count the 50, blocks
 * of codes that hold one of them in whole. */
static void test_sliding_bytes(void **state)
{
    (void)state;
    kvcache_policy policy = { .key = side_of("kivi", "bits=8"), .value = side_of("affine", "bits=4,group_size=32") };
    const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 3, .head_dim = 64, .sliding = { 50, { 2 } } };
    static const uint32_t lengths[] = { 20, 50, 60, 82, 1000 };
    /* Blocks of 32 keys that are seen, and the keys behind the last of them. */
    static const uint32_t blocks[] = { 0, 1, 1, 1, 2 }, waits[] = { 20, 18, 28, 18, 8 };
    enum { BLOCK = 64 * 36, VECTOR = 128, CODE = 40 };
    kvcache_codecs codecs;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const uint32_t n = lengths[i], seen = n < 50 ? n : 50;
        const kvcache_bytes b = kvcache_accounted(&codecs, n);
        assert_int_equal(b.key, 3 * (n / 32 * BLOCK + n % 32 * VECTOR + blocks[i] * BLOCK + waits[i] * VECTOR));
        assert_int_equal(b.value, 3 * (n + seen) * CODE);
        assert_int_equal(b.f16_key, 3 * (n + seen) * VECTOR);
        kvcache *cache;
        assert_int_equal(kvcache_open(&codecs, n, &cache, NULL), KVANT_OK);
        const kvcache_bytes r = kvcache_resident(cache);
        assert_true(r.key >= b.key && r.value >= b.value);
        kvcache_close(cache);
    }
    kvcache *caches[2];
    kvcache_bytes sizes[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kvcache_open(&codecs, i ? 100000 : 1024, &caches[i], NULL), KVANT_OK);
        sizes[i] = kvcache_resident(caches[i]);
        kvcache_close(caches[i]);
    }
    /* The first layer's growth alone: 100000 / 32 blocks more, and nothing else; its ring of waiting keys is the same. */
    assert_int_equal(sizes[1].key - sizes[0].key, 3 * (100000 / 32 - 1024 / 32) * BLOCK);
    assert_int_equal(sizes[1].value - sizes[0].value, 3 * (100000 - 1024) * CODE);
    /* The last 50 tokens lie in two blocks of codes at most, and in up to 32 that wait. */
    assert_int_equal(sizes[0].key, 3 * (1024 / 32 * BLOCK + 32 * VECTOR + 2 * BLOCK + 32 * VECTOR));
    kvcache_codecs_close(&codecs);

    /* A window in f16 that covers the layer's makes it f16, of as many tokens. */
    policy.window = 50;
    policy.sink = 4;
    assert_int_equal(kvcache_codecs_open(&policy, &shape, NULL, &codecs, NULL), KVANT_OK);
    const kvcache_bytes b = kvcache_accounted(&codecs, 1000);
    assert_int_equal(b.value, 3 * ((1000 - 54) * CODE + 54 * VECTOR + 50 * VECTOR));
    kvcache_codecs_close(&codecs);
}

int main(void)
{
    omp_set_num_threads(1);        /* so that oneDNN stays on this thread, as it does inside a parallel region */
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_paths), cmocka_unit_test(test_policies), cmocka_unit_test(test_learners),
                                        cmocka_unit_test(test_allocation), cmocka_unit_test(test_bytes),
                                        cmocka_unit_test(test_sliding_bytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
