#!/bin/sh
# `kvant check` holds every quantizer to its values, and the suite of distortions leaves none out.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit

check all_quantizers "$kvant" check --store "$work/checks.db"
tail -n 1 "$work/out"
[ "$n_failed" != 0 ] || cp "$work/checks.db" build/checked.db          # for the other scripts' checked_store
for q in $("$kvant" list | sed -n '/^quantizers$/,/^$/s/^\([a-z][a-z0-9_]*\)  .*/\1/p'); do
    rows=$(sqlite3 "$work/checks.db" "SELECT count(*) FROM \"check\" WHERE quantizer = '$q' AND name = 'oracle' AND verdict = 'pass'")
    if [ "$rows" -gt 0 ]; then ok "${q}_meets_$rows"; else failed "$q" "no oracle of it was met"; fi
    if grep -q "\"$q\"" experiments/suite.json; then ok "${q}_is_in_the_suite"; else failed "$q" "not in experiments/suite.json"; fi
done
check suite_plans "$kvant" plan experiments/suite.json --store "$work/none.db"
if grep -q 'skipped: 0$' "$work/out" "$work/err"; then ok suite_skips_nothing; else failed suite_skips_nothing "$(tail -n 1 "$work/err")"; fi
finish
