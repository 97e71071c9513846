/* check_variants.c - which parameters of a quantizer are tried: every number of bits, and every choice once.
 * Apart from the checks, so that programs which only go through the variants need nothing else of the harness. */
#include "harness/check/check_internal.h"

#include <stdio.h>
#include <string.h>

static void add_variant(check_variant *all, size_t *n, const kvant_param *params, int index, double value, bool by_bits)
{
    char text_value[CHECK_TEXT / 2];
    if (*n == CHECK_VARIANTS)
        return;
    check_variant *v = &all[(*n)++];
    v->args = kvant_defaults(params);
    v->args.v[index] = value;
    v->by_bits = by_bits;
    kvant_format(&params[index], value, text_value, sizeof text_value);
    snprintf(v->given, sizeof v->given, "%.100s=%s", params[index].name, text_value);
}

/* Choices about outlier channels say nothing without any, so these come together. */
static void add_outliers(check_variant *all, size_t *n, const kvant_param *params)
{
    static const char *const given[] = {
        "outlier_channels=8", "outlier_channels=16,outlier_select=variance", "outlier_channels=24,outlier_source=prompt",
        "outlier_channels=8,outlier_select=list,outlier_list=0+5+9+17+33+40+41+63",
        "outlier_channels=32,rotation=hadamard", "outlier_channels=32,codebook=trained"
    };
    for (size_t i = 0; i < sizeof given / sizeof *given && *n < CHECK_VARIANTS; i++) {
        check_variant *v = &all[*n];
        *v = (check_variant) { .args = kvant_defaults(params) };
        if (kvant_parse(params, given[i], &v->args, NULL))
            continue;              /* it lacks one of these parameters */
        snprintf(v->given, sizeof v->given, "%s", given[i]);
        ++*n;
    }
}

size_t check_variants(const kvant_param *params, check_variant *all)
{
    size_t n = 1;
    all[0] = (check_variant) { .args = kvant_defaults(params) };
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++) {
        if (params[i].type == KVANT_INT && !strcmp(params[i].name, "bits"))
            for (double b = params[i].min; b <= params[i].max; b++)
                add_variant(all, &n, params, i, b, true);
        bool of_outliers = !strncmp(params[i].name, "outlier_", strlen("outlier_"));
        for (int k = 0; params[i].type == KVANT_CHOICE && !of_outliers && params[i].choices[k]; k++)
            if (k != (int)params[i].def)
                add_variant(all, &n, params, i, k, false);
    }
    add_outliers(all, &n, params);
    return n;
}
