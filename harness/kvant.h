/* kvant.h - the contract between a quantizer and the harness, and the library's public interface.
 * The first half is what a file in algorithms/ fills in; the second half is how to use one. */
#ifndef KVANT_H
#define KVANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors -------------------------------------------------------------------------------- */

typedef enum {
    KVANT_OK = 0,
    KVANT_SKIP,        /* not applicable to this input; the text is the reason, and the reason is a result */
    KVANT_INVALID,     /* the caller's input is wrong: text names file, place and remedy */
    KVANT_NOMEM,
    KVANT_IO,          /* a file, a store, a network: text names it */
    KVANT_FAILED,      /* a check, an expectation or a numerical method failed */
    KVANT_INTERRUPTED  /* the user asked to stop */
} kvant_status;

/* Owned by the caller, written only when a function returns something else than KVANT_OK. */
typedef struct { char text[1024]; } kvant_error;

/* Writes the formatted text to err (which may be NULL) and returns status: `return kvant_fail(err, KVANT_SKIP, "...")`. */
kvant_status kvant_fail(kvant_error *err, kvant_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- Parameters ---------------------------------------------------------------------------- */

enum {
    KVANT_MAX_PARAMS = 16,
    KVANT_MAX_LIST = 64,           /* entries of a list */
    KVANT_VALUE_TEXT = 512         /* bytes that hold any value as text */
};

typedef enum { KVANT_INT, KVANT_REAL, KVANT_CHOICE, KVANT_LIST } kvant_type;

/* One typed parameter. A table of them ends with a NULL name; the index in the table is the index into kvant_args.v. */
typedef struct {
    const char *name, *help;
    kvant_type type;
    double def, min, max;          /* default and inclusive range; of a choice: index of the default, and 0, 0; of a list: 0, for it
                                    * is empty by default, and the range of its entries, within 0 ... 65535 */
    const char *const *choices;    /* of a choice: NULL-terminated names; else NULL */
} kvant_param;

/* Values in the order of the table; integers are exact (|v| <= 2^53), a choice is its index. A table has at most one list: its
 * value is the number of its entries, which lie in `list`, ascending and different, with zeros behind them. */
typedef struct { double v[KVANT_MAX_PARAMS]; uint16_t list[KVANT_MAX_LIST]; } kvant_args;

/* ---- What a quantizer is asked for, and what it needs ---------------------------------------- */

typedef enum { KVANT_KEY, KVANT_VALUE, KVANT_VECTOR } kvant_side;

typedef enum { KVANT_ROPE_NONE, KVANT_ROPE_INTERLEAVED, KVANT_ROPE_HALF } kvant_rope_pairing;

/* width: coordinates of a head that RoPE rotates in pairs, or will rotate, where keys are coded before it. */
typedef struct { kvant_rope_pairing pairing; uint32_t width; } kvant_rope;

typedef struct {
    uint32_t dim;                  /* coordinates of a vector, 8...4096 */
    kvant_side side;
    uint32_t layer, head, seed;    /* seed is the effective one: the policy's rule has been applied */
    kvant_rope rope;
} kvant_shape;

/* Filled by plan(); all sizes in bytes unless they say otherwise. */
typedef struct {
    size_t state;       /* per quantizer; flat, no pointers inside: it is hashed, cached and uploaded in one copy */
    size_t code;        /* per block of vectors: everything that decode needs beside the state */
    size_t query;       /* per prepared query */
    size_t scratch;     /* per thread */
    size_t acc;         /* floats of a mix accumulator, per query */
    size_t block;       /* vectors that the method codes together (0 means 1) */
    size_t tile;        /* vectors that the memory layout interleaves (0 means 1); a multiple or divisor of block */
    size_t train_min;   /* vectors that train() needs; 0 = data-oblivious */
    bool prompt;        /* trained anew by each sequence, on its own first train_min vectors, which wait in f16 until then; else
                         * trained ahead, on calibration data */
    size_t trained;     /* bytes of what such a training decides: every sequence stores them */
    double bits_asked;  /* nominal bits per coordinate, as the method's name promises them */
    char note[96];      /* what it does that its parameters do not say, e.g. "hadamard in blocks of 32"; may be empty */
} kvant_plan;

/* The hot path: cannot fail, never allocates. Arrays are row-major float32.
 *
 * A unit is max(block, tile) vectors and takes code * unit / block bytes. `code` points to the unit that holds vector `first`
 * (the vector's index in the cache), so vector i lies in unit (i / unit - first / unit) behind `code`, lane i % unit.
 * encode writes whole blocks: first and n are multiples of block. decode, score and mix take any range of encoded vectors.
 * state, code, prepared and scratch are aligned to 64 bytes (code: to its unit within such an allocation).
 *
 *   encode   x [n][dim]                      -> code
 *   decode   code                            -> x [n][dim]
 *   query    q [nq][dim]                     -> prepared [nq], plan.query bytes each
 *   score    prepared [nq], code             -> dot [nq][n] = <q, decode(code)>
 *   mix      w [nq][n], code                 -> acc [nq][plan.acc] += sum over vectors of w * (code's vector), in any linear domain
 *   finish   acc [nq][plan.acc]              -> out [nq][dim] = sum of w * decode(code)
 *   symbols  code                            -> sym [n][dim], for entropy accounting; optional
 *
 * query and score are both NULL or both set, and so are mix and finish: NULL means that the harness goes by decode. */
typedef struct {
    void (*encode)(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch);
    void (*decode)(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch);
    void (*query)(const void *state, const float *q, size_t nq, void *prepared, void *scratch);
    void (*score)(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n,
                  float *dot, void *scratch);
    void (*mix)(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch);
    void (*finish)(const void *state, const float *acc, size_t nq, float *out, void *scratch);
    void (*symbols)(const void *state, const uint8_t *code, size_t n, uint16_t *sym);
} kvant_ops;

/* A value that a correct implementation hits. `input` is a distribution of datasets/synthetic.c; `args` is
 * "bits=2,rotation=haar"; `metric` is one of the distortion probe's. The measured value passes when
 * !(|measured - value| > tolerance + 4.5 * standard error of the measurement) and it is finite. */
typedef struct {
    const char *input;
    uint32_t dim;
    const char *args, *metric;
    double value, tolerance;       /* tolerance is absolute: the rounding of `value` as its source gives it */
    const char *source;
} kvant_oracle;

/* What a table of a state is, and so what it may hold when it comes from elsewhere. A codebook is a row of ascending centroids; the
 * thresholds between them are the part behind it. */
typedef enum { KVANT_ROTATION, KVANT_SIGNS, KVANT_SKETCH, KVANT_CODEBOOK, KVANT_THRESHOLDS, KVANT_TABLE } kvant_part_kind;

enum { KVANT_MAX_PARTS = 32 };

/* Floats in a state: rows of `cols`, `stride` floats apart, from byte `offset` on. */
typedef struct {
    char name[32];                 /* "rotation", "outlier_sketch" */
    kvant_part_kind kind;
    size_t offset;
    uint32_t rows, cols, stride;
} kvant_part;
typedef struct { kvant_part part[KVANT_MAX_PARTS]; size_t n; } kvant_parts;

/* One quantizer: the last thing in its file. Never prints, reads a clock or keeps memory; only plan, init and train can fail.
 * init and train get zeroed, 64-byte aligned memory of plan.state bytes and may let GSL allocate what they free. */
typedef struct {
    const char *name, *summary, *source;   /* source: paper, section, version */
    const kvant_param *params;
    const kvant_oracle *oracles;           /* ends with a NULL input; NULL: none, and every report says so */
    kvant_status (*plan)(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err);
    kvant_status (*init)(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err);
    kvant_status (*train)(void *state, const float *x, size_t n, kvant_error *err);   /* x [n][dim]; NULL: data-oblivious */
    kvant_ops ops;
    /* For states that are kept on disk and brought from elsewhere: lists every table that init draws or solves or train writes, and
     * fills in of a zeroed state all that is no such table, without work. NULL: there are none, and init is cheap. */
    void (*parts)(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts);
} kvant_quantizer;

/* What a codec runs of one shape. A kernel gets the scalar form and replaces what it has. */
typedef struct {
    kvant_ops ops;
    size_t tile, query, acc, scratch;      /* as in a plan: what these ops need */
    /* bytes of a state of the kernel's own, which its ops get instead of the scalar one; 0: none */
    size_t derived;
} kvant_form;

/* A faster form of one quantizer for one target (metal/). A tile other than the plan's, or a derived state, leaves none of the scalar
 * ops in place: those that it does not replace go by decode. */
typedef struct {
    const char *quantizer, *target;                                        /* "f16", "avx2" */
    bool (*form)(const kvant_shape *shape, const kvant_args *args, kvant_form *form);  /* false: not this CPU, not this shape */
    /* Writes form.derived bytes, zeroed and aligned to 64, from a state and the tables in it (kvant_quantizer.parts), whenever the
     * state has changed. */
    void (*derive)(const kvant_shape *shape, const kvant_args *args, const void *state, const kvant_parts *parts, void *derived);
    double distance;               /* allowed relative l2 distance of decoded vectors from scalar, of the same codes */
    /* the same of scores and mixes, of a vector's length, to which methods that code blocks of tokens may add twice that of the zeros
     * they subtract; what it adds to the quantizer's error must be 1 % of that at most */
    double products;
    const char *reason;            /* why they are not zero; NULL if they are */
    bool codes;                    /* codes are the scalar code's, layout apart; else as close to x but for rounding */
} kvant_kernel;

/* ---- Using a quantizer ------------------------------------------------------------------------ */

const kvant_quantizer *const *kvant_quantizers(void);             /* all of them, NULL-terminated, sorted by name */
const kvant_quantizer *kvant_find(const char *name, kvant_error *err);   /* NULL: err names the nearest known one */

kvant_args kvant_defaults(const kvant_param *params);
/* Sets one parameter from text; unknown names and values out of range are KVANT_INVALID, naming what is allowed. */
kvant_status kvant_set(const kvant_param *params, const char *name, const char *text, kvant_args *args, kvant_error *err);
/* Parses "bits=4,group_size=32" (or "") over what args holds. */
kvant_status kvant_parse(const kvant_param *params, const char *text, kvant_args *args, kvant_error *err);
/* Writes one value as text, e.g. "4", "0.5", "haar"; of a list the number of its entries. */
void kvant_format(const kvant_param *param, double value, char *text, size_t bytes);
/* The value of params[index], lists in full: "3+17+64", or "none". KVANT_VALUE_TEXT bytes hold any. kvant_set reads it back. */
void kvant_format_arg(const kvant_param *params, int index, const kvant_args *args, char *text, size_t bytes);
/* The value of a quantizer's parameter by its name, which must be one. */
double kvant_arg(const kvant_quantizer *quantizer, const char *name, const kvant_args *args);
/* True when both have the same value of params[index]. */
bool kvant_same_arg(const kvant_param *params, int index, const kvant_args *a, const kvant_args *b);

/* A quantizer ready for use: planned, initialised, with its fastest usable kernel. Read-only after kvant_open and
 * kvant_train; one codec serves any number of threads, each with its own scratch of `scratch` bytes. */
typedef struct {
    const kvant_quantizer *quantizer;
    const char *target;            /* "scalar" or the kernel's target */
    kvant_shape shape;
    kvant_args args;
    kvant_plan plan;               /* block and tile are at least 1 */
    kvant_ops ops;
    size_t unit, unit_bytes;       /* vectors and bytes of a unit */
    size_t query, acc, scratch;    /* as in the form, widened to what the harness's own fall-backs need */
    void *state;
    const kvant_kernel *kernel;    /* NULL: scalar */
    size_t derived_bytes;
    void *derived;                 /* the kernel's state; NULL: its ops take the scalar one */
} kvant_codec;

/* Opens a codec; isa "scalar" forces the scalar ops, NULL or "auto" takes the best. kvant_close frees; {0} is closed. */
kvant_status kvant_open(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                        kvant_codec *codec, kvant_error *err);
void kvant_close(kvant_codec *codec);
/* kvant_open with a state [bytes] that another codec of the same quantizer, shape and arguments had, trained or not. Of it the tables
 * are taken, if they are finite; KVANT_INVALID when anything else differs from what this program would write there. */
kvant_status kvant_open_state(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                              const void *state, size_t bytes, kvant_codec *codec, kvant_error *err);
/* Lists the tables in codec->state; KVANT_NOMEM. */
kvant_status kvant_list_parts(const kvant_codec *codec, kvant_parts *parts, kvant_error *err);
/* The same without its state: sizes, target and ops as they will be, for planning. The codec cannot code; nothing to close. */
kvant_status kvant_describe(const kvant_quantizer *quantizer, const kvant_shape *shape, const kvant_args *args, const char *isa,
                            kvant_codec *codec, kvant_error *err);
kvant_status kvant_train(kvant_codec *codec, const float *x, size_t n, kvant_error *err);
/* A codec with a state of its own, equal to another's: for a sequence that trains it. */
kvant_status kvant_copy(const kvant_codec *codec, kvant_codec *copy, kvant_error *err);

size_t kvant_bytes(const kvant_codec *codec, size_t n);            /* of the codes of n vectors, rounded up to whole units */
double kvant_bits(const kvant_codec *codec);                       /* stored bits per coordinate: 8 * code / (block * dim) */

/* Allocation for codes, scratch and prepared queries: 64-byte aligned, zeroed; NULL when there is none. Freed by free(). */
void *kvant_alloc(size_t bytes);

/* The ops, with fall-backs by decode where the method has none. `code` is the START of the codes (vector 0), not a unit. */
void kvant_encode(const kvant_codec *codec, const float *x, size_t first, size_t n, uint8_t *code, void *scratch);
void kvant_decode(const kvant_codec *codec, const uint8_t *code, size_t first, size_t n, float *x, void *scratch);
void kvant_query(const kvant_codec *codec, const float *q, size_t nq, void *prepared, void *scratch);
void kvant_score(const kvant_codec *codec, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n,
                 float *dot, void *scratch);
void kvant_mix(const kvant_codec *codec, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
               void *scratch);
void kvant_finish(const kvant_codec *codec, const float *acc, size_t nq, float *out, void *scratch);
/* Symbols of the first n vectors; only where codec->ops.symbols is set. */
void kvant_symbols(const kvant_codec *codec, const uint8_t *code, size_t n, uint16_t *sym);

const char *kvant_version(void);

#ifdef __cplusplus
}
#endif
#endif
