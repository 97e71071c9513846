/* plan_cell.c - says what a cell is: its bits by the quantizers' plans, its canonical config, its hashes and its label.
 * The config holds everything that a value can depend on; two cells with one config are one cell. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/canonical.h"
#include "harness/experiment/plan_internal.h"
#include "harness/lm/gemm_bf16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Targets and bits ---------------------------------------------------------------------- */

/* Marks a cell that something is trained for, and whether there is enough to learn from. */
static kvant_status see_training(plan_cell *cell, const kvant_codec *codec, kvant_error *err)
{
    if (!codec->plan.train_min || codec->plan.prompt)
        return KVANT_OK;
    const kvant_args *args = &cell->calibration.args;
    const double n = args->v[CALIBRATION_N] * args->v[CALIBRATION_LENGTH];
    cell->calibration.used = true;
    return n >= (double)codec->plan.train_min ? KVANT_OK
         : kvant_fail(err, KVANT_SKIP, "%s: learns from %zu vectors at least, and `calibration` gives %.0f; raise its n or length",
                      codec->quantizer->name, codec->plan.train_min, n);
}

/* Adds what was imported into the state that a codec will have; many codecs of a cell may have the same. */
static kvant_status note_imported(plan_cell *cell, states *kept, const kvant_codec *codec, kvant_error *err)
{
    const states_source source = { .quantizer = codec->quantizer, .shape = codec->shape, .args = codec->args };
    char *origin = NULL, *longer = NULL;
    if (!kept || (codec->plan.train_min && !codec->plan.prompt))
        return KVANT_OK;
    kvant_status status = states_imported(kept, &source, &origin, err);
    if (!status && origin && !(cell->states && strstr(cell->states, origin))) {
        longer = cell->states ? text_format("%s,%s", cell->states, origin) : strdup(origin);
        if (!longer)
            status = kvant_fail(err, KVANT_NOMEM, "no memory to describe a cell");
    }
    if (longer) {
        free(cell->states);
        cell->states = longer;
    }
    free(origin);
    return status;
}

static kvant_status describe_vectors(plan_cell *cell, states *kept, kvant_error *err)
{
    kvant_shape shape = { .dim = (uint32_t)cell->data->data.dim, .side = KVANT_VECTOR, .seed = cell->policy.seed };
    kvant_codec codec;
    kvant_status status = kvant_describe(cell->policy.key.quantizer, &shape, &cell->policy.key.args, cell->policy.isa, &codec, err);
    if (status)
        return status == KVANT_INVALID ? KVANT_SKIP : status;
    snprintf(cell->key_target, sizeof cell->key_target, "%s", codec.target);
    cell->bits_asked = codec.plan.bits_asked;
    cell->bits_stored = kvant_bits(&codec);
    status = see_training(cell, &codec, err);
    return status ? status : note_imported(cell, kept, &codec, err);
}

/* The target of a side's quantizer; where layers are f16 by the policy, the first may not have it, or none, and the text stays. */
static void copy_target(const kvcache_codecs *codecs, size_t side, const kvant_quantizer *quantizer, char *target, size_t bytes)
{
    const size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head * 2;
    size_t i = side;
    while (i < groups && codecs->of[i]->quantizer != quantizer)
        i += 2;
    if (i < groups)
        snprintf(target, bytes, "%s", codecs->of[i]->target);
}

/* Codecs without state serve the cache's own accounting, so that a plan's bytes and a probe's cannot differ. */
static kvant_status describe_cache(plan_cell *cell, states *kept, kvant_error *err)
{
    const kvcache_policy *policy = &cell->policy;
    kvcache_shape cache = lm_cache_shape(&cell->model->shape);
    uint32_t context = cell->probe->context(&cell->args);
    if (context > cell->model->shape.n_context)
        return kvant_fail(err, KVANT_SKIP, "%s needs %u positions, and the model's context is %u", cell->probe->name, context,
                          cell->model->shape.n_context);
    if (policy->key_stage == KEYS_PRE_ROPE && cell->probe->post_rope)
        return kvant_fail(err, KVANT_SKIP, "%s measures keys after RoPE, and key_stage is pre_rope", cell->probe->name);
    kvcache_codecs codecs;
    kvant_status status = kvcache_codecs_describe(policy, &cache, &codecs, err);
    if (status)
        return status == KVANT_INVALID ? KVANT_SKIP : status;
    size_t groups = (size_t)cache.n_layer * cache.n_kv_head * 2;
    for (size_t i = 0; i < groups && !status; i++) {
        cell->bits_asked += codecs.of[i]->plan.bits_asked / (double)groups;
        status = see_training(cell, codecs.of[i], err);
    }
    kvcache_bytes bytes = kvcache_accounted(&codecs, context);
    cell->cache_bytes = bytes.key + bytes.value;
    cell->bits_stored = 16.0 * (double)cell->cache_bytes / (double)(bytes.f16_key + bytes.f16_value);
    copy_target(&codecs, 0, policy->key.quantizer, cell->key_target, sizeof cell->key_target);
    copy_target(&codecs, 1, policy->value.quantizer, cell->value_target, sizeof cell->value_target);
    snprintf(cell->kept_target, sizeof cell->kept_target, "%s", codecs.f16->target);
    for (size_t i = 0; i < codecs.n_own; i++)
        cell->state_bytes += codecs.own[i].plan.state;
    for (size_t i = 1; i < codecs.n_own && !status; i++)       /* the first one is f16, which holds what waits */
        status = note_imported(cell, kept, &codecs.own[i], err);
    kvcache_codecs_close(&codecs);
    return status;
}

kvant_status plan_describe(plan_cell *cell, states *kept, kvant_error *err)
{
    return cell->model ? describe_cache(cell, kept, err) : describe_vectors(cell, kept, err);
}

kvant_status plan_baseline(const plan_cell *cell, size_t i, plan_used *used, kvant_error *err)
{
    const char *name = cell->probe->baselines && cell->data->data.x ? cell->probe->baselines[i] : NULL;
    *used = (plan_used){ .quantizer = NULL };
    if (!name)
        return KVANT_OK;
    const kvant_shape shape = { .dim = (uint32_t)cell->data->data.dim, .side = KVANT_VECTOR };
    const kvant_quantizer *q = kvant_find(name, err);
    kvant_codec codec;
    kvant_status status = q ? kvant_describe(q, &shape, NULL, "auto", &codec, err) : KVANT_INVALID;
    if (!status)
        *used = (plan_used){ q, codec.target };
    return status;
}

/* Their code. A shape that they do not take nothing takes: the cell is a skip. */
static void add_baselines(canonical_parts *parts, const plan_cell *c)
{
    plan_used used;
    for (size_t i = 0; plan_baseline(c, i, &used, NULL) == KVANT_OK && used.quantizer; i++)
        canonical_quantizer(parts, used.quantizer->name, used.target);
}

/* ---- Config -------------------------------------------------------------------------------- */

/* A cell's key or value: all of its parameters, or, where groups differ, those that they have in common. */
static void add_side_params(text *t, const plan_cell *c, kvant_side side)
{
    const kvcache_side *of = side == KVANT_VALUE ? &c->policy.value : &c->policy.key;
    const plan_common *common = c->allocation ? side == KVANT_VALUE ? &c->allocation->value : &c->allocation->key : NULL;
    if (common && common->mixed)
        text_add(t, "{}");
    else
        canonical_params_but(t, of->quantizer->params, &of->args, common ? common->differs : NULL);
}

bool plan_all_f16(const plan_cell *c)
{
    return !c->allocation && c->policy.key.quantizer && !strcmp(c->policy.key.quantizer->name, "f16") &&
           (!c->model || !strcmp(c->policy.value.quantizer->name, "f16"));
}

const char *plan_quantizer(const plan_cell *c, kvant_side side)
{
    const kvcache_side *of = side == KVANT_VALUE ? &c->policy.value : &c->policy.key;
    const plan_common *common = c->allocation ? side == KVANT_VALUE ? &c->allocation->value : &c->allocation->key : NULL;
    return common && common->mixed ? "mixed" : of->quantizer ? of->quantizer->name : NULL;
}

static void add_side(text *t, const char *name, const plan_cell *c, kvant_side side)
{
    text_add(t, "\"%s\":{\"params\":", name);
    add_side_params(t, c, side);
    text_add(t, ",");
    canonical_member(t, "quantizer", plan_quantizer(c, side));
    text_add(t, "}");
}

static void add_states(text *t, const plan_cell *c)
{
    if (c->states)
        text_add(t, "\"states\":[%s],", c->states);
}

static void add_data(text *t, const plan_data *data)
{
    text_add(t, "\"data\":{");
    canonical_member(t, "dataset", data->dataset->name);
    text_add(t, ",");
    canonical_member(t, "name", data->name);
    text_add(t, ",\"params\":");
    canonical_params(t, data->dataset->params, &data->args);
    text_add(t, ",");
    canonical_member(t, "sha256", data->data.sha256);
    text_add(t, "}");
}

static void add_calibration(text *t, const plan_calibration *c)
{
    text_add(t, "\"calibration\":{");
    add_data(t, c->data);
    text_add(t, ",\"params\":");
    canonical_params(t, calibration_params, &c->args);
    text_add(t, "},");
}

/* The form of the weights, where results depend on it: bf16 has other logits, and no two have the same times. */
static void add_weights(text *t, const plan_cell *c)
{
    if (c->weights == LM_WEIGHTS_BF16)
        text_add(t, ",\"weights\":\"bf16 %s\"", gemm_bf16_isa());
    else if (c->weights == LM_WEIGHTS_STREAM && c->probe->held_counts)
        text_add(t, ",\"weights\":\"stream\"");
}

/* The config, or what of it cells of one pairing share. Keys come sorted, as they stand here. */
static kvant_status add_config(text *t, const plan_cell *c, bool shared, kvant_error *err)
{
    canonical_parts parts = { .n = 0 };
    const kvcache_policy *policy = &c->policy;
    bool coded = policy->key.quantizer && !shared;
    canonical_part(&parts, "harness/probes/", c->probe->name);
    canonical_part(&parts, "datasets/", c->data->dataset->name);
    if (c->model || c->probe->attends)
        canonical_part(&parts, "harness/", "lm");
    add_baselines(&parts, c);
    if (coded)
        canonical_quantizer(&parts, policy->key.quantizer->name, c->key_target);
    if (coded && c->model) {
        canonical_quantizer(&parts, policy->value.quantizer->name, c->value_target);
        canonical_quantizer(&parts, "f16", c->kept_target);
    }
    if (coded && c->calibration.used)
        canonical_part(&parts, "harness/", "calibration");
    for (size_t i = 0; coded && c->allocation && i < c->allocation->n_used; i++)
        canonical_quantizer(&parts, c->allocation->used[i].quantizer->name, c->allocation->used[i].target);
    text_add(t, "{");
    if (coded && c->allocation)
        text_add(t, "\"allocation\":%s,", c->allocation->config);
    if (coded && c->calibration.used)
        add_calibration(t, &c->calibration);
    kvant_status status = canonical_code(t, &parts, c->model ? gemm_library() : NULL, err);
    if (status)
        return status;
    text_add(t, ",");
    add_data(t, c->data);
    const char *reads = spec_word(SPEC_DECODE_READS, (int)policy->decode_reads);
    if (coded && c->model && strcmp(reads, spec_left_out("decode_reads"))) {
        text_add(t, ",");
        canonical_member(t, "decode_reads", reads);
    }
    if (coded) {
        text_add(t, ",\"isa\":{");
        canonical_member(t, c->model ? "key" : "vector", c->key_target);
        if (c->model) {
            text_add(t, ",");
            canonical_member(t, "value", c->value_target);
            text_add(t, "},");
            add_side(t, "key", c, KVANT_KEY);
            text_add(t, ",");
            canonical_member(t, "key_stage", spec_word(SPEC_KEY_STAGE, (int)policy->key_stage));
        } else
            text_add(t, "}");
    }
    if (c->model) {
        text_add(t, ",\"model\":{");
        canonical_member(t, "name", c->model->input.name);
        text_add(t, ",");
        canonical_member(t, "sha256", c->model->input.sha256);
        add_weights(t, c);
        text_add(t, "}");
    }
    if (coded && c->model) {
        text_add(t, ",");
        canonical_member(t, "prefill", spec_word(SPEC_PREFILL, (int)policy->prefill));
    }
    text_add(t, ",\"probe\":{");
    canonical_member(t, "name", c->probe->name);
    text_add(t, ",\"params\":");
    canonical_params(t, c->probe->params, &c->args);
    text_add(t, "}");
    if (c->again && !shared)
        text_add(t, ",\"repeat\":1");
    if (coded) {
        text_add(t, ",\"seed\":%u,", policy->seed);
        if (c->model) {
            canonical_member(t, "seed_rule", spec_word(SPEC_SEED_RULE, (int)policy->seed_rule));
            text_add(t, ",\"sink\":%u,", policy->sink);
            canonical_member(t, "sliding", spec_word(SPEC_SLIDING, (int)policy->sliding));
            text_add(t, ",");
            add_states(t, c);
            add_side(t, "value", c, KVANT_VALUE);
            text_add(t, ",\"window\":%u", policy->window);
        } else {
            add_states(t, c);
            add_side(t, "vector", c, KVANT_KEY);
        }
    }
    text_add(t, "}");
    return KVANT_OK;
}

static char *params_text(const plan_cell *c, kvant_side side)
{
    text t = { 0 };
    add_side_params(&t, c, side);
    if (t.failed)
        text_free(&t);
    return t.data;
}

kvant_status plan_identify(plan_cell *cell, kvant_error *err)
{
    text config = { 0 }, shared = { 0 };
    kvant_status status = add_config(&config, cell, false, err);
    if (!status)
        status = add_config(&shared, cell, true, err);
    bool failed = config.failed || shared.failed;
    if (!status && !failed) {
        sha256_of(config.data, config.length, cell->key);
        sha256_of(shared.data, shared.length, cell->pairing);
        if (cell->policy.key.quantizer)
            failed = !(cell->key_params = params_text(cell, KVANT_KEY));
        if (cell->policy.value.quantizer && !failed)
            failed = !(cell->value_params = params_text(cell, KVANT_VALUE));
        failed = failed || !*cell->key || !*cell->pairing;
    }
    text_free(&shared);
    if (status || failed) {
        text_free(&config);
        return status ? status : kvant_fail(err, KVANT_NOMEM, "no memory to describe a cell");
    }
    cell->config = config.data;
    return KVANT_OK;
}

void plan_cell_free(plan_cell *cell)
{
    free(cell->config);
    free(cell->key_params);
    free(cell->value_params);
    free(cell->label);
    free(cell->states);
}
