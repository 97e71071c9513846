/* merge.c - `kvant merge`: joins stores, as the shards of a sweep leave them on the machines of a cluster.
 * Each is taken over whole or not at all. */
#include "harness/cli.h"
#include "harness/store/store.h"

#include <inttypes.h>
#include <stdio.h>

static const cli_option options[] = {
    { "into", "STORE", "the store that takes the others; made if it is not there", false },
    { NULL, NULL, NULL, false },
};

static int run(const cli *c)
{
    if (!cli_get(c, "into"))
        return cli_usage(c, "--into=STORE is missing");
    kvant_error err = { "" };
    store *s;
    kvant_status status = store_open(cli_get(c, "into"), STORE_WRITE, &s, &err);
    for (int i = 0; status == KVANT_OK && i < cli_n_args(c); i++) {
        uint64_t cells;
        status = store_merge(s, cli_arg(c, i), &cells, &err);
        if (status == KVANT_OK)
            fprintf(stderr, "%s: %" PRIu64 " cells taken over\n", cli_arg(c, i), cells);
    }
    store_close(s);
    return status == KVANT_OK ? EXIT_DONE : cli_fail(c, status, &err);
}

const cli_command command_merge = {
    .name = "merge", .arguments = "STORE...", .min_args = 1, .max_args = -1,
    .summary = "join stores into one",
    .details = "Takes over experiments, runs, cells, skips and checks. A cell that both stores have stays as it is, unless it is "
               "finished in the other one alone. Merging a store again changes nothing.",
    .example = "# two shards of a sweep\nkvant merge shard1.db shard2.db --into results/kvant.db", .options = options, .run = run,
};
