/* recall.c - is the vector that exact search finds among the k that search in the codes finds best? By inner product, for queries
 * that are held out of the data. Both searches put equal products in the order of the data, so vectors that are equal do not
 * count against a method that codes them equally. */
#include "harness/measure/stats.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <gsl/gsl_rng.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT, QUERIES, QUERY_SEED };

/* Units of UNIT queries, scored GROUP at a time. The base is whole multiples of BASE vectors, so that the same are searched by
 * methods that code vectors one by one and by those that code blocks. */
enum { UNIT = 256, GROUP = 8, BASE = 64, MAX_K = 64 };

static const kvant_param params[] = {
    { "n", "from the beginning: queries and, in multiples of 64, vectors to search; 0 = all", KVANT_INT, 0, 0, 1u << 30, NULL },
    { "queries", "vectors of these that are held out as queries", KVANT_INT, 512, 2, 1 << 24, NULL },
    { "query_seed", "seed of the choice of queries", KVANT_INT, 42, 0, 4294967295.0, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static const probe_metric metrics[] = {
    { "recall_at_N", "", "share of queries whose nearest vector is among the N best by estimated product", 1, false },
    { "rank", "", "mean rank of a query's nearest vector by estimated product, from 1; samples per query (chunk)", -1, false },
    { NULL, NULL, NULL, 0, false }
};

typedef struct {
    size_t dim, n_base, n_queries;
    float *base, *queries;         /* [n_base][dim], [n_queries][dim] */
    size_t nearest[UNIT];          /* of the queries of the unit that begin saw */
} recall;

static uint32_t context_of(const kvant_args *args)
{
    (void)args;
    return 16;                     /* no model */
}

static double cost(const kvant_args *args, const kvant_data *data)
{
    return args->v[COUNT] > 0 && args->v[COUNT] < (double)data->n ? args->v[COUNT] : (double)data->n;
}

/* Queries are drawn without replacement; both parts keep the order of the data, and the base leaves out what it cannot take. */
static kvant_status split(recall *p, const float *x, size_t n, unsigned long seed, kvant_error *err)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    p->base = kvant_alloc(p->n_base * p->dim * sizeof *p->base);
    p->queries = kvant_alloc(p->n_queries * p->dim * sizeof *p->queries);
    if (!rng || !p->base || !p->queries) {
        gsl_rng_free(rng);
        return kvant_fail(err, KVANT_NOMEM, "recall: no memory for %zu vectors of %zu", n, p->dim);
    }
    gsl_rng_set(rng, seed);
    size_t base = 0, drawn = 0;
    for (size_t i = 0; i < n; i++) {
        const float *from = x + i * p->dim;
        bool query = gsl_rng_uniform(rng) * (double)(n - i) < (double)(p->n_queries - drawn);
        if (query)
            memcpy(p->queries + drawn++ * p->dim, from, p->dim * sizeof *x);
        else if (base < p->n_base)
            memcpy(p->base + base++ * p->dim, from, p->dim * sizeof *x);
    }
    gsl_rng_free(rng);
    return KVANT_OK;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    recall *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "recall: no memory");
    size_t n = job->args.v[COUNT] > 0 ? (size_t)job->args.v[COUNT] : job->data->n;
    p->dim = job->data->dim;
    p->n_queries = (size_t)job->args.v[QUERIES];
    if (n > job->data->n)
        return kvant_fail(err, KVANT_INVALID, "recall: the data has %zu vectors, and n asks for %zu", job->data->n, n);
    if (n < p->n_queries + 2 * BASE)
        return kvant_fail(err, KVANT_INVALID, "recall: of %zu vectors %zu are queries, and at least %d must be left to search; "
                          "lower queries", n, p->n_queries, 2 * BASE);
    p->n_base = (n - p->n_queries) / BASE * BASE;
    job->n_units = (p->n_queries + UNIT - 1) / UNIT;
    return split(p, job->data->x, n, (unsigned long)job->args.v[QUERY_SEED], err);
}

static void close_job(probe_job *job)
{
    recall *p = job->state;
    if (!p)
        return;
    free(p->base);
    free(p->queries);
    free(p);
    job->state = NULL;
}

static size_t queries_of(const recall *p, size_t unit)
{
    size_t left = p->n_queries - unit * UNIT;
    return left < UNIT ? left : UNIT;
}

/* ---- Exact search ------------------------------------------------------------------------------ */

/* In eight sums, which compilers turn into vectors. */
static double product(const float *a, const float *b, size_t dim)
{
    double sum[8] = { 0 };
    size_t i = 0;
    for (; i + 8 <= dim; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += (double)a[i + lane] * b[i + lane];
    for (; i < dim; i++)
        sum[0] += (double)a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static kvant_status begin(probe_job *job, size_t unit, kvant_error *err)
{
    recall *p = job->state;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "recall: interrupted");
    #pragma omp parallel for schedule(dynamic)
    for (size_t j = 0; j < queries_of(p, unit); j++) {
        const float *q = p->queries + (unit * UNIT + j) * p->dim;
        double best = -INFINITY;
        p->nearest[j] = 0;
        for (size_t i = 0; i < p->n_base; i++) {
            double dot = product(q, p->base + i * p->dim, p->dim);
            if (dot > best) {
                best = dot;
                p->nearest[j] = i;
            }
        }
    }
    return KVANT_OK;
}

/* ---- Search in the codes ----------------------------------------------------------------------- */

/* An estimate that is NaN is better than every other and worse than all: it never helps. */
static size_t rank_of(const float *dot, size_t n, size_t nearest)
{
    size_t rank = 1;
    for (size_t i = 0; i < n; i++)
        if (i != nearest && (!(dot[i] <= dot[nearest]) || (dot[i] == dot[nearest] && i < nearest)))
            rank++;
    return rank;
}

/* Ranks of the unit's queries; false: no memory. */
static bool search(const recall *p, const kvant_codec *codec, const uint8_t *code, size_t unit, size_t rank[UNIT])
{
    size_t n = queries_of(p, unit), failed = 0;
    #pragma omp parallel reduction(+ : failed)
    {
        void *prepared = kvant_alloc(GROUP * codec->query), *scratch = kvant_alloc(codec->scratch);
        float *dot = kvant_alloc(GROUP * p->n_base * sizeof *dot);
        failed = !prepared || !scratch || !dot;
        #pragma omp for schedule(dynamic)
        for (size_t first = 0; first < n; first += GROUP) {
            size_t nq = n - first < GROUP ? n - first : GROUP;
            if (failed)
                continue;
            kvant_query(codec, p->queries + (unit * UNIT + first) * p->dim, nq, prepared, scratch);
            kvant_score(codec, prepared, nq, code, 0, p->n_base, dot, scratch);
            for (size_t j = 0; j < nq; j++)
                rank[first + j] = rank_of(dot + j * p->n_base, p->n_base, p->nearest[first + j]);
        }
        free(prepared);
        free(scratch);
        free(dot);
    }
    return failed == 0;
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    const recall *p = job->state;
    const kvant_codec *codec = &job->vectors[cell];
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "recall: interrupted");
    if (p->n_base % codec->plan.block)
        return kvant_fail(err, KVANT_INVALID, "recall: %s codes blocks of %zu vectors, and %zu are to be searched; choose n and "
                          "queries so that n - queries is a multiple", codec->quantizer->name, codec->plan.block, p->n_base);
    size_t rank[UNIT];
    uint8_t *code = kvant_alloc(kvant_bytes(codec, p->n_base));
    void *scratch = kvant_alloc(codec->scratch);
    bool searched = code && scratch;
    if (searched) {
        kvant_encode(codec, p->base, 0, p->n_base, code, scratch);
        searched = search(p, codec, code, unit, rank);
    }
    free(code);
    free(scratch);
    if (!searched)
        return kvant_fail(err, KVANT_NOMEM, "recall: no memory to search %zu vectors of %zu", p->n_base, p->dim);
    for (size_t j = 0; j < queries_of(p, unit); j++)
        job->emit(job, cell, &(probe_sample) { "rank", (uint32_t)(unit * UNIT + j), 0, (double)rank[j], 1 });
    return KVANT_OK;
}

/* ---- Results ----------------------------------------------------------------------------------- */

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double *rank = calloc(2 * n + 1, sizeof *rank);
    if (!rank)
        return kvant_fail(err, KVANT_NOMEM, "recall: no memory for %zu samples", n);
    double *weight = rank + n;
    size_t queries = probe_values(samples, n, "rank", rank, weight);
    for (int k = 1; k <= MAX_K && queries; k *= 2) {
        double found = 0, total = (double)queries;
        for (size_t i = 0; i < queries; i++)
            found += rank[i] <= k;
        char name[24];
        snprintf(name, sizeof name, "recall_at_%d", k);
        double share = found / total;
        stats_interval interval = stats_wilson(found, total, 0.95);
        result(user, &(probe_result) { name, share, total, sqrt(share * (1 - share) / total), interval.lo, interval.hi });
    }
    if (queries) {
        probe_result mean = probe_clustered("rank", rank, weight, queries);
        result(user, &mean);
    }
    free(rank);
    return queries ? KVANT_OK : kvant_fail(err, KVANT_FAILED, "recall: there are no samples");
}

const kvant_probe probe_recall = {
    .name = "recall",
    .summary = "whether the nearest vector by inner product is among the best by the codes",
    .params = params,
    .metrics = metrics,
    .wants_vectors = true,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
