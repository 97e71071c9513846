/* allocation.h - a quantizer for every layer, KV head and side as a file: this program's own form, and mlx-optiq's kv_config.json.
 *
 * Own form, with quantizers as a spec names them; an entry without `head` is for all heads of its layer, and every layer, head and
 * side must be said exactly once:
 *   { "kvant_allocation": 1, "model": {"name": "m", "n_layer": 30, "n_kv_head": 3, "head_dim": 64}, "budget": 2.5,
 *     "budget_bits": "asked", "bits_asked": 2.5, "bits_stored": 2.75, "provenance": {"allocator": "exact"},
 *     "groups": [ {"layer": 0, "key": {"quantizer": "turboquant_mse", "bits": 3}, "value": "same"}, ... ] }
 * mlx-optiq's, read as `affine` in MLX's scheme for keys and values of all heads. A layer that is not listed stays at full precision
 * there; here it must be listed, with "bits": 16 for f16:
 *   [ {"layer_idx": 0, "bits": 8, "group_size": 64}, ... ] */
#ifndef KVANT_ALLOCATION_H
#define KVANT_ALLOCATION_H

#include "harness/experiment/document.h"
#include "harness/lm/kvcache.h"

/* Reads either form for a cache of that shape. KVANT_INVALID names file, line and path: what is missing, there twice, out of bounds,
 * unknown or unsuited to the shape; and a stated average that its quantizers do not come to. KVANT_SKIP: says itself that it is for
 * a model of another shape, likewise with the place. */
kvant_status allocation_read(const char *path, const kvcache_shape *shape, kvcache_allocation *out, kvant_error *err);
/* The same from memory; `name` stands in errors where a path would. */
kvant_status allocation_parse(const char *name, const char *json, size_t bytes, const kvcache_shape *shape, kvcache_allocation *out,
                              kvant_error *err);
void allocation_free(kvcache_allocation *a);       /* {0} is allowed */

/* Averages over all coordinates, in bits. The status is kvant_describe's for the first group that does not suit the shape. */
typedef struct { double asked, stored; } allocation_bits;
kvant_status allocation_average(const kvcache_allocation *a, const kvcache_shape *shape, allocation_bits *bits, kvant_error *err);

/* What is written beside the groups. */
typedef struct {
    const char *model, *model_sha256;              /* NULL: not known */
    double budget;                                 /* bits per coordinate */
    bool by_stored;
    const char *const (*provenance)[2];            /* [n_provenance] names and what they were */
    size_t n_provenance;
} allocation_record;

/* Appends the file's text. Out of memory shows in out->failed. */
kvant_status allocation_write(const kvcache_allocation *a, const kvcache_shape *shape, const allocation_record *record, text *out,
                              kvant_error *err);
/* KVANT_INVALID names the first layer that kv_config.json cannot express. */
kvant_status allocation_write_optiq(const kvcache_allocation *a, text *out, kvant_error *err);

/* For both directions: `affine` as MLX does it, bits 2, 3, 4, 5, 6 or 8 in groups of 32, 64 or 128; 16 bits are f16. */
bool allocation_mlx_bits(double bits);
bool allocation_mlx_group(double group_size);
kvant_status allocation_mlx_side(double bits, double group_size, kvcache_side *side, kvant_error *err);

#endif
