/* select.c - finds the cells that words mean. Words that mean several cells of one setting, or none, are errors that list what there is:
 * a comparison of the wrong cells is worse than none. */
#include "harness/report/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *cells_of(const cJSON *block) { return cJSON_GetObjectItemCaseSensitive(block, "cells"); }

static cJSON *value_of(const char *word)
{
    char *end;
    double number = strtod(word, &end);
    if (*word && !*end && isfinite(number))
        return cJSON_CreateNumber(number);
    return cJSON_CreateString(word);
}

/* NAME=VALUE, separated by blanks or commas. */
static kvant_status parse_where(const char *words, cJSON **where, kvant_error *err)
{
    static const char gaps[] = " ,\t";
    char *copy = strdup(words), *rest = copy, *word;
    *where = cJSON_CreateObject();
    kvant_status status = copy && *where ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
    while (!status && (word = strtok_r(rest, gaps, &rest))) {
        char *value = strchr(word, '=');
        if (!value || value == word || !value[1])
            status = kvant_fail(err, KVANT_INVALID, "'%.200s': '%.100s' is not NAME=VALUE, as in key=q4_0 key.bits=4", words, word);
        else {
            *value++ = '\0';
            if (!cJSON_AddItemToObject(*where, word, value_of(value)))
                status = kvant_fail(err, KVANT_NOMEM, "out of memory");
        }
    }
    free(copy);
    return status;
}

static bool any_taken(const selection *s, const cJSON *blocks)
{
    const cJSON *block, *cell;
    cJSON_ArrayForEach(block, blocks)
        cJSON_ArrayForEach(cell, cells_of(block))
            if (selection_takes(s, cell))
                return true;
    return false;
}

/* Says what there is instead: the nearest label, or some of them. */
static kvant_status none_taken(const char *words, const cJSON *blocks, kvant_error *err)
{
    enum { LABELS = 1024 };
    const char **labels = calloc(LABELS + 1, sizeof *labels);
    if (!labels)
        return kvant_fail(err, KVANT_NOMEM, "out of memory");
    size_t n = 0;
    text list = { 0 };
    const cJSON *block, *cell;
    cJSON_ArrayForEach(block, blocks)
        cJSON_ArrayForEach(cell, cells_of(block)) {
            size_t i = 0;
            while (i < n && strcmp(labels[i], member_text(cell, "label")))
                i++;
            if (i < n || n == LABELS)
                continue;
            labels[n++] = member_text(cell, "label");
            if (list.length < 400)
                text_add(&list, "%s'%s'", n > 1 ? ", " : "", labels[n - 1]);
        }
    const char *near = nearest_name(words, labels);
    kvant_status status = near
        ? kvant_fail(err, KVANT_INVALID, "'%.200s': no finished cell is that: did you mean '%.200s'?", words, near)
        : kvant_fail(err, KVANT_INVALID, "'%.200s': no finished cell is that; there are %.420s", words, list.data ? list.data : "none");
    text_free(&list);
    free(labels);
    return status;
}

kvant_status selection_parse(const char *words, const cJSON *blocks, selection *out, kvant_error *err)
{
    *out = (selection){ .words = words, .label = words };
    kvant_status status = KVANT_OK;
    if (any_taken(out, blocks))
        return KVANT_OK;
    out->label = NULL;
    if (*words && strspn(words, "0123456789") == strlen(words))
        out->number = strtod(words, NULL);
    else if (strchr(words, '='))
        status = parse_where(words, &out->where, err);
    if (!status && !any_taken(out, blocks))
        status = none_taken(words, blocks, err);
    if (status)
        selection_free(out);
    return status;
}

void selection_free(selection *s)
{
    cJSON_Delete(s->where);
    *s = (selection){ .words = NULL };
}

bool selection_takes(const selection *s, const cJSON *cell)
{
    if (s->label)
        return !strcmp(s->label, member_text(cell, "label"));
    return s->where ? report_agrees(s->where, cell) : member_number(cell, "number") == s->number;
}

kvant_status selection_cells(const selection *s, const cJSON *block, const cJSON **cells, size_t *n, kvant_error *err)
{
    bool several = false;
    const cJSON *cell;
    *n = 0;
    cJSON_ArrayForEach(cell, cells_of(block))
        if (selection_takes(s, cell)) {
            for (size_t i = 0; i < *n; i++)
                several = several || !strcmp(member_text(cells[i], "pairing"), member_text(cell, "pairing")) ||
                          strcmp(member_text(cells[i], "label"), member_text(cell, "label"));
            cells[(*n)++] = cell;
        }
    if (!several)
        return KVANT_OK;
    text list = { 0 };
    for (size_t i = 0; i < *n && list.length < 500; i++)
        text_add(&list, "%s%.0f '%s'", i ? ", " : "", member_number(cells[i], "number"), member_text(cells[i], "label"));
    kvant_status status = kvant_fail(err, KVANT_INVALID, "'%.200s' is not one cell of %s of %s on %s: %.520s; say more, e.g. key.bits=4, "
                                     "or give a label or a number", s->words, member_text(block, "probe"), member_text(block, "model"),
                                     member_text(block, "data"), list.data ? list.data : "");
    text_free(&list);
    return status;
}
