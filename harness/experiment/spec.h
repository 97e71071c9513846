/* spec.h - an experiment's spec: JSON in which an array is an axis of the sweep and a scalar a constant.
 * Every key and value is checked against the plug-ins here, so that what reads a spec afterwards meets nothing unknown. */
#ifndef KVANT_SPEC_H
#define KVANT_SPEC_H

#include "harness/allocation/allocator.h"
#include "harness/experiment/document.h"
#include "harness/probe.h"

typedef enum {
    SPEC_PROBE, SPEC_MODEL, SPEC_DATA, SPEC_KEY, SPEC_VALUE, SPEC_CACHE, SPEC_VECTOR, SPEC_SINK, SPEC_WINDOW, SPEC_SLIDING,
        SPEC_PREFILL,
    SPEC_KEY_STAGE, SPEC_DECODE_READS, SPEC_SEED, SPEC_SEED_RULE, SPEC_ISA, SPEC_CALIBRATION, SPEC_ALLOCATOR, SPEC_WEIGHTS,
    SPEC_PARAM                     /* of the probes that have a parameter of that name */
} spec_kind;

/* One value of an axis; which members count depends on the kind. */
typedef struct {
    const cJSON *item;             /* where it stands, for errors */
    const char *name;              /* MODEL, ISA: as given; DATA: the manifest's name or a path, NULL for a generator; CALIBRATION:
                                    * that of its data, NULL for what is measured; ALLOCATOR: a file, NULL for none */
    double number;                 /* SINK, WINDOW, SEED; of a key with words, the word's index: a kvcache_seed_rule and the like;
                                    * WEIGHTS: as weights_find */
    const kvant_probe *probe;      /* PROBE */
    kvcache_side side;             /* KEY, VALUE, VECTOR, CACHE (its keys); a quantizer that is NULL says "same" (VALUE) */
    kvcache_side value;            /* CACHE: its values */
    const kvant_dataset *dataset;  /* DATA: NULL means by the file */
    kvant_args args;               /* DATA: of the dataset, when that is not NULL; CALIBRATION: of calibration_params;
                                    * ALLOCATOR: of budget_params, when there is one */
    const kvant_allocator *allocator;      /* ALLOCATOR: NULL with a file, and when `key` and `value` hold everywhere */
    kvant_args own;                /* ALLOCATOR: its parameters */
    const char *protect;           /* ALLOCATOR: layers, as budget_protect takes them; NULL: none */
} spec_choice;

typedef struct {
    spec_kind kind;
    const char *name;              /* its key */
    size_t n;
    spec_choice *choices;          /* [n], in the file's order; objects of arrays are multiplied out, the first key slowest */
} spec_axis;

typedef struct {
    document *doc;
    const char *name;              /* of the experiment */
    size_t n_axes;
    spec_axis *axes;               /* [n_axes] in the file's order */
    bool controls;                 /* not left out by "controls": false */
    const char *title, *paper;     /* what it shows, and of which paper and version; NULL: not said */
    double minutes;                /* what it says that it takes on two cores; NAN: not said */
    double golden;                 /* relative tolerance to which its results come again; 0: bit for bit, NAN: they do not */
    bool has_quick, quick;         /* there is a quick variant; this is it */
    char *json;                    /* the spec as it stands after overrides, without what is of the other variant */
} spec;

/* A key of specs, for reading and for explaining it. words: what it may be, the default first, in the order of the enumeration that it
 * stands for; NULL where it takes something else. */
enum { SPEC_WORDS = 3 };
typedef struct { const char *name; spec_kind kind; const char *help, *words[SPEC_WORDS]; } spec_key;
const spec_key *spec_keys(void);   /* all of them; ends with a NULL name */
const char *spec_word(spec_kind kind, int index);
/* The index of a word that a key may be; KVANT_INVALID says which there are. */
kvant_status spec_find_word(spec_kind kind, const char *given, int *index, kvant_error *err);
/* What a cell's config means where it lacks the member `name`: the default of a policy's key that configs leave out; NULL: nothing. */
const char *spec_left_out(const char *name);
/* Keys that are no axes but say something of the spec itself; ends with a NULL name. */
typedef struct { const char *name, *help; } spec_about;
const spec_about *spec_about_keys(void);

/* Reads a spec and overrides keys by `sets`, each KEY=VALUE (document_set). KVANT_INVALID names file, line and path. Without sets the
 * quick variant is checked too, so that its faults show before it is asked for. */
kvant_status spec_read(const char *path, const char *const *sets, size_t n_sets, spec *out, kvant_error *err);
/* The same of its quick variant: the keys under `quick` stand in place of the spec's own, null takes one away, and it is named
 * NAME-quick. KVANT_INVALID when it has none. */
kvant_status spec_read_quick(const char *path, const char *const *sets, size_t n_sets, spec *out, kvant_error *err);
/* The same from memory. */
kvant_status spec_parse(const char *name, const char *json, size_t bytes, const char *const *sets, size_t n_sets, spec *out,
                        kvant_error *err);
kvant_status spec_parse_quick(const char *name, const char *json, size_t bytes, const char *const *sets, size_t n_sets, spec *out,
                              kvant_error *err);
void spec_close(spec *s);          /* {0} is allowed */

const spec_axis *spec_find(const spec *s, spec_kind kind);      /* NULL: the spec does not have it */

/* Sets the parameter that a SPEC_PARAM axis names to its choice; a probe without it keeps args as they are. */
kvant_status spec_apply(const spec *s, const spec_axis *axis, const spec_choice *choice, const kvant_probe *probe,
                        kvant_args *args, kvant_error *err);

#endif
