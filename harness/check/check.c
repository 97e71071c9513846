/* check.c - drives the checks of a quantizer and holds it to its oracles: measured over many seeds, with the error of the
 * measurement, because a value without its error can neither pass nor fail. */
#include "harness/check/check_internal.h"
#include "harness/kernels.h"
#include "harness/measure/stats.h"
#include "harness/process.h"
#include "harness/version.h"

#include <gsl/gsl_version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double z_limit = 4.5;             /* standard errors that a right implementation stays within, all rows together */
enum { QUICK_VECTORS = 16, VECTORS = 128, QUICK_DIM = 128 };

/* ---- Version -------------------------------------------------------------------------------------- */

static void add_part(sha256 *hash, const char *folder, const char *name, const char *target)
{
    char part[128];
    snprintf(part, sizeof part, "%s%s%s%s", folder, name, *target ? "_" : "", target);
    const char *of = version_of(part);
    if (!of)
        of = "not built in";       /* a quantizer of a test or of another program */
    sha256_add(hash, part, strlen(part) + 1);
    sha256_add(hash, of, strlen(of) + 1);
}

void check_code_version(const kvant_quantizer *quantizer, const char *target, char hex[SHA256_HEX])
{
    sha256 *hash = sha256_begin();
    hex[0] = '\0';
    if (!hash)
        return;
    add_part(hash, "", "contract", "");
    add_part(hash, "harness/", "check", "");           /* what another check would find is not known */
    add_part(hash, "algorithms/", "shared", "");
    add_part(hash, "algorithms/", quantizer->name, "");
    if (strcmp(target, "scalar"))
        add_part(hash, "metal/", quantizer->name, target);
    const char *const built[] = { version_compiler, version_flags, gsl_version };
    for (size_t i = 0; i < sizeof built / sizeof *built; i++)
        sha256_add(hash, built[i], strlen(built[i]) + 1);
    sha256_end(hash, hex);
}

/* ---- Shared with the gates -------------------------------------------------------------------------- */

void check_emit(check *c, store_check row)
{
    row.quantizer = c->quantizer->name;
    row.code_version = c->version;
    row.target = c->options->target;
    c->passed += !strcmp(row.verdict, "pass");
    c->failed += !strcmp(row.verdict, "fail");
    c->options->row(c->options->user, &row);
}

/* Whether the target, if there is such a kernel, takes this shape; of an unknown one kvant_open says so. */
static bool usable(const check *c, const kvant_shape *shape, const kvant_args *args)
{
    kvant_codec codec;
    bool known = false;
    for (const kvant_kernel *const *k = kvant_kernels(); *k; k++)
        known = known || (!strcmp((*k)->quantizer, c->quantizer->name) && !strcmp((*k)->target, c->options->target));
    return !known || kvant_describe(c->quantizer, shape, args, c->options->target, &codec, NULL) != KVANT_INVALID;
}

kvant_status check_data(const check *c, const char *distribution, uint32_t dim, size_t n, uint32_t seed, kvant_data *data,
                        kvant_error *err)
{
    char given[CHECK_TEXT];
    kvant_args args = kvant_defaults(c->synthetic->params);
    snprintf(given, sizeof given, "distribution=%.64s,dim=%u,n=%zu,seed=%u", distribution, dim, n, seed);
    kvant_status status = kvant_parse(c->synthetic->params, given, &args, err);
    return status ? status : c->synthetic->load(NULL, &args, data, err);
}

kvant_status check_open(const check *c, const char *distribution, uint32_t dim, const kvant_args *args, uint32_t seed,
                        kvant_codec *codec, kvant_error *err)
{
    kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = seed };
    kvant_data data = { 0 };
    memset(codec, 0, sizeof *codec);
    if (!usable(c, &shape, args))
        return kvant_fail(err, KVANT_SKIP, "%s: the %s kernel does not take this shape", c->quantizer->name, c->options->target);
    kvant_status status = kvant_open(c->quantizer, &shape, args, c->options->target, codec, err);
    if (status || !codec->plan.train_min)
        return status;
    status = check_data(c, distribution, dim, codec->plan.train_min, CHECK_SEEDS + seed, &data, err);
    if (!status)
        status = kvant_train(codec, data.x, data.n, err);
    if (status)
        kvant_close(codec);
    data_free(&data);
    return status;
}

/* ---- Measuring --------------------------------------------------------------------------------------- */

static kvant_status measure_seed(const check *c, const char *distribution, uint32_t dim, const kvant_args *args, size_t vectors,
                                 uint32_t seed, fidelity *result, kvant_error *err)
{
    kvant_codec codec;
    kvant_data data = { 0 };
    fidelity_work work = { 0 };
    ptrdiff_t none[FIDELITY_QUERIES];
    kvant_status status = check_open(c, distribution, dim, args, seed, &codec, err);
    if (status)
        return status;
    size_t block = codec.plan.block, n = (vectors + block - 1) / block * block;
    status = check_data(c, distribution, dim, n + FIDELITY_QUERIES, seed, &data, err);
    if (!status)
        status = fidelity_open(&codec, 1, n, &work, err);
    if (!status) {
        for (size_t i = 0; i < FIDELITY_QUERIES; i++)
            none[i] = FIDELITY_NOT_CODED;
        fidelity_measure(&codec, data.x, n, data.x + n * dim, none, FIDELITY_QUERIES, &work, result);
        fidelity_close(&work);
    }
    data_free(&data);
    kvant_close(&codec);
    return status;
}

kvant_status check_measure(const check *c, const char *distribution, uint32_t dim, const kvant_args *args, size_t vectors,
                           uint32_t seeds, check_clusters *result, kvant_error *err)
{
    kvant_status first = KVANT_OK;
    #pragma omp parallel for schedule(dynamic)
    for (uint32_t seed = 0; seed < seeds; seed++) {
        fidelity f = { 0 };
        kvant_error why = { "" };
        kvant_status status = interrupted() ? kvant_fail(&why, KVANT_INTERRUPTED, "check: interrupted")
                                            : measure_seed(c, distribution, dim, args, vectors, seed, &f, &why);
        for (size_t i = 0; i < FIDELITY_N; i++) {
            result->value[i][seed] = f.value[i];
            result->weight[i][seed] = f.weight[i];
        }
        if (status) {
            #pragma omp critical(check_status)
            first = first ? first : kvant_fail(err, status, "%s", why.text);
        }
    }
    return first;
}

/* ---- Oracles ---------------------------------------------------------------------------------------- */

/* Several rows may read one measurement. */
typedef struct {
    const kvant_oracle *of;        /* the row that it was made for; NULL: nothing yet */
    kvant_status status;
    kvant_error why;
    check_clusters clusters;
} measurement;

static void measure(const check *c, const kvant_oracle *o, measurement *m)
{
    kvant_args args = kvant_defaults(c->quantizer->params);
    m->of = o;
    m->status = kvant_parse(c->quantizer->params, o->args, &args, &m->why);
    if (!m->status)
        m->status = check_measure(c, o->input, o->dim, &args, c->options->quick ? QUICK_VECTORS : VECTORS, CHECK_SEEDS,
                                  &m->clusters, &m->why);
}

static bool same_measurement(const kvant_oracle *a, const kvant_oracle *b)
{
    return a && a->dim == b->dim && !strcmp(a->input, b->input) && !strcmp(a->args, b->args);
}

static void judge(check *c, const kvant_oracle *o, const measurement *m)
{
    store_check row = { .name = "oracle", .input = o->input, .args = o->args, .metric = o->metric, .source = o->source,
                        .measured = NAN, .expected = o->value, .se = NAN, .z = NAN, .verdict = "fail" };
    char where[CHECK_TEXT];
    snprintf(where, sizeof where, "%s d=%u", o->input, o->dim);
    row.input = where;
    size_t metric = 0;
    while (metric < FIDELITY_N && strcmp(fidelity_names[metric], o->metric))
        metric++;
    if (m->status) {
        row.verdict = m->status == KVANT_SKIP ? "skip" : "fail";
        row.source = m->why.text;
    } else if (metric == FIDELITY_N) {
        row.source = "unknown metric in the quantizer's table";
    } else {
        stats_mean mean = stats_clustered(m->clusters.value[metric], m->clusters.weight[metric], CHECK_SEEDS);
        double off = mean.mean - o->value;
        row.measured = mean.mean;
        row.se = mean.se;
        row.z = mean.se > 0 ? off / mean.se : NAN;
        if (isfinite(mean.mean) && isfinite(mean.se) && !(fabs(off) > o->tolerance + z_limit * mean.se))
            row.verdict = "pass";
    }
    check_emit(c, row);
}

kvant_status check_oracles(check *c, kvant_error *err)
{
    measurement *m = calloc(1, sizeof *m);
    if (!m)
        return kvant_fail(err, KVANT_NOMEM, "check: no memory");
    kvant_status status = KVANT_OK;
    for (const kvant_oracle *o = c->quantizer->oracles; o && o->input && !status; o++) {
        if (c->options->quick && o->dim > QUICK_DIM)
            continue;
        if (!same_measurement(m->of, o))
            measure(c, o, m);
        if (m->status == KVANT_NOMEM || m->status == KVANT_INTERRUPTED)
            status = kvant_fail(err, m->status, "%s", m->why.text);
        else
            judge(c, o, m);
    }
    free(m);
    return status;
}

kvant_status check_run(const kvant_quantizer *quantizer, const check_options *options, bool *passed, kvant_error *err)
{
    check c = { .quantizer = quantizer, .options = options, .synthetic = dataset_find("synthetic", err) };
    *passed = false;
    if (!c.synthetic)
        return KVANT_INVALID;
    check_code_version(quantizer, options->target, c.version);
    kvant_status status = check_gates(&c, err);
    if (!status)
        status = check_states(&c, err);
    if (!status)
        status = check_oracles(&c, err);
    *passed = !status && c.passed > 0 && c.failed == 0;
    return status;
}
