#!/bin/sh
# The same states, codes and decoded vectors, bit for bit, under gcc and clang, with optimisation and without.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit

for mode in release debug clang clang-debug; do
    check "builds_$mode" ${MAKE:-make} --no-print-directory -j 2 MODE=$mode "build/$mode/tests/codes"
    check "runs_$mode" "build/$mode/tests/codes"
    cp "$work/out" "$work/$mode"
done
lines=$(wc -l < "$work/release")
if [ "$lines" -gt 300 ]; then ok "codes_of_${lines}_variants"; else failed codes "only $lines variants"; fi
for mode in debug clang clang-debug; do
    if cmp -s "$work/release" "$work/$mode"; then ok "release_equals_$mode"
    else
        failed "release_equals_$mode" "these differ (state, codes, decoded, scores, mixes):"
        diff "$work/release" "$work/$mode" | head -n 20
    fi
done
finish
