/* pq.c - product quantization (Jegou, Douze, Schmid; IEEE TPAMI 33(1), 2011): sub-vectors to their nearest trained centroids.
 * Idea: `subspaces` runs of neighbouring coordinates each have 2^nbits centroids of their own, found by k-means on calibration
 * vectors, so codes follow whatever distribution and correlation the coordinates of a run have, means and scales included.
 *
 *   x = (x_1 ... x_m);  idx_i = nearest of c_i,1 ... c_i,K to x_i;  x^ = (c_1,idx_1 ... c_m,idx_m)
 *
 * Cost: subspaces * nbits / d bits per coordinate and nothing else; 2^nbits distances per sub-vector to encode. A query becomes a
 * table of its products with all centroids, then a score is one lookup and addition per sub-vector; a mix sums weights per
 * centroid, and centroids once.
 *
 * Where it loses: it is as good as its calibration: `train_min` is 8 vectors per centroid, where new vectors have a tenth to a
 * half more error than with endless ones, and other text or other positions (keys after RoPE) shift what it was fitted to.
 * Lengths are not coded apart, so a vector longer than those seen is cut to their range. k-means finds a local optimum. The state
 * is 2^nbits d floats per layer, head and side.
 *
 * Training: k-means++ from the seed, at most 25 rounds; an empty cluster takes the vector farthest from its centroid. Defined:
 * every input decodes to centroids, so zeros to the centroids nearest to 0; a sub-vector that is not finite gets an arbitrary,
 * fixed centroid (the first, when no product orders them); untrained, all decodes to 0. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/kmeans.h"
#include "algorithms/shared/parts.h"
#include "algorithms/shared/random.h"
#include "algorithms/shared/training.h"

#include <math.h>
#include <string.h>

enum { SUBSPACES, NBITS };
enum { PER_CENTROID = 8 };

/* The tables of all subspaces follow, each as kmeans_book has it: coordinates [sub][k], then half squares [k]. */
typedef struct { uint32_t d, m, sub, nbits, k, seed; } pq;

static size_t table_floats(const pq *s) { return (size_t)(s->sub + 1) * s->k; }

static kmeans_book book_of(const pq *s, size_t i)
{
    const float *c = (const float *)(s + 1) + i * table_floats(s);
    return (kmeans_book) { s->k, s->sub, c, c + (size_t)s->sub * s->k };
}

static pq header_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t m = (uint32_t)args->v[SUBSPACES], nbits = (uint32_t)args->v[NBITS];
    return (pq) { .d = shape->dim, .m = m, .sub = shape->dim / m, .nbits = nbits, .k = 1u << nbits, .seed = shape->seed };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    pq s = header_of(shape, args);
    if (s.d % s.m)
        return kvant_fail(err, KVANT_SKIP, "pq: dim %u is not a multiple of subspaces %u", s.d, s.m);
    plan->state = sizeof s + s.m * table_floats(&s) * sizeof(float);
    plan->code = bits_bytes(s.m, s.nbits);
    plan->query = (size_t)s.m * s.k * sizeof(float);
    plan->acc = (size_t)s.m * s.k;
    plan->scratch = s.m;
    plan->train_min = (size_t)PER_CENTROID * s.k;
    plan->bits_asked = (double)s.m * s.nbits / s.d;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(pq *)state = header_of(shape, args);
    return KVANT_OK;
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    pq *s = state;
    *s = header_of(shape, args);
    const float *tables = (const float *)(s + 1);
    const uint32_t stride = (uint32_t)table_floats(s), c = s->sub * s->k;
    parts_add(out, "", "centroids", KVANT_TABLE, state, tables, s->m, c, stride);
    parts_add(out, "", "half_squares", KVANT_TABLE, state, tables + c, s->m, s->k, stride);
}

static kvant_status train(void *state, const float *x, size_t n, kvant_error *err)
{
    pq *s = state;
    kvant_status status = training_finite("pq", x, n, s->d, err);
    if (status)
        return status;
    gsl_rng *rng = random_open(s->seed, RANDOM_KMEANS);
    status = rng ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "pq: no memory for a generator");
    for (size_t i = 0; i < s->m && !status; i++) {
        float *c = (float *)(s + 1) + i * table_floats(s);
        status = kmeans_vectors(x + i * s->sub, s->d, n, s->sub, s->k, rng, c, c + (size_t)s->sub * s->k, err);
    }
    if (rng)
        gsl_rng_free(rng);
    return status;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const pq *s = state;
    uint8_t *idx = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, code += bits_bytes(s->m, s->nbits)) {
        for (size_t i = 0; i < s->m; i++, x += s->sub) {
            kmeans_book book = book_of(s, i);
            idx[i] = (uint8_t)kmeans_nearest(&book, x);
        }
        bits_pack(code, idx, s->m, s->nbits);
    }
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const pq *s = state;
    uint8_t *idx = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, code += bits_bytes(s->m, s->nbits)) {
        bits_unpack(idx, code, s->m, s->nbits);
        for (size_t i = 0; i < s->m; i++)
            for (size_t j = 0; j < s->sub; j++)
                *x++ = book_of(s, i).c[j * s->k + idx[i]];
    }
}

/* ---- Scoring by tables [m][k] of products; mixing by weights [m][k] ------------------------------------ */

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const pq *s = state;
    float *products = prepared;
    (void)scratch;
    for (size_t i = 0; i < nq * s->m; i++) {
        kmeans_book book = book_of(s, i % s->m);
        kmeans_products(&book, q + i * s->sub, products + i * s->k);
    }
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const pq *s = state;
    uint8_t *idx = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, code += bits_bytes(s->m, s->nbits)) {
        const float *products = prepared;
        bits_unpack(idx, code, s->m, s->nbits);
        for (size_t i = 0; i < nq; i++) {
            float sum = 0;
            for (size_t j = 0; j < s->m; j++, products += s->k)
                sum += products[idx[j]];
            dot[i * n + v] = sum;
        }
    }
}

static void mix(const void *state, const float *weight, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const pq *s = state;
    uint8_t *idx = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, code += bits_bytes(s->m, s->nbits)) {
        float *weights = acc;
        bits_unpack(idx, code, s->m, s->nbits);
        for (size_t i = 0; i < nq; i++)
            for (size_t j = 0; j < s->m; j++, weights += s->k)
                weights[idx[j]] += weight[i * n + v];
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const pq *s = state;
    (void)scratch;
    for (size_t i = 0; i < nq * s->m; i++, acc += s->k) {
        kmeans_book book = book_of(s, i % s->m);
        for (size_t j = 0; j < s->sub; j++) {
            double sum = 0;
            for (size_t k = 0; k < s->k; k++)
                sum += (double)acc[k] * book.c[j * s->k + k];
            *out++ = (float)sum;
        }
    }
}

static const kvant_param params[] = {
    [SUBSPACES] = { .name = "subspaces", .help = "sub-vectors, of neighbouring coordinates; must divide the dimension",
                    .type = KVANT_INT, .def = 16, .min = 1, .max = 4096 },
    [NBITS] = { .name = "nbits", .help = "bits of a sub-vector's index", .type = KVANT_INT, .def = 8, .min = 4, .max = 8 },
    { .name = NULL }
};

/* Own Monte Carlo: k-means++ and Lloyd on 8 2^nbits Gaussian vectors, errors of new ones. Local optima vary: 1 %. */
#define NMSE(d, args, value) { "gaussian", d, args, "nmse", value, .01 * value, "own Monte Carlo, trained on as many vectors" }

static const kvant_oracle oracles[] = {
    NMSE(64, "subspaces=64,nbits=4", .014575), NMSE(64, "subspaces=32,nbits=4", .13294), NMSE(128, "subspaces=32,nbits=4", .39728),
    NMSE(64, "subspaces=16,nbits=6", .20975), NMSE(80, "subspaces=10,nbits=4", .67005),
    { "constant", 64, "nbits=4", "nmse", 0, 1e-12, "vectors that are all alike are their own centroid" },
    { .input = NULL }
};

const kvant_quantizer quantizer_pq = {
    .name = "pq", .summary = "product quantization: sub-vectors to their nearest centroids, trained by k-means",
    .source = "Jegou, Douze, Schmid, IEEE TPAMI 33(1), 2011, section III", .params = params, .oracles = oracles, .plan = plan,
    .init = init, .train = train,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish },
    .parts = parts
};
