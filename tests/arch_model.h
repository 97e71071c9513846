/* arch_model.h - generated tiny models of every architecture, and their logits by a plain forward pass in double.
 * The pass is written from the definitions alone and shares no code with the engine; any of its steps can be left out. */
#ifndef KVANT_TESTS_ARCH_MODEL_H
#define KVANT_TESTS_ARCH_MODEL_H

#include "tests/gguf_writer.h"

#include <gsl/gsl_rng.h>

enum { LAYERS = 3, EMBD = 24, HEADS = 4, KV_HEADS = 2, DIM = 8, FF = 20, VOCAB = 40, TOKENS = 21, WINDOW = 6, CONTEXT = 64, SHORT = 32,
       EXPERTS = 5, USED = 2, Q = HEADS * DIM, KV = KV_HEADS * DIM };

/* Steps that an architecture may have, and the reference leave out. */
enum {
    HALF = 1, GELU = 2, CENTRED = 4, QKV_BIAS = 8, OTHER_BIAS = 16, QK_NORM = 32, POST_NORM = 64, PARALLEL = 128, EMBEDDING = 256,
    ATTENTION = 512, RESIDUAL = 1024, LOGITS = 2048, ATTN_CAP = 4096, LOGIT_CAP = 8192, WINDOWS = 16384, LOCAL_BASE = 32768,
    FACTORS = 65536, PARTIAL = 131072,
    NO_PRE_NORM = 1 << 18,         /* left out: parts read the stream normed, with weights of 1 */
    WIDE_QK_NORM = 1 << 19,
    CHOICE = 1 << 20,              /* of experts by the router; left out: the first ones */
    WEIGHTS = 1 << 21,             /* of experts by the router; left out: equal ones */
    RENORM = 1 << 22,              /* left out: weights are those of the softmax over all experts */
    ALL = (1 << 23) - 1,
};

typedef struct {
    const char *name;
    unsigned steps;
    bool fused, gated, pattern;    /* pattern: which layers are local is said by the file */
    unsigned local;                /* bit i: layer i has a window */
} arch_family;

static const double norm_eps = 1e-5, rope_base = 1e4, local_rope_base = 100, attn_cap = .7, logit_cap = 3, attn_scale = .2,
                    residual_scale = .6, logit_divisor = 2.5, embedding_scale = 3;

/* What a faulty file has beside what it should have: a vector in layer 0, and a key's value, which may be one that every file has. */
typedef struct { const char *tensor, *key; uint32_t value; } arch_fault;

typedef struct { char name[64]; float *x; } arch_tensor;
typedef struct {
    const arch_family *f;
    gguf_writer w;
    gsl_rng *rng;
    arch_tensor tensors[96];
    size_t n;
    arch_fault fault;
} arch_model;

/* The families that are tested, and their number. */
extern const arch_family arch_families[];
extern const size_t arch_n_families;

/* The first family of a name; aborts when there is none. */
const arch_family *arch_family_of(const char *name);
/* Draws a model and gives its file, which the caller frees. fault NULL: none. */
byte_buffer arch_model_make(arch_model *m, const arch_family *f, const arch_fault *fault);
void arch_model_free(arch_model *m);
/* Values of a tensor; layer -1: of the whole model. Aborts when there is none. */
const float *tensor_of(const arch_model *m, int layer, const char *name);

/* logits [TOKENS][VOCAB] with the given steps only, for a model opened for `context` positions. */
void arch_reference(const arch_model *m, unsigned steps, uint32_t context, const int32_t *ids, double *logits);

#endif
