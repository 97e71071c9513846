/* params.c - typed parameters: defaults, from text, to text.
 * One table per plug-in serves specs, the command line, `kvant list` and the database, so names and ranges agree everywhere. */
#include "harness/util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = KVANT_VALUE_TEXT };    /* of one name or one value, with its NUL */

kvant_args kvant_defaults(const kvant_param *params)
{
    kvant_args args = { .v = { 0 } };
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        args.v[i] = params[i].def;
    return args;
}

const kvant_param *param_find(const kvant_param *params, const char *name)
{
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (!strcmp(params[i].name, name))
            return &params[i];
    return NULL;
}

static void join(const char *const *names, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; names[i] && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", names[i]);
}

static kvant_status unknown(const char *what, const char *name, const char *const *known, kvant_error *err)
{
    char all[TEXT_BYTES];
    if (!known[0])
        return kvant_fail(err, KVANT_INVALID, "%s '%.64s': unknown; there are none", what, name);
    join(known, all, sizeof all);
    const char *nearest = nearest_name(name, known);
    if (nearest)
        return kvant_fail(err, KVANT_INVALID, "%s '%.64s': unknown; the nearest known one is '%s' (of %s)", what, name, nearest, all);
    return kvant_fail(err, KVANT_INVALID, "%s '%.64s': unknown; use one of %s", what, name, all);
}

static kvant_status set_choice(const kvant_param *p, const char *given, double *value, kvant_error *err)
{
    char what[TEXT_BYTES];
    for (int i = 0; p->choices[i]; i++)
        if (!strcmp(p->choices[i], given)) {
            *value = i;
            return KVANT_OK;
        }
    snprintf(what, sizeof what, "%s: value", p->name);
    return unknown(what, given, p->choices, err);
}

static kvant_status set_number(const kvant_param *p, const char *given, double *value, kvant_error *err)
{
    char *end;
    bool plain = given[0] && strspn(given, "+-.0123456789eE") == strlen(given);      /* no hex, nan, inf, blanks */
    errno = 0;
    double v = strtod(given, &end);
    if (!plain || *end || errno == ERANGE || !isfinite(v))
        return kvant_fail(err, KVANT_INVALID, "%s: '%.64s' is not a number", p->name, given);
    /* 2^53 + 1 would round to 2^53 in silence. */
    bool exact = fabs(v) < 0x1p53 || (fabs(v) == 0x1p53 && strtoll(given, NULL, 10) == (long long)v);
    if (p->type == KVANT_INT && (v != floor(v) || !exact))
        return kvant_fail(err, KVANT_INVALID, "%s: %.64s is not an integer of at most 2^53", p->name, given);
    if (!(v >= p->min && v <= p->max))
        return kvant_fail(err, KVANT_INVALID, "%s: %.64s is out of range; use %.17g to %.17g", p->name, given, p->min, p->max);
    *value = v;
    return KVANT_OK;
}

static int compare_entries(const void *a, const void *b) { return *(const uint16_t *)a - *(const uint16_t *)b; }

/* In any order; what is kept is sorted, so that a list has one form. */
static kvant_status set_list(const kvant_param *p, const char *given, double *count, uint16_t list[KVANT_MAX_LIST], kvant_error *err)
{
    const kvant_param entry = { .name = p->name, .type = KVANT_INT, .min = p->min, .max = p->max };
    uint16_t set[KVANT_MAX_LIST] = { 0 };
    size_t n = 0;
    for (const char *at = given; strcmp(given, "none"); at++) {
        char digits[32];
        double value;
        size_t length = strcspn(at, "+");
        if (!length || length >= sizeof digits || n == KVANT_MAX_LIST)
            return kvant_fail(err, KVANT_INVALID, "%s: '%.64s' is no list; give 1 to %d integers, like 3+17+64, or none", p->name,
                              given, KVANT_MAX_LIST);
        memcpy(digits, at, length);
        digits[length] = '\0';
        kvant_status status = set_number(&entry, digits, &value, err);
        if (status)
            return status;
        set[n++] = (uint16_t)value;
        at += length;
        if (!*at)
            break;
    }
    qsort(set, n, sizeof *set, compare_entries);
    for (size_t i = 1; i < n; i++)
        if (set[i] == set[i - 1])
            return kvant_fail(err, KVANT_INVALID, "%s: %u is given twice", p->name, set[i]);
    *count = (double)n;
    memcpy(list, set, sizeof set);
    return KVANT_OK;
}

kvant_status kvant_set(const kvant_param *params, const char *name, const char *given, kvant_args *args, kvant_error *err)
{
    const char *known[KVANT_MAX_PARAMS + 1];
    int n = 0;
    for (; params && n < KVANT_MAX_PARAMS && params[n].name; n++) {
        known[n] = params[n].name;
        if (!strcmp(known[n], name))
            return params[n].type == KVANT_LIST     ? set_list(&params[n], given, &args->v[n], args->list, err)
                   : params[n].type == KVANT_CHOICE ? set_choice(&params[n], given, &args->v[n], err)
                                                    : set_number(&params[n], given, &args->v[n], err);
    }
    known[n] = NULL;
    return unknown("parameter", name, known, err);
}

/* Copies up to the end of a name or value; false when it is empty or too long. */
static bool piece(const char **at, const char *stop, char out[TEXT_BYTES])
{
    size_t n = strcspn(*at, stop);
    if (n == 0 || n >= TEXT_BYTES)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
    return true;
}

kvant_status kvant_parse(const kvant_param *params, const char *given, kvant_args *args, kvant_error *err)
{
    kvant_args parsed = *args;
    bool seen[KVANT_MAX_PARAMS] = { false };
    for (const char *at = given; *at; ) {
        char name[TEXT_BYTES], value[TEXT_BYTES];
        const char *start = at;
        if (!piece(&at, "=,", name) || *at++ != '=' || !piece(&at, ",", value))
            return kvant_fail(err, KVANT_INVALID, "parameters: '%.64s' is not NAME=VALUE[,NAME=VALUE...]", start);
        kvant_status status = kvant_set(params, name, value, &parsed, err);
        if (status)
            return status;
        int i = 0;
        while (strcmp(params[i].name, name))
            i++;
        if (seen[i])
            return kvant_fail(err, KVANT_INVALID, "parameters: '%s' is given twice", name);
        seen[i] = true;
        if (*at && !*++at)
            return kvant_fail(err, KVANT_INVALID, "parameters: '%.200s' ends with a comma", given);
    }
    *args = parsed;
    return KVANT_OK;
}

void kvant_format(const kvant_param *param, double value, char *out, size_t bytes)
{
    if (param->type == KVANT_CHOICE) {
        int n = 0;
        while (param->choices[n])
            n++;
        snprintf(out, bytes, "%s", value >= 0 && value < n ? param->choices[(int)value] : "?");
    } else if (param->type == KVANT_INT || param->type == KVANT_LIST) {
        snprintf(out, bytes, "%.0f", value);
    } else {                                       /* the shorter of the two that reads back as the same number */
        char shorter[32];
        snprintf(shorter, sizeof shorter, "%.15g", value);
        snprintf(out, bytes, "%.*g", strtod(shorter, NULL) == value ? 15 : 17, value);
    }
}

void kvant_format_arg(const kvant_param *params, int index, const kvant_args *args, char *out, size_t bytes)
{
    if (params[index].type != KVANT_LIST) {
        kvant_format(&params[index], args->v[index], out, bytes);
        return;
    }
    size_t n = (size_t)args->v[index], used = (size_t)snprintf(out, bytes, "%s", n ? "" : "none");
    for (size_t i = 0; i < n && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%u", i ? "+" : "", args->list[i]);
}

bool kvant_same_arg(const kvant_param *params, int index, const kvant_args *a, const kvant_args *b)
{
    bool lists = params[index].type == KVANT_LIST;
    return a->v[index] == b->v[index] && (!lists || !memcmp(a->list, b->list, sizeof a->list));
}

double kvant_arg(const kvant_quantizer *quantizer, const char *name, const kvant_args *args)
{
    const kvant_param *p = param_find(quantizer->params, name);
    return p ? args->v[p - quantizer->params] : NAN;
}
