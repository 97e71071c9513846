/* version.c - `kvant version`: what this program was built from and what it runs on; all that a report of a fault should say.
 * The same facts go with every run into the store. */
#include "harness/cli.h"
#include "harness/kernels.h"
#include "harness/sysinfo.h"
#include "harness/version.h"

enum { USUAL_DIM = 128 };

static bool usable(const kvant_kernel *k, kvant_side side)
{
    const kvant_shape shape = { .dim = USUAL_DIM, .side = side };
    const kvant_quantizer *quantizer = kvant_find(k->quantizer, NULL);
    kvant_codec codec;
    return quantizer && !kvant_describe(quantizer, &shape, NULL, k->target, &codec, NULL);
}

static void print_kernels(void)
{
    for (const kvant_kernel *const *k = kvant_kernels(); *k; k++) {
        const bool keys = usable(*k, KVANT_KEY), values = usable(*k, KVANT_VALUE);
        printf("%-10s  %s for %s: %s\n", "kernel", (*k)->target, (*k)->quantizer,
               keys && values ? "usable" : keys ? "usable for keys" : values ? "usable for values" : "not usable here");
    }
}

static int run(const cli *c)
{
    (void)c;
    char cpu[128];
    text libraries = { 0 };
    sysinfo_cpu(cpu);
    sysinfo_libraries(&libraries);
    printf("%-10s  %s\n", "kvant", kvant_version());
    printf("%-10s  %s%s\n", "commit", version_commit, version_dirty ? ", with changes" : "");
    printf("%-10s  %s\n", "compiler", version_compiler);
    printf("%-10s  %s\n", "flags", version_flags);
    printf("%-10s  %s\n", "libraries", libraries.data ? libraries.data : "");
    printf("%-10s  %s, %d cores\n", "processor", cpu, sysinfo_cores());
    print_kernels();
    text_free(&libraries);
    return EXIT_DONE;
}

const cli_command command_version = {
    .name = "version", .arguments = "",
    .summary = "print version, build, libraries, processor and kernels",
    .details = "Kernels are asked whether they are usable on this processor, for keys and values of 128 coordinates and default "
               "parameters.",
    .example = "# for a report of a fault\nkvant version", .run = run,
};
