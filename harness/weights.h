/* weights.h - which form a model's weights take (lm_weights): by name, or by the memory that there is; and what rounding them does.
 * Streamed weights give the bits of f32 ones, so that the choice between these two is one of memory and time alone. */
#ifndef KVANT_WEIGHTS_H
#define KVANT_WEIGHTS_H

#include "harness/lm/model.h"

enum { WEIGHTS_BY_MEMORY = -1 };   /* of a choice: f32 when that fits in half of the memory that is available, else streamed */

/* "auto" (or NULL): WEIGHTS_BY_MEMORY; else an lm_weights. KVANT_INVALID: another name. */
kvant_status weights_find(const char *name, int *choice, kvant_error *err);

/* Bytes of a model's weights in each form; file: all tensors as they are stored. A file's embedding that is not the output matrix too
 * stays in the file in every form. */
typedef struct {
    uint64_t held[3];              /* by lm_weights; streamed: vectors, and the memory of one thread to unpack in */
    uint64_t unpacked;             /* the latter, which every further thread takes */
    uint64_t values, file;
} weights_size;
weights_size weights_size_of(const gguf *file, const lm_shape *shape);

/* available: bytes, 0 when nobody knows. */
lm_weights weights_choose(int choice, const weights_size *size, uint64_t available);

/* How far the logits of a model of bf16 weights are from those of f32 ones, over the first tokens of a sequence by prefill through an
 * f16 cache; f32 weights are streamed from `path`. context as in lm_open. */
enum { WEIGHTS_TOKENS = 64 };      /* the most that are looked at */
typedef struct {
    size_t tokens;
    double kl;                     /* mean over tokens, nats, f32 || bf16 */
    double most;                   /* largest |difference| of a logit */
} weights_effect;
kvant_status weights_measure(lm_model *rounded, const char *path, uint32_t context, const int32_t *ids, size_t n,
                             weights_effect *effect, kvant_error *err);

#endif
