/* check_gates.c - the universal gates: what every quantizer satisfies, whatever its paper promises.
 * One row per gate and dimension, over all bits and choices; the row shows the variant that came nearest to failing. */
#include "harness/check/check_internal.h"
#include "harness/measure/stats.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS = 40, QUERIES = 3, GUARD = 64, GATE_SEEDS = 8, NMSE_VECTORS = 32 };

enum { BYTES, STATE, RANGE, SCORE, MIX, FINITE, NMSE, MONOTONE, GATES };

/* A gate passes when !(measured > limit). */
static const struct { const char *name, *metric, *input; double limit; } gates[GATES] = {
    [BYTES] = { "bytes", "bytes that encoding left open, or wrote outside of the plan's", "gaussian", 0 },
    [STATE] = { "state", "bytes and values that differ between states of one seed, or after moving one", "gaussian", 0 },
    [RANGE] = { "range", "bytes and values that differ when coded block by block and decoded one by one", "gaussian", 0 },
    [SCORE] = { "score", "|score - <q, decode>| over the bound of its rounding and of what a kernel states", "gaussian", 1 },
    [MIX] = { "mix", "|finish(mix) - sum of w decode| over the bound of its rounding and of what a kernel states", "gaussian", 1 },
    [FINITE] = { "finite", "values that are not finite, for zeros, denormals and up to 65504", "adversarial", 0 },
    [NMSE] = { "nmse", "nmse; at most 1 unless the quantizer states more", "gaussian", 1 },
    [MONOTONE] = { "monotone", "rise of nmse with one more bit, in standard errors", "gaussian", 4.5 },
};

/* Everything that one variant is tried with. */
typedef struct {
    const check *c;
    kvant_codec codec;
    size_t n, bytes;               /* vectors: whole units, VECTORS or more; bytes of their codes */
    kvant_data data;               /* [n + QUERIES][dim] */
    uint8_t *buffer, *code;        /* code lies between two guards in buffer */
    float *decoded, *other, *dot, *acc, *out;
    void *prepared, *scratch;
    double measured[GATES];        /* NAN: not measured */
    stats_mean nmse;
} trial;

/* ---- Single gates ------------------------------------------------------------------------------------ */

static void fill_code(trial *t, uint8_t with) { memset(t->buffer, with, t->bytes + 2 * GUARD); }

static size_t count_different(const void *a, const void *b, size_t bytes)
{
    const uint8_t *x = a, *y = b;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += x[i] != y[i];
    return n;
}

/* Encodes over zeros and over ones, with scratch likewise: every bit of the plan's bytes must come from the vectors (slots are
 * used again without clearing), and no other byte may change. */
static void try_bytes(trial *t, uint8_t *over_zeros)
{
    size_t wrong = 0;
    fill_code(t, 0);
    kvant_encode(&t->codec, t->data.x, 0, t->n, t->code, t->scratch);
    memcpy(over_zeros, t->code, t->bytes);
    for (size_t i = 0; i < GUARD; i++)
        wrong += (t->buffer[i] != 0) + (t->code[t->bytes + i] != 0);
    fill_code(t, 0xff);
    memset(t->scratch, 0xff, t->codec.scratch);
    kvant_encode(&t->codec, t->data.x, 0, t->n, t->code, t->scratch);
    for (size_t i = 0; i < GUARD; i++)
        wrong += (t->buffer[i] != 0xff) + (t->code[t->bytes + i] != 0xff);
    t->measured[BYTES] = (double)(wrong + count_different(t->code, over_zeros, t->bytes));
    kvant_decode(&t->codec, t->code, 0, t->n, t->decoded, t->scratch);
}

/* The state of a twin of the same seed must have the same bytes, and must work where the first one's lay, with its own memory
 * overwritten: whatever pointed into it would lead astray. */
static kvant_status try_state(trial *t, const kvant_args *args, kvant_error *err)
{
    size_t dim = t->codec.shape.dim, bytes = t->codec.plan.state;
    kvant_codec twin;
    kvant_status status = check_open(t->c, "gaussian", (uint32_t)dim, args, t->codec.shape.seed, &twin, err);
    if (status)
        return status;
    void *saved = kvant_alloc(bytes);
    if (saved) {
        size_t wrong = count_different(twin.state, t->codec.state, bytes);
        memcpy(saved, t->codec.state, bytes);
        memcpy(t->codec.state, twin.state, bytes);
        memset(twin.state, 0xa5, bytes);
        kvant_decode(&t->codec, t->code, 0, t->n, t->other, t->scratch);
        memcpy(t->codec.state, saved, bytes);
        t->measured[STATE] = (double)(wrong + count_different(t->other, t->decoded, t->n * dim * sizeof(float)));
    }
    free(saved);
    kvant_close(&twin);
    return saved ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "check: no memory for %zu bytes of state", bytes);
}

static void try_range(trial *t, const uint8_t *whole)
{
    size_t dim = t->codec.shape.dim, block = t->codec.plan.block;
    fill_code(t, 0);
    for (size_t i = 0; i < t->n; i += block)
        kvant_encode(&t->codec, t->data.x + i * dim, i, block, t->code, t->scratch);
    for (size_t i = 0; i < t->n; i++)
        kvant_decode(&t->codec, t->code, i, 1, t->other + i * dim, t->scratch);
    t->measured[RANGE] = (double)(count_different(t->code, whole, t->bytes) +
                                  count_different(t->other, t->decoded, t->n * dim * sizeof(float)));
}

static double product(const float *a, const float *b, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* A sum of m products in float is within m 2^-24 of their magnitudes. A score may be such a sum over a rotated query and rotated
 * vectors, each rounded so before, and over parts (scale times code, zero) that are larger than their sum: 16 covers them all. */
static double rounding(size_t m) { return 16 * (double)m * 0x1p-24; }

/* What a kernel's own decoding and products may be off by, relative, which tests/checkkernels holds it to more closely. */
static double stated(const trial *t) { return t->codec.kernel ? t->codec.kernel->distance + t->codec.kernel->products : 0; }

static double worse(double a, double b) { return isnan(a) || b <= a ? a : b; }      /* NaN is worst, and stays */

static void try_score(trial *t)
{
    size_t dim = t->codec.shape.dim;
    const float *q = t->data.x + t->n * dim;
    kvant_query(&t->codec, q, QUERIES, t->prepared, t->scratch);
    t->measured[SCORE] = 0;
    for (size_t first = 0; first < 8; first += 3) {                        /* ranges that begin and end inside of units */
        size_t n = t->n - 2 * first;
        kvant_score(&t->codec, t->prepared, QUERIES, t->code, first, n, t->dot, t->scratch);
        for (size_t i = 0; i < QUERIES; i++)
            for (size_t j = 0; j < n; j++) {
                const float *x = t->decoded + (first + j) * dim, *y = q + i * dim;
                double bound = (rounding(dim) + stated(t)) * sqrt(product(x, x, dim) * product(y, y, dim)) + 1e-30;
                double error = fabs(t->dot[i * n + j] - product(x, y, dim));
                t->measured[SCORE] = worse(t->measured[SCORE], error / bound);
            }
    }
}

/* The weight of vector j in output i: coordinates of a query, of both signs. */
static double weight(const trial *t, size_t i, size_t j)
{
    size_t dim = t->codec.shape.dim;
    return t->data.x[(t->n + i) * dim + j % dim];
}

static void mix_range(trial *t, size_t first, size_t n)
{
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t j = 0; j < n; j++)
            t->dot[i * n + j] = (float)weight(t, i, first + j);
    kvant_mix(&t->codec, t->dot, QUERIES, t->code, first, n, t->acc, t->scratch);
}

/* In two calls on odd ranges: mix adds to what is there. */
static void try_mix(trial *t)
{
    size_t dim = t->codec.shape.dim, first = 1, end = t->n - 1, split = t->n / 2 + 1;
    memset(t->acc, 0, QUERIES * t->codec.acc * sizeof(float));
    mix_range(t, first, split - first);
    mix_range(t, split, end - split);
    kvant_finish(&t->codec, t->acc, QUERIES, t->out, t->scratch);
    t->measured[MIX] = 0;
    for (size_t i = 0; i < QUERIES; i++) {
        double error = 0, magnitude = 0;
        for (size_t j = first; j < end; j++) {
            const float *x = t->decoded + j * dim;
            magnitude += fabs(weight(t, i, j)) * sqrt(product(x, x, dim));
        }
        for (size_t k = 0; k < dim; k++) {
            double right = 0;
            for (size_t j = first; j < end; j++)
                right += weight(t, i, j) * t->decoded[j * dim + k];
            error += (t->out[i * dim + k] - right) * (t->out[i * dim + k] - right);
        }
        t->measured[MIX] = worse(t->measured[MIX], sqrt(error) / ((rounding(dim + end - first) + stated(t)) * magnitude + 1e-30));
    }
}

/* One kind of hostile vector after the other: zero, denormal, tiny, the largest halves, a spike, and magnitudes side by side. */
static float hostile(size_t kind, size_t j)
{
    switch (kind % 6) {
    case 0: return 0;
    case 1: return j % 2 ? 1e-40f : -3e-41f;
    case 2: return 1e-30f;
    case 3: return j % 2 ? 65504 : -65504;
    case 4: return j == 5 ? 65504 : 0;
    default: return j % 3 ? 6e-8f : 60000;
    }
}

static void try_finite(trial *t)
{
    size_t dim = t->codec.shape.dim, wrong = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t j = 0; j < dim; j++)
            t->other[i * dim + j] = hostile(i, j);
    kvant_encode(&t->codec, t->other, 0, t->n, t->code, t->scratch);
    kvant_decode(&t->codec, t->code, 0, t->n, t->other, t->scratch);
    kvant_query(&t->codec, t->data.x, QUERIES, t->prepared, t->scratch);
    kvant_score(&t->codec, t->prepared, QUERIES, t->code, 0, t->n, t->dot, t->scratch);
    for (size_t i = 0; i < t->n * dim; i++)
        wrong += !isfinite(t->other[i]);
    for (size_t i = 0; i < t->n * QUERIES; i++)
        wrong += !isfinite(t->dot[i]);
    t->measured[FINITE] = (double)wrong;
}

static kvant_status try_nmse(trial *t, const kvant_args *args, kvant_error *err)
{
    check_clusters *clusters = calloc(1, sizeof *clusters);
    if (!clusters)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory");
    kvant_status status = check_measure(t->c, "gaussian", t->codec.shape.dim, args, NMSE_VECTORS, GATE_SEEDS, clusters, err);
    t->nmse = stats_clustered(clusters->value[FIDELITY_NMSE], clusters->weight[FIDELITY_NMSE], GATE_SEEDS);
    t->measured[NMSE] = t->nmse.mean;
    free(clusters);
    return status;
}

/* ---- All gates of a variant ---------------------------------------------------------------------------- */

static void trial_close(trial *t)
{
    kvant_close(&t->codec);
    data_free(&t->data);
    free(t->buffer);
    free(t->decoded);
    free(t->other);
    free(t->dot);
    free(t->acc);
    free(t->out);
    free(t->prepared);
    free(t->scratch);
}

static kvant_status trial_open(trial *t, uint32_t dim, const kvant_args *args, kvant_error *err)
{
    kvant_status status = check_open(t->c, "gaussian", dim, args, 1, &t->codec, err);
    if (status)
        return status;
    t->n = (VECTORS + t->codec.unit - 1) / t->codec.unit * t->codec.unit;
    t->bytes = kvant_bytes(&t->codec, t->n);
    t->buffer = kvant_alloc(t->bytes + 2 * GUARD);
    t->code = t->buffer + GUARD;
    t->decoded = kvant_alloc(t->n * dim * sizeof(float));
    t->other = kvant_alloc(t->n * dim * sizeof(float));
    t->dot = kvant_alloc(QUERIES * t->n * sizeof(float));
    t->acc = kvant_alloc(QUERIES * t->codec.acc * sizeof(float));
    t->out = kvant_alloc(QUERIES * dim * sizeof(float));
    t->prepared = kvant_alloc(QUERIES * t->codec.query);
    t->scratch = kvant_alloc(t->codec.scratch);
    if (!t->buffer || !t->decoded || !t->other || !t->dot || !t->acc || !t->out || !t->prepared || !t->scratch)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory for %zu vectors", t->n);
    return check_data(t->c, "gaussian", dim, t->n + QUERIES, CHECK_SEEDS, &t->data, err);
}

static kvant_status try_all(trial *t, uint32_t dim, const kvant_args *args, kvant_error *err)
{
    kvant_status status = trial_open(t, dim, args, err);
    uint8_t *whole = status ? NULL : kvant_alloc(t->bytes);
    if (!status && !whole)
        status = kvant_fail(err, KVANT_NOMEM, "check: no memory for %zu vectors", t->n);
    if (!status) {
        try_bytes(t, whole);
        status = try_state(t, args, err);
    }
    if (!status) {
        try_range(t, whole);
        try_score(t);
        try_mix(t);
        try_finite(t);
        status = try_nmse(t, args, err);
    }
    free(whole);
    return status;
}

/* ---- Rows ------------------------------------------------------------------------------------------------ */

/* A quantizer may state that its error is larger than the vector, as some unbiased ones and the broken control do. */
static bool states_large_error(const kvant_quantizer *q)
{
    for (const kvant_oracle *o = q->oracles; o && o->input; o++)
        if (!strcmp(o->metric, "nmse") && o->value > 1)
            return true;
    return false;
}

typedef struct { bool measured; double value; const char *given; } worst_of;

static void emit_rows(check *c, uint32_t dim, const worst_of worst[GATES])
{
    for (size_t g = 0; g < GATES; g++) {
        char where[CHECK_TEXT];
        bool stated = g == NMSE && states_large_error(c->quantizer);
        bool pass = stated ? isfinite(worst[g].value) : !(worst[g].value > gates[g].limit) && !isnan(worst[g].value);
        if (!worst[g].measured)
            continue;
        snprintf(where, sizeof where, "%s d=%u", gates[g].input, dim);
        check_emit(c, (store_check) { .name = gates[g].name, .input = where, .args = worst[g].given, .metric = gates[g].metric,
                                      .source = stated ? "universal gate; more than 1 is stated" : "universal gate",
                                      .measured = worst[g].value, .expected = gates[g].limit, .se = NAN, .z = NAN,
                                      .verdict = pass ? "pass" : "fail" });
    }
}

static void emit_shape(check *c, uint32_t dim, const char *given, kvant_status status, const kvant_error *why)
{
    char where[CHECK_TEXT];
    snprintf(where, sizeof where, "d=%u", dim);
    check_emit(c, (store_check) { .name = "shape", .input = where, .args = given, .metric = "opens", .source = why->text,
                                  .measured = NAN, .expected = NAN, .se = NAN, .z = NAN,
                                  .verdict = status == KVANT_SKIP ? "skip" : "fail" });
}

static kvant_status check_dim(check *c, uint32_t dim, const check_variant *variants, size_t n, kvant_error *err)
{
    worst_of worst[GATES] = { { false, 0, NULL } };
    stats_mean before = { NAN, NAN, 0 };           /* nmse at one bit less */
    kvant_error last = { "" };                     /* variants that share a reason share a row */
    for (size_t i = 0; i < n; i++) {
        trial t = { .c = c };
        kvant_error why = { "" };
        for (size_t g = 0; g < GATES; g++)
            t.measured[g] = NAN;
        kvant_status status = interrupted() ? kvant_fail(&why, KVANT_INTERRUPTED, "check: interrupted")
                                            : try_all(&t, dim, &variants[i].args, &why);
        trial_close(&t);
        if (status == KVANT_NOMEM || status == KVANT_INTERRUPTED)
            return kvant_fail(err, status, "%s", why.text);
        if (status) {
            if (strcmp(why.text, last.text))
                emit_shape(c, dim, variants[i].given, status, &why);
            last = why;
            continue;
        }
        bool rises = variants[i].by_bits && before.n;
        if (rises)
            t.measured[MONOTONE] = (t.nmse.mean - before.mean) / (hypot(t.nmse.se, before.se) + 1e-12);
        if (variants[i].by_bits)
            before = t.nmse;
        for (size_t g = 0; g < GATES; g++)
            if ((g != MONOTONE || rises) && (!worst[g].measured || !(t.measured[g] <= worst[g].value || isnan(worst[g].value))))
                worst[g] = (worst_of) { true, t.measured[g], variants[i].given };
    }
    emit_rows(c, dim, worst);
    return KVANT_OK;
}

kvant_status check_gates(check *c, kvant_error *err)
{
    static const uint32_t all[] = { 64, 80, 96, 128, 256 }, quick[] = { 64, 80 };
    const uint32_t *dims = c->options->quick ? quick : all;
    size_t n_dims = c->options->quick ? sizeof quick / sizeof *quick : sizeof all / sizeof *all;
    check_variant *variants = calloc(CHECK_VARIANTS, sizeof *variants);
    if (!variants)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory");
    size_t n = check_variants(c->quantizer->params, variants);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n_dims && !status; i++)
        status = check_dim(c, dims[i], variants, n, err);
    free(variants);
    return status;
}
