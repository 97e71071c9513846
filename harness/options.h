/* options.h - what several commands share: options for a cache's policy, for sensitivities and for the number of threads, a model with
 * its cache. The readers of options complain on stderr and return false when an option's text is wrong. */
#ifndef KVANT_COMMAND_OPTIONS_H
#define KVANT_COMMAND_OPTIONS_H

#include "harness/allocation/sensitivity.h"
#include "harness/cli.h"
#include "harness/experiment/states.h"
#include "harness/input/input.h"
#include "harness/lm/model.h"
#include "harness/report/report.h"

#define OPTION_POLICY(fallback)                                                                                              \
    { "key", "QUANTIZER", "keys' quantizer, with parameters: turboquant_mse:bits=4 (default " fallback ")", false },         \
    { "value", "QUANTIZER", "values' quantizer (default: the keys')", false },                                               \
    { "sink", "N", "first tokens kept in f16 (default 0)", false },                                                          \
    { "window", "N", "last tokens kept in f16 (default 0)", false },                                                         \
    { "sliding", "NAME", "layers with a sliding window: quantized or f16 (default quantized)", false },                      \
    { "prefill", "NAME", "tokens of a pass see each other packed or raw (default packed)", false },                          \
    { "key-stage", "NAME", "keys are coded post_rope or pre_rope (default post_rope)", false },                              \
    { "decode-reads", "NAME", "decode steps read codes, codes decoded in every step, or a copy (default codes)", false },    \
    { "seed", "N", "seed of rotations (default 0)", false },                                                                 \
    { "isa", "TARGET", "kernels to use: auto, scalar, or a target (default auto)", false }

#define OPTION_WEIGHTS                                                                                                       \
    { "weights", "FORM", "how a model's weights are held: f32, stream (unpacked as they are used; the same results), bf16, " \
      "or auto (f32 if that takes at most half of the memory available, else stream; the default)", false }

#define OPTION_THREADS { "threads", "N", "threads to use (default: all cores)", false }

/* A quantizer with its parameters, as in "turboquant_mse:bits=4,rotation=haar". */
kvant_status option_quantizer(const char *given, kvcache_side *side, kvant_error *err);
bool option_policy(const cli *c, const char *fallback, kvcache_policy *policy);
bool option_threads(const cli *c);

/* --format of a list that comes as a table, as CSV or as JSON; without it a table. */
#define OPTION_TABLE_FORMAT { "format", "NAME", "table, csv or json (default table)", false }
bool option_table_format(const cli *c, report_format *format);
/* Columns of the terminal; 0, no limit, where stdout is none. */
size_t option_width(void);

/* One quantizer's untrained state, or those of both sides of a cache: for commands on stored states. */
#define OPTION_SOURCE                                                                                                        \
    { "quantizer", "QUANTIZER", "the quantizer, with parameters: turboquant_mse:bits=3", false },                            \
    { "dim", "N", "coordinates of a vector (default 128, or the model's head_dim)", false },                                 \
    { "seed", "N", "seed of rotations (default 0)", false },                                                                 \
    { "side", "SIDE", "key, value or vector (default vector, or key and value of the model's cache)", false },               \
    { "model", "MODEL", "dimension and RoPE of this model's cache: a name or a file", false }

#define OPTION_STATES \
    { "states", "FOLDER", "take the quantizers' states from here, as far as they are there; see `kvant precompute`", false }

/* Opens the folder that --states names, if it names one, for a policy; *s must outlive what the policy opens. */
kvant_status option_states(const cli *c, kvcache_policy *policy, states **s, kvant_error *err);

enum { SOURCES_MAX = 2 };
kvant_status option_sources(const cli *c, states_source sources[SOURCES_MAX], size_t *n, kvant_error *err);

#define OPTION_SENSITIVITY                                                                                                   \
    { "data", "NAME", "the text that the model reads (required)", false },                                                   \
    { "key", "QUANTIZER", "keys' quantizer, with parameters other than bits (default turboquant_mse)", false },              \
    { "value", "QUANTIZER", "values' quantizer (default: the keys')", false },                                               \
    { "candidates", "LIST", "values of the quantizers' bits, rising (default 4,8)", false },                                 \
    { "weights", "NAME", "activation, distortion or kl (default kl)", false },                                               \
    { "groups", "NAME", "layer or head (default layer)", false },                                                            \
    { "sides", "NAME", "keys and values together or apart (default together)", false },                                      \
    { "n", "N", "windows of text (default 5)", false },                                                                      \
    { "length", "N", "tokens of a window (default 512)", false },                                                            \
    { "calibration-seed", "N", "which windows are drawn (default 42)", false },                                              \
    { "seed", "N", "seed of the quantizers (default 0)", false },                                                            \
    { "seed-rule", "NAME", "shared or per_layer (default shared)", false },                                                  \
    { "isa", "TARGET", "kernels to use: auto, scalar, or a target (default auto)", false }

/* The question that these options ask about a model. candidates is the memory that the request points to. */
bool option_sensitivity(const cli *c, const char *model, double candidates[ALLOCATION_CANDIDATES], sensitivity_request *request);

/* A model by name or path, and one cache for it. {0} is closed; a failed opening leaves it to be closed all the same. */
typedef struct { kvant_input input; lm_model *model; kvcache_codecs codecs; kvcache *cache; } model_session;
/* weights: of --weights; NULL: by memory. */
kvant_status model_session_open(model_session *s, const char *name, uint32_t context, const char *weights, kvant_error *err);
/* Says on stderr which form the weights have when it is not f32, and what bf16 does to the logits of these tokens. */
kvant_status model_session_say(const model_session *s, uint32_t context, const int32_t *ids, size_t n, kvant_error *err);
kvant_status model_session_cache(model_session *s, const kvcache_policy *policy, size_t capacity, kvant_error *err);
void model_session_close(model_session *s);

#endif
