/* conformance.h - finds the reference set (KVANT_DATA/conformance) and reads its index and float files.
 * A machine without it skips: the set is not part of this project. */
#ifndef KVANT_TEST_CONFORMANCE_H
#define KVANT_TEST_CONFORMANCE_H

#include <cjson/cJSON.h>
#include <stddef.h>

/* Path of a file below one of KVANT_DATA's folders, in a static buffer; NULL when no folder has it. */
const char *data_path(const char *relative);
/* Points input_find at KVANT_DATA and the user's cache, as the program does. */
void test_input_settings(void);
/* Parsed conformance/index.json, or NULL. Freed by cJSON_Delete. */
cJSON *conformance_index(void);
/* Floats of conformance/RELATIVE; exits the test when the file has not exactly n. Freed by the caller. */
float *conformance_floats(const char *relative, size_t n);
/* An array of integers as ids; *n is set. Freed by the caller. */
int *conformance_ids(const cJSON *array, size_t *n);

#endif
