/* entropy.h - what a method's codes would take if each symbol had its ideal length: counts of symbols, kept as samples, and the bits per
 * coordinate that they come to. Stored bytes have fixed length; this is the other account, to be shown beside it. */
#ifndef KVANT_ENTROPY_H
#define KVANT_ENTROPY_H

#include "harness/probe.h"

/* Symbols are 16-bit numbers. A method that asks for more than ENTROPY_BITS per coordinate is left out: its tables would outgrow what
 * they are measured on. */
enum { ENTROPY_SYMBOLS = 1 << 16, ENTROPY_BITS = 12 };

/* Does the codec name its symbols, and are they few enough? A kernel with a layout of its own may not name them. */
bool entropy_known(const kvant_codec *codec);
/* Bits per coordinate that are stored beside the symbols, which no table shortens: norms, scales, zeros, padding. */
double entropy_overhead(const kvant_codec *codec);

/* Adds the symbols of coded vectors 0 ... n-1 (whole blocks) to count [ENTROPY_SYMBOLS]; sym has room for [n][dim]. Threads may add
 * to the same counts, each with its own sym. */
void entropy_add(const kvant_codec *codec, const uint8_t *code, size_t n, uint16_t *sym, uint64_t *count);
/* Counts that are not 0 become samples of `chunk`, each under its symbol as idx. */
void entropy_emit(probe_job *job, size_t cell, const char *metric, uint32_t chunk, const uint64_t *count);

/* Entropy per coordinate of all samples of `counts` under one table, plus the value of the sample `overhead`. Chunks are the clusters:
 * the error is that of the mean code length, to first order. *found is false, and *result unchanged, where there are no such samples. */
kvant_status entropy_result(const probe_sample *samples, size_t n, const char *counts, const char *overhead, const char *metric,
                            probe_result *result, bool *found, kvant_error *err);

#endif
