/* dump.c - `kvant dump`: the keys and values that a model makes of a text, one .npy file per layer, KV head and side, to be used as
 * vector data or looked at elsewhere. */
#include "harness/cli.h"
#include "harness/experiment/captured.h"
#include "harness/input/npy.h"
#include "harness/options.h"
#include "harness/probe.h"
#include "harness/process.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512 };

/* "0,3,5-7": marks these layers; NULL marks all. */
static kvant_status parse_layers(const char *list, uint32_t n_layer, bool *wanted, kvant_error *err)
{
    for (uint32_t i = 0; i < n_layer; i++)
        wanted[i] = !list;
    for (const char *at = list; at; at = *at == ',' ? at + 1 : NULL) {
        char *end = NULL;
        bool good = isdigit((unsigned char)*at);
        errno = 0;
        unsigned long first = good ? strtoul(at, &end, 10) : 0, last = first;
        if (good && *end == '-') {
            good = isdigit((unsigned char)end[1]);
            last = good ? strtoul(end + 1, &end, 10) : 0;
        }
        if (!good || errno || (*end && *end != ',') || first > last)
            return kvant_fail(err, KVANT_INVALID, "--layers %.80s: expected numbers and ranges, such as 0,3,5-7", list);
        if (last >= n_layer)
            return kvant_fail(err, KVANT_INVALID, "--layers %.80s: the model's layers are 0 to %u", list, n_layer - 1);
        for (unsigned long i = first; i <= last; i++)
            wanted[i] = true;
        at = end;
    }
    return KVANT_OK;
}

static kvant_status load_text(const char *name, kvant_data *data, kvant_error *err)
{
    kvant_input input;
    kvant_status status = input_find(name, &input, err);
    if (status)
        return status;
    const kvant_dataset *dataset = *input.dataset ? dataset_find(input.dataset, err) : dataset_for_path(input.path, err);
    if (!dataset)
        return KVANT_INVALID;
    if (strcmp(dataset->kind, "text"))
        return kvant_fail(err, KVANT_INVALID, "%s: is read as %s, and a text is needed", name, dataset->kind);
    kvant_args args = kvant_defaults(dataset->params);
    return dataset->load(input.path, &args, data, err);
}

/* One head's vectors, gathered into rows [context][head_dim]. */
static kvant_status write_head(const captured *c, const float *side, const char *side_name, uint32_t layer, uint32_t head,
                               const char *folder, float *rows, kvant_error *err)
{
    const size_t dim = c->shape.head_dim, shape[2] = { c->context, dim };
    const float *x = captured_head(c, side, layer, head);
    for (size_t i = 0; i < c->context; i++)
        memcpy(rows + i * dim, x + i * c->row, dim * sizeof *x);
    char *path = text_format("%s/layer%02u_head%02u_%s.npy", folder, layer, head, side_name);
    npy_writer w;
    kvant_status status = path ? npy_begin(&w, path, 2, shape, err) : kvant_fail(err, KVANT_NOMEM, "no memory for a path");
    if (!status)
        status = npy_rows(&w, rows, c->context, err);
    if (!status)
        status = npy_end(&w, err);
    free(path);
    return status;
}

static kvant_status write_all(const captured *c, const bool *wanted, const char *folder, size_t *files, kvant_error *err)
{
    float *rows = kvant_alloc((size_t)c->context * c->shape.head_dim * sizeof *rows);
    kvant_status status = rows ? make_folders(folder, false, err)
                               : kvant_fail(err, KVANT_NOMEM, "no memory for %u vectors", c->context);
    for (uint32_t i = 0; i < c->shape.n_layer * c->shape.n_kv_head && !status; i++) {
        uint32_t layer = i / c->shape.n_kv_head, head = i % c->shape.n_kv_head;
        if (!wanted[layer])
            continue;
        if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
        if (!status)
            status = write_head(c, c->key, c->unrotated ? "key_pre_rope" : "key", layer, head, folder, rows, err);
        if (!status)
            status = write_head(c, c->value, "value", layer, head, folder, rows, err);
        *files += 2;
    }
    free(rows);
    return status;
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *text_name = cli_get(c, "data"), *folder = cli_get(c, "out"), *stage = cli_get(c, "stage");
    bool unrotated = stage && !strcmp(stage, "pre_rope");
    long long n;
    if (!text_name || !folder)
        return cli_usage(c, "--data TEXT and --out FOLDER are needed");
    if (stage && !unrotated && strcmp(stage, "post_rope"))
        return cli_usage(c, "--stage is pre_rope or post_rope");
    if (!cli_get_int(c, "tokens", 1, 1 << 24, 512, &n) || !option_threads(c))
        return EXIT_USAGE;
    model_session s = { 0 };
    kvant_data data = { 0 };
    captured taken = { 0 };
    int32_t *ids = NULL;
    bool *wanted = NULL;
    size_t files = 0;
    kvant_status status = model_session_open(&s, cli_arg(c, 0), 0, cli_get(c, "weights"), &err);
    const lm_shape *shape = status ? NULL : lm_model_shape(s.model);
    if (!status && n > shape->n_context)
        status = kvant_fail(&err, KVANT_INVALID, "--tokens %lld: the model's context is %u", n, shape->n_context);
    if (!status && !(wanted = calloc(shape->n_layer, sizeof *wanted)))
        status = kvant_fail(&err, KVANT_NOMEM, "no memory");
    if (!status)
        status = parse_layers(cli_get(c, "layers"), shape->n_layer, wanted, &err);
    if (!status)
        status = load_text(text_name, &data, &err);
    if (!status)
        status = probe_chunks(&(probe_job) { .model = s.model, .data = &data }, (uint32_t)n, 1, &ids, &err);
    if (!status)
        status = model_session_say(&s, 0, ids, (size_t)n, &err);
    if (!status)
        status = captured_open(&taken, s.model, (uint32_t)n, BATCH, false, NULL, "dump", &err);
    taken.unrotated = unrotated;
    if (!status)
        status = captured_run(&taken, ids, &err);
    if (!status)
        status = write_all(&taken, wanted, folder, &files, &err);
    if (!status)
        printf("%s: %zu files, float32 [%lld][%u] each\n", folder, files, n, shape->head_dim);
    captured_close(&taken);
    free(ids);
    free(wanted);
    data_free(&data);
    model_session_close(&s);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    { "data", "TEXT", "the text: a name in the manifest or a file", false },
    { "tokens", "N", "tokens to take from its beginning (default 512)", false },
    { "out", "FOLDER", "where the files go; it is made when it is not there", false },
    { "stage", "STAGE", "keys as they are: post_rope (default), or pre_rope, rotated by no position yet", false },
    { "layers", "LIST", "layers to write, such as 0,3,5-7 (default: all)", false },
    OPTION_WEIGHTS,
    OPTION_THREADS,
    { NULL, NULL, NULL, false },
};

const cli_command command_dump = {
    .name = "dump",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "write the keys and values that a model makes of a text as .npy",
    .details = "FOLDER/layer03_head01_key.npy holds the keys of layer 3 and KV head 1, both counted from 0, as a cache gets them: after "
               "RoPE, uncoded, float32 [tokens][head_dim]; ..._value.npy the values. With --stage pre_rope keys are as they were before "
               "RoPE, in ..._key_pre_rope.npy. The forward pass reads an f16 cache. A file is vector data for an experiment: \"data\": "
               "\"kv/layer03_head01_key.npy\".",
    .example = "# keys and values of layers 0 and 15\n"
               "kvant dump smollm2-135m --data wikitext-2 --tokens 2048 --layers 0,15 --out kv",
    .options = options,
    .run = run,
};
