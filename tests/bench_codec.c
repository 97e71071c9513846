/* bench_codec.c - times one quantizer through the public interface: encode, decode, a scan for the 10 best, attention at a depth, with
 * what came out beside the time, as one line of JSON. tests/peers/kernels.sh times other libraries between its repeats. */
#include "harness/input/dataset.h"
#include "harness/input/npy.h"
#include "harness/lm/attention.h"
#include "harness/lm/vecmath.h"
#include "harness/measure/attended.h"
#include "harness/measure/stats.h"
#include "harness/options.h"

#include <getopt.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "bench_codec encode|decode|scan|attention QUANTIZER[:PARAMETERS] [OPTION...]\n"
    "bench_codec vectors --out FILE.npy [OPTION...]\n"
    "  --dim N            coordinates of a vector (default 128)\n"
    "  --n N              vectors, or tokens that attention sees (default 65536, attention 16384)\n"
    "  --queries N        queries of a scan, or per KV head (default 1)\n"
    "  --heads N          attention: KV heads (default 32)\n"
    "  --threads N        threads (default 1)\n"
    "  --distribution D   as in the dataset synthetic (default sphere, attention gaussian)\n"
    "  --seed N           vectors' seed; scan queries have the next one, attention's values and queries the next two (default 0)\n"
    "  --isa TARGET       kernels to use (default auto)\n"
    "  --repeats N        timings (default 7)\n"
    "  --min-ms T         milliseconds that a timing lasts at least: what is short is repeated (default 20)\n"
    "  --out FILE.npy     vectors: where they go; attention: the first outputs [heads][queries][dim]\n"
    "  --ask              print what came out; then a time in seconds for each line that comes in, until there is none\n";

enum { BEST = 10, SCAN_TILE = 1024, SCAN_BLOCK = 256, TRIALS = 1024, PIECE = 64, LATER = 2048 };

typedef enum { ENCODE, DECODE, SCAN, ATTENTION, VECTORS, OPS } operation;
static const char *const operations[OPS + 1] = { "encode", "decode", "scan", "attention", "vectors", NULL };

typedef struct {
    operation op;
    const char *given, *distribution, *isa, *out;
    uint32_t dim, n, queries, heads, threads, repeats;
    uint64_t seed;
    double min_ms;
    bool ask;
} options;

/* Score and index of a vector; BEST of them in falling order are what a query finds. */
typedef struct { float score; uint32_t index; } hit;

typedef struct {
    options o;
    kvcache_side side;
    kvant_data x, y, q;            /* vectors, or keys; values; queries: attention's are scaled */
    kvant_codec codec;
    uint8_t *code;
    float *decoded;                /* [n][dim] */
    void *prepared;                /* [queries] */
    char *scratch;                 /* [threads] of scratch_bytes */
    size_t scratch_bytes;
    float *dot;                    /* [threads][queries][SCAN_TILE] */
    hit *hits;                     /* [threads][queries][BEST]; merged into the first thread's */
    const float *asked;            /* scan: the queries of this run */
    kvcache_codecs codecs;
    kvcache *cache;
    float *output;                 /* [heads][queries][dim] */
} bench;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_codec: %s\n", what);
    exit(2);
}

static void must(kvant_status status, const kvant_error *err)
{
    if (status)
        die(err->text);
}

static void *memory(size_t n, size_t bytes)
{
    void *p = n <= SIZE_MAX / bytes ? kvant_alloc(n * bytes + 1) : NULL;
    if (!p)
        die("no memory; lower --n, --heads or --queries");
    return p;
}

/* ---- What is asked for ------------------------------------------------------------------------------ */

static uint64_t whole(const char *name, const char *given, uint64_t least, uint64_t most)
{
    char *end;
    const uint64_t value = strtoull(given, &end, 10);
    if (given[0] < '0' || given[0] > '9' || *end || value < least || value > most) {
        fprintf(stderr, "bench_codec: --%s %s: must be a whole number of %llu ... %llu\n", name, given, (unsigned long long)least,
                (unsigned long long)most);
        exit(2);
    }
    return value;
}

static options parse(int argc, char **argv)
{
    enum { DIM, N, QUERIES, HEADS, THREADS, DISTRIBUTION, SEED, ISA, REPEATS, MIN_MS, OUT, ASK, HELP };
    static const struct option known[] = {
        { "dim", required_argument, NULL, DIM }, { "n", required_argument, NULL, N }, { "queries", required_argument, NULL, QUERIES },
        { "heads", required_argument, NULL, HEADS }, { "threads", required_argument, NULL, THREADS },
        { "distribution", required_argument, NULL, DISTRIBUTION }, { "seed", required_argument, NULL, SEED },
        { "isa", required_argument, NULL, ISA }, { "repeats", required_argument, NULL, REPEATS },
        { "min-ms", required_argument, NULL, MIN_MS }, { "out", required_argument, NULL, OUT }, { "ask", no_argument, NULL, ASK },
        { "help", no_argument, NULL, HELP }, { NULL, 0, NULL, 0 }
    };
    options o = { .op = OPS, .dim = 128, .queries = 1, .heads = 32, .threads = 1, .repeats = 7, .min_ms = 20 };
    char *end;
    for (int c, at; at = 0, (c = getopt_long(argc, argv, "", known, &at)) != -1;)
        switch (c) {
        case DIM: o.dim = (uint32_t)whole("dim", optarg, 8, 4096); break;
        case N: o.n = (uint32_t)whole("n", optarg, 1, 1u << 26); break;
        case QUERIES: o.queries = (uint32_t)whole("queries", optarg, 1, TRIALS); break;
        case HEADS: o.heads = (uint32_t)whole("heads", optarg, 1, 1024); break;
        case THREADS: o.threads = (uint32_t)whole("threads", optarg, 1, 1024); break;
        case SEED: o.seed = whole("seed", optarg, 0, UINT32_MAX); break;
        case REPEATS: o.repeats = (uint32_t)whole("repeats", optarg, 1, 10000); break;
        case MIN_MS:
            o.min_ms = strtod(optarg, &end);
            if (end == optarg || *end || !(o.min_ms >= 0 && o.min_ms <= 1e5))
                die("--min-ms: must be a number of 0 ... 100000");
            break;
        case DISTRIBUTION: o.distribution = optarg; break;
        case ISA: o.isa = optarg; break;
        case OUT: o.out = optarg; break;
        case ASK: o.ask = true; break;
        case HELP: fputs(usage, stdout); exit(0);
        default: exit(2);
        }
    for (int i = 0; i < OPS && optind < argc; i++)
        if (!strcmp(argv[optind], operations[i]))
            o.op = (operation)i;
    if (o.op == OPS || argc - optind != (o.op == VECTORS ? 1 : 2) || (o.op == VECTORS && !o.out)) {
        fputs(usage, stderr);
        exit(2);
    }
    o.given = argv[argc - 1];
    o.n = o.n ? o.n : o.op == ATTENTION ? 16384 : 65536;
    o.distribution = o.distribution ? o.distribution : o.op == ATTENTION ? "gaussian" : "sphere";
    return o;
}

static kvant_data draw(const options *o, size_t n, uint64_t seed)
{
    kvant_error err = { "" };
    const kvant_dataset *synthetic = dataset_find("synthetic", &err);
    kvant_data data = { 0 };
    char given[128];
    snprintf(given, sizeof given, "dim=%u,n=%zu,seed=%llu", o->dim, n, (unsigned long long)seed);
    if (!synthetic)
        die(err.text);
    kvant_args args = kvant_defaults(synthetic->params);
    must(kvant_parse(synthetic->params, given, &args, &err), &err);
    must(kvant_set(synthetic->params, "distribution", o->distribution, &args, &err), &err);
    must(synthetic->load(NULL, &args, &data, &err), &err);
    return data;
}

static void write_npy(const char *path, const float *x, size_t rows, size_t cols)
{
    kvant_error err = { "" };
    npy_writer w;
    must(npy_begin(&w, path, 2, (size_t[]){ rows, cols }, &err), &err);
    must(npy_rows(&w, x, rows, &err), &err);
    must(npy_end(&w, &err), &err);
}

/* ---- Codes: encode, decode, scan ---------------------------------------------------------------------- */

/* Each thread's share of the vectors, in whole units. */
static size_t share(const bench *b, size_t thread)
{
    const size_t units = b->o.n / b->codec.unit;
    return thread == b->o.threads ? b->o.n : units * thread / b->o.threads * b->codec.unit;
}

static void *scratch_of(const bench *b, size_t thread) { return b->scratch + thread * b->scratch_bytes; }

static void run_encode(bench *b)
{
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < b->o.threads; t++) {
        const size_t first = share(b, t), n = share(b, t + 1) - first;
        kvant_encode(&b->codec, b->x.x + first * b->o.dim, first, n, b->code, scratch_of(b, t));
    }
}

static void run_decode(bench *b)
{
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < b->o.threads; t++) {
        const size_t first = share(b, t), n = share(b, t + 1) - first;
        kvant_decode(&b->codec, b->code, first, n, b->decoded + first * b->o.dim, scratch_of(b, t));
    }
}

/* Keeps the best in order; of equals the first that came stays. */
static void offer(hit *best, float score, size_t index)
{
    if (!(score > best[BEST - 1].score))
        return;
    size_t i = BEST - 1;
    for (; i > 0 && score > best[i - 1].score; i--)
        best[i] = best[i - 1];
    best[i] = (hit){ score, (uint32_t)index };
}

/* A block whose greatest score does not count is passed over. */
static void select_best(hit *best, const float *dot, size_t first, size_t n)
{
    for (size_t i = 0; i < n; i += SCAN_BLOCK) {
        const size_t block = n - i < SCAN_BLOCK ? n - i : SCAN_BLOCK;
        if (vec_max(dot + i, block) > best[BEST - 1].score)
            for (size_t j = i; j < i + block; j++)
                offer(best, dot[j], first + j);
    }
}

static void run_scan(bench *b)
{
    const size_t nq = b->o.queries;
    kvant_query(&b->codec, b->asked, nq, b->prepared, b->scratch);
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < b->o.threads; t++) {
        hit *hits = b->hits + t * nq * BEST;
        float *dot = b->dot + t * nq * SCAN_TILE;
        for (size_t i = 0; i < nq * BEST; i++)
            hits[i] = (hit){ -INFINITY, UINT32_MAX };
        const size_t end = share(b, t + 1);
        for (size_t first = share(b, t); first < end; first += SCAN_TILE) {
            const size_t n = end - first < SCAN_TILE ? end - first : SCAN_TILE;
            kvant_score(&b->codec, b->prepared, nq, b->code, first, n, dot, scratch_of(b, t));
            for (size_t i = 0; i < nq; i++)
                select_best(hits + i * BEST, dot + i * n, first, n);
        }
    }
    for (size_t i = BEST * nq; i < BEST * nq * b->o.threads; i++)
        offer(b->hits + i / BEST % nq * BEST, b->hits[i].score, b->hits[i].index);
}

/* Share of queries whose nearest vector by exact products is the best that is found, and among the BEST. */
static void measure_recall(bench *b, double *at_1, double *at_best)
{
    const size_t nq = b->o.queries, trials = TRIALS / nq * nq, dim = b->o.dim;
    uint32_t *nearest = memory(trials, sizeof *nearest);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < trials; i++) {
        double best = -INFINITY;
        for (size_t j = 0; j < b->o.n; j++) {
            const double dot = vec_dot(b->q.x + i * dim, b->x.x + j * dim, dim);
            if (dot > best) {
                best = dot;
                nearest[i] = (uint32_t)j;
            }
        }
    }
    size_t first = 0, among = 0;
    for (size_t i = 0; i < trials; i += nq) {
        b->asked = b->q.x + i * dim;
        run_scan(b);
        for (size_t j = 0; j < nq * BEST; j++)
            if (b->hits[j].index == nearest[i + j / BEST]) {
                among++;
                first += j % BEST == 0;
            }
    }
    *at_1 = (double)first / (double)trials;
    *at_best = (double)among / (double)trials;
    b->asked = b->q.x;
    free(nearest);
}

static double measure_nmse(bench *b)
{
    double error = 0, norm = 0;
    run_decode(b);
    for (size_t i = 0; i < (size_t)b->o.n * b->o.dim; i++) {
        const double e = (double)b->decoded[i] - b->x.x[i];
        error += e * e;
        norm += (double)b->x.x[i] * b->x.x[i];
    }
    return error / norm;
}

/* A method that learns does so from as many of the vectors as it asks for, or from 64 times 256 if that is more. */
static void open_codes(bench *b)
{
    kvant_error err = { "" };
    const kvant_shape shape = { .dim = b->o.dim, .side = KVANT_VECTOR, .seed = 1 };
    must(kvant_open(b->side.quantizer, &shape, &b->side.args, b->o.isa, &b->codec, &err), &err);
    const size_t unit = b->codec.unit, trained = b->codec.plan.train_min > 16384 ? b->codec.plan.train_min : 16384;
    b->o.n = (uint32_t)(b->o.n / unit * unit);
    if (b->o.n < BEST || (b->codec.plan.train_min && b->o.n < b->codec.plan.train_min))
        die("too few vectors for this quantizer; raise --n");
    b->x = draw(&b->o, b->o.n, b->o.seed);
    b->q = draw(&b->o, TRIALS, b->o.seed + 1);
    b->asked = b->q.x;
    if (b->codec.plan.train_min)
        must(kvant_train(&b->codec, b->x.x, trained < b->o.n ? trained : b->o.n, &err), &err);
    b->code = memory(kvant_bytes(&b->codec, b->o.n), 1);
    b->decoded = memory((size_t)b->o.n * b->o.dim, sizeof(float));
    b->scratch_bytes = (b->codec.scratch + 64) / 64 * 64;
    b->scratch = memory(b->o.threads, b->scratch_bytes);
    if (b->o.op == SCAN) {
        b->prepared = memory(b->o.queries, b->codec.query ? b->codec.query : 1);
        b->dot = memory((size_t)b->o.threads * b->o.queries * SCAN_TILE, sizeof *b->dot);
        b->hits = memory((size_t)b->o.threads * b->o.queries * BEST, sizeof *b->hits);
    }
    run_encode(b);
}

/* ---- Attention ---------------------------------------------------------------------------------------- */

/* One more token of every head, as the engine's decode step does: heads are spread over threads. All have the same keys and values,
 * each in codes of its own, and queries of their own. */
static void run_attention(bench *b)
{
    const options *o = &b->o;
    const size_t dim = o->dim, token = kvcache_length(b->cache) % o->n;
    const attention_layer plain = { .cap = 0 };
    if (kvcache_length(b->cache) >= kvcache_capacity(b->cache))
        die("the cache is full: too many timings");
#pragma omp parallel for schedule(dynamic, 1)
    for (uint32_t head = 0; head < o->heads; head++) {
        const size_t at = (size_t)head * o->queries * dim;
        attention_decode(b->cache, 0, head, b->x.x + token * dim, b->y.x + token * dim, b->q.x + at, o->queries, &plain,
                         b->output + at, scratch_of(b, (size_t)omp_get_thread_num()));
    }
    kvcache_advance(b->cache, 1);
}

/* Appends all tokens but the last, which the first run brings. */
static void fill_cache(bench *b)
{
    const options *o = &b->o;
    const size_t dim = o->dim;
    for (uint32_t first = 0; first < o->n - 1; first += PIECE) {
        const uint32_t n = o->n - 1 - first < PIECE ? o->n - 1 - first : PIECE;
        for (uint32_t head = 0; head < o->heads; head++)
            for (int s = 0; s < 2; s++) {
                const kvant_side side = s ? KVANT_VALUE : KVANT_KEY;
                const kvcache_rule rule = kvcache_rule_in(b->cache, 0, head, side);
                float *waiting = memory((size_t)kvcache_waiting_max(&rule, n) * dim, sizeof *waiting);
                kvcache_append(b->cache, 0, head, side, (s ? b->y.x : b->x.x) + first * dim, dim, n, false, waiting, NULL, b->scratch);
                free(waiting);
            }
        kvcache_advance(b->cache, n);
    }
}

static void open_attention(bench *b)
{
    kvant_error err = { "" };
    const options *o = &b->o;
    const kvant_rope neighbours = { KVANT_ROPE_INTERLEAVED, o->dim / 2 * 2 };
    const kvcache_shape shape = { .n_layer = 1, .n_kv_head = o->heads, .head_dim = o->dim, .rope = neighbours };
    const kvcache_policy policy = { .key = b->side, .value = b->side, .seed = 1, .isa = o->isa };
    must(kvcache_codecs_open(&policy, &shape, NULL, &b->codecs, &err), &err);
    must(kvcache_open(&b->codecs, o->n + LATER, &b->cache, &err), &err);
    b->x = draw(o, o->n, o->seed);
    b->y = draw(o, o->n, o->seed + 1);
    b->q = draw(o, (size_t)o->heads * o->queries, o->seed + 2);
    for (size_t i = 0; i < b->q.n * o->dim; i++)
        b->q.x[i] /= sqrtf((float)o->dim);
    const size_t decode = attention_decode_scratch(&b->codecs, o->queries), append = kvcache_scratch(&b->codecs);
    b->scratch_bytes = ((decode > append ? decode : append) + 64) / 64 * 64;
    b->scratch = memory(o->threads, b->scratch_bytes);
    b->output = memory(b->q.n * o->dim, sizeof *b->output);
    fill_cache(b);
    run_attention(b);
    must(kvcache_trained(b->cache, &err), &err);
}

/* Mean over all queries of |o - o^| / |o|, o from exact attention in double. */
static double measure_output(const bench *b)
{
    const size_t dim = b->o.dim;
    double *weight = memory(b->o.n, sizeof *weight), *exact = memory(dim, sizeof *exact), sum = 0;
    for (size_t i = 0; i < b->q.n; i++) {
        attended_exact(b->q.x + i * dim, 1, b->x.x, b->y.x, dim, b->o.n, dim, weight, exact);
        double error = 0, norm = 0;
        for (size_t j = 0; j < dim; j++) {
            const double e = exact[j] - b->output[i * dim + j];
            error += e * e;
            norm += exact[j] * exact[j];
        }
        sum += sqrt(error / norm);
    }
    free(weight);
    free(exact);
    return sum / (double)b->q.n;
}

/* ---- Times and what is printed -------------------------------------------------------------------------- */

static void (*const run_of[OPS])(bench *) = { run_encode, run_decode, run_scan, run_attention, NULL };

/* Seconds of one run; runs are doubled until they last long enough. Attention goes on from where it is, run by run. */
static double time_run(bench *b)
{
    for (double runs = 1;; runs *= 2) {
        const double start = seconds_now();
        for (double i = 0; i < runs; i++)
            run_of[b->o.op](b);
        const double took = seconds_now() - start;
        if (took >= b->o.min_ms / 1e3 || b->o.op == ATTENTION)
            return took / runs;
    }
}

static void print_facts(bench *b)
{
    const options *o = &b->o;
    printf("{\"op\":\"%s\",\"quantizer\":\"%s\",\"dim\":%u,\"n\":%u,\"queries\":%u,\"threads\":%u", operations[o->op],
           o->given, o->dim, o->n, o->queries, o->threads);
    if (o->op == ATTENTION) {
        const kvcache_bytes bytes = kvcache_accounted(&b->codecs, o->n);
        printf(",\"heads\":%u,\"target\":\"%s\",\"bytes\":%.6g,\"output_error\":%.6g", o->heads,
               kvcache_codec(&b->codecs, 0, 0, KVANT_KEY)->target, (double)(bytes.key + bytes.value) / o->n / o->heads,
               measure_output(b));
        if (o->out)
            write_npy(o->out, b->output, b->q.n, o->dim);
        return;
    }
    printf(",\"target\":\"%s\",\"bytes\":%.6g,\"nmse\":%.6g", b->codec.target, kvant_bits(&b->codec) * o->dim / 8, measure_nmse(b));
    if (o->op == SCAN) {
        double at_1, at_best;
        measure_recall(b, &at_1, &at_best);
        printf(",\"recall_at_1\":%.6g,\"recall_at_%d\":%.6g", at_1, BEST, at_best);
    }
}

static void answer(bench *b)
{
    char line[256];
    puts("}");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%.9g\n", time_run(b));
        fflush(stdout);
    }
}

static void repeat(bench *b)
{
    double *seconds = memory(b->o.repeats, sizeof *seconds);
    time_run(b);                                                 /* warms up */
    for (uint32_t i = 0; i < b->o.repeats; i++)
        seconds[i] = time_run(b);
    const double median = stats_median(seconds, b->o.repeats);   /* sorts */
    printf(",\"repeats\":%u,\"seconds\":%.9g,\"seconds_min\":%.9g", b->o.repeats, median, seconds[0]);
    if (b->o.op == ENCODE || b->o.op == DECODE)
        printf(",\"gb_per_s\":%.6g", (double)b->o.n * b->o.dim * sizeof(float) / median / 1e9);
    puts("}");
    free(seconds);
}

int main(int argc, char **argv)
{
    kvant_error err = { "" };
    bench b = { .o = parse(argc, argv) };
    if (b.o.op == VECTORS) {
        b.x = draw(&b.o, b.o.n, b.o.seed);
        write_npy(b.o.out, b.x.x, b.o.n, b.o.dim);
    } else {
        omp_set_dynamic(0);
        omp_set_num_threads((int)b.o.threads);
        must(option_quantizer(b.o.given, &b.side, &err), &err);
        (b.o.op == ATTENTION ? open_attention : open_codes)(&b);
        print_facts(&b);
        (b.o.ask ? answer : repeat)(&b);
    }
    data_free(&b.x);
    data_free(&b.y);
    data_free(&b.q);
    kvcache_close(b.cache);
    kvcache_codecs_close(&b.codecs);
    kvant_close(&b.codec);
    free(b.code);
    free(b.decoded);
    free(b.prepared);
    free(b.scratch);
    free(b.dot);
    free(b.hits);
    free(b.output);
    return 0;
}
