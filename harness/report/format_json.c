/* format_json.c - a document as JSON: all that was read from the store, in the shape that report.schema.json describes.
 * Numbers have the fewest digits that read back as the same double. */
#include "harness/experiment/document.h"
#include "harness/report/format.h"

#include <string.h>

/* cJSON prints numbers with 15 digits where that is close; here they must read back as they were. */
static bool exact_numbers(cJSON *item)
{
    for (cJSON *child = item->child; child; child = child->next)
        if (!exact_numbers(child))
            return false;
    if (!cJSON_IsNumber(item))
        return true;
    char digits[32];
    number_text(item->valuedouble, digits);
    item->valuestring = cJSON_malloc(strlen(digits) + 1);
    if (!item->valuestring)
        return false;
    strcpy(item->valuestring, digits);
    item->type = cJSON_Raw;
    return true;
}

void report_json(cJSON *json, text *out)
{
    char *printed = exact_numbers(json) ? cJSON_Print(json) : NULL;
    if (printed)
        text_add(out, "%s\n", printed);
    else
        out->failed = true;
    cJSON_free(printed);
}

static kvant_status write_json(cJSON *json, const report_options *options, text *out, kvant_error *err)
{
    (void)options, (void)err;
    report_json(json, out);
    return KVANT_OK;
}

static kvant_status write_list(cJSON *rows, text *out, kvant_error *err)
{
    (void)err;
    report_json(rows, out);
    return KVANT_OK;
}

extern const char report_schema_json[];

const char *report_schema(void) { return report_schema_json; }

const report_kind format_json = {
    .name = "json", .summary = "everything, by a schema (--schema)", .report = write_json, .answer = write_json, .list = write_list,
};
