/* synthetic.c - vectors drawn from known distributions, for which the error of a quantizer can be computed.
 * The same parameters give the same vectors on every machine: GSL's Mersenne twister, seeded by a hash of the seed. */
#include "harness/input/dataset.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

/* g is N(0,1), drawn anew wherever it stands; `channels` are drawn once from the seed and serve all vectors.
 *   sphere            uniform on the unit sphere: g / |g|
 *   gaussian          g, independent: E|x|^2 = dim
 *   laplacian         independent Laplace of variance 1 (scale 1/sqrt 2)
 *   student_t         independent Student's t with 5 degrees of freedom, scaled to variance 1: the heaviest tails whose
 *                     fourth moment, and so the error of a measured variance, is finite
 *   correlated        x_0 = g, x_j = .9 x_(j-1) + sqrt(1 - .81) g: variance 1, correlation .9^|i-j|
 *   outlier_channels  g, times 10 in ceil(dim / 32) channels: what the keys of language models look like
 *   student_t_outliers  student_t, times 10 in such channels: heavy tails and outlier channels at once
 *   e1                (1, 0, 0, ...), for many seeds of a quantizer: all the energy in one coordinate
 *   constant          every coordinate 1/sqrt(dim), for many seeds likewise
 *   sparse4           4 channels +10 or -10, each sign by a coin, and .1 g elsewhere */
enum { SPHERE, GAUSSIAN, LAPLACIAN, STUDENT_T, CORRELATED, OUTLIER_CHANNELS, E1, CONSTANT, SPARSE4, STUDENT_T_OUTLIERS };
static const char *const distributions[] = { "sphere", "gaussian", "laplacian", "student_t", "correlated", "outlier_channels",
                                             "e1", "constant", "sparse4", "student_t_outliers", NULL };

static const double freedom = 5, correlation = .9, large = 10, small = .1;

enum { P_DISTRIBUTION, P_DIM, P_N, P_SEED };
static const kvant_param params[] = {
    [P_DISTRIBUTION] = { .name = "distribution", .help = "what is drawn", .type = KVANT_CHOICE, .def = SPHERE,
                         .choices = distributions },
    [P_DIM] = { .name = "dim", .help = "coordinates of a vector", .type = KVANT_INT, .def = 128, .min = 8, .max = 4096 },
    [P_N] = { .name = "n", .help = "vectors", .type = KVANT_INT, .def = 4096, .min = 1, .max = 1e8 },
    [P_SEED] = { .name = "seed", .help = "seed of the vectors (not of the quantizer)", .type = KVANT_INT, .def = 0, .min = 0,
                 .max = 9007199254740992 },
    { .name = NULL },
};

/* The finaliser of splitmix64: seeds that differ in one bit give unrelated streams. */
static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static const uint64_t stream = UINT64_C(0x6b76616e74646174);       /* "kvantdat": apart from every other use of a seed */

static float normal(gsl_rng *r) { return (float)gsl_ran_gaussian_ziggurat(r, 1); }

static void draw_sphere(gsl_rng *r, float *x, size_t dim)
{
    double square = 0;
    while (!(square > 0)) {
        for (size_t j = 0; j < dim; j++) {
            x[j] = normal(r);
            square += (double)x[j] * (double)x[j];
        }
    }
    for (size_t j = 0; j < dim; j++)
        x[j] = (float)((double)x[j] / sqrt(square));
}

/* One vector; channels [n_channels] as above. */
static void draw(gsl_rng *r, int distribution, const size_t *channels, size_t n_channels, float *x, size_t dim)
{
    switch (distribution) {
    case SPHERE:
        draw_sphere(r, x, dim);
        break;
    case GAUSSIAN:
    case OUTLIER_CHANNELS:
        for (size_t j = 0; j < dim; j++)
            x[j] = normal(r);
        for (size_t c = 0; c < n_channels; c++)
            x[channels[c]] *= (float)large;
        break;
    case LAPLACIAN:
        for (size_t j = 0; j < dim; j++)
            x[j] = (float)gsl_ran_laplace(r, sqrt(.5));
        break;
    case STUDENT_T:
    case STUDENT_T_OUTLIERS:
        for (size_t j = 0; j < dim; j++)
            x[j] = (float)(gsl_ran_tdist(r, freedom) * sqrt((freedom - 2) / freedom));
        for (size_t c = 0; c < n_channels; c++)
            x[channels[c]] *= (float)large;
        break;
    case CORRELATED: {
        double last = gsl_ran_gaussian_ziggurat(r, 1);
        x[0] = (float)last;
        for (size_t j = 1; j < dim; j++) {
            last = correlation * last + sqrt(1 - correlation * correlation) * gsl_ran_gaussian_ziggurat(r, 1);
            x[j] = (float)last;
        }
        break;
    }
    case E1:
        x[0] = 1;
        break;
    case CONSTANT:
        for (size_t j = 0; j < dim; j++)
            x[j] = (float)(1 / sqrt((double)dim));
        break;
    case SPARSE4:
        for (size_t j = 0; j < dim; j++)
            x[j] = (float)small * normal(r);
        for (size_t c = 0; c < n_channels; c++)
            x[channels[c]] = (float)(gsl_rng_uniform_int(r, 2) ? large : -large);
        break;
    }
}

static kvant_status load(const char *path, const kvant_args *args, kvant_data *data, kvant_error *err)
{
    (void)path;
    enum { CHANNELS_MAX = 4096 / 32 };
    int distribution = (int)args->v[P_DISTRIBUTION];
    kvant_status status = data_vectors("synthetic", (uint64_t)args->v[P_N], (uint64_t)args->v[P_DIM], data, err);
    if (status)
        return status;
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    size_t all[4096], channels[CHANNELS_MAX];
    bool outliers = distribution == OUTLIER_CHANNELS || distribution == STUDENT_T_OUTLIERS;
    size_t n_channels = outliers ? (data->dim + 31) / 32 : distribution == SPARSE4 ? 4 : 0;
    if (!r)
        status = kvant_fail(err, KVANT_NOMEM, "synthetic: no memory for a generator");
    else {
        /* The twister takes 32 bits. */
        gsl_rng_set(r, (unsigned long)(mix(mix((uint64_t)args->v[P_SEED]) ^ stream ^ (uint64_t)distribution) >> 32));
        for (size_t j = 0; j < data->dim; j++)
            all[j] = j;
        if (n_channels && gsl_ran_choose(r, channels, n_channels, all, data->dim, sizeof *all))
            status = kvant_fail(err, KVANT_FAILED, "synthetic: GSL cannot choose channels");
    }
    for (size_t i = 0; i < data->n && !status; i++) {
        draw(r, distribution, channels, n_channels, data->x + i * data->dim, data->dim);
        if (i % 1024 == 0 && interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "synthetic: interrupted");
    }
    if (r)
        gsl_rng_free(r);
    if (status) {
        data_free(data);
        return status;
    }
    return data_seal("synthetic", data, err);
}

const kvant_dataset dataset_synthetic = {
    .name = "synthetic",
    .summary = "vectors of a known distribution, made from a seed",
    .kind = "vectors",
    .params = params,
    .load = load,
};
