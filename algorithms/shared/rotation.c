/* rotation.c - Haar rotations by GSL's QR of a Gaussian matrix, and randomised Hadamard transforms.
 * The matrix products are tiled so that accumulators stay in registers; no BLAS, so that every machine gets the same bits. */
#include "algorithms/shared/parts.h"
#include "algorithms/shared/random.h"
#include "algorithms/shared/rotation.h"
#include "algorithms/shared/vector.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_MIN = 8 };

/* The largest power of two that divides d. */
static uint32_t hadamard_block(uint32_t d) { return d & (~d + 1); }

size_t rotation_floats(rotation_kind kind, uint32_t d)
{
    return kind == ROTATION_HAAR ? (size_t)d * d : kind == ROTATION_HADAMARD ? d : 0;
}

kvant_status rotation_plan(const char *name, rotation_kind kind, uint32_t d, kvant_plan *plan, kvant_error *err)
{
    uint32_t block = hadamard_block(d);
    if (kind == ROTATION_HADAMARD && block < BLOCK_MIN)
        return kvant_fail(err, KVANT_SKIP, "%s: rotation=hadamard needs a dimension that is a multiple of %d, and dim is %u", name,
                          BLOCK_MIN, d);
    if (kind == ROTATION_HADAMARD && block < d)
        snprintf(plan->note, sizeof plan->note, "hadamard in blocks of %u", block);
    plan->state += rotation_floats(kind, d) * sizeof(float);
    return KVANT_OK;
}

void rotation_parts(rotation_kind kind, uint32_t d, const char *prefix, const void *state, const float *table, kvant_parts *parts)
{
    if (kind == ROTATION_HAAR)
        parts_add(parts, prefix, "rotation", KVANT_ROTATION, state, table, d, d, d);
    else if (kind == ROTATION_HADAMARD)
        parts_add(parts, prefix, "signs", KVANT_SIGNS, state, table, 1, d, d);
}

/* ---- Tables ------------------------------------------------------------------------------------ */

/* Q of the QR decomposition of a Gaussian matrix is Haar-distributed only if R's diagonal is positive: Householder's algorithm
 * picks those signs by the data, so each column of Q takes the sign of its diagonal entry back (Mezzadri, math-ph/0609050).
 * Q is the product of the reflections that `a` holds below its diagonal, applied from the last to the first, and to the diagonal
 * matrix of those signs instead of the identity. */
static kvant_status decompose(size_t d, gsl_rng *rng, gsl_matrix *a, gsl_matrix *q, gsl_vector *tau, gsl_vector *work)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            gsl_matrix_set(a, i, j, gsl_ran_gaussian_ziggurat(rng, 1));
    if (gsl_linalg_QR_decomp(a, tau))
        return KVANT_FAILED;
    gsl_matrix_set_zero(q);
    for (size_t i = 0; i < d; i++) {
        gsl_matrix_set(q, i, i, copysign(1, gsl_matrix_get(a, i, i)));
        gsl_matrix_set(a, i, i, 1);            /* the reflection's own first entry, which R's diagonal had hidden */
    }
    for (size_t i = d; i-- > 0; ) {
        gsl_vector_view v = gsl_matrix_subcolumn(a, i, i, d - i), w = gsl_vector_subvector(work, 0, d - i);
        gsl_matrix_view rest = gsl_matrix_submatrix(q, i, i, d - i, d - i);
        if (gsl_linalg_householder_left(gsl_vector_get(tau, i), &v.vector, &rest.matrix, &w.vector))
            return KVANT_FAILED;
    }
    return KVANT_OK;
}

kvant_status rotation_draw_haar(uint32_t d, uint32_t rows, gsl_rng *rng, float *table, kvant_error *err)
{
    gsl_matrix *a = gsl_matrix_alloc(d, d), *q = gsl_matrix_alloc(d, d);
    gsl_vector *tau = gsl_vector_alloc(d), *work = gsl_vector_alloc(d);
    kvant_status status = a && q && tau && work ? decompose(d, rng, a, q, tau, work) : KVANT_NOMEM;
    for (size_t i = 0; i < rows && !status; i++)
        for (size_t j = 0; j < d; j++)
            table[i * d + j] = (float)gsl_matrix_get(q, i, j);
    gsl_matrix_free(a);
    gsl_matrix_free(q);
    gsl_vector_free(tau);
    gsl_vector_free(work);
    return status ? kvant_fail(err, status, "rotation: %s a %u x %u matrix",
                               status == KVANT_NOMEM ? "no memory for" : "QR failed on", d, d) : KVANT_OK;
}

kvant_status rotation_init(rotation_kind kind, uint32_t d, uint32_t seed, float *table, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    if (kind == ROTATION_NONE)
        return KVANT_OK;
    gsl_rng *rng = random_open(seed, RANDOM_ROTATION);
    if (!rng)
        return kvant_fail(err, KVANT_NOMEM, "rotation: no memory for a generator");
    if (kind == ROTATION_HAAR)
        status = rotation_draw_haar(d, d, rng, table, err);
    else
        for (size_t i = 0; i < d; i++)
            table[i] = (float)((gsl_rng_uniform_int(rng, 2) ? 1 : -1) / sqrt(hadamard_block(d)));
    gsl_rng_free(rng);
    return status;
}

/* ---- Haar -------------------------------------------------------------------------------------- */

enum { ROWS = 4, WIDE = 16 };

/* y_i = <row i, x>: a row of P serves ROWS vectors while it is in cache. */
static void forward_haar(size_t d, const float *p, const float *x, size_t n, float *y)
{
    for (size_t first = 0; first < n; first += ROWS)
        for (size_t i = 0; i < d; i++)
            for (size_t v = first; v < n && v < first + ROWS; v++)
                y[v * d + i] = vector_dot(p + i * d, x + v * d, d);
}

/* x = sum over i of y_i * (row i), a tile of WIDE coordinates at a time, summed in registers. */
static void inverse_haar(size_t d, const float *p, const float *y, size_t n, float *x)
{
    size_t tiled = d / WIDE * WIDE;
    for (size_t v = 0; v < n; v++, x += d, y += d) {
        for (size_t j = 0; j < tiled; j += WIDE) {
            float sum[WIDE] = { 0 };
            for (size_t i = 0; i < d; i++)
                for (size_t lane = 0; lane < WIDE; lane++)
                    sum[lane] += y[i] * p[i * d + j + lane];
            memcpy(x + j, sum, sizeof sum);
        }
        for (size_t j = tiled; j < d; j++)
            x[j] = 0;
        for (size_t i = 0; i < d; i++)
            for (size_t j = tiled; j < d; j++)
                x[j] += y[i] * p[i * d + j];
    }
}

/* ---- Hadamard ------------------------------------------------------------------------------------ */

/* x = H x without scaling for each block of x; a block is a power of two, at least 8. */
static void hadamard(float *x, size_t d, size_t block)
{
    for (size_t i = 0; i < d; i += 4) {
        float a = x[i] + x[i + 1], b = x[i] - x[i + 1], c = x[i + 2] + x[i + 3], e = x[i + 2] - x[i + 3];
        x[i] = a + c, x[i + 1] = b + e, x[i + 2] = a - c, x[i + 3] = b - e;
    }
    for (size_t half = 4; half < block; half *= 2)
        for (size_t i = 0; i < d; i += 2 * half) {
            float *restrict low = x + i, *restrict high = x + i + half;
            for (size_t j = 0; j < half; j++) {
                float sum = low[j] + high[j], difference = low[j] - high[j];
                low[j] = sum, high[j] = difference;
            }
        }
}

void rotation_forward(rotation_kind kind, uint32_t d, const float *table, const float *x, size_t n, float *y)
{
    if (kind == ROTATION_HAAR)
        forward_haar(d, table, x, n, y);
    else if (kind == ROTATION_NONE)
        memcpy(y, x, n * d * sizeof *y);
    else
        for (size_t v = 0; v < n; v++, x += d, y += d) {
            for (size_t j = 0; j < d; j++)
                y[j] = table[j] * x[j];
            hadamard(y, d, hadamard_block(d));
        }
}

/* H is symmetric and H H = d, so the inverse is the same transform with the signs applied after it. */
void rotation_inverse(rotation_kind kind, uint32_t d, const float *table, const float *y, size_t n, float *x)
{
    if (kind == ROTATION_HAAR)
        inverse_haar(d, table, y, n, x);
    else if (kind == ROTATION_NONE)
        memcpy(x, y, n * d * sizeof *x);
    else
        for (size_t v = 0; v < n; v++, x += d, y += d) {
            memcpy(x, y, d * sizeof *x);
            hadamard(x, d, hadamard_block(d));
            for (size_t j = 0; j < d; j++)
                x[j] *= table[j];
        }
}
