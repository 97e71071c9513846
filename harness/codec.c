/* codec.c - a quantizer made ready for use: planned, given memory, joined with its kernel, and driven by vector index.
 * The harness calls a quantizer only through here, so unit arithmetic and the fall-backs by decode exist once. */
#include "algorithms/shared/vector.h"
#include "harness/kernels.h"
#include "harness/util.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN = 64,
    DIM_MIN = 8, DIM_MAX = 4096,
    UNIT_MAX = 4096,           /* vectors that a method or a layout may couple */
    STEP = 16                  /* vectors that a fall-back decodes at a time */
};
static const size_t size_max = (size_t)1 << 32;        /* of any one size in a plan: products of two cannot overflow */

kvant_status kvant_fail(kvant_error *err, kvant_status status, const char *format, ...)
{
    if (err) {
        va_list list;
        va_start(list, format);
        vsnprintf(err->text, sizeof err->text, format, list);
        va_end(list);
    }
    return status;
}

const char *kvant_version(void) { return KVANT_VERSION; }

static size_t rounded(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

void *kvant_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t n = bytes ? rounded(bytes) : ALIGN;
    void *memory = aligned_alloc(ALIGN, n);
    return memory ? memset(memory, 0, n) : NULL;
}

const kvant_quantizer *kvant_find(const char *name, kvant_error *err)
{
    return plugin_find(kvant_quantizers(), "quantizer", name, err);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool allowed_list(const kvant_param *p, double count, const uint16_t list[KVANT_MAX_LIST])
{
    if (!(count >= 0 && count <= KVANT_MAX_LIST && count == floor(count)))
        return false;
    size_t n = (size_t)count;
    bool good = true;
    for (size_t i = 0; i < KVANT_MAX_LIST; i++)
        good = good && (i >= n ? list[i] == 0 : list[i] >= p->min && list[i] <= p->max && (!i || list[i] > list[i - 1]));
    return good;
}

static bool allowed(const kvant_param *p, double v)
{
    if (p->type == KVANT_CHOICE) {
        int n = 0;
        while (p->choices[n])
            n++;
        return v >= 0 && v < n && v == floor(v);
    }
    return v >= p->min && v <= p->max && (p->type == KVANT_REAL || v == floor(v));
}

static kvant_status validate_args(const kvant_quantizer *q, const kvant_args *args, kvant_error *err)
{
    for (int i = 0; q->params && i < KVANT_MAX_PARAMS && q->params[i].name; i++)
        if (!(q->params[i].type == KVANT_LIST ? allowed_list(&q->params[i], args->v[i], args->list)
                                              : allowed(&q->params[i], args->v[i])))
            return kvant_fail(err, KVANT_INVALID, "%s: %s = %g is out of range; `kvant list %s` shows the ranges", q->name,
                              q->params[i].name, args->v[i], q->name);
    return KVANT_OK;
}

static kvant_status validate_plan(const kvant_quantizer *q, const kvant_plan *p, kvant_error *err)
{
    if (!p->code || p->code > size_max || p->state > size_max || p->query > size_max || p->scratch > size_max || p->acc > size_max)
        return kvant_fail(err, KVANT_FAILED, "%s: plan: sizes must be below 4 GiB and a code at least one byte", q->name);
    if (p->block > UNIT_MAX || p->tile > UNIT_MAX || (p->block % p->tile && p->tile % p->block))
        return kvant_fail(err, KVANT_FAILED, "%s: plan: block %zu and tile %zu must be at most %d, one a multiple of the other",
                          q->name, p->block, p->tile, UNIT_MAX);
    if (p->prompt && (!q->train || !p->train_min || p->train_min > UNIT_MAX || p->trained > size_max))
        return kvant_fail(err, KVANT_FAILED, "%s: plan: a sequence trains by train(), on 1 to %d of its vectors", q->name, UNIT_MAX);
    if (!(p->bits_asked > 0 && isfinite(p->bits_asked)))
        return kvant_fail(err, KVANT_FAILED, "%s: plan: bits_asked is not set", q->name);
    return KVANT_OK;
}

/* In a layout or with a state of the kernel's own no scalar op can serve. */
static void drop_scalar(kvant_ops *ops, const kvant_ops *scalar)
{
    if (ops->encode == scalar->encode) ops->encode = NULL;
    if (ops->decode == scalar->decode) ops->decode = NULL;
    if (ops->query == scalar->query) ops->query = NULL;
    if (ops->score == scalar->score) ops->score = NULL;
    if (ops->mix == scalar->mix) ops->mix = NULL;
    if (ops->finish == scalar->finish) ops->finish = NULL;
    if (ops->symbols == scalar->symbols) ops->symbols = NULL;
}

/* The form that a kernel gives this shape; false when it gives none. A sequence that trains a codec trains its state only. */
static bool form_of(const kvant_kernel *kernel, const kvant_codec *c, kvant_form *form)
{
    const kvant_quantizer *q = c->quantizer;
    *form = (kvant_form) { .ops = q->ops, .tile = c->plan.tile, .query = c->plan.query, .acc = c->plan.acc,
                           .scratch = c->plan.scratch };
    if (!kernel->form(&c->shape, &c->args, form) || (form->derived && c->plan.prompt))
        return false;
    if (form->derived || form->tile != c->plan.tile)
        drop_scalar(&form->ops, &q->ops);
    return true;
}

static kvant_status choose_form(kvant_codec *c, const char *isa, kvant_error *err)
{
    const kvant_quantizer *q = c->quantizer;
    bool automatic = !isa || !strcmp(isa, "auto"), scalar = isa && !strcmp(isa, "scalar"), known = false;
    kvant_form chosen = { .ops = q->ops, .tile = c->plan.tile, .query = c->plan.query, .acc = c->plan.acc,
                          .scratch = c->plan.scratch };
    for (const kvant_kernel *const *k = kvant_kernels(); *k && !scalar; k++) {
        kvant_form form;
        if (strcmp((*k)->quantizer, q->name) || !(automatic || !strcmp((*k)->target, isa)))
            continue;
        known = true;
        if (form_of(*k, c, &form)) {
            chosen = form;
            c->kernel = *k;
        }
    }
    if (!automatic && !scalar && !c->kernel)
        return kvant_fail(err, KVANT_INVALID, "%s: target '%.32s' %s; use auto or scalar", q->name, isa,
                          known ? "does not run on this processor or with this shape" : "has no kernel for this quantizer");
    c->target = c->kernel ? c->kernel->target : "scalar";
    c->ops = chosen.ops;
    c->plan.tile = chosen.tile;
    c->plan.query = chosen.query;
    c->plan.acc = chosen.acc;
    c->plan.scratch = chosen.scratch;
    c->derived_bytes = chosen.derived;
    if (!c->ops.encode || !c->ops.decode || !c->ops.query != !c->ops.score || !c->ops.mix != !c->ops.finish)
        return kvant_fail(err, KVANT_FAILED, "%s: %s: ops need encode, decode, and query with score, mix with finish", q->name,
                          c->target);
    return KVANT_OK;
}

static kvant_status set_sizes(kvant_codec *c, kvant_error *err)
{
    kvant_status status = validate_plan(c->quantizer, &c->plan, err);
    if (status)
        return status;
    c->unit = c->plan.block > c->plan.tile ? c->plan.block : c->plan.tile;
    c->unit_bytes = c->plan.code * (c->unit / c->plan.block);
    c->query = c->ops.score ? c->plan.query : c->shape.dim * sizeof(float);
    c->acc = c->ops.mix ? c->plan.acc : c->shape.dim;
    c->scratch = rounded(c->plan.scratch);
    if (!c->ops.score || !c->ops.mix)
        c->scratch += STEP * c->shape.dim * sizeof(float);
    return KVANT_OK;
}

kvant_status kvant_describe(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                            kvant_codec *codec, kvant_error *err)
{
    kvant_codec c = { .quantizer = quantizer, .shape = *shape, .args = args ? *args : kvant_defaults(quantizer->params) };
    memset(codec, 0, sizeof *codec);
    if (shape->dim < DIM_MIN || shape->dim > DIM_MAX)
        return kvant_fail(err, KVANT_INVALID, "%s: dim %u is out of range; use %d to %d", quantizer->name, shape->dim, DIM_MIN,
                          DIM_MAX);
    kvant_status status = validate_args(quantizer, &c.args, err);
    if (!status)
        status = quantizer->plan(shape, &c.args, &c.plan, err);
    if (status)
        return status;
    c.plan.block = c.plan.block ? c.plan.block : 1;
    c.plan.tile = c.plan.tile ? c.plan.tile : 1;
    status = choose_form(&c, isa, err);
    if (!status)
        status = set_sizes(&c, err);
    if (!status)
        *codec = c;
    return status;
}

static size_t part_end(const kvant_part *p)
{
    return p->offset + ((size_t)(p->rows - 1) * p->stride + p->cols) * sizeof(float);
}

static kvant_status validate_parts(const kvant_codec *c, const kvant_parts *parts, kvant_error *err)
{
    for (size_t i = 0; i < parts->n; i++) {
        const kvant_part *p = &parts->part[i];
        if (!p->rows || !p->cols || p->stride < p->cols || p->offset % sizeof(float) || part_end(p) > c->plan.state)
            return kvant_fail(err, KVANT_FAILED, "%s: parts: %s does not lie in its %zu bytes of state", c->quantizer->name, p->name,
                              c->plan.state);
    }
    return KVANT_OK;
}

kvant_status kvant_list_parts(const kvant_codec *codec, kvant_parts *parts, kvant_error *err)
{
    memset(parts, 0, sizeof *parts);
    if (!codec->quantizer->parts)
        return KVANT_OK;
    void *state = kvant_alloc(codec->plan.state);
    if (!state)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for %zu bytes of state", codec->quantizer->name, codec->plan.state);
    codec->quantizer->parts(&codec->shape, &codec->args, state, parts);
    free(state);
    return validate_parts(codec, parts, err);
}

/* Memory for both states; the scalar one is zeroed. */
static kvant_status take_memory(kvant_codec *c, kvant_error *err)
{
    c->state = kvant_alloc(c->plan.state);
    if (c->derived_bytes)
        c->derived = kvant_alloc(c->derived_bytes);
    return c->state && (c->derived || !c->derived_bytes) ? KVANT_OK
        : kvant_fail(err, KVANT_NOMEM, "%s: no memory for %zu bytes of state", c->quantizer->name, c->plan.state + c->derived_bytes);
}

/* Brings the kernel's state up to date. */
static kvant_status derive(kvant_codec *c, kvant_error *err)
{
    kvant_parts parts;
    if (!c->derived)
        return KVANT_OK;
    kvant_status status = kvant_list_parts(c, &parts, err);
    if (!status)
        c->kernel->derive(&c->shape, &c->args, c->state, &parts, c->derived);
    return status;
}

kvant_status kvant_open(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                        kvant_codec *codec, kvant_error *err)
{
    kvant_status status = kvant_describe(quantizer, shape, args, isa, codec, err);
    if (status)
        return status;
    status = take_memory(codec, err);
    if (!status)
        status = quantizer->init(&codec->shape, &codec->args, codec->state, err);
    if (!status)
        status = derive(codec, err);
    if (status)
        kvant_close(codec);
    return status;
}

/* Rotated coordinates of a unit vector stay near 1 in magnitude, and everything is finite: methods count on both. */
static kvant_status take_table(const char *name, const kvant_part *p, char *own, const char *given, kvant_error *err)
{
    const float most = p->kind == KVANT_ROTATION || p->kind == KVANT_SIGNS ? 1.001f : FLT_MAX;
    for (size_t row = 0; row < p->rows; row++) {
        size_t at = p->offset + row * p->stride * sizeof(float);
        float *x = (float *)(void *)(own + at);
        memcpy(x, given + at, p->cols * sizeof *x);
        for (size_t j = 0; j < p->cols; j++)
            if (!(fabsf(x[j]) <= most))
                return kvant_fail(err, KVANT_INVALID, "%s: %s of the state: number %zu is %g", name, p->name, row * p->cols + j,
                                  (double)x[j]);
    }
    return KVANT_OK;
}

/* What is no table holds sizes, which the ops trust: it is made here, and a state that has it otherwise is not let in. */
static kvant_status take_state(kvant_codec *c, const void *state, kvant_error *err)
{
    const kvant_quantizer *q = c->quantizer;
    const char *given = state;
    char *own = c->state;
    kvant_parts parts = { .n = 0 };
    kvant_status status = KVANT_OK;
    if (q->parts)
        q->parts(&c->shape, &c->args, own, &parts);
    else
        status = q->init(&c->shape, &c->args, own, err);
    if (!status)
        status = validate_parts(c, &parts, err);
    for (size_t i = 0; i < parts.n && !status; i++)
        status = take_table(q->name, &parts.part[i], own, given, err);
    for (size_t at = 0; at < c->plan.state && !status; at++)
        if (own[at] != given[at])
            status = kvant_fail(err, KVANT_INVALID, "%s: byte %zu of the state, which no table holds, is not what these parameters "
                                "make it", q->name, at);
    return status;
}

kvant_status kvant_open_state(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                              const void *state, size_t bytes, kvant_codec *codec, kvant_error *err)
{
    kvant_status status = kvant_describe(quantizer, shape, args, isa, codec, err);
    if (status)
        return status;
    if (bytes != codec->plan.state)
        status = kvant_fail(err, KVANT_INVALID, "%s: a state of %zu bytes, and it has %zu", quantizer->name, bytes, codec->plan.state);
    else
        status = take_memory(codec, err);
    if (!status)
        status = take_state(codec, state, err);
    if (!status)
        status = derive(codec, err);
    if (status)
        kvant_close(codec);
    return status;
}

void kvant_close(kvant_codec *codec)
{
    free(codec->state);
    free(codec->derived);
    memset(codec, 0, sizeof *codec);
}

kvant_status kvant_train(kvant_codec *codec, const float *x, size_t n, kvant_error *err)
{
    const kvant_quantizer *q = codec->quantizer;
    if (!q->train)
        return kvant_fail(err, KVANT_INVALID, "%s: it is data-oblivious: there is nothing to train", q->name);
    if (n < codec->plan.train_min)
        return kvant_fail(err, KVANT_INVALID, "%s: training needs %zu vectors, not %zu", q->name, codec->plan.train_min, n);
    kvant_status status = q->train(codec->state, x, n, err);
    return status ? status : derive(codec, err);
}

kvant_status kvant_copy(const kvant_codec *codec, kvant_codec *copy, kvant_error *err)
{
    *copy = *codec;
    copy->state = copy->derived = NULL;
    kvant_status status = take_memory(copy, err);
    if (status) {
        kvant_close(copy);
        return status;
    }
    memcpy(copy->state, codec->state, codec->plan.state);
    if (copy->derived)
        memcpy(copy->derived, codec->derived, codec->derived_bytes);
    return KVANT_OK;
}

size_t kvant_bytes(const kvant_codec *codec, size_t n)
{
    size_t units = n / codec->unit + (n % codec->unit != 0);
    return units > SIZE_MAX / codec->unit_bytes ? SIZE_MAX : units * codec->unit_bytes;
}

double kvant_bits(const kvant_codec *codec)
{
    return 8.0 * (double)codec->plan.code / ((double)codec->plan.block * codec->shape.dim);
}

/* ---- The ops ----------------------------------------------------------------------------------- */

static size_t unit_offset(const kvant_codec *c, size_t first) { return first / c->unit * c->unit_bytes; }

/* What the ops take as their state. */
static const void *state_of(const kvant_codec *c) { return c->derived ? c->derived : c->state; }

/* Where a fall-back puts decoded vectors: behind the quantizer's own scratch. */
static float *decoded(const kvant_codec *c, void *scratch) { return (float *)((char *)scratch + rounded(c->plan.scratch)); }

void kvant_encode(const kvant_codec *codec, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    codec->ops.encode(state_of(codec), x, first, n, code + unit_offset(codec, first), scratch);
}

void kvant_decode(const kvant_codec *codec, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    codec->ops.decode(state_of(codec), code + unit_offset(codec, first), first, n, x, scratch);
}

void kvant_query(const kvant_codec *codec, const float *q, size_t nq, void *prepared, void *scratch)
{
    if (codec->ops.query)
        codec->ops.query(state_of(codec), q, nq, prepared, scratch);
    else
        memcpy(prepared, q, nq * codec->query);
}

void kvant_score(const kvant_codec *codec, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n,
                 float *dot, void *scratch)
{
    if (codec->ops.score) {
        codec->ops.score(state_of(codec), prepared, nq, code + unit_offset(codec, first), first, n, dot, scratch);
        return;
    }
    const float *q = prepared;
    float *x = decoded(codec, scratch);
    size_t dim = codec->shape.dim;
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        kvant_decode(codec, code, first + done, step, x, scratch);
        for (size_t i = 0; i < nq; i++)
            for (size_t j = 0; j < step; j++)
                dot[i * n + done + j] = vector_dot(q + i * dim, x + j * dim, dim);
    }
}

void kvant_mix(const kvant_codec *codec, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
               void *scratch)
{
    if (codec->ops.mix) {
        codec->ops.mix(state_of(codec), w, nq, code + unit_offset(codec, first), first, n, acc, scratch);
        return;
    }
    float *x = decoded(codec, scratch);
    size_t dim = codec->shape.dim;
    for (size_t done = 0, step; done < n; done += step) {
        step = n - done < STEP ? n - done : STEP;
        kvant_decode(codec, code, first + done, step, x, scratch);
        for (size_t i = 0; i < nq; i++)
            for (size_t j = 0; j < step; j++)
                vector_add(acc + i * dim, w[i * n + done + j], x + j * dim, dim);
    }
}

void kvant_finish(const kvant_codec *codec, const float *acc, size_t nq, float *out, void *scratch)
{
    if (codec->ops.finish)
        codec->ops.finish(state_of(codec), acc, nq, out, scratch);
    else
        memcpy(out, acc, nq * codec->acc * sizeof *out);
}

void kvant_symbols(const kvant_codec *codec, const uint8_t *code, size_t n, uint16_t *sym)
{
    codec->ops.symbols(state_of(codec), code, n, sym);
}
