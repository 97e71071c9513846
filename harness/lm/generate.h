/* generate.h - greedy continuation of one sequence or of many in lockstep, and the chat format of known models. */
#ifndef KVANT_GENERATE_H
#define KVANT_GENERATE_H

#include "harness/lm/model.h"

/* Wraps a user message in the model's chat format, recognised from the file (KVANT_SKIP: unknown). *ids is freed by the caller.
 * `answer`, when not NULL, is the text that the assistant's turn begins with. */
kvant_status lm_chat(const lm_model *model, const char *user, const char *answer, int32_t **ids, size_t *n, kvant_error *err);

/* Feeds `prompt` to the cache in prefill steps of at most `batch` tokens and writes the logits after its last token. */
kvant_status lm_prefill(lm_model *model, kvcache *cache, const int32_t *prompt, size_t n, uint32_t batch, float *logits,
                        kvant_error *err);

/* Greedy tokens after a prefill whose last logits are given: at most n, by the decode path, until an end token.
 * out [n]; *n_out tokens were produced (an end token is not among them). Ties go to the lower id. */
kvant_status lm_greedy(lm_model *model, kvcache *cache, float *logits, size_t n, int32_t *out, size_t *n_out, kvant_error *err);

/* One of many sequences that are continued greedily: a prompt, and what follows it. */
typedef enum { LM_LIMIT, LM_END, LM_STOPPED } lm_stop;         /* all tokens asked for, an end token, the caller's wish */
typedef struct {
    const int32_t *prompt;         /* [n_prompt], at least 1 */
    size_t n_prompt;
    int32_t *out;                  /* [limit] */
    size_t limit;                  /* tokens at most, at least 1 */
    size_t n_out;                  /* produced; an end token is not among them */
    lm_stop stop;
} lm_continuation;

enum { LM_MAX_LOCKSTEP = 60 };

typedef struct {
    uint32_t batch;                /* tokens of a prefill step */
    uint32_t lockstep;             /* sequences at a time, 1 ... LM_MAX_LOCKSTEP: when one is done, the next takes its place */
    /* May be NULL. Sees the logits [n_vocab] that sequence `index` is to take its token out[n_out] from; true stops it before that.
     * A sequence's own tokens come in order, those of different sequences in any. */
    bool (*next)(void *user, size_t index, const float *logits);
    void *user;
} lm_generation;

/* Continues n sequences, each in a new cache of these codecs: prefills it, then by the decode path, one token of every sequence per
 * step, so that the weights are read once for all. What a sequence gets is the same, bit for bit, in any company. */
kvant_status lm_generate(lm_model *model, const kvcache_codecs *codecs, const lm_generation *how, lm_continuation *sequences, size_t n,
                         kvant_error *err);

int32_t lm_argmax(const float *logits, size_t n);
/* log softmax of one entry, in double. */
double lm_log_prob(const float *logits, size_t n, int32_t id);

#endif
