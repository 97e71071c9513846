/* sysinfo.h - what a result was measured on: processor, cores, libraries, as `kvant version` prints and a run records it.
 * Library versions are those loaded now, not those compiled against. */
#ifndef KVANT_SYSINFO_H
#define KVANT_SYSINFO_H

#include "harness/util.h"

void sysinfo_cpu(char name[128]);      /* the model's name, "unknown" where the system does not tell */
int sysinfo_cores(void);               /* that this process may use */
void sysinfo_libraries(text *out);     /* adds "oneDNN 2.6.3, GSL 2.7.1, ..." */

#endif
