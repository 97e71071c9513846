/* export.c - `kvant export`: a rotation, sketch, codebook or other table of a quantizer's state as .npy, for other programs.
 * With --states it comes from that folder, if its state is there; else it is made. */
#include "harness/options.h"

#include <stdio.h>

static kvant_status list_parts(const kvant_codec *codec, kvant_error *err)
{
    text names = { 0 };
    kvant_status status = states_parts(codec, &names, err);
    if (!status)
        printf("%s\n", names.data ? names.data : "none");
    text_free(&names);
    return status;
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *part = cli_get(c, "part"), *out = cli_get(c, "out"), *folder = cli_get(c, "states");
    states_source sources[SOURCES_MAX];
    states *s = NULL;
    kvant_codec codec = { .state = NULL };
    size_t n = 0;
    if (!part != !out)
        return cli_usage(c, "--part and --out belong together; without both, the names of the tables are shown");
    kvant_status status = option_sources(c, sources, &n, &err);
    if (!status && n > 1)
        status = kvant_fail(&err, KVANT_INVALID, "--side key or --side value is needed with --model: one table is written");
    if (!status && folder)
        status = states_open(folder, STATES_READ, &s, &err);
    if (!status)
        status = s ? states_codec(s, &sources[0], NULL, &codec, &err)
                   : kvant_open(sources[0].quantizer, &sources[0].shape, &sources[0].args, NULL, &codec, &err);
    if (!status && codec.plan.train_min && !codec.plan.prompt)
        status = kvant_fail(&err, KVANT_SKIP, "%s: with these parameters it is trained, and nothing trained it here",
                            sources[0].quantizer->name);
    if (!status)
        status = part ? states_export(&codec, part, out, &err) : list_parts(&codec, &err);
    kvant_close(&codec);
    states_close(s);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    OPTION_SOURCE,
    { "part", "NAME", "the table: rotation, signs, sketch, codebook, ... (default: their names are shown)", false },
    { "out", "FILE", "the .npy file", false },
    { "states", "FOLDER", "take the state from here, if it is there", false },
    { NULL, NULL, NULL, false },
};

const cli_command command_export = {
    .name = "export",
    .arguments = "",
    .min_args = 0,
    .max_args = 0,
    .summary = "write a table of a quantizer's state (rotation, sketch, codebook) as .npy",
    .details = "float32. A rotation is R [dim][dim] with y = R x, which for a vector x in Python is R @ x; that of rotation=hadamard comes "
               "as such a\nmatrix too, or as its signs [dim]: R = H diag(signs) / sqrt(dim). A sketch is S [m][dim], whose signs are those "
               "of S y. A\ncodebook is [2^bits], ascending, in the scale of the coordinates that it codes.",
    .example = "# what there is, and the rotation of seed 7\n"
               "kvant export --quantizer turboquant_mse:bits=3 --dim 128\n"
               "kvant export --quantizer turboquant_mse:bits=3 --dim 128 --seed 7 --part rotation --out rotation.npy",
    .options = options,
    .run = run,
};
