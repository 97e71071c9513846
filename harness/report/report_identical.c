/* report_identical.c - cells whose outputs are equal bit for bit although they are different: which of their settings differ.
 * One of these was probably not applied; the pair alone would leave the reader to compare two configs by eye. */
#include "harness/report/report_internal.h"

#include <stdlib.h>
#include <string.h>

/* What a value depends on, but no setting. */
static bool is_setting(const cJSON *item) { return strcmp(item->string, "code") && strcmp(item->string, "isa"); }

/* Adds the paths at which two objects differ, "key.bits"; "params" is left out of them, and with another quantizer all parameters. */
static void add_paths(text *t, const char *path, const cJSON *a, const cJSON *b)
{
    const cJSON *sides[] = { a, b }, *quantizer = cJSON_GetObjectItemCaseSensitive(a, "quantizer"), *item;
    const bool other = quantizer && !cJSON_Compare(quantizer, cJSON_GetObjectItemCaseSensitive(b, "quantizer"), true);
    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(item, sides[i]) {
            const cJSON *mine = cJSON_GetObjectItemCaseSensitive(a, item->string);
            const cJSON *theirs = cJSON_GetObjectItemCaseSensitive(b, item->string);
            if ((i && mine) || !is_setting(item) || cJSON_Compare(mine, theirs, true) || (other && item != quantizer))
                continue;
            char *inner = !strcmp(item->string, "params") ? strdup(path) : text_format("%s%s%s", path, *path ? "." : "", item->string);
            if (!inner)
                t->failed = true;
            else if (cJSON_IsObject(mine) && cJSON_IsObject(theirs))
                add_paths(t, inner, mine, theirs);
            else
                text_add(t, "%s%s", t->length ? ", " : "", inner);
            free(inner);
        }
}

void report_identical(cJSON *report)
{
    cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "identical")) {
        text differs = { 0 };
        add_paths(&differs, "", cJSON_GetObjectItemCaseSensitive(row, "config"), cJSON_GetObjectItemCaseSensitive(row, "other_config"));
        cJSON_AddStringToObject(row, "differs", differs.data && !differs.failed ? differs.data : "");
        cJSON_DeleteItemFromObjectCaseSensitive(row, "config");
        cJSON_DeleteItemFromObjectCaseSensitive(row, "other_config");
        text_free(&differs);
    }
}
