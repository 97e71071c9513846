# lib.sh - what script tests share: verdicts in cmocka's words (tests/run.sh counts them), a scratch folder, the program.
# Sourced from tests/NAME.sh, which ends with `finish`.
set -u
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
kvant=$root/build/release/kvant
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_failed=0

ok() { echo "[       OK ] $1"; }
failed() { # name why...
    name=$1; shift
    echo "[  FAILED  ] $name"
    echo "    $*"
    n_failed=$((n_failed + 1))
}
skipped() { # name why...
    name=$1; shift
    echo "[ RUN      ] $name"
    echo "$*"
    echo "[  SKIPPED ] $name"
}
finish() { [ "$n_failed" = 0 ]; exit; }

# check NAME COMMAND...: the command succeeds.
check() {
    check_name=$1; shift
    if "$@" > "$work/out" 2> "$work/err"; then ok "$check_name"
    else failed "$check_name" "status $? of: $*"; tail -n 20 "$work/out" "$work/err"; fi
}

# refuses NAME STATUS PATTERN COMMAND...: ends with this status, nothing on stdout, and one line on stderr that matches.
refuses() {
    refuse_name=$1 wanted=$2 pattern=$3; shift 3
    "$@" > "$work/out" 2> "$work/err"
    status=$?
    if [ "$status" != "$wanted" ]; then failed "$refuse_name" "status $status instead of $wanted of: $*"
    elif [ -s "$work/out" ]; then failed "$refuse_name" "something on stdout of: $*"
    elif [ "$(wc -l < "$work/err")" != 1 ]; then failed "$refuse_name" "not one line on stderr of: $*"
    elif ! grep -Eq -- "$pattern" "$work/err"; then failed "$refuse_name" "'$pattern' is not in the line of: $*"
    else ok "$refuse_name"; return 0; fi
    head -n 20 "$work/out" "$work/err"
}

# find_model NAME: path of a conformance model under KVANT_DATA, or nothing.
find_model() {
    echo "${KVANT_DATA:-}" | tr ':' '\n' | while read -r folder; do
        [ -n "$folder" ] && [ -e "$folder/conformance/models/$1" ] && { echo "$folder/conformance/models/$1"; break; }
    done
}

# checked_store PATH: a new store in which every quantizer of this build has passed its checks, which no run then makes again.
# checks.sh leaves one in build/; without it, the quick checks make it.
checked_store() {
    if [ ! "$root/build/checked.db" -nt "$kvant" ]; then
        rm -f "$root/build/checked.db"
        "$kvant" check --quick --store "$work/checked.new" > /dev/null && mv "$work/checked.new" "$root/build/checked.db"
    fi
    cp "$root/build/checked.db" "$1"
}

# vector_spec NAME [KEYS]: a small experiment on vectors; model_spec NAME MODEL TEXT: one on a model.
vector_spec() {
    cat << JSON
{ "name": "$1", "probe": "distortion",
  "data": { "dataset": "synthetic", "distribution": ["gaussian", "sphere"], "dim": [64, 128], "n": 20000 },
  "vector": ["f16", { "quantizer": "affine", "bits": [2, 4] }, { "quantizer": "turboquant_mse", "bits": [2, 3], "rotation": "hadamard" }],
  "seed": [0, 1] ${2:-} }
JSON
}
model_spec() {
    cat << JSON
{ "name": "$1", "probe": "perplexity", "model": "$2", "data": "$3", "context": 96, "chunks": 3, "path": ["prefill", "decode"],
  "key": ["f16", { "quantizer": "affine", "bits": [3, 4] }, { "quantizer": "turboquant_mse", "bits": 3 }], "value": "same",
  "window": [0, 7], "seed": 3, "controls": false }
JSON
}

# A text long enough for model_spec, the same every time.
make_text() {
    awk 'BEGIN { s = 7; for (i = 0; i < 4000; i++) { s = (s * 1103 + 12345) % 65536;
        printf "%s%s", substr("the cat sat on a mat and saw ten old owls fly by", s % 40 + 1, s % 9 + 2), i % 12 ? " " : ".\n" } }'
}

# same_results A B: sample and result rows of non-timing metrics of two stores are there and equal, bit for bit.
same_results() {
    sqlite3 "$1" "ATTACH '$2' AS other;
CREATE TEMP VIEW s1 AS SELECT s.cell, s.unit, s.metric, s.chunk, s.idx, s.value, s.n FROM main.sample s
  JOIN main.cell c ON c.key = s.cell AND c.finished IS NOT NULL
  LEFT JOIN main.measurement m ON m.cell = s.cell AND m.metric = s.metric WHERE coalesce(m.timing, 0) = 0;
CREATE TEMP VIEW s2 AS SELECT s.cell, s.unit, s.metric, s.chunk, s.idx, s.value, s.n FROM other.sample s
  JOIN other.cell c ON c.key = s.cell AND c.finished IS NOT NULL
  LEFT JOIN other.measurement m ON m.cell = s.cell AND m.metric = s.metric WHERE coalesce(m.timing, 0) = 0;
CREATE TEMP VIEW m1 AS SELECT cell, metric, unit, value, n, se, lo, hi FROM main.measurement WHERE timing = 0;
CREATE TEMP VIEW m2 AS SELECT cell, metric, unit, value, n, se, lo, hi FROM other.measurement WHERE timing = 0;
SELECT (SELECT count(*) FROM s1) > 0 AND (SELECT count(*) FROM m1) > 0
  AND (SELECT count(*) FROM s1) = (SELECT count(*) FROM s2) AND (SELECT count(*) FROM m1) = (SELECT count(*) FROM m2)
  AND NOT EXISTS (SELECT * FROM s1 EXCEPT SELECT * FROM s2) AND NOT EXISTS (SELECT * FROM m1 EXCEPT SELECT * FROM m2);"
}
