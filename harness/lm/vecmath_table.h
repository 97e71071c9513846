/* vecmath_table.h - the functions of vecmath.h as a table for each instruction set: what vecmath.c chooses from, and tests compare.
 * All tables give the same bits. */
#ifndef KVANT_VECMATH_TABLE_H
#define KVANT_VECMATH_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    float (*max)(const float *x, size_t n);
    double (*exp_sum)(float *x, size_t n, float shift);
    void (*max_rows)(const float *x, size_t rows, size_t n, float *max);
    void (*exp_rows)(float *x, size_t rows, size_t n, const float *shift, double *sum);
    double (*mass)(const float *x, size_t n, double shift, double *moment);
    double (*divergence)(const float *p, double p_shift, const float *q, double q_shift, size_t n);
    double (*dot)(const float *a, const float *b, size_t n);
    void (*silu_mul)(float *gate, const float *up, size_t n);
    void (*gelu_mul)(float *gate, const float *up, size_t n);
    void (*soft_cap)(float *x, size_t n, float cap);
    void (*rms_norm)(float *out, const float *x, const float *weight, size_t n, float eps);
    void (*layer_norm)(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps);
    void (*rotate)(float *x, const float *cosine, const float *sine, size_t width, size_t n, bool half, float scale);
} vec_table;

/* Of the portable baseline, and of what metal/x86 compiles. */
extern const vec_table vec_portable, vec_avx2, vec_avx512;

/* By a target's name, "portable", "avx2" or "avx512"; NULL: this machine cannot run it, or there is none of that name. */
const vec_table *vec_table_of(const char *target);

#endif
