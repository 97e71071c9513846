/* generate.c - prompts by a model's chat template, prefill in steps, greedy decoding of one sequence or of many in lockstep.
 * All that holds a model's own end tokens and argmax to one definition. */
#include "harness/lm/generate.h"

#include "harness/lm/chat.h"
#include "harness/lm/vecmath.h"
#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

kvant_status lm_chat(const lm_model *model, const char *user, const char *answer, int32_t **ids, size_t *n, kvant_error *err)
{
    const tokenizer *t = lm_tokenizer(model, err);
    return t ? chat_encode(lm_file(model), t, user, answer, ids, n, err) : KVANT_SKIP;
}

kvant_status lm_prefill(lm_model *model, kvcache *cache, const int32_t *prompt, size_t n, uint32_t batch, float *logits,
                        kvant_error *err)
{
    if (n == 0 || batch == 0)
        return kvant_fail(err, KVANT_INVALID, "an empty prompt cannot be continued");
    uint8_t *want = calloc(batch, 1);
    if (!want)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %u tokens", batch);
    kvant_status status = KVANT_OK;
    for (size_t done = 0; done < n && status == KVANT_OK;) {
        const uint32_t m = n - done < batch ? (uint32_t)(n - done) : batch;
        want[m - 1] = done + m == n;
        const lm_segment segment = { .cache = cache, .tokens = prompt + done, .n = m, .want = want };
        status = lm_forward(model, LM_PREFILL, &segment, 1, logits, NULL, err);
        done += m;
    }
    free(want);
    return status;
}

kvant_status lm_greedy(lm_model *model, kvcache *cache, float *logits, size_t n, int32_t *out, size_t *n_out, kvant_error *err)
{
    const tokenizer *t = lm_tokenizer(model, NULL);
    const uint8_t want = 1;
    *n_out = 0;
    while (*n_out < n) {
        const int32_t id = lm_argmax(logits, lm_model_shape(model)->n_vocab);
        if (t && tokenizer_is_end(t, id))
            break;
        out[(*n_out)++] = id;
        if (*n_out == n)
            break;
        const lm_segment segment = { .cache = cache, .tokens = &id, .n = 1, .want = &want };
        const kvant_status status = lm_forward(model, LM_DECODE, &segment, 1, logits, NULL, err);
        if (status != KVANT_OK)
            return status;
    }
    return KVANT_OK;
}

/* ---- Lockstep ---------------------------------------------------------------------------------- */

/* A matrix product may round a row by how many there are beside it: oneDNN's AVX2 kernels take 6 at a time, and what is left of them in
 * another order; all take a single row otherwise, and cut many anew. So every step has a multiple of 6 rows, up to 60, and each gets what
 * it would get alone. */
enum { ROWS = 6 };
_Static_assert(LM_MAX_LOCKSTEP % ROWS == 0, "a step is filled up to a multiple of these");

typedef struct { size_t index; kvcache *cache; int32_t token; } slot;      /* a sequence at work, and the token that it feeds next */

typedef struct {
    lm_model *model;
    const tokenizer *tok;          /* NULL: nothing ends a text */
    const kvcache_codecs *codecs;
    const lm_generation *how;
    lm_continuation *sequences;
    size_t n, begun;
    slot *slots;                   /* [width] the first n_slots are at work */
    size_t n_slots, width;
    kvcache_codecs f16;
    kvcache *idle[ROWS - 1];       /* of rows that fill a step up: one token each */
    lm_segment *segments;          /* [rows] */
    float *logits;                 /* [rows][n_vocab] */
} lockstep;

static size_t whole_rows(size_t n) { return (n + ROWS - 1) / ROWS * ROWS; }

static kvant_status open_lockstep(lockstep *g, kvant_error *err)
{
    const size_t rows = whole_rows(g->width);
    g->slots = calloc(g->width, sizeof *g->slots);
    g->segments = calloc(rows, sizeof *g->segments);
    g->logits = kvant_alloc(rows * lm_model_shape(g->model)->n_vocab * sizeof(float));
    if (!g->slots || !g->segments || !g->logits)
        return kvant_fail(err, KVANT_NOMEM, "no memory for the logits of %zu sequences in lockstep", rows);
    kvant_status status = kvcache_codecs_open_f16(&g->codecs->shape, g->codecs->policy.isa, &g->f16, err);
    for (size_t i = 0; i < ROWS - 1 && !status; i++)
        status = kvcache_open(&g->f16, 1, &g->idle[i], err);
    return status;
}

static void close_lockstep(lockstep *g)
{
    for (size_t i = 0; i < g->n_slots; i++)
        kvcache_close(g->slots[i].cache);
    for (size_t i = 0; i < ROWS - 1; i++)
        kvcache_close(g->idle[i]);
    kvcache_codecs_close(&g->f16);
    free(g->slots);
    free(g->segments);
    free(g->logits);
}

/* Takes the next token of a slot's sequence; false when that is done. */
static bool take(const lockstep *g, slot *s, const float *logits)
{
    lm_continuation *c = &g->sequences[s->index];
    if (g->how->next && g->how->next(g->how->user, s->index, logits)) {
        c->stop = LM_STOPPED;
        return false;
    }
    s->token = lm_argmax(logits, lm_model_shape(g->model)->n_vocab);
    if (g->tok && tokenizer_is_end(g->tok, s->token)) {
        c->stop = LM_END;
        return false;
    }
    c->out[c->n_out++] = s->token;
    return c->n_out < c->limit;
}

static void drop(lockstep *g, size_t at)
{
    kvcache_close(g->slots[at].cache);
    g->slots[at] = g->slots[--g->n_slots];
}

/* Gives the next sequence a slot, and keeps it there unless it is done with its first token. */
static kvant_status enter(lockstep *g, kvant_error *err)
{
    lm_continuation *c = &g->sequences[g->begun];
    slot *s = &g->slots[g->n_slots];
    *s = (slot){ .index = g->begun++ };
    c->n_out = 0;
    c->stop = LM_LIMIT;
    if (c->limit == 0 || c->n_prompt == 0 || c->n_prompt > UINT32_MAX || c->limit > UINT32_MAX - c->n_prompt)
        return kvant_fail(err, KVANT_INVALID, "a prompt of %zu tokens cannot be continued by %zu", c->n_prompt, c->limit);
    kvant_status status = kvcache_open(g->codecs, (uint32_t)(c->n_prompt + c->limit), &s->cache, err);
    if (status)
        return status;
    g->n_slots++;
    status = lm_prefill(g->model, s->cache, c->prompt, c->n_prompt, g->how->batch, g->logits, err);
    if (!status && !take(g, s, g->logits))
        drop(g, g->n_slots - 1);
    return status;
}

static kvant_status advance(lockstep *g, kvant_error *err)
{
    static const uint8_t wanted = 1;
    static const int32_t any = 0;
    const size_t rows = whole_rows(g->n_slots), n_vocab = lm_model_shape(g->model)->n_vocab;
    for (size_t i = 0; i < rows; i++) {
        kvcache *idle = i < g->n_slots ? NULL : g->idle[i - g->n_slots];
        if (idle)
            kvcache_reset(idle);
        g->segments[i] = (lm_segment){ idle ? idle : g->slots[i].cache, idle ? &any : &g->slots[i].token, 1, &wanted };
    }
    const kvant_status status = lm_forward(g->model, LM_DECODE, g->segments, rows, g->logits, NULL, err);
    for (size_t i = g->n_slots; i-- > 0 && !status;)       /* from the last, which takes a dropped one's place */
        if (!take(g, &g->slots[i], g->logits + i * n_vocab))
            drop(g, i);
    return status;
}

kvant_status lm_generate(lm_model *model, const kvcache_codecs *codecs, const lm_generation *how, lm_continuation *sequences, size_t n,
                         kvant_error *err)
{
    if (how->lockstep == 0 || how->lockstep > LM_MAX_LOCKSTEP)
        return kvant_fail(err, KVANT_INVALID, "%u sequences in lockstep; 1 to %d are possible", how->lockstep, LM_MAX_LOCKSTEP);
    if (n == 0)
        return KVANT_OK;
    lockstep g = { .model = model, .tok = lm_tokenizer(model, NULL), .codecs = codecs, .how = how, .sequences = sequences, .n = n,
                   .width = n < how->lockstep ? n : how->lockstep };
    kvant_status status = open_lockstep(&g, err);
    while (!status && (g.begun < n || g.n_slots > 0))
        status = g.begun < n && g.n_slots < g.width ? enter(&g, err) : advance(&g, err);
    close_lockstep(&g);
    return status;
}

int32_t lm_argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

double lm_log_prob(const float *logits, size_t n, int32_t id) { return (double)logits[id] - vec_log_sum_exp(logits, n); }
