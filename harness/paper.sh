#!/bin/sh
# `make paper` and `make golden`: runs the specs of experiments/paper, their quick variants unless FULL is set. What is there is not
# measured again, so that a call that was stopped goes on; a table that fails does not keep the others from running.
set -u
mode=${1:-paper}
kvant=./kvant
golden=results/golden
store=${STORE:-results/kvant.db}

sh harness/deps.sh install build && "${MAKE:-make}" --no-print-directory -j "$(nproc)" MODE=release all || exit

# name variant experiment minutes state file, a line per variant to run: the quick one, or with FULL the other.
list() {
    given=
    [ ! -e "$store" ] || given="--store $store"
    $kvant paper $given --format csv > build/paper.csv
    [ $? -le 1 ] || return 2           # 1: a row is not met, which the end says
    tr -d '\r' < build/paper.csv | awk -F, -v full="${FULL:-}" -v golden="$([ "$mode" = golden ] && echo 1)" 'NR > 1 {
        name = $1; n[name]++; row[name, $2] = $1 " " $2 " " $3 " " ($4 == "" ? 0 : $4) " " state($14) " " $16
        gold[name] = $15; if (n[name] == 1) order[++k] = name }
        function state(s) { gsub(/ /, "_", s); return s }
        END { for (i = 1; i <= k; i++) { name = order[i]
            if (golden && gold[name] == "") continue
            want = (name, "quick") in row && !(full && !golden) ? "quick" : "full"
            print row[name, want] } }'
}

what=$(list) || exit 2
[ -n "$what" ] || { echo "There is no spec to run in experiments/paper."; exit 2; }
printf '%s\n' "$what" | awk '{ if ($5 == "finished") done++; else { minutes += $4; left++ } }
    END { printf "%d tables: %d finished, %d to run, " \
        "about %.1f minutes on two cores by what their specs say\n", NR, done, left, minutes }'

# Inputs that come by the manifest; a spec on others says itself how to get them.
$kvant fetch smollm2-135m jargon > /dev/null || echo "Inputs could not be fetched: tables on models fail."

failed=
while read -r name variant experiment minutes state file; do
    option=
    [ "$variant" != quick ] || option=--quick
    echo
    echo "== $experiment ($minutes minutes)"
    if $kvant run "$file" $option --store "$store" < /dev/null; then
        [ "$mode" = golden ] || $kvant report "$experiment" --store "$store" > "results/paper-$experiment.txt" ||
            failed="$failed $experiment"
    else
        status=$?
        [ "$status" != 130 ] || exit 130
        failed="$failed $experiment"
    fi
done << LIST
$what
LIST

echo
if [ "$mode" = golden ]; then
    [ -z "$failed" ] || { echo "Not run:$failed"; exit 1; }
    $kvant paper --store "$store" --golden "$golden" --write || exit
    git diff --stat -- "$golden" 2> /dev/null
    exit 0
fi
$kvant paper --store "$store"
echo "Rows: results/paper-EXPERIMENT.txt, or kvant report EXPERIMENT"
[ -z "$failed" ] || { echo "Not run, or with rows that are not met:$failed"; exit 1; }
