#!/bin/sh
# Our kernels side by side with other libraries': encoding, a scan for the 10 best, decode attention, a model's decode at a depth.
# No test stage runs it, and nothing depends on it: peers are packages that it installs for itself, and one that it builds.
#
#   tests/peers/kernels.sh [encode] [scan] [attention] [model] [OPTION...]       (no section: all)
#     --quick               small shapes and 3 repeats: does everything run? Its figures are not results
#     --repeats N           interleaved repeats, medians of which are printed (default 7)
#     --threads LIST        default 1,2; the model runs with the most of them
#     --dims LIST           encode: coordinates of a vector (default 64,128,256)
#     --vectors N           encode, scan (default 65536)
#     --depth N, --heads N  attention: tokens in the cache, KV heads (default 16384, 32: all caches exceed most last-level caches)
#     --depths LIST         model: tokens in the cache (default 4096,7936)
#     --steps N             model: decode steps of a timing (default 32)
#     --model GGUF, --data TEXT   default smollm2-135m and jargon
#     --weights FORM        how we hold the model's weights, as in a spec (default auto)
#     --isa TARGET          our kernels, of all sections but the model (default auto)
#     --only REGEX          peers to compare with, e.g. 'turbovec|SQ4'
#     --csv FILE            default FOLDER/kernels.csv: the table, with the best and all values
#     --folder DIR          where peers are built and vectors lie (default build/peers); what is there is used again
#     --keep                keep the Python packages there: else those that this run installed are removed at its end
#     --build-only          build and install all, with --keep, and stop
#     --jobs N              of the build
#
# Needed: our `make`, python3 with venv and pip; for attention and model also cmake, a C++ compiler and some ten minutes once.
# Peers: faiss-cpu, turbovec and rabitqlib by pip, in an environment of their own, and ggml and llama-bench, built for this CPU from
# the source package llama-cpp-python. All are single processes that time themselves, asked in turn, forwards and backwards; one that
# is not being asked sleeps. Ours are tests/bench_codec.c through the public interface, and `kvant run` of the probe throughput.
#
#   encode      n vectors on the unit sphere to codes, GB/s of f32; index_peer.py says where each library's encoding begins and ends
#   scan        the 10 vectors of the greatest inner product, queries prepared anew each time, ms; bytes are those of a vector;
#               recall@1@10 is the share of 1024 queries whose nearest vector is among the 10, @1 that where it comes first
#   attention   ggml_flash_attn_ext of one token against our attention_decode, ms: f16, q8_0 and q4_0 caches, as llama.cpp lays them
#               out (each token with all its heads) and head by head, against our packed cache and ours of the same type. Errors are
#               relative distances of outputs from attention in double over vectors that were not coded. Ours also appends the token
#   model       llama-bench (-fa 1) against ours at the same depth of the same file, tokens/s. llama-bench fills a cache once and is
#               stopped between repeats; ours loads and fills anew each time, which is not in its figure
#
# The exit status is 1 when something did not run, or what was timed is not the same thing: codes that decode to something else,
# nearest vectors that are not found, an output that is not attention's.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/common.sh"
sections= folder=$root/build/peers csv= jobs=$(nproc) keep= build_only= quick=
model=smollm2-135m data=jargon weights=auto isa=auto only=.
repeats= threads= dims= vectors= depth= heads= depths= steps=

list() { case $2 in '' | *[!0-9,]* | *,,* | ,* | *,) die "$1: must be whole numbers, separated by commas" ;; esac; }
while [ $# -gt 0 ]; do
    case $1 in
    encode | scan | attention | model) sections="$sections $1"; shift; continue ;;
    --quick) quick=yes; shift; continue ;;
    --keep) keep=yes; shift; continue ;;
    --build-only) build_only=yes keep=yes; shift; continue ;;
    --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --repeats | --vectors | --depth | --heads | --steps | --jobs) whole "$1" "${2:-}" ;;
    --threads | --dims | --depths) list "$1" "${2:-}" ;;
    --model | --data | --weights | --isa | --only | --csv | --folder) [ -n "${2:-}" ] || die "$1: a value is missing" ;;
    *) die "$1: neither a section nor an option; --help shows both" ;;
    esac
    case $1 in
    --repeats) repeats=$2 ;; --vectors) vectors=$2 ;; --depth) depth=$2 ;; --heads) heads=$2 ;; --steps) steps=$2 ;; --jobs) jobs=$2 ;;
    --threads) threads=$2 ;; --dims) dims=$2 ;; --depths) depths=$2 ;; --model) model=$2 ;; --data) data=$2 ;; --weights) weights=$2 ;;
    --isa) isa=$2 ;; --only) only=$2 ;; --csv) csv=$2 ;; --folder) folder=$2 ;;
    esac
    shift 2
done
sections=${sections:-encode scan attention model}
if [ -n "$quick" ]; then
    : "${repeats:=3}" "${threads:=2}" "${dims:=128}" "${vectors:=8192}" "${depth:=2048}" "${heads:=4}" "${depths:=256}" "${steps:=8}"
fi
: "${repeats:=7}" "${threads:=1,2}" "${dims:=64,128,256}" "${vectors:=65536}" "${depth:=16384}" "${heads:=32}" "${depths:=4096,7936}"
: "${steps:=32}"
needs() { case " $sections " in *" $1 "*) ;; *) return 1 ;; esac; }

# ---- What is built and installed -------------------------------------------------------------------------
make_folder
csv=${csv:-$folder/kernels.csv}
bench=$root/build/release/tests/bench_codec kvant=$root/build/release/kvant
[ -x "$bench" ] && [ -x "$kvant" ] || die "$bench or $kvant is missing; say make all benches"
if needs attention || needs model; then build_llama llama-bench >&2; fi
if needs attention; then
    ggml=$folder/llama.cpp/ggml/src
    cc -std=c17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -I "$folder/llama_cpp_python/vendor/llama.cpp/ggml/include" \
        -o "$folder/ggml_attention" "$here/ggml_attention.c" "$ggml/libggml.a" "$ggml/libggml-cpu.a" "$ggml/libggml-base.a" \
        -lstdc++ -lgomp -lpthread -ldl -lm
fi

work=$(mktemp -d "$folder/work.XXXXXX")
made=
clean() { rm -rf "$work"; [ -z "$made" ] || [ -n "$keep" ] || rm -rf "$folder/venv"; }
trap clean EXIT
trap 'exit 130' INT TERM
if [ ! -x "$folder/venv/bin/python" ]; then
    made=yes
    python3 -m venv "$folder/venv" || die "python3 with the module venv is needed"
    "$folder/venv/bin/pip" install -q numpy || die "numpy cannot be installed"
fi
lacking=
if needs encode || needs scan; then
    for package in faiss-cpu turbovec rabitqlib; do
        module=${package%-cpu}
        "$folder/venv/bin/python" -c "import $module" 2> /dev/null || "$folder/venv/bin/pip" install -q "$package" ||
            { echo "$package cannot be installed here: left out" >&2; lacking="$lacking $module"; }
    done
fi
[ -z "$build_only" ] || exit 0

# ---- What runs -------------------------------------------------------------------------------------------
if needs model; then
    case $model in *.gguf) ;; *) model=$("$kvant" fetch "$model") ;; esac
    [ -r "$model" ] || die "cannot read the model '$model'"
    "$kvant" fetch "$data" > /dev/null 2>&1 || [ -r "$data" ] || die "cannot read the text '$data'"
fi
# shellcheck disable=SC2086
"$folder/venv/bin/python" "$here/kernels.py" $sections --bench "$bench" --kvant "$kvant" --ggml "$folder/ggml_attention" \
    --llama-bench "$folder/llama.cpp/bin/llama-bench" --llama-version "$(llama_version)" --model "$model" --data "$data" \
    --weights "$weights" --isa "$isa" --only "$only" --repeats "$repeats" --threads "$threads" --dims "$dims" --vectors "$vectors" \
    --depth "$depth" --heads "$heads" --depths "$depths" --steps "$steps" --lacking "$lacking" --work "$work" --csv "$csv"
