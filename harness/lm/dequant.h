/* dequant.h - ggml tensor types: their names, block sizes, and rows as float32.
 * Layouts follow the GGUF specification; values are exact (one rounding per product, as the format defines it). */
#ifndef KVANT_DEQUANT_H
#define KVANT_DEQUANT_H

#include "harness/lm/gguf.h"

typedef struct {
    uint32_t type;                 /* number in the file */
    const char *name;              /* "Q4_1" */
    uint32_t block, bytes;         /* values and bytes of a block */
    void (*row)(const uint8_t *data, size_t n, float *out);   /* n values, a multiple of block; NULL: not supported */
} ggml_type;

/* NULL: unknown number. A known type whose row is NULL can be listed but not loaded. */
const ggml_type *ggml_type_find(uint32_t type);

/* Rows row0 ... row0+n-1 of a tensor seen as [ne1*ne2*ne3][ne0] -> out [n][ne0]. KVANT_INVALID: type without support. */
kvant_status dequant_rows(const gguf_tensor *tensor, size_t row0, size_t n, float *out, kvant_error *err);

#endif
