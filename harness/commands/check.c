/* check.c - `kvant check`: holds quantizers to the universal gates and to the values that they state of themselves.
 * Rows go to stdout, what is skipped with its reason; a failing row makes the exit status 1. */
#include "harness/check/check.h"
#include "harness/cli.h"
#include "harness/version.h"

#include <gsl/gsl_version.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    store *store;                  /* NULL: rows are not stored */
    int64_t run;
    size_t passed, failed, skipped;
    kvant_status status;           /* of the store; nothing more is put once it failed */
    kvant_error err;
} report;

/* A number, or "-" where there is none. */
static const char *number(double value, const char *format, char digits[32])
{
    if (isnan(value))
        return "-";
    snprintf(digits, 32, format, value);
    return digits;
}

static void row(void *user, const store_check *r)
{
    report *p = user;
    char measured[32], expected[32], se[32], z[32];
    bool oracle = !strcmp(r->name, "oracle");
    p->passed += !strcmp(r->verdict, "pass");
    p->failed += !strcmp(r->verdict, "fail");
    p->skipped += !strcmp(r->verdict, "skip");
    printf("%-4s  %-14s  %-10s  %-18s  %-38s  %11s  %11s  %9s  %6s", r->verdict, r->quantizer, oracle ? r->metric : r->name, r->input,
           r->args, number(r->measured, "%.7g", measured), number(r->expected, oracle ? "%.7g" : "<= %.7g", expected),
           number(r->se, "%.2g", se), number(r->z, "%+.2f", z));
    printf(strcmp(r->verdict, "pass") ? "  %s\n" : "\n", r->source);
    if (p->store && !p->status)
        p->status = store_check_put(p->store, p->run, r, &p->err);
}

static kvant_status record_run(const cli *c, report *p, const char *target, kvant_error *err)
{
    char started[32], processor[128], libraries[64];
    time_text(started);
    processor_text(processor);
    snprintf(libraries, sizeof libraries, "GSL %s", gsl_version);
    store_run_info info = { .started = started, .version = kvant_version(), .commit = version_commit, .compiler = version_compiler,
                            .flags = version_flags, .cpu = processor, .gpu = "", .libraries = libraries, .isa = target,
                            .command = cli_line(c), .dirty = version_dirty, .threads = omp_get_max_threads() };
    return store_run(p->store, &info, &p->run, err);
}

/* Rows of one quantizer are stored all or not at all: half of them would look like a passed check. */
static kvant_status check_one(const cli *c, report *p, const kvant_quantizer *q, kvant_error *err)
{
    const char *isa = cli_get(c, "isa");
    kvant_codec codec = { .target = "scalar" };
    kvant_shape shape = { .dim = 128, .side = KVANT_VECTOR };
    kvant_status status = kvant_describe(q, &shape, NULL, isa, &codec, err);
    bool passed;
    if (status == KVANT_SKIP)
        codec.target = "scalar";
    else if (status)
        return status;
    check_options options = { .target = codec.target, .quick = cli_get(c, "quick"), .row = row, .user = p };
    status = p->store ? store_begin(p->store, err) : KVANT_OK;
    if (!status && p->store)
        status = record_run(c, p, codec.target, err);
    if (!status)
        status = check_run(q, &options, &passed, err);
    if (!status && p->status)
        status = kvant_fail(err, p->status, "%s", p->err.text);
    if (!status && p->store)
        status = store_commit(p->store, err);
    if (status && p->store)
        store_rollback(p->store);
    return status;
}

static kvant_status check_named(const cli *c, report *p, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (int i = 0; i < cli_n_args(c) && !status; i++) {
        const kvant_quantizer *q = kvant_find(cli_arg(c, i), err);
        status = q ? check_one(c, p, q, err) : KVANT_INVALID;
    }
    for (const kvant_quantizer *const *q = kvant_quantizers(); cli_n_args(c) == 0 && *q && !status; q++)
        status = check_one(c, p, *q, err);
    return status;
}

static int run(const cli *c)
{
    kvant_error err;
    report p = { .store = NULL };
    const char *path = cli_get(c, "store");
    for (int i = 0; i < cli_n_args(c); i++)        /* before minutes are spent on the names ahead of a wrong one */
        if (!kvant_find(cli_arg(c, i), &err))
            return cli_fail(c, KVANT_INVALID, &err);
    kvant_status status = path ? store_open(path, STORE_WRITE, &p.store, &err) : KVANT_OK;
    if (status)
        return cli_fail(c, status, &err);
    printf("%-4s  %-14s  %-10s  %-18s  %-38s  %11s  %11s  %9s  %6s\n", "", "quantizer", "check", "input", "parameters", "measured",
           "expected", "se", "z");
    status = check_named(c, &p, &err);
    store_close(p.store);
    if (status)
        return cli_fail(c, status, &err);
    printf("%zu passed, %zu failed, %zu skipped\n", p.passed, p.failed, p.skipped);
    return cli_finish(p.failed ? EXIT_CHECK : EXIT_DONE);
}

static const cli_option options[] = {
    { .name = "quick", .help = "fewer vectors, and no dimension above 128" },
    { .name = "isa", .argument = "TARGET", .help = "ops to check: auto (default), scalar or a kernel's target" },
    { .name = "store", .argument = "FILE", .help = "store the rows too; `kvant run` then need not check again" },
    { .name = NULL }
};

const cli_command command_check = {
    .name = "check", .arguments = "NAME...", .min_args = 0, .max_args = -1,
    .summary = "check quantizers against the values that a correct implementation hits",
    .details = "Every quantizer passes gates that hold for all of them (stored bytes, score and mix against decode, finite output,\n"
               "error that falls with bits, the law of rotations' and sketches' entries over seeds), and then the values of its own\n"
               "table, known from theory: over 64 seeds, with the standard error of the measurement clustered by seed.\nA value passes within its "
               "own rounding and 4.5 standard errors. Exit status 1 when a check fails.",
    .example = "# all values that turboquant_mse must hit, in a few seconds\nkvant check turboquant_mse --quick",
    .options = options, .run = run
};
