/* json_schema.c - the part of JSON Schema that the project's own schema is written in: types, members, items, values, references. */
#include "tests/json_schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct { const cJSON *root; char *why; } check;

static bool wrong(const check *c, const char *path, const char *what, const char *more)
{
    snprintf(c->why, 512, "%.300s: %.80s%.120s", *path ? path : "the document", what, more);
    return false;
}

static bool is_type(const cJSON *value, const char *type)
{
    if (!strcmp(type, "integer"))
        return cJSON_IsNumber(value) && value->valuedouble == rint(value->valuedouble);
    return (!strcmp(type, "object") && cJSON_IsObject(value)) || (!strcmp(type, "array") && cJSON_IsArray(value)) ||
           (!strcmp(type, "string") && cJSON_IsString(value)) || (!strcmp(type, "number") && cJSON_IsNumber(value)) ||
           (!strcmp(type, "boolean") && cJSON_IsBool(value)) || (!strcmp(type, "null") && cJSON_IsNull(value));
}

static bool has_type(const cJSON *types, const cJSON *value)
{
    const cJSON *type;
    if (cJSON_IsString(types))
        return is_type(value, types->valuestring);
    cJSON_ArrayForEach(type, types)
        if (is_type(value, type->valuestring))
            return true;
    return false;
}

static bool is_among(const cJSON *values, const cJSON *value)
{
    const cJSON *one;
    cJSON_ArrayForEach(one, values)
        if (cJSON_Compare(one, value, true))
            return true;
    return false;
}

static const cJSON *resolve(const check *c, const char *reference)
{
    static const char prefix[] = "#/$defs/";
    if (strncmp(reference, prefix, strlen(prefix)))
        return NULL;
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(c->root, "$defs"), reference + strlen(prefix));
}

static bool holds(const check *c, const cJSON *schema, const cJSON *value, const char *path);

static bool members_hold(const check *c, const cJSON *properties, const cJSON *value, const char *path)
{
    const cJSON *property;
    cJSON_ArrayForEach(property, properties) {
        const cJSON *member = cJSON_GetObjectItemCaseSensitive(value, property->string);
        char inner[300];
        snprintf(inner, sizeof inner, "%.200s.%.80s", path, property->string);
        if (member && !holds(c, property, member, inner))
            return false;
    }
    return true;
}

static bool keyword_holds(const check *c, const cJSON *keyword, const cJSON *value, const char *path)
{
    const char *name = keyword->string;
    const cJSON *item;
    char inner[300];
    int i = 0;
    if (name[0] == '$' || !strcmp(name, "title") || !strcmp(name, "description")) {
        if (strcmp(name, "$ref"))
            return true;
        const cJSON *target = resolve(c, keyword->valuestring);
        return target ? holds(c, target, value, path) : wrong(c, path, "the schema has no ", keyword->valuestring);
    }
    if (!strcmp(name, "type"))
        return has_type(keyword, value) || wrong(c, path, "is not of the type it should be", "");
    if (!strcmp(name, "const"))
        return cJSON_Compare(keyword, value, true) || wrong(c, path, "is not the one value that it may be", "");
    if (!strcmp(name, "enum"))
        return is_among(keyword, value) || wrong(c, path, "is none of the values that it may be", "");
    if (!strcmp(name, "minimum"))
        return !cJSON_IsNumber(value) || value->valuedouble >= keyword->valuedouble || wrong(c, path, "is too small", "");
    if (!strcmp(name, "properties"))
        return !cJSON_IsObject(value) || members_hold(c, keyword, value, path);
    if (!strcmp(name, "required")) {
        cJSON_ArrayForEach(item, keyword)
            if (cJSON_IsObject(value) && !cJSON_HasObjectItem(value, item->valuestring))
                return wrong(c, path, "lacks ", item->valuestring);
        return true;
    }
    if (!strcmp(name, "items")) {
        if (cJSON_IsArray(value))
            cJSON_ArrayForEach(item, value) {
                snprintf(inner, sizeof inner, "%.200s[%d]", path, i++);
                if (!holds(c, keyword, item, inner))
                    return false;
            }
        return true;
    }
    if (!strcmp(name, "anyOf")) {
        cJSON_ArrayForEach(item, keyword)
            if (holds(c, item, value, path))
                return true;
        return false;
    }
    return wrong(c, path, "the schema has a keyword that nothing checks: ", name);
}

static bool holds(const check *c, const cJSON *schema, const cJSON *value, const char *path)
{
    const cJSON *keyword;
    cJSON_ArrayForEach(keyword, schema)
        if (!keyword_holds(c, keyword, value, path))
            return false;
    return true;
}

bool json_schema_holds(const cJSON *root, const cJSON *schema, const cJSON *value, char why[512])
{
    const check c = { root, why };
    why[0] = '\0';
    return holds(&c, schema, value, "");
}
