#!/bin/sh
# A run that is killed with SIGKILL at a random moment and resumed stores the same as an undisturbed one, bit for bit.
# Usage: kill.sh [TRIALS]; half of the trials on vectors, half on a model when KVANT_DATA has one.
. "$(dirname "$0")/lib.sh"
trials=${1:-12}
seed=${KILL_SEED:-$(date +%N | sed 's/^0*//')}
echo "KILL_SEED=$seed"

random() { # sets `moment` to 0...$1 - 1
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    moment=$((seed / 65536 * $1 / 32768))
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

try() { # name spec trials
    cp "$work/checked.db" "$work/$1.db"
    begin=$(milliseconds)
    check "$1_undisturbed" "$kvant" run "$2" --store "$work/$1.db"
    length=$(($(milliseconds) - begin))
    interrupted=0
    trial=1
    while [ $trial -le "$3" ]; do
        store=$work/$1.$trial.db
        # Some begin with nothing, so that the quantizers' checks are hit too.
        [ $((trial % 5)) = 0 ] || cp "$work/checked.db" "$store"
        random "$length"
        "$kvant" run "$2" --store "$store" > /dev/null 2>&1 &
        pid=$!
        sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
        kill -KILL $pid 2> /dev/null
        wait $pid 2> /dev/null
        [ $? = 137 ] && interrupted=$((interrupted + 1))
        if ! "$kvant" run "$2" --store "$store" > "$work/out" 2>&1; then
            failed "$1_killed_after_${moment}_ms" "the next run failed"
            tail -n 5 "$work/out"
        elif [ "$(same_results "$work/$1.db" "$store")" != 1 ]; then
            failed "$1_killed_after_${moment}_ms" "samples or measurements differ"
        elif [ "$(sqlite3 "$store" 'PRAGMA integrity_check')" != ok ]; then
            failed "$1_killed_after_${moment}_ms" "the store is damaged"
        else
            ok "$1_killed_after_${moment}_ms"
        fi
        rm -f "$store" "$store-wal" "$store-shm"
        trial=$((trial + 1))
    done
    # Most moments must have hit a running process, or nothing was tried.
    if [ $((2 * interrupted)) -ge "$3" ]; then ok "$1_was_interrupted"
    else failed "$1_was_interrupted" "only $interrupted of $3 runs were still running"; fi
}

checked_store "$work/checked.db"
vector_spec vectors > "$work/vectors.json"
model=$(find_model tok-smollm.gguf)
if [ -n "$model" ]; then
    make_text > "$work/text.txt"
    model_spec model "$model" "$work/text.txt" > "$work/model.json"
    try vectors "$work/vectors.json" $((trials / 2))
    try model "$work/model.json" $((trials - trials / 2))
else
    try vectors "$work/vectors.json" "$trials"
    skipped model "no conformance models in KVANT_DATA"
fi
finish
