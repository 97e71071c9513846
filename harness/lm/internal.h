/* internal.h - what model.c loads and forward.c runs: the weights of a transformer and its working memory.
 * Nothing outside harness/lm includes this. */
#ifndef KVANT_LM_INTERNAL_H
#define KVANT_LM_INTERNAL_H

#include "harness/lm/arch.h"
#include "harness/lm/gemm_bf16.h"

/* What an architecture does not have is NULL. */
typedef struct { float *weight, *bias; } lm_norm;
typedef struct { gemm_matrix weight; float *bias; } lm_linear;
typedef struct { lm_linear up, down; } lm_expert;

typedef struct {
    lm_norm attn_norm, ffn_norm;   /* [n_embd]; ffn_norm none when attention and MLP share the first, or both none */
    lm_norm attn_post_norm, ffn_post_norm;
    lm_norm q_norm, k_norm;        /* [head_dim], of every head; or of all heads together */
    lm_linear qkv;                 /* query heads, key heads, value heads, one after another */
    lm_linear attn_out;
    lm_linear up;                  /* n_ff rows of the gate, if there is one, then n_ff of up */
    lm_linear down;
    lm_linear router;              /* n_expert rows: what a token is worth to each, when there are experts, */
    lm_expert *experts;            /* [n_expert], which have the place of up and down */
    uint32_t rope;                 /* which of the model's */
} lm_layer;

/* RoPE as frequencies: the angle of pair i at position p is p * frequency[i]; cos and sin are multiplied by `magnitude`. */
typedef struct {
    double *frequency;
    float magnitude;
    float *cos, *sin;              /* [m->rope_positions][pairs], grown as needed */
} lm_rope;

enum { LM_ROPES = 2 };             /* of layers with full attention, and of those with a window when theirs is another */

struct lm_model {
    gguf *file;
    const lm_arch *arch;
    lm_shape shape;
    uint32_t context;              /* positions that callers may use */
    const gguf_tensor *embedding;  /* rows are dequantised when they are looked up */
    lm_rope rope[LM_ROPES];
    uint32_t n_rope, rope_positions;
    lm_layer *layers;
    lm_norm output_norm;
    lm_linear output;
    lm_weights weights;
    gemm_room room;                /* of streamed matrices */
    gemm_bf16 *bf16;               /* products of matrices as bf16 */
    uint64_t weight_bytes;
    tokenizer *tokenizer;
    kvant_error tokenizer_error;   /* why there is none */
    lm_times times;
    char *work;                    /* working memory of a forward pass, grown as needed */
    size_t work_bytes;
};

/* The tensor that divides RoPE's frequencies at the model's context; NULL: none. */
const gguf_tensor *lm_rope_factors_of(const lm_model *m);
/* Fills rope and n_rope from the keys and tensors of the file. */
kvant_status lm_rope_init(lm_model *m, kvant_error *err);
/* Makes the tables of cos and sin reach `positions` at least. */
kvant_status lm_rope_reach(lm_model *m, uint32_t positions, kvant_error *err);
void lm_rope_free(lm_model *m);

#endif
