/* needle.c - whether a number hidden in prose is found through the cache: a chat that asks for it, the answer's first words
 * given, its digits generated greedily. Exact match tells caches apart coarsely, the right digits' log-probability finely. */
#include "harness/lm/generate.h"
#include "harness/measure/haystack.h"
#include "harness/measure/stats.h"
#include "harness/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH, DEPTH, TRIALS, DIGITS, BATCH, SEED };

static const kvant_param params[] = {
    { "length", "tokens of the prompt, chat format and the answer's first words included: the longest within it that sentences "
      "allow", KVANT_INT, 512, 128, 1 << 20, NULL },
    { "depth", "where the number stands in the prose, by bytes: 0 is its beginning, 1 its end", KVANT_REAL, 0.5, 0, 1, NULL },
    { "trials", "prompts, each with its own passage, city and number", KVANT_INT, 4, 1, 65535, NULL },
    { "digits", "digits of the number", KVANT_INT, 7, 4, HAYSTACK_MAX_DIGITS, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "prompt_seed", "draws passages, cities and numbers, by GSL's mt19937", KVANT_INT, 0, 0, 65535, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "needle_accuracy", "", "share of trials whose number was answered exactly, with its Wilson interval", 1, false },
    { "needle_correct", "", "sample: 1 when the greedy digits are the number's own tokens and no digit follows", 1, false },
    { "needle_log_prob", "nats", "mean log-probability of the right digits' tokens, the right ones before them given", 1, false },
    { "needle_depth", "", "depth that the sentence boundaries allowed, mean over trials", 0, false },
    { "prompt_tokens", "tokens", "length that the sentences allowed, mean over trials", 0, false },
    { NULL, NULL, NULL, 0, false }
};

/* An answer's tokens: its digits, the space before them, and some slack for tokenizers that cut otherwise. */
enum { ANSWER_SLACK = 8, MAX_ANSWER = HAYSTACK_MAX_DIGITS + ANSWER_SLACK };

typedef struct {
    haystack hay;
    const tokenizer *tok;
    float *logits;                 /* [n_vocab] */
    /* the trial that begin made */
    int32_t *prompt;               /* [n_prompt] */
    size_t n_prompt;
    int32_t *answer;               /* [n_answer] */
    size_t n_answer;
    bool digit[MAX_ANSWER];        /* this token of the answer holds a digit */
    double depth;                  /* reached */
} needle;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)(args->v[LENGTH] + args->v[DIGITS]) + ANSWER_SLACK;
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[TRIALS] * (args->v[LENGTH] + args->v[DIGITS]);
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    needle *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory");
    job->n_units = (size_t)job->args.v[TRIALS];
    kvant_error why = { "" };
    p->tok = lm_tokenizer(job->model, &why);
    if (!p->tok)
        return kvant_fail(err, KVANT_SKIP, "%s", why.text);
    p->logits = kvant_alloc(lm_model_shape(job->model)->n_vocab * sizeof(float));
    if (!p->logits)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory for logits");
    return haystack_open(job->data->text, job->data->bytes, &p->hay, err);
}

static void close_job(probe_job *job)
{
    needle *p = job->state;
    if (!p)
        return;
    haystack_close(&p->hay);
    free(p->logits);
    free(p->prompt);
    free(p->answer);
    free(p);
    job->state = NULL;
}

typedef struct { const lm_model *model; const char *answer; } counter;

static kvant_status count_tokens(void *user, const char *message, size_t *tokens, kvant_error *err)
{
    const counter *c = user;
    int32_t *ids = NULL;
    kvant_status status = lm_chat(c->model, message, c->answer, &ids, tokens, err);
    free(ids);
    return status;
}

/* Text of one token into out, cut to its size: enough to see digits. */
static kvant_status token_text(const needle *p, int32_t id, char out[32], kvant_error *err)
{
    char *text_of = NULL;
    size_t bytes = 0;
    kvant_status status = tokenizer_decode(p->tok, &id, 1, false, &text_of, &bytes, err);
    if (!status)
        snprintf(out, 32, "%s", text_of);
    free(text_of);
    return status;
}

/* The tokens of " NUMBER", and which of them hold digits. */
static kvant_status make_answer(needle *p, const char *number, kvant_error *err)
{
    char spaced[HAYSTACK_MAX_DIGITS + 2];
    snprintf(spaced, sizeof spaced, " %s", number);
    kvant_status status = tokenizer_encode(p->tok, spaced, strlen(spaced), false, false, &p->answer, &p->n_answer, err);
    if (status)
        return status;
    if (p->n_answer == 0 || p->n_answer > strlen(number) + ANSWER_SLACK)
        return kvant_fail(err, KVANT_SKIP, "needle: this tokenizer makes %zu tokens of the number %s", p->n_answer, number);
    size_t digits = 0;
    for (size_t i = 0; i < p->n_answer && !status; i++) {
        char s[32] = "";
        status = token_text(p, p->answer[i], s, err);
        p->digit[i] = strpbrk(s, "0123456789") != NULL;
        digits += p->digit[i];
    }
    if (!status && digits == 0)
        return kvant_fail(err, KVANT_SKIP, "needle: this tokenizer's tokens of the number %s hold no digit", number);
    return status;
}

static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    needle *p = job->state;
    const double *v = job->args.v;
    free(p->prompt);
    free(p->answer);
    p->prompt = p->answer = NULL;

    haystack_trial trial;
    kvant_status status = haystack_draw(&p->hay, (uint32_t)v[SEED], (uint32_t)index, (uint32_t)v[TRIALS], (uint32_t)v[DIGITS],
                                        &trial, err);
    if (status)
        return status;
    char *first_words = haystack_answer(&trial), *message = NULL;
    if (!first_words)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory for a prompt");
    counter c = { job->model, first_words };
    status = haystack_message(&p->hay, &trial, (size_t)v[LENGTH], v[DEPTH], count_tokens, &c, &message, &p->depth, err);
    if (!status)
        status = lm_chat(job->model, message, first_words, &p->prompt, &p->n_prompt, err);
    if (!status)
        status = probe_measures(job, p->prompt, p->n_prompt, err);
    if (!status)
        status = make_answer(p, trial.number, err);
    free(message);
    free(first_words);
    return status;
}

/* Feeds the right answer token by token. As long as each is also the likeliest, that is what greedy generation does. A space
 * that is a token of its own belongs to the words that are given. */
static kvant_status answer(const probe_job *job, needle *p, kvcache *cache, bool *correct, double *log_prob, double *n,
                           kvant_error *err)
{
    static const uint8_t wanted = 1;
    size_t n_vocab = lm_model_shape(job->model)->n_vocab;
    kvant_status status = lm_prefill(job->model, cache, p->prompt, p->n_prompt, (uint32_t)job->args.v[BATCH], p->logits, err);
    double sum = 0, digits = 0;
    *correct = true;
    for (size_t i = 0; i < p->n_answer && !status; i++) {
        if (p->digit[i]) {
            *correct = *correct && lm_argmax(p->logits, n_vocab) == p->answer[i];
            sum += lm_log_prob(p->logits, n_vocab, p->answer[i]);
            digits++;
        }
        if (i + 1 == p->n_answer && !*correct)
            break;
        lm_segment segment = { cache, &p->answer[i], 1, &wanted };
        status = lm_forward(job->model, LM_DECODE, &segment, 1, p->logits, NULL, err);
    }
    if (status)
        return status;
    *log_prob = sum / digits;
    *n = digits;
    if (!*correct)
        return KVANT_OK;
    char next[32] = "";
    status = token_text(p, lm_argmax(p->logits, n_vocab), next, err);
    *correct = !(next[0] >= '0' && next[0] <= '9');
    return status;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    needle *p = job->state;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "needle: interrupted");
    kvcache *cache = NULL;
    kvant_status status = kvcache_open(&job->codecs[cell], context_of(&job->args), &cache, err);
    if (status)
        return status;
    bool correct = false;
    double log_prob = 0, n = 0;
    status = answer(job, p, cache, &correct, &log_prob, &n, err);
    kvcache_close(cache);
    if (status)
        return status;
    uint32_t trial = (uint32_t)index;
    job->emit(job, cell, &(probe_sample) { "needle_correct", trial, 0, correct, 1 });
    job->emit(job, cell, &(probe_sample) { "needle_log_prob", trial, 0, log_prob, n });
    job->emit(job, cell, &(probe_sample) { "needle_depth", trial, 0, p->depth, 1 });
    job->emit(job, cell, &(probe_sample) { "prompt_tokens", trial, 0, (double)p->n_prompt, 1 });
    return KVANT_OK;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory for %zu samples", n);
    double *w = x + n, right = 0;
    size_t trials = probe_values(samples, n, "needle_correct", x, w);
    for (size_t i = 0; i < trials; i++)
        right += x[i];
    if (trials) {
        stats_interval wilson = stats_wilson(right, (double)trials, 0.95);
        result(user, &(probe_result) { "needle_accuracy", right / (double)trials, (double)trials, NAN, wilson.lo, wilson.hi });
    }
    static const char *const means[] = { "needle_log_prob", "needle_depth", "prompt_tokens" };
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        probe_result mean = probe_clustered(means[i], x, w, probe_values(samples, n, means[i], x, w));
        if (trials)
            result(user, &mean);
    }
    free(x);
    return trials ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "needle: no trial was measured");
}

const kvant_probe probe_needle = {
    .name = "needle",
    .summary = "whether a number hidden in prose is found through the cache, over depth and length",
    .params = params,
    .metrics = metrics,
    .wants_text = true, .wants_reference = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
