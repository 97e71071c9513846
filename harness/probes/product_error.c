/* product_error.c - how errors of inner products are spread: their mean, their root mean square and a histogram, for vectors and
 * queries that are other vectors of the data. It is what TurboQuant's figures of error histograms show; `distortion` has moments
 * only. */
#include "harness/measure/fidelity.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT, SEEDS };

static const kvant_param params[] = {
    { "n", "vectors to take from the beginning; 0 = all", KVANT_INT, 0, 0, 1u << 30, NULL },
    { "seeds", "seeds of the quantizer, upwards from its own, that code all vectors; errors are then over them", KVANT_INT, 1, 1,
      1 << 16, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

/* Bins of a tenth from -5 to 5. */
enum { CLUSTER = 128, BINS = 100, BINS_PER_ONE = 10 };

static const probe_metric metrics[] = {
    { "product_error_mean", "", "mean of <y,x^ - x> sqrt d / |x||y|; queries y are other vectors", 0, false },
    { "product_error_rms", "", "root of the mean of its square", -1, false },
    { "product_error_sq", "", "samples only: its mean square in a cluster", -1, false },
    { "product_error_count", "", "samples only: how often it lies in the tenth that begins at (idx - 50) / 10; what lies beyond -5 or "
      "5 counts in the first or last", 0, false },
    { NULL, NULL, NULL, 0, false }
};

/* Of one cluster of vectors. */
typedef struct { double sum, sum_sq, n; uint64_t count[BINS]; } spread;

static uint32_t context_of(const kvant_args *args)
{
    (void)args;
    return 16;                     /* no model */
}

static size_t vectors_of(const kvant_args *args, const kvant_data *data)
{
    return args->v[COUNT] > 0 ? (size_t)args->v[COUNT] : data->n;
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    return args->v[SEEDS] * (double)vectors_of(args, data);
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const size_t n = vectors_of(&job->args, job->data);
    if (n > job->data->n || n < 2)
        return kvant_fail(err, KVANT_INVALID, "product_error: the data has %zu vectors, and %zu are asked for; 2 or more must be "
                                              "there",
                          job->data->n, n);
    for (size_t i = 0; i < job->n_cells; i++)
        if (job->args.v[SEEDS] > 1 && job->vectors[i].plan.train_min)
            return kvant_fail(err, KVANT_INVALID, "product_error: %s is trained, for the one seed that it has; remove `seeds`, or "
                              "sweep `seed`", job->vectors[i].quantizer->name);
    job->n_units = (size_t)job->args.v[SEEDS];
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    job->state = NULL;
}

static double product(const float *a, const float *b, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void add(spread *s, double error)
{
    const double bin = floor(error * BINS_PER_ONE) + BINS / 2;
    s->sum += error;
    s->sum_sq += error * error;
    s->n += 1;
    s->count[bin >= BINS - 1 ? BINS - 1 : bin >= 0 ? (size_t)bin : 0]++;
}

/* Vectors first ... first+n-1 of `total` against queries that follow them, the data's beginning after its end; a vector is no query of
 * itself, and an error that is not finite makes the sums so, and counts in no bin. */
static void measure(const kvant_codec *codec, const float *x, size_t total, size_t first, size_t n, float *queries,
                    fidelity_work *work, spread *s)
{
    const size_t dim = codec->shape.dim, nq = total < FIDELITY_QUERIES ? total : FIDELITY_QUERIES;
    for (size_t j = 0; j < nq; j++)
        memcpy(queries + j * dim, x + (first + n + j) % total * dim, dim * sizeof *queries);
    kvant_encode(codec, x + first * dim, 0, n, work->code, work->scratch);
    kvant_query(codec, queries, nq, work->prepared, work->scratch);
    kvant_score(codec, work->prepared, nq, work->code, 0, n, work->dot, work->scratch);
    for (size_t i = 0; i < n; i++) {
        const float *xi = x + (first + i) * dim;
        for (size_t j = 0; j < nq; j++) {
            const float *y = queries + j * dim;
            const double norms = sqrt(product(xi, xi, dim) * product(y, y, dim));
            if ((first + n + j) % total == first + i || !(norms > 0))
                continue;
            const double error = (work->dot[j * n + i] - product(y, xi, dim)) * sqrt((double)dim) / norms;
            if (isfinite(error))
                add(s, error);
            else
                s->sum = s->sum_sq = NAN;
        }
    }
}

static kvant_status measure_all(const probe_job *job, const kvant_codec *codec, spread *of, size_t clusters, size_t size,
                                kvant_error *err)
{
    const size_t total = vectors_of(&job->args, job->data), block = codec->plan.block;
    kvant_status status = KVANT_OK;
    #pragma omp parallel
    {
        fidelity_work work = { 0 };
        float *queries = kvant_alloc(FIDELITY_QUERIES * codec->shape.dim * sizeof *queries);
        const bool ready = queries && fidelity_open(codec, 1, size, &work, NULL) == KVANT_OK;
        #pragma omp for schedule(dynamic)
        for (size_t c = 0; c < clusters; c++) {
            const size_t first = c * size, n = (total - first < size ? total - first : size) / block * block;
            if (ready && n)
                measure(codec, job->data->x, total, first, n, queries, &work, &of[c]);
        }
        if (!ready) {
            #pragma omp critical
            status = KVANT_NOMEM;
        }
        fidelity_close(&work);
        free(queries);
    }
    return status ? kvant_fail(err, status, "product_error: no memory for clusters of %zu vectors of %u", size, codec->shape.dim)
        : KVANT_OK;
}

static kvant_status run_codec(probe_job *job, const kvant_codec *codec, size_t seed, size_t cell, kvant_error *err)
{
    const size_t block = codec->plan.block, size = (CLUSTER + block - 1) / block * block;
    const size_t clusters = (vectors_of(&job->args, job->data) + size - 1) / size;
    const bool seeds = job->args.v[SEEDS] > 1;
    spread *of = calloc(clusters, sizeof *of);
    if (!of)
        return kvant_fail(err, KVANT_NOMEM, "product_error: no memory for %zu clusters", clusters);
    const kvant_status status = measure_all(job, codec, of, clusters, size, err);
    uint64_t count[BINS] = { 0 };
    for (size_t c = 0; c < clusters && !status; c++) {
        const uint32_t chunk = (uint32_t)(seeds ? seed : c), idx = (uint32_t)(seeds ? c : 0);
        for (size_t bin = 0; bin < BINS; bin++)
            count[bin] += of[c].count[bin];
        if (!(of[c].n > 0))
            continue;
        job->emit(job, cell, &(probe_sample) { "product_error_mean", chunk, idx, of[c].sum / of[c].n, of[c].n });
        job->emit(job, cell, &(probe_sample) { "product_error_sq", chunk, idx, of[c].sum_sq / of[c].n, of[c].n });
    }
    for (uint32_t bin = 0; bin < BINS && !status; bin++)
        if (count[bin])
            job->emit(job, cell, &(probe_sample) { "product_error_count", (uint32_t)seed, bin, (double)count[bin], 1 });
    free(of);
    return status;
}

/* The first seed is the codec's own; the others' states live for a unit. */
static kvant_status run_unit(probe_job *job, size_t seed, size_t cell, kvant_error *err)
{
    const kvant_codec *codec = &job->vectors[cell];
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "product_error: interrupted");
    if (!seed)
        return run_codec(job, codec, 0, cell, err);
    kvant_codec other;
    kvant_shape shape = codec->shape;
    shape.seed += (uint32_t)seed;
    kvant_status status = kvant_open(codec->quantizer, &shape, &codec->args, codec->target, &other, err);
    if (status)
        return status;
    status = run_codec(job, &other, seed, cell, err);
    kvant_close(&other);
    return status;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "product_error: no memory for %zu samples", n);
    double *w = x + n;
    size_t (*values)(const probe_sample *, size_t, const char *, double *, double *) = args->v[SEEDS] > 1 ? probe_by_chunk
        : probe_values;
    size_t clusters = values(samples, n, "product_error_mean", x, w);
    probe_result mean = probe_clustered("product_error_mean", x, w, clusters);
    clusters = values(samples, n, "product_error_sq", x, w);
    probe_result square = probe_clustered("product_error_rms", x, w, clusters);
    free(x);
    if (!clusters)
        return kvant_fail(err, KVANT_FAILED, "product_error: there are no samples");
    result(user, &mean);
    const double rms = sqrt(square.value);
    square.se /= 2 * rms;
    square.value = rms;
    square.lo = sqrt(square.lo > 0 ? square.lo : isnan(square.lo) ? NAN : 0);
    square.hi = sqrt(square.hi);
    result(user, &square);
    return KVANT_OK;
}

const kvant_probe probe_product_error = {
    .name = "product_error",
    .summary = "how the errors of inner products are spread: mean, root mean square and a histogram",
    .params = params,
    .metrics = metrics,
    .wants_vectors = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
