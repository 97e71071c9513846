/* kmeans.c - see kmeans.h.
 * Sums and distances are in double and in a fixed order; a search keeps the products with all centroids side by side. */
#include "algorithms/shared/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gsl/gsl_errno.h>
#include <gsl/gsl_sort_float.h>

enum { ROUNDS = 25, NUMBER_ROUNDS = 1000 };

void kmeans_products(const kmeans_book *book, const float *x, float *products)
{
    memset(products, 0, book->k * sizeof *products);
    for (size_t j = 0; j < book->dim; j++)
        for (size_t k = 0; k < book->k; k++)
            products[k] += x[j] * book->c[j * book->k + k];
}

size_t kmeans_nearest(const kmeans_book *book, const float *x)
{
    float gain[KMEANS_MAX];        /* <x, c> - |c|^2 / 2: largest where the distance is smallest */
    size_t best = 0;
    kmeans_products(book, x, gain);
    for (size_t k = 0; k < book->k; k++)
        gain[k] -= book->half[k];
    for (size_t k = 1; k < book->k; k++)
        best = gain[k] > gain[best] ? k : best;
    return best;
}

/* ---- Vectors ---------------------------------------------------------------------------------------- */

typedef struct {
    const float *x;
    size_t stride, n, dim, k;
    float *c, *half;
    double *distance, *sum;        /* [n] to the nearest centroid, squared; [k][dim] */
    size_t *of, *count;            /* [n] cluster of each; [k] */
} clustering;

static const float *vector(const clustering *s, size_t i) { return s->x + i * s->stride; }

/* Squared distance of coordinates a [dim] and b [dim], the latter `step` apart. */
static double distance(const float *a, const float *b, size_t step, size_t dim)
{
    double sum = 0;
    for (size_t j = 0; j < dim; j++) {
        double e = (double)a[j] - b[j * step];
        sum += e * e;
    }
    return sum;
}

static void set_centroid(clustering *s, size_t k, const double *at)
{
    double square = 0;
    for (size_t j = 0; j < s->dim; j++) {
        s->c[j * s->k + k] = (float)at[j];
        square += at[j] * at[j];
    }
    s->half[k] = (float)(square / 2);
}

/* Draws a vector with probability proportional to its squared distance from the centroids so far; any, where all are 0. */
static size_t draw(const clustering *s, gsl_rng *rng)
{
    double total = 0, at;
    size_t last = 0;
    for (size_t i = 0; i < s->n; i++)
        total += s->distance[i];
    if (!(total > 0))
        return gsl_rng_uniform_int(rng, s->n);
    at = gsl_rng_uniform(rng) * total;
    for (size_t i = 0; i < s->n; i++)
        if (s->distance[i] > 0) {
            last = i;
            at -= s->distance[i];
            if (at < 0)
                break;
        }
    return last;
}

/* k-means++ (Arthur and Vassilvitskii, 2007). */
static void start(clustering *s, gsl_rng *rng)
{
    for (size_t i = 0; i < s->n; i++)
        s->distance[i] = 0;
    for (size_t k = 0; k < s->k; k++) {
        size_t chosen = draw(s, rng);
        for (size_t j = 0; j < s->dim; j++)
            s->sum[j] = vector(s, chosen)[j];
        set_centroid(s, k, s->sum);
        for (size_t i = 0; i < s->n; i++) {
            double d = distance(vector(s, i), vector(s, chosen), 1, s->dim);
            s->distance[i] = k && s->distance[i] < d ? s->distance[i] : d;
        }
    }
}

/* True when a vector changed its cluster. */
static bool assign(clustering *s, bool first)
{
    const kmeans_book book = { s->k, s->dim, s->c, s->half };
    bool changed = first;
    memset(s->count, 0, s->k * sizeof *s->count);
    for (size_t i = 0; i < s->n; i++) {
        size_t k = kmeans_nearest(&book, vector(s, i));
        changed = changed || k != s->of[i];
        s->of[i] = k;
        s->count[k]++;
        s->distance[i] = distance(vector(s, i), s->c + k, s->k, s->dim);
    }
    return changed;
}

/* An empty cluster takes the vector that is farthest from its centroid, out of a cluster that keeps others. */
static void fill_empty(clustering *s)
{
    for (size_t k = 0; k < s->k; k++) {
        size_t far = s->n;
        for (size_t i = 0; i < s->n && !s->count[k]; i++)
            if (s->count[s->of[i]] > 1 && s->distance[i] > 0 && (far == s->n || s->distance[i] > s->distance[far]))
                far = i;
        if (far == s->n)
            continue;
        s->count[s->of[far]]--;
        s->count[k] = 1;
        s->of[far] = k;
        s->distance[far] = 0;
    }
}

static void move_centroids(clustering *s)
{
    memset(s->sum, 0, s->k * s->dim * sizeof *s->sum);
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->dim; j++)
            s->sum[s->of[i] * s->dim + j] += vector(s, i)[j];
    for (size_t k = 0; k < s->k; k++) {
        if (!s->count[k])
            continue;                  /* all vectors lie on centroids: this one is a spare */
        for (size_t j = 0; j < s->dim; j++)
            s->sum[k * s->dim + j] /= (double)s->count[k];
        set_centroid(s, k, s->sum + k * s->dim);
    }
}

kvant_status kmeans_vectors(const float *x, size_t stride, size_t n, size_t dim, size_t k, gsl_rng *rng, float *c, float *half,
                            kvant_error *err)
{
    if (n < k || k < 1 || k > KMEANS_MAX)
        return kvant_fail(err, KVANT_INVALID, "k-means: %zu vectors for %zu clusters; give at least as many, for 1 to %d clusters", n,
                          k, KMEANS_MAX);
    clustering s = { x, stride, n, dim, k, c, half, malloc(n * sizeof(double)), malloc(k * dim * sizeof(double)),
                     calloc(n, sizeof(size_t)), malloc(k * sizeof(size_t)) };
    bool memory = s.distance && s.sum && s.of && s.count;
    if (memory) {
        start(&s, rng);
        for (int round = 0; round < ROUNDS && assign(&s, round == 0); round++) {
            fill_empty(&s);
            move_centroids(&s);
        }
    }
    free(s.distance);
    free(s.sum);
    free(s.of);
    free(s.count);
    return memory ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "k-means: no memory for %zu vectors", n);
}

/* ---- Numbers ------------------------------------------------------------------------------------------ */

/* How many of the sorted x [n] are at most t: a tie goes to the lower centroid. */
static size_t up_to(const float *x, size_t n, double t)
{
    size_t low = 0;
    for (size_t high = n; low < high; ) {
        size_t middle = low + (high - low) / 2;
        if (x[middle] <= t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static double spacing(const float *x, size_t i) { return cbrt(((double)x[i + 1] - x[i]) * ((double)x[i + 1] - x[i])); }

/* With many cells centroids lie with density f^(1/3) (Panter and Dite), whose integral over the gap between two of n sorted numbers
 * is about gap^(2/3) n^(-1/3). Quantiles of f itself leave the tails to too few cells, and Lloyd's rounds get stuck there. */
static void start_numbers(const float *x, size_t n, double *c, size_t k)
{
    double total = 0, passed = 0;
    for (size_t i = 0; i + 1 < n; i++)
        total += spacing(x, i);
    for (size_t at = 0, i = 0; i < k; i++) {
        double target = ((double)i + .5) / (double)k * total;
        while (at + 1 < n && passed + spacing(x, at) <= target)
            passed += spacing(x, at++);
        c[i] = x[at];
    }
}

/* One round; sums [n+1] are prefix sums of x. An empty cell keeps its centroid. */
static bool improve(const float *x, const double *sums, size_t n, double *c, size_t k)
{
    bool moved = false;
    for (size_t i = 0, from = 0; i < k; i++) {
        size_t to = i + 1 < k ? up_to(x, n, (c[i] + c[i + 1]) / 2) : n;
        if (to > from) {
            double mean = (sums[to] - sums[from]) / (double)(to - from);
            moved = moved || mean != c[i];
            c[i] = mean;
            from = to;
        }
    }
    return moved;
}

kvant_status kmeans_numbers(float *x, size_t n, size_t k, float *centroids, kvant_error *err)
{
    double c[KMEANS_MAX];
    if (n < 1 || k < 1 || k > KMEANS_MAX)
        return kvant_fail(err, KVANT_INVALID, "k-means: %zu numbers for %zu clusters; give some, for 1 to %d clusters", n, k,
                          KMEANS_MAX);
    double *sums = malloc((n + 1) * sizeof *sums);
    if (!sums)
        return kvant_fail(err, KVANT_NOMEM, "k-means: no memory for %zu numbers", n);
    gsl_sort_float(x, 1, n);
    sums[0] = 0;
    for (size_t i = 0; i < n; i++)
        sums[i + 1] = sums[i] + x[i];
    start_numbers(x, n, c, k);
    for (int round = 0; round < NUMBER_ROUNDS && improve(x, sums, n, c, k); round++)
        continue;
    for (size_t i = 0; i < k; i++)
        centroids[i] = (float)c[i];
    free(sums);
    return KVANT_OK;
}
