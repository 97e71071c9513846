/* streams.c - see streams.h.
 * Channels, codes, queries and accumulators of a stream are gathered a few at a time, so that its ops find them side by side. */
#include "algorithms/shared/parts.h"
#include "algorithms/shared/streams.h"
#include "algorithms/shared/training.h"
#include "algorithms/shared/vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS, SELECT, LIST, SOURCE, TRAIN_MIN };    /* behind streams_method.params */
enum { SELECT_NORM, SELECT_VARIANCE, SELECT_LIST };
enum { SOURCE_CALIBRATION, SOURCE_PROMPT };
enum { REST, OUTLIERS, PARTS };
enum { STEP = 16, QUERIES = 16, ALIGN = 64, CHANNELS_MIN = 4, DIM_MAX = 4096 };

/* One stream: where its channels begin in the state's table, its state, and its share of codes, queries and accumulators. */
typedef struct { size_t d, channel, state, code_at, code, query_at, query, acc_at, acc, train_min; } part;

/* The state: this, a float per channel that marks outliers, then both streams' states. base.outliers is not 0. */
typedef struct {
    rotated base;
    uint32_t select;
    size_t query, acc;             /* bytes and floats of both streams */
    size_t code_at, block_at, inner_at;    /* in scratch, behind gathered floats */
    part part[PARTS];
} streams;

static size_t rounded(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static float *marks_of(void *state) { return (float *)(void *)((char *)state + sizeof(streams)); }
static const void *state_of(const streams *s, const part *p) { return (const char *)s + p->state; }

/* NULL when the state is the method's own. */
static const streams *split_of(const void *state) { return ((const rotated *)state)->outliers ? state : NULL; }

/* Channels of the rest, then of the outliers, both ascending. */
typedef struct { uint16_t of[DIM_MAX]; } channel_list;

/* As many as the streams have, whatever the marks: a state may come from a file. */
static void list_channels(const streams *s, channel_list *channels)
{
    const float *mark = (const float *)(const void *)(s + 1);
    uint16_t *rest = channels->of, *outliers = rest + s->part[OUTLIERS].channel;
    for (size_t j = 0, left = s->base.outliers; j < s->base.d; j++) {
        bool outlier = left && (mark[j] > 0 || left == s->base.d - j);
        *(outlier ? outliers++ : rest++) = (uint16_t)j;
        left -= outlier;
    }
}

kvant_status streams_bits(const char *name, double bits, double outlier_bits, double max, double *both, kvant_error *err)
{
    *both = outlier_bits > 0 ? outlier_bits : bits + 1;
    return *both <= max ? KVANT_OK : kvant_fail(err, KVANT_INVALID, "%s: outlier_bits is one more than bits=%g, and %g is the most: "
                                                "give outlier_bits", name, bits, max);
}

/* ---- Planning ------------------------------------------------------------------------------------ */

static kvant_status check_args(const streams_method *method, uint32_t d, const kvant_args *args, kvant_error *err)
{
    const double *v = args->v + method->params;
    double listed = v[LIST], wanted = v[SELECT] == SELECT_LIST ? v[CHANNELS] : 0;
    if (listed != wanted)
        return kvant_fail(err, KVANT_INVALID, "%s: outlier_list has %g channels, and outlier_select=%s with outlier_channels=%g wants %g",
                          method->name, listed, v[SELECT] == SELECT_LIST ? "list" : "norm or variance", v[CHANNELS], wanted);
    if (listed > 0 && args->list[(size_t)listed - 1] >= d)
        return kvant_fail(err, KVANT_INVALID, "%s: outlier_list: there is no channel %u, for dim is %u", method->name,
                          args->list[(size_t)listed - 1], d);
    if (v[CHANNELS] > 0 && (v[CHANNELS] < CHANNELS_MIN || v[CHANNELS] + CHANNELS_MIN > d))
        return kvant_fail(err, KVANT_SKIP, "%s: outlier_channels=%g splits %u channels into streams of which one has less than %d",
                          method->name, v[CHANNELS], d, CHANNELS_MIN);
    return KVANT_OK;
}

/* What one stream is asked for. The seed of the outliers differs in the highest bit, which seeds of layers do not reach. */
static kvant_status ask(const streams_method *method, const kvant_shape *whole, const kvant_args *given, int stream,
                        kvant_shape *shape, kvant_args *args, kvant_error *err)
{
    uint32_t outliers = (uint32_t)given->v[method->params + CHANNELS];
    *shape = *whole;
    *args = *given;
    shape->dim = stream == OUTLIERS ? outliers : whole->dim - outliers;
    shape->seed = stream == OUTLIERS ? whole->seed ^ 0x80000000u : whole->seed;
    return stream == OUTLIERS ? method->outliers(args, err) : KVANT_OK;
}

static void add_note(const char *of, const char *note, kvant_plan *plan)
{
    size_t used = strlen(plan->note);
    if (*note)
        snprintf(plan->note + used, sizeof plan->note - used, "%s%s: %s", used ? "; " : "", of, note);
}

/* Both streams' plans as one, and where everything is. */
static kvant_status lay_out(const streams_method *method, const kvant_shape *whole, const kvant_args *given, streams *s,
                            kvant_plan *plan, kvant_error *err)
{
    static const char *const names[PARTS] = { "rest", "outliers" };
    size_t gathered = STEP * (size_t)whole->dim * sizeof(float), code = 0, scratch = 0;
    *s = (streams) { .base = { .d = whole->dim, .rotation = ROTATION_NONE, .outliers = (uint32_t)given->v[method->params + CHANNELS] },
                     .select = (uint32_t)given->v[method->params + SELECT] };
    plan->state = sizeof *s + whole->dim * sizeof(float);
    for (int k = 0; k < PARTS; k++) {
        kvant_shape shape;
        kvant_args args;
        kvant_plan one = { 0 };
        kvant_status status = ask(method, whole, given, k, &shape, &args, err);
        if (!status)
            status = method->plan(&shape, &args, &one, err);
        if (status)
            return status;
        plan->state = rounded(plan->state);
        s->part[k] = (part) { .d = shape.dim, .channel = k == OUTLIERS ? whole->dim - shape.dim : 0, .state = plan->state,
                              .code_at = plan->code, .code = one.code, .query_at = plan->query, .query = one.query,
                              .acc_at = plan->acc, .acc = one.acc, .train_min = one.train_min };
        plan->state += one.state, plan->code += one.code, plan->query += one.query, plan->acc += one.acc;
        plan->bits_asked += one.bits_asked * shape.dim / whole->dim;
        plan->train_min = larger(plan->train_min, one.train_min);
        add_note(names[k], one.note, plan);
        code = larger(code, one.code);
        scratch = larger(scratch, one.scratch);
        gathered = larger(gathered, QUERIES * one.acc * sizeof(float));
    }
    gathered = larger(gathered, QUERIES * plan->query);
    s->base.code = (uint32_t)plan->code;
    s->query = plan->query, s->acc = plan->acc;
    s->code_at = rounded(gathered);
    s->block_at = s->code_at + rounded(STEP * code);
    s->inner_at = s->block_at + rounded(QUERIES * STEP * sizeof(float));
    plan->scratch = s->inner_at + scratch;
    return KVANT_OK;
}

kvant_status streams_plan(const streams_method *method, const kvant_shape *shape, const kvant_args *args, kvant_plan *plan,
                          kvant_error *err)
{
    const double *v = args->v + method->params;
    streams s;
    kvant_status status = check_args(method, shape->dim, args, err);
    if (status || !(v[CHANNELS] > 0))
        return status ? status : method->plan(shape, args, plan, err);
    status = lay_out(method, shape, args, &s, plan, err);
    if (status || v[SELECT] == SELECT_LIST)
        return status;
    if (v[SOURCE] == SOURCE_PROMPT && plan->train_min)
        return kvant_fail(err, KVANT_SKIP, "%s: codebook=trained learns from calibration data, and outlier_source=prompt from each "
                          "sequence: use one source", method->name);
    plan->train_min = larger(plan->train_min, (size_t)v[TRAIN_MIN]);
    plan->prompt = v[SOURCE] == SOURCE_PROMPT;
    plan->trained = plan->prompt ? (shape->dim + 7) / 8 : 0;
    return KVANT_OK;
}

/* ---- Channels ------------------------------------------------------------------------------------ */

kvant_status streams_init(const streams_method *method, const kvant_shape *shape, const kvant_args *args, void *state,
                          kvant_error *err)
{
    kvant_plan both = { 0 };
    if (!(args->v[method->params + CHANNELS] > 0))
        return method->init(shape, args, state, err);
    streams *s = state;
    kvant_status status = lay_out(method, shape, args, s, &both, err);
    for (size_t i = 0; i < s->base.outliers && !status; i++)   /* any, where train will choose */
        marks_of(state)[s->select == SELECT_LIST ? args->list[i] : i] = 1;
    for (int k = 0; k < PARTS && !status; k++) {
        kvant_shape of_part;
        kvant_args args_of_part;
        status = ask(method, shape, args, k, &of_part, &args_of_part, err);
        if (!status)
            status = method->init(&of_part, &args_of_part, (char *)state + s->part[k].state, err);
    }
    return status;
}

void streams_parts(const streams_method *method, const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts)
{
    kvant_plan both = { 0 };
    if (!(args->v[method->params + CHANNELS] > 0)) {
        method->parts(shape, args, state, parts);
        return;
    }
    streams *s = state;
    if (lay_out(method, shape, args, s, &both, NULL))
        return;                    /* not a shape that streams_plan takes */
    parts_add(parts, "", "outliers", KVANT_TABLE, state, marks_of(state), 1, s->base.d, s->base.d);
    for (int k = 0; k < PARTS; k++) {
        kvant_shape of_part;
        kvant_args args_of_part;
        kvant_parts own = { .n = 0 };
        if (ask(method, shape, args, k, &of_part, &args_of_part, NULL))
            return;
        method->parts(&of_part, &args_of_part, (char *)state + s->part[k].state, &own);
        for (size_t i = 0; i < own.n; i++) {
            kvant_part *p = &parts->part[parts->n++];
            *p = own.part[i];
            p->offset += s->part[k].state;
            snprintf(p->name, sizeof p->name, "%s%.20s", k == OUTLIERS ? "outlier_" : "", own.part[i].name);
        }
    }
}

/* Mean square of one channel, or its variance, from finite x. */
static double size_of(const float *x, size_t n, size_t stride, bool centred)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i * stride];
    double mean = centred ? sum / (double)n : 0;
    for (size_t i = 0; i < n; i++)
        square += (x[i * stride] - mean) * (x[i * stride] - mean);
    return square;
}

static void choose(void *state, const float *x, size_t n)
{
    const streams *s = state;
    double size[DIM_MAX];
    float *outlier = marks_of(state);
    memset(outlier, 0, s->base.d * sizeof *outlier);
    for (size_t j = 0; j < s->base.d; j++)
        size[j] = size_of(x + j, n, s->base.d, s->select == SELECT_VARIANCE);
    for (size_t i = 0; i < s->base.outliers; i++) {
        size_t best = 0;
        while (outlier[best] > 0)
            best++;
        for (size_t j = best + 1; j < s->base.d; j++)
            best = !(outlier[j] > 0) && size[j] > size[best] ? j : best;
        outlier[best] = 1;
    }
}

static void gather(const streams *s, const channel_list *channels, const part *p, const float *x, size_t n, float *out)
{
    const uint16_t *channel = channels->of + p->channel;
    for (size_t i = 0; i < n; i++, x += s->base.d, out += p->d)
        for (size_t j = 0; j < p->d; j++)
            out[j] = x[channel[j]];
}

static void scatter(const streams *s, const channel_list *channels, const part *p, const float *in, size_t n, float *x)
{
    const uint16_t *channel = channels->of + p->channel;
    for (size_t i = 0; i < n; i++, x += s->base.d, in += p->d)
        for (size_t j = 0; j < p->d; j++)
            x[channel[j]] = in[j];
}

static kvant_status train_part(const streams_method *method, void *state, const part *p, const float *x, size_t n, kvant_error *err)
{
    channel_list channels;
    float *own = malloc(n * p->d * sizeof *own);
    if (!own)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to train on %zu vectors", method->name, n);
    list_channels(state, &channels);
    gather(state, &channels, p, x, n, own);
    kvant_status status = method->train((char *)state + p->state, own, n, err);
    free(own);
    return status;
}

kvant_status streams_train(const streams_method *method, void *state, const float *x, size_t n, kvant_error *err)
{
    const streams *s = split_of(state);
    bool codebooks = s && (s->part[REST].train_min || s->part[OUTLIERS].train_min);
    if (!s && method->train)
        return method->train(state, x, n, err);
    if (!s || (s->select == SELECT_LIST && !codebooks))
        return kvant_fail(err, KVANT_INVALID, "%s: with these parameters there is nothing to train", method->name);
    kvant_status status = training_finite(method->name, x, n, s->base.d, err);
    if (!status && s->select != SELECT_LIST)
        choose(state, x, n);
    for (int k = 0; k < PARTS && codebooks && !status; k++)
        status = train_part(method, state, &s->part[k], x, n, err);
    return status;
}

/* ---- Ops ----------------------------------------------------------------------------------------- */

/* Rooms of a thread's scratch. */
typedef struct { float *gathered, *block; uint8_t *code; void *inner; } rooms;

static rooms rooms_of(const streams *s, void *scratch)
{
    char *at = scratch;
    return (rooms) { scratch, (float *)(void *)(at + s->block_at), (uint8_t *)at + s->code_at, at + s->inner_at };
}

static size_t at_most(size_t n, size_t most) { return n < most ? n : most; }

/* Copies n rows of `bytes` each, from and to arrays whose rows are further apart. */
static void copy_rows(void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * to_stride, (const char *)from + i * from_stride, bytes);
}

void streams_encode(const streams_method *method, const void *state, const float *x, size_t n, uint8_t *code, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.encode(state, x, 0, n, code, scratch);
        return;
    }
    channel_list channels;
    list_channels(s, &channels);
    rooms r = rooms_of(s, scratch);
    for (size_t done = 0, step; done < n; done += step, x += step * s->base.d, code += step * s->base.code) {
        step = at_most(n - done, STEP);
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            gather(s, &channels, p, x, step, r.gathered);
            method->ops.encode(state_of(s, p), r.gathered, 0, step, r.code, r.inner);
            copy_rows(code + p->code_at, s->base.code, r.code, p->code, p->code, step);
        }
    }
}

/* A stream's codes of some vectors, side by side. */
static const uint8_t *codes(const streams *s, const part *p, const uint8_t *code, size_t n, rooms *r)
{
    copy_rows(r->code, p->code, code + p->code_at, s->base.code, p->code, n);
    return r->code;
}

void streams_decode(const streams_method *method, const void *state, const uint8_t *code, size_t n, float *x, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.decode(state, code, 0, n, x, scratch);
        return;
    }
    channel_list channels;
    list_channels(s, &channels);
    rooms r = rooms_of(s, scratch);
    for (size_t done = 0, step; done < n; done += step, x += step * s->base.d, code += step * s->base.code) {
        step = at_most(n - done, STEP);
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            method->ops.decode(state_of(s, p), codes(s, p, code, step, &r), 0, step, r.gathered, r.inner);
            scatter(s, &channels, p, r.gathered, step, x);
        }
    }
}

void streams_query(const streams_method *method, const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.query(state, q, nq, prepared, scratch);
        return;
    }
    channel_list channels;
    list_channels(s, &channels);
    rooms r = rooms_of(s, scratch);
    for (size_t i = 0; i < nq; i++, q += s->base.d)
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            gather(s, &channels, p, q, 1, r.gathered);
            method->ops.query(state_of(s, p), r.gathered, 1, (char *)prepared + i * s->query + p->query_at, r.inner);
        }
}

/* At most QUERIES queries; dot is [nq] rows of `stride`. */
static void score_some(const streams_method *method, const streams *s, const char *prepared, size_t nq, const uint8_t *code, size_t n,
                       float *dot, size_t stride, rooms r)
{
    for (const part *p = s->part; p < s->part + PARTS; p++)
        copy_rows((char *)r.gathered + nq * p->query_at, p->query, prepared + p->query_at, s->query, p->query, nq);
    for (size_t done = 0, step; done < n; done += step, code += step * s->base.code) {
        step = at_most(n - done, STEP);
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            method->ops.score(state_of(s, p), (char *)r.gathered + nq * p->query_at, nq, codes(s, p, code, step, &r), 0, step, r.block,
                              r.inner);
            for (size_t i = 0; i < nq; i++)
                for (size_t v = 0; v < step; v++)
                    dot[i * stride + done + v] = r.block[i * step + v] + (p == s->part ? 0 : dot[i * stride + done + v]);
        }
    }
}

void streams_score(const streams_method *method, const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t n,
                   float *dot, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.score(state, prepared, nq, code, 0, n, dot, scratch);
        return;
    }
    for (size_t i = 0; i < nq; i += QUERIES)
        score_some(method, s, (const char *)prepared + i * s->query, at_most(nq - i, QUERIES), code, n, dot + i * n, n,
                   rooms_of(s, scratch));
}

/* At most QUERIES queries; w is [nq] rows of `stride`. */
static void mix_some(const streams_method *method, const streams *s, const part *p, const float *w, size_t stride, size_t nq,
                     const uint8_t *code, size_t n, float *acc, rooms r)
{
    copy_rows(r.gathered, p->acc * sizeof *acc, acc + p->acc_at, s->acc * sizeof *acc, p->acc * sizeof *acc, nq);
    for (size_t done = 0, step; done < n; done += step, code += step * s->base.code) {
        step = at_most(n - done, STEP);
        copy_rows(r.block, step * sizeof *w, w + done, stride * sizeof *w, step * sizeof *w, nq);
        method->ops.mix(state_of(s, p), r.block, nq, codes(s, p, code, step, &r), 0, step, r.gathered, r.inner);
    }
    copy_rows(acc + p->acc_at, s->acc * sizeof *acc, r.gathered, p->acc * sizeof *acc, p->acc * sizeof *acc, nq);
}

void streams_mix(const streams_method *method, const void *state, const float *w, size_t nq, const uint8_t *code, size_t n,
                 float *acc, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.mix(state, w, nq, code, 0, n, acc, scratch);
        return;
    }
    for (size_t i = 0; i < nq; i += QUERIES)
        for (const part *p = s->part; p < s->part + PARTS; p++)
            mix_some(method, s, p, w + i * n, n, at_most(nq - i, QUERIES), code, n, acc + i * s->acc, rooms_of(s, scratch));
}

void streams_finish(const streams_method *method, const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const streams *s = split_of(state);
    if (!s) {
        method->ops.finish(state, acc, nq, out, scratch);
        return;
    }
    channel_list channels;
    list_channels(s, &channels);
    rooms r = rooms_of(s, scratch);
    for (size_t i = 0; i < nq; i++, acc += s->acc, out += s->base.d)
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            method->ops.finish(state_of(s, p), acc + p->acc_at, 1, r.gathered, r.inner);
            scatter(s, &channels, p, r.gathered, 1, out);
        }
}

void streams_symbols(const streams_method *method, const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const streams *s = split_of(state);
    uint16_t own[DIM_MAX];
    channel_list channels;
    if (!s) {
        method->ops.symbols(state, code, n, sym);
        return;
    }
    list_channels(s, &channels);
    for (size_t i = 0; i < n; i++, code += s->base.code, sym += s->base.d)
        for (const part *p = s->part; p < s->part + PARTS; p++) {
            method->ops.symbols(state_of(s, p), code + p->code_at, 1, own);
            for (size_t j = 0; j < p->d; j++)
                sym[channels.of[p->channel + j]] = own[j];
        }
}
