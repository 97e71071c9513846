/* trajectory.c - how far a model that writes through the cache strays from itself with an f16 cache: greedy continuations of prompts
 * drawn from the text, compared token by token. One near tie that falls the other way changes all that follows: read it as an
 * event's rate, beside measures that do not branch; and see by its repetition and end whether the writing is still sound. */
#include "harness/lm/generate.h"
#include "harness/measure/sequence.h"
#include "harness/probe.h"

#include <gsl/gsl_rng.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS, PROMPT_TOKENS, TOKENS, BATCH, SEED, LOCKSTEP };
enum { FIRST_AGREEMENT = 16, GRAM = 4, END = -1 };

static const kvant_param params[] = {
    { "prompts", "prompts, one drawn from each of as many equal parts of the text's first half (the second is calibration's)",
      KVANT_INT, 8, 1, 65535, NULL },
    { "prompt_tokens", "tokens of a prompt; a model that wants a BOS gets it in place of the first", KVANT_INT, 128, 8, 1 << 20, NULL },
    { "tokens", "tokens asked for after a prompt, greedily and by the decode path; an end token ends it before", KVANT_INT, 256,
      FIRST_AGREEMENT, 1 << 14, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "prompt_seed", "draws the prompts, by GSL's mt19937", KVANT_INT, 0, 0, 65535, NULL },
    { "lockstep", "prompts that are continued together, so that the weights are read once for all; moves no result",
      KVANT_INT, 12, 1, LM_MAX_LOCKSTEP, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "agreement_N", "", "share of the first N places with the same token as f16's own continuation, an end token counted as one and "
      "places past both ends not counted: N = 16, 32, 64, ... up to the tokens asked; mean over prompts", 1, false },
    { "first_divergence", "tokens", "tokens before the first that differs from f16's, all of them where none does: mean over prompts, too "
      "low where some never differ", 1, false },
    { "diverged", "", "share of prompts whose continuation differs from f16's, with its Wilson interval", -1, false },
    { "edit_distance", "", "fewest insertions, deletions and substitutions that lead to f16's, over the longer length; mean over prompts",
      -1, false },
    { "tokens_produced", "tokens", "tokens written of those asked, the end token not counted; mean over prompts", 0, false },
    { "stop_end", "", "share of prompts whose continuation an end token ended, with its Wilson interval", 0, false },
    { "stop_limit", "", "share that reached the tokens asked, not in a loop, with its Wilson interval", 0, false },
    { "stop_loop", "", "share that reached the tokens asked in a loop: its last tokens, at least 32, are some span three times or more; "
      "with its Wilson interval", -1, false },
    { "distinct_4", "", "different runs of 4 tokens over all of them: 1 when none occurs twice; mean over prompts, compare with f16's", 0,
      false },
    { "longest_repeat", "tokens", "longest span that occurs at two places, which may overlap; mean over prompts, compare with f16's", 0,
      false },
    { NULL, NULL, NULL, 0, false }
};

/* What was written, and END behind it when it ended by itself: ids [n]. */
typedef struct { int32_t *ids; size_t n; } continuation;

typedef struct {
    int32_t *ids;                  /* [prompts][prompt_tokens] */
    uint32_t prompts, prompt_tokens, tokens, batch, lockstep;
    kvcache_codecs f16;            /* the first cell's, with another table */
    lm_continuation *writing;      /* [lockstep] */
    continuation *reference, *here;            /* [lockstep] of a unit's prompts, each with room for [tokens] */
    int32_t *room;                 /* [2][lockstep][tokens] of these */
    size_t *row;                   /* [tokens + 1] */
    int32_t *grams;                /* [tokens][GRAM] */
} trajectory;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)(args->v[PROMPT_TOKENS] + args->v[TOKENS]);
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[PROMPTS] * (args->v[PROMPT_TOKENS] + args->v[TOKENS]);
}

/* A row of logits for each prompt, and those that fill a step up. */
static double memory(const kvant_args *args, const lm_shape *s)
{
    return (args->v[LOCKSTEP] + 6) * s->n_vocab * sizeof(float);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

/* Cuts the prompts out of a text's ids [n], each from its own part of the first half, so that none overlap. */
static kvant_status draw(trajectory *p, const int32_t *ids, size_t n, int32_t bos, uint32_t prompts, uint32_t seed, kvant_error *err)
{
    const size_t length = p->prompt_tokens, part = n / 2 / prompts;
    if (part < length)
        return kvant_fail(err, KVANT_INVALID, "trajectory: %u prompts of %zu tokens are asked for, and the first half of the text has %zu "
                          "tokens; lower prompts or prompt_tokens, or take a longer text", prompts, length, n / 2);
    p->ids = calloc(prompts * length, sizeof *p->ids);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    if (p->ids && rng) {
        gsl_rng_set(rng, seed + 1ul);
        for (size_t i = 0; i < prompts; i++) {
            const size_t first = i * part + (size_t)(gsl_rng_uniform(rng) * (double)(part - length + 1));
            memcpy(p->ids + i * length, ids + first, length * sizeof *ids);
            if (bos >= 0)
                p->ids[i * length] = bos;
        }
    }
    const bool drawn = p->ids && rng;
    gsl_rng_free(rng);
    return drawn ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "trajectory: no memory for %u prompts of %zu tokens", prompts, length);
}

static kvant_status open_prompts(probe_job *job, trajectory *p, kvant_error *err)
{
    const uint32_t prompts = (uint32_t)job->args.v[PROMPTS];
    int32_t *ids = NULL, bos = -1;
    size_t n = 0;
    kvant_status status = probe_text(job->model, job->data, &ids, &n, &bos, err);
    if (!status)
        status = draw(p, ids, n, bos, prompts, (uint32_t)job->args.v[SEED], err);
    free(ids);
    return status ? status : probe_measures(job, p->ids, (size_t)prompts * p->prompt_tokens, err);
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    trajectory *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "trajectory: no memory");
    *p = (trajectory){ .prompts = (uint32_t)v[PROMPTS], .prompt_tokens = (uint32_t)v[PROMPT_TOKENS], .tokens = (uint32_t)v[TOKENS],
                       .batch = (uint32_t)v[BATCH], .lockstep = (uint32_t)v[LOCKSTEP] };
    job->n_units = (p->prompts + p->lockstep - 1) / p->lockstep;
    kvant_status status = open_prompts(job, p, err);
    if (status)
        return status;
    p->f16 = job->codecs[0];
    const size_t groups = (size_t)p->f16.shape.n_layer * p->f16.shape.n_kv_head * 2;
    p->f16.of = calloc(groups, sizeof *p->f16.of);
    p->f16.policy = (kvcache_policy){ .key = p->f16.policy.key, .value = p->f16.policy.value, .isa = p->f16.policy.isa };
    p->writing = calloc(p->lockstep, sizeof *p->writing);
    p->reference = calloc(p->lockstep, sizeof *p->reference);
    p->here = calloc(p->lockstep, sizeof *p->here);
    p->room = calloc((size_t)2 * p->lockstep * p->tokens, sizeof *p->room);
    p->row = calloc((size_t)p->tokens + 1, sizeof *p->row);
    p->grams = calloc(p->tokens, GRAM * sizeof *p->grams);
    if (!p->f16.of || !p->writing || !p->reference || !p->here || !p->room || !p->row || !p->grams)
        return kvant_fail(err, KVANT_NOMEM, "trajectory: no memory for %u continuations of %u tokens", p->lockstep, p->tokens);
    for (size_t i = 0; i < p->lockstep; i++) {
        p->reference[i].ids = p->room + 2 * i * p->tokens;
        p->here[i].ids = p->room + (2 * i + 1) * p->tokens;
    }
    for (size_t i = 0; i < groups; i++)
        p->f16.of[i] = p->f16.f16;
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    trajectory *p = job->state;
    if (!p)
        return;
    free(p->ids);
    free(p->f16.of);
    free(p->writing);
    free(p->reference);
    free(p->here);
    free(p->room);
    free(p->row);
    free(p->grams);
    free(p);
    job->state = NULL;
}

/* ---- Measuring --------------------------------------------------------------------------------- */

/* A unit's prompts: the first, and how many. */
typedef struct { size_t first, n; } span;

static span span_of(const trajectory *p, size_t unit)
{
    const size_t first = unit * p->lockstep;
    return (span){ first, p->prompts - first < p->lockstep ? p->prompts - first : p->lockstep };
}

static kvant_status write_on(const probe_job *job, trajectory *p, const kvcache_codecs *codecs, span s, continuation *out,
                             kvant_error *err)
{
    const lm_generation how = { .batch = p->batch, .lockstep = p->lockstep };
    for (size_t i = 0; i < s.n; i++)
        p->writing[i] = (lm_continuation){ .prompt = p->ids + (s.first + i) * p->prompt_tokens, .n_prompt = p->prompt_tokens,
                                           .out = out[i].ids, .limit = p->tokens };
    const kvant_status status = lm_generate(job->model, codecs, &how, p->writing, s.n, err);
    for (size_t i = 0; i < s.n && !status; i++) {
        out[i].n = p->writing[i].n_out;
        if (p->writing[i].stop == LM_END)              /* so there is room */
            out[i].ids[out[i].n++] = END;
    }
    return status;
}

static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    trajectory *p = job->state;
    return write_on(job, p, &p->f16, span_of(p, index), p->reference, err);
}

static void emit_prompt(probe_job *job, size_t cell, const trajectory *p, uint32_t prompt, continuation a, continuation b)
{
    const bool ended = a.ids[a.n - 1] == END;
    const size_t produced = a.n - ended, common = sequence_common(a.ids, a.n, b.ids, b.n), longer = a.n > b.n ? a.n : b.n;
    const bool loops = !ended && sequence_loop(a.ids, produced);
    for (size_t n = FIRST_AGREEMENT; n <= p->tokens; n *= 2) {
        char name[32];
        snprintf(name, sizeof name, "agreement_%zu", n);
        job->emit(job, cell, &(probe_sample) { name, prompt, 0, sequence_agreement(a.ids, a.n, b.ids, b.n, n), 1 });
    }
    const probe_sample samples[] = {
        { "first_divergence", prompt, 0, (double)(common < produced ? common : produced), 1 },
        { "diverged", prompt, 0, common < longer, 1 },
        { "edit_distance", prompt, 0, (double)sequence_edits(a.ids, a.n, b.ids, b.n, p->row) / (double)longer, 1 },
        { "tokens_produced", prompt, 0, (double)produced, 1 },
        { "stop_end", prompt, 0, ended, 1 },
        { "stop_limit", prompt, 0, !ended && !loops, 1 },
        { "stop_loop", prompt, 0, loops, 1 },
        { "longest_repeat", prompt, 0, (double)sequence_repeat(a.ids, produced, p->row), 1 },
        { "distinct_4", prompt, 0, sequence_distinct(a.ids, produced, GRAM, p->grams), 1 },
    };
    const size_t n_samples = sizeof samples / sizeof *samples - (produced < GRAM);     /* fewer tokens have no run of 4 */
    for (size_t i = 0; i < n_samples; i++)
        job->emit(job, cell, &samples[i]);
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    trajectory *p = job->state;
    const span s = span_of(p, index);
    const kvant_status status = write_on(job, p, &job->codecs[cell], s, p->here, err);
    for (size_t i = 0; i < s.n && !status; i++)
        emit_prompt(job, cell, p, (uint32_t)(s.first + i), p->here[i], p->reference[i]);
    return status;
}

/* ---- Results ------------------------------------------------------------------------------------ */

static bool is_share(const char *metric)
{
    return !strcmp(metric, "diverged") || !strncmp(metric, "stop_", strlen("stop_"));
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "trajectory: no memory for %zu samples", n);
    double *w = x + n;
    size_t found = 0;
    for (size_t at = FIRST_AGREEMENT; at <= (size_t)args->v[TOKENS]; at *= 2) {
        char name[32];
        snprintf(name, sizeof name, "agreement_%zu", at);
        const size_t prompts = probe_values(samples, n, name, x, w);
        const probe_result mean = probe_clustered(name, x, w, prompts);
        found += prompts;
        if (prompts)
            result(user, &mean);
    }
    for (const probe_metric *m = metrics + 1; m->name; m++) {
        const size_t prompts = probe_values(samples, n, m->name, x, w);
        if (prompts == 0)
            continue;
        const probe_result all = is_share(m->name) ? probe_share(m->name, x, prompts) : probe_clustered(m->name, x, w, prompts);
        result(user, &all);
    }
    free(x);
    return found ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "trajectory: no prompt was measured");
}

const kvant_probe probe_trajectory = {
    .name = "trajectory",
    .summary = "how soon greedy continuations through the cache leave those with f16, and how they end and repeat",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_reference = true,
    .context = context_of,
    .cost = cost,
    .memory = memory,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
