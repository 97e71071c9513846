/* pass.h - one forward pass: the batch and its rows of working memory, shared by what sets it up and what runs a layer of it.
 * Nothing outside harness/lm includes this. */
#ifndef KVANT_LM_PASS_H
#define KVANT_LM_PASS_H

#include "harness/lm/attention.h"
#include "harness/lm/internal.h"

/* A token's way through one of its experts. */
typedef struct { uint32_t expert; float weight; } lm_route;

/* One forward pass: the batch and its rows of working memory. */
typedef struct {
    lm_model *model;
    lm_path path;
    const lm_segment *segments;
    uint32_t first_layer;          /* of the caches: where the pass begins */
    size_t n_segments, n_rows, n_wanted;
    size_t *first_row;             /* [n_segments + 1] */
    uint32_t *position;            /* [n_rows] */
    uint8_t *unrotated;            /* [n_rows] nonzero: the row's cache takes keys before RoPE */
    int32_t *token;                /* [n_rows] */
    float *x, *normed;             /* [n_rows][n_embd]: residual stream, normed input of a part */
    float *qkv;                    /* [n_rows][q + 2 kv] */
    float *attended;               /* [n_rows][q], or an observer's queries */
    float *gate_up;                /* [n_rows][2 n_ff], or an observer's keys and values */
    float *worth;                  /* [n_rows][n_expert]: the router's logits */
    lm_route *routes;              /* [n_rows][n_used], the best expert first */
    size_t *place, *place_row;     /* [n_rows * n_used]: place of each route among all by expert; the row of each place */
    size_t *expert_first;          /* [n_expert + 1]: where each expert's places begin */
    float *routed;                 /* [n_rows * n_used][n_embd]: what an expert takes, then what it gives, by place */
    attention_side *sides;         /* [n_segments][n_kv_head][2], prefill only */
    float *side_rows;              /* their rows */
    size_t *side_first;            /* [n_segments * 2 + 1]: where a segment's side begins, in vectors per KV head */
    char *scratch;                 /* per thread */
    size_t scratch_bytes;
} lm_pass;

/* Checks the batch and lays out memory for it; p has model, path, segments and n_segments, all else zero. Torn down in any case. */
kvant_status lm_pass_set_up(lm_pass *p, kvant_error *err);
void lm_pass_tear_down(lm_pass *p);

/* y [n_rows][ldy] = x W^T + bias */
void lm_apply(const lm_linear *l, const float *x, size_t ldx, size_t n_rows, float *y, size_t ldy);
/* Rows of the model's width. */
void lm_norm_rows(const lm_pass *p, const lm_norm *norm, const float *x, float *out, size_t n_rows);
/* gate_up [n_rows][ld]: the gate, or the only part, becomes what the MLP's last product takes. */
void lm_activate(const lm_pass *p, size_t n_rows, size_t ld);
/* The sum of each row's experts, from `normed` or the residual stream into `normed`. */
void lm_run_experts(const lm_pass *p, const lm_layer *layer, const float *input, size_t n_rows, lm_times *times);
/* Takes the residual stream through one layer; after the last one it holds the wanted rows alone. */
void lm_run_layer(const lm_pass *p, uint32_t index, const lm_observer *observe, lm_times *times);

#endif
