#!/bin/sh
# Writes the generated sources: the registries (from directory listings), the version (hashes of what can change a value)
# and files embedded as bytes. Usage: generate.sh registry|version|embed ... > file.c
set -eu
export LC_ALL=C

names() { for f in "$1"/*.c; do [ -e "$f" ] && basename "$f" .c; done | sort; }

list() { # type symbol-prefix function folder
    for n in $(names "$4"); do echo "extern const $1 $2_$n;"; done
    echo "const $1 *const *$3(void)"
    echo "{"
    printf '    static const %s *const all[] = { ' "$1"
    for n in $(names "$4"); do printf '&%s_%s, ' "$2" "$n"; done
    echo "NULL };"
    echo "    return all;"
    echo "}"
}

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

case "$1" in
quantizers)
    echo '#include "harness/kernels.h"'
    list kvant_quantizer quantizer kvant_quantizers algorithms
    kernels=$(for f in metal/x86/*_*.c metal/arm/*_*.c; do
        [ -e "$f" ] && grep -q '^const kvant_kernel kernel_' "$f" && basename "$f" .c
    done | sort)
    for n in $kernels; do echo "extern const kvant_kernel kernel_$n;"; done
    echo "const kvant_kernel *const *kvant_kernels(void)"
    echo "{"
    printf '    static const kvant_kernel *const all[] = { '
    for n in $kernels; do printf '&kernel_%s, ' "$n"; done
    echo "NULL };"
    echo "    return all;"
    echo "}"
    ;;
plugins)
    echo '#include "harness/allocation/allocator.h"'
    echo '#include "harness/cli.h"'
    echo '#include "harness/input/dataset.h"'
    echo '#include "harness/probe.h"'
    list kvant_allocator allocator kvant_allocators algorithms/allocators
    list kvant_dataset dataset kvant_datasets datasets
    list kvant_probe probe kvant_probes harness/probes
    list cli_command command cli_commands harness/commands
    ;;
version) # compiler flags
    echo '#include "harness/version.h"'
    echo '#include <stddef.h>'
    echo '#include <string.h>'
    commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    dirty=false
    [ "$commit" = unknown ] || [ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || dirty=true
    echo "const char *const version_commit = \"$commit\";"
    echo "const bool version_dirty = $dirty;"
    printf 'const char *const version_compiler = "%s";\n' "$2"
    printf 'const char *const version_flags = "%s";\n' "$3"
    echo "static const char *const parts[][2] = {"
    part() { p=$1; shift; echo "    { \"$p\", \"$(hash_of "$@")\" },"; }
    part contract harness/kvant.h harness/codec.c
    part algorithms/shared algorithms/shared/*.[ch]
    part harness/lm harness/lm/*.[ch] metal/x86/vecmath_*.c metal/x86/cpu.h
    part harness/check harness/check/*.[ch] harness/measure/fidelity.[ch] harness/measure/stats.c datasets/synthetic.c
    part harness/calibration harness/experiment/calibration.[ch] harness/experiment/captured.c
    for n in $(names algorithms); do part "algorithms/$n" "algorithms/$n.c"; done
    for n in $(names algorithms/allocators); do
        part "algorithms/allocators/$n" "algorithms/allocators/$n.c" harness/allocation/allocator.c
    done
    for n in $(names datasets); do part "datasets/$n" "datasets/$n.c"; done
    # A probe is its file, what all probes share, and the sources of the harness/*.h that it includes itself.
    for n in $(names harness/probes); do
        f=harness/probes/$n.c
        own=$(sed -n 's|^#include "\(harness/[a-z_/]*\)\.h"$|\1.c|p' "$f")
        part "harness/probes/$n" $(ls "$f" harness/probe.c harness/measure/stats.c $own 2>/dev/null | sort -u)
    done
    for f in metal/*/*_*.c; do
        [ -e "$f" ] && part "metal/$(basename "$f" .c)" "$f" metal/*/*.h metal/*/packed_*.c metal/*/groups_*.c
    done
    echo "};"
    cat <<'C'
const char *version_of(const char *part)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(parts[i][0], part))
            return parts[i][1];
    return NULL;
}
C
    ;;
embed) # symbol file
    echo "extern const char $2[];"
    echo "const char $2[] = {"
    od -An -v -tu1 "$3" | sed 's/ *\([0-9][0-9]*\)/\1,/g'
    echo "0};"
    ;;
esac
