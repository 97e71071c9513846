/* decode_attention.c - time of decode attention over a cache that is larger than the processor's, without a model, held against the
 * best f16 or bf16 attention here and against what memory and arithmetic allow. A unit is one repeat: in it come the roofs, the two
 * baselines and every cell, one after the other, so that drift meets all alike. */
#include "harness/measure/decode_step.h"
#include "harness/measure/roofs.h"
#include "harness/measure/stats.h"
#include "harness/probe.h"
#include "harness/process.h"
#include "harness/sysinfo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH, QUERIES, KV_HEADS, THREADS, CACHE_MIB, REPEATS, MIN_MS };

static const kvant_param params[] = {
    { "depth", "tokens in the cache; several give a curve", KVANT_INT, 16384, 64, 1 << 20, NULL },
    { "queries", "queries that share a KV head", KVANT_INT, 1, 1, 64, NULL },
    { "kv_heads", "KV heads of a layer, which threads share out", KVANT_INT, 4, 1, 256, NULL },
    { "threads", "threads; 0 = all cores that the process may use", KVANT_INT, 0, 0, 1024, NULL },
    { "cache_mib", "MiB of codes at least: layers are added until they take it; 0 = twice the processor's last cache",
      KVANT_INT, 0, 0, 1 << 20, NULL },
    { "repeats", "timings of everything, whose median and best are reported", KVANT_INT, 9, 1, 10000, NULL },
    { "min_ms", "milliseconds that a timing must last at least: it goes over layers until it does", KVANT_REAL, 10, 0.1, 10000, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

/* Rows with a sample of their own name come from it: times by the median, and rates of the machine by the most over repeats, for what
 * disturbs a roof only lowers it. The others are computed from these. */
static const probe_metric metrics[] = {
    { "ns_per_pair", "ns", "of wall time for a key-value pair, which all queries of its KV head attend to; median", -1, true },
    { "ns_per_pair_min", "ns", "the least over repeats", -1, true },
    { "f16_ns_per_pair", "ns", "the same of an f16 cache by its best kernel here, between the same repeats; median", 0, true },
    { "bf16_ns_per_pair", "ns", "the same of a bf16 cache", 0, true },
    { "over_f16", "x", "how much faster than the f16 cache: its time over this one", 1, true },
    { "over_half", "x", "how much faster than the better of the f16 and bf16 caches", 1, true },
    { "code_gb_per_s", "GB/s", "of the cache read: bytes of a pair over its time", 1, true },
    { "read_share", "", "of the bandwidth that reading memory alone has", 1, true },
    { "roof_ns", "ns", "the least that this machine allows: a pair's bytes at the bandwidth of reading, or its products at the "
      "highest rate of multiply-adds, whichever takes longer", 0, true },
    { "roof_share", "", "of that reached: roof_ns over ns_per_pair", 1, true },
    { "memory_ns", "ns", "a pair's bytes at the bandwidth of reading", 0, true },
    { "fma_ns", "ns", "a pair's products, 2 queries * dim of them, by f32 multiply-adds", 0, true },
    { "int8_ns", "ns", "the same by sums of 8-bit products (vpdpbusd), where the processor has them", 0, true },
    { "bf16_ns", "ns", "the same by sums of bfloat16 products (vdpbf16ps), where the processor has them", 0, true },
    { "read_gb_per_s", "GB/s", "memory read, checksummed, twice the last cache, as many threads; the most over repeats", 0, true },
    { "copy_gb_per_s", "GB/s", "memory copied, counted once, likewise", 0, true },
    { "fma_g_per_s", "G/s", "multiply-adds of f32 from registers, as many threads; likewise", 0, true },
    { "int8_g_per_s", "G/s", "the same of 8-bit integers; likewise", 0, true },
    { "bf16_g_per_s", "G/s", "the same of bfloat16; likewise", 0, true },
    { "bytes_per_pair", "bytes", "a key and a value in the cache, by the quantizer's plan", -1, false },
    { "products_per_pair", "", "multiply-adds of a pair: its key and its value with all queries", 0, false },
    { "cache_bytes", "bytes", "that the timed cache takes, all layers", 0, false },
    { "last_cache_bytes", "bytes", "of the processor's last cache, which cache_bytes should exceed", 0, false },
    { "kernel_distance", "", "the timed code's outputs from attention in double precision over the same codes, relative, the worst of "
      "some", -1, false },
    { NULL, NULL, NULL, 0, false }
};

/* Both have their best kernel, whatever target the cells are held to. The driver checks them as it does cells, and the code of their
 * kernels is part of every cell's identity. */
enum { F16, BF16, BASELINES };
static const char *const baselines[] = { "f16", "bf16", NULL };
static const char *const baseline_metrics[BASELINES] = { "f16_ns_per_pair", "bf16_ns_per_pair" };

/* A kernel may round queries and weights to 8 bits, which moves outputs by less than a hundredth of their length; what is further off
 * did something else. */
static const double distance_max = .05;

typedef struct {
    decode_shape shape;
    kvant_codec half[BASELINES];
    decode_step *baseline[BASELINES];
    decode_step **cells;           /* [n_cells]; filled when first timed */
    double *distance;              /* [n_cells] */
    roofs_memory memory;
    /* of the unit at work: */
    roofs roof;
    double baseline_ns[BASELINES];
} decode_attention;

static uint32_t context_of(const kvant_args *args)
{
    return (uint32_t)args->v[DEPTH] + 1;
}

/* The planner counts vectors of 4 dim^2 slow operations each, 65 us at 128 coordinates. A repeat lasts min_ms, and coding a vector
 * for the cache takes a fraction of those. */
static double cost(const kvant_args *args, const kvant_data *data)
{
    (void)data;
    return args->v[REPEATS] * args->v[MIN_MS] * 20 + args->v[KV_HEADS] * args->v[DEPTH] / 32;
}

/* ---- The job ----------------------------------------------------------------------------------- */

static kvant_status open_baseline(probe_job *job, size_t i, kvant_error *err)
{
    decode_attention *p = job->state;
    const kvant_quantizer *q = kvant_find(baselines[i], err);
    const kvant_shape shape = { .dim = (uint32_t)job->data->dim, .side = KVANT_VECTOR };
    return q ? kvant_open(q, &shape, NULL, "auto", &p->half[i], err) : KVANT_INVALID;
}

/* All caches of a job are there at the same time, for their repeats to interleave. */
static kvant_status check_memory(const probe_job *job, kvant_error *err)
{
    const decode_attention *p = job->state;
    const uint64_t available = sysinfo_memory("/");
    double all = (double)roofs_bytes();
    for (size_t i = 0; i < job->n_cells + BASELINES; i++) {
        const kvant_codec *codec = i < job->n_cells ? &job->vectors[i] : &p->half[i - job->n_cells];
        kvant_error why;
        size_t bytes;
        uint32_t layers;
        const kvant_status status = decode_step_size(codec, &p->shape, &bytes, &layers, &why);
        if (status)
            return kvant_fail(err, status, "decode_attention: %s", why.text);
        all += (double)bytes;
    }
    if (available && !(all <= .8 * (double)available))
        return kvant_fail(err, KVANT_INVALID, "decode_attention: %zu caches of at least %.0f MB at depth %u take %.0f MB, and %.0f MB "
                          "of memory are available; lower depth, kv_heads or cache_mib, or name fewer quantizers",
                          job->n_cells + BASELINES, (double)p->shape.bytes / 1e6, p->shape.depth, all / 1e6, (double)available / 1e6);
    return KVANT_OK;
}

static kvant_status open_job(probe_job *job, kvant_error *err)
{
    const double *v = job->args.v;
    decode_attention *p = calloc(1, sizeof *p);
    job->state = p;
    if (!p)
        return kvant_fail(err, KVANT_NOMEM, "decode_attention: no memory");
    const int cores = sysinfo_cores();
    if (v[THREADS] > cores)
        return kvant_fail(err, KVANT_SKIP, "decode_attention: %.0f threads are asked for, and there are %d cores", v[THREADS], cores);
    job->n_units = (size_t)v[REPEATS];
    p->shape = (decode_shape){ .depth = (uint32_t)v[DEPTH], .queries = (uint32_t)v[QUERIES], .kv_heads = (uint32_t)v[KV_HEADS],
                               .threads = v[THREADS] > 0 ? (int)v[THREADS] : cores,
                               .bytes = v[CACHE_MIB] > 0 ? (size_t)v[CACHE_MIB] << 20 : 2 * roofs_last_cache() };
    p->cells = calloc(job->n_cells, sizeof *p->cells);
    p->distance = calloc(job->n_cells, sizeof *p->distance);
    if (!p->cells || !p->distance)
        return kvant_fail(err, KVANT_NOMEM, "decode_attention: no memory");
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < BASELINES && !status; i++)
        status = open_baseline(job, i, err);
    return status ? status : check_memory(job, err);
}

static bool is_baseline(const decode_attention *p, const decode_step *s)
{
    return s && (s == p->baseline[F16] || s == p->baseline[BF16]);
}

static void close_job(probe_job *job)
{
    decode_attention *p = job->state;
    if (!p)
        return;
    for (size_t i = 0; p->cells && i < job->n_cells; i++)
        if (!is_baseline(p, p->cells[i]))
            decode_step_close(p->cells[i]);
    for (size_t i = 0; i < BASELINES; i++) {
        decode_step_close(p->baseline[i]);
        kvant_close(&p->half[i]);
    }
    roofs_close(&p->memory);
    free(p->cells);
    free(p->distance);
    free(p);
    job->state = NULL;
}

/* A cache that is filled and was found to give what its codes say. */
static kvant_status open_step(const probe_job *job, const kvant_codec *codec, decode_step **step, double *distance, kvant_error *err)
{
    const decode_attention *p = job->state;
    kvant_error why;
    kvant_status status = decode_step_open(codec, &p->shape, job->data, step, &why);
    if (!status)
        status = decode_step_distance(*step, distance, &why);
    if (status)
        return kvant_fail(err, status, "decode_attention: %s", why.text);
    if (!(*distance <= distance_max))
        return kvant_fail(err, KVANT_FAILED, "decode_attention: %s (%s): what its kernel computes is %.3g from attention over its "
                          "codes; that is no rounding, so it is not timed", codec->quantizer->name, codec->target, *distance);
    return KVANT_OK;
}

/* ---- A repeat ---------------------------------------------------------------------------------- */

static kvant_status begin(probe_job *job, size_t unit, kvant_error *err)
{
    decode_attention *p = job->state;
    kvant_error why;
    (void)unit;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "decode_attention: interrupted");
    kvant_status status = p->memory.x ? KVANT_OK : roofs_open(&p->memory, &why);
    if (!status)
        status = roofs_measure(&p->memory, p->shape.threads, &p->roof, &why);
    if (status)
        return kvant_fail(err, status, "decode_attention: %s", why.text);
    for (size_t i = 0; i < BASELINES; i++) {
        double distance;
        if (!p->baseline[i] && (status = open_step(job, &p->half[i], &p->baseline[i], &distance, err)) != KVANT_OK)
            return status;
        p->baseline_ns[i] = decode_step_time(p->baseline[i], job->args.v[MIN_MS] / 1e3);
    }
    return KVANT_OK;
}

/* The cell's cache; one that is a baseline's shares its. */
static kvant_status find_step(probe_job *job, size_t cell, kvant_error *err)
{
    decode_attention *p = job->state;
    const kvant_codec *codec = &job->vectors[cell];
    if (p->cells[cell])
        return KVANT_OK;
    for (size_t i = 0; i < BASELINES; i++)
        if (codec->quantizer == p->half[i].quantizer && !strcmp(codec->target, p->half[i].target))
            p->cells[cell] = p->baseline[i];
    if (p->cells[cell])
        return decode_step_distance(p->cells[cell], &p->distance[cell], err);
    return open_step(job, codec, &p->cells[cell], &p->distance[cell], err);
}

static void emit_one(probe_job *job, size_t cell, const char *metric, size_t repeat, double value)
{
    job->emit(job, cell, &(probe_sample) { metric, (uint32_t)repeat, 0, value, 1 });
}

static kvant_status run_unit(probe_job *job, size_t unit, size_t cell, kvant_error *err)
{
    const decode_attention *p = job->state;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "decode_attention: interrupted");
    const kvant_status status = find_step(job, cell, err);
    if (status)
        return status;
    const decode_step *s = p->cells[cell];
    emit_one(job, cell, "ns_per_pair", unit, decode_step_time(p->cells[cell], job->args.v[MIN_MS] / 1e3));
    for (size_t i = 0; i < BASELINES; i++)
        emit_one(job, cell, baseline_metrics[i], unit, p->baseline_ns[i]);
    const struct { const char *metric; double value; } rates[] = {
        { "read_gb_per_s", p->roof.read }, { "copy_gb_per_s", p->roof.copy }, { "fma_g_per_s", p->roof.fma },
        { "int8_g_per_s", p->roof.int8 }, { "bf16_g_per_s", p->roof.bf16 },
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (rates[i].value > 0)
            emit_one(job, cell, rates[i].metric, unit, rates[i].value / 1e9);
    if (unit > 0)
        return KVANT_OK;
    emit_one(job, cell, "bytes_per_pair", 0, decode_step_bytes_per_pair(s));
    emit_one(job, cell, "products_per_pair", 0, 2.0 * p->shape.queries * (double)job->data->dim);
    emit_one(job, cell, "cache_bytes", 0, decode_step_bytes(s));
    emit_one(job, cell, "last_cache_bytes", 0, (double)roofs_last_cache());
    emit_one(job, cell, "kernel_distance", 0, p->distance[cell]);
    return KVANT_OK;
}

/* ---- Results ----------------------------------------------------------------------------------- */

/* The median, least and most of a metric's samples; NaN: there are none. x, w: room for all. */
typedef struct { double median, least, most, n; } figure;

static figure figure_of(const probe_sample *samples, size_t n, const char *metric, double *x, double *w)
{
    const size_t found = probe_values(samples, n, metric, x, w);
    if (!found)
        return (figure){ NAN, NAN, NAN, 0 };
    const double median = stats_median(x, found);              /* sorts x */
    return (figure){ median, x[0], x[found - 1], (double)found };
}

static kvant_status finish(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err)
{
    enum { NS, F16_NS, BF16_NS, READ, COPY, FMA, INT8, BF16_RATE, BYTES, PRODUCTS, CACHE, LAST_CACHE, DISTANCE, FIGURES };
    static const char *const names[FIGURES] = { "ns_per_pair", "f16_ns_per_pair", "bf16_ns_per_pair", "read_gb_per_s", "copy_gb_per_s",
                                                "fma_g_per_s", "int8_g_per_s", "bf16_g_per_s", "bytes_per_pair", "products_per_pair",
                                                "cache_bytes", "last_cache_bytes", "kernel_distance" };
    (void)args;
    figure f[FIGURES];
    double *x = calloc(2 * n + 1, sizeof *x);
    if (!x)
        return kvant_fail(err, KVANT_NOMEM, "decode_attention: no memory for %zu samples", n);
    for (size_t i = 0; i < FIGURES; i++)
        f[i] = figure_of(samples, n, names[i], x, x + n);
    free(x);
    if (!(f[NS].n > 0))
        return kvant_fail(err, KVANT_FAILED, "decode_attention: nothing was timed");
    const double ns = f[NS].median, bytes = f[BYTES].median, products = f[PRODUCTS].median, rate = bytes / ns;
    /* fmin and fmax pass over a rate that is not there, which is NaN. */
    const double peak = fmax(f[FMA].most, fmax(f[INT8].most, f[BF16_RATE].most));
    const double memory = bytes / f[READ].most, roof = fmax(memory, products / peak);
    const struct { const char *metric; double value; } computed[] = {
        { "ns_per_pair_min", f[NS].least }, { "over_f16", f[F16_NS].median / ns },
        { "over_half", fmin(f[F16_NS].median, f[BF16_NS].median) / ns }, { "code_gb_per_s", rate },
        { "read_share", rate / f[READ].most }, { "roof_ns", roof }, { "roof_share", roof / ns }, { "memory_ns", memory },
        { "fma_ns", products / f[FMA].most },
        { "int8_ns", products / f[INT8].most }, { "bf16_ns", products / f[BF16_RATE].most },
    };
    for (size_t i = 0; i < FIGURES; i++)
        if (f[i].n > 0)
            result(user, &(probe_result) { names[i], i >= READ && i <= BF16_RATE ? f[i].most : f[i].median, f[i].n, NAN, NAN, NAN });
    for (size_t i = 0; i < sizeof computed / sizeof *computed; i++)
        if (!isnan(computed[i].value))
            result(user, &(probe_result) { computed[i].metric, computed[i].value, f[NS].n, NAN, NAN, NAN });
    return KVANT_OK;
}

const kvant_probe probe_decode_attention = {
    .name = "decode_attention",
    .summary = "time of decode attention over caches of vectors, against f16 and bf16 and against the machine's roofs",
    .params = params,
    .metrics = metrics,
    .wants_vectors = true, .attends = true,
    .baselines = baselines,
    .context = context_of,
    .cost = cost,
    .open = open_job,
    .begin = begin,
    .unit = run_unit,
    .close = close_job,
    .finish = finish,
};
