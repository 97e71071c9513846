#!/bin/sh
# The README's quantizer, dropped into a copy of the tree as one file: it is built, listed, checked, run and plotted, and no other
# file is touched; an allocator is built and listed the same way.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
tree=$work/tree
mkdir -p "$tree"
if git rev-parse --git-dir > /dev/null 2>&1; then git ls-files -co --exclude-standard; else find . -type f ! -path './build/*'; fi |
    while read -r f; do [ ! -e "$f" ] || echo "$f"; done | tar -cf - -T - | tar -xf - -C "$tree"
# What is built already spares time; make decides what is stale.
mkdir -p "$tree/build"
cp -a build/release "$tree/build/"
cd "$tree" || exit 1
sums() { find . -type f ! -path './build/*' ! -path './results/*' ! -path ./kvant ! -path ./algorithms/sign.c ! -path ./algorithms/allocators/least.c -exec sha256sum {} + | sort -k 2; }
sums > "$work/before"

awk '/^```c$/ { inside = 1; next } /^```/ { inside = 0 } inside' README.md > algorithms/sign.c
cat > algorithms/allocators/least.c << 'C'
/* least - the smallest candidate for every group. */
#include "harness/allocation/allocator.h"

static kvant_status allocate(const allocation_problem *p, const kvant_args *args, uint32_t *choice, kvant_error *err)
{
    (void)args, (void)err;
    allocation_floor(p, choice);
    return KVANT_OK;
}

static const kvant_param params[] = { { .name = NULL } };

const kvant_allocator allocator_least = {
    .name = "least", .summary = "the smallest candidate", .source = "a test", .params = params, .allocate = allocate
};
C
cat > "$work/sign.json" << 'JSON'
{ "name": "signs", "probe": "distortion", "data": { "dataset": "synthetic", "distribution": "gaussian", "dim": 64, "n": 8192 },
  "vector": ["sign", { "quantizer": "affine", "bits": [2, 3, 4] }] }
JSON
MAKEFLAGS='' check builds make --no-print-directory -j "$(nproc)" MODE=release
check is_listed sh -c './kvant list | grep -w sign'
check allocator_is_listed sh -c './kvant list allocators | grep -q "^least: the smallest candidate"'
check meets_its_oracles ./kvant check sign --store "$work/sign.db"
check runs_in_a_spec ./kvant run "$work/sign.json" --store "$work/sign.db"
check is_reported sh -c "./kvant report signs --store '$work/sign.db' --format csv | grep -w sign"
nmse=$(sqlite3 "$work/sign.db" "SELECT value FROM result WHERE metric = 'nmse' AND label LIKE 'sign%'")
if awk -v x="$nmse" 'BEGIN { exit !(x > .35 && x < .365) }'; then ok is_measured_right; else failed is_measured_right "nmse '$nmse'"; fi
check is_plotted ./kvant plot distortion signs --store "$work/sign.db" --out "$work/sign.svg"
check is_in_the_picture grep -q 'sign' "$work/sign.svg"
sums > "$work/after"
if cmp -s "$work/before" "$work/after"; then ok no_other_file_is_touched
else failed no_other_file_is_touched "$(diff "$work/before" "$work/after")"; fi
finish
