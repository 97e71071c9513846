/* plan.h - a spec multiplied out: the cells to measure, each with the text that says what it is, and what was skipped and why.
 * Planning reads model headers and data, never weights; it is where a sweep that cannot work is found out. */
#ifndef KVANT_PLAN_H
#define KVANT_PLAN_H

#include "harness/experiment/spec.h"
#include "harness/experiment/states.h"
#include "harness/input/input.h"
#include "harness/store/store.h"
#include "harness/weights.h"

enum { PLAN_COMBINATIONS = 200000 };           /* the most that a spec may multiply out to */

typedef struct {
    kvant_input input;
    lm_shape shape;
    weights_size size;
    bool loaded;
} plan_model;

typedef struct {
    char name[256];                /* the manifest's, the file's, or "synthetic:dim=64" */
    const kvant_dataset *dataset;
    kvant_args args;
    kvant_data data;
    bool loaded;
} plan_data;

/* What trained methods of a cell learn from. */
typedef struct {
    bool used;                     /* some quantizer of the cell is trained ahead */
    kvant_args args;               /* of calibration_params */
    kvcache_key_stage stage;       /* of a model's keys */
    const plan_data *data;         /* a text, or vectors; a generator's own stand for what it would make next */
    bool own;                      /* data is that of the cell */
} plan_calibration;

/* Who codes: a quantizer and the target whose ops run. */
enum { PLAN_USED = 16 };
typedef struct { const kvant_quantizer *quantizer; const char *target; } plan_used;

/* What groups of a side have in common. */
typedef struct { bool mixed /* quantizers */, differs[KVANT_MAX_PARAMS]; } plan_common;

/* A quantizer for every group, as a spec's `allocator` came to it. */
typedef struct {
    kvcache_allocation table;
    plan_used used[PLAN_USED];     /* [n_used] all that code, f16 for what is kept included */
    size_t n_used;
    plan_common key, value;
    plan_calibration learns;       /* used: the text whose windows the sensitivities are of */
    char *config, *label;          /* canonical JSON of what was asked and a hash of what it came to; a few words */
} plan_allocation;

/* Bytes by what they are for. */
typedef struct { double weights, activations, logits, caches, data; } plan_bytes;
double plan_bytes_sum(const plan_bytes *bytes);

/* One point of the sweep.
 *
 * config is canonical JSON, without blanks, keys sorted, every default filled in:
 *   {"allocation": {"allocator", "budget", ..., "sha256"} or {"file", "sha256"}: only where groups differ; key and value then hold
 *    what they have in common,
 *    "calibration": {"data": {...}, "length", "n", "seed"}: only where something learns,
 *    "code": {"compiler", "flags", "gsl", "onednn", "parts": {PART: sha256, ...}},
 *    "data": {"dataset", "name", "params": {...}, "sha256"}, "decode_reads": "copy": only where not at its default (spec_left_out),
 *    "isa": {"key", "value"} or {"vector"}: the target whose ops run,
 *    "key": {"params": {"bits": 4, ...}, "quantizer": "affine"}, "key_stage": "post_rope", "model": {"name", "sha256", "weights"},
 *    "prefill": "packed", "probe": {"name", "params": {...}}, "seed": 0, "seed_rule": "shared", "sink": 0, "sliding": "quantized",
 *    "states": [{"file", "imported": {TABLE: sha256, ...}}, ...], "value": {...} , "window": 0}
 * "weights" of a model is there only when what is measured depends on their form, "states" only when states that the cell takes from a
 * folder hold imported tables. With vector data "vector" stands for key and value, and what belongs to a model is not there. */
typedef struct {
    const kvant_probe *probe;
    kvant_args args;               /* of the probe */
    const plan_model *model;       /* NULL with vector data */
    lm_weights weights;            /* the form that they take */
    const plan_data *data;
    plan_calibration calibration;
    const plan_allocation *allocation;         /* NULL: policy.key and policy.value for every group; else they are the first group's */
    kvcache_policy policy;         /* with vector data, key holds the quantizer and value none */
    char key[SHA256_HEX];          /* of config: the cell's identity */
    char pairing[SHA256_HEX];      /* of config without the quantizers, their code and their policy */
    char *config, *key_params, *value_params, *label;
    char *states;                  /* what config says of imported tables; NULL: there are none */
    char key_target[16], value_target[16], kept_target[16];    /* kept: of f16, for sinks, window and incomplete blocks */
    bool reference;                /* the f16 cell of its pairing */
    const char *control;           /* what it is a control as (controls.h); NULL: none */
    bool added;                    /* no axis of the spec names it */
    bool again;                    /* the reference a second time: "repeat": 1 in its config, and nothing else */
    double bits_asked, bits_stored;            /* per coordinate; of a cache, of those that it stores at the probe's context */
    uint64_t cache_bytes;          /* of a sequence at the probe's context; 0 with vector data */
    double cost, seconds;          /* what the probe says; an estimate from it */
    uint64_t state_bytes;          /* of its codecs */
    plan_bytes memory;             /* that running it will take, estimated */
    size_t job;                    /* cells with equal pairing share a job */
    bool done;                     /* finished in the store that the plan was made with */
} plan_cell;

typedef struct { plan_cell cell; char *reason; } plan_skip;

typedef struct {
    const spec *spec;              /* not owned; must outlive the plan */
    plan_model *models;            /* one per choice of the model axis; loaded: some cell uses it */
    plan_data *data, *calibration; /* likewise */
    size_t n_models, n_data, n_calibration, n_cells, n_skips, n_jobs, n_done;
    plan_cell *cells;              /* [n_cells]: the first axis slowest; equal ones once; those added before their pairing's cells */
    plan_skip *skips;
    plan_allocation **allocations; /* [n_allocations] */
    size_t n_allocations;
    size_t n_waiting;              /* skips whose allocator waits for sensitivities that the store lacks */
    double seconds;                /* estimate for the cells that are not done */
    const plan_cell *largest;      /* of them, by memory; NULL: there is none */
    uint64_t available;            /* bytes that were available when it was made; 0: not known */
} plan;

/* Multiplies the spec out, and adds references and controls. kept (may be NULL, and must outlive the plan): where codecs take their
 * states from. known (may be NULL) tells which cells are done and how fast such cells were, and what allocators go by; what it lacks
 * of the latter is measured into it when measure is not NULL, and otherwise their cells are skips that wait. threads: for the
 * estimate. */
struct run_options;
kvant_status plan_open(const spec *s, states *kept, store *known, int threads, const struct run_options *measure, plan *out,
                       kvant_error *err);
/* KVANT_INVALID, with the figures and the remedies, when a cell that is not done would take more memory than is available. */
kvant_status plan_fits(const plan *p, kvant_error *err);
void plan_close(plan *p);          /* {0} is allowed */

/* The quantizer of a cell's keys (or vectors) or values; "mixed" where an allocation has several; NULL: there is no such side. */
const char *plan_quantizer(const plan_cell *cell, kvant_side side);

/* The i-th of the quantizers that a cell's probe runs for itself on vectors, and the target whose ops it gets; used->quantizer is NULL
 * behind the last. */
kvant_status plan_baseline(const plan_cell *cell, size_t i, plan_used *used, kvant_error *err);

/* Lets go of the cells for which `keep` is false: a diagonal of two axes, say. */
void plan_keep(plan *p, bool (*keep)(const plan_cell *cell, const void *user), const void *user);

#endif
