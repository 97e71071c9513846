/* options.h - options that several commands share: a cache's policy, the number of threads.
 * The readers complain on stderr and return false when an option's text is wrong. */
#ifndef KVANT_COMMAND_OPTIONS_H
#define KVANT_COMMAND_OPTIONS_H

#include "harness/cli.h"
#include "harness/lm/kvcache.h"

#define OPTION_POLICY(fallback)                                                                                              \
    { "key", "QUANTIZER", "keys' quantizer, with parameters: turboquant_mse:bits=4 (default " fallback ")", false },         \
    { "value", "QUANTIZER", "values' quantizer (default: the keys')", false },                                               \
    { "sink", "N", "first tokens kept in f16 (default 0)", false },                                                          \
    { "window", "N", "last tokens kept in f16 (default 0)", false },                                                         \
    { "seed", "N", "seed of rotations (default 0)", false },                                                                 \
    { "isa", "TARGET", "kernels to use: auto, scalar, or a target (default auto)", false }

#define OPTION_THREADS { "threads", "N", "threads to use (default: all cores)", false }

bool option_policy(const cli *c, const char *fallback, kvcache_policy *policy);
bool option_threads(const cli *c);

#endif
