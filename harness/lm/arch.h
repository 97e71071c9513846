/* arch.h - the architectures that the engine runs, one row of a table each: what a family does differently from llama.
 * To add one, write its row in arch.c; a step that no row has yet needs a field here, and its code in model.c and forward.c. */
#ifndef KVANT_LM_ARCH_H
#define KVANT_LM_ARCH_H

#include "harness/lm/model.h"

typedef enum { LM_SILU_GATED, LM_GELU_GATED, LM_GELU } lm_activation;      /* of the MLP: f(gate) * up, or f(up); GELU by tanh */
typedef enum { LM_FACTORS_NONE, LM_FACTORS_ONE, LM_FACTORS_LONG_SHORT } lm_rope_factors;

/* What is zero or false is as in llama: RMSNorm before each part, no biases, one SiLU-gated MLP, full attention. Query, key and
 * value matrices, and gate and up, may always be fused. */
typedef struct {
    const char *name;              /* general.architecture */
    kvant_rope_pairing pairing;
    lm_rope_factors factors;       /* divisors of RoPE's frequencies in tensors; of two, the context chooses */
    lm_activation activation;
    bool layer_norm;               /* LayerNorm with a bias instead of RMSNorm */
    bool parallel;                 /* attention and MLP have the same input, normed once */
    bool qkv_bias, other_bias;     /* on queries, keys, values; on all other products, the output's too */
    bool no_pre_norm;              /* attention and MLP read the residual stream as it is */
    bool qk_norm;                  /* RMSNorm of every query and key head before RoPE */
    bool wide_qk_norm;             /* RMSNorm of all query heads together, and of all key heads, before RoPE */
    bool post_norm;                /* RMSNorm of what attention and MLP give, before it is added */
    bool experts;                  /* many MLPs: a router's best expert_used_count, weighted by its softmax over those alone */
    bool multipliers;              /* keys for factors on embedding, attention, residual stream and logits */
    bool scaled_embedding;         /* embedding times sqrt(n_embd) */
    uint32_t wide_layers;          /* a model of so many layers scales attention by sqrt(n_head / n_embd), not by 1/sqrt(head_dim) */
    bool windows;                  /* a sliding window in the layers that sliding_window_pattern names, if the file has a window */
    uint32_t window, period;       /* where it does not say: tokens of the window; every period-th layer is global (0: none is) */
    float local_base;              /* RoPE base of layers with a window, which scale nothing; 0: as in the others */
    float attn_cap, logit_cap;     /* soft caps where the file does not say; 0: none */
    bool caps;                     /* the file may set them */
} lm_arch;

/* The row of a name, or NULL with a message that lists what is supported. */
const lm_arch *lm_arch_find(const gguf *file, const char *name, kvant_error *err);

/* ARCH.NAME of the file; required when fallback is NULL. KVANT_INVALID: missing, of another kind, or not finite. */
kvant_status lm_key_u32(const gguf *file, const char *arch, const char *name, const uint32_t *fallback, uint32_t *value,
                        kvant_error *err);
kvant_status lm_key_f32(const gguf *file, const char *arch, const char *name, const float *fallback, float *value, kvant_error *err);

#endif
