/* plan_label.c - the short names of cells in tables and plots: "turboquant_mse 3b", "affine 4b g32", "K affine 4b / V f16".
 * A parameter is named when it is not at its default, or when the plan has several values of it. */
#include "harness/experiment/calibration.h"
#include "harness/experiment/plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* What one quantizer's parameters do within the plan. */
typedef struct {
    const kvant_quantizer *quantizer;
    kvant_args first;
    bool varies[KVANT_MAX_PARAMS];
} usage;

typedef struct {
    usage *used;                   /* [n], one per quantizer, and an empty one for those of added controls alone */
    size_t n;
    const plan_cell *first, *learner;          /* the first cell, and the first that is trained */
    bool sink, window, sliding, prefill, key_stage, decode_reads, seed, seed_rule, learnt, weights;    /* several values in the plan */
} survey;

static void see_side(survey *s, const kvcache_side *side)
{
    if (!side->quantizer)
        return;
    size_t i = 0;
    while (i < s->n && s->used[i].quantizer != side->quantizer)
        i++;
    if (i == s->n)
        s->used[s->n++] = (usage){ .quantizer = side->quantizer, .first = side->args };
    const kvant_param *params = side->quantizer->params;
    for (int p = 0; params && p < KVANT_MAX_PARAMS && params[p].name; p++)
        if (!kvant_same_arg(params, p, &side->args, &s->used[i].first))
            s->used[i].varies[p] = true;
}

static bool same_calibration(const plan_calibration *a, const plan_calibration *b)
{
    return a->data == b->data && !memcmp(&a->args, &b->args, sizeof a->args);
}

/* Controls that the planner added say nothing about what the spec varies, and references are seen with their defaults alone. */
static void see_cell(survey *s, const plan_cell *c)
{
    if (c->control && c->added)
        return;
    see_side(s, &c->policy.key);
    see_side(s, &c->policy.value);
    s->weights |= c->weights == LM_WEIGHTS_BF16 || (s->first && s->first->weights != c->weights);
    if (c->reference)
        return;
    s->first = s->first ? s->first : c;
    const kvcache_policy *a = &s->first->policy, *b = &c->policy;
    s->sink |= a->sink != b->sink;
    s->window |= a->window != b->window;
    s->sliding |= a->sliding != b->sliding;
    s->prefill |= a->prefill != b->prefill;
    s->key_stage |= a->key_stage != b->key_stage;
    s->decode_reads |= a->decode_reads != b->decode_reads;
    s->seed |= a->seed != b->seed;
    s->seed_rule |= a->seed_rule != b->seed_rule;
    if (c->calibration.used) {
        s->learner = s->learner ? s->learner : c;
        s->learnt |= !same_calibration(&s->learner->calibration, &c->calibration);
    }
}

/* An integer's initial stands for its name where no other integer parameter begins alike. */
static bool initial_is_clear(const kvant_param *params, int index)
{
    for (int i = 0; i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (i != index && params[i].type == KVANT_INT && params[i].name[0] == params[index].name[0])
            return false;
    return true;
}

/* differs: parameters that are not the same in all groups, which the allocation's words speak of; NULL: none. */
static void add_side(text *t, const survey *s, const kvcache_side *side, const bool *differs)
{
    const kvant_param *params = side->quantizer->params;
    size_t u = 0;
    while (u < s->n && s->used[u].quantizer != side->quantizer)
        u++;
    text_add(t, "%s", side->quantizer->name);
    for (int pass = 0; pass < 2; pass++)           /* bits first */
        for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++) {
            bool bits = !strcmp(params[i].name, "bits");
            char value[KVANT_VALUE_TEXT];
            if ((differs && differs[i]) || bits != (pass == 0) || (!bits && side->args.v[i] == params[i].def && !s->used[u].varies[i]))
                continue;
            kvant_format_arg(params, i, &side->args, value, sizeof value);
            if (bits)
                text_add(t, " %sb", value);
            else if (params[i].type == KVANT_CHOICE)
                text_add(t, " %s", value);
            else if (params[i].type == KVANT_INT && initial_is_clear(params, i))
                text_add(t, " %c%s", params[i].name[0], value);
            else
                text_add(t, " %s=%s", params[i].name, value);
        }
}

static kvant_status label_cell(const survey *s, plan_cell *c, kvant_error *err)
{
    const kvcache_policy *policy = &c->policy;
    text t = { 0 };
    if (!policy->key.quantizer)
        text_add(&t, "%s of %s", c->probe->name, c->data->name);
    else {
        text key = { 0 }, value = { 0 };
        const plan_allocation *a = c->allocation;
        if (a && a->key.mixed)
            text_add(&key, "mixed");
        else
            add_side(&key, s, &policy->key, a ? a->key.differs : NULL);
        if (a && a->value.mixed)
            text_add(&value, "mixed");
        else if (policy->value.quantizer)
            add_side(&value, s, &policy->value, a ? a->value.differs : NULL);
        if (key.failed || value.failed)
            t.failed = true;
        else if (!value.data || !strcmp(key.data, value.data))
            text_add(&t, "%s", key.data);
        else
            text_add(&t, "K %s / V %s", key.data, value.data);
        text_free(&key);
        text_free(&value);
    }
    if (c->allocation)
        text_add(&t, ", %s", c->allocation->label);
    if (c->weights != LM_WEIGHTS_F32 && s->weights)
        text_add(&t, ", %s weights", lm_weights_name(c->weights));
    if (c->again)
        text_add(&t, " again");
    if (policy->sink || s->sink)
        text_add(&t, " sink %u", policy->sink);
    if (policy->window || s->window)
        text_add(&t, " window %u", policy->window);
    if (policy->sliding || s->sliding)
        text_add(&t, " sliding %s", spec_word(SPEC_SLIDING, (int)policy->sliding));
    if (policy->prefill || s->prefill)
        text_add(&t, " %s", spec_word(SPEC_PREFILL, (int)policy->prefill));
    if (policy->key_stage || s->key_stage)
        text_add(&t, " %s", spec_word(SPEC_KEY_STAGE, (int)policy->key_stage));
    if (policy->decode_reads || (s->decode_reads && !plan_all_f16(c)))
        text_add(&t, " reads %s", spec_word(SPEC_DECODE_READS, (int)policy->decode_reads));
    if (policy->seed || s->seed)
        text_add(&t, " seed %u", policy->seed);
    if (policy->seed_rule == SEED_PER_LAYER || s->seed_rule)
        text_add(&t, "%s", policy->seed_rule == SEED_PER_LAYER ? " per layer" : " shared");
    if (c->calibration.used && s->learnt)
        text_add(&t, " from %g x %g%s%s seed %g", c->calibration.args.v[CALIBRATION_N], c->calibration.args.v[CALIBRATION_LENGTH],
                 c->calibration.own ? "" : " of ", c->calibration.own ? "" : c->calibration.data->name,
                 c->calibration.args.v[CALIBRATION_SEED]);
    if (t.failed) {
        text_free(&t);
        return kvant_fail(err, KVANT_NOMEM, "no memory for a label");
    }
    c->label = t.data;
    return KVANT_OK;
}

kvant_status plan_label(plan *p, kvant_error *err)
{
    size_t n_quantizers = 0;
    while (kvant_quantizers()[n_quantizers])
        n_quantizers++;
    survey s = { .used = calloc(n_quantizers + 1, sizeof *s.used) };
    if (!s.used)
        return kvant_fail(err, KVANT_NOMEM, "no memory for labels");
    for (size_t i = 0; i < p->n_cells; i++)
        see_cell(&s, &p->cells[i]);
    for (size_t i = 0; i < p->n_skips; i++)
        if (p->skips[i].cell.policy.key.quantizer)
            see_cell(&s, &p->skips[i].cell);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < p->n_cells && !status; i++)
        status = label_cell(&s, &p->cells[i], err);
    for (size_t i = 0; i < p->n_skips && !status; i++)
        status = label_cell(&s, &p->skips[i].cell, err);
    free(s.used);
    return status;
}
