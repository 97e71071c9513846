/* plan_controls.c - what a plan has beside the cells that its spec names: the f16 reference of every pairing, and its controls.
 * Cells that the spec names too are not added again, but serve as what they are. */
#include "harness/experiment/controls.h"
#include "harness/experiment/plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- Cells ---------------------------------------------------------------------------------- */

static bool is_reference(const plan_cell *c)
{
    const kvcache_policy *p = &c->policy;
    return plan_all_f16(c) && !p->sink && !p->window && !p->seed && p->prefill == PREFILL_PACKED && p->key_stage == KEYS_POST_ROPE &&
           p->sliding == SLIDING_QUANTIZED;
}

/* Adds a cell to like's pairing, with one quantizer everywhere under the default policy: a control, or the reference (NULL). */
static kvant_status add_like(plan_builder *b, const plan_cell *like, const char *quantizer, const char *args, const char *control,
                             kvant_error *err)
{
    const kvant_quantizer *q = kvant_find(quantizer, err);
    if (!q)
        return KVANT_INVALID;
    kvcache_side side = { q, kvant_defaults(q->params) };
    kvant_status status = kvant_parse(q->params, args, &side.args, err);
    if (status)
        return status;
    plan_cell cell = { .probe = like->probe, .args = like->args, .model = like->model, .weights = like->weights, .data = like->data,
                       .added = true,
                       .reference = !control, .control = control, .again = control && !strcmp(control, CONTROL_AGAIN),
                       .key_target = "scalar", .value_target = "scalar", .kept_target = "scalar" };
    cell.policy = (kvcache_policy){ .key = side, .isa = strcmp(like->policy.isa, "scalar") ? "auto" : "scalar" };
    cell.policy.states = like->policy.states;
    if (cell.model)
        cell.policy.value = side;
    return plan_add_cell(b, &cell, NULL, err);
}

static kvant_status add_controls(plan_builder *b, const plan_cell *like, kvant_error *err)
{
    static const struct { const char *role, *quantizer, *args; } controls[] = {      /* the first: where the probe does not do it */
        { CONTROL_AGAIN, "f16", "" }, { CONTROL_Q8_0, "q8_0", "" }, { CONTROL_Q4_0, "q4_0", "" },
        { CONTROL_HADAMARD, "q4_0", "rotation=hadamard" }, { CONTROL_BROKEN, "control_broken", "" },
    };
    kvant_status status = KVANT_OK;
    for (size_t i = like->probe->repeats_reference; i < sizeof controls / sizeof *controls && !status; i++)
        status = add_like(b, like, controls[i].quantizer, controls[i].args, controls[i].role, err);
    return status;
}

void plan_mark_control(plan *p, const plan_cell *like)
{
    for (size_t i = 0; like->control && i < p->n_cells + p->n_skips; i++) {
        plan_cell *c = i < p->n_cells ? &p->cells[i] : &p->skips[i - p->n_cells].cell;
        if (!strcmp(c->key, like->key))
            c->control = like->control;
    }
}

/* ---- Order ---------------------------------------------------------------------------------- */

static int by_pairing(const void *a, const void *b, void *all)
{
    const plan_cell *cells = all;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    int order = strcmp(cells[i].pairing, cells[j].pairing);
    return order ? order : (i > j) - (i < j);
}

static size_t *sort_by_pairing(const plan *p)
{
    size_t *order = calloc(p->n_cells + 1, sizeof *order);
    for (size_t i = 0; order && i < p->n_cells; i++)
        order[i] = i;
    if (order)
        qsort_r(order, p->n_cells, sizeof *order, by_pairing, p->cells);
    return order;
}

/* Behind the last cell of the pairing that begins at order[g], of n cells. */
static size_t end_of_group(const plan *p, const size_t *order, size_t g, size_t n)
{
    size_t end = g + 1;
    while (end < n && !strcmp(p->cells[order[end]].pairing, p->cells[order[g]].pairing))
        end++;
    return end;
}

/* Numbers the jobs in the order of their first cells and moves those that were added (cells n_given and on) to the front of their
 * pairings, as they came. order [n_cells] is sorted by pairing, then by place: what was added stands last in its pairing. */
static kvant_status arrange(plan *p, const size_t *order, size_t n_given, kvant_error *err)
{
    size_t n = p->n_cells, *leader = calloc(n + 1, sizeof *leader), *group = calloc(n + 1, sizeof *group);
    plan_cell *cells = calloc(n + 1, sizeof *cells);
    if (!leader || !group || !cells) {
        free(leader);
        free(group);
        free(cells);
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu cells", n);
    }
    for (size_t g = 0, end; g < n; g = end) {
        end = end_of_group(p, order, g, n);
        for (size_t i = g; i < end; i++)
            leader[order[i]] = order[g];
        group[order[g]] = g;
    }
    size_t at = 0;
    for (size_t i = 0; i < n_given; i++) {
        const size_t first = leader[i];
        if (first == i) {
            const size_t g = group[i], end = end_of_group(p, order, g, n);
            for (size_t j = g; j < end; j++)
                p->cells[order[j]].job = p->n_jobs;
            for (size_t j = g; j < end; j++)
                if (order[j] >= n_given)
                    cells[at++] = p->cells[order[j]];
            p->n_jobs++;
        }
        cells[at++] = p->cells[i];
    }
    free(p->cells);
    p->cells = cells;
    free(leader);
    free(group);
    return KVANT_OK;
}

kvant_status plan_add_controls(plan_builder *b, kvant_error *err)
{
    plan *p = b->p;
    size_t n = p->n_cells, *order = sort_by_pairing(p);
    kvant_status status = order ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for %zu cells", n);
    for (size_t g = 0, end; g < n && !status; g = end) {
        size_t reference = SIZE_MAX;
        end = end_of_group(p, order, g, n);
        for (size_t i = end; i-- > g;)
            if (is_reference(&p->cells[order[i]]))
                reference = order[i];
        const plan_cell like = p->cells[order[g]];         /* the array may move */
        if (reference != SIZE_MAX)
            p->cells[reference].reference = true;
        else if (like.probe->wants_reference)
            status = add_like(b, &like, "f16", "", NULL, err);
        if (!status && like.model && like.probe->control_metric && b->s->controls)
            status = add_controls(b, &like, err);
    }
    free(order);
    order = status ? NULL : sort_by_pairing(p);
    if (!status)
        status = order ? arrange(p, order, n, err) : kvant_fail(err, KVANT_NOMEM, "no memory for %zu cells", n);
    free(order);
    return status;
}
