/* check_states.c - gates on the matrices that states hold: no error on isotropic input tells a wrong rotation from a right one.
 * Over many seeds, entries of a Haar rotation or of a sketch have mean 0 and variance 1/d or 1, on the diagonal and off it. */
#include "harness/check/check_internal.h"
#include "harness/measure/stats.h"
#include "harness/process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 64, QUICK_SEEDS = 256, SEEDS = 1024, ORTHOGONAL_SEEDS = 8, TABLES = 16 };

static const double z_limit = 4.5, rounding = 1e-5;

/* Sums of P_ij and of P_ij^2 over the diagonal and over the rest. What they deviate by is measured over seeds, for the entries of
 * one matrix are not independent. */
enum { DIAGONAL, OTHERS, DIAGONAL_SQUARES, OTHERS_SQUARES, SUMS };

/* Tables that were tried, as seed 0 makes them: many parameters leave them as they are. */
typedef struct { float *table[TABLES]; size_t floats[TABLES], n; } tried;

static const float *rows_of(const kvant_codec *codec, const kvant_part *part)
{
    return (const float *)(const void *)((const char *)codec->state + part->offset);
}

static void add_sums(const kvant_codec *codec, const kvant_part *part, size_t seed, double *sums[SUMS])
{
    for (size_t i = 0; i < part->rows; i++)
        for (size_t j = 0; j < part->cols; j++) {
            double p = rows_of(codec, part)[i * part->stride + j];
            sums[i == j ? DIAGONAL : OTHERS][seed] += p;
            sums[i == j ? DIAGONAL_SQUARES : OTHERS_SQUARES][seed] += p * p;
        }
}

/* The largest entry of |P P^T - I|. */
static double off_orthogonal(const kvant_codec *codec, const kvant_part *part)
{
    const float *p = rows_of(codec, part);
    double worst = 0;
    for (size_t i = 0; i < part->rows; i++)
        for (size_t k = 0; k <= i; k++) {
            double sum = i == k ? -1 : 0;
            for (size_t j = 0; j < part->cols; j++)
                sum += (double)p[i * part->stride + j] * p[k * part->stride + j];
            worst = fabs(sum) <= worst ? worst : fabs(sum);
        }
    return worst;
}

/* The largest |z| of the four sums; NaN when one has no finite error. */
static double worst_z(const kvant_part *part, double *const sums[SUMS], size_t seeds)
{
    double diagonal = part->rows < part->cols ? part->rows : part->cols, all = (double)part->rows * part->cols;
    double square = part->kind == KVANT_ROTATION ? 1. / part->cols : 1, worst = 0;
    const double expected[SUMS] = { 0, 0, diagonal * square, (all - diagonal) * square };
    for (size_t i = 0; i < SUMS; i++) {
        stats_mean mean = stats_of(sums[i], seeds);
        double z = fabs(mean.mean - expected[i]) / mean.se;
        worst = z <= worst ? worst : z;
    }
    return worst;
}

static void emit(check *c, const char *name, const kvant_part *part, const char *given, size_t seeds, const char *metric,
                 double measured, double limit)
{
    char where[CHECK_TEXT], what[CHECK_TEXT];
    snprintf(where, sizeof where, "%zu seeds d=%d", seeds, DIM);
    snprintf(what, sizeof what, "%s, of %s", metric, part->name);
    check_emit(c, (store_check) { .name = name, .input = where, .args = given, .metric = what, .source = "universal gate",
                                  .measured = measured, .expected = limit, .se = NAN, .z = NAN,
                                  .verdict = !(measured <= limit) ? "fail" : "pass" });
}

/* One matrix of one variant over all seeds. */
static kvant_status try_part(check *c, const check_variant *variant, const kvant_part *part, kvant_error *err)
{
    size_t seeds = c->options->quick ? QUICK_SEEDS : SEEDS;
    double *off = calloc(SUMS * seeds + ORTHOGONAL_SEEDS, sizeof *off), *sums[SUMS], worst = 0;
    if (!off)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory");
    for (size_t i = 0; i < SUMS; i++)
        sums[i] = off + ORTHOGONAL_SEEDS + i * seeds;
    kvant_status first = KVANT_OK;
    #pragma omp parallel for schedule(dynamic)
    for (size_t seed = 0; seed < seeds; seed++) {
        kvant_codec codec;
        kvant_error why = { "" };
        kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR, .seed = (uint32_t)seed };
        kvant_status status = interrupted() ? kvant_fail(&why, KVANT_INTERRUPTED, "check: interrupted")
                            : kvant_open(c->quantizer, &shape, &variant->args, c->options->target, &codec, &why);
        if (!status) {
            add_sums(&codec, part, seed, sums);
            if (seed < ORTHOGONAL_SEEDS && part->kind == KVANT_ROTATION)
                off[seed] = off_orthogonal(&codec, part);
            kvant_close(&codec);
        } else {
            #pragma omp critical(check_states)
            first = first ? first : kvant_fail(err, status, "%s", why.text);
        }
    }
    for (size_t seed = 0; !first && seed < ORTHOGONAL_SEEDS; seed++)
        worst = off[seed] <= worst ? worst : off[seed];
    if (!first)
        emit(c, part->kind == KVANT_ROTATION ? "rotation" : "sketch", part, variant->given, seeds,
             "largest |z| of mean and variance of the entries, on the diagonal and off it", worst_z(part, sums, seeds), z_limit);
    if (!first && part->kind == KVANT_ROTATION)
        emit(c, "orthogonal", part, variant->given, ORTHOGONAL_SEEDS, "largest |P P^T - I|", worst, rounding);
    free(off);
    return first;
}

/* Notes a table; false when the same one was tried before. */
static bool is_new(tried *t, const kvant_codec *codec, const kvant_part *part)
{
    size_t floats = (size_t)(part->rows - 1) * part->stride + part->cols;
    for (size_t i = 0; i < t->n; i++)
        if (t->floats[i] == floats && !memcmp(t->table[i], rows_of(codec, part), floats * sizeof(float)))
            return false;
    float *copy = t->n < TABLES ? malloc(floats * sizeof *copy) : NULL;
    if (copy) {
        memcpy(copy, rows_of(codec, part), floats * sizeof *copy);
        t->floats[t->n] = floats;
        t->table[t->n++] = copy;
    }
    return true;
}

static kvant_status try_variant(check *c, const check_variant *variant, tried *t, kvant_error *err)
{
    kvant_codec codec;
    kvant_parts parts;
    kvant_error why;
    kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR };
    if (kvant_open(c->quantizer, &shape, &variant->args, c->options->target, &codec, &why))
        return KVANT_OK;                           /* the other gates have said so */
    kvant_status status = kvant_list_parts(&codec, &parts, err);
    for (size_t i = 0; !status && i < parts.n; i++)
        if ((parts.part[i].kind == KVANT_ROTATION || parts.part[i].kind == KVANT_SKETCH) && is_new(t, &codec, &parts.part[i]))
            status = try_part(c, variant, &parts.part[i], err);
    kvant_close(&codec);
    return status;
}

kvant_status check_states(check *c, kvant_error *err)
{
    tried t = { .n = 0 };
    check_variant *variants = calloc(CHECK_VARIANTS, sizeof *variants);
    if (!variants)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory");
    kvant_status status = KVANT_OK;
    size_t n = c->quantizer->parts ? check_variants(c->quantizer->params, variants) : 0;
    for (size_t i = 0; i < n && !status; i++)
        if (!variants[i].by_bits)
            status = try_variant(c, &variants[i], &t, err);
    for (size_t i = 0; i < t.n; i++)
        free(t.table[i]);
    free(variants);
    return status;
}
