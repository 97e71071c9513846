/* spec.c - turns a spec's JSON into axes of typed choices, and refuses whatever no plug-in knows.
 * A key that is ignored is a wrong table some day: there is none. */
#include "harness/allocation/budget_spec.h"
#include "harness/experiment/calibration.h"
#include "harness/experiment/spec.h"
#include "harness/experiment/spec_rows.h"
#include "harness/experiment/spec_variant.h"
#include "harness/kernels.h"
#include "harness/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES_MAX = 100000, NAMES_MAX = 1024 };

/* ---- Parameters of plug-ins ---------------------------------------------------------------- */

kvant_status spec_apply(const spec *s, const spec_axis *axis, const spec_choice *choice, const kvant_probe *probe, kvant_args *args,
                        kvant_error *err)
{
    if (!param_find(probe->params, axis->name))
        return KVANT_OK;
    return document_param(s->doc, choice->item, "probe", probe->name, probe->params, axis->name, args, err);
}

/* ---- Choices ------------------------------------------------------------------------------- */

static kvant_status add_choice(const spec *s, spec_axis *axis, const spec_choice *choice, kvant_error *err)
{
    if (axis->n >= CHOICES_MAX)
        return document_fail(s->doc, choice->item, err, "more than %d values on one axis", CHOICES_MAX);
    if ((axis->n & (axis->n - 1)) == 0) {          /* grows at every power of two */
        spec_choice *more = realloc(axis->choices, (axis->n ? 2 * axis->n : 1) * sizeof *more);
        if (!more)
            return kvant_fail(err, KVANT_NOMEM, "%s: no memory for the values of '%s'", document_name(s->doc), axis->name);
        axis->choices = more;
    }
    axis->choices[axis->n++] = *choice;
    return KVANT_OK;
}

/* The plug-in that a selector ("quantizer", "dataset") names. */
static kvant_status select_plugin(const spec *s, spec_kind kind, const cJSON *item, spec_choice *choice, kvant_error *err)
{
    kvant_error why;
    if (!cJSON_IsString(item))
        return document_fail(s->doc, item, err, "must be a name in quotes");
    if (kind == SPEC_DATA)
        choice->dataset = dataset_find(item->valuestring, &why);
    else if (kind == SPEC_ALLOCATOR)
        choice->allocator = allocator_find(item->valuestring, &why);
    else
        choice->side.quantizer = kvant_find(item->valuestring, &why);
    if (!choice->dataset && !choice->allocator && !choice->side.quantizer)
        return document_fail(s->doc, item, err, "%s", why.text);
    if (kind == SPEC_DATA)
        choice->args = kvant_defaults(choice->dataset->params);
    else if (kind == SPEC_ALLOCATOR)
        choice->own = kvant_defaults(choice->allocator->params);
    else
        choice->side.args = kvant_defaults(choice->side.quantizer->params);
    return KVANT_OK;
}

/* One field of an object whose arrays are multiplied out. */
typedef struct { const cJSON *item, *at; } field;

static void rewind_field(field *f) { f->at = cJSON_IsArray(f->item) ? f->item->child : f->item; }

/* The field of an object that names its plug-in; NULL: it has none. */
static const char *selector_of(spec_kind kind)
{
    return kind == SPEC_CALIBRATION ? NULL : kind == SPEC_DATA ? "dataset" : kind == SPEC_ALLOCATOR ? "allocator" : "quantizer";
}

/* A budget's own words, or the allocator's. Weights that are refused say why. */
static kvant_status set_budget(const spec *s, const field *f, spec_choice *choice, kvant_error *err)
{
    const char *name = f->item->string;
    kvant_error why;
    allocation_weights weights;
    if (!strcmp(name, "protect")) {
        if (!cJSON_IsString(f->at))
            return document_fail(s->doc, f->at, err, "must be layers in quotes, e.g. \"0,1,-1\"");
        int32_t layers[BUDGET_PROTECT];
        size_t n;
        choice->protect = f->at->valuestring;
        return budget_protect(choice->protect, layers, &n, &why) ? document_fail(s->doc, f->at, err, "%s", why.text) : KVANT_OK;
    }
    if (!strcmp(name, "weights") && cJSON_IsString(f->at) && allocation_weights_find(f->at->valuestring, &weights, &why))
        return document_fail(s->doc, f->at, err, "%s", why.text);
    if (param_find(choice->allocator->params, name))
        return document_param(s->doc, f->at, "allocator", choice->allocator->name, choice->allocator->params, name, &choice->own, err);
    return document_param(s->doc, f->at, "key", "allocator", budget_params, name, &choice->args, err);
}

/* Where a field's value goes that is neither a plug-in's name nor a file's. */
static kvant_status set_field(const spec *s, spec_kind kind, const field *f, spec_choice *choice, kvant_error *err)
{
    const char *name = f->item->string;
    if (kind == SPEC_CALIBRATION)
        return document_param(s->doc, f->at, "key", "calibration", calibration_params, name, &choice->args, err);
    if (kind == SPEC_ALLOCATOR)
        return set_budget(s, f, choice, err);
    if (kind == SPEC_DATA)
        return document_param(s->doc, f->at, "dataset", choice->dataset->name, choice->dataset->params, name, &choice->args, err);
    return document_param(s->doc, f->at, "quantizer", choice->side.quantizer->name, choice->side.quantizer->params, name,
                          &choice->side.args, err);
}

static kvant_status make_choice(const spec *s, spec_kind kind, const cJSON *object, const field *fields, size_t n, size_t selector,
                                spec_choice *choice, kvant_error *err)
{
    const char *file = kind == SPEC_DATA ? "file" : kind == SPEC_CALIBRATION ? "data" : "";
    *choice = (spec_choice){ .item = object };
    kvant_status status = KVANT_OK;
    if (kind == SPEC_CALIBRATION)
        choice->args = kvant_defaults(calibration_params);
    else if (kind == SPEC_ALLOCATOR)
        choice->args = kvant_defaults(budget_params);
    if (kind != SPEC_CALIBRATION)
        status = select_plugin(s, kind, fields[selector].at, choice, err);
    for (size_t i = 0; i < n && !status; i++) {
        if (i == selector)
            continue;
        if (cJSON_IsArray(fields[i].at) || cJSON_IsObject(fields[i].at))
            status = document_fail(s->doc, fields[i].at, err, "must be a number or a name");
        else if (strcmp(fields[i].item->string, file))
            status = set_field(s, kind, &fields[i], choice, err);
        else if (!cJSON_IsString(fields[i].at) || !*fields[i].at->valuestring)
            status = document_fail(s->doc, fields[i].at, err, "must be a name or a path in quotes");
        else
            choice->name = fields[i].at->valuestring;
    }
    if (!status && kind == SPEC_ALLOCATOR && !(choice->args.v[BUDGET_BITS] > 0))
        return document_fail(s->doc, object, err, "must say a `budget`: bits per coordinate, on average");
    if (!status && kind == SPEC_DATA && !choice->dataset->suffixes != !choice->name)
        return document_fail(s->doc, object, err, choice->name ? "dataset '%s' makes its own vectors; remove `file`"
                                                               : "dataset '%s' reads a file; name it by `file`",
                             choice->dataset->name);
    return status;
}

static kvant_status add_object(const spec *s, spec_axis *axis, const cJSON *object, kvant_error *err)
{
    const char *selector_name = selector_of(axis->kind);
    size_t n = 0, selector = SIZE_MAX, count = (size_t)cJSON_GetArraySize(object);
    field *fields = calloc(count + 1, sizeof *fields);
    if (!fields)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for '%s'", document_name(s->doc), axis->name);
    for (const cJSON *c = object->child; c; c = c->next, n++) {
        fields[n].item = c;
        rewind_field(&fields[n]);
        if (selector_name && !strcmp(c->string, selector_name))
            selector = n;
    }
    kvant_status status = selector_name && selector == SIZE_MAX
                        ? document_fail(s->doc, object, err, "must name a `%s`", selector_name) : KVANT_OK;
    for (bool more = true; more && !status;) {
        spec_choice choice;
        status = make_choice(s, axis->kind, object, fields, n, selector, &choice, err);
        if (!status)
            status = add_choice(s, axis, &choice, err);
        /* The last field turns fastest; a carry out of the first ends it. */
        more = false;
        for (size_t i = n; i-- > 0 && !more;) {
            more = cJSON_IsArray(fields[i].item) && fields[i].at->next;
            if (more)
                fields[i].at = fields[i].at->next;
            else
                rewind_field(&fields[i]);
        }
    }
    free(fields);
    return status;
}

static kvant_status whole_number(const spec *s, const cJSON *item, double max, double *number, kvant_error *err)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= max) ||
        item->valuedouble != floor(item->valuedouble))
        return document_fail(s->doc, item, err, "must be an integer from 0 to %.0f", max);
    *number = item->valuedouble;
    return KVANT_OK;
}

static bool known_isa(const char *name)
{
    for (const kvant_kernel *const *k = kvant_kernels(); *k; k++)
        if (!strcmp((*k)->target, name))
            return true;
    return !strcmp(name, "auto") || !strcmp(name, "scalar");
}

/* A choice that is a string. */
static kvant_status named_choice(const spec *s, spec_kind kind, spec_choice *choice, kvant_error *err)
{
    const char *given = choice->item->valuestring;
    kvant_error why;
    int index;
    if (spec_word(kind, 0) || kind == SPEC_WEIGHTS) {
        if (kind == SPEC_WEIGHTS ? weights_find(given, &index, &why) : spec_find_word(kind, given, &index, &why))
            return document_fail(s->doc, choice->item, err, "%s", why.text);
        choice->number = index;
        return KVANT_OK;
    }
    switch (kind) {
    case SPEC_PROBE:
        choice->probe = probe_find(given, &why);
        return choice->probe ? KVANT_OK : document_fail(s->doc, choice->item, err, "%s", why.text);
    case SPEC_MODEL:
    case SPEC_DATA:
        choice->name = given;
        return *given ? KVANT_OK : document_fail(s->doc, choice->item, err, "must be a name or a path");
    case SPEC_VALUE:
        return !strcmp(given, "same") ? KVANT_OK : select_plugin(s, kind, choice->item, choice, err);
    case SPEC_KEY:
    case SPEC_VECTOR:
        return select_plugin(s, kind, choice->item, choice, err);
    case SPEC_ALLOCATOR:           /* "uniform": what `key` and `value` say, everywhere; else a file */
        choice->name = strcmp(given, "uniform") ? given : NULL;
        return *given ? KVANT_OK : document_fail(s->doc, choice->item, err, "must be \"uniform\", a file, or an object");
    case SPEC_ISA:
        choice->name = given;
        return known_isa(given) ? KVANT_OK : document_fail(s->doc, choice->item, err, "'%.40s' is the target of no kernel; use auto, "
                                                           "scalar, or one that `kvant version` lists", given);
    default:
        return KVANT_OK;
    }
}

static kvant_status check_param(const spec *s, const spec_axis *axis, const spec_choice *choice, kvant_error *err)
{
    const spec_axis *probes = spec_find(s, SPEC_PROBE);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < probes->n && !status; i++) {
        kvant_args args = kvant_defaults(probes->choices[i].probe->params);
        status = spec_apply(s, axis, choice, probes->choices[i].probe, &args, err);
    }
    return status;
}

static kvant_status add_value(const spec *s, spec_axis *axis, const cJSON *item, kvant_error *err)
{
    spec_choice choice = { .item = item };
    kvant_status status = KVANT_OK;
    bool object = axis->kind == SPEC_DATA || axis->kind == SPEC_KEY || axis->kind == SPEC_VALUE || axis->kind == SPEC_VECTOR ||
                  axis->kind == SPEC_CALIBRATION || axis->kind == SPEC_ALLOCATOR;
    if (object && cJSON_IsObject(item))
        return add_object(s, axis, item, err);
    if (axis->kind == SPEC_CALIBRATION)
        return document_fail(s->doc, item, err, "must be an object, e.g. {\"data\": \"wikitext-2\", \"n\": 5, \"length\": 512}");
    if (axis->kind == SPEC_PARAM)
        status = cJSON_IsString(item) || cJSON_IsNumber(item) ? check_param(s, axis, &choice, err)
                                                              : document_fail(s->doc, item, err, "must be a number or a name");
    else if (axis->kind == SPEC_SINK || axis->kind == SPEC_WINDOW)
        status = whole_number(s, item, 1 << 30, &choice.number, err);
    else if (axis->kind == SPEC_SEED)
        status = whole_number(s, item, UINT32_MAX, &choice.number, err);
    else if (cJSON_IsString(item))
        status = named_choice(s, axis->kind, &choice, err);
    else
        status = document_fail(s->doc, item, err, object ? "must be a name in quotes or an object" : "must be a name in quotes");
    return status ? status : add_choice(s, axis, &choice, err);
}

static kvant_status add_values(const spec *s, spec_axis *axis, const cJSON *item, kvant_error *err);

/* One value of `cache`: a quantizer for both sides, or {"key": ..., "value": ...}, whose choices are multiplied out. */
static kvant_status add_cache(const spec *s, spec_axis *axis, const cJSON *item, kvant_error *err)
{
    const bool pair = cJSON_IsObject(item) && !cJSON_GetObjectItemCaseSensitive(item, "quantizer");
    spec_axis sides[2] = { { .kind = SPEC_KEY, .name = "key" }, { .kind = SPEC_VALUE, .name = "value" } };
    kvant_status status = pair ? KVANT_OK : add_value(s, &sides[0], item, err);
    for (const cJSON *c = pair ? item->child : NULL; c && !status; c = c->next) {
        const size_t side = !strcmp(c->string, "value");
        status = side || !strcmp(c->string, "key") ? add_values(s, &sides[side], c, err)
                                                   : document_fail(s->doc, c, err, "unknown key; a pair has `key` and `value`");
    }
    if (!status && !sides[0].n)
        status = document_fail(s->doc, item, err, "must be a quantizer, or a pair that says its `key`");
    for (size_t i = 0; i < sides[0].n && !status; i++)
        for (size_t k = 0; k < (sides[1].n ? sides[1].n : 1) && !status; k++) {
            spec_choice choice = { .item = item, .side = sides[0].choices[i].side, .value = sides[0].choices[i].side };
            if (sides[1].n && sides[1].choices[k].side.quantizer)          /* not "same" */
                choice.value = sides[1].choices[k].side;
            status = add_choice(s, axis, &choice, err);
        }
    free(sides[0].choices);
    free(sides[1].choices);
    return status;
}

/* A value, or each of an array. */
static kvant_status add_values(const spec *s, spec_axis *axis, const cJSON *item, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    const bool several = cJSON_IsArray(item);
    for (const cJSON *c = several ? item->child : item; c && !status; c = several ? c->next : NULL)
        status = axis->kind == SPEC_CACHE ? add_cache(s, axis, c, err) : add_value(s, axis, c, err);
    return status;
}

static kvant_status add_axis(spec *s, spec_kind kind, const cJSON *item, kvant_error *err)
{
    const bool side = kind == SPEC_KEY || kind == SPEC_VALUE;
    if ((kind == SPEC_CACHE && (spec_find(s, SPEC_KEY) || spec_find(s, SPEC_VALUE))) || (side && spec_find(s, SPEC_CACHE)))
        return document_fail(s->doc, item, err, "`cache` stands for `key` and `value`: a spec has it or them");
    spec_axis *axis = &s->axes[s->n_axes++];
    *axis = (spec_axis){ .kind = kind, .name = item->string };
    return add_values(s, axis, item, err);
}

/* ---- The rest of a spec --------------------------------------------------------------------- */

static kvant_status read_name(spec *s, const cJSON *item, kvant_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (!item)
        return document_fail(s->doc, document_root(s->doc), err, "`name` is missing: what the experiment is called in the store");
    size_t n = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    if (n < 1 || n > 64 || strspn(item->valuestring, allowed) != n || item->valuestring[0] == '.' || item->valuestring[0] == '-')
        return document_fail(s->doc, item, err, "must be 1 to 64 letters, digits, '_', '-' or '.', for it names files too");
    s->name = item->valuestring;
    return KVANT_OK;
}

static kvant_status unknown_key(const spec *s, const cJSON *item, kvant_error *err)
{
    for (const kvant_probe *const *p = kvant_probes(); *p; p++)
        if (param_find((*p)->params, item->string))
            return document_fail(s->doc, item, err, "is a parameter of probe '%s', which this spec does not run", (*p)->name);
    const char *names[NAMES_MAX + 1];
    size_t n = 0;
    names[n++] = "name";
    names[n++] = "expect";
    names[n++] = "questions";
    names[n++] = "controls";
    for (const spec_about *a = spec_about_keys(); a->name; a++)
        names[n++] = a->name;
    for (const spec_key *k = spec_keys(); k->name; k++)
        names[n++] = k->name;
    const spec_axis *probes = spec_find(s, SPEC_PROBE);
    for (size_t i = 0; i < probes->n; i++)
        for (const kvant_param *p = probes->choices[i].probe->params; p && p->name && n < NAMES_MAX; p++)
            names[n++] = p->name;
    names[n] = NULL;
    const char *near = nearest_name(item->string, names);
    return document_fail(s->doc, item, err, "unknown key%s%s%s", near ? "; did you mean `" : "; `kvant list keys` shows what there is",
                         near ? near : "", near ? "`?" : "");
}

static kvant_status read_key(spec *s, const cJSON *item, kvant_error *err)
{
    if (!strcmp(item->string, "name") || !strcmp(item->string, "probe"))
        return KVANT_OK;                           /* read first */
    if (!strcmp(item->string, "expect"))
        return spec_check_expect(s->doc, item, err);
    if (!strcmp(item->string, "questions"))
        return spec_check_questions(s->doc, item, err);
    if (spec_is_about(item->string))
        return spec_read_about(s, item, err);
    if (!strcmp(item->string, "controls")) {
        s->controls = cJSON_IsTrue(item);
        return cJSON_IsBool(item) ? KVANT_OK : document_fail(s->doc, item, err, "must be true or false");
    }
    /* A probe's own parameter comes first: "weights" of sensitivity are another thing than a model's. */
    const spec_axis *probes = spec_find(s, SPEC_PROBE);
    for (size_t i = 0; i < probes->n; i++)
        if (param_find(probes->choices[i].probe->params, item->string))
            return add_axis(s, SPEC_PARAM, item, err);
    for (const spec_key *k = spec_keys(); k->name; k++)
        if (!strcmp(item->string, k->name))
            return add_axis(s, k->kind, item, err);
    return unknown_key(s, item, err);
}

/* ---- Reading ------------------------------------------------------------------------------- */

const spec_axis *spec_find(const spec *s, spec_kind kind)
{
    for (size_t i = 0; i < s->n_axes; i++)
        if (s->axes[i].kind == kind)
            return &s->axes[i];
    return NULL;
}

void spec_close(spec *s)
{
    for (size_t i = 0; i < s->n_axes; i++)
        free(s->axes[i].choices);
    free(s->axes);
    cJSON_free(s->json);
    document_close(s->doc);
    *s = (spec){ 0 };
}

/* Probes come first, since they say which other keys there are; then their axis takes its place in the file's order. */
static kvant_status read_keys(spec *s, kvant_error *err)
{
    const cJSON *root = document_root(s->doc), *probe = cJSON_GetObjectItemCaseSensitive(root, "probe");
    kvant_status status = read_name(s, cJSON_GetObjectItemCaseSensitive(root, "name"), err);
    if (!status && !probe)
        status = document_fail(s->doc, root, err, "`probe` is missing: what is measured; `kvant list probes` shows all");
    s->axes = calloc((size_t)cJSON_GetArraySize(root) + 1, sizeof *s->axes);
    if (!status && !s->axes)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for its axes", document_name(s->doc));
    if (!status)
        status = add_axis(s, SPEC_PROBE, probe, err);
    size_t before = 0;
    for (const cJSON *c = root->child; c && !status; c = c->next) {
        if (c == probe)
            before = s->n_axes - 1;
        status = read_key(s, c, err);
    }
    if (!status)
        spec_drop_other(s);
    if (!status) {
        spec_axis probes = s->axes[0];
        memmove(s->axes, s->axes + 1, before * sizeof *s->axes);
        s->axes[before] = probes;
        if (!(s->json = cJSON_Print(root)))
            status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to keep it", document_name(s->doc));
    }
    return status;
}

/* A document that could not be read is NULL. */
static kvant_status make_spec(kvant_status status, document *doc, bool quick, const char *const *sets, size_t n_sets, spec *out,
                              kvant_error *err)
{
    *out = (spec){ .doc = doc, .controls = true, .minutes = NAN, .golden = NAN };
    if (!status)
        status = spec_choose_variant(out, quick, err);
    for (size_t i = 0; i < n_sets && !status; i++)
        status = document_set(doc, sets[i], err);
    if (!status)
        status = read_keys(out, err);
    if (status)
        spec_close(out);
    return status;
}

kvant_status spec_read_quick(const char *path, const char *const *sets, size_t n_sets, spec *out, kvant_error *err)
{
    document *doc;
    const kvant_status status = document_read(path, &doc, err);
    return make_spec(status, doc, true, sets, n_sets, out, err);
}

kvant_status spec_parse_quick(const char *name, const char *json, size_t bytes, const char *const *sets, size_t n_sets, spec *out,
                              kvant_error *err)
{
    document *doc;
    const kvant_status status = document_parse(name, json, bytes, &doc, err);
    return make_spec(status, doc, true, sets, n_sets, out, err);
}

/* The whole spec is there; its quick variant has only to be sound. */
static kvant_status check_quick(kvant_status status, spec *whole, const spec *quick, kvant_error *err)
{
    if (!status && !(quick->minutes <= whole->minutes) && !isnan(quick->minutes) && !isnan(whole->minutes))
        status = kvant_fail(err, KVANT_INVALID, "%s: `quick` says that it takes more minutes than the whole",
                            document_name(whole->doc));
    if (status)
        spec_close(whole);
    return status;
}

kvant_status spec_read(const char *path, const char *const *sets, size_t n_sets, spec *out, kvant_error *err)
{
    document *doc;
    kvant_status status = document_read(path, &doc, err);
    status = make_spec(status, doc, false, sets, n_sets, out, err);
    if (status || n_sets || !out->has_quick)
        return status;
    spec quick = { 0 };
    status = check_quick(spec_read_quick(path, NULL, 0, &quick, err), out, &quick, err);
    spec_close(&quick);
    return status;
}

kvant_status spec_parse(const char *name, const char *json, size_t bytes, const char *const *sets, size_t n_sets, spec *out,
                        kvant_error *err)
{
    document *doc;
    kvant_status status = document_parse(name, json, bytes, &doc, err);
    status = make_spec(status, doc, false, sets, n_sets, out, err);
    if (status || n_sets || !out->has_quick)
        return status;
    spec quick = { 0 };
    status = check_quick(spec_parse_quick(name, json, bytes, NULL, 0, &quick, err), out, &quick, err);
    spec_close(&quick);
    return status;
}
