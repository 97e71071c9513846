/* fuzz_spec.c - hostile specs and overrides: every input ends in axes that can be walked or in an error that names its file.
 * The text before the first byte 0xff is a spec, what follows are overrides, separated by 0xff too. */
#include "harness/experiment/spec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SETS = 8 };

static void walk(const spec *s)
{
    const spec_axis *probes = spec_find(s, SPEC_PROBE);
    if (!probes || !probes->n || !s->name || !s->json)
        abort();
    for (size_t i = 0; i < s->n_axes; i++) {
        const spec_axis *axis = &s->axes[i];
        if (!axis->n)
            abort();
        for (size_t j = 0; j < axis->n; j++) {
            const spec_choice *c = &axis->choices[j];
            kvant_args args = kvant_defaults(probes->choices[0].probe->params);
            kvant_error err = { "" };
            if (axis->kind == SPEC_PARAM && spec_apply(s, axis, c, probes->choices[0].probe, &args, &err))
                abort();           /* was checked when it was read */
            if ((axis->kind == SPEC_KEY || axis->kind == SPEC_VECTOR) && !c->side.quantizer)
                abort();
            if (axis->kind == SPEC_DATA && !c->name == !c->dataset)
                abort();
        }
    }
}

typedef kvant_status parser(const char *name, const char *json, size_t bytes, const char *const *sets, size_t n_sets, spec *out,
                            kvant_error *err);

static void try_spec(parser *parse, const char *json, size_t bytes, const char *const *sets, size_t n_sets)
{
    spec s;
    kvant_error err = { "" };
    if (!parse("input", json, bytes, sets, n_sets, &s, &err)) {
        walk(&s);
        /* What is kept in the store reads back as the same spec. */
        spec again;
        if (spec_parse("kept", s.json, strlen(s.json), NULL, 0, &again, &err) || again.n_axes != s.n_axes)
            abort();
        spec_close(&again);
        spec_close(&s);
    } else if (!err.text[0])
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 14)
        return 0;
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    const char *sets[SETS];
    size_t n_sets = 0, bytes = size;
    for (size_t i = 0; i < size; i++)
        if (data[i] == 0xff) {
            bytes = i < bytes ? i : bytes;
            copy[i] = '\0';
            if (n_sets < SETS)
                sets[n_sets++] = copy + i + 1;
        }
    try_spec(spec_parse, copy, bytes, sets, n_sets);
    try_spec(spec_parse_quick, copy, bytes, sets, n_sets);
    free(copy);
    return 0;
}
