#!/bin/sh
# The program as a user meets it: every command's help, and every kind of mistake ends in one clear line and its status.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

# ---- Help -------------------------------------------------------------------------------------------
"$kvant" --help > "$work/overview" || failed overview "status $?"
commands=$(awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' "$work/overview")
if [ "$(echo "$commands" | wc -l)" -ge 10 ]; then ok overview; else failed overview "commands: $commands"; fi
for c in $commands; do
    if "$kvant" "$c" --help > "$work/out" 2> "$work/err" && [ ! -s "$work/err" ] && grep -q '^kvant '"$c" "$work/out" &&
        sed -n '/^Example:/,$p' "$work/out" | grep -q "^  kvant $c\|^  .*kvant $c "; then ok "help_$c"
    else failed "help_$c" "$(cat "$work/out" "$work/err")"; fi
    "$kvant" help "$c" | cmp -s - "$work/out" || failed "help_$c" "\`kvant help $c\` differs"
done
check completions sh -c "'$kvant' help --completions bash > completions && bash -n completions"
refuses completions_of_no_shell 2 'must be bash or zsh' "$kvant" help --completions fish
check man_page sh -c "'$kvant' help --man | grep -q '^.SS run'"
check version sh -c "'$kvant' --version | grep -q '[0-9]'"
"$kvant" > "$work/out" 2> "$work/err"
if [ $? = 2 ] && [ ! -s "$work/out" ] && grep -q '^Commands:' "$work/err"; then ok no_command; else failed no_command ""; fi

# ---- Mistakes on the command line ---------------------------------------------------------------------
refuses unknown_command 2 "did you mean 'report'" "$kvant" repotr
refuses unknown_option 2 "did you mean '--store'" "$kvant" run x.json --stroe=y
refuses missing_argument 2 'missing argument' "$kvant" run
refuses surplus_argument 2 'too many arguments' "$kvant" run a.json b.json c.json
refuses bad_number 2 'whole number' "$kvant" run a.json --threads=many
refuses unknown_input 2 'smollm2-135m' "$kvant" fetch smollm-135m
refuses unknown_plugin 2 'turboquant_mse' "$kvant" list turboqant_mse
refuses unknown_allocator 2 "did you mean 'greedy'" "$kvant" list gredy
check keys_with_words sh -c "'$kvant' list keys | grep -q '^key_stage .*post_rope (default) or pre_rope'"
check keys_with_three_words sh -c "'$kvant' list keys | grep -q '^decode_reads .*codes (default) or decoded or copy'"
refuses wrong_reads 2 'must be "codes", "decoded" or "copy"' "$kvant" generate smollm2-135m --prompt x --decode-reads copies
check allocators_with_parameters sh -c "'$kvant' list allocators | grep -A 3 '^uniform:' | grep -q '^straddle .*one of even none'"
refuses no_data 2 '--data is missing' "$kvant" sensitivity smollm2-135m
refuses wrong_candidates 2 'as in 2,3,4' "$kvant" sensitivity smollm2-135m --data jargon --candidates 2,,4
refuses wrong_groups 2 'layer or head' "$kvant" sensitivity smollm2-135m --data jargon --groups heads
refuses gradient 2 'backward pass' "$kvant" sensitivity smollm2-135m --data jargon --weights gradient
refuses without_bits 2 'no parameter .bits' "$kvant" sensitivity smollm2-135m --data jargon --key q8_0 --store none.db
check no_store_for_nothing test ! -e none.db
refuses no_budget 2 'budget is missing' "$kvant" allocate smollm2-135m --data jargon
refuses wrong_budget 2 'number of bits above 0' "$kvant" allocate smollm2-135m --data jargon --budget 2.5b
refuses wrong_weights 2 'backward pass' "$kvant" allocate smollm2-135m --data jargon --budget 3 --weights fisher
refuses wrong_curve 2 "did you mean 'fitted'" "$kvant" allocate smollm2-135m --data jargon --budget 3 --curve fited
refuses wrong_allocator 2 "did you mean 'knapsack'" "$kvant" allocate smollm2-135m --data jargon --budget 3 --allocator knapsac
refuses all_into_a_file 2 'name the allocator' "$kvant" allocate smollm2-135m --data jargon --budget 3 --allocator all --out x.json

# ---- Output that nobody takes ---------------------------------------------------------------------------
"$kvant" --help > /dev/full 2> "$work/err"
status=$?
if [ $status = 2 ] && [ "$(wc -l < "$work/err")" = 1 ] && grep -q 'No space left' "$work/err"; then ok full_disk_on_stdout
else failed full_disk_on_stdout "status $status: $(cat "$work/err")"; fi
{ "$kvant" --help 2> "$work/err"; echo $? > "$work/status"; } | true
{ sleep .2; "$kvant" --help 2> "$work/err"; echo $? > "$work/status"; } | true
if [ "$(cat "$work/status")" != 0 ] && [ ! -s "$work/err" ]; then ok closed_pipe
else failed closed_pipe "status $(cat "$work/status"): $(cat "$work/err")"; fi
"$kvant" --help >&- 2> "$work/err"
status=$?
if [ $status = 2 ] && [ "$(wc -l < "$work/err")" = 1 ]; then ok closed_stdout; else failed closed_stdout "status $status"; fi

# ---- Specs ----------------------------------------------------------------------------------------------
vector_spec small > small.json
sed 's/20000/64/' small.json > tiny.json
check tiny_spec_runs "$kvant" run tiny.json --store tiny.db
sed 's/"bits": \[2, 4\]/"bit": 2/' tiny.json > wrong.json
refuses wrong_parameter 2 'wrong\.json:3: .*vector.*bit.*did you mean `bits`' "$kvant" run wrong.json --store wrong.db
sed 's/"seed"/"sede"/' tiny.json > wrong.json
refuses wrong_key 2 'wrong\.json:4: .*sede.*did you mean `seed`' "$kvant" run wrong.json --store wrong.db
sed 's/"affine"/"afine"/' tiny.json > wrong.json
refuses wrong_quantizer 2 'wrong\.json:3: .*affine' "$kvant" plan wrong.json
echo '{ "name": "broken", ' > wrong.json
refuses broken_json 2 'wrong\.json:[0-9]+' "$kvant" run wrong.json --store wrong.db
refuses missing_spec 2 'absent\.json' "$kvant" run absent.json
sed 's/"seed": \[0, 1\]/"seed": 0, "seed": 1/' tiny.json > wrong.json
refuses duplicate_key 2 'wrong\.json:4: .*seed' "$kvant" plan wrong.json
refuses wrong_override 2 'chunsk' "$kvant" plan tiny.json --set chunsk=4

# ---- States ---------------------------------------------------------------------------------------------
check precompute "$kvant" precompute tiny.json --states kept
check precompute_verifies sh -c "'$kvant' precompute tiny.json --states kept | grep -q ' 0 made now'"
check run_with_states sh -c "'$kvant' run tiny.json --states kept --store kept.db 2>&1 | grep -q 'from kept, 0 made'"
values='SELECT cell, metric, value, se FROM measurement WHERE NOT timing ORDER BY 1, 2'
if [ "$(sqlite3 kept.db "$values")" = "$(sqlite3 tiny.db "$values")" ]; then ok same_values_with_states
else failed same_values_with_states ""; fi
check export "$kvant" export --quantizer turboquant_mse:bits=2 --dim 64 --seed 3 --part rotation --out rotation.npy
check import "$kvant" import rotation.npy --quantizer turboquant_mse:bits=2 --dim 64 --part rotation --states kept
refuses import_of_another_shape 2 'rotation\.npy: .*\(128, 128\)' "$kvant" import rotation.npy --quantizer affine:rotation=haar \
    --dim 128 --part rotation --states kept
check export_bundle "$kvant" export small --store tiny.db --dir bundle --no-plots
check import_verifies "$kvant" import bundle --verify
check import_merges sh -c "'$kvant' import bundle --store merged.db && '$kvant' compare tiny.db merged.db"
printf X | dd of=bundle/results.csv bs=1 seek=30 conv=notrunc 2> /dev/null
refuses import_of_a_flipped_byte 1 'bundle/results\.csv: its sha256' "$kvant" import bundle --store none.db
refuses export_to_nowhere 2 '--dir FOLDER is needed' "$kvant" export small --store tiny.db
refuses export_of_both 2 '--part is of a quantizer' "$kvant" export small --dir x --part rotation
refuses export_dir_of_nothing 2 'name the experiment' "$kvant" export --dir x
refuses import_part_of_a_folder 2 '--part is of a .npy file' "$kvant" import bundle --part rotation
refuses import_verify_of_a_file 2 'is no folder' "$kvant" import rotation.npy --verify
worse="SET value = value * 1.1 WHERE metric = 'nmse'"
sqlite3 merged.db "UPDATE sample $worse; UPDATE measurement $worse"
"$kvant" compare tiny.db merged.db > out.txt 2> err.txt
if [ $? = 1 ] && grep -q 'worse: regression' out.txt && grep -q 'there are regressions' err.txt; then ok compare_finds_a_regression
else failed compare_finds_a_regression "$(cat out.txt err.txt)"; fi
check compare_has_a_threshold "$kvant" compare tiny.db merged.db --threshold 11
refuses compare_with_itself 2 'the same file is given twice' "$kvant" compare tiny.db tiny.db
refuses compare_threshold 2 '--threshold x: must be a percentage' "$kvant" compare tiny.db merged.db --threshold x
refuses run_without_quick 2 'has no .quick. variant' "$kvant" run tiny.json --quick --store none.db
refuses export_of_no_table 2 'codebook' "$kvant" export --quantizer turboquant_mse --part rotatoin --out none.npy
file=$(ls kept/affine-*.state | head -n 1)
printf X | dd of="$file" bs=1 seek=300 conv=notrunc 2> /dev/null
refuses flipped_byte 2 "$file: bytes 0 to [0-9]+ are damaged.*precompute" "$kvant" run tiny.json --states kept --store none.db
refuses flipped_byte_found_ahead 2 "$file: bytes 0 to [0-9]+ are damaged" "$kvant" precompute tiny.json --states kept
rm "$file"
check precompute_mends sh -c "'$kvant' precompute tiny.json --states kept | grep -q ' 1 made now'"

# ---- Models -----------------------------------------------------------------------------------------------
make_text > text.txt
model_spec absent ./absent.gguf text.txt > model.json
refuses missing_model 2 'absent\.gguf' "$kvant" run model.json --store model.db
refuses missing_file 2 'absent\.gguf' "$kvant" show ./absent.gguf
printf 'GGUF\003\000\000\000\377\377\377\377\377\377\377\177\377\377\377\377\377\377\377\177' > hostile.gguf
refuses hostile_counts 2 'hostile\.gguf' "$kvant" show ./hostile.gguf
printf 'GGUF\003\000' > short.gguf
refuses short_header 2 'short\.gguf' "$kvant" show ./short.gguf
model=$(find_model tok-smollm.gguf)
if [ -n "$model" ]; then
    size=$(wc -c < "$model")
    for part in 100 1000 $((size / 2)) $((size - 1)); do
        head -c "$part" "$model" > cut.gguf
        refuses "truncated_to_$part" 2 'cut\.gguf' "$kvant" show ./cut.gguf
    done
    model_spec cut ./cut.gguf text.txt > model.json
    refuses truncated_model_in_a_run 2 'cut\.gguf' "$kvant" run model.json --store model.db

    model=$(find_model llama-tied-hd64.gguf)
    # What is dumped is what the distortion probe measures: the same error, head for head.
    check dump "$kvant" dump "$model" --data text.txt --tokens 64 --out kv
    quantizer='{ "quantizer": "affine", "bits": 3, "group_size": 32 }'
    echo '{ "name": "text", "probe": "distortion", "model": "'"$model"'", "data": "text.txt", "context": 64, "chunks": 1,' \
        '"key": '"$quantizer"', "value": "same" }' > text.json
    echo '{ "name": "npy", "probe": "distortion", "data": ["kv/layer00_head00_key.npy", "kv/layer01_head00_value.npy"],' \
        '"vector": '"$quantizer"' }' > npy.json
    check dump_is_vector_data "$kvant" run npy.json --store dump.db
    check dump_of_the_same_text "$kvant" run text.json --store dump.db
    differences=$(sqlite3 dump.db "SELECT max(abs(v.value - t.value)) || ' ' || count(*) FROM sample v JOIN cell c ON c.key = v.cell
        JOIN sample t ON (t.metric, t.chunk, t.idx) = (CASE WHEN c.data LIKE '%key%' THEN 'nmse_key' ELSE 'nmse_value' END,
        CASE WHEN c.data LIKE '%layer00%' THEN 0 ELSE 1 END, 0) WHERE v.metric = 'nmse'")
    if [ "$differences" = '0.0 2' ]; then ok dump_is_what_probes_measure; else failed dump_is_what_probes_measure "$differences"; fi
    check dump_pre_rope "$kvant" dump "$model" --data text.txt --tokens 64 --out kv --stage pre_rope --layers 1
    # A token at position 0 is not rotated, the others are; 128 bytes are the header's.
    if [ "$(stat -c %s kv/layer01_head00_key_pre_rope.npy)" = "$(stat -c %s kv/layer01_head00_key.npy)" ] &&
        ! cmp -s kv/layer01_head00_key_pre_rope.npy kv/layer01_head00_key.npy &&
        cmp -s -n 192 kv/layer01_head00_key_pre_rope.npy kv/layer01_head00_key.npy; then ok dump_pre_rope_differs
    else failed dump_pre_rope_differs "$(ls -l kv)"; fi
    refuses dump_stage 2 'pre_rope or post_rope' "$kvant" dump "$model" --data text.txt --tokens 8 --out none --stage rope
    check dump_of_some_layers "$kvant" dump "$model" --data text.txt --tokens 8 --out some --layers 1
    if [ -e some/layer01_head00_key.npy ] && [ ! -e some/layer00_head00_key.npy ]; then ok dump_of_named_layers
    else failed dump_of_named_layers "$(ls some)"; fi
    for list in x 0, 1-0 0-99 -1 0--1 99999999999999999999; do
        refuses "dump_layers_$list" 2 'layers' "$kvant" dump "$model" --data text.txt --tokens 8 --out none --layers="$list"
    done
    refuses dump_of_more_than_the_context 2 'context is' "$kvant" dump "$model" --data text.txt --tokens 9999999 --out none
    echo "a short text" > short.txt
    refuses dump_of_a_short_text 2 'longer text' "$kvant" dump "$model" --data short.txt --tokens 100 --out none
    if [ -e none ]; then failed dump_leaves_nothing "a folder was made"; else ok dump_leaves_nothing; fi
else
    skipped models "no conformance models in KVANT_DATA"
fi
refuses dump_without_data 2 '--data' "$kvant" dump ./absent.gguf --out none

# ---- Single quantizers ---------------------------------------------------------------------------------------
# figure FILE ROW: the row's first number.
figure() { awk -v row="$2" 'index($0, row) == 1 { sub(row, ""); print $1; exit }' "$1"; }
between() { awk -v x="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(x >= low && x <= high) }'; }
"$kvant" bench f32 --dim 64 --n 200 > exact.txt 2> "$work/err" && [ "$(figure exact.txt nmse)" = 0 ] &&
    [ "$(figure exact.txt 'bytes per token')" = 256.0 ] && between "$(figure exact.txt 'output error')" 0 1e-5 &&
    ok bench_of_floats || failed bench_of_floats "$(cat exact.txt "$work/err")"
"$kvant" bench affine:bits=4,group_size=32 --value kivi --n 500 > coarse.txt 2> "$work/err" &&
    between "$(figure coarse.txt nmse)" .0059 .0063 && [ "$(figure coarse.txt 'bytes per token')" = 80.0 ] &&
    between "$(figure coarse.txt 'output error')" .3 .8 && between "$(figure coarse.txt append)" 1 1e9 &&
    ok bench_of_codes || failed bench_of_codes "$(cat coarse.txt "$work/err")"
check bench_of_blocks "$kvant" bench kivi --dim 32 --n 40
"$kvant" bench turboquant_mse --n 100 --seed 1 | sed '/ns per token/d' > one.txt
"$kvant" bench turboquant_mse --n 100 --seed 1 | sed '/ns per token/d' > again.txt
"$kvant" bench turboquant_mse --n 100 --seed 2 | sed '/ns per token/d' > other.txt
if [ -s one.txt ] && cmp -s one.txt again.txt && ! cmp -s one.txt other.txt; then ok bench_follows_its_seed
else failed bench_follows_its_seed "$(diff one.txt again.txt)"; fi
"$kvant" bench turboquant_mse --dim 128 --bits 2 --n 100 | sed '1d;/ns per token/d' > option.txt
"$kvant" bench turboquant_mse:bits=2 --n 100 | sed '1d;/ns per token/d' > parameter.txt
if [ -s option.txt ] && cmp -s option.txt parameter.txt && grep -q '^bits per coordinate *2\.125 *2\.125$' option.txt; then ok bench_bits
else failed bench_bits "$(diff option.txt parameter.txt)"; fi
refuses bench_without_bits 2 'f16 has no parameter' "$kvant" bench f16 --bits 2
refuses bench_bits_range 2 'use 1 to 8' "$kvant" bench affine --bits 9
refuses bench_unknown_quantizer 2 'affine' "$kvant" bench afine
refuses bench_unknown_parameter 2 "nearest known one is 'bits'" "$kvant" bench affine:bit=3
refuses bench_shape 2 'not a multiple of group_size' "$kvant" bench affine --dim 80
refuses bench_distribution 2 'gaussian' "$kvant" bench affine --distribution gausian
refuses bench_too_long 2 'whole number from 2 to 65536' "$kvant" bench affine --n 65537

# ---- Stores -------------------------------------------------------------------------------------------------
refuses store_in_no_folder 2 '/dev/null' "$kvant" run tiny.json --store /dev/null/x.db
echo 'not a database, but a text that is long enough to be read as the header of one, which it is not' > text.db
refuses store_is_a_text 2 'text\.db' "$kvant" run tiny.json --store text.db
refuses report_without_store 2 'absent\.db' "$kvant" report small --store absent.db
refuses unknown_format 2 'did you mean latex' "$kvant" report small --store tiny.db --format latx
refuses whole_table 2 'goes with --format latex' "$kvant" report small --store tiny.db --whole
refuses no_speeds 2 'throughput' "$kvant" report small --store tiny.db --format sql
check schema_is_json sh -c '"$1" report --schema | python3 -m json.tool > /dev/null' - "$kvant"
check page_is_whole sh -c '"$1" report small --store tiny.db --format html | tail -n 1 | grep -qx "</html>"' - "$kvant"
refuses unknown_experiment 2 'small' "$kvant" report smal --store tiny.db

# Root may write anywhere, so it becomes somebody else first.
cp tiny.db sealed.db
chmod 444 sealed.db
mkdir sealed
chmod 755 "$work"
chmod 555 sealed
cp "$kvant" "$work/kvant"
sed 's/tiny/sealed/; s/"small"/"other"/' tiny.json > other.json
as_nobody=
[ "$(id -u)" != 0 ] || as_nobody="setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=$work KVANT_SHARE=$root"
# shellcheck disable=SC2086
if $as_nobody true 2> /dev/null && ! $as_nobody touch sealed/x 2> /dev/null; then
    refuses read_only_store 2 'sealed\.db' $as_nobody "$work/kvant" run other.json --store sealed.db
    refuses read_only_folder 2 'sealed/new\.db' $as_nobody "$work/kvant" run other.json --store sealed/new.db
else
    skipped read_only_store "cannot become another user here"
fi

mkdir disk
if mount -t tmpfs -o size=256k tmpfs disk 2> /dev/null; then
    "$kvant" run small.json --store disk/full.db > "$work/out" 2> "$work/err"
    status=$?
    umount disk
    if [ $status = 2 ] && grep -Eq 'disk/full\.db.*full' "$work/err"; then ok full_disk_under_the_store
    else failed full_disk_under_the_store "status $status: $(tail -n 3 "$work/err")"; fi
else
    skipped full_disk_under_the_store "cannot mount a small file system here"
fi
finish
