/* kernel_timing.h - times a kernel that was found right against the scalar code: one table for each of the method's parameters and
 * dimension. Every table begins with its floors: copying the codes, and reading them. */
#ifndef KVANT_TESTS_KERNEL_TIMING_H
#define KVANT_TESTS_KERNEL_TIMING_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Prints the tables of quantizer `quantizer` on target `target`, and adds a row for each line to `rows`, a JSON array (NULL: nobody
 * asks): {"quantizer", "target", "params", "dim", "side", "op", "queries", "ns", "code_gb_per_s", "scalar_ns", "over_scalar"}, ns of a
 * vector, or of a query where op is "query"; floors have no side, no queries and no scalar code. False: something could not be opened,
 * or memory ran out; it is said on stderr. */
bool timing_tables(const char *quantizer, const char *target, cJSON *rows);

#endif
