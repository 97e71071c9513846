/* internal.h - what model.c loads and forward.c runs: the weights of a transformer and its working memory.
 * Nothing outside harness/lm includes this. */
#ifndef KVANT_LM_INTERNAL_H
#define KVANT_LM_INTERNAL_H

#include "harness/lm/gemm.h"
#include "harness/lm/model.h"

typedef struct {
    float *attn_norm, *ffn_norm;   /* [n_embd] */
    gemm_matrix qkv;               /* query heads, key heads, value heads, one after another */
    gemm_matrix attn_out;
    gemm_matrix gate_up;           /* n_ff rows of the gate, then n_ff of up */
    gemm_matrix down;
} lm_layer;

/* RoPE as frequencies: the angle of pair i at position p is p * frequency[i]; cos and sin are multiplied by `magnitude`. */
typedef struct { double *frequency; float magnitude; } lm_rope;

struct lm_model {
    gguf *file;
    lm_shape shape;
    uint32_t context;              /* positions that callers may use */
    const gguf_tensor *embedding;  /* rows are dequantised when they are looked up */
    lm_rope rope;
    lm_layer *layers;
    float *output_norm;
    gemm_matrix output;
    uint64_t weight_bytes;
    tokenizer *tokenizer;
    kvant_error tokenizer_error;   /* why there is none */
    lm_times times;
    char *work;                    /* working memory of a forward pass, grown as needed */
    size_t work_bytes;
};

#endif
