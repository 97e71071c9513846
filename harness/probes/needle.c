/* needle.c - whether what is hidden in prose is found through the cache: a chat that asks for it, the answer's first words given, its
 * values compared token by token with what the model would write, or read out of what it writes where their order is free. Exact match
 * tells caches apart coarsely, the right values' log-probability finely. */
#include "harness/lm/generate.h"
#include "harness/measure/haystack.h"
#include "harness/probe.h"
#include "harness/process.h"
#include "harness/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH, DEPTH, TRIALS, DIGITS, BATCH, SEED, KIND, OF, COUNT };

static const char *const kinds[] = { "single", "multi_key", "multi_value", "multi_query", NULL };
static const char *const things[] = { "numbers", "words", NULL };

static const kvant_param params[] = {
    { "length", "tokens of the prompt, chat format and the answer's first words included: the longest within it that sentences "
      "allow", KVANT_INT, 512, 128, 1 << 20, NULL },
    { "depth", "where the needle that is asked for (first) stands in the prose, by bytes: 0 is its beginning, 1 its end; others stand "
      "anywhere", KVANT_REAL, 0.5, 0, 1, NULL },
    { "trials", "prompts, each with its own passage, cities and values", KVANT_INT, 4, 1, 65535, NULL },
    { "digits", "digits of a number", KVANT_INT, 7, 4, HAYSTACK_MAX_DIGITS, NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { "prompt_seed", "draws passages, cities and values, by GSL's mt19937", KVANT_INT, 0, 0, 65535, NULL },
    { "needle_kind", "single = one needle; multi_key = one is asked for among those of other cities; multi_value = all of one city are to "
      "be named, in any order; multi_query = those of several cities are asked for, one answer after the other, the right ones before it "
      "given", KVANT_CHOICE, HAYSTACK_SINGLE, 0, 0, kinds },
    { "needle_of", "what a needle says: a number, or a word of four syllables that means nothing", KVANT_CHOICE, 0, 0, 0, things },
    { "needle_count", "needles in a prompt, but for single", KVANT_INT, 4, 2, HAYSTACK_MAX_FACTS, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "needle_accuracy", "", "share of trials that were answered exactly, all their values, with its Wilson interval", 1, false },
    { "needle_correct", "", "sample: 1 when of every value the greedy tokens are its own and nothing goes on behind it; in multi_value when "
      "the greedy answer's first sentence names all values and no other", 1, false },
    { "needle_found", "", "share of the values asked for that were answered, mean over trials: multi_value and multi_query", 1, false },
    { "needle_log_prob", "nats", "mean log-probability of the right values' tokens, the right ones before them given, in the order of the "
      "answer that was made up", 1, false },
    { "needle_depth", "", "depth that the sentence boundaries allowed, mean over trials", 0, false },
    { "prompt_tokens", "tokens", "length that the sentences allowed, mean over trials", 0, false },
    { NULL, NULL, NULL, 0, false }
};

/* Tokens beyond one for each letter that a value may take: the space before it, and slack for tokenizers that cut otherwise; and what
 * the words between two answers may. */
enum { ANSWER_SLACK = 8, BETWEEN = 80, GIVEN = -1 };

typedef struct { int32_t id; int value; } forced;      /* a token of the right answer, and which value it is of, or GIVEN */

typedef struct {
    haystack hay;
    const tokenizer *tok;
    float *logits;                 /* [n_vocab] */
    int32_t *said;                 /* [answer_room] */
    /* the trial that begin made */
    haystack_trial trial;
    int32_t *prompt;               /* [n_prompt] */
    size_t n_prompt;
    forced *answer;                /* [n_answer] */
    size_t n_answer;
    double depth;                  /* reached */
} needle;

static haystack_task task_of(const kvant_args *args)
{
    return (haystack_task){ .kind = (haystack_kind)args->v[KIND], .words = args->v[OF] > 0, .digits = (uint32_t)args->v[DIGITS],
                            .facts = (uint32_t)args->v[COUNT] };
}

/* Tokens that an answer may take, written out or given. */
static uint32_t answer_room(const kvant_args *args)
{
    const haystack_task task = task_of(args);
    const uint32_t value = (task.words ? HAYSTACK_WORD : task.digits) + ANSWER_SLACK;
    switch (task.kind) {
    case HAYSTACK_MULTI_VALUE: return task.facts * value + ANSWER_SLACK;
    case HAYSTACK_MULTI_QUERY: return task.facts * (value + BETWEEN) - BETWEEN;
    default: return value;
    }
}

static uint32_t context_of(const kvant_args *args) { return (uint32_t)args->v[LENGTH] + answer_room(args); }

static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    const haystack_task task = task_of(args);
    const double values = task.kind < HAYSTACK_MULTI_VALUE ? 1 : task.facts, runs = task.kind == HAYSTACK_MULTI_VALUE ? 2 : 1;
    return args->v[TRIALS] * runs * (args->v[LENGTH] + values * (task.words ? HAYSTACK_WORD : task.digits));
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
    p->said = calloc(answer_room(&job->args), sizeof *p->said);
    if (!p->logits || !p->said)
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
    free(p->said);
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

/* Text of one token into out, cut to its size: enough to see digits and letters. */
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

/* Whether a character can be part of a value. */
static bool is_of_value(const needle *p, char c)
{
    return p->trial.task.words ? (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') : c >= '0' && c <= '9';
}

/* Adds the tokens that a piece adds to the whole prompt when it follows what has been said, and says it; those of a value are the ones
 * that hold digits or letters of it. */
static kvant_status add_piece(const probe_job *job, needle *p, const char *message, text *said, const char *piece, int value,
                              kvant_error *err)
{
    const size_t before = p->n_prompt + p->n_answer;
    int32_t *ids = NULL;
    size_t n = 0, counted = 0;
    text_add(said, "%s", piece);
    if (said->failed)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory for an answer");
    kvant_status status = lm_chat(job->model, message, said->data, &ids, &n, err);
    if (status)
        return status;
    bool goes_on = n > before && !memcmp(ids, p->prompt, p->n_prompt * sizeof *ids);
    for (size_t i = 0; i < p->n_answer && goes_on; i++)
        goes_on = ids[p->n_prompt + i] == p->answer[i].id;
    forced *more = goes_on ? realloc(p->answer, n * sizeof *more) : NULL;
    if (!goes_on)
        status = kvant_fail(err, KVANT_SKIP, "needle: with '%s' behind it this tokenizer cuts the prompt in another way", piece);
    else if (!more)
        status = kvant_fail(err, KVANT_NOMEM, "needle: no memory for an answer");
    if (more)
        p->answer = more;
    for (size_t i = before; i < n && !status; i++) {
        char s[32] = "";
        status = token_text(p, ids[i], s, err);
        bool counts = false;
        for (const char *c = s; *c && value != GIVEN && !counts; c++)
            counts = is_of_value(p, *c);
        counted += counts;
        p->answer[p->n_answer++] = (forced){ ids[i], counts ? value : GIVEN };
    }
    free(ids);
    if (!status && value != GIVEN && (counted == 0 || n - before > strlen(piece) - 1 + ANSWER_SLACK))
        return kvant_fail(err, KVANT_SKIP, "needle: this tokenizer makes %zu tokens of '%s', and %zu of them hold something of it", n - before,
                          piece, counted);
    return status;
}

/* What stands before value i of the answer; freed by the caller. NULL: no memory. */
static char *words_before(const haystack_trial *t, size_t i)
{
    if (i == 0)
        return strdup("");
    if (t->task.kind == HAYSTACK_MULTI_VALUE)
        return strdup(i + 1 < t->n ? "," : " and");
    char *first_words = haystack_answer(t, i), *between = first_words ? text_format(".\n%s", first_words) : NULL;
    free(first_words);
    return between;
}

/* The right answer's tokens behind its first words: " VALUE", and where several are asked for all of them. */
static kvant_status make_answer(const probe_job *job, needle *p, const char *message, const char *first_words, kvant_error *err)
{
    const haystack_trial *t = &p->trial;
    const size_t values = t->task.kind == HAYSTACK_MULTI_VALUE ? t->n : haystack_answers(t);
    text said = { 0 };
    text_add(&said, "%s", first_words);
    kvant_status status = KVANT_OK;
    p->n_answer = 0;
    for (size_t i = 0; i < values && !status; i++) {
        char spaced[HAYSTACK_MAX_DIGITS + 2], *between = words_before(t, i);
        snprintf(spaced, sizeof spaced, " %s", t->fact[i].value);
        if (!between)
            status = kvant_fail(err, KVANT_NOMEM, "needle: no memory for an answer");
        if (!status && *between)
            status = add_piece(job, p, message, &said, between, GIVEN, err);
        if (!status)
            status = add_piece(job, p, message, &said, spaced, (int)i, err);
        free(between);
    }
    text_free(&said);
    if (!status && p->n_answer > answer_room(&job->args))
        return kvant_fail(err, KVANT_SKIP, "needle: this tokenizer makes %zu tokens of an answer of %zu values, more than %u", p->n_answer,
                          values, answer_room(&job->args));
    return status;
}

static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    needle *p = job->state;
    const double *v = job->args.v;
    free(p->prompt);
    free(p->answer);
    p->prompt = NULL;
    p->answer = NULL;

    const haystack_task task = task_of(&job->args);
    kvant_status status = haystack_draw(&p->hay, (uint32_t)v[SEED], (uint32_t)index, (uint32_t)v[TRIALS], &task, &p->trial, err);
    if (status)
        return status;
    char *first_words = haystack_answer(&p->trial, 0), *message = NULL;
    if (!first_words)
        return kvant_fail(err, KVANT_NOMEM, "needle: no memory for a prompt");
    counter c = { job->model, first_words };
    status = haystack_message(&p->hay, &p->trial, (size_t)v[LENGTH], v[DEPTH], count_tokens, &c, &message, &p->depth, err);
    if (!status)
        status = lm_chat(job->model, message, first_words, &p->prompt, &p->n_prompt, err);
    if (!status)
        status = probe_measures(job, p->prompt, p->n_prompt, err);
    if (!status)
        status = make_answer(job, p, message, first_words, err);
    free(message);
    free(first_words);
    return status;
}

/* What one cell makes of a trial. */
typedef struct { bool right[HAYSTACK_MAX_FACTS]; double log_prob, n; } outcome;

/* Feeds the right answer token by token. As long as each is also the likeliest, that is what greedy generation does. A space
 * that is a token of its own belongs to the words that are given. */
static kvant_status force(const probe_job *job, const needle *p, kvcache *cache, outcome *o, kvant_error *err)
{
    static const uint8_t wanted = 1;
    size_t n_vocab = lm_model_shape(job->model)->n_vocab;
    kvant_status status = lm_prefill(job->model, cache, p->prompt, p->n_prompt, (uint32_t)job->args.v[BATCH], p->logits, err);
    double sum = 0;
    for (size_t i = 0; i < HAYSTACK_MAX_FACTS; i++)
        o->right[i] = true;
    for (size_t i = 0; i < p->n_answer && !status; i++) {
        const forced *a = &p->answer[i];
        const bool last = a->value != GIVEN && (i + 1 == p->n_answer || a[1].value != a->value);
        if (a->value != GIVEN) {
            o->right[a->value] = o->right[a->value] && lm_argmax(p->logits, n_vocab) == a->id;
            sum += lm_log_prob(p->logits, n_vocab, a->id);
            o->n++;
        }
        if (i + 1 == p->n_answer && last && !o->right[a->value])
            break;
        lm_segment segment = { cache, &a->id, 1, &wanted };
        status = lm_forward(job->model, LM_DECODE, &segment, 1, p->logits, NULL, err);
        if (last && o->right[a->value] && !status) {
            char next[32] = "";
            status = token_text(p, lm_argmax(p->logits, n_vocab), next, err);
            o->right[a->value] = !is_of_value(p, next[0]);
        }
    }
    o->log_prob = sum / o->n;
    return status;
}

/* Lets the model answer, and reads which values it names; *exact when it names all of them and no other. */
static kvant_status hear(const probe_job *job, const needle *p, const kvcache_codecs *codecs, outcome *o, bool *exact, kvant_error *err)
{
    const lm_generation how = { .batch = (uint32_t)job->args.v[BATCH], .lockstep = 1 };
    lm_continuation c = { .prompt = p->prompt, .n_prompt = p->n_prompt, .out = p->said, .limit = answer_room(&job->args) };
    char *said = NULL;
    size_t bytes = 0;
    kvant_status status = lm_generate(job->model, codecs, &how, &c, 1, err);
    if (!status)
        status = tokenizer_decode(p->tok, p->said, c.n_out, false, &said, &bytes, err);
    if (!status)
        *exact = haystack_named(&p->trial, said, o->right);
    free(said);
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
    const haystack_kind kind = p->trial.task.kind;
    const size_t values = kind < HAYSTACK_MULTI_VALUE ? 1 : p->trial.n;
    outcome o = { .n = 0 };
    bool correct = true;
    status = force(job, p, cache, &o, err);
    kvcache_close(cache);
    if (!status && kind == HAYSTACK_MULTI_VALUE)
        status = hear(job, p, &job->codecs[cell], &o, &correct, err);
    if (status)
        return status;
    double found = 0;
    for (size_t i = 0; i < values; i++)
        found += o.right[i];
    correct = correct && !(found < (double)values);
    uint32_t trial = (uint32_t)index;
    job->emit(job, cell, &(probe_sample) { "needle_correct", trial, 0, correct, 1 });
    if (kind >= HAYSTACK_MULTI_VALUE)
        job->emit(job, cell, &(probe_sample) { "needle_found", trial, 0, found / (double)values, (double)values });
    job->emit(job, cell, &(probe_sample) { "needle_log_prob", trial, 0, o.log_prob, o.n });
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
    double *w = x + n;
    const size_t trials = probe_values(samples, n, "needle_correct", x, w);
    if (trials) {
        const probe_result accuracy = probe_share("needle_accuracy", x, trials);
        result(user, &accuracy);
    }
    static const char *const means[] = { "needle_found", "needle_log_prob", "needle_depth", "prompt_tokens" };
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        const size_t found = probe_values(samples, n, means[i], x, w);
        probe_result mean = probe_clustered(means[i], x, w, found);
        if (i == 0 && found > 1) {     /* an interval of a share */
            mean.lo = fmax(mean.lo, 0);
            mean.hi = fmin(mean.hi, 1);
        }
        if (trials && (found || i > 0))
            result(user, &mean);
    }
    free(x);
    return trials ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "needle: no trial was measured");
}

const kvant_probe probe_needle = {
    .name = "needle",
    .summary = "whether what is hidden in prose is found through the cache, over depth and length: one needle, one among many, or several",
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
