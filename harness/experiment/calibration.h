/* calibration.h - what trained methods and sensitivities learn from: windows of a text, with the keys and values that a model makes
 * of them, or vectors; and the proof that nothing of it is measured afterwards. */
#ifndef KVANT_CALIBRATION_H
#define KVANT_CALIBRATION_H

#include "harness/input/dataset.h"
#include "harness/lm/model.h"

/* The parameters of a spec's key `calibration`, beside its `data`: n samples of `length` tokens, drawn by seed; of vectors,
 * n * length. */
enum { CALIBRATION_N, CALIBRATION_LENGTH, CALIBRATION_SEED };
extern const kvant_param calibration_params[];

/* {0} is empty. */
typedef struct {
    float *key, *value;            /* [n_layer][n][n_kv_head][head_dim], keys at the stage asked for; NULL for vectors */
    float *x;                      /* [n][dim]; NULL for a model's */
    size_t n;                      /* tokens, or vectors */
    size_t run;                    /* tokens that a mark stands for */
    uint64_t *marks;               /* [n_marks] hashes of all runs of tokens, or of all vectors, ascending */
    size_t n_marks;
    char sha256[SHA256_HEX];       /* of the tokens, or of the vectors */
} calibration;

/* Draws the windows, [n][length] ids freed by the caller: different ones of those that the second half of the text's tokens can be
 * cut into, in random order, by GSL's mt19937. Measurements take a text from its beginning, so that few ever meet them. A window
 * begins with BOS where the model's texts do. KVANT_INVALID: the text is too short; KVANT_SKIP: its tokenizer is not supported. */
kvant_status calibration_windows(lm_model *model, const kvant_data *data, const kvant_args *args, int32_t **ids, kvant_error *err);

/* Runs them, through an f16 cache. isa as in kvcache_policy. */
kvant_status calibration_of_model(lm_model *model, const kvant_data *data, const kvant_args *args, kvcache_key_stage stage,
                                  const char *isa, calibration *out, kvant_error *err);
/* The windows' marks alone: of what sensitivities were measured on. */
kvant_status calibration_of_tokens(lm_model *model, const kvant_data *data, const kvant_args *args, calibration *out, kvant_error *err);
/* n * length vectors of the data, drawn without repetition by seed and kept in their order. KVANT_INVALID: there are fewer. */
kvant_status calibration_of_vectors(const kvant_data *data, const kvant_args *args, calibration *out, kvant_error *err);
/* The n * length vectors that a generator makes after those of `made`, its arguments: more of the same. */
kvant_status calibration_of_generator(const kvant_dataset *dataset, const kvant_args *made, const kvant_args *args, calibration *out,
                                      kvant_error *err);
void calibration_free(calibration *c);

static inline kvcache_calibration calibration_vectors(const calibration *c) { return (kvcache_calibration){ c->n, c->key, c->value }; }

/* True when a run of ids [n] (64 tokens, or a window if that is shorter), or one of the vectors, is in the calibration. *at is its
 * first token, or the vector. */
bool calibration_saw_tokens(const calibration *c, const int32_t *ids, size_t n, size_t *at);
bool calibration_saw_vectors(const calibration *c, const float *x, size_t n, size_t dim, size_t *at);

#endif
