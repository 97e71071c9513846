/* checkkernels.c - holds every kernel of metal/ to the scalar code it stands for, then times both.
 * Hostile memory (guard pages on both sides, pointers aligned to an element and no more) and hostile values; bounds are derived. */
#include "harness/check/check_internal.h"
#include "harness/kernels.h"
#include "harness/version.h"
#include "tests/kernel_added.h"
#include "tests/kernel_bounds.h"
#include "tests/kernel_past.h"
#include "tests/kernel_timing.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int passed, failed;

/* ---- Memory between guard pages ------------------------------------------------------------------------ */

/* `bytes` usable at `data`: they end where an unreadable page begins, or begin one element behind one. The rest is a canary. */
typedef struct { uint8_t *map, *data; size_t mapped, bytes; } area;
enum { CANARY = 0x5a };

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static area area_open(size_t bytes, size_t align, bool at_end)
{
    size_t writable = (bytes + 2 * align + page() - 1) / page() * page();
    area a = { .mapped = writable + 2 * page(), .bytes = bytes };
    a.map = mmap(NULL, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a.map == MAP_FAILED || mprotect(a.map + page(), writable, PROT_READ | PROT_WRITE)) {
        perror("checkkernels: mmap");
        exit(EXIT_FAILURE);
    }
    memset(a.map + page(), CANARY, writable);
    a.data = a.map + page() + (at_end ? writable - (bytes + align - 1) / align * align : align);
    memset(a.data, 0, bytes);
    return a;
}

/* All of n bytes: the first, and each its neighbour. */
static bool all_canaries(const uint8_t *p, size_t n) { return n == 0 || (*p == CANARY && !memcmp(p, p + 1, n - 1)); }

static bool area_intact(const area *a)
{
    const uint8_t *begin = a->map + page(), *end = a->map + a->mapped - page(), *behind = a->data + a->bytes;
    return all_canaries(begin, (size_t)(a->data - begin)) && all_canaries(behind, (size_t)(end - behind));
}

/* A kernel that leaves its arrays ends here instead of ending the program. */
static sigjmp_buf outside;
static void on_fault(int signal_number) { siglongjmp(outside, signal_number); }

/* ---- Input ------------------------------------------------------------------------------------------------ */

static float adversarial(size_t i)
{
    static const float values[] = { 0, -0.0f, 1e-45f, -1e-40f, 6e-8f, 0x1p-25f, 0x1.8p-25f, 0x1p-24f, 0x1.ffcp-15f, 0x1p-14f, 65504,
                                    -65504, 65519.996f, 1, 1.00048828125f, 1.0014648f, -3, 1e-30f };
    return values[i % (sizeof values / sizeof *values)];
}

enum { RANDOM, STRUCTURED, ADVERSARIAL, SPECIAL, KINDS };
static const char *const kinds[] = { "random", "structured", "adversarial", "special" };

/* n vectors; a special one holds NaN or infinity in one place, every other vector stays ordinary. */
static void fill(gsl_rng *rng, int kind, float *x, size_t n, size_t d)
{
    for (size_t i = 0; i < n * d; i++)
        switch (kind) {
        case STRUCTURED: x[i] = (float)(i % d) - (float)d / 2 + (float)(i / d % 3); break;
        case ADVERSARIAL: x[i] = adversarial(i + i / d); break;
        default: x[i] = (float)gsl_ran_gaussian_ziggurat(rng, 1);
        }
    for (size_t v = 0; kind == SPECIAL && v < n; v += 2)
        x[v * d + (v * 7 + d - 1) % d] = v % 3 == 0 ? NAN : v % 3 == 1 ? INFINITY : -INFINITY;
}

/* ---- Comparison --------------------------------------------------------------------------------------------- */

/* Vectors: relative l2 distance within what the kernel states; where one is not finite, the same coordinates are not. */
static const char *compare_vectors(const float *kernel, const float *scalar, size_t n, size_t d, double distance)
{
    for (size_t v = 0; v < n; v++, kernel += d, scalar += d) {
        double off = 0, length = 0;
        for (size_t k = 0; k < d; k++) {
            if (!near(kernel[k], scalar[k], INFINITY))
                return "other values are not finite";
            if (isfinite(scalar[k])) {
                off += ((double)kernel[k] - scalar[k]) * ((double)kernel[k] - scalar[k]);
                length += (double)scalar[k] * scalar[k];
            }
        }
        if (!(sqrt(off) <= distance * sqrt(length)))
            return "vectors are further apart than the kernel states";
    }
    return NULL;
}

/* ---- One case ------------------------------------------------------------------------------------------------ */

typedef struct { const kvant_codec *codec; area code, x, decoded, prepared, dot, acc, out, scratch; } side;

typedef struct {
    const kvant_kernel *kernel;
    size_t d, n, nq;
    int kind;
    bool at_end;
} test_case;

enum { LARGEST = 130, MOST_VECTORS = 2 * LARGEST };        /* blocks of up to LARGEST are filled up */

/* What is scored and mixed: from inside of the codes to their end, or from their beginning to inside. Both places may be in a unit. */
typedef struct { size_t first, n; } range;

static range range_of(const test_case *t)
{
    return t->at_end ? (range) { t->n / 2, t->n - t->n / 2 } : (range) { 0, t->n - t->n / 5 };
}

static const char *const sides[] = { [KVANT_KEY] = "keys", [KVANT_VALUE] = "values" };

static void side_areas(side *s, const test_case *t)
{
    const kvant_codec *c = s->codec;
    size_t d = t->d, f = sizeof(float);
    s->code = area_open(kvant_bytes(c, t->n), 64, t->at_end);
    s->x = area_open(t->n * d * f, f, t->at_end);
    s->decoded = area_open(t->n * d * f, f, t->at_end);
    s->prepared = area_open(t->nq * c->query, 64, t->at_end);
    s->dot = area_open(t->nq * t->n * f, f, t->at_end);
    s->acc = area_open(t->nq * c->acc * f, f, t->at_end);
    s->out = area_open(t->nq * d * f, f, t->at_end);
    s->scratch = area_open(c->scratch ? c->scratch : 64, 64, t->at_end);
}

static bool side_close(side *s)
{
    area *all[] = { &s->code, &s->x, &s->decoded, &s->prepared, &s->dot, &s->acc, &s->out, &s->scratch };
    bool intact = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->map) {
            intact = intact && area_intact(all[i]);
            munmap(all[i]->map, all[i]->mapped);
        }
    return intact;
}

/* Everything that the ops do with the input, each side by its own ops and on its own codes. w and q are shared. */
static void exercise(side *s, const test_case *t, const float *x, const float *q, const float *w)
{
    const kvant_codec *c = s->codec;
    void *scratch = s->scratch.data;
    memcpy(s->x.data, x, s->x.bytes);
    kvant_encode(c, (const float *)(void *)s->x.data, 0, t->n, s->code.data, scratch);
    const range r = range_of(t);
    float *decoded = (float *)(void *)s->decoded.data;
    kvant_decode(c, s->code.data, 0, t->n / 3, decoded, scratch);
    kvant_decode(c, s->code.data, t->n / 3, t->n - t->n / 3, decoded + t->n / 3 * t->d, scratch);
    kvant_query(c, q, t->nq, s->prepared.data, scratch);
    kvant_score(c, s->prepared.data, t->nq, s->code.data, r.first, r.n, (float *)(void *)s->dot.data, scratch);
    kvant_mix(c, w, t->nq, s->code.data, r.first, r.n, (float *)(void *)s->acc.data, scratch);
    kvant_finish(c, (const float *)(void *)s->acc.data, t->nq, (float *)(void *)s->out.data, scratch);
}

/* Where codes may differ: both are nearest, of coordinates that rounding moved. Moving x by e moves what is nearest to it further away
 * by 2 e at most. */
static const char *compare_nearness(const test_case *t, const float *x, const float *kernel, const float *scalar)
{
    for (size_t v = 0; v < t->n; v++, x += t->d, kernel += t->d, scalar += t->d) {
        double off[2] = { 0, 0 };
        for (size_t k = 0; k < t->d; k++) {
            if (!near(kernel[k], scalar[k], INFINITY))
                return "other values are not finite";
            off[0] += ((double)x[k] - kernel[k]) * ((double)x[k] - kernel[k]);
            off[1] += ((double)x[k] - scalar[k]) * ((double)x[k] - scalar[k]);
        }
        double length = norm(x, t->d);
        if (isfinite(off[1]) && !(sqrt(off[0]) <= sqrt(off[1]) + 4 * bound_of(t->d, t->kernel->distance) * length))
            return "codes are not the nearest";
    }
    return NULL;
}

/* sum [width] of n rows, each times its weight. */
static void sum_rows(const float *weight, const float *rows, size_t n, size_t width, double *sum)
{
    for (size_t k = 0; k < width; k++)
        sum[k] = 0;
    for (size_t v = 0; v < n; v++)
        for (size_t k = 0; k < width; k++)
            sum[k] += (double)weight[v] * rows[v * width + k];
}

/* Scores and mixes are held to double arithmetic on what the kernel itself decodes, which in turn is held to the scalar code. */
static const char *compare(const test_case *t, const side *kernel, const side *scalar, const float *q, const float *w)
{
    const float *x = (const float *)(void *)kernel->decoded.data, *s = (const float *)(void *)scalar->decoded.data;
    const float *dot = (const float *)(void *)kernel->dot.data, *out = (const float *)(void *)kernel->out.data;
    double distance = t->kernel->distance, products = distance + t->kernel->products, length[MOST_VECTORS];
    const range r = range_of(t);
    const char *wrong = t->kernel->codes ? compare_vectors(x, s, t->n, t->d, distance)
                                         : compare_nearness(t, (const float *)(void *)scalar->x.data, x, s);
    if (wrong)
        return wrong;
    bounds_lengths(x, t->d, kernel->codec->plan.block, r.first, r.n, length);
    x += r.first * t->d;
    float *across = malloc(r.n * t->d * sizeof *across);           /* [d][n] */
    double *exact = malloc((r.n + t->d) * sizeof *exact);
    if (!across || !exact)
        wrong = "no memory";
    for (size_t v = 0; v < r.n && !wrong; v++)
        for (size_t k = 0; k < t->d; k++)
            across[k * r.n + v] = x[v * t->d + k];
    for (size_t i = 0; i < t->nq && !wrong; i++) {
        const double most = bound_of(t->d, products) * norm(q + i * t->d, t->d);
        sum_rows(q + i * t->d, across, t->d, r.n, exact);
        for (size_t v = 0; v < r.n; v++)
            if (!near(dot[i * r.n + v], exact[v], most * length[v]))
                wrong = "scores differ";
    }
    for (size_t i = 0; i < t->nq && !wrong; i++) {
        double magnitude = 0;
        for (size_t v = 0; v < r.n; v++)
            magnitude += fabs((double)w[i * r.n + v]) * length[v];
        sum_rows(w + i * r.n, x, r.n, t->d, exact);
        for (size_t k = 0; k < t->d; k++)
            if (!near(out[i * t->d + k], exact[k], bound_of(t->d + r.n, products) * magnitude))
                wrong = "mixes differ";
    }
    free(across);
    free(exact);
    return wrong;
}

/* Kernels that keep the layout read the scalar code's codes. */
static const char *compare_codes(const test_case *t, side *kernel, const side *scalar)
{
    if (kernel->codec->plan.tile != scalar->codec->plan.tile || !t->kernel->codes)
        return NULL;
    float *x = (float *)(void *)kernel->decoded.data;
    kvant_decode(kernel->codec, scalar->code.data, 0, t->n, x, kernel->scratch.data);
    return compare_vectors(x, (const float *)(void *)scalar->decoded.data, t->n, t->d, t->kernel->distance);
}

/* A code does not depend on how many vectors were coded with it: as decode steps append them, block by block, they decode alike. */
static const char *compare_appended(const test_case *t, side *kernel)
{
    const kvant_codec *c = kernel->codec;
    const size_t block = c->plan.block, bytes = t->n * t->d * sizeof(float);
    float *before = malloc(bytes), *x = (float *)(void *)kernel->decoded.data;
    if (!before)
        return "no memory";
    kvant_decode(c, kernel->code.data, 0, t->n, before, kernel->scratch.data);
    for (size_t v = 0; v < t->n; v += block)
        kvant_encode(c, (const float *)(void *)kernel->x.data + v * t->d, v, block, kernel->code.data, kernel->scratch.data);
    kvant_decode(c, kernel->code.data, 0, t->n, x, kernel->scratch.data);
    const char *wrong = memcmp(x, before, bytes) ? "appended one by one, vectors have other codes" : NULL;
    free(before);
    return wrong;
}

static const char *run_case(const test_case *t, const kvant_codec *fast, const kvant_codec *slow, gsl_rng *rng)
{
    side kernel = { .codec = fast }, scalar = { .codec = slow };
    area x = area_open(t->n * t->d * sizeof(float), sizeof(float), t->at_end);
    area queries = area_open(t->nq * t->d * sizeof(float), sizeof(float), t->at_end);
    area weights = area_open(t->nq * t->n * sizeof(float), sizeof(float), t->at_end);
    fill(rng, t->kind, (float *)(void *)x.data, t->n, t->d);
    fill(rng, RANDOM, (float *)(void *)queries.data, t->nq, t->d);
    fill(rng, RANDOM, (float *)(void *)weights.data, t->nq, t->n);
    const float *qs = (const float *)(void *)queries.data, *ws = (const float *)(void *)weights.data;
    const char *volatile wrong = NULL;
    side_areas(&kernel, t), side_areas(&scalar, t);
    if (sigsetjmp(outside, 1)) {
        wrong = "reads or writes outside of its arrays";
    } else {
        exercise(&scalar, t, (const float *)(void *)x.data, qs, ws);
        exercise(&kernel, t, (const float *)(void *)x.data, qs, ws);
        wrong = compare(t, &kernel, &scalar, qs, ws);
        wrong = wrong ? wrong : compare_codes(t, &kernel, &scalar);
        wrong = wrong ? wrong : compare_appended(t, &kernel);
    }
    bool intact = side_close(&kernel);
    intact = side_close(&scalar) && intact && area_intact(&x) && area_intact(&queries) && area_intact(&weights);
    munmap(x.map, x.mapped), munmap(queries.map, queries.mapped), munmap(weights.map, weights.mapped);
    return wrong || intact ? wrong : "writes outside of its arrays";
}

/* ---- All cases of a kernel ------------------------------------------------------------------------------------- */

enum { KERNEL, SCALAR, PAST_DIM = 128 };

/* The first case that fails, in words; NULL when none does. */
static const char *check_cases(const kvant_kernel *k, const kvant_codec codec[2], gsl_rng *rng, char told[CHECK_TEXT])
{
    static const size_t counts[] = { 1, 2, 3, 5, 8, 33, 67, LARGEST }, queries[] = { 1, 3, 4, 5, 9, 16 };
    const size_t block = codec->plan.block;
    if (block > LARGEST)
        return "blocks are longer than what is tried here";
    for (size_t i = 0; i < sizeof counts / sizeof *counts * KINDS * 2; i++) {
        test_case t = { .kernel = k, .d = codec->shape.dim, .n = (counts[i / KINDS / 2] + block - 1) / block * block,
                        .nq = queries[i % (sizeof queries / sizeof *queries)], .kind = (int)(i / 2 % KINDS), .at_end = i % 2 };
        if (t.kind != RANDOM && counts[i / KINDS / 2] != 3 && counts[i / KINDS / 2] != 33)
            continue;                      /* ranges and values need not meet in all ways */
        const char *wrong = run_case(&t, &codec[KERNEL], &codec[SCALAR], rng);
        if (wrong) {
            snprintf(told, CHECK_TEXT, "%zu vectors, %zu queries, %s: %s", t.n, t.nq, kinds[t.kind], wrong);
            return told;
        }
    }
    return NULL;
}

/* One line per kernel, side, dimension and variant; the first of its cases that fails is named. */
static void check_shape(const kvant_kernel *k, const check_variant *variant, const kvant_shape *shape, gsl_rng *rng)
{
    const kvant_quantizer *q = kvant_find(k->quantizer, NULL);
    kvant_codec codec[2] = { { .state = NULL }, { .state = NULL } };
    kvant_error err = { "" };
    char told[CHECK_TEXT];
    double added[2] = { NAN, NAN };
    const char *wrong = kvant_open(q, shape, &variant->args, k->target, &codec[KERNEL], &err) ||
                        kvant_open(q, shape, &variant->args, "scalar", &codec[SCALAR], &err) ? err.text
                            : check_cases(k, codec, rng, told);
    if (!wrong && k->products > ADDED_ROUNDING && !added_is_little(&codec[KERNEL], rng, added))
        wrong = "adds too much";
    if (!wrong && !*variant->given && shape->dim == PAST_DIM)
        wrong = past_differs(&codec[KERNEL], rng);
    printf("[%s] %s_%s %s d=%u %s", wrong ? "  FAILED  " : "       OK ", k->quantizer, k->target, sides[shape->side], shape->dim,
           variant->given);
    for (int i = 0; i < 2; i++)
        if (isfinite(added[i]))
            printf("; %s add %.2f %% to the quantizer's error", i ? "mixes" : "scores", 100 * added[i]);
    printf("%s%s\n", wrong ? ": " : "", wrong ? wrong : "");
    *(wrong ? &failed : &passed) += 1;
    kvant_close(&codec[KERNEL]);
    kvant_close(&codec[SCALAR]);
}

/* Drawing, and the scalar code's multiplying by, large Haar matrices takes most of the time: beyond 128 coordinates all but the
 * defaults go by Hadamard. */
static check_variant variant_of(const kvant_quantizer *q, const check_variant *variant, uint32_t dim)
{
    check_variant v = *variant;
    if (dim <= 128 || !*v.given || strstr(v.given, "rotation=") || kvant_set(q->params, "rotation", "hadamard", &v.args, NULL))
        return v;
    snprintf(v.given, sizeof v.given, "%.200s,rotation=hadamard", variant->given);
    return v;
}

/* Numbers of signs and of tokens in a block, which layouts, sums and bounds go by, are no choices that check_variants tries. */
static size_t add_sizes(const kvant_quantizer *q, check_variant *all, size_t n)
{
    static const char *const given[] = {
        "m=32", "m=96,sketch=gaussian,norm=f32", "m=1024", "m=128,bits=4,sketch=orthogonal,rotation=hadamard",
        "m=64,bits=5,sketch=orthogonal,rotation=hadamard", "m=1024,bits=3,sketch=orthogonal,rotation=hadamard",
        "m=160,bits=2,residual_norm=constant,norm=f32,rotation=hadamard", "m=96,bits=1,rotation=none",
        "group_size=11,axis=channel", "group_size=100,axis=channel,bits=4"
    };
    for (size_t i = 0; i < sizeof given / sizeof *given && n < CHECK_VARIANTS; i++) {
        all[n] = (check_variant) { .args = kvant_defaults(q->params) };
        if (!kvant_parse(q->params, given[i], &all[n].args, NULL))
            snprintf(all[n++].given, sizeof all->given, "%s", given[i]);
    }
    return n;
}

static void check_kernel(const kvant_kernel *k, gsl_rng *rng)
{
    static const uint32_t dims[] = { 9, 64, 72, 80, 96, 100, 128, 256 };
    static check_variant variants[CHECK_VARIANTS];
    const kvant_quantizer *q = kvant_find(k->quantizer, NULL);
    size_t n = q ? add_sizes(q, variants, check_variants(q->params, variants)) : 0, shapes = 0;
    for (size_t i = 0; i < sizeof dims / sizeof *dims * n * 2; i++) {       /* vectors have the form of keys */
        const check_variant variant = variant_of(q, &variants[i / 2 % n], dims[i / 2 / n]);
        const kvant_shape shape = { .dim = dims[i / 2 / n], .side = i % 2 ? KVANT_VALUE : KVANT_KEY, .seed = 1 };
        kvant_codec codec;
        if (kvant_describe(q, &shape, &variant.args, k->target, &codec, NULL) || codec.plan.train_min)
            continue;
        check_shape(k, &variant, &shape, rng);
        shapes++;
    }
    if (!q) {
        printf("[  FAILED  ] %s_%s: there is no such quantizer\n", k->quantizer, k->target);
        failed++;
    } else if (!shapes) {
        printf("this processor does not have %s\n[  SKIPPED ] %s_%s\n", k->target, k->quantizer, k->target);
    }
}

/* ---- Options ------------------------------------------------------------------------------------------------------ */

typedef struct { const char *filter, *json; bool list, bench; } options;

static bool parse(int argc, char **argv, options *o)
{
    *o = (options){ .filter = "" };
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--list"))
            o->list = true;
        else if (!strcmp(argv[i], "--bench"))
            o->bench = true;
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            o->filter = argv[++i];
        else if (!strcmp(argv[i], "--json") && i + 1 < argc)
            o->json = argv[++i];
        else {
            fprintf(stderr, "usage: checkkernels [--list] [--bench] [--filter NAME] [--json FILE]\n"
                            "  --list          kernels and how far each may be from scalar code, without running them\n"
                            "  --bench         after a kernel's checks passed, its times beside those of scalar code\n"
                            "  --filter NAME   only kernels whose QUANTIZER_TARGET holds NAME\n"
                            "  --json FILE     verdicts and times as JSON too, with what they were built from and ran on\n");
            return false;
        }
    return true;
}

/* What was built and where it runs, then what was found. */
static bool write_json(const char *path, cJSON *checks, cJSON *timings)
{
    char cpu[128], now[32];
    kvant_error err = { "" };
    cJSON *all = cJSON_CreateObject();
    processor_text(cpu);
    time_text(now);
    cJSON_AddStringToObject(all, "commit", version_commit);
    cJSON_AddBoolToObject(all, "dirty", version_dirty);
    cJSON_AddStringToObject(all, "compiler", version_compiler);
    cJSON_AddStringToObject(all, "flags", version_flags);
    cJSON_AddStringToObject(all, "cpu", cpu);
    cJSON_AddStringToObject(all, "time", now);
    cJSON_AddItemToObject(all, "checks", checks);
    cJSON_AddItemToObject(all, "timings", timings);
    char *printed = cJSON_Print(all);
    kvant_status status = printed ? make_folders(path, true, &err) : kvant_fail(&err, KVANT_NOMEM, "no memory");
    if (!status)
        status = file_write(path, printed, strlen(printed), &err);
    if (status)
        fprintf(stderr, "checkkernels: %s\n", err.text);
    cJSON_free(printed);
    cJSON_Delete(all);
    return !status;
}

static void add_check(cJSON *checks, const char *name, int before_passed, int before_failed)
{
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "kernel", name);
    cJSON_AddNumberToObject(row, "passed", passed - before_passed);
    cJSON_AddNumberToObject(row, "failed", failed - before_failed);
    cJSON_AddStringToObject(row, "verdict", failed > before_failed ? "fail" : passed > before_passed ? "pass" : "skip");
    cJSON_AddItemToArray(checks, row);
}

int main(int argc, char **argv)
{
    options o;
    bool timed = true;
    size_t named = 0;
    if (!parse(argc, argv, &o))
        return EXIT_FAILURE;
    gsl_set_error_handler_off();
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    cJSON *checks = cJSON_CreateArray(), *timings = cJSON_CreateArray();
    if (!rng || !checks || !timings)
        return EXIT_FAILURE;
    for (const kvant_kernel *const *k = kvant_kernels(); *k; k++) {
        char name[128];
        snprintf(name, sizeof name, "%s_%s", (*k)->quantizer, (*k)->target);
        if (!strstr(name, o.filter))
            continue;
        named++;
        if (o.list) {
            printf("%s  distance %g, of products %g%s%s\n", name, (*k)->distance, (*k)->products, (*k)->reason ? ": " : "",
                   (*k)->reason ? (*k)->reason : "");
            continue;
        }
        const int before_passed = passed, before_failed = failed;
        check_kernel(*k, rng);
        add_check(checks, name, before_passed, before_failed);
        if (o.bench && failed == before_failed && passed > before_passed)
            timed = timing_tables((*k)->quantizer, (*k)->target, timings) && timed;
    }
    gsl_rng_free(rng);
    if (!named)
        fprintf(stderr, "checkkernels: no kernel's name holds '%s'; --list shows them\n", o.filter);
    if (!o.list)
        printf("%s%d passed, %d failed\n", o.bench ? "\n" : "", passed, failed);
    bool written = true;
    if (o.json && !o.list) {
        written = write_json(o.json, checks, timings);
    } else {
        cJSON_Delete(checks);
        cJSON_Delete(timings);
    }
    return failed || !timed || !written || !named ? EXIT_FAILURE : EXIT_SUCCESS;
}
