/* gsm8k.c - whether word problems are still solved through the cache: worked examples, a chain of thought written greedily, one number.
 * Few-shot text that a model continues suits small base models, which know no chat; who never solves any tells nothing, so the share that
 * one and the same answer to all would get stands beside. */
#include "harness/lm/generate.h"
#include "harness/measure/stats_paired.h"
#include "harness/measure/word_problem.h"
#include "harness/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROBLEMS, SHOTS, TOKENS, PROMPT_TOKENS, FORMAT, LOCKSTEP, BATCH };
enum { PLAIN, CHAT };

static const char *const formats[] = { "plain", "chat", NULL };

static const kvant_param params[] = {
    { "problems", "how many, the first of the data (calibration's are in its second half)", KVANT_INT, 200, 1, 65535, NULL },
    { "shots", "worked examples before each problem", KVANT_INT, 3, 0, WORD_PROBLEM_SHOTS, NULL },
    { "tokens", "tokens that a solution may have", KVANT_INT, 256, 8, 8192, NULL },
    { "prompt_tokens", "tokens that a prompt may have: room for the examples and the longest problem", KVANT_INT, 1024, 64, 1 << 20, NULL },
    { "format", "plain: text to go on with, for any model; chat: the same as the user's message, in the model's own format", KVANT_CHOICE,
      PLAIN, 0, 1, formats },
    { "lockstep", "problems written on together, so that the weights are read once for all", KVANT_INT, 12, 1, LM_MAX_LOCKSTEP,
      NULL },
    { "batch", "tokens of a prefill step", KVANT_INT, 512, 1, 8192, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "gsm8k_accuracy", "", "share of problems whose number is exactly the right one, with its Wilson interval", 1, false },
    { "gsm8k_floor", "", "share that the most frequent right number would get as the answer to all: where f16's accuracy is not clearly above "
      "it, the others' tell nothing", 0, false },
    { "format_failures", "", "share of solutions with no number where it was asked for (they count as wrong), with its Wilson interval", -1,
      false },
    { "answer_agreement", "", "share whose number is the same as with an f16 cache, or that has none as there, with its Wilson interval", 1,
      false },
    { "gsm8k_sign_p", "", "p of the exact two-sided sign test on problems that only one of this cache and f16 gets right", 0, false },
    { "gsm8k_against_f16", "", "sample: 1 right here and wrong with an f16 cache, -1 the other way, 0 neither", 1, false },
    { "unfinished", "", "share of solutions that the limit of tokens cut off, with its Wilson interval", -1, false },
    { "tokens_produced", "tokens", "tokens of a solution; mean over problems", 0, false },
    { "prompt_tokens", "tokens", "tokens of a prompt; mean over problems", 0, false },
    { NULL, NULL, NULL, 0, false }
};

typedef struct { int32_t *ids; size_t n; } prompt;

/* number is empty where none stands where it was asked for. */
typedef struct { size_t n; bool cut; char number[NUMBER_TEXT]; } solution;

typedef struct {
    word_problems set;
    prompt *prompts;               /* [problems] */
    const char *commonest;         /* the most frequent right number */
    const tokenizer *tok;
    kvcache_codecs f16;            /* the first cell's, with another table */
    solution *reference, *here;    /* [lockstep]; of the unit at work */
    size_t n_reference;
    lm_continuation *writing;      /* [lockstep] */
    int32_t *ids;                  /* [lockstep][tokens] */
    uint32_t tokens, lockstep;
    kvant_status status;           /* of looking at what is written */
    kvant_error err;
} gsm8k;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)(args->v[PROMPT_TOKENS] + args->v[TOKENS]);
}

/* Four bytes of English to a token. Few solutions need the tokens that they may have: half of them is what to expect. */
static double cost(const kvant_args *args, const kvant_data *data)
{
    word_problems set;
    const size_t n = (size_t)args->v[PROBLEMS];
    char *examples = word_problem_prompt((size_t)args->v[SHOTS], "");
    double bytes = examples ? (double)(strlen(examples) * n) : 0;
    if (data->text && !word_problems_read(data->text, data->bytes, n, &set, NULL)) {
        for (size_t i = 0; i < set.n; i++)
            bytes += (double)strlen(set.problems[i].question);
        word_problems_free(&set);
    }
    free(examples);
    return bytes / 4 + (double)n * args->v[TOKENS] / 2;
}

/* A row of logits for each solution, and those that fill a step up. */
static double memory(const kvant_args *args, const lm_shape *s)
{
    return (args->v[LOCKSTEP] + 6) * s->n_vocab * sizeof(float);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static const char *commonest_number(const word_problems *set)
{
    size_t most = 0, at = 0;
    for (size_t i = 0; i < set->n; i++) {
        size_t n = 0;
        for (size_t j = 0; j < set->n; j++)
            n += !strcmp(set->problems[i].number, set->problems[j].number);
        if (n > most) {
            most = n;
            at = i;
        }
    }
    return set->problems[at].number;
}

static kvant_status make_prompt(probe_job *job, const gsm8k *p, size_t index, prompt *out, kvant_error *err)
{
    const double *v = job->args.v;
    char *words = word_problem_prompt((size_t)v[SHOTS], p->set.problems[index].question);
    kvant_status status = words ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory for a prompt");
    if (!status && v[FORMAT] == CHAT)
        status = lm_chat(job->model, words, word_problem_lead, &out->ids, &out->n, err);
    else if (!status) {
        char *begun = text_format("%s%s", words, word_problem_lead);
        status = begun ? tokenizer_encode(p->tok, begun, strlen(begun), true, false, &out->ids, &out->n, err)
                       : kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory for a prompt");
        free(begun);
    }
    free(words);
    if (!status && (out->n < 1 || (double)out->n > v[PROMPT_TOKENS]))
        status = kvant_fail(err, KVANT_INVALID, "gsm8k: the prompt of problem %zu has %zu tokens; raise prompt_tokens, or lower shots",
                            index + 1, out->n);
    return status ? status : probe_measures(job, out->ids, out->n, err);
}

static kvant_status open_prompts(probe_job *job, gsm8k *p, kvant_error *err)
{
    kvant_error why = { "" };
    p->tok = lm_tokenizer(job->model, &why);
    if (!p->tok)
        return kvant_fail(err, KVANT_SKIP, "%s", why.text);
    kvant_status status = word_problems_read(job->data->text, job->data->bytes, (size_t)job->args.v[PROBLEMS], &p->set, &why);
    if (status)
        return kvant_fail(err, status, "gsm8k: %s; lower problems, or get the data by `kvant fetch gsm8k`", why.text);
    p->commonest = commonest_number(&p->set);
    p->prompts = calloc(p->set.n, sizeof *p->prompts);
    if (!p->prompts)
        return kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory for %zu prompts", p->set.n);
    for (size_t i = 0; i < p->set.n && !status; i++)
        status = make_prompt(job, p, i, &p->prompts[i], err);
    return status;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    gsm8k *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory");
    *p = (gsm8k){ .tokens = (uint32_t)v[TOKENS], .lockstep = (uint32_t)v[LOCKSTEP] };
    job->n_units = ((size_t)v[PROBLEMS] + p->lockstep - 1) / p->lockstep;
    kvant_status status = open_prompts(job, p, err);
    if (status)
        return status;
    p->f16 = job->codecs[0];
    const size_t groups = (size_t)p->f16.shape.n_layer * p->f16.shape.n_kv_head * 2, n = p->lockstep;
    p->f16.of = calloc(groups, sizeof *p->f16.of);
    p->f16.policy.sink = p->f16.policy.window = 0;
    p->reference = calloc(2 * n, sizeof *p->reference);
    p->writing = calloc(n, sizeof *p->writing);
    p->ids = calloc(n * p->tokens, sizeof *p->ids);
    if (!p->f16.of || !p->reference || !p->writing || !p->ids)
        return kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory for %zu solutions of %u tokens", n, p->tokens);
    p->here = p->reference + n;
    for (size_t i = 0; i < groups; i++)
        p->f16.of[i] = p->f16.f16;
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    gsm8k *p = job->state;
    if (!p)
        return;
    for (size_t i = 0; p->prompts && i < p->set.n; i++)
        free(p->prompts[i].ids);
    free(p->prompts);
    word_problems_free(&p->set);
    free(p->f16.of);
    free(p->reference);
    free(p->writing);
    free(p->ids);
    free(p);
    job->state = NULL;
}

/* ---- Solving ----------------------------------------------------------------------------------- */

static kvant_status words_of(const gsm8k *p, const lm_continuation *c, char **words, kvant_error *err)
{
    size_t bytes = 0;
    return tokenizer_decode(p->tok, c->out, c->n_out, false, words, &bytes, err);
}

/* Nothing more is written once a solution has said all that is asked for. */
static bool is_solved(void *user, size_t index, const float *logits)
{
    (void)logits;
    gsm8k *p = user;
    char *words = NULL;
    if (!p->status)
        p->status = words_of(p, &p->writing[index], &words, &p->err);
    const bool solved = p->status || word_problem_solved(words);
    free(words);
    return solved;
}

static kvant_status read_solution(const gsm8k *p, const lm_continuation *c, solution *out, kvant_error *err)
{
    char *words = NULL;
    kvant_status status = words_of(p, c, &words, err);
    if (status)
        return status;
    *out = (solution){ .n = c->n_out, .cut = c->stop == LM_LIMIT && !word_problem_solved(words) };
    if (!word_problem_answer(words, out->number))
        out->number[0] = '\0';
    free(words);
    return KVANT_OK;
}

/* The unit's problems, through caches of these codecs. */
static kvant_status solve(const probe_job *job, gsm8k *p, const kvcache_codecs *codecs, size_t unit, solution *all, size_t *n,
                          kvant_error *err)
{
    const size_t first = unit * p->lockstep;
    const lm_generation how = { (uint32_t)job->args.v[BATCH], p->lockstep, is_solved, p };
    *n = p->set.n - first < p->lockstep ? p->set.n - first : p->lockstep;
    for (size_t i = 0; i < *n; i++)
        p->writing[i] = (lm_continuation){ .prompt = p->prompts[first + i].ids, .n_prompt = p->prompts[first + i].n,
                                           .out = p->ids + i * p->tokens, .limit = p->tokens };
    kvant_status status = lm_generate(job->model, codecs, &how, p->writing, *n, err);
    if (!status && p->status)
        return kvant_fail(err, p->status, "%s", p->err.text);
    for (size_t i = 0; i < *n && !status; i++)
        status = read_solution(p, &p->writing[i], &all[i], err);
    return status;
}

static kvant_status begin(probe_job *job, size_t index, kvant_error *err)
{
    gsm8k *p = job->state;
    return solve(job, p, &p->f16, index, p->reference, &p->n_reference, err);
}

/* Does the cell code as the reference does? Then the reference's solutions are its own. */
static bool is_reference(const gsm8k *p, const kvcache_codecs *codecs)
{
    const size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head * 2;
    for (size_t i = 0; i < groups; i++)
        if (codecs->of[i]->quantizer != p->f16.f16->quantizer || strcmp(codecs->of[i]->target, p->f16.f16->target))
            return false;
    return true;
}

static kvant_status run_unit(probe_job *job, size_t index, size_t cell, kvant_error *err)
{
    gsm8k *p = job->state;
    const bool same = is_reference(p, &job->codecs[cell]);
    size_t n = p->n_reference;
    kvant_status status = same ? KVANT_OK : solve(job, p, &job->codecs[cell], index, p->here, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        const uint32_t question = (uint32_t)(index * p->lockstep + i);
        const solution *reference = &p->reference[i], *here = same ? reference : &p->here[i];
        const char *right = p->set.problems[question].number;
        const bool solved = !strcmp(here->number, right), was = !strcmp(reference->number, right);
        const probe_sample samples[] = {
            { "gsm8k_accuracy", question, 0, solved, 1 },
            { "gsm8k_floor", question, 0, !strcmp(p->commonest, right), 1 },
            { "format_failures", question, 0, !*here->number, 1 },
            { "answer_agreement", question, 0, !strcmp(here->number, reference->number), 1 },
            { "gsm8k_against_f16", question, 0, (double)solved - (double)was, 1 },
            { "unfinished", question, 0, here->cut, 1 },
            { "tokens_produced", question, 0, (double)here->n, 1 },
            { "prompt_tokens", question, 0, (double)p->prompts[question].n, 1 },
        };
        for (size_t k = 0; k < sizeof samples / sizeof *samples; k++)
            job->emit(job, cell, &samples[k]);
    }
    return status;
}

/* ---- Results ------------------------------------------------------------------------------------ */

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    static const char *const shares[] = { "gsm8k_accuracy", "gsm8k_floor", "format_failures", "answer_agreement", "unfinished" };
    static const char *const means[] = { "tokens_produced", "prompt_tokens" };
    (void)args;
    double *x = calloc(2 * n + 1, sizeof *x), *w = x ? x + n : NULL;
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "gsm8k: no memory for %zu samples", n);
    const size_t asked = probe_values(samples, n, "gsm8k_against_f16", x, w);
    const stats_sign sign = stats_sign_test(x, asked);
    if (asked)
        result(user, &(probe_result) { "gsm8k_sign_p", sign.p, (double)asked, NAN, NAN, NAN });
    for (size_t i = 0; i < sizeof shares / sizeof *shares && asked; i++) {
        const probe_result share = probe_share(shares[i], x, probe_values(samples, n, shares[i], x, w));
        result(user, &share);
    }
    for (size_t i = 0; i < sizeof means / sizeof *means && asked; i++) {
        const probe_result mean = probe_clustered(means[i], x, w, probe_values(samples, n, means[i], x, w));
        result(user, &mean);
    }
    free(x);
    return asked ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "gsm8k: no problem was measured");
}

const kvant_probe probe_gsm8k = {
    .name = "gsm8k",
    .summary = "grade-school word problems solved step by step through the cache, and whether the answers are f16's",
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
