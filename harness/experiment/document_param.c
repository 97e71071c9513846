/* document_param.c - sets a plug-in's parameter from a value of a document, and says what the plug-in knows when it can not.
 * Specs and allocation files name quantizers in the same words, so they are read by the same code. */
#include "harness/experiment/document.h"

static kvant_status unknown_param(const document *doc, const cJSON *at, const char *what, const char *owner,
                                  const kvant_param *params, const char *name, kvant_error *err)
{
    const char *names[KVANT_MAX_PARAMS + 1];
    int n = 0;
    text all = { 0 };
    for (; params && n < KVANT_MAX_PARAMS && params[n].name; n++) {
        names[n] = params[n].name;
        text_add(&all, "%s%s", n ? ", " : "", names[n]);
    }
    names[n] = NULL;
    const char *near = nearest_name(name, names);
    document_fail(doc, at, err, "%s '%s' has no parameter of this name%s%s%s; its parameters: %s", what, owner,
                  near ? ", did you mean `" : "", near ? near : "", near ? "`?" : "", all.data && !all.failed ? all.data : "none");
    text_free(&all);
    return KVANT_INVALID;
}

kvant_status document_param(const document *doc, const cJSON *item, const char *what, const char *owner, const kvant_param *params,
                            const char *name, kvant_args *args, kvant_error *err)
{
    const kvant_param *p = param_find(params, name);
    if (!p)
        return unknown_param(doc, item, what, owner, params, name, err);
    char digits[32];
    const char *value = digits;
    if (p->type == KVANT_CHOICE || p->type == KVANT_LIST) {
        if (!cJSON_IsString(item))
            return document_fail(doc, item, err, "%s '%s' wants a %s in quotes here, e.g. \"%s\"", what, owner,
                                 p->type == KVANT_LIST ? "list" : "name", p->type == KVANT_LIST ? "3+17+64" : p->choices[0]);
        value = item->valuestring;
    } else {
        if (!cJSON_IsNumber(item))
            return document_fail(doc, item, err, "%s '%s' wants %s here, without quotes", what, owner,
                                 p->type == KVANT_INT ? "an integer" : "a number");
        number_text(item->valuedouble, digits);
    }
    kvant_error why;
    if (kvant_set(params, name, value, args, &why))
        return document_fail(doc, item, err, "%s '%s': %s", what, owner, why.text);
    return KVANT_OK;
}
