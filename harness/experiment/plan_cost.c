/* plan_cost.c - what a plan will take: memory by arithmetic, time by the rate of cells that the store has, or else by a guess.
 * A run that cannot fit is refused before it starts, with the figures. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/plan_internal.h"
#include "harness/lm/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* What pass.c lays out for a step of `rows` tokens that attend to `context`, and attention's scratch for every thread; tiles: of f32,
 * which decode steps decode. */
static double activations(const lm_shape *s, double rows, double context, bool decode, double tiles, int threads)
{
    const double q = (double)s->n_head * s->head_dim, kv = (double)s->n_kv_head * s->head_dim, group = (double)s->n_head / s->n_kv_head;
    const double mlp = 2 * (s->n_ff > kv ? s->n_ff : kv), experts = s->n_expert + s->n_used * (s->n_embd + 4.0);
    const double row = 2.0 * s->n_embd + q + 2 * kv + q + mlp + 2 * s->rope.width + experts;
    const double block = decode ? group * (KVCACHE_TILE + 4.0 * s->head_dim) + tiles * KVCACHE_TILE * s->head_dim
                                : 2 * group * ATTENTION_QUERIES * (s->head_dim + context);
    return 4 * (rows * row + (decode ? 0 : 2 * kv * context) + threads * block);
}

double plan_bytes_sum(const plan_bytes *b) { return b->weights + b->activations + b->logits + b->caches + b->data; }

plan_bytes plan_memory(const plan_cell *c, int threads)
{
    const plan_calibration *learns = &c->calibration;
    const double learnt = learns->used ? learns->args.v[CALIBRATION_N] * learns->args.v[CALIBRATION_LENGTH] : 0;       /* vectors */
    if (!c->model)
        return (plan_bytes){ .data = ((double)c->data->data.n * (4 + 4 + c->bits_stored / 8) + 4 * learnt) * (double)c->data->data.dim };
    /* A probe without a choice of paths decodes in lockstep what it has prefilled; an f16 cell may run in place of this one. */
    const lm_shape *s = &c->model->shape;
    const double context = c->probe->context(&c->args), path = parameter(c, "path", -1), lockstep = parameter(c, "lockstep", 1);
    const double sequences = path == LM_PREFILL ? 1 : lockstep, batch = parameter(c, "batch", context);
    const double rows = path == LM_DECODE ? sequences : fmax(fmin(batch, context), sequences);
    const double widened = c->probe->wants_reference && c->bits_stored < 16 ? 16 / c->bits_stored : 1;
    const double unpacked = c->weights == LM_WEIGHTS_STREAM ? (threads - 1) * (double)c->model->size.unpacked : 0;
    const double tiles = c->policy.decode_reads == READS_CODES ? 0 : 1;
    return (plan_bytes){ .weights = (double)c->model->size.held[c->weights] + unpacked,
                         .activations = activations(s, rows, context, path == LM_DECODE, tiles, threads),
                         .logits = c->probe->memory ? c->probe->memory(&c->args, s) : 4.0 * LOGIT_ROWS * s->n_vocab,
                         .caches = sequences * widened * (double)c->cache_bytes + (double)c->state_bytes,
                         .data = (double)c->data->data.bytes + 8.0 * s->n_layer * s->n_kv_head * s->head_dim * learnt };
}

kvant_status plan_fits(const plan *p, kvant_error *err)
{
    const plan_cell *c = p->largest;
    if (!c || !p->available || !(plan_bytes_sum(&c->memory) > (double)p->available))
        return KVANT_OK;
    const plan_bytes *b = &c->memory;
    return kvant_fail(err, KVANT_INVALID, "%s, %s: would take about %.1f MB (weights as %s %.1f, activations %.1f, logits %.1f, "
                      "caches %.1f, data %.1f), and %.1f MB are available; try --weights stream, a lower context, lockstep, "
                      "batch or reference_mib, or --any-memory to run all the same", c->probe->name, c->label,
                      plan_bytes_sum(b) / 1e6, lm_weights_name(c->weights), b->weights / 1e6, b->activations / 1e6, b->logits / 1e6,
                      b->caches / 1e6, b->data / 1e6, (double)p->available / 1e6);
}

static double guess(const plan_cell *c, int threads)
{
    if (c->model)
        return c->cost * 2 * (double)c->model->size.values / (matmul_rate * threads);
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

void plan_total(plan *p)
{
    p->n_done = 0;
    p->seconds = 0;
    p->largest = NULL;
    for (size_t i = 0; i < p->n_cells; i++) {
        const plan_cell *c = &p->cells[i];
        p->n_done += c->done;
        if (c->done)
            continue;
        p->seconds += c->seconds;
        if (!p->largest || plan_bytes_sum(&c->memory) > plan_bytes_sum(&p->largest->memory))
            p->largest = c;
    }
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
        c->memory = plan_memory(c, threads);
    }
    plan_total(p);
    sqlite3_finalize(query);
    free(paces);
    return status;
}
