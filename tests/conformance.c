/* conformance.c - see conformance.h.
 * Shared by the tests of the model, the tokenizer and the tensor types. */
#include "tests/conformance.h"

#include "harness/input/input.h"
#include "harness/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const char *data_path(const char *relative)
{
    static char path[4096];
    const char *folders = getenv("KVANT_DATA");
    while (folders && *folders) {
        const size_t length = strcspn(folders, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)length, folders, relative);
        if (length > 0 && access(path, R_OK) == 0)
            return path;
        folders += length + (folders[length] == ':');
    }
    return NULL;
}

void test_input_settings(void)
{
    static char cache[4096];
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (base && *base)
        snprintf(cache, sizeof cache, "%s/kvant", base);
    else
        snprintf(cache, sizeof cache, "%s/.cache/kvant", home ? home : "");
    input_settings(getenv("KVANT_DATA"), cache, "datasets/manifest.json");
}

static char *read_data(const char *relative, size_t *bytes)
{
    const char *path = data_path(relative);
    char *data = NULL;
    if (path && file_read(path, &data, bytes, NULL) != KVANT_OK)
        return NULL;
    return data;
}

cJSON *conformance_index(void)
{
    size_t bytes;
    char *text_of_index = read_data("conformance/index.json", &bytes);
    cJSON *index = text_of_index ? cJSON_Parse(text_of_index) : NULL;
    free(text_of_index);
    return index;
}

float *conformance_floats(const char *relative, size_t n)
{
    char name[512];
    size_t bytes = 0;
    snprintf(name, sizeof name, "conformance/%s", relative);
    float *x = (float *)(void *)read_data(name, &bytes);
    assert_non_null(x);
    assert_int_equal(bytes, n * sizeof *x);
    return x;
}

int *conformance_ids(const cJSON *array, size_t *n)
{
    *n = (size_t)cJSON_GetArraySize(array);
    int *ids = calloc(*n + 1, sizeof *ids);
    assert_non_null(ids);
    size_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array) ids[i++] = item->valueint;
    return ids;
}
