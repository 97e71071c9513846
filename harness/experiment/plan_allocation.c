/* plan_allocation.c - resolves a spec's `allocator` to a quantizer for every group: from a file, or by spending a budget.
 * What the allocators go by comes from the store; what it lacks is measured when the caller says so, else the cell waits. */
#include "harness/allocation/allocation.h"
#include "harness/allocation/budget.h"
#include "harness/experiment/calibration.h"
#include "harness/experiment/canonical.h"
#include "harness/experiment/plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- Who codes ------------------------------------------------------------------------------- */

static kvant_status note_used(plan_allocation *a, const kvant_codec *codec, kvant_error *err)
{
    for (size_t i = 0; i < a->n_used; i++)
        if (a->used[i].quantizer == codec->quantizer && !strcmp(a->used[i].target, codec->target))
            return KVANT_OK;
    if (a->n_used == PLAN_USED)
        return kvant_fail(err, KVANT_INVALID, "an allocation of more than %d quantizers", PLAN_USED);
    a->used[a->n_used++] = (plan_used){ codec->quantizer, codec->target };
    return KVANT_OK;
}

/* What all groups of a side have in common, for tables: their quantizer, and the parameters in which they do not differ. */
static void find_common(const kvcache_allocation *a, kvant_side side, plan_common *common)
{
    const size_t n = (size_t)a->n_layer * a->n_kv_head;
    const kvcache_side *first = &a->side[side == KVANT_VALUE];
    for (size_t i = 1; i < n; i++) {
        const kvcache_side *other = &a->side[2 * i + (side == KVANT_VALUE)];
        common->mixed |= other->quantizer != first->quantizer;
        for (int j = 0; !common->mixed && j < KVANT_MAX_PARAMS && first->quantizer->params[j].name; j++)
            common->differs[j] |= !kvant_same_arg(first->quantizer->params, j, &first->args, &other->args);
    }
}

static kvant_status survey_allocation(const plan_cell *cell, plan_allocation *a, kvant_error *err)
{
    const kvcache_shape shape = lm_cache_shape(&cell->model->shape);
    kvcache_policy policy = cell->policy;
    kvcache_codecs codecs;
    policy.allocation = &a->table;
    kvant_status status = kvcache_codecs_describe(&policy, &shape, &codecs, err);
    if (status)
        return status;
    for (size_t i = 0; i < codecs.n_own && !status; i++)
        status = note_used(a, &codecs.own[i], err);
    kvcache_codecs_close(&codecs);
    find_common(&a->table, KVANT_KEY, &a->key);
    find_common(&a->table, KVANT_VALUE, &a->value);
    return status;
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* "sha256" of who codes which group, in canonical form: two ways to the same allocation are seen to be one. Nothing where there is
 * no allocation yet. */
static void add_hash(text *t, const kvcache_allocation *a)
{
    text groups = { 0 };
    char hash[SHA256_HEX] = "";
    if (!a->side)
        return;
    for (size_t i = 0; i < (size_t)a->n_layer * a->n_kv_head * 2; i++) {
        text_add(&groups, "%s ", a->side[i].quantizer->name);
        canonical_params(&groups, a->side[i].quantizer->params, &a->side[i].args);
    }
    if (!groups.failed)
        sha256_of(groups.data, groups.length, hash);
    t->failed |= groups.failed || !*hash;
    text_free(&groups);
    text_add(t, ",");
    canonical_member(t, "sha256", hash);
}

static void describe_budget(const spec_choice *choice, plan_allocation *a)
{
    text t = { 0 };
    const double *v = choice->args.v;
    const bool blind = choice->allocator->blind;
    text_add(&t, "{\"allocator\":{");
    canonical_member(&t, "name", choice->allocator->name);
    text_add(&t, ",\"params\":");
    canonical_params(&t, choice->allocator->params, &choice->own);
    text_add(&t, "},\"budget\":");
    canonical_params(&t, budget_params, &choice->args);
    if (a->learns.used) {
        text_add(&t, ",\"calibration\":");
        canonical_params(&t, calibration_params, &a->learns.args);
        text_add(&t, ",");
        canonical_member(&t, "data", a->learns.data->data.sha256);
    }
    text_add(&t, ",");
    canonical_member(&t, "protect", choice->protect ? choice->protect : "");
    add_hash(&t, &a->table);
    text_add(&t, "}");
    a->config = t.data;
    text label = { 0 };
    text_add(&label, "%s", choice->allocator->name);
    if (!blind)
        text_add(&label, " %s", budget_params[BUDGET_WEIGHTS].choices[(int)v[BUDGET_WEIGHTS]]);
    if (!blind && v[BUDGET_CURVE] != CURVE_MEASURED)
        text_add(&label, " %s", budget_params[BUDGET_CURVE].choices[(int)v[BUDGET_CURVE]]);
    if (v[BUDGET_GROUPS] != GROUPS_LAYER)
        text_add(&label, " by head");
    if (v[BUDGET_SIDES] != SIDES_TOGETHER)
        text_add(&label, " apart");
    text_add(&label, " %gb%s", v[BUDGET_BITS], v[BUDGET_COUNTS] != 0 ? " stored" : "");
    a->label = label.data;
}

static void describe_file(const char *path, plan_allocation *a)
{
    text t = { 0 }, label = { 0 };
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    text_add(&t, "{");
    canonical_member(&t, "file", name);
    add_hash(&t, &a->table);
    text_add(&t, "}");
    text_add(&label, "by %s", name);
    a->config = t.data;
    a->label = label.data;
}

/* ---- Budgets ---------------------------------------------------------------------------------- */

/* The request that the spec's words make; memory for its arrays is the caller's. */
typedef struct { budget_request request; double candidates[ALLOCATION_CANDIDATES]; int32_t protect[BUDGET_PROTECT]; } asked;

static kvant_status make_request(const plan_cell *cell, const plan_order *order, asked *a, kvant_error *err)
{
    const spec_choice *choice = order->choice;
    const double *v = choice->args.v, *learn = cell->calibration.args.v;
    const size_t listed = (size_t)v[BUDGET_CANDIDATES];
    a->candidates[0] = 4;
    a->candidates[1] = 8;
    for (size_t i = 0; i < listed; i++)
        a->candidates[i] = choice->args.list[i];
    a->request = (budget_request){
        .measure = { .model = order->model, .data = order->data, .key = cell->policy.key, .value = cell->policy.value,
                     .candidates = a->candidates, .n_candidates = listed ? listed : 2,
                     .weights = (allocation_weights)v[BUDGET_WEIGHTS], .groups = (cache_groups)v[BUDGET_GROUPS],
                     .sides = (cache_sides)v[BUDGET_SIDES], .n = (uint32_t)learn[CALIBRATION_N],
                     .length = (uint32_t)learn[CALIBRATION_LENGTH], .calibration_seed = (uint32_t)learn[CALIBRATION_SEED],
                     .seed = cell->policy.seed, .seed_rule = cell->policy.seed_rule, .isa = cell->policy.isa },
        .curve = (curve_kind)v[BUDGET_CURVE], .bits = v[BUDGET_BITS], .by_stored = v[BUDGET_COUNTS] != 0, .protect = a->protect };
    return choice->protect ? budget_protect(choice->protect, a->protect, &a->request.n_protect, err) : KVANT_OK;
}

static kvant_status spend(const plan_cell *cell, const plan_order *order, plan_allocation *out, kvant_error *err)
{
    const spec_choice *choice = order->choice;
    const kvcache_shape shape = lm_cache_shape(&cell->model->shape);
    const bool blind = choice->allocator->blind;
    asked a;
    budget b = { .memory = NULL };
    allocation_result result;
    kvant_status status = make_request(cell, order, &a, err);
    if (!status)
        status = blind ? budget_open_blind(&a.request, &shape, &b, err)
                       : budget_open(&a.request, order->known, order->threads, order->measure, &b, err);
    uint32_t *chosen = status ? NULL : calloc(b.problem.n_groups + 1, sizeof *chosen);
    if (!status && !chosen)
        status = kvant_fail(err, KVANT_NOMEM, "no memory for %zu groups", b.problem.n_groups);
    if (!status)
        status = allocator_run(choice->allocator, &choice->own, &b.problem, chosen, &result, err);
    if (!status)
        status = budget_allocation(&a.request, &b, chosen, &shape, &out->table, err);
    if (!status && !blind)
        out->learns.used = true;
    free(chosen);
    budget_close(&b);
    return status;
}

/* ---- The plan's ------------------------------------------------------------------------------- */

void plan_allocation_free(plan_allocation *a)
{
    if (!a)
        return;
    allocation_free(&a->table);
    free(a->config);
    free(a->label);
    free(a);
}

/* Without an allocation the quantizers' own `bits` say nothing all the same. */
static void mark_bits(const plan_cell *cell, plan_allocation *a)
{
    const kvcache_side *sides[] = { &cell->policy.key, &cell->policy.value };
    plan_common *commons[] = { &a->key, &a->value };
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < KVANT_MAX_PARAMS && sides[side]->quantizer->params[i].name; i++)
            commons[side]->differs[i] = !strcmp(sides[side]->quantizer->params[i].name, "bits");
}

/* Cells of one plan that come to the same share it. */
static kvant_status keep(plan *p, plan_allocation *a, const plan_allocation **out, kvant_error *err)
{
    for (size_t i = 0; i < p->n_allocations; i++)
        if (!strcmp(p->allocations[i]->config, a->config)) {
            plan_allocation_free(a);
            *out = p->allocations[i];
            return KVANT_OK;
        }
    plan_allocation **more = realloc(p->allocations, (p->n_allocations + 1) * sizeof *more);
    if (!more) {
        plan_allocation_free(a);
        return kvant_fail(err, KVANT_NOMEM, "no memory for an allocation");
    }
    p->allocations = more;
    *out = p->allocations[p->n_allocations++] = a;
    return KVANT_OK;
}

kvant_status plan_allocate(plan *p, const plan_order *order, plan_cell *cell, kvant_error *err)
{
    const spec_choice *choice = order->choice;
    const kvcache_shape shape = lm_cache_shape(&cell->model->shape);
    plan_allocation *a = calloc(1, sizeof *a);
    if (!a)
        return kvant_fail(err, KVANT_NOMEM, "no memory for an allocation");
    a->learns = cell->calibration;
    a->learns.used = false;
    kvant_status status = choice->name ? allocation_read(choice->name, &shape, &a->table, err)
                                       : spend(cell, order, a, err);
    if (!status)
        status = survey_allocation(cell, a, err);
    /* A budget that was not spent is told like one that was: the skip says what was asked. */
    const bool unspent = status == KVANT_INVALID && !choice->name;
    if (unspent)
        mark_bits(cell, a);
    if (status && !unspent) {
        plan_allocation_free(a);
        return status;
    }
    if (choice->name)
        describe_file(choice->name, a);
    else
        describe_budget(choice, a);
    if (!a->config || !a->label) {
        plan_allocation_free(a);
        return kvant_fail(err, KVANT_NOMEM, "no memory to describe an allocation");
    }
    const kvant_status kept = keep(p, a, &cell->allocation, err);
    if (kept || status)
        return kept ? kept : status;
    cell->policy.allocation = &cell->allocation->table;
    cell->policy.key = cell->allocation->table.side[kvcache_group(&shape, 0, 0, KVANT_KEY)];
    cell->policy.value = cell->allocation->table.side[kvcache_group(&shape, 0, 0, KVANT_VALUE)];
    return KVANT_OK;
}
