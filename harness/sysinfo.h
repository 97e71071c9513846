/* sysinfo.h - what a result is measured on: processor, cores, memory, libraries, as `kvant version` prints and a run records it.
 * Library versions are those loaded now, not those compiled against. */
#ifndef KVANT_SYSINFO_H
#define KVANT_SYSINFO_H

#include "harness/util.h"

/* Bytes that this process may still take: what the system has available (MemAvailable), or what its memory cgroups (version 1 or 2,
 * and those above it) leave when that is less, cached files counted as free; 0 when the system does not tell. root: the folder that
 * stands for "/", for tests. */
uint64_t sysinfo_memory(const char *root);

/* Bytes of the largest cache of the first processor, which is the last one before memory; 0 when the system does not tell. root: as
 * above. */
uint64_t sysinfo_last_cache(const char *root);

void sysinfo_cpu(char name[128]);      /* the model's name, "unknown" where the system does not tell */
int sysinfo_cores(void);               /* that this process may use */
void sysinfo_libraries(text *out);     /* adds "oneDNN 2.6.3, GSL 2.7.1, ..." */

#endif
