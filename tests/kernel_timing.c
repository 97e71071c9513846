/* kernel_timing.c - see kernel_timing.h. Kernel and scalar code take turns, and the least time of each counts: what disturbs a run
 * only adds. Codes of N vectors lie in a core's own cache: here instructions are compared; memory is the probe `decode_attention`'s
 * affair. */
#include "tests/kernel_timing.h"

#include "harness/check/check_internal.h"
#include "harness/measure/peaks.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1024, QUERIES = 64, MOST_QUERIES = 8, ROUNDS = 7, MOST_ROUNDS = 200 };
static const double enough = 4e-3;                 /* seconds of an op's kernel and scalar rounds together, when there were ROUNDS */

/* One side of the comparison. */
typedef struct { kvant_codec codec; const float *x; uint8_t *code; float *out; void *prepared, *scratch; size_t nq; } side;

static void run_encode(side *s) { kvant_encode(&s->codec, s->x, 0, N, s->code, s->scratch); }
static void run_decode(side *s) { kvant_decode(&s->codec, s->code, 0, N, s->out, s->scratch); }
static void run_query(side *s)
{
    for (size_t i = 0; i < QUERIES; i++)
        kvant_query(&s->codec, s->x + i * s->codec.shape.dim, s->nq, s->prepared, s->scratch);
}
static void run_score(side *s) { kvant_score(&s->codec, s->prepared, s->nq, s->code, 0, N, s->out, s->scratch); }
static void run_mix(side *s) { kvant_mix(&s->codec, s->x, s->nq, s->code, 0, N, s->out, s->scratch); }

static const struct { const char *name; size_t nq; void (*run)(side *s); bool of_queries; } ops[] = {
    { "encode", 0, run_encode, false }, { "decode", 0, run_decode, false }, { "query", 1, run_query, true },
    { "score", 1, run_score, false }, { "score", 4, run_score, false }, { "score", MOST_QUERIES, run_score, false },
    { "mix", 1, run_mix, false }, { "mix", 4, run_mix, false }, { "mix", MOST_QUERIES, run_mix, false },
};

static void side_close(side *s)
{
    free(s->code);
    free(s->out);
    free(s->prepared);
    free(s->scratch);
    kvant_close(&s->codec);
}

/* x [N][dim], which serves as weights too. Codes and a prepared query are there afterwards. */
static kvant_status side_open(side *s, const kvant_quantizer *q, const kvant_args *args, uint32_t dim, const char *isa, const float *x,
                              kvant_error *err)
{
    const kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = 1 };
    memset(s, 0, sizeof *s);
    kvant_status status = kvant_open(q, &shape, args, isa, &s->codec, err);
    if (status || strcmp(s->codec.target, isa))
        return status ? status : kvant_fail(err, KVANT_FAILED, "%s: %s was asked for, and %s came", q->name, isa, s->codec.target);
    if (s->codec.plan.train_min && (status = kvant_train(&s->codec, x, N, err)) != KVANT_OK)
        return status;
    const size_t floats = N * (size_t)dim + MOST_QUERIES * (N + s->codec.acc);
    s->x = x;
    s->code = kvant_alloc(kvant_bytes(&s->codec, N));
    s->out = kvant_alloc(floats * sizeof *s->out);
    s->prepared = kvant_alloc(MOST_QUERIES * s->codec.query + 1);
    s->scratch = kvant_alloc(s->codec.scratch);
    if (!s->code || !s->out || !s->prepared || !s->scratch)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to time it", q->name);
    s->nq = MOST_QUERIES;
    run_encode(s);
    run_query(s);
    return KVANT_OK;
}

static double seconds_of(void (*run)(side *s), side *s)
{
    const double start = seconds_now();
    run(s);
    return seconds_now() - start;
}

/* Least seconds of both, in turns. */
static void time_both(void (*run)(side *s), side *kernel, side *scalar, double least[2])
{
    double all = 0;
    least[0] = least[1] = INFINITY;
    for (int i = 0; i < MOST_ROUNDS && (i < ROUNDS || all < enough); i++) {
        const double a = seconds_of(run, kernel), b = seconds_of(run, scalar);
        least[0] = fmin(least[0], a);
        least[1] = fmin(least[1], b);
        all += a + b;
    }
}

/* ---- A table ----------------------------------------------------------------------------------- */

typedef struct { const char *quantizer, *target, *params; uint32_t dim; double code_bytes; cJSON *rows; } table;

/* ns: per vector, or per query; scalar NaN: a floor. */
static void print_line(const table *t, const char *op, size_t queries, bool of_queries, double ns, double scalar)
{
    const double rate = of_queries ? (double)NAN : t->code_bytes / ns;
    char count[24] = "", bandwidth[24] = "";
    if (queries)
        snprintf(count, sizeof count, "%zu", queries);
    if (!of_queries)
        snprintf(bandwidth, sizeof bandwidth, "%.2f", rate);
    printf("  %-8s %7s  %12.2f  %10s", op, count, ns, bandwidth);
    if (isnan(scalar))
        printf("\n");
    else
        printf("  %12.2f  %8.2f\n", scalar, scalar / ns);
    cJSON *row = t->rows ? cJSON_CreateObject() : NULL;
    if (!row)
        return;
    cJSON_AddStringToObject(row, "quantizer", t->quantizer);
    cJSON_AddStringToObject(row, "target", t->target);
    cJSON_AddStringToObject(row, "params", t->params);
    cJSON_AddNumberToObject(row, "dim", t->dim);
    cJSON_AddStringToObject(row, "op", op);
    if (queries)
        cJSON_AddNumberToObject(row, "queries", (double)queries);
    cJSON_AddNumberToObject(row, of_queries ? "ns_per_query" : "ns_per_vector", ns);
    if (!of_queries)
        cJSON_AddNumberToObject(row, "code_gb_per_s", rate);
    if (!isnan(scalar)) {
        cJSON_AddNumberToObject(row, of_queries ? "scalar_ns_per_query" : "scalar_ns_per_vector", scalar);
        cJSON_AddNumberToObject(row, "over_scalar", scalar / ns);
    }
    cJSON_AddItemToArray(t->rows, row);
}

/* What nothing that looks at all codes can undercut. Sums are compared, so that they are taken. */
static bool print_floors(const table *t, const uint8_t *code, size_t bytes)
{
    const size_t words = bytes / sizeof(uint64_t) / PEAK_WORDS * PEAK_WORDS;
    uint64_t *copy = kvant_alloc(bytes);
    double least[2] = { INFINITY, INFINITY };
    if (!copy || !words) {
        free(copy);
        fprintf(stderr, "checkkernels: %s: no memory, or fewer codes than can be timed\n", t->quantizer);
        return false;
    }
    uint64_t sum = 0;
    for (int i = 0; i < MOST_ROUNDS; i++) {
        const double start = seconds_now();
        memcpy(copy, code, bytes);
        __asm__ volatile("" : : "r"(copy) : "memory");             /* somebody may look at it */
        const double middle = seconds_now();
        const uint64_t now = peak_reader()(copy, words);
        const double end = seconds_now();
        if (i && now != sum) {
            fprintf(stderr, "checkkernels: %s: a copy has another sum than the one before\n", t->quantizer);
            free(copy);
            return false;
        }
        sum = now;
        least[0] = fmin(least[0], middle - start);
        least[1] = fmin(least[1], end - middle);
    }
    free(copy);
    print_line(t, "copy", 0, false, least[0] * 1e9 / N, (double)NAN);
    print_line(t, "read", 0, false, least[1] * 1e9 / ((double)words * sizeof(uint64_t) / t->code_bytes), (double)NAN);
    return true;
}

static bool print_table(const kvant_quantizer *q, const char *target, const kvant_args *args, const char *given, uint32_t dim,
                        const float *x, cJSON *rows)
{
    side kernel, scalar = { .code = NULL };
    kvant_error err = { "" };
    kvant_status status = side_open(&kernel, q, args, dim, target, x, &err);
    if (!status)
        status = side_open(&scalar, q, args, dim, "scalar", x, &err);
    if (status)
        fprintf(stderr, "checkkernels: %s\n", err.text);
    bool done = !status;
    if (done) {
        const table t = { q->name, target, given, dim, (double)kernel.codec.plan.code / (double)kernel.codec.plan.block, rows };
        printf("\n%s_%s d=%u %s: %g bytes a vector\n", q->name, target, dim, given, t.code_bytes);
        printf("  %-8s %7s  %12s  %10s  %12s  %8s\n", "op", "queries", "ns each", "GB/s", "scalar ns", "ratio");
        done = print_floors(&t, kernel.code, kvant_bytes(&kernel.codec, N));
        for (size_t i = 0; done && i < sizeof ops / sizeof *ops; i++) {
            double least[2];
            kernel.nq = scalar.nq = ops[i].nq;
            time_both(ops[i].run, &kernel, &scalar, least);
            const double count = ops[i].of_queries ? QUERIES * (double)ops[i].nq : N;
            print_line(&t, ops[i].name, ops[i].nq, ops[i].of_queries, least[0] * 1e9 / count, least[1] * 1e9 / count);
        }
    }
    side_close(&kernel);
    side_close(&scalar);
    return done;
}

/* ---- What is timed ------------------------------------------------------------------------------- */

static bool takes(const kvant_quantizer *q, const char *target, const kvant_args *args, uint32_t dim)
{
    const kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = 1 };
    kvant_codec codec;
    return kvant_describe(q, &shape, args, target, &codec, NULL) == KVANT_OK && !strcmp(codec.target, target) &&
           N % codec.unit == 0 && codec.plan.train_min <= N;
}

/* A method that rotates is timed with the fast rotation; the other is a table of its own among the variants. */
static kvant_args fast(const kvant_param *params, kvant_args args, bool *faster)
{
    *faster = param_find(params, "rotation") && kvant_set(params, "rotation", "hadamard", &args, NULL) == KVANT_OK;
    return args;
}

bool timing_tables(const char *quantizer, const char *target, cJSON *rows)
{
    static const uint32_t dims[] = { 64, 128, 256 };
    static check_variant variants[CHECK_VARIANTS];
    kvant_error err = { "" };
    const kvant_quantizer *q = kvant_find(quantizer, &err);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    float *x = kvant_alloc((size_t)N * dims[2] * sizeof *x);
    bool done = q && rng && x;
    if (!done)
        fprintf(stderr, "checkkernels: %s\n", q ? "no memory" : err.text);
    for (size_t i = 0; done && i < (size_t)N * dims[2]; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    const size_t n = done ? check_variants(q->params, variants) : 0;
    /* The defaults at every dimension; other bits and choices at 128. */
    for (size_t i = 0; done && i < sizeof dims / sizeof *dims; i++)
        for (size_t j = 0; done && j < (dims[i] == 128 ? n : 1); j++) {
            bool faster;
            char given[CHECK_TEXT + 32];
            const kvant_args hadamard = fast(q->params, variants[j].args, &faster);
            if (takes(q, target, &variants[j].args, dims[i]))
                done = print_table(q, target, &variants[j].args, variants[j].given, dims[i], x, rows);
            snprintf(given, sizeof given, "%s%srotation=hadamard", variants[j].given, *variants[j].given ? "," : "");
            if (done && faster && (variants[j].by_bits || (j == 0 && dims[i] != 128)) && takes(q, target, &hadamard, dims[i]))
                done = print_table(q, target, &hadamard, given, dims[i], x, rows);
        }
    free(x);
    if (rng)
        gsl_rng_free(rng);
    return done;
}
