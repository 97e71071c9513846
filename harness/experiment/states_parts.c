/* states_parts.c - see states.h: tables of a state as .npy, out and in.
 * What comes in is held to what makes it such a table, since no other check would notice that a rotation is none. */
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/rotation.h"
#include "harness/experiment/canonical.h"
#include "harness/experiment/states.h"
#include "harness/input/npy.h"
#include "harness/process.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char rotation_name[] = "rotation", signs_name[] = "signs";

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

kvant_status states_parts(const kvant_codec *codec, text *names, kvant_error *err)
{
    kvant_parts parts;
    kvant_status status = kvant_list_parts(codec, &parts, err);
    for (size_t i = 0; i < parts.n && !status; i++) {
        const kvant_part *p = &parts.part[i];
        text_add(names, "%s%s", names->length ? " " : "", p->name);
        if (p->kind == KVANT_SIGNS)        /* the matrix that they stand for has a name of its own */
            text_add(names, " %.*s%s", (int)(strlen(p->name) - strlen(signs_name)), p->name, rotation_name);
    }
    return status || !names->failed ? status : kvant_fail(err, KVANT_NOMEM, "%s: no memory for its tables' names", codec->quantizer->name);
}

/* The table that a name stands for; *matrix: as the matrix of a Hadamard rotation, of which the state has the signs. */
static kvant_status find_part(const kvant_codec *codec, const char *name, kvant_part *found, bool *matrix, kvant_error *err)
{
    kvant_parts parts;
    kvant_status status = kvant_list_parts(codec, &parts, err);
    *matrix = false;
    for (size_t i = 0; i < parts.n && !status; i++) {
        const kvant_part *p = &parts.part[i];
        char as_matrix[sizeof p->name + sizeof rotation_name];
        snprintf(as_matrix, sizeof as_matrix, "%.*s%s", (int)(strlen(p->name) - (ends_with(p->name, signs_name) ? strlen(signs_name) : 0)),
                 p->name, rotation_name);
        *matrix = p->kind == KVANT_SIGNS && !strcmp(as_matrix, name);
        if (*matrix || !strcmp(p->name, name)) {
            *found = *p;
            return KVANT_OK;
        }
    }
    text names = { 0 };
    if (!status)
        status = states_parts(codec, &names, err);
    if (!status)
        status = kvant_fail(err, KVANT_INVALID, "%s: with these parameters it has no table '%.40s'; it has %s", codec->quantizer->name,
                            name, names.data ? names.data : "none");
    text_free(&names);
    return status;
}

static float *row_of(const kvant_codec *codec, const kvant_part *p, size_t row)
{
    return (float *)(void *)((char *)codec->state + p->offset) + row * p->stride;
}

/* Signs have a scale in the state, that of the fast transform. */
static float sign_scale(const kvant_codec *codec, const kvant_part *p) { return fabsf(row_of(codec, p, 0)[0]); }

/* ---- Out ------------------------------------------------------------------------------------- */

/* Row i of R is R^T e_i. */
static void rotation_row(const kvant_codec *codec, const kvant_part *signs, size_t i, float *unit, float *row)
{
    unit[i] = 1;
    rotation_inverse(ROTATION_HADAMARD, signs->cols, row_of(codec, signs, 0), unit, 1, row);
    unit[i] = 0;
}

static kvant_status write_rows(const kvant_codec *codec, const kvant_part *p, bool matrix, npy_writer *w, kvant_error *err)
{
    const size_t rows = matrix ? p->cols : p->rows;
    float *unit = kvant_alloc(p->cols * sizeof *unit), *row = kvant_alloc(p->cols * sizeof *row);
    kvant_status status = unit && row ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for a row of %u numbers", p->cols);
    for (size_t i = 0; i < rows && !status; i++) {
        if (matrix)
            rotation_row(codec, p, i, unit, row);
        else
            memcpy(row, row_of(codec, p, i), p->cols * sizeof *row);
        for (size_t j = 0; j < p->cols && p->kind == KVANT_SIGNS && !matrix; j++)
            row[j] = copysignf(1, row[j]);
        status = npy_rows(w, row, p->rows == 1 && !matrix ? p->cols : 1, err);
    }
    free(unit);
    free(row);
    return status;
}

kvant_status states_export(const kvant_codec *codec, const char *part, const char *path, kvant_error *err)
{
    kvant_part p;
    bool matrix;
    npy_writer w;
    kvant_status status = find_part(codec, part, &p, &matrix, err);
    if (status)
        return status;
    const size_t table[2] = { matrix ? p.cols : p.rows, p.cols }, *shape = p.rows == 1 && !matrix ? table + 1 : table;
    status = npy_begin(&w, path, shape == table ? 2 : 1, shape, err);
    if (status)
        return status;
    status = write_rows(codec, &p, matrix, &w, err);
    if (status)
        npy_discard(&w);
    return status ? status : npy_end(&w, err);
}

/* ---- In -------------------------------------------------------------------------------------- */

static kvant_status check_shape(const kvant_part *p, const npy_array *a, const char *path, kvant_error *err)
{
    const bool flat = p->rows == 1;
    if (a->rank == (flat ? 1 : 2) && a->shape[0] == (flat ? p->cols : p->rows) && (flat || a->shape[1] == p->cols))
        return KVANT_OK;
    if (flat)
        return kvant_fail(err, KVANT_INVALID, "%s: %s must have the shape (%u,)", path, p->name, p->cols);
    return kvant_fail(err, KVANT_INVALID, "%s: %s must have the shape (%u, %u)", path, p->name, p->rows, p->cols);
}

static kvant_status check_finite(const npy_array *a, const char *path, kvant_error *err)
{
    for (size_t i = 0; i < a->n; i++)
        if (!isfinite(a->x[i]))
            return kvant_fail(err, KVANT_INVALID, "%s: number %zu is not finite", path, i);
    return KVANT_OK;
}

static kvant_status check_rotation(size_t d, const float *r, const char *path, kvant_error *err)
{
    for (size_t i = 0; i < d; i++) {
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        for (size_t j = i; j < d; j++) {
            double sum = 0;
            for (size_t k = 0; k < d; k++)
                sum += (double)r[i * d + k] * r[j * d + k];
            if (!(fabs(sum - (i == j)) <= ROTATION_TOLERANCE))
                return kvant_fail(err, KVANT_INVALID, "%s: not orthogonal: the product of rows %zu and %zu is %.6g, and must be %d within "
                                  "%g", path, i, j, sum, i == j, ROTATION_TOLERANCE);
        }
    }
    return KVANT_OK;
}

static kvant_status check_signs(const npy_array *a, const char *path, kvant_error *err)
{
    for (size_t i = 0; i < a->n; i++)
        if (fabsf(a->x[i]) != 1)
            return kvant_fail(err, KVANT_INVALID, "%s: number %zu is %g; signs are +1 and -1", path, i, (double)a->x[i]);
    return KVANT_OK;
}

static kvant_status check_codebook(const npy_array *a, size_t cols, const char *path, kvant_error *err)
{
    for (size_t i = 0; i < a->n; i++)
        if (i % cols && !(a->x[i] > a->x[i - 1]))
            return kvant_fail(err, KVANT_INVALID, "%s: a codebook must ascend, and number %zu is %g after %g", path, i, (double)a->x[i],
                              (double)a->x[i - 1]);
    return KVANT_OK;
}

static kvant_status check_table(const kvant_part *p, const npy_array *a, const char *path, kvant_error *err)
{
    kvant_status status = check_shape(p, a, path, err);
    if (!status)
        status = check_finite(a, path, err);
    if (!status && p->kind == KVANT_ROTATION)
        status = check_rotation(p->cols, a->x, path, err);
    if (!status && p->kind == KVANT_SIGNS)
        status = check_signs(a, path, err);
    if (!status && p->kind == KVANT_CODEBOOK)
        status = check_codebook(a, p->cols, path, err);
    return status;
}

/* Thresholds are the part behind their codebook. */
static kvant_status make_thresholds(const kvant_codec *codec, const kvant_part *book, kvant_error *err)
{
    kvant_parts parts;
    kvant_status status = kvant_list_parts(codec, &parts, err);
    for (size_t i = 0; i + 1 < parts.n && !status; i++)
        if (!strcmp(parts.part[i].name, book->name) && parts.part[i + 1].kind == KVANT_THRESHOLDS)
            for (size_t row = 0; row < book->rows; row++)
                codebook_thresholds(row_of(codec, book, row), book->cols, row_of(codec, &parts.part[i + 1], row));
    return status;
}

static kvant_status set_table(const kvant_codec *codec, const kvant_part *p, const npy_array *a, kvant_error *err)
{
    const float scale = p->kind == KVANT_SIGNS ? sign_scale(codec, p) : 1;
    for (size_t i = 0; i < a->n; i++)
        row_of(codec, p, i / p->cols)[i % p->cols] = scale * a->x[i];
    return p->kind == KVANT_CODEBOOK ? make_thresholds(codec, p, err) : KVANT_OK;
}

/* origin with {"PART": sha256} among its members, sorted; NULL when out of memory. */
static char *add_origin(const char *origin, const char *part, const char *hex)
{
    cJSON *object = cJSON_Parse(origin);
    text t = { 0 };
    bool ok = cJSON_IsObject(object);
    if (ok)
        cJSON_DeleteItemFromObjectCaseSensitive(object, part);
    ok = ok && cJSON_AddStringToObject(object, part, hex);
    text_add(&t, "{");
    for (const char *last = ""; ok;) {
        const cJSON *next = NULL, *item;
        cJSON_ArrayForEach(item, object)
            if (strcmp(item->string, last) > 0 && (!next || strcmp(item->string, next->string) < 0))
                next = item;
        if (!next)
            break;
        text_add(&t, "%s", *last ? "," : "");
        canonical_member(&t, next->string, cJSON_IsString(next) ? next->valuestring : "");
        last = next->string;
    }
    text_add(&t, "}");
    cJSON_Delete(object);
    if (!ok || t.failed)
        text_free(&t);
    return t.data;
}

static kvant_status import_table(states *s, const states_source *source, kvant_codec *codec, const char *origin, const char *part,
                                 const char *path, kvant_error *err)
{
    kvant_part p;
    bool matrix;
    npy_array array = { 0 };
    char hex[SHA256_HEX], *now = NULL;
    kvant_status status = find_part(codec, part, &p, &matrix, err);
    if (!status && matrix)
        status = kvant_fail(err, KVANT_INVALID, "%s: with rotation=hadamard a state holds signs, and no other matrix fits: import them as "
                            "'%s', or take rotation=haar", codec->quantizer->name, p.name);
    if (!status && (p.kind == KVANT_THRESHOLDS || p.kind == KVANT_TABLE))
        status = kvant_fail(err, KVANT_INVALID, "%s: '%s' follows from other tables; rotations, signs, sketches and codebooks can be "
                            "imported", codec->quantizer->name, p.name);
    if (!status)
        status = sha256_file(path, hex, err);
    if (!status)
        status = npy_read(path, &array, err);
    if (!status)
        status = check_table(&p, &array, path, err);
    if (!status)
        status = set_table(codec, &p, &array, err);
    if (!status && !(now = add_origin(origin, p.name, hex)))
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to note where it is from", path);
    if (!status)
        status = states_store(s, source, codec, now, err);
    free(now);
    free(array.x);
    return status;
}

kvant_status states_import(states *s, const states_source *source, const char *part, const char *path, kvant_error *err)
{
    kvant_codec codec;
    char *origin;
    kvant_status status = states_fetch(s, source, &codec, &origin, err);
    if (status)
        return status;
    if (codec.plan.train_min && !codec.plan.prompt)
        status = kvant_fail(err, KVANT_INVALID, "%s: with these parameters it is trained, and tables come from its training data",
                            source->quantizer->name);
    else
        status = import_table(s, source, &codec, origin, part, path, err);
    free(origin);
    kvant_close(&codec);
    return status;
}
