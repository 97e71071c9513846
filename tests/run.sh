#!/bin/sh
# Runs test programs, TEST_JOBS at a time (default 1): prints what failed in full and why something was skipped, and counts.
# Usage: run.sh COUNTS LABEL PROGRAM...   adds lines "passed failed skipped" to the file COUNTS; status 1 when one failed or none ran
#        run.sh --total COUNTS            prints the closing line; status 1 when one failed or none passed
# A program says what it did in cmocka's words on stdout: "[       OK ]", "[  FAILED  ]" and "[  SKIPPED ]". One that ends
# early, crashes, runs out of time or says nothing at all counts as failed.
set -u
export LC_ALL=C

if [ "$1" = --total ]; then
    awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit !(p > 0 && f == 0) }' "$2"
    exit
fi

counts=$1 label=$2
shift 2
if [ $# -gt 1 ]; then
    printf '%s\0' "$@" | xargs -0 -n 1 -P "${TEST_JOBS:-1}" sh "$0" "$counts" "$label" && exit 0
    exit 1
fi

out=$(mktemp) err=$(mktemp) report=$(mktemp)
trap 'rm -f "$out" "$err" "$report"' EXIT
count() { grep -c "^\[ *$1 *\]" "$out"; }

# Sets passed, failed and skipped.
run_one() { # program
    program=$1
    name=$label/$(basename "$program")
    begin=$(date +%s)
    # shellcheck disable=SC2086
    timeout -k 10 "${TEST_LIMIT:-900}" ${TEST_WRAPPER:-} "$program" > "$out" 2> "$err"
    status=$?
    p=$(count OK) f=$(count FAILED) s=$(count SKIPPED)
    announced=$(awk '/^\[=+\] Running/ { n += $3 } END { print n + 0 }' "$out")
    why=
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then why="stopped after ${TEST_LIMIT:-900} s"
    elif [ "$announced" -gt $((p + f + s)) ]; then why="ended early, status $status"
    elif [ "$status" != 0 ] && [ "$f" = 0 ]; then why="status $status"
    elif [ $((p + f + s)) = 0 ]; then why="no test ran"
    fi
    [ -z "$why" ] || f=$((f + 1))
    printf '%-40s %3d passed %3d failed %3d skipped  %4d s\n' "$name" "$p" "$f" "$s" $(($(date +%s) - begin))
    if [ "$f" -gt 0 ]; then
        echo "---- $name${why:+: $why}"
        # Of the tests that passed only the names; of the others, and of what happened last, everything.
        awk '/^\[ *RUN/ { text = ""; open = 1 }
             { if (open) text = text $0 "\n"; else print }
             /^\[ *(OK|SKIPPED)/ { if (open) print; open = 0 }
             /^\[ *FAILED/ { if (open) printf "%s", text; open = 0 }
             END { if (open) printf "%s", text }' "$out"
        cat "$err"
        echo "----"
    elif [ "$s" -gt 0 ]; then
        # What a test printed before it skipped is the reason.
        awk '/^\[ *RUN/ { why = ""; next }
             /^\[ *SKIPPED/ { print "    skipped: " $NF (why == "" ? "" : " - " why); next }
             !/^\[/ && NF { why = why (why == "" ? "" : " ") $0 }' "$out"
    fi
    passed=$p failed=$f skipped=$s
}

# In one piece, since others may be writing.
passed=0 failed=0 skipped=0
[ $# = 0 ] || run_one "$1" > "$report"
cat "$report"
echo "$passed $failed $skipped" >> "$counts"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
