/* planted_mse.c - turboquant_mse with a bug of choice (planted.h): in its codebook, its rotation, its norms.
 * Shared by the tests of the checks. */
#include "algorithms/shared/direction.h"
#include "algorithms/shared/kmeans.h"
#include "algorithms/shared/scalar.h"
#include "algorithms/shared/streams.h"
#include "algorithms/shared/training.h"
#include "tests/planted.h"

#include <gsl/gsl_linalg.h>
#include <gsl/gsl_randist.h>
#include <math.h>

planted_bug planted = PLANTED_NONE;

static kvant_status planted_solve(codebook_density density, uint32_t d, unsigned bits, scalar_codebook *book, double *mse,
                                  kvant_error *err)
{
    double c[SCALAR_MAX];
    size_t n = (size_t)1 << bits;
    uint32_t solved = planted == PLANTED_OTHER_DIMENSION ? 8 : planted == PLANTED_OTHER_STREAM && d == 8 ? 56 : d;
    kvant_status status = codebook_solve(density, solved, bits, c, mse, err);
    if (status)
        return status;
    scalar_set(book, bits, c, 1 / sqrt(d));
    for (size_t k = 0; k < n && planted == PLANTED_NARROW_CENTROIDS; k++)
        book->c[k] *= .61f;
    for (size_t k = 0; k + 1 < n && planted == PLANTED_OFF_MIDPOINT; k++)
        book->threshold[k] += .2f * (book->c[k + 1] - book->c[k]);
    return KVANT_OK;
}

/* An orthogonal matrix all the same. */
static kvant_status draw_without_signs(size_t d, uint32_t seed, float *table)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_matrix *a = gsl_matrix_alloc(d, d), *q = gsl_matrix_alloc(d, d), *r = gsl_matrix_alloc(d, d);
    gsl_vector *tau = gsl_vector_alloc(d);
    gsl_rng_set(rng, seed + 1);
    for (size_t i = 0; i < d * d; i++)
        a->data[i] = gsl_ran_gaussian_ziggurat(rng, 1);
    int failed = gsl_linalg_QR_decomp(a, tau) || gsl_linalg_QR_unpack(a, tau, q, r);
    for (size_t i = 0; i < d * d; i++)
        table[i] = (float)q->data[i];
    gsl_matrix_free(a);
    gsl_matrix_free(q);
    gsl_matrix_free(r);
    gsl_vector_free(tau);
    gsl_rng_free(rng);
    return failed ? KVANT_FAILED : KVANT_OK;
}

static kvant_status planted_init(const rotated *s, uint32_t seed, void *state, kvant_error *err)
{
    kvant_status status = rotated_init(s, seed, state, err);
    if (status || planted != PLANTED_NO_SIGN_FIX || s->rotation != ROTATION_HAAR)
        return status;
    return draw_without_signs(s->d, seed, (float *)(void *)((char *)state + s->bytes));
}

static float planted_norm(norm_format format, const uint8_t *code)
{
    return planted == PLANTED_NORM_DROPPED ? 1 : norm_load(format, code);
}

static void planted_decode(const void *state, rotated_decoder *decoder, const uint8_t *code, size_t n, float *x, void *scratch)
{
    const rotated *s = state;
    if (planted != PLANTED_INVERSE || s->rotation != ROTATION_HAAR) {
        rotated_decode(state, decoder, code, n, x, scratch);
        return;
    }
    for (size_t v = 0; v < n; v++, code += s->code, x += s->d) {
        decoder(state, code, scratch);
        rotation_forward(s->rotation, s->d, rotated_table(s), scratch, 1, x);
    }
}

#define scalar_solve planted_solve
#define rotated_init planted_init
#define norm_load planted_norm
#define rotated_decode planted_decode
#define quantizer_turboquant_mse planted_mse
#include "algorithms/turboquant_mse.c"
