/* export.c - `kvant export`: an experiment as a bundle for an appendix; or a rotation, sketch, codebook or other table of a
 * quantizer's state as .npy, for other programs. With --states it comes from that folder, if its state is there; else it is made. */
#include "harness/bundle/bundle.h"
#include "harness/experiment/experiment.h"

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

/* An experiment is named: nothing of a quantizer is asked for then. */
static int export_bundle(const cli *c)
{
    static const char *const others[] = { "quantizer", "dim", "seed", "side", "model", "part", "out", "states" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_get(c, others[i]))
            return cli_usage(c, "--%s is of a quantizer's tables; an experiment is exported by its name and --dir", others[i]);
    if (!cli_get(c, "dir"))
        return cli_usage(c, "--dir FOLDER is needed: where the bundle of '%.64s' goes", cli_arg(c, 0));
    kvant_error err = { "" };
    char hash[SHA256_HEX];
    const char *plots = cli_get(c, "no-plots") ? NULL : cli_share("plots");
    if (!plots && !cli_get(c, "no-plots"))
        return cli_fail(c, kvant_fail(&err, KVANT_IO, "the folder `plots` that comes with the program is not there; install it "
                                                      "again, or say --no-plots"), &err);
    const bundle_options o = { cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE, cli_arg(c, 0), cli_get(c, "dir"), plots };
    kvant_status status = bundle_write(&o, hash, &err);
    if (status)
        return cli_fail(c, status, &err);
    printf("%s/manifest.json %s\n", o.folder, hash);
    return cli_finish(EXIT_DONE);
}

static int run(const cli *c)
{
    if (cli_arg(c, 0))
        return export_bundle(c);
    static const char *const others[] = { "dir", "store", "no-plots" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_get(c, others[i]))
            return cli_usage(c, "--%s is of an experiment's bundle: name the experiment; `kvant report` lists them", others[i]);
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
    { "dir", "FOLDER", "the bundle's folder, which is made", false },
    { "store", "FILE", "the store that has the experiment (default " DEFAULT_STORE ")", false },
    { "no-plots", NULL, "leave pictures out of the bundle", false },
    OPTION_SOURCE,
    { "part", "NAME", "the table: rotation, signs, sketch, codebook, ... (default: their names are shown)", false },
    { "out", "FILE", "the .npy file", false },
    { "states", "FOLDER", "take the state from here, if it is there", false },
    { NULL, NULL, NULL, false },
};

const cli_command command_export = {
    .name = "export",
    .arguments = "[EXPERIMENT]",
    .min_args = 0,
    .max_args = 1,
    .summary = "write an experiment as a bundle for an appendix, or a table of a quantizer's state as .npy",
    .details = "With an EXPERIMENT: a folder with its spec, its part of the store, results as CSV and Markdown, pictures, the "
               "command lines, and a manifest with versions, machines and the sha256 of each file. That of the manifest, which is "
               "printed, stands for all of it. `kvant import FOLDER` verifies it. All cells must be finished; the folder is there "
               "whole "
               "or not at all.\n\n"
               "Without: a table of a quantizer's state. float32. A rotation is R [dim][dim] with y = R x, which for a vector x in "
               "Python is R @ x; that of rotation=hadamard comes as such a\nmatrix too, or as its signs [dim]: R = H diag(signs) / "
               "sqrt(dim). A sketch is S [m][dim], whose signs are those "
               "of S y. A\ncodebook is [2^bits], ascending, in the scale of the coordinates that it codes.",
    .example = "# the demo as an appendix\nkvant export demo --dir demo-bundle\n"
               "# what there is, and the rotation of seed 7\n"
               "kvant export --quantizer turboquant_mse:bits=3 --dim 128\n"
               "kvant export --quantizer turboquant_mse:bits=3 --dim 128 --seed 7 --part rotation --out rotation.npy",
    .options = options,
    .run = run,
};
