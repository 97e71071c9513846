/* plan_cost.c - what a plan will take: memory by arithmetic, time by the rate of cells that the store has, or else by a guess.
 * A sweep that cannot fit is refused before it starts, with the figures. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/plan_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Floating-point operations per second and core: of oneDNN's matrix products, and of scalar quantizers. Only for the guess. */
static const double matmul_rate = 60e9, scalar_rate = 1e9;
enum { LOGIT_ROWS = 128 };         /* logits that a probe holds at a time, if it does not say */

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
    const plan_calibration *learns = &c->calibration;
    const double learnt = learns->used ? learns->args.v[CALIBRATION_N] * learns->args.v[CALIBRATION_LENGTH] : 0;       /* vectors */
    double weights = 0, caches = 0, logits = 0, data = (double)c->data->data.bytes;
    if (c->model) {
        const lm_shape *s = &c->model->shape;
        weights = 4.0 * (double)c->model->weights;
        caches = parameter(c, "lockstep", 1) * (double)c->cache_bytes;
        logits = c->probe->memory ? c->probe->memory(&c->args, s) : (double)LOGIT_ROWS * s->n_vocab * 4;
        data += 2.0 * s->n_layer * s->n_kv_head * s->head_dim * 4 * learnt;
    } else
        data = ((double)c->data->data.n * (4 + 4 + c->bits_stored / 8) + 4 * learnt) * (double)c->data->data.dim;
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

/* ---- What the store knows ---------------------------------------------------------------------- */

/* Cells cost alike per token when probe, model and the choices among the probe's parameters (its path, say) are the same. */
static bool alike(const plan_cell *c, const kvant_args *args)
{
    const kvant_param *params = c->probe->params;
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (params[i].type == KVANT_CHOICE && c->args.v[i] != args->v[i])
            return false;
    return true;
}

/* The probe's arguments as a stored config gives them; one that another version wrote may lack some. */
static bool stored_args(const plan_cell *c, const char *config, kvant_args *args)
{
    cJSON *root = cJSON_Parse(config);
    const cJSON *params = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "probe"), "params");
    bool ok = cJSON_IsObject(params);
    *args = kvant_defaults(c->probe->params);
    for (const cJSON *p = ok ? params->child : NULL; p && ok; p = p->next) {
        char digits[32] = "";
        if (cJSON_IsNumber(p))
            number_text(p->valuedouble, digits);
        ok = kvant_set(c->probe->params, p->string, cJSON_IsString(p) ? p->valuestring : digits, args, NULL) == KVANT_OK;
    }
    cJSON_Delete(root);
    return ok;
}

/* Seconds per unit of cost, by the latest finished cells that are alike; 0 when there are none. */
static kvant_status stored_rate(sqlite3_stmt *query, store *s, const plan_cell *c, double *rate, kvant_error *err)
{
    const char *model = c->model ? c->model->input.name : NULL;
    double cost = 0, seconds = 0;
    int rc = sqlite3_bind_text(query, 1, c->probe->name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(query, 2, model ? model : c->data->name, -1, SQLITE_STATIC);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(query);
        const char *config = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(query, 0) : NULL;
        kvant_args args;
        if (config && stored_args(c, config, &args) && alike(c, &args)) {
            cost += c->probe->cost(&args, &c->data->data);
            seconds += sqlite3_column_double(query, 1);
        }
    }
    *rate = cost > 0 ? seconds / cost : 0;
    sqlite3_reset(query);
    return rc == SQLITE_DONE ? KVANT_OK : kvant_fail(err, KVANT_IO, "%s: cannot read the times of its cells: %s", store_path(s),
                                                      sqlite3_errmsg(store_sql(s)));
}

static const char latest_cells[] =
    "SELECT config, (SELECT sum(seconds) FROM unit WHERE cell = key) FROM cell "
    "WHERE probe = ?1 AND coalesce(model, data) = ?2 AND finished IS NOT NULL ORDER BY finished DESC LIMIT 64";

/* A rate is asked for once per group of cells that are alike, and kept with the first of them. */
typedef struct { const plan_cell *first; double rate; } pace;

static kvant_status find_pace(pace *paces, size_t *n, sqlite3_stmt *query, store *s, const plan_cell *c, double *rate, kvant_error *err)
{
    for (size_t i = 0; i < *n; i++) {
        const plan_cell *first = paces[i].first;
        if (first->probe == c->probe && first->model == c->model && (c->model || first->data == c->data) && alike(first, &c->args)) {
            *rate = paces[i].rate;
            return KVANT_OK;
        }
    }
    kvant_status status = query ? stored_rate(query, s, c, rate, err) : KVANT_OK;
    paces[(*n)++] = (pace){ c, *rate };
    return status;
}

kvant_status plan_estimate(plan *p, store *s, int threads, kvant_error *err)
{
    size_t n_paces = 0;
    pace *paces = calloc(p->n_cells + 1, sizeof *paces);
    sqlite3_stmt *query = NULL;
    kvant_status status = paces ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for the estimate");
    if (!status && s && sqlite3_prepare_v2(store_sql(s), latest_cells, -1, &query, NULL) != SQLITE_OK)
        status = kvant_fail(err, KVANT_IO, "%s: cannot read its cells: %s", store_path(s), sqlite3_errmsg(store_sql(s)));
    for (size_t i = 0; i < p->n_cells && !status; i++) {
        plan_cell *c = &p->cells[i];
        double rate = 0;
        c->cost = c->probe->cost(&c->args, &c->data->data);
        c->done = s && store_cell_done(s, c->key);
        status = find_pace(paces, &n_paces, query, s, c, &rate, err);
        c->seconds = rate > 0 ? c->cost * rate : guess(c, threads);
        p->n_done += c->done;
        if (c->done || status)
            continue;
        status = plan_memory(c, err);
        p->seconds += c->seconds;
        p->memory = c->memory > p->memory ? c->memory : p->memory;
    }
    sqlite3_finalize(query);
    free(paces);
    return status;
}
