/* canonical.h - JSON in the one form that is hashed: without blanks, keys sorted, every default filled in.
 * What a cell is and what a stored state is made of are such texts; whoever writes one keeps the order of keys. */
#ifndef KVANT_CANONICAL_H
#define KVANT_CANONICAL_H

#include "harness/util.h"

/* "name":"value" */
void canonical_member(text *t, const char *name, const char *value);
/* {"name":value,...}, all parameters of the table, or those that `without` [KVANT_MAX_PARAMS] (may be NULL) does not mark. */
void canonical_params(text *t, const kvant_param *params, const kvant_args *args);
void canonical_params_but(text *t, const kvant_param *params, const kvant_args *args, const bool *without);

/* Parts of the sources, as version_of names them; each is kept once. Zero-initialise. */
enum { CANONICAL_PARTS = 32 };
typedef struct { char name[CANONICAL_PARTS][128]; size_t n; } canonical_parts;
void canonical_part(canonical_parts *parts, const char *folder, const char *name);
/* A quantizer's source, and its kernel's unless the target is "scalar". */
void canonical_quantizer(canonical_parts *parts, const char *name, const char *target);

/* "code":{...}: compiler, flags, libraries and the hashes of the parts, to which the contract and what quantizers share are
 * added. onednn NULL: it has no say. KVANT_FAILED: a part without a hash. */
kvant_status canonical_code(text *t, canonical_parts *parts, const char *onednn, kvant_error *err);

#endif
