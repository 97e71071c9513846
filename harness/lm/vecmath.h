/* vecmath.h - exp, softmax and sums over float arrays, by the widest instructions that the machine has.
 * Every sum has a fixed order, so that results depend neither on threads nor on the vector width. */
#ifndef KVANT_VECMATH_H
#define KVANT_VECMATH_H

#include <stdbool.h>
#include <stddef.h>

float vec_max(const float *x, size_t n);                       /* -inf for n = 0 */
/* x[i] = exp(x[i] - shift), relative error below 2e-7; returns the sum. NaN stays NaN, exp(-inf) is 0. */
double vec_exp_sum(float *x, size_t n, float shift);
/* The same of each row of x [rows][n]: max [rows]; shift [rows], sum [rows]. Short rows do not wait for one another. */
void vec_max_rows(const float *x, size_t rows, size_t n, float *max);
void vec_exp_rows(float *x, size_t rows, size_t n, const float *shift, double *sum);
/* The sum of exp(x[i] - shift) in double, relative errors of terms below 1e-15, for x[i] <= shift; *moment is the sum of
 * exp(x[i] - shift) (x[i] - shift). exp is taken to end at -700. */
double vec_mass(const float *x, size_t n, double shift, double *moment);
double vec_log_sum_exp(const float *x, size_t n);              /* by vec_mass */
/* The sum of exp(p[i] - p_shift) ((p[i] - p_shift) - (q[i] - q_shift)), of the same exactness, for p[i] <= p_shift + 1. */
double vec_divergence(const float *p, double p_shift, const float *q, double q_shift, size_t n);
double vec_dot(const float *a, const float *b, size_t n);
void vec_silu_mul(float *gate, const float *up, size_t n);     /* gate = gate * sigmoid(gate) * up */
/* gate = gelu(gate) * up, gelu by its tanh form; up NULL: without it */
void vec_gelu_mul(float *gate, const float *up, size_t n);
void vec_soft_cap(float *x, size_t n, float cap);              /* x = cap * tanh(x / cap) */
/* out = x / sqrt(mean(x^2) + eps) * weight; out may be x */
void vec_rms_norm(float *out, const float *x, const float *weight, size_t n, float eps);
/* out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; out may be x */
void vec_layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps);
/* Rotates the first `width` of n coordinates in pairs, by angles of which cosine and sine [width / 2] are given: pairs half a width
 * apart, or neighbours. All n are multiplied by scale. */
void vec_rotate(float *x, const float *cosine, const float *sine, size_t width, size_t n, bool half, float scale);

#endif
