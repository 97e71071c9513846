/* perturbation.c - whether small changes of a prompt that leave its meaning alone change the answer, through this cache. Every prompt is
 * run as it is and with each kind of change, and its answers and first distributions are compared with each other; no other cache takes
 * part. So f16's own figures say how unstable the model is by itself, and the paired difference to them, prompt by prompt, what a
 * quantizer adds. Where f16 keeps hardly any answer, equal answers tell nothing, and the divergence is what is left to read. */
#include "harness/lm/generate.h"
#include "harness/measure/haystack.h"
#include "harness/measure/logits.h"
#include "harness/measure/sequence.h"
#include "harness/measure/stats.h"
#include "harness/measure/variant.h"
#include "harness/probe.h"
#include "harness/util.h"

#include <gsl/gsl_rng.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS, PROMPT_TOKENS, TOKENS, CHANGES, TASK, BATCH, SEED };
enum { ASK, CONTINUE };
/* Texts of a prompt: itself and its variants. Tokens that a changed word may take, and a question with its chat format. */
enum { TEXTS = 1 + VARIANT_KINDS, WORD_TOKENS = VARIANT_WORD + 4, QUESTION_TOKENS = 320 };

static const char *const tasks[] = { "ask", "continue", NULL };

static const kvant_param params[] = {
    { "prompts", "prompts, each a passage from one of as many equal parts of the first half of the text's sentences (the second half is "
      "calibration's)", KVANT_INT, 8, 1, 65535, NULL },
    { "prompt_tokens", "tokens of a passage, at most: as many whole sentences as they hold", KVANT_INT, 128, 8, 1 << 20, NULL },
    { "tokens", "tokens of an answer, greedily and by the decode path; an end token ends it before", KVANT_INT, 16, 1, 1 << 14, NULL },
    { "changes", "changes that a variant makes, if the passage has so many places; an ending is one", KVANT_INT, 3, 1, 1024, NULL },
    { "perturbation_task", "ask = a chat that asks what the passage is about; continue = the passage as it is, to go on with",
      KVANT_CHOICE, ASK, 0, 0, tasks },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "prompt_seed", "draws passages and changes, by GSL's mt19937", KVANT_INT, 0, 0, 65535, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

#define KEPT_HELP "share of variants whose answer reads as the unchanged prompt's, white space apart; "
#define EDITS_HELP "fewest insertions, deletions and substitutions of tokens between both answers, over the longer; "
#define KL_HELP "KL divergence of the first answer token's distributions, unchanged prompt || variant; "
#define OF_KIND(kind, what) \
    { "answer_kept_" kind, "", KEPT_HELP what, 1, false }, { "answer_edits_" kind, "", EDITS_HELP what, -1, false }, \
    { "answer_kl_" kind, "nats", KL_HELP what, -1, false }

static const probe_metric metrics[] = {
    { "answer_kept", "", KEPT_HELP "all kinds, errors by prompt; compare with f16's, which is the model's own instability", 1, false },
    { "answer_edits", "", EDITS_HELP "all kinds, errors by prompt", -1, false },
    { "answer_kl", "nats", KL_HELP "all kinds, errors by prompt", -1, false },
    OF_KIND("case", "first letters of words turned"),
    OF_KIND("spacing", "spaces doubled"),
    OF_KIND("ending", "a space or a line's end behind the passage"),
    OF_KIND("synonym", "words replaced by synonyms"),
    { "answer_tokens", "tokens", "of the answers to the unchanged prompts, mean", 0, false },
    { "prompt_tokens", "tokens", "of the unchanged prompts, mean", 0, false },
    { NULL, NULL, NULL, 0, false }
};

typedef struct { int32_t *ids; size_t n; } tokens_of;      /* n == 0: the passage has no place for this change */

typedef struct {
    const tokenizer *tok;
    uint32_t prompts, tokens, batch;
    tokens_of *prompt;             /* [prompts][TEXTS], the unchanged one first */
    float *logits;                 /* [TEXTS][n_vocab] first ones */
    size_t n_vocab;
    int32_t *out;                  /* [TEXTS][tokens] */
    size_t *work;                  /* [tokens + 1] */
    lm_continuation answers[TEXTS];/* of the unit at work, those that there are */
} perturbation;

static uint32_t room(const kvant_args *args)
{
    return (uint32_t)(args->v[PROMPT_TOKENS] + WORD_TOKENS * (args->v[CHANGES] + 1) + (args->v[TASK] > ASK ? 0 : QUESTION_TOKENS));
}

static uint32_t context_of(const kvant_args *args) { return room(args) + (uint32_t)args->v[TOKENS]; }

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[PROMPTS] * TEXTS * (args->v[PROMPT_TOKENS] + args->v[TOKENS]);
}

/* Logits of a step and first ones, and the caches of a prompt's other texts, as f16 would take them. */
static double memory(const kvant_args *args, const lm_shape *s)
{
    const double vector = 2. * s->n_layer * s->n_kv_head * s->head_dim * sizeof(uint16_t);
    return (2 * TEXTS + 1.) * s->n_vocab * sizeof(float) + VARIANT_KINDS * vector * context_of(args);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static kvant_status encode(const probe_job *job, const perturbation *p, const char *passage, tokens_of *out, kvant_error *err)
{
    if (job->args.v[TASK] > ASK)
        return tokenizer_encode(p->tok, passage, strlen(passage), true, false, &out->ids, &out->n, err);
    char *message = text_format("Say in a few words what this text is about.\n\n%s", passage);
    kvant_status status = message ? lm_chat(job->model, message, NULL, &out->ids, &out->n, err)
                                  : kvant_fail(err, KVANT_NOMEM, "perturbation: no memory for a prompt");
    free(message);
    if (status == KVANT_SKIP) {
        const size_t length = strlen(err->text);
        snprintf(err->text + length, sizeof err->text - length, "; perturbation_task continue needs none");
    }
    return status;
}

/* Sentences from `first` on as one text, as many as fit the passage's tokens; freed by the caller. */
static kvant_status take_passage(const probe_job *job, const perturbation *p, const haystack *h, size_t first, char **passage,
                                 kvant_error *err)
{
    const size_t most = (size_t)job->args.v[PROMPT_TOKENS];
    *passage = NULL;
    for (size_t end = first + 1; end <= h->n; end++) {
        char *longer = text_format("%.*s", (int)(h->start[end] - 1 - h->start[first]), h->text + h->start[first]);
        if (!longer)
            return kvant_fail(err, KVANT_NOMEM, "perturbation: no memory for a passage");
        tokens_of t = { 0 };
        const kvant_status status = tokenizer_encode(p->tok, longer, strlen(longer), false, false, &t.ids, &t.n, err);
        free(t.ids);
        if (status || t.n > most) {
            free(longer);
            if (status || *passage)
                return status;
            return kvant_fail(err, KVANT_INVALID, "perturbation: a sentence of the text takes %zu tokens, and %zu are asked for; raise "
                              "prompt_tokens", t.n, most);
        }
        free(*passage);
        *passage = longer;
    }
    return KVANT_OK;
}

/* A passage's tokens and those of its variants. */
static kvant_status make_texts(const probe_job *job, const perturbation *p, const char *passage, uint32_t seed, tokens_of *out,
                               kvant_error *err)
{
    kvant_status status = encode(job, p, passage, &out[0], err);
    for (int kind = 0; kind < VARIANT_KINDS && !status; kind++) {
        char *variant = NULL;
        size_t changed = 0;
        status = variant_make((variant_kind)kind, passage, (size_t)job->args.v[CHANGES], seed, &variant, &changed, err);
        if (!status && changed)
            status = encode(job, p, variant, &out[1 + kind], err);
        free(variant);
    }
    for (size_t i = 0; i < TEXTS && !status; i++)
        if (out[i].n > room(&job->args))
            status = kvant_fail(err, KVANT_SKIP, "perturbation: this tokenizer makes %zu tokens of a changed passage, more than %u", out[i].n,
                                room(&job->args));
    return status;
}

static kvant_status make_prompts(probe_job *job, perturbation *p, const haystack *h, gsl_rng *rng, kvant_error *err)
{
    const size_t half = h->n / 2;
    const uint32_t seed = (uint32_t)job->args.v[SEED];
    if (half < p->prompts)
        return kvant_fail(err, KVANT_INVALID, "perturbation: %u prompts are asked for, and the first half of the text has %zu sentences; "
                          "lower prompts, or take a longer text", p->prompts, half);
    gsl_rng_set(rng, seed + 1ul);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < p->prompts && !status; i++) {
        char *passage = NULL;
        const size_t first = (size_t)(((double)i + gsl_rng_uniform(rng)) / p->prompts * (double)half) % half;
        tokens_of *texts = p->prompt + i * TEXTS;
        status = take_passage(job, p, h, first, &passage, err);
        if (!status)
            status = make_texts(job, p, passage, 65536u * seed + (uint32_t)i, texts, err);
        for (size_t k = 0; k < TEXTS && !status; k++)
            if (texts[k].n)
                status = probe_measures(job, texts[k].ids, texts[k].n, err);
        free(passage);
    }
    return status;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    perturbation *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "perturbation: no memory");
    *p = (perturbation){ .prompts = (uint32_t)v[PROMPTS], .tokens = (uint32_t)v[TOKENS], .batch = (uint32_t)v[BATCH],
                         .n_vocab = lm_model_shape(job->model)->n_vocab };
    job->n_units = p->prompts;
    kvant_error why = { "" };
    p->tok = lm_tokenizer(job->model, &why);
    if (!p->tok)
        return kvant_fail(err, KVANT_SKIP, "%s", why.text);
    p->prompt = calloc((size_t)p->prompts * TEXTS, sizeof *p->prompt);
    p->logits = kvant_alloc(TEXTS * p->n_vocab * sizeof *p->logits);
    p->out = calloc((size_t)TEXTS * p->tokens, sizeof *p->out);
    p->work = calloc((size_t)p->tokens + 1, sizeof *p->work);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    haystack h = { 0 };
    kvant_status status = p->prompt && p->logits && p->out && p->work && rng
                              ? haystack_open(job->data->text, job->data->bytes, &h, err)
                              : kvant_fail(err, KVANT_NOMEM, "perturbation: no memory for answers of %u tokens", p->tokens);
    if (!status)
        status = make_prompts(job, p, &h, rng, err);
    haystack_close(&h);
    gsl_rng_free(rng);
    return status;
}

static void close_job(probe_job *job)
{
    perturbation *p = job->state;
    if (!p)
        return;
    for (size_t i = 0; p->prompt && i < (size_t)p->prompts * TEXTS; i++)
        free(p->prompt[i].ids);
    free(p->prompt);
    free(p->logits);
    free(p->out);
    free(p->work);
    free(p);
    job->state = NULL;
}

/* ---- Measuring --------------------------------------------------------------------------------- */

static bool keep_first(void *user, size_t index, const float *logits)
{
    perturbation *p = user;
    if (p->answers[index].n_out == 0)
        memcpy(p->logits + index * p->n_vocab, logits, p->n_vocab * sizeof *logits);
    return false;
}

static kvant_status answers_read_the_same(const perturbation *p, const lm_continuation *a, const lm_continuation *b, bool *same,
                                          kvant_error *err)
{
    char *of_a = NULL, *of_b = NULL;
    size_t bytes;
    kvant_status status = tokenizer_decode(p->tok, a->out, a->n_out, false, &of_a, &bytes, err);
    if (!status)
        status = tokenizer_decode(p->tok, b->out, b->n_out, false, &of_b, &bytes, err);
    if (!status)
        *same = variant_same_answer(of_a, of_b);
    free(of_a);
    free(of_b);
    return status;
}

/* One variant against the unchanged prompt: answers [0] and [at]. */
static kvant_status compare(probe_job *job, const perturbation *p, size_t cell, uint32_t prompt, size_t at, int kind, kvant_error *err)
{
    const lm_continuation *a = &p->answers[0], *b = &p->answers[at];
    const float *x = p->logits, *y = p->logits + at * p->n_vocab;
    const size_t longer = a->n_out > b->n_out ? a->n_out : b->n_out;
    const double edits = (double)sequence_edits(a->out, a->n_out, b->out, b->n_out, p->work);
    bool same = false;
    const kvant_status status = answers_read_the_same(p, a, b, &same, err);
    if (status)
        return status;
    const struct { const char *metric; double value; } found[] = {
        { "answer_kept", same }, { "answer_edits", longer ? edits / (double)longer : 0 },
        { "answer_kl", logits_divergence(x, logits_mass_of(x, p->n_vocab), y, logits_mass_of(y, p->n_vocab), p->n_vocab) },
    };
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", found[i].metric, variant_names[kind]);
        job->emit(job, cell, &(probe_sample) { found[i].metric, prompt, (uint32_t)kind, found[i].value, 1 });
        job->emit(job, cell, &(probe_sample) { name, prompt, 0, found[i].value, 1 });
    }
    return KVANT_OK;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    perturbation *p = job->state;
    const tokens_of *texts = p->prompt + index * TEXTS;
    const lm_generation how = { .batch = p->batch, .lockstep = TEXTS, .next = keep_first, .user = p };
    int kind_of[TEXTS] = { -1 };
    size_t n = 0;
    for (int i = 0; i < TEXTS; i++)
        if (texts[i].n) {
            kind_of[n] = i - 1;
            p->answers[n] = (lm_continuation){ .prompt = texts[i].ids, .n_prompt = texts[i].n, .out = p->out + n * p->tokens,
                                               .limit = p->tokens };
            n++;
        }
    kvant_status status = lm_generate(job->model, &job->codecs[cell], &how, p->answers, n, err);
    const uint32_t prompt = (uint32_t)index;
    for (size_t i = 1; i < n && !status; i++)
        status = compare(job, p, cell, prompt, i, kind_of[i], err);
    if (status)
        return status;
    job->emit(job, cell, &(probe_sample) { "answer_tokens", prompt, 0, (double)p->answers[0].n_out, 1 });
    job->emit(job, cell, &(probe_sample) { "prompt_tokens", prompt, 0, (double)texts[0].n, 1 });
    return KVANT_OK;
}

/* ---- Results ------------------------------------------------------------------------------------ */

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "perturbation: no memory for %zu samples", n);
    double *w = x + n;
    size_t found = 0;
    for (const probe_metric *m = metrics; m->name; m++) {
        const size_t prompts = probe_by_chunk(samples, n, m->name, x, w);
        found += prompts;
        if (!prompts)
            continue;
        probe_result r = probe_clustered(m->name, x, w, prompts);
        if (!strncmp(m->name, "answer_kept_", strlen("answer_kept_"))) {
            const stats_interval wilson = stats_wilson(round(r.value * r.n), r.n, 0.95);
            r = (probe_result){ m->name, r.value, r.n, NAN, wilson.lo, wilson.hi };
        } else if (m->better && !isnan(r.lo)) {        /* none of these is below 0, and shares are not above 1 */
            r.lo = fmax(r.lo, 0);
            r.hi = strcmp(m->unit, "nats") ? fmin(r.hi, 1) : r.hi;
        }
        result(user, &r);
    }
    free(x);
    return found ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "perturbation: no prompt was measured");
}

const kvant_probe probe_perturbation = {
    .name = "perturbation",
    .summary = "whether answers stay the same through the cache when a prompt's case, spacing or words change a little",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_reference = true,
    .context = context_of,
    .cost = cost,
    .memory = memory,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
