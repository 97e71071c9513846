/* check_internal.h - what check.c (oracles, verdicts), check_gates.c and check_states.c (universal gates) share, and tests with them. */
#ifndef KVANT_CHECK_INTERNAL_H
#define KVANT_CHECK_INTERNAL_H

#include "harness/check/check.h"
#include "harness/measure/fidelity.h"

enum { CHECK_TEXT = 256 };         /* of a row's args and reasons */

typedef struct {
    const kvant_quantizer *quantizer;
    const check_options *options;
    const kvant_dataset *synthetic;
    char version[SHA256_HEX];
    size_t passed, failed;
} check;

/* Fills in what all rows have in common, counts and hands the row on. `row` brings name, verdict and what else it knows. */
void check_emit(check *c, store_check row);

/* kvant_open on exactly the target that is checked, and training, where the method needs it, on other vectors of the distribution.
 * KVANT_SKIP when the quantizer or the kernel does not take this shape. */
kvant_status check_open(const check *c, const char *distribution, uint32_t dim, const kvant_args *args, uint32_t seed,
                        kvant_codec *codec, kvant_error *err);

/* n vectors of a distribution of datasets/synthetic.c; freed by data_free. */
kvant_status check_data(const check *c, const char *distribution, uint32_t dim, size_t n, uint32_t seed, kvant_data *data,
                        kvant_error *err);

/* Cluster means and their weights, by figure of harness/measure/fidelity.h and by seed. */
enum { CHECK_SEEDS = 64 };
typedef struct { double value[FIDELITY_N][CHECK_SEEDS], weight[FIDELITY_N][CHECK_SEEDS]; } check_clusters;

/* Measures seeds 0 ... seeds-1, each of the quantizer and of its own vectors (rounded up to blocks), on all threads. */
kvant_status check_measure(const check *c, const char *distribution, uint32_t dim, const kvant_args *args, size_t vectors,
                           uint32_t seeds, check_clusters *result, kvant_error *err);

/* A quantizer's parameters as checks vary them: the defaults (given is empty), every number of bits, every choice that is not the
 * default, and outlier channels where it has any. Fills `all` [CHECK_VARIANTS] and returns how many there are. */
enum { CHECK_VARIANTS = 64 };
typedef struct { kvant_args args; char given[CHECK_TEXT]; bool by_bits; } check_variant;
size_t check_variants(const kvant_param *params, check_variant *all);

/* The parts of check_run. */
kvant_status check_gates(check *c, kvant_error *err);
kvant_status check_states(check *c, kvant_error *err);
kvant_status check_oracles(check *c, kvant_error *err);

#endif
