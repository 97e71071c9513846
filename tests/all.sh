#!/bin/sh
# Builds and runs the tests, stage by stage, and ends with the plain counts. Usage: all.sh check|test|fuzz (by the Makefile).
# A stage that does not build counts as one failure; later stages still run.
set -u
MAKE=${MAKE:-make}
jobs=$(nproc)
mkdir -p build
counts=build/counts.$1
: > "$counts"

build() { # mode target...
    mode=$1; shift
    log=build/$mode.log
    echo "== building: $mode"
    if ! $MAKE --no-print-directory -j "$jobs" MODE="$mode" "$@" > "$log" 2>&1; then
        echo "---- $mode does not build:"
        grep -E -A 5 'error: |undefined reference|\*\*\*' "$log" | head -n 60
        echo "0 1 0" >> "$counts"
        return 1
    fi
}

# What takes longest stays out of `make check`, and out of the sanitizers what they slow down most and other tests reach too.
SLOW='checkkernels|test_conformance|test_run|test_states_run|test_oracles|test_planted|test_probes_model|test_weights|test_weights_choice'
HUGE='test_conformance|test_planted'
# What the sanitizers make the slowest of all, and other tests run under them too: quantizers, attention in models, states in the
# fuzzer, streamed weights in the test of architectures. Kernels stand between guard pages instead.
LONG='checkkernels|test_oracles|test_attention|test_decode_reads|test_states|test_weights|test_weights_choice'
# Tests of code without threads tell the thread sanitizer nothing; whole runs take it minutes, and their parts have tests of their own.
SEQUENTIAL='test_allocation|test_allocators|test_allocators_defined|test_angle_densities|test_attended|test_budget|test_bundle|
test_chat|test_cli|test_codec|test_compare|test_compare_stores|test_controls|test_dataset|test_dequant|test_e8|test_fetch|
test_fetch_parts|test_formats|test_formula|test_gguf|test_haystack|test_input|test_npy|test_outliers|test_pairs|test_paper|
test_plan|test_plan_allocation|test_plan_policy|test_plot|test_plot_maps|test_plot_widths|test_pretokenize|test_properties|
test_quantizers|test_report|test_report_floor|test_report_formats|test_report_html|test_run|test_sketched|test_spec|
test_spec_variant|test_stats|test_stats_paired|test_stats_rank|test_store|test_sysinfo|test_tokenizer_refs|test_trained|test_types|
test_util|test_variant|test_vecmath|test_views'
# What each sanitizer leaves out. The probe of test_divergence runs in test_controls, too, and what threads share in test_policies runs
# in test_models, test_perplexity and test_decode_reads_run.
OF_ADDRESSES="$HUGE|$LONG|test_divergence"
IN_THREADS=$(echo "$HUGE|$LONG|$SEQUENTIAL|test_policies" | tr -d '\n')

# Programs of a mode, but for those that the pattern names; first those that take longest, beside which the others run.
programs() { # mode pattern-to-leave-out
    for n in checkkernels test_planted test_weights_choice test_run $(basename -s .c tests/test_*.c); do
        echo "$n" | grep -Eqx "$2" || echo "build/$1/tests/$n"
    done | awk '!seen[$0]++'
}

# Programs of a stage run side by side, so their threads must not spin while they wait for each other.
stage() { # label programs...
    label=$1; shift
    OMP_WAIT_POLICY=passive TEST_JOBS=$jobs sh tests/run.sh "$counts" "$label" "$@"
}

# The thread sanitizer knows OpenMP only through Archer, and its memory map does not suit every kernel's randomisation.
thread_stage() {
    archer=$(ls /usr/lib/llvm-*/lib/libarcher.so 2> /dev/null | head -n 1)
    if [ -z "$archer" ]; then
        echo "---- libarcher.so (libomp-dev) is missing: no thread sanitizer"
        echo "0 1 0" >> "$counts"
        return
    fi
    wrapper=
    setarch "$(uname -m)" -R true 2> /dev/null && wrapper="setarch $(uname -m) -R"
    OMP_TOOL_LIBRARIES=$archer OMP_NUM_THREADS=4 TEST_WRAPPER=$wrapper \
        TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 exitcode=66 second_deadlock_stack=1" \
        stage tsan tests/tsan_control.sh $(programs tsan "$IN_THREADS")
}

# New inputs go to build/, after those of tests/corpus/ were tried.
fuzz_one() { # name seconds
    n=$1
    mkdir -p "build/corpus/$n"
    log=build/$n.log
    seeds=tests/corpus/${n#fuzz_}
    [ -d "$seeds" ] || seeds=
    if "build/asan/tests/$n" -max_total_time="$2" -timeout=20 -rss_limit_mb=4096 -artifact_prefix=build/ \
        "build/corpus/$n" $seeds > "$log" 2>&1; then
        printf '%-40s %s\n' "fuzz/$n" "$(grep -E '^Done' "$log" | tail -n 1)"
        echo "1 0 0" >> "$counts"
    else
        echo "---- fuzz/$n failed; the input lies in build/:"
        tail -n 40 "$log"
        echo "0 1 0" >> "$counts"
    fi
}

# Fuzzers have one thread each: as many at a time as there are cores.
fuzz_stage() { # seconds
    running=0
    for f in tests/fuzz_*.c; do
        fuzz_one "$(basename "$f" .c)" "$1" &
        running=$((running + 1))
        [ $((running % jobs)) -ne 0 ] || wait
    done
    wait
}

case "$1" in
check)
    build release tests kvant && stage gcc $(programs release "$SLOW")
    ;;
test)
    build release tests kvant && stage gcc $(programs release none)
    # Optimised by another compiler: kernels, beside what follows; the sanitizers' builds and codes.sh are by that compiler, too.
    if build clang build/clang/tests/checkkernels; then stage clang build/clang/tests/checkkernels & fi
    # Of the sanitizers' modes no more is built than runs.
    if build asan $(programs asan "$OF_ADDRESSES") fuzzers; then
        stage asan $(programs asan "$OF_ADDRESSES")
        fuzz_stage "${FUZZ_SECONDS:-5}"
    fi
    wait
    build tsan $(programs tsan "$IN_THREADS") && thread_stage
    # One after another: they build, and what they run has a thread for each core.
    sh tests/run.sh "$counts" scripts tests/runner.sh tests/checks.sh tests/cli.sh tests/tables.sh tests/golden.sh tests/codes.sh \
        tests/threads.sh tests/kill.sh tests/install.sh tests/plugin.sh
    ;;
fuzz)
    build asan fuzzers && fuzz_stage "${FUZZ_SECONDS:-60}"
    ;;
esac
sh tests/run.sh --total "$counts"
