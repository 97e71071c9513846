/* streams.h - outlier channels: those that are large on all vectors are coded apart from the rest, at bits of their own.
 * A vector is split by channels into two streams. Each is coded by an independent instance of the method: its own dimension,
 * rotation, codebook or sketch, and norm. Without outliers (outlier_channels=0) the method codes the whole vector, as ever.
 *
 * A code is the rest's followed by the outliers', each in whole bytes; the outliers' instance has the seed seed + 2^31. A rotation
 * by Hadamard goes in blocks that divide the stream's dimension. Which channels are outliers is the user's list, or chosen from
 * vectors by their mean square (norm) or their variance, the lower channel first among equals: from calibration data, or by each
 * sequence from its own first vectors (prompt), which then stores one bit per channel. A stream has at least 4 channels. A vector
 * that holds NaN or infinity loses the stream that holds it. */
#ifndef KVANT_STREAMS_H
#define KVANT_STREAMS_H

#include "algorithms/shared/rotated.h"

enum { STREAMS_MAX = 4092 /* largest number of outlier channels */ };

/* Parameters of these names, one after the other, for a quantizer's table. */
#define STREAMS_PARAMS \
    { .name = "outlier_channels", .help = "channels that are coded as a stream of their own; 0: none", .type = KVANT_INT, \
      .max = STREAMS_MAX }, \
    { .name = "outlier_select", .help = "which: those of the largest mean square (norm) or variance, or those of outlier_list", \
      .type = KVANT_CHOICE, .choices = (const char *const[]) { "norm", "variance", "list", NULL } }, \
    { .name = "outlier_list", .help = "with outlier_select=list: outlier_channels different channels, from 0", .type = KVANT_LIST, \
      .max = 4095 }, \
    { .name = "outlier_source", .help = "what they are chosen from: calibration data, or each sequence's own first vectors (prompt)", \
      .type = KVANT_CHOICE, .choices = (const char *const[]) { "calibration", "prompt", NULL } }, \
    { .name = "train_min", .help = "vectors that outliers are chosen from: at least so many of calibration data, or the first of a " \
                                   "sequence", \
      .type = KVANT_INT, .def = 32, .min = 1, .max = 4096 }

/* A parameter of this name beside one of bits, and what the two say: outlier_bits, or one more than bits. KVANT_INVALID when that
 * is more than max. */
#define STREAMS_BITS_PARAM(largest) \
    { .name = "outlier_bits", .help = "bits per coordinate of outlier channels; 0: one more than bits", .type = KVANT_INT, \
      .max = largest }
kvant_status streams_bits(const char *name, double bits, double outlier_bits, double max, double *both, kvant_error *err);

/* A quantizer of which each stream is an instance. Its ops code block 1, tile 1, and its state begins with a `rotated`. */
typedef struct {
    const char *name;
    int params;                    /* index of STREAMS_PARAMS in its table */
    kvant_status (*plan)(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err);
    kvant_status (*init)(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err);
    kvant_status (*train)(void *state, const float *x, size_t n, kvant_error *err);    /* of plans with a train_min; may be NULL */
    kvant_status (*outliers)(kvant_args *args, kvant_error *err);      /* turns a quantizer's arguments into its outliers' */
    void (*parts)(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts);
    kvant_ops ops;
} streams_method;

kvant_status streams_plan(const streams_method *method, const kvant_shape *shape, const kvant_args *args, kvant_plan *plan,
                          kvant_error *err);
kvant_status streams_init(const streams_method *method, const kvant_shape *shape, const kvant_args *args, void *state,
                          kvant_error *err);
/* Lists a table "outliers" with a 1 per outlier channel and a 0 per other, and the streams' own, the outliers' with names that
 * begin so: "outlier_rotation". */
void streams_parts(const streams_method *method, const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts);
kvant_status streams_train(const streams_method *method, void *state, const float *x, size_t n, kvant_error *err);
void streams_encode(const streams_method *method, const void *state, const float *x, size_t n, uint8_t *code, void *scratch);
void streams_decode(const streams_method *method, const void *state, const uint8_t *code, size_t n, float *x, void *scratch);
void streams_query(const streams_method *method, const void *state, const float *q, size_t nq, void *prepared, void *scratch);
void streams_score(const streams_method *method, const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t n,
                   float *dot, void *scratch);
void streams_mix(const streams_method *method, const void *state, const float *w, size_t nq, const uint8_t *code, size_t n,
                 float *acc, void *scratch);
void streams_finish(const streams_method *method, const void *state, const float *acc, size_t nq, float *out, void *scratch);
void streams_symbols(const streams_method *method, const void *state, const uint8_t *code, size_t n, uint16_t *sym);

/* Defines split_plan, split_init, split_parts, split_train, split_encode ... split_finish, which a quantizer's pointers must be to know
 * their method, and SPLIT_OPS lists the ops. */
#define STREAMS_QUANTIZER(method) \
    static kvant_status split_plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err) \
    { \
        return streams_plan(&method, shape, args, plan, err); \
    } \
    static kvant_status split_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err) \
    { \
        return streams_init(&method, shape, args, state, err); \
    } \
    static void split_parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *parts) \
    { \
        streams_parts(&method, shape, args, state, parts); \
    } \
    static kvant_status split_train(void *state, const float *x, size_t n, kvant_error *err) \
    { \
        return streams_train(&method, state, x, n, err); \
    } \
    static void split_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch) \
    { \
        (void)first; \
        streams_encode(&method, state, x, n, code, scratch); \
    } \
    static void split_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch) \
    { \
        (void)first; \
        streams_decode(&method, state, code, n, x, scratch); \
    } \
    static void split_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch) \
    { \
        streams_query(&method, state, q, nq, prepared, scratch); \
    } \
    static void split_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, \
                            float *dot, void *scratch) \
    { \
        (void)first; \
        streams_score(&method, state, prepared, nq, code, n, dot, scratch); \
    } \
    static void split_mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc, \
                          void *scratch) \
    { \
        (void)first; \
        streams_mix(&method, state, w, nq, code, n, acc, scratch); \
    } \
    static void split_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch) \
    { \
        streams_finish(&method, state, acc, nq, out, scratch); \
    }
#define SPLIT_OPS \
    .encode = split_encode, .decode = split_decode, .query = split_query, .score = split_score, .mix = split_mix, \
    .finish = split_finish

/* Likewise split_symbols, for methods that have symbols. */
#define STREAMS_SYMBOLS(method) \
    static void split_symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym) \
    { \
        streams_symbols(&method, state, code, n, sym); \
    }

#endif
