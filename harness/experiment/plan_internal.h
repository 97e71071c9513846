/* plan_internal.h - what the files of the planner share: plan.c multiplies out, plan_controls.c adds what a spec need not name,
 * plan_cell.c describes a cell, plan_cost.c estimates.
 * Nothing outside them needs it. */
#ifndef KVANT_PLAN_INTERNAL_H
#define KVANT_PLAN_INTERNAL_H

#include "harness/experiment/plan.h"

/* A plan in the making. */
typedef struct {
    const spec *s;
    plan *p;
    states *kept;
    store *known;
    int threads;
    const struct run_options *measure;
    void *seen;                    /* tree of the configs of all cells and skips */
    const spec_choice *pick[SPEC_PARAM];       /* of the combination at work; NULL where the spec has no such axis */
} plan_builder;

/* Describes, identifies and adds a cell, which the plan takes over: as a cell, or as a skip with a reason that is given or that a
 * quantizer has. An equal one that is there already lets it go, and takes over what control it is. */
kvant_status plan_add_cell(plan_builder *b, plan_cell *cell, const char *reason, kvant_error *err);
/* Gives every pairing its f16 reference, where the probe wants one, and its controls, and brings cells and jobs into their order. */
kvant_status plan_add_controls(plan_builder *b, kvant_error *err);
/* Lets the cell or skip that equals `like` be the control that this one is, if it is any. */
void plan_mark_control(plan *p, const plan_cell *like);

/* Fills in targets and bits of a cell by its quantizers' plans, and what was imported into the states that are kept (may be NULL);
 * KVANT_SKIP with the reason when one does not suit the shape. */
kvant_status plan_describe(plan_cell *cell, states *kept, kvant_error *err);
/* Fills in config, key, pairing and the params' JSON. A cell without quantizers has none in its config either. */
kvant_status plan_identify(plan_cell *cell, kvant_error *err);
/* Labels all cells and skips: quantizer, bits, and those parameters that differ from their default or within the plan. */
kvant_status plan_label(plan *p, kvant_error *err);
/* Has f16 for its keys (or vectors) and values everywhere, under whatever policy. */
bool plan_all_f16(const plan_cell *cell);
void plan_cell_free(plan_cell *cell);

/* What an allocator of a cell is asked, and where its answer comes from. model and data as the spec names them. */
typedef struct {
    const spec_choice *choice;
    const char *model, *data;
    store *known;
    int threads;
    const struct run_options *measure;
} plan_order;
/* Gives the cell its allocation, which the plan keeps. KVANT_INVALID: the allocator or the file cannot, or sensitivities are missing. */
kvant_status plan_allocate(plan *p, const plan_order *order, plan_cell *cell, kvant_error *err);
void plan_allocation_free(plan_allocation *a);

/* What a run of the cell holds in memory. */
plan_bytes plan_memory(const plan_cell *cell, int threads);
/* Sums over the cells that are not done. */
void plan_total(plan *p);
/* Marks cells that the store has, and estimates the time of the others. */
kvant_status plan_estimate(plan *p, store *s, int threads, kvant_error *err);

#endif
