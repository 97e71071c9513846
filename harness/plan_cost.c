/* plan_cost.c - what a plan will take: memory by arithmetic, time by the rate of cells that the store has, or else by a guess.
 * A sweep that cannot fit is refused before it starts, with the figures. */
#include "harness/plan_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Floating-point operations per second and core: of oneDNN's matrix products, and of scalar quantizers. Only for the guess. */
static const double matmul_rate = 60e9, scalar_rate = 1e9;
enum { LOGIT_ROWS = 128 };         /* logits that a probe holds at a time */

static double parameter(const plan_cell *c, const char *name, double fallback)
{
    const kvant_param *params = c->probe->params;
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (!strcmp(params[i].name, name))
            return c->args.v[i];
    return fallback;
}

kvant_status plan_memory(plan_cell *c, kvant_error *err)
{
    double weights = 0, caches = 0, logits = 0, data = (double)c->data->data.bytes;
    if (c->model) {
        const lm_shape *s = &c->model->shape;
        double coordinates = 2.0 * s->n_layer * s->n_kv_head * s->head_dim * c->probe->context(&c->args);
        weights = 4.0 * (double)c->model->weights;
        caches = parameter(c, "lockstep", 1) * coordinates * c->bits_stored / 8;
        logits = (double)LOGIT_ROWS * s->n_vocab * 4;
    } else
        data = (double)c->data->data.n * (double)c->data->data.dim * (4 + 4 + c->bits_stored / 8);
    double bytes = weights + caches + logits + data, machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    c->memory = (uint64_t)bytes;
    if (machine > 0 && bytes > machine)
        return kvant_fail(err, KVANT_INVALID, "%s, %s: would take about %.1f GB (weights %.1f, caches %.1f, logits %.1f, data %.1f), "
                          "and this machine has %.1f GB; use a smaller model, context or lockstep", c->probe->name, c->label,
                          bytes / 1e9, weights / 1e9, caches / 1e9, logits / 1e9, data / 1e9, machine / 1e9);
    return KVANT_OK;
}

static double guess(const plan_cell *c, int threads)
{
    if (c->model)
        return c->cost * 2 * (double)c->model->weights / (matmul_rate * threads);
    double dim = (double)c->data->data.dim;
    return c->cost * 4 * dim * dim / scalar_rate;
}

/* Seconds that the store says a finished cell took; 0 when it cannot tell. */
static double spent(sqlite3_stmt *query, const plan_cell *c)
{
    double seconds = 0;
    if (query && sqlite3_bind_text(query, 1, c->key, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(query) == SQLITE_ROW)
        seconds = sqlite3_column_double(query, 0);
    sqlite3_reset(query);
    return seconds;
}

/* Cost and seconds of finished cells: of one job, and of one probe with one model. */
typedef struct { double cost, seconds; } measured;

kvant_status plan_estimate(plan *p, store *s, int threads, kvant_error *err)
{
    measured *jobs = calloc(p->n_jobs + 1, sizeof *jobs), *alike = calloc(p->n_cells + 1, sizeof *alike);
    size_t *group = calloc(p->n_cells + 1, sizeof *group), n_groups = 0;
    const plan_cell **leader = calloc(p->n_cells + 1, sizeof *leader);
    kvant_status status = jobs && alike && group && leader ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for the estimate");
    sqlite3_stmt *query = NULL;
    if (!status && s && sqlite3_prepare_v2(store_sql(s), "SELECT sum(seconds) FROM unit WHERE cell = ?", -1, &query, NULL) != SQLITE_OK)
        status = kvant_fail(err, KVANT_IO, "%s: cannot read the times of its cells: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
    for (size_t i = 0; i < p->n_cells && !status; i++) {
        plan_cell *c = &p->cells[i];
        c->cost = c->probe->cost(&c->args, &c->data->data);
        c->done = s && store_cell_done(s, c->key);
        for (group[i] = 0; group[i] < n_groups; group[i]++)
            if (leader[group[i]]->probe == c->probe && leader[group[i]]->model == c->model)
                break;
        if (group[i] == n_groups)
            leader[n_groups++] = c;
        if (c->done) {
            double seconds = spent(query, c);
            jobs[c->job] = (measured){ jobs[c->job].cost + c->cost, jobs[c->job].seconds + seconds };
            alike[group[i]] = (measured){ alike[group[i]].cost + c->cost, alike[group[i]].seconds + seconds };
            p->n_done++;
        }
    }
    for (size_t i = 0; i < p->n_cells && !status; i++) {
        plan_cell *c = &p->cells[i];
        const measured *m = jobs[c->job].seconds > 0 ? &jobs[c->job] : &alike[group[i]];
        c->seconds = m->seconds > 0 && m->cost > 0 ? c->cost * m->seconds / m->cost : guess(c, threads);
        if (c->done)
            continue;
        status = plan_memory(c, err);
        p->seconds += c->seconds;
        p->memory = c->memory > p->memory ? c->memory : p->memory;
    }
    sqlite3_finalize(query);
    free(jobs);
    free(alike);
    free(group);
    free(leader);
    return status;
}
