/* plan.c - multiplies a spec out to cells, in the order of its file.
 * Inputs are found, hashed and read here, once each and only when a cell uses them. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/plan_internal.h"
#include "harness/process.h"
#include "harness/sysinfo.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

typedef plan_builder builder;

/* ---- Inputs -------------------------------------------------------------------------------- */

/* Errors of inputs point at the spec's line, but for those that are not the spec's fault. */
static kvant_status input_fail(const spec *s, const spec_choice *choice, kvant_status status, const kvant_error *why, kvant_error *err)
{
    if (status != KVANT_INVALID && status != KVANT_SKIP && status != KVANT_IO)
        return kvant_fail(err, status, "%s", why->text);
    document_fail(s->doc, choice->item, err, "%s", why->text);
    return status == KVANT_IO ? KVANT_IO : KVANT_INVALID;
}

static kvant_status load_model(builder *b, const spec_choice *choice, const plan_model **out, kvant_error *err)
{
    plan_model *m = &b->p->models[choice - spec_find(b->s, SPEC_MODEL)->choices];
    *out = m;
    if (m->loaded)
        return KVANT_OK;
    kvant_error why;
    gguf *file = NULL;
    kvant_status status = input_find(choice->name, &m->input, &why);
    if (!status)
        status = gguf_open(m->input.path, &file, &why);
    if (!status)
        status = lm_read_shape(file, &m->shape, &why);
    if (!status)
        m->size = weights_size_of(file, &m->shape);
    gguf_close(file);
    m->loaded = !status;
    return status ? input_fail(b->s, choice, status, &why, err) : KVANT_OK;
}

static void name_generator(plan_data *d)
{
    const kvant_param *params = d->dataset->params;
    size_t used = (size_t)snprintf(d->name, sizeof d->name, "%s", d->dataset->name);
    for (int i = 0, n = 0; i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (d->args.v[i] != params[i].def && used < sizeof d->name) {
            char value[KVANT_VALUE_TEXT];
            kvant_format_arg(params, i, &d->args, value, sizeof value);
            used += (size_t)snprintf(d->name + used, sizeof d->name - used, "%c%s=%s", n++ ? ',' : ':', params[i].name, value);
        }
}

static kvant_status find_data(const spec_choice *choice, plan_data *d, kvant_input *input, kvant_error *why)
{
    d->dataset = choice->dataset;
    d->args = choice->args;
    if (!choice->name) {
        name_generator(d);
        return KVANT_OK;
    }
    kvant_status status = input_find(choice->name, input, why);
    if (status)
        return status;
    snprintf(d->name, sizeof d->name, "%s", input->name);
    if (!strcmp(input->kind, "model"))
        return kvant_fail(why, KVANT_INVALID, "'%.200s' is a model; data must be a text or vectors", choice->name);
    if (!d->dataset) {
        d->dataset = *input->dataset ? dataset_find(input->dataset, why) : dataset_for_path(input->path, why);
        if (!d->dataset)
            return KVANT_INVALID;
        d->args = kvant_defaults(d->dataset->params);
    }
    return KVANT_OK;
}

static kvant_status load_data(builder *b, const spec_choice *choice, plan_data *d, kvant_error *err)
{
    if (d->loaded)
        return KVANT_OK;
    kvant_error why;
    kvant_input input = { .path = "" };
    kvant_status status = find_data(choice, d, &input, &why);
    if (!status)
        status = d->dataset->load(choice->name ? input.path : NULL, &d->args, &d->data, &why);
    d->loaded = !status;
    return status ? input_fail(b->s, choice, status, &why, err) : KVANT_OK;
}

/* What a cell's trained methods learn from: the data named, or more of what is measured. A model learns from a text, and the second
 * half of the one that is measured will do; vectors of a file are all measured. */
static kvant_status load_calibration(builder *b, plan_cell *cell, kvant_error *err)
{
    plan_calibration *c = &cell->calibration;
    const spec_choice *choice = b->pick[SPEC_CALIBRATION];
    c->data = cell->data;
    c->own = !choice || !choice->name;
    if (c->own)
        return cell->model || !cell->data->dataset->suffixes ? KVANT_OK
             : kvant_fail(err, KVANT_SKIP, "%s: learns from vectors, and all of this file are measured; name others by `calibration.data`",
                          cell->policy.key.quantizer->name);
    plan_data *d = &b->p->calibration[choice - spec_find(b->s, SPEC_CALIBRATION)->choices];
    kvant_status status = load_data(b, choice, d, err);
    c->data = d;
    if (status)
        return status;
    if (!d->data.x != !cell->data->data.x)
        return document_fail(b->s->doc, choice->item, err, "is learnt from for %s, and `%s` is %s", cell->model ? "a model" : "vectors",
                             choice->name, d->data.x ? "vectors" : "a text");
    if (d->data.x && d->data.dim != cell->data->data.dim)
        return kvant_fail(err, KVANT_SKIP, "`calibration.data` has vectors of %zu coordinates, and those measured have %zu", d->data.dim,
                          cell->data->data.dim);
    return KVANT_OK;
}

/* ---- Cells --------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void keep_text(void *config) { (void)config; }

/* Room for one more at the end of an array that grows at every power of two. */
static void *grown(void *array, size_t n, size_t size)
{
    return n & (n - 1) ? array : realloc(array, (n ? 2 * n : 1) * size);
}

/* Takes the cell over: as a cell, or with a reason as a skip; an equal one that is there already lets it go, and is what it is for. */
static kvant_status add_cell(builder *b, plan_cell *cell, const char *reason, kvant_error *err)
{
    plan *p = b->p;
    char *const *node = tsearch(cell->config, &b->seen, by_text);
    if (node && *node != cell->config) {
        plan_mark_control(p, cell);
        plan_cell_free(cell);
        return KVANT_OK;
    }
    char *copy = NULL;
    bool ok = node && (!reason || (copy = strdup(reason)));
    void *more = !ok ? NULL : reason ? grown(p->skips, p->n_skips, sizeof *p->skips) : grown(p->cells, p->n_cells, sizeof *p->cells);
    if (!more) {
        if (node)
            tdelete(cell->config, &b->seen, by_text);
        free(copy);
        plan_cell_free(cell);
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its cells", document_name(b->s->doc));
    }
    if (reason) {
        p->skips = more;
        p->skips[p->n_skips++] = (plan_skip){ *cell, copy };
    } else {
        p->cells = more;
        p->cells[p->n_cells++] = *cell;
    }
    return KVANT_OK;
}

kvant_status plan_add_cell(plan_builder *b, plan_cell *cell, const char *reason, kvant_error *err)
{
    kvant_error why;
    if (!reason) {
        kvant_status status = plan_describe(cell, b->kept, &why);
        if (!status && cell->calibration.used)
            status = load_calibration(b, cell, &why);
        if (status == KVANT_SKIP)
            reason = why.text;
        else if (status)
            return kvant_fail(err, status, "%s", why.text);
    }
    if (reason)
        cell->calibration.used = false;            /* nothing will learn */
    kvant_status status = plan_identify(cell, err);
    if (status) {
        plan_cell_free(cell);
        return status;
    }
    return add_cell(b, cell, reason, err);
}

static kvant_status missing(const builder *b, const char *key, const char *why, kvant_error *err)
{
    return document_fail(b->s->doc, document_root(b->s->doc), err, "`%s` is missing: %s", key, why);
}

static kvant_status set_policy(const builder *b, plan_cell *cell, kvant_error *err)
{
    const spec_choice *const *pick = b->pick;
    kvcache_policy *policy = &cell->policy;
    policy->states = b->kept ? states_for_cache(b->kept) : NULL;
    policy->isa = pick[SPEC_ISA] ? pick[SPEC_ISA]->name : "auto";
    policy->seed = pick[SPEC_SEED] ? (uint32_t)pick[SPEC_SEED]->number : 0;
    if (!cell->model) {
        if (!pick[SPEC_VECTOR])
            return missing(b, "vector", "the quantizer for vector data, e.g. {\"quantizer\": \"affine\", \"bits\": 4}", err);
        policy->key = pick[SPEC_VECTOR]->side;
        return KVANT_OK;
    }
    if (!pick[SPEC_KEY] && !pick[SPEC_CACHE])
        return missing(b, "key", "the quantizer of the cache's keys, e.g. {\"quantizer\": \"affine\", \"bits\": 4}", err);
    policy->key = pick[SPEC_CACHE] ? pick[SPEC_CACHE]->side : pick[SPEC_KEY]->side;
    policy->value = pick[SPEC_CACHE] ? pick[SPEC_CACHE]->value
                  : pick[SPEC_VALUE] && pick[SPEC_VALUE]->side.quantizer ? pick[SPEC_VALUE]->side : policy->key;
    policy->sink = pick[SPEC_SINK] ? (uint32_t)pick[SPEC_SINK]->number : 0;
    policy->window = pick[SPEC_WINDOW] ? (uint32_t)pick[SPEC_WINDOW]->number : 0;
    policy->seed_rule = pick[SPEC_SEED_RULE] ? (kvcache_seed_rule)pick[SPEC_SEED_RULE]->number : SEED_SHARED;
    policy->prefill = pick[SPEC_PREFILL] ? (kvcache_prefill)pick[SPEC_PREFILL]->number : PREFILL_PACKED;
    policy->key_stage = pick[SPEC_KEY_STAGE] ? (kvcache_key_stage)pick[SPEC_KEY_STAGE]->number : KEYS_POST_ROPE;
    policy->decode_reads = pick[SPEC_DECODE_READS] ? (kvcache_reads)pick[SPEC_DECODE_READS]->number : READS_CODES;
    policy->sliding = pick[SPEC_SLIDING] ? (kvcache_sliding_layers)pick[SPEC_SLIDING]->number : SLIDING_QUANTIZED;
    cell->calibration.stage = policy->key_stage;
    return KVANT_OK;
}

/* The allocation of a cell whose policy is set. A budget that cannot be spent, or waits for sensitivities, makes it a skip. */
static kvant_status allocate(builder *b, plan_cell *cell, kvant_error *why)
{
    const spec_choice *choice = b->pick[SPEC_ALLOCATOR], *learnt = b->pick[SPEC_CALIBRATION];
    const bool own = !learnt || !learnt->name;
    if (!choice || (!choice->name && !choice->allocator) || !cell->model)
        return KVANT_OK;
    plan_order order = { choice, b->pick[SPEC_MODEL]->name, own ? b->pick[SPEC_DATA]->name : learnt->name, b->known, b->threads,
                         b->measure };
    if (choice->allocator && !choice->allocator->blind) {
        kvant_status status = load_calibration(b, cell, why);
        if (status)
            return status;
    }
    kvant_status status = plan_allocate(b->p, &order, cell, why);
    if (status == KVANT_INVALID && choice->allocator && !choice->allocator->blind && !b->measure)
        b->p->n_waiting++;
    /* A file for one of several models does not speak of the others. */
    if (status == KVANT_SKIP && choice->name && spec_find(b->s, SPEC_MODEL)->n == 1)
        return KVANT_INVALID;
    return status == KVANT_INVALID && choice->allocator ? KVANT_SKIP : status;
}

/* The combination that index [n_axes] points at. */
static kvant_status add_combination(builder *b, const size_t *index, kvant_error *err)
{
    const spec *s = b->s;
    memset(b->pick, 0, sizeof b->pick);
    for (size_t i = 0; i < s->n_axes; i++)
        if (s->axes[i].kind != SPEC_PARAM)
            b->pick[s->axes[i].kind] = &s->axes[i].choices[index[i]];
    const kvant_probe *probe = b->pick[SPEC_PROBE]->probe;
    const spec_choice *learnt = b->pick[SPEC_CALIBRATION];
    plan_data *data = b->pick[SPEC_DATA] ? &b->p->data[b->pick[SPEC_DATA] - spec_find(s, SPEC_DATA)->choices] : NULL;
    plan_cell cell = { .probe = probe, .args = kvant_defaults(probe->params), .data = data,
                       .calibration.args = learnt ? learnt->args : kvant_defaults(calibration_params), .key_target = "scalar",
                       .value_target = "scalar", .kept_target = "scalar" };
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < s->n_axes && !status; i++)
        if (s->axes[i].kind == SPEC_PARAM)
            status = spec_apply(s, &s->axes[i], &s->axes[i].choices[index[i]], probe, &cell.args, err);
    if (!status && !b->pick[SPEC_DATA])
        status = missing(b, "data", "a name that `kvant list data` shows, a file, or {\"dataset\": \"synthetic\"}", err);
    if (!status)
        status = load_data(b, b->pick[SPEC_DATA], data, err);
    if (status)
        return status;
    bool vectors = cell.data->data.x;
    if (vectors ? !probe->wants_vectors : !probe->wants_text) {
        char reason[256];
        snprintf(reason, sizeof reason, "probe %s takes %s, and this data is %s", probe->name, vectors ? "a text" : "vectors",
                 vectors ? "vectors" : "a text");
        return plan_add_cell(b, &cell, reason, err);
    }
    if (!vectors && !b->pick[SPEC_MODEL])
        return missing(b, "model", "a text is measured through one; `kvant list models` shows those known", err);
    if (!vectors)
        status = load_model(b, b->pick[SPEC_MODEL], &cell.model, err);
    if (!status && cell.model)
        cell.weights = weights_choose(b->pick[SPEC_WEIGHTS] ? (int)b->pick[SPEC_WEIGHTS]->number : WEIGHTS_BY_MEMORY, &cell.model->size,
                                      b->p->available);
    if (!status)
        status = set_policy(b, &cell, err);
    if (status)
        return status;
    kvant_error why;
    status = allocate(b, &cell, &why);
    if (status && status != KVANT_SKIP)
        return kvant_fail(err, status, "%s", why.text);
    if (plan_all_f16(&cell))       /* nothing is in codes: however they are read, it is one cell */
        cell.policy.decode_reads = READS_CODES;
    return plan_add_cell(b, &cell, status ? why.text : NULL, err);
}

static kvant_status add_combinations(builder *b, kvant_error *err)
{
    const spec *s = b->s;
    size_t total = 1;
    for (size_t i = 0; i < s->n_axes; i++)
        if (__builtin_mul_overflow(total, s->axes[i].n, &total) || total > PLAN_COMBINATIONS)
            return document_fail(s->doc, document_root(s->doc), err, "multiplies out to more than %d combinations; use fewer values",
                                 PLAN_COMBINATIONS);
    size_t *index = calloc(s->n_axes + 1, sizeof *index);
    if (!index)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its axes", document_name(s->doc));
    kvant_status status = KVANT_OK;
    for (size_t done = 0; done < total && !status; done++) {
        status = interrupted() ? kvant_fail(err, KVANT_INTERRUPTED, "interrupted while planning") : add_combination(b, index, err);
        for (size_t i = s->n_axes; i-- > 0;) {     /* the last axis turns fastest */
            if (++index[i] < s->axes[i].n)
                break;
            index[i] = 0;
        }
    }
    free(index);
    return status;
}

/* ---- The whole plan ------------------------------------------------------------------------ */

kvant_status plan_open(const spec *s, states *kept, store *known, int threads, const struct run_options *measure, plan *p,
                       kvant_error *err)
{
    const spec_axis *models = spec_find(s, SPEC_MODEL), *data = spec_find(s, SPEC_DATA), *learnt = spec_find(s, SPEC_CALIBRATION);
    *p = (plan){ .spec = s, .n_models = models ? models->n : 0, .n_data = data ? data->n : 0,
                 .n_calibration = learnt ? learnt->n : 0, .available = sysinfo_memory("/") };
    builder b = { .s = s, .p = p, .kept = kept, .known = known, .threads = threads, .measure = measure };
    p->models = calloc(p->n_models + 1, sizeof *p->models);
    p->data = calloc(p->n_data + 1, sizeof *p->data);
    p->calibration = calloc(p->n_calibration + 1, sizeof *p->calibration);
    kvant_status status = p->models && p->data && p->calibration ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for the inputs");
    if (!status)
        status = add_combinations(&b, err);
    if (!status)
        status = plan_add_controls(&b, err);
    if (!status && !p->n_cells && !p->n_waiting)
        status = document_fail(s->doc, document_root(s->doc), err, "no cell is left to measure; the first was skipped because %s",
                               p->n_skips ? p->skips[0].reason : "there is none");
    tdestroy(b.seen, keep_text);
    if (!status)
        status = plan_label(p, err);
    if (!status)
        status = plan_estimate(p, known, threads, err);
    if (status)
        plan_close(p);
    return status;
}

void plan_keep(plan *p, bool (*keep)(const plan_cell *cell, const void *user), const void *user)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n_cells; i++) {
        plan_cell *c = &p->cells[i];
        if (!keep(c, user)) {
            plan_cell_free(c);
            continue;
        }
        p->cells[kept++] = *c;
    }
    p->n_cells = kept;
    plan_total(p);
}

void plan_close(plan *p)
{
    for (size_t i = 0; i < p->n_cells; i++)
        plan_cell_free(&p->cells[i]);
    for (size_t i = 0; i < p->n_skips; i++) {
        plan_cell_free(&p->skips[i].cell);
        free(p->skips[i].reason);
    }
    for (size_t i = 0; i < p->n_data; i++)
        if (p->data)
            data_free(&p->data[i].data);
    for (size_t i = 0; i < p->n_calibration; i++)
        if (p->calibration)
            data_free(&p->calibration[i].data);
    free(p->cells);
    free(p->skips);
    free(p->models);
    for (size_t i = 0; i < p->n_allocations; i++)
        plan_allocation_free(p->allocations[i]);
    free(p->allocations);
    free(p->data);
    free(p->calibration);
    *p = (plan){ 0 };
}
