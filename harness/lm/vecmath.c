/* vecmath.c - the portable loops, and the choice of the widest instruction set that this machine runs, which changes no bit.
 * The loops themselves are in vecmath_loops.h. */
#define VEC_TABLE vec_portable
#include "harness/lm/vecmath_loops.h"

#include "harness/lm/vecmath.h"
#include "metal/x86/cpu.h"

const vec_table *vec_table_of(const char *target)
{
    if (!strcmp(target, "portable"))
        return &vec_portable;
    if (!strcmp(target, "avx2"))
        return cpu_avx2() ? &vec_avx2 : NULL;
    return !strcmp(target, "avx512") && cpu_avx512() ? &vec_avx512 : NULL;
}

static inline const vec_table *best(void) { return cpu_avx512() ? &vec_avx512 : cpu_avx2() ? &vec_avx2 : &vec_portable; }

float vec_max(const float *x, size_t n) { return best()->max(x, n); }
double vec_exp_sum(float *x, size_t n, float shift) { return best()->exp_sum(x, n, shift); }
void vec_max_rows(const float *x, size_t rows, size_t n, float *max) { best()->max_rows(x, rows, n, max); }
void vec_exp_rows(float *x, size_t rows, size_t n, const float *shift, double *sum) { best()->exp_rows(x, rows, n, shift, sum); }

double vec_mass(const float *x, size_t n, double shift, double *moment) { return best()->mass(x, n, shift, moment); }

double vec_log_sum_exp(const float *x, size_t n)
{
    double moment;
    const double shift = vec_max(x, n);
    return shift + log(vec_mass(x, n, shift, &moment));
}

double vec_divergence(const float *p, double p_shift, const float *q, double q_shift, size_t n)
{
    return best()->divergence(p, p_shift, q, q_shift, n);
}

double vec_dot(const float *a, const float *b, size_t n) { return best()->dot(a, b, n); }
void vec_silu_mul(float *gate, const float *up, size_t n) { best()->silu_mul(gate, up, n); }
void vec_gelu_mul(float *gate, const float *up, size_t n) { best()->gelu_mul(gate, up, n); }
void vec_soft_cap(float *x, size_t n, float cap) { best()->soft_cap(x, n, cap); }

void vec_rms_norm(float *out, const float *x, const float *weight, size_t n, float eps) { best()->rms_norm(out, x, weight, n, eps); }

void vec_layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    best()->layer_norm(out, x, weight, bias, n, eps);
}

void vec_rotate(float *x, const float *cosine, const float *sine, size_t width, size_t n, bool half, float scale)
{
    best()->rotate(x, cosine, sine, width, n, half, scale);
}
