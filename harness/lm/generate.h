/* generate.h - greedy continuation, and the chat format of known models. */
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

int32_t lm_argmax(const float *logits, size_t n);
/* log softmax of one entry, in double. */
double lm_log_prob(const float *logits, size_t n, int32_t id);

#endif
