/* import.c - `kvant import`: puts another program's rotation, signs, sketch or codebook into a stored state, which `run` then uses.
 * Cells that use it say so in what identifies them: their results cannot be taken for those of the quantizer's own tables. */
#include "harness/options.h"

#include <stdio.h>
#include <stdlib.h>

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *path = cli_arg(c, 0), *part = cli_get(c, "part"), *folder = cli_get(c, "states");
    states_source sources[SOURCES_MAX];
    states *s = NULL;
    size_t n = 0;
    if (!part || !folder)
        return cli_usage(c, "--part NAME and --states FOLDER are needed");
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
    OPTION_SOURCE,
    { "part", "NAME", "the table: rotation, signs, sketch or codebook; `kvant export` shows what there is", false },
    { "states", "FOLDER", "the folder of states; it is made when it is not there", false },
    { NULL, NULL, NULL, false },
};

const cli_command command_import = {
    .name = "import",
    .arguments = "FILE.npy",
    .min_args = 1,
    .max_args = 1,
    .summary = "put a rotation, sketch or codebook from a .npy file into a stored state",
    .details = "The state is that of exactly this quantizer, dimension, seed and side; its other tables stay. `kvant run --states FOLDER` "
               "uses it\nwherever a cell has this codec, and the cell's identity names the file's sha256, so that it is another cell than "
               "without.\nA rotation must be orthogonal (R R^T = I within 1e-4), signs +1 or -1, a codebook ascending; all finite, in the "
               "shape that\n`kvant export` writes. Deleting the state file undoes it. Trained quantizers take no imports.",
    .example = "# a rotation from Python, for vectors of 128 dimensions, and a spec that uses it\n"
               "kvant import rotation.npy --quantizer turboquant_mse:bits=3 --dim 128 --part rotation --states states\n"
               "kvant run distortion.json --states states",
    .options = options,
    .run = run,
};
