/* pictures_data.h - made-up results that plots draw: cells of single probes, and a store with an experiment for every plot.
 * Names are as long as quantizers' real ones, so that layouts are tried by what they will meet. */
#ifndef KVANT_TESTS_PICTURES_DATA_H
#define KVANT_TESTS_PICTURES_DATA_H

#include "harness/store/store.h"

/* A finished cell of probe needle with `found` of 4 needles. */
void put_needle(store *s, const char *experiment, int64_t run, uint32_t ordinal, const char *label, const char *depth, int length,
                double found);

/* A finished cell of probe decode_attention: its time is that of memory at 10 bytes per ns and thread. */
void put_attention(store *s, const char *experiment, int64_t run, uint32_t ordinal, const char *label, double bits, double bytes,
                   uint32_t depth, uint32_t threads);

/* For each plot an experiment that is called like it; compare's has a question, q. */
void put_pictures(store *s);

#endif
