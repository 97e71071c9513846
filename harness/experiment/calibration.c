/* calibration.c - draws windows or vectors, keeps what the model makes of them, and marks them by hashes: see calibration.h. */
#include "harness/experiment/calibration.h"

#include "algorithms/shared/random.h"
#include "harness/experiment/captured.h"
#include "harness/probe.h"

#include <gsl/gsl_randist.h>
#include <stdlib.h>
#include <string.h>

enum { RUN = 64, BATCH = 512 };

const kvant_param calibration_params[] = {
    [CALIBRATION_N] = { "n", "samples", KVANT_INT, 5, 1, 100000, NULL },
    [CALIBRATION_LENGTH] = { "length", "tokens of a sample", KVANT_INT, 512, 2, 1 << 20, NULL },
    [CALIBRATION_SEED] = { "seed", "draws the samples", KVANT_INT, 42, 0, UINT32_MAX, NULL },
    { .name = NULL }
};

/* ---- Drawing --------------------------------------------------------------------------------- */

/* k of the numbers 0 ... n-1, in ascending order; freed by the caller. */
static size_t *choose(uint32_t seed, size_t k, size_t n, bool shuffled, kvant_error *err)
{
    size_t *all = calloc(n, sizeof *all), *chosen = calloc(k, sizeof *chosen);
    gsl_rng *rng = random_open(seed, RANDOM_CALIBRATION);
    bool ok = all && chosen && rng;
    for (size_t i = 0; i < n && ok; i++)
        all[i] = i;
    if (ok && !gsl_ran_choose(rng, chosen, k, all, n, sizeof *all) && shuffled)
        gsl_ran_shuffle(rng, chosen, k, sizeof *chosen);
    gsl_rng_free(rng);
    free(all);
    if (ok)
        return chosen;
    free(chosen);
    kvant_fail(err, KVANT_NOMEM, "calibration: no memory to draw %zu of %zu samples", k, n);
    return NULL;
}

kvant_status calibration_windows(lm_model *model, const kvant_data *data, const kvant_args *args, int32_t **out, kvant_error *err)
{
    const size_t n = (size_t)args->v[CALIBRATION_N], length = (size_t)args->v[CALIBRATION_LENGTH];
    int32_t *ids, bos;
    size_t n_ids;
    kvant_status status = probe_text(model, data, &ids, &n_ids, &bos, err);
    if (status)
        return status;
    const size_t first = n_ids - n_ids / 2, there = n_ids / 2 / length;
    size_t *chosen = NULL;
    int32_t *windows = NULL;
    if (there < n)
        status = kvant_fail(err, KVANT_INVALID, "calibration: %zu samples of %zu tokens are asked for, and the second half of the text "
                            "has %zu; lower n or length, or take a longer text", n, length, there);
    else if (!(chosen = choose((uint32_t)args->v[CALIBRATION_SEED], n, there, true, err)))
        status = KVANT_NOMEM;
    else if (!(windows = calloc(n * length, sizeof *windows)))
        status = kvant_fail(err, KVANT_NOMEM, "calibration: no memory for %zu samples of %zu tokens", n, length);
    for (size_t i = 0; i < n && !status; i++) {
        memcpy(windows + i * length, ids + first + chosen[i] * length, length * sizeof *windows);
        if (bos >= 0)
            windows[i * length] = bos;
        for (size_t j = 0; j < length && !status; j++)
            if (windows[i * length + j] < 0 || (uint32_t)windows[i * length + j] >= lm_model_shape(model)->n_vocab)
                status = kvant_fail(err, KVANT_INVALID, "calibration: the text has token %d, and the model knows %u; the file's "
                                    "tokenizer and weights do not belong together", windows[i * length + j],
                                    lm_model_shape(model)->n_vocab);
    }
    free(ids);
    free(chosen);
    if (status)
        free(windows);
    else
        *out = windows;
    return status;
}

/* ---- Marks ----------------------------------------------------------------------------------- */

/* FNV-1a, 64 bits: two runs out of millions that differ meet with odds of 1e-6. */
static uint64_t hash(const void *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return h;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool marked(const calibration *c, uint64_t h) { return bsearch(&h, c->marks, c->n_marks, sizeof h, by_value) != NULL; }

bool calibration_saw_tokens(const calibration *c, const int32_t *ids, size_t n, size_t *at)
{
    for (*at = 0; *at + c->run <= n; ++*at)
        if (marked(c, hash(ids + *at, c->run * sizeof *ids)))
            return true;
    return false;
}

bool calibration_saw_vectors(const calibration *c, const float *x, size_t n, size_t dim, size_t *at)
{
    for (*at = 0; *at < n; ++*at)
        if (marked(c, hash(x + *at * dim, dim * sizeof *x)))
            return true;
    return false;
}

static kvant_status mark_tokens(calibration *c, const int32_t *ids, size_t n, size_t length, kvant_error *err)
{
    c->run = length < RUN ? length : RUN;
    c->marks = calloc(n * (length - c->run + 1), sizeof *c->marks);
    if (!c->marks)
        return kvant_fail(err, KVANT_NOMEM, "calibration: no memory to mark %zu tokens", n * length);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j + c->run <= length; j++)
            c->marks[c->n_marks++] = hash(ids + i * length + j, c->run * sizeof *ids);
    qsort(c->marks, c->n_marks, sizeof *c->marks, by_value);
    sha256_of(ids, n * length * sizeof *ids, c->sha256);
    return KVANT_OK;
}

/* ---- The two kinds --------------------------------------------------------------------------- */

static kvant_status keep_windows(calibration *c, captured *run, const int32_t *ids, size_t n, size_t length, kvant_error *err)
{
    const size_t layers = run->shape.n_layer, floats = length * run->row;
    c->n = n * length;
    c->key = kvant_alloc(layers * n * floats * sizeof *c->key);
    c->value = kvant_alloc(layers * n * floats * sizeof *c->value);
    if (!c->key || !c->value)
        return kvant_fail(err, KVANT_NOMEM, "calibration: no memory for keys and values of %zu tokens (%.1f MiB); lower n or length", c->n,
                          2.0 * (double)(layers * n * floats) * sizeof *c->key / 1048576);
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < n && !status; i++) {
        status = captured_run(run, ids + i * length, err);
        for (size_t layer = 0; layer < layers && !status; layer++) {
            memcpy(c->key + (layer * n + i) * floats, run->key + layer * floats, floats * sizeof *c->key);
            memcpy(c->value + (layer * n + i) * floats, run->value + layer * floats, floats * sizeof *c->value);
        }
    }
    return status;
}

kvant_status calibration_of_model(lm_model *model, const kvant_data *data, const kvant_args *args, kvcache_key_stage stage,
                                  const char *isa, calibration *out, kvant_error *err)
{
    const size_t n = (size_t)args->v[CALIBRATION_N], length = (size_t)args->v[CALIBRATION_LENGTH];
    calibration c = { 0 };
    captured run = { 0 };
    int32_t *ids = NULL;
    *out = c;
    if (length > lm_model_shape(model)->n_context)
        return kvant_fail(err, KVANT_INVALID, "calibration: length %zu exceeds the model's context of %u", length,
                          lm_model_shape(model)->n_context);
    kvant_status status = calibration_windows(model, data, args, &ids, err);
    if (!status)
        status = captured_open(&run, model, (uint32_t)length, BATCH, false, isa, "calibration", err);
    run.unrotated = stage == KEYS_PRE_ROPE;
    if (!status)
        status = keep_windows(&c, &run, ids, n, length, err);
    if (!status)
        status = mark_tokens(&c, ids, n, length, err);
    captured_close(&run);
    free(ids);
    if (status)
        calibration_free(&c);
    *out = c;
    return status;
}

kvant_status calibration_of_tokens(lm_model *model, const kvant_data *data, const kvant_args *args, calibration *out, kvant_error *err)
{
    const size_t n = (size_t)args->v[CALIBRATION_N], length = (size_t)args->v[CALIBRATION_LENGTH];
    int32_t *ids = NULL;
    *out = (calibration){ 0 };
    kvant_status status = calibration_windows(model, data, args, &ids, err);
    if (!status)
        status = mark_tokens(out, ids, n, length, err);
    free(ids);
    return status;
}

static size_t vectors_asked(const kvant_args *args) { return (size_t)args->v[CALIBRATION_N] * (size_t)args->v[CALIBRATION_LENGTH]; }

/* Keeps vectors [n] of x [][dim], those of the indices given or, for NULL, the first. */
static kvant_status keep_vectors(const float *x, const size_t *index, size_t n, size_t dim, calibration *out, kvant_error *err)
{
    calibration c = { .x = kvant_alloc(n * dim * sizeof *x), .n = n, .run = 1, .marks = calloc(n, sizeof *c.marks), .n_marks = n };
    if (!c.x || !c.marks) {
        calibration_free(&c);
        return kvant_fail(err, KVANT_NOMEM, "calibration: no memory for %zu vectors of %zu", n, dim);
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(c.x + i * dim, x + (index ? index[i] : i) * dim, dim * sizeof *x);
        c.marks[i] = hash(c.x + i * dim, dim * sizeof *x);
    }
    qsort(c.marks, n, sizeof *c.marks, by_value);
    sha256_of(c.x, n * dim * sizeof *c.x, c.sha256);
    *out = c;
    return KVANT_OK;
}

kvant_status calibration_of_vectors(const kvant_data *data, const kvant_args *args, calibration *out, kvant_error *err)
{
    const size_t n = vectors_asked(args);
    *out = (calibration){ 0 };
    if (n > data->n)
        return kvant_fail(err, KVANT_INVALID, "calibration: n times length is %zu vectors, and the data has %zu; lower n or length", n,
                          data->n);
    size_t *chosen = choose((uint32_t)args->v[CALIBRATION_SEED], n, data->n, false, err);
    if (!chosen)
        return KVANT_NOMEM;
    kvant_status status = keep_vectors(data->x, chosen, n, data->dim, out, err);
    free(chosen);
    return status;
}

kvant_status calibration_of_generator(const kvant_dataset *dataset, const kvant_args *made, const kvant_args *args, calibration *out,
                                      kvant_error *err)
{
    const size_t n = vectors_asked(args);
    kvant_args more = *made;
    kvant_data data;
    size_t count = 0;              /* of the parameter `n` */
    *out = (calibration){ 0 };
    while (dataset->params[count].name && strcmp(dataset->params[count].name, "n"))
        count++;
    if (!dataset->params[count].name)
        return kvant_fail(err, KVANT_INVALID, "calibration: dataset '%s' cannot make more; name other `data`", dataset->name);
    const size_t before = (size_t)made->v[count];
    more.v[count] = (double)(before + n);
    kvant_status status = dataset->load(NULL, &more, &data, err);
    if (status)
        return status;
    status = keep_vectors(data.x + before * data.dim, NULL, n, data.dim, out, err);
    data_free(&data);
    return status;
}

void calibration_free(calibration *c)
{
    free(c->key);
    free(c->value);
    free(c->x);
    free(c->marks);
    *c = (calibration){ 0 };
}
