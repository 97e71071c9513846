/* canonical.c - see canonical.h.
 * Two texts are equal exactly when what they name is. */
#include "harness/experiment/canonical.h"
#include "harness/experiment/document.h"
#include "harness/version.h"

#include <stdlib.h>
#include <string.h>

#include <gsl/gsl_version.h>

static void add_string(text *t, const char *s)
{
    text_add(t, "\"");
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            text_add(t, "\\%c", *s);
        else if ((unsigned char)*s < ' ')
            text_add(t, "\\u%04x", (unsigned)*s);
        else
            text_add(t, "%c", *s);
    text_add(t, "\"");
}

void canonical_member(text *t, const char *name, const char *value)
{
    text_add(t, "\"%s\":", name);
    add_string(t, value);
}

void canonical_params(text *t, const kvant_param *params, const kvant_args *args) { canonical_params_but(t, params, args, NULL); }

void canonical_params_but(text *t, const kvant_param *params, const kvant_args *args, const bool *without)
{
    const char *last = "";
    text_add(t, "{");
    for (bool first = true;; first = false) {
        int next = -1;             /* the smallest name behind the last one */
        for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
            if (!(without && without[i]) && strcmp(params[i].name, last) > 0 && (next < 0 || strcmp(params[i].name, params[next].name) < 0))
                next = i;
        if (next < 0)
            break;
        last = params[next].name;
        text_add(t, "%s", first ? "" : ",");
        if (params[next].type == KVANT_CHOICE || params[next].type == KVANT_LIST) {
            char value[KVANT_VALUE_TEXT];
            kvant_format_arg(params, next, args, value, sizeof value);
            canonical_member(t, last, value);
        } else {
            char digits[32];
            number_text(args->v[next], digits);
            text_add(t, "\"%s\":%s", last, digits);
        }
    }
    text_add(t, "}");
}

void canonical_part(canonical_parts *parts, const char *folder, const char *name)
{
    char *slot = parts->name[parts->n];
    snprintf(slot, sizeof parts->name[0], "%s%s", folder, name);
    for (size_t i = 0; i < parts->n; i++)
        if (!strcmp(parts->name[i], slot))
            return;
    parts->n++;
}

void canonical_quantizer(canonical_parts *parts, const char *name, const char *target)
{
    char kernel[64];
    canonical_part(parts, "algorithms/", name);
    if (strcmp(target, "scalar")) {
        snprintf(kernel, sizeof kernel, "%s_%s", name, target);
        canonical_part(parts, "metal/", kernel);
    }
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

kvant_status canonical_code(text *t, canonical_parts *parts, const char *onednn, kvant_error *err)
{
    canonical_part(parts, "", "contract");
    canonical_part(parts, "", "algorithms/shared");
    qsort(parts->name, parts->n, sizeof parts->name[0], by_name);
    text_add(t, "\"code\":{");
    canonical_member(t, "compiler", version_compiler);
    text_add(t, ",");
    canonical_member(t, "flags", version_flags);
    text_add(t, ",");
    canonical_member(t, "gsl", gsl_version);
    if (onednn) {
        text_add(t, ",");
        canonical_member(t, "onednn", onednn);
    }
    text_add(t, ",\"parts\":{");
    for (size_t i = 0; i < parts->n; i++) {
        const char *hash = version_of(parts->name[i]);
        if (!hash)
            return kvant_fail(err, KVANT_FAILED, "%s: this program was built without the hash of its source", parts->name[i]);
        text_add(t, "%s", i ? "," : "");
        canonical_member(t, parts->name[i], hash);
    }
    text_add(t, "}}");
    return KVANT_OK;
}
