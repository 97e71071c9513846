/* gemm_bf16.h - the products of gemm.h with weights and inputs rounded to bfloat16, sums in f32, by oneDNN's matmul.
 * Half the memory of f32 and faster where the processor has such products; the results are others, so a run must say that it did it. */
#ifndef KVANT_GEMM_BF16_H
#define KVANT_GEMM_BF16_H

#include "harness/lm/gemm.h"

/* The primitives of all shapes of a model and working memory for every thread. */
typedef struct gemm_bf16 gemm_bf16;

/* KVANT_INVALID: this processor has no such products. */
kvant_status gemm_bf16_open(gemm_bf16 **products, kvant_error *err);
void gemm_bf16_close(gemm_bf16 *products);                             /* NULL is allowed; matrices go first */

/* Turns a streamed matrix whose pieces are complete into one that is held as bf16; gemm_apply then comes here. */
kvant_status gemm_bf16_pack(gemm_bf16 *products, gemm_matrix *w, kvant_error *err);
void gemm_bf16_free(gemm_matrix *w);                                   /* by gemm_free */
void gemm_bf16_apply(const gemm_matrix *w, const float *x, size_t ldx, size_t n, float *y, size_t ldy);

/* "avx512_core_bf16": the instruction set that these products use here, which their rounding depends on. */
const char *gemm_bf16_isa(void);

#endif
