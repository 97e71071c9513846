/* store.h - the one SQLite store: schema.sql is its definition, this is how the harness writes it.
 * Reading is SQL on the views; nothing else stands between a number and its report. */
#ifndef KVANT_STORE_H
#define KVANT_STORE_H

#include "harness/probe.h"

#include <sqlite3.h>

typedef struct store store;

typedef enum { STORE_READ, STORE_WRITE } store_mode;     /* WRITE creates the file, its folder and the schema when needed */
kvant_status store_open(const char *path, store_mode mode, store **out, kvant_error *err);
void store_close(store *s);
sqlite3 *store_sql(store *s);
const char *store_path(const store *s);

/* One row per process that computes. The strings are copied. */
typedef struct {
    const char *started, *version, *commit, *compiler, *flags, *cpu, *gpu, *libraries, *isa, *command;
    bool dirty;
    int threads;
} store_run_info;
kvant_status store_run(store *s, const store_run_info *info, int64_t *run, kvant_error *err);

/* A cell as planned: columns of table `cell`. Strings NULL where they do not apply. */
typedef struct {
    const char *key;               /* sha256 of config: the cell's identity */
    const char *pairing;           /* sha256 of config without the quantizers' part: cells with equal pairing are comparable */
    const char *config;            /* canonical JSON: sorted keys, all defaults filled in, hashes of what it ran on */
    const char *probe, *model, *data;
    const char *key_quantizer, *key_params, *value_quantizer, *value_params;    /* params: canonical JSON object */
    const char *label;             /* short text for tables and plots: "turboquant_mse 3b", "affine 4b / f16" */
    bool reference;                /* the f16 cell of its pairing */
    double bits_asked, bits_stored;
    uint32_t units;                /* 0: not known yet; such a cell cannot have any */
} store_cell;

/* Records the experiment anew: which cells, controls and skips it had is forgotten (the cells themselves stay), so that the plan of a
 * changed spec leaves nothing behind. Put all of its cells, controls and skips again in the same transaction. */
kvant_status store_experiment(store *s, const char *name, const char *spec_json, kvant_error *err);
/* Makes the cell known (of a known one only the units are set, while it is unfinished) and puts it at `ordinal` of the
 * experiment. */
kvant_status store_cell_put(store *s, const char *experiment, uint32_t ordinal, const store_cell *cell, kvant_error *err);
/* What codes one layer, KV head and side of a cell ("key", "value"; "vector" for data of vectors); said again, it stays. */
typedef struct {
    uint32_t layer, head;
    const char *side, *quantizer, *params;
    double bits_asked, bits_stored;
} store_group;
kvant_status store_group_put(store *s, const char *cell, const store_group *group, kvant_error *err);
kvant_status store_skip(store *s, const char *experiment, const char *label, const char *config, const char *reason,
                        kvant_error *err);

/* A control of the experiment, for the cells of one pairing. */
typedef struct {
    const char *pairing, *role, *cell;
    bool added;                    /* the spec does not name it */
    const char *reason;            /* why it was skipped; NULL: it was not */
} store_control;
kvant_status store_control_put(store *s, const char *experiment, const store_control *control, kvant_error *err);

/* Units of a cell that are there: done [units] is set to 1 or 0. */
kvant_status store_units_done(store *s, const char *cell, uint32_t units, uint8_t *done, kvant_error *err);
bool store_cell_done(store *s, const char *cell);         /* finished: its measurements are there */

/* A transaction holds the samples of one or several (cell, unit). Nothing is visible before commit. */
kvant_status store_begin(store *s, kvant_error *err);
kvant_status store_commit(store *s, kvant_error *err);
void store_rollback(store *s);
kvant_status store_unit(store *s, const char *cell, uint32_t unit, int64_t run, double seconds, double seconds_model,
                        kvant_error *err);
kvant_status store_sample(store *s, const char *cell, uint32_t unit, const probe_sample *sample, kvant_error *err);

/* All samples of a cell in the order that probe finish() wants, NaN for what was not finite; freed by store_samples_free. */
kvant_status store_samples(store *s, const char *cell, probe_sample **samples, size_t *n, kvant_error *err);
void store_samples_free(probe_sample *samples, size_t n);

/* Results of a finished cell and its mark as done, in the caller's transaction; finish refuses a cell that lacks units. */
kvant_status store_measurement(store *s, const char *cell, const char *unit, int better, bool timing, const probe_result *result,
                               kvant_error *err);
kvant_status store_cell_finish(store *s, const char *cell, int64_t run, const char *finished, kvant_error *err);

/* A check of a quantizer (an oracle, a gate) by this code version. */
typedef struct {
    const char *quantizer, *code_version, *target, *name, *input, *args, *metric, *source;
    double measured, expected, se, z;
    const char *verdict;           /* "pass", "fail", "skip" */
} store_check;
kvant_status store_check_put(store *s, int64_t run, const store_check *check, kvant_error *err);
/* True when checks of this quantizer and code version are there and none failed. */
bool store_checked(store *s, const char *quantizer, const char *code_version);

/* SQL: what a cell of that alias was asked, without the code and the instruction sets that it ran by: equal for equal cells of other
 * versions and machines. Canonical JSON. */
#define STORE_IDENTITY(alias) "json_remove(" alias ".config, '$.code', '$.isa')"

/* Opens another store beside s, as schema "other" of its SQL. KVANT_INVALID when both are the same file. */
kvant_status store_attach(store *s, const char *other, kvant_error *err);
kvant_status store_detach(store *s, kvant_error *err);

/* Joins another store into s: experiments, runs, cells, units, samples, measurements, skips and checks, all or nothing. A cell
 * that both know stays s's own, unless only the other's is finished or has begun; *cells counts those that came from the other.
 * Doing it again changes nothing. KVANT_INVALID when both are the same file. */
kvant_status store_merge(store *s, const char *other, uint64_t *cells, kvant_error *err);

/* Writes one experiment of store `from`, with its cells, samples, runs and checks, to a new store: one file without a log beside it.
 * Should it fail, what was written is the caller's to remove. */
kvant_status store_subset(const char *from, const char *experiment, const char *path, kvant_error *err);

/* KVANT_INVALID unless the tables and views of the store are exactly those of this schema, and SQLite finds it sound: for stores that
 * come from elsewhere. */
kvant_status store_verify(store *s, kvant_error *err);

#endif
