/* divergence.c - how far the model's next-token distributions move from those with an f16 cache, token by token over the whole
 * vocabulary. The reference runs once per unit for all cells, on their path; of its logits as many are kept as may be. */
#include "harness/measure/logits.h"
#include "harness/measure/stats.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <gsl/gsl_sort.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* LOGIT_ROWS at a time, of the reference too: the product may round by its number of rows. TOP: tokens of an overlap. */
enum { LOGIT_ROWS = 128, TOP = 5 };

enum { CONTEXT, CHUNKS, CONVENTION, PATH, LOCKSTEP, BATCH, REFERENCE_MIB };
enum { CONVENTION_LLAMA, CONVENTION_FULL };

static const char *const conventions[] = { "llama", "full", NULL };
static const char *const paths[] = { "prefill", "decode", NULL };

static const kvant_param params[] = {
    { "context", "tokens of a chunk", KVANT_INT, 512, 8, 1 << 20, NULL },
    { "chunks", "chunks of the text, from its beginning", KVANT_INT, 8, 1, 1 << 20, NULL },
    { "convention", "positions that are compared: llama = the second half of a chunk but its last, full = all but the last; a model "
      "that wants a BOS gets it in place of each chunk's first token", KVANT_CHOICE, CONVENTION_LLAMA, 0, 0, conventions },
    { "path", "how both attend: prefill decodes tiles of codes and multiplies, decode goes token by token by score, mix",
      KVANT_CHOICE, LM_PREFILL, 0, 0, paths },
    { "lockstep", "chunks that run together on the decode path; moves results by rounding only", KVANT_INT, 16, 1, 256, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "reference_mib", "MiB of the reference's logits that are kept; others are computed from its hidden states for each cell again, "
      "which takes time and moves no result", KVANT_INT, 256, 0, 1 << 20, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

#define QUANTILE_HELP " of kl over all tokens; error and interval by Woodruff over chunks, none where they reach beyond the tokens"

static const probe_metric metrics[] = {
    { "kl", "nats", "mean KL divergence of next-token distributions, f16 cache || this one; samples per token (idx: its position), "
      "errors clustered by chunk", -1, false },
    { "kl_median", "nats", "median" QUANTILE_HELP, -1, false },
    { "kl_p90", "nats", "90 % quantile" QUANTILE_HELP, -1, false },
    { "kl_p95", "nats", "95 % quantile" QUANTILE_HELP, -1, false },
    { "kl_p99", "nats", "99 % quantile" QUANTILE_HELP, -1, false },
    { "kl_p99_9", "nats", "99.9 % quantile" QUANTILE_HELP, -1, false },
    { "kl_max", "nats", "largest kl of a token; of more tokens it is larger, so compare at equal chunks", -1, false },
    { "same_top", "", "share of tokens whose likeliest next token is f16's (of equal ones the lowest id); samples per chunk", 1, false },
    { "top5_overlap", "", "share of f16's five likeliest next tokens that are among this cache's five; samples per chunk", 1, false },
    { "delta_p", "", "mean of the right token's probability minus that with f16; samples per chunk", 0, false },
    { "delta_p_rms", "", "root of the mean square of that difference over all tokens; samples per chunk", -1, false },
    { "entropy_shift", "nats", "mean entropy of the distribution minus that with f16; samples per chunk", 0, false },
    { "nll", "nats", "mean negative log-likelihood of the right tokens, as the probe perplexity has it by the same convention; samples per "
      "chunk", -1, false },
    { "perplexity", "", "exp(nll); its standard error by the delta method, its interval that of nll", -1, false },
    LOGITS_DIGEST_METRIC,
    { NULL, NULL, NULL, 0, false }
};

/* One row of logits, and one row against the reference's. */
typedef struct { logits_mass mass; double log_right; uint32_t top[TOP]; } summary;     /* log_right: of the right token's probability */
typedef struct { double kl, same_top, overlap, delta_p, entropy_shift, nll; uint64_t hash; } comparison;

typedef struct {
    int32_t *ids;                  /* [chunks][context] */
    uint32_t context, chunks, first, scored, lockstep, batch;      /* first: position that is compared first; scored: how many are */
    lm_path path;
    size_t top, rows, kept;        /* min(TOP, n_vocab); rows of a full unit; those whose reference logits are kept */
    kvcache_codecs f16;
    kvcache **caches;              /* [lockstep] of the run at work */
    lm_segment *segments;          /* [lockstep] */
    uint8_t *want;                 /* [batch] */
    /* Rows of a unit: position by position, the chunks of a lockstep side by side. */
    float *hidden_f16, *hidden;    /* [rows][n_embd] */
    float *logits_f16;             /* [kept][n_vocab] */
    float *again, *logits;         /* [LOGIT_ROWS][n_vocab]; again: the reference's that are not kept */
    summary *reference;            /* [rows] */
    comparison *found;             /* [rows] */
} divergence;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[CONTEXT];
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[CONTEXT] * args->v[CHUNKS];
}

static double memory(const kvant_args *args, const lm_shape *s)
{
    const double chunks = args->v[PATH] == LM_DECODE ? fmin(args->v[LOCKSTEP], args->v[CHUNKS]) : 1;
    const double rows = chunks * args->v[CONTEXT] / (args->v[CONVENTION] == CONVENTION_LLAMA ? 2 : 1);
    const double kept = fmin(rows * s->n_vocab * sizeof(float), args->v[REFERENCE_MIB] * 1048576);
    return kept + (2.0 * LOGIT_ROWS * s->n_vocab + 2 * rows * s->n_embd) * sizeof(float);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static kvant_status make_room(divergence *d, const lm_shape *shape, uint64_t reference_bytes, kvant_error *err)
{
    const size_t row_bytes = shape->n_vocab * sizeof(float), piece = LOGIT_ROWS * row_bytes;
    const uint64_t fit = reference_bytes / row_bytes;
    d->rows = (size_t)d->lockstep * d->scored;
    d->kept = fit >= d->rows ? d->rows : (size_t)fit / LOGIT_ROWS * LOGIT_ROWS;
    d->top = shape->n_vocab < TOP ? shape->n_vocab : TOP;
    d->caches = calloc(d->lockstep, sizeof *d->caches);
    d->segments = calloc(d->lockstep, sizeof *d->segments);
    d->want = calloc(d->batch, 1);
    d->hidden_f16 = kvant_alloc(d->rows * shape->n_embd * sizeof(float));
    d->hidden = kvant_alloc(d->rows * shape->n_embd * sizeof(float));
    d->logits_f16 = d->kept ? kvant_alloc(d->kept * row_bytes) : NULL;
    d->again = d->kept < d->rows ? kvant_alloc(piece) : NULL;
    d->logits = kvant_alloc(piece);
    d->reference = calloc(d->rows, sizeof *d->reference);
    d->found = calloc(d->rows, sizeof *d->found);
    if (!d->caches || !d->segments || !d->want || !d->hidden_f16 || !d->hidden || (d->kept && !d->logits_f16) ||
        (d->kept < d->rows && !d->again) || !d->logits || !d->reference || !d->found)
        return kvant_fail(err, KVANT_NOMEM, "divergence: no memory for %zu rows of logits and %zu of hidden states; lower reference_mib, "
                          "lockstep or context", d->kept + LOGIT_ROWS, 2 * d->rows);
    return KVANT_OK;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    const lm_shape *shape = lm_model_shape(job->model);
    divergence *d = calloc(1, sizeof *d);
    job->state = d;
    if (!d)
        return kvant_fail(err, KVANT_NOMEM, "divergence: no memory");
    d->context = (uint32_t)v[CONTEXT];
    d->chunks = (uint32_t)v[CHUNKS];
    d->first = v[CONVENTION] == CONVENTION_LLAMA ? d->context / 2 : 0;
    d->scored = d->context - 1 - d->first;
    d->path = v[PATH] == LM_DECODE ? LM_DECODE : LM_PREFILL;
    d->lockstep = d->path == LM_DECODE ? (uint32_t)v[LOCKSTEP] : 1;
    d->lockstep = d->lockstep < d->chunks ? d->lockstep : d->chunks;
    d->batch = (uint32_t)v[BATCH];
    job->n_units = (d->chunks + d->lockstep - 1) / d->lockstep;

    const kvcache_shape cache = lm_cache_shape(shape);
    kvant_status status = probe_chunks(job, d->context, d->chunks, &d->ids, err);
    if (!status)
        status = kvcache_codecs_open_f16(&cache, job->codecs[0].policy.isa, &d->f16, err);
    return status ? status : make_room(d, shape, (uint64_t)v[REFERENCE_MIB] << 20, err);
}

static void close_job(probe_job *job)
{
    divergence *d = job->state;
    if (!d)
        return;
    kvcache_codecs_close(&d->f16);
    free(d->ids);
    free(d->caches);
    free(d->segments);
    free(d->want);
    free(d->hidden_f16);
    free(d->hidden);
    free(d->logits_f16);
    free(d->again);
    free(d->logits);
    free(d->reference);
    free(d->found);
    free(d);
    job->state = NULL;
}

/* ---- Running the model ------------------------------------------------------------------------- */

/* The chunks of a unit: the first one, and how many. */
typedef struct { uint32_t chunk, n; } span;

static span span_of(const divergence *d, size_t unit)
{
    const uint32_t chunk = (uint32_t)unit * d->lockstep;
    return (span){ chunk, d->chunks - chunk < d->lockstep ? d->chunks - chunk : d->lockstep };
}

/* The last token of a chunk predicts nothing that is compared and is not run. */
static kvant_status prefill(const probe_job *job, divergence *d, const int32_t *ids, float *hidden, kvant_error *err)
{
    const size_t n_embd = lm_model_shape(job->model)->n_embd;
    kvant_status status = KVANT_OK;
    for (uint32_t at = 0; at < d->context - 1 && !status;) {
        const uint32_t n = d->context - 1 - at < d->batch ? d->context - 1 - at : d->batch;
        for (uint32_t i = 0; i < n; i++)
            d->want[i] = at + i >= d->first;
        const size_t row = at > d->first ? at - d->first : 0;
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "divergence: interrupted");
        d->segments[0] = (lm_segment){ d->caches[0], ids + at, n, d->want };
        status = lm_forward_hidden(job->model, LM_PREFILL, d->segments, 1, hidden + row * n_embd, NULL, err);
        at += n;
    }
    return status;
}

static kvant_status decode(const probe_job *job, divergence *d, const int32_t *ids, uint32_t n_chunks, float *hidden,
                           kvant_error *err)
{
    static const uint8_t wanted = 1;
    const size_t n_embd = lm_model_shape(job->model)->n_embd;
    kvant_status status = KVANT_OK;
    for (uint32_t at = 0; at < d->context - 1 && !status; at++) {
        const bool scored = at >= d->first;
        const size_t row = scored ? (size_t)(at - d->first) * n_chunks : 0;
        for (uint32_t j = 0; j < n_chunks; j++)
            d->segments[j] = (lm_segment){ d->caches[j], ids + (size_t)j * d->context + at, 1, scored ? &wanted : NULL };
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "divergence: interrupted");
        status = lm_forward_hidden(job->model, LM_DECODE, d->segments, n_chunks, hidden + row * n_embd, NULL, err);
    }
    return status;
}

/* Hidden states [rows][n_embd] of a unit's positions, by caches of these codecs. */
static kvant_status run_model(const probe_job *job, divergence *d, span s, const kvcache_codecs *codecs, float *hidden, kvant_error *err)
{
    const int32_t *ids = d->ids + (size_t)s.chunk * d->context;
    kvant_status status = KVANT_OK;
    for (uint32_t j = 0; j < s.n && !status; j++)
        status = kvcache_open(codecs, d->context, &d->caches[j], err);
    if (!status)
        status = d->path == LM_DECODE ? decode(job, d, ids, s.n, hidden, err) : prefill(job, d, ids, hidden, err);
    for (uint32_t j = 0; j < s.n; j++) {
        kvcache_close(d->caches[j]);
        d->caches[j] = NULL;
    }
    return status;
}

/* ---- Comparing --------------------------------------------------------------------------------- */

/* The token that follows a row's position. */
static int32_t target_of(const divergence *d, span s, size_t row)
{
    const size_t chunk = s.chunk + row % s.n, position = d->first + row / s.n;
    return d->ids[chunk * d->context + position + 1];
}

static summary summarize(const float *x, size_t n_vocab, size_t top, int32_t target)
{
    summary s = { .mass = logits_mass_of(x, n_vocab) };
    s.log_right = x[target] - s.mass.log_sum;
    logits_top(x, n_vocab, s.top, top);
    return s;
}

static comparison compare(const float *x, const summary *of_x, const float *y, const summary *of_y, size_t n_vocab, size_t top)
{
    size_t both = 0;
    for (size_t i = 0; i < top; i++)
        for (size_t j = 0; j < top; j++)
            both += of_x->top[i] == of_y->top[j];
    return (comparison){ .kl = logits_divergence(x, of_x->mass, y, of_y->mass, n_vocab), .same_top = of_x->top[0] == of_y->top[0],
                         .overlap = (double)both / (double)top, .delta_p = exp(of_y->log_right) - exp(of_x->log_right),
                         .entropy_shift = of_y->mass.entropy - of_x->mass.entropy, .nll = -of_y->log_right };
}

/* Logits of the reference's rows ... rows+n-1, a piece as begin took them. */
static const float *reference_logits(const probe_job *job, const divergence *d, size_t row, size_t n)
{
    const lm_shape *shape = lm_model_shape(job->model);
    if (row + n <= d->kept)
        return d->logits_f16 + row * shape->n_vocab;
    lm_logits(job->model, d->hidden_f16 + row * shape->n_embd, n, d->again);
    return d->again;
}

static kvant_status begin(probe_job *job, size_t unit, kvant_error *err)
{
    divergence *d = job->state;
    const lm_shape *shape = lm_model_shape(job->model);
    const span s = span_of(d, unit);
    const size_t rows = (size_t)s.n * d->scored, n_vocab = shape->n_vocab;
    const kvant_status status = run_model(job, d, s, &d->f16, d->hidden_f16, err);
    for (size_t row = 0; row < rows && !status; row += LOGIT_ROWS) {
        const size_t n = rows - row < LOGIT_ROWS ? rows - row : LOGIT_ROWS;
        float *logits = row + n <= d->kept ? d->logits_f16 + row * n_vocab : d->again;
        lm_logits(job->model, d->hidden_f16 + row * shape->n_embd, n, logits);
        #pragma omp parallel for schedule(static)
        for (size_t i = 0; i < n; i++)
            d->reference[row + i] = summarize(logits + i * n_vocab, n_vocab, d->top, target_of(d, s, row + i));
    }
    return status;
}

/* A token's divergence is a sample of its own, for the quantiles; of the rest a chunk's means are enough. */
static void emit_chunk(probe_job *job, size_t cell, const divergence *d, span s, uint32_t j)
{
    const uint32_t chunk = s.chunk + j;
    double same = 0, overlap = 0, delta = 0, square = 0, shift = 0, nll = 0;
    uint64_t digest = 0;
    for (uint32_t i = 0; i < d->scored; i++) {
        const comparison *c = &d->found[(size_t)i * s.n + j];
        job->emit(job, cell, &(probe_sample) { "kl", chunk, d->first + i, c->kl, 1 });
        same += c->same_top;
        overlap += c->overlap;
        delta += c->delta_p;
        square += c->delta_p * c->delta_p;
        shift += c->entropy_shift;
        nll += c->nll;
        digest = logits_fold(digest, c->hash);
    }
    const double n = d->scored;
    job->emit(job, cell, &(probe_sample) { "same_top", chunk, 0, same / n, n });
    job->emit(job, cell, &(probe_sample) { "top5_overlap", chunk, 0, overlap / n, n });
    job->emit(job, cell, &(probe_sample) { "delta_p", chunk, 0, delta / n, n });
    job->emit(job, cell, &(probe_sample) { "delta_p_rms", chunk, 0, sqrt(square / n), n });
    job->emit(job, cell, &(probe_sample) { "entropy_shift", chunk, 0, shift / n, n });
    job->emit(job, cell, &(probe_sample) { "nll", chunk, 0, nll / n, n });
    job->emit(job, cell, &(probe_sample) { LOGITS_DIGEST, chunk, 0, logits_digest(digest), n });
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    divergence *d = job->state;
    const lm_shape *shape = lm_model_shape(job->model);
    const span s = span_of(d, unit);
    const size_t rows = (size_t)s.n * d->scored, n_vocab = shape->n_vocab;
    const kvant_status status = run_model(job, d, s, &job->codecs[cell], d->hidden, err);
    if (status)
        return status;
    for (size_t row = 0; row < rows; row += LOGIT_ROWS) {
        const size_t n = rows - row < LOGIT_ROWS ? rows - row : LOGIT_ROWS;
        const float *reference = reference_logits(job, d, row, n);
        lm_logits(job->model, d->hidden + row * shape->n_embd, n, d->logits);
        #pragma omp parallel for schedule(static)
        for (size_t i = 0; i < n; i++) {
            const float *logits = d->logits + i * n_vocab;
            const summary mine = summarize(logits, n_vocab, d->top, target_of(d, s, row + i));
            d->found[row + i] = compare(reference + i * n_vocab, &d->reference[row + i], logits, &mine, n_vocab, d->top);
            d->found[row + i].hash = logits_hash(logits, n_vocab);
        }
    }
    for (uint32_t j = 0; j < s.n; j++)
        emit_chunk(job, cell, d, s, j);
    return KVANT_OK;
}

/* ---- Results ----------------------------------------------------------------------------------- */

/* An interval's ends where the value itself can be. */
static probe_result within(probe_result r, double least, double most)
{
    if (!isnan(r.lo))
        r.lo = fmax(r.lo, least);
    if (!isnan(r.hi))
        r.hi = fmin(r.hi, most);
    return r;
}

/* The root carries the mean square, the ends of its interval, and by its slope the standard error. */
static probe_result rms_of(const char *metric, double *x, const double *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= x[i];
    const probe_result square = within(probe_clustered(metric, x, w, n), 0, INFINITY);
    const double root = sqrt(square.value);
    return (probe_result){ metric, root, square.n, root > 0 ? square.se / (2 * root) : square.se, sqrt(square.lo), sqrt(square.hi) };
}

/* The tokens' divergences as quantiles. below [n] is room for samples, x and w [n] for values; kl [tokens] is sorted. */
static void quantiles(const probe_sample *samples, size_t n, const double *kl, size_t tokens, probe_sample *below, double *x,
                      double *w, void (*result)(void *user, const probe_result *), void *user)
{
    static const struct { const char *metric; double f; } wanted[] = {
        { "kl_median", .5 }, { "kl_p90", .9 }, { "kl_p95", .95 }, { "kl_p99", .99 }, { "kl_p99_9", .999 }
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const double value = stats_quantile_of(kl, tokens, wanted[i].f, (stats_mean){ NAN, NAN, 0 }, .95).value;
        for (size_t j = 0; j < n; j++) {
            below[j] = samples[j];
            below[j].value = samples[j].value <= value;
        }
        const size_t chunks = probe_by_chunk(below, n, "kl", x, w);
        const stats_quantile q = stats_quantile_of(kl, tokens, wanted[i].f, stats_clustered(x, w, chunks), .95);
        result(user, &(probe_result) { wanted[i].metric, q.value, (double)chunks, q.se, q.interval.lo, q.interval.hi });
    }
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(3 * n + 1, sizeof *x);
    probe_sample *below = calloc(n + 1, sizeof *below);
    if (!x || !below) {
        free(x);
        free(below);
        return kvant_fail(err, KVANT_NOMEM, "divergence: no memory for %zu samples", n);
    }
    double *w = x + n, *kl = w + n;
    const size_t tokens = probe_values(samples, n, "kl", kl, w);
    if (!tokens) {
        free(x);
        free(below);
        return kvant_fail(err, KVANT_FAILED, "divergence: no token was compared");
    }
    const size_t chunks = probe_by_chunk(samples, n, "kl", x, w);
    const probe_result mean = within(probe_clustered("kl", x, w, chunks), 0, INFINITY);
    result(user, &mean);
    if (isnan(mean.value)) {       /* what was not finite has no place in an order */
        static const char *const ordered[] = { "kl_median", "kl_p90", "kl_p95", "kl_p99", "kl_p99_9", "kl_max" };
        for (size_t i = 0; i < sizeof ordered / sizeof *ordered; i++)
            result(user, &(probe_result) { ordered[i], NAN, mean.n, NAN, NAN, NAN });
    } else {
        gsl_sort(kl, 1, tokens);
        quantiles(samples, n, kl, tokens, below, x, w, result, user);
        result(user, &(probe_result) { "kl_max", kl[tokens - 1], mean.n, NAN, NAN, NAN });
    }
    static const struct { const char *metric; double least, most; } means[] = {
        { "same_top", 0, 1 }, { "top5_overlap", 0, 1 }, { "delta_p", -1, 1 }, { "entropy_shift", -INFINITY, INFINITY },
        { "nll", 0, INFINITY }
    };
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        const size_t m = probe_values(samples, n, means[i].metric, x, w);
        const probe_result r = within(probe_clustered(means[i].metric, x, w, m), means[i].least, means[i].most);
        result(user, &r);
        if (!strcmp(r.metric, "nll")) {
            const probe_result perplexity = probe_exponential("perplexity", r);
            result(user, &perplexity);
        }
    }
    const size_t m = probe_values(samples, n, "delta_p_rms", x, w);
    const probe_result rms = rms_of("delta_p_rms", x, w, m);
    result(user, &rms);
    free(x);
    free(below);
    return KVANT_OK;
}

const kvant_probe probe_divergence = {
    .name = "divergence",
    .summary = "how far next-token distributions move from those with an f16 cache: full-vocabulary KL, top tokens, probabilities",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_reference = true, .control_metric = "kl", .repeats_reference = true,
    .context = context_of,
    .cost = cost,
    .memory = memory,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
