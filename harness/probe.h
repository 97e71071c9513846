/* probe.h - the contract of harness/probes/NAME.c: one measurement.
 * A job is everything that shares model, data and settings and differs only in the quantizers: its cells. Work is cut into
 * units; a unit's samples of a cell are stored together or not at all, and what a cell finally says is a pure function of
 * its samples, so that a resumed run equals an undisturbed one bit for bit. */
#ifndef KVANT_PROBE_H
#define KVANT_PROBE_H

#include "harness/input/dataset.h"
#include "harness/lm/model.h"

typedef struct {
    const char *name, *unit, *help;
    int better;                    /* -1: lower is better, 1: higher, 0: neither */
    bool timing;                   /* differs from run to run */
} probe_metric;

/* One raw value. `chunk` is what the statistics cluster by (chunk, trial, layer, repeat); `idx` tells values of a chunk apart;
 * n is how many single observations the value stands for (its weight). */
typedef struct { const char *metric; uint32_t chunk, idx; double value, n; } probe_sample;

/* One result. se, lo and hi are NaN where there is none; lo..hi is a 95 % interval. */
typedef struct { const char *metric; double value, n, se, lo, hi; } probe_result;

typedef struct probe_job {
    kvant_args args;               /* of the probe */
    lm_model *model;               /* NULL when the probe or the data needs none */
    const kvant_data *data;
    size_t n_cells;
    const kvcache_codecs *codecs;  /* [n_cells]; NULL for vector data */
    const kvant_codec *vectors;    /* [n_cells] codecs of side KVANT_VECTOR; NULL for text */
    /* set by open: */
    size_t n_units;
    void *state;
    /* the driver's: */
    void (*emit)(struct probe_job *job, size_t cell, const probe_sample *sample);
    kvant_status (*measures)(struct probe_job *job, const int32_t *ids, size_t n, kvant_error *err);   /* NULL: nothing was learnt */
    void *driver;
} probe_job;

typedef struct {
    const char *name, *summary;
    const kvant_param *params;
    const probe_metric *metrics;   /* ends with a NULL name */
    bool wants_text, wants_vectors;    /* kinds of data it takes; text brings a model with it */
    /* looks at the model's keys themselves, after RoPE: cells whose cache has them before it are skips */
    bool post_rope;
    bool wants_reference;          /* every job gets an f16 cell of its own, if the spec has none */
    /* Where every job with a model shall have controls: the metric that tells good caches from bad ones, whose samples are paired by
     * chunk. NULL: they would cost more than they tell, or the probe has controls of its own. */
    const char *control_metric;
    bool repeats_reference;        /* begin() runs f16 anew, so that the f16 cell's control_metric, a distance from it, must be 0 */
    bool held_counts;              /* what it measures, times or memory, depends on how a model's weights are held */
    bool attends;                  /* runs the engine's cache and attention on vectors too: harness/lm is part of cells' identity */
    const char *const *baselines;  /* quantizers of vectors, NULL-terminated, that every job runs for itself with their defaults and
                                    * best kernels: they are checked like those of cells, and are part of their identity; NULL: none */
    /* Positions that a sequence of the probe can reach with these args: the cache's capacity, and what lm_open gets. */
    uint32_t (*context)(const kvant_args *args);
    /* Tokens (or vectors) that one cell costs, for the estimate; from arguments and the data's size alone. */
    double (*cost)(const kvant_args *args, const kvant_data *data);
    /* Bytes that a job on a model keeps beside weights and caches: logits, hidden states; NULL: 128 rows of logits. */
    double (*memory)(const kvant_args *args, const lm_shape *shape);
    kvant_status (*open)(probe_job *job, kvant_error *err);
    /* Once before the cells of a unit, for what they share (a reference, a prompt); may be NULL. */
    kvant_status (*begin)(probe_job *job, size_t unit, kvant_error *err);
    /* One unit of one cell: emits samples. Must not depend on which other cells are run. */
    kvant_status (*unit)(probe_job *job, size_t unit, size_t cell, kvant_error *err);
    void (*close)(probe_job *job);                                  /* frees state; called after a failed open too */
    /* All samples of a cell, ordered by unit, metric, chunk, idx -> results, by calls of `result`. */
    kvant_status (*finish)(const kvant_args *args, const probe_sample *samples, size_t n,
                           void (*result)(void *user, const probe_result *), void *user, kvant_error *err);
} kvant_probe;

const kvant_probe *const *kvant_probes(void);                        /* NULL-terminated, sorted by name */
const kvant_probe *probe_find(const char *name, kvant_error *err);

/* The table's row for a sample's or result's metric: of that name, or NAME_N for NAME_16 (figures at a number of chunks).
 * NULL: none. */
const probe_metric *probe_metric_find(const kvant_probe *probe, const char *name);

/* ---- For probes ------------------------------------------------------------------------------ */

/* A text tokenised once and whole with the tokenizer's own special tokens: *ids [*n], freed by the caller. *bos is what the tokenizer
 * puts before every text, -1 when nothing. KVANT_SKIP: the file's tokenizer is not supported. */
kvant_status probe_text(lm_model *model, const kvant_data *data, int32_t **ids, size_t *n, int32_t *bos, kvant_error *err);

/* To be called with all tokens that are going to be measured, and their number: KVANT_INVALID when a cell of the job has learnt from
 * them. probe_chunks does it for its chunks. */
kvant_status probe_measures(probe_job *job, const int32_t *ids, size_t n, kvant_error *err);

/* The job's text by probe_text, cut into chunks from its beginning: *ids [chunks][context], freed by the caller, every id within the
 * model's vocabulary. When the tokenizer puts a BOS before a text, each chunk's first token is replaced by it. KVANT_INVALID: a
 * shorter text, or one that was learnt from. */
kvant_status probe_chunks(probe_job *job, uint32_t context, uint32_t chunks, int32_t **ids, kvant_error *err);

/* Values and weights of a metric's samples in their order: returns how many; x, w [n]. */
size_t probe_values(const probe_sample *samples, size_t n, const char *metric, double *x, double *w);
/* The same with one value per unit, for what is no independent draw within it (layers and heads of one text): a unit begins where
 * (chunk, idx) does not rise. */
size_t probe_by_unit(const probe_sample *samples, size_t n, const char *metric, double *x, double *w);
/* The same with one value per run of samples of one chunk, for units whose samples belong together by their chunk (a seed). */
size_t probe_by_chunk(const probe_sample *samples, size_t n, const char *metric, double *x, double *w);
/* A mean of values by stats_clustered, with a t interval; n of the result is the number of clusters. */
probe_result probe_clustered(const char *metric, const double *x, const double *w, size_t n);
/* The share of ones among x [n], with a Wilson interval; n at least 1. */
probe_result probe_share(const char *metric, const double *x, size_t n);
/* exp of a mean and of the ends of its interval; the standard error by the delta method. */
probe_result probe_exponential(const char *metric, probe_result mean);

#endif
