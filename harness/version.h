/* version.h - what this binary was built from; filled in by the Makefile at build time (harness/generate.sh). */
#ifndef KVANT_VERSION_H
#define KVANT_VERSION_H

#include <stdbool.h>

extern const char *const version_commit;       /* commit id, "unknown" outside a repository */
extern const bool version_dirty;               /* sources differed from the commit */
extern const char *const version_compiler, *const version_flags;

/* sha256 of the sources that can change a value, by part: "contract", "algorithms/shared", "algorithms/NAME",
 * "algorithms/allocators/NAME", "metal/NAME", "harness/lm", "harness/probes/NAME", "datasets/NAME". NULL: no such part. */
const char *version_of(const char *part);

#endif
