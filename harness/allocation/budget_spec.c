/* budget_spec.c - the table of a budget's words, and layers in a list: see budget_spec.h.
 * Values are checked by kvant_set and kvant_parse like any other parameter. */
#include "harness/allocation/budget_spec.h"

#include <stdlib.h>

const kvant_param budget_params[] = {
    [BUDGET_BITS] = { .name = "budget", .help = "bits per coordinate, on average; 0: not said", .type = KVANT_REAL, .def = 0, .min = 0,
                      .max = 64 },
    [BUDGET_WEIGHTS] = { .name = "weights", .help = "what says how much a group matters", .type = KVANT_CHOICE, .def = WEIGHTS_KL,
                         .choices = (const char *const[]) { "activation", "distortion", "kl", NULL } },
    [BUDGET_CURVE] = { .name = "curve", .help = "distortion against bits", .type = KVANT_CHOICE, .def = CURVE_MEASURED,
                       .choices = (const char *const[]) { "measured", "fitted", "constant", NULL } },
    [BUDGET_GROUPS] = { .name = "groups", .help = "what gets bits of its own", .type = KVANT_CHOICE, .def = GROUPS_LAYER,
                        .choices = (const char *const[]) { "layer", "head", NULL } },
    [BUDGET_SIDES] = { .name = "sides", .help = "keys and values", .type = KVANT_CHOICE, .def = SIDES_TOGETHER,
                       .choices = (const char *const[]) { "together", "apart", NULL } },
    [BUDGET_COUNTS] = { .name = "bits", .help = "which bits the budget counts", .type = KVANT_CHOICE, .def = 0,
                        .choices = (const char *const[]) { "asked", "stored", NULL } },
    [BUDGET_CANDIDATES] = { .name = "candidates", .help = "values of the quantizers' `bits`; none: 4+8", .type = KVANT_LIST, .def = 0,
                            .min = 1, .max = 32 },
    { .name = NULL }
};

kvant_status budget_protect(const char *given, int32_t *layers, size_t *n, kvant_error *err)
{
    *n = 0;
    for (const char *at = given; *at;) {
        char *end;
        const long layer = strtol(at, &end, 10);
        if (end == at || (*end && (*end != ',' || !end[1])) || layer < -65536 || layer > 65536 || *n == BUDGET_PROTECT)
            return kvant_fail(err, KVANT_INVALID, "protect: '%.60s' must be layers, as in 0,1,-1, where -1 is the last one", given);
        layers[(*n)++] = (int32_t)layer;
        at = *end ? end + 1 : end;
    }
    return KVANT_OK;
}
