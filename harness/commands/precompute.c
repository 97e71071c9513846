/* precompute.c - `kvant precompute`: makes the states that a spec's cells need, or one quantizer's, and stores them in a folder.
 * What is there already is verified and kept. */
#include "harness/experiment/experiment.h"
#include "harness/experiment/run.h"
#include "harness/process.h"

#include <stdlib.h>
#include <string.h>

/* trained: codecs that need vectors to learn from, which run_train brings. */
typedef struct { states *s; const char *folder; size_t trained; } work;

static kvant_status keep_source(work *w, const states_source *source, kvant_error *err)
{
    kvant_codec codec;
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
    kvant_status status = states_codec(w->s, source, NULL, &codec, err);
    if (!status)
        kvant_close(&codec);
    return status;
}

static kvant_status keep_codec(work *w, const kvant_codec *codec, kvant_error *err)
{
    const states_source source = { .quantizer = codec->quantizer, .shape = codec->shape, .args = codec->args };
    if (codec->plan.train_min && !codec->plan.prompt) {
        w->trained++;
        return KVANT_OK;
    }
    return keep_source(w, &source, err);
}

static kvant_status keep_cell(work *w, const plan_cell *cell, kvant_error *err)
{
    const kvcache_side *side = &cell->policy.key;
    if (!cell->model) {
        const kvant_shape shape = { .dim = (uint32_t)cell->data->data.dim, .side = KVANT_VECTOR, .seed = cell->policy.seed };
        kvant_codec codec;
        kvant_status status = kvant_describe(side->quantizer, &shape, &side->args, cell->policy.isa, &codec, err);
        return status ? status : keep_codec(w, &codec, err);
    }
    const kvcache_shape shape = lm_cache_shape(&cell->model->shape);
    kvcache_codecs codecs;
    kvant_status status = kvcache_codecs_describe(&cell->policy, &shape, &codecs, err);
    if (status)
        return status;
    for (size_t i = 1; i < codecs.n_own && !status; i++)       /* the first one is f16, for what waits */
        status = keep_codec(w, &codecs.own[i], err);
    kvcache_codecs_close(&codecs);
    return status;
}

static kvant_status keep_quantizer(const cli *c, work *w, kvant_error *err)
{
    states_source sources[SOURCES_MAX];
    size_t n = 0;
    kvant_status status = option_sources(c, sources, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        kvant_codec codec;
        status = kvant_describe(sources[i].quantizer, &sources[i].shape, &sources[i].args, NULL, &codec, err);
        if (!status)
            status = keep_codec(w, &codec, err);
    }
    if (!status && w->trained)
        status = kvant_fail(err, KVANT_SKIP, "%s: with these parameters it is trained; name a spec, whose data it learns from",
                            sources[0].quantizer->name);
    return status;
}

static void print_counts(const work *w)
{
    const states_count n = states_counted(w->s);
    char bytes[16];
    bytes_text(n.bytes, bytes);
    printf("%s: %zu state%s, %s: %zu made now, %zu verified\n", w->folder, n.found + n.made, n.found + n.made == 1 ? "" : "s", bytes,
           n.made, n.found);
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    work w = { .folder = cli_get(c, "states") };
    experiment e = { .threads = 0 };
    const bool experimental = cli_n_args(c) > 0;
    int code;
    if (!w.folder)
        return cli_usage(c, "--states FOLDER is needed");
    if (experimental == !!cli_get(c, "quantizer"))
        return cli_usage(c, "either a spec or --quantizer is needed");
    kvant_status status = states_open(w.folder, STATES_WRITE, &w.s, &err);
    if (!status && experimental && !experiment_open(c, STORE_READ, &e, &code)) {
        states_close(w.s);
        return code;
    }
    if (!status && !experimental)
        status = keep_quantizer(c, &w, &err);
    for (size_t i = 0; i < e.plan.n_cells && !status; i++) {
        e.plan.cells[i].policy.states = states_for_cache(w.s);         /* the plan itself was made with what was there */
        status = keep_cell(&w, &e.plan.cells[i], &err);
    }
    if (!status && experimental && w.trained)
        status = run_train(&e.plan, &err);
    if (!status)
        print_counts(&w);
    states_close(w.s);
    if (experimental)
        experiment_close(&e);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    OPTION_SOURCE,
    { "states", "FOLDER", "where they are stored; it is made when it is not there", false },
    OPTION_SPEC,
    { NULL, NULL, NULL, false },
};

const cli_command command_precompute = {
    .name = "precompute",
    .arguments = "[SPEC.json]",
    .min_args = 0,
    .max_args = 1,
    .summary = "store quantizers' states (rotations, sketches, codebooks) in a folder",
    .details = "For every codec of the spec's cells, or for one quantizer, its state is made (and trained, where it learns) and stored\n"
               "in the folder of --states, in a file whose name\nstands for everything it depends on: sources, parameters, dimension, side, seed, library. Files that are there "
               "are verified\nand kept. `kvant run --states FOLDER` then takes states from there; values are the same with and without, bit "
               "for bit.\nA file that is damaged is named with the bytes that are, and is never used: delete it.",
    .example = "# states of all cells of the demo\n"
               "kvant precompute experiments/demo.json --states states\n"
               "# of one quantizer, for vectors of 128 dimensions\n"
               "kvant precompute --quantizer turboquant_mse:bits=3 --dim 128 --states states",
    .options = options,
    .run = run,
};
