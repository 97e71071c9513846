/* correlate.c - do two measures put quantizers into the same order? Cells of several probes are joined by what they are of: model, data,
 * quantizers, policy and seed, everything in a config but the probe and the code.
 * Over all bits any two measures agree, for both fall with them: so there is a row for each bit too, where points are enough. */
#include "harness/measure/stats_rank.h"
#include "harness/report/compare_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS_MIN = 5, BITS_MAX = 64 };

typedef struct { double bits, x, y; const cJSON *cell, *of_x, *of_y; } point;
typedef struct { point *point; size_t n, left_out; } points;

static const cJSON *cells_of(const cJSON *block) { return cJSON_GetObjectItemCaseSensitive(block, "cells"); }

static const cJSON *measured(const cJSON *cell, const char *metric)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(cell, "measurements"))
        if (!strcmp(member_text(row, "metric"), metric))
            return row;
    return NULL;
}

/* What a cell is of, as text; freed by cJSON_free. */
static char *subject_of(const cJSON *cell)
{
    cJSON *config = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(cell, "config"), true);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "probe");
    cJSON_DeleteItemFromObjectCaseSensitive(config, "code");
    char *subject = cJSON_PrintUnformatted(config);
    cJSON_Delete(config);
    return subject;
}

/* Subjects of a block's cells that have the metric, NULL for others and references; freed by free_subjects. */
static char **subjects_of(const cJSON *block, const char *metric, size_t *n)
{
    *n = (size_t)cJSON_GetArraySize(cells_of(block));
    char **subjects = calloc(*n + 1, sizeof *subjects);
    const cJSON *cell;
    size_t i = 0;
    if (subjects)
        cJSON_ArrayForEach(cell, cells_of(block)) {
            if (measured(cell, metric) && member_number(cell, "reference") != 1)
                subjects[i] = subject_of(cell);
            i++;
        }
    return subjects;
}

static void free_subjects(char **subjects, size_t n)
{
    for (size_t i = 0; subjects && i < n; i++)
        cJSON_free(subjects[i]);
    free(subjects);
}

static kvant_status join(const cJSON *block_x, const cJSON *block_y, const char *x, const char *y, points *out, kvant_error *err)
{
    size_t n_x, n_y, i = 0;
    char **of_x = subjects_of(block_x, x, &n_x), **of_y = subjects_of(block_y, y, &n_y);
    *out = (points){ .point = calloc((n_x < n_y ? n_x : n_y) + 1, sizeof *out->point) };
    kvant_status status = of_x && of_y && out->point ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
    const cJSON *cell_x, *cell_y;
    if (!status)
        cJSON_ArrayForEach(cell_y, cells_of(block_y)) {
            size_t k = 0;
            cJSON_ArrayForEach(cell_x, cells_of(block_x)) {
                if (of_x[k] && of_y[i] && !strcmp(of_x[k], of_y[i])) {
                    point p = { member_number(cell_y, "bits_stored"), 0, 0, cell_y, measured(cell_x, x), measured(cell_y, y) };
                    p.x = member_number(p.of_x, "value");
                    p.y = member_number(p.of_y, "value");
                    if (isnan(p.x) || isnan(p.y))
                        out->left_out++;
                    else
                        out->point[out->n++] = p;
                    break;
                }
                k++;
            }
            i++;
        }
    free_subjects(of_x, n_x);
    free_subjects(of_y, n_y);
    return status;
}

static void add_interval(cJSON *to, const char *lo, const char *hi, const cJSON *row)
{
    const double value = member_number(row, "value"), low = member_number(row, "lo"), se = member_number(row, "se");
    add_number(to, lo, isnan(low) ? value - 1.96 * se : low);
    add_number(to, hi, isnan(low) ? value + 1.96 * se : member_number(row, "hi"));
}

static void add_points(cJSON *row, const point *p, const double *rank, size_t n)
{
    cJSON *list = cJSON_AddArrayToObject(row, "points");
    for (size_t i = 0; i < n; i++) {
        cJSON *item = cJSON_CreateObject();
        static const char *const copied[] = { "label", "key_quantizer", "value_quantizer" };
        for (size_t k = 0; k < sizeof copied / sizeof *copied; k++)
            cJSON_AddStringToObject(item, copied[k], member_text(p[i].cell, copied[k]));
        add_number(item, "bits_stored", p[i].bits);
        add_number(item, "x", p[i].x);
        add_interval(item, "x_lo", "x_hi", p[i].of_x);
        add_number(item, "y", p[i].y);
        add_interval(item, "y_lo", "y_hi", p[i].of_y);
        cJSON_AddNumberToObject(item, "rank_x", rank[i]);
        cJSON_AddNumberToObject(item, "rank_y", rank[n + i]);
        cJSON_AddItemToArray(list, item);
    }
}

/* head: members that all rows of the pair of blocks share; p [n] */
static kvant_status add_row(const cJSON *head, const char *bits, const point *p, size_t n, cJSON *rows, kvant_error *err)
{
    double *values = calloc(4 * n + 1, sizeof *values), *x = values, *y = values + n, *rank = values + 2 * n;
    stats_spearman s;
    if (!values)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu points", n);
    for (size_t i = 0; i < n; i++) {
        x[i] = p[i].x;
        y[i] = p[i].y;
    }
    kvant_status status = stats_spearman_of(x, y, n, 0.95, &s, err);
    if (!status)
        status = stats_ranks(x, n, rank, err);
    if (!status)
        status = stats_ranks(y, n, rank + n, err);
    if (!status) {
        cJSON *row = cJSON_Duplicate(head, true);
        cJSON_AddStringToObject(row, "stored_bits", bits);
        cJSON_AddNumberToObject(row, "n", (double)n);
        add_number(row, "rho", s.rho);
        add_number(row, "lo", s.interval.lo);
        add_number(row, "hi", s.interval.hi);
        add_number(row, "p", s.p);
        add_points(row, p, rank, n);
        cJSON_AddItemToArray(rows, row);
    }
    free(values);
    return status;
}

static int by_bits(const void *a, const void *b)
{
    const point *p = a, *q = b;
    return p->bits != q->bits ? (p->bits > q->bits) - (p->bits < q->bits) : (p->x > q->x) - (p->x < q->x);
}

static kvant_status add_rows(const cJSON *head, points *all, cJSON *rows, kvant_error *err)
{
    qsort(all->point, all->n, sizeof *all->point, by_bits);
    kvant_status status = add_row(head, "all", all->point, all->n, rows, err);
    for (size_t i = 0, end; i < all->n && !status; i = end) {
        const double floor_bits = floor(all->point[i].bits);
        for (end = i; end < all->n && floor(all->point[end].bits) == floor_bits; end++)
            continue;
        char bits[BITS_MAX];
        snprintf(bits, sizeof bits, "%.0f to %.0f", floor_bits, floor_bits + 1);
        if (end - i >= POINTS_MIN && end - i < all->n)
            status = add_row(head, bits, all->point + i, end - i, rows, err);
    }
    return status;
}

static bool same_subject(const cJSON *a, const cJSON *b)
{
    return !strcmp(member_text(a, "model"), member_text(b, "model")) && !strcmp(member_text(a, "data"), member_text(b, "data"));
}

static kvant_status correlate_blocks(const cJSON *block_x, const cJSON *block_y, const char *question, const char *x, const char *y,
                                     cJSON *rows, kvant_error *err)
{
    points all;
    kvant_status status = join(block_x, block_y, x, y, &all, err);
    if (!status && all.n > 1) {
        const char *of_x = member_text(block_x, "differs"), *of_y = member_text(block_y, "differs");
        text setting = { 0 };
        text_add(&setting, "%s%s%s", of_x, *of_x && *of_y && block_x != block_y ? " / " : "", block_x != block_y ? of_y : "");
        cJSON *head = cJSON_CreateObject();
        cJSON_AddStringToObject(head, "question", question);
        cJSON_AddStringToObject(head, "x", x);
        cJSON_AddStringToObject(head, "y", y);
        cJSON_AddStringToObject(head, "model", member_text(block_y, "model"));
        cJSON_AddStringToObject(head, "data", member_text(block_y, "data"));
        cJSON_AddStringToObject(head, "setting", setting.data ? setting.data : "");
        cJSON_AddNumberToObject(head, "left_out", (double)all.left_out);
        status = add_rows(head, &all, rows, err);
        cJSON_Delete(head);
        text_free(&setting);
    }
    free(all.point);
    return status;
}

static bool has_metric(const cJSON *blocks, const char *metric)
{
    const cJSON *block, *cell;
    cJSON_ArrayForEach(block, blocks)
        cJSON_ArrayForEach(cell, cells_of(block))
            if (measured(cell, metric))
                return true;
    return false;
}

kvant_status correlate_cells(const cJSON *blocks, const char *question, const char *x, const char *y, cJSON *rows, kvant_error *err)
{
    const char *const metrics[] = { x, y };
    for (size_t i = 0; i < 2; i++)
        if (!has_metric(blocks, metrics[i]))
            return kvant_fail(err, KVANT_INVALID, "no finished cell has metric '%.100s'; `kvant report --format csv` lists what there is",
                              metrics[i]);
    const cJSON *block_x, *block_y;
    const int before = cJSON_GetArraySize(rows);
    kvant_status status = KVANT_OK;
    cJSON_ArrayForEach(block_x, blocks)
        cJSON_ArrayForEach(block_y, blocks)
            if (!status && same_subject(block_x, block_y) &&
                (block_x == block_y || strcmp(member_text(block_x, "probe"), member_text(block_y, "probe"))))
                status = correlate_blocks(block_x, block_y, question, x, y, rows, err);
    if (!status && cJSON_GetArraySize(rows) == before)
        status = kvant_fail(err, KVANT_INVALID, "'%.100s' and '%.100s' were not both measured of two quantizers with the same model, data "
                            "and policy", x, y);
    return status;
}
