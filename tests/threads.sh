#!/bin/sh
# Results do not depend on the number of threads: 1, 2 and 4 threads give the same samples and measurements, bit for bit.
. "$(dirname "$0")/lib.sh"

compare() { # name spec
    for n in 1 2 4; do
        checked_store "$work/$1.$n.db"
        check "$1_runs_with_$n" "$kvant" run "$2" --store "$work/$1.$n.db" --threads $n
    done
    for n in 2 4; do
        if [ "$(same_results "$work/$1.1.db" "$work/$1.$n.db")" = 1 ]; then ok "$1_1_equals_$n"
        else failed "$1_1_equals_$n" "samples or measurements differ"; fi
    done
}

vector_spec vectors > "$work/vectors.json"
compare vectors "$work/vectors.json"
model=$(find_model tok-smollm.gguf)
if [ -n "$model" ]; then
    make_text > "$work/text.txt"
    model_spec model "$model" "$work/text.txt" > "$work/model.json"
    compare model "$work/model.json"
else
    skipped model "no conformance models in KVANT_DATA"
fi
finish
