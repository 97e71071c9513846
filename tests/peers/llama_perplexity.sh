#!/bin/sh
# Side by side with llama.cpp's llama-perplexity: one f16 reference pass and eight candidate caches over the same chunks of a text.
# No test stage runs it, and nothing depends on it: it builds the peer from a source package, which takes long.
#
#   tests/peers/llama_perplexity.sh [--rounds N] [--chunks N] [--threads N] [--batch N] [--model GGUF] [--text FILE] [--folder DIR]
#   tests/peers/llama_perplexity.sh --build-only [--folder DIR] [--jobs N]
#
# The peer comes from the source package llama-cpp-python, by pip, and is built with cmake for this CPU (Release, native) in
# build/peers, once. It reads the model dequantised to f32 by its own llama-quantize, so that it rounds no activation, as we do not; we
# read the original, whose weights are the same once they are f32. Model and text are smollm2-135m and wikitext-2 unless they are named
# (`kvant fetch`).
#
# One pass runs the model over all chunks of 512 tokens with one kind of cache, takes the logits of the second halves, and compares them
# with the reference's. A round is, for the peer, nine processes: a pass that writes the reference's log-probabilities
# (--kl-divergence-base) and eight that read them (--kl-divergence), keys and values in one cache type each, with flash attention, which
# coded values need there. For us it is one `kvant run` of `divergence` over eight quantizers after Hadamard: the reference once, eight
# candidates, and our control, f16 again, which counts as a pass because it is one. Rounds are interleaved, and every other one begins with us.
#
# Printed for both: tokens per second and pass, over what a user waits for (every process from start to end, loading included) and over
# the passes alone (the peer's "total time", which begins after loading and warming up, less its tokenizing; our time less loading,
# planning and the quantizers' checks), medians over rounds; their ratios; and the most memory that any process took. The perplexity of
# the reference must agree within 0.5 %, or the two did not measure the same, and the script fails.
set -eu
export LC_ALL=C
root=$(cd "$(dirname "$0")/../.." && pwd)
rounds=3 chunks=8 threads=$(nproc) batch=512 jobs=$(nproc) model= text= folder=$root/build/peers build_only=

. "$root/tests/peers/common.sh"
while [ $# -gt 0 ]; do
    case $1 in
    --build-only) build_only=yes; shift; continue ;;
    --rounds | --chunks | --threads | --batch | --jobs) whole "$1" "${2:-}" ;;
    --model | --text | --folder) [ -n "${2:-}" ] || die "$1: a path is missing" ;;
    *) die "$1: not an option; the head of this script says which there are" ;;
    esac
    case $1 in
    --rounds) rounds=$2 ;; --chunks) chunks=$2 ;; --threads) threads=$2 ;; --batch) batch=$2 ;; --jobs) jobs=$2 ;;
    --model) model=$2 ;; --text) text=$2 ;; --folder) folder=$2 ;;
    esac
    shift 2
done
case $((batch % 512)) in 0) ;; *) [ $batch -lt 512 ] || die "--batch $batch: above 512 it must be a multiple of 512" ;; esac
[ "$chunks" -ge 2 ] || die "--chunks $chunks: the peer wants two at least"

# ---- The peer ---------------------------------------------------------------------------------------
make_folder
bin=$folder/llama.cpp/bin
build_llama llama-perplexity llama-quantize
[ -z "$build_only" ] || exit 0

# ---- What both run on ---------------------------------------------------------------------------------
timer=/usr/bin/time
kvant=$root/build/release/kvant
[ -x $timer ] || die "$timer is needed to see peak memory; install the package time"
[ -x "$kvant" ] || die "$kvant is missing; say make"
model=${model:-$("$kvant" fetch smollm2-135m)}
text=${text:-$("$kvant" fetch wikitext-2)}
[ -r "$model" ] && [ -r "$text" ] || die "cannot read the model '$model' or the text '$text'"
f32=$folder/$(basename "$model" .gguf)-f32.gguf
if [ ! -e "$f32" ]; then
    "$bin/llama-quantize" --allow-requantize "$model" "$f32.part" F32 "$threads" > "$folder/quantize.log" 2>&1 ||
        die "llama-quantize failed; see $folder/quantize.log"
    mv "$f32.part" "$f32"
fi
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# As much text as the chunks need, to its last whole line, so that neither spends its time on tokenizing the rest.
head -c $((chunks * 512 * 8)) "$text" | sed '$d' > "$work/text.txt"
export OMP_NUM_THREADS="$threads"

cat > "$work/spec.json" << JSON
{ "name": "peer", "probe": "divergence", "model": "$model", "data": "$work/text.txt", "context": 512, "chunks": $chunks, "controls": false,
  "batch": $((batch < 512 ? batch : 512)),
  "key": [ { "quantizer": "q4_0", "rotation": "hadamard" }, { "quantizer": "q5_0", "rotation": "hadamard" },
           { "quantizer": "q8_0", "rotation": "hadamard" }, { "quantizer": "affine", "rotation": "hadamard", "bits": [3, 4] },
           { "quantizer": "turboquant_mse", "rotation": "hadamard", "bits": [2, 3, 4] } ], "value": "same" }
JSON
caches="q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl bf16 f16"

# field FILE PATTERN: the number behind "= " in the last line that matches.
field() { awk -v pattern="$2" '$0 ~ pattern { sub(/.*= */, ""); value = $1 } END { if (value == "") exit 1; print value }' "$1"; }

# timed NAME COMMAND...: its seconds and KiB to $work/NAME.time, its output to $work/NAME.log.
timed() {
    name=$1; shift
    "$timer" -o "$work/$name.time" -f '%e %M' "$@" > "$work/$name.log" 2>&1 || { tail -n 20 "$work/$name.log" >&2; die "failed: $*"; }
}

# Appends "PASS seconds_whole seconds_pass KiB" to peer.txt.
peer_pass() { # pass options...
    pass=$1; shift
    timed peer "$bin/llama-perplexity" -m "$f32" -f "$work/text.txt" -c 512 -b "$batch" -ub 512 --chunks "$chunks" -t "$threads" -ngl 0 -lv 4 \
        -fa on "$@"
    total=$(field "$work/peer.log" 'total time *=') || die "the peer prints no total time; see its log: $(tail -n 5 "$work/peer.log")"
    tokenizing=$(awk '/tokenization took/ { print $(NF - 1) }' "$work/peer.log")
    read -r seconds kib < "$work/peer.time"
    awk -v p="$pass" -v s="$seconds" -v t="$total" -v k="${tokenizing:-0}" -v m="$kib" \
        'BEGIN { printf "%s %.3f %.3f %d\n", p, s, (t - k) / 1000, m }' >> "$work/peer.txt"
}
peer_round() {
    peer_pass reference --kl-divergence-base "$work/base.bin"
    sed -n 's/^Final estimate: PPL = \([0-9.]*\).*/\1/p;s/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' "$work/peer.log" | head -n 1 > "$work/peer.ppl"
    for cache in $caches; do
        peer_pass "$cache" --kl-divergence-base "$work/base.bin" --kl-divergence -ctk "$cache" -ctv "$cache"
    done
    rm -f "$work/base.bin"
}

# Appends "seconds_whole seconds_passes passes KiB" to ours.txt; the store begins with the quantizers' checks and nothing else.
our_round() {
    cp "$work/checked.db" "$work/ours.db"
    timed ours "$kvant" run "$work/spec.json" --store "$work/ours.db" --threads "$threads"
    read -r seconds kib < "$work/ours.time"
    awk -v s="$seconds" -v m="$kib" -v c="$chunks" '
        /^time / { total = $2 }
        /^  (model: load|quantizers: checks|harness: spec|harness: plan)/ { for (i = 1; i < NF; i++) if ($(i + 1) == "s") { total -= $i; break } }
        /^passes/ { for (i = 1; i < NF; i++) if ($(i + 1) ~ /^(reference|control|candidate)/) n += $i }
        END { if (!n) exit 1; printf "%.3f %.3f %d %d\n", s, total, n / c, m }' "$work/ours.log" >> "$work/ours.txt" ||
        die "kvant run counts no passes: $(tail -n 3 "$work/ours.log")"
}

"$kvant" run "$work/spec.json" --store "$work/checked.db" --threads "$threads" --set chunks=1 > /dev/null 2>&1 || die "kvant run failed"
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    if [ $((round % 2)) = 1 ]; then peer_round; our_round; else our_round; peer_round; fi
done

# ---- What came out ------------------------------------------------------------------------------------
# Quoted fields are left out: they hold commas.
our_ppl=$("$kvant" report peer --store "$work/ours.db" --format csv --metric perplexity | sed 's/"[^"]*"//g' |
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next } $column["reference"] == 1 { print $column["value"]; exit }')
peer_ppl=$(cat "$work/peer.ppl")
sysname=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
echo "$sysname, $(nproc --all) cores; $threads threads, $chunks chunks of 512 tokens, $rounds rounds"
awk -v chunks="$chunks" -v order="reference $caches" '
    function median(x, n,   i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && x[j] < x[j - 1]; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
        return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
    }
    FILENAME ~ /peer.txt$/ { n[$1]++; whole[$1, n[$1]] = $2; pass[$1, n[$1]] = $3; round = n[$1]; waits[round] += $2; runs[round] += $3
                        if ($4 > peak) peak = $4; next }
    { rounds++; our_waits[rounds] = $1 / $3; our_runs[rounds] = $2 / $3; passes = $3; if ($4 > our_peak) our_peak = $4 }
    END {
        tokens = chunks * 512
        printf "%-28s %16s %16s %12s\n", "tokens/s of a pass", "as waited for", "passes alone", "peak MiB"
        names = split(order, name, " ")
        for (i = 1; i <= names; i++) {
            for (r = 1; r <= n[name[i]]; r++) { a[r] = whole[name[i], r]; b[r] = pass[name[i], r] }
            printf "  peer, %-20s %16.1f %16.1f\n", name[i], tokens / median(a, r - 1), tokens / median(b, r - 1)
        }
        for (r = 1; r <= rounds; r++) { waits[r] /= names; runs[r] /= names }
        pw = median(waits, rounds); pr = median(runs, rounds); ow = median(our_waits, rounds); or = median(our_runs, rounds)
        printf "%-28s %16.1f %16.1f %12.0f\n", "peer, all " names " passes", tokens / pw, tokens / pr, peak / 1024
        printf "%-28s %16.1f %16.1f %12.0f\n", "kvant, all " passes " passes", tokens / ow, tokens / or, our_peak / 1024
        printf "%-28s %16.3f %16.3f %12.3f\n", "kvant / peer", pw / ow, pr / or, our_peak / peak
    }' "$work/peer.txt" "$work/ours.txt"
echo "perplexity with an f16 cache: peer $peer_ppl, kvant $our_ppl"
awk -v a="$peer_ppl" -v b="$our_ppl" 'BEGIN { exit !(a > 0 && b > 0 && (a / b - 1) ^ 2 <= .005 ^ 2) }' ||
    die "the perplexities differ by more than 0.5 %: the two did not measure the same"
sed -n '/^time /,$p' "$work/ours.log"
