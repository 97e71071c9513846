/* budget.c - makes an allocation problem of sensitivities (harness/allocation/budget.h).
 * One place decides what weights, curves and losses are, so that the command line and specs mean the same by a name. */
#include "harness/allocation/allocation.h"
#include "harness/allocation/budget.h"

#include <stdlib.h>
#include <string.h>

static const char *const class_names[] = { [BUDGET_BOTH] = "keys and values", [BUDGET_KEYS] = "keys", [BUDGET_VALUES] = "values" };

static budget_class class_of(const cache_group *g) { return g->key && g->value ? BUDGET_BOTH : g->key ? BUDGET_KEYS : BUDGET_VALUES; }

/* ---- Memory -------------------------------------------------------------------------------------- */

typedef struct { double *loss, *weight, *curve, *alpha, *beta; uint32_t *layer; bool *protect, *values; } parts;

static kvant_status make_room(budget *b, parts *m, kvant_error *err)
{
    const size_t n = b->measured.n_groups, cells = n * b->measured.n_candidates;
    double *numbers = calloc(2 * cells + 4 * n, sizeof *numbers);      /* layer, protect and values share the last n */
    if (!numbers)
        return kvant_fail(err, KVANT_NOMEM, "budget: no memory for %zu groups", n);
    b->memory = numbers;
    *m = (parts){ .loss = numbers, .curve = numbers + cells, .weight = numbers + 2 * cells, .alpha = numbers + 2 * cells + n,
                  .beta = numbers + 2 * cells + 2 * n };
    m->layer = (uint32_t *)(numbers + 2 * cells + 3 * n);
    m->protect = (bool *)(m->layer + n);
    m->values = m->protect + n;
    return KVANT_OK;
}

/* ---- Curves -------------------------------------------------------------------------------------- */

/* D(b) of a class [n_candidates]: the mean loss of its groups; in units of their weights, where they have some. False: no group. */
static bool mean_curve(const sensitivity *losses, const double *weight, budget_class class, double *d)
{
    double norm = 0;
    memset(d, 0, losses->n_candidates * sizeof *d);
    for (size_t i = 0; i < losses->n_groups; i++) {
        if (class_of(&losses->group[i]) != class)
            continue;
        norm += weight ? weight[i] : 1;
        for (size_t c = 0; c < losses->n_candidates; c++)
            d[c] += losses->loss[i * losses->n_candidates + c];
    }
    for (size_t c = 0; c < losses->n_candidates; c++)
        d[c] = norm > 0 ? fmax(d[c] / norm, 0) : 0;
    return norm > 0;
}

static const double *counted(const budget_request *r, const sensitivity *s, size_t group)
{
    return (r->by_stored ? s->stored : s->asked) + group * s->n_candidates;
}

/* Sets the curve of all groups of a class, and its line. */
static kvant_status set_class(const budget_request *r, budget *b, const sensitivity *losses, budget_class class, parts *m,
                              kvant_error *err)
{
    const sensitivity *s = &b->measured;
    const size_t n = s->n_candidates;
    double d[ALLOCATION_CANDIDATES];
    size_t first = 0;
    kvant_error why = { "" };
    while (first < s->n_groups && class_of(&s->group[first]) != class)
        first++;
    b->line[class] = (curve){ NAN, NAN, NAN };
    if (first == s->n_groups)
        return KVANT_OK;
    if (r->curve == CURVE_CONSTANT)
        b->line[class] = CURVE_CONSTANTS;
    else if (!mean_curve(losses, s->weight, class, d) || curve_fit(counted(r, s, first), d, n, &b->line[class], &why))
        b->line[class] = (curve){ NAN, NAN, NAN };
    if (r->curve == CURVE_FITTED && isnan(b->line[class].alpha))
        return kvant_fail(err, KVANT_INVALID, "budget: %s: %s", class_names[class], why.text[0] ? why.text : "their weights are all 0");
    for (size_t i = first; i < s->n_groups; i++) {
        if (class_of(&s->group[i]) != class)
            continue;
        m->alpha[i] = b->line[class].alpha;
        m->beta[i] = b->line[class].beta;
        for (size_t c = 0; c < n; c++)
            m->curve[i * n + c] = r->curve == CURVE_MEASURED ? d[c] : curve_at(&b->line[class], counted(r, s, i)[c]);
    }
    return KVANT_OK;
}

/* ---- The problem --------------------------------------------------------------------------------- */

static kvant_status set_protect(const budget_request *r, const sensitivity *s, bool *protect, kvant_error *err)
{
    const int64_t n_layer = (int64_t)s->group[s->n_groups - 1].layer + 1;
    for (size_t k = 0; k < r->n_protect; k++) {
        const int64_t layer = r->protect[k] < 0 ? n_layer + r->protect[k] : r->protect[k];
        if (layer < 0 || layer >= n_layer)
            return kvant_fail(err, KVANT_INVALID, "budget: there is no layer %d to protect; the model has 0 to %d", (int)r->protect[k],
                              (int)n_layer - 1);
        for (size_t i = 0; i < s->n_groups; i++)
            protect[i] |= s->group[i].layer == layer;
    }
    return KVANT_OK;
}

static kvant_status make_problem(const budget_request *r, budget *b, const sensitivity *losses, kvant_error *err)
{
    const sensitivity *s = &b->measured;
    const size_t n = s->n_candidates;
    parts m = { .loss = NULL };
    kvant_status status = make_room(b, &m, err);
    for (budget_class class = 0; class < BUDGET_CLASSES && !status; class++)
        status = set_class(r, b, losses, class, &m, err);
    if (!status)
        status = set_protect(r, s, m.protect, err);
    if (status)
        return status;
    for (size_t i = 0; i < s->n_groups; i++) {
        m.layer[i] = s->group[i].layer;
        m.values[i] = !s->group[i].key;
        m.weight[i] = s->weight ? s->weight[i] : allocation_weight(s->loss + i * n, m.curve + i * n, n);
        for (size_t c = 0; c < n; c++)
            m.loss[i * n + c] = s->loss ? s->loss[i * n + c] : m.weight[i] * m.curve[i * n + c];
    }
    b->problem = (allocation_problem){ .n_groups = s->n_groups, .n_candidates = n, .candidates = r->measure.candidates,
                                       .asked = s->asked, .stored = s->stored, .by_stored = r->by_stored, .budget = r->bits,
                                       .size = s->size, .layer = m.layer, .values = m.values, .loss = m.loss, .weight = m.weight, .curve = m.curve,
                                       .alpha = m.alpha, .beta = m.beta, .protect = r->n_protect ? m.protect : NULL };
    return KVANT_OK;
}

kvant_status budget_open(const budget_request *r, store *s, int threads, const run_options *run, budget *out, kvant_error *err)
{
    sensitivity distortion = { .n_groups = 0 };
    *out = (budget){ .memory = NULL };
    kvant_status status = sensitivity_open(&r->measure, s, threads, run, &out->measured, err);
    const bool modelled = !status && !out->measured.loss && r->curve != CURVE_CONSTANT;
    if (modelled) {
        sensitivity_request measure = r->measure;
        measure.weights = WEIGHTS_DISTORTION;
        measure.experiment = NULL;
        status = sensitivity_open(&measure, s, threads, run, &distortion, err);
    }
    if (!status)
        status = make_problem(r, out, modelled ? &distortion : &out->measured, err);
    sensitivity_close(&distortion);
    if (status)
        budget_close(out);
    return status;
}

kvant_status budget_open_blind(const budget_request *request, const kvcache_shape *shape, budget *out, kvant_error *err)
{
    budget_request r = *request;
    r.curve = CURVE_CONSTANT;
    *out = (budget){ .memory = NULL };
    kvant_status status = sensitivity_of_nothing(&r.measure, shape, &out->measured, err);
    if (!status)
        status = make_problem(&r, out, &out->measured, err);
    if (status)
        budget_close(out);
    return status;
}

void budget_close(budget *b)
{
    sensitivity_close(&b->measured);
    free(b->memory);
    *b = (budget){ .memory = NULL };
}

/* ---- The answer ---------------------------------------------------------------------------------- */

kvant_status budget_allocation(const budget_request *r, const budget *b, const uint32_t *choice, const kvcache_shape *shape,
                               kvcache_allocation *out, kvant_error *err)
{
    *out = (kvcache_allocation){ shape->n_layer, shape->n_kv_head,
                                 calloc((size_t)shape->n_layer * shape->n_kv_head * 2, sizeof *out->side) };
    if (!out->side)
        return kvant_fail(err, KVANT_NOMEM, "budget: no memory for %u layers", shape->n_layer);
    for (size_t i = 0; i < b->measured.n_groups; i++) {
        const cache_group *g = &b->measured.group[i];
        const double candidate = r->measure.candidates[choice[i]];
        for (uint32_t head = g->head; head < g->head + g->n_heads; head++) {
            if (g->key)
                out->side[kvcache_group(shape, g->layer, head, KVANT_KEY)] = sensitivity_side(&r->measure.key, candidate);
            if (g->value)
                out->side[kvcache_group(shape, g->layer, head, KVANT_VALUE)] = sensitivity_side(&r->measure.value, candidate);
        }
    }
    return KVANT_OK;
}
