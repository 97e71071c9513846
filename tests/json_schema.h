/* json_schema.h - checks a JSON document against a JSON schema, of which it knows the keywords that report.schema.json uses.
 * A keyword that it does not know is an error, so that no schema is satisfied by what nobody looked at. */
#ifndef KVANT_TESTS_JSON_SCHEMA_H
#define KVANT_TESTS_JSON_SCHEMA_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* True when the value is as the schema says; otherwise `why` names the place and what is wrong there. root: where "$ref" looks. */
bool json_schema_holds(const cJSON *root, const cJSON *schema, const cJSON *value, char why[512]);

#endif
