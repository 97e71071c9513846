/* vecmath.h - exp, softmax and sums over float arrays, written so that compilers vectorise them.
 * Every sum has a fixed order, so that results depend neither on threads nor on the vector width. */
#ifndef KVANT_VECMATH_H
#define KVANT_VECMATH_H

#include <stddef.h>

float vec_max(const float *x, size_t n);                       /* -inf for n = 0 */
/* x[i] = exp(x[i] - shift), relative error below 2e-7; returns the sum. NaN stays NaN, exp(-inf) is 0. */
double vec_exp_sum(float *x, size_t n, float shift);
double vec_log_sum_exp(const float *x, size_t n);
double vec_dot(const float *a, const float *b, size_t n);
void vec_silu_mul(float *gate, const float *up, size_t n);     /* gate = gate * sigmoid(gate) * up */
/* out = x / sqrt(mean(x^2) + eps) * weight; out may be x */
void vec_rms_norm(float *out, const float *x, const float *weight, size_t n, float eps);

#endif
