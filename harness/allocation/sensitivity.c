/* sensitivity.c - turns a question into a spec of the probe `sensitivity`, lets the runner measure what the store lacks, and reads the
 * answer back: so that cells are known, resumed and reused as those of any experiment are. */
#include "harness/allocation/sensitivity.h"

#include "harness/experiment/canonical.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const weights_names[] = { [WEIGHTS_ACTIVATION] = "activation", [WEIGHTS_DISTORTION] = "distortion",
                                             [WEIGHTS_KL] = "kl" };
static const char *const metric_names[] = { [WEIGHTS_ACTIVATION] = "activation", [WEIGHTS_DISTORTION] = "squared_error",
                                            [WEIGHTS_KL] = "kl" };

/* ---- The request ------------------------------------------------------------------------------- */

/* Index of `bits` among a quantizer's parameters; -1: it has none. */
static int bits_of(const kvant_quantizer *quantizer)
{
    const kvant_param *bits = param_find(quantizer->params, "bits");
    return bits ? (int)(bits - quantizer->params) : -1;
}

kvcache_side sensitivity_side(const kvcache_side *side, double candidate)
{
    kvcache_side at = *side;
    at.args.v[bits_of(side->quantizer)] = candidate;
    return at;
}

static kvant_status check_side(const sensitivity_request *r, const kvcache_side *side, kvant_error *err)
{
    if (!side->quantizer || bits_of(side->quantizer) < 0)
        return kvant_fail(err, KVANT_INVALID, "%s has no parameter `bits` for candidates to set; take a quantizer that has",
                          side->quantizer ? side->quantizer->name : "a side without quantizer");
    for (size_t i = 0; i < r->n_candidates; i++) {
        kvcache_side at = *side;
        char digits[32];
        number_text(r->candidates[i], digits);
        kvant_error why;
        if (kvant_set(side->quantizer->params, "bits", digits, &at.args, &why))
            return kvant_fail(err, KVANT_INVALID, "%s: %s", side->quantizer->name, why.text);
    }
    return KVANT_OK;
}

static kvant_status check_request(const sensitivity_request *r, kvant_error *err)
{
    if (r->n_candidates < 1 || r->n_candidates > ALLOCATION_CANDIDATES)
        return kvant_fail(err, KVANT_INVALID, "%zu candidates; 1 to %d are possible", r->n_candidates, ALLOCATION_CANDIDATES);
    for (size_t i = 1; i < r->n_candidates; i++)
        if (!(r->candidates[i] > r->candidates[i - 1]))
            return kvant_fail(err, KVANT_INVALID, "candidates must rise, and %g follows %g", r->candidates[i],
                              r->candidates[i - 1]);
    kvant_status status = check_side(r, &r->key, err);
    return status ? status : check_side(r, &r->value, err);
}

static bool same_sides(const sensitivity_request *r)
{
    const int bits = bits_of(r->key.quantizer);
    const kvcache_side key = sensitivity_side(&r->key, r->candidates[0]), value = sensitivity_side(&r->value, r->candidates[0]);
    return bits >= 0 && key.quantizer == value.quantizer && !memcmp(&key.args, &value.args, sizeof key.args);
}

/* ---- The spec ---------------------------------------------------------------------------------- */

/* "key":[{"quantizer":...},...], one for each candidate. */
static void add_side(text *t, const char *name, const kvcache_side *side, const sensitivity_request *r)
{
    text_add(t, ",\"%s\":[", name);
    for (size_t i = 0; i < r->n_candidates; i++) {
        const kvcache_side at = sensitivity_side(side, r->candidates[i]);
        text args = { 0 };
        canonical_params(&args, at.quantizer->params, &at.args);
        text_add(t, "%s{\"quantizer\":\"%s\",%s", i ? "," : "", at.quantizer->name, args.data && !args.failed ? args.data + 1 : "");
        t->failed = t->failed || args.failed;
        text_free(&args);
    }
    text_add(t, "]");
}

/* Norms are the model's own: whatever the quantizers, the f16 cell has them. */
static void add_quantizers(text *t, const sensitivity_request *r)
{
    if (r->weights == WEIGHTS_ACTIVATION) {
        text_add(t, ",\"key\":\"f16\"");
        return;
    }
    add_side(t, "key", &r->key, r);
    if (!same_sides(r))
        add_side(t, "value", &r->value, r);
    text_add(t, ",\"seed\":%" PRIu32 ",\"seed_rule\":\"%s\"", r->seed, r->seed_rule == SEED_PER_LAYER ? "per_layer" : "shared");
}

/* The spec's text, named; NULL: no memory. */
static char *write_spec(const sensitivity_request *r, char experiment[65])
{
    text t = { 0 };
    text_add(&t, "\"probe\":\"sensitivity\",");
    canonical_member(&t, "model", r->model);
    text_add(&t, ",");
    canonical_member(&t, "data", r->data);
    text_add(&t, ",");
    canonical_member(&t, "weights", weights_names[r->weights]);
    text_add(&t, ",\"groups\":\"%s\",\"sides\":\"%s\",\"n\":%" PRIu32 ",\"length\":%" PRIu32 ",\"calibration_seed\":%" PRIu32 ",",
             r->groups == GROUPS_HEAD ? "head" : "layer", r->sides == SIDES_APART ? "apart" : "together", r->n, r->length,
             r->calibration_seed);
    canonical_member(&t, "isa", r->isa ? r->isa : "auto");
    add_quantizers(&t, r);
    char hash[SHA256_HEX] = "", *json = NULL;
    if (!t.failed) {
        sha256_of(t.data, t.length, hash);
        if (r->experiment)
            snprintf(experiment, 65, "%s", r->experiment);
        else
            snprintf(experiment, 65, "sensitivity-%.12s", hash);
        json = text_format("{\"name\":\"%s\",%s}", experiment, t.data);
    }
    text_free(&t);
    return json;
}

/* Keys and values take the same candidate: of two axes, the diagonal. */
static bool on_diagonal(const plan_cell *cell, const void *user)
{
    const sensitivity_request *r = user;
    return cell->reference || cell->policy.key.args.v[bits_of(r->key.quantizer)] == cell->policy.value.args.v[bits_of(r->value.quantizer)];
}

/* ---- What is missing --------------------------------------------------------------------------- */

static void add_quantizer_option(text *t, const char *option, const kvcache_side *side)
{
    char separator = ':';
    text_add(t, " --%s %s", option, side->quantizer->name);
    const kvant_param *params = side->quantizer->params;
    const kvant_args defaults = kvant_defaults(params);
    for (int i = 0; i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (strcmp(params[i].name, "bits") && !kvant_same_arg(params, i, &side->args, &defaults)) {
            char value[KVANT_VALUE_TEXT];
            kvant_format_arg(params, i, &side->args, value, sizeof value);
            text_add(t, "%c%s=%s", separator, params[i].name, value);
            separator = ',';
        }
}

/* The command that measures it. */
static void add_command(text *t, const sensitivity_request *r, const store *s)
{
    text_add(t, "kvant sensitivity %s --data %s --weights %s --groups %s --sides %s", r->model, r->data, weights_names[r->weights],
             r->groups == GROUPS_HEAD ? "head" : "layer", r->sides == SIDES_APART ? "apart" : "together");
    add_quantizer_option(t, "key", &r->key);
    if (!same_sides(r))
        add_quantizer_option(t, "value", &r->value);
    text_add(t, " --candidates ");
    for (size_t i = 0; i < r->n_candidates; i++)
        text_add(t, "%s%g", i ? "," : "", r->candidates[i]);
    text_add(t, " --n %" PRIu32 " --length %" PRIu32 " --calibration-seed %" PRIu32 " --seed %" PRIu32, r->n, r->length,
             r->calibration_seed, r->seed);
    if (r->seed_rule == SEED_PER_LAYER)
        text_add(t, " --seed-rule per_layer");
    if (r->isa)
        text_add(t, " --isa %s", r->isa);
    if (s)
        text_add(t, " --store %s", store_path(s));
}

static kvant_status fail_missing(const sensitivity_request *r, const plan *p, const store *s, kvant_error *err)
{
    text command = { 0 };
    add_command(&command, r, s);
    kvant_fail(err, KVANT_INVALID, "%zu of %zu cells with sensitivities are not measured yet; this does it: %s", p->n_cells - p->n_done,
               p->n_cells, command.failed ? "kvant sensitivity" : command.data);
    text_free(&command);
    return KVANT_INVALID;
}

/* ---- The answer -------------------------------------------------------------------------------- */

static void *numbers(size_t n) { return calloc(n + 1, sizeof(double)); }

static kvant_status make_room(const sensitivity_request *r, const kvcache_shape *shape, sensitivity *out, kvant_error *err)
{
    const size_t n = out->n_groups = cache_group_count(shape, r->groups, r->sides);
    const bool activation = r->weights == WEIGHTS_ACTIVATION;
    out->n_candidates = r->n_candidates;
    const size_t cells = n * r->n_candidates;
    out->group = calloc(n + 1, sizeof *out->group);
    out->size = numbers(n);
    out->asked = numbers(cells);
    out->stored = numbers(cells);
    out->ratio = calloc(r->n_candidates, sizeof *out->ratio);
    *(activation ? &out->weight : &out->loss) = numbers(activation ? n : cells);
    *(activation ? &out->weight_se : &out->loss_se) = numbers(activation ? n : cells);
    if (!out->group || !out->size || !out->asked || !out->stored || !out->ratio || !(activation ? out->weight : out->loss) ||
        !(activation ? out->weight_se : out->loss_se))
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory for %zu groups", n);
    for (size_t i = 0; i < n; i++) {
        out->group[i] = cache_group_at(shape, r->groups, r->sides, i);
        out->size[i] = cache_group_size(shape, &out->group[i]);
    }
    return KVANT_OK;
}

/* Bits of every group with one candidate. */
static kvant_status describe(const sensitivity_request *r, const kvcache_shape *shape, size_t candidate, sensitivity *out, kvant_error *err)
{
    const double bits = r->candidates[candidate];
    const kvcache_policy policy = { .key = sensitivity_side(&r->key, bits), .value = sensitivity_side(&r->value, bits), .seed = r->seed,
                                    .seed_rule = r->seed_rule, .isa = r->isa };
    kvcache_codecs codecs = { .n_own = 0 };
    const kvant_status status = kvcache_codecs_describe(&policy, shape, &codecs, err);
    for (size_t i = 0; i < out->n_groups && !status; i++) {
        const cache_group *g = &out->group[i];
        double asked = 0, stored = 0;
        for (uint32_t head = g->head; head < g->head + g->n_heads; head++)
            for (int value = !g->key; value < 1 + g->value; value++) {
                const kvant_codec *codec = kvcache_codec(&codecs, g->layer, head, value ? KVANT_VALUE : KVANT_KEY);
                asked += codec->plan.bits_asked * shape->head_dim;
                stored += kvant_bits(codec) * shape->head_dim;
            }
        out->asked[i * out->n_candidates + candidate] = asked / out->size[i];
        out->stored[i * out->n_candidates + candidate] = stored / out->size[i];
    }
    if (!status)
        kvcache_codecs_close(&codecs);
    return status;
}

/* Reads a finished cell's figures of all groups into every `stride`-th of value and se. */
static kvant_status read_cell(store *s, const plan_cell *cell, const sensitivity_request *r, size_t n_groups, double *value, double *se,
                              size_t stride, probe_result *ratio, kvant_error *err)
{
    static const char sql[] = "SELECT metric, value, se, n, lo, hi FROM measurement WHERE cell = ?1";
    sqlite3_stmt *rows = NULL;
    const char *metric = metric_names[r->weights];
    const size_t length = strlen(metric);
    size_t found = 0;
    *ratio = (probe_result){ "sensitivity_ratio", NAN, 0, NAN, NAN, NAN };
    int rc = sqlite3_prepare_v2(store_sql(s), sql, -1, &rows, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(rows, 1, cell->key, -1, SQLITE_STATIC);
    while (rc == SQLITE_OK && sqlite3_step(rows) == SQLITE_ROW) {
        double figures[5];
        for (int i = 0; i < 5; i++)
            figures[i] = sqlite3_column_type(rows, i + 1) == SQLITE_NULL ? NAN : sqlite3_column_double(rows, i + 1);
        const char *name = (const char *)sqlite3_column_text(rows, 0);
        char *end = NULL;
        if (name && !strcmp(name, ratio->metric)) {
            *ratio = (probe_result){ ratio->metric, figures[0], figures[2], figures[1], figures[3], figures[4] };
        } else if (name && !strncmp(name, metric, length) && !strncmp(name + length, "_group_", 7)) {
            const unsigned long long group = strtoull(name + length + 7, &end, 10);
            if (*end || group >= n_groups || !isfinite(figures[0]))
                break;
            value[group * stride] = figures[0];
            se[group * stride] = figures[1];
            found++;
        }
    }
    sqlite3_finalize(rows);
    return found == n_groups ? KVANT_OK
        : kvant_fail(err, KVANT_FAILED, "%s: cell %.12s (%s) has no finite %s of all its %zu groups", store_path(s), cell->key, cell->label,
                     metric, n_groups);
}

static const plan_cell *cell_of(const plan *p, const sensitivity_request *r, size_t candidate)
{
    for (size_t i = 0; i < p->n_cells; i++) {
        const plan_cell *c = &p->cells[i];
        if (r->weights == WEIGHTS_ACTIVATION ||
            (!c->reference && c->policy.key.args.v[bits_of(r->key.quantizer)] == r->candidates[candidate]))
            return c;
    }
    return NULL;
}

/* f16 alone, measured as any other cell is, must not differ from f16. */
static kvant_status check_control(store *s, const plan *p, const sensitivity_request *r, const sensitivity *out, kvant_error *err)
{
    probe_result ratio;
    double *value = numbers(2 * out->n_groups);
    if (!value)
        return kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory for %zu groups", out->n_groups);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < p->n_cells && !status; i++) {
        if (!p->cells[i].reference)
            continue;
        status = read_cell(s, &p->cells[i], r, out->n_groups, value, value + out->n_groups, 1, &ratio, err);
        for (size_t g = 0; g < out->n_groups && !status; g++)
            if (value[g] != 0)
                status = kvant_fail(err, KVANT_FAILED, "the f16 control diverges from f16 by %g nats in group %zu, which it "
                                    "must not at all: nothing measured here counts", value[g], g);
    }
    free(value);
    return status;
}

static kvant_status read_answer(store *s, const plan *p, const sensitivity_request *r, sensitivity *out, kvant_error *err)
{
    const kvcache_shape shape = lm_cache_shape(&p->cells[0].model->shape);
    const bool activation = r->weights == WEIGHTS_ACTIVATION;
    kvant_status status = make_room(r, &shape, out, err);
    for (size_t i = 0; i < r->n_candidates && !status; i++) {
        status = describe(r, &shape, i, out, err);
        if (status || (activation && i))
            continue;
        const plan_cell *cell = cell_of(p, r, i);
        if (!cell)
            return kvant_fail(err, KVANT_SKIP, "%g bits: %s", r->candidates[i],
                              p->n_skips ? p->skips[0].reason : "no cell was planned");
        status = activation ? read_cell(s, cell, r, out->n_groups, out->weight, out->weight_se, 1, &out->ratio[0], err)
                            : read_cell(s, cell, r, out->n_groups, out->loss + i, out->loss_se + i, r->n_candidates, &out->ratio[i], err);
    }
    return status || r->weights != WEIGHTS_KL ? status : check_control(s, p, r, out, err);
}

/* The request as a plan, with the spec that it points to; both are to be closed in any case. */
static kvant_status make_plan(const sensitivity_request *r, store *s, int threads, char experiment[65], spec *asked, plan *p,
                              kvant_error *err)
{
    *asked = (spec){ .doc = NULL };
    *p = (plan){ .spec = NULL };
    kvant_status status = check_request(r, err);
    if (status)
        return status;
    char *json = write_spec(r, experiment);
    status = json ? spec_parse("sensitivity", json, strlen(json), NULL, 0, asked, err)
                  : kvant_fail(err, KVANT_NOMEM, "sensitivity: no memory for its spec");
    free(json);
    if (!status)
        status = plan_open(asked, NULL, s, threads, NULL, p, err);
    if (!status && r->weights != WEIGHTS_ACTIVATION && !same_sides(r))
        plan_keep(p, on_diagonal, r);
    return status;
}

kvant_status sensitivity_check(const sensitivity_request *r, kvant_error *err)
{
    char experiment[65];
    spec asked;
    plan p;
    const kvant_status status = make_plan(r, NULL, 1, experiment, &asked, &p, err);
    plan_close(&p);
    spec_close(&asked);
    return status;
}

kvant_status sensitivity_open(const sensitivity_request *r, store *s, int threads, const run_options *run, sensitivity *out,
                              kvant_error *err)
{
    *out = (sensitivity){ .n_groups = 0 };
    spec asked;
    plan p;
    kvant_status status = make_plan(r, s, threads, out->experiment, &asked, &p, err);
    run_result result;
    if (!status && run)
        status = run_plan(&p, s, run, &result, err);
    else if (!status && p.n_done < p.n_cells)
        status = fail_missing(r, &p, s, err);
    if (!status)
        status = read_answer(s, &p, r, out, err);
    plan_close(&p);
    spec_close(&asked);
    if (status)
        sensitivity_close(out);
    return status;
}

kvant_status sensitivity_of_nothing(const sensitivity_request *request, const kvcache_shape *shape, sensitivity *out, kvant_error *err)
{
    sensitivity_request r = *request;
    r.weights = WEIGHTS_ACTIVATION;
    *out = (sensitivity){ .n_groups = 0 };
    kvant_status status = check_request(&r, err);
    if (!status)
        status = make_room(&r, shape, out, err);
    for (size_t i = 0; i < r.n_candidates && !status; i++)
        status = describe(&r, shape, i, out, err);
    for (size_t i = 0; i < out->n_groups && !status; i++)
        out->weight[i] = 1;
    if (status)
        sensitivity_close(out);
    return status;
}

void sensitivity_close(sensitivity *s)
{
    free(s->group);
    free(s->size);
    free(s->asked);
    free(s->stored);
    free(s->weight);
    free(s->weight_se);
    free(s->loss);
    free(s->loss_se);
    free(s->ratio);
    *s = (sensitivity){ .n_groups = 0 };
}
