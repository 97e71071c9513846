/* formula.c - reads and evaluates arithmetic in one descent; ^ binds closest and to the right, then signs, * and /, + and -.
 * The text may come from a file that nobody checked: nesting is bounded, and what is not understood is an error. */
#include "harness/formula.h"
#include "harness/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NESTED = 64, NAME = 64 };

typedef struct {
    const char *text, *at;
    formula_lookup lookup;
    const void *user;
    int depth;
    kvant_status status;
    kvant_error *err;
} reader;

static double wrong(reader *r, const char *what)
{
    if (!r->status)
        r->status = kvant_fail(r->err, KVANT_INVALID, "formula `%.120s`, character %zu: %s", r->text, (size_t)(r->at - r->text) + 1,
                               what);
    return NAN;
}

static char peek(reader *r)
{
    r->at += strspn(r->at, " ");
    return *r->at;
}

static bool take(reader *r, char c)
{
    const bool there = !r->status && peek(r) == c;
    r->at += there;
    return there;
}

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static double sum(reader *r);

static double parenthesis(reader *r)
{
    if (++r->depth > NESTED)
        return wrong(r, "nested too deeply");
    const double value = sum(r);
    r->depth--;
    return take(r, ')') ? value : wrong(r, "a ) is missing");
}

static double named(reader *r)
{
    static const struct { const char *name; double (*of)(double); } functions[] = {
        { "sqrt", sqrt }, { "exp", exp }, { "log", log }, { "log2", log2 }, { "abs", fabs },
    };
    char name[NAME];
    size_t n = 0;
    const char *begin = r->at;
    while (letter(r->at[n]) || digit(r->at[n]) || r->at[n] == '_' || r->at[n] == '.')
        n++;
    if (n >= sizeof name)
        return wrong(r, "the name is too long");
    memcpy(name, r->at, n);
    name[n] = '\0';
    r->at += n;
    if (peek(r) == '(') {
        r->at++;
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
            if (!strcmp(functions[i].name, name))
                return functions[i].of(parenthesis(r));
        r->at = begin;
        return wrong(r, "no such function; there are sqrt, exp, log, log2 and abs");
    }
    double value;
    if (r->lookup && r->lookup(r->user, name, &value))
        return value;
    r->at = begin;
    return wrong(r, "nothing of that name here");
}

static double primary(reader *r)
{
    const char c = peek(r);
    if (r->status)
        return NAN;
    if (letter(c))
        return named(r);
    if (take(r, '('))
        return parenthesis(r);
    if (!digit(c) && !(c == '.' && digit(r->at[1])))
        return wrong(r, "a number, a name or ( should be here");
    if (c == '0' && (r->at[1] == 'x' || r->at[1] == 'X'))
        return wrong(r, "numbers are decimal");
    char *end;
    const double value = strtod(r->at, &end);
    r->at = end;
    return value;
}

static double power(reader *r);

static double sign(reader *r)
{
    if (++r->depth > NESTED)
        return wrong(r, "nested too deeply");
    const double value = take(r, '-') ? -sign(r) : power(r);
    r->depth--;
    return value;
}

static double power(reader *r)
{
    const double base = primary(r);
    return take(r, '^') ? pow(base, sign(r)) : base;
}

static double product(reader *r)
{
    double value = sign(r);
    while (!r->status) {
        if (take(r, '*'))
            value *= sign(r);
        else if (take(r, '/'))
            value /= sign(r);
        else
            break;
    }
    return value;
}

static double sum(reader *r)
{
    double value = product(r);
    while (!r->status) {
        if (take(r, '+'))
            value += product(r);
        else if (take(r, '-'))
            value -= product(r);
        else
            break;
    }
    return value;
}

kvant_status formula_value(const char *formula, formula_lookup lookup, const void *user, double *value, kvant_error *err)
{
    reader r = { .text = formula, .at = formula, .lookup = lookup, .user = user, .err = err };
    *value = sum(&r);
    if (!r.status && peek(&r))
        *value = wrong(&r, "an operator should be here");
    return r.status;
}

static bool any_name(const void *user, const char *name, double *value)
{
    (void)name;
    bool *const *names = user;
    **names = true;
    *value = 1;
    return true;
}

kvant_status formula_check(const char *formula, bool *names, kvant_error *err)
{
    double value;
    *names = false;
    return formula_value(formula, any_name, &names, &value, err);
}
