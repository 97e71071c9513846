/* allocate.c - `kvant allocate`: spends a bit budget over a model's layers or KV heads by what `kvant sensitivity` measured.
 * One allocator's answer group by group, or all of them compared at the same budget. */
#include "harness/allocation/allocation.h"
#include "harness/allocation/budget.h"
#include "harness/experiment/experiment.h"
#include "harness/input/input.h"
#include "harness/table.h"
#include "harness/version.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum { FORMAT_TABLE, FORMAT_MD, FORMAT_JSON, FORMAT_OPTIQ } format_kind;

typedef struct {
    budget_request request;
    double candidates[ALLOCATION_CANDIDATES];
    int32_t protect[BUDGET_PROTECT];
    const char *allocator, *out;       /* name and parameters, or "all"; NULL: no file */
    const char *weights, *curve;       /* as given, for the record */
    format_kind format;
    kvant_input model;
    kvcache_shape shape;
    budget budget;
} task;

/* What one allocator did. A status other than KVANT_OK: why it did nothing. */
typedef struct {
    const kvant_allocator *allocator;
    kvant_args args;
    uint32_t *choice;                  /* [n_groups] */
    allocation_result result;
    kvant_status status;
    kvant_error err;
} answer;

/* ---- Options ------------------------------------------------------------------------------------- */

static bool read_number(const cli *c, const char *option, double *value)
{
    const char *given = cli_get(c, option);
    char *end = NULL;
    *value = given ? strtod(given, &end) : NAN;
    if (given && end != given && !*end && isfinite(*value) && *value > 0)
        return true;
    if (given)
        cli_usage(c, "--%s %.40s: must be a number of bits above 0", option, given);
    else
        cli_usage(c, "--%s is missing: bits per coordinate, on average", option);
    return false;
}

static bool read_format(const cli *c, task *t)
{
    static const char *const names[] = { "table", "md", "json", "optiq", NULL };
    const char *given = cli_get(c, "format");
    for (int i = 0; names[i]; i++)
        if (!given || !strcmp(given, names[i])) {
            t->format = (format_kind)i;
            return true;
        }
    cli_usage(c, "--format %.40s: must be table, md, json or optiq", given);
    return false;
}

static bool read_options(const cli *c, task *t)
{
    const char *bits = cli_get(c, "bits");
    kvant_error err = { "" };
    t->allocator = cli_get(c, "allocator") ? cli_get(c, "allocator") : "exact";
    t->weights = cli_get(c, "weights") ? cli_get(c, "weights") : "kl";
    t->curve = cli_get(c, "curve") ? cli_get(c, "curve") : "measured";
    t->out = cli_get(c, "out");
    if (!option_threads(c) || !option_sensitivity(c, cli_arg(c, 0), t->candidates, &t->request.measure) ||
        !read_number(c, "budget", &t->request.bits) || !read_format(c, t))
        return false;
    t->request.protect = t->protect;
    if (cli_get(c, "protect") && budget_protect(cli_get(c, "protect"), t->protect, &t->request.n_protect, &err))
        cli_usage(c, "--%s", err.text);
    else if (bits && strcmp(bits, "asked") && strcmp(bits, "stored"))
        cli_usage(c, "--bits %.40s: must be asked or stored", bits);
    else if (curve_find(t->curve, &t->request.curve, &err))
        cli_usage(c, "%s", err.text);
    else if (!strcmp(t->allocator, "all") && (t->out || t->format == FORMAT_OPTIQ))
        cli_usage(c, "--allocator all compares allocations; a file holds one, so name the allocator");
    else {
        t->request.by_stored = bits && !strcmp(bits, "stored");
        return true;
    }
    return false;
}

/* ---- Input --------------------------------------------------------------------------------------- */

static kvant_status read_shape(task *t, kvant_error *err)
{
    gguf *file;
    lm_shape shape;
    kvant_status status = input_find(t->request.measure.model, &t->model, err);
    if (!status)
        status = gguf_open(t->model.path, &file, err);
    if (status)
        return status;
    status = lm_read_shape(file, &shape, err);
    gguf_close(file);
    if (!status)
        t->shape = lm_cache_shape(&shape);
    return status;
}

/* Sensitivities come from the store; a store that is not there lacks all of them. */
static kvant_status read_budget(const cli *c, task *t, kvant_error *err)
{
    const char *path = cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE;
    store *s = NULL;
    kvant_status status = access(path, F_OK) ? KVANT_OK : store_open(path, STORE_READ, &s, err);
    if (!status)
        status = budget_open(&t->request, s, omp_get_max_threads(), NULL, &t->budget, err);
    if (!s && cli_get(c, "store") && strstr(err->text, "kvant sensitivity ")) {
        /* The text ends in the command that measures, which must fill the store that was asked for. */
        const size_t length = strlen(err->text);
        snprintf(err->text + length, sizeof err->text - length, " --store %s", path);
    }
    store_close(s);
    return status;
}

static kvant_status solve(const task *t, answer *a)
{
    return a->status = allocator_run(a->allocator, &a->args, &t->budget.problem, a->choice, &a->result, &a->err);
}

/* ---- Printing ------------------------------------------------------------------------------------ */

static void print_table(const task *t, table *rows)
{
    text out = { 0 };
    if (t->format == FORMAT_MD)
        table_markdown(rows, &out);
    else
        table_print(rows, 0, &out);
    if (out.data)
        fwrite(out.data, 1, out.length, stdout);
    text_free(&out);
    table_free(rows);
}

static void print_groups(const task *t, const answer *a)
{
    const sensitivity *s = &t->budget.measured;
    const bool heads = t->request.measure.groups == GROUPS_HEAD, apart = t->request.measure.sides == SIDES_APART;
    table rows = { .n_columns = 6u + heads + apart };
    table_cell(&rows, "layer");
    if (heads)
        table_cell(&rows, "head");
    if (apart)
        table_cell(&rows, "side");
    static const char *const columns[] = { "weight", "bits", "bits asked", "bits stored", "loss" };
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        table_cell(&rows, "%s", columns[k]);
    for (size_t i = 0; i < s->n_groups; i++) {
        const size_t at = i * s->n_candidates + a->choice[i];
        table_cell(&rows, "%u", s->group[i].layer);
        if (heads)
            table_cell(&rows, "%u", s->group[i].head);
        if (apart)
            table_cell(&rows, "%s", s->group[i].key ? "key" : "value");
        table_cell(&rows, "%.4g", t->budget.problem.weight[i]);
        table_cell(&rows, "%g", t->candidates[a->choice[i]]);
        table_cell(&rows, "%.6g", s->asked[at]);
        table_cell(&rows, "%.6g", s->stored[at]);
        table_cell(&rows, "%.4g", t->budget.problem.loss[at]);
    }
    print_table(t, &rows);
}

/* "20/10/0": groups at each candidate, the smallest first. */
static void count_text(const task *t, const answer *a, char out[256])
{
    size_t length = 0;
    for (uint32_t c = 0; c < t->budget.problem.n_candidates; c++) {
        size_t n = 0;
        for (size_t i = 0; i < t->budget.problem.n_groups; i++)
            n += a->choice[i] == c;
        length += (size_t)snprintf(out + length, 256 - length, "%s%zu", c ? "/" : "", n);
        if (length >= 256)
            return;
    }
}

static void relative_text(double relative, char out[32])
{
    if (isfinite(relative))
        snprintf(out, 32, "%.4f", relative);
    else
        snprintf(out, 32, "%s", isnan(relative) ? "-" : "inf");
}

/* What is behind the figures: curves, and how far the groups are apart. */
static void print_basis(const task *t)
{
    static const char *const sides[] = { "", ", keys", ", values" };
    const sensitivity *s = &t->budget.measured;
    for (budget_class k = 0; k < BUDGET_CLASSES; k++) {
        const curve *line = &t->budget.line[k];
        if (!isnan(line->alpha)) {
            printf("curve%s: %.4g * %.4g^-bits", sides[k], line->alpha, line->beta);
            if (isfinite(line->r2))
                printf(", r2 %.4f", line->r2);
            printf("\n");
        }
    }
    for (size_t c = 0; c < (s->weight ? 1 : s->n_candidates); c++)
        if (isfinite(s->ratio[c].value)) {
            printf("sensitivity, largest / smallest");
            if (!s->weight)
                printf(" at %g bits", t->candidates[c]);
            printf(": %.3g", s->ratio[c].value);
            if (isfinite(s->ratio[c].lo))
                printf(" [%.3g, %.3g]", s->ratio[c].lo, s->ratio[c].hi);
            printf("\n");
        }
}

static void print_answer(const task *t, const answer *a)
{
    char counts[256], relative[32];
    count_text(t, a, counts);
    relative_text(a->result.relative, relative);
    print_groups(t, a);
    printf("\n%s, weights %s, curve %s: budget %.6g %s bits per coordinate\n", a->allocator->name, t->weights, t->curve, t->request.bits,
           t->request.by_stored ? "stored" : "asked");
    printf("average: %.6g bits asked, %.6g stored; groups at each candidate: %s\n", a->result.asked, a->result.stored, counts);
    printf("loss: %.6g, %s of the least there is\n", a->result.loss, relative);
    print_basis(t);
}

static void print_comparison(const task *t, const answer *answers, size_t n)
{
    table rows = { .n_columns = 6 };
    static const char *const columns[] = { "allocator", "bits asked", "bits stored", "loss", "loss / exact", "groups at each candidate" };
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        table_cell(&rows, "%s", columns[k]);
    for (size_t i = 0; i < n; i++) {
        const answer *a = &answers[i];
        char counts[256], relative[32];
        table_cell(&rows, "%s", a->allocator->name);
        if (a->status) {
            for (size_t k = 1; k < 5; k++)
                table_cell(&rows, "-");
            table_cell(&rows, "%s", a->err.text);
            continue;
        }
        count_text(t, a, counts);
        relative_text(a->result.relative, relative);
        table_cell(&rows, "%.6g", a->result.asked);
        table_cell(&rows, "%.6g", a->result.stored);
        table_cell(&rows, "%.6g", a->result.loss);
        table_cell(&rows, "%s", relative);
        table_cell(&rows, "%s", counts);
    }
    print_table(t, &rows);
    printf("\nbudget %.6g %s bits per coordinate; weights %s, curve %s\n", t->request.bits, t->request.by_stored ? "stored" : "asked",
           t->weights, t->curve);
    print_basis(t);
}

/* [{"allocator", "bits_asked", "bits_stored", "loss", "relative", "bits": [by group]}]; one that failed has an "error". */
static kvant_status print_comparison_json(const task *t, const answer *answers, size_t n, kvant_error *err)
{
    cJSON *all = cJSON_CreateArray();
    for (size_t i = 0; i < n; i++) {
        const answer *a = &answers[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddItemToArray(all, row);
        cJSON_AddStringToObject(row, "allocator", a->allocator->name);
        if (a->status) {
            cJSON_AddStringToObject(row, "error", a->err.text);
            continue;
        }
        cJSON_AddNumberToObject(row, "bits_asked", a->result.asked);
        cJSON_AddNumberToObject(row, "bits_stored", a->result.stored);
        cJSON_AddNumberToObject(row, "loss", a->result.loss);
        cJSON_AddNumberToObject(row, "relative", a->result.relative);      /* null where it is none */
        cJSON *bits = cJSON_AddArrayToObject(row, "bits");
        for (size_t g = 0; g < t->budget.problem.n_groups; g++)
            cJSON_AddItemToArray(bits, cJSON_CreateNumber(t->candidates[a->choice[g]]));
    }
    char *printed = cJSON_Print(all);
    if (printed)
        puts(printed);
    cJSON_free(printed);
    cJSON_Delete(all);
    return printed ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for the comparison");
}

/* The allocation's file, in the form that was asked for. */
static kvant_status write_text(const task *t, const answer *a, text *out, kvant_error *err)
{
    const char *const provenance[][2] = {
        { "allocator", t->allocator }, { "weights", t->weights }, { "curve", t->curve }, { "data", t->request.measure.data },
        { "experiment", t->budget.measured.experiment }, { "kvant", kvant_version() }, { "commit", version_commit },
    };
    const allocation_record record = { t->model.name, t->model.sha256, t->request.bits, t->request.by_stored, provenance,
                                       sizeof provenance / sizeof *provenance };
    kvcache_allocation allocation = { .side = NULL };
    kvant_status status = budget_allocation(&t->request, &t->budget, a->choice, &t->shape, &allocation, err);
    if (!status)
        status = t->format == FORMAT_OPTIQ ? allocation_write_optiq(&allocation, out, err)
                                           : allocation_write(&allocation, &t->shape, &record, out, err);
    if (!status && out->failed)
        status = kvant_fail(err, KVANT_NOMEM, "no memory for the allocation's text");
    allocation_free(&allocation);
    return status;
}

/* ---- Running ------------------------------------------------------------------------------------- */

static kvant_status answer_one(const task *t, answer *a, kvant_error *err)
{
    text out = { 0 };
    kvant_status status = solve(t, a);
    if (status) {
        *err = a->err;
        return status;
    }
    const bool file = t->format == FORMAT_JSON || t->format == FORMAT_OPTIQ || t->out;
    if (file)
        status = write_text(t, a, &out, err);
    if (!status && t->out)
        status = file_write(t->out, out.data, out.length, err);
    if (!status && file && !t->out)
        fwrite(out.data, 1, out.length, stdout);
    else if (!status)
        print_answer(t, a);
    text_free(&out);
    return status;
}

/* All at their default parameters, in the order of their names. */
static kvant_status answer_all(const task *t, answer *answers, size_t n, kvant_error *err)
{
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= !solve(t, &answers[i]);
    if (!any) {
        *err = answers[0].err;
        return answers[0].status;
    }
    if (t->format == FORMAT_JSON)
        return print_comparison_json(t, answers, n, err);
    print_comparison(t, answers, n);
    return KVANT_OK;
}

/* "boundary" or "boundary:layers=2". */
static kvant_status find_allocator(const char *given, answer *a, kvant_error *err)
{
    char name[64];
    const size_t length = strcspn(given, ":");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), given);
    a->allocator = allocator_find(name, err);
    if (!a->allocator)
        return KVANT_INVALID;
    a->args = kvant_defaults(a->allocator->params);
    return given[length] ? kvant_parse(a->allocator->params, given + length + 1, &a->args, err) : KVANT_OK;
}

static kvant_status run_task(const cli *c, task *t, kvant_error *err)
{
    const kvant_allocator *const *known = kvant_allocators();
    const bool all = !strcmp(t->allocator, "all");
    size_t n = 1;
    while (all && known[n])
        n++;
    answer *answers = calloc(n, sizeof *answers);
    uint32_t *choices = NULL;
    kvant_status status = answers ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for %zu allocators", n);
    for (size_t i = 0; i < n && !status; i++)
        status = find_allocator(all ? known[i]->name : t->allocator, &answers[i], err);
    if (!status)
        status = read_shape(t, err);
    if (!status)
        status = read_budget(c, t, err);
    if (!status && !(choices = calloc(n * t->budget.problem.n_groups, sizeof *choices)))
        status = kvant_fail(err, KVANT_NOMEM, "no memory for %zu groups", t->budget.problem.n_groups);
    for (size_t i = 0; i < n && !status; i++)
        answers[i].choice = choices + i * t->budget.problem.n_groups;
    if (!status)
        status = all ? answer_all(t, answers, n, err) : answer_one(t, &answers[0], err);
    free(choices);
    free(answers);
    return status;
}

static int run(const cli *c)
{
    task t = { .allocator = NULL };
    kvant_error err = { "" };
    if (!read_options(c, &t))
        return EXIT_USAGE;
    const kvant_status status = run_task(c, &t, &err);
    budget_close(&t.budget);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    { "budget", "BITS", "bits per coordinate, on average (required)", false },
    { "bits", "NAME", "which bits the budget counts: asked or stored (default asked)", false },
    { "allocator", "NAME", "one with its parameters, as boundary:layers=2, or all (default exact)", false },
    { "curve", "NAME", "D(b): measured, fitted or constant (default measured)", false },
    { "protect", "LIST", "layers that take the largest candidate, as in 0,1,-1; -1 is the last", false },
    OPTION_SENSITIVITY,
    { "store", "FILE", "the store (default " DEFAULT_STORE ")", false },
    { "out", "FILE", "write the allocation to a file, for a spec's `allocator`", false },
    { "format", "NAME", "table, md, json (what --out writes), or optiq: mlx-optiq's kv_config.json (default table)", false },
    OPTION_THREADS,
    { NULL, NULL, NULL, false },
};

const cli_command command_allocate = {
    .name = "allocate",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "spend a bit budget over a model's layers or KV heads",
    .details = "Groups are weighed by what `kvant sensitivity` stored for the same options. Of weights kl and distortion the losses "
               "are measured for every group and candidate: exact and knapsack go by them, greedy and ratequant by one weight per group "
               "and the curve, uniform and boundary by neither. With weights activation every loss is weight times curve. The loss of an "
               "allocation is the sum over its groups, and is compared with the least that the budget allows. With --allocator all, "
               "every allocator is run at its defaults.\n\nStored bits count norms, scales and padding; asked bits are those in the "
               "quantizers' names, which published splits count.",
    .example = "# which layers should have 2, 3 or 4 bits, for an average of 2.5\n"
               "kvant allocate smollm2-135m --data jargon --candidates 2,3,4 --budget 2.5 --out exact.json",
    .options = options,
    .run = run,
};
