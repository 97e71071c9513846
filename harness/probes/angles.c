/* angles.c - how the angles of recursive polar coordinates are spread after a codec's own rotation, level by level, against the
 * densities that PolarQuant's codebooks are solved for; and those codebooks, as they lie in the codec's state.
 *
 * On Gaussian vectors, and on the sphere, the angles of a level are independent: level 1 is uniform on [0, 2 pi), and at level l > 1
 * sin^2 of the angle has the beta distribution with both parameters 2^(l-2), which is a density ~ sin(2 psi)^(2^(l-1) - 1). */
#include "algorithms/shared/rotation.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT };

static const kvant_param params[] = {
    { "n", "vectors to take from the beginning; 0 = all", KVANT_INT, 0, 0, 1u << 30, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

/* Bins of a level cut its range evenly; a pool of bins that chi-square counts expects at least POOL angles. */
enum { UNIT = 8192, STEP = 64, BINS = 64, LEVELS = 8, CENTROIDS = 256, POOL = 5 };

static const probe_metric metrics[] = {
    { "angle_ks_N", "", "level N: largest difference between the share of angles below an edge of 64 bins and the analytic one; where "
      "they agree, 1.63 over the root of the number of angles is exceeded in one of 100 samples", -1, false },
    { "angle_chi2_N", "", "level N: chi-square of the 64 bins per degree of freedom, rare bins pooled; 1 where the density is the "
      "analytic one, and its error is that of such a sample", -1, false },
    { "level2_centroid_N", "rad", "centroid N of level 2, as the codec's state has it; level 1 has even cells", 0, false },
    { "level3_centroid_N", "rad", "centroid N of level 3", 0, false },
    { "level4_centroid_N", "rad", "centroid N of level 4", 0, false },
    { "angle_count", "", "samples only: angles of level `chunk` in bin `idx` of 64", 0, false },
    { NULL, NULL, NULL, 0, false }
};

/* Of one codec: its rotation, and as many levels as it has tables of. */
typedef struct {
    rotation_kind rotation;
    const float *table;                        /* of the rotation */
    size_t levels;
    kvant_part cosines[LEVELS], sines[LEVELS];
} polar;

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
    return (double)vectors_of(args, data);
}

static double range_of(size_t level) { return level == 1 ? 2 * M_PI : M_PI_2; }

/* The share of angles of a level below `psi`. */
static double share_below(size_t level, double psi)
{
    const double half = ldexp(1, (int)level - 2), s = sin(psi);
    return level == 1 ? psi / (2 * M_PI) : gsl_cdf_beta_P(s * s, half, half);
}

/* ---- What a codec has -------------------------------------------------------------------------- */

static const kvant_part *part_named(const kvant_parts *parts, const char *stem, size_t level)
{
    char name[32];
    snprintf(name, sizeof name, level ? "%s%zu" : "%s", stem, level);
    for (size_t i = 0; i < parts->n; i++)
        if (!strcmp(parts->part[i].name, name))
            return &parts->part[i];
    return NULL;
}

static const float *table_of(const kvant_codec *codec, const kvant_part *part)
{
    return (const float *)(const void *)((const char *)codec->state + part->offset);
}

static kvant_status find_tables(const kvant_codec *codec, polar *p, kvant_error *err)
{
    kvant_parts parts;
    kvant_status status = kvant_list_parts(codec, &parts, err);
    if (status)
        return status;
    const kvant_part *matrix = part_named(&parts, "rotation", 0), *signs = part_named(&parts, "signs", 0), *c, *s;
    *p = (polar) { .rotation = matrix ? ROTATION_HAAR : signs ? ROTATION_HADAMARD : ROTATION_NONE,
                   .table = matrix ? table_of(codec, matrix) : signs ? table_of(codec, signs) : NULL };
    while (p->levels < LEVELS && (c = part_named(&parts, "cosines", p->levels + 1)) &&
           (s = part_named(&parts, "sines", p->levels + 1)) && c->cols <= CENTROIDS && s->cols == c->cols) {
        p->cosines[p->levels] = *c;
        p->sines[p->levels++] = *s;
    }
    if (!p->levels || codec->shape.dim % (1u << p->levels))
        return kvant_fail(err, KVANT_INVALID, "angles: %s has no levels of recursive polar coordinates; name polarquant",
                          codec->quantizer->name);
    return KVANT_OK;
}

/* ---- Measuring --------------------------------------------------------------------------------- */

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const size_t n = vectors_of(&job->args, job->data);
    if (n > job->data->n || !n)
        return kvant_fail(err, KVANT_INVALID, "angles: the data has %zu vectors, and %zu are asked for", job->data->n, n);
    for (size_t i = 0; i < job->n_cells; i++) {
        polar p;
        const kvant_status status = find_tables(&job->vectors[i], &p, err);
        if (status)
            return status;
    }
    job->n_units = (n + UNIT - 1) / UNIT;
    return KVANT_OK;
}

static void close_job(probe_job *job)
{
    job->state = NULL;
}

/* A group of 2^levels coordinates, which radii replace; one that holds nothing or no numbers has no angles. */
static void count_group(const polar *p, const float *y, uint64_t count[LEVELS][BINS])
{
    const size_t size = (size_t)1 << p->levels;
    double r[1 << LEVELS], sum = 0;
    for (size_t j = 0; j < size; j++) {
        r[j] = y[j];
        sum += r[j] * r[j];
    }
    if (!(sum > 0) || !isfinite(sum))
        return;
    for (size_t level = 1; level <= p->levels; level++)
        for (size_t j = 0; j < size >> level; j++) {
            const double a = r[2 * j], b = r[2 * j + 1], psi = atan2(b, a);
            const double bin = floor((psi < 0 ? psi + 2 * M_PI : psi) * BINS / range_of(level));
            count[level - 1][bin < BINS ? (size_t)bin : BINS - 1]++;
            r[j] = sqrt(a * a + b * b);
        }
}

/* Vectors first ... first+n-1; counts are whole numbers, so that no order of threads shows. */
static kvant_status count_vectors(const polar *p, const float *x, size_t n, uint32_t dim, uint64_t count[LEVELS][BINS])
{
    bool ready = true;
    #pragma omp parallel
    {
        uint64_t own[LEVELS][BINS] = { { 0 } };
        float *y = kvant_alloc(STEP * dim * sizeof *y);
        #pragma omp for schedule(static)
        for (size_t first = 0; first < n; first += STEP) {
            const size_t step = n - first < STEP ? n - first : STEP;
            if (!y)
                continue;
            rotation_forward(p->rotation, dim, p->table, x + first * dim, step, y);
            for (size_t at = 0; at < step * dim; at += (size_t)1 << p->levels)
                count_group(p, y + at, own);
        }
        #pragma omp critical
        {
            ready = ready && y;
            for (size_t level = 0; level < LEVELS; level++)
                for (size_t bin = 0; bin < BINS; bin++)
                    count[level][bin] += own[level][bin];
        }
        free(y);
    }
    return ready ? KVANT_OK : KVANT_NOMEM;
}

/* Levels 2 to 4, one sample each, under the results' own names: a state's figures, and no draws. */
static void emit_centroids(probe_job *job, size_t cell, const polar *p)
{
    for (size_t level = 1; level < p->levels && level < 4; level++) {
        const float *c = table_of(&job->vectors[cell], &p->cosines[level]), *s = table_of(&job->vectors[cell], &p->sines[level]);
        for (uint32_t k = 0; k < p->cosines[level].cols; k++) {
            const double psi = atan2((double)s[k], (double)c[k]);
            char name[40];
            snprintf(name, sizeof name, "level%zu_centroid_%u", level + 1, k + 1);
            job->emit(job, cell, &(probe_sample) { name, 0, k, psi, 1 });
        }
    }
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    const kvant_codec *codec = &job->vectors[cell];
    const size_t total = vectors_of(&job->args, job->data), first = unit * UNIT, n = total - first < UNIT ? total - first : UNIT;
    uint64_t count[LEVELS][BINS] = { { 0 } };
    polar p;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "angles: interrupted");
    kvant_status status = find_tables(codec, &p, err);
    if (status)
        return status;
    status = count_vectors(&p, job->data->x + first * codec->shape.dim, n, codec->shape.dim, count);
    if (status)
        return kvant_fail(err, status, "angles: no memory for %d rotated vectors of %u", STEP, codec->shape.dim);
    if (!unit)
        emit_centroids(job, cell, &p);
    for (uint32_t level = 0; level < p.levels; level++)
        for (uint32_t bin = 0; bin < BINS; bin++)
            job->emit(job, cell, &(probe_sample) { "angle_count", level + 1, bin, (double)count[level][bin], 1 });
    return KVANT_OK;
}

/* ---- Results ----------------------------------------------------------------------------------- */

/* Chi-square per degree of freedom; bins are pooled from the left until POOL are expected, what is left joins the last pool. NaN: a
 * single pool. */
static double chi_square(size_t level, const double count[BINS], double total, double *degrees)
{
    double sum = 0, seen = 0, expected = 0, last = 0, left = 1;
    size_t pools = 0;
    for (size_t bin = 0; bin < BINS; bin++) {
        const double next = bin + 1 < BINS ? share_below(level, range_of(level) * (double)(bin + 1) / BINS) : 1;
        expected += total * (next - last);
        left -= next - last;
        seen += count[bin];
        last = next;
        if (expected >= POOL && (total * left >= POOL || bin + 1 == BINS)) {
            sum += (seen - expected) * (seen - expected) / expected;
            seen = expected = 0;
            pools++;
        }
    }
    *degrees = pools > 1 ? (double)(pools - 1) : NAN;
    return sum / *degrees;
}

static double kolmogorov_smirnov(size_t level, const double count[BINS], double total)
{
    double below = 0, largest = 0;
    for (size_t bin = 0; bin + 1 < BINS; bin++) {
        below += count[bin];
        largest = fmax(largest, fabs(below / total - share_below(level, range_of(level) * (double)(bin + 1) / BINS)));
    }
    return largest;
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    (void)args;
    double count[LEVELS + 1][BINS] = { { 0 } }, total[LEVELS + 1] = { 0 };
    char name[32];
    for (size_t i = 0; i < n; i++) {
        const probe_sample *s = &samples[i];
        if (!strcmp(s->metric, "angle_count") && s->chunk <= LEVELS && s->idx < BINS) {
            count[s->chunk][s->idx] += s->value;
            total[s->chunk] += s->value;
        }
    }
    if (!(total[1] > 0))
        return kvant_fail(err, KVANT_FAILED, "angles: all vectors are zero or hold no numbers");
    for (size_t level = 1; level <= LEVELS && total[level] > 0; level++) {
        double degrees;
        const double chi2 = chi_square(level, count[level], total[level], &degrees), se = sqrt(2 / degrees);
        snprintf(name, sizeof name, "angle_ks_%zu", level);
        result(user, &(probe_result) { name, kolmogorov_smirnov(level, count[level], total[level]), total[level], NAN, NAN, NAN });
        snprintf(name, sizeof name, "angle_chi2_%zu", level);
        result(user, &(probe_result) { name, chi2, total[level], se, chi2 - 1.96 * se, chi2 + 1.96 * se });
    }
    for (size_t i = 0; i < n; i++)
        if (!strncmp(samples[i].metric, "level", 5))
            result(user, &(probe_result) { samples[i].metric, samples[i].value, 1, NAN, NAN, NAN });
    return KVANT_OK;
}

const kvant_probe probe_angles = {
    .name = "angles",
    .summary = "angles of recursive polar coordinates by level: their densities against the analytic ones, and the codebooks",
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
