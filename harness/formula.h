/* formula.h - arithmetic written in a text, as rows of a spec need it to recompute what a paper printed from what it printed
 * elsewhere. Numbers, names, + - * / ^, parentheses, and sqrt, exp, log, log2 and abs of one argument. */
#ifndef KVANT_FORMULA_H
#define KVANT_FORMULA_H

#include "harness/kvant.h"

/* The value that a name stands for; false: it stands for none. A name is letters, digits, '_' and '.', a letter first. */
typedef bool (*formula_lookup)(const void *user, const char *name, double *value);

/* *value may be infinite or NaN where the arithmetic is. KVANT_INVALID says what is wrong at which character, or which name is
 * unknown; lookup NULL: there are no names. */
kvant_status formula_value(const char *formula, formula_lookup lookup, const void *user, double *value, kvant_error *err);
/* Is it well formed, whatever its names mean? *names: it has some. */
kvant_status formula_check(const char *formula, bool *names, kvant_error *err);

#endif
