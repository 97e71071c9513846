/* import.c - `kvant import`: verifies a bundle and takes its experiment into the store; or puts another program's rotation, signs,
 * sketch or codebook into a stored state, which `run` then uses. Cells that use it say so in what identifies them: their results
 * cannot be taken for those of the quantizer's own tables. */
#include "harness/bundle/bundle.h"
#include "harness/experiment/experiment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int import_bundle(const cli *c, const char *folder)
{
    static const char *const others[] = { "quantizer", "dim", "seed", "side", "model", "part", "states" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_get(c, others[i]))
            return cli_usage(c, "--%s is of a .npy file, and %.200s is a folder", others[i], folder);
    if (cli_get(c, "verify") && cli_get(c, "store"))
        return cli_usage(c, "--verify takes nothing into a store: leave out --store");
    kvant_error err = { "" };
    bundle_info info;
    const char *into = cli_get(c, "verify") ? NULL : cli_get(c, "store") ? cli_get(c, "store") : DEFAULT_STORE;
    kvant_status status = bundle_read(folder, into, &info, &err);
    if (status)
        return cli_fail(c, status, &err);
    printf("%s %s\n", info.experiment, info.hash);
    fprintf(stderr, "verified: %zu files, %" PRIu64 " bytes\n", info.files, info.bytes);
    if (into)
        fprintf(stderr, "%s: %" PRIu64 " cells taken over; see them by: kvant report %s --store %s\n", into, info.cells,
                info.experiment, into);
    return cli_finish(EXIT_DONE);
}

static int run(const cli *c)
{
    struct stat what;
    if (stat(cli_arg(c, 0), &what) == 0 && S_ISDIR(what.st_mode))
        return import_bundle(c, cli_arg(c, 0));
    if (cli_get(c, "verify") || cli_get(c, "store"))
        return cli_usage(c, "%.200s is no folder: --store and --verify are of a bundle's folder", cli_arg(c, 0));
    kvant_error err = { "" };
    const char *path = cli_arg(c, 0), *part = cli_get(c, "part"), *folder = cli_get(c, "states");
    states_source sources[SOURCES_MAX];
    states *s = NULL;
    size_t n = 0;
    if (!part || !folder)
        return cli_usage(c, "--part NAME and --states FOLDER are needed for a .npy file; a bundle is a folder");
    kvant_status status = option_sources(c, sources, &n, &err);
    if (!status)
        status = states_open(folder, STATES_WRITE, &s, &err);
    for (size_t i = 0; i < n && !status; i++)
        status = states_import(s, &sources[i], part, path, &err);
    for (size_t i = 0; i < n && !status; i++) {
        char *origin;
        status = states_imported(s, &sources[i], &origin, &err);
        if (!status)
            printf("%s\n", origin);
        free(origin);
    }
    states_close(s);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    { "store", "FILE", "the store that takes the bundle's experiment (default " DEFAULT_STORE ")", false },
    { "verify", NULL, "verify the bundle, and take nothing over", false },
    OPTION_SOURCE,
    { "part", "NAME", "the table: rotation, signs, sketch or codebook; `kvant export` shows what there is", false },
    { "states", "FOLDER", "the folder of states; it is made when it is not there", false },
    { NULL, NULL, NULL, false },
};

const cli_command command_import = {
    .name = "import",
    .arguments = "FOLDER|FILE.npy",
    .min_args = 1,
    .max_args = 1,
    .summary = "verify a bundle and take its experiment over, or put a table from a .npy file into a stored state",
    .details = "A FOLDER is a bundle of `kvant export`: every file must be there with the manifest's sha256, and nothing else; its "
               "store must be one of this program's schema and hold that experiment alone, each cell what its key says. Then its "
               "results are merged into the store. What it prints, the experiment and the manifest's sha256, is to be compared with "
               "what its "
               "author says. The exit status is 1 when something is not as it was written.\n\nFrom a .npy file: the state is that of "
               "exactly this "
               "quantizer, dimension, seed and side; its other tables stay. `kvant run --states FOLDER` uses it\nwherever a cell has "
               "this codec, and the cell's identity names the file's sha256, so that it is another cell than "
               "without.\nA rotation must be orthogonal (R R^T = I within 1e-4), signs +1 or -1, a codebook ascending; all finite, in "
               "the shape that\n`kvant export` writes. Deleting the state file undoes it. Trained quantizers take no imports.",
    .example = "# a bundle from an appendix, first alone\nkvant import demo-bundle --verify\n"
               "kvant import demo-bundle --store theirs.db\n"
               "# a rotation from Python, for vectors of 128 dimensions, and a spec that uses it\n"
               "kvant import rotation.npy --quantizer turboquant_mse:bits=3 --dim 128 --part rotation --states states\n"
               "kvant run distortion.json --states states",
    .options = options,
    .run = run,
};
