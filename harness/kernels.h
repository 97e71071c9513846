/* kernels.h - the registered kernels of metal/, for the codec that chooses one and for tests/checkkernels. */
#ifndef KVANT_KERNELS_H
#define KVANT_KERNELS_H

#include "harness/kvant.h"

const kvant_kernel *const *kvant_kernels(void);     /* NULL-terminated, sorted by name: later targets win */

#endif
