/* spec_variant.c - a spec's title, paper and stated running time, and the quick variant that it may have of itself.
 * A variant is another experiment in the store, NAME-quick, so that neither takes the other's place. */
#include "harness/experiment/spec_variant.h"

#include <stdlib.h>
#include <string.h>

enum { MINUTES = 1000000 };        /* two years */

static const spec_about about[] = {
    { "title", "what it shows, in a line" },
    { "paper", "the paper and version whose table it is" },
    { "minutes", "the time that it takes on two cores" },
    { "golden", "the relative tolerance to which results come again on any machine; 0: bit for bit" },
    { "quick", "keys that stand in place of the spec's own with --quick; null takes one away" },
    { NULL, NULL },
};

const spec_about *spec_about_keys(void) { return about; }

bool spec_is_about(const char *key)
{
    for (const spec_about *a = about; a->name; a++)
        if (!strcmp(a->name, key))
            return true;
    return false;
}

kvant_status spec_read_about(spec *s, const cJSON *item, kvant_error *err)
{
    const char *key = item->string;
    if (!strcmp(key, "minutes")) {
        s->minutes = item->valuedouble;
        return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble <= MINUTES
                   ? KVANT_OK : document_fail(s->doc, item, err, "must be the minutes that it takes on two cores");
    }
    if (!strcmp(key, "golden")) {
        s->golden = item->valuedouble;
        return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 1
                   ? KVANT_OK : document_fail(s->doc, item, err, "must be the relative tolerance to which results come again, 0 for "
                                                                 "bit for bit");
    }
    if (!strcmp(key, "quick")) {                   /* of the whole spec; spec.c reads the variant by itself */
        s->has_quick = true;
        return cJSON_IsObject(item) && item->child
                   ? KVANT_OK : document_fail(s->doc, item, err, "must be an object of keys that stand in place of the spec's own");
    }
    if (!cJSON_IsString(item) || !*item->valuestring || strpbrk(item->valuestring, "\n\r\t"))
        return document_fail(s->doc, item, err, "must be one line of text in quotes");
    *(!strcmp(key, "title") ? &s->title : &s->paper) = item->valuestring;
    return KVANT_OK;
}

kvant_status spec_choose_variant(spec *s, bool quick, kvant_error *err)
{
    static const char *const fixed[] = { "name", "title", "paper", "quick", NULL };
    const cJSON *root = document_root(s->doc), *over = cJSON_GetObjectItemCaseSensitive(root, "quick");
    s->has_quick = over;
    s->quick = quick;
    if (!quick)
        return KVANT_OK;
    if (!over)
        return kvant_fail(err, KVANT_INVALID, "%s: has no `quick` variant; run it without --quick, or say what is smaller by --set",
                          document_name(s->doc));
    for (const char *const *key = fixed; *key; key++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(over, *key);
        if (item)
            return document_fail(s->doc, item, err, "is the same in both variants; remove it here");
    }
    kvant_status status = document_overlay(s->doc, "quick", err);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "name"));
    char *assignment = status || !name ? NULL : text_format("name=%s-quick", name);
    if (!status && name)                           /* a name that is missing or no text is refused where names are read */
        status = assignment ? document_set(s->doc, assignment, err) : kvant_fail(err, KVANT_NOMEM, "no memory for the name");
    free(assignment);
    return status;
}

void spec_drop_other(spec *s)
{
    const cJSON *root = document_root(s->doc), *rows = cJSON_GetObjectItemCaseSensitive(root, "expect");
    const cJSON *over = cJSON_GetObjectItemCaseSensitive(root, "quick");
    if (over)
        document_remove(s->doc, root, over);
    for (const cJSON *row = rows ? rows->child : NULL, *next; row; row = next) {
        const char *only = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "only"));
        next = row->next;
        if (only && strcmp(only, s->quick ? "quick" : "full"))
            document_remove(s->doc, rows, row);
    }
    if (rows && !rows->child)      /* no array of a spec is empty */
        document_remove(s->doc, root, rows);
}
