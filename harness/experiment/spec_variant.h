/* spec_variant.h - what a spec says about itself (title, paper, minutes) and its quick variant, for spec.c alone. */
#ifndef KVANT_SPEC_VARIANT_H
#define KVANT_SPEC_VARIANT_H

#include "harness/experiment/spec.h"

bool spec_is_about(const char *key);
/* One of spec_about_keys, checked and kept. */
kvant_status spec_read_about(spec *s, const cJSON *item, kvant_error *err);

/* Makes the document the variant that is asked for, before anything of it is read. KVANT_INVALID: there is no such variant. */
kvant_status spec_choose_variant(spec *s, bool quick, kvant_error *err);
/* Lets go of what belongs to the other variant, its keys and its expectations; they have been checked. */
void spec_drop_other(spec *s);

#endif
