/* perplexity.c - how well the model predicts a text through the cache: mean negative log-likelihood over chunks, as perplexity.
 * Chunks run by the prefill path, or by the decode path one token at a time, many chunks in lockstep. Also: the cache's bytes. */
#include "harness/lm/vecmath.h"
#include "harness/measure/footprint.h"
#include "harness/measure/logits.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows whose logits are taken at once: as many as the matrix product likes, for memory's sake no more. */
enum { LOGIT_ROWS = 128 };

enum { CONTEXT, CHUNKS, CONVENTION, STRIDE, PATH, LOCKSTEP, BATCH };
enum { CONVENTION_LLAMA, CONVENTION_FULL, CONVENTION_STRIDE };

static const char *const conventions[] = { "llama", "full", "stride", NULL };
static const char *const paths[] = { "prefill", "decode", NULL };

static const kvant_param params[] = {
    { "context", "tokens L of a chunk", KVANT_INT, 512, 8, 1 << 20, NULL },
    { "chunks", "chunks of the text, from its beginning", KVANT_INT, 8, 1, 1 << 20, NULL },
    { "convention", "whose prediction of the next token counts, by position in a chunk: llama = L/2 ... L-2 and full = 0 ... L-2 of "
      "chunks that do not overlap, a BOS that the model wants in place of each one's first token; stride = of chunks that begin "
      "`stride` tokens S apart, L-1-S ... L-2, so that each predicts its last S tokens, and 0 ... L-2 of the first chunk, a BOS at "
      "the text's beginning alone", KVANT_CHOICE, CONVENTION_LLAMA, 0, 0, conventions },
    { "stride", "tokens S from a chunk's beginning to the next one's, of convention stride alone; at most L (S = L: no token predicts "
      "a chunk's first)", KVANT_INT, 256, 1, 1 << 20, NULL },
    { "path", "how it attends: prefill decodes tiles of codes and multiplies, decode goes token by token by score, mix",
      KVANT_CHOICE, LM_PREFILL, 0, 0, paths },
    { "lockstep", "chunks that run together on the decode path; moves results by rounding only", KVANT_INT, 16, 1, 256, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "nll", "nats", "mean negative log-likelihood of a predicted token, all alike; samples per chunk, errors clustered by chunk", -1,
      false },
    { "perplexity", "", "exp(nll); its standard error by the delta method, its interval that of nll", -1, false },
    { "perplexity_at_N", "", "perplexity over the first N chunks: N = 1, 2, 4, 8, ... and all", -1, false },
    LOGITS_DIGEST_METRIC,
    FOOTPRINT_METRICS,
    { NULL, NULL, NULL, 0, false }
};

typedef struct {
    int32_t *ids;                  /* chunk i begins at ids + i * step */
    uint32_t context, chunks, step, lockstep, batch;
    uint32_t opening, first;       /* position whose prediction counts first, in chunk 0 and in all others */
    lm_path path;
    kvcache **caches;              /* [lockstep] of the unit at work */
    lm_segment *segments;          /* [lockstep] */
    double *sum;                   /* [lockstep] negative log-likelihood of a chunk so far */
    uint64_t *digest;              /* [lockstep] of its logits so far */
    uint8_t *want;                 /* [batch] */
    /* rows that wait for their logits: hidden [waiting][n_embd], the id that came next, and the chunk of the unit */
    float *hidden;
    int32_t *target;
    uint32_t *owner;
    size_t waiting;
    float *logits;                 /* [LOGIT_ROWS][n_vocab] */
} perplexity;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[CONTEXT] * args->v[CHUNKS];
}

/* Overlapping chunks are one stretch of the text, which has one beginning. */
static kvant_status open_stride(probe_job *job, perplexity *p, kvant_error *err)
{
    if (p->step > p->context)
        return kvant_fail(err, KVANT_INVALID, "perplexity: a stride of %u leaves out tokens between chunks of %u; lower stride or raise "
                          "context", p->step, p->context);
    const uint64_t span = p->context + (uint64_t)(p->chunks - 1) * p->step;
    if (span > UINT32_MAX)
        return kvant_fail(err, KVANT_INVALID, "perplexity: %u chunks with a stride of %u span %llu tokens; lower chunks or stride",
                          p->chunks, p->step, (unsigned long long)span);
    return probe_chunks(job, (uint32_t)span, 1, &p->ids, err);
}

static uint32_t first_of(const perplexity *p, uint32_t chunk) { return chunk ? p->first : p->opening; }

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    perplexity *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "perplexity: no memory");
    p->context = (uint32_t)v[CONTEXT];
    p->chunks = (uint32_t)v[CHUNKS];
    if (v[CONVENTION] == CONVENTION_STRIDE) {
        p->step = (uint32_t)v[STRIDE];
        p->first = p->step < p->context ? p->context - 1 - p->step : 0;
    } else {
        p->step = p->context;
        p->opening = p->first = v[CONVENTION] == CONVENTION_LLAMA ? p->context / 2 : 0;
    }
    p->path = v[PATH] == LM_DECODE ? LM_DECODE : LM_PREFILL;
    p->lockstep = p->path == LM_DECODE ? (uint32_t)v[LOCKSTEP] : 1;
    p->batch = (uint32_t)v[BATCH];
    job->n_units = (p->chunks + p->lockstep - 1) / p->lockstep;

    kvant_status status = v[CONVENTION] == CONVENTION_STRIDE ? open_stride(job, p, err)
                                                             : probe_chunks(job, p->context, p->chunks, &p->ids, err);
    if (status)
        return status;
    const lm_shape *shape = lm_model_shape(job->model);
    size_t step = p->path == LM_DECODE ? p->lockstep : p->batch, rows = LOGIT_ROWS + step;
    p->caches = calloc(p->lockstep, sizeof *p->caches);
    p->segments = calloc(p->lockstep, sizeof *p->segments);
    p->sum = calloc(p->lockstep, sizeof *p->sum);
    p->digest = calloc(p->lockstep, sizeof *p->digest);
    p->want = calloc(step, 1);
    p->hidden = kvant_alloc(rows * shape->n_embd * sizeof(float));
    p->target = calloc(rows, sizeof *p->target);
    p->owner = calloc(rows, sizeof *p->owner);
    p->logits = kvant_alloc((size_t)LOGIT_ROWS * shape->n_vocab * sizeof(float));
    if (!p->caches || !p->segments || !p->sum || !p->digest || !p->want || !p->hidden || !p->target || !p->owner || !p->logits)
        return kvant_fail(err, KVANT_NOMEM, "perplexity: no memory for %d rows of logits; lower lockstep or batch", LOGIT_ROWS);
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    perplexity *p = job->state;
    if (!p)
        return;
    free(p->ids);
    free(p->caches);
    free(p->segments);
    free(p->sum);
    free(p->digest);
    free(p->want);
    free(p->hidden);
    free(p->target);
    free(p->owner);
    free(p->logits);
    free(p);
    job->state = NULL;
}

/* Turns the rows that wait into negative log-likelihoods and adds those and their digests to their chunks. Threads share the rows; the
 * sums are taken in order, so that the number of threads does not matter. */
static void settle(const probe_job *job, perplexity *p)
{
    const lm_shape *shape = lm_model_shape(job->model);
    for (size_t row = 0; row < p->waiting; row += LOGIT_ROWS) {
        size_t n = p->waiting - row < LOGIT_ROWS ? p->waiting - row : LOGIT_ROWS;
        double nll[LOGIT_ROWS];
        uint64_t hash[LOGIT_ROWS];
        lm_logits(job->model, p->hidden + row * shape->n_embd, n, p->logits);
        #pragma omp parallel for schedule(static)
        for (size_t i = 0; i < n; i++) {
            const float *logits = p->logits + i * shape->n_vocab;
            hash[i] = logits_hash(logits, shape->n_vocab);
            nll[i] = vec_log_sum_exp(logits, shape->n_vocab) - (double)logits[p->target[row + i]];
        }
        for (size_t i = 0; i < n; i++) {
            const uint32_t owner = p->owner[row + i];
            p->sum[owner] += nll[i];
            p->digest[owner] = logits_fold(p->digest[owner], hash[i]);
        }
    }
    p->waiting = 0;
}

/* Runs the segments, which all want nothing or whose `rows` wanted hidden states join those that wait. */
static kvant_status forward(const probe_job *job, perplexity *p, size_t n_segments, size_t rows, kvant_error *err)
{
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "perplexity: interrupted");
    float *hidden = p->hidden + p->waiting * lm_model_shape(job->model)->n_embd;
    kvant_status status = lm_forward_hidden(job->model, p->path, p->segments, n_segments, hidden, NULL, err);
    if (status)
        return status;
    p->waiting += rows;
    if (p->waiting >= LOGIT_ROWS)
        settle(job, p);
    return KVANT_OK;
}

/* The last token of a chunk predicts nothing that counts and is not run. */
static kvant_status prefill(const probe_job *job, perplexity *p, uint32_t chunk, kvant_error *err)
{
    const int32_t *ids = p->ids + (size_t)chunk * p->step;
    const uint32_t first = first_of(p, chunk);
    for (uint32_t at = 0; at < p->context - 1;) {
        uint32_t n = p->context - 1 - at < p->batch ? p->context - 1 - at : p->batch;
        size_t rows = 0;
        for (uint32_t i = 0; i < n; i++) {
            p->want[i] = at + i >= first;
            if (p->want[i]) {
                p->target[p->waiting + rows] = ids[at + i + 1];
                p->owner[p->waiting + rows++] = 0;
            }
        }
        p->segments[0] = (lm_segment) { p->caches[0], ids + at, n, rows ? p->want : NULL };
        kvant_status status = forward(job, p, 1, rows, err);
        if (status)
            return status;
        at += n;
    }
    return KVANT_OK;
}

/* n_chunks of them from `chunk` on. */
static kvant_status decode(const probe_job *job, perplexity *p, uint32_t chunk, uint32_t n_chunks, kvant_error *err)
{
    static const uint8_t wanted = 1;
    for (uint32_t at = 0; at < p->context - 1; at++) {
        size_t rows = 0;
        for (uint32_t j = 0; j < n_chunks; j++) {
            const int32_t *token = p->ids + (size_t)(chunk + j) * p->step + at;
            bool scored = at >= first_of(p, chunk + j);
            p->segments[j] = (lm_segment) { p->caches[j], token, 1, scored ? &wanted : NULL };
            if (scored) {
                p->target[p->waiting + rows] = token[1];
                p->owner[p->waiting + rows++] = j;
            }
        }
        kvant_status status = forward(job, p, n_chunks, rows, err);
        if (status)
            return status;
    }
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    perplexity *p = job->state;
    uint32_t chunk = (uint32_t)index * p->lockstep;
    uint32_t n = p->chunks - chunk < p->lockstep ? p->chunks - chunk : p->lockstep;

    kvant_status status = KVANT_OK;
    for (uint32_t j = 0; j < n && !status; j++)
        status = kvcache_open(&job->codecs[cell], p->context, &p->caches[j], err);
    memset(p->sum, 0, p->lockstep * sizeof *p->sum);
    memset(p->digest, 0, p->lockstep * sizeof *p->digest);
    p->waiting = 0;
    if (!status)
        status = p->path == LM_DECODE ? decode(job, p, chunk, n, err) : prefill(job, p, chunk, err);
    if (!status) {
        settle(job, p);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t predicted = p->context - 1 - first_of(p, chunk + j);
            job->emit(job, cell, &(probe_sample) { "nll", chunk + j, 0, p->sum[j] / predicted, predicted });
            job->emit(job, cell, &(probe_sample) { LOGITS_DIGEST, chunk + j, 0, logits_digest(p->digest[j]), predicted });
        }
        if (index == 0)
            footprint_emit(job, cell, p->caches[0]);
    }
    for (uint32_t j = 0; j < n; j++) {
        kvcache_close(p->caches[j]);
        p->caches[j] = NULL;
    }
    return status;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "perplexity: no memory for %zu samples", n);
    double *w = x + n;
    size_t chunks = probe_values(samples, n, "nll", x, w);
    if (!chunks) {
        free(x);
        return kvant_fail(err, KVANT_FAILED, "perplexity: no chunk was measured");
    }
    probe_result nll = probe_clustered("nll", x, w, chunks), ppl = probe_exponential("perplexity", nll);
    result(user, &nll);
    result(user, &ppl);
    for (size_t at = 1; at <= chunks; at = at < chunks && 2 * at > chunks ? chunks : 2 * at) {
        char name[48];
        snprintf(name, sizeof name, "perplexity_at_%zu", at);
        ppl = probe_exponential(name, probe_clustered("nll", x, w, at));
        result(user, &ppl);
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(samples[i].metric, "nll") && strcmp(samples[i].metric, LOGITS_DIGEST))
            result(user, &(probe_result) { samples[i].metric, samples[i].value, 1, NAN, NAN, NAN });
    free(x);
    return KVANT_OK;
}

const kvant_probe probe_perplexity = {
    .name = "perplexity",
    .summary = "perplexity of a text through the cache, by prefill or token by token, and the cache's bytes",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_reference = true, .control_metric = "nll",
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
