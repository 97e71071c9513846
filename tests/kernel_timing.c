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

/* Keys or values, of the kernel or of scalar code. */
typedef struct { kvant_codec codec; const float *x, *w; uint8_t *code; float *out; void *prepared, *scratch; size_t nq; } side;

static void run_encode(side *s) { kvant_encode(&s->codec, s->x, 0, N, s->code, s->scratch); }
static void run_decode(side *s) { kvant_decode(&s->codec, s->code, 0, N, s->out, s->scratch); }
static void run_query(side *s)
{
    for (size_t i = 0; i < QUERIES; i++)
        kvant_query(&s->codec, s->x + i * s->codec.shape.dim, s->nq, s->prepared, s->scratch);
}
static void run_score(side *s) { kvant_score(&s->codec, s->prepared, s->nq, s->code, 0, N, s->out, s->scratch); }
static void run_mix(side *s) { kvant_mix(&s->codec, s->w, s->nq, s->code, 0, N, s->out, s->scratch); }

static const struct { kvant_side side; const char *name; size_t nq; void (*run)(side *s); } ops[] = {
    { KVANT_KEY, "encode", 0, run_encode }, { KVANT_KEY, "decode", 0, run_decode }, { KVANT_KEY, "query", 1, run_query },
    { KVANT_KEY, "score", 1, run_score }, { KVANT_KEY, "score", 4, run_score }, { KVANT_KEY, "score", MOST_QUERIES, run_score },
    { KVANT_VALUE, "encode", 0, run_encode }, { KVANT_VALUE, "decode", 0, run_decode },
    { KVANT_VALUE, "mix", 1, run_mix }, { KVANT_VALUE, "mix", 4, run_mix }, { KVANT_VALUE, "mix", MOST_QUERIES, run_mix },
};
static const char *const side_names[] = { [KVANT_KEY] = "key", [KVANT_VALUE] = "value" };

static void side_close(side *s)
{
    free(s->code);
    free(s->out);
    free(s->prepared);
    free(s->scratch);
    kvant_close(&s->codec);
}

/* x [N][dim], weights w [MOST_QUERIES][N]. Codes and a prepared query are there afterwards. */
static kvant_status side_open(side *s, const kvant_quantizer *q, const kvant_args *args, uint32_t dim, kvant_side of, const char *isa,
                              const float *x, const float *w, kvant_error *err)
{
    const kvant_shape shape = { .dim = dim, .side = of, .seed = 1 };
    kvant_status status = kvant_open(q, &shape, args, isa, &s->codec, err);
    if (status || strcmp(s->codec.target, isa))
        return status ? status : kvant_fail(err, KVANT_FAILED, "%s: %s was asked for, and %s came", q->name, isa, s->codec.target);
    if (s->codec.plan.train_min && (status = kvant_train(&s->codec, x, N, err)) != KVANT_OK)
        return status;
    const size_t floats = N * (size_t)dim + MOST_QUERIES * (N + s->codec.acc);
    s->x = x;
    s->w = w;
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

typedef struct { const char *quantizer, *target, *params; uint32_t dim; cJSON *rows; } table;

/* A line of what was timed. code_bytes of a vector; 0: it is queries that were counted, not vectors. scalar NaN: a floor. */
static void print_line(const table *t, const char *of, const char *op, size_t queries, double code_bytes, double ns, double scalar)
{
    char count[24] = "", bandwidth[24] = "";
    if (queries)
        snprintf(count, sizeof count, "%zu", queries);
    if (code_bytes > 0)
        snprintf(bandwidth, sizeof bandwidth, "%.2f", code_bytes / ns);
    printf("  %-6s %-8s %7s  %12.2f  %10s", of, op, count, ns, bandwidth);
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
    cJSON_AddStringToObject(row, "side", of);
    cJSON_AddStringToObject(row, "op", op);
    if (queries)
        cJSON_AddNumberToObject(row, "queries", (double)queries);
    cJSON_AddNumberToObject(row, "ns", ns);
    if (code_bytes > 0)
        cJSON_AddNumberToObject(row, "code_gb_per_s", code_bytes / ns);
    if (!isnan(scalar)) {
        cJSON_AddNumberToObject(row, "scalar_ns", scalar);
        cJSON_AddNumberToObject(row, "over_scalar", scalar / ns);
    }
    cJSON_AddItemToArray(t->rows, row);
}

static double bytes_of(const side *s) { return (double)s->codec.plan.code / (double)s->codec.plan.block; }

/* What nothing that looks at all codes can undercut, on the keys'. Sums are compared, so that they are taken. */
static bool print_floors(const table *t, const side *key)
{
    const size_t bytes = kvant_bytes(&key->codec, N), words = bytes / sizeof(uint64_t) / PEAK_WORDS * PEAK_WORDS;
    const double vector = bytes_of(key);
    uint64_t *copy = words ? kvant_alloc(bytes) : NULL, sum = 0;
    double least[2] = { INFINITY, INFINITY };
    bool same = copy;
    for (int i = 0; same && i < MOST_ROUNDS; i++) {
        const double start = seconds_now();
        memcpy(copy, key->code, bytes);
        __asm__ volatile("" : : "r"(copy) : "memory");             /* somebody may look at it */
        const double middle = seconds_now();
        const uint64_t now = peak_reader()(copy, words);
        const double end = seconds_now();
        same = !i || now == sum;
        sum = now;
        least[0] = fmin(least[0], middle - start);
        least[1] = fmin(least[1], end - middle);
    }
    free(copy);
    if (!same) {
        fprintf(stderr, "checkkernels: %s: no memory, too few codes, or a copy with another sum than the one before\n", t->quantizer);
        return false;
    }
    print_line(t, "", "copy", 0, vector, least[0] * 1e9 / N, (double)NAN);
    print_line(t, "", "read", 0, vector, least[1] * 1e9 / ((double)words * sizeof(uint64_t) / vector), (double)NAN);
    return true;
}

static void print_ops(const table *t, side kernel[2], side scalar[2])
{
    printf("\n%s_%s d=%u %s: a key of %g bytes, a value of %g\n", t->quantizer, t->target, t->dim, t->params,
           bytes_of(&kernel[KVANT_KEY]), bytes_of(&kernel[KVANT_VALUE]));
    printf("  %-6s %-8s %7s  %12s  %10s  %12s  %8s\n", "side", "op", "queries", "ns each", "GB/s", "scalar ns", "ratio");
    if (!print_floors(t, &kernel[KVANT_KEY]))
        return;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const bool of_queries = ops[i].run == run_query;
        side *k = &kernel[ops[i].side], *s = &scalar[ops[i].side];
        double least[2];
        k->nq = s->nq = ops[i].nq;
        time_both(ops[i].run, k, s, least);
        const double count = of_queries ? QUERIES * (double)ops[i].nq : N;
        print_line(t, side_names[ops[i].side], ops[i].name, ops[i].nq, of_queries ? 0 : bytes_of(k), least[0] * 1e9 / count,
                   least[1] * 1e9 / count);
    }
}

static bool print_table(const kvant_quantizer *q, const char *target, const kvant_args *args, const char *given, uint32_t dim,
                        const float *x, const float *w, cJSON *rows)
{
    side sides[2][2];                              /* of the kernel and of scalar code, keys and values */
    const table t = { q->name, target, given, dim, rows };
    kvant_error err = { "" };
    kvant_status status = KVANT_OK;
    memset(sides, 0, sizeof sides);
    for (int i = 0; i < 4 && !status; i++)
        status = side_open(&sides[i / 2][i % 2], q, args, dim, (kvant_side)(i % 2), i / 2 ? "scalar" : target, x, w, &err);
    if (status)
        fprintf(stderr, "checkkernels: %s\n", err.text);
    else
        print_ops(&t, sides[0], sides[1]);
    for (int i = 0; i < 4; i++)
        side_close(&sides[i / 2][i % 2]);
    return !status;
}

/* ---- What is timed ------------------------------------------------------------------------------- */

static bool takes(const kvant_quantizer *q, const char *target, const kvant_args *args, uint32_t dim)
{
    bool both = true;
    for (int of = KVANT_KEY; of <= KVANT_VALUE; of++) {
        const kvant_shape shape = { .dim = dim, .side = (kvant_side)of, .seed = 1 };
        kvant_codec codec;
        both = both && kvant_describe(q, &shape, args, target, &codec, NULL) == KVANT_OK && !strcmp(codec.target, target) &&
               N % codec.unit == 0 && codec.plan.train_min <= N;
    }
    return both;
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
    float *x = kvant_alloc((size_t)N * dims[2] * sizeof *x), *w = kvant_alloc(MOST_QUERIES * N * sizeof *w);
    bool done = q && rng && x && w;
    if (!done)
        fprintf(stderr, "checkkernels: %s\n", q ? "no memory" : err.text);
    for (size_t i = 0; done && i < (size_t)N * dims[2]; i++)
        x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
    for (size_t i = 0; done && i < (size_t)MOST_QUERIES * N; i++)       /* a softmax's, of Gaussian scores, before it is divided */
        w[i] = expf(x[i] - 4);
    const size_t n = done ? check_variants(q->params, variants) : 0;
    /* The defaults at every dimension; other bits and choices at 128. */
    for (size_t i = 0; done && i < sizeof dims / sizeof *dims; i++)
        for (size_t j = 0; done && j < (dims[i] == 128 ? n : 1); j++) {
            bool faster;
            char given[CHECK_TEXT + 32];
            const kvant_args hadamard = fast(q->params, variants[j].args, &faster);
            if (takes(q, target, &variants[j].args, dims[i]))
                done = print_table(q, target, &variants[j].args, variants[j].given, dims[i], x, w, rows);
            snprintf(given, sizeof given, "%s%srotation=hadamard", variants[j].given, *variants[j].given ? "," : "");
            if (done && faster && (variants[j].by_bits || (j == 0 && dims[i] != 128)) && takes(q, target, &hadamard, dims[i]))
                done = print_table(q, target, &hadamard, given, dims[i], x, w, rows);
        }
    free(x);
    free(w);
    if (rng)
        gsl_rng_free(rng);
    return done;
}
